//! What the trees walked so far hold: the way in which another tree's records find the same files.

use std::collections::{HashMap, HashSet};

/// First byte of the content (volume offset) and its length: equal keys are the same file in another tree.
pub(super) type ContentKey = (u64, u64);

/// Files of the trees walked so far. 24 bytes a file, and nothing at all on a disc of one tree.
#[derive(Debug, Default)]
pub(super) struct KnownFiles {
    /// Files of the preferred tree, by key once it is sealed.
    files: Vec<(ContentKey, u64)>,
    /// Whether the file of the same index was met in the tree that is compared.
    met: Vec<bool>,
    /// Files that only later trees hold.
    more: HashMap<ContentKey, u64>,
    /// Inodes without content that were emitted.
    empty: HashSet<u64>,
    /// Records without content that were taken for hard links of another inode.
    aliases: HashMap<u64, u64>,
}

impl KnownFiles {
    /// A file with content, of the preferred tree.
    pub(super) fn add(&mut self, key: ContentKey, inode: u64) {
        self.files.push((key, inode));
    }

    /// A file with content that only a later tree holds.
    pub(super) fn add_later(&mut self, key: ContentKey, inode: u64) {
        self.more.entry(key).or_insert(inode);
    }

    /// An inode without content.
    pub(super) fn add_empty(&mut self, inode: u64) {
        self.empty.insert(inode);
    }

    /// A record without content that is a name of another inode.
    pub(super) fn add_alias(&mut self, number: u64, inode: u64) {
        self.aliases.insert(number, inode);
    }

    /// Ends the preferred tree.
    pub(super) fn seal(&mut self) {
        self.files.sort_unstable();
        self.met = vec![false; self.files.len()];
    }

    /// Forgets which files were met.
    pub(super) fn start_comparison(&mut self) {
        self.met.fill(false);
    }

    /// The inode with that content.
    pub(super) fn find(&self, key: ContentKey) -> Option<u64> {
        let first = self.files.partition_point(|(known, _)| *known < key);
        let found = self.files.get(first).filter(|(known, _)| *known == key);
        found
            .map(|(_, inode)| *inode)
            .or_else(|| self.more.get(&key).copied())
    }

    /// As [`KnownFiles::find`]; all files with that content count as met.
    pub(super) fn meet(&mut self, key: ContentKey) -> Option<u64> {
        let first = self.files.partition_point(|(known, _)| *known < key);
        for ((known, _), met) in self.files.iter().zip(&mut self.met).skip(first) {
            if *known != key || *met {
                break;
            }
            *met = true;
        }
        self.find(key)
    }

    /// Inodes of the preferred tree that the compared tree does not hold.
    pub(super) fn not_met(&self) -> impl Iterator<Item = u64> {
        let missing = self.files.iter().zip(&self.met).filter(|(_, met)| !**met);
        missing.map(|((_, inode), _)| *inode)
    }

    /// The emitted inode of a record without content.
    pub(super) fn empty_inode(&self, number: u64) -> Option<u64> {
        let inode = self.aliases.get(&number).copied().unwrap_or(number);
        self.empty.contains(&inode).then_some(inode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_content_is_found_and_what_was_not_met_is_told() {
        let mut known = KnownFiles::default();
        known.add((4096, 10), 7);
        known.add((2048, 10), 5);
        known.add((2048, 10), 6);
        known.seal();
        assert_eq!(known.meet((2048, 10)), Some(5));
        assert_eq!(known.meet((2048, 11)), None);
        assert_eq!(known.not_met().collect::<Vec<_>>(), [7]);
        known.add_later((9, 9), 9);
        assert_eq!(known.find((9, 9)), Some(9));
    }
}
