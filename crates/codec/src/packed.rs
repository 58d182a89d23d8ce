//! Reads packed streams: units of a stored stream, decoded one after the other.

use ntt_model::entry::{Encoding, Stream};
use ntt_model::failure::Failure;
use ntt_model::{ByteRange, Codec, Extent, ExtentKind, FailureClass, PackedUnit};
use ntt_source::ReadAt;
use ntt_source::extents::{Missing, Piece, read_extents};

use crate::{DecodeError, decode};

/// Most bytes that a unit may have stored. No format comes near: compressed runs are at most a few MiB.
pub const STORED_BYTES_MAX: u64 = 32 << 20;
/// Most bytes that a unit may decode to.
pub const DECODED_BYTES_MAX: u64 = 64 << 20;

/// A run is decoded as a whole, whatever is wanted of it: only its end says whether it is right. No format makes longer ones of which a stream wants a part; one that is longer
/// than this, and than what is wanted of it, is corrupt.
const RUN_BYTES_MAX: u64 = 1 << 20;
/// Runs that are kept for streams to come.
const RUNS_KEPT: usize = 4;

/// Decoded runs that further streams of the same image may want: file systems pack the ends of many files into one. Where streams are read one after the
/// other, one of these goes along with them. Takes up to 4 MiB.
#[derive(Debug, Default)]
pub struct Kept {
    /// The one that was wanted last comes first.
    runs: Vec<(Place, Decoded)>,
}

/// Where in the image a run is stored: offset, length and codec.
type Place = (u64, u64, Codec);

impl Kept {
    fn take(&mut self, place: Place) -> Option<Decoded> {
        let at = self.runs.iter().position(|(kept, _)| *kept == place)?;
        Some(self.runs.remove(at).1)
    }

    /// Keeps a run, unless something is wrong with it: what that is, is told of each stream in its own words.
    fn keep(&mut self, decoded: Decoded) {
        let is_small = u64::try_from(decoded.bytes.len()).is_ok_and(|len| len <= RUN_BYTES_MAX);
        if let Some(place) = decoded.place
            && is_small
            && decoded.flaw.is_none()
        {
            self.runs.insert(0, (place, decoded));
            self.runs.truncate(RUNS_KEPT);
        }
    }
}

/// Reads a stream of any encoding and hands it to `sink` piece by piece, exactly `size_bytes` in all.
///
/// As [`ntt_source::extents::read_stream`], which it calls for what is not packed. For a packed stream:
///
/// - Bytes that no unit covers are zeros; missing, if the map is incomplete.
/// - A unit whose stored bytes are unread, beyond the end or refused by the device gives what its stored bytes before those decode to; only the rest
///   is missing, for that reason (R11).
/// - A unit whose stored bytes are corrupt is missing as a whole, because nothing tells where the corruption begins. What was decoded all the
///   same is handed over in place of zeros: it may be all that is left. Stored bytes are corrupt wherever in their run they are: only its end, where a checksum may be, and its
///   length tell whether it is right.
/// - A unit above [`STORED_BYTES_MAX`] or [`DECODED_BYTES_MAX`] is corrupt.
///
/// Needs memory for one unit.
///
/// # Errors
///
/// Only what `sink` returns.
pub fn read_stream<E>(
    image: &dyn ReadAt,
    stream: &Stream,
    sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
) -> Result<Missing, E> {
    read_stream_after(&mut Kept::default(), image, stream, sink)
}

/// As [`read_stream`], for one of many streams of one image: what is `kept` of those before spares decoding, and changes nothing else.
///
/// # Errors
///
/// Only what `sink` returns.
pub fn read_stream_after<E>(
    kept: &mut Kept,
    image: &dyn ReadAt,
    stream: &Stream,
    sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
) -> Result<Missing, E> {
    let Encoding::Packed(units) = &stream.encoding else {
        return ntt_source::extents::read_stream(image, stream, sink);
    };
    let mut reader = Reader {
        image,
        extents: &stream.extents,
        is_incomplete: stream.extents_incomplete,
        sink,
        missing: Missing::default(),
        decoded: Decoded::default(),
        kept,
    };
    let mut position = 0;
    for (index, unit) in units.iter().enumerate() {
        let start = unit.logical_offset.max(position).min(stream.size_bytes);
        reader.uncovered(between(position, start))?;
        let passed_over = start.saturating_sub(unit.logical_offset);
        let left = stream.size_bytes.saturating_sub(start);
        let run = ByteRange::new(start, unit.len.saturating_sub(passed_over).min(left));
        let skip = unit.skip.saturating_add(passed_over);
        if !run.is_empty() {
            reader.unit(units.get(index..).unwrap_or_default(), run, skip)?;
        }
        position = run.end();
    }
    reader.uncovered(between(position, stream.size_bytes))?;
    let Reader {
        missing,
        decoded,
        kept,
        ..
    } = reader;
    kept.keep(decoded);
    Ok(missing)
}

fn between(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end.saturating_sub(start))
}

