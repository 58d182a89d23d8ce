//! The user data of a track as one source.

use ntt_model::ByteRange;

use super::{SectorFormat, USER_BYTES};
use crate::{ReadAt, ReadError, buffer_len};

/// Sectors read at a time.
const SECTORS_MAX: u64 = 64;

/// Shows the user data of the sectors in `range` of an image, 2048 bytes each, as one source that starts at 0.
///
/// A sector whose header cannot be understood is taken to be of the mode of the first one. Errors are those of the image, in the coordinates of
/// this source and widened to whole sectors, since what makes a raw sector unreadable makes its user data so.
#[derive(Debug, Clone)]
pub struct Cooked<S> {
    inner: S,
    format: SectorFormat,
    range: ByteRange,
    /// Where user data starts in a sector that says nothing of itself.
    user_offset: u64,
}

impl<S: ReadAt> Cooked<S> {
    /// The track that `range` of `inner` holds; a range that passes the end is cut there (R12).
    pub fn new(inner: S, format: SectorFormat, range: ByteRange) -> Self {
        let offset = range.offset.min(inner.len());
        let range = ByteRange::new(offset, range.len.min(inner.len() - offset));
        let mut cooked = Self {
            inner,
            format,
            range,
            user_offset: format.user_offset(&[], 16),
        };
        let mut first = vec![0; usize::try_from(format.stride_bytes).unwrap_or(0)];
        if cooked.inner.read_exact_at(range.offset, &mut first).is_ok() {
            cooked.user_offset = format.user_offset(&first, cooked.user_offset);
        }
        cooked
    }

    /// Where the bytes lie in the image, one run a sector (one run in all if nothing but user data is stored), in order. Sectors that cannot be read
    /// are taken to be of the mode of the first one.
    pub fn image_ranges(&self, range: ByteRange) -> impl Iterator<Item = ByteRange> {
        let end = range.end().min(self.len());
        let mut position = range.offset;
        std::iter::from_fn(move || {
            if position >= end {
                return None;
            }
            let (sector, within) = (position / USER_BYTES, position % USER_BYTES);
            let step = (USER_BYTES - within).min(end - position);
            let start = self.range.offset + sector * self.format.stride_bytes;
            position += step;
            Some(ByteRange::new(start + self.offset_in(start) + within, step))
        })
    }

    /// Where user data starts in the sector at a byte of the image.
    fn offset_in(&self, start: u64) -> u64 {
        let mut head = [0; 16];
        match self.inner.read_exact_at(start, &mut head) {
            Ok(()) => self.format.user_offset(&head, self.user_offset),
            Err(_) => self.user_offset,
        }
    }

    /// Fills `buffer`, which lies in the sectors from `first` on, `skip` bytes into the first.
    fn sectors(&self, first: u64, skip: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let count = (skip + buffer_len(buffer)).div_ceil(USER_BYTES);
        let stride = self.format.stride_bytes;
        let mut raw = vec![0; usize::try_from(count * stride).unwrap_or(0)];
        let whole = self
            .inner
            .read_exact_at(self.range.offset + first * stride, &mut raw);
        let mut rest = buffer;
        let mut skip = skip;
        let stride_len = usize::try_from(stride).unwrap_or(1);
        for (sector, bytes) in (first..).zip(raw.chunks_mut(stride_len)) {
            if whole.is_err() {
                let read = self
                    .inner
                    .read_exact_at(self.range.offset + sector * stride, bytes);
                read.map_err(|error| of_sector(error, sector))?;
            }
            let user = self.format.user_offset(bytes, self.user_offset) + skip;
            let len = rest.len().min(usize::try_from(USER_BYTES - skip).unwrap_or(0));
            let (now, later) = rest.split_at_mut(len);
            let from = usize::try_from(user).unwrap_or(usize::MAX);
            let found = from.checked_add(len).and_then(|to| bytes.get(from..to));
            now.copy_from_slice(
                found.ok_or_else(|| ReadError::beyond_end(sector * USER_BYTES, USER_BYTES, self.len()))?,
            );
            rest = later;
            skip = 0;
        }
        Ok(())
    }
}

/// The error of a raw sector as one of its user data.
fn of_sector(error: ReadError, sector: u64) -> ReadError {
    let (offset, len) = (sector * USER_BYTES, USER_BYTES);
    match error {
        ReadError::Unread { .. } => ReadError::Unread {
            range: ByteRange::new(offset, len),
        },
        ReadError::Corrupt { what, .. } => ReadError::Corrupt {
            range: ByteRange::new(offset, len),
            what,
        },
        ReadError::Io { source, .. } => ReadError::Io { offset, len, source },
        ReadError::BeyondEnd { .. } => ReadError::beyond_end(offset, len, offset),
    }
}

