//! Directories: every one is entered once, from a stack of those that wait.

use std::ops::ControlFlow;

use ntt_model::entry::{Allocation, Directory, Name, Namespace};
use ntt_model::{Finding, FindingCode, Kind, Layer, ScanEvent, Severity};

use super::directory::{Entries, Entry, EntryRules, Item};
use super::features::incompat;
use super::inode::{MAP_LEN, RawInode, flag};
use super::map::{MapRoot, Run, map};
use super::scan::{CHUNK_BYTES, ROOT, Scan};
use super::seal::Seal;
use super::volume::NoInode;
use super::xattr::{Place, in_body};
use crate::Stop;
use crate::name::path_safe;
use crate::report::unreadable;
use crate::seen::{Mark, kind_of_code};

/// Number of the made-up directory of inodes without a name: ext never uses inode 0.
pub(super) const LOST: u32 = 0;
/// First four bytes of inline directory data: the number of the parent.
const INLINE_PARENT_LEN: usize = 4;

/// A directory that waits to be entered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Waiting {
    pub(super) inode: u32,
    pub(super) parent: u32,
    pub(super) depth: u32,
    pub(super) name: Vec<u8>,
    pub(super) namespace: Namespace,
}

/// A stack of directories in one allocation, since a million can wait.
#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
}

/// Bytes of a waiting directory beside its name: three numbers, namespace and name length.
const WAITING_LEN: usize = 15;

impl Pending {
    /// Adds one.
    pub(super) fn push(&mut self, waiting: &Waiting) {
        self.bytes.extend_from_slice(&waiting.name);
        for number in [waiting.inode, waiting.parent, waiting.depth] {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
        self.bytes.push(u8::from(waiting.namespace == Namespace::Lost));
        let len = u16::try_from(waiting.name.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&len.to_le_bytes());
    }

    /// Takes the one added last.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let start = self.bytes.len().checked_sub(WAITING_LEN)?;
        let record = self.bytes.split_off(start);
        let number = |at| ntt_source::field::le_u32(&record, at);
        let len = ntt_source::field::le_u16(&record, 13)?;
        let name = self.bytes.split_off(start.checked_sub(usize::from(len))?);
        let is_lost = record.get(12) == Some(&1);
        Some(Waiting {
            inode: number(0)?,
            parent: number(4)?,
            depth: number(8)?,
            name,
            namespace: if is_lost {
                Namespace::Lost
            } else {
                Namespace::Native
            },
        })
    }
}

/// Where an entry was met.
#[derive(Clone, Copy)]
pub(super) struct Met {
    /// Where it lies in the image.
    pub(super) image_offset: u64,
    /// How many entries of the directory came before it.
    pub(super) index: u64,
}

/// Whether to go on with the directory.
type Visit = Result<ControlFlow<()>, Stop>;
/// What is done with every entry.
type Each<'f, 's, 'a> = dyn FnMut(&mut Scan<'s, 'a>, &Entry<'_>, Met) -> Visit + 'f;

