//! A volume that is spread over its source.

use ntt_model::mapping::{Found, Redundancy, Run};
use ntt_model::{ByteRange, Mapping};

use crate::{ReadAt, ReadError, buffer_len, parity};

/// The step in which the good parts of a run are looked for that cannot be had as a whole.
const SECTOR_BYTES: usize = 512;

/// The volume that `mapping` makes of the bytes of `inner`. What is nowhere in it reads as never rescued; what is absent or cannot be read, and stands
/// elsewhere too or can be computed from parity, is given from there.
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
}

/// Reads from the volume that `mapping` makes of `source`, as [`Mapped`] does.
pub(crate) fn read_mapped(
    source: &dyn ReadAt,
    mapping: &Mapping,
    offset: u64,
    buffer: &mut [u8],
) -> Result<(), ReadError> {
    let len = buffer_len(buffer);
    match offset.checked_add(len) {
        Some(end) if end <= mapping.len() => {}
        _ => return Err(ReadError::beyond_end(offset, len, mapping.len())),
    }
    let (mut position, mut rest) = (offset, buffer);
    while !rest.is_empty() {
        let Some(mut run) = mapping.run(position) else {
            return Err(ReadError::beyond_end(offset, len, mapping.len()));
        };
        run.len = run.len.min(buffer_len(rest));
        let taken = usize::try_from(run.len).unwrap_or(rest.len());
        let (now, later) = rest.split_at_mut(taken);
        read_run(source, mapping, position, now)?;
        position += run.len;
        rest = later;
    }
    Ok(())
}

/// The end of the zeros from `offset` on of which `source` knows without a read, in the volume that `mapping` makes of it; no further than one run goes.
pub(crate) fn mapped_zeros_until(source: &dyn ReadAt, mapping: &Mapping, offset: u64) -> u64 {
    match mapping.run(offset) {
        Some(Run {
            found: Found::At(at),
            len,
        }) => {
            let zeros = source.zeros_until(at).saturating_sub(at);
            offset.saturating_add(zeros.min(len))
        }
        _ => offset,
    }
}

/// Reads a part of one run.
fn read_run(source: &dyn ReadAt, mapping: &Mapping, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
    let range = ByteRange::new(offset, buffer_len(buffer));
    let read = match mapping.run(offset).map(|run| run.found) {
        Some(Found::At(at)) => source
            .read_exact_at(at, buffer)
            .map_err(|error| in_volume(error, range)),
        _ => Err(ReadError::Unread { range }),
    };
    match (read, mapping.redundancy(offset)) {
        (Ok(()), _) => Ok(()),
        (Err(error), Redundancy::None) => Err(error),
        (Err(error), elsewhere) => match from_elsewhere(source, &elsewhere, buffer, error) {
            Err(_) if buffer.len() > SECTOR_BYTES => in_halves(source, mapping, offset, buffer),
            other => other,
        },
    }
}

/// What is unread of one column can lie beside what is unread of another: each is then had from where it is not.
fn in_halves(
    source: &dyn ReadAt,
    mapping: &Mapping,
    offset: u64,
    buffer: &mut [u8],
) -> Result<(), ReadError> {
    let half = (buffer.len() / 2)
        .next_multiple_of(SECTOR_BYTES)
        .min(buffer.len() - 1);
    let (first, second) = buffer.split_at_mut(half);
    read_run(source, mapping, offset, first)?;
    read_run(source, mapping, offset + buffer_len(first), second)
}

fn from_elsewhere(
    source: &dyn ReadAt,
    elsewhere: &Redundancy,
    buffer: &mut [u8],
    error: ReadError,
) -> Result<(), ReadError> {
    match elsewhere {
        Redundancy::None => Err(error),
        Redundancy::Copies(copies) => {
            let is_read = copies.iter().any(|at| source.read_exact_at(*at, buffer).is_ok());
            if is_read { Ok(()) } else { Err(error) }
        }
        Redundancy::Parity(stripe) => parity::rebuild(source, stripe, buffer, error),
    }
}

