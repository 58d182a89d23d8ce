//! The bytes in use of this device, from the extent tree.

use ntt_model::ByteRange;

use super::key::{Key, KeyRange, item, object};
use super::roots::Roots;
use super::superblock::{PLACES, SUPERBLOCK_LEN};
use super::tree::{Cursor, Nodes, Step};
use super::volume::Volume;

/// Joins runs that touch, puts the superblocks between them and keeps the order, whatever the chunks claim.
struct Ordered<'e> {
    each: &'e mut dyn FnMut(ByteRange),
    superblocks: Vec<ByteRange>,
    open: ByteRange,
    len: u64,
    image_offset: u64,
}

impl Ordered<'_> {
    /// Adds a run of the volume; runs come in ascending order, those that do not are cut or dropped.
    fn add(&mut self, run: ByteRange) {
        while let Some(superblock) = self
            .superblocks
            .last()
            .copied()
            .filter(|next| next.offset <= run.offset)
        {
            self.superblocks.pop();
            self.join(superblock);
        }
        self.join(run);
    }

    fn join(&mut self, run: ByteRange) {
        let start = run.offset.max(self.open.offset);
        let end = run.end().min(self.len);
        if end <= start {
            return;
        }
        if start <= self.open.end() {
            let len = end.max(self.open.end()).saturating_sub(self.open.offset);
            self.open = ByteRange::new(self.open.offset, len);
        } else {
            self.close();
            self.open = ByteRange::new(start, end.saturating_sub(start));
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            let offset = self.open.offset.saturating_add(self.image_offset);
            (self.each)(ByteRange::new(offset, self.open.len));
        }
        self.open = ByteRange::new(self.open.end(), 0);
    }

    fn finish(mut self) {
        while let Some(superblock) = self.superblocks.pop() {
            self.join(superblock);
        }
        self.close();
    }
}

/// Calls `each` for every run in use: superblocks, and what the extent tree has in every stripe of this device. Where that tree is damaged, all of the
/// range counts as in use.
pub(super) fn runs(volume: &Volume<'_>, roots: &Roots, each: &mut dyn FnMut(ByteRange)) {
    let superblock_len = u64::try_from(SUPERBLOCK_LEN).unwrap_or(0);
    let mut ordered = Ordered {
        each,
        superblocks: PLACES
            .iter()
            .rev()
            .map(|place| ByteRange::new(*place, superblock_len))
            .collect(),
        open: ByteRange::new(0, 0),
        len: volume.source_len(),
        image_offset: volume.in_image(0),
    };
    let mut nodes = Nodes::new(volume);
    for run in volume.chunks.device_runs() {
        if run.is_striped {
            ordered.add(ByteRange::new(run.offset, run.len));
            continue;
        }
        let end = run.logical.saturating_add(run.len);
        extents(&mut nodes, roots, (run.logical, end), &mut |from, to| {
            let from = from.max(run.logical);
            let within = from.saturating_sub(run.logical);
            let len = to.min(end).saturating_sub(from);
            ordered.add(ByteRange::new(run.offset.saturating_add(within), len));
        });
    }
    ordered.finish();
}

/// Calls `each` with start and end of every extent and node of a range of logical addresses.
fn extents(
    nodes: &mut Nodes<'_, '_>,
    roots: &Roots,
    (start, end): (u64, u64),
    each: &mut dyn FnMut(u64, u64),
) {
    let Some(root) = roots.extent_tree else {
        return each(start, end);
    };
    // An extent that begins before the range cannot reach into it: chunks are borders.
    let range = KeyRange {
        start: Key::new(start, 0, 0),
        end: Key::new(end, 0, 0),
    };
    let node_bytes = nodes.volume.node_bytes();
    let mut cursor = Cursor::new(object::EXTENT_TREE, root, range);
    while let Some(step) = cursor.next(nodes) {
        match step {
            Step::Lost(lost) => each(lost.start.object, lost.end.object.saturating_add(1)),
            Step::Leaf(leaf, range) => {
                for item in leaf.items().filter(|item| range.contains(item.key)) {
                    let len = match item.key.kind {
                        item::EXTENT => item.key.offset,
                        item::METADATA => node_bytes,
                        _ => continue,
                    };
                    each(item.key.object, item.key.object.saturating_add(len));
                }
            }
        }
        nodes.report.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(runs: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let mut seen = Vec::new();
        let mut each = |run: ByteRange| seen.push((run.offset, run.end()));
        let mut ordered = Ordered {
            each: &mut each,
            superblocks: vec![ByteRange::new(500, 10), ByteRange::new(100, 10)],
            open: ByteRange::new(0, 0),
            len: 1000,
            image_offset: 7,
        };
        for (start, end) in runs {
            ordered.add(ByteRange::new(*start, end - start));
        }
        ordered.finish();
        seen
    }

    #[test]
    fn runs_are_joined_and_stay_in_order() {
        assert_eq!(
            ordered(&[(200, 300), (300, 400), (390, 410), (20, 405), (600, 2000)]),
            [(107, 117), (207, 417), (507, 517), (607, 1007)]
        );
        assert_eq!(ordered(&[]), [(107, 117), (507, 517)]);
        assert_eq!(ordered(&[(90, 700)]), [(97, 707)]);
    }
}
