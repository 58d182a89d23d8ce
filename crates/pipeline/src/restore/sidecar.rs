//! Forks and alternate streams as files of their own beside the file that they belong to: a directory of the host has no other place for them.
//!
//! A resource fork stands in `._NAME` with the Finder information, as macOS writes it on file systems without forks: AppleDouble version 2 ("AppleSingle/
//! AppleDouble Formats for Foreign Files Developer's Note", 1990; RFC 1740, appendices A and B). Any other stream stands in `NAME:STREAM`, byte for byte.

use std::fs::File;
use std::io::{self, Read};

use ntt_catalogue::Catalogue;
use ntt_model::entry::{Inode, StreamKind};
use ntt_model::name::escape;
use ntt_model::{BlobHash, ScanId};

use super::content::{content_of, damage_of};
use crate::{Error, Interrupt, digest};

/// The attribute that holds what the Finder knows of a file.
const FINDER_INFO: &[u8] = b"com.apple.FinderInfo";
const MAGIC: u32 = 0x0005_1607;
const VERSION: u32 = 0x0002_0000;
/// Magic, version, 16 bytes that mean nothing, number of entries.
const HEADER_BYTES: u32 = 26;
/// Identifier, offset, length.
const ENTRY_BYTES: u32 = 12;
const RESOURCE_FORK: u32 = 2;
const FINDER: u32 = 9;

/// A stream as a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sidecar {
    /// The file's name.
    pub(crate) name: Vec<u8>,
    /// What stands before the stream.
    pub(crate) head: Vec<u8>,
    /// The stream's content.
    pub(crate) blob: BlobHash,
    /// What is missing of it, in words.
    pub(crate) damage: Option<String>,
}

/// A stream that cannot be a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unplaced {
    /// The stream's name.
    pub(crate) stream: Vec<u8>,
    /// Why not.
    pub(crate) problem: String,
}

/// The sidecars of an inode under one of its names.
///
/// # Errors
///
/// When the catalogue fails.
pub(crate) fn sidecars(
    catalogue: &dyn Catalogue,
    scan: ScanId,
    name: &[u8],
    inode: &Inode,
) -> Result<Vec<Result<Sidecar, Unplaced>>, Error> {
    let states = catalogue.stream_states(scan, inode.number)?;
    let each = states.iter().filter_map(|state| {
        let StreamKind::Named(stream) = &state.kind else {
            return None;
        };
        let sidecar = content_of(state).and_then(|blob| {
            let (file_name, head) = match state.kind == StreamKind::resource_fork() {
                true => ([b"._", name].concat(), apple_double(inode, state.size_bytes)?),
                false => ([name, b":", stream].concat(), Vec::new()),
            };
            if !ntt_model::name::can_stand_in_path(&file_name) {
                return Err(format!("`{}` is no name for a file", escape(&file_name)));
            }
            Ok(Sidecar {
                name: file_name,
                head,
                blob,
                damage: damage_of(state),
            })
        });
        let unplaced = |problem| Unplaced {
            stream: stream.clone(),
            problem,
        };
        Some(sidecar.map_err(unplaced))
    });
    Ok(each.collect())
}

impl Sidecar {
    /// Whether a file, read from its beginning to its end, is this one. The outer error is an interruption, the inner one the file's.
    pub(crate) fn is_in(
        &self,
        mut file: &File,
        interrupt: &Interrupt,
        read: impl FnMut(u64),
    ) -> Result<io::Result<bool>, Error> {
        let mut head = vec![0; self.head.len()];
        match file.read_exact(&mut head) {
            Ok(()) if head == self.head => {}
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Ok(Err(error)),
            _ => return Ok(Ok(false)),
        }
        let rest = digest::of_file(file, interrupt, read)?;
        Ok(rest.map(|rest| rest == self.blob))
    }
}

/// What stands before a resource fork: the header, and the Finder information if there is some.
fn apple_double(inode: &Inode, fork_bytes: u64) -> Result<Vec<u8>, String> {
    let fork_bytes =
        u32::try_from(fork_bytes).map_err(|_| "AppleDouble takes forks of less than 4 GiB".to_owned())?;
    let finder = inode.xattrs.iter().find(|xattr| xattr.name == FINDER_INFO);
    let finder = finder.map_or(&[][..], |xattr| &xattr.value);
    let finder_bytes = u32::try_from(finder.len()).unwrap_or(0);
    let entries = 1 + u32::from(finder_bytes > 0);
    let first = HEADER_BYTES + entries * ENTRY_BYTES;
    let mut head = Vec::new();
    head.extend(MAGIC.to_be_bytes());
    head.extend(VERSION.to_be_bytes());
    head.extend([0; 16]);
    head.extend(u16::try_from(entries).unwrap_or(1).to_be_bytes());
    let mut entry = |identifier: u32, offset: u32, bytes: u32| {
        for field in [identifier, offset, bytes] {
            head.extend(field.to_be_bytes());
        }
    };
    if finder_bytes > 0 {
        entry(FINDER, first, finder_bytes);
    }
    entry(RESOURCE_FORK, first + finder_bytes, fork_bytes);
    head.extend(finder);
    Ok(head)
}

#[cfg(test)]
mod tests {
    use ntt_model::Kind;
    use ntt_model::entry::Xattr;

    use super::*;

    fn field(bytes: &[u8], at: usize) -> usize {
        let field = bytes[at..at + 4].try_into().expect("four bytes");
        usize::try_from(u32::from_be_bytes(field)).expect("small")
    }

    /// RFC 1740, appendix A: the entries say where everything stands, and nothing overlaps.
    #[test]
    fn r27_an_apple_double_head_says_where_everything_stands() {
        let mut inode = Inode::bare(5, Kind::File);
        let plain = apple_double(&inode, 7).expect("short");
        assert_eq!(plain[..8], [0, 5, 0x16, 7, 0, 2, 0, 0]);
        assert_eq!((plain[24], plain[25], plain.len()), (0, 1, 38));
        assert_eq!(
            [26, 30, 34].map(|at| field(&plain, at)),
            [2, 38, 7],
            "the fork comes next"
        );
        inode.xattrs.push(Xattr {
            name: FINDER_INFO.to_vec(),
            value: (0..32).collect(),
        });
        let both = apple_double(&inode, 7).expect("short");
        assert_eq!((both[25], both.len()), (2, 82));
        assert_eq!(
            [26, 30, 34, 38, 42, 46].map(|at| field(&both, at)),
            [9, 50, 32, 2, 82, 7]
        );
        assert_eq!(both[50..], (0..32).collect::<Vec<u8>>());
        assert!(apple_double(&inode, 1 << 32).is_err());
    }
}
