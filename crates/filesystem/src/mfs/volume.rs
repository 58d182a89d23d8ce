//! The master directory block and the map of allocation blocks (Inside Macintosh II, "Volume Information" and "Volume Allocation Block Map").

use ntt_model::extent::push_joined;
use ntt_model::{Extent, ExtentKind};
use ntt_source::field::{be_u16, be_u32, u8_at};
use ntt_source::{ReadAt, ReadError};

/// Where the master directory block stands in the volume. The map follows it.
pub(super) const MDB_OFFSET: u64 = 1024;
const SECTOR: u64 = 512;
const MDB_LEN: usize = 64;
const MAP_OFFSET: u64 = 1088;
/// Blocks are numbered from 2 on.
const FIRST_BLOCK: u16 = 2;
/// Most blocks that 12 bits can number.
const BLOCKS_MAX: u16 = 4094;

/// Values of the map.
mod entry {
    pub(super) const FREE: u16 = 0;
    pub(super) const LAST: u16 = 1;
}

/// A master directory block that can be believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mdb {
    pub(super) file_count: u16,
    /// Where the directory starts, and its sectors.
    pub(super) directory: u64,
    pub(super) directory_sectors: u16,
    pub(super) block_count: u16,
    pub(super) block_bytes: u32,
    /// Where block 2, the first, starts.
    pub(super) first_block: u64,
    pub(super) free_blocks: u16,
    pub(super) label: Vec<u8>,
    pub(super) raw: [u8; MDB_LEN],
}

impl Mdb {
    /// Reads it; what is wrong if there is none.
    pub(super) fn read(source: &dyn ReadAt) -> Result<Result<Self, String>, ReadError> {
        let mut raw = [0; MDB_LEN];
        source.read_exact_at(MDB_OFFSET, &mut raw)?;
        Ok(Self::parse(raw))
    }

    fn parse(raw: [u8; MDB_LEN]) -> Result<Self, String> {
        let half = |offset| be_u16(&raw, offset).unwrap_or(0);
        if half(0) != 0xd2d7 {
            return Err(format!("signature {:#06x}", half(0)));
        }
        let label_len = usize::from(u8_at(&raw, 36).unwrap_or(0));
        let mdb = Self {
            file_count: half(12),
            directory: u64::from(half(14)).saturating_mul(SECTOR),
            directory_sectors: half(16),
            block_count: half(18),
            block_bytes: be_u32(&raw, 20).unwrap_or(0),
            first_block: u64::from(half(28)).saturating_mul(SECTOR),
            free_blocks: half(34),
            label: raw
                .get(37..label_len.saturating_add(37))
                .unwrap_or_default()
                .to_vec(),
            raw,
        };
        let is_possible = mdb.block_bytes > 0
            && mdb.block_bytes.is_multiple_of(512)
            && (1..=BLOCKS_MAX).contains(&mdb.block_count)
            && mdb.directory > MDB_OFFSET
            && mdb.directory_sectors > 0
            && mdb.first_block > MDB_OFFSET
            && mdb.free_blocks <= mdb.block_count
            && label_len <= 27;
        is_possible
            .then_some(mdb)
            .ok_or_else(|| "its numbers cannot be".to_owned())
    }

    /// Where a block starts; `None` if there is no such block.
    pub(super) fn block_offset(&self, block: u16) -> Option<u64> {
        let index = block
            .checked_sub(FIRST_BLOCK)
            .filter(|index| *index < self.block_count)?;
        u64::from(index)
            .checked_mul(u64::from(self.block_bytes))?
            .checked_add(self.first_block)
    }

    /// Where the directory ends: before the blocks, and in a source of `len` bytes.
    pub(super) fn directory_end(&self, len: u64) -> u64 {
        let said = u64::from(self.directory_sectors)
            .saturating_mul(SECTOR)
            .saturating_add(self.directory);
        let before_blocks = if self.first_block > self.directory {
            self.first_block
        } else {
            said
        };
        said.min(before_blocks).min(len)
    }

    /// Where the blocks end.
    pub(super) fn size_bytes(&self) -> u64 {
        u64::from(self.block_count)
            .saturating_mul(u64::from(self.block_bytes))
            .saturating_add(self.first_block)
    }
}

/// What follows each block.
#[derive(Debug)]
pub(super) struct Map {
    bytes: Vec<u8>,
    /// Sectors that could not be read, as offsets in the volume.
    pub(super) unread: Vec<(u64, ReadError)>,
}

