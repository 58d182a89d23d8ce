//! The pack that a writer appends to, and the list that seals it.
//!
//! A pack lies at `packs/<id>.tar` from its first byte. It is open, and locked by its writer, until `packs/<id>.idx` exists.

use std::io;
use std::path::{Path, PathBuf};

use ntt_host::{Disk, DiskFile, OpenMode, PageBuffer};
use ntt_model::{BlobHash, Sha256};

use crate::error::During;
use crate::layout::Layout;
use crate::pack_list::{Line, PackList};
use crate::pack_scan::{Member, PackScan, Part};
use crate::record::Entry;
use crate::tar_member::{BLOCK_BYTES, END_BYTES, header, padded};
use crate::{BlobInfo, Error, PackId};

/// Appends are gathered up to this size.
const WRITE_BYTES: usize = 1 << 20;
/// Blocks of file systems, and what large writes are aligned to.
const WRITE_ALIGN: u64 = 4096;

/// A locked open pack.
#[derive(Debug)]
pub(crate) struct OpenPack {
    pub(crate) id: PackId,
    file: Box<dyn DiskFile>,
    path: PathBuf,
    /// What is in the file.
    written: u64,
    /// What comes after that.
    buffer: PageBuffer,
    digest: blake3::Hasher,
    lines: Vec<Line>,
    /// Whether the name is durable.
    named: bool,
    /// Whether all that was appended is durable.
    synced: bool,
}

impl OpenPack {
    /// Creates and locks a pack; `None` if somebody who cleans up was faster.
    pub(crate) fn create(disk: &dyn Disk, layout: &Layout, id: PackId) -> Result<Option<Self>, Error> {
        let path = layout.pack(id);
        let file = disk.open(&path, OpenMode::CreateNew).during("create", &path)?;
        let locked = file.try_lock().during("lock", &path)?;
        if !locked || disk.entry(&path).during("look up", &path)?.is_none() {
            return Ok(None);
        }
        Ok(Some(Self::new(id, file, path, false)))
    }

    fn new(id: PackId, file: Box<dyn DiskFile>, path: PathBuf, named: bool) -> Self {
        let (buffer, digest, lines) = (PageBuffer::new(), blake3::Hasher::new(), Vec::new());
        Self {
            id,
            file,
            path,
            written: 0,
            buffer,
            digest,
            lines,
            named,
            synced: true,
        }
    }

    /// Locks the open pack of a dead writer; `None` if its writer lives. [`OpenPack::recover`] must follow.
    pub(crate) fn lock(disk: &dyn Disk, layout: &Layout, id: PackId) -> Result<Option<Self>, Error> {
        let path = layout.pack(id);
        let file = match disk.open(&path, OpenMode::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // Sealing was cut off between the change of mode and the list: the content is complete.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => disk.open(&path, OpenMode::Read),
            file => file,
        };
        let file = file.during("open", &path)?;
        if !file.try_lock().during("lock", &path)?
            || disk
                .entry(&layout.pack_list(id))
                .during("look up", &path)?
                .is_some()
        {
            return Ok(None);
        }
        Ok(Some(Self::new(id, file, path, false)))
    }

    /// Cuts what is neither committed nor whole; `committed` tells what the index has of a member. A member that the index does not have
    /// stays if its content has the digest that is its name and nothing bad lies before it; the caller must make such members, which are
    /// returned, part of the index. If something would be cut, `committed_end` tells of the length of the pack where the last content ends that the index has in it: up
    /// there all stays, damaged as it is (R43). `None` if nothing was left and the pack was removed.
    pub(crate) fn recover(
        mut self,
        disk: &dyn Disk,
        committed: &dyn Fn(&Member) -> Result<Option<BlobInfo>, Error>,
        committed_end: &dyn Fn(u64) -> Result<u64, Error>,
    ) -> Result<Option<(Self, Vec<Entry>)>, Error> {
        // What is judged below must be what the disk holds: after a failed sync the cache tells of bytes that it never got.
        self.file.sync_data().during("sync", &self.path)?;
        self.file.drop_cache();
        let adopted = self.find_members(committed)?;
        let len = self.file.len().during("measure", &self.path)?;
        if len > self.written {
            self.written = self.written.max(committed_end(len)?);
        }
        if self.written == 0 {
            disk.remove_file(&self.path).during("remove", &self.path)?;
            return Ok(None);
        }
        self.cut()?;
        Ok(Some((self, adopted)))
    }

    /// Reads the members; the pack then ends after the last one that stays. Returns those that the index does not have.
    fn find_members(
        &mut self,
        committed: &dyn Fn(&Member) -> Result<Option<BlobInfo>, Error>,
    ) -> Result<Vec<Entry>, Error> {
        let (mut adopted, mut waiting, mut bad) = (Vec::new(), Vec::new(), false);
        let mut scan = PackScan::new(self.file.as_ref()).during("read", &self.path)?;
        while let Some(part) = scan.next().during("read", &self.path)? {
            let Part::Member(member) = part else {
                bad = true;
                continue;
            };
            let known = committed(&member)?;
            let Some(sha256) = sha256_of(&mut scan, &member, known.as_ref()).during("read", &self.path)?
            else {
                bad = true;
                continue;
            };
            waiting.push((member.line(sha256), known.is_none()));
            // What lies before a committed member is not cut, so nothing before it waits any longer.
            bad &= known.is_none();
            if !bad {
                self.written = member.end();
                let new = waiting.iter().filter(|(_, is_new)| *is_new);
                adopted.extend(new.map(|(line, _)| Entry::stored(line.info(self.id))));
                self.lines.extend(waiting.drain(..).map(|(line, _)| line));
            }
        }
        Ok(adopted)
    }

