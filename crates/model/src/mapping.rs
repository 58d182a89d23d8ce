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
    /// Bytes of what the rule makes that come before the segment: it may be a part of a larger volume.
    #[serde(default)]
    pub skip: u64,
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
    /// Not in the image, but can be computed from what stands at these bytes of it; see [`Mapping::redundancy`].
    Rebuilt(Vec<u64>),
    /// Nowhere.
    Absent,
}

/// How else the byte at a place can be had, if it is absent or cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Redundancy {
    /// In no other way.
    None,
    /// Other copies of it stand at these bytes of the image.
    Copies(Vec<u64>),
    /// From the other columns of its stripe.
    Parity(Stripe),
}

/// The bytes that one row of an array with parity has in its columns; `None` is a column that is not here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stripe {
    /// Data, in the order in which Q counts it, with the exponent of its coefficient.
    pub data: Vec<(u32, Option<u64>)>,
    /// Which of `data` is asked for.
    pub wanted: usize,
    /// The sum of the data.
    pub p: Option<u64>,
    /// The weighted sum of the data, where there is one.
    pub q: Option<u64>,
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
        self.push_part(len, place, 0);
    }

    /// As [`Mapping::push`], from byte `skip` of what the rule makes.
    fn push_part(&mut self, len: u64, place: Place, skip: u64) {
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
        self.segments.push(Segment {
            offset,
            len,
            place,
            skip,
        });
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
        let (segment, inside) = self.segment(offset)?;
        let run = segment.place.run(segment.skip.saturating_add(inside));
        Some(Run {
            len: run.len.min(segment.len - inside),
            ..run
        })
    }

    /// How else the byte at `offset`, and those that follow it in its run, can be had.
    pub fn redundancy(&self, offset: u64) -> Redundancy {
        self.segment(offset)
            .map_or(Redundancy::None, |(segment, inside)| {
                segment.place.redundancy(segment.skip.saturating_add(inside))
            })
    }

    /// Whether some bytes of it can be had in more than one way: then it is not extents of the image that tell where they lie, but whoever reads.
    pub fn is_redundant(&self) -> bool {
        self.segments.iter().any(|segment| match &segment.place {
            Place::Striped { copies, .. } => *copies > 1,
            Place::Parity { .. } => true,
            Place::Linear(_) | Place::Absent => false,
        })
    }

    /// The segment that has a byte, and which byte of it that is.
    fn segment(&self, offset: u64) -> Option<(&Segment, u64)> {
        let index = self.segments.partition_point(|segment| segment.offset <= offset);
        let segment = self.segments.get(index.checked_sub(1)?)?;
        let inside = offset - segment.offset;
        (inside < segment.len).then_some((segment, inside))
    }

    /// Whether every run of it, as long as it claims to be, ends where `end_of` its first byte says, or before.
    pub fn is_within(&self, end_of: impl Fn(u64) -> u64) -> bool {
        let fits = |at: u64, len: u64| at.checked_add(len).is_some_and(|end| end <= end_of(at));
        self.segments.iter().all(|segment| {
            let Some(end) = segment.skip.checked_add(segment.len) else {
                return false;
            };
            match &segment.place {
                Place::Linear(at) => fits(*at, end),
                Place::Absent => true,
                Place::Striped {
                    chunk_bytes,
                    columns,
                    copies,
                } => {
                    let len = column_bytes(end, *chunk_bytes, columns.len(), *copies);
                    columns.iter().flatten().all(|at| fits(*at, len))
                }
                Place::Parity {
                    chunk_bytes,
                    columns,
                    parities,
                    ..
                } => {
                    let data = columns.len().saturating_sub(*parities);
                    let len = column_bytes(end, *chunk_bytes, data, 1);
                    columns.iter().flatten().all(|at| fits(*at, len))
                }
            }
        })
    }

    /// The first byte of the image that the volume has; 0 if it has none.
    pub fn first_byte(&self) -> u64 {
        let firsts = self
            .segments
            .iter()
            .filter_map(|segment| match segment.place.run(segment.skip).found {
                Found::At(at) => Some(at),
                _ => None,
            });
        firsts.min().unwrap_or(0)
    }

    /// Bytes of the volume that are in the image or can be rebuilt from it, where what has a byte of it ends at `end_of` that byte.
    pub fn available_bytes(&self, end_of: impl Fn(u64) -> u64) -> u64 {
        let segments = self.segments.iter().map(|segment| match &segment.place {
            Place::Linear(at) => segment.len.min(end_of(*at).saturating_sub(*at)),
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
            Place::Parity {
                columns, parities, ..
            } => {
                let absent = columns.iter().filter(|column| column.is_none()).count();
                // As many columns are rebuilt as there are of parity.
                if absent <= *parities {
                    segment.len
                } else {
                    segment.len / 2
                }
            }
        });
        segments.fold(0, u64::saturating_add)
    }

    /// The part `range` of the volume, as a volume.
    #[must_use]
    pub fn part(&self, range: ByteRange) -> Self {
        let mut part = Self::default();
        let end = range.end();
        let first = self
            .segments
            .partition_point(|segment| segment.offset.saturating_add(segment.len) <= range.offset);
        let touched = self.segments.get(first..).unwrap_or_default();
        for segment in touched.iter().take_while(|segment| segment.offset < end) {
            let Some(shared) = ByteRange::new(segment.offset, segment.len).intersection(&range) else {
                continue;
            };
            let skipped = shared.offset - segment.offset;
            match &segment.place {
                Place::Linear(at) => part.push(shared.len, Place::Linear(at.saturating_add(skipped))),
                place => part.push_part(shared.len, place.clone(), segment.skip.saturating_add(skipped)),
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
                    through.append(outer.part(ByteRange::new(*at, segment.len)), segment.len);
                }
                _ => {
                    let mut position = segment.offset;
                    let end = segment.offset.saturating_add(segment.len);
                    while position < end && through.segments.len() < PIECES_MAX {
                        let Some(run) = self.run(position) else { break };
                        match run.found {
                            Found::At(at) => {
                                through.append(outer.part(ByteRange::new(at, run.len)), run.len);
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

    /// Adds another volume behind this one, cut or filled up to `len` bytes.
    pub fn append(&mut self, other: Self, len: u64) {
        let end = self.len().saturating_add(len);
        for piece in other.segments {
            let room = end.saturating_sub(self.len());
            self.push_part(piece.len.min(room), piece.place, piece.skip);
        }
        self.push(end.saturating_sub(self.len()), Place::Absent);
    }

    /// The same volume in an image that has `by` bytes more before it.
    #[must_use]
    pub fn shifted(&self, by: u64) -> Self {
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
}

/// Bytes that a column needs so that `count` columns with `copies` of each chunk hold `len` bytes.
fn column_bytes(len: u64, chunk_bytes: u64, count: usize, copies: usize) -> u64 {
    let chunk = chunk_bytes.max(1);
    let copies = u64::try_from(copies).unwrap_or(u64::MAX);
    let count = u64::try_from(count).unwrap_or(1).max(1);
    let rows = len.div_ceil(chunk).saturating_mul(copies).div_ceil(count);
    rows.saturating_mul(chunk)
}

impl Place {
    /// How else a byte of what the rule makes can be had.
    fn redundancy(&self, inside: u64) -> Redundancy {
        let found = match self {
            Self::Linear(_) | Self::Absent => None,
            Self::Striped {
                chunk_bytes,
                columns,
                copies,
            } => Chunk::at(inside, *chunk_bytes)
                .copies(columns, *copies)
                .map(|copies| copies.skip(1).collect())
                .filter(|copies: &Vec<u64>| !copies.is_empty())
                .map(Redundancy::Copies),
            Self::Parity {
                chunk_bytes,
                columns,
                layout,
                parities,
            } => Chunk::at(inside, *chunk_bytes)
                .stripe(columns, *layout, *parities)
                .map(Redundancy::Parity),
        };
        found.unwrap_or(Redundancy::None)
    }

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
        let kept = self.copies(columns, copies)?.next();
        Some(kept.map_or(Found::Absent, Found::At))
    }

    /// Where the copies of the byte stand that are here.
    fn copies(&self, columns: &[Option<u64>], copies: usize) -> Option<impl Iterator<Item = u64>> {
        let count = u64::try_from(columns.len()).ok().filter(|count| *count > 0)?;
        let copies = u64::try_from(copies).ok()?;
        let first = self.number.checked_mul(copies)?;
        Some((0..copies).filter_map(move |copy| {
            let place = first.checked_add(copy)?;
            let column = columns.get(usize::try_from(place % count).ok()?)?;
            self.byte((*column)?, place / count)
        }))
    }

    fn with_parity(&self, columns: &[Option<u64>], layout: ParityLayout, parities: usize) -> Option<Found> {
        let (row, roles) = self.row(columns.len(), layout, parities)?;
        if let Some(at) = columns.get(roles.data)? {
            return self.byte(*at, row).map(Found::At);
        }
        let stripe = self.stripe(columns, layout, parities)?;
        let absent = stripe.data.iter().filter(|(_, at)| at.is_none()).count();
        let sums = [stripe.p, stripe.q].into_iter().flatten();
        if absent > sums.clone().count() {
            return Some(Found::Absent);
        }
        let others = stripe.data.iter().filter_map(|(_, at)| *at);
        Some(Found::Rebuilt(others.chain(sums.take(absent)).collect()))
    }

    /// The row of the array that the byte lies in, and what the columns are in it.
    fn row(&self, count: usize, layout: ParityLayout, parities: usize) -> Option<(u64, Roles)> {
        let data = count.checked_sub(parities).filter(|data| *data > 0)?;
        let data = u64::try_from(data).ok()?;
        let row = self.number / data;
        let index = usize::try_from(self.number % data).ok()?;
        let turn = usize::try_from(row % u64::try_from(count).ok()?).ok()?;
        Some((row, layout.roles(count, parities, turn, index)?))
    }

    /// The bytes of all columns in the row of the byte.
    fn stripe(&self, columns: &[Option<u64>], layout: ParityLayout, parities: usize) -> Option<Stripe> {
        let count = columns.len();
        let (row, roles) = self.row(count, layout, parities)?;
        let at = |column: usize| self.byte((*columns.get(column)?)?, row);
        let mut data = Vec::with_capacity(count);
        let mut wanted = None;
        // Q counts from the column behind it.
        let first = roles.q.map_or(0, |q| (q + 1) % count);
        for column in (0..count).map(|step| (first + step) % count) {
            if column == roles.p || Some(column) == roles.q {
                continue;
            }
            if column == roles.data {
                wanted = Some(data.len());
            }
            data.push((u32::try_from(data.len()).ok()?, at(column)));
        }
        Some(Stripe {
            data,
            wanted: wanted?,
            p: at(roles.p),
            q: roles.q.and_then(at),
        })
    }
}

/// What the columns of a stripe are.
struct Roles {
    data: usize,
    p: usize,
    q: Option<usize>,
}

impl ParityLayout {
    /// The column of the data chunk `index` of a stripe, and those of its parity.
    fn roles(self, count: usize, parities: usize, turn: usize, index: usize) -> Option<Roles> {
        let last = count.checked_sub(1)?;
        let first_of_left = if parities == 2 {
            last
        } else {
            count.checked_sub(parities)?
        };
        let p = match self {
            Self::LeftAsymmetric | Self::LeftSymmetric => first_of_left.checked_sub(turn)?,
            Self::RightAsymmetric | Self::RightSymmetric => turn,
            Self::First => 0,
            Self::Last => count.checked_sub(parities)?,
        };
        let data = match self {
            Self::LeftSymmetric | Self::RightSymmetric => (p + parities + index) % count,
            Self::First => index + parities,
            Self::Last => index,
            Self::LeftAsymmetric | Self::RightAsymmetric if parities == 2 && p == last => index + 1,
            Self::LeftAsymmetric | Self::RightAsymmetric if index >= p => index + parities,
            Self::LeftAsymmetric | Self::RightAsymmetric => index,
        };
        Some(Roles {
            data,
            p,
            q: (parities == 2).then(|| (p + 1) % count),
        })
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
        assert_eq!(mapping.available_bytes(|_| 1000), 20);
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
                        .map(|index| layout.roles(count, parities, turn, index).expect("a column").data)
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
