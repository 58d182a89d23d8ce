//! The walk: depth first, iterative, few descriptors.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use ntt_filesystem::Visitor;
use ntt_model::entry::{Allocation, Directory, Name};
use ntt_model::{Finding, FindingCode, Kind, Layer, Namespace, ScanEvent, Severity};
use rustix::fs::{AtFlags, OFlags, RawDir, Statx, StatxFlags, readlinkat, statx};
use rustix::io::Errno;

use super::attributes::Attributes;
use super::open::open_in;
use super::{Error, LiveOptions, LiveSummary, LiveTree, Place, entry};

/// Directories that are open at a time.
pub(super) const OPEN_LEVELS: usize = 32;
/// How much of a directory is read at a time.
const DIRECTORY_BYTES: usize = 64 * 1024;

/// A directory on the way from the root to where the walk is.
struct Level {
    /// Closed while the walk is far below; opened again through `..`.
    open: Option<OwnedFd>,
    inode: u64,
    device: (u32, u32),
    name: Vec<u8>,
    /// Directories in it that are still to be entered.
    pending: Vec<(Vec<u8>, u64)>,
}

struct Walk<'a> {
    options: &'a LiveOptions,
    visitor: &'a mut dyn Visitor,
    cancel: &'a AtomicBool,
    summary: LiveSummary,
    root: Statx,
    levels: Vec<Level>,
    /// Inodes with several names that were emitted.
    linked: HashSet<u64>,
    attributes: Attributes,
    /// Where directories are read to.
    buffer: Vec<MaybeUninit<u8>>,
}

impl LiveTree {
    /// Walks the tree once; see [`ntt_model::entry`] for the order of events.
    ///
    /// What vanished or is forbidden is a finding, and the walk goes on.
    ///
    /// # Errors
    ///
    /// [`Error::Root`] if the root cannot be examined, [`Error::Stopped`] and [`Error::Cancelled`] if the caller wanted so.
    pub fn scan(
        &self,
        options: &LiveOptions,
        visitor: &mut dyn Visitor,
        cancel: &AtomicBool,
    ) -> Result<LiveSummary, Error> {
        let root = status(&self.root, b"").map_err(|error| Error::Root(error.into()))?;
        let mut walk = Walk {
            options,
            visitor,
            cancel,
            summary: LiveSummary {
                root: entry::number(root.stx_ino),
                ..LiveSummary::default()
            },
            root,
            levels: Vec::new(),
            linked: HashSet::new(),
            attributes: Attributes::new(),
            buffer: vec![MaybeUninit::uninit(); DIRECTORY_BYTES],
        };
        let open = open_in(&self.root, b".", OFlags::DIRECTORY).map_err(|error| Error::Root(error.into()))?;
        walk.root_inode(&self.root)?;
        walk.enter(open, Vec::new(), &root)?;
        walk.descend()?;
        Ok(walk.summary)
    }
}

/// Examines `name` in a directory, or the directory itself if the name is empty; follows nothing.
fn status(directory: &OwnedFd, name: &[u8]) -> Result<Statx, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID;
    statx(directory, name, flags, wanted)
}

fn device(status: &Statx) -> (u32, u32) {
    (status.stx_dev_major, status.stx_dev_minor)
}

