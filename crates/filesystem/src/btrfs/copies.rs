//! Which copy of content is read, where a chunk keeps several on this device and the first one is not what its checksum says.

use std::collections::BTreeMap;

/// Runs that are kept: 32 MiB of memory.
const RUNS_MAX: usize = 1 << 20;

/// A run that is read from another copy than the first one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    len: u64,
    copy: usize,
}

/// The copies that are not the first ones, by the logical addresses where they count.
#[derive(Clone, Debug, Default)]
pub(super) struct Copies(BTreeMap<u64, Run>);

impl Copies {
    /// Has `len` bytes at `logical` read from another copy; false if there are too many such runs.
    pub(super) fn choose(&mut self, logical: u64, len: u64, copy: usize) -> bool {
        let has_room = self.0.len() < RUNS_MAX;
        if has_room {
            self.0.insert(logical, Run { len, copy });
        }
        has_room
    }

    /// The copy to read at `logical`, and for how many bytes at most.
    pub(super) fn at(&self, logical: u64) -> (usize, u64) {
        if let Some((start, run)) = self.0.range(..=logical).next_back()
            && let Some(left) = start.saturating_add(run.len).checked_sub(logical)
            && left > 0
        {
            return (run.copy, left);
        }
        let next = self.0.range(logical..).next();
        (
            0,
            next.map_or(u64::MAX, |(start, _)| start.saturating_sub(logical)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_begin_and_end() {
        let mut copies = Copies::default();
        assert_eq!(copies.at(5), (0, u64::MAX));
        assert!(copies.choose(100, 10, 1));
        assert!(copies.choose(110, 10, 2));
        let seen = [0, 100, 105, 110, 119, 120].map(|logical| copies.at(logical));
        assert_eq!(seen, [(0, 100), (1, 10), (1, 5), (2, 10), (2, 1), (0, u64::MAX)]);
    }
}
