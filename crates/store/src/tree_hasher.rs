//! BLAKE3 of a content that comes in pieces, some of which are zeros that need not be hashed.

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use ntt_model::BlobHash;

use crate::zeros::{self, SEGMENT_BYTES};

/// Hashes segment by segment and puts the tree together from their chaining values, which those of zeros can join.
#[derive(Debug, Clone, Default)]
pub(crate) struct TreeHasher {
    /// Takes the segment at hand. It is closed only when more follows: the only one of a content is its root.
    segment: Hasher,
    /// The subtrees before it, with their lengths. Two of a length are merged only when more follows, for the same reason.
    subtrees: Vec<(ChainingValue, u64)>,
    /// Bytes of the subtrees.
    closed: u64,
}

impl TreeHasher {
    /// Takes the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = usize::try_from(self.room()).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.segment.update(now);
            rest = later;
        }
    }

    /// Takes `len` zeros.
    pub(crate) fn zeros(&mut self, len: u64) {
        let mut left = len;
        while left > 0 {
            let room = self.room();
            // At the start of a content the segment may be its root.
            let is_between = room == SEGMENT_BYTES && self.closed > 0;
            if is_between && left >= SEGMENT_BYTES {
                let (value, len) = zeros::subtree(self.closed, left);
                self.push(value, len);
                left -= len;
                continue;
            }
            let block = &zeros::BLOCK;
            let now = left.min(room).min(block.len() as u64);
            self.update(&block[..usize::try_from(now).unwrap_or(0)]);
            left -= now;
        }
    }

    /// How much the segment at hand can take, after a full one was closed.
    fn room(&mut self) -> u64 {
        if self.segment.count() == SEGMENT_BYTES {
            self.push(self.segment.finalize_non_root(), SEGMENT_BYTES);
        }
        SEGMENT_BYTES - self.segment.count()
    }

    /// Adds a subtree behind the ones before it, and begins a segment behind that.
    fn push(&mut self, value: ChainingValue, len: u64) {
        self.settle();
        self.subtrees.push((value, len));
        self.closed += len;
        self.segment = Hasher::new();
        self.segment.set_input_offset(self.closed);
    }

    /// Merges subtrees of a length, which are halves of one, as something follows them.
    fn settle(&mut self) {
        while let [.., (left, left_len), (right, right_len)] = self.subtrees.as_slice()
            && left_len == right_len
        {
            let merged = (
                merge_subtrees_non_root(left, right, Mode::Hash),
                left_len + right_len,
            );
            self.subtrees.truncate(self.subtrees.len() - 2);
            self.subtrees.push(merged);
        }
    }

    pub(crate) fn finish(mut self) -> BlobHash {
        if self.closed > 0 && self.segment.count() > 0 {
            self.settle();
            self.subtrees
                .push((self.segment.finalize_non_root(), self.segment.count()));
        }
        let hash = match self.subtrees.as_slice() {
            [(first, _), middle @ .., (last, _)] => {
                let right = middle.iter().rev().fold(*last, |right, (left, _)| {
                    merge_subtrees_non_root(left, &right, Mode::Hash)
                });
                merge_subtrees_root(first, &right, Mode::Hash)
            }
            // Subtrees are closed only when more follows: there is none, or more than one.
            _ => self.segment.finalize(),
        };
        BlobHash::from_bytes(*hash.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Runs of zeros and of other bytes, hashed as they come and all at once.
    fn both(runs: &[(bool, u64)]) -> (BlobHash, BlobHash) {
        let mut tree = TreeHasher::default();
        let mut whole = Hasher::new();
        for (is_zeros, len) in runs {
            let len = usize::try_from(*len).expect("it fits");
            if *is_zeros {
                tree.zeros(len as u64);
                whole.update(&vec![0; len]);
            } else {
                let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
                bytes.chunks(300_000).for_each(|bytes| tree.update(bytes));
                whole.update(&bytes);
            }
        }
        (tree.finish(), BlobHash::from_bytes(*whole.finalize().as_bytes()))
    }

    #[test]
    fn trees_with_zeros_hash_like_the_bytes() {
        let (data, zeros) = (|len| (false, len), |len| (true, len));
        let cases: [&[(bool, u64)]; 12] = [
            &[],
            &[data(1)],
            &[zeros(16 * MIB)],
            &[zeros(32 * MIB)],
            &[zeros(48 * MIB + 1)],
            &[data(16 * MIB), zeros(16 * MIB)],
            &[data(16 * MIB), zeros(16 * MIB - 1)],
            &[data(16 * MIB), data(16 * MIB)],
            &[data(5), zeros(70 * MIB), data(5)],
            &[zeros(40 * MIB), data(8 * MIB), zeros(32 * MIB)],
            &[data(20 * MIB), zeros(90 * MIB), data(1), zeros(18 * MIB)],
            &[zeros(128 * MIB), data(16 * MIB), zeros(48 * MIB)],
        ];
        for case in cases {
            let (tree, whole) = both(case);
            assert_eq!(tree, whole, "{case:?}");
        }
    }

    /// R6: what costs minutes to hash byte by byte costs nothing.
    #[test]
    fn r6_hundreds_of_gibibytes_of_zeros_are_put_together() {
        let mut one = TreeHasher::default();
        one.update(b"islands");
        one.zeros(256 << 30);
        one.update(b"in the sea");
        let mut other = TreeHasher::default();
        other.update(b"islands");
        for _ in 0..2 {
            other.zeros(128 << 30);
        }
        other.update(b"in the sea");
        assert_eq!(one.finish(), other.finish());
    }
}
