//! Names: the value of a `$FILE_NAME` attribute, which is also the key of an index of names (`FILE_NAME_ATTR` in `layout.h`).

use ntt_model::Timestamp;
use ntt_model::entry::Namespace;
use ntt_model::time::Times;
use ntt_source::field::{le_u32, le_u64, u8_at};

use super::record::Reference;
use crate::name::wtf8_from_utf16;

/// Bytes before the name.
const HEAD_BYTES: usize = 0x42;
/// Bit of a name's flags: it is a directory's.
const DIRECTORY: u32 = 0x1000_0000;
/// From 1601-01-01 to 1970-01-01 in steps of 100 ns.
const EPOCH: i128 = 116_444_736_000_000_000;

/// A name of a record in a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileName<'b> {
    /// The directory.
    pub(super) parent: Reference,
    /// Name in UTF-16LE.
    pub(super) units: &'b [u8],
    namespace: u8,
    head: &'b [u8],
}

impl<'b> FileName<'b> {
    /// Reads a value.
    pub(super) fn parse(value: &'b [u8]) -> Option<Self> {
        let len = usize::from(u8_at(value, 0x40)?).checked_mul(2)?;
        let units = value.get(HEAD_BYTES..HEAD_BYTES.checked_add(len)?)?;
        Some(Self {
            parent: Reference::from_raw(le_u64(value, 0)?),
            units,
            namespace: u8_at(value, 0x41).filter(|namespace| *namespace <= 3)?,
            head: value.get(..HEAD_BYTES)?,
        })
    }

    /// Whether it is only the 8.3 name beside a long one.
    pub(super) const fn is_dos(&self) -> bool {
        self.namespace == 2
    }

    /// The convention it belongs to.
    pub(super) const fn namespace(&self) -> Namespace {
        match self.namespace {
            0 => Namespace::Native,
            2 => Namespace::Dos,
            _ => Namespace::Windows,
        }
    }

    /// The name in WTF-8.
    pub(super) fn bytes(&self) -> Vec<u8> {
        wtf8(self.units)
    }

    /// Twelve bits that tell most names of one file apart (FNV-1a).
    pub(super) fn hash(&self) -> u16 {
        let hash = self.units.iter().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        });
        u16::try_from((hash ^ (hash >> 16)) & 0xfff).unwrap_or(0)
    }

    /// Whether it is a directory's.
    pub(super) fn is_directory(&self) -> bool {
        self.flags() & DIRECTORY != 0
    }

    /// Attributes of DOS, as far as the name has them.
    pub(super) fn flags(&self) -> u32 {
        le_u32(self.head, 0x38).unwrap_or(0)
    }

    /// Length of the content when the name was last written.
    pub(super) fn size(&self) -> u64 {
        le_u64(self.head, 0x30).unwrap_or(0)
    }

    /// Times when the name was last written; whether one was dropped.
    pub(super) fn times(&self) -> (Times, bool) {
        times(self.head, 8)
    }
}

/// UTF-16LE as WTF-8.
pub(super) fn wtf8(units: &[u8]) -> Vec<u8> {
    wtf8_from_utf16(
        units
            .as_chunks::<2>()
            .0
            .iter()
            .map(|unit| u16::from_le_bytes(*unit)),
    )
}

/// Four times: creation, content, metadata, access; whether one is out of range.
pub(super) fn times(bytes: &[u8], at: usize) -> (Times, bool) {
    let mut out_of_range = false;
    let mut time = |index: usize| {
        let raw = le_u64(bytes, at.saturating_add(index.saturating_mul(8)))?;
        let time = moment(raw);
        out_of_range |= time.is_none() && raw != 0;
        time
    };
    let times = Times {
        created: time(0),
        modified: time(1),
        changed: time(2),
        accessed: time(3),
        deleted: None,
    };
    (times, out_of_range)
}

/// Steps of 100 ns since 1601; 0 stands for no time.
pub(super) fn moment(raw: u64) -> Option<Timestamp> {
    (raw != 0).then_some(())?;
    let nanos = i128::from(raw).checked_sub(EPOCH)?.checked_mul(100)?;
    i64::try_from(nanos).ok().map(Timestamp::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a name attribute.
    fn value(name: &str, namespace: u8) -> Vec<u8> {
        let mut value = vec![0; HEAD_BYTES];
        value[..8].copy_from_slice(&0x0005_0000_0000_0005_u64.to_le_bytes());
        value[0x40] = u8::try_from(name.encode_utf16().count()).expect("short");
        value[0x41] = namespace;
        value.extend(name.encode_utf16().flat_map(u16::to_le_bytes));
        value
    }

    #[test]
    fn a_name_has_a_parent_and_a_namespace() {
        let bytes = value("żółw", 1);
        let name = FileName::parse(&bytes).expect("a name");
        assert_eq!(name.bytes(), "żółw".as_bytes());
        assert_eq!((name.parent.record, name.namespace()), (5, Namespace::Windows));
        assert_eq!(
            FileName::parse(&value("X", 2)).map(|name| name.is_dos()),
            Some(true)
        );
        assert_eq!(FileName::parse(&value("X", 4)), None);
        assert_eq!(FileName::parse(&bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn hashes_tell_names_apart() {
        let hash = |name: &str| FileName::parse(&value(name, 0)).map(|name| name.hash());
        assert_ne!(hash("a"), hash("b"));
        assert_eq!(hash("a"), FileName::parse(&value("a", 1)).map(|name| name.hash()));
    }

    #[test]
    fn times_count_from_1601() {
        assert_eq!(moment(0), None);
        assert_eq!(moment(116_444_736_000_000_001), Some(Timestamp::from_nanos(100)));
        assert_eq!(moment(u64::MAX), None);
        assert_eq!(moment(1), None, "1601 is before what can be kept");
    }
}
