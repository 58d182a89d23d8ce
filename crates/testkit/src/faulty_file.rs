//! A faulty medium as a file: served through FUSE with direct I/O, so that each read arrives as it was asked for, and takes as long as the rules
//! say. A loop device over it is a true block device with bad sectors.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, ReplyOpen,
    Request,
};
use ntt_model::ByteRange;

use crate::faulty::FaultyMedium;

const TTL: Duration = Duration::from_secs(1);
const NAME: &str = "disk";
/// As file systems have them that make numbers from digests.
const DISK: INodeNo = INodeNo(1 << 63 | 2);

/// A mounted medium; unmounted when dropped.
#[derive(Debug)]
pub struct FaultyFile {
    path: PathBuf,
    medium: Arc<Mutex<FaultyMedium>>,
    session: Option<BackgroundSession>,
    _directory: tempfile::TempDir,
}

impl FaultyFile {
    /// Serves a medium; `None`, with a message, where FUSE is not to be had. With `timed` each read takes as long as the rules say.
    pub fn mount(medium: FaultyMedium, timed: bool) -> Option<Self> {
        match Self::try_mount(medium, timed) {
            Ok(file) => Some(file),
            Err(error) => {
                eprintln!("skipped: no FUSE here: {error}");
                None
            }
        }
    }

    fn try_mount(medium: FaultyMedium, timed: bool) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let medium = Arc::new(Mutex::new(medium));
        let server = Server {
            medium: Arc::clone(&medium),
            begin: Instant::now(),
            timed,
        };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::RO, MountOption::FSName("faulty".to_owned())];
        let session = fuser::spawn_mount(server, directory.path(), &config)?;
        Ok(Self {
            path: directory.path().join(NAME),
            medium,
            session: Some(session),
            _directory: directory,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The medium behind it.
    pub fn medium(&self) -> MutexGuard<'_, FaultyMedium> {
        self.medium.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FaultyFile {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.session.take().map(BackgroundSession::umount_and_join) {
            eprintln!("{}: {error}", self.path.display());
        }
    }
}

struct Server {
    medium: Arc<Mutex<FaultyMedium>>,
    begin: Instant,
    timed: bool,
}

impl Server {
    fn medium(&self) -> MutexGuard<'_, FaultyMedium> {
        self.medium.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let is_disk = inode == DISK;
        let size = if is_disk { self.medium().size_bytes() } else { 0 };
        FileAttr {
            ino: inode,
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_disk {
                FileType::RegularFile
            } else {
                FileType::Directory
            },
            perm: if is_disk { 0o444 } else { 0o755 },
            nlink: 1,
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            rdev: 0,
            flags: 0,
            blksize: 512,
        }
    }

    /// Reads as the medium does, and takes its time.
    fn read_medium(&self, offset: u64, size: u32) -> Result<Vec<u8>, i32> {
        let begin = Instant::now();
        let mut medium = self.medium();
        let len = u64::from(size).min(medium.size_bytes().saturating_sub(offset));
        let range = ByteRange::new(offset, len);
        let (result, latency) = medium.read(self.begin.elapsed(), range);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        if result.is_ok() {
            medium.content(offset, &mut bytes);
        }
        drop(medium);
        if self.timed {
            wait_until(begin + latency);
        }
        result.map(|()| bytes)
    }
}

/// Sleeping is late by some 0.1 ms: the last part is spun.
fn wait_until(end: Instant) {
    const SPUN: Duration = Duration::from_micros(150);
    if let Some(sleep) = end.saturating_duration_since(Instant::now()).checked_sub(SPUN) {
        std::thread::sleep(sleep);
    }
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent == INodeNo::ROOT && name == NAME {
            reply.entry(&TTL, &self.attributes(DISK), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attributes(inode));
    }

    fn readdir(&self, _: &Request, _: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        if offset == 0 {
            let _is_full = reply.add(DISK, 1, FileType::RegularFile, NAME);
        }
        reply.ok();
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.read_medium(offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(Errno::from_i32(errno)),
        }
    }
}
