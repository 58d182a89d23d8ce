//! Block maps of ext2 and ext3: 12 direct blocks, then one, two and three levels of indirection.

use ntt_source::field::le_u32;

use super::map::{MapWalk, Run};

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
    direct(walk);
    let mut logical = DIRECT;
    let mut span = 1_u64;
    for slot in 12..15_usize {
        let offset = slot.saturating_mul(POINTER_LEN);
        let pointer = le_u32(&root.bytes, offset).unwrap_or(0);
        if pointer != 0 && logical < root.end {
            indirect(walk, pointer, logical, span, per_block);
        }
        span = span.saturating_mul(per_block);
        logical = logical.saturating_add(span);
    }
}

fn direct(walk: &mut MapWalk<'_, '_, '_>) {
    let root = walk.root;
    for slot in 0..DIRECT {
        let offset = usize::try_from(slot).unwrap_or(0).saturating_mul(POINTER_LEN);
        block(
            walk,
            le_u32(&root.bytes, offset).unwrap_or(0),
            slot,
            root.image_offset,
        );
    }
}

fn indirect(walk: &mut MapWalk<'_, '_, '_>, pointer: u32, logical: u64, span: u64, per_block: u64) {
    let mut stack: Vec<Table> = table(walk, pointer, logical, span).into_iter().collect();
    while let Some(top) = stack.last_mut() {
        if walk.is_over() || top.logical >= walk.root.end {
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
            block(walk, pointer, logical, at);
        } else if pointer != 0 {
            stack.extend(table(
                walk,
                pointer,
                logical,
                span.checked_div(per_block).unwrap_or(1),
            ));
        }
    }
}

fn table(walk: &mut MapWalk<'_, '_, '_>, pointer: u32, logical: u64, span: u64) -> Option<Table> {
    let block = u64::from(pointer);
    let bytes = walk.read(block)?;
    Some(Table {
        bytes,
        image_offset: walk.image_offset(block),
        logical,
        span,
        next: 0,
    })
}

fn block(walk: &mut MapWalk<'_, '_, '_>, pointer: u32, logical: u64, image_offset: u64) {
    if pointer != 0 {
        let run = Run {
            logical,
            physical: u64::from(pointer),
            len: 1,
            unwritten: false,
        };
        walk.add(run, image_offset);
    }
}
