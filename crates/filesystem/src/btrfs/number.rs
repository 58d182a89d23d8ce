//! Inode numbers of a scan. Every subvolume of btrfs counts its inodes for itself, so the two numbers are packed into one.
//!
//! ```text
//! bit  62  61..40     39..0
//!       0  subvolume  inode        an inode; the top-level subvolume (5) is 0 here, so that its inodes have the numbers that `ls -i` shows
//!       1  subvolume  subvolume    the empty directory that stands in a snapshot for a subvolume (second number) which the snapshot did not take in
//!       1  subvolume  0            the made-up directory of what has no name in the subvolume
//!       1  2^22 - 1   count        the made-up directories of subvolumes that have no place
//! ```

use super::key::object;

const INODE_BITS: u32 = 40;
const SUBVOLUMES: u64 = 1 << 22;
const MADE_UP: u64 = 1 << 62;

/// The number of a thing; `None` if one of the two is too large.
fn pack(subvolume: u64, low: u64) -> Option<u64> {
    let subvolume = if subvolume == object::FS_TREE {
        0
    } else {
        subvolume
    };
    let fits = subvolume < SUBVOLUMES.saturating_sub(1) && low >> INODE_BITS == 0;
    fits.then(|| subvolume.rotate_left(INODE_BITS) | low)
}

/// The number of an inode.
pub(super) fn inode(subvolume: u64, inode: u64) -> Option<u64> {
    pack(subvolume, inode)
}

/// The number of the directory that stands in for a subvolume.
pub(super) fn stand_in(subvolume: u64, child: u64) -> Option<u64> {
    Some(pack(subvolume, child)? | MADE_UP)
}

/// The number of the directory of what has no name in a subvolume.
pub(super) fn lost(subvolume: u64) -> Option<u64> {
    stand_in(subvolume, 0)
}

/// The number of the `count`th directory of subvolumes that have no place.
pub(super) fn lost_subvolumes(count: u64) -> u64 {
    let low = count & 1_u64.rotate_left(INODE_BITS).saturating_sub(1);
    MADE_UP | SUBVOLUMES.saturating_sub(1).rotate_left(INODE_BITS) | low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_below_2_to_the_63() {
        assert_eq!(inode(5, 256), Some(256));
        assert_eq!(inode(256, 256), Some((256 << 40) | 256));
        assert_eq!(inode(1 << 22, 256), None);
        assert_eq!(inode(256, 1 << 40), None);
        let numbers = [
            inode(5, 256),
            inode(256, 256),
            stand_in(256, 256),
            lost(5),
            lost(256),
            Some(lost_subvolumes(0)),
            Some(lost_subvolumes(1)),
        ];
        let unique: std::collections::BTreeSet<_> = numbers.iter().flatten().collect();
        assert_eq!(unique.len(), numbers.len());
        assert!(unique.iter().all(|number| **number < 1 << 63));
    }
}
