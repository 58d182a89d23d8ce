//! Going on from what an earlier run, or ddrescue, left.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ntt_host::RealDisk;
use ntt_mapfile::{Mapfile, Status};
use ntt_model::ByteRange;
use ntt_rescue::engine::Outcome;
use ntt_rescue::tree::Fill;
use ntt_rescue::{Error, Paths};
use ntt_testkit::faulty::FaultyMedium;

use crate::world::World;

const SIZE: u64 = 6 << 20;

fn world(medium: FaultyMedium, directory: &Path) -> World {
    World::new(medium, Arc::new(RealDisk), directory)
}

fn medium() -> FaultyMedium {
    FaultyMedium::new(SIZE, 9)
        .zeros(ByteRange::new(3 << 20, 1 << 20))
        .lone_bad_sectors(30, ByteRange::new(0, SIZE), 512, 5)
}

/// R6: full size, sparse; unread and zero ranges are holes, and only the map tells them apart.
#[test]
fn r6_the_image_has_full_size_and_holes() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut world = world(medium(), directory.path());
    let ended = world.run().expect("the target is fine");
    let image = std::fs::read(world.paths().image).expect("an image");
    assert_eq!(image, world.expected_image(&ended.map));
    assert_eq!(ended.digest.blake3, blake3::hash(&image));
    assert_eq!(
        (ended.digest.fill, ended.digest.unclaimed_bytes),
        (Fill::Mixed, 0)
    );
    let metadata = std::fs::metadata(world.paths().image).expect("an image");
    let blocks = std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
    assert!(blocks <= SIZE - (1 << 20) + (64 << 10), "{blocks} bytes on disk");
}

/// R13: the fill is that of all rescued bytes; unread ones do not count.
#[test]
fn r13_a_medium_of_one_byte_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let medium = medium().zeros(ByteRange::new(0, SIZE));
    let ended = world(medium, directory.path()).run().expect("the target is fine");
    assert_eq!(ended.digest.fill, Fill::Byte(0));
}

#[test]
fn a_finished_image_is_not_read_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut world = world(medium(), directory.path());
    let first = world.run().expect("the target is fine");
    let reads = world.medium().log().len();
    let second = world.run().expect("the target is fine");
    assert_eq!(second.digest.blake3, first.digest.blake3);
    let medium = world.medium();
    let mut retries = medium.log()[reads..].iter();
    assert!(
        retries.all(|read| read.range.len <= 4096),
        "only sentinels and retries"
    );
}

#[test]
fn an_image_that_changed_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut world = world(FaultyMedium::new(SIZE, 9), directory.path());
    let _ = world.run().expect("the target is fine");
    let mut image = std::fs::read(world.paths().image).expect("an image");
    image[1_234_567] ^= 1;
    std::fs::write(world.paths().image, image).expect("written");
    let error = world.run().expect_err("the image rotted");
    assert!(error.to_string().contains("1048576"), "{error}");
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut world = world(FaultyMedium::new(SIZE, 9), directory.path());
    std::fs::write(world.paths().image, b"mine").expect("written");
    assert!(
        matches!(world.run(), Err(Error::Refused(_))),
        "an image without a map"
    );
    let mut map = Mapfile::untried(SIZE);
    map.set(ByteRange::new(0, 4096), Status::Finished)
        .expect("few blocks");
    std::fs::write(world.paths().map, map.to_bytes()).expect("written");
    assert!(
        matches!(world.run(), Err(Error::Refused(_))),
        "a map that claims too much"
    );
    std::fs::write(world.paths().map, Mapfile::untried(SIZE * 2).to_bytes()).expect("written");
    assert!(matches!(world.run(), Err(Error::Refused(_))), "another size");
    assert_eq!(std::fs::read(world.paths().image).expect("an image"), b"mine");
}

