//! Gathering new blobs and committing them.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use ntt_host::{Barrier, DiskFile, OpenMode};
use ntt_model::{BlobHash, Sha256};

use crate::claims::Claim;
use crate::error::During;
use crate::journal::{Journal, Kind};
use crate::maintain::{new_locked, new_writer, remove};
use crate::names::NewNames;
use crate::pack::OpenPack;
use crate::record::Entry;
use crate::store::Shared;
use crate::tar_member::SIZE_MAX;
use crate::{
    BatchId, BlobInfo, BlobReader, CommitReport, Error, Known, LargeBlob, Location, PackId, Put, Store,
};

/// Temporary files that may be open at a time; beyond that they are synced and closed before the commit.
const OPEN_FILES_MAX: usize = 64;
/// An open pack below this size is left for the next writer instead of being sealed.
const SEAL_BYTES_MIN: u64 = 1 << 20;

/// Gathers new blobs into batches and commits them. One for each copying thread or process.
///
/// After an error the writer is poisoned: the batch has failed as a whole and nothing of it becomes visible. Dropped without a commit, it
/// leaves nothing either.
#[derive(Debug)]
pub struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: String,
    /// The running batch.
    batch: BatchId,
    journal: Journal,
    /// Syncs many files at once, where that is possible.
    barrier: Option<Box<dyn Barrier>>,
    packs: Vec<OpenPack>,
    pending: HashMap<BlobHash, Entry>,
    pending_bytes: u64,
    loose: Vec<LooseFile>,
    temporaries: u64,
    poisoned: bool,
}

/// A finished temporary file that becomes a blob at the commit.
#[derive(Debug)]
struct LooseFile {
    temporary: PathBuf,
    /// Open as long as it is not synced.
    file: Option<Box<dyn DiskFile>>,
    hash: BlobHash,
}

impl Writer {
    pub(crate) fn open(store: &Store) -> Result<Self, Error> {
        let shared = Arc::clone(&store.shared);
        let (id, journal) = new_writer(&shared)?;
        let root = shared.layout.root();
        let barrier = shared.disk.barrier(root).during("open", root)?;
        let batch = BatchId {
            writer: shared.claims.new_writer(),
            number: 0,
        };
        let (packs, pending, loose) = (Vec::new(), HashMap::new(), Vec::new());
        let mut writer = Self {
            shared,
            id,
            batch,
            journal,
            barrier,
            packs,
            pending,
            pending_bytes: 0,
            loose,
            temporaries: 0,
            poisoned: false,
        };
        for pack in store.open_packs()? {
            writer.packs.extend(writer.shared.take_over(pack, &writer.id)?);
        }
        writer.seal_packs(1, SEAL_BYTES_MIN)?;
        Ok(writer)
    }

    /// Adds a content that is wholly in memory. `hash` must be its BLAKE3 and `sha256`, if given, its SHA-256: [`crate::ContentHasher`].
    ///
    /// # Errors
    ///
    /// [`Error::Full`] or [`Error::Io`], after which the writer is poisoned; [`Error::Poisoned`].
    pub fn put(&mut self, content: &[u8], hash: BlobHash, sha256: Option<Sha256>) -> Result<Put, Error> {
        self.guarded(|writer| writer.try_put(content, hash, sha256))
    }

    fn try_put(&mut self, content: &[u8], hash: BlobHash, sha256: Option<Sha256>) -> Result<Put, Error> {
        debug_assert_eq!(BlobHash::of(content), hash, "a name that is not the content's");
        if let Some(known) = self.claim(hash, sha256)? {
            return Ok(known);
        }
        self.take(content, hash, sha256)
    }

    /// As [`Writer::put`] for a content that is stored already: it is stored once more.
    pub(crate) fn put_again(
        &mut self,
        content: &[u8],
        hash: BlobHash,
        sha256: Option<Sha256>,
    ) -> Result<(), Error> {
        self.guarded(|writer| writer.take(content, hash, sha256))
            .map(drop)
    }

