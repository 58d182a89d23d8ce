//! The store against power cuts, errors, damage, and other writers.

#![allow(clippy::print_stderr, reason = "a skipped test says so")]

mod damage;
mod model;
mod mounts;
mod power;
mod quarantine;
mod real_disk;
mod rebuild;
mod relist;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use ntt_model::BlobHash;
use ntt_store::{ContentHasher, Error, Put, RebuildReport, Store, StoreOptions, Watch, Writer};
use ntt_testkit::sim_disk::{SeededRandom, SimDisk};

const ROOT: &str = "/archive";

/// Small sizes, so that packs are sealed, journals rolled and segments merged within a few blobs.
const SMALL: StoreOptions = StoreOptions {
    pack_threshold_bytes: 1000,
    pack_target_bytes: 6000,
    batch_bytes: 10_000,
    batch_blobs: 4,
    journal_blobs: 6,
    barrier_files: 2,
};

fn create(disk: &SimDisk, seed: u64) -> Result<Store, Error> {
    Store::create(
        Arc::new(disk.clone()),
        Arc::new(SeededRandom::new(seed)),
        Path::new(ROOT),
        SMALL,
    )
}

fn rebuild(disk: &SimDisk, watch: &mut Watch<'_>) -> Result<(Store, RebuildReport), Error> {
    let random = Arc::new(SeededRandom::new(disk.steps()));
    Store::rebuild(Arc::new(disk.clone()), random, Path::new(ROOT), watch)
}

fn put(writer: &mut Writer, content: &[u8]) -> Result<Put, Error> {
    let (hash, sha256) = ContentHasher::digest(content);
    writer.put(content, hash, sha256)
}

fn put_large(writer: &mut Writer, content: &[u8]) -> Result<Put, Error> {
    let (hash, sha256) = ContentHasher::digest(content);
    let mut large = writer.large()?;
    for piece in content.chunks(100_000) {
        large.write(piece)?;
    }
    large.finish(hash, sha256)
}

/// A content of `len` bytes that differs by `seed`.
fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

fn read(store: &Store, hash: &BlobHash) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    store
        .reader(hash)?
        .read_to_end(&mut bytes)
        .expect("an open blob reads");
    Ok(bytes)
}

/// Every blob of the index and every file under a blob's name has the content that it is named by.
fn assert_names_are_true(store: &Store, disk: &SimDisk) {
    let mut hashes = Vec::new();
    store
        .each_blob(&mut |hash, _| hashes.push(hash))
        .expect("the index reads");
    for hash in hashes {
        assert_eq!(BlobHash::of(&read(store, &hash).expect("it is stored")), hash);
    }
    for (path, bytes) in disk.files() {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if path.starts_with("/archive/blobs") {
            assert_eq!(BlobHash::of(&bytes).to_hex(), name);
        }
    }
}
