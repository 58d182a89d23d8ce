//! A directory tree as source.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use ntt_pipeline::RunOutcome::{Complete, DamageFound, Interrupted};
use ntt_pipeline::{compare, ingest, restore, verify};

use crate::world::World;

/// A small tree with what makes trees hard.
fn tree(world: &World) -> PathBuf {
    let root = world.dir.path().join("source");
    fs::create_dir_all(root.join("deep/er")).unwrap();
    fs::write(root.join("one"), b"content").unwrap();
    fs::write(root.join("deep/copy of one"), b"content").unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(root.join("large"), vec![7; 300_000]).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"odd \xff\n\\n name")), b"odd").unwrap();
    fs::hard_link(root.join("one"), root.join("deep/er/link")).unwrap();
    symlink("../one", root.join("deep/symlink")).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(10 << 20).unwrap();
    fs::set_permissions(root.join("deep"), fs::Permissions::from_mode(0o750)).unwrap();
    root
}

fn blobs(world: &World) -> u64 {
    world.archive.catalogue().blob_count().unwrap()
}

/// R29, R35, R44: everything found is accounted for, read once, and the outcome is complete.
#[test]
fn r29_a_directory_is_ingested_and_balances() {
    let world = World::new();
    let summary = world.ingest(&tree(&world)).unwrap();
    assert_eq!(summary.failures, []);
    assert_eq!(summary.outcome, Complete);
    let medium = &summary.media[0];
    assert!(!medium.partial);
    let census = medium.volumes[0].census.as_ref().unwrap();
    ingest::balance(census).unwrap();
    assert_eq!(census.stored, census.found);
    assert_eq!(census.found.count, 6, "two names are one file");
    assert_eq!(
        medium.copied.bytes_read,
        7 + 7 + 300_000 + 3,
        "holes are not read"
    );
    assert_eq!(blobs(&world), 5);
}

/// R3: the same directory again is the same medium, and nothing is copied again.
#[test]
fn r03_the_same_directory_twice_is_one_medium() {
    let world = World::new();
    let source = tree(&world);
    world.ingest(&source).unwrap();
    let again = world.ingest(&source).unwrap();
    assert_eq!(again.outcome, Complete);
    assert!(again.media[0].recognised.is_some());
    assert_eq!(again.media[0].copied.bytes_read, 0);
    assert_eq!(world.archive.catalogue().media().unwrap().len(), 1);
}

/// R45: a restored tree equals the catalogue, and a change of it is told.
#[test]
fn r45_restore_and_compare_agree() {
    let world = World::new();
    world.ingest(&tree(&world)).unwrap();
    let destination = world.dir.path().join("restored");
    let request = world.request(&destination);
    let restored = restore::run(&world.context(), &request).unwrap();
    assert_eq!(restored.problems, []);
    let compared = compare::run(&world.context(), &request).unwrap();
    assert_eq!(compared.listed, []);
    assert_eq!(compared.outcome, Complete);

    fs::write(destination.join("one"), b"CONTENT").unwrap();
    fs::write(destination.join("new"), b"").unwrap();
    let compared = compare::run(&world.context(), &request).unwrap();
    let attributes: Vec<&str> = compared
        .listed
        .iter()
        .map(|difference| difference.attribute.as_str())
        .collect();
    assert!(
        attributes.contains(&"content") && attributes.contains(&"extra"),
        "{attributes:?}"
    );
    assert_eq!(compared.outcome, DamageFound);
}

/// R4, R40: a source that is not there fails, and nothing is written.
#[test]
fn r04_a_missing_source_writes_nothing() {
    let world = World::new();
    let summary = world.ingest(Path::new("/nonexistent/source")).unwrap();
    assert_eq!(summary.failures.len(), 1);
    assert_eq!(summary.outcome.exit_code(), 1);
    assert!(world.archive.catalogue().media().unwrap().is_empty());
}

/// R38: an interrupted ingest says so, and the next one completes it.
#[test]
fn r38_an_interrupted_ingest_is_completed_by_the_next() {
    let mut world = World::new();
    let source = tree(&world);
    world.interrupt.raise();
    assert_eq!(world.ingest(&source).unwrap().outcome, Interrupted);
    world.interrupt = ntt_pipeline::Interrupt::new();
    assert_eq!(world.ingest(&source).unwrap().outcome, Complete);
    assert_eq!(blobs(&world), 5);
}

/// R42: verification reads every content.
#[test]
fn r42_verification_reads_every_content() {
    let world = World::new();
    world.ingest(&tree(&world)).unwrap();
    let plan = verify::plan(&world.archive, &verify::VerifyRequest::default()).unwrap();
    let summary = verify::run(&world.context(), &plan).unwrap();
    assert_eq!((summary.good, summary.outcome), (5, Complete));
}
