//! Events on their way out: findings of one kind are bounded, the rest of them counted.

use std::collections::BTreeMap;

use ntt_model::entry::{Allocation, Inode, Name};
use ntt_model::{Finding, FindingCode, Layer, Namespace, ScanEvent, Severity};

use crate::name::path_safe;
use crate::{Stop, Visitor};

/// Findings of one layer and code that are told one by one.
const FINDINGS_MAX: u64 = 1000;

pub(crate) struct Emitter<'v> {
    visitor: &'v mut dyn Visitor,
    counts: BTreeMap<(Layer, FindingCode), u64>,
    /// Whether a finding said that entries are lost.
    pub(crate) lossy: bool,
}

impl<'v> Emitter<'v> {
    pub(crate) fn new(visitor: &'v mut dyn Visitor) -> Self {
        Self {
            visitor,
            counts: BTreeMap::new(),
            lossy: false,
        }
    }

    pub(crate) fn event(&mut self, event: ScanEvent) -> Result<(), Stop> {
        self.visitor.visit(event)
    }

    pub(crate) fn inode(&mut self, inode: Inode) -> Result<(), Stop> {
        self.visitor.visit(ScanEvent::Inode(Box::new(inode)))
    }

    pub(crate) fn finding(&mut self, finding: Finding) -> Result<(), Stop> {
        self.lossy |= finding.severity == Severity::Loss && finding.layer != Layer::Inode;
        let count = self.counts.entry((finding.layer, finding.code)).or_default();
        *count = count.saturating_add(1);
        if *count > FINDINGS_MAX {
            return Ok(());
        }
        self.visitor.visit(ScanEvent::Finding(finding))
    }

    /// Emits a name; one that cannot stand in a path is changed, with a finding that holds the true bytes.
    pub(crate) fn name(
        &mut self,
        (directory, inode): (u64, u64),
        (namespace, raw): (Namespace, &[u8]),
        alternate: bool,
        image_offset: u64,
    ) -> Result<(), Stop> {
        let (name, changed) = path_safe(raw);
        if changed {
            let detail = format!("the name {} cannot stand in a path", ntt_model::name::escape(raw));
            let finding = Finding::new(Severity::Info, Layer::Directory, FindingCode::OutOfRange, detail);
            self.finding(finding.at(image_offset).on_inode(inode))?;
        }
        self.event(ScanEvent::Name(Name {
            directory,
            name,
            inode,
            namespace,
            alternate,
            allocation: Allocation::Allocated,
        }))
    }

    /// Emits a deleted entry: its inode, which is its own, and its name.
    pub(crate) fn deleted(
        &mut self,
        (directory, mut inode): (u64, Inode),
        (namespace, raw): (Namespace, &[u8]),
    ) -> Result<(), Stop> {
        let allocation = Allocation::Deleted;
        let number = inode.number;
        inode.allocation = allocation;
        self.inode(inode)?;
        self.event(ScanEvent::Name(Name {
            directory,
            name: path_safe(raw).0,
            inode: number,
            namespace,
            alternate: false,
            allocation,
        }))
    }

    /// Tells how many findings were only counted.
    pub(crate) fn finish(&mut self) -> Result<(), Stop> {
        for ((layer, code), count) in std::mem::take(&mut self.counts) {
            if count > FINDINGS_MAX {
                let more = count.saturating_sub(FINDINGS_MAX);
                let detail = format!("{more} more findings of the kind {code:?} were counted, not listed");
                let finding = Finding::new(Severity::Info, layer, FindingCode::Limit, detail);
                self.visitor.visit(ScanEvent::Finding(finding))?;
            }
        }
        Ok(())
    }
}
