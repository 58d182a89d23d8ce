//! Images in containers, from end to end; skipped without the programs that make them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ntt_model::{FindingCode, Severity};
use ntt_pipeline::RunOutcome::{Complete, Losses};
use ntt_pipeline::ingest::IngestSummary;
use ntt_testkit::corpus::have;

use crate::containers::partition;
use crate::world::World;

fn run(world: &World, program: &str, arguments: &[&str]) {
    let status = Command::new(program)
        .args(arguments)
        .current_dir(world.dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.expect("it starts").success(), "{program} {arguments:?}");
}

fn acquire(world: &World, compression: &str, segment_bytes: &str) -> PathBuf {
    let arguments = [
        "-u",
        "-q",
        "-c",
        compression,
        "-t",
        "case",
        "-S",
        segment_bytes,
        "-d",
        "sha1",
        "partition.img",
    ];
    run(world, "ewfacquire", &arguments);
    world.dir.path().join("case.E01")
}

fn ingest(world: &World, path: &Path) -> IngestSummary {
    let summary = world.ingest(path).expect("ingested");
    assert_eq!(summary.failures, []);
    summary
}

fn findings(world: &World) -> Vec<ntt_model::Finding> {
    let catalogue = world.archive.catalogue();
    let medium = &catalogue.media().expect("media")[0];
    let rows = catalogue.findings(medium.key).expect("findings");
    rows.into_iter().map(|row| row.finding).collect()
}

/// R3: raw, E01 and qcow2 are one medium; a VHD, which is longer, is another one with the same volume.
#[test]
fn r03_one_volume_in_four_containers_is_copied_once() {
    let world = World::new();
    if !have("qemu-img") || !have("ewfacquire") {
        return;
    }
    let Some(raw) = partition(&world) else { return };
    let evidence = acquire(&world, "fast", "1048576");
    run(
        &world,
        "qemu-img",
        &[
            "convert",
            "-f",
            "raw",
            "-O",
            "qcow2",
            "-c",
            "partition.img",
            "disk.qcow2",
        ],
    );
    run(
        &world,
        "qemu-img",
        &["convert", "-f", "raw", "-O", "vpc", "partition.img", "disk.vhd"],
    );
    let first = ingest(&world, &evidence);
    assert_eq!(first.outcome, Complete);
    assert_eq!(first.media[0].copied.bytes_read, 100_004);
    let medium = first.media[0].medium;
    for other in [world.dir.path().join("disk.qcow2"), raw] {
        let again = ingest(&world, &other);
        assert_eq!(again.media[0].medium, medium, "{}", other.display());
        assert!(again.media[0].recognised.is_some());
        assert_eq!(again.media[0].copied.bytes_read, 0);
    }
    let vhd = ingest(&world, &world.dir.path().join("disk.vhd"));
    assert_ne!(vhd.media[0].medium, medium);
    assert_eq!(vhd.media[0].volumes[0].same_as, Some(format!("{medium}/1")));
    assert_eq!(vhd.media[0].copied.bytes_read, 0);
    let evidence = world
        .archive
        .catalogue()
        .evidence(world.archive.catalogue().media().expect("media")[0].key);
    let evidence = evidence.expect("evidence");
    for kind in ["container", "stated-digest", "stated-digest-confirmed"] {
        assert!(
            evidence.iter().any(|piece| piece.kind == kind),
            "{kind}: {evidence:?}"
        );
    }
}

/// R22: a wrong byte in a container damages the file that lies there, with its ranges, and nothing else.
#[test]
fn r22_a_corrupt_chunk_damages_the_file_in_it() {
    let world = World::new();
    if !have("ewfacquire") {
        return;
    }
    let Some(raw) = partition(&world) else { return };
    let image = fs::read(raw).expect("read");
    let file_at = image
        .windows(4096)
        .position(|window| window == [0x5a; 4096])
        .expect("the large file");
    let evidence = acquire(&world, "none", "1000000000");
    let mut bytes = fs::read(&evidence).expect("read");
    // Chunks are stored as they are, each with 4 bytes behind it, after sections of a few KiB.
    let near = file_at + 50_000;
    let place = (near..bytes.len())
        .find(|at| bytes[*at - 100..*at + 100] == [0x5a; 200])
        .expect("inside of it");
    bytes[place] = 0;
    fs::write(&evidence, bytes).expect("written");
    let summary = ingest(&world, &evidence);
    assert_eq!(summary.outcome, Losses);
    let census = summary.media[0].volumes[0].census.as_ref().expect("a census");
    assert_eq!(
        (census.found.count, census.damaged.count, census.stored.count),
        (2, 1, 1)
    );
    let told = findings(&world);
    let compared = told
        .iter()
        .find(|finding| finding.detail.contains("cannot be compared"));
    assert!(compared.is_some(), "{told:?}");
}

/// What the container states is compared with what is in it.
#[test]
fn a_wrong_stated_checksum_is_a_loss() {
    let world = World::new();
    let Some(raw) = partition(&world) else { return };
    let data = fs::read(raw).expect("read");
    let mut header = vec![0; 84];
    header[64..68].copy_from_slice(&u32::try_from(data.len()).expect("small").to_be_bytes());
    header[72..76].copy_from_slice(&0x1234_5678_u32.to_be_bytes());
    header[80..84].copy_from_slice(&[3, 0x22, 1, 0]);
    let path = world.dir.path().join("disk.image");
    fs::write(&path, [header, data].concat()).expect("written");
    let summary = ingest(&world, &path);
    assert_eq!(summary.media[0].copied.bytes_read, 100_004);
    let told = findings(&world);
    let wrong = |finding: &&ntt_model::Finding| {
        finding.code == FindingCode::Corrupt
            && finding.severity == Severity::Loss
            && finding.detail.contains("12345678")
    };
    assert!(told.iter().find(wrong).is_some(), "{told:?}");
}

/// A compressed image is unpacked to a file without a name; nothing of it stays, and it is the same medium.
#[test]
fn a_compressed_image_leaves_nothing_behind() {
    let world = World::new();
    if !have("gzip") {
        return;
    }
    let Some(raw) = partition(&world) else { return };
    run(&world, "gzip", &["-k", "partition.img"]);
    let summary = ingest(&world, &world.dir.path().join("partition.img.gz"));
    assert_eq!(summary.outcome, Complete);
    assert_eq!(summary.media[0].copied.bytes_read, 100_004);
    let left = fs::read_dir(world.archive.root().join("tmp"))
        .expect("tmp")
        .count();
    assert_eq!(left, 0);
    assert_eq!(ingest(&world, &raw).media[0].medium, summary.media[0].medium);
}

/// A container that is known and not read is a verdict with facts, and stops nothing.
#[test]
fn r14_an_unsupported_container_is_a_verdict() {
    let world = World::new();
    let path = world.dir.path().join("secret.dmg");
    fs::write(&path, [&b"encrcdsa"[..], &[7; 10_000]].concat()).expect("written");
    let summary = ingest(&world, &path);
    assert_eq!(summary.outcome, Losses);
    assert!(summary.media[0].partial);
    assert_eq!(summary.media[0].volumes[0].verdict, "identified");
    assert!(
        findings(&world)
            .iter()
            .any(|finding| finding.code == FindingCode::Encrypted)
    );
}