    /// Gives the pack its length. Of a last content that was cut short the end becomes zeros, so that what comes after it stands where members stand.
    fn cut(&mut self) -> Result<(), Error> {
        let len = self.file.len().during("measure", &self.path)?;
        if len != self.written {
            match self
                .file
                .set_len(self.written)
                .and_then(|()| self.file.sync_data())
            {
                // Opened read-only: what follows the members is the end of the tar, which sealing expects.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::InvalidInput | io::ErrorKind::PermissionDenied
                    ) =>
                {
                    self.written = self.written.min(len);
                }
                cut => cut.during("cut", &self.path)?,
            }
        }
        let mut buffer = vec![0; WRITE_BYTES];
        let mut done = 0;
        while done < self.written {
            let len = usize::try_from(self.written - done).map_or(WRITE_BYTES, |left| left.min(WRITE_BYTES));
            self.file
                .read_exact_at(done, &mut buffer[..len])
                .during("read", &self.path)?;
            self.digest.update(&buffer[..len]);
            done += len as u64;
        }
        Ok(())
    }

    /// Length with what is not written yet.
    pub(crate) fn len(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Where the content of the next member begins.
    pub(crate) fn next_offset(&self) -> u64 {
        self.len() + BLOCK_BYTES
    }

    /// Whether something in it is not durable.
    pub(crate) const fn is_synced(&self) -> bool {
        self.synced
    }

    /// Whether its name is durable.
    pub(crate) const fn is_named(&self) -> bool {
        self.named
    }

    /// Tells it that `packs/` was synced.
    pub(crate) const fn set_named(&mut self) {
        self.named = true;
    }

    /// Appends a member; returns where its content begins.
    pub(crate) fn append(
        &mut self,
        hash: BlobHash,
        sha256: Option<Sha256>,
        content: &[u8],
    ) -> Result<u64, Error> {
        let size = content.len() as u64;
        let offset = self.next_offset();
        if self.buffer.is_empty() {
            self.buffer.restart_at(self.written);
        }
        self.buffer.push(&header(&hash, size));
        self.buffer.push(content);
        self.buffer
            .push_zeros(usize::try_from(padded(size) - size).unwrap_or(0));
        self.lines.push(Line {
            hash,
            offset,
            size,
            sha256,
        });
        self.synced = false;
        if self.buffer.len() >= WRITE_BYTES {
            // Up to a whole block: what ends within one would be written twice.
            let end = self.len() / WRITE_ALIGN * WRITE_ALIGN;
            self.write_until(end)?;
        }
        Ok(offset)
    }

    /// Writes the front of what was gathered, up to byte `end` of the pack.
    fn write_until(&mut self, end: u64) -> Result<(), Error> {
        let len = usize::try_from(end - self.written).unwrap_or(self.buffer.len());
        let bytes = &self.buffer.as_slice()[..len];
        self.file
            .write_all_at(self.written, bytes)
            .during("write", &self.path)?;
        self.digest.update(bytes);
        self.written = end;
        self.buffer.remove_front(len);
        Ok(())
    }

    /// Writes what was gathered.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.write_until(self.len())
    }

    /// Makes the members durable.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.file.sync_data().during("sync", &self.path)?;
        self.synced = true;
        Ok(())
    }

    /// Tells it that what was flushed was made durable.
    pub(crate) const fn set_synced(&mut self) {
        self.synced = true;
    }

    /// Ends the pack for good. Everything in it must be committed. `temporary` is where the list is written first.
    pub(crate) fn seal(mut self, disk: &dyn Disk, layout: &Layout, temporary: &Path) -> Result<(), Error> {
        self.buffer.push_zeros(END_BYTES);
        if self.file.len().during("measure", &self.path)? == self.written {
            self.sync()?;
        } else {
            // Taken over with its end written and its mode changed.
            self.digest.update(self.buffer.as_slice());
            self.written += END_BYTES as u64;
        }
        disk.set_read_only(&self.path)
            .during("change the mode of", &self.path)?;
        let list = PackList {
            lines: self.lines,
            pack_bytes: self.written,
            pack_digest: *self.digest.finalize().as_bytes(),
        };
        let text = list.to_text();
        let mut file = disk
            .open(temporary, OpenMode::CreateNew)
            .during("create", temporary)?;
        file.write_all_at(0, text.as_bytes()).during("write", temporary)?;
        disk.set_read_only(temporary)
            .during("change the mode of", temporary)?;
        file.sync_data().during("sync", temporary)?;
        let path = layout.pack_list(self.id);
        disk.rename_new(temporary, &path).during("rename to", &path)?;
        disk.sync_dir(&layout.packs()).during("sync", &layout.packs())
    }
}

/// SHA-256 of a member, if known; `None` for a member that the index does not have and whose content is not the one it is named by.
fn sha256_of(
    scan: &mut PackScan<'_>,
    member: &Member,
    known: Option<&BlobInfo>,
) -> io::Result<Option<Option<Sha256>>> {
    if let Some(info) = known {
        return Ok(Some(info.sha256));
    }
    let (hash, sha256) = scan.digest(member)?;
    Ok((hash == member.hash).then_some(sha256))
}
