//! Nodes by their numbers: through the object map of a volume, or as they were found by a search.

use std::cell::RefCell;
use std::rc::Rc;

use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::disk::Disk;
use super::node::Node;
use super::object::{Flaw, kind};
use super::omap::ObjectMap;
use super::sweep::Sweep;
use crate::report::Report;

/// `OBJECT_TYPE_FEXT_TREE`.
const EXTENT_TREE: u32 = 0x1f;

/// A node, and the block it was read from.
#[derive(Clone)]
pub(super) struct Placed {
    pub(super) node: Rc<Node>,
    pub(super) block: u64,
}

/// What the number of a node means.
pub(super) enum Numbers<'v> {
    /// A number that the map of the volume leads to a block.
    Mapped(&'v ObjectMap, &'v Sweep),
    /// The block of a node of the tree of files.
    Blocks,
    /// The block of a node of the tree of extents.
    ExtentBlocks,
}

/// Reads nodes of one tree.
pub(super) struct Nodes<'v, 'a> {
    pub(super) disk: &'v Disk<'a>,
    numbers: Numbers<'v>,
    /// The last one: directories and clones next to each other share it.
    last: RefCell<Option<(u64, Placed)>>,
}

impl<'v, 'a> Nodes<'v, 'a> {
    pub(super) fn new(disk: &'v Disk<'a>, numbers: Numbers<'v>) -> Self {
        Self {
            disk,
            numbers,
            last: RefCell::new(None),
        }
    }

    /// Reads a node.
    pub(super) fn read(&self, oid: u64, report: &mut Report) -> Result<Placed, Flaw> {
        if let Some((_, placed)) = self.last.borrow().as_ref().filter(|(last, _)| *last == oid) {
            return Ok(placed.clone());
        }
        let placed = self.find(oid, report)?;
        self.last.replace(Some((oid, placed.clone())));
        Ok(placed)
    }

    /// Where a node should lie in the image.
    pub(super) fn place(&self, oid: u64) -> u64 {
        match &self.numbers {
            Numbers::Mapped(map, _) => self.disk.place(map.find(oid).map_or(0, |mapping| mapping.block)),
            Numbers::Blocks | Numbers::ExtentBlocks => self.disk.place(oid),
        }
    }

    fn find(&self, oid: u64, report: &mut Report) -> Result<Placed, Flaw> {
        let (map, sweep) = match &self.numbers {
            Numbers::Mapped(map, sweep) => (map, sweep),
            Numbers::Blocks => return self.at(oid, oid, kind::FILE_TREE, false, report),
            Numbers::ExtentBlocks => return self.at(oid, oid, EXTENT_TREE, false, report),
        };
        let flaw = match map.find(oid) {
            None => Flaw::Unmapped,
            Some(mapping) => {
                let has_header = !mapping.has_no_header();
                match self.at(mapping.block, oid, kind::FILE_TREE, !has_header, report) {
                    Ok(placed) => return Ok(placed),
                    Err(flaw) => flaw,
                }
            }
        };
        let Some(found) = sweep.node(self.disk, oid, report) else {
            return Err(flaw);
        };
        let placed = self.at(found.block, oid, kind::FILE_TREE, false, report)?;
        let place = self.disk.place(found.block);
        let (severity, detail) = if matches!(flaw, Flaw::Unmapped) {
            let detail = format!("node {oid} is in no object map; it was found by its number");
            (Severity::Warning, detail)
        } else {
            let (expected, xid) = (self.place(oid), found.xid);
            let detail = format!(
                "node {oid} at {expected:#x} is lost; an older state of it, of transaction {xid}, was used"
            );
            (Severity::Loss, detail)
        };
        let finding = Finding::new(severity, Layer::Directory, FindingCode::BackupUsed, detail);
        report.push(finding.at(place));
        Ok(placed)
    }

    fn at(
        &self,
        block: u64,
        oid: u64,
        tree: u32,
        has_no_header: bool,
        report: &mut Report,
    ) -> Result<Placed, Flaw> {
        let object = self.disk.object(block, |header| {
            has_no_header || (header.is_node_of(tree) && header.oid == oid)
        })?;
        if !object.is_sealed && !has_no_header {
            report.push(
                self.disk
                    .unsealed(Layer::Directory, &format!("node {oid}"), block),
            );
        }
        let node = Rc::new(Node::parse(object.bytes).ok_or(Flaw::Inconsistent)?);
        Ok(Placed { node, block })
    }
}
