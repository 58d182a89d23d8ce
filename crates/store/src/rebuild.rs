//! Making the index anew from what is stored.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ntt_host::{Disk, Random};
use ntt_model::BlobHash;

use crate::error::During;
use crate::index::list;
use crate::maintain::remove;
use crate::pack_scan::Member;
use crate::record::Entry;
use crate::types::Sums;
use crate::{
    BlobInfo, BlobReader, Error, Location, PackId, RebuildExtent, RebuildReport, Store, StoreOptions,
};

/// What is told after each content how many bytes of the store's files it took, and may ask to stop.
pub type Watch<'a> = dyn FnMut(u64) -> ControlFlow<()> + 'a;

impl Store {
    /// Makes the index of the store in `root` anew and opens it: the way back when the index itself is damaged and [`Store::open`] refuses.
    /// Re-hashes everything in `blobs/` and `packs/`; the index is made of what is good, and the old one is moved into `quarantine/` when the
    /// new one is durable. Until then the old one is in force, and a rebuild that was stopped is done again from its beginning. No writer may
    /// be open.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if a writer is open; [`Error::Stopped`] if `watch` asked for it; [`Error::Unsupported`], [`Error::Io`], [`Error::Full`].
    pub fn rebuild(
        disk: Arc<dyn Disk>,
        random: Arc<dyn Random>,
        root: &Path,
        watch: &mut Watch<'_>,
    ) -> Result<(Self, RebuildReport), Error> {
        let store = Self::without_index(disk, random, root, StoreOptions::default(), false)?;
        let report = store.rebuild_index(watch)?;
        store.recover()?;
        Ok((store, report))
    }

    /// What [`Store::rebuild`] would read and replace. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if there is no store of this format; [`Error::Io`].
    pub fn rebuild_extent(
        disk: Arc<dyn Disk>,
        random: Arc<dyn Random>,
        root: &Path,
    ) -> Result<RebuildExtent, Error> {
        let store = Self::without_index(disk, random, root, StoreOptions::default(), true)?;
        let mut extent = RebuildExtent {
            replaced: store.index_files()?,
            ..RebuildExtent::default()
        };
        store.each_blob_file(&mut |_, path| {
            extent.files += 1;
            extent.bytes = extent.bytes.saturating_add(store.len_of(&path)?);
            Ok(())
        })?;
        for pack in store.packs()? {
            extent.packs += 1;
            let path = store.shared.layout.pack(pack);
            extent.bytes = extent.bytes.saturating_add(store.len_of(&path)?);
        }
        Ok(extent)
    }

    fn rebuild_index(&self, watch: &mut Watch<'_>) -> Result<RebuildReport, Error> {
        let shared = &self.shared;
        let busy = || Error::Busy {
            path: shared.layout.root().to_owned(),
        };
        let _lock = shared.lock_maintenance()?.ok_or_else(busy)?;
        let old = self.index_files()?;
        for path in &old {
            if path.starts_with(shared.layout.journal()) && shared.is_living(path)? {
                return Err(Error::Busy { path: path.clone() });
            }
        }
        let mut intake = Intake::of(self);
        self.each_stored(&mut |hash, path, member| {
            let taken = intake.take(hash, &path, member)?;
            match watch(taken) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(Error::Stopped),
            }
        })?;
        let report = intake.end()?;
        for path in &old {
            if path.starts_with(shared.layout.journal()) && self.len_of(path)? == 0 {
                remove(shared.disk.as_ref(), path)?;
            } else {
                shared.set_aside(path)?;
            }
        }
        shared.refresh()?;
        Ok(report)
    }

    /// The files of the index and its journals.
    fn index_files(&self) -> Result<Vec<PathBuf>, Error> {
        let layout = &self.shared.layout;
        let mut files = Vec::new();
        for dir in [layout.journal(), layout.index()] {
            let names = list(self.shared.disk.as_ref(), &dir)?;
            files.extend(names.iter().map(|name| dir.join(name)));
        }
        files.retain(|path| *path != layout.maintenance_lock());
        Ok(files)
    }

    /// Length of a file, 0 if it is not there.
    fn len_of(&self, path: &Path) -> Result<u64, Error> {
        let entry = self.shared.disk.entry(path).during("look up", path)?;
        Ok(entry.map_or(0, |entry| entry.len))
    }

    /// Re-hashes the files and members that the index does not know and takes the good ones in. What is bad is left where it is.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`], [`Error::Io`], [`Error::Full`].
    pub fn adopt_orphans(&self) -> Result<RebuildReport, Error> {
        self.shared.refuse_read_only()?;
        self.shared.refresh()?;
        let mut intake = Intake::of(self);
        self.each_orphan(&mut |hash, path, member| intake.take(hash, &path, member).map(drop))?;
        let report = intake.end()?;
        self.shared.refresh()?;
        Ok(report)
    }
}

