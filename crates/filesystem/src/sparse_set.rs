//! A set of numbers (clusters, blocks) whose memory follows what is in it.

use std::collections::BTreeMap;

/// Numbers of one page: few, since a hostile image may name one number of each.
const PAGE_NUMBERS: u64 = 4096;
const PAGE_WORDS: usize = 64;

/// A sparse bitmap. The whole of the largest FAT32 volume (2^28 clusters) takes 32 MiB and some for the map of its pages, a few directories some KiB.
#[derive(Debug, Default)]
pub(crate) struct SparseSet {
    pages: BTreeMap<u64, Box<[u64; PAGE_WORDS]>>,
}

impl SparseSet {
    /// Adds a number; false if it was there.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        let page = self
            .pages
            .entry(number / PAGE_NUMBERS)
            .or_insert_with(|| Box::new([0; PAGE_WORDS]));
        let within = number % PAGE_NUMBERS;
        let word = usize::try_from(within / 64)
            .ok()
            .and_then(|word| page.get_mut(word));
        let bit = 1_u64.rotate_left(u32::try_from(within % 64).unwrap_or(0));
        match word {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                true
            }
            _ => false,
        }
    }

    /// Whether a number is in the set.
    pub(crate) fn contains(&self, number: u64) -> bool {
        let Some(page) = self.pages.get(&(number / PAGE_NUMBERS)) else {
            return false;
        };
        let within = number % PAGE_NUMBERS;
        let word = usize::try_from(within / 64).ok().and_then(|word| page.get(word));
        word.is_some_and(|word| word & 1_u64.rotate_left(u32::try_from(within % 64).unwrap_or(0)) != 0)
    }

    /// The numbers in it, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> {
        let words = self.pages.iter().flat_map(|(page, words)| {
            // Words first: the number behind the last page of all cannot be counted to.
            let starts = (page.saturating_mul(PAGE_NUMBERS)..=u64::MAX).step_by(64);
            words.iter().zip(starts).map(|(word, start)| (start, word))
        });
        let used = words.filter(|(_, word)| **word != 0);
        used.flat_map(|(start, word)| {
            let is_set = move |bit: &u32| word.rotate_right(*bit) & 1 == 1;
            (0..64)
                .filter(is_set)
                .map(move |bit| start.saturating_add(u64::from(bit)))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(numbers in proptest::collection::vec(0_u64..0x0fff_ffff, 0..200), step in 1_u64..5000) {
            let (mut sparse, mut plain) = (SparseSet::default(), BTreeSet::new());
            for number in numbers.into_iter().flat_map(|number| [number, number / step]) {
                prop_assert_eq!(sparse.contains(number + 1), plain.contains(&(number + 1)));
                prop_assert_eq!(sparse.insert(number), plain.insert(number));
            }
            prop_assert!(sparse.iter().eq(plain));
        }
    }

    /// Behind the last page there is no number to count to.
    #[test]
    fn r22_the_last_numbers_of_all_are_found() {
        let mut sparse = SparseSet::default();
        assert!(sparse.insert(u64::MAX) && sparse.insert(u64::MAX - 64));
        assert!(sparse.iter().eq([u64::MAX - 64, u64::MAX]));
    }
}
