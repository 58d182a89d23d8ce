//! The fixed fields of an inode (Linux `fs/ext4/ext4.h`, `struct ext4_inode`).

use ntt_model::time::Times;
use ntt_model::{Kind, Timestamp};
use ntt_source::field::{array, le_u16, le_u32};

use super::checksum::crc32c;
use super::features::{incompat, ro_compat};
use super::superblock::Superblock;

/// `i_flags`.
pub(super) mod flag {
    pub(in super::super) const COMPRESSED: u32 = 0x4;
    pub(in super::super) const ENCRYPTED: u32 = 0x800;
    pub(in super::super) const INDEX: u32 = 0x1000;
    pub(in super::super) const HUGE_FILE: u32 = 0x4_0000;
    pub(in super::super) const EXTENTS: u32 = 0x8_0000;
    pub(in super::super) const EA_INODE: u32 = 0x20_0000;
    pub(in super::super) const INLINE_DATA: u32 = 0x1000_0000;
}

/// Byte of the inode at which `i_block` starts.
pub(super) const MAP_OFFSET: usize = 0x28;
/// Length of `i_block`.
pub(super) const MAP_LEN: usize = 60;
/// Length of an inode without extra fields.
pub(super) const GOOD_OLD_LEN: usize = 128;
const EXTENT_MAGIC: u16 = 0xf30a;
/// Unit of `i_blocks`, whatever the size of a block.
const SECTOR_BYTES: u64 = 512;
/// `EXT2_OS_HURD`: its translators take blocks that no map names.
const HURD: u32 = 1;

/// The bytes of one inode.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawInode<'b> {
    bytes: &'b [u8],
    /// Its number.
    pub(super) number: u32,
    /// Where its bytes lie in the image.
    pub(super) image_offset: u64,
}

impl<'b> RawInode<'b> {
    /// Takes `bytes`, at least 128.
    pub(super) fn new(bytes: &'b [u8], number: u32, image_offset: u64) -> Option<Self> {
        (bytes.len() >= GOOD_OLD_LEN).then_some(Self {
            bytes,
            number,
            image_offset,
        })
    }

    fn half(&self, offset: usize) -> u16 {
        le_u16(self.bytes, offset).unwrap_or(0)
    }

    fn word(&self, offset: usize) -> u32 {
        le_u32(self.bytes, offset).unwrap_or(0)
    }

