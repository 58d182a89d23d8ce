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
use crate::tree::Met;
use crate::{Error, Interrupt};

/// Largest extended attribute that is restored; Linux takes no larger ones.
const XATTR_BYTES_MAX: u64 = 64 * 1024;

/// Why content was not written.
enum Stop {
    Interrupted,
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
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
        match self.made.met(&child.name, inode) {
            Met::Nothing => {}
            Met::Same => return Ok(inode.kind == Kind::Directory),
            Met::Other => {
                self.in_the_way(path);
                return Ok(false);
            }
        }
        let name = OsStr::from_bytes(&child.name);
        if self.make(directory, name, path, inode)? {
            self.made.take_in(&child.name, inode);
            return Ok(inode.kind == Kind::Directory);
        }
        Ok(false)
    }

    /// Makes one name; answers whether it stands there now.
    fn make(&mut self, directory: &OwnedFd, name: &OsStr, path: &[u8], inode: &Inode) -> Result<bool, Error> {
        if inode.kind == Kind::Directory {
            return Ok(self.make_directory(directory, name, path, inode));
        }
        if let Some(linked) = self.link(directory, name, path, inode) {
            return Ok(linked);
        }
        let made = match inode.kind {
            Kind::File => self.file(directory, name, path, inode)?,
            Kind::Unknown => {
                self.problem(path, "of a kind that cannot be made");
                false
            }
            _ => self.special(directory, name, path, inode),
        };
        if made && inode.links > 1 {
            self.links.insert(inode.number, path.to_vec());
        }
        Ok(made)
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

    /// Makes a further name of an inode that has one already; answers whether it stands there now. `None` if there is no first name to link to.
    fn link(&mut self, directory: &OwnedFd, name: &OsStr, path: &[u8], inode: &Inode) -> Option<bool> {
        let first = self.links.get(&inode.number)?;
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
            Ok(()) => Some(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.in_the_way(path);
                Some(false)
            }
            Err(error) => {
                self.problem(
                    path,
                    format!("restored as a file of its own, the hard link was refused: {error}"),
                );
                None
            }
        }
    }

    fn in_the_way(&mut self, path: &[u8]) {
        self.problem(path, "not restored: another entry stands under this name");
    }

    fn file(&mut self, directory: &OwnedFd, name: &OsStr, path: &[u8], inode: &Inode) -> Result<bool, Error> {
        let states = self
            .context
            .archive
            .catalogue()
            .stream_states(self.tree.scan, inode.number)?;
        let blob = match content(&states) {
            Ok(blob) => blob,
            Err(problem) => {
                self.problem(path, problem);
                return Ok(false);
            }
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600)) {
            Ok(file) => File::from(file),
            Err(Errno::EXIST) => {
                self.in_the_way(path);
                return Ok(false);
            }
            Err(errno) => return self.refused(path, errno.into()),
        };
        match self.fill(&file, &blob) {
            Ok(()) => {}
            Err(Stop::Interrupted) => return Err(Error::Interrupted),
            Err(Stop::Io(error)) => return self.refused(path, error),
        }
        self.tell_damage(path, &states);
        let xattrs = self.large_xattrs(path, &states);
        if let Err(problem) = attributes::apply(&file, inode, &xattrs) {
            self.problem(path, problem);
        }
        Ok(true)
    }

    /// A full disk ends the restore; anything else costs one file.
    fn refused(&mut self, path: &[u8], error: io::Error) -> Result<bool, Error> {
        if matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            let path = crate::HostPath::from_bytes(path);
            return Err(Error::io("restoring", path.as_path())(error));
        }
        self.problem(path, format!("its content could not be written: {error}"));
        Ok(false)
    }

    /// Writes a content; zeros of sparse contents become holes.
    fn fill(&self, file: &File, blob: &BlobHash) -> Result<(), Stop> {
        let reader = self
            .context
            .archive
            .store()
            .reader(blob)
            .map_err(io::Error::other)?;
        file.set_len(reader.len())?;
        let mut offset = 0;
        reader.pieces::<Stop>(&mut |piece| {
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
        Ok(())
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
    fn large_xattrs(&mut self, path: &[u8], states: &[StreamState]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut xattrs = Vec::new();
        for state in states {
            let StreamKind::Xattr(name) = &state.kind else {
                continue;
            };
            match self.xattr_value(state) {
                Ok(value) => xattrs.push((name.clone(), value)),
                Err(problem) => {
                    let name = ntt_model::name::escape(name).into_owned();
                    self.problem(path, format!("attribute {name}: {problem}"));
                }
            }
        }
        xattrs
    }

    fn xattr_value(&self, state: &StreamState) -> Result<Vec<u8>, String> {
        let blob = content_of(state)?;
        let reader = self
            .context
            .archive
            .store()
            .reader(&blob)
            .map_err(|error| error.to_string())?;
        if reader.len() > XATTR_BYTES_MAX {
            return Err(format!("{} bytes are too many", reader.len()));
        }
        let mut value = vec![0; usize::try_from(reader.len()).map_err(|error| error.to_string())?];
        reader
            .read_exact_at(0, &mut value)
            .map_err(|error| error.to_string())?;
        Ok(value)
    }

    fn special(&mut self, directory: &OwnedFd, name: &OsStr, path: &[u8], inode: &Inode) -> bool {
        match make_special(directory, name, inode) {
            Ok(()) => {
                let is_link = inode.kind == Kind::Symlink;
                if let Err(problem) = attributes::apply_at(directory.as_fd(), name, inode, is_link) {
                    self.problem(path, problem);
                }
                true
            }
            Err(Errno::EXIST) => {
                self.in_the_way(path);
                false
            }
            Err(errno) => {
                self.problem(path, format!("cannot be made: {errno}"));
                false
            }
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
