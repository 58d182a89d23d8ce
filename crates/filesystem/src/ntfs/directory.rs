//! Reading the index of a directory: its root, then every block in use.

use std::ops::ControlFlow;

use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::attribute::kind;
use super::gather::{Gathered, Held};
use super::index::{self, Entries, Item};
use super::runs::Run;
use super::scan::Scan;
use super::value::Value;
use super::walk::{Current, Visit};
use crate::report::unreadable;

/// Runs of an index.
const RUNS_MAX: u64 = 1 << 20;
/// Bytes of the bitmap of an index.
const BITMAP_MAX: u64 = 64 << 20;

/// What the record of a directory says of its index.
struct Index {
    root: Vec<u8>,
    runs: Vec<Run>,
    /// Number of blocks, no more than the volume could hold.
    blocks: u64,
    /// Whether the index claims more of them.
    is_cut: bool,
    block_bytes: u32,
    /// Which blocks are in use; `None` if that is not known.
    bitmap: Option<Vec<u8>>,
}

impl Scan<'_, '_> {
    /// Takes every entry of the directory's index.
    pub(super) fn index(&mut self, current: &mut Current) -> Visit {
        let Some(index) = self.open_index(current) else {
            return Ok(ControlFlow::Continue(()));
        };
        let at = self.volume.record_in_image(current.waiting.record);
        if self
            .entries(current, index::root_entries(&index.root), at)?
            .is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
        let mut block = vec![0; usize::try_from(index.block_bytes).unwrap_or(0)];
        if index.is_cut {
            let detail =
                "the directory's index claims to be longer than the volume; what is beyond that was not read";
            self.broken(current, FindingCode::Limit, detail, at);
        }
        for number in index.in_use() {
            let Some(left) = self.index_budget.checked_sub(u64::from(index.block_bytes) / 512) else {
                self.broken(
                    current,
                    FindingCode::Limit,
                    "indexes that share blocks were not read to their end",
                    at,
                );
                break;
            };
            self.index_budget = left;
            if self.block(current, &index, number, &mut block)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn block(&mut self, current: &mut Current, index: &Index, number: u64, block: &mut [u8]) -> Visit {
        let offset = number.saturating_mul(u64::from(index.block_bytes));
        let place = super::mft::piece(&self.volume.geometry, &index.runs, offset, 1).0;
        // A hole, or a block that the map lost: what it held is in the MFT.
        let Some(place) = place else {
            return Ok(ControlFlow::Continue(()));
        };
        let at = self.volume.in_image(place);
        if let Err(error) = self.volume.read_runs(&index.runs, offset, block) {
            let mut finding = unreadable(&error, Layer::Directory, "a block of a directory's index", at);
            finding.severity = Severity::Warning;
            self.report.push(finding.on_inode(current.inode));
            return Ok(ControlFlow::Continue(()));
        }
        if let Err(fault) = index::check_block(block, number) {
            // Without a bitmap, blocks that were never used are met too.
            if index.bitmap.is_some() {
                let detail = format!("a block of the directory's index is broken: {fault}");
                self.broken(current, FindingCode::Corrupt, &detail, at);
            }
            return Ok(ControlFlow::Continue(()));
        }
        self.entries(current, index::block_entries(block), at)
    }

    fn entries(&mut self, current: &mut Current, entries: Entries<'_>, at: u64) -> Visit {
        for item in entries {
            match item {
                Item::Entry(entry) => {
                    if self.indexed(current, &entry, at)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Item::Broken => {
                    let detail = "a node of the directory's index breaks off";
                    self.broken(current, FindingCode::Corrupt, detail, at);
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The names that are lost with a part of an index are in the MFT: a warning.
    fn broken(&mut self, current: &Current, code: FindingCode, detail: &str, at: u64) {
        let finding = Finding::new(Severity::Warning, Layer::Directory, code, detail);
        self.report.push(finding.at(at).on_inode(current.inode));
    }

    fn open_index(&mut self, current: &Current) -> Option<Index> {
        let record = current.waiting.record;
        let mut buffer = Vec::new();
        let at = self.volume.record_in_image(record);
        let Ok(read) = self.volume.read_record(record, &mut buffer) else {
            self.broken(
                current,
                FindingCode::Corrupt,
                "the record of the directory is lost; its names are in the MFT",
                at,
            );
            return None;
        };
        let gathered = Gathered::of(self.volume, read, &[]);
        let (held, _) = gathered.attributes();
        let index = self.index_of(&held);
        if index.is_none() {
            self.broken(
                current,
                FindingCode::Corrupt,
                "the directory has no root of its index",
                at,
            );
        }
        index
    }

    fn index_of(&self, held: &[Held<'_>]) -> Option<Index> {
        let own = |kind| -> Vec<Held<'_>> {
            let own = held
                .iter()
                .filter(|held| held.attribute.kind == kind && held.attribute.name == index::NAME);
            own.copied().collect()
        };
        let value = |kind| {
            let parts = own(kind);
            (!parts.is_empty()).then(|| Value::of(self.volume, &parts, RUNS_MAX))
        };
        let root = own(kind::INDEX_ROOT).first()?.attribute.resident()?.to_vec();
        let block_bytes = index::block_bytes(&root)?;
        let blocks = value(kind::INDEX_ALLOCATION);
        let claimed = blocks.as_ref().map_or(0, |blocks| blocks.size);
        let volume = self.volume;
        let size = claimed.min(volume.geometry.size_bytes).min(volume.source.len());
        let count = size.checked_div(u64::from(block_bytes)).unwrap_or(0);
        let bitmap_bytes = (count / 8).saturating_add(8);
        let bitmap = value(kind::BITMAP)
            .filter(|value| value.size.min(bitmap_bytes) <= BITMAP_MAX)
            .and_then(|value| value.front(volume, bitmap_bytes));
        Some(Index {
            blocks: count,
            is_cut: claimed > size,
            runs: blocks.map(|blocks| blocks.runs().to_vec()).unwrap_or_default(),
            root,
            block_bytes,
            bitmap,
        })
    }
}

impl Index {
    /// The blocks in use, ascending. The work follows the bitmap, not the number of blocks.
    fn in_use(&self) -> impl Iterator<Item = u64> {
        let told = self.bitmap.iter().flat_map(|bitmap| {
            let bytes = (0_u64..).step_by(8).zip(bitmap);
            bytes.filter(|(_, byte)| **byte != 0).flat_map(|(first, byte)| {
                let bits = (0..8).filter(move |bit| byte.rotate_right(*bit) & 1 == 1);
                bits.map(move |bit| first.saturating_add(bit.into()))
            })
        });
        let untold = 0..if self.bitmap.is_none() { self.blocks } else { 0 };
        told.take_while(|block| *block < self.blocks).chain(untold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_use(blocks: u64, bitmap: Option<&[u8]>) -> Vec<u64> {
        let index = Index {
            root: Vec::new(),
            runs: Vec::new(),
            blocks,
            is_cut: false,
            block_bytes: 4096,
            bitmap: bitmap.map(<[u8]>::to_vec),
        };
        index.in_use().collect()
    }

    /// An index that claims blocks without end, of which its bitmap tells only the first, was asked for each of them.
    #[test]
    fn r22_an_index_ends_where_its_bitmap_does() {
        assert_eq!(in_use(1 << 53, Some(&[0, 0b101, 0x80])), [8, 10, 23]);
        assert_eq!(in_use(10, Some(&[0, 0b101, 0x80])), [8]);
        assert_eq!(in_use(3, None), [0, 1, 2]);
    }
}
