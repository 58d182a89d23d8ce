//! Packed streams: what is missing is exactly what cannot be had.

use std::convert::Infallible;
use std::sync::atomic::AtomicU64;

use ntt_codec::packed::{DECODED_BYTES_MAX, Kept, read_stream, read_stream_after};
use ntt_model::entry::{Encoding, Stream, StreamKind};
use ntt_model::{ByteRange, Codec, Extent, ExtentKind, FailureClass, PackedUnit};
use ntt_source::extents::{Missing, Piece};
use ntt_source::{Masked, ReadAt};
use proptest::prelude::*;

use crate::sample::{contents, encode};

/// Length of the units of the tests.
const UNIT: usize = 1000;

/// A stream in an image, fragmented: stored bytes lie in pieces of 300 bytes, in reverse order.
struct Laid {
    image: Vec<u8>,
    stream: Stream,
    /// Where each unit's bytes are stored.
    stored: Vec<ByteRange>,
}

fn lay(content: &[u8], codec: Codec) -> Laid {
    let (mut stream_of_stored, mut units, mut stored) = (Vec::new(), Vec::new(), Vec::new());
    for (index, run) in content.chunks(UNIT).enumerate() {
        let bytes = encode(codec, run).unwrap();
        let range = ByteRange::new(len(&stream_of_stored), len(&bytes));
        units.push(PackedUnit {
            logical_offset: u64::try_from(index * UNIT).unwrap(),
            len: len(run),
            stored_offset: range.offset,
            stored_len: range.len,
            skip: 0,
            codec,
            is_whole: false,
        });
        stored.push(range);
        stream_of_stored.extend(bytes);
    }
    let (image, extents) = fragment(&stream_of_stored);
    let stream = Stream {
        kind: StreamKind::Data,
        size_bytes: len(content),
        extents,
        encoding: Encoding::Packed(units),
        extents_incomplete: false,
    };
    Laid {
        image,
        stream,
        stored,
    }
}

fn fragment(stored: &[u8]) -> (Vec<u8>, Vec<Extent>) {
    let mut image = vec![0xee; 512];
    let mut extents = Vec::new();
    for (index, piece) in stored
        .chunks(300)
        .enumerate()
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        extents.push(Extent {
            logical_offset: u64::try_from(index * 300).unwrap(),
            image_offset: len(&image),
            len: len(piece),
            kind: ExtentKind::Data,
        });
        image.extend(piece);
    }
    extents.reverse();
    (image, extents)
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap()
}

/// Where a byte of the stored stream lies in the image.
fn place(stream: &Stream, stored: u64) -> u64 {
    let extent = stream
        .extents
        .iter()
        .rfind(|extent| extent.logical_offset <= stored)
        .unwrap();
    extent.image_offset + stored - extent.logical_offset
}

fn units_of(stream: &mut Stream) -> &mut Vec<PackedUnit> {
    match &mut stream.encoding {
        Encoding::Packed(units) => units,
        _ => unreachable!("the tests lay packed streams"),
    }
}

fn collect(image: &dyn ReadAt, stream: &Stream) -> (Vec<u8>, Missing) {
    let mut bytes = Vec::new();
    let missing = read_stream::<Infallible>(image, stream, &mut |piece| {
        match piece {
            Piece::Bytes(more) => bytes.extend_from_slice(more),
            Piece::Zeros(len) => bytes.resize(bytes.len() + usize::try_from(len).unwrap(), 0),
        }
        Ok(())
    });
    (bytes, missing.unwrap_or_else(|never| match never {}))
}

fn class(missing: &Missing) -> Option<FailureClass> {
    missing.failure.as_ref().map(|failure| failure.class)
}

