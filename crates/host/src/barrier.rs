//! One sync for many files.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FsWord, fstatfs, syncfs};

use crate::Barrier;

/// Magic numbers (Linux, `include/uapi/linux/magic.h`) of the file systems whose `syncfs` does for every file what `fsync` does for one.
/// Others may leave the last step out: a FUSE file system is not even told.
const KNOWN: [FsWord; 4] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0xf2f5_2010, // F2FS
];
/// The first Linux whose `syncfs` reports that something could not be written.
const REPORTS_ERRORS: (u32, u32) = (5, 8);

/// `syncfs` through a descriptor that is older than the writes, so that it reports their errors.
#[derive(Debug)]
struct WholeFileSystem(File);

impl Barrier for WholeFileSystem {
    fn sync_all(&mut self) -> io::Result<()> {
        Ok(syncfs(&self.0)?)
    }
}

/// A barrier for the file system that `directory` lies on, if it can be trusted.
pub(crate) fn open(directory: &Path) -> io::Result<Option<Box<dyn Barrier>>> {
    let directory = File::open(directory)?;
    let is_known = KNOWN.contains(&fstatfs(&directory)?.f_type);
    if is_known && kernel_version().is_some_and(|version| version >= REPORTS_ERRORS) {
        return Ok(Some(Box::new(WholeFileSystem(directory))));
    }
    Ok(None)
}

fn kernel_version() -> Option<(u32, u32)> {
    version_of(rustix::system::uname().release().to_str().ok()?)
}

fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_first_two_numbers() {
        assert_eq!(version_of("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(version_of("5.8-rc1"), Some((5, 8)));
        assert_eq!(version_of("none"), None);
        assert!(version_of("4.19.0") < Some(REPORTS_ERRORS));
    }

    #[test]
    fn a_barrier_where_there_is_one_syncs() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        match open(dir.path())? {
            Some(mut barrier) => barrier.sync_all(),
            None => Ok(()),
        }
    }
}
