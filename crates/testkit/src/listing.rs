//! What a reader lists, in a form that can be compared with what a referee lists.

use std::collections::BTreeMap;
use std::convert::Infallible;

use ntt_codec::read_stream;
use ntt_filesystem::{FileSystem, ScanOptions};
use ntt_model::entry::{Allocation, Inode};
use ntt_model::{BlobHash, Finding, Kind, ScanEvent};
use ntt_source::ReadAt;
use ntt_source::extents::Piece;

/// Everything a scan said, gathered by path.
#[derive(Debug, Default)]
pub struct Listing {
    /// Every name, by full path relative to the root, in the order of the scan.
    pub names: Vec<ListedName>,
    /// Every inode by number.
    pub inodes: BTreeMap<u64, Inode>,
    /// Every finding.
    pub findings: Vec<Finding>,
    /// All events, for comparing two scans.
    pub events: Vec<ScanEvent>,
}

/// One name of a [`Listing`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedName {
    /// Full path relative to the root, names joined by `/`.
    pub path: Vec<u8>,
    /// The event.
    pub name: ntt_model::entry::Name,
}

impl Listing {
    /// Scans a whole file system.
    ///
    /// # Panics
    ///
    /// If the scan fails, or breaks the contract of [`ntt_model::entry`]: a name outside the directory entered last, a directory
    /// before its parent, an inode twice.
    pub fn of(file_system: &dyn FileSystem, options: &ScanOptions) -> Self {
        let mut listing = Self::default();
        let mut paths: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut current = None;
        let mut visit = |event: ScanEvent| {
            listing.events.push(event.clone());
            match event {
                ScanEvent::Directory(directory) => {
                    let path = match directory.parent {
                        Some(parent) => join(&paths[&parent], &directory.name),
                        None => Vec::new(),
                    };
                    current = Some(directory.inode);
                    assert!(
                        paths.insert(directory.inode, path).is_none(),
                        "directory {} twice",
                        directory.inode
                    );
                }
                ScanEvent::Name(name) => {
                    assert_eq!(
                        Some(name.directory),
                        current,
                        "a name outside the directory entered last"
                    );
                    assert!(!name.name.is_empty() && !name.name.iter().any(|byte| matches!(byte, b'/' | 0)));
                    let path = join(&paths[&name.directory], &name.name);
                    listing.names.push(ListedName { path, name });
                }
                ScanEvent::Inode(inode) => {
                    assert!(
                        inode.kind != Kind::File || inode.data().is_some(),
                        "file without a data stream"
                    );
                    let number = inode.number;
                    assert!(
                        listing.inodes.insert(number, *inode).is_none(),
                        "inode {number} twice"
                    );
                }
                ScanEvent::Finding(finding) => listing.findings.push(finding),
            }
            Ok(())
        };
        file_system.scan(options, &mut visit).expect("the scan ends");
        listing
    }

    /// The allocated, preferred names of regular files with the BLAKE3 of what they hold.
    ///
    /// # Panics
    ///
    /// If a name points to an inode that the scan did not emit.
    pub fn contents(&self, image: &dyn ReadAt) -> BTreeMap<Vec<u8>, BlobHash> {
        self.preferred()
            .filter_map(|listed| {
                let inode = &self.inodes[&listed.name.inode];
                (inode.kind == Kind::File).then(|| (listed.path.clone(), content_hash(image, inode)))
            })
            .collect()
    }

    /// Names that are allocated and no alternates.
    pub fn preferred(&self) -> impl Iterator<Item = &ListedName> {
        self.names
            .iter()
            .filter(|listed| !listed.name.alternate && listed.name.allocation == Allocation::Allocated)
    }
}

/// BLAKE3 of an inode's data stream, read through its extents, and decoded if it is packed.
///
/// # Panics
///
/// If the inode has no data stream.
pub fn content_hash(image: &dyn ReadAt, inode: &Inode) -> BlobHash {
    let mut hasher = blake3::Hasher::new();
    let zeros = [0; 65536];
    let outcome = read_stream::<Infallible>(image, inode.data().expect("a data stream"), &mut |piece| {
        match piece {
            Piece::Bytes(bytes) => {
                hasher.update(bytes);
            }
            Piece::Zeros(mut len) => {
                while len > 0 {
                    let step = len.min(65536);
                    hasher.update(&zeros[..usize::try_from(step).expect("small")]);
                    len -= step;
                }
            }
        }
        Ok(())
    });
    outcome.unwrap_or_else(|never| match never {});
    BlobHash::from_bytes(*hasher.finalize().as_bytes())
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        return name.to_vec();
    }
    [parent, b"/", name].concat()
}
