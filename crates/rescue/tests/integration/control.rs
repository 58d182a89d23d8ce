//! Pause, skip, stop, priority; what is shown meanwhile; hung reads.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ntt_mapfile::Status;
use ntt_model::ByteRange;
use ntt_rescue::engine::Outcome;
use ntt_rescue::monitor::STRIP_CELLS;
use ntt_rescue::policy::Phase;
use ntt_rescue::watch::Stopwatch;
use ntt_testkit::faulty::FaultyMedium;
use ntt_testkit::sim_disk::SimDisk;

use crate::world::World;

const SIZE: u64 = 16 << 20;

fn world(medium: FaultyMedium) -> World {
    let disk = SimDisk::new();
    ntt_host::Disk::create_dir_all(&disk, Path::new("/d")).expect("a directory");
    World::new(medium, Arc::new(disk), Path::new("/d"))
}

#[test]
fn a_stop_keeps_everything_and_the_next_run_goes_on() {
    let mut world = world(FaultyMedium::new(SIZE, 1));
    let monitor = Arc::clone(&world.monitor);
    world.on_read = Some(Box::new(move |number| {
        if number == 50 {
            monitor.stop();
        }
    }));
    let ended = world.run().expect("a quiet disk");
    assert_eq!(ended.outcome, Outcome::Stopped);
    let reads = world.medium().log().len();
    assert_eq!(reads, 50, "the read that is out is the last");
    world.monitor = Arc::default();
    let again = world.run().expect("a quiet disk");
    assert_eq!(again.outcome, Outcome::Done);
    let read_bytes: u64 = world.medium().log().iter().map(|read| read.range.len).sum();
    let sentinels = 8 * 4096;
    assert_eq!(read_bytes, SIZE + sentinels, "nothing else is read twice");
}

#[test]
fn what_has_priority_meanwhile_is_read_next() {
    let mut world = world(FaultyMedium::new(SIZE, 1));
    let wanted = ByteRange::new(9 << 20, 16 << 10);
    let monitor = Arc::clone(&world.monitor);
    world.on_read = Some(Box::new(move |number| {
        if number == 200 {
            monitor.prioritise(vec![wanted]);
        }
    }));
    let _ = world.run().expect("a quiet disk");
    assert_eq!(world.medium().log()[200].range, wanted);
}

/// While a read hangs, the display says for how long; the run stops when it returns.
#[test]
fn a_hung_read_is_seen_while_it_hangs() {
    let hang = ByteRange::new(8 << 20, 512);
    let mut world = world(FaultyMedium::new(SIZE, 1).hangs(hang, Duration::from_secs(45)));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (monitor, clock, log) = (Arc::clone(&world.monitor), world.clock.clone(), Arc::clone(&seen));
    world.on_read = Some(Box::new(move |_| {
        // Somebody else's thread, two seconds into this read.
        let later = clock.elapsed() + Duration::from_secs(2);
        log.lock().expect("whole").push(monitor.reading_for(later));
    }));
    let ended = world.run().expect("a quiet disk");
    assert_eq!(ended.stats.hung_reads, 1);
    assert!(ended.stats.good_latencies.longest_ms >= 45_000);
    let seen = seen.lock().expect("whole");
    assert!(
        seen.iter()
            .all(|reading| *reading == Some(Duration::from_secs(2)))
    );
    assert_eq!(
        world.monitor.reading_for(Duration::MAX),
        None,
        "no read is out any more"
    );
}

#[test]
fn a_snapshot_says_where_things_stand() {
    let bad = ByteRange::new(8 << 20, 2 << 20);
    let mut world = world(FaultyMedium::new(SIZE, 1).bad(bad));
    let snapshots = Arc::new(Mutex::new(Vec::new()));
    let (monitor, log) = (Arc::clone(&world.monitor), Arc::clone(&snapshots));
    world.on_read = Some(Box::new(move |_| {
        log.lock().expect("whole").push(monitor.snapshot());
    }));
    let ended = world.run().expect("a quiet disk");
    let snapshots = snapshots.lock().expect("whole");
    let phases: Vec<Option<Phase>> = snapshots.iter().map(|snapshot| snapshot.phase).collect();
    for phase in [Phase::Edges, Phase::Copy, Phase::Trim] {
        assert!(phases.contains(&Some(phase)), "{phase:?}");
    }
    let last = world.monitor.snapshot();
    assert_eq!(last.strip.len() as u64, STRIP_CELLS);
    assert!(
        last.strip.starts_with("++++") && last.strip.contains("-//"),
        "{}",
        last.strip
    );
    assert_eq!(last.states.rescued.bytes, ended.map.totals().finished.bytes);
    assert_eq!(last.failed_reads, world.medium().failures());
    let error = last.last_error.expect("an error");
    assert!(bad.contains_range(&ByteRange::new(error.offset, 512)));
    assert_eq!(ended.map.runs(Status::NonScraped).count(), 1);
}
