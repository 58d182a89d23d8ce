//! The same on the machine's own disk, and with other programs.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use ntt_host::{RealDisk, SystemRandom};
use ntt_store::{Piece, Verified};
use ntt_testkit::corpus::have;

use crate::*;

fn create_in(root: &Path, options: StoreOptions) -> Result<Store, Error> {
    Store::create(Arc::new(RealDisk), Arc::new(SystemRandom), root, options)
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[test]
fn r36_packs_and_blobs_are_read_by_tar_and_b3sum() -> Result<(), Error> {
    let dir = tempfile::tempdir().expect("a directory");
    let store = create_in(
        &dir.path().join("archive"),
        StoreOptions {
            pack_target_bytes: 2 << 20,
            ..StoreOptions::default()
        },
    )?;
    let mut writer = store.writer()?;
    for seed in 0..150 {
        put(
            &mut writer,
            &content(seed, usize::try_from(seed * seed * 3).unwrap_or(0)),
        )?;
        if seed % 50 == 49 {
            writer.commit()?;
        }
    }
    put(&mut writer, b"begins another pack")?;
    writer.commit()?;
    let packs: Vec<PathBuf> = files_below(&dir.path().join("archive/packs"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ext| ext == "tar"))
        .collect();
    assert!(packs.len() >= 2, "sealed and open ones");
    let out = dir.path().join("out");
    std::fs::create_dir(&out).expect("a directory");
    for pack in &packs {
        let tar = Command::new("tar")
            .arg("xf")
            .arg(pack)
            .arg("-C")
            .arg(&out)
            .output()
            .expect("tar runs");
        assert!(
            tar.status.success() && tar.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&tar.stderr)
        );
    }
    let mut files = files_below(&out);
    files.extend(files_below(&dir.path().join("archive/blobs")));
    assert_eq!(files.len() as u64, store.count()?);
    for file in &files {
        let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
        assert_eq!(
            BlobHash::of(&std::fs::read(file).expect("it reads")).to_hex(),
            name
        );
        assert_eq!(
            std::fs::metadata(file).expect("it is there").permissions().mode() & 0o777,
            0o444
        );
    }
    if have("b3sum") {
        let sums = Command::new("b3sum").args(&files).output().expect("b3sum runs");
        for line in String::from_utf8_lossy(&sums.stdout).lines() {
            let (sum, path) = line.split_once("  ").expect("a sum and a name");
            assert!(path.ends_with(sum));
        }
    }
    Ok(())
}

#[test]
fn one_content_is_stored_once_however_often_it_comes() -> Result<(), Error> {
    let dir = tempfile::tempdir().expect("a directory");
    let store = create_in(dir.path(), StoreOptions::default())?;
    let mut writer = store.writer()?;
    let (hash, sha256) = ContentHasher::digest(b"icon");
    assert_eq!(writer.put(b"icon", hash, sha256)?, Put::New);
    for _ in 1..70_000 {
        assert_eq!(writer.put(b"icon", hash, sha256)?, Put::Present);
    }
    assert_eq!(writer.commit()?.blobs, 1);
    assert_eq!(store.count()?, 1);
    Ok(())
}

#[test]
fn a_sparse_content_stays_sparse_and_reads_whole() -> Result<(), Error> {
    let dir = tempfile::tempdir().expect("a directory");
    let store = create_in(dir.path(), StoreOptions::default())?;
    let mut writer = store.writer()?;
    let mut hasher = ContentHasher::new();
    let mut large = writer.large()?;
    for _ in 0..2 {
        hasher.update(b"data");
        large.write(b"data")?;
        hasher.zeros(64 << 20);
        large.zeros(64 << 20)?;
    }
    let (hash, sha256) = hasher.finish();
    assert_eq!(large.finish(hash, sha256)?, Put::New);
    writer.commit()?;
    let size = 2 * (4 + (64 << 20));
    assert_eq!(store.size_of(&hash)?, Some(size));
    assert!(matches!(store.verifier().verify(&hash)?, Verified::Good));
    let file = files_below(&dir.path().join("blobs")).remove(0);
    let blocks = std::fs::metadata(file).expect("it is there").blocks() * 512;
    assert!(blocks < 1 << 20, "{blocks} bytes allocated");
    let (mut total, mut zeros) = (0, 0);
    store
        .reader(&hash)?
        .pieces::<std::io::Error>(&mut |piece| {
            match piece {
                Piece::Bytes(bytes) => total += bytes.len() as u64,
                Piece::Zeros(len) => (total, zeros) = (total + len, zeros + len),
            }
            Ok(())
        })
        .expect("it reads");
    assert_eq!(total, size);
    assert!(zeros > 100 << 20, "{zeros} bytes of holes");
    Ok(())
}

#[test]
fn threshold_zero_gives_files_only() -> Result<(), Error> {
    let dir = tempfile::tempdir().expect("a directory");
    let store = create_in(
        dir.path(),
        StoreOptions {
            pack_threshold_bytes: 0,
            ..StoreOptions::default()
        },
    )?;
    let mut writer = store.writer()?;
    put(&mut writer, b"")?;
    put(&mut writer, b"x")?;
    writer.seal()?;
    assert_eq!(files_below(&dir.path().join("blobs")).len(), 2);
    assert_eq!(store.packs()?, []);
    assert_eq!(
        read(
            &Store::open(Arc::new(RealDisk), Arc::new(SystemRandom), dir.path())?,
            &BlobHash::EMPTY
        )?,
        b""
    );
    Ok(())
}

/// A journal that is listed and then not there: another run has made a segment of it meanwhile. Here a link to nothing stands for it.
#[test]
fn a_journal_that_vanishes_hinders_neither_opening_nor_checking() -> Result<(), Error> {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("archive");
    let store = create_in(&root, StoreOptions::default())?;
    let mut writer = store.writer()?;
    put(&mut writer, b"content")?;
    writer.commit()?;
    std::os::unix::fs::symlink(
        "nothing",
        root.join("journal").join(format!("{}.log", "0".repeat(32))),
    )
    .expect("a link");
    let again = Store::open(Arc::new(RealDisk), Arc::new(SystemRandom), &root)?;
    assert_eq!(again.count()?, 1);
    assert_eq!(again.check()?.problems, []);
    Ok(())
}
