//! One name of a tree.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use ntt_catalogue::rows::{ChildRow, State, StreamState};
use ntt_model::entry::{Inode, StreamKind};
use ntt_model::name::can_stand_in_path;
use ntt_model::{BlobHash, Kind};
use ntt_source::extents::Piece;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::destination::MISLEADING;
use super::{Restorer, attributes};
use crate::{Error, Interrupt};

/// Largest extended attribute that is restored; Linux takes no larger ones.
const XATTR_BYTES_MAX: u64 = 64 * 1024;

/// What is said of a content that the store does not have right any more.
const DAMAGED: &str =
    "damaged in the store: its bytes are not those that were put in; `ntt verify` and `ntt doctor` tell more";

/// Name and value of an extended attribute.
type Xattr = (Vec<u8>, Vec<u8>);

/// Why content was not written.
enum Stop {
    Interrupted,
    /// The index of the store is damaged: no fault of one file.
    Index(ntt_store::Error),
    /// The store does not give the content.
    Store(ntt_store::Error),
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ntt_store::Error> for Stop {
    fn from(error: ntt_store::Error) -> Self {
        match error {
            ntt_store::Error::DamagedIndex(_) => Self::Index(error),
            other => Self::Store(other),
        }
    }
}

impl Restorer<'_> {
    /// Restores one name; answers whether it is a directory to enter.
    pub(super) fn entry(
        &mut self,
        directory: &OwnedFd,
        path: &[u8],
        child: &ChildRow,
    ) -> Result<bool, Error> {
        self.stage.add(1, 0);
        if !can_stand_in_path(&child.name) {
            self.problem(path, format!("not restored: {MISLEADING}"));
            return Ok(false);
        }
        let Some(inode) = &child.inode else {
            self.problem(path, "its inode could not be read");
            return Ok(false);
        };
        let name = OsStr::from_bytes(&child.name);
        if inode.kind == Kind::Directory {
            return Ok(self.make_directory(directory, name, path, inode));
        }
        if self.link(directory, name, path, inode) {
            return Ok(false);
        }
        match inode.kind {
            Kind::File => self.file(directory, name, path, inode)?,
            Kind::Unknown => self.problem(path, "of a kind that cannot be made"),
            _ => self.special(directory, name, path, inode),
        }
        if inode.links > 1 && self.restored.contains(&inode.number) {
            self.links.insert(inode.number, path.to_vec());
        }
        Ok(false)
    }