    /// All bytes.
    pub(super) fn bytes(&self) -> &'b [u8] {
        self.bytes
    }

    /// Type and permission bits.
    pub(super) fn mode(&self) -> u16 {
        self.half(0x0)
    }

    /// What the type bits say; [`Kind::Unknown`] if they are none of the seven.
    pub(super) fn kind(&self) -> Kind {
        Kind::of_mode(self.mode().into())
    }

    /// Owner.
    pub(super) fn uid(&self) -> u32 {
        u32::from(self.half(0x2)) | (u32::from(self.half(0x78)) << 16)
    }

    /// Group.
    pub(super) fn gid(&self) -> u32 {
        u32::from(self.half(0x18)) | (u32::from(self.half(0x7a)) << 16)
    }

    /// Number of names.
    pub(super) fn links(&self) -> u16 {
        self.half(0x1a)
    }

    /// `i_flags`.
    pub(super) fn flags(&self) -> u32 {
        self.word(0x20)
    }

    /// Whether a flag is set.
    pub(super) fn has(&self, flag: u32) -> bool {
        self.flags() & flag != 0
    }

    /// Generation, for network file systems and checksums.
    pub(super) fn generation(&self) -> u32 {
        self.word(0x64)
    }

    /// Time of deletion, or the next inode of the list of orphans.
    pub(super) fn deletion(&self) -> u32 {
        self.word(0x14)
    }

    /// Length. The upper half is an ACL's block in directories of old file systems.
    pub(super) fn size(&self, superblock: &Superblock) -> u64 {
        let has_upper = match self.kind() {
            Kind::Directory => superblock.has_incompat(incompat::LARGE_DIR),
            _ => superblock.revision > 0,
        };
        let upper = if has_upper { self.word(0x6c) } else { 0 };
        u64::from(self.word(0x4)) | (u64::from(upper) << 32)
    }

    /// Block of the external attributes; 0 for none.
    pub(super) fn attribute_block(&self) -> u64 {
        u64::from(self.word(0x68)) | (u64::from(self.half(0x76)) << 32)
    }

    /// The 60 bytes that hold the block map, an extent root, a short target or inline data.
    pub(super) fn map_bytes(&self) -> [u8; MAP_LEN] {
        array(self.bytes, MAP_OFFSET).unwrap_or([0; MAP_LEN])
    }

    /// Whether `i_block` starts as the root of an extent tree does.
    pub(super) fn has_extent_root(&self) -> bool {
        self.half(MAP_OFFSET) == EXTENT_MAGIC
    }

    /// Whether a symbolic link keeps its target in `i_block` (Linux `ext4_inode_is_fast_symlink`), also where the extents flag is set by mistake.
    pub(super) fn is_fast_symlink(&self, superblock: &Superblock) -> bool {
        let map_len = u64::try_from(MAP_LEN).unwrap_or(0);
        if self.has(flag::INLINE_DATA) || self.size(superblock) >= map_len {
            return false;
        }
        if self.has(flag::EXTENTS) {
            return !self.has_extent_root();
        }
        let cluster_sectors =
            u64::from(superblock.block_bytes).saturating_mul(superblock.cluster_blocks) / 512;
        let attributes = if self.attribute_block() == 0 {
            0
        } else {
            cluster_sectors
        };
        u64::from(self.word(0x1c)) <= attributes
    }

    /// Bytes of all blocks that the inode says its block map takes: content and tables, also behind its end (Linux `ext4_inode_blocks`). `None` where that says nothing of the map:
    /// extents, a deleted inode or one on the list of orphans, compressed clusters, and counts that hold what belongs to other inodes or to the Hurd.
    pub(super) fn claimed_map_bytes(&self, superblock: &Superblock) -> Option<u64> {
        let has_map = !self.has(flag::EXTENTS | flag::INLINE_DATA | flag::COMPRESSED);
        let is_used = self.links() > 0 && self.deletion() == 0;
        let is_own = !superblock.has_incompat(incompat::EA_INODE) && superblock.creator_os != HURD;
        (has_map && is_used && is_own).then_some(())?;
        let block_bytes = u64::from(superblock.block_bytes);
        let has_upper = superblock.ro_compat & ro_compat::HUGE_FILE != 0;
        let upper = if has_upper { self.half(0x74) } else { 0 };
        let count = u64::from(self.word(0x1c)) | (u64::from(upper) << 32);
        let unit = if has_upper && self.has(flag::HUGE_FILE) {
            block_bytes
        } else {
            SECTOR_BYTES
        };
        let attributes = if self.attribute_block() == 0 {
            0
        } else {
            block_bytes
        };
        // Fewer than the attributes take contradicts whatever is mapped.
        Some(count.checked_mul(unit)?.saturating_sub(attributes))
    }

    /// Major and minor number (Linux `old_decode_dev`, `new_decode_dev`).
    pub(super) fn device(&self) -> (u32, u32) {
        match self.word(MAP_OFFSET) {
            0 => {
                let new = self.word(MAP_OFFSET.saturating_add(4));
                ((new >> 8) & 0xfff, (new & 0xff) | ((new >> 12) & 0xf_ff00))
            }
            old => ((old >> 8) & 0xff, old & 0xff),
        }
    }

    /// Bytes of the fields beyond the first 128; 0 if the size that the inode gives is impossible.
    pub(super) fn extra_len(&self) -> usize {
        let extra = usize::from(self.half(0x80));
        let room = self.bytes.len().saturating_sub(GOOD_OLD_LEN);
        if extra <= room && extra % 4 == 0 { extra } else { 0 }
    }

    fn extra_word(&self, offset: usize) -> Option<u32> {
        let end = GOOD_OLD_LEN.saturating_add(self.extra_len());
        (offset.saturating_add(4) <= end).then(|| self.word(offset))
    }

    /// The times, and whether one of them was beyond what a [`Timestamp`] can hold.
    pub(super) fn times(&self) -> (Times, bool) {
        let mut out_of_range = false;
        let mut at = |low: u32, extra: Option<u32>| {
            let time = timestamp(low, extra.unwrap_or(0));
            out_of_range |= time.is_none();
            time
        };
        let created = match (self.extra_word(0x90), self.extra_word(0x94)) {
            (None, _) | (Some(0), None | Some(0)) => None,
            (Some(low), extra) => at(low, extra),
        };
        let times = Times {
            accessed: at(self.word(0x8), self.extra_word(0x8c)),
            changed: at(self.word(0xc), self.extra_word(0x84)),
            modified: at(self.word(0x10), self.extra_word(0x88)),
            created,
            deleted: if self.links() == 0 && self.deletion() != 0 {
                at(self.deletion(), None)
            } else {
                None
            },
        };
        (times, out_of_range)
    }

    /// Whether its checksum is right; `true` where there is none (Linux `ext4_inode_csum`).
    pub(super) fn checksum_right(&self, superblock: &Superblock) -> bool {
        if !superblock.has_metadata_checksums() {
            return true;
        }
        let has_upper = self.extra_len() >= 4;
        let part = |from: usize, to: usize| self.bytes.get(from..to).unwrap_or_default();
        let mut crc = crc32c(self.checksum_seed(superblock), part(0, 0x7c));
        crc = crc32c(crc32c(crc, &[0; 2]), part(0x7e, GOOD_OLD_LEN));
        if has_upper {
            crc = crc32c(
                crc32c(crc32c(crc, part(0x80, 0x82)), &[0; 2]),
                part(0x84, self.bytes.len()),
            );
        } else {
            crc = crc32c(crc, part(GOOD_OLD_LEN, self.bytes.len()));
        }
        let upper = if has_upper { self.half(0x82) } else { 0 };
        let mask = if has_upper { !0 } else { 0xffff };
        crc & mask == u32::from(self.half(0x7c)) | (u32::from(upper) << 16)
    }

    /// Start value of the checksums of what belongs to the inode.
    pub(super) fn checksum_seed(&self, superblock: &Superblock) -> u32 {
        superblock.inode_seed(self.number, self.generation())
    }
}

