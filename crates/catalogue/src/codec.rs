//! Compact encodings of the blobs in the leaf tables of all back ends: variable-length integers, extents, times, ranges, chunk members.
//!
//! Integers are LEB128; differences are zigzag-coded and wrap, so that every `u64` survives. `docs/design/catalogue.md` gives the layouts.

use std::borrow::Cow;

use ntt_model::entry::{Encoding, Inode, Stream, StreamKind, Xattr};
use ntt_model::time::Times;
use ntt_model::{ByteRange, Codec, Extent, ExtentKind, PackedUnit, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::code::{code_of, value_of};

const EXTENT_KINDS: [ExtentKind; 4] = [
    ExtentKind::Data,
    ExtentKind::Hole,
    ExtentKind::Unwritten,
    ExtentKind::Inline,
];
const HAS_GAP: u64 = 4;
/// In place of the kind of an extent: no more extents, units follow.
const END_OF_EXTENTS: u64 = 8;
const UNIT_HAS_GAP: u64 = 1;
const UNIT_HAS_SKIP: u64 = 2;
const UNIT_HAS_JUMP: u64 = 4;
/// The bits of a unit's head above these flags are the code of its codec, up to the flag above it.
const UNIT_FLAGS: u32 = 3;
/// Above the codes of codecs, since it came later: catalogues of before have units without it.
const UNIT_IS_WHOLE: u64 = 1 << 10;
const NANOS: i64 = 1_000_000_000;
const WHOLE_SECONDS: u8 = 0x80;

/// Appends an unsigned integer.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

pub(crate) fn put_difference(out: &mut Vec<u8>, value: u64, base: u64) {
    put(out, zigzag(value.wrapping_sub(base).cast_signed()));
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// Takes integers from the front of a blob.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`; `what` names the column in errors.
    pub(crate) const fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, what }
    }

    /// Whether all was read.
    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What was not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    fn damaged(&self) -> Error {
        Error::Damaged(format!("the column {} is malformed", self.what))
    }

    /// The next unsigned integer.
    pub(crate) fn take(&mut self) -> Result<u64, Error> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.bytes.split_first().ok_or_else(|| self.damaged())?;
            self.bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.damaged())
    }

    /// The next `len` bytes.
    pub(crate) fn take_bytes(&mut self, len: u64) -> Result<&'a [u8], Error> {
        let taken = usize::try_from(len)
            .ok()
            .and_then(|len| self.bytes.split_at_checked(len));
        let (taken, rest) = taken.ok_or_else(|| self.damaged())?;
        self.bytes = rest;
        Ok(taken)
    }

    /// The next integer, of [`put_difference`].
    pub(crate) fn take_difference(&mut self, base: u64) -> Result<u64, Error> {
        Ok(base.wrapping_add(unzigzag(self.take()?).cast_unsigned()))
    }
}

/// Appends extents. Each one: image offset as a difference to the end of the one before; a byte of kind, plus 4 if a logical gap
/// follows; the gap; the length. The first integer is therefore the first image offset.
pub(crate) fn put_extents(out: &mut Vec<u8>, extents: &[Extent]) {
    let (mut image, mut logical) = (0_u64, 0_u64);
    for extent in extents {
        put_difference(out, extent.image_offset, image);
        let gap = extent.logical_offset.wrapping_sub(logical);
        let kind = extent_kind_code(extent.kind);
        put(out, if gap == 0 { kind } else { kind | HAS_GAP });
        if gap != 0 {
            put(out, gap);
        }
        put(out, extent.len);
        image = extent.image_offset.wrapping_add(extent.len);
        logical = extent.logical_offset.wrapping_add(extent.len);
    }
}

const fn extent_kind_code(kind: ExtentKind) -> u64 {
    match kind {
        ExtentKind::Data => 0,
        ExtentKind::Hole => 1,
        ExtentKind::Unwritten => 2,
        ExtentKind::Inline => 3,
    }
}

/// Appends the extents of a stream, and the units of a packed one behind a mark. The first integer is still the first image offset.
pub(crate) fn put_map(out: &mut Vec<u8>, stream: &Stream) -> Result<(), Error> {
    put_extents(out, &stream.extents);
    if let Encoding::Packed(units) = &stream.encoding
        && !units.is_empty()
    {
        put(out, 0);
        put(out, END_OF_EXTENTS);
        put_units(out, units)?;
    }
    Ok(())
}

