//! Where the data streams of a chunk's members lie, kept beside the members: a claim then reads one row and not hundreds of inodes.
//!
//! It repeats what the inodes say, which never change in a sealed scan. What is long or rare is not repeated; it is looked up.

use ntt_model::entry::{Encoding, Stream, StreamKind};

use crate::Error;
use crate::codec::{self, Reader, put, put_difference};
use crate::rows::WantedStream;

/// Bytes of a map that is repeated at most: an extent or two.
pub(crate) const SHORT: usize = 15;
/// The bits of an inode's row, in all back ends, whose data stream is encoded, or has extents that are not all known.
const IRREGULAR: i64 = 16 | 32 | 64;
/// In front of a place that is to be looked up, of one without extents, and of one with extents, to which the bytes behind the first offset are added.
const UNKNOWN: u64 = 0;
const WITHOUT_EXTENTS: u64 = 1;
const WITH_EXTENTS: u64 = 2;

/// The extents of a data stream as [`codec::put_map`] writes them, if they are few.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct ShortMap {
    bytes: [u8; SHORT],
    /// How many of them, plus 1; 0 if the map is to be looked up.
    filled: u8,
}

impl ShortMap {
    /// The map of a plain stream all of whose extents are known, from these bytes.
    pub(crate) fn of(extents: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..extents.len()), u8::try_from(extents.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(extents);
                Self {
                    bytes,
                    filled: len + 1,
                }
            }
            _ => Self::default(),
        }
    }

    /// The map of stream 0 of an inode whose row has these `bits`; of `extents` no more than [`SHORT`] + 1 bytes are needed.
    pub(crate) fn of_row(bits: i64, extents: &[u8]) -> Self {
        if bits & IRREGULAR == 0 {
            Self::of(extents)
        } else {
            Self::default()
        }
    }

    /// Of the stream with this ordinal, if this is the map of stream 0 of the same inode.
    pub(crate) fn for_stream(self, ordinal: u32) -> Self {
        if ordinal == 0 { self } else { Self::default() }
    }

    fn bytes(&self) -> Option<&[u8]> {
        let len = usize::from(self.filled).checked_sub(1)?;
        self.bytes.get(..len)
    }
}

/// Size and map of a member's data stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Place {
    pub(crate) size: u64,
    pub(crate) map: ShortMap,
}

/// Encodes the places of a chunk's members. Each one: a mark with the length of what follows the first offset; the size; the first image offset as a
/// difference to the one before; the rest of the extents.
pub(crate) fn put_layout(places: &[Place]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(places.len() * 8);
    let mut previous = 0;
    for place in places {
        match place.map.bytes() {
            None => put(&mut out, UNKNOWN),
            Some([]) => {
                put(&mut out, WITHOUT_EXTENTS);
                put(&mut out, place.size);
            }
            Some(extents) => {
                let mut reader = Reader::new(extents, "extents");
                let first = reader.take_difference(0)?;
                let rest = reader.rest();
                put(
                    &mut out,
                    WITH_EXTENTS.saturating_add(u64::try_from(rest.len()).unwrap_or(u64::MAX)),
                );
                put(&mut out, place.size);
                put_difference(&mut out, first, previous);
                out.extend_from_slice(rest);
                previous = first;
            }
        }
    }
    Ok(out)
}

/// The data streams that [`put_layout`] wrote, in the order of the members; `None` for one that is to be looked up.
fn streams(bytes: &[u8]) -> Result<Vec<Option<Stream>>, Error> {
    let mut reader = Reader::new(bytes, "layout");
    let mut streams = Vec::with_capacity(bytes.len() / 8);
    let mut previous = 0;
    while !reader.is_empty() {
        let mark = reader.take()?;
        if mark == UNKNOWN {
            streams.push(None);
            continue;
        }
        let size_bytes = reader.take()?;
        let extents = match mark.checked_sub(WITH_EXTENTS) {
            None => Vec::new(),
            Some(rest) => {
                previous = reader.take_difference(previous)?;
                codec::map_behind(previous, reader.take_bytes(rest)?)?.0
            }
        };
        streams.push(Some(Stream {
            kind: StreamKind::Data,
            size_bytes,
            extents,
            encoding: Encoding::Plain,
            extents_incomplete: false,
        }));
    }
    Ok(streams)
}

/// The streams of a chunk's `members` members that stand beside them; none for a member that is to be looked up.
pub(crate) fn known(layout: &[u8], members: usize) -> Result<Vec<Vec<WantedStream>>, Error> {
    let wanted = |stream| vec![WantedStream { ordinal: 0, stream }];
    let streams = streams(layout)?.into_iter();
    let mut known: Vec<_> = streams
        .map(|stream| stream.map_or_else(Vec::new, wanted))
        .collect();
    known.resize_with(members, Vec::new);
    Ok(known)
}

#[cfg(test)]
mod tests {
    use ntt_model::{Extent, ExtentKind};
    use proptest::prelude::*;

    use super::*;

    fn place(size: u64, extents: &[(u64, u64)]) -> (Place, Vec<Extent>) {
        let mut logical_offset = 0_u64;
        let extents: Vec<Extent> = extents
            .iter()
            .map(|&(image_offset, len)| {
                let extent = Extent {
                    logical_offset,
                    image_offset,
                    len,
                    kind: ExtentKind::Data,
                };
                logical_offset = logical_offset.wrapping_add(len);
                extent
            })
            .collect();
        let mut bytes = Vec::new();
        codec::put_extents(&mut bytes, &extents);
        let map = ShortMap::of(&bytes);
        (Place { size, map }, extents)
    }

    proptest! {
        #[test]
        fn every_layout_comes_back(
            given in prop::collection::vec((any::<u64>(), prop::collection::vec(any::<(u64, u64)>(), 0..3)), 0..9)
        ) {
            let (places, extents): (Vec<_>, Vec<_>) = given.iter().map(|(size, extents)| place(*size, extents)).unzip();
            let read = streams(&put_layout(&places).unwrap()).unwrap();
            prop_assert_eq!(read.len(), places.len());
            for ((read, place), extents) in read.iter().zip(&places).zip(&extents) {
                match read {
                    None => prop_assert!(place.map == ShortMap::default()),
                    Some(read) => prop_assert_eq!((read.size_bytes, &read.extents), (place.size, extents)),
                }
            }
        }

        #[test]
        fn no_bytes_harm(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = streams(&bytes);
        }
    }

    #[test]
    fn one_extent_is_repeated_and_many_are_not() {
        let (one, _) = place(70_000, &[(1 << 40, 73_728)]);
        assert!(one.map.bytes().is_some());
        let (many, _) = place(7, &[(1 << 40, 4096), (1 << 50, 4096), (3, 4096)]);
        assert_eq!(many.map, ShortMap::default());
        assert!(streams(&[200]).is_err());
    }
}