#[test]
fn units_in_fragments_come_together() {
    let content = &contents()[3][..50_500];
    for codec in [Codec::Stored, Codec::Zlib, Codec::Zstd, Codec::Lz4, Codec::Lzo] {
        let laid = lay(content, codec);
        let (bytes, missing) = collect(&laid.image, &laid.stream);
        assert!(bytes == content, "{}", codec.name());
        assert_eq!(missing, Missing::default(), "{}", codec.name());
    }
}

/// R11: an unread sector costs the unit that needs it, from the place on where it is needed, and no other.
#[test]
fn r11_unread_stored_bytes_cost_the_rest_of_their_unit() {
    let content = &contents()[3][..10_000];
    for codec in [Codec::Stored, Codec::Zlib, Codec::Lz4, Codec::Lzo, Codec::Lzfse] {
        let laid = lay(content, codec);
        let hit = laid.stored[4].offset + laid.stored[4].len / 2;
        let image = Masked::new(
            laid.image.clone(),
            vec![ByteRange::new(place(&laid.stream, hit), 1)],
        );
        let (bytes, missing) = collect(&image, &laid.stream);
        assert_eq!(class(&missing), Some(FailureClass::Unread), "{}", codec.name());
        let [lost] = missing.ranges.as_slice() else {
            panic!("{missing:?}")
        };
        assert!(
            lost.offset >= 4000 && lost.end() <= 5000,
            "{}: {lost:?}",
            codec.name()
        );
        assert!(codec == Codec::Stored || lost.end() == 5000);
        let (from, to) = (
            usize::try_from(lost.offset).unwrap(),
            usize::try_from(lost.end()).unwrap(),
        );
        assert!(
            bytes[..from] == content[..from] && bytes[to..] == content[to..],
            "{}",
            codec.name()
        );
        assert!(bytes[from..to].iter().all(|byte| *byte == 0));
    }
}

/// R12: stored bytes beyond the end of the image are short, not corrupt.
#[test]
fn r12_stored_bytes_beyond_the_image_are_short() {
    let content = &contents()[3][..3000];
    let laid = lay(content, Codec::Zlib);
    let mut stream = laid.stream.clone();
    for extent in &mut stream.extents {
        extent.image_offset += 1 << 40;
    }
    let (_, missing) = collect(&laid.image, &stream);
    assert_eq!(class(&missing), Some(FailureClass::Short));
    assert_eq!(missing.ranges, [ByteRange::new(0, 3000)]);
}

#[test]
fn a_corrupt_unit_is_missing_as_a_whole_and_the_others_are_not() {
    let content = &contents()[3][..10_000];
    let mut laid = lay(content, Codec::Zlib);
    let hit = laid.stored[7].offset + laid.stored[7].len / 2;
    let at = usize::try_from(place(&laid.stream, hit)).unwrap();
    laid.image[at] ^= 0x55;
    let (bytes, missing) = collect(&laid.image, &laid.stream);
    assert_eq!(class(&missing), Some(FailureClass::Corrupt));
    assert_eq!(missing.ranges, [ByteRange::new(7000, 1000)]);
    assert_eq!(bytes.len(), content.len());
    assert!(bytes[..7000] == content[..7000] && bytes[8000..] == content[8000..]);
}

#[test]
fn a_unit_that_gives_too_little_is_missing_from_there_on() {
    let mut laid = lay(&contents()[3][..3000], Codec::Zstd);
    units_of(&mut laid.stream)[1].len = 900;
    units_of(&mut laid.stream)[2].skip = 200;
    let (bytes, missing) = collect(&laid.image, &laid.stream);
    assert_eq!(missing.ranges, [ByteRange::new(2800, 200)]);
    assert_eq!(class(&missing), Some(FailureClass::Corrupt));
    assert_eq!(bytes[1900..2000], [0; 100]);
    assert_eq!(bytes[2000..2800], contents()[3][2200..3000]);
}

