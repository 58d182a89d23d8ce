//! Measures puts, commits, reopening and look-ups: `cargo run --release -p ntt-store --example put_bench -- DIRECTORY [BLOBS]`.

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ntt_host::{RealDisk, SystemRandom};
use ntt_model::BlobHash;
use ntt_store::{ContentHasher, Store, StoreOptions};

/// A content of 0.5 to 5.5 KB that no other number has.
fn content(number: u64, bytes: &mut Vec<u8>) {
    bytes.resize(500 + usize::try_from(number % 5000).unwrap_or(0), 7);
    bytes[..8].copy_from_slice(&number.to_le_bytes());
}

fn hash_all(blobs: u64) -> Duration {
    let (start, mut bytes) = (Instant::now(), Vec::new());
    for number in 0..blobs {
        content(number, &mut bytes);
        std::hint::black_box(ContentHasher::digest(&bytes));
    }
    start.elapsed()
}

/// Time of everything, and of the commits in it.
fn put_all(store: &Store, blobs: u64) -> Result<(Duration, Duration), ntt_store::Error> {
    let (start, mut commits, mut bytes) = (Instant::now(), Duration::ZERO, Vec::new());
    let mut writer = store.writer()?;
    for number in 0..blobs {
        content(number, &mut bytes);
        let (hash, sha256) = ContentHasher::digest(&bytes);
        writer.put(&bytes, hash, sha256)?;
        if writer.should_commit() {
            let commit = Instant::now();
            writer.commit()?;
            commits += commit.elapsed();
        }
    }
    writer.seal()?;
    Ok((start.elapsed(), commits))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("usage: put_bench DIRECTORY [BLOBS]")?;
    let blobs = arguments.next().map_or(Ok(150_000), |blobs| blobs.parse())?;
    let root = Path::new(&directory);
    let create = || {
        Store::create(
            Arc::new(RealDisk),
            Arc::new(SystemRandom),
            root,
            StoreOptions::default(),
        )
    };
    println!("hashing alone     {:?}", hash_all(blobs));
    let (all, commits) = put_all(&create()?, blobs)?;
    println!("puts and commits  {all:?}, of which commits {commits:?}");
    let start = Instant::now();
    let store = create()?;
    println!("reopening         {:?}", start.elapsed());
    let absent: Vec<BlobHash> = (0..200_000_u64)
        .map(|number| BlobHash::of(&number.to_be_bytes()))
        .collect();
    let start = Instant::now();
    for hash in &absent {
        assert!(!store.contains(hash)?);
    }
    println!("200,000 absent    {:?}", start.elapsed());
    Ok(())
}
