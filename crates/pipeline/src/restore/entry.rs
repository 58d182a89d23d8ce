//! One name of a tree.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use ntt_catalogue::rows::ChildRow;
use ntt_model::Kind;
use ntt_model::entry::Inode;
use ntt_model::name::can_stand_in_path;
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::destination::MISLEADING;
use super::{Restorer, attributes, existing};
use crate::Error;
use crate::tree::{self, Met};

impl Restorer<'_> {
    /// Restores one name; answers whether it is a directory to enter.
    pub(super) fn entry(
        &mut self,
        directory: &OwnedFd,
        path: &[u8],
        child: &ChildRow,
    ) -> Result<bool, Error> {
        self.stage.add(1, 0);
        if !self.stands(directory, path, child)? {
            *self.left_out += 1;
            return Ok(false);
        }
        Ok(tree::kind_of(child) == Some(Kind::Directory))
    }

    /// Restores one name; answers whether it stands there now.
    fn stands(&mut self, directory: &OwnedFd, path: &[u8], child: &ChildRow) -> Result<bool, Error> {
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
            Met::Same => return Ok(true),
            Met::Other => {
                self.in_the_way(path);
                return Ok(false);
            }
        }
        let made = self.make(directory, OsStr::from_bytes(&child.name), path, inode)?;
        if made {
            self.made.take_in(&child.name, inode);
        }
        Ok(made)
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
            _ => self.special(directory, name, path, inode)?,
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
            Err(Errno::EXIST) if existing::is_directory(directory, name) => {
                if self.into_existing {
                    self.directories.push((path.to_vec(), inode.number));
                }
            }
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
        match link_or_find(
            self.root.open(parent),
            OsStr::from_bytes(first_name),
            directory,
            name,
        ) {
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

    pub(super) fn in_the_way(&mut self, path: &[u8]) {
        self.problem(path, "not restored: another entry stands under this name");
    }

    fn special(
        &mut self,
        directory: &OwnedFd,
        name: &OsStr,
        path: &[u8],
        inode: &Inode,
    ) -> Result<bool, Error> {
        match make_special(directory, name, inode) {
            Ok(()) => {}
            Err(Errno::EXIST) if self.into_existing && existing::is_equal_special(directory, name, inode) => {
            }
            Err(Errno::EXIST) => {
                self.in_the_way(path);
                return Ok(false);
            }
            Err(errno) => {
                self.problem(path, format!("cannot be made: {errno}"));
                return Ok(false);
            }
        }
        let xattrs = self.xattrs(path, inode)?;
        self.refused(path, &attributes::apply_at(directory, name, inode, &xattrs));
        Ok(true)
    }
}

/// Links a further name to the first one, unless it is one of that file already.
fn link_or_find(
    parent: io::Result<OwnedFd>,
    first: &OsStr,
    directory: &OwnedFd,
    name: &OsStr,
) -> io::Result<()> {
    let parent = parent?;
    match rustix::fs::linkat(&parent, first, directory, name, AtFlags::empty()) {
        Err(Errno::EXIST) if existing::is_same_file((&parent, first), (directory, name)) => Ok(()),
        linked => Ok(linked?),
    }
}

fn make_special(directory: &OwnedFd, name: &OsStr, inode: &Inode) -> Result<(), Errno> {
    if inode.kind == Kind::Symlink {
        let target = inode.target.as_deref().unwrap_or_default();
        return rustix::fs::symlinkat(OsStr::from_bytes(target), directory, name);
    }
    let file_type = existing::special_type(inode.kind);
    let (major, minor) = inode.device.unwrap_or_default();
    let device = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(directory, name, file_type, Mode::from_raw_mode(0o600), device)
}

/// Splits a path into its directory and its last name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
