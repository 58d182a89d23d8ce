//! A content that comes in pieces.

use std::path::PathBuf;

use ntt_host::{DiskFile, PageBuffer};
use ntt_model::{BlobHash, Sha256};

use crate::error::During;
use crate::maintain::remove;
use crate::{BatchId, BlobInfo, Error, Location, Put, Writer};

/// Pieces are gathered up to this size before they are written.
const WRITE_BYTES: usize = 256 << 10;

/// A content that is being written in pieces; dropped unfinished, it leaves nothing. A content that turns out to be small is stored as
/// [`Writer::put`] would.
#[derive(Debug)]
pub struct LargeBlob<'a> {
    writer: &'a mut Writer,
    /// Nothing is written to the disk before the content outgrows the buffer.
    file: Option<(PathBuf, Box<dyn DiskFile>)>,
    /// The bytes at `at`.
    buffer: PageBuffer,
    at: u64,
}

impl<'a> LargeBlob<'a> {
    pub(crate) const fn new(writer: &'a mut Writer) -> Self {
        Self {
            writer,
            file: None,
            buffer: PageBuffer::new(),
            at: 0,
        }
    }

    /// Length so far.
    fn len(&self) -> u64 {
        self.at + self.buffer.len() as u64
    }

    /// The running batch of its writer.
    pub const fn batch(&self) -> BatchId {
        self.writer.batch()
    }

    /// Adds bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] or [`Error::Io`], after which the writer is poisoned; [`Error::Poisoned`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.take(bytes.len())
    }

    /// Memory for the next `len` bytes, for those who can read into it; [`LargeBlob::take`] then adds them.
    pub fn room(&mut self, len: usize) -> &mut [u8] {
        self.buffer.room(len)
    }

    /// Adds the first `len` bytes of the room that was given last.
    ///
    /// # Errors
    ///
    /// As [`LargeBlob::write`].
    pub fn take(&mut self, len: usize) -> Result<(), Error> {
        self.buffer.take(len);
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Adds zeros; where there are many they become a hole, which costs no space.
    ///
    /// # Errors
    ///
    /// As [`LargeBlob::write`].
    pub fn zeros(&mut self, len: u64) -> Result<(), Error> {
        match usize::try_from(len) {
            Ok(len) if len < WRITE_BYTES => {
                self.room(len).fill(0);
                self.take(len)
            }
            _ => {
                self.flush()?;
                self.at = self.at.saturating_add(len);
                self.buffer.restart_at(self.at);
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        let Self {
            writer,
            file,
            buffer,
            at,
        } = self;
        writer.guarded(|writer| {
            let (path, file) = match file {
                Some(file) => file,
                None => file.insert(writer.new_temporary()?),
            };
            file.write_all_at(*at, buffer.as_slice()).during("write", path)
        })?;
        self.at = self.len();
        self.buffer.restart_at(self.at);
        Ok(())
    }

    /// Ends the content, whose BLAKE3 must be `hash`.
    ///
    /// # Errors
    ///
    /// As [`LargeBlob::write`].
    pub fn finish(mut self, hash: BlobHash, sha256: Option<Sha256>) -> Result<Put, Error> {
        if self.file.is_none() {
            return self.writer.put(self.buffer.as_slice(), hash, sha256);
        }
        self.flush()?;
        let size = self.len();
        let Some((path, mut file)) = self.file.take() else {
            return Err(Error::Poisoned);
        };
        self.writer.guarded(|writer| {
            if let Some(known) = writer.claim(hash, sha256)? {
                remove(writer.shared.disk.as_ref(), &path)?;
                return Ok(known);
            }
            if file.len().during("measure", &path)? != size {
                file.set_len(size).during("extend", &path)?;
            }
            writer.add_loose(
                path,
                file,
                BlobInfo {
                    hash,
                    size,
                    sha256,
                    location: Location::Loose { generation: 0 },
                },
            )
        })
    }
}

impl Drop for LargeBlob<'_> {
    fn drop(&mut self) {
        if let Some((path, _)) = self.file.take() {
            // If it stays, the next open removes it.
            let _ = remove(self.writer.shared.disk.as_ref(), &path);
        }
    }
}
