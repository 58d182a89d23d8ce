//! Verification when contents, or the whole store, cannot be read (R42, R44).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use ntt_catalogue::rows::BlobRow;
use ntt_model::BlobHash;
use ntt_pipeline::RunOutcome::{Complete, DamageFound};
use ntt_pipeline::ingest::{self, IngestRequest};
use ntt_pipeline::verify::{self, VerifyRequest, VerifySummary};
use ntt_pipeline::{Error, ErrorKind};
use ntt_store::Location;

use crate::world::World;

/// More than can be unreadable in a row.
const FILES: u8 = 80;

/// An archive of files that are each kept as a file.
fn ingested() -> World {
    let world = World::new();
    let source = world.dir.path().join("source");
    fs::create_dir(&source).unwrap();
    for number in 0..FILES {
        fs::write(source.join(number.to_string()), vec![number; 70_000]).unwrap();
    }
    assert_eq!(world.ingest(&source).unwrap().outcome, Complete);
    world
}

/// What the catalogue knows of contents.
fn blobs(world: &World) -> Vec<BlobRow> {
    let mut blobs = Vec::new();
    let mut keep = |blob: &BlobRow| {
        blobs.push(blob.clone());
        Ok(())
    };
    world.archive.catalogue().each_blob(None, &mut keep).unwrap();
    blobs
}

fn files_below(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// Makes files of contents such that opening them fails, and not because they are gone.
fn make_unreadable(world: &World, count: usize) {
    let mut files = Vec::new();
    files_below(&world.archive.root().join("blobs"), &mut files);
    assert_eq!(files.len(), usize::from(FILES));
    for file in &files[..count] {
        fs::remove_file(file).unwrap();
        symlink(file, file).unwrap();
    }
}

fn verify(world: &World) -> Result<VerifySummary, Error> {
    let plan = verify::plan(&world.archive, &VerifyRequest::default())?;
    verify::run(&world.context(), &plan)
}

/// R42: contents are read from one end of a pack to the other, one pack after the other, and not from wherever their digest leads; those that
/// were never verified before the others.
#[test]
fn r42_contents_are_read_in_the_order_of_the_disk() {
    let world = World::new();
    let source = world.dir.path().join("source");
    fs::create_dir(&source).unwrap();
    for number in 0..200_u8 {
        fs::write(source.join(number.to_string()), vec![number; 3000]).unwrap();
    }
    let request = IngestRequest {
        sources: vec![source],
        skip_verify: true,
        ..IngestRequest::default()
    };
    assert_eq!(ingest::run(&world.context(), &request).unwrap().outcome, Complete);
    let planned = || {
        let plan = verify::plan(&world.archive, &VerifyRequest::default()).unwrap();
        let mut contents = Vec::new();
        plan.each_content(&mut |hash| contents.push(hash)).unwrap();
        contents
    };
    let place = |hash: &BlobHash| match world.archive.store().info(hash).unwrap().unwrap().location {
        Location::Packed { pack, offset } => (pack, offset),
        Location::Loose { .. } => panic!("small contents are in packs"),
    };
    let all = planned();
    assert_eq!(all.len(), 200);
    assert!(!all.is_sorted(), "the order of digests is another one");
    let mut packs = Vec::new();
    for neighbours in all.windows(2) {
        let (before, after) = (place(&neighbours[0]), place(&neighbours[1]));
        assert!(before.0 != after.0 || before.1 < after.1);
        packs.push(after.0);
    }
    packs.dedup();
    let runs = packs.len();
    packs.sort_unstable();
    packs.dedup();
    assert_eq!(packs.len(), runs, "a pack is read once");
    let verified: Vec<_> = all[..50].iter().map(|hash| (*hash, true)).collect();
    world.archive.catalogue().record_verified(&verified).unwrap();
    let rest = planned();
    assert_eq!((&rest[..150], &rest[150..]), (&all[50..], &all[..50]));
}

/// R42: a few contents that cannot be read are damage, each of its own, also when nothing else comes after them.
#[test]
fn r42_contents_that_cannot_be_read_are_damaged() {
    for count in [1, 3] {
        let world = ingested();
        make_unreadable(&world, count);
        let summary = verify(&world).unwrap();
        assert_eq!((summary.outcome, summary.bad.len()), (DamageFound, count));
        assert_eq!(summary.good, u64::from(FILES) - u64::try_from(count).unwrap());
    }
}

/// R44: when nothing can be read any more it is the disk that has failed: no content is on record as damaged, and the exit code says so.
#[test]
fn r44_a_disk_that_gives_nothing_is_no_damage_of_contents() {
    let world = ingested();
    let before = blobs(&world);
    make_unreadable(&world, usize::from(FILES));
    let error = verify(&world).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(blobs(&world) == before);
}

/// R44: a store that is not there any more, say because its disk was pulled, has no missing contents.
#[test]
fn r44_a_store_that_is_gone_is_unreachable() {
    let world = ingested();
    let before = blobs(&world);
    let root = world.archive.root();
    for name in ["FORMAT", "blobs"] {
        fs::rename(root.join(name), root.join(format!("{name}.gone"))).unwrap();
    }
    let error = verify(&world).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    for name in ["FORMAT", "blobs"] {
        fs::rename(root.join(format!("{name}.gone")), root.join(name)).unwrap();
    }
    assert!(blobs(&world) == before);
    assert_eq!(verify(&world).unwrap().outcome, Complete);
}
