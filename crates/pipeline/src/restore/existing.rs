//! What stands in the destination already. A restore that goes on takes what is equal for restored, and leaves alone what is not.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;

use ntt_model::entry::Inode;
use ntt_model::{BlobHash, Kind};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::sidecar::Sidecar;
use crate::{Error, Interrupt, digest};

/// Looks at a name without following a link; `None` if nothing stands there.
pub(super) fn look(directory: &OwnedFd, name: &OsStr) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Whether a directory stands under the name.
pub(super) fn is_directory(directory: &OwnedFd, name: &OsStr) -> bool {
    is_kind(directory, name, FileType::Directory).is_some()
}

/// Whether two names are names of one file.
pub(super) fn is_same_file(one: (&OwnedFd, &OsStr), other: (&OwnedFd, &OsStr)) -> bool {
    match (look(one.0, one.1), look(other.0, other.1)) {
        (Ok(Some(one)), Ok(Some(other))) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

/// The file under the name if it has exactly this content. The error is an interruption.
pub(super) fn equal_file(
    directory: &OwnedFd,
    name: &OsStr,
    (content, size_bytes): (&BlobHash, u64),
    interrupt: &Interrupt,
) -> Result<Option<File>, Error> {
    let Some((file, stat)) = open_file(directory, name) else {
        return Ok(None);
    };
    if u64::try_from(stat.st_size) != Ok(size_bytes) {
        return Ok(None);
    }
    let found = digest::of_file(&file, interrupt, |_| ())?;
    Ok(found.is_ok_and(|found| found == *content).then_some(file))
}

/// Whether the file under the name is exactly this sidecar. The error is an interruption.
pub(super) fn equal_sidecar(
    directory: &OwnedFd,
    name: &OsStr,
    sidecar: &Sidecar,
    interrupt: &Interrupt,
) -> Result<bool, Error> {
    let Some((file, _)) = open_file(directory, name) else {
        return Ok(false);
    };
    Ok(sidecar.is_in(&file, interrupt, |_| ())?.is_ok_and(|equal| equal))
}

/// The file under the name, if a file that can be read stands there.
pub(crate) fn open_file(directory: &OwnedFd, name: &OsStr) -> Option<(File, Stat)> {
    // What is no file may not even be opened: a pipe would wait for its other end.
    let stat = is_kind(directory, name, FileType::RegularFile)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::empty()).ok()?;
    Some((File::from(file), stat))
}

/// Whether a link, pipe, socket or device stands under the name that is just like `inode`.
pub(super) fn is_equal_special(directory: &OwnedFd, name: &OsStr, inode: &Inode) -> bool {
    let Some(stat) = is_kind(directory, name, special_type(inode.kind)) else {
        return false;
    };
    match inode.kind {
        Kind::Symlink => rustix::fs::readlinkat(directory, name, Vec::new())
            .is_ok_and(|target| target.as_bytes() == inode.target.as_deref().unwrap_or_default()),
        Kind::CharDevice | Kind::BlockDevice => {
            let (major, minor) = inode.device.unwrap_or_default();
            stat.st_rdev == rustix::fs::makedev(major, minor)
        }
        _ => true,
    }
}

/// How the host calls what is neither a file nor a directory.
pub(super) const fn special_type(kind: Kind) -> FileType {
    match kind {
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::Fifo,
        Kind::Socket => FileType::Socket,
        Kind::CharDevice => FileType::CharacterDevice,
        _ => FileType::BlockDevice,
    }
}

fn is_kind(directory: &OwnedFd, name: &OsStr, file_type: FileType) -> Option<Stat> {
    let stat = look(directory, name).ok()??;
    (FileType::from_raw_mode(stat.st_mode) == file_type).then_some(stat)
}
