//! From what the kernel says of a file to an inode.

use ntt_model::entry::{Allocation, Encoding, Inode, Stream, StreamKind, Xattr};
use ntt_model::time::Times;
use ntt_model::{Kind, Timestamp};
use rustix::fs::{Statx, StatxFlags, StatxTimestamp};

/// The inode number as it is kept. Network and union file systems give numbers of 64 bits, made of digests or with a layer in the highest bits; kept are
/// those of 63 ([`Inode::NUMBERS`]). The others are mixed, always alike: to clear the highest bit would let the layers collide.
pub(super) const fn number(of_host: u64) -> u64 {
    if of_host < Inode::NUMBERS {
        return of_host;
    }
    // The last step of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014), which loses nothing.
    let mixed = (of_host ^ (of_host >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % Inode::NUMBERS
}

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
        number: number(status.stx_ino),
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

/// Whether a time of it is none that can be kept.
pub(super) fn has_bad_time(status: &Statx) -> bool {
    let has_birth = status.stx_mask & StatxFlags::BTIME.bits() != 0;
    let always = [status.stx_mtime, status.stx_atime, status.stx_ctime];
    let birth = has_birth.then_some(status.stx_btime);
    always.into_iter().chain(birth).any(|one| time(one).is_none())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A file system with such numbers could not be taken in at all.
    #[test]
    fn r24_numbers_of_64_bits_are_kept_apart_in_63() {
        assert_eq!(number(0), 0);
        assert_eq!(number(Inode::NUMBERS - 1), Inode::NUMBERS - 1);
        // Layers of an overlay, told by the highest bits, with the same numbers in each.
        let layers = (0..4_u64).flat_map(|layer| (1..1000).map(move |inode| number(layer << 62 | inode)));
        let mut numbers: Vec<_> = layers.collect();
        assert!(numbers.iter().all(|number| *number < Inode::NUMBERS));
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 4 * 999);
    }
}