/// Appends units. Each one: a head (codec, and which of the others follow); the gap to the unit before; the length; the stored offset as a
/// difference to the end of the run before; the stored length; the skip.
fn put_units(out: &mut Vec<u8>, units: &[PackedUnit]) -> Result<(), Error> {
    let (mut logical, mut stored) = (0_u64, 0_u64);
    for unit in units {
        let gap = unit.logical_offset.wrapping_sub(logical);
        let flag = |is_set: bool, bit: u64| if is_set { bit } else { 0 };
        let flags = flag(gap != 0, UNIT_HAS_GAP)
            | flag(unit.stored_offset != stored, UNIT_HAS_JUMP)
            | flag(unit.skip != 0, UNIT_HAS_SKIP)
            | flag(unit.is_whole, UNIT_IS_WHOLE);
        put(out, codec_code(unit.codec)? << UNIT_FLAGS | flags);
        if gap != 0 {
            put(out, gap);
        }
        put(out, unit.len);
        if unit.stored_offset != stored {
            put_difference(out, unit.stored_offset, stored);
        }
        put(out, unit.stored_len);
        if unit.skip != 0 {
            put(out, unit.skip);
        }
        logical = unit.logical_offset.wrapping_add(unit.len);
        stored = unit.stored_offset.wrapping_add(unit.stored_len);
    }
    Ok(())
}

fn codec_code(codec: Codec) -> Result<u64, Error> {
    let code = code_of(&Codec::ALL, &codec)?;
    Ok(code.cast_unsigned())
}

/// The units up to the end of a blob.
fn take_units(reader: &mut Reader<'_>) -> Result<Vec<PackedUnit>, Error> {
    let mut units = Vec::new();
    let (mut logical, mut stored) = (0_u64, 0_u64);
    while !reader.is_empty() {
        let head = reader.take()?;
        let codec = (head & !UNIT_IS_WHOLE) >> UNIT_FLAGS;
        let codec = value_of(&Codec::ALL, codec.cast_signed())?;
        let gap = if head & UNIT_HAS_GAP == 0 {
            0
        } else {
            reader.take()?
        };
        let len = reader.take()?;
        let stored_offset = if head & UNIT_HAS_JUMP == 0 {
            stored
        } else {
            reader.take_difference(stored)?
        };
        let stored_len = reader.take()?;
        let skip = if head & UNIT_HAS_SKIP == 0 {
            0
        } else {
            reader.take()?
        };
        let logical_offset = logical.wrapping_add(gap);
        units.push(PackedUnit {
            logical_offset,
            len,
            stored_offset,
            stored_len,
            skip,
            codec,
            is_whole: head & UNIT_IS_WHOLE != 0,
        });
        logical = logical_offset.wrapping_add(len);
        stored = stored_offset.wrapping_add(stored_len);
    }
    Ok(units)
}

/// The extents and units that [`put_map`] wrote.
pub(crate) fn map(bytes: &[u8]) -> Result<(Vec<Extent>, Vec<PackedUnit>), Error> {
    if bytes.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut reader = Reader::new(bytes, "extents");
    let first = reader.take_difference(0)?;
    map_behind(first, reader.rest())
}

/// As [`map`], for what follows the first image offset.
pub(crate) fn map_behind(first: u64, bytes: &[u8]) -> Result<(Vec<Extent>, Vec<PackedUnit>), Error> {
    let mut reader = Reader::new(bytes, "extents");
    let mut extents = Vec::with_capacity((bytes.len() / 8).max(1));
    let (mut image_offset, mut logical) = (first, 0_u64);
    loop {
        let head = reader.take()?;
        if head == END_OF_EXTENTS {
            return Ok((extents, take_units(&mut reader)?));
        }
        let gap = if head & HAS_GAP == 0 { 0 } else { reader.take()? };
        let len = reader.take()?;
        let kind = usize::try_from(head & 3)
            .ok()
            .and_then(|code| EXTENT_KINDS.get(code));
        let logical_offset = logical.wrapping_add(gap);
        extents.push(Extent {
            logical_offset,
            image_offset,
            len,
            kind: *kind.ok_or_else(|| reader.damaged())?,
        });
        if reader.is_empty() {
            return Ok((extents, Vec::new()));
        }
        image_offset = reader.take_difference(image_offset.wrapping_add(len))?;
        logical = logical_offset.wrapping_add(len);
    }
}

/// Image offset of the first extent, or `None` if there is none.
pub(crate) fn first_offset(bytes: &[u8]) -> Result<Option<u64>, Error> {
    if bytes.is_empty() {
        return Ok(None);
    }
    Reader::new(bytes, "extents").take_difference(0).map(Some)
}

