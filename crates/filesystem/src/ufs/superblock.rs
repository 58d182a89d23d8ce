//! The superblock of UFS.
//!
//! Source: `sys/ufs/ffs/fs.h` of FreeBSD (`struct fs`), by its names; the fields named `old` there are those of UFS1.

use ntt_model::Timestamp;
use ntt_source::field::ByteOrder;

/// Bytes that hold all fields that are read.
pub(super) const LEN: usize = 1376;
/// `FS_UFS1_MAGIC`, `FS_UFS2_MAGIC`.
const MAGIC_1: u32 = 0x0001_1954;
const MAGIC_2: u32 = 0x1954_0119;
/// `fs_flags`: `FS_DOSOFTDEP` and so on.
const FLAGS: &[(u32, &str)] = &[
    (1, "unclean"),
    (2, "soft updates"),
    (4, "needs fsck"),
    (8, "journaled soft updates"),
    (0x10, "POSIX ACLs"),
    (0x20, "labels"),
    (0x40, "gjournal"),
    (0x100, "NFSv4 ACLs"),
    (0x200, "checksums"),
    (0x400, "trim"),
];
/// `FS_FLAGS_UPDATED`.
const FLAGS_UPDATED: u8 = 0x80;
/// `FS_UNCLEAN` and `FS_NEEDSFSCK`.
const DIRTY: u32 = 5;
/// `FS_SUJ`, `FS_GJOURNAL`.
const JOURNALS: u32 = 0x48;
/// `FS_44INODEFMT`.
const FORMAT_44: u32 = 2;

/// `struct fs`, as far as it is needed. Addresses and lengths are in fragments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Superblock {
    pub(super) order: ByteOrder,
    pub(super) is_ufs2: bool,
    /// Entries of directories have a type (since 4.4BSD).
    pub(super) has_types: bool,
    pub(super) superblock_at: u32,
    pub(super) group_at: u32,
    pub(super) inodes_at: u32,
    group_offset: u32,
    group_mask: u32,
    pub(super) groups: u32,
    pub(super) block_bytes: u32,
    pub(super) fragment_bytes: u32,
    pub(super) inodes_per_group: u32,
    pub(super) fragments_per_group: u32,
    pub(super) size: u64,
    /// Fragments that are free, as the superblock says.
    pub(super) free: u64,
    pub(super) is_clean: bool,
    /// Where it says that the first superblock stands; 0 in those that do not know.
    location: u64,
    flags: u32,
    pub(super) id: (u32, u32),
    pub(super) label: Vec<u8>,
    pub(super) mounted_on: Vec<u8>,
    pub(super) written: Option<Timestamp>,
    /// Targets shorter than this stand in the inode.
    pub(super) short_target: u64,
    /// Inodes of snapshots.
    pub(super) snapshots: Vec<u32>,
}

/// What is not a superblock, or one that makes no sense.
pub(super) fn parse(bytes: &[u8]) -> Result<Superblock, String> {
    let magic = |order: ByteOrder| {
        let magic = order.word(bytes, 1372)?;
        matches!(magic, MAGIC_1 | MAGIC_2).then_some((order, magic == MAGIC_2))
    };
    let found = magic(ByteOrder::Little).or_else(|| magic(ByteOrder::Big));
    let (order, is_ufs2) = found.ok_or("no magic number")?;
    Superblock::fields(bytes, order, is_ufs2)
        .ok_or("too short")?
        .checked()
}

