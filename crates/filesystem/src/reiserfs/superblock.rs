//! The superblock: at 64 KiB, or at 8 KiB as the first versions had it.
//!
//! Source: `struct reiserfs_super_block` of Linux (`fs/reiserfs/reiserfs.h`).

use ntt_source::ReadAt;
use ntt_source::field::{array, le_u16, le_u32};

/// Where it may lie, newest first.
pub(super) const PLACES: [u64; 2] = [65_536, 8192];
pub(super) const SUPERBLOCK_LEN: usize = 204;

/// Which of the three formats the magic names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    V35,
    V36,
    /// With a journal of another size or place; the version stands in a field.
    Relocated(u16),
}

/// Where the journal lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct JournalPlace {
    pub(super) first: u32,
    /// 0 if it lies on this device.
    pub(super) device: u32,
    /// Blocks without the one of its header.
    pub(super) blocks: u32,
    pub(super) transaction_max: u32,
}

/// What the superblock says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Superblock {
    /// First byte of it.
    pub(super) offset: u64,
    pub(super) format: Format,
    pub(super) blocks: u32,
    pub(super) free_blocks: u32,
    pub(super) root: u32,
    pub(super) journal: JournalPlace,
    pub(super) block_bytes: u32,
    /// 1: cleanly unmounted.
    pub(super) unmounted: u16,
    /// Errors that a check found.
    pub(super) errors: u16,
    pub(super) height: u16,
    pub(super) uuid: [u8; 16],
    label: [u8; 16],
}

impl Superblock {
    /// Looks for it at both places.
    pub(super) fn find(source: &dyn ReadAt) -> Option<Self> {
        PLACES.into_iter().find_map(|offset| {
            let mut bytes = [0; SUPERBLOCK_LEN];
            source.read_exact_at(offset, &mut bytes).ok()?;
            Self::parse(&bytes, offset)
        })
    }

    /// Reads it; `None` if it is none.
    pub(super) fn parse(bytes: &[u8], offset: u64) -> Option<Self> {
        let magic: [u8; 10] = array(bytes, 52)?;
        let format = if magic.starts_with(b"ReIsEr2Fs") {
            Format::V36
        } else if magic.starts_with(b"ReIsEr3Fs") {
            Format::Relocated(le_u16(bytes, 72)?)
        } else if magic.starts_with(b"ReIsErFs") {
            Format::V35
        } else {
            return None;
        };
        let block_bytes = u32::from(le_u16(bytes, 44)?);
        let word = |at: usize| le_u32(bytes, at);
        let has_names = format != Format::V35;
        let superblock = Self {
            offset,
            format,
            blocks: word(0)?,
            free_blocks: word(4)?,
            root: word(8)?,
            journal: JournalPlace {
                first: word(12)?,
                device: word(16)?,
                blocks: word(20)?,
                transaction_max: word(24)?,
            },
            block_bytes,
            unmounted: le_u16(bytes, 50)?,
            errors: le_u16(bytes, 62)?,
            height: le_u16(bytes, 68)?,
            uuid: array(bytes, 84).filter(|_| has_names).unwrap_or_default(),
            label: array(bytes, 100).filter(|_| has_names).unwrap_or_default(),
        };
        let can_be =
            block_bytes.is_power_of_two() && (512..=8192).contains(&block_bytes) && superblock.blocks > 0;
        can_be.then_some(superblock)
    }

    pub(super) const fn name(&self) -> &'static str {
        match self.format {
            Format::V35 | Format::Relocated(0) => "3.5",
            Format::V36 | Format::Relocated(_) => "3.6",
        }
    }

    pub(super) fn label(&self) -> Vec<u8> {
        let end = self.label.iter().position(|byte| *byte == 0);
        let end = end.unwrap_or(self.label.len());
        self.label.get(..end).unwrap_or_default().to_vec()
    }

    /// The block in which the superblock lies.
    pub(super) fn block(&self) -> u32 {
        let block = self.offset.checked_div(self.block_bytes.into());
        block.and_then(|block| u32::try_from(block).ok()).unwrap_or(0)
    }

    /// Where the bitmap lies that tells of the blocks from `index` times the bits of a block on.
    pub(super) fn bitmap(&self, index: u32) -> u32 {
        let first = self.block().saturating_add(1);
        if self.offset == PLACES[1] {
            return first.saturating_add(index);
        }
        let bits = self.block_bytes.saturating_mul(8);
        if index == 0 {
            first
        } else {
            index.saturating_mul(bits)
        }
    }

    pub(super) fn size_bytes(&self) -> u64 {
        u64::from(self.blocks).saturating_mul(self.block_bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(magic: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; SUPERBLOCK_LEN];
        bytes[..4].copy_from_slice(&40_000_u32.to_le_bytes());
        bytes[44..46].copy_from_slice(&4096_u16.to_le_bytes());
        bytes[52..52 + magic.len()].copy_from_slice(magic);
        bytes
    }

    #[test]
    fn formats_are_told_by_their_magic() {
        let name = |magic: &[u8]| Superblock::parse(&bytes(magic), 65_536).map(|found| found.name());
        assert_eq!(name(b"ReIsErFs"), Some("3.5"));
        assert_eq!(name(b"ReIsEr2Fs"), Some("3.6"));
        assert_eq!(name(b"ReIsEr3Fs"), Some("3.5"));
        assert_eq!(name(b"ReIsEr4"), None);
    }

    #[test]
    fn bitmaps_lie_in_front_of_what_they_tell_of() {
        let new = Superblock::parse(&bytes(b"ReIsEr2Fs"), 65_536).expect("one");
        assert_eq!([0, 1, 2].map(|index| new.bitmap(index)), [17, 32_768, 65_536]);
        let old = Superblock::parse(&bytes(b"ReIsErFs"), 8192).expect("one");
        assert_eq!([0, 1, 2].map(|index| old.bitmap(index)), [3, 4, 5]);
    }
}
