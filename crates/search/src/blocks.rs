//! Blocks, unpacked one after the other with one buffer.

use crate::error::Error;
use crate::format::{BlockPlace, UNPACKED_BYTES_MAX};
use crate::read::Segment;
use crate::varint;

/// Bytes read in one go where most blocks are wanted.
const AHEAD_BYTES: usize = 256 << 10;

/// Reads and unpacks blocks.
pub(crate) struct BlockReader<'s> {
    segment: &'s Segment,
    unpacker: zstd::bulk::Decompressor<'static>,
    unpacked: Vec<u8>,
    ahead: Vec<u8>,
    ahead_at: u64,
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
        })
    }

    /// The content of a block; `in_a_row` if most that follow are wanted too.
    pub(crate) fn unpack(&mut self, place: &BlockPlace, in_a_row: bool) -> Result<&[u8], Error> {
        let damaged = |detail| self.segment.damaged(place.at, detail);
        if !in_a_row || ahead_range(&self.ahead, self.ahead_at, place).is_none() {
            let rest = usize::try_from(self.segment.bytes_from(place.at)).unwrap_or(usize::MAX);
            let ahead = if in_a_row { AHEAD_BYTES.min(rest) } else { 0 };
            let len = place.len.max(ahead);
            self.segment.read_into(&mut self.ahead, place.at, len)?;
            self.ahead_at = place.at;
        }
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
    pub(crate) ends: Vec<usize>,
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

    /// A name.
    pub(crate) fn get<'b>(&self, block: &'b [u8], index: usize) -> &'b [u8] {
        self.texts(block).get(self.range(index)).unwrap_or_default()
    }
}
