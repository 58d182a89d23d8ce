//! What a dead writer's journal tells of batches that it does not have: commits that did not end, and frames that are damaged.
//!
//! Whatever verifies is taken in; it costs nothing when the last commit ended and the journal is whole.

use std::collections::HashSet;
use std::io;

use ntt_host::OpenMode;
use ntt_model::BlobHash;

use crate::error::During;
use crate::journal::Scan;
use crate::record::Entry;
use crate::{BlobInfo, BlobReader, Error, Location, PackId, Store};

impl Store {
    /// Entries of blobs that lie in the store and stand in no batch of the journal, re-hashed and made durable. Members of open packs are
    /// not among them: see [`crate::pack::OpenPack::recover`].
    pub(crate) fn salvage(&self, scan: &Scan) -> Result<Vec<Entry>, Error> {
        let committed: HashSet<(BlobHash, Location)> = scan
            .entries
            .iter()
            .map(|entry| (entry.info.hash, entry.info.location))
            .collect();
        let mut found = Vec::new();
        for entry in &scan.named {
            if !committed.contains(&(entry.info.hash, entry.info.location))
                && self.is_whole_loose(&entry.info)?
            {
                found.push(*entry);
            }
        }
        if !scan.sealed_after_damage.is_empty() {
            self.shared.refresh()?;
        }
        for pack in &scan.sealed_after_damage {
            self.salvage_sealed(*pack, &mut found)?;
        }
        Ok(found)
    }

    /// Whether the file has its name and the content that belongs to it; both are durable then.
    fn is_whole_loose(&self, info: &BlobInfo) -> Result<bool, Error> {
        let (disk, layout) = (self.shared.disk.as_ref(), &self.shared.layout);
        let path = layout.blob(&info.hash);
        let mut file = match disk.open(&path, OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file.during("open", &path)?,
        };
        file.sync_data().during("sync", &path)?;
        let is_whole = BlobReader::digest_file(disk, &path)?.is_some_and(|(hash, _)| hash == info.hash);
        if is_whole {
            let dir = layout.blob_dir(&info.hash);
            disk.sync_dir(&dir).during("sync", &dir)?;
        }
        Ok(is_whole)
    }

    /// Takes the members of a sealed pack that the index does not have. A pack whose list is damaged is left to [`Store::check`].
    fn salvage_sealed(&self, pack: PackId, found: &mut Vec<Entry>) -> Result<(), Error> {
        let Some(Ok(list)) = self.read_list(pack)? else {
            return Ok(());
        };
        let mut verifier = self.verifier();
        for line in &list.lines {
            let info = line.info(pack);
            let known = self.shared.index().entries_of(&info.hash)?;
            let is_known = known.iter().any(|entry| entry.info.location == info.location);
            if !is_known && verifier.digest(&info)? == info.hash {
                found.push(Entry::stored(info));
            }
        }
        Ok(())
    }
}