/// Another disk was put in: not one byte of it gets into the image.
/// Another run holds the image: not even its map is looked at, which may be a newer one a moment later.
#[test]
fn a_held_image_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let paths = Paths::new(&directory.path().join("image"), None);
    std::fs::write(&paths.image, [0; 512]).expect("written");
    std::fs::write(&paths.map, "no map").expect("written");
    let holder = std::fs::File::open(&paths.image).expect("a file");
    holder.lock().expect("a lock");
    let mut world = World::new(FaultyMedium::new(512, 1), Arc::new(RealDisk), directory.path());
    assert!(matches!(world.run(), Err(Error::Held(_))));
    drop(holder);
    assert!(matches!(world.run(), Err(Error::Map { .. })));
}

#[test]
fn another_medium_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut first = world(medium(), directory.path());
    let _ = first.run().expect("the target is fine");
    let before = std::fs::read(first.paths().image).expect("an image");
    let mut second = world(FaultyMedium::new(SIZE, 10), directory.path());
    let error = second.run().expect_err("another medium");
    assert!(matches!(error, Error::Refused(_)), "{error}");
    assert_eq!(std::fs::read(first.paths().image).expect("an image"), before);
}

/// The same disc in a drive that sees less of it: the tail stays untried, and nothing is read beyond the end.
#[test]
fn a_smaller_drive_keeps_the_tail_untried() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut world = world(FaultyMedium::new(SIZE, 9), directory.path());
    std::fs::write(world.paths().map, Mapfile::untried(SIZE + 4096).to_bytes()).expect("written");
    world.options.accept_size = true;
    let ended = world.run().expect("the target is fine");
    assert_eq!(
        ended.map.runs(Status::NonTried).collect::<Vec<_>>(),
        [ByteRange::new(SIZE, 4096)]
    );
    let image = std::fs::read(world.paths().image).expect("an image");
    assert_eq!(image.len() as u64, SIZE + 4096);
    assert_eq!(ended.digest.blake3, blake3::hash(&image));
}

/// ddrescue begins, we go on, ddrescue checks: the same file, the same sums. Zeros where it could not read would show.
#[test]
fn ddrescue_and_we_go_on_with_each_others_work() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut world = world(medium(), directory.path());
    let mut content = vec![0; SIZE as usize];
    world.medium().content(0, &mut content);
    let source = directory.path().join("source");
    std::fs::write(&source, &content).expect("a source");
    let paths = world.paths();
    let ddrescue = |arguments: &[&str]| {
        let status = Command::new("ddrescue")
            .arg("-q")
            .args(arguments)
            .args([&source, &paths.image, &paths.map])
            .status();
        status.map(|status| assert!(status.success())).is_ok()
    };
    // The first 2 MiB are theirs.
    if !ddrescue(&["-s", "2Mi"]) {
        eprintln!("skipped: ddrescue is not installed");
        return;
    }
    world.options.accept_size = true;
    let ended = world.run().expect("the target is fine");
    assert_eq!(ended.outcome, Outcome::Done);
    assert!(
        world
            .medium()
            .log()
            .iter()
            .all(|read| read.range.offset >= 2 << 20 || read.range.len <= 4096),
        "what they had is not read again, but for sentinels"
    );
    let log = Command::new("ddrescuelog")
        .arg("-t")
        .arg(&paths.map)
        .output()
        .expect("ddrescuelog");
    let shown = String::from_utf8_lossy(&log.stdout);
    let rescued = ended.map.totals().finished.bytes;
    assert!(
        shown.contains(&format!("{rescued} B")) || shown.contains("finished"),
        "{shown}"
    );
    // Now they retry our bad sectors on a source without faults, and the image is the medium.
    assert!(ddrescue(&["-r", "1"]));
    assert_eq!(std::fs::read(&paths.image).expect("an image"), content);
    let map = Mapfile::parse(&std::fs::read(&paths.map).expect("a map")).expect("their map");
    assert_eq!(map.totals().finished.bytes, SIZE);
}
