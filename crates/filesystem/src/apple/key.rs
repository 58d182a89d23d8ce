//! Keys and records of the B-trees: where one record ends, and which number it belongs to.

use ntt_source::field::{be_u16, be_u32, u8_at};

/// Longest name of a catalogue key of HFS, in bytes.
const CLASSIC_NAME_MAX: usize = 31;
/// Longest name of a catalogue key of HFS+, in UTF-16 units.
const PLUS_NAME_MAX: usize = 255;
/// Longest name of an attribute, in UTF-16 units (`hfs_format.h`, `kHFSMaxAttrNameLen`).
const ATTRIBUTE_NAME_MAX: usize = 127;

/// Lengths of catalogue records (TN1150; Inside Macintosh: Files, 2-71).
mod len {
    pub(super) const PLUS_FOLDER: usize = 88;
    pub(super) const PLUS_FILE: usize = 248;
    pub(super) const CLASSIC_FOLDER: usize = 70;
    pub(super) const CLASSIC_FILE: usize = 102;
    pub(super) const CLASSIC_THREAD: usize = 46;
}

/// Which tree of which format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KeyFormat {
    /// The catalogue of HFS.
    CatalogClassic,
    /// The catalogue of HFS+ and HFSX.
    CatalogPlus,
    /// The extents overflow file of HFS.
    ExtentsClassic,
    /// The extents overflow file of HFS+.
    ExtentsPlus,
    /// The attributes file of HFS+.
    Attributes,
}

/// A record of a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record<'b> {
    /// What the tree is sorted by first: the number of the parent directory, or of the file.
    pub(crate) major: u32,
    /// The key, its length included.
    pub(crate) key: &'b [u8],
    /// The data, exactly.
    pub(crate) data: &'b [u8],
}

impl Record<'_> {
    /// Bytes that the record takes in its node.
    pub(crate) fn len(&self) -> usize {
        let data = self.data.len().next_multiple_of(2);
        self.key.len().saturating_add(data)
    }
}

impl KeyFormat {
    /// How people call the tree.
    pub(crate) const fn tree_name(self) -> &'static str {
        match self {
            Self::CatalogClassic | Self::CatalogPlus => "catalogue",
            Self::ExtentsClassic | Self::ExtentsPlus => "extents overflow file",
            Self::Attributes => "attributes file",
        }
    }

    /// Whether the tree belongs to HFS and not to HFS+.
    pub(crate) const fn is_classic(self) -> bool {
        matches!(self, Self::CatalogClassic | Self::ExtentsClassic)
    }

    /// The record that starts at the first of `bytes`; `None` if none of this format can.
    pub(crate) fn record(self, bytes: &[u8]) -> Option<Record<'_>> {
        let key_len = self.key_len(bytes)?;
        let key = bytes.get(..key_len)?;
        let rest = bytes.get(key_len..)?;
        let data = rest.get(..self.data_len(rest)?)?;
        Some(Record {
            major: be_u32(key, self.major_at())?,
            key,
            data,
        })
    }

    const fn major_at(self) -> usize {
        match self {
            Self::CatalogClassic | Self::CatalogPlus | Self::ExtentsClassic => 2,
            Self::ExtentsPlus | Self::Attributes => 4,
        }
    }

    /// Length of the key with its own length and padding.
    fn key_len(self, bytes: &[u8]) -> Option<usize> {
        let said = if self.is_classic() {
            usize::from(u8_at(bytes, 0)?)
        } else {
            usize::from(be_u16(bytes, 0)?)
        };
        let fits = match self {
            Self::ExtentsClassic => said == 7,
            Self::ExtentsPlus => said == 10,
            Self::CatalogClassic => {
                let name = usize::from(u8_at(bytes, 6)?);
                name <= CLASSIC_NAME_MAX && said >= name.checked_add(6)? && said <= 37
            }
            Self::CatalogPlus => {
                let name = usize::from(be_u16(bytes, 6)?);
                name <= PLUS_NAME_MAX && said == name.checked_mul(2)?.checked_add(6)?
            }
            Self::Attributes => {
                let name = usize::from(be_u16(bytes, 12)?);
                name <= ATTRIBUTE_NAME_MAX && said == name.checked_mul(2)?.checked_add(12)?
            }
        };
        let own = if self.is_classic() { 1 } else { 2 };
        fits.then(|| said.saturating_add(own).next_multiple_of(2))
    }

    fn data_len(self, data: &[u8]) -> Option<usize> {
        match self {
            Self::ExtentsClassic => Some(12),
            Self::ExtentsPlus => Some(64),
            Self::Attributes => match be_u32(data, 0)? {
                attribute::INLINE => usize::try_from(be_u32(data, 12)?).ok()?.checked_add(16),
                attribute::FORK => Some(88),
                attribute::EXTENTS => Some(72),
                _ => None,
            },
            Self::CatalogClassic => match (u8_at(data, 0)?, u8_at(data, 1)?) {
                (1, _) => Some(len::CLASSIC_FOLDER),
                (2, _) => Some(len::CLASSIC_FILE),
                (3 | 4, _) => Some(len::CLASSIC_THREAD),
                _ => None,
            },
            Self::CatalogPlus => match be_u16(data, 0)? {
                1 => Some(len::PLUS_FOLDER),
                2 => Some(len::PLUS_FILE),
                3 | 4 => {
                    let name = usize::from(be_u16(data, 8)?);
                    (name <= PLUS_NAME_MAX).then_some(name.checked_mul(2)?.checked_add(10)?)
                }
                _ => None,
            },
        }
    }
}

/// Types of attribute records (`hfs_format.h`).
pub(crate) mod attribute {
    /// `kHFSPlusAttrInlineData`.
    pub(crate) const INLINE: u32 = 0x10;
    /// `kHFSPlusAttrForkData`.
    pub(crate) const FORK: u32 = 0x20;
    /// `kHFSPlusAttrExtents`.
    pub(crate) const EXTENTS: u32 = 0x30;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(name_len: u16) -> Vec<u8> {
        let mut bytes = vec![0, 6, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, 0, 0, 2];
        bytes.extend_from_slice(&name_len.to_be_bytes());
        bytes.extend_from_slice(&[0; 510]);
        bytes
    }

    #[test]
    fn a_record_ends_where_its_type_says() {
        let bytes = thread(3);
        let record = KeyFormat::CatalogPlus.record(&bytes).expect("a thread");
        assert_eq!(
            (record.major, record.key.len(), record.data.len(), record.len()),
            (20, 8, 16, 24)
        );
        assert_eq!(KeyFormat::CatalogPlus.record(&thread(256)), None);
        assert_eq!(KeyFormat::CatalogPlus.record(&bytes[..20]), None);
    }

    #[test]
    fn keys_of_another_length_are_refused() {
        let mut bytes = thread(3);
        bytes[1] = 8;
        assert_eq!(KeyFormat::CatalogPlus.record(&bytes), None);
        assert_eq!(KeyFormat::ExtentsPlus.record(&bytes), None);
        assert_eq!(KeyFormat::Attributes.record(&bytes), None);
        assert_eq!(KeyFormat::ExtentsClassic.record(&bytes), None);
    }
}
