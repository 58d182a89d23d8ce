//! The health of a medium: facts, then a verdict that one function draws from them (R7).

use ntt_mapfile::{Mapfile, Status};
use ntt_model::ByteRange;
use serde::{Deserialize, Serialize};

use crate::stats::Stats;

/// What is to be thought of a medium.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every byte came at the first attempt, as far as is known.
    Complete,
    /// Every byte came, some only after failures: the medium is failing.
    CompleteAfterRetries,
    /// Bytes are missing, but only where no file and no structure of a file system lies.
    FilesComplete,
    /// Bytes are missing.
    Partial,
    /// Everything was tried, and not one byte came.
    Unreadable,
    /// There is nothing to judge by.
    #[default]
    Unknown,
}

impl Verdict {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::CompleteAfterRetries => "complete-after-retries",
            Self::FilesComplete => "files-complete",
            Self::Partial => "partial",
            Self::Unreadable => "unreadable",
            Self::Unknown => "unknown",
        }
    }
}

/// Bytes and areas of one state of the map.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StateTotal {
    /// Bytes.
    pub bytes: u64,
    /// Runs.
    pub areas: u64,
}

/// Bytes and areas per state of the map.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct States {
    /// Rescued.
    pub rescued: StateTotal,
    /// Never tried.
    pub untried: StateTotal,
    /// In failed reads whose edges are not known.
    pub untrimmed: StateTotal,
    /// In failed reads or dead zones, not read sector by sector.
    pub unscraped: StateTotal,
    /// Sectors that failed one by one.
    pub bad: StateTotal,
}

impl States {
    /// The sums of a map.
    pub fn of(map: &Mapfile) -> Self {
        let totals = map.totals();
        let total = |total: ntt_mapfile::StatusTotal| StateTotal {
            bytes: total.bytes,
            areas: u64::try_from(total.areas).unwrap_or(u64::MAX),
        };
        Self {
            rescued: total(totals.finished),
            untried: total(totals.non_tried),
            untrimmed: total(totals.non_trimmed),
            unscraped: total(totals.non_scraped),
            bad: total(totals.bad_sector),
        }
    }
}

/// Facts and verdict about a medium.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Health {
    /// What is to be thought of it.
    pub verdict: Verdict,
    /// Bytes of the medium.
    pub size_bytes: u64,
    /// Bytes that were not rescued.
    pub missing_bytes: u64,
    /// Runs of such bytes.
    pub missing_areas: u64,
    /// The longest of them, in bytes.
    pub largest_missing_bytes: u64,
    /// Per state of the map.
    pub states: States,
    /// What the runs did; `None` if the map is all there is.
    pub stats: Option<Stats>,
    /// Whether missing bytes hit a file or a structure; `None` before an inspection.
    pub files_hit: Option<bool>,
}

impl Health {
    /// Whether a map is behind it: one that covers a medium has bytes in some state.
    pub fn has_map(&self) -> bool {
        self.states != States::default()
    }

    /// The same with what is on record as missing, where the map that said so is gone. That is the least that is missing; the verdict stays.
    #[must_use]
    pub fn with_missing(mut self, missing: &[ByteRange], files_hit: Option<bool>) -> Self {
        self.missing_bytes = missing.iter().map(|range| range.len).sum();
        self.missing_areas = u64::try_from(missing.len()).unwrap_or(u64::MAX);
        self.largest_missing_bytes = missing.iter().map(|range| range.len).max().unwrap_or(0);
        self.files_hit = files_hit;
        self
    }
}

/// Judges a medium of `size_bytes`. Without a map nothing is known, whatever else there is.
pub fn judge(
    size_bytes: u64,
    map: Option<&Mapfile>,
    stats: Option<&Stats>,
    files_hit: Option<bool>,
) -> Health {
    let Some(map) = map else {
        return Health {
            size_bytes,
            stats: stats.cloned(),
            ..Health::default()
        };
    };
    let mut health = Health {
        size_bytes,
        states: States::of(map),
        stats: stats.cloned(),
        ..Health::default()
    }
    .with_missing(&map.unread_ranges(size_bytes), files_hit);
    health.verdict = verdict(&health);
    health
}

fn verdict(health: &Health) -> Verdict {
    let failed = health.stats.as_ref().is_some_and(|stats| stats.failed_reads > 0);
    let states = &health.states;
    let tried_bytes = states.untrimmed.bytes + states.unscraped.bytes + states.bad.bytes;
    match (health.size_bytes, health.missing_bytes) {
        (0, _) => Verdict::Unknown,
        (_, 0) if failed => Verdict::CompleteAfterRetries,
        (_, 0) => Verdict::Complete,
        _ if states.rescued.bytes == 0 && tried_bytes == 0 => Verdict::Unknown,
        _ if states.rescued.bytes == 0 && states.untried.bytes == 0 => Verdict::Unreadable,
        _ if health.files_hit == Some(false) && states.rescued.bytes > 0 => Verdict::FilesComplete,
        _ => Verdict::Partial,
    }
}

