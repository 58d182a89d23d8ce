//! Exact names, any number of them.

use std::collections::HashSet;

use crate::fold::folded;

/// Bits of the first sieve: a name that finds its bit unset is in no set.
const SIEVE_BITS: usize = 1 << 18;

/// A set of names. Most names that are asked for are not in it, which a few bytes of them tell.
#[derive(Debug)]
pub(crate) struct NameSet {
    names: HashSet<Vec<u8>>,
    sieve: Vec<u64>,
    ignore_case: bool,
}

impl NameSet {
    pub(crate) fn new<'n>(names: impl Iterator<Item = &'n [u8]>, ignore_case: bool) -> Self {
        let mut set = Self {
            names: HashSet::new(),
            sieve: vec![0; SIEVE_BITS / 64],
            ignore_case,
        };
        for name in names {
            let name = if ignore_case { folded(name) } else { name.to_vec() };
            let (word, bit) = place(&name);
            set.sieve[word] |= bit;
            set.names.insert(name);
        }
        set
    }

    #[inline]
    pub(crate) fn contains(&self, name: &[u8]) -> bool {
        if !self.ignore_case {
            return self.may_hold(name) && self.names.contains(name);
        }
        if name.is_ascii() {
            // The sieve does not tell the cases apart.
            return self.may_hold(name) && self.names.contains(&name.to_ascii_lowercase());
        }
        let name = folded(name);
        self.may_hold(&name) && self.names.contains(&name)
    }

    #[inline]
    fn may_hold(&self, name: &[u8]) -> bool {
        let (word, bit) = place(name);
        self.sieve.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// The last components of the names.
    pub(crate) fn last_components(&self) -> Self {
        let last = self
            .names
            .iter()
            .map(|name| name.rsplit(|byte| *byte == b'/').next().unwrap_or_default());
        Self::new(last, self.ignore_case)
    }
}

/// The bit of a name: of its length, its first eight bytes and its last eight, the case of letters folded (and that of a few signs).
#[inline]
fn place(name: &[u8]) -> (usize, u64) {
    const FOLDED: u64 = 0x2020_2020_2020_2020;
    let ends = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(first), Some(last)) => [u64::from_le_bytes(*first), u64::from_le_bytes(*last)],
        _ => [
            name.iter().fold(0, |bytes, byte| bytes << 8 | u64::from(*byte)),
            0,
        ],
    };
    let [first, last] = ends.map(|bytes| bytes | FOLDED);
    let len = u64::try_from(name.len()).unwrap_or(u64::MAX);
    let mixed = first.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ last.wrapping_add(len);
    // The upper bits of a product depend on all of its factor.
    let upper = (mixed ^ mixed >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let bit = usize::try_from(upper).unwrap_or(0) >> (32 - SIEVE_BITS.ilog2());
    (bit / 64, 1 << (bit % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_set_passes_the_sieve() {
        let names: Vec<Vec<u8>> = (0_u32..5000)
            .map(|number| format!("IMG_{number:x}").into_bytes())
            .collect();
        let set = NameSet::new(names.iter().map(Vec::as_slice), false);
        assert!(names.iter().all(|name| set.contains(name)));
        assert!(!set.contains(b"img_1") && !set.contains(b"") && !set.contains(b"IMG_1388"));
        let mut short: Vec<Vec<u8>> = vec![b"".to_vec()];
        short.extend((0..=u8::MAX).flat_map(|byte| [vec![byte], vec![b'a', byte], vec![byte, b'a', byte]]));
        let short_set = NameSet::new(short.iter().map(Vec::as_slice), true);
        assert!(
            short
                .iter()
                .all(|name| short_set.contains(&name.to_ascii_uppercase()))
        );
        let folded = NameSet::new(names.iter().map(Vec::as_slice), true);
        assert!(folded.contains(b"img_1"));
    }

    #[test]
    fn last_components_are_names() {
        let paths = [b"a/b/c".as_slice(), b"d"];
        let set = NameSet::new(paths.into_iter(), false).last_components();
        assert!(set.contains(b"c") && set.contains(b"d") && !set.contains(b"a/b/c"));
    }
}
