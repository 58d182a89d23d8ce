//! Facts of the disk.

use ntt_source::{ReadAt, field};

use super::FORMAT;
use crate::layer::hex;
use crate::layout::read_upto;
use crate::open::OpenError;
use crate::text::utf16_le;

/// The table, and the items behind it (2.6).
const TABLE_BYTES: u64 = 64 << 10;
const ITEM_BYTES_MAX: u64 = 1 << 20;
const ITEMS_MAX: usize = 2047;
const FILE_PARAMETERS: [u8; 16] = [
    0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b,
];
const DISK_SIZE: [u8; 16] = [
    0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8,
];
const SECTOR_SIZE: [u8; 16] = [
    0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f,
];
const DISK_ID: [u8; 16] = [
    0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46,
];
const PARENT: [u8; 16] = [
    0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c,
];
const BLOCK_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=256 << 20;

#[derive(Default)]
pub(super) struct Metadata {
    pub(super) block_bytes: u64,
    pub(super) is_fixed: bool,
    pub(super) has_parent: bool,
    pub(super) size: u64,
    pub(super) sector_bytes: u64,
    pub(super) id: [u8; 16],
    /// Names of the parent, the one relative to this file first.
    pub(super) parents: Vec<Vec<u8>>,
    /// What the parent's header must have as the id of its data: one of these.
    pub(super) linkages: Vec<String>,
}

impl Metadata {
    pub(super) fn read(source: &dyn ReadAt, region: (u64, u64)) -> Result<Self, OpenError> {
        let unreadable = |error| OpenError::unreadable(FORMAT, "the metadata", &error);
        let table = read_upto(source, region.0, TABLE_BYTES.min(region.1)).map_err(unreadable)?;
        if !table.starts_with(b"metadata") {
            return Err(OpenError::corrupt(FORMAT, "there is no table of metadata"));
        }
        let mut found = Self::default();
        let count = field::le_u16(&table, 10).map_or(0, usize::from);
        let entries = table.get(32..).unwrap_or_default().chunks_exact(32);
        for entry in entries.take(count.min(ITEMS_MAX)) {
            let place = (field::le_u32(entry, 16), field::le_u32(entry, 20));
            let (Some(offset), Some(len)) = place else {
                continue;
            };
            let len = u64::from(len).min(ITEM_BYTES_MAX);
            let item =
                read_upto(source, region.0.saturating_add(u64::from(offset)), len).map_err(unreadable)?;
            found.item(field::array(entry, 0).unwrap_or_default(), &item);
        }
        let is_sane = BLOCK_BYTES.contains(&found.block_bytes)
            && found.block_bytes.is_power_of_two()
            && matches!(found.sector_bytes, 512 | 4096);
        if is_sane {
            Ok(found)
        } else {
            Err(OpenError::corrupt(
                FORMAT,
                "sizes of blocks or sectors are missing or make no sense",
            ))
        }
    }

    fn item(&mut self, id: [u8; 16], bytes: &[u8]) {
        match id {
            FILE_PARAMETERS => {
                self.block_bytes = field::le_u32(bytes, 0).map_or(0, u64::from);
                let flags = field::le_u32(bytes, 4).unwrap_or(0);
                (self.is_fixed, self.has_parent) = (flags & 1 != 0, flags & 2 != 0);
            }
            DISK_SIZE => self.size = field::le_u64(bytes, 0).unwrap_or(0),
            SECTOR_SIZE => self.sector_bytes = field::le_u32(bytes, 0).map_or(0, u64::from),
            DISK_ID => self.id = field::array(bytes, 0).unwrap_or_default(),
            PARENT => {
                let locator = Locator::parse(bytes);
                self.parents = locator.parents();
                self.linkages = locator.linkages();
            }
            _ => {}
        }
    }
}

/// Keys and values that say where a parent is, and what it must be (2.6.2.6).
struct Locator(Vec<(Vec<u8>, Vec<u8>)>);

impl Locator {
    fn parse(bytes: &[u8]) -> Self {
        let count = field::le_u16(bytes, 18).map_or(0, usize::from);
        let entries = bytes.get(20..).unwrap_or_default().chunks_exact(12).take(count);
        let text = |at: Option<u32>, len: Option<u16>| {
            let start = usize::try_from(at?).ok()?;
            let end = start.checked_add(usize::from(len?))?;
            Some(utf16_le(bytes.get(start..end)?))
        };
        let pairs = entries.filter_map(|entry| {
            let key = text(field::le_u32(entry, 0), field::le_u16(entry, 8))?;
            let value = text(field::le_u32(entry, 4), field::le_u16(entry, 10))?;
            Some((key, value))
        });
        Self(pairs.collect())
    }

    fn value(&self, name: &[u8]) -> Option<&[u8]> {
        let mut found = self
            .0
            .iter()
            .filter(|(key, value)| key == name && !value.is_empty());
        found.next().map(|(_, value)| value.as_slice())
    }

    /// The names of the parent, in the order in which they are of use here.
    fn parents(&self) -> Vec<Vec<u8>> {
        let wanted: [&[u8]; 3] = [b"relative_path", b"absolute_win32_path", b"volume_path"];
        let named = |name: &[u8]| self.value(name).map(<[u8]>::to_vec);
        wanted.into_iter().filter_map(named).collect()
    }

    /// The ids of the parent's data under which the disk is valid: the second stands there while the parent is being written.
    fn linkages(&self) -> Vec<String> {
        let wanted: [&[u8]; 2] = [b"parent_linkage", b"parent_linkage2"];
        let linkage = |name: &[u8]| {
            let text = String::from_utf8_lossy(self.value(name)?).to_ascii_lowercase();
            let text = text.trim_matches(['{', '}', ' ']).to_owned();
            (text.chars().any(|digit| !matches!(digit, '0' | '-'))).then_some(text)
        };
        wanted.into_iter().filter_map(linkage).collect()
    }
}

/// A GUID as it is written.
pub(super) fn guid(id: [u8; 16]) -> String {
    let [a, b, c, d, e, f, g, h, rest @ ..] = id;
    let rest = hex(&rest);
    let (first, last) = rest.split_at_checked(4).unwrap_or_default();
    format!(
        "{:08x}-{:04x}-{:04x}-{first}-{last}",
        u32::from_le_bytes([a, b, c, d]),
        u16::from_le_bytes([e, f]),
        u16::from_le_bytes([g, h])
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_written_with_its_numbers_in_order() {
        // The first of the regions, as [MS-VHDX] names it.
        let id = [
            0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08,
        ];
        assert_eq!(guid(id), "2dc27766-f623-4200-9d64-115e9bfd4a08");
    }
}