/// The stored run that was decoded last.
#[derive(Debug, Default)]
struct Decoded {
    /// Which run, as offset and length in the stream's stored bytes, and its codec; `None` before the first.
    run: Option<(u64, u64, Codec)>,
    /// Where it lies in the image, if that is one place.
    place: Option<Place>,
    /// What it decodes to, from its first byte.
    bytes: Vec<u8>,
    /// Number of bytes that it could have been of.
    len_max: u64,
    /// Why it may be incomplete, or wrong.
    flaw: Option<Flaw>,
}

/// What is wrong with a decoded run.
#[derive(Clone, Debug)]
enum Flaw {
    /// Stored bytes are missing: what was decoded before them is right.
    Incomplete(Failure),
    /// The stored bytes are corrupt: nothing is sure.
    Corrupt(Failure),
}

struct Reader<'a, E> {
    image: &'a dyn ReadAt,
    extents: &'a [Extent],
    is_incomplete: bool,
    sink: &'a mut dyn FnMut(Piece<'_>) -> Result<(), E>,
    missing: Missing,
    decoded: Decoded,
    kept: &'a mut Kept,
}

impl<E> Reader<'_, E> {
    fn zeros(&mut self, len: u64) -> Result<(), E> {
        if len > 0 {
            (self.sink)(Piece::Zeros(len))
        } else {
            Ok(())
        }
    }

    fn lose(&mut self, range: ByteRange, failure: Failure) {
        let Failure { class, code, detail } = failure;
        self.missing.add(range, class, code, || detail);
    }

    fn uncovered(&mut self, range: ByteRange) -> Result<(), E> {
        if self.is_incomplete && !range.is_empty() {
            self.lose(
                range,
                corrupt("the map of the file's units is incomplete".to_owned()),
            );
        }
        self.zeros(range.len)
    }

    /// Gives `run`, which begins `skip` bytes into what the first of `units` decodes to.
    fn unit(&mut self, units: &[PackedUnit], run: ByteRange, skip: u64) -> Result<(), E> {
        let Some(unit) = units.first() else { return Ok(()) };
        if unit.codec == Codec::Stored {
            return self.stored(unit, run, skip);
        }
        let wanted = skip.saturating_add(run.len);
        if wanted > DECODED_BYTES_MAX || unit.stored_len > STORED_BYTES_MAX {
            let detail = format!(
                "a compressed run of {} bytes for {wanted} at {:#x} is not believed",
                unit.stored_len, unit.stored_offset
            );
            self.lose(run, corrupt(detail));
            return self.zeros(run.len);
        }
        let key = (unit.stored_offset, unit.stored_len, unit.codec);
        if self.decoded.run != Some(key) {
            let place = place_of(self.extents, unit);
            let next = match place.and_then(|place| self.kept.take(place)) {
                Some(known) if known.len_max >= wanted => Decoded {
                    run: Some(key),
                    ..known
                },
                _ => self.decode(unit, len_max(units, wanted)),
            };
            let last = std::mem::replace(&mut self.decoded, Decoded { place, ..next });
            self.kept.keep(last);
        } else if self.decoded.len_max < wanted {
            let place = self.decoded.place;
            let next = self.decode(unit, len_max(units, wanted));
            self.decoded = Decoded { place, ..next };
        }
        self.hand_over(unit, run, skip)
    }

    /// A run that was stored as it is.
    fn stored(&mut self, unit: &PackedUnit, run: ByteRange, skip: u64) -> Result<(), E> {
        let here = ByteRange::new(run.offset, unit.stored_len.saturating_sub(skip).min(run.len));
        let from = ByteRange::new(unit.stored_offset.saturating_add(skip), here.len);
        let missing = read_extents(self.image, self.extents, true, from, self.sink)?;
        if let Some(failure) = missing.failure {
            for range in missing.ranges {
                let offset = range
                    .offset
                    .saturating_sub(from.offset)
                    .saturating_add(run.offset);
                self.lose(ByteRange::new(offset, range.len), failure.clone());
            }
        }
        self.short(unit, between(here.end(), run.end()))
    }

    /// Hands over what was decoded, and says what is missing of it.
    fn hand_over(&mut self, unit: &PackedUnit, run: ByteRange, skip: u64) -> Result<(), E> {
        let wanted = ByteRange::new(skip, run.len);
        let bytes = part(&self.decoded.bytes, wanted);
        let here = u64::try_from(bytes.len()).unwrap_or(0);
        if !bytes.is_empty() {
            (self.sink)(Piece::Bytes(bytes))?;
        }
        let rest = between(run.offset.saturating_add(here), run.end());
        match self.flaw_of(unit) {
            Some(Flaw::Corrupt(failure)) => self.lose(run, failure),
            Some(Flaw::Incomplete(failure)) if !rest.is_empty() => self.lose(rest, failure),
            _ => return self.short(unit, rest),
        }
        self.zeros(rest.len)
    }

    /// What is wrong with the run that was decoded, as that of this unit.
    fn flaw_of(&self, unit: &PackedUnit) -> Option<Flaw> {
        let end = unit.skip.saturating_add(unit.len);
        let is_longer = u64::try_from(self.decoded.bytes.len()).is_ok_and(|len| len > end);
        match &self.decoded.flaw {
            None | Some(Flaw::Incomplete(_)) if unit.is_whole && is_longer => {
                let (name, place) = (unit.codec.name(), unit.stored_offset);
                let detail = format!("the {name} run at {place:#x} holds more than {end} bytes");
                Some(Flaw::Corrupt(corrupt(detail)))
            }
            flaw => flaw.clone(),
        }
    }

    /// What a unit should have given and did not.
    fn short(&mut self, unit: &PackedUnit, rest: ByteRange) -> Result<(), E> {
        if !rest.is_empty() {
            let detail = format!(
                "the {} run at {:#x} is too short",
                unit.codec.name(),
                unit.stored_offset
            );
            self.lose(rest, corrupt(detail));
        }
        self.zeros(rest.len)
    }

    /// Decodes the stored bytes of a unit, as far as they can be read, to at most so many.
    fn decode(&self, unit: &PackedUnit, len_max: u64) -> Decoded {
        let (stored, failure) = self.fetch(ByteRange::new(unit.stored_offset, unit.stored_len));
        let mut bytes = Vec::new();
        let result = decode(
            unit.codec,
            &stored,
            &mut bytes,
            usize::try_from(len_max).unwrap_or(0),
        );
        let flaw = match (failure, result) {
            (Some(failure), Ok(()) | Err(DecodeError::Truncated)) => Some(Flaw::Incomplete(failure)),
            // A run that was cut and is corrupt is so before the cut.
            (_, Err(error)) => {
                let place = unit.stored_offset;
                let detail = format!("the {} run at {place:#x}: {error}", unit.codec.name());
                Some(Flaw::Corrupt(corrupt(detail)))
            }
            (None, Ok(())) => None,
        };
        Decoded {
            run: Some((unit.stored_offset, unit.stored_len, unit.codec)),
            place: None,
            bytes,
            len_max,
            flaw,
        }
    }

    /// The stored bytes of a run up to the first that is missing, and why that is.
    fn fetch(&self, run: ByteRange) -> (Vec<u8>, Option<Failure>) {
        let mut stored = Vec::new();
        let mut take = |piece: Piece<'_>| -> Result<(), std::convert::Infallible> {
            match piece {
                Piece::Bytes(bytes) => stored.extend_from_slice(bytes),
                Piece::Zeros(len) => {
                    let len = usize::try_from(len).unwrap_or(0);
                    stored.resize(stored.len().saturating_add(len), 0);
                }
            }
            Ok(())
        };
        let result = read_extents(self.image, self.extents, true, run, &mut take);
        let missing = result.unwrap_or_else(|never| match never {});
        if let Some(first) = missing.ranges.first() {
            let good = first.offset.saturating_sub(run.offset);
            stored.truncate(usize::try_from(good).unwrap_or(0));
        }
        (stored, missing.failure)
    }
}