impl Superblock {
    fn fields(bytes: &[u8], order: ByteOrder, is_ufs2: bool) -> Option<Self> {
        let word = |at| order.word(bytes, at);
        let long = |at| order.long(bytes, at);
        let old_flags = *bytes.get(211)?;
        let flags = if is_ufs2 || old_flags & FLAGS_UPDATED != 0 {
            word(1312)?
        } else {
            old_flags.into()
        };
        let fragments_per_block = word(56)?;
        let (blocks, fragments) = if is_ufs2 {
            (long(1016)?, long(1032)?)
        } else {
            (word(196)?.into(), word(204)?.into())
        };
        let seconds = if is_ufs2 { long(1072)? } else { word(32)?.into() };
        let short_target = word(1320)?;
        let inode_format = word(1324)?;
        Some(Self {
            order,
            is_ufs2,
            has_types: is_ufs2 || inode_format == FORMAT_44,
            superblock_at: word(8)?,
            group_at: word(12)?,
            inodes_at: word(16)?,
            group_offset: if is_ufs2 { 0 } else { word(24)? },
            group_mask: word(28)?,
            groups: word(44)?,
            block_bytes: word(48)?,
            fragment_bytes: word(52)?,
            inodes_per_group: word(184)?,
            fragments_per_group: word(188)?,
            size: if is_ufs2 { long(1080)? } else { word(36)?.into() },
            free: blocks
                .saturating_mul(fragments_per_block.into())
                .saturating_add(fragments),
            is_clean: *bytes.get(209)? != 0 && flags & DIRTY == 0,
            flags,
            location: if old_flags & FLAGS_UPDATED != 0 {
                long(1000)?
            } else {
                0
            },
            id: (word(144)?, word(148)?),
            label: if is_ufs2 {
                text(bytes.get(680..712)?)
            } else {
                Vec::new()
            },
            mounted_on: text(bytes.get(212..680)?),
            written: i64::try_from(seconds)
                .ok()
                .filter(|seconds| *seconds != 0)
                .and_then(|seconds| Timestamp::from_parts(seconds, 0)),
            short_target: if is_ufs2 {
                120
            } else if short_target > 60 {
                0
            } else {
                short_target.into()
            },
            snapshots: (0_usize..20)
                .filter_map(|slot| word(slot.saturating_mul(4).saturating_add(1116)))
                .take_while(|inode| is_ufs2 && *inode != 0)
                .collect(),
        })
    }

    fn checked(self) -> Result<Self, String> {
        let sizes = (self.block_bytes, self.fragment_bytes);
        let is_size = |size: u32| size.is_power_of_two() && (512..=65_536).contains(&size);
        let per_block = self.block_bytes.checked_div(self.fragment_bytes).unwrap_or(0);
        if !is_size(sizes.0) || !is_size(sizes.1) || !(1..=8).contains(&per_block) || sizes.0 < 4096 {
            return Err(format!("blocks of {} bytes, fragments of {}", sizes.0, sizes.1));
        }
        if self.groups == 0 || self.fragments_per_group == 0 || self.inodes_per_group == 0 {
            return Err(format!(
                "{} groups of {} fragments",
                self.groups, self.fragments_per_group
            ));
        }
        let inodes = self.groups.checked_mul(self.inodes_per_group).is_some();
        let reach = u64::from(self.groups).saturating_mul(self.fragments_per_group.into());
        // The tables of two groups do not overlap.
        let table = u64::from(self.inodes_per_group)
            .saturating_mul(self.inode_len())
            .div_ceil(u64::from(self.fragment_bytes).max(1));
        let within = u64::from(self.inodes_at).saturating_add(table) <= self.fragments_per_group.into()
            && self.group_at < self.fragments_per_group;
        if !inodes || !within || self.size > reach || self.size == 0 {
            return Err(format!("{} fragments in {} groups", self.size, self.groups));
        }
        Ok(self)
    }

    /// Whether it can be the first superblock, and no copy, at byte `place`. That of UFS1 may have its first copy where that of UFS2 stands.
    pub(super) fn is_first_at(&self, place: u64) -> bool {
        let may_be = self.is_ufs2 || place <= 8192;
        self.location == place || (self.location == 0 && may_be)
    }

    pub(super) fn type_name(&self) -> &'static str {
        if self.is_ufs2 { "ufs2" } else { "ufs1" }
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size.saturating_mul(self.fragment_bytes.into())
    }

    /// First fragment of what describes a group (`cgstart`): early versions moved it from group to group.
    pub(super) fn group_start(&self, group: u32) -> u64 {
        let moved = u64::from(self.group_offset).saturating_mul(u64::from(group & !self.group_mask));
        u64::from(group)
            .saturating_mul(self.fragments_per_group.into())
            .saturating_add(moved)
    }

    pub(super) const fn inode_len(&self) -> u64 {
        if self.is_ufs2 { 256 } else { 128 }
    }

    pub(super) fn inodes(&self) -> u32 {
        self.groups.saturating_mul(self.inodes_per_group)
    }

    pub(super) const fn has_journal(&self) -> bool {
        self.flags & JOURNALS != 0
    }

    /// Names of the flags that are set.
    pub(super) fn features(&self) -> String {
        let set = FLAGS.iter().filter(|(bit, _)| self.flags & bit != 0);
        set.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    }
}

fn text(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}