impl Map {
    /// Reads the map, sector by sector where it must be.
    pub(super) fn read(source: &dyn ReadAt, mdb: &Mdb) -> Self {
        let len = usize::from(mdb.block_count).saturating_mul(3).div_ceil(2);
        let mut bytes = vec![0; len];
        let mut unread = Vec::new();
        if source.read_exact_at(MAP_OFFSET, &mut bytes).is_err() {
            // The first piece ends with the sector of the master directory block.
            let (head, rest) = bytes.split_at_mut(len.min(448));
            let pieces = std::iter::once(head).chain(rest.chunks_mut(512));
            let mut at = MAP_OFFSET;
            for piece in pieces {
                if let Err(error) = source.read_exact_at(at, piece) {
                    piece.fill(0);
                    unread.push((at, error));
                }
                at = at.saturating_add(u64::try_from(piece.len()).unwrap_or(0));
            }
        }
        Self { bytes, unread }
    }

    /// What the map holds for a block; 0 outside of it.
    fn entry(&self, block: u16) -> u16 {
        let Some(index) = block.checked_sub(FIRST_BLOCK) else {
            return entry::FREE;
        };
        let at = usize::from(index / 2).saturating_mul(3);
        let byte = |offset: usize| u16::from(self.bytes.get(at.saturating_add(offset)).copied().unwrap_or(0));
        if index % 2 == 0 {
            (byte(0) << 4) | (byte(1) >> 4)
        } else {
            ((byte(1) & 0x0f) << 8) | byte(2)
        }
    }

    /// Whether a block is in use.
    pub(super) fn is_used(&self, block: u16) -> bool {
        self.entry(block) != entry::FREE
    }

    /// The extents of `size` bytes in the chain from `first`, in offsets of the image, and whether the chain breaks before their end.
    pub(super) fn extents(&self, mdb: &Mdb, first: u16, size: u32, image_offset: u64) -> (Vec<Extent>, bool) {
        let (mut extents, mut done, mut block) = (Vec::new(), 0_u64, first);
        // No chain is longer than there are blocks: one that is goes in a circle.
        for _ in 0..mdb.block_count {
            let left = u64::from(size).saturating_sub(done);
            let Some(offset) = mdb.block_offset(block).filter(|_| left > 0) else {
                break;
            };
            let next = self.entry(block);
            if next == entry::FREE {
                break;
            }
            let len = u64::from(mdb.block_bytes).min(left);
            let extent = Extent {
                logical_offset: done,
                image_offset: image_offset.saturating_add(offset),
                len,
                kind: ExtentKind::Data,
            };
            push_joined(&mut extents, extent);
            done = done.saturating_add(len);
            if next == entry::LAST {
                break;
            }
            block = next;
        }
        (extents, done < u64::from(size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mdb() -> Mdb {
        let mut raw = [0; MDB_LEN];
        raw[..2].copy_from_slice(&[0xd2, 0xd7]);
        for (at, value) in [
            (13, 1),
            (15, 4),
            (17, 12),
            (19, 100),
            (22, 4),
            (29, 16),
            (36, 1),
            (37, b'v'),
        ] {
            raw[at] = value;
        }
        Mdb::parse(raw).expect("possible")
    }

    fn map(entries: &[u16]) -> Map {
        let mut bytes = vec![0; 150];
        for (index, entry) in entries.iter().enumerate() {
            let at = index / 2 * 3;
            let [high, low] = entry.to_be_bytes();
            if index % 2 == 0 {
                bytes[at] = high << 4 | low >> 4;
                bytes[at + 1] |= low << 4;
            } else {
                bytes[at + 1] |= high;
                bytes[at + 2] = low;
            }
        }
        Map {
            bytes,
            unread: Vec::new(),
        }
    }

    #[test]
    fn chains_of_twelve_bits() {
        let map = map(&[3, 5, 0, 1]);
        let (extents, incomplete) = map.extents(&mdb(), 2, 2500, 0);
        let shape: Vec<_> = extents
            .iter()
            .map(|extent| (extent.image_offset, extent.len))
            .collect();
        assert_eq!(
            (shape, incomplete),
            (vec![(8192, 2048), (8192 + 3072, 452)], false)
        );
        assert!(map.extents(&mdb(), 2, 4000, 0).1 && map.extents(&mdb(), 4, 10, 0).1);
        assert_eq!(map.extents(&mdb(), 0, 0, 0), (Vec::new(), false));
    }

    #[test]
    fn r22_a_chain_in_a_circle_ends() {
        let (extents, incomplete) = map(&[3, 2]).extents(&mdb(), 2, u32::MAX, 0);
        assert_eq!((extents.len(), incomplete), (50, true));
    }
}
