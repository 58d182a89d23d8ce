//! The superblock.
//!
//! Source: *XFS Algorithms & Data Structures*, chapter "Superblocks"; Linux `fs/xfs/libxfs/xfs_format.h`, `struct xfs_dsb`.

use ntt_source::field::{array, be_u16, be_u32, be_u64, u8_at};

use super::crc::{Crc, checked};

/// Bytes of the superblock that are parsed.
pub(super) const SUPERBLOCK_LEN: usize = 512;
pub(super) const MAGIC: &[u8; 4] = b"XFSB";
const CRC_AT: usize = 224;
/// `NULLFSINO`.
const NO_INODE: u64 = u64::MAX;

/// Bits of `sb_versionnum`.
mod version_bit {
    pub(super) const QUOTA: u16 = 0x40;
    pub(super) const DIRV2: u16 = 0x2000;
    pub(super) const ASCII_CI: u16 = 0x4000;
    pub(super) const MORE: u16 = 0x8000;
}

/// Bits of `sb_features2`.
mod features2 {
    pub(super) const LAZY_COUNTS: u32 = 0x2;
    pub(super) const ATTR2: u32 = 0x8;
    pub(super) const PROJID32: u32 = 0x80;
    pub(super) const FTYPE: u32 = 0x200;
}

/// Bits of `sb_features_incompat`.
pub(super) mod incompat {
    pub(in super::super) const FTYPE: u32 = 0x1;
    pub(in super::super) const SPARSE_INODES: u32 = 0x2;
    pub(in super::super) const META_UUID: u32 = 0x4;
    pub(in super::super) const NEEDS_REPAIR: u32 = 0x10;
    pub(in super::super) const METADIR: u32 = 0x100;
    /// All that are read here.
    pub(in super::super) const KNOWN: u32 = 0x1ff;
    pub(super) const NAMES: [(u32, &str); 9] = [
        (0x1, "ftype"),
        (0x2, "sparse inodes"),
        (0x4, "metadata UUID"),
        (0x8, "bigtime"),
        (0x10, "needs repair"),
        (0x20, "nrext64"),
        (0x40, "exchange range"),
        (0x80, "parent pointers"),
        (0x100, "metadata directory"),
    ];
}

/// `sb_features_ro_compat`.
const RO_COMPAT: [(u32, &str); 4] = [
    (0x1, "finobt"),
    (0x2, "rmapbt"),
    (0x4, "reflink"),
    (0x8, "inobtcount"),
];

/// A superblock that makes sense.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Superblock {
    pub(super) block_bytes: u32,
    pub(super) blocks: u64,
    pub(super) realtime_blocks: u64,
    pub(super) uuid: [u8; 16],
    /// What the headers of metadata carry.
    pub(super) meta_uuid: [u8; 16],
    pub(super) log_start: u64,
    pub(super) log_blocks: u32,
    /// `None` in copies that were written before the root.
    pub(super) root: Option<u64>,
    pub(super) group_blocks: u32,
    pub(super) group_count: u32,
    /// 4 or 5.
    pub(super) version: u16,
    version_bits: u16,
    pub(super) sector_bytes: u16,
    pub(super) inode_bytes: u16,
    pub(super) inodes_per_block_log: u8,
    pub(super) block_log: u8,
    pub(super) inode_log: u8,
    pub(super) group_block_log: u8,
    pub(super) directory_log: u8,
    pub(super) label: [u8; 12],
    pub(super) inodes: u64,
    pub(super) free_inodes: u64,
    pub(super) free_blocks: u64,
    /// Inodes that hold the file system's own metadata.
    pub(super) special: Vec<u64>,
    /// Blocks by which chunks of inodes are aligned.
    pub(super) inode_alignment: u32,
    features2: u32,
    ro_compat: u32,
    pub(super) incompat: u32,
    /// v5: whether the checksum is right.
    pub(super) crc: Crc,
}

