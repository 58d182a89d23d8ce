//! What no name leads to: inodes, under made-up names in a made-up directory of their subvolume, and subvolumes, in one of their own.

use std::collections::BTreeSet;

use ntt_model::entry::{Allocation, Directory, Name, Namespace};
use ntt_model::{Finding, FindingCode, Kind, Layer, ScanEvent, Severity};

use super::key::object;
use super::number;
use super::scan::{Entry, Scan};
use super::walk::Waiting;
use crate::Stop;
use crate::name::made_up;
use crate::seen::Mark;

impl Scan<'_, '_> {
    /// Emits the lost directory of the subvolume at hand, if something is lost, and walks the directories in it.
    pub(super) fn lost(&mut self) -> Result<(), Stop> {
        let Some(lost) = number::lost(self.current.id) else {
            return Ok(());
        };
        if self
            .current
            .seen
            .next_without(0, [Mark::Named, Mark::Named])
            .is_none()
        {
            return Ok(());
        }
        self.emit_lost_directory(lost)?;
        let mut from = 0;
        while let Some(inode) = self.current.seen.next_without(from, [Mark::Named, Mark::Claimed]) {
            self.adopt(inode, lost)?;
            from = inode.saturating_add(1);
        }
        self.walk_pending()?;
        self.rings(lost)
    }

    fn emit_lost_directory(&mut self, number: u64) -> Result<(), Stop> {
        self.emit(ScanEvent::Directory(Directory {
            inode: number,
            parent: None,
            name: Vec::new(),
            namespace: Namespace::Lost,
        }))
    }

    /// Names an inode in the lost directory.
    fn adopt(&mut self, object: u64, lost: u64) -> Result<(), Stop> {
        let Some(number) = number::inode(self.current.id, object) else {
            return Ok(());
        };
        self.current.seen.mark(object, Mark::Named);
        let detail = "no name leads to the inode";
        let finding = Finding::new(Severity::Warning, Layer::Inode, FindingCode::Orphan, detail);
        self.nodes.report.push(finding.on_inode(number));
        let is_directory = self.current.seen.kind(object) == Some(Kind::Directory);
        if is_directory && self.current.seen.mark(object, Mark::Entered) {
            self.pending.push(lost_directory(number, object, lost));
        }
        self.lost_name(lost, number, made_up(number))
    }

    fn lost_name(&mut self, directory: u64, inode: u64, name: Vec<u8>) -> Result<(), Stop> {
        self.emit(ScanEvent::Name(Name {
            directory,
            name,
            inode,
            namespace: Namespace::Lost,
            alternate: false,
            allocation: Allocation::Allocated,
        }))
    }

    /// Directories that hold each other and hang on nothing: each ring is entered somewhere.
    fn rings(&mut self, lost: u64) -> Result<(), Stop> {
        let mut from = 0;
        while let Some(object) = self.current.seen.next_without(from, [Mark::Named, Mark::Entered]) {
            if self.current.seen.kind(object) == Some(Kind::Directory)
                && let Some(number) = number::inode(self.current.id, object)
            {
                self.current.seen.mark(object, Mark::Entered);
                let detail = "the directory is its own ancestor and hangs on nothing";
                let finding = Finding::new(Severity::Warning, Layer::Directory, FindingCode::Loop, detail);
                self.nodes.report.push(finding.on_inode(number));
                self.pending.push(lost_directory(number, object, lost));
                self.walk_pending()?;
            }
            from = object.saturating_add(1);
        }
        Ok(())
    }

    /// Emits the subvolumes that no directory leads to, the topmost of them first, until none is left.
    pub(super) fn lost_subvolumes(&mut self) -> Result<(), Stop> {
        let mut count = 0;
        loop {
            let unplaced = self.unplaced();
            if unplaced.is_empty() {
                return Ok(());
            }
            let directory = number::lost_subvolumes(count);
            count = count.saturating_add(1);
            self.emit_lost_directory(directory)?;
            for id in unplaced {
                self.entered.insert(id);
                self.place_subvolume(id, directory)?;
            }
            self.subvolumes()?;
        }
    }

    /// Subvolumes that were not met and whose place is in none of the others; if they hold each other, the first of them.
    fn unplaced(&mut self) -> Vec<u64> {
        let left: BTreeSet<u64> = self
            .roots
            .subvolumes
            .iter()
            .filter(|(id, subvolume)| !self.entered.contains(id) && subvolume.root.is_some())
            .map(|(id, _)| *id)
            .collect();
        let (deleted, left): (Vec<u64>, Vec<u64>) = left.into_iter().partition(|id| {
            self.roots
                .subvolumes
                .get(id)
                .is_some_and(|subvolume| subvolume.is_deleted)
        });
        for id in &deleted {
            self.entered.insert(*id);
            let detail = format!("subvolume {id} was deleted and is not listed");
            let finding = Finding::new(Severity::Info, Layer::FileSystem, FindingCode::Orphan, detail);
            self.nodes.report.push(finding);
        }
        let is_held = |id: &u64| {
            let place = self
                .roots
                .subvolumes
                .get(id)
                .and_then(|subvolume| subvolume.place.as_ref());
            place.is_some_and(|place| place.subvolume != *id && left.contains(&place.subvolume))
        };
        let topmost: Vec<u64> = left.iter().copied().filter(|id| !is_held(id)).collect();
        if topmost.is_empty() {
            left.into_iter().take(1).collect()
        } else {
            topmost
        }
    }

    fn place_subvolume(&mut self, id: u64, directory: u64) -> Result<(), Stop> {
        let detail = format!("no directory leads to subvolume {id}");
        let finding = Finding::new(Severity::Warning, Layer::FileSystem, FindingCode::Orphan, detail);
        self.nodes.report.push(finding);
        let Some(number) = number::inode(id, object::FIRST_FREE) else {
            return Ok(());
        };
        let name = format!("#subvolume-{id}").into_bytes();
        self.queue.push_back(Entry {
            id,
            parent: Some(directory),
            name: name.clone().into_boxed_slice(),
            depth: 1,
            namespace: Namespace::Lost,
        });
        self.lost_name(directory, number, name)
    }
}

fn lost_directory(number: u64, object: u64, lost: u64) -> Waiting {
    Waiting {
        number,
        object: Some(object),
        parent: Some(lost),
        depth: 1,
        name: made_up(number).into_boxed_slice(),
        namespace: Namespace::Lost,
    }
}
