//! Mode, owner, extended attributes and times of something that was restored.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};

use ntt_model::Timestamp;
use ntt_model::entry::Inode;
use ntt_model::time::Times;
use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use crate::xattr::host_name;

/// Applies everything to an open file or directory, times last. Answers with what was refused, in one sentence.
pub(super) fn apply(
    file: impl AsFd,
    inode: &Inode,
    more_xattrs: &[(Vec<u8>, Vec<u8>)],
) -> Result<(), String> {
    let file = file.as_fd();
    let mut refused = Vec::new();
    note(&mut refused, "owner", owner(file, inode));
    let own = inode.xattrs.iter().map(|xattr| (&xattr.name, &xattr.value));
    for (name, value) in own.chain(more_xattrs.iter().map(|(name, value)| (name, value))) {
        let what = format!("attribute {}", ntt_model::name::escape(name));
        note(
            &mut refused,
            &what,
            rustix::fs::fsetxattr(file, &*host_name(name), value, XattrFlags::empty()),
        );
    }
    // The mode after the owner, because a change of owner clears the set-id bits.
    if let Some(mode) = inode.mode {
        note(
            &mut refused,
            "mode",
            rustix::fs::fchmod(file, Mode::from_raw_mode(mode & 0o7777)),
        );
    }
    note(
        &mut refused,
        "times",
        rustix::fs::futimens(file, &timestamps(&inode.times)),
    );
    told(&refused)
}

/// Applies owner and times to a name that cannot be opened: a link, a pipe, a device. Modes too, except for links, which have none.
pub(super) fn apply_at(
    directory: impl AsFd,
    name: &OsStr,
    inode: &Inode,
    is_link: bool,
) -> Result<(), String> {
    let directory = directory.as_fd();
    let mut refused = Vec::new();
    let ids = (inode.uid.map(Uid::from_raw), inode.gid.map(Gid::from_raw));
    if wants_owner(inode) {
        let changed = rustix::fs::chownat(directory, name, ids.0, ids.1, AtFlags::SYMLINK_NOFOLLOW);
        note(&mut refused, "owner", changed);
    }
    if let (Some(mode), false) = (inode.mode, is_link) {
        let changed = rustix::fs::chmodat(
            directory,
            name,
            Mode::from_raw_mode(mode & 0o7777),
            AtFlags::empty(),
        );
        note(&mut refused, "mode", changed);
    }
    let times = timestamps(&inode.times);
    note(
        &mut refused,
        "times",
        rustix::fs::utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW),
    );
    told(&refused)
}

fn owner(file: BorrowedFd<'_>, inode: &Inode) -> Result<(), Errno> {
    if wants_owner(inode) {
        rustix::fs::fchown(file, inode.uid.map(Uid::from_raw), inode.gid.map(Gid::from_raw))
    } else {
        Ok(())
    }
}

/// Owners are restored by the one user who may; for all others that they are not is no news about any single file.
fn wants_owner(inode: &Inode) -> bool {
    rustix::process::geteuid().is_root() && (inode.uid.is_some() || inode.gid.is_some())
}

fn timestamps(times: &Times) -> Timestamps {
    Timestamps {
        last_access: timespec(times.accessed),
        last_modification: timespec(times.modified),
    }
}

fn timespec(time: Option<Timestamp>) -> Timespec {
    match time.map(|time| time.to_parts()) {
        Some((tv_sec, nanos)) => Timespec {
            tv_sec,
            tv_nsec: nanos.into(),
        },
        None => Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
    }
}

fn note(refused: &mut Vec<String>, what: &str, result: Result<(), Errno>) {
    if let Err(errno) = result {
        refused.push(format!("{what}: {errno}"));
    }
}

fn told(refused: &[String]) -> Result<(), String> {
    if refused.is_empty() {
        Ok(())
    } else {
        Err(refused.join("; "))
    }
}
