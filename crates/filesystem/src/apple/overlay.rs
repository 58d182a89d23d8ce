//! Runs of a volume whose newest bytes lie somewhere else in it: in its journal (R17).

use std::collections::BTreeMap;

/// Where newer bytes lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Piece {
    len: u64,
    from: u64,
}

/// A map from runs of the volume to where their newest bytes lie. Runs do not overlap: what is put in later replaces what it covers.
#[derive(Debug, Default, Clone)]
pub(crate) struct Overlay {
    pieces: BTreeMap<u64, Piece>,
}

/// A run of the volume and where to read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    /// Where its bytes lie.
    pub(crate) from: u64,
    /// Number of bytes.
    pub(crate) len: u64,
}

impl Overlay {
    /// Number of runs.
    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Bytes of the volume that are replaced.
    pub(crate) fn bytes(&self) -> u64 {
        self.pieces
            .values()
            .fold(0, |sum, piece| sum.saturating_add(piece.len))
    }

    /// From now on the `len` bytes at `at` are those at `from`.
    pub(crate) fn insert(&mut self, at: u64, len: u64, from: u64) {
        let end = at.saturating_add(len);
        if at >= end {
            return;
        }
        if let Some((start, piece)) = self.before(at) {
            let piece_end = start.saturating_add(piece.len);
            if piece_end > at {
                self.put(start, at, piece.from);
            }
            if piece_end > end {
                self.put(
                    end,
                    piece_end,
                    piece.from.saturating_add(end.saturating_sub(start)),
                );
            }
        }
        let covered: Vec<u64> = self.pieces.range(at..end).map(|(start, _)| *start).collect();
        for start in covered {
            let Some(piece) = self.pieces.remove(&start) else {
                continue;
            };
            let piece_end = start.saturating_add(piece.len);
            if piece_end > end {
                self.put(
                    end,
                    piece_end,
                    piece.from.saturating_add(end.saturating_sub(start)),
                );
            }
        }
        self.put(at, end, from);
    }

    fn put(&mut self, start: u64, end: u64, from: u64) {
        let len = end.saturating_sub(start);
        self.pieces.insert(start, Piece { len, from });
    }

    /// The last run that starts before `at`.
    fn before(&self, at: u64) -> Option<(u64, Piece)> {
        let (start, piece) = self.pieces.range(..at).next_back()?;
        Some((*start, *piece))
    }

    /// The first part of the run of `len` bytes at `at`: as much of it as lies together.
    pub(crate) fn part(&self, at: u64, len: u64) -> Part {
        if let Some((start, piece)) = self.pieces.range(..=at).next_back() {
            let skipped = at.saturating_sub(*start);
            if skipped < piece.len {
                return Part {
                    from: piece.from.saturating_add(skipped),
                    len: len.min(piece.len.saturating_sub(skipped)),
                };
            }
        }
        let next = self
            .pieces
            .range(at..)
            .next()
            .map_or(u64::MAX, |(start, _)| *start);
        Part {
            from: at,
            len: len.min(next.saturating_sub(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn r17_agrees_with_a_plain_array(runs in proptest::collection::vec((0_u64..200, 1_u64..60), 0..40)) {
            let (mut overlay, mut plain) = (Overlay::default(), (0..300).collect::<Vec<u64>>());
            for (index, (at, len)) in (0_u64..).zip(runs) {
                let from = 1000 + index * 100;
                overlay.insert(at, len, from);
                (at..at + len).for_each(|byte| plain[usize::try_from(byte).expect("small")] = from + byte - at);
            }
            let (mut at, mut seen) = (0, Vec::new());
            while at < 300 {
                let part = overlay.part(at, 300 - at);
                prop_assert!(part.len > 0);
                seen.extend(part.from..part.from + part.len);
                at += part.len;
            }
            prop_assert_eq!(seen, plain);
        }
    }
}
