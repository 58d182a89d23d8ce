//! The superblock: 1,024 bytes at byte 1,024 and, as copies, at the start of some groups (Linux `fs/ext4/ext4.h`, `struct ext4_super_block`).

use ntt_model::Timestamp;
use ntt_source::field::{array, le_u16, le_u32, u8_at};

use super::checksum::crc32c;
use super::features::{compat, incompat, ro_compat};

/// Length of a superblock on disk.
pub(super) const SUPERBLOCK_LEN: usize = 1024;
/// Where the primary one starts in the volume.
pub(super) const SUPERBLOCK_OFFSET: u64 = 1024;
const MAGIC: u16 = 0xef53;
const GOOD_OLD_FIRST_INODE: u32 = 11;
const GOOD_OLD_INODE_BYTES: u16 = 128;

/// A superblock whose geometry is possible.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Superblock {
    pub(super) inodes_count: u32,
    pub(super) blocks_count: u64,
    pub(super) free_blocks: u64,
    pub(super) free_inodes: u32,
    /// Block that holds byte 1,024 in file systems of 1 KiB blocks; 0 otherwise.
    pub(super) first_data_block: u64,
    pub(super) block_bytes: u32,
    /// Blocks a bit of a block bitmap stands for; more than one with `bigalloc`.
    pub(super) cluster_blocks: u64,
    pub(super) blocks_per_group: u64,
    pub(super) inodes_per_group: u32,
    pub(super) inode_bytes: u16,
    pub(super) first_inode: u32,
    pub(super) desc_bytes: u16,
    pub(super) reserved_gdt_blocks: u16,
    pub(super) first_meta_bg: u32,
    /// Groups whose structures stand together in the first of them, with `flex_bg`; else 1.
    pub(super) flex_groups: u64,
    pub(super) state: u16,
    /// `s_creator_os`.
    pub(super) creator_os: u32,
    pub(super) revision: u32,
    pub(super) block_group: u16,
    pub(super) compat: u32,
    pub(super) incompat: u32,
    pub(super) ro_compat: u32,
    pub(super) uuid: [u8; 16],
    pub(super) label: [u8; 16],
    pub(super) last_mounted: Vec<u8>,
    pub(super) written: u64,
    pub(super) created: u64,
    pub(super) mounted: u64,
    pub(super) backup_groups: [u32; 2],
    pub(super) journal: JournalPlace,
    /// Inodes beside the reserved ones that hold metadata: quota and orphan files.
    pub(super) special_inodes: [u32; 4],
    /// Start value of all checksums of metadata.
    pub(super) checksum_seed: u32,
    /// Whether its own checksum is right; `None` if it has none.
    pub(super) checksum_right: Option<bool>,
}

/// Where the journal is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct JournalPlace {
    pub(super) inode: u32,
    /// Device number of an external journal.
    pub(super) device: u32,
    /// Copy of the journal inode's block map, if there is one.
    pub(super) backup_map: Option<[u8; 60]>,
    pub(super) backup_size: u64,
}

impl Superblock {
    /// Reads and checks 1,024 bytes.
    ///
    /// # Errors
    ///
    /// Which field contradicts the format, for people.
    pub(super) fn parse(bytes: &[u8; SUPERBLOCK_LEN]) -> Result<Self, String> {
        let magic = le_u16(bytes, 0x38).unwrap_or(0);
        if magic != MAGIC {
            return Err(format!("magic is {magic:#06x}, not 0xef53"));
        }
        let superblock = Self::fields(bytes)?;
        superblock.check()?;
        Ok(superblock)
    }

