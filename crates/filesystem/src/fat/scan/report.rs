//! What a walk says about damage.

use ntt_model::{Finding, FindingCode, Layer, ScanEvent, Severity};

use super::{ENTRY_LENGTH, Scan};
use crate::Stop;
use crate::fat::chain::Fault;
use crate::fat::damage::{self, Lost};
use crate::fat::table;

impl Scan<'_> {
    pub(super) fn compare_tables(&mut self) -> Result<(), Stop> {
        let (comparison, gaps) = table::compare(&*self.volume.source, &self.volume.geometry);
        for gap in gaps {
            let reason = damage::reason(gap.first.code);
            let detail = format!(
                "{} bytes of allocation table {} {reason}",
                gap.bytes,
                gap.copy.saturating_add(1)
            );
            self.find(
                Severity::Warning,
                Layer::FileSystem,
                gap.first.code,
                gap.first.range.offset,
                detail,
            )?;
        }
        match comparison.first_different {
            Some(offset) => {
                let steps = comparison.different;
                let detail =
                    format!("the copies of the allocation table differ in {steps} pieces of 512 bytes");
                self.find(
                    Severity::Warning,
                    Layer::FileSystem,
                    FindingCode::Contradiction,
                    offset,
                    detail,
                )
            }
            None => Ok(()),
        }
    }

    pub(super) fn report_repairs(&mut self) -> Result<(), Stop> {
        let Some(offset) = self.walker.table.first_repaired else {
            return Ok(());
        };
        let links = self.walker.table.repaired;
        let detail = format!("{links} table entries were unusable in the first copy and taken from another");
        self.find(
            Severity::Warning,
            Layer::FileSystem,
            FindingCode::BackupUsed,
            offset,
            detail,
        )
    }

    pub(super) fn report_lost(&mut self, inode: u64, lost: &[Lost]) -> Result<(), Stop> {
        for lost in lost {
            let reason = damage::reason(lost.code);
            let detail = format!("{} bytes of the directory {reason}", lost.range.len);
            let finding = Finding::new(Severity::Loss, Layer::Directory, lost.code, detail)
                .at(self.volume.in_image(lost.range.offset))
                .on_inode(inode);
            self.visitor.visit(ScanEvent::Finding(finding))?;
        }
        Ok(())
    }

    /// Zeros inside a directory, before the piece at `end`.
    pub(super) fn wiped(&mut self, inode: u64, start: u64, end: u64) -> Result<(), Stop> {
        let detail = "zeros in the midst of the directory: what stood there is lost".to_owned();
        let detail = match end.checked_sub(start) {
            Some(len) => format!("{len} bytes of {detail}"),
            None => detail,
        };
        self.find_on(Severity::Loss, FindingCode::Corrupt, start, inode, detail)
    }

    pub(super) fn orphan(&mut self, offset: Option<u64>) -> Result<(), Stop> {
        match offset {
            Some(offset) => {
                let detail = "parts of a long name that belong to no entry";
                self.find(
                    Severity::Info,
                    Layer::Directory,
                    FindingCode::Orphan,
                    offset,
                    detail.to_owned(),
                )
            }
            None => Ok(()),
        }
    }

    /// A fault of a chain, at the table entry that is wrong or else at the directory entry.
    pub(super) fn fault(&mut self, fault: Fault, inode: u64, layer: Layer) -> Result<(), Stop> {
        let entry = || inode.saturating_mul(ENTRY_LENGTH);
        let offset = match fault.cluster() {
            Some(cluster) => self.volume.geometry.table_entry_offset(cluster),
            None => entry(),
        };
        let finding = Finding::new(Severity::Loss, layer, fault.code(), fault.describe())
            .at(self.volume.in_image(offset))
            .on_inode(inode);
        self.visitor.visit(ScanEvent::Finding(finding))
    }

    pub(super) fn find(
        &mut self,
        severity: Severity,
        layer: Layer,
        code: FindingCode,
        offset: u64,
        detail: String,
    ) -> Result<(), Stop> {
        let finding = Finding::new(severity, layer, code, detail).at(self.volume.in_image(offset));
        self.visitor.visit(ScanEvent::Finding(finding))
    }

    pub(super) fn find_on(
        &mut self,
        severity: Severity,
        code: FindingCode,
        offset: u64,
        inode: u64,
        detail: String,
    ) -> Result<(), Stop> {
        let finding = Finding::new(severity, Layer::Directory, code, detail)
            .at(self.volume.in_image(offset))
            .on_inode(inode);
        self.visitor.visit(ScanEvent::Finding(finding))
    }
}