impl<S: ReadAt> ReadAt for Cooked<S> {
    fn len(&self) -> u64 {
        self.range.len / self.format.stride_bytes * USER_BYTES
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let len = buffer_len(buffer);
        if offset.checked_add(len).is_none_or(|end| end > self.len()) {
            return Err(ReadError::beyond_end(offset, len, self.len()));
        }
        let mut position = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let skip = position % USER_BYTES;
            let step = usize::try_from(SECTORS_MAX * USER_BYTES - skip)
                .unwrap_or(0)
                .min(rest.len());
            let (now, later) = rest.split_at_mut(step);
            self.sectors(position / USER_BYTES, skip, now)?;
            position += buffer_len(now);
            rest = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::format::tests::raw;
    use super::*;
    use crate::Masked;

    fn user(sectors: usize) -> Vec<u8> {
        (0..sectors * 2048)
            .map(|at| u8::try_from(at * 31 % 251).expect("a byte"))
            .collect()
    }

    fn all(len: usize) -> ByteRange {
        ByteRange::new(0, u64::try_from(len).expect("fits"))
    }

    proptest! {
        /// Whatever is read comes from where `image_ranges` says it lies.
        #[test]
        fn any_read_gives_the_user_data(offset in 0_usize..6000, len in 0_usize..9000, mode in 1_u8..3, subchannel in 0_usize..2) {
            let user = user(9);
            let image = raw(&user, mode, subchannel * 96);
            let format = SectorFormat::detect(&image).expect("raw");
            let cooked = Cooked::new(&image, format, all(image.len()));
            let mut buffer = vec![0; len];
            cooked.read_exact_at(u64::try_from(offset).expect("fits"), &mut buffer).expect("read");
            prop_assert_eq!(&buffer, &user[offset..offset + len]);
            let range = ByteRange::new(u64::try_from(offset).expect("fits"), u64::try_from(len).expect("fits"));
            let gathered: Vec<u8> = cooked
                .image_ranges(range)
                .flat_map(|range| {
                    let start = usize::try_from(range.offset).expect("fits");
                    image[start..start + usize::try_from(range.len).expect("fits")].to_vec()
                })
                .collect();
            prop_assert_eq!(&gathered, &buffer);
        }
    }

    /// R11: an unread byte anywhere in a raw sector makes that sector's user data unread, and no other.
    #[test]
    fn r11_an_unread_raw_sector_is_unread_user_data() {
        let user = user(4);
        let image = raw(&user, 1, 0);
        let range = all(image.len());
        let masked = Masked::new(image, vec![ByteRange::new(2352 * 2 + 5, 1)]);
        let cooked = Cooked::new(masked, SectorFormat::RAW, range);
        let mut buffer = vec![0; 8192];
        match cooked.read_exact_at(0, &mut buffer) {
            Err(ReadError::Unread { range }) => assert_eq!(range, ByteRange::new(4096, 2048)),
            other => panic!("{other:?}"),
        }
        let mut sector = vec![0; 2048];
        cooked.read_exact_at(6144, &mut sector).expect("the next one");
        assert_eq!(sector, user[6144..]);
    }

    /// R12: a track that passes the end has the whole sectors that are there.
    #[test]
    fn r12_a_cut_track_ends_with_its_last_whole_sector() {
        let image = raw(&user(4), 2, 0);
        let cut = image[..image.len() - 1].to_vec();
        let cooked = Cooked::new(&cut, SectorFormat::RAW, ByteRange::new(0, u64::MAX));
        assert_eq!(cooked.len(), 3 * 2048);
        let mut byte = [0];
        assert!(matches!(
            cooked.read_exact_at(3 * 2048, &mut byte),
            Err(ReadError::BeyondEnd { .. })
        ));
    }

    /// Modes may change within a track, and a header may be broken.
    #[test]
    fn every_sector_is_taken_by_its_own_mode() {
        let user = user(3);
        let mut image = raw(&user[..2048], 1, 0);
        image.extend(raw(&user[2048..4096], 2, 0));
        let mut broken = raw(&user[4096..], 1, 0);
        broken[..16].fill(0);
        image.extend(broken);
        let cooked = Cooked::new(&image, SectorFormat::RAW, all(image.len()));
        let mut buffer = vec![0; 3 * 2048];
        cooked.read_exact_at(0, &mut buffer).expect("read");
        assert_eq!(buffer, user);
    }
}
