//! Blocks, unpacked one after the other with one buffer.

use crate::error::Error;
use crate::format::{BlockPlace, UNPACKED_BYTES_MAX};
use crate::read::Segment;
use crate::varint;

/// Bytes read in one go where most blocks are wanted; where that only begins to show, fewer.
const AHEAD_BYTES: usize = 256 << 10;
const AHEAD_BYTES_FIRST: usize = 16 << 10;
/// A block that begins at most so many bytes after the one before is taken for one of many that follow: one of names in two, with one of directories
/// between.
const NEAR_BYTES: u64 = 8 << 10;

/// Reads and unpacks blocks.
pub(crate) struct BlockReader<'s> {
    segment: &'s Segment,
    unpacker: zstd::bulk::Decompressor<'static>,
    unpacked: Vec<u8>,
    ahead: Vec<u8>,
    ahead_at: u64,
    /// Where the block before ended.
    last_end: Option<u64>,
    /// Bytes that the last read asked for ahead.
    reach: usize,
}

impl<'s> BlockReader<'s> {
    pub(crate) fn new(segment: &'s Segment) -> Result<Self, Error> {
        let unpacker = zstd::bulk::Decompressor::new().map_err(|error| Error::Names(Box::new(error)))?;
        Ok(Self {
            segment,
            unpacker,
            unpacked: Vec::new(),
            ahead: Vec::new(),
            ahead_at: 0,
            last_end: None,
            reach: 0,
        })
    }

    /// The content of a block. Places ascend: where they are near each other, several are read at once.
    pub(crate) fn unpack(&mut self, place: &BlockPlace) -> Result<&[u8], Error> {
        let damaged = |detail| self.segment.damaged(place.at, detail);
        if ahead_range(&self.ahead, self.ahead_at, place).is_none() {
            let rest = usize::try_from(self.segment.bytes_from(place.at)).unwrap_or(usize::MAX);
            self.reach = if self.is_near(place) {
                (self.reach * 2).clamp(AHEAD_BYTES_FIRST, AHEAD_BYTES)
            } else {
                0
            };
            let len = place.len.max(self.reach.min(rest));
            self.segment.read_into(&mut self.ahead, place.at, len)?;
            self.ahead_at = place.at;
        }
        self.last_end = Some(place.end());
        let packed = ahead_range(&self.ahead, self.ahead_at, place);
        let packed = packed.ok_or_else(|| damaged("it points beyond its end"))?;
        let len = zstd::zstd_safe::get_frame_content_size(packed).ok().flatten();
        let len = len
            .and_then(|len| usize::try_from(len).ok())
            .filter(|len| *len <= UNPACKED_BYTES_MAX);
        let len = len.ok_or_else(|| damaged("a block is malformed"))?;
        self.unpacked.clear();
        self.unpacked.reserve(len);
        let unpacked = self.unpacker.decompress_to_buffer(packed, &mut self.unpacked);
        match unpacked {
            Ok(written) if written == len => Ok(&self.unpacked),
            _ => Err(damaged("a block has another checksum")),
        }
    }

    /// The content of the block that was unpacked last.
    pub(crate) fn unpacked(&self) -> &[u8] {
        &self.unpacked
    }

    fn is_near(&self, place: &BlockPlace) -> bool {
        let gap = self.last_end.and_then(|end| place.at.checked_sub(end));
        gap.is_some_and(|gap| gap <= NEAR_BYTES)
    }
}

/// The bytes of a block among those that were read ahead.
fn ahead_range<'a>(ahead: &'a [u8], at: u64, place: &BlockPlace) -> Option<&'a [u8]> {
    let start = usize::try_from(place.at.checked_sub(at)?).ok()?;
    ahead.get(start..start.checked_add(place.len)?)
}

/// The names of a block.
#[derive(Default)]
pub(crate) struct Names {
    /// Where each name ends in `texts`.
    ends: Vec<usize>,
    texts_at: usize,
}

impl Names {
    /// Takes a block apart; `None` if it is malformed.
    pub(crate) fn parse(&mut self, block: &[u8], count: usize) -> Option<()> {
        self.ends.clear();
        let (mut rest, mut end) = (block, 0_usize);
        for _ in 0..count {
            end = end.checked_add(varint::take_len(&mut rest)?)?;
            self.ends.push(end);
        }
        self.texts_at = block.len() - rest.len();
        (end == rest.len()).then_some(())
    }

    /// All names in a row.
    pub(crate) fn texts<'b>(&self, block: &'b [u8]) -> &'b [u8] {
        block.get(self.texts_at..).unwrap_or_default()
    }

    /// Where a name lies in [`Names::texts`].
    pub(crate) fn range(&self, index: usize) -> std::ops::Range<usize> {
        let start = index
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .copied()
            .unwrap_or(0);
        start..self.ends.get(index).copied().unwrap_or(start)
    }

    /// The name that holds a byte of [`Names::texts`], if it is none before `index`.
    pub(crate) fn index_at(&self, byte: usize, index: usize) -> usize {
        let ends = self.ends.get(index..).unwrap_or_default();
        // It is one of the next few, or any.
        let before = match ends.iter().take(8).position(|end| byte < *end) {
            Some(before) => before,
            None => ends.partition_point(|end| *end <= byte),
        };
        index + before
    }

    /// Some of the names, by their places among them.
    #[inline]
    pub(crate) fn each<'b>(
        &self,
        block: &'b [u8],
        places: std::ops::Range<usize>,
    ) -> impl Iterator<Item = (usize, &'b [u8])> + use<'_, 'b> {
        let texts = self.texts(block);
        let mut start = self.range(places.start).start;
        let ends = self.ends.get(places.start..places.end.min(self.ends.len()));
        (places.start..)
            .zip(ends.unwrap_or_default())
            .map(move |(place, end)| {
                let name = texts.get(start..*end).unwrap_or_default();
                start = *end;
                (place, name)
            })
    }
}
