//! Where the bytes of a volume lie when they are not one range of the image: what volume managers and RAID do.

use serde::{Deserialize, Serialize};

use crate::range::ByteRange;

/// Pieces that a mapping may be broken into when it is laid over another.
const PIECES_MAX: usize = 65_536;

/// A volume, segment by segment: ascending, without gaps or overlaps, from byte 0.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Mapping {
    /// The segments.
    pub segments: Vec<Segment>,
}

/// A run of a volume's bytes that one rule maps.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Segment {
    /// First byte, counted from the start of the volume.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
    /// The rule.
    pub place: Place,
}

/// How a segment lies in the image. Columns are the image offsets of their first byte; `None` is one that is not here.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Place {
    /// In a row from this byte of the image.
    Linear(u64),
    /// Chunk after chunk goes to column after column; each chunk to `copies` of them (RAID0, RAID10 `near`).
    Striped {
        /// Bytes of a chunk; not 0.
        chunk_bytes: u64,
        /// The columns.
        columns: Vec<Option<u64>>,
        /// Columns that hold the same chunk; from 1 to the number of columns.
        copies: usize,
    },
    /// Chunks and their parity, turning through the columns (RAID 4, 5, 6).
    Parity {
        /// Bytes of a chunk; not 0.
        chunk_bytes: u64,
        /// The columns.
        columns: Vec<Option<u64>>,
        /// Where parity stands.
        layout: ParityLayout,
        /// Columns of parity in a stripe: 1, or 2 with Q behind P.
        parities: usize,
    },
    /// Nowhere in this image.
    Absent,
}

/// How parity turns through the columns; names are those of Linux md.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParityLayout {
    /// From the last column to the first; data from the first column on.
    LeftAsymmetric,
    /// From the first column to the last; data from the first column on.
    RightAsymmetric,
    /// From the last column to the first; data from behind the parity on.
    LeftSymmetric,
    /// From the first column to the last; data from behind the parity on.
    RightSymmetric,
    /// Always first.
    First,
    /// Always last (RAID 4).
    Last,
}

/// What stands at a byte of a volume, and for how many bytes it goes on in a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// Number of bytes.
    pub len: u64,
    /// What they are.
    pub found: Found,
}

/// Where bytes are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// At this byte of the image.
    At(u64),
    /// Not in the image, but the exclusive or of what stands at these bytes of it.
    Rebuilt(Vec<u64>),
    /// Nowhere.
    Absent,
}

impl Mapping {
    /// One range of the image.
    pub fn linear(range: ByteRange) -> Self {
        let mut mapping = Self::default();
        mapping.push(range.len, Place::Linear(range.offset));
        mapping
    }