/// The states of a map from left to right, for a strip of `cells`: for each the worst state in it, and the share of rescued bytes in percent,
/// rounded down so that only a whole cell shows 100.
pub fn strip(map: &Mapfile, size_bytes: u64, cells: u64) -> Vec<Cell> {
    let mut strip = Vec::new();
    for at in 0..cells {
        let start = u128::from(size_bytes) * u128::from(at) / u128::from(cells);
        let end = u128::from(size_bytes) * u128::from(at + 1) / u128::from(cells);
        let narrow = |offset: u128| u64::try_from(offset).unwrap_or(u64::MAX);
        let range = ByteRange::new(narrow(start), narrow(end - start));
        if !range.is_empty() {
            strip.push(Cell::of(map, range));
        }
    }
    strip
}

/// A cell of a strip.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    /// What stands out: bad sectors before unscraped before untrimmed before untried bytes, and rescued only if all is.
    pub status: Status,
    /// Rescued bytes, percent, rounded down.
    pub rescued_percent: u8,
}

impl Cell {
    fn of(map: &Mapfile, range: ByteRange) -> Self {
        let order = [
            Status::BadSector,
            Status::NonScraped,
            Status::NonTrimmed,
            Status::NonTried,
        ];
        let status = order
            .into_iter()
            .find(|status| map.bytes_within(*status, range) > 0)
            .unwrap_or(Status::Finished);
        let rescued = u128::from(map.bytes_within(Status::Finished, range));
        let percent = rescued * 100 / u128::from(range.len);
        Self {
            status,
            rescued_percent: u8::try_from(percent).unwrap_or(100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(parts: &[(u64, u64, Status)]) -> Mapfile {
        let mut map = Mapfile::untried(1000);
        for (offset, len, status) in parts {
            map.set(ByteRange::new(*offset, *len), *status)
                .expect("few blocks");
        }
        map
    }

    fn verdict_of(map: &Mapfile) -> Verdict {
        judge(1000, Some(map), None, None).verdict
    }

    /// R7: no map, no verdict; a missing map is never "ok".
    #[test]
    fn r7_without_a_map_nothing_is_known() {
        let stats = Stats::default();
        assert_eq!(
            judge(1000, None, Some(&stats), Some(false)).verdict,
            Verdict::Unknown
        );
        assert_eq!(verdict_of(&Mapfile::untried(1000)), Verdict::Unknown);
    }

    /// R7: 512 missing bytes are 512 missing bytes, and neither "failed" nor "100 %".
    #[test]
    fn r7_missing_bytes_are_counted_not_rounded() {
        let size = 400_088_457_216;
        let mut map = Mapfile::untried(size);
        map.set(ByteRange::new(0, size), Status::Finished)
            .expect("few blocks");
        map.set(ByteRange::new(7 << 30, 512), Status::BadSector)
            .expect("few blocks");
        let health = judge(size, Some(&map), None, None);
        assert_eq!(
            (health.verdict, health.missing_bytes, health.missing_areas),
            (Verdict::Partial, 512, 1)
        );
        assert_eq!(strip(&map, size, 100)[1].rescued_percent, 99);
    }

    #[test]
    fn what_is_on_record_is_known_without_a_map() {
        let missing = [ByteRange::new(0, 5), ByteRange::new(100, 7)];
        let health = judge(1000, None, None, None).with_missing(&missing, Some(true));
        assert!(!health.has_map());
        assert_eq!((health.verdict, health.missing_bytes), (Verdict::Unknown, 12));
        assert_eq!((health.missing_areas, health.largest_missing_bytes), (2, 7));
        assert!(judge(1000, Some(&Mapfile::untried(1000)), None, None).has_map());
    }

    #[test]
    fn every_verdict_has_its_case() {
        let whole = map(&[(0, 1000, Status::Finished)]);
        let failed = Stats {
            failed_reads: 1,
            ..Stats::default()
        };
        let hole = map(&[(0, 900, Status::Finished), (900, 100, Status::BadSector)]);
        assert_eq!(verdict_of(&whole), Verdict::Complete);
        assert_eq!(
            judge(1000, Some(&whole), Some(&failed), None).verdict,
            Verdict::CompleteAfterRetries
        );
        assert_eq!(verdict_of(&hole), Verdict::Partial);
        assert_eq!(
            judge(1000, Some(&hole), None, Some(false)).verdict,
            Verdict::FilesComplete
        );
        assert_eq!(
            judge(1000, Some(&hole), None, Some(true)).verdict,
            Verdict::Partial
        );
        assert_eq!(
            verdict_of(&map(&[(0, 1000, Status::BadSector)])),
            Verdict::Unreadable
        );
        assert_eq!(verdict_of(&map(&[(0, 10, Status::BadSector)])), Verdict::Partial);
        // A map that ends before the medium does leaves the rest missing.
        assert_eq!(judge(2000, Some(&whole), None, None).missing_bytes, 1000);
    }
}
