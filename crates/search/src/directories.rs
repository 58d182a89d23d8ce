//! The directories of a segment: their paths, and which names are theirs.

use std::ops::Range;

use crate::blocks::BlockReader;
use crate::candidates;
use crate::error::Error;
use crate::format::{BlockPlace, Footer, PartKind};
use crate::read::Segment;
use crate::varint;

/// The footers of all parts with directories, in order.
pub(crate) struct Directories {
    footers: Vec<Footer>,
    /// All their blocks.
    blocks: Vec<BlockPlace>,
}

impl Directories {
    pub(crate) fn open(segment: &Segment) -> Result<Self, Error> {
        let mut footers = Vec::new();
        let mut blocks = Vec::new();
        for place in segment.parts(PartKind::Directories) {
            let footer = segment.footer(place)?;
            blocks.extend_from_slice(&footer.blocks);
            footers.push(footer);
        }
        Ok(Self { footers, blocks })
    }

    /// The parts, for [`Directories::each_candidate`].
    pub(crate) fn parts(&self) -> &[Footer] {
        &self.footers
    }

    /// Visits the directories of every block of a part that can hold one of the literals, with the numbers of their names.
    pub(crate) fn each_candidate(
        segment: &Segment,
        footer: &Footer,
        clause: &[Vec<u8>],
        each: &mut dyn FnMut(&[u8], Range<u64>),
    ) -> Result<(), Error> {
        let granules = candidates::of_clause(segment, footer, clause)?;
        let in_a_row = granules.len() > 1024;
        let mut reader = BlockReader::new(segment)?;
        for (index, place) in footer.blocks.iter().enumerate() {
            if granules.contains(index) {
                let mut walk = Walk::start(segment, &mut reader, place, in_a_row)?;
                while walk.next(segment)? {
                    each(&walk.path, walk.names.clone());
                }
            }
        }
        Ok(())
    }

    /// A cursor that begins at the directory that holds a name.
    pub(crate) fn cursor<'d>(&'d self, segment: &'d Segment) -> Result<Cursor<'d>, Error> {
        Ok(Cursor {
            directories: self,
            segment,
            reader: BlockReader::new(segment)?,
            walk: None,
            next_block: 0,
        })
    }
}

/// Walks the directories of one block.
pub(crate) struct Walk {
    block: Vec<u8>,
    heads_at: usize,
    texts_at: usize,
    left: usize,
    place: BlockPlace,
    /// The path of the directory at which it stands.
    path: Vec<u8>,
    /// Its names.
    names: Range<u64>,
}

impl Walk {
    fn start(
        segment: &Segment,
        reader: &mut BlockReader<'_>,
        place: &BlockPlace,
        in_a_row: bool,
    ) -> Result<Self, Error> {
        let block = reader.unpack(place, in_a_row)?.to_vec();
        Self::of(block, place).ok_or_else(|| segment.damaged(place.at, MALFORMED))
    }

    /// Of an unpacked block; `None` if it is malformed.
    pub(crate) fn of(block: Vec<u8>, place: &BlockPlace) -> Option<Self> {
        let mut rest = block.as_slice();
        for _ in 0..place.texts.checked_mul(3)? {
            varint::take(&mut rest)?;
        }
        let texts_at = block.len() - rest.len();
        Some(Self {
            block,
            heads_at: 0,
            texts_at,
            left: place.texts,
            place: *place,
            path: Vec::new(),
            names: place.first_path..place.first_path,
        })
    }

    /// Goes to the next directory; false at the end.
    fn next(&mut self, segment: &Segment) -> Result<bool, Error> {
        if self.left == 0 {
            return Ok(false);
        }
        self.step()
            .ok_or_else(|| segment.damaged(self.place.at, MALFORMED))?;
        Ok(true)
    }

    /// As [`Walk::next`], where there is one more; `None` if the block is malformed.
    pub(crate) fn step(&mut self) -> Option<()> {
        let heads = self.block.get(self.heads_at..)?;
        let mut rest = heads;
        let shared = varint::take_len(&mut rest)?;
        let len = varint::take_len(&mut rest)?;
        let names = varint::take(&mut rest)?;
        self.heads_at += heads.len() - rest.len();
        let text = self.block.get(self.texts_at..self.texts_at.checked_add(len)?)?;
        self.texts_at += len;
        if shared > self.path.len() {
            return None;
        }
        self.path.truncate(shared);
        self.path.extend_from_slice(text);
        self.names = self.names.end..self.names.end.checked_add(names)?;
        self.left = self.left.checked_sub(1)?;
        (self.names.end <= self.place.first_path.checked_add(self.place.paths)?).then_some(())
    }
}

const MALFORMED: &str = "a block of directories is malformed";

/// Tells the directories of names that are asked for in ascending order.
pub(crate) struct Cursor<'d> {
    directories: &'d Directories,
    segment: &'d Segment,
    reader: BlockReader<'d>,
    walk: Option<Walk>,
    next_block: usize,
}

impl Cursor<'_> {
    /// The path of the directory that holds a name, and its names. Names must be asked for in ascending order.
    pub(crate) fn holder(&mut self, name: u64) -> Result<(&[u8], Range<u64>), Error> {
        loop {
            let stands = self.walk.as_ref().map(|walk| {
                (
                    walk.names.end,
                    walk.place.first_path.saturating_add(walk.place.paths),
                )
            });
            match stands {
                Some((end, _)) if name < end => break,
                Some((_, block_end)) if name < block_end => {
                    let segment = self.segment;
                    let stepped = self.walk.as_mut().map(|walk| walk.next(segment)).transpose()?;
                    if stepped != Some(true) {
                        return Err(self.lacks(name));
                    }
                }
                _ => self.jump(name)?,
            }
        }
        let walk = self.walk.as_ref();
        let walk = walk
            .filter(|walk| walk.names.contains(&name))
            .ok_or_else(|| self.lacks(name))?;
        Ok((&walk.path, walk.names.clone()))
    }

    /// Opens the block that holds a name.
    fn jump(&mut self, name: u64) -> Result<(), Error> {
        let blocks = &self.directories.blocks;
        let after = blocks.partition_point(|block| block.first_path <= name);
        let index = after.checked_sub(1).ok_or_else(|| self.lacks(name))?;
        let place = blocks.get(index).ok_or_else(|| self.lacks(name))?;
        if place.first_path.saturating_add(place.paths) <= name {
            return Err(self.lacks(name));
        }
        let in_a_row = index == self.next_block;
        self.next_block = index + 1;
        self.walk = Some(Walk::start(self.segment, &mut self.reader, place, in_a_row)?);
        Ok(())
    }

    fn lacks(&self, _: u64) -> Error {
        self.segment.damaged(0, "it lacks the directory of a name")
    }
}
