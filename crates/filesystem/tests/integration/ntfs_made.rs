//! NTFS volumes made by `mkntfs` and filled through ntfs-3g, against what that shows: compression, streams, and every size of cluster.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ntt_filesystem::{ScanOptions, ntfs};
use ntt_model::entry::{Encoding, Inode, Stream, StreamKind};
use ntt_model::{BlobHash, Codec, Kind};
use ntt_source::extents::Piece;
use ntt_testkit::corpus::have;
use ntt_testkit::lab::make::{Mounted, run};
use ntt_testkit::listing::Listing;

use crate::fat_made::content;

/// What a mounted tree holds, by path: kind, and for files length and digest.
type Truth = BTreeMap<Vec<u8>, (Kind, u64, Option<BlobHash>)>;

/// An image filled through ntfs-3g, and what was in it then.
struct Made {
    bytes: Vec<u8>,
    truth: Truth,
}

impl Made {
    /// `None`, with a word on stderr, where there is no mkntfs, no ntfs-3g or no right to mount.
    fn new(size: u64, arguments: &[&str], fill: impl FnOnce(&Path)) -> Option<Self> {
        ["mkntfs", "ntfs-3g", "fusermount"]
            .iter()
            .all(|program| have(program))
            .then_some(())?;
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("image");
        fs::File::create(&path)
            .and_then(|file| file.set_len(size))
            .expect("a file");
        let fixed = ["-F", "-q", "-Q", "-L", "Žluť 日本"];
        let image = path.to_str().expect("a plain path");
        run("mkntfs", &[&fixed[..], arguments, &[image]].concat(), dir.path());
        let mounted = Mounted::ntfs_3g(&path, dir.path())?;
        fill(mounted.path());
        let truth = truth(mounted.path());
        drop(mounted);
        Some(Self {
            bytes: fs::read(&path).expect("the image"),
            truth,
        })
    }
}

fn truth(root: &Path) -> Truth {
    let mut truth = Truth::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let metadata = path.symlink_metadata().expect("metadata");
            let name = path
                .strip_prefix(root)
                .expect("inside")
                .as_os_str()
                .as_bytes()
                .to_vec();
            let kind = metadata.file_type();
            let seen = if kind.is_dir() {
                folders.push(path);
                (Kind::Directory, 0, None)
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).expect("a link");
                (
                    Kind::Symlink,
                    0,
                    Some(BlobHash::of(target.as_os_str().as_bytes())),
                )
            } else {
                let hash = BlobHash::of(&fs::read(&path).expect("content"));
                (Kind::File, metadata.len(), Some(hash))
            };
            truth.insert(name, seen);
        }
    }
    truth
}

/// What we list of an image, in the same form.
fn ours(image: &Vec<u8>, listing: &Listing) -> Truth {
    let seen = listing.preferred().map(|listed| {
        let inode = &listing.inodes[&listed.name.inode];
        let about = match inode.kind {
            Kind::File => {
                let content = content_of(image, inode.data().expect("data"));
                (Kind::File, inode.size_bytes(), Some(BlobHash::of(&content)))
            }
            Kind::Symlink => (Kind::Symlink, 0, inode.target.as_deref().map(BlobHash::of)),
            other => (other, 0, None),
        };
        (listed.path.clone(), about)
    });
    seen.collect()
}

/// The bytes of a stream of any encoding.
fn content_of(image: &Vec<u8>, stream: &Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let done = ntt_codec::read_stream::<Infallible>(image, stream, &mut |piece| {
        match piece {
            Piece::Bytes(more) => bytes.extend_from_slice(more),
            Piece::Zeros(len) => bytes.resize(bytes.len() + usize::try_from(len).expect("small"), 0),
        }
        Ok(())
    });
    assert!(done.expect("never fails").ranges.is_empty(), "bytes are missing");
    bytes
}

fn scan(image: &[u8]) -> Listing {
    let volume = ntfs::open(Box::new(image.to_vec()), 0).expect("opens");
    Listing::of(&*volume, &ScanOptions::default())
}

