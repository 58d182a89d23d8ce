//! Directory records (ECMA-119 9.1) and the file sections that they point to.

use ntt_model::Extent;
use ntt_model::extent::{ExtentKind, push_joined};
use ntt_source::field::{array, u8_at};

use super::disc::{Both, both_u32};

/// The record leads to a directory (ECMA-119 9.1.6, bit 1).
pub(super) const FLAG_DIRECTORY: u8 = 0x02;
/// The record is an associated file, in practice a Macintosh resource fork (bit 2).
pub(super) const FLAG_ASSOCIATED: u8 = 0x04;
/// More records of the same file follow (bit 7).
pub(super) const FLAG_MORE: u8 = 0x80;

/// Length of a record without identifier and system use.
const FIXED_BYTES: usize = 33;

/// A directory record, undecoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    bytes: &'a [u8],
    location: Both<u32>,
    size: Both<u32>,
    name_len: usize,
}

impl<'a> Record<'a> {
    /// The record at the start of `bytes`; `None` if its lengths contradict each other or pass the end.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let len = usize::from(u8_at(bytes, 0)?);
        let name_len = usize::from(u8_at(bytes, 32)?);
        let bytes = bytes.get(..len)?;
        if name_len == 0 || FIXED_BYTES.checked_add(name_len)? > len {
            return None;
        }
        Some(Self {
            bytes,
            location: both_u32(bytes, 2)?,
            size: both_u32(bytes, 10)?,
            name_len,
        })
    }

    /// Length of the record in bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    fn byte(&self, at: usize) -> u8 {
        u8_at(self.bytes, at).unwrap_or(0)
    }

    /// The file flags (ECMA-119 9.1.6).
    pub(super) fn flags(&self) -> u8 {
        self.byte(25)
    }

    /// The recording date, undecoded (ECMA-119 9.1.5).
    pub(super) fn date(&self) -> [u8; 7] {
        array(self.bytes, 18).unwrap_or([0; 7])
    }

    /// The identifier as recorded.
    pub(super) fn identifier(&self) -> &'a [u8] {
        let end = FIXED_BYTES.saturating_add(self.name_len);
        self.bytes.get(FIXED_BYTES..end).unwrap_or_default()
    }

    /// The system use area (ECMA-119 9.1.13): after the identifier and, if its length is even, a byte of padding.
    pub(super) fn system_use(&self) -> &'a [u8] {
        let end = FIXED_BYTES.saturating_add(self.name_len);
        let start = end.saturating_add(usize::from(self.name_len.is_multiple_of(2)));
        self.bytes.get(start..).unwrap_or_default()
    }

    /// Whether it is the record of the directory itself or of its parent (ECMA-119 6.8.2.2).
    pub(super) fn is_self(&self) -> bool {
        self.identifier() == [0]
    }

    /// Whether it is the record of the parent directory.
    pub(super) fn is_parent(&self) -> bool {
        self.identifier() == [1]
    }

    /// Whether location and length are recorded alike in both byte orders.
    pub(super) fn agrees(&self) -> bool {
        self.location.agrees() && self.size.agrees()
    }

    /// Whether the record may be one at all: noise agrees in neither field and points nowhere.
    pub(super) fn is_plausible(&self, blocks: u64) -> bool {
        let inside = |location: u32| u64::from(location) < blocks;
        self.location.agrees()
            || self.size.agrees()
            || inside(self.location.little)
            || inside(self.location.big)
    }

    /// Whether it leads nowhere: its location and length are 0.
    pub(super) fn is_empty(&self) -> bool {
        self.location.little == 0 && self.size.little == 0
    }

    /// The file section that it points to; `blocks` is the length of the image, to choose between contradicting fields.
    pub(super) fn section(&self, blocks: u64) -> Section {
        Section {
            block: self.location.choose(|block| u64::from(block) < blocks),
            len: self.size.choose(|size| u64::from(size) / 2048 <= blocks),
            attribute_blocks: self.byte(1),
            unit_blocks: self.byte(26),
            gap_blocks: self.byte(27),
        }
    }
}

/// A run of a file's bytes (ECMA-119 6.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Section {
    /// Logical block where it starts.
    pub(super) block: u32,
    /// Bytes of the file in it.
    pub(super) len: u32,
    /// Blocks of the extended attribute record that stands before the bytes (ECMA-119 6.5.1, 9.1.3).
    pub(super) attribute_blocks: u8,
    /// Blocks of a file unit; 0 if the section is not interleaved (ECMA-119 6.4.3).
    pub(super) unit_blocks: u8,
    /// Blocks between two file units.
    pub(super) gap_blocks: u8,
}

impl Section {
    /// Where the bytes start, from the start of the volume.
    pub(super) fn data_offset(&self, block_bytes: u64) -> u64 {
        u64::from(self.block)
            .saturating_add(self.attribute_len_blocks())
            .saturating_mul(block_bytes)
    }

