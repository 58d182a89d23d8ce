//! Which blocks of a partition are in use (ECMA-167, 4/10 and 4/14.11, 4/14.12; UDF 2.3.7, 2.3.8).

use ntt_model::{ByteRange, FindingCode};
use ntt_source::ReadError;
use ntt_source::field::le_u32;

use super::address::{Address, Allocated};
use super::icb::read_block;
use super::session::Session;
use super::space::Map;
use super::tag::{Tag, id};
use crate::disc::{Disc, code_of};

/// Bytes of a space bitmap descriptor before its bits.
const BITMAP_HEAD: u64 = 24;
/// Bytes of a bitmap read at a time.
const STEP_BYTES: u64 = 65_536;
/// Descriptors of a table of free space that are looked at: a block of them.
const TABLE_HEAD: usize = 40;

/// Calls `each` with the first block and the number of blocks of every run in use, ascending. What the medium does not tell counts as in use.
pub(super) fn used(disc: &Disc<'_>, session: &Session, reference: u16, each: &mut dyn FnMut(u64, u64)) {
    let blocks = blocks_of(disc, session, reference);
    let mut runs = Runs {
        blocks,
        run: None,
        each,
    };
    if let Some(bitmap) = bitmap(disc, session, reference) {
        runs.by_bitmap(disc, &bitmap);
    } else if let Some(free) = table(disc, session, reference) {
        runs.without(&free);
    } else {
        runs.push(0, blocks);
    }
    runs.end();
}

/// The first part of a bitmap that cannot be read: where it lies in the volume, and why.
pub(super) fn unread(disc: &Disc<'_>, session: &Session, reference: u16) -> Option<(u64, FindingCode)> {
    let ranges = bitmap_ranges(session, reference)?;
    ranges.into_iter().find_map(|range| {
        let mut at = range.offset;
        while at < range.end() {
            let step = STEP_BYTES.min(range.end().saturating_sub(at));
            if let Err(error) = disc.bytes(at, usize::try_from(step).unwrap_or(0)) {
                let place = match &error {
                    ReadError::Unread { range } => range.offset,
                    _ => at,
                };
                return Some((place, code_of(&error)));
            }
            at = at.saturating_add(step);
        }
        None
    })
}

/// Blocks of a partition map that lie in the image.
fn blocks_of(disc: &Disc<'_>, session: &Session, reference: u16) -> u64 {
    let size = session.space.block_bytes;
    match session.space.maps.get(usize::from(reference)) {
        Some(Map::Plain(ground) | Map::Spared { ground, .. }) => {
            let room = disc.len().saturating_sub(ground.offset).checked_div(size);
            u64::from(ground.blocks).min(room.unwrap_or(0))
        }
        Some(Map::Virtual { table, .. }) => u64::try_from(table.len()).unwrap_or(0),
        Some(Map::Metadata { runs, .. }) => runs.last().map_or(0, |last| {
            u64::from(last.first).saturating_add(last.range.len.checked_div(size).unwrap_or(0))
        }),
        _ => 0,
    }
}

/// Where a bitmap of free space lies in the volume, its head included, and how many bits it has.
struct Bitmap {
    ranges: Vec<ByteRange>,
    bits: u64,
}

fn bitmap_ranges(session: &Session, reference: u16) -> Option<Vec<ByteRange>> {
    Some(match session.space.maps.get(usize::from(reference))? {
        Map::Metadata { bitmap, .. } => bitmap.clone(),
        Map::Plain(_) | Map::Spared { .. } => {
            let place = session.partition(reference.into())?.free_bitmap;
            let at = Address {
                reference,
                block: place.at.block,
            };
            let mut ranges = Vec::new();
            session
                .space
                .runs(at, place.len_bytes.into(), &mut |_, range| ranges.push(range));
            ranges
        }
        _ => return None,
    })
}

fn bitmap(disc: &Disc<'_>, session: &Session, reference: u16) -> Option<Bitmap> {
    let ranges = bitmap_ranges(session, reference)?;
    let first = ranges.first()?;
    let head = disc.bytes(first.offset, 24).ok()?;
    let is_one = Tag::parse(&head).is_some_and(|tag| tag.id == id::SPACE_BITMAP);
    let bits = is_one.then(|| le_u32(&head, 16))??;
    Some(Bitmap {
        ranges,
        bits: bits.into(),
    })
}