/// The error of a read of a part of the volume, in its coordinates: what the source says of its own places is said of all that was asked.
fn in_volume(error: ReadError, range: ByteRange) -> ReadError {
    match error {
        ReadError::Io { source, .. } => ReadError::Io {
            offset: range.offset,
            len: range.len,
            source,
        },
        ReadError::Corrupt { what, .. } => ReadError::Corrupt { range, what },
        // Beyond the end of the image, but not of the volume.
        ReadError::Unread { .. } | ReadError::BeyondEnd { .. } => ReadError::Unread { range },
    }
}

impl<S: ReadAt> ReadAt for Mapped<S> {
    fn len(&self) -> u64 {
        self.mapping.len()
    }

    fn zeros_until(&self, offset: u64) -> u64 {
        mapped_zeros_until(&self.inner, &self.mapping, offset)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        read_mapped(&self.inner, &self.mapping, offset, buffer)
    }
}

#[cfg(test)]
mod tests {
    use ntt_model::mapping::{ParityLayout, Place};

    use super::*;
    use crate::Masked;

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

    #[test]
    fn holes_are_known_as_far_as_a_segment_goes() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(1 << 20).expect("a hole");
        let file = crate::FileSource::from_file(file).expect("a source");
        let mut mapping = Mapping::default();
        mapping.push(512, Place::Linear(4096));
        mapping.push(512, Place::Absent);
        mapping.push(512, Place::Linear((1 << 20) - 256));
        let volume = Mapped::new(file, mapping);
        for (offset, end) in [(0, 512), (100, 512), (512, 512), (1024, 1280), (1536, 1536)] {
            assert_eq!(volume.zeros_until(offset), end, "{offset}");
        }
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

    const CHUNK: usize = 1024;
    const ROWS: usize = 10;

    /// The columns of an array as Linux `drivers/md/raid5.c` (`raid5_compute_sector`) lays them out, with P and Q.
    fn array(layout: ParityLayout, count: usize, parities: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
        let data_count = count - parities;
        let data: Vec<u8> = (0..data_count * ROWS * CHUNK)
            .map(|at| u8::try_from((at * 7 + at / 255) % 251).expect("a byte"))
            .collect();
        let mut columns = vec![vec![0; ROWS * CHUNK]; count];
        for (row, stripe) in data.chunks(data_count * CHUNK).enumerate() {
            let turn = row % count;
            let last = count - 1;
            let p = match layout {
                ParityLayout::LeftAsymmetric | ParityLayout::LeftSymmetric => last - turn,
                ParityLayout::RightAsymmetric | ParityLayout::RightSymmetric => turn,
                ParityLayout::First => 0,
                ParityLayout::Last => data_count,
            };
            let q = (parities == 2).then_some((p + 1) % count);
            let free = |column: usize| column != p && Some(column) != q;
            // Symmetric layouts go on behind the parity, the others count from the first column.
            let start = match layout {
                ParityLayout::LeftSymmetric | ParityLayout::RightSymmetric => p + parities,
                _ => 0,
            };
            let order: Vec<usize> = (0..count)
                .map(|step| (start + step) % count)
                .filter(|at| free(*at))
                .collect();
            let place = row * CHUNK..(row + 1) * CHUNK;
            for (chunk, column) in stripe.chunks(CHUNK).zip(&order) {
                columns[*column][place.clone()].copy_from_slice(chunk);
            }
            for at in place {
                columns[p][at] = order.iter().fold(0, |sum, column| sum ^ columns[*column][at]);
                if let Some(q) = q {
                    // Horner's rule from the last of the data behind Q to the first.
                    let behind = (1..count).map(|step| (q + step) % count).filter(|at| free(*at));
                    let sum = behind.rev().fold(0_u8, |sum, column| {
                        let doubled = sum << 1 ^ if sum & 0x80 == 0 { 0 } else { 0x1d };
                        doubled ^ columns[column][at]
                    });
                    columns[q][at] = sum;
                }
            }
        }
        (data, columns)
    }

