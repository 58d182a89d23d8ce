//! Which granules of a part hold a trigram: ascending numbers as differences, or a bit for each granule where that is shorter.
//!
//! Lists stand in pages in the order of their trigrams. A page is read and checked as a whole.

use crate::format::{GRANULES_PER_PART, PAGE_BYTES};
use crate::varint;

/// A set of granules of one part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Granules(pub(crate) [u64; GRANULES_PER_PART / 64]);

impl Granules {
    pub(crate) const NONE: Self = Self([0; GRANULES_PER_PART / 64]);
    pub(crate) const ALL: Self = Self([u64::MAX; GRANULES_PER_PART / 64]);

    pub(crate) fn insert(&mut self, granule: usize) {
        if let Some(word) = self.0.get_mut(granule / 64) {
            *word |= 1 << (granule % 64);
        }
    }

    pub(crate) fn contains(&self, granule: usize) -> bool {
        self.0
            .get(granule / 64)
            .is_some_and(|word| word >> (granule % 64) & 1 == 1)
    }

    /// Whether any of `count` granules from `first` is in it; they lie in one word.
    pub(crate) fn any(&self, first: usize, count: usize) -> bool {
        (first..first.saturating_add(count)).any(|granule| self.contains(granule))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(crate) fn keep(&mut self, other: &Self) {
        self.0
            .iter_mut()
            .zip(&other.0)
            .for_each(|(word, other)| *word &= other);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0
            .iter_mut()
            .zip(&other.0)
            .for_each(|(word, other)| *word |= other);
    }
}

/// Gathers lists into pages.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    /// Finished pages, each with its checksum.
    pub(crate) bytes: Vec<u8>,
    /// First trigram and length with checksum of each page.
    pub(crate) fences: Vec<(u32, usize)>,
    page: Vec<u8>,
    first: u32,
    last: u32,
}

impl Pages {
    /// Appends the list of a trigram that is greater than all before; `granules` are ascending.
    pub(crate) fn push(&mut self, trigram: u32, granules: impl Iterator<Item = usize> + Clone) {
        if self.page.is_empty() {
            (self.first, self.last) = (trigram, trigram);
        }
        varint::put(&mut self.page, u64::from(trigram - self.last));
        self.last = trigram;
        encode(&mut self.page, granules);
        if self.page.len() >= PAGE_BYTES {
            self.end_page();
        }
    }

    /// Ends the last page.
    pub(crate) fn end_page(&mut self) {
        if self.page.is_empty() {
            return;
        }
        let start = self.bytes.len();
        self.bytes.append(&mut self.page);
        let sum = crate::format::checksum(&self.bytes[start..]);
        self.bytes.extend_from_slice(&sum);
        self.fences.push((self.first, self.bytes.len() - start));
    }
}

/// A list: twice its bytes, plus one if it is bits; then the bytes.
fn encode(out: &mut Vec<u8>, granules: impl Iterator<Item = usize> + Clone) {
    let mut differences = Vec::new();
    let mut next = 0;
    for granule in granules.clone() {
        varint::put(&mut differences, u64::try_from(granule - next).unwrap_or(0));
        next = granule + 1;
    }
    let bits_bytes = next.div_ceil(8);
    if differences.len() <= bits_bytes {
        varint::put(out, u64::try_from(differences.len()).unwrap_or(0) * 2);
        out.append(&mut differences);
        return;
    }
    varint::put(out, u64::try_from(bits_bytes).unwrap_or(0) * 2 + 1);
    let start = out.len();
    out.resize(start + bits_bytes, 0);
    for granule in granules {
        out[start + granule / 8] |= 1 << (granule % 8);
    }
}

/// The granules of a trigram in a page without its checksum; none if the trigram is not there. `None` if the page is malformed.
pub(crate) fn find(mut page: &[u8], first: u32, trigram: u32) -> Option<Granules> {
    let mut at = u64::from(first);
    while !page.is_empty() {
        at = at.checked_add(varint::take(&mut page)?)?;
        let head = varint::take(&mut page)?;
        let list = varint::take_bytes(&mut page, usize::try_from(head / 2).ok()?)?;
        if at == u64::from(trigram) {
            return decode(list, head % 2 == 1);
        }
        if at > u64::from(trigram) {
            break;
        }
    }
    Some(Granules::NONE)
}

fn decode(mut list: &[u8], is_bits: bool) -> Option<Granules> {
    let mut granules = Granules::NONE;
    if is_bits {
        if list.len() > GRANULES_PER_PART / 8 {
            return None;
        }
        for (word, bytes) in granules.0.iter_mut().zip(list.chunks(8)) {
            let mut whole = [0; 8];
            whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            *word = u64::from_le_bytes(whole);
        }
        return Some(granules);
    }
    let mut next = 0_usize;
    while !list.is_empty() {
        let granule = next.checked_add(varint::take_len(&mut list)?)?;
        if granule >= GRANULES_PER_PART {
            return None;
        }
        granules.insert(granule);
        next = granule + 1;
    }
    Some(granules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_and_dense_lists_come_back() {
        let lists: [(u32, Vec<usize>); 4] = [
            (5, vec![0]),
            (6, (0..GRANULES_PER_PART).collect()),
            (0xff_fff0, vec![3, 4095]),
            (0xff_ffff, (100..4000).step_by(3).collect()),
        ];
        let mut pages = Pages::default();
        for (trigram, list) in &lists {
            pages.push(*trigram, list.iter().copied());
        }
        pages.end_page();
        let (first, len) = pages.fences[0];
        let page = &pages.bytes[..len - 8];
        for (trigram, list) in &lists {
            let mut wanted = Granules::NONE;
            list.iter().for_each(|granule| wanted.insert(*granule));
            assert_eq!(find(page, first, *trigram), Some(wanted));
        }
        assert_eq!(find(page, first, 7), Some(Granules::NONE));
        assert!(find(&page[..page.len() - 1], first, 0xff_ffff).is_none());
    }

    #[test]
    fn granules_beyond_a_part_are_refused() {
        let mut list = Vec::new();
        varint::put(&mut list, 4096);
        assert!(decode(&list, false).is_none());
        assert!(decode(&[0; 513], true).is_none());
    }
}
