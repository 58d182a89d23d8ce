//! Where each blob lies: journals in memory, segments on disk.
//!
//! The index is a set of entries, and everything that changes it keeps the set: a journal is removed only after a segment with its entries
//! is durable, old segments only after the merged one. An entry that stands twice is harmless, so no crash in between matters.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ntt_host::{Disk, OpenMode};
use ntt_model::BlobHash;

use crate::error::During;
use crate::journal;
use crate::layout::{Layout, stem};
use crate::record::{Entry, live};
use crate::segment::{Cursor, Segment};
use crate::tar_member::padded;
use crate::{BlobInfo, Error, IndexDamage, Location, PackId};

/// How often a list of segments is read again because one vanished, merged by another process.
const RELOADS_MAX: u32 = 100;

/// Entries of one journal, in memory.
#[derive(Debug, Default)]
struct Recent {
    /// The journal has been read up to here.
    end: u64,
    entries: HashMap<BlobHash, Vec<Entry>>,
    removals: u64,
}

impl Recent {
    fn add(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.removals += u64::from(entry.removed);
            self.entries.entry(entry.info.hash).or_default().push(*entry);
        }
    }
}

/// The index of an open store.
#[derive(Debug, Default)]
pub(crate) struct Index {
    segments: BTreeMap<u64, Arc<Segment>>,
    /// By writer id.
    journals: BTreeMap<String, Recent>,
    /// Why no question can be answered.
    damage: Option<IndexDamage>,
}

impl Index {
    /// All that is known of a blob, removed places included.
    pub(crate) fn entries_of(&self, hash: &BlobHash) -> Result<Vec<Entry>, Error> {
        self.is_whole()?;
        let mut found: Vec<Entry> = self.recent(hash).copied().collect();
        for segment in self.segments.values() {
            segment.look_up(hash, &mut found)?;
        }
        Ok(found)
    }

    fn recent<'a>(&'a self, hash: &'a BlobHash) -> impl Iterator<Item = &'a Entry> {
        self.journals
            .values()
            .filter_map(|recent| recent.entries.get(hash))
            .flatten()
    }

    /// Where the blob lies, if it is stored.
    pub(crate) fn look_up(&self, hash: &BlobHash) -> Result<Option<BlobInfo>, Error> {
        self.is_whole()?;
        if self.has_removals() {
            return Ok(live(&self.entries_of(hash)?).next());
        }
        if let Some(entry) = self.recent(hash).next() {
            return Ok(Some(entry.info));
        }
        let mut found = Vec::new();
        for segment in self.segments.values() {
            segment.look_up(hash, &mut found)?;
            if let Some(entry) = found.first() {
                return Ok(Some(entry.info));
            }
        }
        Ok(None)
    }

    /// Whether the blob was struck at this very place.
    pub(crate) fn is_struck(&self, hash: &BlobHash, location: Location) -> Result<bool, Error> {
        if !self.has_removals() {
            return Ok(false);
        }
        let entries = self.entries_of(hash)?;
        Ok(entries
            .iter()
            .any(|entry| entry.removed && entry.info.location == location))
    }

    /// Where the last of the contents ends that the index has, struck or not, in the first `len` bytes of a pack. Looks at every entry.
    pub(crate) fn end_in_pack(&self, wanted: PackId, len: u64) -> Result<u64, Error> {
        let mut end = 0;
        for group in self.walk() {
            for entry in group? {
                match entry.info.location {
                    Location::Packed { pack, offset } if pack == wanted && offset < len => {
                        end = end.max(offset.saturating_add(padded(entry.info.size)));
                    }
                    _ => {}
                }
            }
        }
        Ok(end)
    }

    /// From here on every question is answered with the damage: part of an index would give a silent no.
    pub(crate) fn give_up(&mut self, damage: IndexDamage) {
        self.damage = Some(damage);
    }

    fn is_whole(&self) -> Result<(), Error> {
        let damage = self.damage.clone();
        damage.map_or(Ok(()), |damage| Err(Error::DamagedIndex(damage)))
    }

    fn has_removals(&self) -> bool {
        self.segments.values().any(|segment| segment.removals() > 0)
            || self.journals.values().any(|recent| recent.removals > 0)
    }

    /// Takes in a batch of a writer of this process.
    pub(crate) fn add(&mut self, writer: &str, entries: &[Entry], journal_end: u64) {
        let recent = self.journals.entry(writer.to_owned()).or_default();
        recent.add(entries);
        recent.end = journal_end;
    }

    /// Entries of a journal ascending by hash, and how many there are.
    pub(crate) fn journal_entries(&self, writer: &str) -> Vec<Entry> {
        let entries = self
            .journals
            .get(writer)
            .map(|recent| recent.entries.values().flatten().copied());
        let mut entries: Vec<Entry> = entries.into_iter().flatten().collect();
        entries.sort_unstable_by_key(|entry| entry.info.hash);
        entries
    }

    /// How many blobs of a journal are in memory.
    pub(crate) fn journal_len(&self, writer: &str) -> usize {
        self.journals.get(writer).map_or(0, |recent| recent.entries.len())
    }

