//! Entries of directory blocks (Linux `fs/ext4/ext4.h`, `struct ext4_dir_entry_2`).
//!
//! The index of a hashed directory hides in entries that look unused, so that every block of any directory is read the same way.

use ntt_source::field::{le_u16, le_u32, u8_at};

use super::seal::LEAF_TAIL_TYPE;

const HEADER_LEN: usize = 8;

/// An entry in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry<'b> {
    pub(super) inode: u32,
    pub(super) name: &'b [u8],
    /// Type code, where entries have one.
    pub(super) file_type: Option<u8>,
    /// Byte of the block at which it starts.
    pub(super) offset: usize,
}

/// What is found in a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Item<'b> {
    /// An entry in use.
    Entry(Entry<'b>),
    /// A run of bytes that holds no entry: where it starts and why.
    Bad(usize, String),
}

/// What the superblock says about entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct EntryRules {
    /// Entries have a type byte, which is the upper half of the name's length otherwise.
    pub(super) has_file_type: bool,
    /// Highest inode number.
    pub(super) inodes_count: u32,
}

/// Reads the entries of `block` (or of a part that holds entries, as inline directories have).
pub(super) struct Entries<'b> {
    block: &'b [u8],
    rules: EntryRules,
    next: usize,
}

impl<'b> Entries<'b> {
    /// Entries of `block`.
    pub(super) fn new(block: &'b [u8], rules: EntryRules) -> Self {
        Self {
            block,
            rules,
            next: 0,
        }
    }

    fn parse(&self, offset: usize) -> Result<(Entry<'b>, usize), String> {
        let header = self.block.get(offset..offset.saturating_add(HEADER_LEN));
        let header = header.ok_or_else(|| "entry passes the end of the block".to_owned())?;
        let inode = le_u32(header, 0).unwrap_or(0);
        let length = self.record_len(le_u16(header, 4).unwrap_or(0));
        let (name_len, file_type) = self.name_len(header);
        let end = offset.saturating_add(length);
        if length < HEADER_LEN || !length.is_multiple_of(4) || end > self.block.len() {
            return Err(format!("length of an entry is {length}"));
        }
        let name_start = offset.saturating_add(HEADER_LEN);
        let name_end = name_start.saturating_add(name_len);
        let name = self.block.get(name_start..name_end).unwrap_or_default();
        if inode != 0 && (name_end > end || name.is_empty()) {
            return Err(format!("name of {name_len} bytes in an entry of {length}"));
        }
        let entry = Entry {
            inode,
            name,
            file_type,
            offset,
        };
        Ok((entry, end))
    }

    /// A length of 64 KiB does not fit in 16 bits (Linux `ext4_rec_len_from_disk`).
    fn record_len(&self, raw: u16) -> usize {
        let raw = usize::from(raw);
        if self.block.len() >= 1 << 16 {
            if raw == 0xffff || raw == 0 {
                return self.block.len();
            }
            return (raw & 0xfffc) | ((raw & 3) << 16);
        }
        raw
    }

    fn name_len(&self, header: &[u8]) -> (usize, Option<u8>) {
        if self.rules.has_file_type {
            return (usize::from(u8_at(header, 6).unwrap_or(0)), u8_at(header, 7));
        }
        (usize::from(le_u16(header, 6).unwrap_or(0)), None)
    }

    /// The next place after `offset` where an entry stands beyond doubt: all fields agree and its name is clean.
    fn resync(&self, offset: usize) -> usize {
        let mut at = offset.saturating_add(4);
        while at.saturating_add(HEADER_LEN) <= self.block.len() {
            if self
                .parse(at)
                .is_ok_and(|(entry, end)| self.is_beyond_doubt(&entry, end))
            {
                return at;
            }
            at = at.saturating_add(4);
        }
        self.block.len()
    }

