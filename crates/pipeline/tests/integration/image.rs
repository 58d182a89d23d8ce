//! A disk image as source; skipped without mke2fs.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use ntt_pipeline::RunOutcome::{Complete, Losses};
use ntt_pipeline::{compare, ingest, restore};
use ntt_testkit::corpus::have;

use crate::world::World;

/// An ext4 image of 4 MiB with one file of 100,000 bytes and one of 4.
fn image(world: &World) -> Option<PathBuf> {
    if !have("mke2fs") {
        return None;
    }
    let source = world.dir.path().join("files");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("large"), vec![0x5a; 100_000]).unwrap();
    fs::write(source.join("small"), b"text").unwrap();
    let image = world.dir.path().join("disk.img");
    let made = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .args([&source, &image])
        .arg("4M")
        .status();
    assert!(made.unwrap().success());
    Some(image)
}

/// Where the content of `large` lies in the image.
fn large_at(image: &Path) -> usize {
    let bytes = fs::read(image).unwrap();
    bytes
        .windows(4096)
        .position(|window| window.iter().all(|byte| *byte == 0x5a))
        .unwrap()
}

/// R3, R21, R29, R35, R45: an image goes in whole and unchanged, comes back equal, and its copy elsewhere is the same medium.
#[test]
fn r03_an_image_is_ingested_restored_and_recognised_elsewhere() {
    let world = World::new();
    let Some(image) = image(&world) else { return };
    let before = blake3::hash(&fs::read(&image).unwrap());
    let first = world.ingest(&image).unwrap();
    assert_eq!(first.failures, []);
    assert_eq!(first.outcome, Complete, "{first:#?}");
    assert_eq!(first.media[0].copied.bytes_read, 100_004);
    ingest::balance(first.media[0].volumes[0].census.as_ref().unwrap()).unwrap();

    let request = world.request(&world.dir.path().join("restored"));
    let problems = restore::run(&world.context(), &request).unwrap().problems;
    // The owners of what mke2fs made are those of whoever ran it, but for the root's.
    let is_owner = |problem: &restore::Unrestored| problem.problem.starts_with("owners not set");
    let may_lack_owners = !rustix::process::geteuid().is_root();
    assert!(
        may_lack_owners && problems.iter().all(is_owner) || problems.is_empty(),
        "{problems:?}"
    );
    assert_eq!(compare::run(&world.context(), &request).unwrap().listed, []);

    let copy = world.dir.path().join("copy.img");
    fs::copy(&image, &copy).unwrap();
    let again = world.ingest(&copy).unwrap();
    assert!(
        again.media[0]
            .recognised
            .as_ref()
            .unwrap()
            .contains("every byte is equal")
    );
    assert_eq!(again.media[0].copied.bytes_read, 0);
    // The copy stays visible in the log of the medium.
    let events = world.context().archive.catalogue().events(None).unwrap();
    assert!(events.iter().any(|event| event.stage == "identify"
        && event.detail.contains("/copy.img: every byte is equal")));
    assert_eq!(
        blake3::hash(&fs::read(&image).unwrap()),
        before,
        "the source is untouched"
    );
}

/// R11: a file that meets an unread region is damaged, with the ranges, and the outcome says losses.
#[test]
fn r11_a_mapfile_makes_damaged_files() {
    let world = World::new();
    let Some(image) = image(&world) else { return };
    let (bad, len) = (large_at(&image), fs::metadata(&image).unwrap().len());
    let (rest, tail) = (bad + 512, usize::try_from(len).unwrap() - bad - 512);
    let map = format!("0x0 + 1\n0x0 {bad:#x} +\n{bad:#x} 0x200 -\n{rest:#x} {tail:#x} +\n");
    fs::write(world.dir.path().join("disk.img.map"), map).unwrap();
    let summary = world.ingest(&image).unwrap();
    assert_eq!(summary.failures, []);
    assert_eq!(summary.outcome, Losses);
    let census = summary.media[0].volumes[0].census.as_ref().unwrap();
    assert_eq!((census.damaged.count, census.stored.count), (1, 1));
    assert!(summary.media[0].partial);
}

/// A sparse file of 400 GiB is kept and comes back, without its zeros being hashed or written one by one; one of 15 TiB on a medium of 8 MiB is
/// refused, with the figures.
#[test]
fn holes_cost_nothing_and_senseless_claims_are_refused() {
    if !have("mke2fs") {
        return;
    }
    let world = World::new();
    let files = world.dir.path().join("files");
    fs::create_dir(&files).unwrap();
    let big = fs::File::create(files.join("big")).unwrap();
    big.set_len(400 << 30).unwrap();
    big.write_all_at(b"an island", 200 << 30).unwrap();
    let claim = fs::File::create(files.join("claim")).unwrap();
    claim.set_len(15 << 40).unwrap();
    let image = world.dir.path().join("disk.img");
    let made = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-b", "4096", "-d"])
        .args([&files, &image])
        .arg("8M")
        .status();
    assert!(made.unwrap().success());

    let summary = world.ingest(&image).unwrap();
    let census = summary.media[0].volumes[0].census.as_ref().unwrap();
    assert_eq!(census.stored.count, 1, "{summary:#?}");
    assert_eq!(census.failed.len(), 1, "{census:#?}");
    assert!(summary.media[0].copied.bytes_read < 1 << 20);

    let out = world.dir.path().join("restored");
    restore::run(&world.context(), &world.request(&out)).unwrap();
    let back = fs::File::open(out.join("big")).unwrap();
    assert_eq!(back.metadata().unwrap().len(), 400 << 30);
    assert!(back.metadata().unwrap().blocks() < 1000);
    let mut island = [0; 9];
    back.read_exact_at(&mut island, 200 << 30).unwrap();
    assert_eq!(&island, b"an island");
}
