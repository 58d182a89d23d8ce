//! Directories: every one is entered once, from a stack of those that wait.

use std::ops::ControlFlow;

use ntt_model::entry::{Allocation, Directory, Name, Namespace};
use ntt_model::{Extent, Finding, FindingCode, Kind, Layer, ScanEvent, Severity};

use super::directory::{Entry, Item, items};
use super::inode::RawInode;
use super::scan::Scan;
use crate::Stop;
use crate::name::path_safe;
use crate::report::unreadable;
use crate::seen::Mark;

/// Inode of the root (`UFS_ROOTINO`).
pub(super) const ROOT: u32 = 2;
/// Number of the made-up directory of inodes without a name.
pub(super) const LOST: u32 = 0;

/// A directory that waits to be entered.
pub(super) struct Waiting {
    pub(super) inode: u32,
    pub(super) parent: u32,
    pub(super) depth: u32,
    pub(super) name: Box<[u8]>,
    pub(super) namespace: Namespace,
}

/// Whether to go on with the directory.
type Visit = Result<ControlFlow<()>, Stop>;
/// What is done with every entry; the second value is where it lies in the image.
type Each<'f, 's, 'a> = dyn FnMut(&mut Scan<'s, 'a>, &Entry<'_>, u64) -> Visit + 'f;

impl<'s, 'a> Scan<'s, 'a> {
    /// Walks from the root.
    pub(super) fn walk_root(&mut self) -> Result<(), Stop> {
        self.demand(ROOT, Some(Kind::Directory), self.volume.in_image(0))?;
        self.seen.mark(ROOT, Mark::Named);
        self.seen.mark(ROOT, Mark::Entered);
        self.pending.push(Waiting {
            inode: ROOT,
            parent: ROOT,
            depth: 0,
            name: Box::default(),
            namespace: Namespace::Native,
        });
        self.walk_pending()
    }

    /// Enters all directories that wait, and those they hold.
    pub(super) fn walk_pending(&mut self) -> Result<(), Stop> {
        while let Some(waiting) = self.pending.pop() {
            self.enter(&waiting)?;
        }
        Ok(())
    }

    fn enter(&mut self, waiting: &Waiting) -> Result<(), Stop> {
        self.emit(ScanEvent::Directory(Directory {
            inode: waiting.inode.into(),
            parent: (waiting.inode != ROOT).then_some(waiting.parent.into()),
            name: waiting.name.to_vec(),
            namespace: waiting.namespace,
        }))?;
        let leave_after = self.options.leave_after.get(&waiting.inode.into()).copied();
        let most = leave_after.unwrap_or(self.options.limits.entries_per_directory);
        let mut names = 0_u64;
        self.for_each_entry(waiting.inode, &mut |scan, entry, at| {
            if names >= most {
                scan.leave(waiting.inode, names, leave_after.is_some());
                return Ok(ControlFlow::Break(()));
            }
            names = names.saturating_add(1);
            scan.name(entry, at, waiting).map(ControlFlow::Continue)
        })?;
        self.flush()
    }

    fn leave(&mut self, inode: u32, names: u64, is_poisonous: bool) {
        let (code, why) = if is_poisonous {
            (FindingCode::Killed, "the scan was killed in it before")
        } else {
            (FindingCode::Limit, "it holds too many")
        };
        let detail = format!("the directory was left after {names} names: {why}");
        let finding = Finding::new(Severity::Loss, Layer::Scanner, code, detail);
        self.report.push(finding.on_inode(inode.into()));
    }

    /// Emits a name, and what it leads to if that was not emitted yet.
    fn name(&mut self, entry: &Entry<'_>, at: u64, waiting: &Waiting) -> Result<(), Stop> {
        let Some(kind) = self.demand(entry.inode, entry.kind, at)? else {
            return Ok(());
        };
        let (name, changed) = path_safe(entry.name);
        let directory = waiting.inode;
        if changed {
            let bytes = ntt_model::blob::hex(entry.name);
            let detail = format!("a name that cannot stand in a path; its bytes are {bytes}");
            self.complain_of(Severity::Warning, FindingCode::Corrupt, detail, at, directory);
        }
        self.seen.mark(entry.inode, Mark::Named);
        if let Some(said) = entry.kind.filter(|said| *said != kind && kind != Kind::Unknown) {
            let detail = format!("the entry says {said:?}, its inode {} {kind:?}", entry.inode);
            self.complain_of(
                Severity::Warning,
                FindingCode::Contradiction,
                detail,
                at,
                directory,
            );
        }
        self.emit(ScanEvent::Name(Name {
            directory: directory.into(),
            name: name.clone(),
            inode: entry.inode.into(),
            namespace: Namespace::Native,
            alternate: false,
            allocation: Allocation::Allocated,
        }))?;
        if kind == Kind::Directory {
            self.wait(entry.inode, name, at, waiting);
        }
        Ok(())
    }