    /// Reads what journals and segments on disk say that this index does not know yet.
    ///
    /// A journal of another process may hold a batch whose sync has not ended: it is synced here before it is believed, unless the store is
    /// `read_only`. Journals come before segments: one that vanishes meanwhile has become a segment.
    pub(crate) fn refresh(&mut self, disk: &dyn Disk, layout: &Layout, read_only: bool) -> Result<(), Error> {
        let names = list_if_there(disk, &layout.journal())?;
        let writers: Vec<String> = names
            .iter()
            .filter_map(|name| Some(stem(name, ".log")?.to_owned()))
            .collect();
        for writer in &writers {
            self.read_journal(disk, layout, writer, read_only)?;
        }
        self.load_segments(disk, layout)?;
        self.journals.retain(|writer, _| writers.contains(writer));
        self.damage = None;
        Ok(())
    }

    fn read_journal(
        &mut self,
        disk: &dyn Disk,
        layout: &Layout,
        writer: &str,
        read_only: bool,
    ) -> Result<(), Error> {
        let path = layout.journal_of(writer);
        let mut file = match disk.open(&path, OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file.during("open", &path)?,
        };
        let from = self.journals.get(writer).map_or(0, |recent| recent.end);
        let scan = journal::scan(file.as_ref(), &path, from)?;
        if !scan.entries.is_empty() && !read_only {
            file.sync_data().during("sync", &path)?;
        }
        self.add(writer, &scan.entries, scan.end);
        Ok(())
    }

    fn load_segments(&mut self, disk: &dyn Disk, layout: &Layout) -> Result<(), Error> {
        for _ in 0..RELOADS_MAX {
            match self.try_load_segments(disk, layout) {
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                done => return done,
            }
        }
        Err(Error::Busy { path: layout.index() })
    }

    fn try_load_segments(&mut self, disk: &dyn Disk, layout: &Layout) -> Result<(), Error> {
        let mut segments = BTreeMap::new();
        for number in segment_numbers(disk, layout)? {
            let segment = match self.segments.get(&number) {
                Some(segment) => Arc::clone(segment),
                None => Arc::new(Segment::open(disk, &layout.segment(number))?),
            };
            segments.insert(number, segment);
        }
        self.segments = segments;
        Ok(())
    }

    /// The open segments by number.
    pub(crate) fn segments(&self) -> &BTreeMap<u64, Arc<Segment>> {
        &self.segments
    }

    /// A walk over everything, grouped by hash, ascending. It keeps its own view: changes after this call are not seen.
    pub(crate) fn walk(&self) -> Groups {
        let mut cursors: Vec<Entries> = Vec::new();
        if let Err(error) = self.is_whole() {
            cursors.push(Box::new(std::iter::once(Err(error))));
        }
        for segment in self.segments.values() {
            cursors.push(Box::new(Cursor::new(Arc::clone(segment))));
        }
        for writer in self.journals.keys() {
            cursors.push(Box::new(self.journal_entries(writer).into_iter().map(Ok)));
        }
        Groups::new(cursors)
    }
}

/// Names in a directory.
pub(crate) fn list(disk: &dyn Disk, path: &Path) -> Result<Vec<PathBuf>, Error> {
    disk.list(path).during("list", path)
}

/// Names in one of the folders that a copy of the store may lack because they were empty.
pub(crate) fn list_if_there(disk: &dyn Disk, path: &Path) -> Result<Vec<PathBuf>, Error> {
    match disk.list(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.during("list", path),
    }
}

/// Numbers of the segments on disk, ascending.
pub(crate) fn segment_numbers(disk: &dyn Disk, layout: &Layout) -> Result<Vec<u64>, Error> {
    let names = list(disk, &layout.index())?;
    Ok(names
        .iter()
        .filter_map(|name| stem(name, ".seg")?.parse().ok())
        .collect())
}

/// Entries ascending by hash.
pub(crate) type Entries = Box<dyn Iterator<Item = Result<Entry, Error>>>;

/// Merges sorted streams of entries; each item is all that is known of one hash, without repetitions.
pub(crate) struct Groups {
    streams: Vec<std::iter::Peekable<Entries>>,
}

impl Groups {
    pub(crate) fn new(streams: Vec<Entries>) -> Self {
        Self {
            streams: streams.into_iter().map(Iterator::peekable).collect(),
        }
    }

    /// The smallest hash that comes next, or the error that does.
    fn smallest(&mut self) -> Option<Result<BlobHash, Error>> {
        let mut smallest: Option<BlobHash> = None;
        for stream in &mut self.streams {
            match stream.peek() {
                None => {}
                Some(Ok(entry)) => {
                    smallest = Some(smallest.map_or(entry.info.hash, |hash| hash.min(entry.info.hash)));
                }
                Some(Err(_)) => return stream.next().and_then(Result::err).map(Err),
            }
        }
        smallest.map(Ok)
    }
}

impl Iterator for Groups {
    type Item = Result<Vec<Entry>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let hash = match self.smallest()? {
            Ok(hash) => hash,
            Err(error) => {
                self.streams.clear();
                return Some(Err(error));
            }
        };
        let mut group: Vec<Entry> = Vec::new();
        for stream in &mut self.streams {
            while let Some(Ok(entry)) =
                stream.next_if(|next| next.as_ref().is_ok_and(|entry| entry.info.hash == hash))
            {
                if !group.contains(&entry) {
                    group.push(entry);
                }
            }
        }
        Some(Ok(group))
    }
}
