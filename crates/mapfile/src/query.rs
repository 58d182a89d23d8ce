//! Questions to a map.

use ntt_model::ByteRange;
use ntt_model::range::push_joined;

use crate::{Block, Mapfile, Status};

/// Bytes and areas of one status.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StatusTotal {
    /// Number of bytes.
    pub bytes: u64,
    /// Number of runs.
    pub areas: usize,
}

/// Bytes and areas per status.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// `?`.
    pub non_tried: StatusTotal,
    /// `*`.
    pub non_trimmed: StatusTotal,
    /// `/`.
    pub non_scraped: StatusTotal,
    /// `-`.
    pub bad_sector: StatusTotal,
    /// `+`.
    pub finished: StatusTotal,
}

impl Totals {
    fn of_mut(&mut self, status: Status) -> &mut StatusTotal {
        match status {
            Status::NonTried => &mut self.non_tried,
            Status::NonTrimmed => &mut self.non_trimmed,
            Status::NonScraped => &mut self.non_scraped,
            Status::BadSector => &mut self.bad_sector,
            Status::Finished => &mut self.finished,
        }
    }
}

impl Mapfile {
    /// The status of the byte at `offset`; `None` outside the map, which means never read.
    pub fn status_at(&self, offset: u64) -> Option<Status> {
        let index = self.blocks.partition_point(|block| block.range.end() <= offset);
        self.blocks
            .get(index)
            .filter(|block| block.range.offset <= offset)
            .map(|block| block.status)
    }

    /// The runs of bytes with `status`, ascending.
    pub fn runs(&self, status: Status) -> impl Iterator<Item = ByteRange> {
        self.blocks
            .iter()
            .filter(move |block| block.status == status)
            .map(|block| block.range)
    }

    /// The first run with `status` that has a byte at or after `from`, whole.
    pub fn next_run(&self, status: Status, from: u64) -> Option<ByteRange> {
        let index = self.blocks.partition_point(|block| block.range.end() <= from);
        let mut rest = self.blocks.get(index..).unwrap_or_default().iter();
        rest.find(|block| block.status == status).map(|block| block.range)
    }

    /// The last run with `status` that has a byte before `before`, whole.
    pub fn previous_run(&self, status: Status, before: u64) -> Option<ByteRange> {
        let index = self.blocks.partition_point(|block| block.range.offset < before);
        let mut rest = self.blocks.get(..index).unwrap_or_default().iter().rev();
        rest.find(|block| block.status == status).map(|block| block.range)
    }

    /// The largest range around `offset` none of whose bytes is rescued; `None` if the byte is rescued or outside the map.
    pub fn zone_at(&self, offset: u64) -> Option<ByteRange> {
        let index = self.blocks.partition_point(|block| block.range.end() <= offset);
        let lost = |block: &&Block| block.status != Status::Finished;
        let at = self.blocks.get(index).filter(lost)?;
        if at.range.offset > offset {
            return None;
        }
        let before = self.blocks.get(..index).unwrap_or_default().iter().rev();
        let start = before.take_while(lost).last().unwrap_or(at).range.offset;
        let after = self.blocks.get(index..).unwrap_or_default().iter();
        let end = after.take_while(lost).last().unwrap_or(at).range.end();
        Some(ByteRange::new(start, end.saturating_sub(start)))
    }

    /// The parts of `window` with `status`, ascending.
    pub fn runs_within(&self, status: Status, window: ByteRange) -> impl Iterator<Item = ByteRange> {
        let first = self
            .blocks
            .partition_point(|block| block.range.end() <= window.offset);
        let inside = self.blocks.get(first..).unwrap_or_default().iter();
        inside
            .take_while(move |block| block.range.offset < window.end())
            .filter(move |block| block.status == status)
            .filter_map(move |block| block.range.intersection(&window))
    }

    /// Bytes of `window` with `status`.
    pub fn bytes_within(&self, status: Status, window: ByteRange) -> u64 {
        self.runs_within(status, window)
            .fold(0, |sum: u64, part| sum.saturating_add(part.len))
    }

    /// The bytes of an image of `image_len` bytes that were never rescued: everything that is not `+`, and what the map does
    /// not cover (R11). Ascending, not touching.
    pub fn unread_ranges(&self, image_len: u64) -> Vec<ByteRange> {
        let mut unread = Vec::new();
        let mut position = 0;
        for run in self.runs(Status::Finished) {
            let start = run.offset.min(image_len);
            push_joined(
                &mut unread,
                ByteRange::new(position, start.saturating_sub(position)),
            );
            position = run.end().min(image_len);
        }
        push_joined(
            &mut unread,
            ByteRange::new(position, image_len.saturating_sub(position)),
        );
        unread
    }

    /// Sums per status. Bytes outside the map are not counted.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for block in &self.blocks {
            let total = totals.of_mut(block.status);
            total.bytes = total.bytes.saturating_add(block.range.len);
            total.areas = total.areas.saturating_add(1);
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R11: bytes that the map does not mention were never read.
    #[test]
    fn r11_bytes_outside_the_map_are_unread() {
        let map = Mapfile::parse(b"0 ? 1\n10 5 +\n15 5 -\n20 5 +\n").expect("a map");
        assert_eq!(
            map.unread_ranges(40),
            [
                ByteRange::new(0, 10),
                ByteRange::new(15, 5),
                ByteRange::new(25, 15)
            ]
        );
        assert_eq!(map.unread_ranges(12), [ByteRange::new(0, 10)]);
        assert_eq!(map.unread_ranges(5), [ByteRange::new(0, 5)]);
        assert_eq!(map.status_at(9), None);
        assert_eq!(map.status_at(15), Some(Status::BadSector));
        assert_eq!(map.status_at(25), None);
    }
}