/// Seconds as a signed number with two more bits above, and nanoseconds (Linux `ext4_decode_extra_time`).
fn timestamp(low: u32, extra: u32) -> Option<Timestamp> {
    let seconds = i64::from(low.cast_signed()).saturating_add(i64::from(extra & 3) << 32);
    let nanos = extra >> 2;
    Timestamp::from_parts(seconds, if nanos < 1_000_000_000 { nanos } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = vec![0; 256];
        bytes[0x1] = 0x81;
        bytes[0x80] = 32;
        change(&mut bytes);
        bytes
    }

    #[test]
    fn r27_times_have_nanoseconds_and_pass_2038() {
        assert_eq!(
            timestamp(0xffff_ffff, 0).expect("in range").as_nanos(),
            -1_000_000_000
        );
        let late = timestamp(0x8000_0000, 1 | (5 << 2)).expect("in range");
        assert_eq!(late.to_parts(), (0x8000_0000, 5));
        assert_eq!(late.to_string(), "2038-01-19T03:14:08.000000005Z");
        assert_eq!(timestamp(0x7fff_ffff, 3), None);
    }

    #[test]
    fn r27_a_time_that_cannot_be_kept_is_said() {
        let bytes = inode(|bytes| {
            bytes[0x10..0x14].fill(0x7f);
            bytes[0x88] = 3;
        });
        let (times, out_of_range) = RawInode::new(&bytes, 12, 0).expect("long enough").times();
        assert!(out_of_range && times.modified.is_none() && times.created.is_none());
    }

    #[test]
    fn r27_device_numbers_of_both_encodings() {
        let old = inode(|bytes| bytes[MAP_OFFSET..MAP_OFFSET + 2].copy_from_slice(&[3, 8]));
        assert_eq!(RawInode::new(&old, 12, 0).expect("long enough").device(), (8, 3));
        let new = inode(|bytes| {
            bytes[MAP_OFFSET + 4..MAP_OFFSET + 8].copy_from_slice(&[0x2c, 0x03, 0x11, 0]);
        });
        assert_eq!(
            RawInode::new(&new, 12, 0).expect("long enough").device(),
            (0x103, 0x12c)
        );
    }

    #[test]
    fn an_impossible_extra_size_counts_as_none() {
        let bytes = inode(|bytes| bytes[0x80] = 200);
        assert_eq!(RawInode::new(&bytes, 12, 0).expect("long enough").extra_len(), 0);
        assert!(RawInode::new(&bytes[..100], 12, 0).is_none());
    }
}
