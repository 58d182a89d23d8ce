//! From runs of blocks to the extents of a stream.

use ntt_model::entry::{Encoding, Stream, StreamKind};
use ntt_model::extent::push_joined;
use ntt_model::{Extent, ExtentKind, Finding, FindingCode, Layer, Severity};

use super::blocks::{Blocks, JOURNAL_MAGIC};
use super::inode::{MAP_LEN, MAP_OFFSET, RawInode, flag};
use super::map::{MapContext, MapRoot, Run, map};

/// A value inside a metadata structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct InlineValue {
    /// Where it lies in the image.
    pub(super) image_offset: u64,
    /// Its length.
    pub(super) len: u64,
}

/// The data stream of a regular file. `inline_rest` is the value of `system.data`, if it has one.
pub(super) fn data_stream(
    context: &mut MapContext<'_, '_>,
    inode: &RawInode<'_>,
    inline_rest: Option<InlineValue>,
    extents_max: u64,
) -> Stream {
    let size = inode.size(&context.volume.superblock);
    let (extents, extents_incomplete) = if inode.has(flag::INLINE_DATA) {
        inline_extents(context, inode, size, inline_rest)
    } else {
        mapped_extents(context, inode, size, extents_max)
    };
    Stream {
        kind: StreamKind::Data,
        size_bytes: size,
        extents,
        encoding: encoding(inode),
        extents_incomplete,
    }
}

fn encoding(inode: &RawInode<'_>) -> Encoding {
    if inode.has(flag::ENCRYPTED) {
        Encoding::Encrypted
    } else if inode.has(flag::COMPRESSED) && !inode.has(flag::EXTENTS) && inode.has(0x200) {
        // e2compr, a patch of ext2: bit 0x200 says that some clusters really are compressed.
        Encoding::Unsupported
    } else {
        Encoding::Plain
    }
}

/// Inline data: the first 60 bytes in `i_block`, the rest as the value of an attribute (`inlinedata.rst`), which is there even if it is empty. A size beyond
/// both is a hole at the end: Linux (`ext4_read_inline_folio`) gives zeros there, `mke2fs -d` writes such files, and e2fsck has no complaint.
fn inline_extents(
    context: &mut MapContext<'_, '_>,
    inode: &RawInode<'_>,
    size: u64,
    rest: Option<InlineValue>,
) -> (Vec<Extent>, bool) {
    let map_len = u64::try_from(MAP_LEN).unwrap_or(0);
    let map_offset = u64::try_from(MAP_OFFSET).unwrap_or(0);
    let inline = |logical_offset, image_offset, len| Extent {
        logical_offset,
        image_offset,
        len,
        kind: ExtentKind::Inline,
    };
    let mut extents = Vec::new();
    let head = inode.image_offset.saturating_add(map_offset);
    push_joined(&mut extents, inline(0, head, size.min(map_len)));
    let rest_len = size.saturating_sub(map_len);
    if let Some(value) = rest {
        push_joined(
            &mut extents,
            inline(map_len, value.image_offset, value.len.min(rest_len)),
        );
    }
    let is_lost = rest.is_none() && rest_len > 0;
    if is_lost {
        let detail =
            format!("inline data of {size} bytes, but the attribute with those after the first 60 is gone");
        let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Corrupt, detail);
        let finding = finding.at(inode.image_offset).on_inode(u64::from(inode.number));
        context.report.push(finding);
    }
    (extents, is_lost)
}

/// The extents of a mapped stream of `size` bytes, and whether some are lost.
pub(super) fn mapped_extents(
    context: &mut MapContext<'_, '_>,
    inode: &RawInode<'_>,
    size: u64,
    extents_max: u64,
) -> (Vec<Extent>, bool) {
    let blocks = &context.volume.blocks;
    let end = size.div_ceil(blocks.block_bytes().max(1));
    let root = MapRoot::of(inode, &context.volume.superblock, end);
    if root.end == 0 {
        return (Vec::new(), false);
    }
    let mut extents = Vec::new();
    let mut full = false;
    let incomplete = map(context, &root, &mut |run| {
        full = u64::try_from(extents.len()).unwrap_or(u64::MAX) >= extents_max;
        if !full {
            add_run(&mut extents, blocks, run, size);
        }
        !full
    });
    if full {
        let detail = format!("more than {extents_max} extents");
        let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Limit, detail);
        let finding = finding.at(inode.image_offset).on_inode(u64::from(inode.number));
        context.report.push(finding);
    }
    (extents, incomplete || full)
}

/// Adds a run, cut where the journal holds some of its blocks and at the end of the stream.
fn add_run(extents: &mut Vec<Extent>, blocks: &Blocks<'_>, run: Run, size: u64) {
    let mut done = 0;
    while done < run.len {
        let physical = run.physical.saturating_add(done);
        let len = blocks.contiguous(physical, run.len.saturating_sub(done)).max(1);
        let logical_offset = run
            .logical
            .saturating_add(done)
            .saturating_mul(blocks.block_bytes());
        let bytes = len.saturating_mul(blocks.block_bytes());
        let kind = if run.unwritten {
            ExtentKind::Unwritten
        } else {
            ExtentKind::Data
        };
        let whole = Extent {
            logical_offset,
            image_offset: blocks.image_offset(physical),
            len: bytes.min(size.saturating_sub(logical_offset)),
            kind,
        };
        let rest = match blocks.escaped_head(physical) {
            Some(head) => push_head(extents, whole, head),
            None => whole,
        };
        push_joined(extents, rest);
        done = done.saturating_add(len);
    }
}

/// Adds the first bytes of an escaped block, which lie at `head`; what remains of it.
fn push_head(extents: &mut Vec<Extent>, block: Extent, head: u64) -> Extent {
    let head_len = u64::try_from(JOURNAL_MAGIC.len()).unwrap_or(0).min(block.len);
    let first = Extent {
        image_offset: head,
        len: head_len,
        ..block
    };
    push_joined(extents, first);
    Extent {
        logical_offset: block.logical_offset.saturating_add(head_len),
        image_offset: block.image_offset.saturating_add(head_len),
        len: block.len.saturating_sub(head_len),
        kind: block.kind,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::blocks::Copy;
    use super::*;

    /// R17: a block of content that only the journal has is read from there.
    #[test]
    fn r17_an_extent_is_cut_at_a_block_in_the_journal() {
        let mut blocks = Blocks::new(Box::new(vec![0; 1 << 20]), 0, 1024);
        let copy = Copy {
            block: 900,
            escaped: false,
        };
        blocks.set_overlay(BTreeMap::from([(12, copy)]), 800);
        let run = Run {
            logical: 0,
            physical: 10,
            len: 4,
            unwritten: false,
        };
        let mut extents = Vec::new();
        add_run(&mut extents, &blocks, run, 4000);
        let shape: Vec<(u64, u64)> = extents
            .iter()
            .map(|extent| (extent.image_offset / 1024, extent.len))
            .collect();
        assert_eq!(shape, [(10, 2048), (900, 1024), (13, 928)]);
    }
}
