//! The forms in which sectors are stored.

use crate::ReadAt;
use crate::field::u8_at;

/// What starts a raw sector (ECMA-130, 14.1).
const SYNC: [u8; 12] = [0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0];
/// The identifier of ISO 9660's descriptors, in the second byte of sector 16.
const DESCRIPTOR: &[u8] = b"CD001";
/// Sectors that must start with the pattern for an image to count as raw: one alone may be chance.
const SECTORS_CHECKED: u64 = 2;

/// How sectors are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SectorFormat {
    /// Bytes from one sector to the next.
    pub stride_bytes: u64,
    /// Bytes before the synchronisation pattern's place or, where it is not stored, that are missing of header: 0 for whole sectors, 16 for
    /// those of 2336 bytes.
    pub missing_bytes: u64,
}

impl SectorFormat {
    /// User data alone.
    pub const COOKED: Self = Self::new(2048, 0);
    /// Whole sectors.
    pub const RAW: Self = Self::new(2352, 0);
    /// Whole sectors with 96 bytes of subchannel.
    pub const RAW_WITH_SUBCHANNEL: Self = Self::new(2448, 0);
    /// Mode 2 sectors without synchronisation and header.
    pub const MODE_2: Self = Self::new(2336, 16);

    const fn new(stride_bytes: u64, missing_bytes: u64) -> Self {
        Self {
            stride_bytes,
            missing_bytes,
        }
    }

    /// The form of an image that starts with a data track; `None` if it has none of those that need translation.
    ///
    /// Reads a few sectors. Whole sectors are known by their synchronisation pattern; those without it by the descriptor of ISO 9660 at its place.
    pub fn detect(source: &dyn ReadAt) -> Option<Self> {
        let raw = [Self::RAW, Self::RAW_WITH_SUBCHANNEL];
        if let Some(found) = raw.into_iter().find(|format| format.has_patterns(source)) {
            return Some(found);
        }
        let mode_2 = Self::MODE_2;
        let mut descriptor = [0; 5];
        let place = mode_2.stride_bytes * 16 + 8 + 1;
        source.read_exact_at(place, &mut descriptor).ok()?;
        (descriptor == *DESCRIPTOR).then_some(mode_2)
    }

    fn has_patterns(&self, source: &dyn ReadAt) -> bool {
        (0..SECTORS_CHECKED).all(|sector| {
            let mut start = [0; 16];
            source
                .read_exact_at(sector * self.stride_bytes, &mut start)
                .is_ok_and(|()| starts_sector(&start))
        })
    }

    /// Where user data starts in a stored sector, by what the sector says of itself; where it says nothing, as in `before`.
    ///
    /// Mode 1 has its data after the header, mode 2 after the subheader, in form 1 and form 2 alike. A sector of form 2 holds 2324 bytes of sound or
    /// pictures, of which a file system that counts in blocks of 2048 sees the first.
    pub fn user_offset(&self, sector: &[u8], before: u64) -> u64 {
        if self.missing_bytes != 0 {
            return 8;
        }
        if self.stride_bytes < Self::RAW.stride_bytes {
            return 0;
        }
        match u8_at(sector, 15).filter(|_| starts_sector(sector)) {
            Some(1) => 16,
            Some(2) => 24,
            _ => before,
        }
    }
}

fn starts_sector(bytes: &[u8]) -> bool {
    bytes.starts_with(&SYNC) && u8_at(bytes, 15).is_some_and(|mode| mode <= 2)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Raw sectors of a mode, with so many bytes of subchannel, around user data.
    pub(in super::super) fn raw(user: &[u8], mode: u8, subchannel: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for sector in user.chunks(2048) {
            let start = bytes.len();
            bytes.extend(SYNC);
            bytes.extend([0, 2, 0, mode]);
            if mode == 2 {
                bytes.extend([0, 0, 8, 0, 0, 0, 8, 0]);
            }
            bytes.extend(sector);
            bytes.resize(start + 2352 + subchannel, 0x5a);
        }
        bytes
    }

    fn detected(bytes: &Vec<u8>) -> Option<SectorFormat> {
        SectorFormat::detect(bytes)
    }

    #[test]
    fn every_form_is_recognised() {
        let user = vec![7; 2048 * 20];
        assert_eq!(detected(&raw(&user, 1, 0)), Some(SectorFormat::RAW));
        assert_eq!(detected(&raw(&user, 2, 0)), Some(SectorFormat::RAW));
        assert_eq!(
            detected(&raw(&user, 1, 96)),
            Some(SectorFormat::RAW_WITH_SUBCHANNEL)
        );
        let mut short = vec![0; 2336 * 20];
        short[2336 * 16 + 9..2336 * 16 + 14].copy_from_slice(DESCRIPTOR);
        assert_eq!(detected(&short), Some(SectorFormat::MODE_2));
        assert_eq!(detected(&user), None);
        assert_eq!(detected(&raw(&user[..2048], 1, 0)), None, "one sector is chance");
        assert_eq!(detected(&Vec::new()), None);
    }

    #[test]
    fn a_sector_tells_where_its_data_is() {
        let format = SectorFormat::RAW;
        assert_eq!(format.user_offset(&raw(&[1; 2048], 1, 0), 99), 16);
        assert_eq!(format.user_offset(&raw(&[1; 2048], 2, 0), 99), 24);
        assert_eq!(format.user_offset(&[0; 2352], 99), 99);
        assert_eq!(SectorFormat::MODE_2.user_offset(&[0; 2336], 99), 8);
        assert_eq!(SectorFormat::COOKED.user_offset(&[0; 2048], 99), 0);
    }
}