/// Takes in what is good, a bounded number of entries at a time.
struct Intake<'a> {
    store: &'a Store,
    report: RebuildReport,
    entries: Vec<Entry>,
}

impl<'a> Intake<'a> {
    fn of(store: &'a Store) -> Self {
        Self {
            store,
            report: RebuildReport::default(),
            entries: Vec::new(),
        }
    }

    /// Takes in a content if it is good; answers how many bytes of its file it takes.
    fn take(&mut self, hash: BlobHash, path: &Path, member: Option<(PackId, Member)>) -> Result<u64, Error> {
        let (sums, size) = match member {
            Some((pack, member)) => (self.digest(pack, &member)?, member.size),
            None => match BlobReader::digest_file(self.store.shared.disk.as_ref(), path)? {
                Some(sums) => (sums, self.store.len_of(path)?),
                None => return Ok(0),
            },
        };
        let held = member.map_or(size, |(_, member)| member.len_in_pack());
        let (actual, sha256) = sums;
        if actual != hash {
            self.report.bad += 1;
            return Ok(held);
        }
        let location = match member {
            Some((pack, member)) => Location::Packed {
                pack,
                offset: member.offset,
            },
            None => Location::Loose {
                generation: self.generation(&hash)?,
            },
        };
        self.report.blobs += 1;
        self.report.bytes += size;
        self.entries.push(Entry::stored(BlobInfo {
            hash,
            size,
            sha256,
            location,
        }));
        if self.entries.len() as u64 >= self.store.shared.options.journal_blobs {
            self.flush()?;
        }
        Ok(held)
    }

    /// The first generation of the loose file that nothing removes.
    fn generation(&self, hash: &BlobHash) -> Result<u64, Error> {
        let known = self.store.shared.index().entries_of(hash)?;
        let generations =
            known
                .iter()
                .filter(|entry| entry.removed)
                .filter_map(|entry| match entry.info.location {
                    Location::Loose { generation } => Some(generation + 1),
                    Location::Packed { .. } => None,
                });
        Ok(generations.max().unwrap_or(0))
    }

    /// Digests of a member: no more is read than the member.
    fn digest(&self, pack: PackId, member: &Member) -> Result<Sums, Error> {
        let shared = &self.store.shared;
        let info = BlobInfo {
            hash: member.hash,
            size: member.size,
            sha256: None,
            location: Location::Packed {
                pack,
                offset: member.offset,
            },
        };
        let reader = BlobReader::open(shared.disk.as_ref(), &shared.layout, &info)?;
        reader.digest().during("read", &shared.layout.file_of(&info))
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.entries.sort_unstable_by_key(|entry| entry.info.hash);
        self.store.shared.add_segment("maintenance", &self.entries)?;
        self.entries.clear();
        Ok(())
    }

    fn end(mut self) -> Result<RebuildReport, Error> {
        self.flush()?;
        Ok(self.report)
    }
}
