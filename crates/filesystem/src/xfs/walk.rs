//! Directories: every one is entered once, from a stack of those that wait.

use std::ops::ControlFlow;

use ntt_model::entry::{Allocation, Directory, Name, Namespace};
use ntt_model::{Finding, FindingCode, Kind, Layer, ScanEvent, Severity};

use super::directory::{self, Entries, Entry, HeadFlaw, Item, NAMES_END};
use super::fork::{Map, Run};
use super::inode::{Format, RawInode};
use super::scan::Scan;
use crate::Stop;
use crate::name::path_safe;
use crate::report::unreadable;
use crate::seen::{Mark, kind_of_code};

/// Number of the made-up directory of inodes without a name: no inode is 0.
pub(super) const LOST: u64 = 0;

/// A directory that waits to be entered.
pub(super) struct Waiting {
    pub(super) inode: u64,
    pub(super) parent: u64,
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
        let root = self.root;
        self.demand(root, self.volume.in_image(0))?;
        self.seen.mark(root, Mark::Named);
        self.seen.mark(root, Mark::Entered);
        self.enter(&Waiting {
            inode: root,
            parent: root,
            depth: 0,
            name: Box::default(),
            namespace: Namespace::Native,
        })?;
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
            inode: waiting.inode,
            parent: (waiting.inode != self.root).then_some(waiting.parent),
            name: waiting.name.to_vec(),
            namespace: waiting.namespace,
        }))?;
        let leave_after = self.options.leave_after.get(&waiting.inode).copied();
        let names_max = self.options.limits.entries_per_directory;
        let mut names = 0_u64;
        self.for_each_entry(waiting.inode, &mut |scan, entry, at| {
            if leave_after.is_some_and(|after| names >= after) || names >= names_max {
                scan.leave(waiting.inode, names, leave_after.is_some());
                return Ok(ControlFlow::Break(()));
            }
            names = names.saturating_add(1);
            scan.name(entry, at, waiting).map(ControlFlow::Continue)
        })?;
        self.flush()
    }

    fn leave(&mut self, inode: u64, names: u64, is_poisonous: bool) {
        let (code, why) = if is_poisonous {
            (FindingCode::Killed, "the scan was killed in it before")
        } else {
            (FindingCode::Limit, "it holds too many")
        };
        let detail = format!("the directory was left after {names} names: {why}");
        let finding = Finding::new(Severity::Loss, Layer::Scanner, code, detail);
        self.report.push(finding.on_inode(inode));
    }

    /// Emits a name, and what it leads to if that was not emitted yet.
    fn name(&mut self, entry: &Entry<'_>, at: u64, waiting: &Waiting) -> Result<(), Stop> {
        let (name, changed) = path_safe(entry.name);
        let directory = waiting.inode;
        if changed {
            let bytes = ntt_model::blob::hex(entry.name);
            let detail = format!("a name that cannot stand in a path; its bytes are {bytes}");
            self.complain(Severity::Warning, FindingCode::Corrupt, detail, at, directory);
        }
        let kind = self.demand(entry.inode, at)?;
        self.seen.mark(entry.inode, Mark::Named);
        let said = entry
            .file_type
            .and_then(kind_of_code)
            .filter(|said| *said != Kind::Unknown);
        if let (Some(kind), Some(said)) = (kind, said)
            && kind != said
        {
            let detail = format!("the entry says {said:?}, the inode {} {kind:?}", entry.inode);
            self.complain(
                Severity::Warning,
                FindingCode::Contradiction,
                detail,
                at,
                directory,
            );
        }
        if kind == Some(Kind::Directory) {
            self.wait(entry.inode, &name, at, waiting);
        }
        self.emit(ScanEvent::Name(Name {
            directory,
            name,
            inode: entry.inode,
            namespace: Namespace::Native,
            alternate: false,
            allocation: Allocation::Allocated,
        }))
    }

    /// Lets a subdirectory wait, unless it was reached before or lies too deep.
    fn wait(&mut self, inode: u64, name: &[u8], at: u64, waiting: &Waiting) {
        let depth = waiting.depth.saturating_add(1);
        if depth > self.options.limits.depth {
            let levels = self.options.limits.depth;
            let detail = format!("directory {inode} lies deeper than {levels} levels");
            return self.complain(Severity::Loss, FindingCode::Limit, detail, at, waiting.inode);
        }
        if !self.seen.mark(inode, Mark::Entered) {
            let detail = format!("directory {inode} has a second name");
            return self.complain(Severity::Warning, FindingCode::Loop, detail, at, waiting.inode);
        }
        self.pending.push(Waiting {
            inode,
            parent: waiting.inode,
            depth,
            name: name.into(),
            namespace: Namespace::Native,
        });
    }

    fn complain(&mut self, severity: Severity, code: FindingCode, detail: String, at: u64, inode: u64) {
        let finding = Finding::new(severity, Layer::Directory, code, detail);
        self.report.push(finding.at(at).on_inode(inode));
    }

    /// Calls `each` for every entry of a directory that can be read, but for `.` and `..`.
    pub(super) fn for_each_entry(&mut self, inode: u64, each: &mut Each<'_, 's, 'a>) -> Result<(), Stop> {
        let volume = self.volume;
        let Some(offset) = volume.inode_offset(inode) else {
            return Ok(());
        };
        let at = volume.in_image(offset);
        let mut slot = vec![0; volume.inode_len()];
        if let Err(error) = volume.read(offset, &mut slot) {
            let finding = unreadable(&error, Layer::Inode, "the inode of a directory", at);
            self.report.push(finding.on_inode(inode));
            return Ok(());
        }
        let raw = RawInode::new(&slot, inode, offset)
            .filter(|raw| raw.is_at_home(volume.superblock.is_v5()) && raw.kind() == Kind::Directory);
        let Some(raw) = raw else {
            let detail = format!("inode {inode} is not a directory");
            self.complain(Severity::Loss, FindingCode::Corrupt, detail, at, inode);
            return Ok(());
        };
        if raw.data().format == Format::Local {
            return self.short_entries(&raw, each);
        }
        let map = self.builder.mapper.map(&raw, &raw.data(), &mut self.report);
        if map.runs.is_empty() {
            let detail = "the directory has no blocks".to_owned();
            self.complain(Severity::Loss, FindingCode::Corrupt, detail, at, inode);
        }
        if self.block_entries(&raw, &map, each)?.is_continue() {
            self.check_hashes(&raw, &map);
        }
        Ok(())
    }

    fn short_entries(&mut self, raw: &RawInode<'_>, each: &mut Each<'_, 's, 'a>) -> Result<(), Stop> {
        let fork = raw.data();
        let start = raw.offset.saturating_add(u64::try_from(fork.at).unwrap_or(0));
        let at = self.volume.in_image(start);
        let size = usize::try_from(raw.size()).unwrap_or(usize::MAX);
        let bytes = fork.bytes.get(..size.min(fork.bytes.len())).unwrap_or_default();
        let Some((_, items)) = directory::short(bytes, self.volume.superblock.has_file_type()) else {
            let detail = "the directory in the inode has no head".to_owned();
            self.complain(Severity::Loss, FindingCode::Corrupt, detail, at, raw.number);
            return Ok(());
        };
        self.items(raw.number, items.into_iter(), at, each).map(|_| ())
    }

    /// Entries of all data blocks; each is one or several blocks of the file system, which need not follow each other.
    fn block_entries(&mut self, raw: &RawInode<'_>, map: &Map, each: &mut Each<'_, 's, 'a>) -> Visit {
        let per_block = 1_u64.rotate_left(self.volume.superblock.directory_log.into());
        let names_end = NAMES_END.checked_div(self.volume.block_bytes()).unwrap_or(0);
        let block_len = self.volume.block_len();
        let len = usize::try_from(per_block).unwrap_or(1).saturating_mul(block_len);
        let mut block = vec![0; len];
        let mut next = 0;
        for run in map.runs.iter().filter(|run| run.logical < names_end) {
            let end = run.logical.saturating_add(run.len).min(names_end);
            let mut logical = run.logical.max(next);
            while logical < end {
                let first = logical
                    .checked_div(per_block)
                    .unwrap_or(0)
                    .saturating_mul(per_block);
                if !self.afford(raw, per_block) {
                    return Ok(ControlFlow::Break(()));
                }
                if let Some(at) = self.directory_block(raw, map, first, &mut block)
                    && self.data_block(raw, &block, at, each)?.is_break()
                {
                    return Ok(ControlFlow::Break(()));
                }
                logical = first.saturating_add(per_block);
            }
            next = logical;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn afford(&mut self, raw: &RawInode<'_>, len: u64) -> bool {
        if let Some(left) = self.directory_budget.checked_sub(len) {
            self.directory_budget = left;
            return true;
        }
        let detail = "directories that share blocks were not read to their end".to_owned();
        let at = self.volume.in_image(raw.offset);
        self.complain(Severity::Loss, FindingCode::Limit, detail, at, raw.number);
        false
    }

    /// Reads the blocks from `first` that make one block of a directory; where the first of them lies in the image. What cannot be read is zeros.
    fn directory_block(
        &mut self,
        raw: &RawInode<'_>,
        map: &Map,
        first: u64,
        block: &mut [u8],
    ) -> Option<u64> {
        let volume = self.volume;
        let mut place = None;
        for (logical, part) in (first..).zip(block.chunks_exact_mut(volume.block_len())) {
            part.fill(0);
            let Some(offset) = map.block(volume, logical) else {
                continue;
            };
            let at = volume.in_image(offset);
            if let Err(error) = volume.read(offset, part) {
                part.fill(0);
                let finding = unreadable(&error, Layer::Directory, "a block of a directory", at);
                self.report.push(finding.on_inode(raw.number));
            } else {
                place.get_or_insert(at);
            }
        }
        place
    }

    fn data_block(
        &mut self,
        raw: &RawInode<'_>,
        block: &[u8],
        at: u64,
        each: &mut Each<'_, 's, 'a>,
    ) -> Visit {
        let superblock = &self.volume.superblock;
        let (is_v5, has_type) = (superblock.is_v5(), superblock.has_file_type());
        let flaw = directory::head_flaw(block, raw.number, is_v5);
        let (severity, detail) = match &flaw {
            None => (Severity::Info, String::new()),
            Some(HeadFlaw::Wiped) => (Severity::Loss, "a block of the directory is all zeros".to_owned()),
            Some(HeadFlaw::Magic) => (
                Severity::Warning,
                "a block of the directory has a damaged head".to_owned(),
            ),
            Some(HeadFlaw::Owner(owner)) => (
                Severity::Loss,
                format!("a block of the directory belongs to inode {owner}"),
            ),
            Some(HeadFlaw::Checksum(complaint)) => (Severity::Warning, complaint.clone()),
        };
        if flaw.is_some() {
            self.complain(severity, FindingCode::Corrupt, detail, at, raw.number);
        }
        if matches!(flaw, Some(HeadFlaw::Wiped | HeadFlaw::Owner(_))) {
            return Ok(ControlFlow::Continue(()));
        }
        self.items(raw.number, Entries::new(block, is_v5, has_type), at, each)
    }

    fn items<'b>(
        &mut self,
        inode: u64,
        items: impl Iterator<Item = Item<'b>>,
        at: u64,
        each: &mut Each<'_, 's, 'a>,
    ) -> Visit {
        let place = |offset: usize| u64::try_from(offset).unwrap_or(0).saturating_add(at);
        for item in items {
            match item {
                Item::Entry(entry) if matches!(entry.name, b"." | b"..") => {}
                Item::Entry(entry) => {
                    if each(self, &entry, place(entry.at))?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Item::Bad(offset) => {
                    let detail = "bytes of the directory are no entry".to_owned();
                    self.complain(Severity::Loss, FindingCode::Corrupt, detail, place(offset), inode);
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The checksums of the blocks of hashes and of free space.
    fn check_hashes(&mut self, raw: &RawInode<'_>, map: &Map) {
        let volume = self.volume;
        let names_end = NAMES_END.checked_div(volume.block_bytes()).unwrap_or(0);
        // Blocks of several parts would have to be put together; nothing that is listed depends on them.
        if !volume.superblock.is_v5() || volume.superblock.directory_log > 0 {
            return;
        }
        let mut block = vec![0; volume.block_len()];
        for Run { offset, len, .. } in map.runs.iter().filter(|run| run.logical >= names_end) {
            for index in 0..*len {
                if !self.afford(raw, 1) {
                    return;
                }
                let offset = offset.saturating_add(index.saturating_mul(volume.block_bytes()));
                let at = volume.in_image(offset);
                if let Err(error) = volume.read(offset, &mut block) {
                    let mut finding =
                        unreadable(&error, Layer::Directory, "a block of hashes of a directory", at);
                    finding.severity = Severity::Warning;
                    self.report.push(finding.on_inode(raw.number));
                } else if let Some(complaint) =
                    directory::hash_crc(&block).complaint("a block of hashes of a directory")
                {
                    self.complain(Severity::Warning, FindingCode::Corrupt, complaint, at, raw.number);
                }
            }
        }
    }
}
