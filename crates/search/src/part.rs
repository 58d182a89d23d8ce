//! A part while it is made: the texts of its open block, and the trigrams of all its granules.

use crate::error::Error;
use crate::format::{BLOCK_BYTES, BlockPlace, Footer, GRANULES_PER_PART, PartKind};
use crate::postings::Pages;
use crate::trigram::{self, each_of_text};
use crate::varint;

/// Packs blocks. Below zero texts are not squeezed bit by bit: a broad search unpacks every block, and does so in half the time, for three bytes a path
/// more (`docs/design/search.md`).
pub(crate) const ZSTD_LEVEL: i32 = -1;

/// Memory is bounded by the granules of a part: about 60 MB in the worst case that was seen, whatever the scan.
pub(crate) struct Part {
    kind: PartKind,
    first_path: u64,
    paths: u64,
    block: Block,
    blocks: Vec<BlockPlace>,
    /// 2^12 times the trigram plus the granule.
    pairs: Vec<u64>,
    /// A bit for each trigram of the open granule, and the same as a list.
    seen: Vec<u64>,
    in_granule: Vec<u32>,
}

/// The texts of the open block.
#[derive(Default)]
struct Block {
    heads: Vec<u8>,
    texts: Vec<u8>,
    count: usize,
    first_path: u64,
    paths: u64,
    /// The text before, for those that share its beginning.
    last: Vec<u8>,
}

impl Part {
    pub(crate) fn new(kind: PartKind) -> Self {
        Self {
            kind,
            first_path: 0,
            paths: 0,
            block: Block::default(),
            blocks: Vec::new(),
            pairs: Vec::new(),
            seen: vec![0; trigram::COUNT / 64],
            in_granule: Vec::new(),
        }
    }

    /// Adds a text that stands for so many paths.
    pub(crate) fn push(&mut self, text: &[u8], paths: u64) {
        match self.kind {
            PartKind::Names => self.block.push_name(text),
            PartKind::Directories => self.block.push_directory(text, paths),
        }
        self.block.paths += paths;
        let (seen, in_granule) = (&mut self.seen, &mut self.in_granule);
        each_of_text(text, |trigram| {
            let word = usize::try_from(trigram / 64).unwrap_or(0);
            let bit = 1 << (trigram % 64);
            if let Some(word) = seen.get_mut(word)
                && *word & bit == 0
            {
                *word |= bit;
                in_granule.push(trigram);
            }
        });
        if self.block.count.is_multiple_of(self.kind.granule_texts()) {
            self.end_granule();
        }
    }

    fn end_granule(&mut self) {
        let in_block = self.block.count.saturating_sub(1) / self.kind.granule_texts();
        let granule = self.blocks.len() * self.kind.block_granules() + in_block;
        let granule = u64::try_from(granule).unwrap_or(0);
        for trigram in self.in_granule.drain(..) {
            self.pairs.push(u64::from(trigram) << 12 | granule);
            if let Some(word) = self.seen.get_mut(usize::try_from(trigram / 64).unwrap_or(0)) {
                *word &= !(1 << (trigram % 64));
            }
        }
    }

    /// Whether the open block is full.
    pub(crate) fn block_is_full(&self) -> bool {
        self.block.count == self.kind.block_texts()
            || self.block.texts.len() + self.block.heads.len() >= BLOCK_BYTES
    }

    pub(crate) const fn block_is_empty(&self) -> bool {
        self.block.count == 0
    }

    /// Whether the part is full; its open block is empty then.
    pub(crate) fn is_full(&self) -> bool {
        self.blocks.len() == self.kind.part_blocks()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Packs the open block, which will stand at `at`.
    pub(crate) fn end_block(&mut self, at: u64, packer: &mut Packer) -> Result<Vec<u8>, Error> {
        if !self.in_granule.is_empty() {
            self.end_granule();
        }
        let block = std::mem::take(&mut self.block);
        let packed = packer.pack(&[block.heads, block.texts].concat())?;
        self.blocks.push(BlockPlace {
            at,
            len: packed.len(),
            texts: block.count,
            first_path: block.first_path,
            paths: block.paths,
        });
        self.paths += block.paths;
        self.block.first_path = block.first_path + block.paths;
        Ok(packed)
    }

    /// Ends the part: pages of postings, which will stand at `at`, and its footer. The next part begins.
    pub(crate) fn end(&mut self, at: u64) -> Ended {
        self.pairs.sort_unstable();
        let mut pages = Pages::default();
        for list in self.pairs.chunk_by(|one, next| one >> 12 == next >> 12) {
            let trigram = list.first().map_or(0, |pair| pair >> 12);
            let granules = list
                .iter()
                .map(|pair| usize::try_from(pair & 0xfff).unwrap_or(0) % GRANULES_PER_PART);
            pages.push(u32::try_from(trigram).unwrap_or(0), granules);
        }
        pages.end_page();
        self.pairs.clear();
        let footer = Footer {
            blocks: std::mem::take(&mut self.blocks),
            pages_at: at,
            fences: pages.fences,
        };
        let ended = Ended {
            kind: self.kind,
            pages: pages.bytes,
            footer: footer.encode(),
            first_path: self.first_path,
            paths: self.paths,
        };
        self.first_path += self.paths;
        self.paths = 0;
        ended
    }
}

/// A part that is made.
pub(crate) struct Ended {
    pub(crate) kind: PartKind,
    pub(crate) pages: Vec<u8>,
    pub(crate) footer: Vec<u8>,
    pub(crate) first_path: u64,
    pub(crate) paths: u64,
}

impl Block {
    /// Its length, then in its place the name.
    fn push_name(&mut self, name: &[u8]) {
        varint::put(&mut self.heads, u64::try_from(name.len()).unwrap_or(u64::MAX));
        self.texts.extend_from_slice(name);
        self.count += 1;
    }

    /// How many bytes it shares with the one before, how many come, how many names it has; then in their place the bytes.
    fn push_directory(&mut self, path: &[u8], names: u64) {
        let shared = path
            .iter()
            .zip(&self.last)
            .take_while(|(one, other)| one == other)
            .count();
        let rest = path.get(shared..).unwrap_or_default();
        for number in [shared, rest.len()] {
            varint::put(&mut self.heads, u64::try_from(number).unwrap_or(u64::MAX));
        }
        varint::put(&mut self.heads, names);
        self.texts.extend_from_slice(rest);
        self.last.clear();
        self.last.extend_from_slice(path);
        self.count += 1;
    }
}

/// Packs blocks, each with a checksum of its own.
pub(crate) struct Packer(zstd::bulk::Compressor<'static>);

impl Packer {
    pub(crate) fn new() -> Result<Self, Error> {
        let made = zstd::bulk::Compressor::new(ZSTD_LEVEL).and_then(|mut packer| {
            packer.include_checksum(true)?;
            Ok(Self(packer))
        });
        made.map_err(|error| Error::Names(Box::new(error)))
    }

    fn pack(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        self.0
            .compress(bytes)
            .map_err(|error| Error::Names(Box::new(error)))
    }
}