    fn fields(bytes: &[u8; SUPERBLOCK_LEN]) -> Result<Self, String> {
        let word = |offset| le_u32(bytes, offset).unwrap_or(0);
        let half = |offset| le_u16(bytes, offset).unwrap_or(0);
        let byte = |offset| u8_at(bytes, offset).unwrap_or(0);
        let (block_bytes, cluster_blocks) = sizes(word(0x18), word(0x1c), word(0x64))?;
        let wide = word(0x60) & incompat::SIXTY_FOUR_BIT != 0;
        let high = |offset| if wide { u64::from(word(offset)) << 32 } else { 0 };
        let dynamic = word(0x4c) > 0;
        let uuid = array(bytes, 0x68).unwrap_or_default();
        let time = |low, high_byte| u64::from(word(low)) | (u64::from(byte(high_byte)) << 32);
        Ok(Self {
            inodes_count: word(0x0),
            blocks_count: u64::from(word(0x4)) | high(0x150),
            free_blocks: u64::from(word(0xc)) | high(0x158),
            free_inodes: word(0x10),
            first_data_block: u64::from(word(0x14)),
            block_bytes,
            cluster_blocks,
            blocks_per_group: u64::from(word(0x20)),
            inodes_per_group: word(0x28),
            inode_bytes: if dynamic { half(0x58) } else { GOOD_OLD_INODE_BYTES },
            first_inode: if dynamic { word(0x54) } else { GOOD_OLD_FIRST_INODE },
            desc_bytes: if wide { wide_desc_bytes(half(0xfe)) } else { 32 },
            reserved_gdt_blocks: half(0xce),
            first_meta_bg: word(0x104),
            flex_groups: 1_u64.checked_shl(u32::from(byte(0x174)).min(31)).unwrap_or(1),
            state: half(0x3a),
            creator_os: word(0x48),
            revision: word(0x4c),
            block_group: half(0x5a),
            compat: word(0x5c),
            incompat: word(0x60),
            ro_compat: word(0x64),
            uuid,
            label: array(bytes, 0x78).unwrap_or_default(),
            last_mounted: until_nul(bytes.get(0x88..0xc8).unwrap_or_default()).to_vec(),
            written: time(0x30, 0x274),
            created: time(0x108, 0x276),
            mounted: time(0x2c, 0x275),
            backup_groups: [word(0x24c), word(0x250)],
            journal: JournalPlace {
                inode: word(0xe0),
                device: word(0xe4),
                backup_map: (byte(0xfd) == 1).then(|| array(bytes, 0x10c)).flatten(),
                backup_size: u64::from(word(0x14c)) | (u64::from(word(0x148)) << 32),
            },
            special_inodes: [word(0x240), word(0x244), word(0x26c), word(0x280)],
            checksum_seed: if word(0x60) & incompat::CSUM_SEED != 0 {
                word(0x270)
            } else {
                crc32c(!0, &uuid)
            },
            checksum_right: (word(0x64) & ro_compat::METADATA_CSUM != 0)
                .then(|| crc32c(!0, bytes.get(..0x3fc).unwrap_or_default()) == word(0x3fc)),
        })
    }

    fn check(&self) -> Result<(), String> {
        let bits = u64::from(self.block_bytes).saturating_mul(8);
        let group_max = bits.saturating_mul(self.cluster_blocks);
        let wrong = |what: &str, value: u64| Err(format!("{what} is {value}"));
        if self.blocks_per_group == 0 || self.blocks_per_group > group_max {
            return wrong("number of blocks per group", self.blocks_per_group);
        }
        let per_group = u64::from(self.inodes_per_group);
        if per_group == 0 || per_group > bits {
            return wrong("number of inodes per group", per_group);
        }
        let inode_bytes = u64::from(self.inode_bytes);
        if !self.inode_bytes.is_power_of_two() || !(128..=u64::from(self.block_bytes)).contains(&inode_bytes)
        {
            return wrong("inode size", inode_bytes);
        }
        if self.first_data_block >= self.blocks_count || self.first_data_block > 1 {
            return wrong("first data block", self.first_data_block);
        }
        if self.inodes_count == 0 {
            return wrong("number of inodes", 0);
        }
        Ok(())
    }

