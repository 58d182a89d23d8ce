//! The directory that is written to: every step into it is one name, and no step follows a symbolic link.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ntt_model::name::{can_stand_in_path, components};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::Error;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// What is said of a name that no reader gives, but a damaged catalogue may hold.
pub(crate) const MISLEADING: &str = "no entry can have this name: it would lead elsewhere";

/// A directory below which everything is written or compared.
pub(crate) struct Destination(OwnedFd);

/// Refuses a destination that holds something, unless that is wanted.
pub(super) fn check(path: &Path, into_existing: bool) -> Result<(), Error> {
    let mut names = match std::fs::read_dir(path) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("reading the destination", path)(error)),
    };
    if names.next().is_some() && !into_existing {
        return Err(Error::Refused(format!("{} is not empty", path.display())));
    }
    Ok(())
}

/// Refuses a destination within the archive: what stands there is the archive's, and nothing else may.
pub(super) fn refuse_archive(path: &Path, archive: &Path) -> Result<(), Error> {
    let path = std::path::absolute(path).map_err(Error::io("reading the destination", path))?;
    // What is to be made lies where the first of its ancestors lies that is there.
    let there = path
        .ancestors()
        .find_map(|ancestor| std::fs::canonicalize(ancestor).ok());
    let archive = std::fs::canonicalize(archive).map_err(Error::io("examining", archive))?;
    if there.is_some_and(|there| there.starts_with(&archive)) {
        return Err(Error::Source {
            path,
            reason: "it lies in the archive, where nothing else may stand".to_owned(),
        });
    }
    Ok(())
}

impl Destination {
    /// Opens the directory, made if it is missing.
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(path).map_err(Error::io("creating the destination", path))?;
        Self::existing(path)
    }

    /// Opens a directory that is there. The path itself, given by the user, may lead through links.
    pub(crate) fn existing(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
            .map(Self)
            .map_err(|errno| Error::io("opening the destination", path)(errno.into()))
    }

    /// A subdirectory, made if it is missing; the same directory if `name` is empty.
    pub(super) fn subdirectory(&self, name: &str) -> Result<Self, Error> {
        let path = Path::new(name);
        if !name.is_empty() {
            match rustix::fs::mkdirat(&self.0, path, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(Error::io("creating", path)(errno.into())),
            }
        }
        self.open(name.as_bytes())
            .map(Self)
            .map_err(|error| Error::io("opening", path)(error))
    }

    /// Opens a directory below by its path, name by name, so that neither the length of the path nor a link matters. A name that leads elsewhere
    /// than down is refused.
    pub(crate) fn open(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let mut directory = rustix::fs::openat(&self.0, ".", DIRECTORY, Mode::empty())?;
        for name in components(path) {
            if !can_stand_in_path(name) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, MISLEADING));
            }
            directory = rustix::fs::openat(&directory, OsStr::from_bytes(name), DIRECTORY, Mode::empty())?;
        }
        Ok(directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out_of_the_destination() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("outside")).unwrap();
        let root = Destination::create(&folder.path().join("a/b")).unwrap();
        let root = root.subdirectory("c").unwrap();
        for path in [
            "..",
            ".",
            "../..",
            "../../../outside",
            "./x",
            "x/../../../outside",
            "x\0",
        ] {
            let refused = root.open(path.as_bytes()).unwrap_err();
            assert!(
                matches!(
                    refused.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::NotFound
                ),
                "{path}: {refused}"
            );
        }
        assert!(root.open(b"").is_ok());
        assert!(root.subdirectory("..").is_err());
    }
}
