//! Setting aside what is damaged, so that it can be put again (R43).

use std::io::Read;

use ntt_host::DiskFile;
use ntt_model::BlobHash;

use crate::error::During;
use crate::journal::Kind;
use crate::maintain::new_writer;
use crate::record::{Entry, live};
use crate::{BlobInfo, BlobReader, Error, Location, Store, Verified};

impl Store {
    /// Reads all copies of a blob and strikes those that are not good from the index, never deleting a byte: a loose file is moved into
    /// `quarantine/`, a member of a pack stays where it lies. If no good copy remains, the blob is absent afterwards and can be put again.
    /// Returns how many copies were struck; none if all are good.
    ///
    /// Durable when it returns. A loss of power in between leaves a copy as it was, struck, or, if it is a file, moved away and still in the
    /// index: then it is missing there, and doing this again strikes it.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`]; [`Error::NotFound`] if no copy is in the index; [`Error::Busy`] while somebody else maintains the store;
    /// [`Error::Io`], [`Error::Full`]. Then nothing is struck.
    pub fn quarantine(&self, hash: &BlobHash) -> Result<u64, Error> {
        // Of two that do this at once the slower one would move away the right file that came in the place of the damaged one.
        let _lock = self.alone()?;
        let bad = self.bad_copies(hash)?;
        for info in &bad {
            self.move_aside(info)?;
        }
        let removals: Vec<Entry> = bad.iter().copied().map(Entry::struck).collect();
        self.record(&removals)?;
        Ok(removals.len() as u64)
    }

    /// Stores contents once more that lie where a pack is damaged ([`crate::CheckReport::in_damage`]), and strikes them where they lay: a damaged header hides a content
    /// from whoever has nothing but the pack. A copy that does not have its bytes stays as it is, for [`Store::quarantine`]. Returns how many were taken elsewhere.
    ///
    /// Durable when it returns. A loss of power in between leaves a copy too many.
    ///
    /// # Errors
    ///
    /// As [`Store::quarantine`].
    pub fn rehome(&self, copies: &[BlobInfo]) -> Result<u64, Error> {
        let _lock = self.alone()?;
        let shared = &self.shared;
        let (mut writer, mut struck) = (self.writer()?, Vec::<Entry>::new());
        for info in copies {
            // Another one may have done it since they were found.
            if !self.copies(&info.hash)?.contains(info) {
                continue;
            }
            let path = shared.layout.file_of(info);
            let mut content = Vec::new();
            let read = BlobReader::open(shared.disk.as_ref(), &shared.layout, info)
                .and_then(|mut reader| reader.read_to_end(&mut content).during("read", &path));
            if read.is_ok() && BlobHash::of(&content) == info.hash {
                // Copies of one content follow each other, and one of them is enough.
                if struck.last().is_none_or(|last| last.info.hash != info.hash) {
                    writer.put_again(&content, info.hash, info.sha256)?;
                }
                struck.push(Entry::struck(*info));
            }
            if writer.should_commit() {
                writer.commit()?;
            }
        }
        writer.commit()?;
        self.record(&struck)?;
        writer.seal()?;
        Ok(struck.len() as u64)
    }

    /// The lock of whoever changes what the index says of stored contents, and the index as it is then.
    pub(crate) fn alone(&self) -> Result<Box<dyn DiskFile>, Error> {
        let shared = &self.shared;
        shared.refuse_read_only()?;
        let busy = || Error::Busy {
            path: shared.layout.maintenance_lock(),
        };
        let lock = shared.lock_maintenance()?.ok_or_else(busy)?;
        shared.refresh()?;
        Ok(lock)
    }

    /// The copies of a blob that do not have its bytes.
    fn bad_copies(&self, hash: &BlobHash) -> Result<Vec<BlobInfo>, Error> {
        let entries = self.shared.index().entries_of(hash)?;
        let copies: Vec<BlobInfo> = live(&entries).collect();
        if copies.is_empty() {
            return Err(Error::NotFound(*hash));
        }
        let (mut verifier, mut bad) = (self.verifier(), Vec::new());
        for info in copies {
            if !matches!(verifier.judge_copy(&info)?, Verified::Good) {
                bad.push(info);
            }
        }
        Ok(bad)
    }

    /// Moves the file of a blob away, if it is one of its own and there.
    fn move_aside(&self, info: &BlobInfo) -> Result<(), Error> {
        let Location::Loose { .. } = info.location else {
            return Ok(());
        };
        let path = self.shared.layout.file_of(info);
        match self.shared.disk.entry(&path).during("look up", &path)? {
            Some(_) => self.shared.set_aside(&path),
            None => Ok(()),
        }
    }

    /// Makes entries part of the index, durably.
    fn record(&self, entries: &[Entry]) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let (id, mut journal) = new_writer(&self.shared)?;
        journal.append(Kind::Stored, entries)?;
        self.shared.index_mut().add(&id, entries, journal.end());
        Ok(())
    }
}
