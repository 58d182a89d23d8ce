//! Making the index anew from what is stored.

use std::path::Path;
use std::sync::Arc;

use ntt_host::{Disk, OpenMode, Random};
use ntt_model::BlobHash;

use crate::error::During;
use crate::index::list;
use crate::maintain::remove;
use crate::pack_scan::{Member, PackScan};
use crate::record::Entry;
use crate::types::Sums;
use crate::{BlobInfo, BlobReader, Error, Location, PackId, RebuildReport, Store, StoreOptions};

impl Store {
    /// Makes the index of the store in `root` anew and opens it: the way back when the index itself is damaged and [`Store::open`] refuses.
    ///
    /// # Errors
    ///
    /// As [`Store::rebuild_index`].
    pub fn rebuild(
        disk: Arc<dyn Disk>,
        random: Arc<dyn Random>,
        root: &Path,
    ) -> Result<(Self, RebuildReport), Error> {
        let store = Self::without_index(disk, random, root, StoreOptions::default(), false)?;
        let report = store.rebuild_index()?;
        store.recover()?;
        Ok((store, report))
    }

    /// Re-hashes everything in `blobs/` and `packs/` and makes the index of what is good; the old index is moved into `quarantine/`.
    /// No writer may be open.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`]; [`Error::Busy`] if a writer is open; [`Error::Io`], [`Error::Full`].
    pub fn rebuild_index(&self) -> Result<RebuildReport, Error> {
        let shared = &self.shared;
        shared.refuse_read_only()?;
        let busy = || Error::Busy {
            path: shared.layout.root().to_owned(),
        };
        let _lock = shared.lock_maintenance()?.ok_or_else(busy)?;
        let mut old = Vec::new();
        for dir in [shared.layout.journal(), shared.layout.index()] {
            for name in list(shared.disk.as_ref(), &dir)? {
                let path = dir.join(name);
                if path == shared.layout.maintenance_lock() {
                    continue;
                }
                if dir == shared.layout.journal() && shared.is_living(&path)? {
                    return Err(Error::Busy { path });
                }
                old.push(path);
            }
        }
        let mut intake = Intake {
            store: self,
            report: RebuildReport::default(),
            entries: Vec::new(),
        };
        self.each_stored(&mut |hash, path, member| intake.take(hash, &path, member))?;
        let report = intake.end()?;
        for path in &old {
            if path.starts_with(shared.layout.journal())
                && shared
                    .disk
                    .entry(path)
                    .during("look up", path)?
                    .is_some_and(|entry| entry.len == 0)
            {
                remove(shared.disk.as_ref(), path)?;
            } else {
                shared.set_aside(path)?;
            }
        }
        shared.refresh()?;
        Ok(report)
    }

    /// Re-hashes the files and members that the index does not know and takes the good ones in. What is bad is left where it is.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`], [`Error::Io`], [`Error::Full`].
    pub fn adopt_orphans(&self) -> Result<RebuildReport, Error> {
        self.shared.refuse_read_only()?;
        self.shared.refresh()?;
        let mut intake = Intake {
            store: self,
            report: RebuildReport::default(),
            entries: Vec::new(),
        };
        self.each_orphan(&mut |hash, path, member| intake.take(hash, &path, member))?;
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

impl Intake<'_> {
    fn take(&mut self, hash: BlobHash, path: &Path, member: Option<(PackId, Member)>) -> Result<(), Error> {
        let Some((sums, size)) = self.digest(path, member)? else {
            return Ok(());
        };
        let (actual, sha256) = sums;
        if actual != hash {
            self.report.bad += 1;
            return Ok(());
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
        Ok(())
    }

    /// The first generation of the loose file that nothing removes.
    fn generation(&self, hash: &BlobHash) -> Result<u64, Error> {
        let known = match self.store.shared.index().entries_of(hash) {
            // The index is what is being repaired.
            Err(Error::Corrupt { .. }) => Vec::new(),
            known => known?,
        };
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

    fn digest(&self, path: &Path, member: Option<(PackId, Member)>) -> Result<Option<(Sums, u64)>, Error> {
        let disk = self.store.shared.disk.as_ref();
        let Some((_, member)) = member else {
            let size = disk
                .entry(path)
                .during("look up", path)?
                .map_or(0, |entry| entry.len);
            return Ok(BlobReader::digest_file(disk, path)?.map(|sums| (sums, size)));
        };
        let file = disk.open(path, OpenMode::Read).during("open", path)?;
        let sums = PackScan::new(file.as_ref())
            .and_then(|mut scan| scan.digest(&member))
            .during("read", path)?;
        Ok(Some((sums, member.size)))
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
