//! A set of cluster numbers whose memory follows what is in it.

use std::collections::BTreeMap;

/// Clusters of one page.
const PAGE_CLUSTERS: u32 = 32_768;
const PAGE_WORDS: usize = 512;

/// A sparse bitmap. The whole of the largest FAT32 volume (2^28 clusters) takes 32 MiB, a few directories some KiB.
#[derive(Debug, Default)]
pub(super) struct ClusterSet {
    pages: BTreeMap<u32, Box<[u64; PAGE_WORDS]>>,
}

impl ClusterSet {
    /// Adds a cluster; false if it was there.
    pub(super) fn insert(&mut self, cluster: u32) -> bool {
        let page = self
            .pages
            .entry(cluster / PAGE_CLUSTERS)
            .or_insert_with(|| Box::new([0; PAGE_WORDS]));
        let within = cluster % PAGE_CLUSTERS;
        let word = usize::try_from(within / 64)
            .ok()
            .and_then(|word| page.get_mut(word));
        let bit = 1_u64.rotate_left(within % 64);
        match word {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                true
            }
            _ => false,
        }
    }

    /// The clusters in it, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let words = self.pages.iter().flat_map(|(page, words)| {
            let start = page.saturating_mul(PAGE_CLUSTERS);
            (start..).step_by(64).zip(words.iter())
        });
        let used = words.filter(|(_, word)| **word != 0);
        used.flat_map(|(start, word)| {
            let is_set = move |bit: &u32| word.rotate_right(*bit) & 1 == 1;
            (0..64).filter(is_set).map(move |bit| start.saturating_add(bit))
        })
    }

    /// Whether a cluster is in it.
    pub(super) fn contains(&self, cluster: u32) -> bool {
        let Some(page) = self.pages.get(&(cluster / PAGE_CLUSTERS)) else {
            return false;
        };
        let within = cluster % PAGE_CLUSTERS;
        let word = usize::try_from(within / 64).ok().and_then(|word| page.get(word));
        word.is_some_and(|word| word & 1_u64.rotate_left(within % 64) != 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(clusters in proptest::collection::vec(0_u32..0x0fff_ffff, 0..200), step in 1_u32..5000) {
            let (mut sparse, mut plain) = (ClusterSet::default(), BTreeSet::new());
            for cluster in clusters.into_iter().flat_map(|cluster| [cluster, cluster / step]) {
                prop_assert_eq!(sparse.contains(cluster), plain.contains(&cluster));
                prop_assert_eq!(sparse.insert(cluster), plain.insert(cluster));
            }
            prop_assert!(sparse.iter().eq(plain));
        }
    }
}