impl Superblock {
    /// Reads the fields; says which one contradicts the format. The checksum covers a sector: `bytes` may be longer than the fields.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.get(..4) != Some(MAGIC) {
            return Err("the magic number is not XFSB".to_owned());
        }
        let superblock = Self::fields(bytes).ok_or("the superblock is cut short")?;
        superblock.check()?;
        Ok(superblock)
    }

    fn fields(bytes: &[u8]) -> Option<Self> {
        let versionnum = be_u16(bytes, 100)?;
        let version = versionnum & 0xf;
        let is_v5 = version == 5;
        let v5 = |at| if is_v5 { be_u32(bytes, at) } else { Some(0) };
        let sector_bytes = be_u16(bytes, 102)?;
        let features = if versionnum & version_bit::MORE != 0 {
            be_u32(bytes, 200)?
        } else {
            0
        };
        let uuid = array(bytes, 32)?;
        let incompat = v5(216)?;
        let has_meta_uuid = incompat & incompat::META_UUID != 0;
        let special = [
            (64, true),
            (72, true),
            (160, true),
            (168, true),
            (232, is_v5),
            (264, incompat & incompat::METADIR != 0),
        ];
        let special = special
            .iter()
            .filter(|(_, has)| *has)
            .filter_map(|(at, _)| be_u64(bytes, *at));
        let sector = bytes.get(..usize::from(sector_bytes)).unwrap_or(bytes);
        Some(Self {
            block_bytes: be_u32(bytes, 4)?,
            blocks: be_u64(bytes, 8)?,
            realtime_blocks: be_u64(bytes, 16)?,
            uuid,
            meta_uuid: if has_meta_uuid { array(bytes, 248)? } else { uuid },
            log_start: be_u64(bytes, 48)?,
            log_blocks: be_u32(bytes, 96)?,
            root: be_u64(bytes, 56).filter(|root| !matches!(*root, 0 | NO_INODE)),
            group_blocks: be_u32(bytes, 84)?,
            group_count: be_u32(bytes, 88)?,
            version,
            version_bits: versionnum,
            sector_bytes,
            inode_bytes: be_u16(bytes, 104)?,
            inodes_per_block_log: u8_at(bytes, 123)?,
            block_log: u8_at(bytes, 120)?,
            inode_log: u8_at(bytes, 122)?,
            group_block_log: u8_at(bytes, 124)?,
            directory_log: u8_at(bytes, 192)?,
            label: array(bytes, 108)?,
            inodes: be_u64(bytes, 128)?,
            free_inodes: be_u64(bytes, 136)?,
            free_blocks: be_u64(bytes, 144)?,
            special: special.filter(|inode| !matches!(*inode, 0 | NO_INODE)).collect(),
            inode_alignment: be_u32(bytes, 180)?,
            features2: features,
            ro_compat: v5(212)?,
            incompat,
            crc: if is_v5 { checked(sector, CRC_AT) } else { Crc::None },
        })
    }

    fn check(&self) -> Result<(), String> {
        let wrong = |field: &str, value: u64| Err(format!("{field} is {value}"));
        let power = |log: u8| 1_u32.checked_shl(log.into()).unwrap_or(0);
        if !(1..=5).contains(&self.version) {
            return wrong("version", self.version.into());
        }
        if !(9..=16).contains(&self.block_log) || power(self.block_log) != self.block_bytes {
            return wrong("block size", self.block_bytes.into());
        }
        if !self.sector_bytes.is_power_of_two() || !(512..=32_768).contains(&self.sector_bytes) {
            return wrong("sector size", self.sector_bytes.into());
        }
        if !(8..=11).contains(&self.inode_log) || power(self.inode_log) != u32::from(self.inode_bytes) {
            return wrong("inode size", self.inode_bytes.into());
        }
        if self.block_log.checked_sub(self.inode_log) != Some(self.inodes_per_block_log) {
            return wrong("inodes per block", self.inodes_per_block_log.into());
        }
        if self.group_blocks < 16 || self.group_count == 0 {
            return wrong("blocks per group", self.group_blocks.into());
        }
        if self.group_block_log > 32
            || 1_u64.checked_shl(self.group_block_log.into()) < Some(self.group_blocks.into())
        {
            return wrong("logarithm of blocks per group", self.group_block_log.into());
        }
        if self.block_log.saturating_add(self.directory_log) > 16 {
            return wrong("logarithm of the directory block", self.directory_log.into());
        }
        let most = u64::from(self.group_blocks).saturating_mul(self.group_count.into());
        let least = u64::from(self.group_blocks).saturating_mul(self.group_count.saturating_sub(1).into());
        if self.blocks > most || self.blocks <= least || self.size_bytes_checked().is_none() {
            return wrong("count of blocks", self.blocks);
        }
        Ok(())
    }

    fn size_bytes_checked(&self) -> Option<u64> {
        self.blocks
            .checked_mul(self.block_bytes.into())
            .filter(|size| *size < 1 << 62)
    }

    /// Length of the file system.
    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes_checked().unwrap_or(0)
    }

    pub(super) fn is_v5(&self) -> bool {
        self.version == 5
    }

    pub(super) fn has_incompat(&self, bit: u32) -> bool {
        self.incompat & bit != 0
    }

    /// Whether directories have the second format, the only one that Linux knows.
    pub(super) fn has_dir2(&self) -> bool {
        self.is_v5() || self.version_bits & version_bit::DIRV2 != 0
    }

    /// Whether directory entries say what they lead to.
    pub(super) fn has_file_type(&self) -> bool {
        if self.is_v5() {
            self.has_incompat(incompat::FTYPE)
        } else {
            self.features2 & features2::FTYPE != 0
        }
    }

    /// What must be equal in all copies.
    pub(super) fn geometry(&self) -> (u32, u64, u32, u32, u16, u16, u16) {
        (
            self.block_bytes,
            self.blocks,
            self.group_blocks,
            self.group_count,
            self.sector_bytes,
            self.inode_bytes,
            self.version,
        )
    }

    /// Names of the features, for people.
    pub(super) fn features(&self) -> String {
        let old = [
            (self.version_bits & version_bit::QUOTA != 0, "quota"),
            (
                self.version_bits & version_bit::ASCII_CI != 0,
                "case-insensitive ASCII",
            ),
            (self.features2 & features2::LAZY_COUNTS != 0, "lazy counts"),
            (self.features2 & features2::ATTR2 != 0, "attr2"),
            (self.features2 & features2::PROJID32 != 0, "32-bit project ids"),
            (!self.is_v5() && self.has_file_type(), "ftype"),
        ];
        let old = old.iter().filter(|(has, _)| *has).map(|(_, name)| *name);
        let ro = RO_COMPAT
            .iter()
            .filter(|(bit, _)| self.ro_compat & bit != 0)
            .map(|(_, name)| *name);
        let new = incompat::NAMES
            .iter()
            .filter(|(bit, _)| self.incompat & bit != 0)
            .map(|(_, name)| *name);
        old.chain(ro).chain(new).collect::<Vec<_>>().join(", ")
    }

    /// The label without padding.
    pub(super) fn label(&self) -> &[u8] {
        let len = self
            .label
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(self.label.len());
        self.label.get(..len).unwrap_or_default()
    }
}
