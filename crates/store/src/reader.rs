//! Reading one blob.

use std::io;
use std::path::Path;

use ntt_host::{Disk, DiskFile, OpenMode};
use ntt_model::BlobHash;

use crate::error::During;
use crate::layout::Layout;
use crate::types::Sums;
use crate::{BlobInfo, ContentHasher, Error, Location, Piece};

/// How much is read at a time.
const READ_BYTES: u64 = 256 << 10;

/// A blob open for reading, from its start (`io::Read`) or anywhere.
#[derive(Debug)]
pub struct BlobReader {
    file: Box<dyn DiskFile>,
    /// Where the content begins in the file.
    start: u64,
    len: u64,
    position: u64,
}

impl BlobReader {
    pub(crate) fn open(disk: &dyn Disk, layout: &Layout, info: &BlobInfo) -> Result<Self, Error> {
        let path = layout.file_of(info);
        let file = disk.open(&path, OpenMode::Read).during("open", &path)?;
        Self::of_file(file, &path, info)
    }

    /// The blob in a file that is open.
    pub(crate) fn of_file(file: Box<dyn DiskFile>, path: &Path, info: &BlobInfo) -> Result<Self, Error> {
        let start = match info.location {
            Location::Loose { .. } => 0,
            Location::Packed { offset, .. } => offset,
        };
        let held = file.len().during("measure", path)?;
        let is_loose = matches!(info.location, Location::Loose { .. });
        let end = start.saturating_add(info.size);
        if held < end || (is_loose && held != end) {
            return Err(Error::corrupt(
                path,
                held,
                format!("{end} bytes"),
                format!("{held} bytes"),
            ));
        }
        Ok(Self {
            file,
            start,
            len: info.size,
            position: 0,
        })
    }

    /// Digests of a whole file; `None` if it is absent. Read from the disk, not from the cache.
    pub(crate) fn digest_file(disk: &dyn Disk, path: &Path) -> Result<Option<Sums>, Error> {
        let file = match disk.open(path, OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.during("open", path)?,
        };
        file.drop_cache();
        let len = file.len().during("measure", path)?;
        let sums = Self {
            file,
            start: 0,
            len,
            position: 0,
        }
        .digest()
        .during("read", path)?;
        Ok(Some(sums))
    }

    /// Length in bytes.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether it is the empty content.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the content ends before; any error of the system.
    pub fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let wanted = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        if offset.checked_add(wanted).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(self.start + offset, buffer)
    }

    /// Hands over the whole content in order, at most 256 KiB a piece; holes of a sparse file come as zeros and are not read.
    ///
    /// # Errors
    ///
    /// What reading gives, and what `sink` returns.
    pub fn pieces<E: From<io::Error>>(
        &self,
        sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut at = 0;
        while at < self.len {
            let (data, len) = self.data_after(at)?;
            if data > at {
                sink(Piece::Zeros(data - at))?;
            }
            self.data(data, len, sink)?;
            at = data + len;
        }
        Ok(())
    }

    /// As [`BlobReader::pieces`], and tells the BLAKE3 of what was handed over: the bytes are right if it is the name of the blob, and nothing
    /// else tells (R42).
    ///
    /// # Errors
    ///
    /// As [`BlobReader::pieces`].
    pub fn hashed_pieces<E: From<io::Error>>(
        &self,
        sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<BlobHash, E> {
        let mut hasher = ContentHasher::without_sha256();
        self.pieces::<E>(&mut |piece| {
            update(&mut hasher, piece);
            sink(piece)
        })?;
        Ok(hasher.finish().0)
    }

    /// The next run of data within the content: start and length; an empty one at its end.
    fn data_after(&self, at: u64) -> io::Result<(u64, u64)> {
        let Some((start, len)) = self.file.next_data(self.start + at)? else {
            return Ok((self.len, 0));
        };
        let end = start.saturating_add(len).saturating_sub(self.start).min(self.len);
        let start = start.saturating_sub(self.start).clamp(at, self.len);
        Ok((start, end.saturating_sub(start)))
    }

    fn data<E: From<io::Error>>(
        &self,
        start: u64,
        len: u64,
        sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut buffer = vec![0; usize::try_from(len.min(READ_BYTES)).unwrap_or(0)];
        let mut done = 0;
        while done < len {
            let now = usize::try_from(len - done).map_or(buffer.len(), |left| left.min(buffer.len()));
            self.read_exact_at(start + done, &mut buffer[..now])?;
            sink(Piece::Bytes(&buffer[..now]))?;
            done += now as u64;
        }
        Ok(())
    }

    /// Digests of the content.
    pub(crate) fn digest(&self) -> io::Result<Sums> {
        let mut hasher = ContentHasher::new();
        self.pieces::<io::Error>(&mut |piece| {
            update(&mut hasher, piece);
            Ok(())
        })?;
        Ok(hasher.finish())
    }

    /// BLAKE3 of the content.
    pub(crate) fn blake3(&self) -> io::Result<BlobHash> {
        self.hashed_pieces::<io::Error>(&mut |_| Ok(()))
    }

    /// The file in which it lies.
    pub(crate) fn into_file(self) -> Box<dyn DiskFile> {
        self.file
    }
}

fn update(hasher: &mut ContentHasher, piece: Piece<'_>) {
    match piece {
        Piece::Bytes(bytes) => hasher.update(bytes),
        Piece::Zeros(len) => hasher.zeros(len),
    }
}

impl io::Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len - self.position).unwrap_or(usize::MAX);
        let len = buffer.len().min(left);
        self.read_exact_at(self.position, &mut buffer[..len])?;
        self.position += len as u64;
        Ok(len)
    }
}
