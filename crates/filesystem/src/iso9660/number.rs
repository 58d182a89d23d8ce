//! Inode numbers: ISO 9660 has none, so they say where an entry stands (below 2^63, equal in every scan).
//!
//! A file has the volume offset of its first directory record, times two. A directory has the volume offset of its extent, times
//! two, plus one, so that all records that lead to it (in any tree) lead to one inode. Directories that the reader makes up
//! for what has lost its place start at 2^62.

/// Number of the first made-up directory.
const LOST: u64 = 1 << 62;

/// Number of the file whose record stands at `offset`.
pub(super) fn record(offset: u64) -> u64 {
    offset.min(LOST >> 2).wrapping_shl(1)
}

/// Number of the directory whose extent starts at `offset`.
pub(super) fn directory(offset: u64) -> u64 {
    record(offset) | 1
}

/// Number of the made-up directory for the lost directories of a tree.
pub(super) fn lost(tree: usize) -> u64 {
    LOST.saturating_add(u64::try_from(tree).unwrap_or(0))
}

/// The volume offset of the record of a file with that number.
pub(super) fn offset_of_record(number: u64) -> u64 {
    number >> 1
}
