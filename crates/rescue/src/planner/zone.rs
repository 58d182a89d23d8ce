//! Dead zones: sampled instead of read.
//!
//! A zone is a largest run without a rescued byte. Its gaps are probed in their middle, down to a sixteenth of the zone; what answers is read
//! in both directions until it fails again, and splits the zone. Small zones are read in full. So a zone costs some 30 failed
//! reads, whatever its size.

use std::collections::VecDeque;

use ntt_mapfile::Status;
use ntt_model::ByteRange;

use super::state::{State, outward};

/// Zones up to this size are read in full.
const SMALL_ZONE_BYTES: u64 = 256 << 10;
/// Probes per zone, roughly.
const PROBES: u64 = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Direction {
    Up,
    Down,
}

#[derive(Debug, Default)]
pub(super) struct Zones {
    /// Places to go on from, after a probe that answered.
    open: VecDeque<(Direction, u64)>,
    /// What is being done with the request that is out.
    probing: bool,
}

impl Zones {
    pub(super) fn next(&mut self, state: &mut State, slow: &[ByteRange]) -> Option<ByteRange> {
        while let Some((direction, cursor)) = self.open.front().copied() {
            if let Some(range) = onward(state, direction, cursor) {
                self.probing = false;
                return Some(range);
            }
            self.leave();
            state.pace.leave_place();
        }
        self.probing = true;
        probe(state, slow)
    }

    /// Takes what came of a read; a gap that is left for being slow.
    pub(super) fn report(
        &mut self,
        state: &mut State,
        range: ByteRange,
        good: bool,
        slow: bool,
    ) -> Option<ByteRange> {
        if self.probing {
            state.pace.failures = 0;
            if good {
                self.open = VecDeque::from([(Direction::Up, range.end()), (Direction::Down, range.offset)]);
            }
            return None;
        }
        let (direction, cursor) = self.open.front_mut()?;
        *cursor = match direction {
            Direction::Up => range.end(),
            Direction::Down => range.offset,
        };
        let rest = if slow {
            adjacent(state, *direction, *cursor)
        } else {
            None
        };
        if slow || state.pace.failures >= 2 {
            self.leave();
            state.pace.leave_place();
        }
        rest
    }

    /// Goes on elsewhere.
    pub(super) fn leave(&mut self) {
        let _ = self.open.pop_front();
    }
}

/// The gap that begins (or ends) at the cursor.
fn adjacent(state: &State, direction: Direction, cursor: u64) -> Option<ByteRange> {
    let gap = match direction {
        Direction::Up => state.map.next_run(Status::NonTried, cursor)?,
        Direction::Down => state.map.previous_run(Status::NonTried, cursor)?,
    };
    let touches = match direction {
        Direction::Up => gap.offset == cursor,
        Direction::Down => gap.end() == cursor,
    };
    touches.then_some(gap)
}

fn onward(state: &State, direction: Direction, cursor: u64) -> Option<ByteRange> {
    let gap = adjacent(state, direction, cursor)?;
    let size = state.pace.read_bytes;
    Some(match direction {
        Direction::Up => {
            let end = ((cursor / size + 1) * size).min(gap.end());
            ByteRange::new(cursor, end - cursor)
        }
        Direction::Down => {
            let start = ((cursor - 1) / size * size).max(gap.offset);
            ByteRange::new(start, cursor - start)
        }
    })
}

/// The next sample: the middle of the first gap that is wide for its zone, or the start of a gap in a small zone.
fn probe(state: &State, slow: &[ByteRange]) -> Option<ByteRange> {
    let floor = state.pace.floor();
    let small = SMALL_ZONE_BYTES
        .min(state.geometry.size_bytes / 16)
        .max(2 * floor);
    let mut from = 0;
    while let Some(gap) = state
        .map
        .next_run(Status::NonTried, from)
        .and_then(|gap| gap.intersection(&state.whole()))
    {
        from = gap.end();
        if slow.iter().any(|left| left.intersection(&gap).is_some()) {
            continue;
        }
        let zone = state.map.zone_at(gap.offset)?;
        if zone.len <= small {
            let end = ((gap.offset / floor + 1) * floor).min(gap.end());
            return Some(ByteRange::new(gap.offset, end - gap.offset));
        }
        if gap.len > (zone.len / PROBES).max(4 * floor) {
            let middle = (gap.offset + gap.len / 2) / floor * floor;
            return outward(ByteRange::new(middle, floor), floor, state.geometry.size_bytes)?
                .intersection(&gap);
        }
    }
    None
}
