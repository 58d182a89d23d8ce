//! Re-hashing what is stored (R42).

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use ntt_host::{DiskFile, OpenMode};
use ntt_model::BlobHash;

use crate::error::During;
use crate::pack_list::{Line, PackList};
use crate::pack_scan::{PackScan, Part};
use crate::{BlobInfo, BlobReader, Error, Location, PackId, PackReport, Store, Verified};

/// Re-hashes blobs from the disk, not from the cache. The pack of the last one stays open, and what the system read ahead of it is used: contents asked for in the
/// order in which they lie are read in one sweep. For one thread.
#[derive(Debug)]
pub struct Verifier {
    store: Store,
    pack: Option<(PackId, Box<dyn DiskFile>)>,
}

impl Verifier {
    /// Re-hashes a blob; with several copies, all of them, and the first that is not good counts.
    ///
    /// # Errors
    ///
    /// Those of the index, and those of the store as a whole: its disk is gone, or this process may open no more files. They say nothing about the
    /// blob; what is wrong with that is in [`Verified`].
    pub fn verify(&mut self, hash: &BlobHash) -> Result<Verified, Error> {
        let mut verified = Verified::Missing;
        for info in self.store.copies(hash)? {
            verified = self.judge_copy(&info)?;
            if !matches!(verified, Verified::Good) {
                break;
            }
        }
        Ok(verified)
    }

    /// As [`Verifier::verify_copy`], but what is no fault of this copy is an error.
    pub(crate) fn judge_copy(&mut self, info: &BlobInfo) -> Result<Verified, Error> {
        match self.verify_copy(info) {
            Verified::Io { error } if error.is_of_process() => Err(error),
            Verified::Good => Ok(Verified::Good),
            Verified::Bad { actual } => Ok(Verified::Bad { actual }),
            fault @ (Verified::Missing | Verified::Io { .. }) => {
                self.store.shared.is_there()?;
                Ok(fault)
            }
        }
    }

    fn verify_copy(&mut self, info: &BlobInfo) -> Verified {
        match self.digest(info) {
            Ok(actual) if actual == info.hash => Verified::Good,
            Ok(actual) => Verified::Bad { actual },
            Err(Error::Corrupt { .. }) => Verified::Missing,
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Verified::Missing,
            Err(error) => Verified::Io { error },
        }
    }

    /// BLAKE3 of what lies where a blob should be.
    pub(crate) fn digest(&mut self, info: &BlobInfo) -> Result<BlobHash, Error> {
        let reader = self.open(info)?;
        let digest = reader
            .blake3()
            .during("read", &self.store.shared.layout.file_of(info))?;
        if let Location::Packed { pack, .. } = info.location {
            self.pack = Some((pack, reader.into_file()));
        }
        Ok(digest)
    }

    /// Opens a blob, in the pack that is open if it lies there. What the cache holds of a file is dropped when it is opened.
    fn open(&mut self, info: &BlobInfo) -> Result<BlobReader, Error> {
        let path = self.store.shared.layout.file_of(info);
        let open = self.pack.take();
        let file = match (open, info.location) {
            (Some((open, file)), Location::Packed { pack, .. }) if open == pack => file,
            (open, location) => {
                // Contents that are files of their own may stand between those of a pack.
                if matches!(location, Location::Loose { .. }) {
                    self.pack = open;
                }
                let disk = &self.store.shared.disk;
                let file = disk.open(&path, OpenMode::Read).during("open", &path)?;
                file.drop_cache();
                file
            }
        };
        BlobReader::of_file(file, &path, info)
    }
}

impl Store {
    /// What re-hashes blobs one after the other.
    pub fn verifier(&self) -> Verifier {
        Verifier {
            store: self.clone(),
            pack: None,
        }
    }

    /// Re-hashes every member of a pack in one sequential read, and compares with the pack's list if it is sealed.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the pack cannot be read; damage is in the report.
    pub fn verify_pack(&self, pack: PackId) -> Result<PackReport, Error> {
        let (path, file) = self.uncached_pack(pack)?;
        let mut report = PackReport::default();
        let list = match self.read_list(pack)? {
            Some(Ok(list)) => Some(list),
            Some(Err(damage)) => {
                report.list_damage = Some(damage);
                None
            }
            None => None,
        };
        let lines = list.map(|list| list.lines).unwrap_or_default();
        let mut expected: BTreeMap<u64, Line> = lines.into_iter().map(|line| (line.offset, line)).collect();
        let mut scan = PackScan::new(file.as_ref()).during("read", &path)?;
        while let Some(part) = scan.next().during("read", &path)? {
            match part {
                Part::Bad(offset, len) => report.unreadable.push((offset, len)),
                Part::Member(member) => {
                    let (actual, _) = scan.digest(&member).during("read", &path)?;
                    if !scan.is_padding_clean(&member).during("read", &path)? {
                        let end = member.offset + member.size;
                        report.unreadable.push((end, member.end() - end));
                    }
                    if actual == member.hash {
                        report.good += 1;
                        report.bytes += member.size;
                        if expected
                            .get(&member.offset)
                            .is_some_and(|line| line.hash == actual)
                        {
                            expected.remove(&member.offset);
                        }
                    } else {
                        report.bad.push((member.hash, actual));
                        expected.remove(&member.offset);
                    }
                }
            }
        }
        report.missing = expected.into_values().map(|line| line.hash).collect();
        Ok(report)
    }

    /// A pack as the disk has it, whatever the cache holds.
    pub(crate) fn uncached_pack(&self, pack: PackId) -> Result<(PathBuf, Box<dyn DiskFile>), Error> {
        let path = self.shared.layout.pack(pack);
        let file = self
            .shared
            .disk
            .open(&path, OpenMode::Read)
            .during("open", &path)?;
        file.drop_cache();
        Ok((path, file))
    }

    /// The list of a pack: `None` if the pack is open, an inner error if the list is damaged.
    pub(crate) fn read_list(&self, pack: PackId) -> Result<Option<Result<PackList, String>>, Error> {
        let path = self.shared.layout.pack_list(pack);
        let file = match self.shared.disk.open(&path, OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.during("open", &path)?,
        };
        let len = file.len().during("measure", &path)?;
        let pack_path = self.shared.layout.pack(pack);
        let pack_len = self
            .shared
            .disk
            .entry(&pack_path)
            .during("look up", &pack_path)?
            .map_or(0, |entry| entry.len);
        // A line takes less than the header of its member.
        if len > pack_len.saturating_add(1024) {
            return Ok(Some(Err(format!(
                "{len} bytes, more than a pack of {pack_len} bytes can have"
            ))));
        }
        let mut text = vec![0; usize::try_from(len).unwrap_or(0)];
        file.read_exact_at(0, &mut text).during("read", &path)?;
        let list = PackList::parse(&text).and_then(|list| {
            if list.pack_bytes == pack_len {
                Ok(list)
            } else {
                Err(format!("a pack of {} bytes, not {pack_len}", list.pack_bytes))
            }
        });
        Ok(Some(list))
    }
}
