//! A file that is not whole yet. It stands under a name of its own and gets its final name when nothing of it is missing, so that
//! an interruption or a full disk leaves no cut file that looks like a restored one.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// How many names are tried: drafts of other runs, or entries of the medium, may have taken some.
const NAMES_MAX: u32 = 1000;

/// A file under a temporary name; the name goes when the draft is dropped.
pub(super) struct Draft<'d> {
    directory: &'d OwnedFd,
    name: OsString,
    file: File,
}

impl<'d> Draft<'d> {
    /// A new file that only its owner can read.
    pub(super) fn create(directory: &'d OwnedFd) -> Result<Self, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for number in 0..NAMES_MAX {
            let name = OsString::from(format!(".ntt-restore-{}-{number}", std::process::id()));
            match rustix::fs::openat(directory, &name, flags, Mode::from_raw_mode(0o600)) {
                Ok(file) => {
                    let file = File::from(file);
                    return Ok(Self {
                        directory,
                        name,
                        file,
                    });
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::EXIST)
    }

    /// The open file.
    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name. `EXIST` if something stands under it: that is never replaced.
    pub(super) fn publish(self, name: &OsStr) -> Result<(), Errno> {
        let directory = self.directory;
        match rustix::fs::renameat_with(directory, &self.name, directory, name, RenameFlags::NOREPLACE) {
            // The file system has no such rename; most of those have links, which replace nothing either.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            renamed => return renamed,
        }
        match rustix::fs::linkat(directory, &self.name, directory, name, AtFlags::empty()) {
            Err(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            linked => return linked,
        }
        // Neither: what is left is to look before.
        match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => rustix::fs::renameat(directory, &self.name, directory, name),
            Ok(_) => Err(Errno::EXIST),
            Err(errno) => Err(errno),
        }
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // It is not there any more after a rename, and nobody could be told of another error.
        let _ = rustix::fs::unlinkat(self.directory, &self.name, AtFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, openat};

    use super::*;

    #[test]
    fn r45_a_draft_has_no_final_name_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = openat(CWD, folder.path(), flags, Mode::empty()).unwrap();
        let names = || fs::read_dir(folder.path()).unwrap().count();

        let draft = Draft::create(&directory).unwrap();
        assert!(!folder.path().join("file").exists());
        drop(draft);
        assert_eq!(names(), 0, "given up");

        let (first, second) = (
            Draft::create(&directory).unwrap(),
            Draft::create(&directory).unwrap(),
        );
        assert_eq!(first.publish(OsStr::new("file")), Ok(()));
        assert_eq!(second.publish(OsStr::new("file")), Err(Errno::EXIST));
        assert_eq!(names(), 1);
    }
}
