//! Changes to a map: set a range, combine two maps, invert.

use ntt_model::ByteRange;

use crate::block::push;
use crate::{BLOCKS_MAX, Block, Error, Mapfile, POSITION_MAX, Status};

impl Mapfile {
    /// Sets the status of `range`. The map grows to hold it; bytes between are `NonTried`. What passes [`POSITION_MAX`] is cut.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyBlocks`]; the map is then unchanged.
    pub fn set(&mut self, range: ByteRange, status: Status) -> Result<(), Error> {
        let offset = range.offset.min(POSITION_MAX);
        let end = range.end().min(POSITION_MAX);
        let range = ByteRange::new(offset, end.saturating_sub(offset));
        if range.is_empty() {
            return Ok(());
        }
        let first = self
            .blocks
            .partition_point(|block| block.range.end() < range.offset);
        let last = self
            .blocks
            .partition_point(|block| block.range.offset <= range.end());
        let mut replacement = Vec::with_capacity(5);
        let old = self.blocks.get(first..last).unwrap_or_default();
        self.fill_before(&mut replacement, range);
        for block in old
            .iter()
            .filter_map(|block| block.within(&ByteRange::new(0, range.offset)))
        {
            push(&mut replacement, block);
        }
        push(&mut replacement, Block::new(range, status));
        let after = ByteRange::new(range.end(), u64::MAX);
        for block in old.iter().filter_map(|block| block.within(&after)) {
            push(&mut replacement, block);
        }
        self.fill_after(&mut replacement, range);
        let grown = self
            .blocks
            .len()
            .saturating_sub(old.len())
            .saturating_add(replacement.len());
        if grown > BLOCKS_MAX {
            return Err(Error::TooManyBlocks);
        }
        self.splice(first, last, replacement);
        Ok(())
    }

    /// Bytes between the end of the map and a range that lies behind it.
    fn fill_before(&self, replacement: &mut Vec<Block>, range: ByteRange) {
        let end = self.extent().end();
        if !self.blocks.is_empty() && end < range.offset {
            let gap = ByteRange::new(end, range.offset.saturating_sub(end));
            push(replacement, Block::new(gap, Status::NonTried));
        }
    }

    /// Bytes between a range that lies before the map and the start of the map.
    fn fill_after(&self, replacement: &mut Vec<Block>, range: ByteRange) {
        let start = self.extent().offset;
        if !self.blocks.is_empty() && start > range.end() {
            let gap = ByteRange::new(range.end(), start.saturating_sub(range.end()));
            push(replacement, Block::new(gap, Status::NonTried));
        }
    }

    /// Replaces `blocks[first..last]` and joins what then touches at the two seams.
    fn splice(&mut self, first: usize, last: usize, mut replacement: Vec<Block>) {
        let start = first.saturating_sub(1);
        let end = last.saturating_add(1).min(self.blocks.len());
        let mut joined = self.blocks.get(start..first).unwrap_or_default().to_vec();
        replacement.extend_from_slice(self.blocks.get(last..end).unwrap_or_default());
        for block in replacement {
            push(&mut joined, block);
        }
        self.blocks.splice(start..end, joined);
    }

    /// Combines two maps of the same medium. For every run of bytes over which both maps are constant, `choose` gives the
    /// status from those of `self` and of `other`; `None` is "not in that map". Comments and position stay those of `self`.
    ///
    /// [`most_rescued`] is the usual choice.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyBlocks`].
    pub fn merge(
        &self,
        other: &Self,
        choose: &mut dyn FnMut(ByteRange, Option<Status>, Option<Status>) -> Status,
    ) -> Result<Self, Error> {
        let mut edges: Vec<u64> = [self, other]
            .iter()
            .flat_map(|map| &map.blocks)
            .flat_map(|block| [block.range.offset, block.range.end()])
            .collect();
        edges.sort_unstable();
        edges.dedup();
        let mut blocks = Vec::new();
        for (start, end) in edges.iter().zip(edges.iter().skip(1)) {
            let range = ByteRange::new(*start, end.saturating_sub(*start));
            let status = choose(range, self.status_at(*start), other.status_at(*start));
            push(&mut blocks, Block::new(range, status));
            if blocks.len() > BLOCKS_MAX {
                return Err(Error::TooManyBlocks);
            }
        }
        Ok(Self {
            blocks,
            ..self.clone()
        })
    }

