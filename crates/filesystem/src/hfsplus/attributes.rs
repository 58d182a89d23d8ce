//! Extended attributes: in the attributes file, inline or in extents of their own (`hfs_format.h`, "HFSPlusAttrKey").

use ntt_source::field::be_u32;

use crate::apple::arrange::disagreement;
use crate::apple::catalog::units;
use crate::apple::cnid_set::CnidSet;
use crate::apple::fork::{ForkBytes, ForkData, push_plus};
use crate::apple::key::{KeyFormat, Record, attribute};
use crate::apple::sweep::sweep;
use crate::apple::tree::{NodeCache, Tree};
use crate::apple::volume::Volume;
use crate::name::wtf8_from_utf16;
use crate::report::Report;

/// Bytes of an inline record before its value.
const INLINE_HEAD: usize = 16;
/// Bytes of a fork or extents record before the fork or the extents.
const FORK_HEAD: usize = 8;
/// Attributes of one inode.
const ATTRIBUTES_MAX: usize = 65_536;

/// Where a value is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    /// In the record: the value, and where it starts in the attributes file.
    Inline(Vec<u8>, u64),
    /// In extents of its own.
    Fork(ForkData),
}

/// An attribute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Attribute {
    /// WTF-8.
    pub(super) name: Vec<u8>,
    pub(super) value: Value,
}

/// The attributes file after its sweep.
pub(super) struct Attributes {
    tree: Tree,
    /// Files and directories that have attributes.
    owners: CnidSet,
    cache: NodeCache,
}

impl Attributes {
    /// Sweeps the file that `fork` describes.
    pub(super) fn open(volume: &Volume<'_>, fork: &ForkData, report: &mut Report) -> Self {
        let mut owners = CnidSet::default();
        let bytes = ForkBytes::new(volume, fork.size, &fork.runs);
        let tree = sweep(volume, KeyFormat::Attributes, bytes, report, &mut |record| {
            owners.insert(record.major);
        });
        if let Some(finding) = disagreement(&tree, volume) {
            report.push(finding);
        }
        Self {
            tree,
            owners,
            cache: NodeCache::default(),
        }
    }

    /// The attributes of a file or directory.
    pub(super) fn of(&mut self, volume: &Volume<'_>, cnid: u32) -> Vec<Attribute> {
        let mut found: Vec<Attribute> = Vec::new();
        if !self.owners.contains(cnid) {
            return found;
        }
        let mut cursor = self.tree.seek(cnid);
        while let Some(handle) = self.tree.next(volume, &mut self.cache, &mut cursor) {
            let Some(record) = handle.record(KeyFormat::Attributes) else {
                continue;
            };
            if found.len() >= ATTRIBUTES_MAX {
                break;
            }
            add(&mut found, &record, handle.place());
        }
        found
    }

    /// The runs of the image that hold `len` bytes at `place` of the attributes file.
    pub(super) fn image_runs(&self, volume: &Volume<'_>, place: u64, len: u64) -> Vec<(u64, u64)> {
        let (mut runs, mut done) = (Vec::new(), 0_u64);
        while done < len {
            let Some(run) = self.tree.file.place(place.saturating_add(done)) else {
                break;
            };
            let here = run.len.min(len.saturating_sub(done));
            runs.extend(volume.image_runs(run.offset, here));
            done = done.saturating_add(here);
        }
        runs
    }
}

/// Takes a record; the extents of an attribute go to the one before.
fn add(found: &mut Vec<Attribute>, record: &Record<'_>, place: u64) {
    let name = wtf8_from_utf16(units(record.key.get(14..).unwrap_or_default()));
    let value = match be_u32(record.data, 0) {
        Some(attribute::INLINE) => {
            let value = record.data.get(INLINE_HEAD..).unwrap_or_default().to_vec();
            let head = record.key.len().saturating_add(INLINE_HEAD);
            Value::Inline(value, place.saturating_add(u64::try_from(head).unwrap_or(0)))
        }
        Some(attribute::FORK) => {
            let fork = record.data.get(FORK_HEAD..).and_then(ForkData::plus);
            Value::Fork(fork.unwrap_or_default())
        }
        Some(attribute::EXTENTS) => {
            if let Some(Attribute {
                name: same,
                value: Value::Fork(fork),
            }) = found.last_mut()
                && *same == name
            {
                let start = be_u32(record.key, 8).unwrap_or(0);
                if u64::from(start) >= fork.blocks() {
                    push_plus(
                        &mut fork.runs,
                        start,
                        record.data.get(FORK_HEAD..).unwrap_or_default(),
                    );
                }
            }
            return;
        }
        _ => return,
    };
    found.push(Attribute { name, value });
}
