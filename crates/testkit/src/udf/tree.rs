//! What an image holds.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A part of a file's content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// Recorded bytes.
    Bytes(Vec<u8>),
    /// So many blocks that are not allocated.
    Hole(u32),
    /// So many blocks that are allocated and not recorded.
    Unwritten(u32),
}

/// What an entry is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A file; all pieces but the last are whole blocks.
    File(Vec<Piece>),
    /// A directory.
    Directory(Vec<Node>),
    /// A symbolic link.
    Symlink(String),
    /// A named pipe.
    Fifo,
    /// A character device.
    Device(u32, u32),
    /// Another name of the file whose first name is this.
    Link(String),
}

/// An entry of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// UTF-16.
    pub name: Vec<u16>,
    /// What it is.
    pub kind: Kind,
    /// Named streams.
    pub streams: Vec<(String, Vec<u8>)>,
    /// Implementation use attributes: identifier and value.
    pub attributes: Vec<(String, Vec<u8>)>,
    /// Whether the name was deleted.
    pub deleted: bool,
    /// Last change of the content, in seconds since 1970.
    pub modified: i64,
}

/// 2008-04-15 12:34:56 UTC.
const MODIFIED: i64 = 1_208_262_896;

impl Node {
    /// An entry without streams and attributes.
    pub fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.encode_utf16().collect(),
            kind,
            streams: Vec::new(),
            attributes: Vec::new(),
            deleted: false,
            modified: MODIFIED,
        }
    }

    /// A file.
    pub fn file(name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(name, Kind::File(vec![Piece::Bytes(bytes.into())]))
    }

    /// What a folder of the host holds: files, directories, symbolic links and pipes, in the order of their names.
    ///
    /// # Panics
    ///
    /// If it cannot be read, holds anything else, or names are no UTF-8.
    pub fn of_folder(folder: &Path) -> Vec<Self> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        paths.iter().map(|path| Self::of_path(path)).collect()
    }

    fn of_path(path: &Path) -> Self {
        let name = path.file_name().and_then(OsStr::to_str).expect("a name in UTF-8");
        let metadata = fs::symlink_metadata(path).expect("metadata");
        let kind = match metadata.file_type() {
            kind if kind.is_dir() => Kind::Directory(Self::of_folder(path)),
            kind if kind.is_symlink() => {
                let target = fs::read_link(path).expect("a link");
                Kind::Symlink(target.to_str().expect("a target in UTF-8").to_owned())
            }
            kind if kind.is_fifo() => Kind::Fifo,
            _ => Kind::File(vec![Piece::Bytes(fs::read(path).expect("a file"))]),
        };
        Self {
            modified: metadata.mtime(),
            ..Self::new(name, kind)
        }
    }

    /// A directory.
    pub fn directory(name: &str, nodes: Vec<Self>) -> Self {
        Self::new(name, Kind::Directory(nodes))
    }
}

/// Bytes that differ from those of any other seed.
fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(len)
    .collect()
}

/// A tree with about so many files in one directory, and one of everything else; `block_bytes` is the size of the blocks of holes.
pub fn corpus(many: u32, block_bytes: u32) -> Vec<Node> {
    let block = usize::try_from(block_bytes).expect("small");
    let small = |index: u32| {
        let len = usize::try_from(index * 37 % 5000).expect("small");
        Node::file(&format!("file {index:05}.txt"), noise(index, len))
    };
    let sparse = vec![
        Piece::Bytes(noise(1001, block * 3)),
        Piece::Hole(5),
        Piece::Bytes(noise(1002, block)),
        Piece::Unwritten(2),
        Piece::Bytes(noise(1003, 777)),
    ];
    let mut gone = Node::file("deleted.txt", noise(1004, 3000));
    gone.deleted = true;
    let mut mac = Node::file("Mac file", noise(1005, 4000));
    mac.streams = vec![
        ("*UDF Macintosh Resource Fork".to_owned(), noise(1006, 6000)),
        ("other stream".to_owned(), noise(1007, 10)),
    ];
    mac.attributes = vec![("*UDF Mac FinderInfo".to_owned(), (0..48).collect())];
    let deep = (0..40).rfold(vec![Node::file("bottom", b"x".as_slice())], |below, level| {
        vec![Node::directory(&format!("level {level}"), below)]
    });
    vec![
        Node::directory("many", (0..many).map(small).collect()),
        Node::directory("deep", deep),
        Node::directory("empty directory", Vec::new()),
        Node::directory("names", odd_names()),
        Node::file("empty", b"".as_slice()),
        Node::file("large", noise(1008, 300_000)),
        Node::new("sparse", Kind::File(sparse)),
        gone,
        mac,
        Node::new("symlink", Kind::Symlink("../many/file 00001.txt".to_owned())),
        Node::new("rooted", Kind::Symlink("/etc/\u{20ac}".to_owned())),
        Node::new("pipe", Kind::Fifo),
        Node::new("null", Kind::Device(1, 3)),
        Node::file("first name", noise(1009, 5000)),
        Node::new("second name", Kind::Link("first name".to_owned())),
    ]
}

/// The same without what 7z cannot read: it refuses a volume with anything but files and directories.
pub fn plain_corpus(many: u32, block_bytes: u32) -> Vec<Node> {
    let is_plain = |node: &Node| {
        matches!(&node.kind, Kind::Directory(_) | Kind::File(_)) && !node.deleted && node.streams.is_empty()
    };
    let mut nodes = corpus(many, block_bytes);
    nodes.retain(|node| is_plain(node) && node.name != "sparse".encode_utf16().collect::<Vec<_>>());
    nodes
}

fn odd_names() -> Vec<Node> {
    let long_narrow = "n".repeat(254);
    let long_wide = "\u{4e2d}".repeat(127);
    let names = [
        " leading and trailing ",
        "caf\u{e9}",
        "\u{20ac}uro \u{1f600}",
        "back\\slash:colon",
        "new\nline",
        "*UDF like",
        "#hash",
        &long_narrow,
        &long_wide,
    ];
    let mut nodes: Vec<Node> = names
        .iter()
        .zip(2000..)
        .map(|(name, seed)| Node::file(name, noise(seed, 100)))
        .collect();
    let mut lone = Node::file("", noise(2100, 100));
    lone.name = vec![0x61, 0xd800, 0x62];
    nodes.push(lone);
    nodes
}
