//! Bar F: once a medium shows damage, what its files need is read before the rest, and a dead zone in free space holds nothing up.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ntt_host::RealDisk;
use ntt_inspect::survey::survey;
use ntt_mapfile::{Mapfile, Status};
use ntt_model::ByteRange;
use ntt_rescue::advisor::{Advice, Advisor};
use ntt_rescue::engine::Outcome;
use ntt_rescue::watch::Stopwatch;
use ntt_source::{FileSource, Masked};
use ntt_testkit::faulty::{FaultyMedium, bars};
use ntt_testkit::part_full::{Kind, PartFull};

use crate::world::World;

/// The readers, in this process: the bytes are ours.
#[derive(Debug)]
struct Readers {
    image: PathBuf,
    asked: Arc<std::sync::atomic::AtomicU32>,
}

impl Advisor for Readers {
    fn advise(&mut self, map: &Mapfile) -> Advice {
        self.asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let file = FileSource::open(&self.image).expect("the image");
        let source = Masked::new(file, map.unread_ranges(map.extent().end()));
        let found = survey(&source, Instant::now() + Duration::from_secs(60));
        Advice {
            needed: found.needed,
            structures: found.structures,
            in_use: found.in_use,
        }
    }
}

/// A run, and how often the readers were asked.
struct Finished {
    world: World,
    map: Mapfile,
    total: Duration,
    asked: u32,
}

fn rescue(medium: FaultyMedium, advised: bool) -> Finished {
    let directory = tempfile::tempdir().expect("a directory");
    let mut world = World::new(medium, Arc::new(RealDisk), directory.path());
    let asked = Arc::default();
    if advised {
        world.advisor = Some(Box::new(Readers {
            image: world.paths().image,
            asked: Arc::clone(&asked),
        }));
    }
    let ended = world.run().expect("the target is fine");
    assert_eq!(ended.outcome, Outcome::Done);
    Finished {
        map: ended.map,
        total: world.clock.elapsed(),
        world,
        asked: asked.load(std::sync::atomic::Ordering::Relaxed),
    }
}

/// When the last byte of these ranges had come, in seconds.
fn seconds_to_all(run: &Finished, wanted: &[ByteRange]) -> f64 {
    let medium = run.world.medium();
    let log = medium.log();
    let ends = log.iter().skip(1).map(|record| record.at).chain([run.total]);
    let mut lacking = Mapfile::untried(bars::SIZE_BYTES);
    for range in wanted {
        lacking.set(*range, Status::BadSector).expect("few blocks");
    }
    let mut left: u64 = wanted.iter().map(|range| range.len).sum();
    for (record, end) in log.iter().zip(ends) {
        if record.good {
            left -= lacking.bytes_within(Status::BadSector, record.range);
            lacking.set(record.range, Status::Finished).expect("few blocks");
        }
        if left == 0 {
            return end.as_secs_f64();
        }
    }
    f64::INFINITY
}

/// At most 0.6 of the time without readers, in virtual seconds; `ntt-bench rescue --cases f` measures against GNU ddrescue.
fn bar(kind: Kind) {
    let Some(volume) = PartFull::new(kind) else { return };
    let wanted = volume.whole_files();
    assert!(wanted.iter().map(|range| range.len).sum::<u64>() > bars::SIZE_BYTES / 4);
    let plain = rescue(volume.medium(), false);
    let ordered = rescue(volume.medium(), true);
    let [before, after] = [&plain, &ordered].map(|run| seconds_to_all(run, &wanted));
    assert!(
        after <= 0.6 * before,
        "{after:.1} s with readers, {before:.1} s without"
    );
    assert!((2..=12).contains(&ordered.asked), "asked {} times", ordered.asked);
    // In the end the same is rescued.
    let rescued = |run: &Finished| run.map.totals().finished.bytes;
    assert_eq!(rescued(&plain), rescued(&ordered));
    assert_eq!(rescued(&ordered), bars::SIZE_BYTES - (16 << 20));
}

#[test]
fn f_files_of_ext4_are_complete_before_the_image_is() {
    bar(Kind::Ext4);
}

#[test]
fn f_files_of_fat_are_complete_before_the_image_is() {
    bar(Kind::Fat);
}

/// Without damage, in plain order: nobody is asked.
#[test]
fn a_clean_medium_is_read_from_end_to_end() {
    let run = rescue(FaultyMedium::new(8 << 20, 3), true);
    assert_eq!(run.asked, 0);
    let offsets: Vec<u64> = run
        .world
        .medium()
        .log()
        .iter()
        .map(|record| record.range.offset)
        .collect();
    assert!(offsets.iter().skip_while(|offset| **offset < 7 << 20).count() > 0);
}

/// A medium that holds no file system is read in plain order after a bounded number of questions.
#[test]
fn nothing_recognised_costs_little() {
    let medium = || FaultyMedium::new(64 << 20, 3).bad(ByteRange::new(20 << 20, 1 << 20));
    let (plain, asked) = (rescue(medium(), false), rescue(medium(), true));
    assert!((1..=3).contains(&asked.asked), "asked {} times", asked.asked);
    let [plain_reads, asked_reads] = [&plain, &asked].map(|run| run.world.medium().log().len());
    assert!(
        asked_reads <= plain_reads + 300,
        "{asked_reads} reads, {plain_reads} without"
    );
    assert_eq!(
        plain.map.totals().finished.bytes,
        asked.map.totals().finished.bytes
    );
}