    fn volume_of(
        layout: ParityLayout,
        parities: usize,
        columns: &[Vec<u8>],
        absent: &[usize],
        unread: Vec<ByteRange>,
    ) -> Mapped<Masked<Vec<u8>>> {
        let len = u64::try_from(ROWS * CHUNK).expect("small");
        let places = (0_u64..).zip(0..columns.len());
        let places = places
            .map(|(at, column)| (!absent.contains(&column)).then_some(at * len))
            .collect();
        let mut mapping = Mapping::default();
        mapping.push(
            len * u64::try_from(columns.len() - parities).expect("small"),
            Place::Parity {
                chunk_bytes: u64::try_from(CHUNK).expect("small"),
                columns: places,
                layout,
                parities,
            },
        );
        Mapped::new(Masked::new(columns.concat(), unread), mapping)
    }

    const LAYOUTS: [ParityLayout; 6] = [
        ParityLayout::LeftAsymmetric,
        ParityLayout::RightAsymmetric,
        ParityLayout::LeftSymmetric,
        ParityLayout::RightSymmetric,
        ParityLayout::First,
        ParityLayout::Last,
    ];

    /// R16: RAID 4, 5 and 6 give every byte in every layout, with as many columns absent as there are of parity, whichever these are.
    #[test]
    fn r16_as_many_columns_can_be_absent_as_there_are_of_parity() {
        for (layout, (count, parities)) in LAYOUTS
            .into_iter()
            .flat_map(|layout| [(3, 1), (5, 1), (4, 2), (5, 2)].map(|shape| (layout, shape)))
        {
            let (data, columns) = array(layout, count, parities);
            for first in 0..count {
                for second in first..count {
                    let absent = [first, second];
                    let volume = volume_of(layout, parities, &columns, &absent, Vec::new());
                    let mut bytes = vec![0; data.len()];
                    let read = volume.read_exact_at(0, &mut bytes);
                    if first == second || parities == 2 {
                        assert!(read.is_ok(), "{layout:?} {count} {absent:?}");
                        assert!(bytes == data, "{layout:?} {count} {absent:?}");
                    } else {
                        assert!(matches!(read, Err(ReadError::Unread { .. })));
                    }
                }
            }
        }
    }

    /// R11: what was never rescued of one column is computed from the others, also where holes of several columns lie in one chunk; where too many lie
    /// over each other, it is an error.
    #[test]
    fn r11_holes_of_members_are_filled_from_parity() {
        let (data, columns) = array(ParityLayout::LeftSymmetric, 4, 1);
        let len = u64::try_from(ROWS * CHUNK).expect("small");
        let hole = |column: u64, at: u64| ByteRange::new(column * len + at, 512);
        let beside = vec![hole(0, 0), hole(1, 512), hole(2, 1024), hole(3, 2560)];
        let volume = volume_of(ParityLayout::LeftSymmetric, 1, &columns, &[], beside);
        let mut bytes = vec![0; data.len()];
        assert!(volume.read_exact_at(0, &mut bytes).is_ok());
        assert!(bytes == data);
        let over = vec![hole(0, 512), hole(1, 512)];
        let volume = volume_of(ParityLayout::LeftSymmetric, 1, &columns, &[], over);
        let error = volume.read_exact_at(0, &mut bytes).expect_err("two holes");
        assert!(matches!(error, ReadError::Unread { range } if range == ByteRange::new(512, 512)));
    }

    /// R11: what was never rescued of one side of a mirror is taken from the other.
    #[test]
    fn r11_holes_of_a_mirror_are_filled_from_its_other_side() {
        let mut mapping = Mapping::default();
        let (chunk_bytes, copies, columns) = (2048, 2, vec![Some(0), Some(2048)]);
        mapping.push(
            2048,
            Place::Striped {
                chunk_bytes,
                columns,
                copies,
            },
        );
        let side: Vec<u8> = (0..=255_u8).cycle().take(2048).collect();
        let holes = vec![ByteRange::new(512, 512), ByteRange::new(2048, 512)];
        let volume = Mapped::new(Masked::new([side.clone(), side.clone()].concat(), holes), mapping);
        let mut bytes = vec![0; 2048];
        assert!(volume.read_exact_at(0, &mut bytes).is_ok());
        assert!(bytes == side);
    }
}
