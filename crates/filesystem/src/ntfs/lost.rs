//! Names whose directory is gone, and files without a name.
//!
//! They hang in a made-up directory: names of a lost directory together below `#` and the number of its record, files without a name as `#` and
//! their own number.

use ntt_model::entry::{Allocation, Directory, Inode, Name, Namespace};
use ntt_model::{Finding, FindingCode, Kind, Layer, ScanEvent, Severity};

use super::file_name::FileName;
use super::scan::Scan;
use super::walk::Waiting;
use crate::Stop;
use crate::name::made_up;
use crate::seen::Mark;

/// Inode number of the made-up directory: records have numbers below it.
pub(super) const LOST: u64 = 1 << 48;

/// A name whose directory is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Orphan {
    parent: u32,
    child: u32,
    is_deleted: bool,
}

impl Scan<'_, '_> {
    /// Emits what is lost, if something is.
    pub(super) fn lost(&mut self) -> Result<(), Stop> {
        let orphans = self.orphans();
        if orphans.is_empty() && self.next_unnamed(0).is_none() {
            return Ok(());
        }
        self.emit(ScanEvent::Directory(Directory {
            inode: LOST,
            parent: None,
            name: Vec::new(),
            namespace: Namespace::Lost,
        }))?;
        let groups: Vec<&[Orphan]> = orphans
            .chunk_by(|left, right| left.parent == right.parent)
            .collect();
        for group in &groups {
            self.announce(group)?;
        }
        self.nameless()?;
        for group in &groups {
            self.enter_group(group)?;
        }
        self.walk_pending()?;
        self.walk_cycles()
    }

    fn next_unnamed(&self, from: u32) -> Option<u32> {
        self.next_without(from, [Mark::Named, Mark::Named])
    }

    fn next_without(&self, from: u32, marks: [Mark; 2]) -> Option<u32> {
        let found = self.seen.next_without(from.into(), marks)?;
        u32::try_from(found).ok()
    }

    /// Names whose directory was not entered and will not be from a lost one, in order.
    fn orphans(&mut self) -> Vec<Orphan> {
        let mut orphans: Vec<Orphan> = std::mem::take(&mut self.misplaced)
            .into_iter()
            .map(|(parent, child, is_deleted)| Orphan {
                parent,
                child,
                is_deleted,
            })
            .collect();
        for (links, is_deleted) in [(&self.links, false), (&self.deleted_links, true)] {
            let gone = links.iter().filter(|(parent, _)| {
                let waits = self.seen.kind(*parent) == Some(Kind::Directory);
                !self.seen.has(*parent, Mark::Entered) && !waits
            });
            orphans.extend(gone.map(|(parent, link)| Orphan {
                parent,
                child: link.child,
                is_deleted,
            }));
        }
        orphans.sort_unstable();
        orphans.dedup();
        orphans
    }

    /// Names the directory that stands for a lost one.
    fn announce(&mut self, group: &[Orphan]) -> Result<(), Stop> {
        let Some(parent) = group.first().map(|orphan| orphan.parent) else {
            return Ok(());
        };
        let allocation = allocation(group);
        if allocation == Allocation::Allocated {
            let detail = format!("directory {parent}, which holds {} names, is gone", group.len());
            let finding = Finding::new(Severity::Warning, Layer::Directory, FindingCode::Orphan, detail);
            self.report.push(finding.on_inode(u64::from(parent)));
        }
        let inode = group_inode(parent);
        self.emit(ScanEvent::Inode(Box::new(Inode {
            allocation,
            ..Inode::bare(inode, Kind::Directory)
        })))?;
        self.lost_name(made_up(u64::from(parent)), inode, allocation)
    }

    fn lost_name(&mut self, name: Vec<u8>, inode: u64, allocation: Allocation) -> Result<(), Stop> {
        self.emit(ScanEvent::Name(Name {
            directory: LOST,
            name,
            inode,
            namespace: Namespace::Lost,
            alternate: false,
            allocation,
        }))
    }

    /// Files without any name.
    fn nameless(&mut self) -> Result<(), Stop> {
        let mut from = 0;
        while let Some(record) = self.next_without(from, [Mark::Named, Mark::Claimed]) {
            self.seen.mark(record, Mark::Named);
            let detail = "the record has no name that can be read, and no name leads to it";
            let finding = Finding::new(Severity::Warning, Layer::Inode, FindingCode::Orphan, detail);
            self.report.push(finding.on_inode(u64::from(record)));
            if self.seen.kind(record) == Some(Kind::Directory) && self.seen.mark(record, Mark::Entered) {
                let waiting = self.lost_directory(record);
                self.pending.push(&waiting);
            }
            self.lost_name(
                made_up(u64::from(record)),
                u64::from(record),
                Allocation::Allocated,
            )?;
            from = record.saturating_add(1);
        }
        Ok(())
    }

    fn enter_group(&mut self, group: &[Orphan]) -> Result<(), Stop> {
        let Some(parent) = group.first().map(|orphan| orphan.parent) else {
            return Ok(());
        };
        let inode = group_inode(parent);
        let name = made_up(u64::from(parent));
        self.emit(ScanEvent::Directory(Directory {
            inode,
            parent: Some(LOST),
            name: name.clone(),
            namespace: Namespace::Lost,
        }))?;
        let waiting = Waiting {
            name,
            ..self.lost_directory(parent)
        };
        let mut current = self.current(waiting, inode, Vec::new());
        for orphan in group {
            self.orphan(&mut current, *orphan)?;
        }
        Ok(())
    }

    /// Emits the names that a file has in the lost directory.
    fn orphan(&mut self, current: &mut super::walk::Current, orphan: Orphan) -> Result<(), Stop> {
        let at = self.volume.record_in_image(orphan.child);
        self.with_names(orphan.child, &mut |scan, record, names| {
            let own = |name: &&FileName<'_>| name.parent.record == u64::from(orphan.parent);
            for name in names.iter().filter(own) {
                let alternate = super::scan::is_alternate(name, names);
                let flow = if orphan.is_deleted {
                    scan.deleted_name(current, record.sequence(), orphan.child, name, alternate, at)?
                } else {
                    scan.name(current, orphan.child, name, alternate, at)?
                };
                if flow.is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Directories that hold each other and hang on nothing: each ring is entered somewhere.
    fn walk_cycles(&mut self) -> Result<(), Stop> {
        let mut from = 0;
        while let Some(record) = self.next_without(from, [Mark::Named, Mark::Entered]) {
            if self.seen.kind(record) == Some(Kind::Directory) {
                self.seen.mark(record, Mark::Entered);
                let detail = "the directory is its own ancestor and hangs on nothing";
                let finding = Finding::new(Severity::Warning, Layer::Directory, FindingCode::Loop, detail);
                self.report.push(finding.on_inode(u64::from(record)));
                let waiting = self.lost_directory(record);
                self.pending.push(&waiting);
                self.walk_pending()?;
            }
            from = record.saturating_add(1);
        }
        Ok(())
    }

    fn lost_directory(&self, record: u32) -> Waiting {
        Waiting {
            record,
            sequence: self.sequence(record),
            parent: LOST,
            depth: 1,
            name: made_up(u64::from(record)),
            namespace: Namespace::Lost,
            is_deleted: false,
        }
    }
}

fn group_inode(parent: u32) -> u64 {
    LOST.saturating_add(1).saturating_add(u64::from(parent))
}

fn allocation(group: &[Orphan]) -> Allocation {
    if group.iter().all(|orphan| orphan.is_deleted) {
        Allocation::Deleted
    } else {
        Allocation::Allocated
    }
}