/// Appends all times but the modification time: a byte of presence bits (bit 7: whole seconds), then the differences to it.
/// Appends nothing if there are none.
pub(crate) fn put_times(out: &mut Vec<u8>, times: &Times) {
    let others = [times.accessed, times.changed, times.created, times.deleted];
    if others.iter().all(Option::is_none) {
        return;
    }
    let base = times.modified.map_or(0, |time| time.as_nanos());
    let differences = others.map(|time| time.map(|time| time.as_nanos().wrapping_sub(base)));
    let whole = differences.iter().flatten().all(|nanos| nanos % NANOS == 0);
    let mut mask = if whole { WHOLE_SECONDS } else { 0 };
    for (bit, difference) in differences.iter().enumerate() {
        mask |= u8::from(difference.is_some()) << bit;
    }
    out.push(mask);
    for nanos in differences.iter().flatten() {
        put(out, zigzag(if whole { nanos / NANOS } else { *nanos }));
    }
}

/// The times that [`put_times`] wrote, with the modification time.
pub(crate) fn times(modified: Option<i64>, bytes: &[u8]) -> Result<Times, Error> {
    let mut others = [None; 4];
    if let Some((mask, rest)) = bytes.split_first() {
        let mut reader = Reader::new(rest, "times");
        let unit = if mask & WHOLE_SECONDS == 0 { 1 } else { NANOS };
        for (bit, other) in others.iter_mut().enumerate() {
            if mask & (1 << bit) != 0 {
                let difference = unzigzag(reader.take()?).wrapping_mul(unit);
                let nanos = modified.unwrap_or(0).wrapping_add(difference);
                *other = Some(Timestamp::from_nanos(nanos));
            }
        }
    }
    let [accessed, changed, created, deleted] = others;
    Ok(Times {
        modified: modified.map(Timestamp::from_nanos),
        accessed,
        changed,
        created,
        deleted,
    })
}

/// Encodes ascending ranges as (gap, length) pairs.
pub(crate) fn put_ranges(ranges: &[ByteRange]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut end = 0;
    for range in ranges {
        put(&mut out, range.offset.wrapping_sub(end));
        put(&mut out, range.len);
        end = range.end();
    }
    out
}

/// The ranges that [`put_ranges`] wrote.
pub(crate) fn ranges(bytes: &[u8]) -> Result<Vec<ByteRange>, Error> {
    let mut reader = Reader::new(bytes, "ranges");
    let mut ranges = Vec::new();
    let mut end = 0_u64;
    while !reader.is_empty() {
        let range = ByteRange::new(end.wrapping_add(reader.take()?), reader.take()?);
        end = range.end();
        ranges.push(range);
    }
    Ok(ranges)
}

/// An inode in a chunk with the ordinals of its wanted streams.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Member {
    pub(crate) inode: u64,
    pub(crate) streams: Ordinals,
}

/// Ordinals of streams. Nearly always those of stream 0 alone, which are not allocated: there is a list for each inode that is copied.
pub(crate) type Ordinals = Cow<'static, [u32]>;

/// Stream 0 alone.
pub(crate) const FIRST_STREAM: Ordinals = Cow::Borrowed(&[0]);

/// One stream.
pub(crate) fn ordinal(stream: u32) -> Ordinals {
    match stream {
        0 => FIRST_STREAM,
        _ => Cow::Owned(vec![stream]),
    }
}

/// Encodes chunk members: the inode's number as a difference to the one before, the number of streams if it is not stream 0 alone.
pub(crate) fn put_members(members: &[Member]) -> Vec<u8> {
    let mut out = Vec::with_capacity(members.len() * 2);
    let mut previous = 0;
    for member in members {
        put_difference(&mut out, member.inode, previous);
        previous = member.inode;
        if *member.streams == [0] {
            put(&mut out, 0);
            continue;
        }
        put(&mut out, u64::try_from(member.streams.len()).unwrap_or(0));
        for stream in &*member.streams {
            put(&mut out, u64::from(*stream));
        }
    }
    out
}

/// The members that [`put_members`] wrote.
pub(crate) fn members(bytes: &[u8]) -> Result<Vec<Member>, Error> {
    let mut reader = Reader::new(bytes, "members");
    let mut members = Vec::with_capacity(bytes.len() / 2);
    let mut previous = 0;
    while !reader.is_empty() {
        let inode = reader.take_difference(previous)?;
        previous = inode;
        let count = reader.take()?;
        let streams = if count == 0 {
            FIRST_STREAM
        } else {
            (0..count)
                .map(|_| u32::try_from(reader.take()?).map_err(|_| reader.damaged()))
                .collect::<Result<Vec<_>, _>>()?
                .into()
        };
        members.push(Member { inode, streams });
    }
    Ok(members)
}

/// What few inodes have; kept as one postcard value, NULL for all others.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Rare {
    pub(crate) target: Option<Vec<u8>>,
    pub(crate) device: Option<(u32, u32)>,
    pub(crate) xattrs: Vec<Xattr>,
}

