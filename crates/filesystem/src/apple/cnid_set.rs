//! A set of 32-bit numbers whose memory follows how many there are, however they are spread.

use std::collections::BTreeMap;

/// A chunk with more numbers than this becomes a bitmap.
const LIST_MAX: usize = 4096;
const BITMAP_WORDS: usize = 1024;

/// The numbers that share their upper 16 bits.
#[derive(Debug, Clone)]
enum Chunk {
    /// Their lower 16 bits, ascending.
    List(Vec<u16>),
    /// A bit for each.
    Bitmap(Box<[u64; BITMAP_WORDS]>),
}

impl Chunk {
    fn insert(&mut self, low: u16) -> bool {
        match self {
            Self::List(list) => {
                let Err(place) = list.binary_search(&low) else {
                    return false;
                };
                list.insert(place, low);
                if list.len() > LIST_MAX {
                    *self = bitmap_of(list);
                }
                true
            }
            Self::Bitmap(words) => {
                let (word, bit) = place(low);
                let Some(word) = words.get_mut(word) else {
                    return false;
                };
                let new = *word & bit == 0;
                *word |= bit;
                new
            }
        }
    }

    fn contains(&self, low: u16) -> bool {
        match self {
            Self::List(list) => list.binary_search(&low).is_ok(),
            Self::Bitmap(words) => {
                let (word, bit) = place(low);
                words.get(word).is_some_and(|word| word & bit != 0)
            }
        }
    }

    fn next_from(&self, low: u16) -> Option<u16> {
        match self {
            Self::List(list) => list.get(list.partition_point(|number| *number < low)).copied(),
            Self::Bitmap(words) => {
                let (first, bit) = place(low);
                let mask = !bit.wrapping_sub(1);
                for (index, word) in words.iter().enumerate().skip(first) {
                    let word = if index == first { word & mask } else { *word };
                    if word != 0 {
                        let base = u16::try_from(index.checked_mul(64)?).ok()?;
                        return base.checked_add(u16::try_from(word.trailing_zeros()).ok()?);
                    }
                }
                None
            }
        }
    }
}

fn bitmap_of(list: &[u16]) -> Chunk {
    let mut words = Box::new([0_u64; BITMAP_WORDS]);
    for low in list {
        let (word, bit) = place(*low);
        if let Some(word) = words.get_mut(word) {
            *word |= bit;
        }
    }
    Chunk::Bitmap(words)
}

fn place(low: u16) -> (usize, u64) {
    (usize::from(low / 64), 1_u64.rotate_left(u32::from(low % 64)))
}

/// A set of catalogue node ids: two bytes a number where they are sparse, a bit where they are dense.
#[derive(Debug, Default, Clone)]
pub(crate) struct CnidSet {
    chunks: BTreeMap<u16, Chunk>,
}

fn split(number: u32) -> (u16, u16) {
    let [a, b, c, d] = number.to_be_bytes();
    (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
}

fn join(high: u16, low: u16) -> u32 {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    u32::from_be_bytes([a, b, c, d])
}

impl CnidSet {
    /// Adds a number; false if it was there.
    pub(crate) fn insert(&mut self, number: u32) -> bool {
        let (high, low) = split(number);
        let chunk = self.chunks.entry(high).or_insert_with(|| Chunk::List(Vec::new()));
        chunk.insert(low)
    }

    /// Whether a number is in the set.
    pub(crate) fn contains(&self, number: u32) -> bool {
        let (high, low) = split(number);
        self.chunks.get(&high).is_some_and(|chunk| chunk.contains(low))
    }

    /// The lowest number from `from` on.
    pub(crate) fn next_from(&self, from: u32) -> Option<u32> {
        let (high, low) = split(from);
        for (chunk_high, chunk) in self.chunks.range(high..) {
            let start = if *chunk_high == high { low } else { 0 };
            if let Some(found) = chunk.next_from(start) {
                return Some(join(*chunk_high, found));
            }
        }
        None
    }

    /// All numbers, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let found = self.next_from(next?)?;
            next = found.checked_add(1);
            Some(found)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn agrees_with_a_plain_set(
            numbers in proptest::collection::vec(any::<u32>(), 0..200),
            run in 0_u32..6_000,
        ) {
            let (mut set, mut plain) = (CnidSet::default(), BTreeSet::new());
            for number in numbers.iter().copied().chain(100_000..100_000 + run) {
                prop_assert_eq!(set.insert(number), plain.insert(number));
                prop_assert!(!set.insert(number));
            }
            for number in &numbers {
                prop_assert_eq!(set.contains(number ^ 1), plain.contains(&(number ^ 1)));
            }
            prop_assert!(set.iter().eq(plain.iter().copied()));
        }
    }

    #[test]
    fn the_ends_of_the_range_are_numbers_too() {
        let mut set = CnidSet::default();
        assert!(set.insert(u32::MAX) && set.insert(0));
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, u32::MAX]);
    }
}
