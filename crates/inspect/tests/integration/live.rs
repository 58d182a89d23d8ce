//! Walks over trees of the host: any bytes in names, hard links, depth, special files, sparse and changing files.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use ntt_inspect::live::{Error, LiveOptions, LiveSummary, LiveTree};
use ntt_model::entry::{Inode, Name};
use ntt_model::{FailureClass, Kind, ScanEvent};
use ntt_source::extents::Piece;
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

fn walk(path: &Path) -> (LiveSummary, Vec<ScanEvent>) {
    let mut events = Vec::new();
    let tree = LiveTree::open(path).expect("a directory");
    let summary = tree.scan(
        &LiveOptions::default(),
        &mut |event| {
            events.push(event);
            Ok(())
        },
        &AtomicBool::new(false),
    );
    (summary.expect("a whole walk"), events)
}

fn names(events: &[ScanEvent]) -> Vec<&Name> {
    events
        .iter()
        .filter_map(|event| {
            if let ScanEvent::Name(name) = event {
                Some(name)
            } else {
                None
            }
        })
        .collect()
}

fn inodes(events: &[ScanEvent]) -> Vec<&Inode> {
    events
        .iter()
        .filter_map(|event| {
            if let ScanEvent::Inode(inode) = event {
                Some(&**inode)
            } else {
                None
            }
        })
        .collect()
}

#[test]
fn r23_names_are_any_bytes_and_links_are_not_followed() {
    let dir = tempfile::tempdir().expect("a directory");
    let odd: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    fs::write(dir.path().join(OsStr::from_bytes(&odd)), b"x").expect("a file");
    symlink(".", dir.path().join("loop")).expect("a link");
    let (summary, events) = walk(dir.path());
    assert!(names(&events).iter().any(|name| name.name == odd));
    let link = inodes(&events)
        .into_iter()
        .find(|inode| inode.kind == Kind::Symlink)
        .expect("the link");
    assert_eq!(link.target.as_deref(), Some(b".".as_slice()));
    assert_eq!((summary.counts.directories, summary.counts.findings), (1, 0));
}

#[test]
fn hard_links_are_one_inode_with_several_names() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("one"), b"x").expect("a file");
    fs::hard_link(dir.path().join("one"), dir.path().join("two")).expect("a link");
    let (summary, _) = walk(dir.path());
    assert_eq!(
        (summary.counts.names, summary.counts.inodes),
        (2, 2),
        "root and file"
    );
}

#[test]
fn trees_deeper_than_a_path_is_long_are_walked_and_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut at = openat(CWD, dir.path(), flags, Mode::empty()).expect("the root");
    for _ in 0..4096 {
        mkdirat(&at, "d", Mode::RWXU).expect("a directory");
        at = openat(&at, "d", flags, Mode::empty()).expect("the directory");
    }
    let bottom = openat(&at, "f", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).expect("a file");
    fs::File::from(bottom).write_all(b"deep").expect("room");
    fs::write(dir.path().join("z"), b"").expect("a file beside");
    let (summary, events) = walk(dir.path());
    assert_eq!((summary.counts.directories, summary.counts.names), (4097, 4098));
    let number = names(&events)
        .iter()
        .find(|name| name.name == b"f")
        .expect("the file")
        .inode;
    let path = [b"d/".repeat(4096), b"f".to_vec()].concat();
    let file = LiveTree::open(dir.path())
        .expect("a tree")
        .open_file(&path, number)
        .expect("the file");
    assert_eq!(file.size_bytes(), 4);
}

#[test]
fn special_files_keep_their_kind_and_are_not_opened() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("pipe");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&path)
            .status()
            .expect("coreutils")
            .success()
    );
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).expect("a socket");
    let (_, events) = walk(dir.path());
    let kinds: Vec<_> = inodes(&events).iter().map(|inode| inode.kind).collect();
    assert!(
        kinds.contains(&Kind::Fifo) && kinds.contains(&Kind::Socket),
        "{kinds:?}"
    );
    let number = fs::metadata(&path).expect("the pipe").ino();
    let error = LiveTree::open(dir.path())
        .expect("a tree")
        .open_file(b"pipe", number)
        .unwrap_err();
    assert_eq!(error.class(), FailureClass::Path);
}

#[test]
fn holes_are_not_read_and_a_change_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("sparse");
    let mut file = fs::File::create(&path).expect("a file");
    file.seek(SeekFrom::Start(1 << 40))
        .and_then(|_| file.write_all(b"end"))
        .expect("a sparse file");
    let number = file.metadata().expect("the file").ino();
    let live = LiveTree::open(dir.path())
        .expect("a tree")
        .open_file(b"sparse", number)
        .expect("the file");
    let (mut zeros, mut bytes) = (0, Vec::new());
    let missing = live.read::<Infallible>(&mut |piece| {
        match piece {
            Piece::Zeros(len) => zeros += len,
            Piece::Bytes(more) => bytes.extend_from_slice(more),
        }
        Ok(())
    });
    let missing = missing.unwrap_or_else(|never| match never {});
    assert_eq!(missing.failure, None);
    assert_eq!(zeros + u64::try_from(bytes.len()).expect("small"), (1 << 40) + 3);
    assert!(bytes.ends_with(b"end") && bytes.len() < 1 << 20);
    assert!(live.unchanged().expect("a status"));
    file.write_all(b"more").expect("room");
    assert!(!live.unchanged().expect("a status"));
}

#[test]
fn a_file_that_was_replaced_is_not_read() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("file"), b"x").expect("a file");
    let error = LiveTree::open(dir.path())
        .expect("a tree")
        .open_file(b"file", 1)
        .unwrap_err();
    assert_eq!(error.class(), FailureClass::Path);
}

#[test]
fn a_cancelled_walk_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("file"), b"x").expect("a file");
    let tree = LiveTree::open(dir.path()).expect("a tree");
    let result = tree.scan(&LiveOptions::default(), &mut |_| Ok(()), &AtomicBool::new(true));
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
}
