//! Inodes as they stand on the medium (`sys/ufs/ufs/dinode.h` of FreeBSD).

use ntt_model::entry::Inode;
use ntt_model::time::Times;
use ntt_model::{Kind, Timestamp};
use ntt_source::field::ByteOrder;

use super::superblock::Superblock;

/// Pointers of an inode that name content, and those that name tables.
pub(super) const DIRECT: usize = 12;
pub(super) const INDIRECT: usize = 3;
/// `SF_SNAPSHOT`.
const SNAPSHOT: u32 = 0x0020_0000;

/// `ufs1_dinode` or `ufs2_dinode`.
pub(super) struct RawInode<'b> {
    bytes: &'b [u8],
    pub(super) number: u32,
    /// Where it lies in the volume.
    pub(super) offset: u64,
    order: ByteOrder,
    is_ufs2: bool,
    has_types: bool,
}

impl<'b> RawInode<'b> {
    pub(super) fn new(superblock: &Superblock, bytes: &'b [u8], number: u32, offset: u64) -> Self {
        Self {
            bytes,
            number,
            offset,
            order: superblock.order,
            is_ufs2: superblock.is_ufs2,
            has_types: superblock.has_types,
        }
    }

    fn half(&self, at: usize) -> u16 {
        self.order.half(self.bytes, at).unwrap_or(0)
    }

    fn word(&self, at: usize) -> u32 {
        self.order.word(self.bytes, at).unwrap_or(0)
    }

    fn long(&self, at: usize) -> u64 {
        self.order.long(self.bytes, at).unwrap_or(0)
    }

    pub(super) fn mode(&self) -> u16 {
        self.half(0)
    }

    pub(super) fn links(&self) -> u16 {
        self.half(2)
    }

    pub(super) fn size(&self) -> u64 {
        self.long(if self.is_ufs2 { 16 } else { 8 })
    }

    pub(super) fn flags(&self) -> u32 {
        self.word(if self.is_ufs2 { 88 } else { 100 })
    }

    pub(super) fn is_snapshot(&self) -> bool {
        self.flags() & SNAPSHOT != 0
    }

    pub(super) fn kind(&self) -> Kind {
        Kind::of_mode(self.mode().into())
    }

    /// Whether it looks like an inode in use, where no bitmap tells.
    pub(super) fn is_plausible(&self) -> bool {
        self.kind() != Kind::Unknown && self.links() > 0 && self.links() < 0x7fff && self.size() < 1 << 50
    }

    fn pointers_at(&self) -> usize {
        if self.is_ufs2 { 112 } else { 40 }
    }

    /// A pointer: the direct ones first.
    pub(super) fn pointer(&self, index: usize) -> u64 {
        let width: usize = if self.is_ufs2 { 8 } else { 4 };
        let at = self.pointers_at().saturating_add(index.saturating_mul(width));
        if self.is_ufs2 {
            self.long(at)
        } else {
            self.word(at).into()
        }
    }

    /// The room of the pointers, in which a short target stands.
    pub(super) fn inline(&self) -> &'b [u8] {
        let len: usize = if self.is_ufs2 { 120 } else { 60 };
        let at = self.pointers_at();
        self.bytes.get(at..at.saturating_add(len)).unwrap_or_default()
    }

    /// Length and blocks of the area of extended attributes; only UFS2 has one.
    pub(super) fn attributes(&self) -> (u32, [u64; 2]) {
        if self.is_ufs2 {
            (self.word(92), [self.long(96), self.long(104)])
        } else {
            (0, [0; 2])
        }
    }

    fn time(&self, seconds_at: usize, nanos_at: usize) -> Option<Timestamp> {
        let seconds = if self.is_ufs2 {
            i64::from_ne_bytes(self.long(seconds_at).to_ne_bytes())
        } else {
            i32::from_ne_bytes(self.word(seconds_at).to_ne_bytes()).into()
        };
        let nanos = Some(self.word(nanos_at)).filter(|nanos| *nanos < 1_000_000_000);
        Timestamp::from_parts(seconds, nanos.unwrap_or(0))
    }

    fn times(&self) -> Times {
        let [accessed, modified, changed] = if self.is_ufs2 {
            [(32, 68), (40, 64), (48, 72)]
        } else {
            [(16, 20), (24, 28), (32, 36)]
        };
        let time = |(seconds, nanos)| self.time(seconds, nanos);
        Times {
            modified: time(modified),
            accessed: time(accessed),
            changed: time(changed),
            created: if self.is_ufs2 { time((56, 76)) } else { None },
            deleted: None,
        }
    }

    /// Inodes of 4.2BSD have only the short numbers of owners.
    fn owners(&self) -> (u32, u32) {
        match (self.is_ufs2, self.has_types) {
            (true, _) => (self.word(4), self.word(8)),
            (false, true) => (self.word(112), self.word(116)),
            (false, false) => (self.half(4).into(), self.half(6).into()),
        }
    }

    /// What does not need other blocks.
    pub(super) fn plain(&self) -> Inode {
        let kind = self.kind();
        let (uid, gid) = self.owners();
        let device = u32::try_from(self.pointer(0) & 0xffff_ffff).unwrap_or(0);
        Inode {
            generation: self.word(if self.is_ufs2 { 80 } else { 108 }).into(),
            mode: Some(u32::from(self.mode() & 0o7777)),
            uid: Some(uid),
            gid: Some(gid),
            links: self.links().into(),
            times: self.times(),
            device: kind
                .is_device()
                .then_some(((device >> 8) & 0xff, device & 0xffff_00ff)),
            flags: self.flags().into(),
            ..Inode::bare(self.number.into(), kind)
        }
    }
}
