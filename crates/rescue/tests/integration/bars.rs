//! The bars against GNU ddrescue 1.27 (docs/design/rescue.md): virtual seconds and exact numbers of failed reads on the model's medium of
//! 256 MiB. `cargo run --release -p ntt-bench -- rescue` shows the same with ddrescue beside it.

use std::sync::Arc;
use std::time::Duration;

use ntt_host::RealDisk;
use ntt_mapfile::Status;
use ntt_model::ByteRange;
use ntt_rescue::engine::{Ended, Outcome};
use ntt_testkit::faulty::{FaultyMedium, bars};

use crate::world::World;

/// What a run came to, from the medium's own log.
struct Curve {
    ended: Ended,
    world: World,
    /// When each new byte range came: end of the read, bytes.
    gains: Vec<(Duration, u64)>,
    total: Duration,
}

fn rescue(medium: FaultyMedium) -> Curve {
    let directory = tempfile::tempdir().expect("a directory");
    // Zeros, so that 256 MiB cost no space; what lies where is the business of other tests.
    let medium = medium.zeros(ByteRange::new(0, bars::SIZE_BYTES));
    let mut world = World::new(medium, Arc::new(RealDisk), directory.path());
    let ended = world.run().expect("the target is fine");
    let total = ntt_rescue::watch::Stopwatch::elapsed(&world.clock);
    let gains = gains(&world, total);
    Curve {
        ended,
        world,
        gains,
        total,
    }
}

/// Unique bytes over time: what counts is what the medium gave, not what the program says.
fn gains(world: &World, total: Duration) -> Vec<(Duration, u64)> {
    let medium = world.medium();
    let log = medium.log();
    let mut seen = ntt_mapfile::Mapfile::untried(bars::SIZE_BYTES);
    let ends = log.iter().skip(1).map(|record| record.at).chain([total]);
    let mut gains = Vec::new();
    for (record, end) in log.iter().zip(ends) {
        if record.good {
            let new = record.range.len - seen.bytes_within(Status::Finished, record.range);
            seen.set(record.range, Status::Finished).expect("few blocks");
            gains.push((end, new));
        }
    }
    gains
}

impl Curve {
    fn failures(&self) -> u64 {
        self.world.medium().failures()
    }

    fn recoverable(&self) -> u64 {
        let bad: u64 = self
            .world
            .medium()
            .bad_ranges()
            .iter()
            .map(|range| range.len)
            .sum();
        bars::SIZE_BYTES - bad
    }

    /// Seconds until so many per mille of what can be recovered were there.
    fn seconds_to(&self, per_mille: u64) -> f64 {
        let need = self.recoverable() / 1000 * per_mille;
        let mut sum = 0;
        let reached = self.gains.iter().find(|(_, bytes)| {
            sum += bytes;
            sum >= need
        });
        reached.map_or(f64::INFINITY, |(at, _)| at.as_secs_f64())
    }

    fn lost_bytes(&self) -> u64 {
        bars::SIZE_BYTES - self.ended.map.totals().finished.bytes
    }
}

fn below(what: &str, actual: f64, bar: f64) {
    assert!(actual <= bar, "{what}: {actual:.1} > {bar}");
}

#[test]
fn a_500_lone_bad_sectors() {
    let curve = rescue(bars::a());
    below("95 %", curve.seconds_to(950), 50.0);
    below("99 %", curve.seconds_to(990), 76.0);
    below("all", curve.seconds_to(1000), 90.0);
    below("total", curve.total.as_secs_f64(), 90.0);
    assert_eq!(curve.failures(), 996);
    // The map is the one that ddrescue comes to: every bad sector is found by itself, everything else is rescued.
    let bad: Vec<ByteRange> = curve.ended.map.runs(Status::BadSector).collect();
    assert_eq!(bad, curve.world.medium().bad_ranges());
    assert_eq!(curve.lost_bytes(), 500 * 512);
}

#[test]
fn b_a_dead_zone_of_8_mib() {
    let curve = rescue(bars::b());
    below("all", curve.seconds_to(1000), 12.0);
    assert_eq!(curve.failures(), 35);
    let zone = curve.world.medium().bad_ranges()[0];
    // Its edges are exact; inside them nothing is called bad that was not tried.
    assert_eq!(curve.ended.map.zone_at(zone.offset), Some(zone));
    let inside = ByteRange::new(zone.offset + 512, zone.len - 1024);
    assert_eq!(
        curve.ended.map.runs(Status::NonScraped).collect::<Vec<_>>(),
        [inside]
    );
}

#[test]
fn c_a_slow_zone_of_16_mib() {
    let curve = rescue(bars::c());
    below("90 %", curve.seconds_to(900), 16.0);
    below("total", curve.total.as_secs_f64(), 89.0);
    assert_eq!(curve.lost_bytes(), 50 * 512);
    assert_eq!(curve.failures(), 116);
}

#[test]
fn d_200_flaky_sectors() {
    let curve = rescue(bars::d());
    assert_eq!(curve.lost_bytes(), 0);
    below("total", curve.total.as_secs_f64(), 45.0);
    assert_eq!(curve.failures(), 465);
    assert_eq!(curve.ended.outcome, Outcome::Done);
}

/// R8: a device that goes away and answers EIO to everything never marks a sector bad, and the next run completes the image.
#[test]
fn r8_e_the_device_goes_away_after_20_errors() {
    let mut curve = rescue(bars::e());
    assert_eq!(curve.ended.outcome, Outcome::DeviceLost);
    // Three to suspect, one to be sure, and one look after 5, 15, 35 and 60 s.
    assert_eq!(curve.failures() - 20, 8, "reads of a device that is not there");
    let truly_bad: Vec<ByteRange> = curve.world.medium().bad_ranges().to_vec();
    let wrongly_bad = curve
        .ended
        .map
        .runs(Status::BadSector)
        .filter(|run| !truly_bad.contains(run));
    assert_eq!(wrongly_bad.count(), 0);

    curve.world.medium().come_back();
    let directory = tempfile::tempdir().expect("a directory");
    curve.world.directory = directory.path().to_owned();
    let paths = curve.world.paths();
    std::fs::write(&paths.map, curve.ended.map.to_bytes()).expect("a map");
    std::fs::File::create(&paths.image)
        .and_then(|image| image.set_len(bars::SIZE_BYTES))
        .expect("an image");
    let again = curve.world.run().expect("the target is fine");
    assert_eq!(again.outcome, Outcome::Done);
    assert_eq!(again.map.runs(Status::BadSector).collect::<Vec<_>>(), truly_bad);
}