/// The bytes of what few inodes have; none for all others.
pub(crate) fn rare(inode: &Inode) -> Result<Vec<u8>, Error> {
    if inode.target.is_none() && inode.device.is_none() && inode.xattrs.is_empty() {
        return Ok(Vec::new());
    }
    let rare = Rare {
        target: inode.target.clone(),
        device: inode.device,
        xattrs: inode.xattrs.clone(),
    };
    postcard::to_allocvec(&rare).map_err(|error| Error::Conflict(error.to_string()))
}

/// The stream that travels in the inode's own row.
pub(crate) fn plain_data(inode: &Inode) -> Option<&Stream> {
    inode
        .streams
        .first()
        .filter(|stream| stream.kind == StreamKind::Data)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_extent() -> impl Strategy<Value = Extent> {
        (any::<u64>(), any::<u64>(), any::<u64>(), 0..4_usize).prop_map(
            |(logical_offset, image_offset, len, kind)| Extent {
                logical_offset,
                image_offset,
                len,
                kind: EXTENT_KINDS[kind],
            },
        )
    }

    fn any_unit() -> impl Strategy<Value = PackedUnit> {
        let codec = proptest::sample::select(&Codec::ALL[..]);
        (any::<[u64; 5]>(), codec, any::<bool>()).prop_map(|(numbers, codec, is_whole)| {
            let [logical_offset, len, stored_offset, stored_len, skip] = numbers;
            PackedUnit {
                logical_offset,
                len,
                stored_offset,
                stored_len,
                skip,
                codec,
                is_whole,
            }
        })
    }

    fn any_time() -> impl Strategy<Value = Option<Timestamp>> {
        proptest::option::of(
            prop_oneof![
                any::<i64>(),
                (-9_000_000_000_i64..9_000_000_000).prop_map(|seconds| seconds * NANOS),
            ]
            .prop_map(Timestamp::from_nanos),
        )
    }

    proptest! {
        #[test]
        fn extents_round_trip(list in proptest::collection::vec(any_extent(), 0..8)) {
            let mut bytes = Vec::new();
            put_extents(&mut bytes, &list);
            prop_assert_eq!(first_offset(&bytes).unwrap(), list.first().map(|extent| extent.image_offset));
            prop_assert_eq!(map(&bytes).unwrap(), (list, Vec::new()));
        }

        #[test]
        fn units_round_trip_behind_extents(
            extents in proptest::collection::vec(any_extent(), 0..4),
            units in proptest::collection::vec(any_unit(), 0..8),
        ) {
            let stream = Stream {
                kind: StreamKind::Data,
                size_bytes: 0,
                extents,
                encoding: Encoding::Packed(units.clone()),
                extents_incomplete: false,
            };
            let mut bytes = Vec::new();
            put_map(&mut bytes, &stream).unwrap();
            let first = stream.extents.first().map_or(0, |extent| extent.image_offset);
            prop_assert_eq!(first_offset(&bytes).unwrap().unwrap_or(0), first);
            prop_assert_eq!(map(&bytes).unwrap(), (stream.extents, units));
        }

        #[test]
        fn times_round_trip(list in proptest::array::uniform5(any_time())) {
            let [modified, accessed, changed, created, deleted] = list;
            let wanted = Times { modified, accessed, changed, created, deleted };
            let mut bytes = Vec::new();
            put_times(&mut bytes, &wanted);
            prop_assert_eq!(times(modified.map(|time| time.as_nanos()), &bytes).unwrap(), wanted);
        }

        #[test]
        fn members_round_trip(
            list in proptest::collection::vec(
                (any::<u64>(), proptest::collection::vec(any::<u32>(), 1..4)), 0..8)
        ) {
            let list: Vec<_> = list.into_iter().map(|(inode, streams)| Member { inode, streams: streams.into() }).collect();
            prop_assert_eq!(members(&put_members(&list)).unwrap(), list);
        }

        /// A damaged row is an error, never a panic or an endless loop.
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = (map(&bytes), times(None, &bytes), ranges(&bytes), first_offset(&bytes));
        }
    }

    /// Units one after the other, the usual case, cost a head and two lengths. What tells that they are whole costs a byte.
    #[test]
    fn a_usual_unit_is_small() {
        let unit = |index: u64| PackedUnit {
            logical_offset: index * 65_536,
            len: 65_536,
            stored_offset: index * 30_000,
            stored_len: 30_000,
            skip: 0,
            codec: Codec::Zlib,
            is_whole: index.is_multiple_of(2),
        };
        let mut bytes = Vec::new();
        put_units(&mut bytes, &(0..10).map(unit).collect::<Vec<_>>()).unwrap();
        assert_eq!(bytes.len(), 75);
    }

    #[test]
    fn ranges_round_trip() {
        let list = [ByteRange::new(512, 512), ByteRange::new(4096, 1)];
        assert_eq!(ranges(&put_ranges(&list)).unwrap(), list);
    }
}
