//! Inodes of 512 bytes. Source: `struct dinode` of Linux (`fs/jfs/jfs_dinode.h`).

use ntt_model::Kind;
use ntt_model::time::Times;
use ntt_source::field::{le_u32, le_u64};

use super::superblock::Run;
use crate::walk::{device_of, signed_time_of};

pub(super) const INODE_LEN: usize = 512;
pub(super) const INODE_BYTES: u64 = 512;
/// Inodes that are allocated together.
pub(super) const EXTENT_INODES: u64 = 32;
/// The file set that holds the files.
pub(super) const FILE_SET: u32 = 16;
/// Root of the tree of extents, or of names.
pub(super) const ROOT_AT: usize = 224;
const DEVICE_AT: usize = 256;
const INLINE_AT: usize = 256;
const INLINE_ATTRIBUTES_AT: usize = 384;
/// `IDATASIZE`: longer targets lie in blocks.
const INLINE_MAX: u64 = 256;
/// The bits of Linux above the mode, and of OS/2, that are kept as flags.
const FLAGS: u32 = 0xffff_0000;

/// Where attributes lie (`dxd_t`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Attributes<'b> {
    None,
    /// In the inode.
    Inline(&'b [u8]),
    Blocks(Run, u32),
}

/// The bytes of one inode.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawInode<'b> {
    bytes: &'b [u8],
    /// Where it lies in the volume.
    pub(super) offset: u64,
}

impl<'b> RawInode<'b> {
    /// Takes the bytes of an inode.
    pub(super) fn new(bytes: &'b [u8], offset: u64) -> Option<Self> {
        (bytes.len() == INODE_LEN).then_some(Self { bytes, offset })
    }

    fn word(&self, at: usize) -> u32 {
        le_u32(self.bytes, at).unwrap_or(0)
    }

    /// The number that it says it has.
    pub(super) fn number(&self) -> u32 {
        self.word(8)
    }

    pub(super) fn file_set(&self) -> u32 {
        self.word(4)
    }

    /// The time at which the file set was made: the same for all its inodes.
    pub(super) fn stamp(&self) -> u32 {
        self.word(0)
    }

    pub(super) fn generation(&self) -> u32 {
        self.word(12)
    }

    /// The extent of inodes that it is part of.
    pub(super) fn home(&self) -> Run {
        Run::parse(self.bytes, 16).unwrap_or_default()
    }

    pub(super) fn size_bytes(&self) -> u64 {
        le_u64(self.bytes, 24).unwrap_or(0)
    }

    pub(super) fn links(&self) -> u32 {
        self.word(40)
    }

    pub(super) fn uid(&self) -> u32 {
        self.word(44)
    }

    pub(super) fn gid(&self) -> u32 {
        self.word(48)
    }

    /// Type and permissions.
    pub(super) fn mode(&self) -> u32 {
        self.word(52) & 0xffff
    }

    /// What stands above them.
    pub(super) fn flags(&self) -> u32 {
        self.word(52) & FLAGS
    }

    pub(super) fn kind(&self) -> Kind {
        Kind::of_mode(self.mode())
    }

    pub(super) fn times(&self) -> Times {
        let time = |at: usize| signed_time_of(self.word(at), self.word(at.saturating_add(4)));
        Times {
            accessed: time(56),
            changed: time(64),
            modified: time(72),
            created: time(80),
            ..Times::default()
        }
    }

    pub(super) fn device(&self) -> Option<(u32, u32)> {
        let is_device = self.kind().is_device();
        is_device.then(|| device_of(self.word(DEVICE_AT)))
    }

    /// The root of its tree.
    pub(super) fn root(&self) -> &'b [u8] {
        self.bytes.get(ROOT_AT..).unwrap_or_default()
    }

    /// Where its target lies if it does not lie in blocks: first byte in the volume.
    pub(super) fn inline_target(&self) -> Option<u64> {
        let at = u64::try_from(INLINE_AT).unwrap_or(0);
        (self.size_bytes() < INLINE_MAX).then(|| self.offset.saturating_add(at))
    }

    pub(super) fn attributes(&self) -> Attributes<'b> {
        let flag = self.bytes.get(104).copied().unwrap_or(0);
        let size = self.word(108);
        match flag {
            _ if size == 0 => Attributes::None,
            flag if flag & 0x40 != 0 => {
                Attributes::Inline(self.bytes.get(INLINE_ATTRIBUTES_AT..).unwrap_or_default())
            }
            flag if flag & 0x20 != 0 => {
                Attributes::Blocks(Run::parse(self.bytes, 112).unwrap_or_default(), size)
            }
            _ => Attributes::None,
        }
    }

    /// Whether it is in use, and the inode that lies where it lies: the place follows from its number and its extent.
    pub(super) fn is_at_home(&self, number: u64, block_bytes: u64) -> bool {
        let start = self.home().block.saturating_mul(block_bytes);
        let within = (number % EXTENT_INODES).saturating_mul(INODE_BYTES);
        self.file_set() == FILE_SET
            && u64::from(self.number()) == number
            && start.saturating_add(within) == self.offset
    }

    pub(super) fn is_used(&self) -> bool {
        self.mode() != 0 && self.links() > 0
    }
}
