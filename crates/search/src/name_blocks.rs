//! The names of a part in a search by paths: which of them can matter, and their bytes.

use std::ops::Range;

use crate::blocks::{BlockReader, Names};
use crate::error::Error;
use crate::format::{BlockPlace, Footer, PartKind};
use crate::postings::Granules;
use crate::read::Segment;

/// The names of a part, asked for by and large in ascending order.
pub(crate) struct NameBlocks<'s> {
    segment: &'s Segment,
    reader: BlockReader<'s>,
    blocks: Vec<BlockPlace>,
    /// The block that holds the names that were asked for last.
    at: usize,
    /// The one that is unpacked.
    open: Option<usize>,
    names: Names,
}

/// Neighbouring names of one block.
pub(crate) struct Piece {
    block: usize,
    /// Their numbers.
    pub(crate) numbers: Range<u64>,
    first: usize,
}

impl<'s> NameBlocks<'s> {
    pub(crate) fn new(segment: &'s Segment, footer: Footer) -> Result<Self, Error> {
        Ok(Self {
            segment,
            reader: BlockReader::new(segment)?,
            blocks: footer.blocks,
            at: 0,
            open: None,
            names: Names::default(),
        })
    }

    /// The first names of a range that lie in one of the granules; `None` if there are none.
    pub(crate) fn piece(&mut self, range: &Range<u64>, granules: &Granules) -> Option<Piece> {
        let texts = PartKind::Names.granule_texts();
        let mut from = range.start;
        while from < range.end {
            let place = self.block_of(from)?;
            let in_block = |number: u64| usize::try_from(number - place.first_path).ok();
            let end = place.numbers().end.min(range.end);
            let first = in_block(from)?;
            let granule = self.at * PartKind::Names.block_granules() + first / texts;
            let granule_end = (first / texts + 1) * texts;
            let piece_end = in_block(end)?.min(granule_end);
            let numbers = from..from + u64::try_from(piece_end - first).ok()?;
            if granules.contains(granule) {
                return Some(Piece {
                    block: self.at,
                    numbers,
                    first,
                });
            }
            from = numbers.end;
        }
        None
    }

    /// Whether all names of a range lie in one of the granules.
    pub(crate) fn are_all(&mut self, range: &Range<u64>, granules: &Granules) -> bool {
        let mut rest = range.clone();
        while let Some(piece) = self.piece(&rest, granules) {
            if piece.numbers.start != rest.start {
                return false;
            }
            rest.start = piece.numbers.end;
        }
        rest.is_empty()
    }

    /// Goes to the block of a name, which is never far.
    fn block_of(&mut self, name: u64) -> Option<BlockPlace> {
        while self.blocks.get(self.at)?.first_path > name {
            self.at = self.at.checked_sub(1)?;
        }
        while self.blocks.get(self.at)?.numbers().end <= name {
            self.at += 1;
        }
        self.blocks.get(self.at).copied()
    }

    /// The names of a piece.
    pub(crate) fn names(&mut self, piece: &Piece) -> Result<impl Iterator<Item = (u64, &[u8])>, Error> {
        if self.open != Some(piece.block) {
            self.open = None;
            self.unpack(piece)?;
            self.open = Some(piece.block);
        }
        let numbers = piece.numbers.clone();
        let count = usize::try_from(numbers.end - numbers.start).unwrap_or(0);
        let texts = self
            .names
            .each(self.reader.unpacked(), piece.first..piece.first + count);
        Ok(numbers.zip(texts.map(|(_, name)| name)))
    }

    fn unpack(&mut self, piece: &Piece) -> Result<(), Error> {
        let place = self.blocks.get(piece.block);
        let place = place.ok_or_else(|| self.segment.damaged(0, "it lacks a block of names"))?;
        let block = self.reader.unpack(place)?;
        let parsed = self.names.parse(block, place.texts);
        parsed.ok_or_else(|| self.segment.damaged(place.at, "a block of names is malformed"))
    }
}
