//! Which blocks are in use: the space manager and its bitmaps.
//!
//! ```text
//! space manager -> (address blocks) -> blocks of chunks -> bitmap of a chunk
//! ```

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::field::{le_u32, le_u64, u8_at};

use super::container::Container;
use super::disk::{Disk, Object};
use super::object::kind;
use crate::sparse_set::SparseSet;

/// Where a chunk's entries start in their block, and their length (`chunk_info_t`).
const CHUNKS_AT: usize = 40;
const CHUNK_LEN: usize = 32;

/// The main device of the space manager (`spaceman_device_t`, the first of two).
pub(super) struct Space {
    /// The manager's own bytes.
    bytes: Vec<u8>,
    blocks: u64,
    info_blocks: u32,
    address_blocks: u32,
    pub(super) free: u64,
    /// Where the list of addresses starts.
    list: usize,
}

/// A run of blocks whose use is told together.
struct Chunk {
    blocks: u32,
    /// 0 if all are free.
    bitmap: u64,
}

impl Space {
    /// The space manager of a checkpoint; `None` if it cannot be found.
    pub(super) fn find(disk: &Disk<'_>, container: &Container) -> Option<Self> {
        let block = manager_block(disk, container)?;
        let first = disk
            .object(block, |header| header.kind == kind::SPACE_MANAGER)
            .ok()?;
        Self::parse(disk, first)
    }

    fn parse(disk: &Disk<'_>, first: Object) -> Option<Self> {
        let space = Self {
            blocks: le_u64(&first.bytes, 48)?,
            info_blocks: le_u32(&first.bytes, 64)?,
            address_blocks: le_u32(&first.bytes, 68)?,
            free: le_u64(&first.bytes, 72)?,
            list: usize::try_from(le_u32(&first.bytes, 80)?).ok()?,
            bytes: first.bytes,
        };
        space.with_list(disk, first.block)
    }

    /// A manager of a large container has several blocks, one after the other.
    fn with_list(mut self, disk: &Disk<'_>, block: u64) -> Option<Self> {
        let count = usize::try_from(self.info_blocks.min(self.listed())).ok()?;
        let end = self.list.checked_add(count.checked_mul(8)?)?;
        let blocks = u64::try_from(end.div_ceil(disk.block_len())).ok()?;
        // The manager of a container of 2 PiB would have that many.
        (blocks <= 4096).then_some(())?;
        for next in 1..blocks {
            self.bytes.extend(disk.block(block.checked_add(next)?).ok()?);
        }
        Some(self)
    }

    fn listed(&self) -> u32 {
        if self.address_blocks > 0 {
            self.address_blocks
        } else {
            self.info_blocks
        }
    }

    /// Calls `each` for every run of blocks in use. What is not told counts as in use.
    pub(super) fn used(&self, disk: &Disk<'_>, each: &mut dyn FnMut(ByteRange)) {
        let mut runs = Runs::new(disk, each);
        let mut visited = SparseSet::default();
        let mut next = 0_u64;
        let mut infos = Vec::new();
        for index in 0..usize::try_from(self.listed()).unwrap_or(0) {
            let at = self.list.saturating_add(index.saturating_mul(8));
            match le_u64(&self.bytes, at) {
                Some(address) if self.address_blocks > 0 => infos.extend(addresses(disk, address)),
                Some(address) => infos.push(address),
                None => break,
            }
        }
        for info in infos {
            let chunks = if visited.insert(info) {
                chunks(disk, info)
            } else {
                None
            };
            // How many blocks the chunks of a lost block stand for is not known: all that follow are in use.
            let Some(chunks) = chunks else { break };
            for chunk in chunks {
                runs.chunk(next, &chunk);
                next = next.saturating_add(chunk.blocks.into());
            }
        }
        runs.all(next, self.blocks.max(disk.block_count));
        runs.finish();
    }
}

