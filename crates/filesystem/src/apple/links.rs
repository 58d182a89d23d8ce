//! Hard links: files and directories with several names live in two hidden directories, their stores; names elsewhere refer to them.

use ntt_model::{Finding, FindingCode, Kind, Layer, Severity};

use super::catalog::{Item, Link, numbered};
use super::walk::{Frame, Walk};
use crate::Stop;

impl Walk<'_, '_> {
    /// Emits the inodes of files and directories with several names; their names come later.
    pub(super) fn take_stores(&mut self) -> Result<(), Stop> {
        let census = self.catalog.census;
        for store in [census.file_store, census.directory_store].into_iter().flatten() {
            self.entered.insert(store);
            let mut cursor = self.catalog.tree.seek(store);
            while let Some(handle) = self.next(&mut cursor) {
                let Some(record) = handle.record(self.format()) else {
                    continue;
                };
                match self.format().item(&record) {
                    Some(Item::Folder(cnid)) => self.inode(cnid, &handle)?,
                    Some(Item::File { cnid, .. }) => {
                        let (name, _) = self.format().name(self.format().raw_name(&record));
                        self.store_file(&name, cnid);
                        self.inode(cnid, &handle)?;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Older systems number the links to a file by chance, later ones by the number of the file.
    fn store_file(&mut self, name: &[u8], cnid: u32) {
        let Some(reference) = numbered(name, b"iNode") else {
            return;
        };
        self.stored.insert(reference);
        if reference != cnid {
            self.renumbered.insert(reference, cnid);
        }
    }

    /// The file that a hard link stands for.
    pub(super) fn stored_file(&self, reference: u32) -> Option<u32> {
        let cnid = self.renumbered.get(&reference).copied().unwrap_or(reference);
        self.stored.contains(reference).then_some(cnid)
    }

    /// The inode that a hard link leads to; the link itself, of unknown kind, if that is lost.
    pub(super) fn follow(
        &mut self,
        frame: &Frame,
        own: u32,
        link: Link,
        image_offset: u64,
    ) -> Result<u32, Stop> {
        let found = match link {
            Link::File(reference) => {
                self.file_links = self.file_links.saturating_add(1);
                self.linked_files.insert(reference);
                self.stored_file(reference)
            }
            Link::Directory(cnid) if self.catalog.census.is_directory(cnid) => {
                self.linked_directories.insert(cnid);
                self.parts.link(frame.part, cnid);
                self.made_up(cnid, Kind::Directory)?;
                Some(cnid)
            }
            Link::Directory(_) => None,
        };
        if let Some(found) = found {
            return Ok(found);
        }
        let what = match link {
            Link::File(reference) => format!("iNode{reference}"),
            Link::Directory(cnid) => format!("dir_{cnid}"),
        };
        let detail = format!("what the hard link stands for, {what}, is lost");
        let finding = Finding::new(Severity::Loss, Layer::Directory, FindingCode::Orphan, detail);
        self.report
            .push(finding.at(image_offset).on_inode(u64::from(own)));
        self.made_up(own, Kind::Unknown)?;
        Ok(own)
    }

    /// Says how many names files and directories with several names have, and what that means for the number of paths.
    pub(super) fn tell_folding(&mut self) {
        let (directories, links) = (self.parts.directories(), self.parts.links());
        let mut details = Vec::new();
        if self.file_links > 0 {
            details.push(format!("{} names are hard links to files", self.file_links));
        }
        if links > 0 {
            let names = self.names;
            let unfolded = std::mem::take(&mut self.parts).unfolded();
            let unfolded = unfolded.map_or_else(|| "no end of them".to_owned(), |paths| paths.to_string());
            details.push(format!(
                "{directories} directories have {links} names and are kept folded: {names} paths as listed, {unfolded} unfolded"
            ));
        }
        if !details.is_empty() {
            let detail = details.join("; ");
            self.report.push(Finding::new(
                Severity::Info,
                Layer::FileSystem,
                FindingCode::Loop,
                detail,
            ));
        }
    }
}