    /// The map over exactly the first `image_bytes`: cut there, and `NonTried` where it said nothing.
    #[must_use]
    pub fn covering(&self, image_bytes: u64) -> Self {
        let window = ByteRange::new(0, image_bytes.min(POSITION_MAX));
        let mut blocks = Vec::with_capacity(self.blocks.len().saturating_add(2));
        let start = self.extent().offset.min(window.end());
        push(
            &mut blocks,
            Block::new(ByteRange::new(0, start), Status::NonTried),
        );
        for block in self.blocks.iter().filter_map(|block| block.within(&window)) {
            push(&mut blocks, block);
        }
        let end = blocks.last().map_or(0, |last: &Block| last.range.end());
        let tail = ByteRange::new(end, window.end().saturating_sub(end));
        push(&mut blocks, Block::new(tail, Status::NonTried));
        Self {
            blocks,
            ..self.clone()
        }
    }

    /// The map with no block that ends inside a unit of `unit_bytes` (0 counts as 1), as a larger sector size demands: a unit with
    /// several states gets the least processed of them, so that nothing is called rescued or bad that is not.
    #[must_use]
    pub fn aligned_to(&self, unit_bytes: u64) -> Self {
        let unit_bytes = unit_bytes.max(1);
        let end = self.extent().end();
        let mut blocks = Vec::with_capacity(self.blocks.len());
        let mut position = self.extent().offset;
        while let Some(part) = self.least_part(position, unit_bytes, end) {
            position = part.range.end();
            push(&mut blocks, part);
        }
        Self {
            blocks,
            ..self.clone()
        }
    }

    /// From `position`, an edge of units: as many whole units of one state as there are, else one unit in its least processed state.
    fn least_part(&self, position: u64, unit_bytes: u64, end: u64) -> Option<Block> {
        let first = self.blocks.partition_point(|block| block.range.end() <= position);
        let block = self.blocks.get(first)?;
        let whole_end = if block.range.end() == end {
            end
        } else {
            edge_before(block.range.end(), unit_bytes)
        };
        if whole_end > position {
            let range = ByteRange::new(position, whole_end.saturating_sub(position));
            return Some(Block::new(range, block.status));
        }
        let unit_end = edge_before(position, unit_bytes)
            .saturating_add(unit_bytes)
            .min(end);
        let inside = self.blocks.get(first..).unwrap_or_default().iter();
        let status = inside
            .take_while(|block| block.range.offset < unit_end)
            .map(|block| block.status)
            .min()?;
        let range = ByteRange::new(position, unit_end.saturating_sub(position));
        Some(Block::new(range, status))
    }

    /// The map with rescued and not rescued exchanged, as `ddrescuelog --invert-mapfile` does: `+` becomes `-`, all else `+`.
    #[must_use]
    pub fn inverted(&self) -> Self {
        let mut blocks = Vec::new();
        for block in &self.blocks {
            let status = match block.status {
                Status::Finished => Status::BadSector,
                _ => Status::Finished,
            };
            push(&mut blocks, Block::new(block.range, status));
        }
        Self {
            blocks,
            ..self.clone()
        }
    }
}

/// The last edge of units at or before `position`.
fn edge_before(position: u64, unit_bytes: u64) -> u64 {
    position.saturating_sub(position.checked_rem(unit_bytes).unwrap_or(0))
}

