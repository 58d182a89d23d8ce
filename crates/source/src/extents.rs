//! The one function that turns extents into bytes.

use std::cell::Cell;

use ntt_model::entry::Stream;
use ntt_model::failure::Failure;
use ntt_model::range::push_joined;
use ntt_model::{ByteRange, Extent, ExtentKind, FailureClass};
use serde::{Deserialize, Serialize};

use crate::ReadAt;

mod around;

use around::Pace;

/// How much is read at a time.
const BLOCK_BYTES: u64 = 256 * 1024;

thread_local! {
    /// The buffer of the last stream that this thread read, for the next one.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A piece of a stream, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes that were read.
    Bytes(&'a [u8]),
    /// This many zeros: a hole, unwritten space, or bytes that are missing.
    Zeros(u64),
}

/// Takes a stream, in order, into memory of its own.
pub trait Sink {
    /// Why it takes no more.
    type Stop;

    /// Memory for the next `len` bytes of the stream. What is put there counts only once it is taken.
    fn room(&mut self, len: usize) -> &mut [u8];

    /// Takes the first `len` bytes of the room that was given last.
    ///
    /// # Errors
    ///
    /// When it takes no more.
    fn take(&mut self, len: usize) -> Result<(), Self::Stop>;

    /// Takes zeros.
    ///
    /// # Errors
    ///
    /// When it takes no more.
    fn zeros(&mut self, len: u64) -> Result<(), Self::Stop>;
}

/// Hands what comes to a function, from memory that the next stream of the thread is read to again.
struct Pieces<'a, E> {
    buffer: Vec<u8>,
    sink: &'a mut dyn FnMut(Piece<'_>) -> Result<(), E>,
}

impl<E> Sink for Pieces<'_, E> {
    type Stop = E;

    /// The front of the buffer, which never shrinks: filling it with zeros again would cost as much as reading.
    fn room(&mut self, len: usize) -> &mut [u8] {
        if self.buffer.len() < len {
            self.buffer.resize(len, 0);
        }
        self.buffer.get_mut(..len).unwrap_or_default()
    }

    fn take(&mut self, len: usize) -> Result<(), E> {
        (self.sink)(Piece::Bytes(self.buffer.get(..len).unwrap_or_default()))
    }

    fn zeros(&mut self, len: u64) -> Result<(), E> {
        (self.sink)(Piece::Zeros(len))
    }
}

/// What is missing of a stream that was read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Missing {
    /// The missing bytes, counted from the start of the stream, ascending.
    pub ranges: Vec<ByteRange>,
    /// Why the first of them is missing.
    pub failure: Option<Failure>,
}

impl Missing {
    /// Adds a range behind the ones before it, and why it is missing.
    pub fn add(&mut self, range: ByteRange, class: FailureClass, code: i32, detail: impl FnOnce() -> String) {
        push_joined(&mut self.ranges, range);
        if self.failure.is_none() {
            self.failure = Some(Failure {
                class,
                code,
                detail: detail(),
            });
        }
    }
}

/// Reads a stream from the image through its extents and hands it to `sink` piece by piece, exactly `size_bytes` in all.
///
/// What cannot be read is handed over as zeros and returned in [`Missing`]: bytes that were never rescued, bytes beyond the end of the image
/// (R12), bytes that the device refuses, and, when the map is incomplete, bytes that no extent covers (R11).
///
/// # Errors
///
/// Only what `sink` returns.
pub fn read_stream<E>(
    image: &dyn ReadAt,
    stream: &Stream,
    sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
) -> Result<Missing, E> {
    read_extents(
        image,
        &stream.extents,
        stream.extents_incomplete,
        whole(stream),
        sink,
    )
}

/// As [`read_stream`], for who has memory to read to: nothing is copied on the way.
///
/// # Errors
///
/// Only what `sink` returns.
pub fn read_stream_into<S: Sink>(
    image: &dyn ReadAt,
    stream: &Stream,
    sink: &mut S,
) -> Result<Missing, S::Stop> {
    read_into(
        image,
        &stream.extents,
        stream.extents_incomplete,
        whole(stream),
        sink,
    )
}

const fn whole(stream: &Stream) -> ByteRange {
    ByteRange::new(0, stream.size_bytes)
}

/// Reads a range of what extents map, as [`read_stream`] reads all of a stream; ranges in [`Missing`] are counted as the extents count.
///
/// # Errors
///
/// Only what `sink` returns.
pub fn read_extents<E>(
    image: &dyn ReadAt,
    extents: &[Extent],
    is_incomplete: bool,
    range: ByteRange,
    sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
) -> Result<Missing, E> {
    let mut pieces = Pieces {
        buffer: BUFFER.take(),
        sink,
    };
    let read = read_into(image, extents, is_incomplete, range, &mut pieces);
    BUFFER.set(pieces.buffer);
    read
}