impl Walk<'_> {
    fn emit(&mut self, event: ScanEvent) -> Result<(), Error> {
        self.summary.counts.add(&event);
        self.visitor.visit(event).map_err(|_| Error::Stopped)
    }

    fn say(
        &mut self,
        severity: Severity,
        code: FindingCode,
        inode: u64,
        detail: String,
    ) -> Result<(), Error> {
        let finding = Finding::new(severity, Layer::Directory, code, detail).on_inode(inode);
        self.emit(ScanEvent::Finding(finding))
    }

    /// Emits the root's inode, and learns whether attributes can be had at all.
    fn root_inode(&mut self, open: &OwnedFd) -> Result<(), Error> {
        let (xattrs, error) = self.attributes.read(open, b".");
        if error == Some(Errno::NOENT) {
            // The root is there, so /proc is not: one finding serves for all files.
            self.attributes.give_up();
        }
        let inode = entry::inode(&self.root, None, xattrs);
        let number = inode.number;
        self.emit(ScanEvent::Inode(Box::new(inode)))?;
        let root = self.root;
        self.without_time(number, &root)?;
        self.without_attributes(number, b".", error)
    }

    fn without_time(&mut self, inode: u64, found: &Statx) -> Result<(), Error> {
        if !entry::has_bad_time(found) {
            return Ok(());
        }
        let detail = "a time that cannot be represented: they are kept from 1677 to 2262".to_owned();
        self.say(Severity::Info, FindingCode::OutOfRange, inode, detail)
    }

    fn without_attributes(&mut self, inode: u64, name: &[u8], error: Option<Errno>) -> Result<(), Error> {
        let Some(error) = error else { return Ok(()) };
        let detail = format!(
            "extended attributes of `{}` cannot be read: {error}",
            name.escape_ascii()
        );
        self.say(Severity::Loss, code(error), inode, detail)
    }

    /// Visits directories until none is pending.
    fn descend(&mut self) -> Result<(), Error> {
        while let Some(level) = self.levels.last_mut() {
            match level.pending.pop() {
                Some((name, inode)) => self.child(name, inode)?,
                None => self.ascend()?,
            }
        }
        Ok(())
    }

    /// Leaves a directory; opens its parent again if that was closed.
    fn ascend(&mut self) -> Result<(), Error> {
        let left = self.levels.pop();
        let Some(parent) = self.levels.last_mut() else {
            return Ok(());
        };
        if parent.open.is_some() {
            return Ok(());
        }
        let below = left.and_then(|level| level.open);
        let again = below.and_then(|below| open_in(&below, b"..", OFlags::DIRECTORY).ok());
        let expected = (parent.inode, parent.device);
        parent.open = again.filter(|again| {
            status(again, b"").is_ok_and(|found| (entry::number(found.stx_ino), device(&found)) == expected)
        });
        if parent.open.is_none() {
            let (inode, skipped) = (parent.inode, std::mem::take(&mut parent.pending).len());
            if skipped > 0 {
                let detail = format!(
                    "the directory was moved during the walk; {skipped} directories in it were not entered"
                );
                return self.say(Severity::Loss, FindingCode::Changed, inode, detail);
            }
        }
        Ok(())
    }

    /// Enters a directory that the walk saw in the directory it is in.
    fn child(&mut self, name: Vec<u8>, inode: u64) -> Result<(), Error> {
        if self.levels.len() >= usize::try_from(self.options.limits.depth).unwrap_or(usize::MAX) {
            return self.say(
                Severity::Loss,
                FindingCode::Limit,
                inode,
                "nested too deep; not entered".to_owned(),
            );
        }
        let Some(parent) = self.levels.last().and_then(|level| level.open.as_ref()) else {
            return Ok(());
        };
        let opened =
            open_in(parent, &name, OFlags::DIRECTORY).and_then(|open| Ok((status(&open, b"")?, open)));
        match opened {
            Ok((found, open)) if entry::number(found.stx_ino) == inode => self.enter(open, name, &found),
            Ok(_) => self.lost(inode, "it was replaced during the walk", FindingCode::Changed),
            Err(error) => self.lost(inode, &error.to_string(), code(error)),
        }
    }

    fn lost(&mut self, inode: u64, why: &str, code: FindingCode) -> Result<(), Error> {
        self.say(
            Severity::Loss,
            code,
            inode,
            format!("the directory was not entered: {why}"),
        )
    }

    fn enter(&mut self, open: OwnedFd, name: Vec<u8>, found: &Statx) -> Result<(), Error> {
        let inode = entry::number(found.stx_ino);
        self.emit(ScanEvent::Directory(Directory {
            inode,
            parent: self.levels.last().map(|level| level.inode),
            name: name.clone(),
            namespace: Namespace::Native,
        }))?;
        let level = Level {
            pending: Vec::new(),
            open: None,
            inode,
            device: device(found),
            name,
        };
        self.levels.push(level);
        let pending = self.list(&open, inode)?;
        let far_above = self.levels.len().checked_sub(OPEN_LEVELS + 1);
        if let Some(far) = far_above.and_then(|index| self.levels.get_mut(index)) {
            far.open = None;
        }
        if let Some(level) = self.levels.last_mut() {
            level.open = Some(open);
            level.pending = pending;
        }
        Ok(())
    }

    /// Emits the names in a directory and gives the directories among them.
    fn list(&mut self, open: &OwnedFd, inode: u64) -> Result<Vec<(Vec<u8>, u64)>, Error> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let pending = self.list_into(open, inode, &mut buffer);
        self.buffer = buffer;
        pending
    }

    fn list_into(
        &mut self,
        open: &OwnedFd,
        inode: u64,
        buffer: &mut [MaybeUninit<u8>],
    ) -> Result<Vec<(Vec<u8>, u64)>, Error> {
        let mut entries = RawDir::new(open, buffer);
        let (mut pending, mut count) = (Vec::new(), 0);
        while let Some(entry) = entries.next() {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let detail = format!("the directory cannot be read to its end: {error}");
                    self.say(Severity::Loss, code(error), inode, detail)?;
                    break;
                }
            };
            if is_self_or_parent(entry.file_name()) {
                continue;
            }
            count += 1;
            if count > self.options.limits.entries_per_directory {
                self.say(
                    Severity::Loss,
                    FindingCode::Limit,
                    inode,
                    "too many entries; the rest is left out".to_owned(),
                )?;
                break;
            }
            pending.extend(self.entry(open, inode, entry.file_name().to_bytes(), entry.ino())?);
        }
        // Taken from the end: this keeps the order in which they were listed.
        pending.reverse();
        Ok(pending)
    }

    /// Emits one name and its inode; gives it back if it is a directory to enter.
    fn entry(
        &mut self,
        open: &OwnedFd,
        directory: u64,
        name: &[u8],
        listed: u64,
    ) -> Result<Option<(Vec<u8>, u64)>, Error> {
        let found = match status(open, name) {
            Ok(found) => found,
            Err(error) => {
                let detail = format!("`{}` cannot be examined: {error}", name.escape_ascii());
                self.say(Severity::Loss, code(error), directory, detail)?;
                return Ok(None);
            }
        };
        if self.is_elsewhere(&found) {
            self.foreign(directory, name, entry::number(listed), &found)?;
            return Ok(None);
        }
        let inode = entry::number(found.stx_ino);
        self.name(directory, name, inode)?;
        let is_directory = entry::kind(&found) == Kind::Directory;
        if found.stx_nlink <= 1 || is_directory || self.linked.insert(inode) {
            self.inode(open, name, &found)?;
        }
        if is_directory && self.options.archive == Some(Place::from(&found)) {
            let detail = "the archive itself lies here; not entered".to_owned();
            self.say(Severity::Info, FindingCode::Loop, inode, detail)?;
            return Ok(None);
        }
        Ok(is_directory.then(|| (name.to_vec(), inode)))
    }

    fn inode(&mut self, open: &OwnedFd, name: &[u8], found: &Statx) -> Result<(), Error> {
        let target = (entry::kind(found) == Kind::Symlink)
            .then(|| readlinkat(open, name, Vec::new()))
            .transpose();
        let (target, unread) = match target {
            Ok(target) => (target.map(CString::into_bytes), None),
            Err(error) => (None, Some(error)),
        };
        let (xattrs, error) = self.attributes.read(open, name);
        let inode = entry::inode(found, target, xattrs);
        let number = inode.number;
        self.emit(ScanEvent::Inode(Box::new(inode)))?;
        if let Some(error) = unread {
            let detail = format!(
                "where the link `{}` leads cannot be read: {error}",
                name.escape_ascii()
            );
            self.say(Severity::Loss, code(error), number, detail)?;
        }
        self.without_time(number, found)?;
        self.without_attributes(number, name, error)
    }

    fn name(&mut self, directory: u64, name: &[u8], inode: u64) -> Result<(), Error> {
        self.emit(ScanEvent::Name(Name {
            directory,
            name: name.to_vec(),
            inode,
            namespace: Namespace::Native,
            alternate: false,
            allocation: Allocation::Allocated,
        }))
    }

    /// Whether an entry lies on another mount, or begins another subvolume.
    fn is_elsewhere(&self, found: &Statx) -> bool {
        let knows_mounts = found.stx_mask & self.root.stx_mask & StatxFlags::MNT_ID.bits() != 0;
        let other_mount = knows_mounts && found.stx_mnt_id != self.root.stx_mnt_id;
        // Files of an overlay may show the device of a lower layer: only directories tell.
        let is_directory = entry::kind(found) == Kind::Directory;
        other_mount || (is_directory && device(found) != device(&self.root))
    }

    /// A mount point keeps its name, and the number that this file system lists for it: the other one's would collide (R24).
    fn foreign(&mut self, directory: u64, name: &[u8], listed: u64, found: &Statx) -> Result<(), Error> {
        self.name(directory, name, listed)?;
        let inode = entry::covered(listed, entry::kind(found) == Kind::Directory);
        self.emit(ScanEvent::Inode(Box::new(inode)))?;
        self.summary.mount_points.push(self.path(name));
        let detail = match self.options.cross_file_systems {
            true => "another file system begins here; it is a volume of its own",
            false => "another file system begins here; not entered",
        };
        self.say(
            Severity::Info,
            FindingCode::OtherFileSystem,
            listed,
            detail.to_owned(),
        )
    }

    /// The path of an entry of the current directory, relative to the root.
    fn path(&self, name: &[u8]) -> Vec<u8> {
        let above = self.levels.iter().skip(1).map(|level| level.name.as_slice());
        above.chain([name]).collect::<Vec<_>>().join(&b'/')
    }
}

fn is_self_or_parent(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

/// What kind of finding an error is.
fn code(error: Errno) -> FindingCode {
    match error {
        Errno::ACCESS | Errno::PERM => FindingCode::Denied,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE => FindingCode::Changed,
        _ => FindingCode::Io,
    }
}
