//! What no name leads to: it gets names in a made-up directory, inode 0.

use ntt_model::entry::{Directory, Namespace};
use ntt_model::{Finding, FindingCode, Kind, Layer, ScanEvent, Severity};

use super::catalog::{Item, LOST, ROOT, numbered};
use super::unfold::ROOT_PART;
use super::walk::{Entering, Walk};
use crate::Stop;
use crate::name::made_up;

/// A file or directory of a store that no hard link leads to.
struct Orphan {
    cnid: u32,
    name: Vec<u8>,
    is_folder: bool,
}

impl Walk<'_, '_> {
    /// Lists what is lost, and walks the directories among it.
    pub(super) fn lost(&mut self) -> Result<(), Stop> {
        let topless = std::mem::take(&mut self.topless);
        for cnid in &topless {
            if !self.entered.contains(*cnid) {
                self.made_up(*cnid, Kind::Directory)?;
                self.lost_name(*cnid, made_up(u64::from(*cnid)))?;
            }
        }
        self.each_orphan(&mut |walk, orphan| walk.lost_name(orphan.cnid, orphan.name))?;
        for cnid in topless {
            self.walk_lost(cnid, made_up(u64::from(cnid)))?;
        }
        self.each_orphan(&mut |walk, orphan| {
            if orphan.is_folder {
                walk.walk_lost(orphan.cnid, orphan.name)?;
            }
            Ok(())
        })?;
        self.walk_rest()
    }

    /// Files and directories of the stores that no hard link leads to.
    fn each_orphan(
        &mut self,
        each: &mut dyn FnMut(&mut Self, Orphan) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let census = self.catalog.census;
        for store in [census.file_store, census.directory_store].into_iter().flatten() {
            let mut cursor = self.catalog.tree.seek(store);
            while let Some(handle) = self.next(&mut cursor) {
                let Some(record) = handle.record(self.format()) else {
                    continue;
                };
                let (name, _) = self.format().name(self.format().raw_name(&record));
                let (cnid, is_folder, is_linked) = match self.format().item(&record) {
                    Some(Item::Folder(cnid)) => (cnid, true, self.linked_directories.contains(cnid)),
                    Some(Item::File { cnid, .. }) => {
                        let reference = numbered(&name, b"iNode");
                        let is_linked = reference.is_some_and(|number| self.linked_files.contains(number));
                        (cnid, false, is_linked)
                    }
                    _ => continue,
                };
                if !is_linked {
                    each(
                        self,
                        Orphan {
                            cnid,
                            name,
                            is_folder,
                        },
                    )?;
                }
            }
        }
        Ok(())
    }

    /// Emits a name in the lost directory, which is emitted before the first.
    fn lost_name(&mut self, cnid: u32, name: Vec<u8>) -> Result<(), Stop> {
        self.lost_directory()?;
        let detail = "no name leads to the inode";
        let finding = Finding::new(Severity::Warning, Layer::Inode, FindingCode::Orphan, detail);
        self.report.push(finding.on_inode(u64::from(cnid)));
        self.name(LOST, name, cnid, Namespace::Lost)
    }

    fn lost_directory(&mut self) -> Result<(), Stop> {
        if !self.entered.insert(LOST) {
            return Ok(());
        }
        self.emit(ScanEvent::Directory(Directory {
            inode: u64::from(LOST),
            parent: None,
            name: Vec::new(),
            namespace: Namespace::Lost,
        }))
    }

    fn walk_lost(&mut self, cnid: u32, name: Vec<u8>) -> Result<(), Stop> {
        if self.entered.contains(cnid) {
            return Ok(());
        }
        self.lost_directory()?;
        self.walk_from(Entering {
            cnid,
            parent: Some(LOST),
            name,
            namespace: Namespace::Lost,
            part: ROOT_PART,
        })
    }

    /// Directories that hold each other and hang on nothing, or on a directory that was left.
    fn walk_rest(&mut self) -> Result<(), Stop> {
        for cnid in self.catalog.census.directories() {
            if cnid >= ROOT && !self.entered.contains(cnid) {
                let detail = "no directory that was entered leads to the directory";
                let finding = Finding::new(Severity::Warning, Layer::Directory, FindingCode::Loop, detail);
                self.report.push(finding.on_inode(u64::from(cnid)));
                self.walk_lost(cnid, made_up(u64::from(cnid)))?;
            }
        }
        let entered = std::mem::take(&mut self.entered);
        for cnid in entered
            .iter()
            .filter(|cnid| !self.catalog.census.is_store(*cnid) && *cnid != LOST)
        {
            self.made_up(cnid, Kind::Directory)?;
        }
        Ok(())
    }
}
