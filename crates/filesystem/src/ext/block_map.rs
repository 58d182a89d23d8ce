//! Block maps of ext2 and ext3: 12 direct blocks, then one, two and three levels of indirection.

use ntt_source::field::le_u32;

use super::map::{Census, MapWalk, Run};

const DIRECT: u64 = 12;
const POINTER_LEN: usize = 4;

/// A block of pointers while it is walked.
struct Table {
    bytes: Vec<u8>,
    image_offset: u64,
    /// Block of the file that the next pointer maps.
    logical: u64,
    /// Blocks of the file that one pointer maps.
    span: u64,
    next: usize,
}

/// Walks the map in logical order. A bad block costs only what it maps.
pub(super) fn walk(walk: &mut MapWalk<'_, '_, '_>) {
    let per_block = u64::try_from(walk.block_len() / POINTER_LEN).unwrap_or(1).max(1);
    let root = walk.root;
    let mut census = Census::default();
    direct(walk, &mut census);
    let mut logical = DIRECT;
    let mut span = 1_u64;
    for slot in 12..15_usize {
        let offset = slot.saturating_mul(POINTER_LEN);
        let pointer = le_u32(&root.bytes, offset).unwrap_or(0);
        if pointer != 0 && logical < root.end {
            indirect(walk, &mut census, (pointer, logical, span), per_block);
        }
        census.passed_over |= pointer != 0 && logical >= root.end;
        span = span.saturating_mul(per_block);
        logical = logical.saturating_add(span);
    }
    walk.compare(&census);
}

fn direct(walk: &mut MapWalk<'_, '_, '_>, census: &mut Census) {
    let root = walk.root;
    for slot in 0..DIRECT {
        let offset = usize::try_from(slot).unwrap_or(0).saturating_mul(POINTER_LEN);
        let pointer = le_u32(&root.bytes, offset).unwrap_or(0);
        block(walk, census, (pointer, slot), root.image_offset);
    }
}

fn indirect(walk: &mut MapWalk<'_, '_, '_>, census: &mut Census, first: (u32, u64, u64), per_block: u64) {
    let mut stack: Vec<Table> = table(walk, census, first).into_iter().collect();
    while let Some(top) = stack.last_mut() {
        if walk.is_over() {
            return;
        }
        let Some(pointer) = le_u32(&top.bytes, top.next) else {
            stack.pop();
            continue;
        };
        let (logical, span, at) = (top.logical, top.span, top.image_offset);
        top.next = top.next.saturating_add(POINTER_LEN);
        top.logical = logical.saturating_add(span);
        if span == 1 {
            block(walk, census, (pointer, logical), at);
        } else if pointer != 0 && logical >= walk.root.end {
            census.passed_over = true;
        } else if pointer != 0 {
            let below = span.checked_div(per_block).unwrap_or(1);
            stack.extend(table(walk, census, (pointer, logical, below)));
        }
    }
}

fn table(
    walk: &mut MapWalk<'_, '_, '_>,
    census: &mut Census,
    (pointer, logical, span): (u32, u64, u64),
) -> Option<Table> {
    let block = u64::from(pointer);
    let bytes = walk.read(block)?;
    let image_offset = walk.image_offset(block);
    census.blocks = census.blocks.saturating_add(1);
    if bytes.iter().all(|byte| *byte == 0) {
        census.blank_table.get_or_insert(image_offset);
    }
    Some(Table {
        bytes,
        image_offset,
        logical,
        span,
        next: 0,
    })
}

fn block(
    walk: &mut MapWalk<'_, '_, '_>,
    census: &mut Census,
    (pointer, logical): (u32, u64),
    image_offset: u64,
) {
    if pointer != 0 {
        census.blocks = census.blocks.saturating_add(1);
        let run = Run {
            logical,
            physical: u64::from(pointer),
            len: 1,
            unwritten: false,
        };
        walk.add(run, image_offset);
    }
}
