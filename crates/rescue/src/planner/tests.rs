//! The planner against small media of rules, read by read.

use std::collections::BTreeSet;

use ntt_testkit::faulty::FaultyMedium;
use proptest::prelude::*;

use super::*;
use crate::policy::Patience;

const SECTOR: u64 = 512;
const SIZE: u64 = 2 << 20;

/// Drives planners over a medium.
struct Drive {
    planner: Planner,
    medium: FaultyMedium,
    now: Duration,
    policy: Policy,
    /// A read that fails brings what stands before the first bad sector.
    partial: bool,
}

impl Drive {
    fn new(medium: FaultyMedium, policy: Policy) -> Self {
        let map = Mapfile::untried(medium.size_bytes());
        Self {
            planner: planner(&map, medium.size_bytes(), &policy),
            medium,
            now: Duration::ZERO,
            policy,
            partial: false,
        }
    }

    /// One read; `false` at the end.
    fn step(&mut self) -> bool {
        let Some(request) = self.planner.next(self.now) else {
            return false;
        };
        let range = request.range;
        assert!(!range.is_empty() && range.end() <= self.medium.size_bytes());
        assert!(range.offset.is_multiple_of(SECTOR));
        assert_eq!(
            self.planner.map().bytes_within(Status::Finished, range),
            0,
            "nothing is read twice"
        );
        let (result, latency) = self.medium.read(self.now, range);
        self.now += latency;
        let good_bytes = match result {
            Ok(()) => range.len,
            Err(_) if self.partial => self.before_first_bad(range),
            Err(_) => 0,
        };
        self.planner.report(Reading { good_bytes, latency });
        true
    }

    fn before_first_bad(&self, range: ByteRange) -> u64 {
        let bad = self.medium.bad_ranges().iter();
        bad.filter_map(|bad| bad.intersection(&range))
            .map(|bad| bad.offset - range.offset)
            .min()
            .unwrap_or(0)
    }

    fn run(mut self) -> Self {
        while self.step() {
            assert!(self.medium.log().len() < 20_000, "it ends");
        }
        self
    }

    /// The program is killed after so many reads, and begins again from the map alone.
    fn run_interrupted(mut self, every: usize) -> Self {
        loop {
            for _ in 0..every {
                if !self.step() {
                    return self;
                }
            }
            let map = Mapfile::parse(&self.planner.map().to_bytes()).expect("our own map");
            self.planner = planner(&map, self.medium.size_bytes(), &self.policy);
            assert!(self.medium.log().len() < 20_000, "it ends");
        }
    }

    fn runs(&self, status: Status) -> Vec<ByteRange> {
        self.planner.map().runs(status).collect()
    }
}

fn planner(map: &Mapfile, size_bytes: u64, policy: &Policy) -> Planner {
    Planner::new(map, Geometry::new(size_bytes, 512), policy.clone())
}

/// Bad ranges of whole sectors, ascending and apart.
fn any_bad() -> impl Strategy<Value = Vec<ByteRange>> {
    let sectors = SIZE / SECTOR;
    proptest::collection::vec((0..sectors, prop_oneof![4 => 1..3_u64, 1 => 1..1500_u64]), 0..12).prop_map(
        move |pairs| {
            let bad: BTreeSet<u64> = pairs
                .into_iter()
                .flat_map(|(at, len)| at..(at + len).min(sectors))
                .collect();
            let mut ranges = Vec::new();
            for sector in bad {
                ntt_model::range::push_joined(&mut ranges, ByteRange::new(sector * SECTOR, SECTOR));
            }
            ranges
        },
    )
}

fn medium(bad: &[ByteRange]) -> FaultyMedium {
    bad.iter()
        .fold(FaultyMedium::new(SIZE, 1), |medium, range| medium.bad(*range))
}

