//! R10: whenever the power goes, no map claims a byte that is not in the image, and going on comes to the same end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ntt_mapfile::{Mapfile, Status};
use ntt_model::ByteRange;
use ntt_rescue::Paths;
use ntt_rescue::engine::{Ended, Outcome};
use ntt_rescue::policy::{Patience, Policy};
use ntt_testkit::faulty::{Cost, FaultyMedium};
use ntt_testkit::sim_disk::SimDisk;

use crate::world::World;

const SIZE: u64 = (1 << 20) + (128 << 10) + 1536;

/// A small medium that takes long: several checkpoints, some of them among failures.
fn medium() -> FaultyMedium {
    let cost = Cost {
        bytes_per_second: 25_000,
        per_read: Duration::from_millis(1),
        per_failure: Duration::from_millis(400),
    };
    FaultyMedium::new(SIZE, 3)
        .costing(cost)
        .zeros(ByteRange::new(512 << 10, 192 << 10))
        .bad(ByteRange::new(100 * 512, 512))
        .bad(ByteRange::new(900 * 512, 1024))
        .bad(ByteRange::new(SIZE - 512, 512))
}

fn world(disk: &SimDisk) -> World {
    let mut world = World::new(medium(), Arc::new(disk.clone()), Path::new("/d"));
    world.policy = Policy {
        retry_rounds_max: 1,
        ..Policy::of(Patience::Days)
    };
    world
}

/// The same with threads that write, hash and sync, as the program has them: what they had done when the power went is different every time.
fn world_of_threads(disk: &SimDisk) -> World {
    let mut world = world(disk);
    world.options.background = true;
    world
}

fn fresh_disk() -> SimDisk {
    let disk = SimDisk::new();
    ntt_host::Disk::create_dir_all(&disk, Path::new("/d")).expect("a directory");
    disk
}

fn paths() -> Paths {
    Paths::new(Path::new("/d/image"), None)
}

/// The map and the image on a disk; nothing if there is no map yet.
fn found(disk: &SimDisk) -> Option<(Mapfile, Vec<u8>)> {
    let mut files = disk.files();
    let map = files.remove(&paths().map)?;
    let map = Mapfile::parse(&map).expect("a map is whole, or is not there");
    Some((map, files.remove(&paths().image).unwrap_or_default()))
}

fn assert_true(map: &Mapfile, image: &[u8], context: &str) {
    for run in map.runs(Status::Finished) {
        let mut expected = vec![0; usize::try_from(run.len).expect("small")];
        medium().content(run.offset, &mut expected);
        let start = usize::try_from(run.offset).expect("small");
        let claimed = image.get(start..start + expected.len());
        assert!(
            claimed == Some(expected.as_slice()),
            "{context}: {run} is claimed, and is not in the image"
        );
    }
}

/// After the power went at a step: what is on the disk is true, and the next run comes to the same end.
fn assert_goes_on(disk: &SimDisk, step: u64, world: fn(&SimDisk) -> World, end: (&Ended, &Mapfile)) {
    let rebooted = disk.reboot(step);
    if let Some((map, image)) = found(&rebooted) {
        assert_true(&map, &image, &format!("step {step}"));
    }
    let again = world(&rebooted).run().expect("a quiet disk");
    let (map, image) = found(&rebooted).expect("files");
    assert_eq!(map.blocks(), end.1.blocks(), "step {step}");
    assert_true(&map, &image, &format!("step {step}, resumed"));
    assert_eq!(again.digest.blake3, end.0.digest.blake3, "step {step}");
}

#[test]
fn r10_the_power_may_go_after_any_step() {
    let whole = fresh_disk();
    let ended = world(&whole).run().expect("a quiet disk");
    assert_eq!(ended.outcome, Outcome::Done);
    let (end_map, end_image) = found(&whole).expect("files");
    assert_true(&end_map, &end_image, "the whole run");
    let steps = whole.steps() - fresh_disk().steps();
    assert!(steps > 150, "{steps}");
    // Every step is tried over a few seeds of what survives; the stride keeps the suite quick, and its phase moves with the seed.
    for step in (0..steps).step_by(3) {
        let disk = fresh_disk();
        disk.crash_after(disk.steps() + step);
        let result = world(&disk).run();
        assert!(result.is_err(), "the power went at step {step} of {steps}");
        assert_goes_on(&disk, step, world, (&ended, &end_map));
    }
}