fn read_into<S: Sink>(
    image: &dyn ReadAt,
    extents: &[Extent],
    is_incomplete: bool,
    range: ByteRange,
    sink: &mut S,
) -> Result<Missing, S::Stop> {
    let mut reader = StreamReader {
        image,
        sink,
        is_incomplete,
        missing: Missing::default(),
        pace: Pace::default(),
    };
    reader.extents(extents, range)?;
    Ok(reader.missing)
}

struct StreamReader<'a, S> {
    image: &'a dyn ReadAt,
    sink: &'a mut S,
    is_incomplete: bool,
    missing: Missing,
    pace: Pace,
}

/// Bytes of the stream that lie in a row in the image.
#[derive(Clone, Copy)]
struct Run {
    /// Where the stream has the first of them.
    start: u64,
    /// Where they lie.
    image: ByteRange,
}

impl Run {
    /// Where the stream has a part of the image.
    const fn in_stream(&self, part: ByteRange) -> ByteRange {
        ByteRange::new(self.start + (part.offset - self.image.offset), part.len)
    }
}

impl<S: Sink> StreamReader<'_, S> {
    fn extents(&mut self, extents: &[Extent], range: ByteRange) -> Result<(), S::Stop> {
        let (mut position, end) = (range.offset, range.end());
        let first =
            extents.partition_point(|extent| extent.logical_offset.saturating_add(extent.len) <= position);
        for extent in extents.get(first..).unwrap_or_default() {
            let start = extent.logical_offset.max(position).min(end);
            self.uncovered(ByteRange::new(position, start - position))?;
            let skipped = start - extent.logical_offset.min(start);
            let len = extent.len.saturating_sub(skipped).min(end - start);
            let run = ByteRange::new(start, len);
            match extent.kind {
                ExtentKind::Hole | ExtentKind::Unwritten => self.zeros(len)?,
                ExtentKind::Data | ExtentKind::Inline => {
                    self.run(run, extent.image_offset.saturating_add(skipped))?;
                }
            }
            position = run.end();
            if position >= end {
                break;
            }
        }
        self.uncovered(ByteRange::new(position, end - position))
    }

    fn zeros(&mut self, len: u64) -> Result<(), S::Stop> {
        if len > 0 { self.sink.zeros(len) } else { Ok(()) }
    }

    /// Bytes of the stream that no extent covers: a hole, unless the map is known to be incomplete.
    fn uncovered(&mut self, range: ByteRange) -> Result<(), S::Stop> {
        if self.is_incomplete && !range.is_empty() {
            let detail = || "the map of the file's blocks is incomplete".to_owned();
            self.missing.add(range, FailureClass::Corrupt, 0, detail);
        }
        self.zeros(range.len)
    }

    /// A run of the stream whose bytes lie at `image_offset`.
    fn run(&mut self, run: ByteRange, image_offset: u64) -> Result<(), S::Stop> {
        let end = self.image.end_of(image_offset);
        let in_image = end.saturating_sub(image_offset).min(run.len);
        self.present(Run {
            start: run.offset,
            image: ByteRange::new(image_offset, in_image),
        })?;
        let beyond = ByteRange::new(run.offset + in_image, run.len - in_image);
        if !beyond.is_empty() {
            let detail = || format!("extent at {image_offset:#x} passes the end of the image at {end:#x}");
            self.missing.add(beyond, FailureClass::Short, 0, detail);
        }
        self.zeros(beyond.len)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use ntt_model::entry::{Encoding, StreamKind};
    use proptest::prelude::*;

    use super::*;
    use crate::Masked;

    fn stream(size_bytes: u64, extents: Vec<Extent>) -> Stream {
        Stream {
            kind: StreamKind::Data,
            size_bytes,
            extents,
            encoding: Encoding::Plain,
            extents_incomplete: false,
        }
    }

    fn data(logical_offset: u64, image_offset: u64, len: u64) -> Extent {
        Extent {
            logical_offset,
            image_offset,
            len,
            kind: ExtentKind::Data,
        }
    }

    fn collect(image: &dyn ReadAt, stream: &Stream) -> (Vec<u8>, Missing) {
        let mut bytes = Vec::new();
        let missing = read_stream::<Infallible>(image, stream, &mut |piece| {
            match piece {
                Piece::Bytes(more) => bytes.extend_from_slice(more),
                Piece::Zeros(len) => bytes.resize(bytes.len() + usize::try_from(len).expect("small"), 0),
            }
            Ok(())
        });
        (bytes, missing.unwrap_or_else(|never| match never {}))
    }

    #[test]
    fn holes_and_unwritten_space_read_as_zeros() {
        let image = vec![1_u8; 4096];
        let mut unwritten = data(20, 0, 10);
        unwritten.kind = ExtentKind::Unwritten;
        let (bytes, missing) = collect(
            &image,
            &stream(40, vec![data(10, 0, 10), unwritten, data(30, 0, 10)]),
        );
        let expected: Vec<u8> = (0..40)
            .map(|at| u8::from((10..20).contains(&at) || at >= 30))
            .collect();
        assert_eq!(bytes, expected);
        assert_eq!(missing, Missing::default());
    }

    /// Bytes of which a part is known to be zeros, and must not be read.
    struct Holey(Vec<u8>, ByteRange);

    impl ReadAt for Holey {
        fn len(&self) -> u64 {
            ReadAt::len(&self.0)
        }

        fn zeros_until(&self, offset: u64) -> u64 {
            let is_hole = self.1.intersection(&ByteRange::new(offset, 1)).is_some();
            if is_hole { self.1.end() } else { offset }
        }

        fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), crate::ReadError> {
            let read = ByteRange::new(offset, crate::buffer_len(buffer));
            let inside = |hole: &ByteRange| hole.offset <= read.offset && read.end() <= hole.end();
            assert!(!inside(&self.1), "{read} need not be read");
            self.0.read_exact_at(offset, buffer)
        }
    }

    /// R35: what is known to be zeros is handed over as zeros without a read.
    #[test]
    fn r35_holes_of_the_image_are_not_read() {
        let mut bytes = vec![7_u8; 4 << 20];
        bytes[1 << 20..3 << 20].fill(0);
        let image = Holey(bytes.clone(), ByteRange::new(1 << 20, 2 << 20));
        let (found, missing) = collect(&image, &stream(4 << 20, vec![data(0, 0, 4 << 20)]));
        assert!(found == bytes, "the bytes of the image");
        assert_eq!(missing, Missing::default());
        let part = stream(1 << 20, vec![data(0, (2 << 20) + 100, 1 << 20)]);
        let (found, _) = collect(&image, &part);
        assert!(found == bytes[(2 << 20) + 100..(3 << 20) + 100], "a part of them");
    }

    /// R11: only the sectors that were never rescued are lost, and their ranges are exact.
    #[test]
    fn r11_unread_sectors_are_zeros_with_exact_ranges() {
        let image = Masked::new(vec![7_u8; 1 << 20], vec![ByteRange::new(512 * 100, 1024)]);
        let (bytes, missing) = collect(&image, &stream(400_000, vec![data(0, 512, 400_000)]));
        assert_eq!(missing.ranges, [ByteRange::new(512 * 99, 1024)]);
        assert_eq!(
            missing.failure.map(|failure| failure.class),
            Some(FailureClass::Unread)
        );
        assert_eq!(bytes.iter().filter(|byte| **byte == 0).count(), 1024);
    }

    /// R12: bytes beyond the end of the image are missing, not zeros of the file.
    #[test]
    fn r12_extents_beyond_the_image_are_short() {
        let (bytes, missing) = collect(&vec![7_u8; 1000], &stream(600, vec![data(0, 900, 600)]));
        assert_eq!(bytes.len(), 600);
        assert_eq!(missing.ranges, [ByteRange::new(100, 500)]);
        assert_eq!(
            missing.failure.map(|failure| failure.class),
            Some(FailureClass::Short)
        );
    }

    #[test]
    fn an_incomplete_map_makes_its_gaps_missing() {
        let mut broken = stream(100, vec![data(0, 0, 40)]);
        broken.extents_incomplete = true;
        let (_, missing) = collect(&vec![7_u8; 1000], &broken);
        assert_eq!(missing.ranges, [ByteRange::new(40, 60)]);
    }

    proptest! {
        /// Reading through extents equals a flat array, whatever the extents (overlaps and disorder included) say.
        #[test]
        fn extents_agree_with_a_flat_array(
            runs in proptest::collection::vec((0_u64..3000, 0_u64..5000, 0_u64..2000), 0..12),
            size in 0_u64..4000,
        ) {
            let image: Vec<u8> = (0..4096_u32).map(|at| u8::try_from(at % 251).expect("below 251") + 1).collect();
            let extents: Vec<Extent> = runs.iter().map(|(logical, at, len)| data(*logical, *at, *len)).collect();
            let (bytes, missing) = collect(&image, &stream(size, extents.clone()));
            let mut flat = vec![0_u8; usize::try_from(size).expect("small")];
            let mut position = 0;
            for extent in extents {
                for step in 0..extent.len {
                    let logical = extent.logical_offset + step;
                    if logical >= position && logical < size {
                        let at = usize::try_from(extent.image_offset + step).expect("small");
                        flat[usize::try_from(logical).expect("small")] = image.get(at).copied().unwrap_or(0);
                        position = logical + 1;
                    }
                }
                position = position.max(extent.logical_offset.min(size));
            }
            prop_assert_eq!(&bytes, &flat);
            prop_assert!(missing.ranges.iter().all(|range| range.end() <= size));
        }
    }
}
