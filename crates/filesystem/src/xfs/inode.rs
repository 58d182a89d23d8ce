//! The fixed fields of an inode (`struct xfs_dinode`).

use ntt_model::time::Times;
use ntt_model::{Kind, Timestamp};
use ntt_source::field::{be_u16, be_u32, be_u64, u8_at};

use super::crc::{Crc, checked};

const MAGIC: u16 = 0x494e;
const CRC_AT: usize = 100;
/// Where the forks start in versions 1 and 2, and in 3.
const CORE_V2: usize = 100;
const CORE_V3: usize = 176;
/// `di_flags`: content lies on the real-time device.
const FLAG_REALTIME: u16 = 1;
/// `di_flags2`.
const FLAG2_BIGTIME: u64 = 8;
const FLAG2_NREXT64: u64 = 16;
const FLAG2_METADATA: u64 = 32;
/// Seconds before the epoch at which "bigtime" starts to count.
const BIGTIME_EPOCH_S: i64 = 1 << 31;

/// `di_format`: what a fork is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    Device,
    Local,
    Extents,
    BTree,
    Other(u8),
}

impl Format {
    fn of(code: u8) -> Self {
        match code {
            0 => Self::Device,
            1 => Self::Local,
            2 => Self::Extents,
            3 => Self::BTree,
            other => Self::Other(other),
        }
    }
}

/// A fork of an inode, as it stands in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fork<'b> {
    pub(super) format: Format,
    /// How many extents it says it has.
    pub(super) extents: u64,
    pub(super) bytes: &'b [u8],
    /// Where `bytes` start in the inode.
    pub(super) at: usize,
}

/// The bytes of one inode.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawInode<'b> {
    bytes: &'b [u8],
    pub(super) number: u64,
    /// Where it lies in the volume.
    pub(super) offset: u64,
}

impl<'b> RawInode<'b> {
    /// Takes the bytes of an inode; `None` if they are none.
    pub(super) fn new(bytes: &'b [u8], number: u64, offset: u64) -> Option<Self> {
        let raw = Self {
            bytes,
            number,
            offset,
        };
        let has_core = bytes.len() > CORE_V2 && (!raw.is_v3() || bytes.len() > CORE_V3);
        let is_one = be_u16(bytes, 0) == Some(MAGIC) && (1..=3).contains(&raw.version());
        (has_core && is_one).then_some(raw)
    }

    fn half(&self, at: usize) -> u16 {
        be_u16(self.bytes, at).unwrap_or(0)
    }

    fn word(&self, at: usize) -> u32 {
        be_u32(self.bytes, at).unwrap_or(0)
    }

    fn long(&self, at: usize) -> u64 {
        be_u64(self.bytes, at).unwrap_or(0)
    }

    fn byte(&self, at: usize) -> u8 {
        u8_at(self.bytes, at).unwrap_or(0)
    }

    fn version(&self) -> u8 {
        self.byte(4)
    }

    fn is_v3(&self) -> bool {
        self.version() == 3
    }

    /// Whether the inode is of the kind that a file system of version 5 (or 4) has, and says that it is this one.
    pub(super) fn is_at_home(&self, is_v5: bool) -> bool {
        self.is_v3() == is_v5 && (!is_v5 || self.long(152) == self.number)
    }

    pub(super) fn crc(&self) -> Crc {
        if self.is_v3() {
            checked(self.bytes, CRC_AT)
        } else {
            Crc::None
        }
    }

    /// Type and permission bits; 0 if the inode is free.
    pub(super) fn mode(&self) -> u16 {
        self.half(2)
    }

    pub(super) fn kind(&self) -> Kind {
        Kind::of_mode(self.mode().into())
    }

    pub(super) fn uid(&self) -> u32 {
        self.word(8)
    }

    pub(super) fn gid(&self) -> u32 {
        self.word(12)
    }

    pub(super) fn links(&self) -> u32 {
        if self.version() == 1 {
            self.half(6).into()
        } else {
            self.word(16)
        }
    }

    fn project(&self) -> u32 {
        if self.version() == 1 {
            return 0;
        }
        u32::from(self.half(20)) | (u32::from(self.half(22)) << 16)
    }

    pub(super) fn size(&self) -> u64 {
        self.long(56)
    }

    pub(super) fn generation(&self) -> u32 {
        self.word(92)
    }

    fn flags2(&self) -> u64 {
        if self.is_v3() { self.long(120) } else { 0 }
    }

    pub(super) fn is_realtime(&self) -> bool {
        self.half(90) & FLAG_REALTIME != 0
    }

    /// An inode of the metadata directory.
    pub(super) fn is_metadata(&self) -> bool {
        self.flags2() & FLAG2_METADATA != 0
    }

    /// `di_flags` in the lowest 16 bits, `di_flags2` in the next, the project in the upper 32.
    pub(super) fn all_flags(&self) -> u64 {
        let flags2 = self.flags2() & 0xffff;
        u64::from(self.half(90)) | (flags2 << 16) | (u64::from(self.project()) << 32)
    }

