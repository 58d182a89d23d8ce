//! Directories: every one is entered once, from a stack of those that wait.

use std::ops::ControlFlow;

use ntt_model::entry::Namespace;
use ntt_model::{Finding, FindingCode, Kind, Layer, Severity};

use super::files::Files;
use super::index::Key;
use super::number::pack;
use super::record::kind;
use super::scan::Scan;
use crate::Stop;
use crate::report::left;

/// A directory that waits to be entered.
pub(super) struct Waiting {
    pub(super) id: u64,
    /// Inode number of its parent.
    pub(super) parent: u64,
    pub(super) depth: u32,
    pub(super) name: Box<[u8]>,
    pub(super) namespace: Namespace,
}

impl Scan<'_, '_> {
    /// Enters all directories that wait, and those they hold.
    pub(super) fn walk_pending(&mut self, files: &mut Files<'_, '_>) -> Result<(), Stop> {
        while let Some(waiting) = self.pending.pop() {
            self.enter(files, &waiting)?;
        }
        Ok(())
    }

    fn enter(&mut self, files: &mut Files<'_, '_>, waiting: &Waiting) -> Result<(), Stop> {
        let Some(number) = pack(files.volume.index, waiting.id) else {
            return Ok(());
        };
        let name = waiting.name.to_vec();
        self.directory(number, Some(waiting.parent), name, waiting.namespace)?;
        let leave_after = self.options.leave_after.get(&number).copied();
        let most = leave_after.unwrap_or(self.options.limits.entries_per_directory);
        let mut names = 0_u64;
        let mut is_left = false;
        self.entries(files, waiting.id, &mut |scan, files, name, id, kind, place| {
            if names >= most {
                is_left = true;
                return Ok(ControlFlow::Break(()));
            }
            names = names.saturating_add(1);
            scan.name(files, waiting, (name, id, kind), place)?;
            Ok(ControlFlow::Continue(()))
        })?;
        if is_left {
            self.report.push(left(number, names, leave_after.is_some()));
        }
        self.flush()
    }

    /// Gives the entries of a directory, then those that were put back.
    fn entries(
        &mut self,
        files: &mut Files<'_, '_>,
        directory: u64,
        each: &mut EachEntry<'_, Self>,
    ) -> Result<(), Stop> {
        // Names of a leaf are taken out of it first: what follows them may read others.
        let mut batch = Batch::default();
        while let Some(next) = batch.fill(files, directory) {
            for (name, id, kind, place) in std::mem::take(&mut batch.entries) {
                if each(self, files, &name, id, kind, place)?.is_break() {
                    return Ok(());
                }
            }
            if !next {
                break;
            }
        }
        for (name, id) in files.adopted.remove(&directory).unwrap_or_default() {
            let place = files.volume.place;
            if each(self, files, &name, id, Kind::Unknown, place)?.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Emits a name, and what it leads to if its record is lost.
    fn name(
        &mut self,
        files: &mut Files<'_, '_>,
        waiting: &Waiting,
        (name, id, kind): (&[u8], u64, Kind),
        place: u64,
    ) -> Result<(), Stop> {
        let volume = files.volume.index;
        let (Some(directory), Some(inode)) = (pack(volume, waiting.id), pack(volume, id)) else {
            let detail = format!("a name leads to inode {id:#x}, a number that is not known to be used");
            let finding = Finding::new(Severity::Loss, Layer::Directory, FindingCode::OutOfRange, detail);
            self.report.push(finding.at(place));
            return Ok(());
        };
        if !files.present.contains(id) {
            self.without_record(files, id, kind)?;
        }
        let names = (Namespace::Native, name);
        self.emitter.name((directory, inode), names, false, place)?;
        if !files.directories.contains(id) {
            return Ok(());
        }
        if !files.entered.insert(id) {
            let detail = "a second name leads to the directory; it is listed under the first";
            let finding = Finding::new(Severity::Warning, Layer::Directory, FindingCode::Loop, detail);
            self.report.push(finding.at(place).on_inode(inode));
            return Ok(());
        }
        self.wait(waiting, directory, name, id);
        Ok(())
    }

    fn wait(&mut self, waiting: &Waiting, directory: u64, name: &[u8], id: u64) {
        let depth = waiting.depth.saturating_add(1);
        if depth > self.options.limits.depth {
            let detail = "the directory lies too deep and was not entered";
            let finding = Finding::new(Severity::Loss, Layer::Scanner, FindingCode::Limit, detail);
            self.report.push(finding.on_inode(directory));
            return;
        }
        self.pending.push(Waiting {
            id,
            parent: directory,
            depth,
            name: crate::name::path_safe(name).0.into_boxed_slice(),
            namespace: Namespace::Native,
        });
    }
}

/// What is done with an entry: name, inode, kind, place in the image.
type EachEntry<'f, S> =
    dyn FnMut(&mut S, &mut Files<'_, '_>, &[u8], u64, Kind, u64) -> Result<ControlFlow<()>, Stop> + 'f;

/// Entries of a directory, some thousand at a time.
#[derive(Default)]
struct Batch {
    entries: Vec<(Vec<u8>, u64, Kind, u64)>,
    /// Records of the directory that were given.
    given: u64,
}

/// Entries of one batch.
const BATCH_ENTRIES: usize = 1 << 16;

impl Batch {
    /// Reads the next entries; whether more may follow. `None` if there is none.
    fn fill(&mut self, files: &Files<'_, '_>, directory: u64) -> Option<bool> {
        let mut skipped = 0_u64;
        let mut is_full = false;
        files
            .index
            .of(Key::new(directory, kind::ENTRY), &mut |_, record, block| {
                if skipped < self.given {
                    skipped = skipped.saturating_add(1);
                    return ControlFlow::Continue(());
                }
                if self.entries.len() >= BATCH_ENTRIES {
                    is_full = true;
                    return ControlFlow::Break(());
                }
                skipped = skipped.saturating_add(1);
                self.given = self.given.saturating_add(1);
                if let Some(entry) = files.entry(record.key, record.value) {
                    let at = u64::try_from(record.value_at).unwrap_or(0);
                    let place = files.index.nodes.disk.place(block).saturating_add(at);
                    self.entries
                        .push((entry.name.to_vec(), entry.id, entry.kind, place));
                }
                ControlFlow::Continue(())
            });
        (!self.entries.is_empty() || is_full).then_some(is_full)
    }
}
