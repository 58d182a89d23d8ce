//! Verification when contents, or the whole store, cannot be read (R42, R44).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use ntt_catalogue::rows::BlobRow;
use ntt_pipeline::RunOutcome::{Complete, DamageFound};
use ntt_pipeline::verify::{self, VerifyRequest, VerifySummary};
use ntt_pipeline::{Error, ErrorKind};

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