/// The block that the checkpoint's map names for the space manager.
fn manager_block(disk: &Disk<'_>, container: &Container) -> Option<u64> {
    container.checkpoint().into_iter().find_map(|block| {
        let map = disk
            .object(block, |header| header.kind == kind::CHECKPOINT_MAP)
            .ok()?;
        let count = usize::try_from(le_u32(&map.bytes, 36)?).ok()?;
        let mappings = map.bytes.get(40..)?.chunks_exact(40).take(count);
        let mut of_manager = mappings.filter(|mapping| le_u64(mapping, 24) == Some(container.space_manager));
        of_manager.find_map(|mapping| le_u64(mapping, 32))
    })
}

/// The addresses in an address block (`cib_addr_block_t`).
fn addresses(disk: &Disk<'_>, block: u64) -> Vec<u64> {
    let Ok(object) = disk.object(block, |header| header.kind == kind::CAB) else {
        // Its place is kept by an address that leads nowhere.
        return vec![u64::MAX];
    };
    let count = usize::try_from(le_u32(&object.bytes, 36).unwrap_or(0)).unwrap_or(0);
    let list = object.bytes.get(40..).unwrap_or_default();
    list.chunks_exact(8)
        .take(count)
        .filter_map(|address| le_u64(address, 0))
        .collect()
}

/// The chunks in a block of them (`chunk_info_block_t`).
fn chunks(disk: &Disk<'_>, block: u64) -> Option<Vec<Chunk>> {
    let object = disk.object(block, |header| header.kind == kind::CIB).ok()?;
    let count = usize::try_from(le_u32(&object.bytes, 36)?).ok()?;
    let entries = object.bytes.get(CHUNKS_AT..)?.chunks_exact(CHUNK_LEN).take(count);
    entries
        .map(|entry| {
            Some(Chunk {
                blocks: le_u32(entry, 16)?,
                bitmap: le_u64(entry, 24)?,
            })
        })
        .collect()
}

/// Joins runs on their way out.
struct Runs<'r, 'a> {
    disk: &'r Disk<'a>,
    each: &'r mut dyn FnMut(ByteRange),
    open: Option<(u64, u64)>,
}

impl<'r, 'a> Runs<'r, 'a> {
    fn new(disk: &'r Disk<'a>, each: &'r mut dyn FnMut(ByteRange)) -> Self {
        Self {
            disk,
            each,
            open: None,
        }
    }

    fn chunk(&mut self, first: u64, chunk: &Chunk) {
        if chunk.bitmap == 0 {
            return;
        }
        let end = first.saturating_add(chunk.blocks.into());
        let Ok(bitmap) = self.disk.block(chunk.bitmap) else {
            self.all(first, end);
            return;
        };
        for (number, block) in (first..end.min(self.disk.block_count)).enumerate() {
            let byte = u8_at(&bitmap, number / 8).unwrap_or(0xff);
            if byte.rotate_right(u32::try_from(number % 8).unwrap_or(0)) & 1 == 1 {
                self.all(block, block.saturating_add(1));
            }
        }
    }

    /// Blocks from `first` up to `end` are in use.
    fn all(&mut self, first: u64, end: u64) {
        let end = end.min(self.disk.block_count);
        if first >= end {
            return;
        }
        match &mut self.open {
            Some((_, open_end)) if *open_end == first => *open_end = end,
            _ => {
                self.finish();
                self.open = Some((first, end));
            }
        }
    }

    fn finish(&mut self) {
        if let Some((first, end)) = self.open.take() {
            let len = end.saturating_sub(first).saturating_mul(self.disk.block_bytes());
            (self.each)(ByteRange::new(self.disk.place(first), len));
        }
    }
}

/// The finding for a container whose space manager cannot be used.
pub(super) fn not_found(disk: &Disk<'_>) -> Finding {
    let detail = "the space manager cannot be read; all blocks count as in use";
    Finding::new(Severity::Warning, Layer::FileSystem, FindingCode::Corrupt, detail).at(disk.place(0))
}
