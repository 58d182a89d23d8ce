//! Which directory of the world is it? The root of a directory medium, as evidence of its identity and as whoever opens it again meets it.
//!
//! A directory is recognised as a known medium ([`recognise`](super::recognise)) only by everything that is recorded of its root, because the wrong answer would put two
//! media together. Whether the directory at the place of a known medium can be that medium is another question: its place is on record, and what a host says of a
//! directory depends on the host. Numbers of file systems are made from numbers of devices by many of them, and a directory that is seen over a network is on
//! another type of file system, whose server may not tell when it was made. What stays is the inode number, by which files are known too: a file is read only
//! if it still has the number that was scanned. So another number means another directory; so does another time of birth, if both were told by the same type of file
//! system.

use std::fmt;
use std::fs::File;
use std::path::Path;

use rustix::fs::{AtFlags, StatxFlags};

use crate::Error;

/// What is known of a directory that is the root of a medium.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Root {
    /// The type of the file system, as the system numbers types, in hexadecimal.
    kind: String,
    /// The number of the file system.
    file_system: String,
    inode: u64,
    /// Seconds and nanoseconds.
    born: String,
}

/// The birth of what was never told when it was born.
const UNKNOWN_BIRTH: &str = "0.000000000";

impl Root {
    /// The directory that is at `path` now.
    pub(crate) fn at(path: &Path) -> Result<Self, Error> {
        let io = |error: rustix::io::Errno| Error::io("identifying the directory", path)(error.into());
        let directory = File::open(path).map_err(Error::io("opening the directory", path))?;
        let statfs = rustix::fs::fstatfs(&directory).map_err(io)?;
        let statx = rustix::fs::statx(&directory, "", AtFlags::EMPTY_PATH, StatxFlags::ALL).map_err(io)?;
        let file_system = format!("{:?}", statfs.f_fsid);
        let born = statx.stx_btime;
        Ok(Self {
            kind: format!("{:x}", statfs.f_type),
            file_system: file_system.replace(|byte: char| !byte.is_ascii_alphanumeric(), ""),
            inode: statx.stx_ino,
            born: format!("{}.{:09}", born.tv_sec, born.tv_nsec),
        })
    }

    /// From the evidence that it became; `None` if that has another form.
    fn parse(evidence: &str) -> Option<Self> {
        let mut words = evidence.split(' ');
        let mut after = |name: &str| (words.next() == Some(name)).then(|| words.next()).flatten();
        Some(Self {
            kind: after("type")?.to_owned(),
            file_system: after("id")?.to_owned(),
            inode: after("inode")?.parse().ok()?,
            born: after("born")?.to_owned(),
        })
    }

    /// Whether this can be the directory that was recorded as `evidence`. What has a form that is not known says nothing against it.
    pub(crate) fn can_be(&self, evidence: &str) -> bool {
        let Some(known) = Self::parse(evidence) else {
            return true;
        };
        let is_told =
            known.kind == self.kind && ![&known.born, &self.born].contains(&&UNKNOWN_BIRTH.to_owned());
        known.inode == self.inode && (!is_told || known.born == self.born)
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            file_system,
            inode,
            born,
        } = self;
        write!(f, "type {kind} id {file_system} inode {inode} born {born}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &str = "type ef53 id FsidT12 inode 77 born 1700000000.000000123";

    fn is_taken(now: &str) -> bool {
        Root::parse(now).expect("a root").can_be(KNOWN)
    }

    #[test]
    fn evidence_is_read_as_it_was_written() {
        let here = Root::at(Path::new("/")).expect("a root");
        assert_eq!(Root::parse(&here.to_string()).as_ref(), Some(&here));
        assert!(here.can_be(&here.to_string()) && here.can_be("a form of another version"));
    }

    /// R34: what another host says of the same directory is no reason to refuse it there.
    #[test]
    fn r34_the_same_directory_is_taken_on_another_host() {
        assert!(is_taken(KNOWN));
        assert!(
            is_taken("type ef53 id FsidT99 inode 77 born 1700000000.000000123"),
            "another device"
        );
        assert!(is_taken("type 6969 id FsidT00 inode 77 born 0.000000000"), "NFS");
        assert!(
            is_taken("type ff534d42 id FsidT1 inode 77 born 1700000000.000000100"),
            "CIFS, in steps of 100 ns"
        );
    }

    /// R33: another directory in its place is refused.
    #[test]
    fn r33_another_directory_is_not_taken() {
        assert!(!is_taken(
            "type ef53 id FsidT12 inode 78 born 1700000000.000000123"
        ));
        assert!(!is_taken("type 6969 id FsidT00 inode 78 born 0.000000000"));
        assert!(
            !is_taken("type ef53 id FsidT12 inode 77 born 1700000001.000000123"),
            "the root of another disk"
        );
    }
}