/// The preference of a merge that loses no work: rescued if either map says so, otherwise the more processed status.
pub fn most_rescued(_range: ByteRange, left: Option<Status>, right: Option<Status>) -> Status {
    left.max(right).unwrap_or(Status::NonTried)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECTORS: usize = 48;

    fn any_status() -> impl Strategy<Value = Status> {
        proptest::sample::select(Status::ALL)
    }

    /// A map and the same thing as one status per byte.
    fn any_map() -> impl Strategy<Value = (Mapfile, Vec<Option<Status>>)> {
        let edits = proptest::collection::vec((0..40_u64, 0..8_u64, any_status()), 0..12);
        edits.prop_map(|edits| {
            let mut map = Mapfile {
                pass: 1,
                ..Mapfile::default()
            };
            let mut flat = vec![None; SECTORS];
            for (offset, len, status) in edits {
                map.set(ByteRange::new(offset, len), status).expect("few blocks");
                for at in offset..offset + len {
                    flat[usize::try_from(at).expect("small")] = Some(status);
                }
                let used: Vec<usize> = (0..SECTORS).filter(|at| flat[*at].is_some()).collect();
                if let (Some(first), Some(last)) = (used.first(), used.last()) {
                    for slot in &mut flat[*first..=*last] {
                        slot.get_or_insert(Status::NonTried);
                    }
                }
            }
            (map, flat)
        })
    }

    fn flat_of(map: &Mapfile) -> Vec<Option<Status>> {
        (0..SECTORS)
            .map(|at| map.status_at(u64::try_from(at).expect("small")))
            .collect()
    }

    fn assert_invariants(map: &Mapfile) {
        for pair in map.blocks().windows(2) {
            assert_eq!(pair[0].range.end(), pair[1].range.offset);
            assert_ne!(pair[0].status, pair[1].status);
        }
        assert!(map.blocks().iter().all(|block| !block.range.is_empty()));
    }

    proptest! {
        #[test]
        fn setting_ranges_agrees_with_an_array((map, flat) in any_map()) {
            assert_invariants(&map);
            prop_assert_eq!(flat_of(&map), flat);
        }

        #[test]
        fn writing_and_reading_gives_the_same_map((map, _) in any_map()) {
            let bytes = map.to_bytes();
            let again = Mapfile::parse(&bytes).expect("our own map");
            prop_assert_eq!(&again, &map);
            prop_assert_eq!(again.to_bytes(), bytes);
        }

        #[test]
        fn merging_agrees_with_an_array((left, left_flat) in any_map(), (right, right_flat) in any_map()) {
            let merged = left.merge(&right, &mut most_rescued).expect("few blocks");
            assert_invariants(&merged);
            let mut flat: Vec<Option<Status>> =
                left_flat.into_iter().zip(right_flat).map(|(left, right)| left.max(right)).collect();
            let extent = merged.extent();
            for (at, slot) in flat.iter_mut().enumerate() {
                if (extent.offset..extent.end()).contains(&u64::try_from(at).expect("small")) {
                    slot.get_or_insert(Status::NonTried);
                }
            }
            prop_assert_eq!(flat_of(&merged), flat);
        }

        #[test]
        fn alignment_agrees_with_an_array((map, _) in any_map(), unit in 1..9_usize) {
            let map = map.covering(48);
            let flat = flat_of(&map);
            let aligned = map.aligned_to(u64::try_from(unit).expect("small"));
            assert_invariants(&aligned);
            let expected: Vec<Option<Status>> =
                flat.chunks(unit).flat_map(|chunk| chunk.iter().map(|_| *chunk.iter().min().expect("bytes"))).collect();
            prop_assert_eq!(flat_of(&aligned), expected);
        }

        #[test]
        fn runs_zones_and_sums_agree_with_an_array((map, _) in any_map(), at in 0..48_u64, status in any_status()) {
            let map = map.covering(48);
            let flat = flat_of(&map);
            let index = usize::try_from(at).expect("small");
            let next = (index..SECTORS).find(|at| flat[*at] == Some(status));
            let run = map.next_run(status, at);
            prop_assert_eq!(run.map(|run| usize::try_from(run.offset.max(at)).expect("small")), next);
            let previous = (0..index).rev().find(|at| flat[*at] == Some(status));
            let run = map.previous_run(status, at);
            prop_assert_eq!(run.map(|run| usize::try_from(run.end().min(at)).expect("small") - 1), previous);
            let lost = |at: &usize| flat[*at] != Some(Status::Finished);
            let zone = lost(&index).then(|| {
                let before = (0..index).rev().take_while(lost).count();
                let after = (index..SECTORS).take_while(lost).count();
                ByteRange::new(at - u64::try_from(before).expect("small"), u64::try_from(before + after).expect("small"))
            });
            prop_assert_eq!(map.zone_at(at), zone);
            let sum = flat[index..].iter().filter(|found| **found == Some(status)).count();
            prop_assert_eq!(map.bytes_within(status, ByteRange::new(at, 48)), u64::try_from(sum).expect("small"));
        }

        #[test]
        fn unread_totals_and_inversion_agree_with_an_array((map, flat) in any_map()) {
            let unread: u64 = map.unread_ranges(48).iter().map(|range| range.len).sum();
            let expected = flat.iter().filter(|status| **status != Some(Status::Finished)).count();
            prop_assert_eq!(unread, u64::try_from(expected).expect("small"));
            let bad = flat.iter().filter(|status| **status == Some(Status::BadSector)).count();
            prop_assert_eq!(map.totals().bad_sector.bytes, u64::try_from(bad).expect("small"));
            let inverted = map.inverted();
            assert_invariants(&inverted);
            prop_assert_eq!(inverted.totals().bad_sector.bytes, map.totals().finished.bytes);
        }

        #[test]
        fn no_input_makes_the_parser_panic(bytes in proptest::collection::vec(
            proptest::sample::select(&b"0123456789abcdefxX?*/-+FG# \t\n\r\xff"[..]), 0..200)) {
            if let Ok(map) = Mapfile::parse(&bytes) {
                assert_invariants(&map);
                prop_assert_eq!(Mapfile::parse(&map.to_bytes()), Ok(map));
            }
        }
    }
}
