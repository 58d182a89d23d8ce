//! Which inodes were emitted, by place and by number.

use std::collections::BTreeMap;

use super::volume::Place;
use crate::sparse_set::SparseSet;

/// Bytes of a cell: no inode is shorter.
const CELL_BYTES: usize = 4;
const CELLS_PER_WORD: usize = 64;
/// Words for a block of 8 KiB.
const WORDS: usize = 32;
/// Numbers that the reader makes up, for inodes whose own number another one has, or that have none.
const MADE_UP: u64 = 1 << 62;

/// A bit for every place at which an inode may begin (256 bytes a block of metadata), and the numbers that are taken.
#[derive(Debug, Default)]
pub(super) struct Known {
    places: BTreeMap<u64, Box<[u64; WORDS]>>,
    numbers: SparseSet,
    /// Inodes that do not have their own number.
    renamed: BTreeMap<(u64, usize), u64>,
}

impl Known {
    /// Remembers a place; whether it was new.
    pub(super) fn insert(&mut self, place: Place) -> bool {
        let cell = place.offset.checked_div(CELL_BYTES).unwrap_or(0);
        let words = self
            .places
            .entry(place.block)
            .or_insert_with(|| Box::new([0; WORDS]));
        let word = cell
            .checked_div(CELLS_PER_WORD)
            .and_then(|word| words.get_mut(word));
        let shift = u32::try_from(cell % CELLS_PER_WORD).unwrap_or(0);
        let bit = 1_u64.rotate_left(shift);
        match word {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                true
            }
            _ => false,
        }
    }

    /// The number under which a new inode goes, and whether it is its own.
    pub(super) fn number_of_new(&mut self, place: Place, stored: u32) -> (u64, bool) {
        if stored != 0 && self.numbers.insert(stored.into()) {
            return (stored.into(), true);
        }
        let offset = u64::try_from(place.offset).unwrap_or(0) & 0xffff;
        let number = MADE_UP | (place.block << 16 & MADE_UP.saturating_sub(1)) | offset;
        self.renamed.insert((place.block, place.offset), number);
        (number, false)
    }

    /// The number of an inode that was emitted before.
    pub(super) fn number(&self, place: Place, stored: u32) -> u64 {
        let renamed = self.renamed.get(&(place.block, place.offset));
        renamed.copied().unwrap_or(stored.into())
    }

    /// Whether an inode has this number.
    pub(super) fn has_number(&self, number: u32) -> bool {
        self.numbers.contains(number.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_inodes_never_share_a_number() {
        let place = |offset| Place { block: 7, offset };
        let mut known = Known::default();
        assert!(known.insert(place(8)) && known.insert(place(40)) && !known.insert(place(8)));
        assert_eq!(known.number_of_new(place(8), 5), (5, true));
        let (other, is_own) = known.number_of_new(place(40), 5);
        assert!(other >= MADE_UP && !is_own);
        assert_eq!(
            (known.number(place(8), 5), known.number(place(40), 5)),
            (5, other)
        );
        assert!(known.has_number(5) && !known.has_number(6));
        assert!(!known.insert(place(70_000)), "no block is so long");
    }
}
