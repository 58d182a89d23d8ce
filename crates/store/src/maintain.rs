//! What keeps a store in order: recovery at open, new segments, merging of segments.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ntt_host::{Disk, DiskFile, OpenMode};

use crate::error::During;
use crate::index::{Entries, Groups, list, list_if_there, segment_numbers};
use crate::journal;
use crate::layout::{Layout, stem};
use crate::pack::OpenPack;
use crate::pack_scan::Member;
use crate::record::Entry;
use crate::segment::{Cursor, Segment, SegmentWriter};
use crate::store::Shared;
use crate::{BlobInfo, Error, Location, PackId, Store};

/// Segments are merged when so many of similar size stand.
const MERGE_MIN: usize = 4;
/// A segment joins a merge if it is at most so many times as large as those before it together.
const MERGE_RATIO: u64 = 4;

/// A journal whose writer is dead, locked against others who clean up.
struct DeadJournal {
    _lock: Box<dyn DiskFile>,
    path: PathBuf,
    damaged: bool,
}

impl Store {
    /// Cleans up after dead writers and reads the index. If another process is at it, only reads.
    pub(crate) fn recover(&self) -> Result<(), Error> {
        let shared = &self.shared;
        let Some(_lock) = shared.lock_maintenance()? else {
            return shared.refresh();
        };
        let index_is_lost = self.index_is_lost()?;
        shared.remove_stray_temporaries()?;
        self.compact_dead_journals()?;
        shared.refresh()?;
        if index_is_lost {
            // Before packs are cut to what was committed, which would now be nothing.
            self.adopt_orphans()?;
        }
        for pack in self.open_packs()? {
            shared.take_over(pack, "maintenance")?;
        }
        shared.merge_segments("maintenance")
    }

    /// Whether packs stand without any segment or journal. A writer makes its journal before its first pack, so somebody has removed them.
    fn index_is_lost(&self) -> Result<bool, Error> {
        let disk = self.shared.disk.as_ref();
        let layout = &self.shared.layout;
        let has = |dir: &Path, suffix: &str| -> Result<bool, Error> {
            let names = list(disk, dir)?;
            Ok(names.iter().any(|name| stem(name, suffix).is_some()))
        };
        Ok(!has(&layout.index(), ".seg")? && !has(&layout.journal(), ".log")? && !self.packs()?.is_empty())
    }

    /// Turns the journals of dead writers into a segment and removes them; a damaged one goes to `quarantine/`.
    fn compact_dead_journals(&self) -> Result<(), Error> {
        let shared = &self.shared;
        let (mut dead, mut entries) = (Vec::new(), Vec::new());
        let enough = usize::try_from(shared.options.journal_blobs).unwrap_or(usize::MAX);
        for name in list(shared.disk.as_ref(), &shared.layout.journal())? {
            if stem(&name, ".log").is_none() {
                continue;
            }
            let path = shared.layout.journal().join(name);
            let lock = match shared.disk.open(&path, OpenMode::Write) {
                // Its writer lives, and has made it a segment meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file.during("open", &path)?,
            };
            if !lock.try_lock().during("lock", &path)? {
                continue;
            }
            let scan = journal::scan(lock.as_ref(), &path, 0)?;
            entries.extend(self.salvage(&scan)?);
            entries.extend(scan.entries);
            dead.push(DeadJournal {
                _lock: lock,
                path,
                damaged: !scan.damage.is_empty(),
            });
            if entries.len() >= enough {
                shared.retire(&mut dead, &mut entries)?;
            }
        }
        shared.retire(&mut dead, &mut entries)
    }
}