    fn take(&mut self, content: &[u8], hash: BlobHash, sha256: Option<Sha256>) -> Result<Put, Error> {
        let size = content.len() as u64;
        let threshold = self.shared.options.pack_threshold_bytes.min(SIZE_MAX);
        if threshold == 0 || size > threshold || self.was_struck_there(&hash)? {
            let (temporary, mut file) = self.new_temporary()?;
            file.write_all_at(0, content).during("write", &temporary)?;
            return self.add_loose(
                temporary,
                file,
                BlobInfo {
                    hash,
                    size,
                    sha256,
                    location: Location::Loose { generation: 0 },
                },
            );
        }
        let pack = self.pack()?;
        let location = Location::Packed {
            pack: pack.id,
            offset: pack.append(hash, sha256, content)?,
        };
        self.remember(BlobInfo {
            hash,
            size,
            sha256,
            location,
        });
        Ok(Put::New)
    }

    /// Whether the place in a pack that a content would get now is one at which it was struck: of a pack that was cut short the bytes behind its end are free again,
    /// and the entry that strikes what was there would strike what comes.
    fn was_struck_there(&mut self, hash: &BlobHash) -> Result<bool, Error> {
        let pack = self.pack()?;
        let place = Location::Packed {
            pack: pack.id,
            offset: pack.next_offset(),
        };
        self.shared.index().is_struck(hash, place)
    }

    /// What is known of a content, so that it need not be put: it is stored, or in a running batch of this process.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], or [`Error::DamagedIndex`]: never a silent no.
    pub fn look_up(&self, hash: &BlobHash) -> Result<Option<Known>, Error> {
        // Before the index: a commit puts its contents there first and then gives its claims back.
        if let Some(Claim { batch, sha256 }) = self.shared.claims.find(hash) {
            let batch = Some(batch);
            return Ok(Some(Known { sha256, batch }));
        }
        let stored = self.shared.index().look_up(hash)?;
        Ok(stored.map(|info| Known {
            sha256: info.sha256,
            batch: None,
        }))
    }

    /// The running batch: what is put now is durable when it is committed.
    pub const fn batch(&self) -> BatchId {
        self.batch
    }

    /// Takes a content as this batch's own, unless it is known.
    pub(crate) fn claim(&self, hash: BlobHash, sha256: Option<Sha256>) -> Result<Option<Put>, Error> {
        let batch = self.batch;
        match self.shared.claims.claim(hash, Claim { batch, sha256 }) {
            Some(held) if held.batch == batch => return Ok(Some(Put::Present)),
            Some(held) => return Ok(Some(Put::Pending(held.batch))),
            None => {}
        }
        if self.shared.index().look_up(&hash)?.is_none() {
            return Ok(None);
        }
        self.shared.claims.release([&hash]);
        Ok(Some(Put::Present))
    }

