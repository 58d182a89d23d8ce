//! Discs that genisoimage and xorriso make, and what is on them.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use ntt_filesystem::{FileSystem, ScanOptions, iso9660};
use ntt_model::{BlobHash, ByteRange, Kind};
use ntt_testkit::corpus::have;
use ntt_testkit::listing::{Listing, content_hash};
use tempfile::TempDir;

pub(crate) fn open(image: &[u8]) -> Box<dyn FileSystem + 'static> {
    iso9660::open(Box::new(image.to_vec()), 0).expect("an ISO 9660 disc")
}

pub(crate) fn listing(image: &[u8]) -> Listing {
    Listing::of(&*open(image), &ScanOptions::default())
}

pub(crate) fn hash(bytes: &[u8]) -> BlobHash {
    BlobHash::of(bytes)
}

/// A folder with what a disc may hold.
pub(crate) fn sample_tree() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join("tree").join(name);
    fs::create_dir_all(at("1/2/3/4/5/6/7/8/9/10")).unwrap();
    fs::create_dir_all(at("empty directory")).unwrap();
    fs::create_dir_all(at("many")).unwrap();
    fs::write(at("1/2/3/4/5/6/7/8/9/10/deep.txt"), "deep").unwrap();
    fs::write(at("hello.txt"), "hello").unwrap();
    fs::write(at("empty one"), "").unwrap();
    fs::write(at("empty two, with a long name.txt"), "").unwrap();
    fs::write(at("caf\u{e9} \u{3b1} \u{65e5}\u{672c}.txt"), "unicode").unwrap();
    fs::write(at(&"n".repeat(200)), "long").unwrap();
    fs::write(at("back\\slash-n \\n"), "odd").unwrap();
    fs::write(at("Random Data.bin"), noise(100_000)).unwrap();
    for number in 0..150 {
        fs::write(
            at(&format!("many/file number {number}.txt")),
            format!("content {number}"),
        )
        .unwrap();
    }
    fs::hard_link(at("hello.txt"), at("1/hard link")).unwrap();
    std::os::unix::fs::symlink("../hello.txt", at("1/link")).unwrap();
    std::os::unix::fs::symlink("/usr/./share/../lib", at("absolute link")).unwrap();
    dir
}

/// Bytes that look random and are the same in every run.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u8::try_from(state >> 56).unwrap()
    };
    (0..len).map(|_| next()).collect()
}

/// The image that a program makes of `tree`; `None` if the program is not installed.
pub(crate) fn made(program: &str, arguments: &[&str], tree: &Path) -> Option<Vec<u8>> {
    if !have(program) {
        return None;
    }
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("disc.iso");
    let mut command = Command::new(program);
    if program == "xorriso" {
        command.args(["-as", "mkisofs"]);
    }
    let status = command
        .args(["-quiet", "-V", "A Label"])
        .args(arguments)
        .arg("-o")
        .arg(&path)
        .arg(tree)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{program} {arguments:?}");
    Some(fs::read(&path).unwrap())
}

/// Path, kind, link target and content of everything below a folder.
pub(crate) fn truth(root: &Path) -> BTreeMap<Vec<u8>, (Kind, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut queue = vec![root.to_path_buf()];
    while let Some(folder) = queue.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            let value = if kind.is_symlink() {
                (Kind::Symlink, bytes_of(&fs::read_link(&path).unwrap()))
            } else if kind.is_dir() {
                queue.push(path.clone());
                (Kind::Directory, Vec::new())
            } else {
                (
                    Kind::File,
                    hash(&fs::read(&path).unwrap()).to_string().into_bytes(),
                )
            };
            found.insert(bytes_of(path.strip_prefix(root).unwrap()), value);
        }
    }
    found
}

pub(crate) fn bytes_of(path: &Path) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec()
}

/// The same from a listing, of the preferred names.
pub(crate) fn found(listing: &Listing, image: &Vec<u8>) -> BTreeMap<Vec<u8>, (Kind, Vec<u8>)> {
    let value = |number: u64| {
        let inode = &listing.inodes[&number];
        let what = match inode.kind {
            Kind::File => content_hash(image, inode).to_string().into_bytes(),
            _ => inode.target.clone().unwrap_or_default(),
        };
        (inode.kind, what)
    };
    listing
        .preferred()
        .map(|name| (name.path.clone(), value(name.name.inode)))
        .collect()
}

/// Content hashes of the files, without their names.
pub(crate) fn contents(listing: &Listing, image: &Vec<u8>) -> Vec<String> {
    let mut hashes: Vec<String> = listing
        .contents(image)
        .values()
        .map(ToString::to_string)
        .collect();
    hashes.sort();
    hashes
}

pub(crate) fn codes(listing: &Listing) -> BTreeSet<String> {
    listing
        .findings
        .iter()
        .map(|finding| format!("{:?}", finding.code))
        .collect()
}

/// The offset of the last occurrence of `needle`.
pub(crate) fn last_position(image: &[u8], needle: &[u8]) -> usize {
    image
        .windows(needle.len())
        .rposition(|window| window == needle)
        .expect("the needle")
}

/// Lets a directory record point elsewhere: location and size in both byte orders.
pub(crate) fn redirect(image: &mut [u8], record: usize, block: u32, size: u32) {
    image[record + 2..record + 6].copy_from_slice(&block.to_le_bytes());
    image[record + 6..record + 10].copy_from_slice(&block.to_be_bytes());
    image[record + 10..record + 14].copy_from_slice(&size.to_le_bytes());
    image[record + 14..record + 18].copy_from_slice(&size.to_be_bytes());
}

/// A second session (genisoimage -C -M) at its place after the first.
pub(crate) fn two_sessions(dir: &Path) -> Option<Vec<u8>> {
    let tree = dir.join("tree");
    let mut first = made("genisoimage", &["-R", "-J"], &tree)?;
    let start = first.len().div_ceil(2048) + 150;
    first.resize(start * 2048, 0);
    let path = dir.join("first.iso");
    fs::write(&path, &first).unwrap();
    fs::write(tree.join("hello.txt"), "hello again").unwrap();
    fs::write(tree.join("new.txt"), "new").unwrap();
    let more: Vec<String> = vec![
        "-C".into(),
        format!("0,{start}"),
        "-M".into(),
        path.display().to_string(),
    ];
    let mut arguments = vec!["-R", "-J"];
    arguments.extend(more.iter().map(String::as_str));
    first.extend(made("genisoimage", &arguments, &tree)?);
    Some(first)
}

pub(crate) fn file_extents(listing: &Listing, path: &[u8]) -> ByteRange {
    let name = listing
        .preferred()
        .find(|name| name.path == path)
        .expect("the name");
    let extent = listing.inodes[&name.name.inode].data().expect("data").extents[0];
    ByteRange::new(extent.image_offset, extent.len)
}
