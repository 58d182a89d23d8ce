//! Extended attributes of the files of a live tree.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};

use ntt_model::entry::Xattr;
use rustix::fs::{lgetxattr, llistxattr};
use rustix::io::Errno;

use super::listxattrat::listxattrat;

/// What is tried first for a list of names: the kernel takes as much memory as it is offered, for each call anew, and nearly all lists are short.
const LIST_BYTES: usize = 1024;
/// Largest list of names, and largest value, that Linux takes.
const XATTR_BYTES_MAX: usize = 64 * 1024;

/// Reads attributes; keeps its buffers.
pub(super) struct Attributes {
    /// Cleared once the file system or the host turns out to give none.
    are_given: bool,
    /// Cleared once the kernel turns out not to have `listxattrat`.
    are_listed_in_place: bool,
    /// Path or name for the kernel.
    path: Vec<u8>,
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Attributes {
    pub(super) fn new() -> Self {
        Self {
            are_given: true,
            are_listed_in_place: true,
            path: Vec::new(),
            names: vec![0; XATTR_BYTES_MAX],
            value: vec![0; XATTR_BYTES_MAX],
        }
    }

    /// Asks for none any more.
    pub(super) fn give_up(&mut self) {
        self.are_given = false;
    }

    /// The attributes of `name`, and the first error; a file system without attributes is none.
    pub(super) fn read(&mut self, parent: &OwnedFd, name: &[u8]) -> (Vec<Xattr>, Option<Errno>) {
        if !self.are_given {
            return (Vec::new(), None);
        }
        match self.list(parent, name) {
            Ok(0) => (Vec::new(), None),
            Ok(len) => self.values(parent, name, len),
            Err(Errno::NOTSUP) => {
                self.give_up();
                (Vec::new(), None)
            }
            Err(error) => (Vec::new(), Some(error)),
        }
    }

    fn list(&mut self, parent: &OwnedFd, name: &[u8]) -> Result<usize, Errno> {
        match self.list_up_to(LIST_BYTES, parent, name) {
            Err(Errno::RANGE) => self.list_up_to(XATTR_BYTES_MAX, parent, name),
            listed => listed,
        }
    }

    /// Length of the list of names. It is asked for with a buffer: without one the system tells the length too, but `rustix` makes 0 of it.
    fn list_up_to(&mut self, len: usize, parent: &OwnedFd, name: &[u8]) -> Result<usize, Errno> {
        if self.are_listed_in_place {
            self.path.clear();
            self.path.extend_from_slice(name);
            self.path.push(0);
            let name = CStr::from_bytes_with_nul(&self.path).map_err(|_| Errno::INVAL)?;
            match listxattrat(parent, name, &mut self.names[..len]) {
                // EPERM: from a sandbox that does not know the call.
                Err(Errno::NOSYS | Errno::PERM) => self.are_listed_in_place = false,
                listed => return listed,
            }
        }
        self.set_path(parent, name);
        llistxattr(self.path.as_slice(), &mut self.names[..len])
    }

    /// There is no call relative to a directory before Linux 6.13, and none for values that is worth it for the few that there are; the path
    /// through /proc is one, and is short however deep the tree. It takes the kernel three times as long to follow.
    fn set_path(&mut self, parent: &OwnedFd, name: &[u8]) {
        self.path.clear();
        self.path.extend_from_slice(b"/proc/self/fd/");
        self.path
            .extend_from_slice(parent.as_raw_fd().to_string().as_bytes());
        self.path.push(b'/');
        self.path.extend_from_slice(name);
    }

    fn values(&mut self, parent: &OwnedFd, name: &[u8], names_len: usize) -> (Vec<Xattr>, Option<Errno>) {
        self.set_path(parent, name);
        let (mut found, mut first_error) = (Vec::new(), None);
        let names = self.names[..names_len].split(|byte| *byte == 0);
        for name in names.filter(|name| !name.is_empty()) {
            match lgetxattr(self.path.as_slice(), name, &mut self.value[..]) {
                Ok(len) => found.push(Xattr {
                    name: name.to_vec(),
                    value: self.value[..len].to_vec(),
                }),
                // Removed since it was listed.
                Err(Errno::NODATA) => {}
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        (found, first_error)
    }
}
