//! Sets of inode numbers.

use std::collections::HashSet;

use super::inode::is_place;
use crate::sparse_set::SparseSet;

/// Sectors have at least so many bytes, and so numbers that are places have their step.
const UNIT_BYTES: u64 = 512;

/// Numbers of entries that were met: a bit for each sector of the volume where one is, and a list of those that lie nowhere.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    places: SparseSet,
    others: HashSet<u64>,
}

impl Numbers {
    /// Adds a number; false if it was there.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        if is_place(number) {
            self.places.insert(number / UNIT_BYTES)
        } else {
            self.others.insert(number)
        }
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        if is_place(number) {
            self.places.contains(number / UNIT_BYTES)
        } else {
            self.others.contains(&number)
        }
    }

    /// Adds all sectors of a run of bytes.
    pub(super) fn insert_all(&mut self, offset: u64, len: u64) {
        let end = offset.saturating_add(len).div_ceil(UNIT_BYTES);
        for sector in offset / UNIT_BYTES..end {
            self.places.insert(sector);
        }
    }
}