/// Everything that can be read, however long it takes.
fn days() -> Policy {
    Policy {
        retry_rounds_max: 1,
        ..Policy::of(Patience::Days)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// With patience, the map is exactly the medium: every good sector rescued, every bad one called bad.
    #[test]
    fn patience_finds_every_sector(bad in any_bad(), partial in any::<bool>()) {
        let mut drive = Drive::new(medium(&bad), days());
        drive.partial = partial;
        let drive = drive.run();
        prop_assert_eq!(drive.runs(Status::BadSector), bad);
        prop_assert_eq!(drive.planner.map().totals().non_scraped.bytes, 0);
        prop_assert_eq!(drive.planner.map().activity, Activity::Finished);
    }

    /// Killed after every read, it comes to the same map. Retries are no part of that: each run makes its own.
    #[test]
    fn any_interruption_comes_to_the_same_map(bad in any_bad(), every in 1..40_usize) {
        let policy = Policy { retry_rounds_max: 0, ..days() };
        let whole = Drive::new(medium(&bad), policy.clone()).run();
        let pieces = Drive::new(medium(&bad), policy).run_interrupted(every);
        prop_assert_eq!(whole.planner.map().blocks(), pieces.planner.map().blocks());
    }

    /// Without it, dead zones are left, but delimited: nothing is untried or untrimmed, and whatever is left lies between bad sectors.
    #[test]
    fn by_default_only_dead_zones_are_left(bad in any_bad()) {
        let drive = Drive::new(medium(&bad), Policy::default()).run();
        let totals = drive.planner.map().totals();
        prop_assert_eq!((totals.non_tried.bytes, totals.non_trimmed.bytes), (0, 0));
        for left in drive.runs(Status::NonScraped) {
            prop_assert!(left.len > Policy::default().scrape_run_bytes_max);
            let zone = drive.planner.map().zone_at(left.offset).expect("not rescued");
            let at = |offset| drive.planner.map().status_at(offset);
            prop_assert_eq!(at(zone.offset), Some(Status::BadSector));
            prop_assert_eq!(at(zone.end() - 1), Some(Status::BadSector));
        }
    }
}

#[test]
fn a_clean_medium_is_read_once_in_order() {
    let size = 64 << 20;
    let drive = Drive::new(FaultyMedium::new(size, 1), Policy::default()).run();
    assert_eq!(drive.runs(Status::Finished), [ByteRange::new(0, size)]);
    let log = drive.medium.log();
    let body = log
        .iter()
        .skip_while(|read| read.range.offset != 1 << 20)
        .collect::<Vec<_>>();
    assert!(
        body.windows(2)
            .all(|pair| pair[0].range.end() == pair[1].range.offset)
    );
    assert_eq!(
        log.last().expect("reads").range.end(),
        size - (1 << 20),
        "the edges come first"
    );
    assert_eq!(body.last().expect("reads").range.len, 1 << 20, "reads grow");
}

#[test]
fn what_has_priority_is_read_first() {
    let wanted = [
        ByteRange::new((1 << 20) + 100, 5000),
        ByteRange::new(700_000, 512),
    ];
    let mut drive = Drive::new(medium(&[]), Policy::default());
    drive.planner.prioritise(wanted.to_vec());
    assert!(drive.step() && drive.step());
    let first: Vec<ByteRange> = drive.medium.log().iter().map(|read| read.range).collect();
    assert_eq!(
        first,
        [
            ByteRange::new(1 << 20, 5120),
            ByteRange::new(700_000 / 512 * 512, 1024)
        ]
    );
    assert_eq!(drive.run().runs(Status::Finished), [ByteRange::new(0, SIZE)]);
}

#[test]
fn phases_that_are_not_wanted_are_left_out() {
    let bad = [ByteRange::new(1 << 20, 512)];
    let policy = Policy {
        phases: vec![Phase::Copy],
        ..Policy::default()
    };
    let drive = Drive::new(medium(&bad), policy).run();
    assert_eq!(drive.planner.map().totals().non_trimmed.bytes, 16 << 10);
}

#[test]
fn the_effort_is_bounded_and_says_so() {
    let policy = Policy {
        effort_max: Some(Duration::from_secs(10)),
        ..Policy::of(Patience::Days)
    };
    let bad = [ByteRange::new(1 << 20, 1 << 19)];
    let drive = Drive::new(medium(&bad), policy).run();
    assert_eq!(drive.planner.ending(), Ending::EffortSpent);
    assert!(drive.now < Duration::from_secs(16), "{:?}", drive.now);
    assert!(drive.planner.map().totals().non_scraped.bytes > 0);
}

#[test]
fn a_skip_leaves_the_place_for_later() {
    let mut drive = Drive::new(FaultyMedium::new(64 << 20, 1), Policy::default());
    for _ in 0..100 {
        assert!(drive.step());
    }
    let before = drive.medium.log().last().expect("reads").range;
    drive.planner.skip();
    assert!(drive.step());
    let after = drive.medium.log().last().expect("reads").range;
    assert!(after.offset > before.end());
    assert_eq!(drive.run().runs(Status::Finished), [ByteRange::new(0, 64 << 20)]);
}

/// R9: on 2048-byte sectors every read is of whole sectors, down to the last one.
#[test]
fn r9_optical_sectors_are_never_split() {
    let size = 8 << 20;
    let bad = ByteRange::new(3 * 2048, 2048);
    let mut medium = FaultyMedium::new(size, 1).bad(bad);
    let geometry = Geometry::new(size, 2048);
    let mut planner = Planner::new(&Mapfile::untried(size), geometry, Policy::default());
    while let Some(request) = planner.next(Duration::ZERO) {
        assert!(request.range.offset.is_multiple_of(2048) && request.range.len.is_multiple_of(2048));
        let (result, latency) = medium.read(Duration::ZERO, request.range);
        let good_bytes = if result.is_ok() { request.range.len } else { 0 };
        planner.report(Reading { good_bytes, latency });
    }
    assert_eq!(planner.map().runs(Status::BadSector).collect::<Vec<_>>(), [bad]);
}

/// A 512e disk: whole physical sectors first, then, among the bad, logical ones.
#[test]
fn physical_sectors_are_tried_whole() {
    let bad = ByteRange::new(1 << 20, 4096);
    let mut medium = FaultyMedium::new(SIZE, 1).bad(bad);
    let geometry = Geometry::with_physical(SIZE, 512, 4096);
    let mut planner = Planner::new(&Mapfile::untried(SIZE), geometry, Policy::default());
    while let Some(request) = planner.next(Duration::ZERO) {
        if request.phase != Phase::Retry {
            assert!(request.range.len.is_multiple_of(4096));
        }
        let (result, latency) = medium.read(Duration::ZERO, request.range);
        let good_bytes = if result.is_ok() { request.range.len } else { 0 };
        planner.report(Reading { good_bytes, latency });
    }
    assert_eq!(planner.map().runs(Status::BadSector).collect::<Vec<_>>(), [bad]);
    assert!(medium.failures() <= 2 + 4, "{}", medium.failures());
}

/// A map of ddrescue's with sectors that are not ours: a sector with several states counts as its least processed.
#[test]
fn a_map_with_smaller_sectors_is_taken_up() {
    let size = 8 << 20;
    let mut map = Mapfile::untried(size);
    map.set(ByteRange::new(0, size), Status::Finished)
        .expect("few blocks");
    map.set(ByteRange::new(2048, 512), Status::BadSector)
        .expect("few blocks");
    let mut planner = Planner::new(&map, Geometry::new(size, 2048), Policy::default());
    assert_eq!(
        planner.map().runs(Status::BadSector).collect::<Vec<_>>(),
        [ByteRange::new(2048, 2048)]
    );
    assert_eq!(
        planner.next(Duration::ZERO).map(|request| request.range),
        Some(ByteRange::new(2048, 2048))
    );
}

/// Good ground in the middle of a dead zone is found long before every sector of the zone was tried.
#[test]
fn an_island_in_a_dead_zone_is_found_early() {
    let island = ByteRange::new((1 << 20) + (300 << 10), 128 << 10);
    let before = ByteRange::new(64 << 10, island.offset - (64 << 10));
    let after = ByteRange::new(island.end(), SIZE - (64 << 10) - island.end());
    // Only the zone is left: what a run with less patience leaves.
    let mut map = Mapfile::untried(SIZE);
    let zone = ByteRange::new(before.offset, after.end() - before.offset);
    map.set(ByteRange::new(0, SIZE), Status::Finished)
        .expect("few blocks");
    map.set(zone, Status::NonScraped).expect("few blocks");
    let mut drive = Drive::new(medium(&[before, after]), days());
    drive.planner = planner(&map, SIZE, &days());
    while drive.planner.map().bytes_within(Status::Finished, island) < island.len {
        assert!(drive.step());
    }
    assert!(drive.medium.failures() < 400, "{}", drive.medium.failures());
}
