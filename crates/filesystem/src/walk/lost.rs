//! Inodes in use that no name leads to: they get made-up names in a made-up directory, inode 0.

use std::ops::ControlFlow;

use ntt_model::entry::{Allocation, Directory, Name, Namespace};
use ntt_model::{Finding, FindingCode, Kind, Layer, ScanEvent, Severity};

use super::pending::Waiting;
use super::scan::{LOST, Walk};
use crate::Stop;
use crate::name::made_up;
use crate::seen::Mark;

impl Walk<'_> {
    /// Emits the lost directory, if something is lost, and walks the directories in it.
    pub(super) fn lost(&mut self) -> Result<(), Stop> {
        if self.next_unnamed(0).is_none() {
            return Ok(());
        }
        self.claim()?;
        self.emit(ScanEvent::Directory(Directory {
            inode: LOST,
            parent: None,
            name: Vec::new(),
            namespace: Namespace::Lost,
        }))?;
        let mut from = 0;
        while let Some(inode) = self.seen.next_without(from, [Mark::Named, Mark::Claimed]) {
            self.adopt(inode)?;
            from = inode.saturating_add(1);
        }
        self.pending()?;
        self.rings()
    }

    fn next_unnamed(&self, from: u64) -> Option<u64> {
        self.seen.next_without(from, [Mark::Named, Mark::Named])
    }

    /// Marks what unnamed directories hold, so that only the topmost of them is named here.
    fn claim(&mut self) -> Result<(), Stop> {
        let mut from = 0;
        while let Some(inode) = self.next_unnamed(from) {
            if self.seen.kind(inode) == Some(Kind::Directory) {
                self.for_each_entry(inode, &mut |walk, entry| {
                    let is_dot = matches!(entry.name, b"." | b"..");
                    if !is_dot && entry.inode != inode && walk.seen.kind(entry.inode).is_some() {
                        walk.seen.mark(entry.inode, Mark::Claimed);
                    }
                    Ok(ControlFlow::Continue(()))
                })?;
                // What is wrong with it is said when it is entered.
                self.report.forget();
            }
            from = inode.saturating_add(1);
        }
        Ok(())
    }

    /// Names an inode in the lost directory.
    fn adopt(&mut self, inode: u64) -> Result<(), Stop> {
        self.seen.mark(inode, Mark::Named);
        let detail = "no name leads to the inode";
        let finding = Finding::new(Severity::Warning, Layer::Inode, FindingCode::Orphan, detail);
        self.report.push(finding.on_inode(inode));
        if self.seen.kind(inode) == Some(Kind::Directory) && self.seen.mark(inode, Mark::Entered) {
            self.pending.push(&lost_directory(inode));
        }
        self.emit(ScanEvent::Name(Name {
            directory: LOST,
            name: made_up(inode),
            inode,
            namespace: Namespace::Lost,
            alternate: false,
            allocation: Allocation::Allocated,
        }))
    }

    /// Directories that hold each other and hang on nothing: each ring is entered somewhere.
    fn rings(&mut self) -> Result<(), Stop> {
        let mut from = 0;
        while let Some(inode) = self.seen.next_without(from, [Mark::Named, Mark::Entered]) {
            if self.seen.kind(inode) == Some(Kind::Directory) {
                self.seen.mark(inode, Mark::Entered);
                let detail = "the directory is its own ancestor and hangs on nothing";
                let finding = Finding::new(Severity::Warning, Layer::Directory, FindingCode::Loop, detail);
                self.report.push(finding.on_inode(inode));
                self.pending.push(&lost_directory(inode));
                self.pending()?;
            }
            from = inode.saturating_add(1);
        }
        Ok(())
    }
}

fn lost_directory(inode: u64) -> Waiting {
    Waiting {
        inode,
        parent: LOST,
        depth: 1,
        name: made_up(inode),
        namespace: Namespace::Lost,
    }
}
