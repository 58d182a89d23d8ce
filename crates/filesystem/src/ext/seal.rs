//! Checksums of directory blocks: leaves carry one in a last entry that is none, index blocks behind the space for their entries.
//!
//! Source: Linux `fs/ext4/namei.c` (`ext4_dirblock_csum_verify`, `ext4_dx_csum`, `get_dx_countlimit`).

use ntt_source::field::{le_u16, le_u32};

use super::checksum::crc32c;

/// File type of the entry that holds the checksum of a leaf.
pub(super) const LEAF_TAIL_TYPE: u8 = 0xde;
/// Bytes of `struct dx_entry`.
const INDEX_ENTRY_LEN: usize = 8;
/// Where the count of entries stands in the first block of an indexed directory, after `.`, `..` and `struct dx_root_info`.
const ROOT_COUNT_AT: usize = 32;
/// Where it stands in the other blocks of the index, after an entry that spans the block.
const NODE_COUNT_AT: usize = 8;

/// A checksum and the bytes it covers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Seal<'a> {
    pub(super) stored: u32,
    /// Whether the block holds hashes instead of names.
    pub(super) is_of_index: bool,
    covered: [&'a [u8]; 3],
}

impl<'a> Seal<'a> {
    /// The checksum of a block; `None` if it has the form of none that carries one. `is_root` for the first block of an indexed
    /// directory: what its last bytes look like means nothing, since the kernel turns leaves into index blocks without wiping them.
    pub(super) fn of(block: &'a [u8], is_root: bool) -> Option<Self> {
        if is_root && has_root_info(block) {
            return Self::index(block, ROOT_COUNT_AT);
        }
        if is_node(block) {
            return Self::index(block, NODE_COUNT_AT);
        }
        Self::leaf(block)
    }

    /// What the checksum should be.
    pub(super) fn computed(&self, seed: u32) -> u32 {
        self.covered.iter().fold(seed, |crc, bytes| crc32c(crc, bytes))
    }

    /// `struct ext4_dir_entry_tail`.
    fn leaf(block: &'a [u8]) -> Option<Self> {
        let start = block.len().checked_sub(12)?;
        let tail = block.get(start..)?;
        (tail.get(..8)? == [0, 0, 0, 0, 12, 0, 0, LEAF_TAIL_TYPE]).then_some(())?;
        Some(Self {
            stored: le_u32(tail, 8)?,
            is_of_index: false,
            covered: [block.get(..start)?, &[], &[]],
        })
    }

    /// `struct dx_tail`, after the space for as many entries as the limit says; the entries beyond the count are not covered.
    fn index(block: &'a [u8], count_at: usize) -> Option<Self> {
        let limit = usize::from(le_u16(block, count_at)?);
        let count = usize::from(le_u16(block, count_at.checked_add(2)?)?);
        let after = |entries: usize| entries.checked_mul(INDEX_ENTRY_LEN)?.checked_add(count_at);
        let tail = block.get(after(limit)?..)?;
        (count <= limit && tail.len() >= 8).then_some(())?;
        Some(Self {
            stored: le_u32(tail, 4)?,
            is_of_index: true,
            covered: [block.get(..after(count)?)?, tail.get(..4)?, &[0; 4]],
        })
    }
}

/// `struct dx_root_info`: reserved bytes that are 0, and its own length.
fn has_root_info(block: &[u8]) -> bool {
    le_u16(block, 4) == Some(12) && le_u32(block, 24) == Some(0) && block.get(29) == Some(&8)
}

/// One unused entry without a name over the whole block.
fn is_node(block: &[u8]) -> bool {
    let spans = match le_u16(block, 4).map(usize::from) {
        Some(0 | 0xffff) => block.len() >= 1 << 16,
        len => len == Some(block.len()),
    };
    spans && le_u32(block, 0) == Some(0) && le_u16(block, 6) == Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first block of an indexed directory as the kernel leaves it: a leaf's tail is still there, under the new one.
    fn root() -> Vec<u8> {
        let mut block = vec![0; 1024];
        block[..12].copy_from_slice(&[2, 0, 0, 0, 12, 0, 1, 2, b'.', 0, 0, 0]);
        block[12..20].copy_from_slice(&[2, 0, 0, 0, 0xf4, 3, 2, 2]);
        (block[28], block[29]) = (1, 8);
        block[32..36].copy_from_slice(&[123, 0, 2, 0]);
        block[1012..1020].copy_from_slice(&[0, 0, 0, 0, 12, 0, 0, LEAF_TAIL_TYPE]);
        let sum = Seal::of(&block, true).expect("sealed").computed(7);
        block[1020..].copy_from_slice(&sum.to_le_bytes());
        block
    }

    fn is_whole(block: &[u8], is_root: bool) -> bool {
        let seal = Seal::of(block, is_root).expect("sealed");
        seal.computed(7) == seal.stored
    }

    #[test]
    fn an_index_block_that_was_a_leaf_has_the_checksum_of_an_index_block() {
        let block = root();
        assert!(is_whole(&block, true) && !is_whole(&block, false));
        let after_the_count = 60;
        for (at, whole) in [(0, false), (40, false), (after_the_count, true), (1016, false)] {
            let mut changed = block.clone();
            changed[at] ^= 1;
            assert_eq!(is_whole(&changed, true), whole, "byte {at}");
        }
    }

    #[test]
    fn limits_that_cannot_be_have_no_checksum() {
        let mut block = root();
        block[32..34].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(Seal::of(&block, true), None);
        block[32..36].copy_from_slice(&[1, 0, 2, 0]);
        assert_eq!(Seal::of(&block, true), None);
        assert_eq!(Seal::of(&[], true), None);
    }

    #[test]
    fn inner_blocks_of_an_index_are_recognised() {
        let mut block = vec![0; 1024];
        block[4..6].copy_from_slice(&1024_u16.to_le_bytes());
        block[8..12].copy_from_slice(&[126, 0, 1, 0]);
        let seal = Seal::of(&block, false).expect("sealed");
        assert_eq!(seal.covered.map(<[u8]>::len), [16, 4, 4]);
    }
}