/// R22: a stream that wants only the front of a run cannot know that it is right unless the rest of it is.
#[test]
fn r22_damage_behind_what_is_wanted_is_told() {
    let (mut image, streams) = sharing(&contents()[3][..20_000], Codec::Zlib, &[1000; 20]);
    // The checksum at the end.
    *image.last_mut().unwrap() ^= 1;
    for stream in &streams {
        let (_, missing) = collect(&image, stream);
        assert_eq!(class(&missing), Some(FailureClass::Corrupt));
        assert_eq!(missing.ranges, [ByteRange::new(0, 1000)]);
    }
}

/// R22: a run that is a unit's own is no longer than the unit, also where no checksum tells: more is corruption, whoever decoded the run before.
#[test]
fn r22_a_run_that_is_longer_than_its_unit_is_corrupt() {
    let content = &contents()[3][..4000];
    for codec in [Codec::Lz4, Codec::Lzo, Codec::Zstd, Codec::Lzfse] {
        let (image, mut streams) = sharing(content, codec, &[1000, 3000]);
        let mut kept = Kept::default();
        for is_whole in [false, true] {
            units_of(&mut streams[0])[0].is_whole = is_whole;
            let missing = read_stream_after::<Infallible>(&mut kept, &image, &streams[0], &mut |_| Ok(()));
            let missing = missing.unwrap_or_else(|never| match never {});
            let lost = if is_whole {
                vec![ByteRange::new(0, 1000)]
            } else {
                Vec::new()
            };
            assert_eq!(missing.ranges, lost, "{}", codec.name());
        }
        units_of(&mut streams[1])[0].is_whole = true;
        let (bytes, missing) = collect(&image, &streams[1]);
        assert!(
            bytes == content[1000..] && missing.ranges.is_empty(),
            "it ends where the run does"
        );
    }
}

/// R22: an unread sector does not hide that the bytes before it are corrupt.
#[test]
fn r22_what_is_corrupt_before_a_cut_is_corrupt() {
    let content = &contents()[3][..10_000];
    let mut laid = lay(content, Codec::Zlib);
    let last = place(&laid.stream, laid.stored[4].end() - 1);
    let first = usize::try_from(place(&laid.stream, laid.stored[4].offset)).unwrap();
    laid.image[first] ^= 0xff;
    let image = Masked::new(laid.image.clone(), vec![ByteRange::new(last, 1)]);
    let (_, missing) = collect(&image, &laid.stream);
    assert_eq!(class(&missing), Some(FailureClass::Corrupt));
    assert_eq!(missing.ranges, [ByteRange::new(4000, 1000)]);
}

/// A unit that claims a terabyte costs neither memory nor time, and its neighbours nothing.
#[test]
fn a_bomb_is_refused() {
    let mut laid = lay(&contents()[3][..3000], Codec::Zlib);
    let claim = 1_u64 << 40;
    units_of(&mut laid.stream)[1].len = claim;
    units_of(&mut laid.stream)[2].logical_offset = 1000 + claim;
    laid.stream.size_bytes = 2000 + claim;
    let mut zeros = 0;
    let missing = read_stream::<Infallible>(&laid.image, &laid.stream, &mut |piece| {
        if let Piece::Zeros(len) = piece {
            zeros += len;
        }
        Ok(())
    });
    let missing = missing.unwrap_or_else(|never| match never {});
    assert_eq!(
        (missing.ranges.as_slice(), zeros),
        ([ByteRange::new(1000, claim)].as_slice(), claim)
    );
    assert_eq!(class(&missing), Some(FailureClass::Corrupt));
    assert!(claim > DECODED_BYTES_MAX);
}