    /// Length of the volume.
    pub fn len(&self) -> u64 {
        self.segments
            .last()
            .map_or(0, |last| last.offset.saturating_add(last.len))
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds `len` bytes behind the last; what continues it is joined.
    pub fn push(&mut self, len: u64, place: Place) {
        let offset = self.len();
        let len = len.min(u64::MAX - offset);
        if len == 0 {
            return;
        }
        if let (Some(last), Place::Linear(at)) = (self.segments.last_mut(), &place)
            && let Place::Linear(from) = last.place
            && from.checked_add(last.len) == Some(*at)
        {
            last.len += len;
            return;
        }
        self.segments.push(Segment { offset, len, place });
    }

    /// The range of the image that the volume is, if it is one.
    pub fn as_range(&self) -> Option<ByteRange> {
        match self.segments.as_slice() {
            [
                Segment {
                    len,
                    place: Place::Linear(at),
                    ..
                },
            ] => Some(ByteRange::new(*at, *len)),
            _ => None,
        }
    }

    /// What stands at a byte of the volume; `None` at its end and behind.
    pub fn run(&self, offset: u64) -> Option<Run> {
        let index = self.segments.partition_point(|segment| segment.offset <= offset);
        let segment = self.segments.get(index.checked_sub(1)?)?;
        let inside = offset - segment.offset;
        let left = segment.len.checked_sub(inside).filter(|left| *left > 0)?;
        let run = segment.place.run(inside);
        Some(Run {
            len: run.len.min(left),
            ..run
        })
    }

    /// The first byte of the image that the volume has; 0 if it has none.
    pub fn first_byte(&self) -> u64 {
        let firsts = self
            .segments
            .iter()
            .filter_map(|segment| match segment.place.run(0).found {
                Found::At(at) => Some(at),
                _ => None,
            });
        firsts.min().unwrap_or(0)
    }

    /// Bytes of the volume that are in the image or can be rebuilt from it, where the image has `image_bytes`.
    pub fn available_bytes(&self, image_bytes: u64) -> u64 {
        let segments = self.segments.iter().map(|segment| match &segment.place {
            Place::Linear(at) => segment.len.min(image_bytes.saturating_sub(*at)),
            Place::Absent => 0,
            Place::Striped { columns, copies, .. } => {
                let count = columns.len().max(1);
                let lost = (0..columns.len()).filter(|first| {
                    let mut kept = (0..*copies).filter_map(|copy| *columns.get((first + copy) % count)?);
                    kept.next().is_none()
                });
                let lost = u64::try_from(lost.count()).unwrap_or(0);
                let count = u64::try_from(count).unwrap_or(1);
                segment.len - segment.len / count * lost
            }
            Place::Parity { columns, .. } => {
                let absent = columns.iter().filter(|column| column.is_none()).count();
                // One column is rebuilt.
                if absent <= 1 { segment.len } else { segment.len / 2 }
            }
        });
        segments.fold(0, u64::saturating_add)
    }

    /// The part `range` of the volume, as a volume.
    #[must_use]
    pub fn part(&self, range: ByteRange) -> Self {
        let mut part = Self::default();
        for segment in &self.segments {
            let Some(shared) = ByteRange::new(segment.offset, segment.len).intersection(&range) else {
                continue;
            };
            let skipped = shared.offset - segment.offset;
            match &segment.place {
                Place::Linear(at) => part.push(shared.len, Place::Linear(at.saturating_add(skipped))),
                place if skipped == 0 => part.push(shared.len, place.clone()),
                _ => self.push_pieces(&mut part, shared),
            }
        }
        part
    }

    /// This volume, whose bytes are counted in `outer`, counted in what `outer` counts in.
    #[must_use]
    pub fn over(&self, outer: &Self) -> Self {
        if let Some(range) = outer.as_range() {
            return self.shifted(range.offset);
        }
        let mut through = Self::default();
        for segment in &self.segments {
            match &segment.place {
                Place::Linear(at) => {
                    let part = outer.part(ByteRange::new(*at, segment.len));
                    let found = part.len();
                    part.segments
                        .into_iter()
                        .for_each(|piece| through.push(piece.len, piece.place));
                    through.push(segment.len - found.min(segment.len), Place::Absent);
                }
                _ => {
                    let mut position = segment.offset;
                    let end = segment.offset.saturating_add(segment.len);
                    while position < end && through.segments.len() < PIECES_MAX {
                        let Some(run) = self.run(position) else { break };
                        match run.found {
                            Found::At(at) => {
                                let part = outer.part(ByteRange::new(at, run.len));
                                let found = part.len();
                                part.segments
                                    .into_iter()
                                    .for_each(|piece| through.push(piece.len, piece.place));
                                through.push(run.len - found.min(run.len), Place::Absent);
                            }
                            _ => through.push(run.len, Place::Absent),
                        }
                        position = position.saturating_add(run.len);
                    }
                    through.push(end.saturating_sub(position), Place::Absent);
                }
            }
        }
        through
    }

    /// The same volume in an image that has `by` bytes more before it.
    fn shifted(&self, by: u64) -> Self {
        let moved = |columns: &[Option<u64>]| {
            columns
                .iter()
                .map(|at| at.map(|at| at.saturating_add(by)))
                .collect()
        };
        let segments = self.segments.iter().map(|segment| {
            let place = match &segment.place {
                Place::Linear(at) => Place::Linear(at.saturating_add(by)),
                Place::Striped {
                    chunk_bytes,
                    columns,
                    copies,
                } => Place::Striped {
                    chunk_bytes: *chunk_bytes,
                    columns: moved(columns),
                    copies: *copies,
                },
                Place::Parity {
                    chunk_bytes,
                    columns,
                    layout,
                    parities,
                } => Place::Parity {
                    chunk_bytes: *chunk_bytes,
                    columns: moved(columns),
                    layout: *layout,
                    parities: *parities,
                },
                Place::Absent => Place::Absent,
            };
            Segment {
                place,
                ..segment.clone()
            }
        });
        Self {
            segments: segments.collect(),
        }
    }

    /// Adds a range of this volume to `part` run by run; what is too much of it is absent.
    fn push_pieces(&self, part: &mut Self, range: ByteRange) {
        let mut position = range.offset;
        while position < range.end() && part.segments.len() < PIECES_MAX {
            let Some(run) = self.run(position) else { break };
            let len = run.len.min(range.end() - position);
            match run.found {
                Found::At(at) => part.push(len, Place::Linear(at)),
                _ => part.push(len, Place::Absent),
            }
            position = position.saturating_add(len);
        }
        part.push(range.end().saturating_sub(position), Place::Absent);
    }
}

impl Place {
    /// What stands at a byte of the segment, and for how long at most.
    fn run(&self, inside: u64) -> Run {
        match self {
            Self::Linear(at) => Run {
                len: u64::MAX - inside,
                found: at.checked_add(inside).map_or(Found::Absent, Found::At),
            },
            Self::Absent => Run {
                len: u64::MAX - inside,
                found: Found::Absent,
            },
            Self::Striped {
                chunk_bytes,
                columns,
                copies,
            } => {
                let chunk = Chunk::at(inside, *chunk_bytes);
                let found = chunk.striped(columns, *copies).unwrap_or(Found::Absent);
                Run {
                    len: chunk.left,
                    found,
                }
            }
            Self::Parity {
                chunk_bytes,
                columns,
                layout,
                parities,
            } => {
                let chunk = Chunk::at(inside, *chunk_bytes);
                let found = chunk
                    .with_parity(columns, *layout, *parities)
                    .unwrap_or(Found::Absent);
                Run {
                    len: chunk.left,
                    found,
                }
            }
        }
    }
}

/// The chunk that a byte of a segment lies in.
struct Chunk {
    number: u64,
    inside: u64,
    left: u64,
    bytes: u64,
}

impl Chunk {
    fn at(offset: u64, chunk_bytes: u64) -> Self {
        let bytes = chunk_bytes.max(1);
        let inside = offset % bytes;
        Self {
            number: offset / bytes,
            inside,
            left: bytes - inside,
            bytes,
        }
    }

