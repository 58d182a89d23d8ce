//! A volume that is spread over its source.

use ntt_model::mapping::{Found, Run};
use ntt_model::{ByteRange, Mapping};

use crate::{ReadAt, ReadError, buffer_len};

/// The volume that `mapping` makes of the bytes of `inner`. What is nowhere in it reads as never rescued; what parity gives is rebuilt.
#[derive(Debug, Clone)]
pub struct Mapped<S> {
    inner: S,
    mapping: Mapping,
}

impl<S: ReadAt> Mapped<S> {
    /// A volume over `inner`, in whose bytes the mapping counts.
    pub const fn new(inner: S, mapping: Mapping) -> Self {
        Self { inner, mapping }
    }

    /// Where its bytes lie.
    pub const fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    fn read_run(&self, offset: u64, run: &Run, buffer: &mut [u8]) -> Result<(), ReadError> {
        let here = |error: ReadError| in_volume(error, offset, run.len);
        match &run.found {
            Found::At(at) => self.inner.read_exact_at(*at, buffer).map_err(here),
            Found::Rebuilt(others) => self.rebuild(others, buffer).map_err(here),
            Found::Absent => Err(ReadError::Unread {
                range: ByteRange::new(offset, buffer_len(buffer)),
            }),
        }
    }

    fn rebuild(&self, others: &[u64], buffer: &mut [u8]) -> Result<(), ReadError> {
        buffer.fill(0);
        let mut other = vec![0; buffer.len()];
        for at in others {
            self.inner.read_exact_at(*at, &mut other)?;
            for (byte, more) in buffer.iter_mut().zip(&other) {
                *byte ^= more;
            }
        }
        Ok(())
    }
}

/// The error of a read of `len` bytes for the byte `offset` of the volume, in its coordinates: what the source says of its own places is said of
/// all that was asked.
fn in_volume(error: ReadError, offset: u64, len: u64) -> ReadError {
    let range = ByteRange::new(offset, len);
    match error {
        ReadError::Io { source, .. } => ReadError::Io { offset, len, source },
        ReadError::Corrupt { what, .. } => ReadError::Corrupt { range, what },
        // Beyond the end of the image, but not of the volume.
        ReadError::Unread { .. } | ReadError::BeyondEnd { .. } => ReadError::Unread { range },
    }
}

impl<S: ReadAt> ReadAt for Mapped<S> {
    fn len(&self) -> u64 {
        self.mapping.len()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let len = buffer_len(buffer);
        match offset.checked_add(len) {
            Some(end) if end <= self.len() => {}
            _ => return Err(ReadError::beyond_end(offset, len, self.len())),
        }
        let (mut position, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let Some(mut run) = self.mapping.run(position) else {
                return Err(ReadError::beyond_end(offset, len, self.len()));
            };
            run.len = run.len.min(buffer_len(rest));
            let taken = usize::try_from(run.len).unwrap_or(rest.len());
            let (now, later) = rest.split_at_mut(taken);
            self.read_run(position, &run, now)?;
            position += run.len;
            rest = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ntt_model::mapping::{ParityLayout, Place};

    use super::*;

    #[test]
    fn a_volume_reads_through_its_segments() {
        let mut mapping = Mapping::default();
        mapping.push(2, Place::Linear(4));
        mapping.push(2, Place::Linear(0));
        mapping.push(2, Place::Absent);
        let volume = Mapped::new(vec![0_u8, 1, 2, 3, 4, 5], mapping);
        let mut bytes = [0; 4];
        assert!(volume.read_exact_at(0, &mut bytes).is_ok());
        assert_eq!(bytes, [4, 5, 0, 1]);
        let error = volume.read_exact_at(2, &mut bytes).unwrap_err();
        assert!(matches!(error, ReadError::Unread { range } if range == ByteRange::new(4, 2)));
        assert!(matches!(
            volume.read_exact_at(3, &mut bytes),
            Err(ReadError::BeyondEnd { .. })
        ));
    }

    /// Every byte of a RAID5 is the same whichever column is absent.
    #[test]
    fn parity_gives_what_an_absent_column_held() {
        let data: Vec<u8> = (0..48).map(|byte| byte * 5 + 1).collect();
        let whole = vec![Some(0), Some(24), Some(48)];
        let mapping = |columns: Vec<Option<u64>>| {
            let mut mapping = Mapping::default();
            let layout = ParityLayout::LeftSymmetric;
            mapping.push(
                48,
                Place::Parity {
                    chunk_bytes: 4,
                    columns,
                    layout,
                    parities: 1,
                },
            );
            mapping
        };
        let mut disk = vec![0_u8; 72];
        for (offset, byte) in (0_u64..).zip(&data) {
            let Some(Run {
                found: Found::At(at), ..
            }) = mapping(whole.clone()).run(offset)
            else {
                panic!("a place")
            };
            disk[usize::try_from(at).unwrap()] = *byte;
        }
        // Parity stands where no data does: each row of the three columns gives zero together.
        for row in 0..24_usize {
            let parity = (2 - (row / 4) % 3) * 24 + row;
            disk[parity] = (0..3)
                .map(|column| column * 24 + row)
                .filter(|at| *at != parity)
                .fold(0, |sum, at| sum ^ disk[at]);
        }
        for absent in 0..3 {
            let mut columns = whole.clone();
            columns[absent] = None;
            let volume = Mapped::new(disk.clone(), mapping(columns));
            let mut bytes = vec![0; 48];
            assert!(volume.read_exact_at(0, &mut bytes).is_ok());
            assert_eq!(bytes, data, "column {absent}");
        }
    }
}