    fn core_len(&self) -> usize {
        if self.is_v3() { CORE_V3 } else { CORE_V2 }
    }

    /// Where the attribute fork starts; `None` if there is none.
    fn attribute_at(&self) -> Option<usize> {
        let within = usize::from(self.byte(82)).checked_mul(8)?;
        let at = self.core_len().checked_add(within)?;
        (within > 0 && at < self.bytes.len()).then_some(at)
    }

    /// The fork of the content.
    pub(super) fn data(&self) -> Fork<'b> {
        let start = self.core_len();
        let end = self.attribute_at().unwrap_or(self.bytes.len());
        let extents = if self.flags2() & FLAG2_NREXT64 != 0 {
            self.long(24)
        } else {
            self.word(76).into()
        };
        Fork {
            format: Format::of(self.byte(5)),
            extents,
            bytes: self.bytes.get(start..end).unwrap_or_default(),
            at: start,
        }
    }

    /// The fork of the extended attributes.
    pub(super) fn attributes(&self) -> Option<Fork<'b>> {
        let at = self.attribute_at()?;
        let extents = if self.flags2() & FLAG2_NREXT64 != 0 {
            self.word(76).into()
        } else {
            self.half(80).into()
        };
        Some(Fork {
            format: Format::of(self.byte(83)),
            extents,
            bytes: self.bytes.get(at..)?,
            at,
        })
    }

    /// Major and minor number, in the encoding of IRIX.
    pub(super) fn device(&self) -> (u32, u32) {
        let device = self.word(self.core_len());
        ((device >> 18) & 0x3fff, device & 0x3_ffff)
    }

    /// The times, and whether one of them cannot be represented.
    pub(super) fn times(&self) -> (Times, bool) {
        let is_big = self.flags2() & FLAG2_BIGTIME != 0;
        let time = |at| {
            if is_big {
                big_time(self.long(at))
            } else {
                old_time(self.word(at), self.word(at.saturating_add(4)))
            }
        };
        let times = Times {
            accessed: time(32),
            modified: time(40),
            changed: time(48),
            created: self.is_v3().then(|| time(144)).flatten(),
            ..Times::default()
        };
        let has_all = times.accessed.is_some() && times.modified.is_some() && times.changed.is_some();
        (times, !has_all)
    }
}

/// Nanoseconds from 1901 on; those after 2262 cannot be represented.
fn big_time(nanos: u64) -> Option<Timestamp> {
    let seconds = i64::try_from(nanos / 1_000_000_000)
        .ok()?
        .checked_sub(BIGTIME_EPOCH_S)?;
    Timestamp::from_parts(seconds, u32::try_from(nanos % 1_000_000_000).ok()?)
}

fn old_time(seconds: u32, nanos: u32) -> Option<Timestamp> {
    let seconds = i64::from(i32::from_be_bytes(seconds.to_be_bytes()));
    (nanos < 1_000_000_000).then(|| Timestamp::from_parts(seconds, nanos))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(version: u8) -> Vec<u8> {
        let mut bytes = vec![0; 512];
        bytes[..5].copy_from_slice(&[0x49, 0x4e, 0x81, 0xa4, version]);
        bytes[159] = 131;
        bytes
    }

    #[test]
    fn inodes_of_another_version_or_place_are_not_at_home() {
        let bytes = raw(3);
        let inode = RawInode::new(&bytes, 131, 0).expect("an inode");
        assert!(inode.is_at_home(true) && !inode.is_at_home(false));
        assert!(!RawInode::new(&bytes, 132, 0).expect("an inode").is_at_home(true));
        assert!(RawInode::new(&raw(4), 131, 0).is_none());
        assert!(RawInode::new(&bytes[..150], 131, 0).is_none());
    }

    #[test]
    fn counts_are_where_the_flags_say() {
        let mut bytes = raw(3);
        bytes[79] = 7;
        bytes[81] = 9;
        bytes[82] = 15;
        let counts = |bytes: &[u8]| {
            let inode = RawInode::new(bytes, 131, 0).expect("an inode");
            (inode.data().extents, inode.attributes().map(|fork| fork.extents))
        };
        assert_eq!(counts(&bytes), (7, Some(9)));
        bytes[127] = 16;
        bytes[31] = 3;
        assert_eq!(counts(&bytes), (3, Some(7)));
    }

    #[test]
    fn big_times_start_in_1901() {
        let text = |nanos| big_time(nanos).map(|time| time.to_string());
        assert_eq!(text(0).as_deref(), Some("1901-12-13T20:45:52Z"));
        assert_eq!(
            text((1 << 31) * 1_000_000_000).as_deref(),
            Some("1970-01-01T00:00:00Z")
        );
        assert_eq!(
            old_time(u32::MAX, 0).map(|time| time.to_string()).as_deref(),
            Some("1969-12-31T23:59:59Z")
        );
        assert_eq!(old_time(0, 1_000_000_000), None);
    }
}
