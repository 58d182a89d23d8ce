//! Writing a segment, front to back, in bounded memory.

use std::path::{Path, PathBuf};

use ntt_host::{Disk, DiskFile, OpenMode};

use crate::error::{During, Error};
use crate::format::{MAGIC, PartKind, PartPlace, TEXT_BYTES_MAX};
use crate::identity::Identity;
use crate::part::{Packer, Part};

/// Bytes written in one go.
const WRITE_BYTES: usize = 1 << 20;

/// Writes a segment to a temporary file. Nothing is durable before [`SegmentWriter::finish`].
pub struct SegmentWriter {
    out: Out,
    identity: Identity,
    names: Part,
    directories: Part,
    parts: Vec<PartPlace>,
    packer: Packer,
    /// The directory of the last name, and how many names it has so far.
    directory: Vec<u8>,
    in_directory: u64,
    count: u64,
    has_slashes: bool,
}

/// The file with what is not yet written.
struct Out {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    written: u64,
    buffer: Vec<u8>,
}

impl Out {
    fn at(&self) -> u64 {
        self.written + u64::try_from(self.buffer.len()).unwrap_or(u64::MAX)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        let written = self.file.write_all_at(self.written, &self.buffer);
        written.during("writing", &self.path)?;
        self.written = self.at();
        self.buffer.clear();
        Ok(())
    }
}

impl SegmentWriter {
    /// Begins a segment in a file that must not exist.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] of the disk.
    pub fn create(disk: &dyn Disk, path: &Path, identity: Identity) -> Result<Self, Error> {
        let file = disk.open(path, OpenMode::CreateNew).during("creating", path)?;
        Ok(Self {
            out: Out {
                file,
                path: path.to_owned(),
                written: 0,
                buffer: Vec::new(),
            },
            identity,
            names: Part::new(PartKind::Names),
            directories: Part::new(PartKind::Directories),
            parts: Vec::new(),
            packer: Packer::new()?,
            directory: Vec::new(),
            in_directory: 0,
            count: 0,
            has_slashes: false,
        })
    }

    /// Adds the next name of the scan and the path of its directory, relative to the root (empty for the root itself).
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] for a name or path beyond 4 MiB, [`Error::Io`] of the disk.
    pub fn push(&mut self, directory: &[u8], name: &[u8]) -> Result<(), Error> {
        if name.len() > TEXT_BYTES_MAX || directory.len() > TEXT_BYTES_MAX {
            return Err(Error::Limit("a name or path is longer than 4 MiB".to_owned()));
        }
        if directory != self.directory {
            self.end_directory()?;
            self.directory.clear();
            self.directory.extend_from_slice(directory);
        }
        self.in_directory += 1;
        self.count += 1;
        self.has_slashes |= name.contains(&b'/');
        self.names.push(name, 1);
        if self.names.block_is_full() {
            self.end_block(PartKind::Names)?;
        }
        Ok(())
    }

    fn end_directory(&mut self) -> Result<(), Error> {
        if self.in_directory == 0 {
            return Ok(());
        }
        self.directories.push(&self.directory, self.in_directory);
        self.in_directory = 0;
        if self.directories.block_is_full() {
            self.end_block(PartKind::Directories)?;
        }
        Ok(())
    }

    fn end_block(&mut self, kind: PartKind) -> Result<(), Error> {
        let part = match kind {
            PartKind::Names => &mut self.names,
            PartKind::Directories => &mut self.directories,
        };
        let packed = part.end_block(self.out.at(), &mut self.packer)?;
        let is_full = part.is_full();
        self.out.put(&packed)?;
        if is_full { self.end_part(kind) } else { Ok(()) }
    }

    fn end_part(&mut self, kind: PartKind) -> Result<(), Error> {
        let ended = match kind {
            PartKind::Names => self.names.end(self.out.at()),
            PartKind::Directories => self.directories.end(self.out.at()),
        };
        self.out.put(&ended.pages)?;
        self.parts.push(PartPlace {
            kind: ended.kind,
            footer_at: self.out.at(),
            footer_len: ended.footer.len(),
            first_path: ended.first_path,
            paths: ended.paths,
        });
        self.out.put(&ended.footer)
    }

    /// Ends the segment and makes its content durable; it still has its temporary name.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] if there were not as many names as the scan has, [`Error::Io`] of the disk.
    pub fn finish(mut self) -> Result<(), Error> {
        if self.count != self.identity.names {
            let (came, wanted) = (self.count, self.identity.names);
            return Err(Error::Limit(format!("{came} names came, the scan has {wanted}")));
        }
        self.end_directory()?;
        for kind in [PartKind::Names, PartKind::Directories] {
            let part = match kind {
                PartKind::Names => &self.names,
                PartKind::Directories => &self.directories,
            };
            if !part.block_is_empty() {
                self.end_block(kind)?;
            }
            let part = match kind {
                PartKind::Names => &self.names,
                PartKind::Directories => &self.directories,
            };
            if !part.is_empty() {
                self.end_part(kind)?;
            }
        }
        self.put_trailer()?;
        self.out.flush()?;
        self.out.file.sync_data().during("syncing", &self.out.path)
    }

    fn put_trailer(&mut self) -> Result<(), Error> {
        let mut list = Vec::new();
        self.parts.iter().for_each(|part| part.encode(&mut list));
        let mut trailer = MAGIC.to_vec();
        trailer.extend_from_slice(&self.identity.digest());
        let len = u64::try_from(list.len()).unwrap_or(u64::MAX);
        for number in [self.count, u64::from(self.has_slashes), self.out.at(), len] {
            trailer.extend_from_slice(&number.to_le_bytes());
        }
        let digest = blake3::Hasher::new().update(&list).update(&trailer).finalize();
        self.out.put(&list)?;
        self.out.put(&trailer)?;
        self.out.put(digest.as_bytes())
    }
}

impl std::fmt::Debug for SegmentWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentWriter")
            .field("path", &self.out.path)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}
