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
        for info in self.infos(disk) {
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

    /// The blocks of chunks, up to the first address block that is lost, or that the list names for a second time: in its place stands an address
    /// that leads nowhere, since what follows is not known.
    fn infos(&self, disk: &Disk<'_>) -> Vec<u64> {
        let mut visited = SparseSet::default();
        let mut infos = Vec::new();
        for index in 0..usize::try_from(self.listed()).unwrap_or(0) {
            let at = self.list.saturating_add(index.saturating_mul(8));
            let Some(address) = le_u64(&self.bytes, at) else {
                break;
            };
            if self.address_blocks == 0 {
                infos.push(address);
                continue;
            }
            let is_new = visited.insert(address);
            let Some(mut found) = is_new.then(|| addresses(disk, address)).flatten() else {
                infos.push(u64::MAX);
                break;
            };
            infos.append(&mut found);
        }
        infos
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

/// The addresses in an address block (`cib_addr_block_t`); `None` if it is lost.
fn addresses(disk: &Disk<'_>, block: u64) -> Option<Vec<u64>> {
    let object = disk.object(block, |header| header.kind == kind::CAB).ok()?;
    let count = usize::try_from(le_u32(&object.bytes, 36).unwrap_or(0)).unwrap_or(0);
    let list = object.bytes.get(40..).unwrap_or_default();
    let list = list.chunks_exact(8).take(count);
    Some(list.filter_map(|address| le_u64(address, 0)).collect())
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
        // How many blocks a chunk has, and the container, is only what they claim: bits are looked at of blocks that are there.
        let backed = end.min(self.disk.block_count).min(self.disk.backed_blocks());
        if first >= backed {
            return self.all(first, end);
        }
        let Ok(bitmap) = self.disk.block(chunk.bitmap) else {
            return self.all(first, end);
        };
        let bits = u64::try_from(bitmap.len()).unwrap_or(0).saturating_mul(8);
        let told = backed.min(first.saturating_add(bits));
        for (number, block) in (first..told).enumerate() {
            let byte = u8_at(&bitmap, number / 8).unwrap_or(0xff);
            if byte.rotate_right(u32::try_from(number % 8).unwrap_or(0)) & 1 == 1 {
                self.all(block, block.saturating_add(1));
            }
        }
        self.all(told, end);
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

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 512;

    /// A disk of 16 blocks that claims to have `block_count`: a CAB in block 1, a CIB in block 2, and a bitmap of every other block in block 3.
    fn disk(block_count: u64, [cab, cib]: [&[u64]; 2]) -> Disk<'static> {
        let mut image = vec![0_u8; 16 * BLOCK];
        for (block, kind, head, words) in [(1, kind::CAB, 40, cab), (2, kind::CIB, CHUNKS_AT, cib)] {
            let bytes = &mut image[block * BLOCK..][..BLOCK];
            bytes[24..28].copy_from_slice(&kind.to_le_bytes());
            let per_entry = if kind == kind::CAB { 1 } else { CHUNK_LEN / 8 };
            let count = u32::try_from(words.len() / per_entry).expect("few");
            bytes[36..40].copy_from_slice(&count.to_le_bytes());
            for (word, place) in words.iter().zip(bytes[head..].chunks_exact_mut(8)) {
                place.copy_from_slice(&word.to_le_bytes());
            }
        }
        image[3 * BLOCK..4 * BLOCK].fill(0x55);
        Disk::new(Box::new(image), 0, 512, block_count)
    }

    fn space(list: &[u64], is_of_addresses: bool) -> Space {
        let count = u32::try_from(list.len()).expect("few");
        let (info_blocks, address_blocks) = if is_of_addresses { (0, count) } else { (count, 0) };
        Space {
            bytes: list.iter().flat_map(|address| address.to_le_bytes()).collect(),
            blocks: 0,
            info_blocks,
            address_blocks,
            free: 0,
            list: 0,
        }
    }

    fn used(space: &Space, disk: &Disk<'_>) -> Vec<ByteRange> {
        let mut runs = Vec::new();
        space.used(disk, &mut |run| runs.push(run));
        runs
    }

    /// 2^32 blocks of each of its chunks were looked at, though there are 16.
    #[test]
    fn r22_chunks_of_more_blocks_than_there_are_end() {
        let chunk = [0, 0, u32::MAX.into(), 3];
        let disk = disk(1 << 50, [&[], &[chunk; 14].concat()]);
        let runs = used(&space(&[2], false), &disk);
        assert_eq!(runs.len(), 9);
        assert_eq!(runs[1], ByteRange::new(2 * 512, 512));
        assert_eq!(runs[8], ByteRange::new(16 * 512, ((1 << 50) - 16) * 512));
    }

    /// What one address block holds was kept once for every place of the list that names it.
    #[test]
    fn r22_an_address_block_counts_once() {
        let cab: Vec<u64> = (0..59).map(|number| if number == 0 { 2 } else { 9 }).collect();
        let disk = disk(16, [&cab, &[0, 0, 8, 3]]);
        let often = space(&[1; 8192], true);
        assert_eq!(often.infos(&disk).len(), 60);
        let missing = space(&(1 << 40..(1 << 40) + 100).collect::<Vec<_>>(), true);
        assert_eq!(missing.infos(&disk), [u64::MAX]);
        let runs = used(&often, &disk);
        assert_eq!(runs[4], ByteRange::new(8 * 512, 8 * 512), "{runs:?}");
    }
}