    fn is_beyond_doubt(&self, entry: &Entry<'_>, end: usize) -> bool {
        let padded = entry.name.len().saturating_add(HEADER_LEN).next_multiple_of(4);
        let is_tight = entry.offset.saturating_add(padded) == end || end == self.block.len();
        let clean = entry.name.len() <= 255 && !entry.name.iter().any(|byte| matches!(byte, 0..0x20 | b'/'));
        let known_type = entry.file_type.is_none_or(|code| code <= 7);
        entry.inode != 0
            && entry.inode <= self.rules.inodes_count
            && clean
            && known_type
            && (is_tight || self.parse(end).is_ok())
    }

    /// Whether every byte of the block belongs to a well-formed entry: for blocks that perhaps are none of the directory's.
    pub(super) fn is_clean(block: &'b [u8], rules: EntryRules) -> bool {
        Entries::new(block, rules).all(|item| match item {
            Item::Entry(entry) => entry.inode <= rules.inodes_count,
            Item::Bad(..) => false,
        })
    }
}

impl<'b> Iterator for Entries<'b> {
    type Item = Item<'b>;

    fn next(&mut self) -> Option<Item<'b>> {
        while self.next < self.block.len() {
            let offset = self.next;
            match self.parse(offset) {
                Ok((entry, end)) => {
                    self.next = end;
                    if entry.inode != 0 && entry.file_type != Some(LEAF_TAIL_TYPE) {
                        return Some(Item::Entry(entry));
                    }
                }
                Err(detail) => {
                    self.next = self.resync(offset);
                    return Some(Item::Bad(offset, detail));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: EntryRules = EntryRules {
        has_file_type: true,
        inodes_count: 1000,
    };

    fn entry(inode: u32, length: u16, name: &[u8]) -> Vec<u8> {
        let mut bytes = inode.to_le_bytes().to_vec();
        bytes.extend(length.to_le_bytes());
        bytes.extend([u8::try_from(name.len()).expect("short"), 1]);
        bytes.extend(name);
        bytes.resize(usize::from(length), 0);
        bytes
    }

    fn block() -> Vec<u8> {
        [
            entry(11, 12, b"a"),
            entry(12, 16, b"bcdefg"),
            entry(13, 12, b"h"),
            entry(14, 984, b"last"),
        ]
        .concat()
    }

    fn names(block: &[u8]) -> (Vec<&[u8]>, usize) {
        let mut names = Vec::new();
        let mut bad = 0;
        for item in Entries::new(block, RULES) {
            match item {
                Item::Entry(entry) => names.push(entry.name),
                Item::Bad(..) => bad += 1,
            }
        }
        (names, bad)
    }

    #[test]
    fn entries_are_read_in_order() {
        assert_eq!(names(&block()), (vec![&b"a"[..], b"bcdefg", b"h", b"last"], 0));
    }

    #[test]
    fn r22_a_bad_entry_costs_itself() {
        let mut block = block();
        block[12 + 4] = 3;
        assert_eq!(names(&block), (vec![&b"a"[..], b"h", b"last"], 1));
        block[12 + 4] = 0;
        block[12 + 5] = 0x80;
        assert_eq!(names(&block), (vec![&b"a"[..], b"h", b"last"], 1));
    }

    #[test]
    fn unused_entries_hide_what_they_span() {
        let mut block = block();
        block[12..16].fill(0);
        assert_eq!(names(&block).0.len(), 3);
    }

    #[test]
    fn names_without_type_byte_have_a_long_length() {
        let rules = EntryRules {
            has_file_type: false,
            ..RULES
        };
        let mut bytes = entry(11, 12, b"a");
        assert!(matches!(Entries::new(&bytes, rules).next(), Some(Item::Bad(..))));
        bytes[7] = 0;
        assert!(matches!(Entries::new(&bytes, rules).next(), Some(Item::Entry(_))));
    }

    proptest! {
        /// Hostile blocks end, and every name lies in the block.
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let items = Entries::new(&bytes, RULES).count();
            prop_assert!(items <= bytes.len() / 4 + 1);
        }
    }
}