/// Free runs by a table (ECMA-167, 4/14.11): first block and number of blocks, ascending.
fn table(disc: &Disc<'_>, session: &Session, reference: u16) -> Option<Vec<(u64, u64)>> {
    let place = session.partition(reference.into())?.free_table;
    let is_lower = matches!(
        session.space.maps.get(usize::from(reference))?,
        Map::Plain(_) | Map::Spared { .. }
    );
    if place.is_empty() || !is_lower {
        return None;
    }
    let at = Address {
        reference,
        block: place.at.block,
    };
    let (_, bytes) = read_block(disc, &session.space, at).ok()?;
    Tag::parse(&bytes).filter(|tag| tag.id == id::UNALLOCATED_SPACE)?;
    let len = usize::try_from(le_u32(&bytes, 36)?).ok()?;
    let end = TABLE_HEAD.saturating_add(len).min(bytes.len());
    let descriptors = bytes.get(TABLE_HEAD..end)?.chunks_exact(8);
    let mut free: Vec<(u64, u64)> = descriptors
        .filter_map(|raw| Allocated::short(raw, 0, reference))
        .filter_map(|run| {
            let blocks = u64::from(run.len_bytes).checked_div(session.space.block_bytes)?;
            Some((run.at.block.into(), blocks))
        })
        .collect();
    free.sort_unstable();
    Some(free)
}

/// Joins runs in use.
struct Runs<'e> {
    blocks: u64,
    run: Option<(u64, u64)>,
    each: &'e mut dyn FnMut(u64, u64),
}

impl Runs<'_> {
    /// Blocks from `first` to before `end` are in use.
    fn push(&mut self, first: u64, end: u64) {
        let end = end.min(self.blocks);
        if first >= end {
            return;
        }
        match &mut self.run {
            Some((_, last)) if *last == first => *last = end,
            _ => {
                self.end();
                self.run = Some((first, end));
            }
        }
    }

    fn end(&mut self) {
        if let Some((first, end)) = self.run.take() {
            (self.each)(first, end.saturating_sub(first));
        }
    }

    fn without(&mut self, free: &[(u64, u64)]) {
        let mut position = 0;
        for (first, count) in free {
            self.push(position, *first);
            position = position.max(first.saturating_add(*count));
        }
        self.push(position, self.blocks);
    }

    /// A bit that is set stands for a free block; the lowest bit of a byte comes first.
    fn by_bitmap(&mut self, disc: &Disc<'_>, bitmap: &Bitmap) {
        let mut block = 0_u64;
        let mut skip = BITMAP_HEAD;
        for range in &bitmap.ranges {
            let mut at = range.offset.saturating_add(skip.min(range.len));
            skip = skip.saturating_sub(range.len);
            while at < range.end() && block < bitmap.bits {
                let step = STEP_BYTES.min(range.end().saturating_sub(at));
                block = self.bits(disc, (at, step), (block, bitmap.bits));
                at = at.saturating_add(step);
            }
        }
        self.push(block.min(bitmap.bits), self.blocks);
    }

    /// Takes a piece of a bitmap, whose first bit stands for `block`; the block after its last one.
    fn bits(&mut self, disc: &Disc<'_>, (at, len): (u64, u64), (block, bits): (u64, u64)) -> u64 {
        let end = block.saturating_add(len.saturating_mul(8)).min(bits);
        let read = usize::try_from(len).ok().and_then(|len| disc.bytes(at, len).ok());
        let Some(bytes) = read else {
            self.push(block, end);
            return end;
        };
        for (index, byte) in (0_u64..).zip(&bytes) {
            let first = block.saturating_add(index.saturating_mul(8));
            match byte {
                0xff => {}
                0 => self.push(first, first.saturating_add(8).min(end)),
                _ => {
                    for bit in 0..8_u64 {
                        let block = first.saturating_add(bit);
                        let mask = 1_u8.rotate_left(u32::try_from(bit).unwrap_or(0));
                        if byte & mask == 0 {
                            self.push(block, block.saturating_add(1).min(end));
                        }
                    }
                }
            }
        }
        end
    }
}
