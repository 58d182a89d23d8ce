//! What has lost its record and comes back to its directory by its thread.

use ntt_model::entry::Namespace;
use ntt_model::{Finding, FindingCode, Kind, Layer, Severity};

use super::catalog::Item;
use super::walk::{Frame, Walk};
use crate::Stop;

/// Lost records whose thread is remembered until their directory is listed.
const RETURNED_MAX: usize = 1 << 20;

/// A directory or file without a record, which its thread gives back to a directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Returned {
    pub(super) parent: u32,
    pub(super) cnid: u32,
    pub(super) is_folder: bool,
}

impl Walk<'_, '_> {
    /// Finds out where what has lost its record belongs.
    pub(super) fn look_for_returned(&mut self) {
        let census = self.catalog.census;
        let headless = census.headless().map(|cnid| (cnid, true));
        let lost_files = census.lost_files().map(|cnid| (cnid, false));
        for (cnid, is_folder) in headless.chain(lost_files) {
            let parent = self.thread(cnid).map(|(parent, _)| parent);
            let known = parent.filter(|parent| census.is_directory(*parent) && *parent != cnid);
            match known {
                Some(parent) if census.is_store(parent) => {}
                Some(parent) if self.returned.len() < RETURNED_MAX => self.returned.push(Returned {
                    parent,
                    cnid,
                    is_folder,
                }),
                _ if is_folder => self.topless.push(cnid),
                _ => self.report_lost_file(cnid, "its directory is lost too"),
            }
        }
        self.returned.sort_unstable();
    }

    fn report_lost_file(&mut self, cnid: u32, more: &str) {
        let detail = format!("the record of a file is lost, only its thread is left; {more}");
        let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Orphan, detail);
        self.report.push(finding.on_inode(u64::from(cnid)));
    }

    /// What the thread of a directory or file says: its directory, and its name there.
    pub(super) fn thread(&mut self, cnid: u32) -> Option<(u32, Vec<u8>)> {
        if !self.catalog.census.has_thread(cnid) {
            return None;
        }
        let mut cursor = self.catalog.tree.seek(cnid);
        while let Some(handle) = self.next(&mut cursor) {
            let Some(record) = handle.record(self.format()) else {
                continue;
            };
            if let Some(Item::Thread { parent, name, .. }) = self.format().item(&record) {
                return Some((parent, self.format().name(name).0));
            }
        }
        None
    }

    /// Emits the names of what belongs to the directory by its thread alone.
    pub(super) fn list_returned(&mut self, frame: &Frame) -> Result<(), Stop> {
        let mut index = frame.returned;
        while let Some(returned) = self.returned_at(index, frame.cnid) {
            index = index.saturating_add(1);
            let Some((_, name)) = self.thread(returned.cnid) else {
                continue;
            };
            if returned.is_folder {
                let detail = "the record of a directory is lost; its name is taken from its thread";
                let finding = Finding::new(Severity::Warning, Layer::Directory, FindingCode::Orphan, detail);
                self.report.push(finding.on_inode(u64::from(returned.cnid)));
                self.made_up(returned.cnid, Kind::Directory)?;
            } else {
                self.report_lost_file(returned.cnid, "it is listed by name, its content cannot be found");
                self.made_up(returned.cnid, Kind::Unknown)?;
            }
            self.parts.name(frame.part);
            self.names = self.names.saturating_add(1);
            self.name(frame.cnid, name, returned.cnid, Namespace::Native)?;
        }
        Ok(())
    }

    pub(super) fn returned_at(&self, index: usize, parent: u32) -> Option<Returned> {
        let returned = self.returned.get(index).copied();
        returned.filter(|returned| returned.parent == parent)
    }
}
