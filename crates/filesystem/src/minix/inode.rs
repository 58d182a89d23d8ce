//! Inodes of 32 bytes (version 1) and 64 (2 and 3): `struct minix_inode`, `struct minix2_inode`.

use ntt_model::Kind;
use ntt_model::time::Times;
use ntt_source::field::ByteOrder;

use super::superblock::Superblock;
use crate::walk::{device_of, time_of};

/// Numbers of zones in an inode: seven of content, then those of tables of one, two and three levels.
pub(super) const DIRECT: usize = 7;

/// The fields of an inode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RawInode {
    pub(super) mode: u32,
    pub(super) links: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size_bytes: u64,
    pub(super) times: Times,
    /// Zones of content, then tables; version 1 has none of three levels.
    pub(super) zones: Vec<u32>,
}

impl RawInode {
    /// Reads it; what lies beyond the end of `bytes` is 0.
    pub(super) fn parse(bytes: &[u8], superblock: &Superblock) -> Self {
        let order = superblock.order;
        if superblock.version == 1 {
            Self::first(bytes, order)
        } else {
            Self::second(bytes, order)
        }
    }

    fn first(bytes: &[u8], order: ByteOrder) -> Self {
        let byte = |at: usize| bytes.get(at).copied().unwrap_or(0).into();
        let halves = bytes.get(14..32).unwrap_or_default().chunks_exact(2);
        Self {
            mode: order.half(bytes, 0).unwrap_or(0).into(),
            uid: order.half(bytes, 2).unwrap_or(0).into(),
            size_bytes: order.word(bytes, 4).unwrap_or(0).into(),
            times: Times {
                modified: time_of(order.word(bytes, 8).unwrap_or(0)),
                ..Times::default()
            },
            gid: byte(12),
            links: byte(13),
            zones: halves
                .map(|half| order.half(half, 0).unwrap_or(0).into())
                .collect(),
        }
    }

    fn second(bytes: &[u8], order: ByteOrder) -> Self {
        let words = bytes.get(24..64).unwrap_or_default().chunks_exact(4);
        Self {
            mode: order.half(bytes, 0).unwrap_or(0).into(),
            links: order.half(bytes, 2).unwrap_or(0).into(),
            uid: order.half(bytes, 4).unwrap_or(0).into(),
            gid: order.half(bytes, 6).unwrap_or(0).into(),
            size_bytes: order.word(bytes, 8).unwrap_or(0).into(),
            times: Times {
                accessed: time_of(order.word(bytes, 12).unwrap_or(0)),
                modified: time_of(order.word(bytes, 16).unwrap_or(0)),
                changed: time_of(order.word(bytes, 20).unwrap_or(0)),
                ..Times::default()
            },
            zones: words.map(|word| order.word(word, 0).unwrap_or(0)).collect(),
        }
    }

    /// Whether it is in use: deleting wipes the mode.
    pub(super) const fn is_used(&self) -> bool {
        self.mode != 0
    }

    pub(super) const fn kind(&self) -> Kind {
        Kind::of_mode(self.mode)
    }

    /// Major and minor number, which stand in the place of the first zone.
    pub(super) fn device(&self) -> Option<(u32, u32)> {
        let is_device = self.kind().is_device();
        let packed = self.zones.first().copied().unwrap_or(0);
        is_device.then(|| device_of(packed & 0xffff))
    }
}
