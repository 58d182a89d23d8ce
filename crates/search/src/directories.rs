//! The directories of a segment: their paths, and which names are theirs.

use std::ops::Range;

use crate::candidates;
use crate::error::Error;
use crate::format::{BlockPlace, PartKind};
use crate::read::Segment;
use crate::varint;

/// All blocks of directories.
pub(crate) struct Directories {
    blocks: Vec<DirectoryBlock>,
}

/// A block of directories in a search.
#[derive(Clone, Copy)]
pub(crate) struct DirectoryBlock {
    pub(crate) place: BlockPlace,
    /// Whether a directory of it can hold what was looked for.
    pub(crate) can_hold: bool,
}

impl Directories {
    /// Looks up which blocks can hold one of the literals: none of no literals.
    pub(crate) fn open(segment: &Segment, clause: &[Vec<u8>]) -> Result<Self, Error> {
        let mut blocks = Vec::new();
        for part in segment.parts(PartKind::Directories) {
            let footer = segment.footer(part)?;
            let granules = candidates::of_clause(segment, &footer, clause)?;
            // A block is one granule.
            blocks.extend(
                footer
                    .blocks
                    .iter()
                    .enumerate()
                    .map(|(index, place)| DirectoryBlock {
                        place: *place,
                        can_hold: granules.contains(index),
                    }),
            );
        }
        Ok(Self { blocks })
    }

    /// The blocks that hold the directories of some names.
    pub(crate) fn of_names(&self, names: &Range<u64>) -> &[DirectoryBlock] {
        let start = self
            .blocks
            .partition_point(|block| block.place.numbers().end <= names.start);
        let end = self
            .blocks
            .partition_point(|block| block.place.first_path < names.end);
        self.blocks.get(start..end).unwrap_or_default()
    }
}

/// Walks the directories of one block after the other.
#[derive(Default)]
pub(crate) struct Walk {
    heads_at: usize,
    texts_at: usize,
    left: usize,
    /// The path of the directory at which it stands.
    pub(crate) path: Vec<u8>,
    /// The numbers of its names.
    pub(crate) names: Range<u64>,
    /// Where those of the last directory must end.
    names_end: u64,
}

impl Walk {
    /// Begins a block; `None` if it is malformed.
    pub(crate) fn open(&mut self, block: &[u8], place: &BlockPlace) -> Option<()> {
        let mut rest = block;
        for _ in 0..place.texts.checked_mul(3)? {
            varint::take(&mut rest)?;
        }
        self.heads_at = 0;
        self.texts_at = block.len() - rest.len();
        self.left = place.texts;
        self.path.clear();
        self.names = place.first_path..place.first_path;
        self.names_end = place.numbers().end;
        Some(())
    }

    /// Goes to the next directory of the block; false at its end, `None` if it is malformed.
    pub(crate) fn step(&mut self, block: &[u8]) -> Option<bool> {
        let Some(left) = self.left.checked_sub(1) else {
            return (self.names.end == self.names_end).then_some(false);
        };
        self.left = left;
        let heads = block.get(self.heads_at..)?;
        let mut rest = heads;
        let shared = varint::take_len(&mut rest)?;
        let len = varint::take_len(&mut rest)?;
        let names = varint::take(&mut rest)?;
        self.heads_at += heads.len() - rest.len();
        let texts_end = self.texts_at.checked_add(len)?;
        let text = block.get(self.texts_at..texts_end)?;
        self.texts_at = texts_end;
        if shared > self.path.len() {
            return None;
        }
        self.path.truncate(shared);
        self.path.extend_from_slice(text);
        self.names = self.names.end..self.names.end.checked_add(names)?;
        (self.names.end <= self.names_end).then_some(true)
    }
}
