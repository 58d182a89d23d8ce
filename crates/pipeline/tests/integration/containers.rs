//! The same bytes in several containers, and the same source several times in one call; skipped without mke2fs.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ntt_pipeline::RunOutcome::Complete;
use ntt_pipeline::ingest::{self, IngestRequest, IngestSummary};
use ntt_testkit::corpus::have;

use crate::world::World;

/// Where the partition of a disk begins.
const PARTITION_AT: u64 = 1 << 20;
const SECTOR: u64 = 512;

/// An ext4 file system of 4 MiB with two files.
pub(crate) fn partition(world: &World) -> Option<PathBuf> {
    if !have("mke2fs") {
        return None;
    }
    let source = world.dir.path().join("files");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("large"), vec![0x5a; 100_000]).unwrap();
    fs::write(source.join("small"), b"text").unwrap();
    let image = world.dir.path().join("partition.img");
    let made = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .args([&source, &image])
        .arg("4M")
        .output();
    assert!(made.unwrap().status.success());
    Some(image)
}

/// A disk with one Linux partition in an MBR, which holds the bytes of `partition`.
fn disk(world: &World, partition: &Path) -> PathBuf {
    let content = fs::read(partition).unwrap();
    let len = u64::try_from(content.len()).unwrap();
    let mut record = [0; 512];
    record[440..444].copy_from_slice(b"disk");
    record[446 + 4] = 0x83;
    let (first, sectors) = (PARTITION_AT / SECTOR, len / SECTOR);
    record[446 + 8..446 + 12].copy_from_slice(&u32::try_from(first).unwrap().to_le_bytes());
    record[446 + 12..446 + 16].copy_from_slice(&u32::try_from(sectors).unwrap().to_le_bytes());
    record[510..].copy_from_slice(&[0x55, 0xaa]);
    let path = world.dir.path().join("disk.img");
    let file = fs::File::create(&path).unwrap();
    file.write_all_at(&record, 0).unwrap();
    file.write_all_at(&content, PARTITION_AT).unwrap();
    path
}

fn ingest(world: &World, sources: &[&Path]) -> IngestSummary {
    let request = IngestRequest {
        sources: sources.iter().map(|path| path.to_path_buf()).collect(),
        ..IngestRequest::default()
    };
    let summary = ingest::run(&world.context(), &request).unwrap();
    assert_eq!(summary.failures, []);
    assert_eq!(summary.outcome, Complete);
    summary
}

/// R3: a partition that the archive has from its disk, or the other way round, is recognised, and nothing is copied again.
fn assert_second_is_a_copy(world: &World, first: &Path, second: &Path) {
    let summary = ingest(world, &[first, second]);
    assert_eq!(summary.media[0].copied.bytes_read, 100_004);
    assert_eq!(summary.media[1].copied.bytes_read, 0);
    let copy = &summary.media[1].volumes[0];
    let original = format!("{}/1", summary.media[0].medium);
    assert_eq!(copy.same_as.as_deref(), Some(original.as_str()));
    assert_eq!(world.archive.catalogue().media().unwrap().len(), 2);
    let again = ingest(world, &[second]);
    assert!(again.media[0].recognised.is_some());
}

#[test]
fn r03_a_partition_after_its_disk_is_a_copy() {
    let world = World::new();
    let Some(partition) = partition(&world) else {
        return;
    };
    let disk = disk(&world, &partition);
    assert_second_is_a_copy(&world, &disk, &partition);
}

#[test]
fn r03_a_disk_after_its_partition_is_a_copy() {
    let world = World::new();
    let Some(partition) = partition(&world) else {
        return;
    };
    let disk = disk(&world, &partition);
    assert_second_is_a_copy(&world, &partition, &disk);
}

/// R2, R3: a source that is given twice in one call is one medium.
#[test]
fn r03_the_same_source_twice_in_one_call_is_one_medium() {
    let world = World::new();
    let Some(partition) = partition(&world) else {
        return;
    };
    let files = world.dir.path().join("files");
    let summary = ingest(&world, &[&partition, &partition, &files, &files]);
    let recognised: Vec<bool> = summary
        .media
        .iter()
        .map(|medium| medium.recognised.is_some())
        .collect();
    assert_eq!(recognised, [false, true, false, true]);
    let read: Vec<u64> = summary
        .media
        .iter()
        .map(|medium| medium.copied.bytes_read)
        .collect();
    assert_eq!(read, [100_004, 0, 100_004, 0]);
    assert_eq!(summary.media[2].copied.new_blobs, 0);
    assert_eq!(world.archive.catalogue().media().unwrap().len(), 2);
}
