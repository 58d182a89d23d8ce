//! What no name leads to: it gets names in a made-up directory, inode 0.

use ntt_model::entry::{Allocation, Name, Namespace};
use ntt_model::{Finding, FindingCode, Kind, Layer, ScanEvent, Severity};

use super::files::Files;
use super::number::{LOST, PRIVATE, pack};
use super::scan::Scan;
use super::walk::Waiting;
use crate::Stop;

impl Scan<'_, '_> {
    /// Lists what is lost of all volumes, and walks the directories among it.
    pub(super) fn lost(&mut self, all: &mut [Files<'_, '_>]) -> Result<(), Stop> {
        let lost: Vec<Vec<u64>> = all.iter().map(Files::unnamed).collect();
        if lost.iter().any(|ids| !ids.is_empty()) {
            self.directory(LOST, None, Vec::new(), Namespace::Lost)?;
        }
        for (files, ids) in all.iter_mut().zip(&lost) {
            for id in ids {
                self.lost_name(files, *id)?;
            }
        }
        for (files, ids) in all.iter_mut().zip(&lost) {
            for id in ids {
                self.walk_lost(files, *id)?;
            }
            self.rings(files)?;
        }
        Ok(())
    }

    fn lost_name(&mut self, files: &mut Files<'_, '_>, id: u64) -> Result<(), Stop> {
        let Some(inode) = pack(files.volume.index, id) else {
            return Ok(());
        };
        if !files.present.contains(id) {
            self.without_record(files, id, Kind::Directory)?;
        }
        let (severity, detail) = if id == PRIVATE {
            (Severity::Info, "files whose removal was not finished")
        } else {
            (Severity::Warning, "no name leads to the inode")
        };
        let finding = Finding::new(severity, Layer::Inode, FindingCode::Orphan, detail);
        self.emitter.finding(finding.on_inode(inode))?;
        self.emitter.event(ScanEvent::Name(Name {
            directory: LOST,
            name: files.lost_name(id),
            inode,
            namespace: Namespace::Lost,
            alternate: false,
            allocation: Allocation::Allocated,
        }))
    }

    /// Enters a directory that hangs on nothing.
    fn walk_lost(&mut self, files: &mut Files<'_, '_>, id: u64) -> Result<(), Stop> {
        if !files.directories.contains(id) || !files.entered.insert(id) {
            return Ok(());
        }
        self.pending.push(Waiting {
            id,
            parent: LOST,
            depth: 1,
            name: files.lost_name(id).into_boxed_slice(),
            namespace: Namespace::Lost,
        });
        self.walk_pending(files)
    }

    /// Directories that hold each other and hang on nothing: each ring is entered somewhere.
    fn rings(&mut self, files: &mut Files<'_, '_>) -> Result<(), Stop> {
        let left: Vec<_> = files.directories.without(&files.entered).collect();
        for id in left {
            if files.entered.contains(id) {
                continue;
            }
            let detail = "the directory is its own ancestor, or hangs on one that was left";
            let finding = Finding::new(Severity::Warning, Layer::Directory, FindingCode::Loop, detail);
            let inode = pack(files.volume.index, id).unwrap_or(LOST);
            self.emitter.finding(finding.on_inode(inode))?;
            self.walk_lost(files, id)?;
        }
        Ok(())
    }
}

impl Files<'_, '_> {
    /// What no entry leads to: inodes, and directories whose inode record is lost.
    fn unnamed(&self) -> Vec<u64> {
        let headless = self.with_entries.without(&self.present);
        let headless = headless.filter(|id| !self.named.contains(*id));
        let private = Some(PRIVATE).filter(|id| self.with_entries.contains(*id));
        let unnamed = self.present.without(&self.named);
        unnamed.chain(headless).chain(private).collect()
    }

    fn lost_name(&self, id: u64) -> Vec<u8> {
        format!("#{}.{id}", self.volume.index).into_bytes()
    }
}
