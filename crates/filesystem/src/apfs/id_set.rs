//! A set of object numbers.

use std::collections::BTreeMap;

/// Numbers of one page. Small: numbers of a hostile volume lie far apart, and each may not cost more than its record.
const PAGE: u64 = 256;

/// A sparse bitmap.
#[derive(Debug, Default)]
pub(super) struct IdSet {
    pages: BTreeMap<u64, [u64; 4]>,
}

fn place(id: u64) -> (u64, usize, u64) {
    let within = id % PAGE;
    let word = usize::try_from(within / 64).unwrap_or(0);
    (
        id / PAGE,
        word,
        1_u64.rotate_left(u32::try_from(within % 64).unwrap_or(0)),
    )
}

impl IdSet {
    /// Adds a number; false if it was there.
    pub(super) fn insert(&mut self, id: u64) -> bool {
        let (page, word, bit) = place(id);
        let Some(word) = self.pages.entry(page).or_default().get_mut(word) else {
            return false;
        };
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Whether a number is in it.
    pub(super) fn contains(&self, id: u64) -> bool {
        let (page, word, bit) = place(id);
        let word = self.pages.get(&page).and_then(|words| words.get(word));
        word.is_some_and(|word| word & bit != 0)
    }

    /// The numbers that are in it and not in `other`, ascending.
    pub(super) fn without<'s>(&'s self, other: &'s Self) -> impl Iterator<Item = u64> + 's {
        let words = self.pages.iter().flat_map(|(page, words)| {
            let start = page.saturating_mul(PAGE);
            let starts = [0, 64, 128, 192].map(|within| start.saturating_add(within));
            starts.into_iter().zip(words.iter())
        });
        let bits = words.filter(|(_, word)| **word != 0).flat_map(|(start, word)| {
            (0..64_u32)
                .filter(move |bit| word.rotate_right(*bit) & 1 == 1)
                .map(move |bit| start.saturating_add(bit.into()))
        });
        bits.filter(|id| !other.contains(*id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_far_apart() {
        let (mut all, mut some) = (IdSet::default(), IdSet::default());
        for id in [0, 63, 64, 255, 256, u64::MAX] {
            assert!(!all.contains(id) && all.insert(id) && !all.insert(id) && all.contains(id));
        }
        some.insert(64);
        some.insert(256);
        assert_eq!(all.without(&some).collect::<Vec<_>>(), [0, 63, 255, u64::MAX]);
    }
}