    fn make_directory(&mut self, directory: &OwnedFd, name: &OsStr, path: &[u8], inode: &Inode) -> bool {
        let made = rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o700));
        match made {
            Ok(()) => self.directories.push((path.to_vec(), inode.number)),
            Err(Errno::EXIST) if is_directory(directory, name) => {}
            Err(errno) => {
                self.problem(path, format!("the directory cannot be made: {errno}"));
                return false;
            }
        }
        true
    }

    /// Makes a further name of an inode that has one already.
    fn link(&mut self, directory: &OwnedFd, name: &OsStr, path: &[u8], inode: &Inode) -> bool {
        let Some(first) = self.links.get(&inode.number) else {
            return false;
        };
        let (parent, first_name) = split(first);
        let linked = self.root.open(parent).and_then(|parent| {
            let first_name = OsStr::from_bytes(first_name);
            Ok(rustix::fs::linkat(
                parent,
                first_name,
                directory,
                name,
                AtFlags::empty(),
            )?)
        });
        match linked {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.in_the_way(path, inode);
                true
            }
            Err(error) => {
                self.problem(
                    path,
                    format!("restored as a file of its own, the hard link was refused: {error}"),
                );
                false
            }
        }
    }

    /// Something stands under the name. That is no news if it is this very inode, met in another naming tree.
    fn in_the_way(&mut self, path: &[u8], inode: &Inode) {
        if !self.restored.contains(&inode.number) {
            self.problem(path, "not restored: another entry stands under this name");
        }
    }

    fn file(&mut self, directory: &OwnedFd, name: &OsStr, path: &[u8], inode: &Inode) -> Result<(), Error> {
        let states = self
            .context
            .archive
            .catalogue()
            .stream_states(self.tree.scan, inode.number)?;
        let blob = match content(&states) {
            Ok(blob) => blob,
            Err(problem) => {
                self.problem(path, problem);
                return Ok(());
            }
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600)) {
            Ok(file) => File::from(file),
            Err(Errno::EXIST) => {
                self.in_the_way(path, inode);
                return Ok(());
            }
            Err(errno) => return self.refused(path, errno.into()),
        };
        self.restored.insert(inode.number);
        match self.fill(&file, &blob) {
            Ok(true) => {}
            // Most of it may be right, and nothing better may be left: it is kept, and said.
            Ok(false) => self.damage(path, DAMAGED),
            Err(Stop::Interrupted) => return Err(Error::Interrupted),
            Err(Stop::Index(error)) => return Err(error.into()),
            Err(Stop::Store(error)) => {
                self.damage(path, format!("the store does not give its content: {error}"));
                return Ok(());
            }
            Err(Stop::Io(error)) => return self.refused(path, error),
        }
        self.tell_damage(path, &states);
        let xattrs = self.large_xattrs(path, &states)?;
        if let Err(problem) = attributes::apply(&file, inode, &xattrs) {
            self.problem(path, problem);
        }
        Ok(())
    }

    /// A full disk ends the restore; anything else costs one file.
    fn refused(&mut self, path: &[u8], error: io::Error) -> Result<(), Error> {
        if matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            let path = crate::HostPath::from_bytes(path);
            return Err(Error::io("restoring", path.as_path())(error));
        }
        self.problem(path, format!("its content could not be written: {error}"));
        Ok(())
    }

    /// Writes a content; zeros of sparse contents become holes. Answers whether it is what was put into the store (R42).
    fn fill(&self, file: &File, blob: &BlobHash) -> Result<bool, Stop> {
        let reader = self.context.archive.store().reader(blob)?;
        file.set_len(reader.len())?;
        let mut offset = 0;
        let digest = reader.hashed_pieces::<Stop>(&mut |piece| {
            check(self.context.interrupt)?;
            offset += match piece {
                Piece::Zeros(len) => len,
                Piece::Bytes(bytes) => {
                    file.write_all_at(bytes, offset)?;
                    u64::try_from(bytes.len()).map_err(io::Error::other)?
                }
            };
            Ok(())
        })?;
        self.stage.add(0, offset);
        Ok(digest == *blob)
    }

    fn tell_damage(&mut self, path: &[u8], states: &[StreamState]) {
        for state in states {
            if let State::Damaged { missing, failure, .. } = &state.state {
                let ranges: Vec<String> = missing.iter().map(ToString::to_string).collect();
                let ranges = ranges.join(", ");
                self.problem(
                    path,
                    format!("damaged, zeros stand at {ranges}: {}", failure.detail),
                );
            }
            if let StreamKind::Named(name) = &state.kind {
                let name = ntt_model::name::escape(name).into_owned();
                self.problem(
                    path,
                    format!("its stream `{name}` has no place in a directory; `ntt cat` shows it"),
                );
            }
        }
    }

    /// Extended attributes that are too big to travel with their inode.
    fn large_xattrs(&mut self, path: &[u8], states: &[StreamState]) -> Result<Vec<Xattr>, Error> {
        let mut xattrs = Vec::new();
        for state in states {
            let StreamKind::Xattr(name) = &state.kind else {
                continue;
            };
            match self.xattr_value(state) {
                Ok((value, is_right)) => {
                    xattrs.push((name.clone(), value));
                    if !is_right {
                        let name = ntt_model::name::escape(name).into_owned();
                        self.damage(path, format!("attribute {name}: {DAMAGED}"));
                    }
                }
                Err(Stop::Interrupted) => return Err(Error::Interrupted),
                Err(Stop::Index(error)) => return Err(error.into()),
                Err(Stop::Store(error)) => {
                    let name = ntt_model::name::escape(name).into_owned();
                    self.damage(
                        path,
                        format!("attribute {name}: the store does not give it: {error}"),
                    );
                }
                Err(Stop::Io(problem)) => {
                    let name = ntt_model::name::escape(name).into_owned();
                    self.problem(path, format!("attribute {name}: {problem}"));
                }
            }
        }
        Ok(xattrs)
    }

    /// The value, and whether it is what was put into the store.
    fn xattr_value(&self, state: &StreamState) -> Result<(Vec<u8>, bool), Stop> {
        let blob = content_of(state).map_err(io::Error::other)?;
        let reader = self.context.archive.store().reader(&blob)?;
        if reader.len() > XATTR_BYTES_MAX {
            return Err(io::Error::other(format!("{} bytes are too many", reader.len())).into());
        }
        let mut value = vec![0; usize::try_from(reader.len()).map_err(io::Error::other)?];
        reader.read_exact_at(0, &mut value)?;
        let is_right = BlobHash::of(&value) == blob;
        Ok((value, is_right))
    }

    fn special(&mut self, directory: &OwnedFd, name: &OsStr, path: &[u8], inode: &Inode) {
        let made = make_special(directory, name, inode);
        match made {
            Ok(()) => {
                self.restored.insert(inode.number);
                let is_link = inode.kind == Kind::Symlink;
                if let Err(problem) = attributes::apply_at(directory.as_fd(), name, inode, is_link) {
                    self.problem(path, problem);
                }
            }
            Err(Errno::EXIST) => self.in_the_way(path, inode),
            Err(errno) => self.problem(path, format!("cannot be made: {errno}")),
        }
    }
}

fn check(interrupt: &Interrupt) -> Result<(), Stop> {
    interrupt.check().map_err(|_| Stop::Interrupted)
}

/// The content of a file: the blob of its data stream, or why there is none.
fn content(states: &[StreamState]) -> Result<BlobHash, String> {
    match states.iter().find(|state| state.kind == StreamKind::Data) {
        Some(state) => content_of(state),
        None => Err("not restored: nothing is recorded of its content".to_owned()),
    }
}

fn content_of(state: &StreamState) -> Result<BlobHash, String> {
    match &state.state {
        State::Stored { blob } | State::Damaged { blob, .. } => Ok(*blob),
        State::Pending => Err("not restored: not copied yet".to_owned()),
        State::Excluded { rule } => Err(format!("not restored: excluded by rule {rule}")),
        State::Retryable { failure, .. } | State::Failed { failure, .. } => Err(format!(
            "not restored: {} failure: {}",
            failure.class, failure.detail
        )),
    }
}

fn make_special(directory: &OwnedFd, name: &OsStr, inode: &Inode) -> Result<(), Errno> {
    let file_type = match inode.kind {
        Kind::Symlink => {
            let target = inode.target.as_deref().unwrap_or_default();
            return rustix::fs::symlinkat(OsStr::from_bytes(target), directory, name);
        }
        Kind::Fifo => FileType::Fifo,
        Kind::Socket => FileType::Socket,
        Kind::CharDevice => FileType::CharacterDevice,
        _ => FileType::BlockDevice,
    };
    let (major, minor) = inode.device.unwrap_or_default();
    let device = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(directory, name, file_type, Mode::from_raw_mode(0o600), device)
}

fn is_directory(directory: &OwnedFd, name: &OsStr) -> bool {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Splits a path into its directory and its last name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
