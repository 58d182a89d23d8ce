//! What a tree holds, whoever says so: the maker of the files, a reader of ours, a referee.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use ntt_codec::read_stream;
use ntt_model::Kind;
use ntt_model::entry::{Encoding, Inode, Stream, StreamKind};
use ntt_source::ReadAt;
use ntt_source::extents::Piece;
use sha2::{Digest, Sha256};

use crate::listing::Listing;

/// SHA-256 of a content: not the hash that the product uses, so that an error of that one would show.
pub type Sum = [u8; 32];

/// Streams that claim more than this are not read: damage makes sizes of any magnitude.
pub const READ_BYTES_MAX: u64 = 1 << 30;

/// One path of a tree, or one further stream of it. What a side does not tell is `None`, and is not compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Entry {
    /// Full path relative to the root, names joined by `/`.
    pub path: Vec<u8>,
    /// Name of a fork, alternate stream or attribute; `None` for the entry itself with its data.
    pub stream: Option<Vec<u8>>,
    /// What it is.
    pub kind: Option<Kind>,
    /// Length of a file or stream.
    pub size_bytes: Option<u64>,
    /// Last change of the content, in whole seconds since 1970.
    pub modified: Option<i64>,
    /// Target of a symbolic link.
    pub target: Option<Vec<u8>>,
    /// SHA-256 of the whole content; `None` too if any of it is missing.
    pub content: Option<Sum>,
}

/// The entries of a tree, in any order; a path may stand twice in a damaged one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// The entries.
    pub entries: Vec<Entry>,
}

impl Tree {
    /// What a scan of ours listed: preferred, allocated names, with every stream read through its extents.
    ///
    /// # Panics
    ///
    /// If a name of the listing leads to an inode that was not emitted, unless a finding was made: damage may have taken it.
    pub fn of_listing(listing: &Listing, image: &dyn ReadAt) -> Self {
        let mut read = BTreeMap::new();
        let mut entries = Vec::new();
        for listed in listing.preferred() {
            let Some(inode) = listing.inodes.get(&listed.name.inode) else {
                assert!(
                    !listing.findings.is_empty(),
                    "a name without its inode, and nothing is said"
                );
                entries.push(Entry {
                    path: listed.path.clone(),
                    ..Entry::default()
                });
                continue;
            };
            let own = read.entry(inode.number).or_insert_with(|| of_inode(inode, image));
            entries.extend(own.iter().cloned().map(|entry| Entry {
                path: listed.path.clone(),
                ..entry
            }));
        }
        Self { entries }
    }

    /// What lies below a folder of the host: what a referee took out of an image, or a mounted one.
    ///
    /// # Panics
    ///
    /// If the folder itself cannot be read. What cannot be read below it has no content.
    pub fn of_folder(root: &Path) -> Self {
        let mut entries = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            let Ok(listed) = fs::read_dir(&folder) else {
                assert_ne!(folder, root, "the folder can be read");
                continue;
            };
            for path in listed.filter_map(|entry| Some(entry.ok()?.path())) {
                let entry = of_path(root, &path);
                if entry.kind == Some(Kind::Directory) {
                    folders.push(path);
                }
                entries.push(entry);
            }
        }
        Self { entries }
    }

    /// The entries by path and stream; of several with one path the first.
    pub fn by_path(&self) -> BTreeMap<(&[u8], Option<&[u8]>), &Entry> {
        let mut map = BTreeMap::new();
        for entry in &self.entries {
            map.entry((&entry.path[..], entry.stream.as_deref()))
                .or_insert(entry);
        }
        map
    }

    /// The contents of its files that are not empty.
    pub fn contents(&self) -> BTreeSet<Sum> {
        self.files().map(|(sum, _)| sum).collect()
    }

    /// The contents of its files that are not empty, each with the last part of its path.
    pub fn named_contents(&self) -> BTreeSet<(Sum, &[u8])> {
        self.files().collect()
    }

    fn files(&self) -> impl Iterator<Item = (Sum, &[u8])> {
        self.entries
            .iter()
            .filter(|entry| entry.size_bytes != Some(0))
            .filter_map(|entry| Some((entry.content?, last_name(&entry.path))))
    }

    /// Sum of the lengths of all contents that are told.
    pub fn content_bytes(&self) -> u64 {
        let told = self.entries.iter().filter(|entry| entry.content.is_some());
        told.filter_map(|entry| entry.size_bytes).sum()
    }

    /// The same without what `forget` takes out of each entry: a maker that keeps no times, a format without them.
    #[must_use]
    pub fn without(mut self, forget: impl Fn(&mut Entry)) -> Self {
        self.entries.iter_mut().for_each(forget);
        self
    }

    /// The same without the entries that `is_foreign` picks: what a tool adds of its own.
    #[must_use]
    pub fn except(mut self, is_foreign: impl Fn(&Entry) -> bool) -> Self {
        self.entries.retain(|entry| !is_foreign(entry));
        self
    }
}