/// Parts of one stored run, as btrfs shares them, are decoded once.
#[test]
fn neighbours_on_one_stored_run_are_decoded_once() {
    let content = contents()[3][..100_000].to_vec();
    let stored = encode(Codec::Zlib, &content).unwrap();
    let units = (0..100_u64)
        .map(|part| PackedUnit {
            logical_offset: part * 1000,
            len: 1000,
            stored_offset: 0,
            stored_len: len(&stored),
            skip: 99_000 - part * 1000,
            codec: Codec::Zlib,
            is_whole: false,
        })
        .collect();
    let stream = Stream {
        kind: StreamKind::Data,
        size_bytes: 100_000,
        extents: vec![Extent {
            logical_offset: 0,
            image_offset: 0,
            len: len(&stored),
            kind: ExtentKind::Data,
        }],
        encoding: Encoding::Packed(units),
        extents_incomplete: false,
    };
    let image = Counted(stored, AtomicU64::new(0));
    let (bytes, missing) = collect(&image, &stream);
    let expected: Vec<u8> = content.chunks(1000).rev().flatten().copied().collect();
    assert!(bytes == expected && missing.ranges.is_empty());
    assert_eq!(image.1.into_inner(), 1);
}

/// An image that counts how often it is read.
struct Counted(Vec<u8>, AtomicU64);

