//! R8: a device that goes away, comes back, or is another one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ntt_mapfile::Status;
use ntt_model::ByteRange;
use ntt_rescue::engine::Outcome;
use ntt_testkit::faulty::{EIO, ENXIO, FaultyMedium, Vanishing};
use ntt_testkit::sim_disk::SimDisk;

use crate::world::World;

const SIZE: u64 = 2 << 20;

fn world(medium: FaultyMedium) -> World {
    let disk = SimDisk::new();
    ntt_host::Disk::create_dir_all(&disk, Path::new("/d")).expect("a directory");
    World::new(medium, Arc::new(disk), Path::new("/d"))
}

fn medium() -> FaultyMedium {
    FaultyMedium::new(SIZE, 6).lone_bad_sectors(20, ByteRange::new(0, SIZE), 512, 3)
}

fn vanishing(errno: i32) -> Vanishing {
    Vanishing {
        after_failures: Some(11),
        errno,
        ..Vanishing::default()
    }
}

/// It waits, finds the same device again by its bytes, and completes the image as if nothing had been.
#[test]
fn r8_a_device_that_comes_back_is_gone_on_with() {
    for errno in [EIO, ENXIO] {
        let mut world = world(medium().vanishing(vanishing(errno)));
        world.returns_at = Some(Duration::from_secs(30));
        let ended = world.run().expect("a quiet disk");
        assert_eq!((ended.outcome, ended.stats.disappearances), (Outcome::Done, 1));
        let bad: Vec<ByteRange> = ended.map.runs(Status::BadSector).collect();
        assert_eq!(bad, world.medium().bad_ranges());
        let expected = world.expected_image(&ended.map);
        assert_eq!(ended.digest.blake3, blake3::hash(&expected));
    }
}

/// A device that is gone from its first answer on is no medium full of bad sectors.
#[test]
fn r8_a_device_that_never_answers_leaves_the_map_untried() {
    let vanishing = Vanishing {
        after_reads: Some(0),
        errno: EIO,
        ..Vanishing::default()
    };
    let mut world = world(medium().vanishing(vanishing));
    let ended = world.run().expect("a quiet disk");
    assert_eq!(ended.outcome, Outcome::NobodyAnswers);
    assert_eq!(ended.map.totals().non_tried.bytes, SIZE);
    assert!(world.medium().failures() <= 32);
}

/// The disc was changed for another one that begins alike: nothing of the other one stays in the image.
#[test]
fn r8_a_medium_changed_for_one_that_begins_alike_is_noticed() {
    const SIZE: u64 = 16 << 20;
    let holding = |bytes: &[u8]| {
        let mut file = tempfile::tempfile().expect("a file");
        std::io::Write::write_all(&mut file, bytes).expect("written");
        FaultyMedium::new(SIZE, 0).holding(file)
    };
    let ours: Vec<u8> = (0..SIZE).map(|at| (at / 7).to_le_bytes()[0]).collect();
    let mut others = ours.clone();
    others[8192..].iter_mut().for_each(|byte| *byte ^= 1);
    let mut world = world(holding(&ours));
    world.policy.wait_for_device = Duration::ZERO;
    let mut other = Some(holding(&others).bad(ByteRange::new(SIZE / 2, SIZE / 8)));
    let changer = Arc::clone(&world.medium);
    world.on_read = Some(Box::new(move |reads| {
        if reads > 6
            && let Some(other) = other.take()
        {
            *changer.lock().expect("whole") = other;
        }
    }));
    let ended = world.run().expect("a quiet disk");
    assert!(world.medium().failures() > 0, "it was changed, and failed");
    assert_eq!(ended.outcome, Outcome::DeviceLost);
    assert_eq!(ended.map.totals().bad_sector.bytes, 0);
    let mut expected = ours;
    for unread in ended.map.unread_ranges(SIZE) {
        let start = usize::try_from(unread.offset).expect("small");
        expected[start..start + usize::try_from(unread.len).expect("small")].fill(0);
    }
    assert_eq!(ended.digest.blake3, blake3::hash(&expected));
}

/// Wherever the device goes away, and with whatever delay it fails: no sector that is good is ever called bad, and what is rescued is right.
#[test]
fn r8_no_place_to_vanish_makes_a_sector_bad() {
    for after in (1..200).step_by(9) {
        let vanishing = Vanishing {
            after_reads: Some(after),
            errno: EIO,
            ..Vanishing::default()
        };
        let mut world = world(medium().vanishing(vanishing));
        world.policy.wait_for_device = Duration::ZERO;
        let ended = world.run().expect("a quiet disk");
        let truly_bad = world.medium().bad_ranges().to_vec();
        for run in ended.map.runs(Status::BadSector) {
            assert!(truly_bad.contains(&run), "after {after} reads: {run}");
        }
        let expected = world.expected_image(&ended.map);
        assert_eq!(
            ended.digest.blake3,
            blake3::hash(&expected),
            "after {after} reads"
        );
        if ended.outcome == Outcome::Done {
            continue;
        }
        world.medium().come_back();
        let again = world.run().expect("a quiet disk");
        assert_eq!(again.map.runs(Status::BadSector).collect::<Vec<_>>(), truly_bad);
        let expected = world.expected_image(&again.map);
        assert_eq!(again.digest.blake3, blake3::hash(&expected));
    }
}
