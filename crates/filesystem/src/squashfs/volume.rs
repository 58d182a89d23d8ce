//! What every part of the reader needs: the superblock, and metadata, which lies in blocks of 8 KiB that are compressed one by one.

use std::cell::RefCell;
use std::rc::Rc;

use ntt_codec::decode;
use ntt_source::ReadError;

use super::superblock::Superblock;
use crate::VolumeSource;

/// Bytes of metadata in a block.
pub(super) const METADATA_BYTES: usize = 8192;
/// Bit of a block's length that says that it is not compressed.
const STORED: u16 = 0x8000;
/// Blocks that are kept.
const CACHE_BLOCKS: u64 = 128;

/// A place in metadata: the block, counted from the start of its table, and the byte in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) block: u64,
    pub(super) offset: usize,
}

impl Place {
    /// From a reference: 48 bits of block, 16 bits of offset.
    pub(super) fn from_reference(reference: u64) -> Self {
        Self {
            block: reference >> 16,
            offset: usize::try_from(reference & 0xffff).unwrap_or(0),
        }
    }
}

/// Why metadata could not be had, and where it lies in the volume.
#[derive(Debug)]
pub(super) enum Fault {
    Read(ReadError, u64),
    Corrupt(String, u64),
}

/// A block of metadata.
#[derive(Debug)]
struct Block {
    bytes: Vec<u8>,
    /// Where the next one begins in the volume.
    next: u64,
}

/// A block that is kept, and where it lies.
type Slot = Option<(u64, Rc<Block>)>;

/// A volume whose superblock was read.
pub(super) struct Volume<'a> {
    source: VolumeSource<'a>,
    image_offset: u64,
    pub(super) superblock: Superblock,
    cache: RefCell<Vec<Slot>>,
}

impl<'a> Volume<'a> {
    pub(super) fn new(source: VolumeSource<'a>, image_offset: u64, superblock: Superblock) -> Self {
        Self {
            source,
            image_offset,
            superblock,
            cache: RefCell::new(vec![None; usize::try_from(CACHE_BLOCKS).unwrap_or(1)]),
        }
    }

    pub(super) fn source_len(&self) -> u64 {
        self.source.len()
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        let read = self.source.read_exact_at(offset, buffer);
        read.map_err(|error| Fault::Read(error, offset))
    }

    /// A byte of the volume as a byte of the image.
    pub(super) fn in_image(&self, offset: u64) -> u64 {
        self.image_offset.saturating_add(offset)
    }

    fn block(&self, at: u64) -> Result<Rc<Block>, Fault> {
        let slot = usize::try_from(at % CACHE_BLOCKS).unwrap_or(0);
        if let Some(Some((held, block))) = self.cache.borrow().get(slot)
            && *held == at
        {
            return Ok(Rc::clone(block));
        }
        let block = Rc::new(self.fresh_block(at)?);
        if let Some(place) = self.cache.borrow_mut().get_mut(slot) {
            *place = Some((at, Rc::clone(&block)));
        }
        Ok(block)
    }

    fn fresh_block(&self, at: u64) -> Result<Block, Fault> {
        let mut head = [0; 2];
        self.read(at, &mut head)?;
        let head = u16::from_le_bytes(head);
        let len = match head & !STORED {
            0 => STORED,
            len => len,
        };
        if usize::from(len) > METADATA_BYTES {
            return Err(Fault::Corrupt(format!("a block of metadata has {len} bytes"), at));
        }
        let start = at.saturating_add(2);
        let mut stored = vec![0; usize::from(len)];
        self.read(start, &mut stored)?;
        let next = start.saturating_add(len.into());
        if head & STORED != 0 {
            return Ok(Block { bytes: stored, next });
        }
        let mut bytes = Vec::new();
        decode(self.superblock.codec, &stored, &mut bytes, METADATA_BYTES)
            .map_err(|error| Fault::Corrupt(format!("a block of metadata: {error}"), at))?;
        Ok(Block { bytes, next })
    }

    /// A reader of the metadata of a table from a place on.
    pub(super) fn metadata(&self, table: u64, place: Place) -> Metadata<'_, 'a> {
        Metadata {
            volume: self,
            at: table.saturating_add(place.block),
            offset: place.offset,
        }
    }
}

/// Reads metadata on over the borders of blocks.
#[derive(Clone)]
pub(super) struct Metadata<'v, 'a> {
    volume: &'v Volume<'a>,
    at: u64,
    offset: usize,
}

impl Metadata<'_, '_> {
    /// Fills `buffer`.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<(), Fault> {
        let mut done: usize = 0;
        while let Some(wanted) = buffer.get_mut(done..).filter(|wanted| !wanted.is_empty()) {
            let block = self.volume.block(self.at)?;
            let here = block.bytes.get(self.offset..).unwrap_or_default();
            let len = here.len().min(wanted.len());
            for (to, from) in wanted.iter_mut().zip(here) {
                *to = *from;
            }
            done = done.saturating_add(len);
            self.offset = self.offset.saturating_add(len);
            if self.offset >= block.bytes.len() {
                self.next_block(&block)?;
            }
        }
        Ok(())
    }

    fn next_block(&mut self, block: &Block) -> Result<(), Fault> {
        let is_bad = self.offset > block.bytes.len() || block.bytes.is_empty();
        if is_bad {
            return Err(Fault::Corrupt("metadata ends too early".to_owned(), self.at));
        }
        self.at = block.next;
        self.offset = 0;
        Ok(())
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    /// The next `len` bytes; `len` is at most 64 KiB, as 16 bits are all that a length has.
    pub(super) fn bytes(&mut self, len: u16) -> Result<Vec<u8>, Fault> {
        let mut bytes = vec![0; usize::from(len)];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    /// Where the block that is read from lies in the volume.
    pub(super) const fn position(&self) -> u64 {
        self.at
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }
}