/// Where in the image the stored run of a unit lies, if one extent holds all of it.
fn place_of(extents: &[Extent], unit: &PackedUnit) -> Option<Place> {
    let end = unit.stored_offset.checked_add(unit.stored_len)?;
    let after = extents.partition_point(|extent| extent.logical_offset <= unit.stored_offset);
    let extent = extents.get(after.checked_sub(1)?)?;
    let is_within =
        extent.kind == ExtentKind::Data && end <= extent.logical_offset.checked_add(extent.len)?;
    let within = unit.stored_offset.checked_sub(extent.logical_offset)?;
    let offset = extent.image_offset.checked_add(within).filter(|_| is_within)?;
    Some((offset, unit.stored_len, unit.codec))
}

/// Most bytes that the first unit's stored run may decode to, if so many are wanted.
fn len_max(units: &[PackedUnit], wanted: u64) -> u64 {
    let wanted = wanted.max(wanted_by_all(units));
    match units.first().map(|unit| unit.codec) {
        // Goes on with zeros for as long as the compression unit does, and so is as long as it is wanted.
        Some(Codec::Lznt1) => wanted,
        _ => wanted.max(RUN_BYTES_MAX),
    }
}

/// How many bytes of the first unit's stored run it and its neighbours on the same run want.
fn wanted_by_all(units: &[PackedUnit]) -> u64 {
    let Some(first) = units.first() else { return 0 };
    let same = |unit: &&PackedUnit| {
        (unit.stored_offset, unit.stored_len, unit.codec)
            == (first.stored_offset, first.stored_len, first.codec)
    };
    units
        .iter()
        .take_while(same)
        .map(|unit| unit.skip.saturating_add(unit.len))
        .filter(|wanted| *wanted <= DECODED_BYTES_MAX)
        .max()
        .unwrap_or(0)
}

fn part(bytes: &[u8], range: ByteRange) -> &[u8] {
    let from = usize::try_from(range.offset).unwrap_or(usize::MAX);
    let to = usize::try_from(range.end()).unwrap_or(usize::MAX);
    bytes.get(from..to.min(bytes.len())).unwrap_or_default()
}

fn corrupt(detail: String) -> Failure {
    Failure {
        class: FailureClass::Corrupt,
        code: 0,
        detail,
    }
}
