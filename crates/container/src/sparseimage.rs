//! Apple's sparse disk images (`.sparseimage`).
//!
//! A header of 4096 bytes with an array: for each band that is stored, in the order of the file, which band of the image it is, counted from 1. Bands that
//! are not in it are zeros. Source: J. Metz, *Mac OS sparse image format* (libmodi).

use std::collections::BTreeMap;
use std::sync::Arc;

use ntt_source::{ReadAt, field};

use crate::layout::{Layout, Run, image, read_upto};
use crate::open::{Found, OpenError, Subject};

const FORMAT: &str = "Apple sparse image";
const MAGIC: &[u8] = b"sprs";
const HEADER_BYTES: u64 = 4096;
const ARRAY_AT: usize = 64;
const SECTOR: u64 = 512;
/// Sectors of a band: 1 MiB in practice, more for large images.
const BAND_SECTORS: std::ops::RangeInclusive<u64> = 1..=1 << 21;

pub(crate) fn matches(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

pub(crate) fn open(subject: &Subject<'_>) -> Result<Found, OpenError> {
    let header = read_upto(subject.source, 0, HEADER_BYTES)
        .map_err(|error| OpenError::unreadable(FORMAT, "the header", &error))?;
    let bands = Bands::parse(subject.source.clone(), &header)
        .ok_or_else(|| OpenError::corrupt(FORMAT, "the header makes no sense"))?;
    let mut layer = subject.layer(FORMAT);
    layer.block_bytes = bands.band_bytes;
    Ok(Found::new(layer, Vec::new(), image(bands)))
}

struct Bands {
    source: Arc<dyn ReadAt>,
    band_bytes: u64,
    size: u64,
    /// Where each band is stored in the file.
    stored: BTreeMap<u64, u64>,
}

impl Bands {
    fn parse(source: Arc<dyn ReadAt>, header: &[u8]) -> Option<Self> {
        let band_sectors = u64::from(field::be_u32(header, 8)?);
        let size = u64::from(field::be_u32(header, 16)?).checked_mul(SECTOR)?;
        if !BAND_SECTORS.contains(&band_sectors) || size == 0 {
            return None;
        }
        let band_bytes = band_sectors.checked_mul(SECTOR)?;
        let numbers = header
            .get(ARRAY_AT..)?
            .chunks_exact(4)
            .filter_map(|entry| field::be_u32(entry, 0));
        let stored = (0_u64..).zip(numbers).filter_map(|(slot, number)| {
            let band = u64::from(number).checked_sub(1)?;
            Some((band, slot.checked_mul(band_bytes)?.checked_add(HEADER_BYTES)?))
        });
        Some(Self {
            source,
            band_bytes,
            size,
            stored: stored.collect(),
        })
    }
}

impl Layout for Bands {
    fn len(&self) -> u64 {
        self.size
    }

    fn locate(&self, offset: u64) -> Run<'_> {
        let band = offset.checked_div(self.band_bytes).unwrap_or(0);
        let within = offset.checked_rem(self.band_bytes).unwrap_or(0);
        let len = self.band_bytes.saturating_sub(within);
        match self.stored.get(&band) {
            None => Run::Zeros(len),
            Some(start) => {
                let at = start.saturating_add(within);
                // The last band of the file may be stored up to the end of the image only.
                let left = self.source.len().saturating_sub(at);
                let is_last = self.size.saturating_sub(offset) <= len;
                match left {
                    0 if is_last => Run::Zeros(len),
                    _ => Run::Stored {
                        source: &self.source,
                        offset: at,
                        len: if is_last { len.min(left.max(1)) } else { len },
                    },
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_stand_in_any_order_and_others_are_zeros() {
        let mut file = vec![0; 4096];
        file[..4].copy_from_slice(b"sprs");
        file[8..12].copy_from_slice(&2_u32.to_be_bytes());
        file[16..20].copy_from_slice(&7_u32.to_be_bytes());
        file[64..68].copy_from_slice(&4_u32.to_be_bytes());
        file[68..72].copy_from_slice(&1_u32.to_be_bytes());
        file.extend([0xcc; 1024]);
        file.extend([0xaa; 1024]);
        let bands = Bands::parse(Arc::new(file.clone()), &file[..4096]).expect("bands");
        let image = image(bands);
        let mut found = vec![1; 3584];
        image.read_exact_at(0, &mut found).expect("read");
        let expected = [vec![0xaa; 1024], vec![0; 2048], vec![0xcc; 512]].concat();
        assert!(found == expected);
        assert!(Bands::parse(Arc::new(Vec::new()), &[0; 4096]).is_none());
    }
}
