//! From what the kernel says of a file to an inode.

use std::os::fd::{AsRawFd, OwnedFd};

use ntt_model::entry::{Allocation, Encoding, Inode, Stream, StreamKind, Xattr};
use ntt_model::time::Times;
use ntt_model::{Kind, Timestamp};
use rustix::fs::{FileType, Statx, StatxFlags, StatxTimestamp};

/// Largest value of an attribute that Linux takes.
const XATTR_BYTES_MAX: usize = 64 * 1024;

pub(super) fn kind(status: &Statx) -> Kind {
    match FileType::from_raw_mode(status.stx_mode.into()) {
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

pub(super) fn inode(status: &Statx, target: Option<Vec<u8>>, xattrs: Vec<Xattr>) -> Inode {
    let kind = kind(status);
    let data = Stream {
        kind: StreamKind::Data,
        size_bytes: status.stx_size,
        extents: Vec::new(),
        encoding: Encoding::Plain,
        extents_incomplete: false,
    };
    let is_device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
    Inode {
        number: status.stx_ino,
        generation: 0,
        kind,
        mode: Some(u32::from(status.stx_mode) & 0o7777),
        uid: Some(status.stx_uid),
        gid: Some(status.stx_gid),
        links: status.stx_nlink,
        times: times(status),
        target,
        device: is_device.then_some((status.stx_rdev_major, status.stx_rdev_minor)),
        flags: 0,
        streams: if kind == Kind::File {
            vec![data]
        } else {
            Vec::new()
        },
        xattrs,
        allocation: Allocation::Allocated,
    }
}

fn times(status: &Statx) -> Times {
    let has_birth = status.stx_mask & StatxFlags::BTIME.bits() != 0;
    Times {
        modified: time(status.stx_mtime),
        accessed: time(status.stx_atime),
        changed: time(status.stx_ctime),
        created: time(status.stx_btime).filter(|_| has_birth),
        deleted: None,
    }
}

fn time(time: StatxTimestamp) -> Option<Timestamp> {
    Timestamp::from_parts(time.tv_sec, time.tv_nsec)
}

/// The extended attributes of `name`; none where the file system or the host gives none.
pub(super) fn xattrs(parent: &OwnedFd, name: &[u8]) -> Vec<Xattr> {
    // There is no call relative to a directory before Linux 6.13; the path through /proc is one, and is short however deep the tree.
    let mut path = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    let path = path.as_slice();
    match rustix::fs::llistxattr(path, &mut [0_u8; 0][..]) {
        Ok(0) | Err(_) => return Vec::new(),
        Ok(_) => {}
    }
    let mut list = vec![0; XATTR_BYTES_MAX];
    let len = rustix::fs::llistxattr(path, &mut list[..]).unwrap_or(0);
    let names = list[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    names.filter_map(|name| xattr(path, name)).collect()
}

fn xattr(path: &[u8], name: &[u8]) -> Option<Xattr> {
    let mut value = vec![0; XATTR_BYTES_MAX];
    let len = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(len);
    Some(Xattr {
        name: name.to_vec(),
        value: value.into_boxed_slice().into_vec(),
    })
}