impl Shared {
    /// The lock of whoever cleans up; `None` if somebody else has it.
    pub(crate) fn lock_maintenance(&self) -> Result<Option<Box<dyn DiskFile>>, Error> {
        let path = self.layout.maintenance_lock();
        let file = match self.disk.open(&path, OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match self.disk.open(&path, OpenMode::CreateNew) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        self.disk.open(&path, OpenMode::Read)
                    }
                    file => file,
                }
            }
            file => file,
        };
        let file = file.during("open", &path)?;
        Ok(file.try_lock().during("lock", &path)?.then_some(file))
    }

    /// Takes over the open pack of a dead writer: locks it and cuts it to what was committed or is whole, which `writer` makes part of the
    /// index. `None` if its writer lives or nothing was left.
    pub(crate) fn take_over(&self, pack: PackId, writer: &str) -> Result<Option<OpenPack>, Error> {
        let Some(locked) = OpenPack::lock(self.disk.as_ref(), &self.layout, pack)? else {
            return Ok(None);
        };
        // Only now can its writer commit nothing more.
        self.refresh()?;
        let committed = |member: &Member| -> Result<Option<BlobInfo>, Error> {
            let place = Location::Packed {
                pack,
                offset: member.offset,
            };
            let entries = self.index().entries_of(&member.hash)?;
            Ok(entries
                .iter()
                .map(|entry| entry.info)
                .find(|info| info.location == place))
        };
        let committed_end = |len| self.index().end_in_pack(pack, len);
        let recovered = locked.recover(self.disk.as_ref(), &committed, &committed_end)?;
        let Some((pack, mut adopted)) = recovered else {
            return Ok(None);
        };
        if !adopted.is_empty() {
            self.disk
                .sync_dir(&self.layout.packs())
                .during("sync", &self.layout.packs())?;
            adopted.sort_unstable_by_key(|entry| entry.info.hash);
            self.add_segment(writer, &adopted)?;
            self.refresh()?;
        }
        Ok(Some(pack))
    }

    /// Removes the temporary files of writers that have no journal any more or whose journal nobody holds.
    fn remove_stray_temporaries(&self) -> Result<(), Error> {
        for path in self.stray_temporaries()? {
            remove(self.disk.as_ref(), &path)?;
        }
        Ok(())
    }

    /// Files in `tmp/` whose writer is dead.
    pub(crate) fn stray_temporaries(&self) -> Result<Vec<PathBuf>, Error> {
        let mut stray = Vec::new();
        for name in list_if_there(self.disk.as_ref(), &self.layout.tmp())? {
            let writer = name.to_str().and_then(|name| Some(name.split_once('.')?.0));
            let living = match writer {
                Some(writer) => self.is_living(&self.layout.journal_of(writer))?,
                None => false,
            };
            let path = self.layout.tmp().join(&name);
            // No writer makes folders there.
            if !living && !self.is_folder(&path)? {
                stray.push(path);
            }
        }
        Ok(stray)
    }

    pub(crate) fn is_folder(&self, path: &Path) -> Result<bool, Error> {
        let entry = self.disk.entry(path).during("look up", path)?;
        Ok(entry.is_some_and(|entry| entry.is_dir))
    }

    /// Whether the writer of a journal holds it.
    pub(crate) fn is_living(&self, journal: &Path) -> Result<bool, Error> {
        match self.disk.open(journal, OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            file => Ok(!file.during("open", journal)?.try_lock().during("lock", journal)?),
        }
    }

    fn retire(&self, dead: &mut Vec<DeadJournal>, entries: &mut Vec<Entry>) -> Result<(), Error> {
        entries.sort_unstable_by_key(|entry| entry.info.hash);
        self.add_segment("maintenance", entries)?;
        entries.clear();
        for journal in dead.drain(..) {
            if journal.damaged {
                self.set_aside(&journal.path)?;
            } else {
                remove(self.disk.as_ref(), &journal.path)?;
            }
        }
        Ok(())
    }

    /// Moves a file into `quarantine/` under its name and a random one.
    pub(crate) fn set_aside(&self, path: &Path) -> Result<(), Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let to = self
            .layout
            .quarantine()
            .join(format!("{name}.{}", PackId(self.new_id()?)));
        self.disk.rename_new(path, &to).during("move aside", path)?;
        self.disk
            .sync_dir(&self.layout.quarantine())
            .during("sync", &self.layout.quarantine())?;
        let dir = path.parent().unwrap_or(self.layout.root());
        self.disk.sync_dir(dir).during("sync", dir)
    }

    /// Makes a durable segment of entries that are sorted by hash.
    pub(crate) fn add_segment(&self, writer: &str, entries: &[Entry]) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut segment = self.new_segment(writer)?;
        entries.iter().try_for_each(|entry| segment.push(entry))?;
        self.publish(segment)?;
        Ok(())
    }

    pub(crate) fn new_segment(&self, writer: &str) -> Result<SegmentWriter, Error> {
        let what = format!("{}.seg", PackId(self.new_id()?));
        SegmentWriter::create(self.disk.as_ref(), self.layout.temporary(writer, &what))
    }

    /// Gives a finished segment its number; an empty one is dropped.
    pub(crate) fn publish(&self, segment: SegmentWriter) -> Result<Option<u64>, Error> {
        if segment.is_empty() {
            remove(self.disk.as_ref(), segment.path())?;
            return Ok(None);
        }
        let temporary = segment.finish()?;
        let mut number = segment_numbers(self.disk.as_ref(), &self.layout)?
            .last()
            .map_or(0, |last| last + 1);
        loop {
            let path = self.layout.segment(number);
            match self.disk.rename_new(&temporary, &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                done => break done.during("rename to", &path)?,
            }
        }
        self.disk
            .sync_dir(&self.layout.index())
            .during("sync", &self.layout.index())?;
        Ok(Some(number))
    }

    /// Merges small segments into one. The caller holds the maintenance lock.
    pub(crate) fn merge_segments(&self, writer: &str) -> Result<(), Error> {
        let mut segments: Vec<Arc<Segment>> = self.index().segments().values().cloned().collect();
        segments.sort_by_key(|segment| segment.entries());
        let mut total = 0_u64;
        let alike = segments.iter().take_while(|segment| {
            let joins = total == 0 || segment.entries() <= total.saturating_mul(MERGE_RATIO);
            total = total.saturating_add(segment.entries());
            joins
        });
        let chosen = alike.count();
        segments.truncate(chosen);
        if chosen < MERGE_MIN {
            return Ok(());
        }
        let mut merged = self.new_segment(writer)?;
        let streams = segments
            .iter()
            .map(|segment| Box::new(Cursor::new(Arc::clone(segment))) as Entries);
        for group in Groups::new(streams.collect()) {
            group?.iter().try_for_each(|entry| merged.push(entry))?;
        }
        self.publish(merged)?;
        for segment in &segments {
            remove(self.disk.as_ref(), segment.path())?;
        }
        self.refresh()
    }

    /// Turns a living writer's journal, whose entries are in memory, into a segment.
    pub(crate) fn roll(&self, writer: &str, journal: &Path) -> Result<(), Error> {
        let entries = self.index().journal_entries(writer);
        self.add_segment(writer, &entries)?;
        remove(self.disk.as_ref(), journal)?;
        self.refresh()?;
        match self.lock_maintenance()? {
            Some(_lock) => self.merge_segments(writer),
            None => Ok(()),
        }
    }
}

/// Removes a file that may be gone already.
pub(crate) fn remove(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    match disk.remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.during("remove", path),
    }
}

/// A fresh writer's name, journal and lock.
pub(crate) fn new_writer(shared: &Shared) -> Result<(String, journal::Journal), Error> {
    let Shared { disk, layout, .. } = shared;
    new_locked(|| {
        let id = PackId(shared.new_id()?).to_string();
        let journal = journal::Journal::create(disk.as_ref(), Layout::journal_of(layout, &id))?;
        Ok(journal.map(|journal| (id, journal)))
    })
}

/// Tries `make` until nobody who cleans up was faster.
pub(crate) fn new_locked<T>(mut make: impl FnMut() -> Result<Option<T>, Error>) -> Result<T, Error> {
    loop {
        if let Some(made) = make()? {
            return Ok(made);
        }
    }
}
