//! Mode, owner, extended attributes and times of something that was restored.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};

use ntt_model::entry::{Inode, Xattr};
use ntt_model::time::Times;
use ntt_model::{Kind, Timestamp};
use rustix::fs::{AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use crate::xattr;

/// What could not be set.
#[derive(Default)]
pub(super) struct Refused {
    /// The owner or the group, for want of permission. That is so for many entries or for none, and no news about a single one.
    pub(super) owner: bool,
    /// Everything else, with the reason.
    pub(super) others: Vec<String>,
}

/// Applies everything to an open file or directory, times last.
pub(super) fn apply(file: impl AsFd, inode: &Inode, xattrs: &[Xattr]) -> Refused {
    let file = file.as_fd();
    let mut refused = Refused::default();
    refused.owner(inode, rustix::fs::fstat(file), |uid, gid| {
        rustix::fs::fchown(file, uid, gid)
    });
    for xattr in xattrs {
        let name = xattr::host_name(&xattr.name);
        let set = rustix::fs::fsetxattr(file, &*name, &xattr.value, XattrFlags::empty());
        refused.note_xattr(xattr, set);
    }
    // The mode after the owner, because a change of owner clears the set-id bits.
    if let Some(mode) = inode.mode {
        refused.note("mode", rustix::fs::fchmod(file, permissions(mode)));
    }
    let set = rustix::fs::futimens(file, &timestamps(&inode.times));
    refused.times(&inode.times, set, || rustix::fs::fstat(file));
    refused
}

/// Applies everything to a name that cannot be opened: a link, a pipe, a device. Links have no mode.
pub(super) fn apply_at(directory: &OwnedFd, name: &OsStr, inode: &Inode, xattrs: &[Xattr]) -> Refused {
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    let stat = || rustix::fs::statat(directory, name, nofollow);
    let mut refused = Refused::default();
    refused.owner(inode, stat(), |uid, gid| {
        rustix::fs::chownat(directory, name, uid, gid, nofollow)
    });
    let place = xattr::place(directory, name);
    for xattr in xattrs {
        let name = xattr::host_name(&xattr.name);
        let set = rustix::fs::lsetxattr(&place, &*name, &xattr.value, XattrFlags::empty());
        refused.note_xattr(xattr, set);
    }
    if let (Some(mode), false) = (inode.mode, inode.kind == Kind::Symlink) {
        let set = rustix::fs::chmodat(directory, name, permissions(mode), AtFlags::empty());
        refused.note("mode", set);
    }
    let set = rustix::fs::utimensat(directory, name, &timestamps(&inode.times), nofollow);
    refused.times(&inode.times, set, stat);
    refused
}

impl Refused {
    fn note(&mut self, what: &str, result: Result<(), Errno>) {
        if let Err(errno) = result {
            self.others.push(format!("{what}: {errno}"));
        }
    }

    fn note_xattr(&mut self, xattr: &Xattr, result: Result<(), Errno>) {
        let what = format!("attribute {}", ntt_model::name::escape(&xattr.name));
        self.note(&what, result);
    }

    /// Sets owner and group where they are not what they should be.
    fn owner(
        &mut self,
        inode: &Inode,
        stat: Result<Stat, Errno>,
        change: impl Fn(Option<Uid>, Option<Gid>) -> Result<(), Errno>,
    ) {
        let has = stat.ok().map(|stat| (stat.st_uid, stat.st_gid));
        let uid = inode.uid.filter(|uid| has.is_none_or(|has| has.0 != *uid));
        let gid = inode.gid.filter(|gid| has.is_none_or(|has| has.1 != *gid));
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        if uid.is_none() && gid.is_none() {
            return;
        }
        match change(uid, gid) {
            // Invalid is what a user namespace says of an owner that it does not know.
            Err(Errno::PERM | Errno::INVAL) => {
                self.owner = true;
                if uid.is_some() && gid.is_some() {
                    // Users may give files to their own groups; that this one could not be is told already.
                    let _ = change(None, gid);
                }
            }
            changed => self.note("owner", changed),
        }
    }

    /// Notes a time that was refused, or that is not what was asked for.
    fn times(&mut self, times: &Times, set: Result<(), Errno>, stat: impl FnOnce() -> Result<Stat, Errno>) {
        self.note("times", set);
        if set.is_ok()
            && let Ok(stat) = stat()
        {
            let kept = Timestamp::from_parts(stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0));
            self.others.extend(wrong_time(times, kept));
        }
    }
}

/// What is to be said of a time of last change that is not that of the medium. Where a format has no times at all, none is missing.
fn wrong_time(times: &Times, kept: Option<Timestamp>) -> Option<String> {
    match (times.modified, kept) {
        (Some(wanted), Some(kept)) if kept != wanted => {
            Some(format!("times: the file system keeps {kept}, not {wanted}"))
        }
        (None, _) if *times != Times::default() => Some(
            "times: no time of last change is known (they are kept from 1677 to 2262), it has that of the restore"
                .to_owned(),
        ),
        _ => None,
    }
}

fn permissions(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o7777)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r45_times_that_are_not_kept_are_told() {
        let time = |seconds| Timestamp::from_parts(seconds, 0);
        let at = |modified| Times {
            modified,
            changed: time(7),
            ..Times::default()
        };
        assert_eq!(wrong_time(&at(time(5)), time(5)), None);
        assert_eq!(
            wrong_time(&Times::default(), time(5)),
            None,
            "the format has no times"
        );
        let rounded = wrong_time(&at(time(5)), time(4)).unwrap();
        assert!(
            rounded.contains("1970-01-01T00:00:04Z, not 1970-01-01T00:00:05Z"),
            "{rounded}"
        );
        assert!(wrong_time(&at(None), time(5)).unwrap().contains("1677"));
    }
}
