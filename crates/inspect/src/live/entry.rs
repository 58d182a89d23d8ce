//! From what the kernel says of a file to an inode.

use ntt_model::entry::{Allocation, Encoding, Inode, Stream, StreamKind, Xattr};
use ntt_model::time::Times;
use ntt_model::{Kind, Timestamp};
use rustix::fs::{Statx, StatxFlags, StatxTimestamp};

pub(super) fn kind(status: &Statx) -> Kind {
    Kind::of_mode(status.stx_mode.into())
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
    let is_device = kind.is_device();
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

/// What this file system lists where another is mounted: a number and perhaps a kind, nothing of the file system on top.
pub(super) fn covered(number: u64, is_directory: bool) -> Inode {
    let kind = if is_directory {
        Kind::Directory
    } else {
        Kind::Unknown
    };
    Inode::bare(number, kind)
}