    fn wait(&mut self, inode: u32, name: Vec<u8>, at: u64, waiting: &Waiting) {
        let depth = waiting.depth.saturating_add(1);
        if !self.seen.mark(inode, Mark::Entered) {
            let detail = format!("a second name leads to directory {inode}; it is listed under the first");
            self.complain_of(Severity::Warning, FindingCode::Loop, detail, at, waiting.inode);
        } else if depth > self.options.limits.depth {
            let detail = "a directory lies too deep and was not entered".to_owned();
            self.complain_of(Severity::Loss, FindingCode::Limit, detail, at, waiting.inode);
        } else {
            self.pending.push(Waiting {
                inode,
                parent: waiting.inode,
                depth,
                name: name.into_boxed_slice(),
                namespace: Namespace::Native,
            });
        }
    }

    pub(super) fn complain_of(
        &mut self,
        severity: Severity,
        code: FindingCode,
        detail: String,
        at: u64,
        inode: u32,
    ) {
        let finding = Finding::new(severity, Layer::Directory, code, detail);
        self.report.push(finding.at(at).on_inode(inode.into()));
    }

    /// Calls `each` for every entry of a directory but `.` and `..`.
    pub(super) fn for_each_entry(&mut self, inode: u32, each: &mut Each<'_, 's, 'a>) -> Result<(), Stop> {
        let len = usize::try_from(self.volume.superblock.inode_len()).unwrap_or(256);
        let mut slot = vec![0; len];
        let Some(offset) = self.volume.inode_offset(inode) else {
            return Ok(());
        };
        if self.volume.read(offset, &mut slot).is_err() {
            return Ok(());
        }
        let volume = self.volume;
        let raw = RawInode::new(&volume.superblock, &slot, inode, offset);
        if raw.kind() != Kind::Directory {
            return Ok(());
        }
        let map = self.map(&raw);
        if map.extents.is_empty() {
            let detail = "the directory has no blocks".to_owned();
            let at = volume.in_image(offset);
            self.complain_of(Severity::Loss, FindingCode::Corrupt, detail, at, inode);
        }
        for extent in &map.extents {
            if self.extent(inode, extent, each)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Reads an extent of a directory block by block.
    fn extent(&mut self, inode: u32, extent: &Extent, each: &mut Each<'_, 's, 'a>) -> Visit {
        let step = u64::from(self.volume.superblock.block_bytes);
        let mut done = 0_u64;
        while done < extent.len {
            let len = step.min(extent.len.saturating_sub(done));
            let at = extent.image_offset.saturating_add(done);
            if !self.afford(len / 512, inode, at) {
                return Ok(ControlFlow::Break(()));
            }
            let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
            let offset = at.saturating_sub(self.volume.in_image(0));
            if let Err(error) = self.volume.read(offset, &mut bytes) {
                let finding = unreadable(&error, Layer::Directory, "a block of a directory", at);
                self.report.push(finding.on_inode(inode.into()));
            } else if self.items(inode, &bytes, at, each)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            done = done.saturating_add(len);
        }
        Ok(ControlFlow::Continue(()))
    }

    fn items(&mut self, inode: u32, bytes: &[u8], at: u64, each: &mut Each<'_, 's, 'a>) -> Visit {
        let volume = self.volume;
        for item in items(&volume.superblock, bytes) {
            let place = |within: usize| u64::try_from(within).unwrap_or(0).saturating_add(at);
            match item {
                Item::Entry(entry) if matches!(entry.name, b"." | b"..") => {}
                Item::Entry(entry) => {
                    if each(self, &entry, place(entry.at))?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Item::Bad(within) => {
                    let detail = "bytes of the directory are no entry".to_owned();
                    self.complain_of(Severity::Loss, FindingCode::Corrupt, detail, place(within), inode);
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn afford(&mut self, sectors: u64, inode: u32, at: u64) -> bool {
        if let Some(left) = self.directory_budget.checked_sub(sectors) {
            self.directory_budget = left;
            return true;
        }
        let detail = "directories that share blocks were not read to their end".to_owned();
        self.complain_of(Severity::Loss, FindingCode::Limit, detail, at, inode);
        false
    }
}
