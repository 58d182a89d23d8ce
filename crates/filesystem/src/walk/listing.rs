//! A directory while its entries are read.

use std::ops::ControlFlow;

use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::{EachItem, Entry, Item, Visit};
use crate::Stop;
use crate::report::Report;

/// Takes what is read of one directory to the walk.
pub(crate) struct Listing<'l, 'e> {
    directory: u64,
    budget: &'l mut u64,
    each: &'l mut EachItem<'e>,
}

impl<'l, 'e> Listing<'l, 'e> {
    /// `budget` is what [`super::Nodes::entries`] gives.
    pub(crate) fn new(directory: u64, budget: &'l mut u64, each: &'l mut EachItem<'e>) -> Self {
        Self {
            directory,
            budget,
            each,
        }
    }

    /// Number of the directory.
    pub(crate) const fn directory(&self) -> u64 {
        self.directory
    }

    pub(crate) fn entry(&mut self, entry: Entry<'_>) -> Visit {
        (self.each)(Item::Entry(entry))
    }

    pub(crate) fn problem(&mut self, finding: Finding) -> Result<(), Stop> {
        (self.each)(Item::Problem(finding.on_inode(self.directory))).map(|_| ())
    }

    pub(crate) fn problems(&mut self, report: &mut Report) -> Result<(), Stop> {
        report
            .take()
            .into_iter()
            .try_for_each(|finding| self.problem(finding))
    }

    /// Says that something in the directory is wrong; `at` is in the image.
    pub(crate) fn corrupt(
        &mut self,
        severity: Severity,
        detail: impl Into<String>,
        at: u64,
    ) -> Result<(), Stop> {
        let finding = Finding::new(severity, Layer::Directory, FindingCode::Corrupt, detail);
        self.problem(finding.at(at))
    }

    /// Takes `blocks` of the budget. There are twice as many as the volume has, so that only directories that share blocks can use them up.
    pub(crate) fn afford(&mut self, blocks: u64) -> Visit {
        if let Some(left) = self.budget.checked_sub(blocks) {
            *self.budget = left;
            return Ok(ControlFlow::Continue(()));
        }
        let detail = "directories that share blocks were not read to their end";
        let finding = Finding::new(Severity::Loss, Layer::Directory, FindingCode::Limit, detail);
        self.problem(finding)?;
        Ok(ControlFlow::Break(()))
    }
}