/// Files of many lengths, a wide folder, odd names, links, holes, streams, compression, deleted neighbours and writers side by side.
fn odd_tree(root: &Path) {
    for folder in 0..12 {
        fs::create_dir(root.join(format!("dir{folder:02}"))).expect("a folder");
        for file in 0..25_u32 {
            let len = 1_usize << (file % 17);
            let bytes = content(folder * 100 + file, len + usize::try_from(file).expect("small"));
            fs::write(root.join(format!("dir{folder:02}/file number {file}.dat")), bytes).expect("a file");
        }
    }
    fs::create_dir(root.join("many")).expect("a folder");
    for file in 0..300 {
        fs::write(
            root.join(format!("many/an entry with a long name {file:05}.txt")),
            format!("{file}"),
        )
        .expect("a file");
    }
    fs::create_dir_all(root.join("1/2/3/4/5/6/7/8/9/10/11/12")).expect("folders");
    for (index, name) in [
        "\u{e9}",
        "e\u{301}",
        "日本語",
        "😀",
        &"n".repeat(255),
        "back;tick`",
        "UPPER",
        "upper.TXT",
    ]
    .iter()
    .enumerate()
    {
        fs::write(root.join(name), vec![b'o'; index * 333]).expect("a file");
    }
    for link in 0..5 {
        let file = root.join(format!("dir00/file number {link}.dat"));
        fs::hard_link(file, root.join(format!("dir01/hard {link}"))).expect("a link");
        std::os::unix::fs::symlink("x/".repeat(link * 40 + 1), root.join(format!("link{link}")))
            .expect("a link");
    }
    crate::ext_image::sparse(&root.join("sparse"), 40 << 20);
    compressed(&root.join("packed"));
    for file in (0..300).step_by(2) {
        fs::remove_file(root.join(format!("many/an entry with a long name {file:05}.txt"))).expect("deleted");
    }
    for folder in (0..12).step_by(2) {
        for file in (0..25).step_by(2) {
            fs::remove_file(root.join(format!("dir{folder:02}/file number {file}.dat"))).expect("deleted");
        }
    }
    side_by_side(root);
    fs::write(root.join("many/new"), b"new").expect("a file");
    fs::write(root.join("host"), b"host").expect("a file");
    fs::write(root.join("host:stream"), content(9, 70_000)).expect("a stream");
}

/// Four files that grow in turns: their clusters lie between each other's.
fn side_by_side(root: &Path) {
    let mut files: Vec<fs::File> = (0..4)
        .map(|file| fs::File::create(root.join(format!("turns{file}"))).expect("a file"))
        .collect();
    for turn in 0..60 {
        for file in &mut files {
            file.write_all(&content(turn, 4096)).expect("written");
            file.sync_all().expect("synced");
        }
    }
}

/// Files in a folder whose attribute makes new files compressed, if ntfs-3g's extended attribute can be set.
fn compressed(folder: &Path) {
    fs::create_dir(folder).expect("a folder");
    let compressed: u32 = 0x0800 | 0x10;
    let done = rustix::fs::setxattr(
        folder,
        "system.ntfs_attrib_be",
        &compressed.to_be_bytes(),
        rustix::fs::XattrFlags::empty(),
    );
    done.expect("ntfs-3g takes its own attribute");
    let text = b"the quick brown fox jumps over the lazy dog. ".repeat(3000);
    let mixed = [
        &text[..70_000],
        &content(1, 150_000),
        &text[..100_001],
        &vec![0; 200_000],
        b"end",
    ]
    .concat();
    for (name, bytes) in [
        ("text", &text[..]),
        ("random", &content(2, 200_000)),
        ("mixed", &mixed),
        ("tiny", b"abc"),
        ("odd", &text[..5000]),
    ] {
        fs::write(folder.join(name), bytes).expect("a file");
    }
}

const GEOMETRIES: [(&str, &[&str]); 4] = [
    ("4 KiB clusters", &[]),
    ("512-byte clusters, less than a record", &["-c", "512"]),
    ("64 KiB clusters", &["-c", "65536"]),
    ("4096-byte sectors", &["-s", "4096", "-c", "4096"]),
];

/// R27: names, kinds, lengths, targets and contents are those that ntfs-3g shows, compressed and fragmented files too.
#[test]
fn r27_trees_agree_with_ntfs_3g() {
    for (what, arguments) in GEOMETRIES {
        let Some(made) = Made::new(96 << 20, arguments, odd_tree) else {
            return;
        };
        let bytes = made.bytes;
        let listing = scan(&bytes);
        let ours = ours(&bytes, &listing);
        let differ: Vec<String> = made
            .truth
            .iter()
            .filter(|(path, about)| ours.get(*path) != Some(*about))
            .map(|(path, about)| format!("{} {about:?} {:?}", String::from_utf8_lossy(path), ours.get(path)))
            .chain(
                ours.keys()
                    .filter(|path| !made.truth.contains_key(*path))
                    .map(|path| format!("{} is too many", String::from_utf8_lossy(path))),
            )
            .collect();
        assert_eq!(differ, [] as [&str; 0], "{what}");
        assert!(made.truth.len() > 400, "{what}: {}", made.truth.len());
        assert_eq!(listing.findings, [], "{what}");
        let packed = |inode: &&Inode| {
            inode.data().is_some_and(|data| matches!(&data.encoding, Encoding::Packed(units) if units.iter().any(|unit| unit.codec == Codec::Lznt1)))
        };
        // ntfs-3g compresses nothing in clusters above 4 KiB.
        assert_eq!(
            listing.inodes.values().filter(packed).count() > 0,
            what != "64 KiB clusters",
            "{what}"
        );
        let host = listing
            .inodes
            .values()
            .find(|inode| inode.streams.len() == 2)
            .expect("a host");
        assert_eq!(host.streams[1].kind, StreamKind::Named(b"stream".to_vec()));
        assert_eq!(content_of(&bytes, &host.streams[1]), content(9, 70_000));
    }
}