    /// An interleaved file's attribute record takes the first file unit and the gap after it (ECMA-119 6.4.4).
    fn attribute_len_blocks(&self) -> u64 {
        match (self.attribute_blocks, self.unit_blocks) {
            (0, _) => 0,
            (blocks, 0) => u64::from(blocks),
            (_, unit) => u64::from(unit).saturating_add(u64::from(self.gap_blocks)),
        }
    }

    /// Appends the section's extents; `base` is where block 0 lies in the image. At most `max` extents are kept; false if there are more.
    pub(super) fn extents(&self, place: Place, logical: u64, max: u64, out: &mut Vec<Extent>) -> bool {
        let start = place.base.saturating_add(self.data_offset(place.block_bytes));
        let len = u64::from(self.len);
        let unit = u64::from(self.unit_blocks).saturating_mul(place.block_bytes);
        if unit == 0 {
            push_joined(out, extent(logical, start, len));
            return true;
        }
        let stride = unit.saturating_add(u64::from(self.gap_blocks).saturating_mul(place.block_bytes));
        let (mut done, mut at) = (0, start);
        while done < len {
            if u64::try_from(out.len()).unwrap_or(u64::MAX) >= max {
                return false;
            }
            let step = unit.min(len.saturating_sub(done));
            push_joined(out, extent(logical.saturating_add(done), at, step));
            done = done.saturating_add(step);
            at = at.saturating_add(stride);
        }
        true
    }
}

/// Where blocks lie in the image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Image offset of block 0.
    pub(super) base: u64,
    /// Logical block size.
    pub(super) block_bytes: u64,
}

fn extent(logical_offset: u64, image_offset: u64, len: u64) -> Extent {
    Extent {
        logical_offset,
        image_offset,
        len,
        kind: ExtentKind::Data,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A record with the given identifier, location, size, flags and system use.
    pub(in super::super) fn record(
        name: &[u8],
        block: u32,
        size: u32,
        flags: u8,
        system_use: &[u8],
    ) -> Vec<u8> {
        let mut bytes = vec![0, 0];
        bytes.extend(block.to_le_bytes());
        bytes.extend(block.to_be_bytes());
        bytes.extend(size.to_le_bytes());
        bytes.extend(size.to_be_bytes());
        bytes.extend([108, 4, 15, 12, 34, 56, 0, flags, 0, 0, 1, 0, 0, 1]);
        bytes.push(u8::try_from(name.len()).unwrap());
        bytes.extend(name);
        if name.len().is_multiple_of(2) {
            bytes.push(0);
        }
        bytes.extend(system_use);
        if !bytes.len().is_multiple_of(2) {
            bytes.push(0);
        }
        bytes[0] = u8::try_from(bytes.len()).unwrap();
        bytes
    }

    #[test]
    fn fields_are_where_the_standard_says() {
        let bytes = record(b"AB.C;1", 20, 3000, FLAG_DIRECTORY, b"XY");
        let record = Record::parse(&bytes).unwrap();
        assert_eq!(record.identifier(), b"AB.C;1");
        assert_eq!(record.system_use(), b"XY\0"[..record.system_use().len()].to_vec());
        assert_eq!(record.flags(), FLAG_DIRECTORY);
        let section = record.section(100);
        assert_eq!((section.block, section.len), (20, 3000));
        assert!(record.agrees());
    }

    #[test]
    fn lengths_that_contradict_each_other_are_refused() {
        let good = record(b"A", 20, 3000, 0, b"");
        for (at, value) in [(0, 33), (32, 0), (32, 200), (0, 255)] {
            let mut bytes = good.clone();
            bytes[at] = value;
            assert!(Record::parse(&bytes).is_none(), "byte {at} = {value}");
        }
    }

    #[test]
    fn the_location_inside_the_image_wins_and_noise_is_not_plausible() {
        let mut bytes = record(b"A", 20, 3000, 0, b"");
        bytes[5] = 0xff;
        let record = Record::parse(&bytes).unwrap();
        assert!(!record.agrees());
        assert_eq!(record.section(100).block, 20);
        let noise: Vec<u8> = (0..80_u8).map(|at| at.wrapping_mul(37) | 0x42).collect();
        assert!(Record::parse(&noise).is_none_or(|record| !record.is_plausible(1000)));
    }

    #[test]
    fn interleaved_sections_skip_the_gaps_and_the_attribute_record() {
        let section = Section {
            block: 10,
            len: 5000,
            attribute_blocks: 1,
            unit_blocks: 1,
            gap_blocks: 2,
        };
        let place = Place {
            base: 100,
            block_bytes: 2048,
        };
        let mut extents = Vec::new();
        assert!(section.extents(place, 0, 100, &mut extents));
        let at = |block: u64| 100 + block * 2048;
        assert_eq!(
            extents,
            [
                extent(0, at(13), 2048),
                extent(2048, at(16), 2048),
                extent(4096, at(19), 904)
            ]
        );
        extents.clear();
        assert!(!section.extents(place, 0, 2, &mut extents));
        assert_eq!(extents.len(), 2);
    }
}
