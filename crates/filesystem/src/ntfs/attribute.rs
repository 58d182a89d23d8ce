//! The attributes of a FILE record (`ATTR_RECORD` in `layout.h`).

use ntt_source::field::{le_u16, le_u32, le_u64, u8_at};

use super::record::Record;

/// Types of attributes (`ATTR_TYPES` in `layout.h`).
pub(super) mod kind {
    /// Times, attributes of DOS, security id.
    pub(in super::super) const STANDARD_INFORMATION: u32 = 0x10;
    /// Where the attributes of a file with several records are.
    pub(in super::super) const ATTRIBUTE_LIST: u32 = 0x20;
    /// A name.
    pub(in super::super) const FILE_NAME: u32 = 0x30;
    /// GUIDs of the object.
    pub(in super::super) const OBJECT_ID: u32 = 0x40;
    /// The security descriptor, before version 3.0.
    pub(in super::super) const SECURITY_DESCRIPTOR: u32 = 0x50;
    /// Label of the volume.
    pub(in super::super) const VOLUME_NAME: u32 = 0x60;
    /// Version and flags of the volume.
    pub(in super::super) const VOLUME_INFORMATION: u32 = 0x70;
    /// Content.
    pub(in super::super) const DATA: u32 = 0x80;
    /// Root of an index.
    pub(in super::super) const INDEX_ROOT: u32 = 0x90;
    /// Blocks of an index.
    pub(in super::super) const INDEX_ALLOCATION: u32 = 0xa0;
    /// Which blocks of an index, or records of the MFT, are in use.
    pub(in super::super) const BITMAP: u32 = 0xb0;
    /// A reparse point.
    pub(in super::super) const REPARSE_POINT: u32 = 0xc0;
    /// Extended attributes.
    pub(in super::super) const EA: u32 = 0xe0;
    /// Streams of the encryption (`$EFS`) and of transactions.
    pub(in super::super) const LOGGED_UTILITY_STREAM: u32 = 0x100;
    /// End of the attributes.
    pub(in super::super) const END: u32 = 0xffff_ffff;
}

/// Bits of an attribute's flags.
pub(super) mod flag {
    /// How the content is compressed; 1 is LZNT1.
    pub(in super::super) const COMPRESSION: u16 = 0x00ff;
    /// Encrypted by EFS.
    pub(in super::super) const ENCRYPTED: u16 = 0x4000;
}

/// An attribute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute<'b> {
    pub(super) kind: u32,
    pub(super) flags: u16,
    /// Name in UTF-16LE; empty if it has none.
    pub(super) name: &'b [u8],
    pub(super) body: Body<'b>,
}

/// Where the value of an attribute is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body<'b> {
    /// In the record.
    Resident {
        value: &'b [u8],
        /// Where it starts in the record.
        offset: usize,
    },
    /// In clusters.
    Mapped(Mapping<'b>),
}

/// The value of an attribute in clusters, or a part of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mapping<'b> {
    /// First cluster of the value that this part maps.
    pub(super) first: u64,
    /// First cluster that it does not map.
    pub(super) end: u64,
    /// Length of the value; only the first part says it.
    pub(super) size: u64,
    /// Bytes that were ever written; the rest reads as zeros.
    pub(super) initialized: u64,
    /// Logarithm of the clusters in a compression unit; 0 without compression.
    pub(super) unit_shift: u8,
    /// The mapping pairs.
    pub(super) pairs: &'b [u8],
}

impl<'b> Attribute<'b> {
    /// The value, if it is in the record.
    pub(super) const fn resident(&self) -> Option<&'b [u8]> {
        match self.body {
            Body::Resident { value, .. } => Some(value),
            Body::Mapped(_) => None,
        }
    }

    /// The first cluster of the value that this part maps.
    pub(super) const fn first_cluster(&self) -> u64 {
        match self.body {
            Body::Resident { .. } => 0,
            Body::Mapped(mapping) => mapping.first,
        }
    }

    fn parse(bytes: &'b [u8], start: usize) -> Option<Self> {
        let name_units = usize::from(u8_at(bytes, 9)?);
        let name_start = usize::from(le_u16(bytes, 0x0a)?);
        let name = if name_units == 0 {
            &[]
        } else {
            bytes.get(name_start..name_start.checked_add(name_units.checked_mul(2)?)?)?
        };
        let body = match u8_at(bytes, 8)? {
            0 => Self::parse_resident(bytes, start)?,
            1 => Body::Mapped(Mapping::parse(bytes)?),
            _ => return None,
        };
        Some(Self {
            kind: le_u32(bytes, 0)?,
            flags: le_u16(bytes, 0x0c)?,
            name,
            body,
        })
    }

    fn parse_resident(bytes: &'b [u8], start: usize) -> Option<Body<'b>> {
        let len = usize::try_from(le_u32(bytes, 0x10)?).ok()?;
        let at = usize::from(le_u16(bytes, 0x14)?);
        Some(Body::Resident {
            value: bytes.get(at..at.checked_add(len)?)?,
            offset: start.checked_add(at)?,
        })
    }
}

impl<'b> Mapping<'b> {
    fn parse(bytes: &'b [u8]) -> Option<Self> {
        let (first, last) = (le_u64(bytes, 0x10)?, le_u64(bytes, 0x18)?);
        // An empty value ends at cluster -1.
        let end = last.wrapping_add(1);
        (first <= end && end < 1 << 62).then_some(())?;
        let pairs_start = usize::from(le_u16(bytes, 0x20)?);
        Some(Self {
            first,
            end,
            unit_shift: u8_at(bytes, 0x22)?,
            size: le_u64(bytes, 0x30)?,
            initialized: le_u64(bytes, 0x38)?,
            pairs: bytes.get(pairs_start..)?,
        })
    }
}

/// The attributes of a record, in order, up to the first that contradicts the format.
pub(super) struct Attributes<'b> {
    bytes: &'b [u8],
    at: usize,
    over: bool,
}

/// An attribute contradicts the format: where in the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Broken(pub(super) usize);

impl<'b> Attributes<'b> {
    /// Those of `record`.
    pub(super) fn of(record: &Record<'b>) -> Self {
        let used = usize::try_from(record.used()).unwrap_or(0);
        Self {
            bytes: record.bytes.get(..used).unwrap_or_default(),
            at: record.first_attribute(),
            over: false,
        }
    }

    fn take(&mut self) -> Option<Attribute<'b>> {
        let rest = self.bytes.get(self.at..)?;
        let len = usize::try_from(le_u32(rest, 4)?).ok()?;
        (len >= 0x18 && len.is_multiple_of(8)).then_some(())?;
        let attribute = Attribute::parse(rest.get(..len)?, self.at)?;
        self.at = self.at.checked_add(len)?;
        Some(attribute)
    }
}

impl<'b> Iterator for Attributes<'b> {
    type Item = Result<Attribute<'b>, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over || le_u32(self.bytes, self.at) == Some(kind::END) {
            return None;
        }
        let attribute = self.take();
        self.over = attribute.is_none();
        Some(attribute.ok_or(Broken(self.at)))
    }
}