    /// Number of groups, as the counts say.
    pub(super) fn group_count(&self) -> u64 {
        let blocks = self.blocks_count.saturating_sub(self.first_data_block);
        blocks.div_ceil(self.blocks_per_group.max(1))
    }

    /// First block of a group.
    pub(super) fn group_first_block(&self, group: u64) -> u64 {
        group
            .saturating_mul(self.blocks_per_group)
            .saturating_add(self.first_data_block)
    }

    /// Whether a group starts with a superblock (Linux `ext4_bg_has_super`).
    pub(super) fn group_has_superblock(&self, group: u64) -> bool {
        if group == 0 {
            return true;
        }
        if self.compat & compat::SPARSE_SUPER2 != 0 {
            return self
                .backup_groups
                .iter()
                .any(|backup| u64::from(*backup) == group);
        }
        if group <= 1 || self.ro_compat & ro_compat::SPARSE_SUPER == 0 {
            return true;
        }
        [3, 5, 7].into_iter().any(|base| is_power_of(group, base))
    }

    /// Length of the volume as the superblock says.
    pub(super) fn size_bytes(&self) -> u64 {
        self.blocks_count.saturating_mul(u64::from(self.block_bytes))
    }

    /// Whether descriptors, inodes, directories and more carry CRC-32C checksums.
    pub(super) fn has_metadata_checksums(&self) -> bool {
        self.ro_compat & ro_compat::METADATA_CSUM != 0
    }

    /// Start value of the checksums of what belongs to an inode.
    pub(super) fn inode_seed(&self, number: u32, generation: u32) -> u32 {
        let numbered = crc32c(self.checksum_seed, &number.to_le_bytes());
        crc32c(numbered, &generation.to_le_bytes())
    }

    /// Whether group descriptors carry a checksum, so that their `uninit` flags mean something.
    pub(super) fn has_group_checksums(&self) -> bool {
        self.ro_compat & (ro_compat::METADATA_CSUM | ro_compat::GDT_CSUM) != 0
    }

    /// Whether an incompatible feature is set.
    pub(super) fn has_incompat(&self, bit: u32) -> bool {
        self.incompat & bit != 0
    }

    /// The name that blkid gives (util-linux `libblkid/src/superblocks/ext.c`).
    pub(super) fn type_name(&self) -> &'static str {
        let journaled = self.compat & compat::HAS_JOURNAL != 0;
        let old_ro = self.ro_compat & !ro_compat::EXT3 == 0;
        if !journaled && old_ro && self.incompat & !incompat::EXT2 == 0 {
            "ext2"
        } else if journaled && old_ro && self.incompat & !incompat::EXT3 == 0 {
            "ext3"
        } else {
            "ext4"
        }
    }

    /// What a copy must have in common with the primary one.
    pub(super) fn geometry(&self) -> impl PartialEq + use<> {
        let sizes = (
            self.block_bytes,
            self.cluster_blocks,
            self.inode_bytes,
            self.desc_bytes,
        );
        let groups = (
            self.blocks_per_group,
            self.inodes_per_group,
            self.first_data_block,
        );
        let features = (self.incompat & !incompat::RECOVER, self.uuid);
        (sizes, groups, features, self.blocks_count, self.inodes_count)
    }

    /// Label without padding.
    pub(super) fn label(&self) -> &[u8] {
        until_nul(&self.label)
    }

    /// UUID as blkid shows it; `None` if all zero.
    pub(super) fn uuid_text(&self) -> Option<String> {
        crate::uuid::uuid_text(&self.uuid)
    }
}

/// A time of the superblock: seconds, 0 for none.
pub(super) fn moment(seconds: u64) -> Option<Timestamp> {
    let seconds = i64::try_from(seconds).ok().filter(|seconds| *seconds != 0)?;
    Timestamp::from_parts(seconds, 0)
}