    /// The byte of a column in its row `row`.
    fn byte(&self, column: u64, row: u64) -> Option<u64> {
        column
            .checked_add(row.checked_mul(self.bytes)?)?
            .checked_add(self.inside)
    }

    fn striped(&self, columns: &[Option<u64>], copies: usize) -> Option<Found> {
        let count = u64::try_from(columns.len()).ok().filter(|count| *count > 0)?;
        let first = self.number.checked_mul(u64::try_from(copies).ok()?)?;
        let kept = (0..u64::try_from(copies).ok()?).find_map(|copy| {
            let place = first.checked_add(copy)?;
            let column = columns.get(usize::try_from(place % count).ok()?)?;
            self.byte((*column)?, place / count)
        });
        Some(kept.map_or(Found::Absent, Found::At))
    }

    fn with_parity(&self, columns: &[Option<u64>], layout: ParityLayout, parities: usize) -> Option<Found> {
        let count = columns.len();
        let data = count.checked_sub(parities).filter(|data| *data > 0)?;
        let data_columns = u64::try_from(data).ok()?;
        let stripe = self.number / data_columns;
        let index = usize::try_from(self.number % data_columns).ok()?;
        let turn = usize::try_from(stripe % u64::try_from(count).ok()?).ok()?;
        let (column, second) = layout.columns(count, parities, turn, index)?;
        if let Some(at) = columns.get(column)? {
            return self.byte(*at, stripe).map(Found::At);
        }
        // The others of the stripe, P among them, give it; Q does not take part.
        let mut others = Vec::new();
        for (number, at) in columns.iter().enumerate() {
            if number != column && Some(number) != second {
                match at.and_then(|at| self.byte(at, stripe)) {
                    Some(at) => others.push(at),
                    None => return Some(Found::Absent),
                }
            }
        }
        Some(Found::Rebuilt(others))
    }
}

impl ParityLayout {
    /// The column of the data chunk `index` of a stripe, and that of its Q.
    fn columns(
        self,
        count: usize,
        parities: usize,
        turn: usize,
        index: usize,
    ) -> Option<(usize, Option<usize>)> {
        let last = count.checked_sub(1)?;
        let first_of_left = if parities == 2 {
            last
        } else {
            count.checked_sub(parities)?
        };
        let parity = match self {
            Self::LeftAsymmetric | Self::LeftSymmetric => first_of_left.checked_sub(turn)?,
            Self::RightAsymmetric | Self::RightSymmetric => turn,
            Self::First => 0,
            Self::Last => count.checked_sub(parities)?,
        };
        let second = (parities == 2).then(|| (parity + 1) % count);
        let column = match self {
            Self::LeftSymmetric | Self::RightSymmetric => (parity + parities + index) % count,
            Self::First => index + parities,
            Self::Last => index,
            Self::LeftAsymmetric | Self::RightAsymmetric if parities == 2 && parity == last => index + 1,
            Self::LeftAsymmetric | Self::RightAsymmetric if index >= parity => index + parities,
            Self::LeftAsymmetric | Self::RightAsymmetric => index,
        };
        Some((column, second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mapping: &Mapping, offset: u64) -> Found {
        mapping.run(offset).expect("a byte of the volume").found
    }

    #[test]
    fn linear_runs_are_joined_and_cut() {
        let mut mapping = Mapping::default();
        mapping.push(10, Place::Linear(100));
        mapping.push(10, Place::Linear(110));
        assert_eq!(mapping.as_range(), Some(ByteRange::new(100, 20)));
        mapping.push(5, Place::Absent);
        assert_eq!(
            mapping.run(19),
            Some(Run {
                len: 1,
                found: Found::At(119)
            })
        );
        assert_eq!(
            mapping.run(20),
            Some(Run {
                len: 5,
                found: Found::Absent
            })
        );
        assert_eq!(mapping.run(25), None);
        assert_eq!(
            mapping.part(ByteRange::new(5, 10)).as_range(),
            Some(ByteRange::new(105, 10))
        );
        assert_eq!(mapping.available_bytes(1000), 20);
    }

    #[test]
    fn stripes_go_round_and_copies_stand_in_for_each_other() {
        let striped = |columns: Vec<Option<u64>>, copies| {
            let mut mapping = Mapping::default();
            mapping.push(
                400,
                Place::Striped {
                    chunk_bytes: 10,
                    columns,
                    copies,
                },
            );
            mapping
        };
        let raid0 = striped(vec![Some(1000), Some(2000)], 1);
        assert_eq!(
            [at(&raid0, 0), at(&raid0, 15), at(&raid0, 20)],
            [Found::At(1000), Found::At(2005), Found::At(1010)]
        );
        let raid10 = striped(vec![None, Some(2000), Some(3000), Some(4000)], 2);
        assert_eq!(
            [at(&raid10, 0), at(&raid10, 10), at(&raid10, 20)],
            [Found::At(2000), Found::At(3000), Found::At(2010)]
        );
    }

    /// The tables of Linux `drivers/md/raid5.c` for three columns (RAID5) and four (RAID6).
    #[test]
    fn parity_turns_as_in_linux() {
        let columns = |layout: ParityLayout, count: usize, parities: usize| -> Vec<Vec<usize>> {
            (0..count)
                .map(|turn| {
                    (0..count - parities)
                        .map(|index| layout.columns(count, parities, turn, index).expect("a column").0)
                        .collect()
                })
                .collect()
        };
        assert_eq!(
            columns(ParityLayout::LeftAsymmetric, 3, 1),
            [[0, 1], [0, 2], [1, 2]]
        );
        assert_eq!(
            columns(ParityLayout::RightAsymmetric, 3, 1),
            [[1, 2], [0, 2], [0, 1]]
        );
        assert_eq!(
            columns(ParityLayout::LeftSymmetric, 3, 1),
            [[0, 1], [2, 0], [1, 2]]
        );
        assert_eq!(
            columns(ParityLayout::RightSymmetric, 3, 1),
            [[1, 2], [2, 0], [0, 1]]
        );
        assert_eq!(columns(ParityLayout::Last, 3, 1), [[0, 1], [0, 1], [0, 1]]);
        assert_eq!(
            columns(ParityLayout::LeftSymmetric, 4, 2),
            [[1, 2], [0, 1], [3, 0], [2, 3]]
        );
        assert_eq!(
            columns(ParityLayout::LeftAsymmetric, 4, 2),
            [[1, 2], [0, 1], [0, 3], [2, 3]]
        );
    }

    #[test]
    fn one_absent_column_is_rebuilt() {
        let mut mapping = Mapping::default();
        mapping.push(
            40,
            Place::Parity {
                chunk_bytes: 10,
                columns: vec![Some(1000), None, Some(3000)],
                layout: ParityLayout::LeftSymmetric,
                parities: 1,
            },
        );
        assert_eq!(at(&mapping, 0), Found::At(1000));
        assert_eq!(at(&mapping, 12), Found::Rebuilt(vec![1002, 3002]));
    }

    #[test]
    fn a_volume_over_a_volume_counts_in_the_image() {
        let mut outer = Mapping::default();
        outer.push(100, Place::Linear(1000));
        outer.push(100, Place::Linear(5000));
        let inner = Mapping::linear(ByteRange::new(90, 20));
        let through = inner.over(&outer);
        assert_eq!(
            [at(&through, 0), at(&through, 10)],
            [Found::At(1090), Found::At(5000)]
        );
        assert_eq!(through.len(), 20);
        let beyond = Mapping::linear(ByteRange::new(190, 20)).over(&outer);
        assert_eq!((beyond.len(), at(&beyond, 10)), (20, Found::Absent));
    }
}
