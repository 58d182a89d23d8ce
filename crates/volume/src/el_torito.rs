//! The boot catalog of a disc (El Torito 1.0; UEFI 13.3.2.1): images of floppies and hard disks that a machine can start from.

use ntt_source::ReadAt;
use ntt_source::field::{le_u16, le_u32, u8_at};

use crate::bytes::read;

const SECTOR_BYTES: u64 = 2048;
/// Sectors of volume descriptors that are looked at for the boot record.
const DESCRIPTORS_MAX: u64 = 32;
/// Entries of a catalog that are looked at: one sector.
const ENTRY_BYTES: usize = 32;

/// What a boot image stands for (El Torito, figure 3, byte 1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Media {
    /// A program or a file system as it is; only its first sectors are loaded.
    NoEmulation,
    /// A floppy of so many bytes.
    Floppy(u64),
    /// A hard disk with its partition table.
    HardDisk,
}

/// An entry of a boot catalog.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BootImage {
    /// Its place in the catalog, from 1.
    pub number: u32,
    /// What it stands for.
    pub media: Media,
    /// First byte, from the start of the disc.
    pub offset: u64,
    /// Bytes that are loaded, which may be far fewer than it has.
    pub loaded_bytes: u64,
}

/// The boot images of a disc, in the order of its catalog; none if there is no valid catalog.
pub fn boot_images(source: &dyn ReadAt) -> Vec<BootImage> {
    images(source).unwrap_or_default()
}

fn images(source: &dyn ReadAt) -> Option<Vec<BootImage>> {
    let sector = u64::from(catalog_sector(source)?);
    let catalog = read::<2048>(source, sector.checked_mul(SECTOR_BYTES)?).ok()?;
    let is_valid = u8_at(&catalog, 0) == Some(1) && le_u16(&catalog, 30) == Some(0xaa55);
    let mut found = Vec::new();
    // The first entry after the validation entry is the default; others stand behind section headers.
    let mut is_image = true;
    for entry in catalog.chunks_exact(ENTRY_BYTES).skip(1).filter(|_| is_valid) {
        match u8_at(entry, 0)? {
            0x90 | 0x91 => is_image = true,
            0 | 0x88 if is_image => {
                let number = u32::try_from(found.len()).ok()?.checked_add(1)?;
                found.extend(image(entry, number));
            }
            // Extensions of an entry.
            _ => {}
        }
    }
    Some(found)
}

fn catalog_sector(source: &dyn ReadAt) -> Option<u32> {
    (16..DESCRIPTORS_MAX.checked_add(16)?).find_map(|sector| {
        let descriptor = read::<75>(source, SECTOR_BYTES.checked_mul(sector)?).ok()?;
        let named =
            descriptor.starts_with(b"\0CD001") && descriptor.get(7..30)? == b"EL TORITO SPECIFICATION";
        named.then(|| le_u32(&descriptor, 71)).flatten()
    })
}

fn image(entry: &[u8], number: u32) -> Option<BootImage> {
    let sector = le_u32(entry, 8).filter(|sector| *sector != 0)?;
    let media = match u8_at(entry, 1)? & 0x0f {
        0 => Media::NoEmulation,
        1 => Media::Floppy(1_228_800),
        2 => Media::Floppy(1_474_560),
        3 => Media::Floppy(2_949_120),
        4 => Media::HardDisk,
        _ => return None,
    };
    Some(BootImage {
        number,
        media,
        offset: u64::from(sector).checked_mul(SECTOR_BYTES)?,
        loaded_bytes: u64::from(le_u16(entry, 6)?).checked_mul(512)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(indicator: u8, media: u8, count: u16, sector: u32) -> Vec<u8> {
        let mut bytes = vec![0; 32];
        bytes[0] = indicator;
        bytes[1] = media;
        bytes[6..8].copy_from_slice(&count.to_le_bytes());
        bytes[8..12].copy_from_slice(&sector.to_le_bytes());
        bytes
    }

    fn disc(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0; 64 * 2048];
        let record = 17 * 2048;
        bytes[record + 1..record + 7].copy_from_slice(b"CD001\x01");
        bytes[record + 7..record + 30].copy_from_slice(b"EL TORITO SPECIFICATION");
        bytes[record + 71] = 30;
        let mut catalog = entry(1, 0, 0, 0);
        catalog[30..].copy_from_slice(&[0x55, 0xaa]);
        catalog.extend(entries.concat());
        bytes[30 * 2048..30 * 2048 + catalog.len()].copy_from_slice(&catalog);
        bytes
    }

    #[test]
    fn default_and_section_entries_are_numbered() {
        let images = boot_images(&disc(&[
            entry(0x88, 0, 4, 33),
            entry(0x91, 0xef, 1, 0),
            entry(0x88, 0, 0, 40),
            entry(0, 2, 1, 50),
            entry(0x44, 7, 7, 7),
        ]));
        let shown: Vec<_> = images
            .iter()
            .map(|image| (image.number, image.media, image.offset, image.loaded_bytes))
            .collect();
        assert_eq!(
            shown,
            [
                (1, Media::NoEmulation, 33 * 2048, 2048),
                (2, Media::NoEmulation, 40 * 2048, 0),
                (3, Media::Floppy(1_474_560), 50 * 2048, 512),
            ]
        );
    }

    #[test]
    fn a_broken_catalog_has_no_images() {
        let mut bytes = disc(&[entry(0x88, 0, 4, 33)]);
        assert_eq!(boot_images(&bytes).len(), 1);
        bytes[30 * 2048 + 30] = 0;
        assert_eq!(boot_images(&bytes), []);
        assert_eq!(boot_images(&vec![0; 100]), []);
    }
}