impl<'s, 'a> Scan<'s, 'a> {
    /// Walks from the root.
    pub(super) fn walk_root(&mut self) -> Result<(), Stop> {
        self.demand(ROOT, self.volume.blocks.volume_offset())?;
        self.seen.mark(ROOT, Mark::Named);
        self.seen.mark(ROOT, Mark::Entered);
        let root = Waiting {
            inode: ROOT,
            parent: ROOT,
            depth: 0,
            name: Vec::new(),
            namespace: Namespace::Native,
        };
        self.enter(&root)?;
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
            inode: u64::from(waiting.inode),
            parent: (waiting.inode != ROOT).then_some(u64::from(waiting.parent)),
            name: waiting.name.clone(),
            namespace: waiting.namespace,
        }))?;
        let leave_after = self.options.leave_after.get(&u64::from(waiting.inode)).copied();
        let names_max = self.options.limits.entries_per_directory;
        let mut names = 0_u64;
        self.for_each_entry(waiting.inode, &mut |scan, entry, met| {
            if scan.is_dot(entry, met, waiting) {
                return Ok(ControlFlow::Continue(()));
            }
            if leave_after.is_some_and(|after| names >= after) || names >= names_max {
                scan.leave(waiting.inode, names, leave_after.is_some());
                return Ok(ControlFlow::Break(()));
            }
            names = names.saturating_add(1);
            scan.name(entry, met, waiting).map(ControlFlow::Continue)
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
        self.report.push(finding.on_inode(u64::from(inode)));
    }

    /// Whether an entry is one of the first two, `.` and `..`.
    fn is_dot(&mut self, entry: &Entry<'_>, met: Met, waiting: &Waiting) -> bool {
        let expected = match entry.name {
            b"." => waiting.inode,
            b".." => waiting.parent,
            _ => return false,
        };
        if entry.inode != expected && waiting.namespace == Namespace::Native {
            let shown = String::from_utf8_lossy(entry.name).into_owned();
            let detail = format!("`{shown}` leads to inode {}, expected {expected}", entry.inode);
            let finding = Finding::new(
                Severity::Warning,
                Layer::Directory,
                FindingCode::Contradiction,
                detail,
            );
            self.report
                .push(finding.at(met.image_offset).on_inode(u64::from(waiting.inode)));
        }
        met.index < 2 || entry.inode == expected
    }

    /// Emits a name, and what it leads to if that was not emitted yet.
    fn name(&mut self, entry: &Entry<'_>, met: Met, waiting: &Waiting) -> Result<(), Stop> {
        let (name, changed) = path_safe(entry.name);
        if changed {
            let bytes = ntt_model::blob::hex(entry.name);
            let detail = format!("a name that cannot stand in a path; its bytes are {bytes}");
            self.directory_finding(
                Severity::Warning,
                FindingCode::Corrupt,
                detail,
                met,
                waiting.inode,
            );
        }
        let kind = self.demand(entry.inode, met.image_offset)?;
        self.seen.mark(entry.inode, Mark::Named);
        let said = entry.file_type.filter(|code| *code != 0).and_then(kind_of_code);
        if let (Some(kind), Some(said)) = (kind, said)
            && kind != said
        {
            let detail = format!("the entry says {said:?}, the inode {} {kind:?}", entry.inode);
            self.directory_finding(
                Severity::Warning,
                FindingCode::Contradiction,
                detail,
                met,
                waiting.inode,
            );
        }
        if kind == Some(Kind::Directory) {
            self.wait(entry.inode, &name, met, waiting);
        }
        self.emit(ScanEvent::Name(Name {
            directory: u64::from(waiting.inode),
            name,
            inode: u64::from(entry.inode),
            namespace: Namespace::Native,
            alternate: false,
            allocation: Allocation::Allocated,
        }))
    }

    /// Lets a subdirectory wait, unless it was reached before or lies too deep.
    fn wait(&mut self, inode: u32, name: &[u8], met: Met, waiting: &Waiting) {
        let depth = waiting.depth.saturating_add(1);
        if depth > self.options.limits.depth {
            let detail = format!(
                "directory {inode} lies deeper than {} levels",
                self.options.limits.depth
            );
            return self.directory_finding(Severity::Loss, FindingCode::Limit, detail, met, waiting.inode);
        }
        if !self.seen.mark(inode, Mark::Entered) {
            let detail = format!("directory {inode} has a second name");
            return self.directory_finding(Severity::Warning, FindingCode::Loop, detail, met, waiting.inode);
        }
        self.pending.push(&Waiting {
            inode,
            parent: waiting.inode,
            depth,
            name: name.to_vec(),
            namespace: Namespace::Native,
        });
    }

    fn directory_finding(
        &mut self,
        severity: Severity,
        code: FindingCode,
        detail: String,
        met: Met,
        inode: u32,
    ) {
        let finding = Finding::new(severity, Layer::Directory, code, detail);
        self.report
            .push(finding.at(met.image_offset).on_inode(u64::from(inode)));
    }

    /// Calls `each` for every entry of a directory that can be read.
    pub(super) fn for_each_entry(&mut self, directory: u32, each: &mut Each<'_, 's, 'a>) -> Result<(), Stop> {
        let mut buffer = Vec::new();
        let place = match self.volume.read_inode_block(directory, &mut buffer) {
            Ok(place) => place,
            Err(NoInode::NoPlace) => return Ok(()),
            Err(NoInode::Unreadable(error, place)) => {
                let at = self.volume.inode_image_offset(place);
                let finding = unreadable(&error, Layer::Inode, "the inode of a directory", at);
                self.report.push(finding.on_inode(u64::from(directory)));
                return Ok(());
            }
        };
        let end = place
            .within
            .saturating_add(usize::from(self.volume.superblock.inode_bytes));
        let bytes = buffer.get(place.within..end).unwrap_or_default();
        let at = self.volume.inode_image_offset(place);
        let Some(raw) = RawInode::new(bytes, directory, at).filter(|raw| raw.kind() == Kind::Directory)
        else {
            let detail = format!("inode {directory} is not a directory");
            let finding = Finding::new(Severity::Loss, Layer::Directory, FindingCode::Corrupt, detail);
            self.report.push(finding.at(at).on_inode(u64::from(directory)));
            return Ok(());
        };
        if raw.has(flag::ENCRYPTED) {
            let detail = "the names of the directory are encrypted";
            self.report.push(super::attributes::on(
                &raw,
                Severity::Warning,
                FindingCode::Encrypted,
                detail,
            ));
        }
        if raw.has(flag::INLINE_DATA) {
            return self.inline_entries(&raw, each);
        }
        self.block_entries(&raw, each)
    }

    fn rules(&self) -> EntryRules {
        EntryRules {
            has_file_type: self.volume.superblock.has_incompat(incompat::FILETYPE),
            inodes_count: self.volume.superblock.inodes_count,
        }
    }

    /// Entries of a directory inside its inode: in `i_block` after the parent's number, and in the value of `system.data`.
    fn inline_entries(&mut self, raw: &RawInode<'_>, each: &mut Each<'_, 's, 'a>) -> Result<(), Stop> {
        let map_at = raw.image_offset.saturating_add(0x28);
        let bytes = raw.map_bytes();
        let head = bytes.get(INLINE_PARENT_LEN..MAP_LEN).unwrap_or_default();
        // The two entries `.` and `..` do not exist here.
        let mut index = 2;
        let at = map_at.saturating_add(4);
        if self.entries(raw.number, head, at, &mut index, each)?.is_break() {
            return Ok(());
        }
        let attributes = in_body(raw).unwrap_or_default();
        for attribute in attributes.iter().filter(|attribute| attribute.is_inline_data()) {
            if let Place::Here(value, place) = attribute.value {
                let at = place.image_offset;
                if self.entries(raw.number, value, at, &mut index, each)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn block_entries(&mut self, raw: &RawInode<'_>, each: &mut Each<'_, 's, 'a>) -> Result<(), Stop> {
        let root = MapRoot::of(raw, u64::MAX);
        let mut runs = Vec::new();
        let mut context = self.builder.context(&mut self.report);
        map(&mut context, &root, &mut |run| {
            runs.push(run);
            u64::try_from(runs.len()).unwrap_or(u64::MAX) < 1 << 20
        });
        let block_bytes = self.volume.blocks.block_bytes().max(1);
        let size_blocks = raw.size(&self.volume.superblock).div_ceil(block_bytes);
        if runs.is_empty() {
            let detail = "the directory has no blocks";
            self.report.push(super::attributes::on(
                raw,
                Severity::Loss,
                FindingCode::Corrupt,
                detail,
            ));
        }
        let mut index = 0;
        let mut chunk = Vec::new();
        if runs.iter().any(|run| run.unwritten) {
            // e2fsck keeps what stands in such blocks too: the flag is wrong more often than the entries.
            let detail = "blocks of the directory are marked as unwritten; they were read";
            self.report.push(super::attributes::on(
                raw,
                Severity::Warning,
                FindingCode::Contradiction,
                detail,
            ));
        }
        for run in &runs {
            if self
                .run_entries(raw, *run, size_blocks, &mut chunk, &mut index, each)?
                .is_break()
            {
                break;
            }
        }
        Ok(())
    }

    fn run_entries(
        &mut self,
        raw: &RawInode<'_>,
        run: Run,
        size_blocks: u64,
        chunk: &mut Vec<u8>,
        index: &mut u64,
        each: &mut Each<'_, 's, 'a>,
    ) -> Visit {
        let step = self.volume.blocks.whole_blocks(CHUNK_BYTES).max(1);
        let mut done = 0;
        while done < run.len {
            let len = step.min(run.len.saturating_sub(done));
            let part = Run {
                logical: run.logical.saturating_add(done),
                physical: run.physical.saturating_add(done),
                len,
                unwritten: false,
            };
            if !self.afford(raw, len)
                || self
                    .part_entries(raw, part, size_blocks, chunk, index, each)?
                    .is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            done = done.saturating_add(len);
        }
        Ok(ControlFlow::Continue(()))
    }

    fn afford(&mut self, raw: &RawInode<'_>, len: u64) -> bool {
        if let Some(left) = self.directory_budget.checked_sub(len) {
            self.directory_budget = left;
            return true;
        }
        let detail = "directories that share blocks were not read to their end";
        self.report.push(super::attributes::on(
            raw,
            Severity::Loss,
            FindingCode::Limit,
            detail,
        ));
        false
    }

    /// Reads the blocks of `part` together, or one by one where that fails.
    fn part_entries(
        &mut self,
        raw: &RawInode<'_>,
        part: Run,
        size_blocks: u64,
        chunk: &mut Vec<u8>,
        index: &mut u64,
        each: &mut Each<'_, 's, 'a>,
    ) -> Visit {
        let block_len = self.volume.blocks.block_len().max(1);
        chunk.resize(
            usize::try_from(part.len).unwrap_or(0).saturating_mul(block_len),
            0,
        );
        let together = self.volume.blocks.read(part.physical, chunk).is_ok();
        for (step, bytes) in (0..part.len).zip(chunk.chunks_exact_mut(block_len)) {
            let physical = part.physical.saturating_add(step);
            let at = self.volume.blocks.image_offset(physical);
            if !together && let Err(error) = self.volume.blocks.read(physical, bytes) {
                let finding = unreadable(&error, Layer::Directory, "a block of a directory", at);
                self.report.push(finding.on_inode(u64::from(raw.number)));
                continue;
            }
            let logical = part.logical.saturating_add(step);
            if logical >= size_blocks && !self.belongs(raw, bytes, at) {
                continue;
            }
            self.check_block(raw, bytes, at, logical == 0);
            if self.entries(raw.number, bytes, at, index, each)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Whether a block past the directory's size is one of the directory nevertheless.
    fn belongs(&mut self, raw: &RawInode<'_>, block: &[u8], at: u64) -> bool {
        let is_directory = Entries::is_clean(block, self.rules());
        if is_directory {
            let size = raw.size(&self.volume.superblock);
            let detail = format!("directory block past the size of {size} bytes");
            let finding = Finding::new(
                Severity::Warning,
                Layer::Directory,
                FindingCode::Contradiction,
                detail,
            );
            self.report.push(finding.at(at).on_inode(u64::from(raw.number)));
        }
        is_directory
    }

    fn check_block(&mut self, raw: &RawInode<'_>, block: &[u8], at: u64, is_first: bool) {
        if !self.volume.superblock.has_metadata_checksums() {
            return;
        }
        let Some(seal) = Seal::of(block, is_first && raw.has(flag::INDEX)) else {
            return;
        };
        let (stored, computed) = (
            seal.stored,
            seal.computed(raw.checksum_seed(&self.volume.superblock)),
        );
        if computed != stored {
            let detail =
                format!("checksum of a directory block is {stored:#010x}, computed {computed:#010x}");
            let finding = Finding::new(Severity::Warning, Layer::Directory, FindingCode::Corrupt, detail);
            self.report.push(finding.at(at).on_inode(u64::from(raw.number)));
        }
    }

    fn entries(
        &mut self,
        directory: u32,
        block: &[u8],
        at: u64,
        index: &mut u64,
        each: &mut Each<'_, 's, 'a>,
    ) -> Visit {
        let place = |offset: usize| u64::try_from(offset).unwrap_or(0).saturating_add(at);
        for item in Entries::new(block, self.rules()) {
            match item {
                Item::Entry(entry) => {
                    let met = Met {
                        image_offset: place(entry.offset),
                        index: *index,
                    };
                    *index = index.saturating_add(1);
                    if each(self, &entry, met)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Item::Bad(offset, detail) => {
                    let finding =
                        Finding::new(Severity::Loss, Layer::Directory, FindingCode::Corrupt, detail);
                    self.report
                        .push(finding.at(place(offset)).on_inode(u64::from(directory)));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_directories_come_back_last_first() {
        let waiting = |inode, name: &[u8], namespace| Waiting {
            inode,
            parent: 7,
            depth: 3,
            name: name.to_vec(),
            namespace,
        };
        let first = waiting(12, b"a", Namespace::Native);
        let second = waiting(u32::MAX, &[0xff; 255], Namespace::Lost);
        let mut pending = Pending::default();
        pending.push(&first);
        pending.push(&second);
        assert_eq!(pending.pop(), Some(second));
        assert_eq!(pending.pop(), Some(first));
        assert_eq!(pending.pop(), None);
    }
}
