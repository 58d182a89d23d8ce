//! What all kinds of work share: the map, the measurements, the limits.

use ntt_mapfile::{Mapfile, Status};
use ntt_model::ByteRange;

use super::pace::Pace;
use crate::geometry::Geometry;
use crate::policy::Policy;

#[derive(Debug)]
pub(super) struct State {
    pub(super) map: Mapfile,
    pub(super) geometry: Geometry,
    pub(super) policy: Policy,
    pub(super) pace: Pace,
    /// To be read first, because the user says so.
    pub(super) priority: Vec<ByteRange>,
    /// To be read before the rest, because files need it.
    pub(super) first: Vec<ByteRange>,
    /// Whether any read failed or was slow, in this run or, as the map tells, before.
    pub(super) met_trouble: bool,
    /// Ranges that failed once and came whole when they were read again: a sign that retries help.
    pub(super) came_later: u64,
    /// Units known or expected to be bad, for the density of further ones.
    units_bad: u64,
}

impl State {
    pub(super) fn new(map: Mapfile, geometry: Geometry, policy: Policy) -> Self {
        let totals = map.totals();
        Self {
            met_trouble: totals.non_trimmed.bytes + totals.non_scraped.bytes + totals.bad_sector.bytes > 0,
            map,
            pace: Pace::new(&geometry),
            geometry,
            policy,
            priority: Vec::new(),
            first: Vec::new(),
            came_later: 0,
            units_bad: 0,
        }
    }

    /// Bytes of the whole medium.
    pub(super) fn whole(&self) -> ByteRange {
        ByteRange::new(0, self.geometry.size_bytes)
    }

    /// The runs of a status, as far as the medium goes: a map from another drive may go further.
    pub(super) fn runs(&self, status: Status) -> impl Iterator<Item = ByteRange> {
        let whole = self.whole();
        self.map
            .runs(status)
            .filter_map(move |run| run.intersection(&whole))
    }

    /// What is read at once when a run is taken apart: the physical sector.
    pub(super) fn unit(&self) -> u64 {
        u64::from(self.geometry.physical_bytes)
    }

    /// Sets a status. A map of so many blocks that it cannot be set has been refused before: the block stays as it was, which claims nothing.
    pub(super) fn set(&mut self, range: ByteRange, status: Status) {
        let _ = self.map.set(range, status);
    }

    /// Every failed read holds a bad unit, at least.
    pub(super) fn expect_bad_units(&mut self) {
        let totals = self.map.totals();
        let areas = u64::try_from(totals.non_trimmed.areas).unwrap_or(u64::MAX);
        self.units_bad = areas.saturating_add(totals.bad_sector.bytes / self.unit());
    }

    /// A unit turned out bad.
    pub(super) fn set_bad(&mut self, range: ByteRange) {
        self.set(range, Status::BadSector);
    }

    /// What is untrimmed in `range` becomes unscraped.
    pub(super) fn leave_unscraped(&mut self, range: ByteRange) {
        let parts: Vec<ByteRange> = self.map.runs_within(Status::NonTrimmed, range).collect();
        for part in parts {
            self.set(part, Status::NonScraped);
        }
    }

    /// How many units there are to one bad one, as far as is known.
    pub(super) fn units_per_bad(&self) -> u64 {
        self.geometry.size_bytes / self.unit() / self.units_bad.max(1)
    }

    /// Whether the byte before `offset` was tried in vain.
    pub(super) fn fails_before(&self, offset: u64) -> bool {
        offset.checked_sub(1).is_some_and(|before| self.fails_at(before))
    }

    /// Whether the byte at `offset` was tried in vain.
    pub(super) fn fails_at(&self, offset: u64) -> bool {
        !matches!(
            self.map.status_at(offset),
            None | Some(Status::Finished | Status::NonTried)
        )
    }

    /// The windows in which runs are looked for: what has priority, then everything.
    pub(super) fn windows(&self) -> Vec<ByteRange> {
        self.priority.iter().copied().chain([self.whole()]).collect()
    }
}

/// The first so many bytes of a range, ending at an edge of units of the medium.
pub(super) fn first_units(range: ByteRange, units: u64, unit: u64) -> ByteRange {
    let end = (range.offset / unit + units.max(1)) * unit;
    ByteRange::new(range.offset, end.min(range.end()) - range.offset)
}

/// The last so many units of a range.
pub(super) fn last_units(range: ByteRange, units: u64, unit: u64) -> ByteRange {
    let start = (range.end().div_ceil(unit).saturating_sub(units.max(1))) * unit;
    let start = start.max(range.offset);
    ByteRange::new(start, range.end() - start)
}

/// A range widened to edges of units, cut at `end`; `None` if nothing is left.
pub(super) fn outward(range: ByteRange, unit: u64, end: u64) -> Option<ByteRange> {
    let start = range.offset / unit * unit;
    let stop = range.end().min(end).div_ceil(unit).saturating_mul(unit).min(end);
    (start < stop).then(|| ByteRange::new(start, stop - start))
}