#[test]
fn r10_the_power_may_go_while_threads_write() {
    let whole = fresh_disk();
    let ended = world_of_threads(&whole).run().expect("a quiet disk");
    let (end_map, end_image) = found(&whole).expect("files");
    assert_true(&end_map, &end_image, "the whole run");
    let inline = world(&fresh_disk()).run().expect("a quiet disk");
    assert_eq!(ended.digest, inline.digest);
    for step in (0..whole.steps() - fresh_disk().steps()).step_by(5) {
        let disk = fresh_disk();
        disk.crash_after(disk.steps() + step);
        // Threads may come to the end in fewer steps than they took above.
        let _ = world_of_threads(&disk).run();
        assert_goes_on(&disk, step, world_of_threads, (&ended, &end_map));
    }
}

/// At most five seconds of reading are done again after a kill.
#[test]
fn r10_a_kill_costs_five_seconds_at_most() {
    let whole = fresh_disk();
    let mut full = world(&whole);
    let _ = full.run().expect("a quiet disk");
    let total = ntt_rescue::watch::Stopwatch::elapsed(&full.clock);
    for step in (20..whole.steps()).step_by(31) {
        let disk = fresh_disk();
        disk.crash_after(disk.steps() + step);
        let mut first = world(&disk);
        assert!(first.run().is_err());
        let rebooted = disk.reboot(step);
        let mut second = world(&rebooted);
        let _ = second.run().expect("a quiet disk");
        let [one, two] = [&first, &second].map(|world| ntt_rescue::watch::Stopwatch::elapsed(&world.clock));
        // The longest read and the retries, which each run makes for itself, come on top.
        let allowed = total + Duration::from_secs(5) + Duration::from_secs(3);
        assert!(
            one + two <= allowed,
            "step {step}: {one:?} + {two:?} > {allowed:?}"
        );
    }
}

/// A target that fails stops the run; what is on disk stays true.
#[test]
fn r39_errors_of_the_target_stop_the_run_and_harm_nothing() {
    let whole = fresh_disk();
    let _ = world(&whole).run().expect("a quiet disk");
    for errno in [28, 5] {
        for step in (1..whole.steps() - 1).step_by(13) {
            let disk = fresh_disk();
            disk.fail_at(disk.steps() + step, errno);
            if let Err(error) = world(&disk).run() {
                assert_eq!(error.is_full(), errno == 28, "{error}");
            }
            let rebooted = disk.reboot(step);
            if let Some((map, image)) = found(&rebooted) {
                assert_true(&map, &image, &format!("errno {errno} at step {step}"));
            }
        }
    }
}

/// The same when the error comes to a thread: the run is told, and the files are free for the next one.
#[test]
fn r39_errors_that_threads_meet_stop_the_run_and_harm_nothing() {
    let whole = fresh_disk();
    let _ = world_of_threads(&whole).run().expect("a quiet disk");
    let mut refused = 0;
    for step in (1..whole.steps() - 1).step_by(7) {
        let disk = fresh_disk();
        disk.fail_at(disk.steps() + step, 5);
        refused += u32::from(world_of_threads(&disk).run().is_err());
        if let Some((map, image)) = found(&disk) {
            assert_true(&map, &image, &format!("step {step}"));
        }
        let again = world_of_threads(&disk.reboot(step)).run();
        assert_eq!(again.expect("a quiet disk").outcome, Outcome::Done, "step {step}");
    }
    assert!(refused > 5, "{refused}");
}

/// It stops before the target is full, and says what is needed.
#[test]
fn r39_it_stops_before_the_target_is_full() {
    let disk = fresh_disk();
    disk.set_free_bytes(1 << 20);
    let mut world = world(&disk);
    world.options.accept_space = false;
    let error = world.run().expect_err("no room");
    assert!(error.is_full());
    assert!(world.medium().log().is_empty(), "not one read was wasted");
}

/// A target that fills up while it works: it stops in time, and what was read is kept.
#[test]
fn r39_what_was_read_before_the_target_filled_up_is_kept() {
    let disk = fresh_disk();
    let size = 66 << 20;
    let medium = FaultyMedium::new(size, 3).zeros(ByteRange::new(0, size));
    let mut world = World::new(medium, Arc::new(disk.clone()), Path::new("/d"));
    let filling = disk.clone();
    world.on_read = Some(Box::new(move |_| filling.set_free_bytes(1 << 20)));
    let error = world.run().expect_err("no room for all of it");
    assert!(error.is_full(), "{error}");
    let map = disk.files().remove(&paths().map).expect("a map");
    let kept = Mapfile::parse(&map).expect("whole").totals().finished.bytes;
    let read: u64 = world.medium().log().iter().map(|read| read.range.len).sum();
    let last = world.medium().log().last().expect("reads").range.len;
    assert_eq!(kept, read - last, "all but the read that found no room");
}
