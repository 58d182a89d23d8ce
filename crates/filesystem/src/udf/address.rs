//! Extents and addresses as UDF records them (ECMA-167, 3/7.1 and 4/7.1, 4/14.14).

use ntt_source::field::{le_u16, le_u32};

/// A run of sectors of the volume (`extent_ad`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct SectorRun {
    pub(super) len_bytes: u32,
    pub(super) sector: u32,
}

impl SectorRun {
    pub(super) fn parse(bytes: &[u8], at: usize) -> Option<Self> {
        Some(Self {
            len_bytes: le_u32(bytes, at)? & LENGTH_MASK,
            sector: le_u32(bytes, at.checked_add(4)?)?,
        })
    }
}

/// The lower 30 bits are the length, the upper two the kind of an extent (ECMA-167, 4/14.14.1.1).
const LENGTH_MASK: u32 = 0x3fff_ffff;

/// A block of a partition (`lb_addr`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(super) struct Address {
    /// Index into the partition maps of the logical volume.
    pub(super) reference: u16,
    pub(super) block: u32,
}

/// What an extent holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Holds {
    Recorded,
    AllocatedOnly,
    Nothing,
    /// More allocation descriptors.
    Continuation,
}

/// An allocation descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Allocated {
    pub(super) len_bytes: u32,
    pub(super) holds: Holds,
    pub(super) at: Address,
}

impl Allocated {
    fn new(length: u32, at: Address) -> Self {
        Self {
            len_bytes: length & LENGTH_MASK,
            holds: match length >> 30 {
                0 => Holds::Recorded,
                1 => Holds::AllocatedOnly,
                2 => Holds::Nothing,
                _ => Holds::Continuation,
            },
            at,
        }
    }

    /// `short_ad`: the partition is that of the structure in which it stands.
    pub(super) fn short(bytes: &[u8], at: usize, reference: u16) -> Option<Self> {
        let block = le_u32(bytes, at.checked_add(4)?)?;
        Some(Self::new(le_u32(bytes, at)?, Address { reference, block }))
    }

    /// `long_ad`.
    pub(super) fn long(bytes: &[u8], at: usize) -> Option<Self> {
        Some(Self::new(le_u32(bytes, at)?, address(bytes, at.checked_add(4)?)?))
    }

    /// `ext_ad`, which also says how many bytes are recorded.
    pub(super) fn extended(bytes: &[u8], at: usize) -> Option<Self> {
        Some(Self::new(
            le_u32(bytes, at)?,
            address(bytes, at.checked_add(12)?)?,
        ))
    }

    /// Whether it names nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.len_bytes == 0
    }
}

fn address(bytes: &[u8], at: usize) -> Option<Address> {
    Some(Address {
        block: le_u32(bytes, at)?,
        reference: le_u16(bytes, at.checked_add(4)?)?,
    })
}