fn sizes(log_block: u32, log_cluster: u32, ro_compat: u32) -> Result<(u32, u64), String> {
    if log_block > 6 {
        return Err(format!("block size is 2^{log_block} KiB"));
    }
    let block_bytes = 1024_u32.wrapping_shl(log_block);
    if ro_compat & ro_compat::BIGALLOC == 0 {
        return Ok((block_bytes, 1));
    }
    match log_cluster.checked_sub(log_block) {
        Some(ratio) if ratio < 20 => Ok((block_bytes, 1_u64.wrapping_shl(ratio))),
        _ => Err(format!("cluster size is 2^{log_cluster} KiB")),
    }
}

/// Descriptor size of a 64bit file system; what makes no sense is taken as the usual 64.
fn wide_desc_bytes(claimed: u16) -> u16 {
    if claimed.is_power_of_two() && (64..=1024).contains(&claimed) {
        claimed
    } else {
        64
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn is_power_of(number: u64, base: u64) -> bool {
    let mut power = base;
    while power < number {
        power = power.saturating_mul(base);
    }
    power == number
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A superblock of a file system of 8 MiB with 1 KiB blocks.
    pub(in super::super) fn sample() -> [u8; SUPERBLOCK_LEN] {
        let mut bytes = [0; SUPERBLOCK_LEN];
        let mut put =
            |offset: usize, value: u32| bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        put(0x0, 2048);
        put(0x4, 8192);
        put(0x14, 1);
        put(0x20, 8192);
        put(0x24, 8192);
        put(0x28, 2048);
        put(0x4c, 1);
        put(0x54, 11);
        put(0x60, 2);
        bytes[0x38..0x3a].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[0x58] = 128;
        bytes
    }

    fn refused(offset: usize, value: u32) -> String {
        let mut bytes = sample();
        bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        Superblock::parse(&bytes).expect_err("one field is wrong")
    }

    #[test]
    fn a_good_superblock_is_taken() {
        let superblock = Superblock::parse(&sample()).expect("good");
        assert_eq!(superblock.group_count(), 1);
        assert_eq!(superblock.type_name(), "ext2");
        assert_eq!(superblock.size_bytes(), 8 << 20);
        assert_eq!(superblock.uuid_text(), None);
    }

    #[test]
    fn one_wrong_field_is_refused_and_named() {
        assert_eq!(refused(0x18, 7), "block size is 2^7 KiB");
        assert_eq!(refused(0x20, 0), "number of blocks per group is 0");
        assert_eq!(refused(0x20, 8193), "number of blocks per group is 8193");
        assert_eq!(refused(0x28, 8193), "number of inodes per group is 8193");
        assert_eq!(refused(0x58, 100), "inode size is 100");
        assert_eq!(refused(0x14, 2), "first data block is 2");
        assert_eq!(refused(0x0, 0), "number of inodes is 0");
        assert_eq!(refused(0x38, 0x1234), "magic is 0x1234, not 0xef53");
    }

    #[test]
    fn backups_stand_at_powers_of_three_five_and_seven() {
        let mut superblock = Superblock::parse(&sample()).expect("good");
        superblock.ro_compat = ro_compat::SPARSE_SUPER;
        let with: Vec<u64> = (0..60)
            .filter(|group| superblock.group_has_superblock(*group))
            .collect();
        assert_eq!(with, [0, 1, 3, 5, 7, 9, 25, 27, 49]);
        superblock.compat = compat::SPARSE_SUPER2;
        superblock.backup_groups = [1, 33];
        let with: Vec<u64> = (0..60)
            .filter(|group| superblock.group_has_superblock(*group))
            .collect();
        assert_eq!(with, [0, 1, 33]);
    }

    #[test]
    fn types_are_named_as_blkid_does() {
        let mut superblock = Superblock::parse(&sample()).expect("good");
        superblock.compat = compat::HAS_JOURNAL;
        assert_eq!(superblock.type_name(), "ext3");
        superblock.incompat |= 0x40;
        assert_eq!(superblock.type_name(), "ext4");
    }
}
