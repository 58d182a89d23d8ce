//! One name of a tree against one name of the directory.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use ntt_catalogue::rows::{ChildRow, State, StreamState};
use ntt_model::entry::{Inode, StreamKind};
use ntt_model::name::{can_stand_in_path, escape};
use ntt_model::{BlobHash, Kind, Timestamp};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::Comparer;
use crate::restore::{MISLEADING, open_file, sidecars};
use crate::tree::{self, Met, Names};
use crate::{Error, digest};

impl Comparer<'_> {
    /// Names that stand in the directory and not in the catalogue. Only for whole directories, not for a single restored entry, and not where others
    /// were before.
    pub(super) fn extra(&mut self, directory: &OwnedFd, path: &[u8], expected: &Names) {
        if self.into_existing || (path.is_empty() && self.tree.is_single_entry()) {
            return;
        }
        let names = match names_in(directory) {
            Ok(names) => names,
            Err(error) => return self.differ(path, "unreadable", "a directory", error.to_string()),
        };
        for name in names.iter().filter(|name| !expected.contains(name)) {
            self.differ(&tree::join(path, name), "extra", "nothing", "an entry");
        }
    }

    /// Compares the directory that everything was written into.
    pub(super) fn root(&mut self, inode: &Inode) -> Result<(), Error> {
        let found = self
            .root
            .open(b"")
            .and_then(|root| Ok((rustix::fs::fstat(&root)?, root)));
        match found {
            Ok((stat, root)) => {
                self.attributes(b"", inode, &stat);
                self.xattrs(&root, OsStr::new("."), b"", inode)?;
                self.streams(b"", inode);
            }
            Err(error) => self.differ(b"", "unreadable", "a directory", error.to_string()),
        }
        Ok(())
    }

    /// Compares one name; answers whether it is a directory to enter.
    pub(super) fn entry(
        &mut self,
        directory: &OwnedFd,
        path: &[u8],
        child: &ChildRow,
        names: &mut Names,
    ) -> Result<bool, Error> {
        self.stage.add(1, 0);
        if !can_stand_in_path(&child.name) {
            self.differ(path, "missing", "an entry", MISLEADING);
            return Ok(false);
        }
        let Some(inode) = &child.inode else {
            self.differ(path, "unreadable", "an inode", "none was read from the medium");
            return Ok(false);
        };
        match names.met(&child.name, inode) {
            Met::Nothing => names.take_in(&child.name, inode),
            Met::Same => return Ok(inode.kind == Kind::Directory),
            Met::Other => {
                let actual = "another entry of the same name";
                self.differ(path, "missing", kind_name(inode.kind), actual);
                return Ok(false);
            }
        }
        let name = OsStr::from_bytes(&child.name);
        let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // What no restore can write is missing on record, and no difference.
            Err(Errno::NOENT) if inode.kind == Kind::File && self.expected(inode)?.is_none() => {
                self.summary.not_stored += 1;
                return Ok(false);
            }
            Err(errno) => {
                self.differ(path, "missing", kind_name(inode.kind), errno.to_string());
                return Ok(false);
            }
        };
        let actual = kind_of(&stat);
        if actual != inode.kind {
            self.differ(path, "kind", kind_name(inode.kind), kind_name(actual));
            return Ok(false);
        }
        self.attributes(path, inode, &stat);
        self.identity(path, inode, &stat);
        self.xattrs(directory, name, path, inode)?;
        self.streams(path, inode);
        if self
            .states(inode)?
            .iter()
            .any(|state| matches!(state.state, State::Damaged { .. }))
        {
            self.summary.damaged += 1;
        }
        match inode.kind {
            Kind::File => self.file(directory, name, path, inode, &stat)?,
            Kind::Symlink => self.target(directory, name, path, inode),
            _ => {}
        }
        Ok(inode.kind == Kind::Directory)
    }

    fn attributes(&mut self, path: &[u8], inode: &Inode, stat: &Stat) {
        if let (Some(mode), false) = (inode.mode, inode.kind == Kind::Symlink) {
            let octal = |mode: u32| format!("{:04o}", mode & 0o7777);
            self.check(path, "mode", &octal(mode), &octal(stat.st_mode));
        }
        if rustix::process::geteuid().is_root() {
            self.check(path, "owner", &inode.uid.unwrap_or(stat.st_uid), &stat.st_uid);
            self.check(path, "group", &inode.gid.unwrap_or(stat.st_gid), &stat.st_gid);
        }
        let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        let modified = Timestamp::from_parts(stat.st_mtime, nanos);
        if let (Some(expected), Some(actual)) = (inode.times.modified, modified) {
            self.check(path, "modified", &expected, &actual);
        }
        if let Some((major, minor)) = inode.device {
            let actual = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
            let text = |(major, minor): (u32, u32)| format!("{major}:{minor}");
            self.check(path, "device", &text((major, minor)), &text(actual));
        }
    }

    /// Names of one inode must be names of one file.
    fn identity(&mut self, path: &[u8], inode: &Inode, stat: &Stat) {
        if inode.kind == Kind::Directory || inode.links < 2 {
            return;
        }
        let actual = (stat.st_dev, stat.st_ino);
        let expected = *self.identities.entry(inode.number).or_insert(actual);
        if expected != actual {
            let expected = format!("the same file as inode {}'s other names", inode.number);
            self.differ(path, "link", expected, "a file of its own");
        }
    }

    fn target(&mut self, directory: &OwnedFd, name: &OsStr, path: &[u8], inode: &Inode) {
        let expected = escape(inode.target.as_deref().unwrap_or_default()).into_owned();
        match rustix::fs::readlinkat(directory, name, Vec::new()) {
            Ok(target) => self.check(path, "target", &expected, &escape(target.as_bytes()).into_owned()),
            Err(errno) => self.differ(path, "target", expected, errno.to_string()),
        }
    }

    fn file(
        &mut self,
        directory: &OwnedFd,
        name: &OsStr,
        path: &[u8],
        inode: &Inode,
        stat: &Stat,
    ) -> Result<(), Error> {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if let Some(data) = inode.data() {
            self.check(path, "size", &data.size_bytes, &size);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(errno) => {
                self.differ(path, "unreadable", "a file", errno.to_string());
                return Ok(());
            }
        };
        self.content(path, inode, &file)
    }

    /// Forks and alternate streams, which a directory of the host has no place for but as files of their own.
    fn streams(&mut self, path: &[u8], inode: &Inode) {
        if self.streams && !path.is_empty() {
            return;
        }
        for name in inode.named_streams() {
            self.differ(path, "stream", format!("`{}`", escape(name)), "absent");
        }
    }

    /// Compares what a name has beside its data with the files that it became.
    pub(super) fn sidecars(
        &mut self,
        directory: &OwnedFd,
        (path, name): (&[u8], &[u8]),
        inode: &Inode,
        names: &mut Names,
    ) -> Result<(), Error> {
        let catalogue = self.context.archive.catalogue();
        for sidecar in sidecars(catalogue, self.tree.scan, name, inode)? {
            let sidecar = match sidecar {
                Ok(sidecar) => sidecar,
                Err(unplaced) => {
                    let stream = format!("`{}`", escape(&unplaced.stream));
                    self.differ(&tree::join(path, name), "stream", stream, unplaced.problem);
                    continue;
                }
            };
            let path = tree::join(path, &sidecar.name);
            if names.contains(&sidecar.name) {
                self.differ(&path, "stream", "a stream as a file", "an entry of the medium");
                continue;
            }
            names.take_in(&sidecar.name, inode);
            let Some((file, _)) = open_file(directory, OsStr::from_bytes(&sidecar.name)) else {
                self.differ(&path, "missing", "a stream as a file", "no file that can be read");
                continue;
            };
            let read = |bytes| self.stage.add(0, bytes);
            match sidecar.is_in(&file, self.context.interrupt, read)? {
                Ok(true) => {}
                Ok(false) => self.differ(&path, "content", sidecar.blob.to_hex(), "something else"),
                Err(error) => self.differ(&path, "content", sidecar.blob.to_hex(), error.to_string()),
            }
        }
        Ok(())
    }

    /// The content that a restore writes, if the archive has it.
    fn expected(&self, inode: &Inode) -> Result<Option<BlobHash>, Error> {
        let states = self.states(inode)?;
        let state = states.iter().find(|state| state.kind == StreamKind::Data);
        Ok(state.and_then(|state| state.state.blob()).copied())
    }

    fn states(&self, inode: &Inode) -> Result<Vec<StreamState>, Error> {
        let catalogue = self.context.archive.catalogue();
        Ok(catalogue.stream_states(self.tree.scan, inode.number)?)
    }

    fn content(&mut self, path: &[u8], inode: &Inode, file: &File) -> Result<(), Error> {
        let Some(expected) = self.expected(inode)? else {
            self.differ(path, "content", "not in the archive", "a file");
            return Ok(());
        };
        let found = digest::of_file(file, self.context.interrupt, |bytes| self.stage.add(0, bytes))?;
        match found {
            Ok(actual) => self.check(path, "content", &expected, &actual),
            Err(error) => self.differ(path, "content", expected.to_hex(), error.to_string()),
        }
        Ok(())
    }
}

fn names_in(directory: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn kind_of(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Unknown => Kind::Unknown,
    }
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "a file",
        Kind::Directory => "a directory",
        Kind::Symlink => "a symbolic link",
        Kind::Fifo => "a pipe",
        Kind::Socket => "a socket",
        Kind::CharDevice => "a character device",
        Kind::BlockDevice => "a block device",
        Kind::Unknown => "of an unknown kind",
    }
}