impl ReadAt for Counted {
    fn len(&self) -> u64 {
        ReadAt::len(&self.0)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ntt_source::ReadError> {
        self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.read_exact_at(offset, buffer)
    }
}

/// Contents, and how they are stored.
type Parts = (Vec<Vec<u8>>, Vec<Vec<u8>>);

static PARTS: std::sync::OnceLock<Parts> = std::sync::OnceLock::new();

/// Contents of a thousand bytes each, and how they are stored.
fn parts(codecs: [Codec; 4]) -> Parts {
    let text = &contents()[3];
    let parts: Vec<Vec<u8>> = text
        .chunks(5000)
        .map(|part| part[..1000].to_vec())
        .take(4)
        .collect();
    let stored = parts
        .iter()
        .zip(codecs)
        .map(|(part, codec)| encode(codec, part).unwrap());
    let stored = stored.collect();
    (parts, stored)
}

proptest! {
    /// Whatever the units say, the stream is as long as it is, what is not missing is as in a flat array, and gaps are zeros.
    #[test]
    fn units_agree_with_a_flat_array(
        runs in proptest::collection::vec((0_u64..4000, 0_u64..1500, 0_usize..4, 0_u64..1200), 0..10),
        size in 0_u64..5000,
        incomplete in any::<bool>(),
    ) {
        let codecs = [Codec::Zlib, Codec::Lz4, Codec::Stored, Codec::Zstd];
        let (parts, stored) = PARTS.get_or_init(|| parts(codecs));
        let offsets: Vec<u64> = (0..4).map(|part| stored[..part].iter().map(|bytes| len(bytes)).sum()).collect();
        let (image, extents) = fragment(&stored.concat());
        let units: Vec<PackedUnit> = runs.iter().map(|(logical_offset, run, part, skip)| PackedUnit {
            logical_offset: *logical_offset,
            len: *run,
            stored_offset: offsets[*part],
            stored_len: len(&stored[*part]),
            skip: *skip,
            codec: codecs[*part],
            is_whole: false,
        }).collect();
        let stream = Stream {
            kind: StreamKind::Data,
            size_bytes: size,
            extents,
            encoding: Encoding::Packed(units.clone()),
            extents_incomplete: incomplete,
        };
        let (bytes, missing) = collect(&image, &stream);
        // For every byte: what it is, and whether it is there.
        let mut flat = vec![(0_u8, !incomplete); usize::try_from(size).unwrap()];
        let mut position = 0;
        for (unit, (_, _, part, _)) in units.iter().zip(&runs) {
            for step in 0..unit.len {
                let logical = unit.logical_offset + step;
                if logical >= position && logical < size {
                    let byte = parts[*part].get(usize::try_from(unit.skip + step).unwrap());
                    flat[usize::try_from(logical).unwrap()] = (byte.copied().unwrap_or(0), byte.is_some());
                    position = logical + 1;
                }
            }
            position = position.max(unit.logical_offset.min(size));
        }
        let is_missing = |at: u64| missing.ranges.iter().any(|range| range.offset <= at && at < range.end());
        prop_assert_eq!(len(&bytes), size);
        for (at, (byte, (expected, is_there))) in (0..).zip(bytes.iter().zip(&flat)) {
            prop_assert_eq!(byte, expected, "at {}", at);
            prop_assert_eq!(is_missing(at), !is_there, "at {}", at);
        }
    }
}

/// Streams whose content lies in one stored run, one behind the other, as the ends of files in squashfs.
fn sharing(content: &[u8], codec: Codec, sizes: &[usize]) -> (Vec<u8>, Vec<Stream>) {
    let stored = encode(codec, content).unwrap();
    let mut image = vec![0xee; 512];
    let extent = Extent {
        logical_offset: 0,
        image_offset: len(&image),
        len: len(&stored),
        kind: ExtentKind::Data,
    };
    image.extend(&stored);
    let mut skip = 0;
    let streams = sizes.iter().map(|size| {
        let size = u64::try_from(*size).unwrap();
        let unit = PackedUnit {
            logical_offset: 0,
            len: size,
            stored_offset: 0,
            stored_len: len(&stored),
            skip,
            codec,
            is_whole: false,
        };
        skip += size;
        Stream {
            kind: StreamKind::Data,
            size_bytes: size,
            extents: vec![extent],
            encoding: Encoding::Packed(vec![unit]),
            extents_incomplete: false,
        }
    });
    let streams = streams.collect();
    (image, streams)
}

/// However many files share a run, it is read and decoded once, to its end.
#[test]
fn a_shared_run_is_decoded_once() {
    let content = &contents()[3][..50_000];
    for codec in [Codec::Zlib, Codec::Zstd, Codec::Lz4, Codec::Lzo] {
        let (image, streams) = sharing(content, codec, &[1000; 50]);
        let (image, mut kept) = (Counted(image, AtomicU64::new(0)), Kept::default());
        let mut bytes = Vec::new();
        for stream in &streams {
            let missing = read_stream_after::<Infallible>(&mut kept, &image, stream, &mut |piece| {
                if let Piece::Bytes(more) = piece {
                    bytes.extend_from_slice(more);
                }
                Ok(())
            });
            assert_eq!(missing, Ok(Missing::default()), "{}", codec.name());
        }
        assert!(bytes == content, "{}", codec.name());
        assert_eq!(image.1.into_inner(), 1, "{}", codec.name());
    }
}

proptest! {
    /// Whatever is kept, in whatever order streams are read and whatever is wrong with what is stored: a stream reads as it would alone (R11).
    #[test]
    fn r11_what_is_kept_changes_nothing(
        order in proptest::collection::vec(0_usize..20, 1..40),
        codec in prop_oneof![Just(Codec::Zlib), Just(Codec::Lz4), Just(Codec::Zstd)],
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), 1_u8..), 0..3),
        unread in proptest::option::of((any::<proptest::sample::Index>(), 1_u64..700)),
    ) {
        let (mut image, streams) = sharing(&contents()[3][..20_000], codec, &[1000; 20]);
        for (at, mask) in flips {
            let at = 512 + at.index(image.len() - 512);
            image[at] ^= mask;
        }
        let holes = unread.map(|(at, len)| ByteRange::new(u64::try_from(at.index(image.len())).unwrap(), len));
        let masked = Masked::new(image, holes.into_iter().collect());
        let mut kept = Kept::default();
        for number in order {
            let stream = &streams[number];
            let mut bytes = Vec::new();
            let missing = read_stream_after::<Infallible>(&mut kept, &masked, stream, &mut |piece| {
                match piece {
                    Piece::Bytes(more) => bytes.extend_from_slice(more),
                    Piece::Zeros(len) => bytes.resize(bytes.len() + usize::try_from(len).unwrap(), 0),
                }
                Ok(())
            });
            prop_assert_eq!((bytes, missing.unwrap()), collect(&masked, stream));
        }
    }
}