fn last_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// An entry for the inode and one for each further stream, without their path.
fn of_inode(inode: &Inode, image: &dyn ReadAt) -> Vec<Entry> {
    let data = inode.data().filter(|_| inode.kind == Kind::File);
    let main = Entry {
        kind: Some(inode.kind),
        size_bytes: data.map(|stream| stream.size_bytes),
        modified: inode.times.modified.map(|time| time.to_parts().0),
        target: inode.target.clone(),
        content: data.and_then(|stream| stream_sum(image, stream)),
        ..Entry::default()
    };
    let named = inode.streams.iter().filter_map(|stream| {
        let (StreamKind::Named(name) | StreamKind::Xattr(name)) = &stream.kind else {
            return None;
        };
        Some(Entry {
            stream: Some(name.clone()),
            size_bytes: Some(stream.size_bytes),
            content: stream_sum(image, stream),
            ..Entry::default()
        })
    });
    std::iter::once(main).chain(named).collect()
}

/// SHA-256 of a stream, read through its extents, and decoded if it is packed; `None` if any of it is missing or cannot be decoded.
pub fn stream_sum(image: &dyn ReadAt, stream: &Stream) -> Option<Sum> {
    let is_read = matches!(stream.encoding, Encoding::Plain | Encoding::Packed(_));
    if !is_read || stream.size_bytes > READ_BYTES_MAX {
        return None;
    }
    let mut hasher = Sha256::new();
    let zeros = [0; 65536];
    let missing = read_stream::<Infallible>(image, stream, &mut |piece| {
        match piece {
            Piece::Bytes(bytes) => hasher.update(bytes),
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
    let missing = missing.unwrap_or_else(|never| match never {});
    missing.ranges.is_empty().then(|| hasher.finalize().into())
}

/// SHA-256 of some bytes.
pub fn sum_of(content: &[u8]) -> Sum {
    Sha256::digest(content).into()
}

fn of_path(root: &Path, path: &Path) -> Entry {
    let mut entry = Entry {
        path: path
            .strip_prefix(root)
            .expect("below the root")
            .as_os_str()
            .as_bytes()
            .to_vec(),
        ..Entry::default()
    };
    let Ok(metadata) = path.symlink_metadata() else {
        return entry;
    };
    let kind = kind_of(metadata.file_type());
    entry.kind = Some(kind);
    entry.modified = Some(metadata.mtime());
    if kind == Kind::File {
        entry.size_bytes = Some(metadata.len());
        entry.content = file_sum(path).ok();
    }
    if kind == Kind::Symlink {
        entry.target = fs::read_link(path)
            .ok()
            .map(PathBuf::into_os_string)
            .map(|target| target.as_bytes().to_vec());
    }
    entry
}

fn kind_of(file_type: fs::FileType) -> Kind {
    let kinds = [
        (file_type.is_dir(), Kind::Directory),
        (file_type.is_symlink(), Kind::Symlink),
        (file_type.is_fifo(), Kind::Fifo),
        (file_type.is_socket(), Kind::Socket),
        (file_type.is_char_device(), Kind::CharDevice),
        (file_type.is_block_device(), Kind::BlockDevice),
        (file_type.is_file(), Kind::File),
    ];
    kinds
        .into_iter()
        .find(|(is_it, _)| *is_it)
        .map_or(Kind::Unknown, |(_, kind)| kind)
}

fn file_sum(path: &Path) -> io::Result<Sum> {
    let mut file = fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            len => hasher.update(&buffer[..len]),
        }
    }
}