    /// Begins a content that comes in pieces.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`].
    pub fn large(&mut self) -> Result<LargeBlob<'_>, Error> {
        self.guarded(|_| Ok(()))?;
        Ok(LargeBlob::new(self))
    }

    /// Whether the batch has reached its size.
    pub fn should_commit(&self) -> bool {
        let options = &self.shared.options;
        self.pending_blobs() >= options.batch_blobs || self.pending_bytes >= options.batch_bytes
    }

    /// New blobs that are not committed yet.
    pub fn pending_blobs(&self) -> u64 {
        self.pending.len() as u64
    }

    /// Their bytes.
    pub const fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    /// Makes the batch durable and visible: packs and temporary files are synced, files get their names, directories are synced, then one
    /// record is appended to the journal and synced. When this returns, the caller may write to its catalogue that the blobs are stored.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] or [`Error::Io`]: the batch has failed, nothing of it is visible, the writer is poisoned; [`Error::Poisoned`].
    pub fn commit(&mut self) -> Result<CommitReport, Error> {
        self.guarded(Self::try_commit)
    }

    fn try_commit(&mut self) -> Result<CommitReport, Error> {
        let report = CommitReport {
            blobs: self.pending_blobs(),
            bytes: self.pending_bytes,
        };
        if report.blobs == 0 {
            return Ok(report);
        }
        self.sync_contents()?;
        self.announce()?;
        self.publish()?;
        let entries: Vec<Entry> = self.pending.drain().map(|(_, entry)| entry).collect();
        self.journal.append(Kind::Stored, &entries)?;
        self.pending_bytes = 0;
        self.batch.number += 1;
        self.shared
            .index_mut()
            .add(&self.id, &entries, self.journal.end());
        let committed = entries.iter().map(|entry| &entry.info.hash);
        self.shared.claims.release(committed);
        Ok(report)
    }

    /// Makes what was written durable: packs and temporary files.
    fn sync_contents(&mut self) -> Result<(), Error> {
        if self.has_many_files()
            && let Some(barrier) = &mut self.barrier
        {
            for pack in &mut self.packs {
                pack.flush()?;
            }
            barrier.sync_all().during("sync", self.shared.layout.root())?;
            self.packs.iter_mut().for_each(OpenPack::set_synced);
            self.loose.iter_mut().for_each(|loose| loose.file = None);
            return Ok(());
        }
        for pack in self.packs.iter_mut().filter(|pack| !pack.is_synced()) {
            pack.sync()?;
        }
        self.sync_temporaries()
    }

    /// Whether one sync of the whole file system is cheaper than one of each file.
    fn has_many_files(&self) -> bool {
        self.loose.len() as u64 >= self.shared.options.barrier_files
    }

    /// Journals the names that the temporary files are about to get, so that a recovery finds them if this commit does not end.
    fn announce(&mut self) -> Result<(), Error> {
        let names = self
            .loose
            .iter()
            .filter_map(|loose| self.pending.get(&loose.hash));
        let names: Vec<Entry> = names.copied().collect();
        if names.is_empty() {
            return Ok(());
        }
        self.journal.append(Kind::Naming, &names)
    }

    /// Gives the temporary files their names and makes all names of the batch durable.
    fn publish(&mut self) -> Result<(), Error> {
        let Shared { disk, layout, .. } = self.shared.as_ref();
        let mut names = NewNames::new(disk.as_ref(), layout, &self.shared.durable_dirs);
        for loose in &self.loose {
            names.blob(&loose.hash)?;
            let path = layout.blob(&loose.hash);
            match disk.rename_new(&loose.temporary, &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.settle_taken(loose)?,
                done => done.during("rename to", &path)?,
            }
        }
        if self.packs.iter().any(|pack| !pack.is_named()) {
            names.changed(layout.packs());
        }
        let barrier = self
            .barrier
            .as_deref_mut()
            .filter(|_| self.loose.len() as u64 >= self.shared.options.barrier_files);
        names.sync(barrier)?;
        self.loose.clear();
        self.packs.iter_mut().for_each(OpenPack::set_named);
        Ok(())
    }

    /// The name is taken: by another writer or a commit that failed. If the bytes there are right and durable, they stay and ours go;
    /// otherwise they are set aside.
    fn settle_taken(&self, loose: &LooseFile) -> Result<(), Error> {
        let Shared { disk, layout, .. } = self.shared.as_ref();
        let path = layout.blob(&loose.hash);
        if BlobReader::digest_file(disk.as_ref(), &path)?.is_some_and(|(hash, _)| hash == loose.hash) {
            let mut theirs = disk.open(&path, OpenMode::Read).during("open", &path)?;
            theirs.sync_data().during("sync", &path)?;
            return remove(disk.as_ref(), &loose.temporary);
        }
        self.shared.set_aside(&path)?;
        disk.rename_new(&loose.temporary, &path)
            .during("rename to", &path)
    }

    /// Ends the run: commits what is pending and seals the packs, except one of less than 1 MiB, which the next writer continues.
    ///
    /// # Errors
    ///
    /// As [`Writer::commit`].
    pub fn seal(mut self) -> Result<(), Error> {
        self.commit()?;
        self.guarded(|writer| writer.seal_packs(0, SEAL_BYTES_MIN))
    }

    /// Seals all but `keep` of the packs, and of those leaves one open if it has less than `least` bytes. Nothing may be pending.
    fn seal_packs(&mut self, keep: usize, least: u64) -> Result<(), Error> {
        self.packs.sort_by_key(|pack| std::cmp::Reverse(pack.len()));
        while self.packs.len() > keep {
            if self.packs.len() == 1 && self.packs.first().is_some_and(|pack| pack.len() < least) {
                break;
            }
            self.seal_first()?;
        }
        Ok(())
    }

    fn seal_first(&mut self) -> Result<(), Error> {
        let pack = self.packs.remove(0);
        self.journal.append(Kind::Sealing, &[Entry::of_pack(pack.id)])?;
        let temporary = self
            .shared
            .layout
            .temporary(&self.id, &format!("{}.idx", pack.id));
        pack.seal(self.shared.disk.as_ref(), &self.shared.layout, &temporary)
    }

    /// Runs one step; an error poisons the writer.
    pub(crate) fn guarded<T>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        self.poisoned = true;
        self.begin_batch()?;
        let done = step(self)?;
        self.poisoned = false;
        Ok(done)
    }

    /// Between two batches: what has grown to its size is ended. Its errors belong to the batch that begins, not to the one that is durable.
    fn begin_batch(&mut self) -> Result<(), Error> {
        if !self.pending.is_empty() {
            return Ok(());
        }
        let target = self.shared.options.pack_target_bytes;
        self.packs.sort_by_key(|pack| std::cmp::Reverse(pack.len()));
        while self.packs.first().is_some_and(|pack| pack.len() >= target) {
            self.seal_first()?;
        }
        if self.shared.index().journal_len(&self.id) as u64 >= self.shared.options.journal_blobs {
            self.roll()?;
        }
        Ok(())
    }

    /// Starts a new journal under a new name and makes the old one part of the index.
    fn roll(&mut self) -> Result<(), Error> {
        let (id, journal) = new_writer(&self.shared)?;
        let (old_id, old_journal) = (
            std::mem::replace(&mut self.id, id),
            std::mem::replace(&mut self.journal, journal),
        );
        self.shared.roll(&old_id, old_journal.path())
    }

    /// The pack with room for another member.
    fn pack(&mut self) -> Result<&mut OpenPack, Error> {
        let target = self.shared.options.pack_target_bytes;
        let roomy = self.packs.iter().position(|pack| pack.len() < target);
        let at = match roomy {
            Some(at) => at,
            None => {
                let Shared { disk, layout, .. } = self.shared.as_ref();
                let new =
                    new_locked(|| OpenPack::create(disk.as_ref(), layout, PackId(self.shared.new_id()?)))?;
                self.packs.push(new);
                self.packs.len() - 1
            }
        };
        Ok(&mut self.packs[at])
    }

    pub(crate) fn new_temporary(&mut self) -> Result<(PathBuf, Box<dyn DiskFile>), Error> {
        self.temporaries += 1;
        let path = self
            .shared
            .layout
            .temporary(&self.id, &self.temporaries.to_string());
        let file = self
            .shared
            .disk
            .open(&path, OpenMode::CreateNew)
            .during("create", &path)?;
        Ok((path, file))
    }

    /// Takes a temporary file with a whole content into the batch.
    pub(crate) fn add_loose(
        &mut self,
        temporary: PathBuf,
        file: Box<dyn DiskFile>,
        mut info: BlobInfo,
    ) -> Result<Put, Error> {
        self.shared
            .disk
            .set_read_only(&temporary)
            .during("change the mode of", &temporary)?;
        let known = self.shared.index().entries_of(&info.hash)?;
        let generations = known.iter().filter_map(|entry| match entry.info.location {
            Location::Loose { generation } => Some(generation + 1),
            Location::Packed { .. } => None,
        });
        info.location = Location::Loose {
            generation: generations.max().unwrap_or(0),
        };
        self.loose.push(LooseFile {
            temporary,
            file: Some(file),
            hash: info.hash,
        });
        self.remember(info);
        self.close_temporaries()?;
        Ok(Put::New)
    }

    /// Keeps the number of open files small: closes them if the commit will not sync them one by one, or syncs them now.
    fn close_temporaries(&mut self) -> Result<(), Error> {
        if self.barrier.is_some() && self.has_many_files() {
            self.loose.iter_mut().for_each(|loose| loose.file = None);
            return Ok(());
        }
        let latest = self.loose.iter().rev().take(OPEN_FILES_MAX);
        if latest.filter(|loose| loose.file.is_some()).count() >= OPEN_FILES_MAX {
            self.sync_temporaries()?;
        }
        Ok(())
    }

    /// Syncs and closes the temporary files that are open.
    fn sync_temporaries(&mut self) -> Result<(), Error> {
        for loose in self.loose.iter_mut().rev() {
            let Some(mut file) = loose.file.take() else { break };
            file.sync_data().during("sync", &loose.temporary)?;
        }
        Ok(())
    }

    fn remember(&mut self, info: BlobInfo) {
        self.pending_bytes += info.size;
        self.pending.insert(info.hash, Entry::stored(info));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.claims.release_all(self.batch.writer);
        for loose in &self.loose {
            // Gives the space back at once; what stays is removed by the next open.
            let _ = remove(self.shared.disk.as_ref(), &loose.temporary);
        }
    }
}
