//! Walks over trees of the host: any bytes in names, hard links, depth, special files, sparse and changing files.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ntt_inspect::live::{Error, LiveOptions, LiveSummary, LiveTree, Place};
use ntt_model::entry::{Inode, Name};
use ntt_model::{ByteRange, FailureClass, FindingCode, Kind, ScanEvent};
use ntt_source::extents::Sink;
use ntt_testkit::faulty::FaultyMedium;
use ntt_testkit::faulty_file::FaultyFile;
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

/// What was read of a file, and how many zeros came without being read.
#[derive(Default)]
struct Content {
    room: Vec<u8>,
    bytes: Vec<u8>,
    zeros: u64,
}

impl Sink for Content {
    type Stop = Infallible;

    fn room(&mut self, len: usize) -> &mut [u8] {
        self.room.resize(len, 0);
        &mut self.room
    }

    fn take(&mut self, len: usize) -> Result<(), Infallible> {
        self.bytes.extend_from_slice(&self.room[..len]);
        Ok(())
    }

    fn zeros(&mut self, len: u64) -> Result<(), Infallible> {
        self.zeros += len;
        Ok(())
    }
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
    let mut content = Content::default();
    let missing = live.read(&mut content).unwrap_or_else(|never| match never {});
    let Content { bytes, zeros, .. } = content;
    assert_eq!(missing.failure, None);
    assert_eq!(zeros + u64::try_from(bytes.len()).expect("small"), (1 << 40) + 3);
    assert!(bytes.ends_with(b"end") && bytes.len() < 1 << 20);
    assert!(live.unchanged().expect("a status"));
    file.write_all(b"more").expect("room");
    assert!(!live.unchanged().expect("a status"));
}

/// R22: a file on a failing file system loses its bad sectors and no others, and is not asked for each of them.
#[test]
fn r22_a_file_with_bad_sectors_loses_only_these() {
    let bad = [
        ByteRange::new(4_999_680, 3584),
        ByteRange::new(40_000_000, 600_064),
    ];
    let medium = bad
        .into_iter()
        .fold(FaultyMedium::new(48 << 20, 22), FaultyMedium::bad);
    let Some(file) = FaultyFile::mount(medium, false) else {
        return;
    };
    let directory = file.path().parent().expect("a directory");
    let (_, events) = walk(directory);
    let listed = inodes(&events).into_iter().find(|inode| inode.kind == Kind::File);
    let number = listed.expect("the file is listed").number;
    let live = LiveTree::open(directory)
        .expect("a tree")
        .open_file(b"disk", number);
    let mut content = Content::default();
    let missing = live.expect("the file").read(&mut content);
    let missing = missing.unwrap_or_else(|never| match never {});
    assert_eq!(missing.ranges, bad);
    assert_eq!(
        missing.failure.map(|failure| failure.class),
        Some(FailureClass::Io)
    );
    assert_eq!(content.zeros, 3584 + 600_064);
    let failures = file.medium().failures();
    assert!(failures < 300, "{failures} failed reads");
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

/// R38: an archive in the tree that it takes in would grow by itself at every ingest.
#[test]
fn r38_the_archive_itself_is_listed_and_not_entered() {
    let dir = tempfile::tempdir().expect("a directory");
    let archive = dir.path().join("below/archive");
    fs::create_dir_all(archive.join("packs")).expect("directories");
    let options = LiveOptions {
        archive: Some(Place::of(&archive).expect("it is there")),
        ..LiveOptions::default()
    };
    let mut events = Vec::new();
    let mut take = |event| {
        events.push(event);
        Ok(())
    };
    let tree = LiveTree::open(dir.path()).expect("a directory");
    let summary = tree.scan(&options, &mut take, &AtomicBool::new(false));
    assert_eq!(summary.expect("a whole walk").counts.findings, 1);
    let named: Vec<_> = names(&events).iter().map(|name| name.name.clone()).collect();
    assert_eq!(named, [b"below".to_vec(), b"archive".to_vec()]);
}

#[test]
fn a_cancelled_walk_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("file"), b"x").expect("a file");
    let tree = LiveTree::open(dir.path()).expect("a tree");
    let result = tree.scan(&LiveOptions::default(), &mut |_| Ok(()), &AtomicBool::new(true));
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
}

#[test]
fn extended_attributes_are_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("file");
    fs::write(&path, b"x").expect("a file");
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(&path, "user.note", b"value", flags).is_err() {
        eprintln!("skipped: the temporary directory takes no extended attributes");
        return;
    }
    rustix::fs::setxattr(&path, "user.large", &vec![1; 2000], flags).expect("room");
    let (summary, events) = walk(dir.path());
    let file = inodes(&events)
        .into_iter()
        .find(|inode| inode.kind == Kind::File)
        .expect("the file");
    let mut found: Vec<_> = file
        .xattrs
        .iter()
        .map(|xattr| (xattr.name.as_slice(), xattr.value.len()))
        .collect();
    found.sort_unstable();
    assert_eq!(found, [(&b"user.large"[..], 2000), (&b"user.note"[..], 5)]);
    assert_eq!(summary.counts.findings, 0);
}

/// R22: what goes away between being listed and being examined is a finding, and the walk goes on.
#[test]
fn r22_an_entry_that_vanishes_is_a_finding() {
    let dir = tempfile::tempdir().expect("a directory");
    for index in 0..10 {
        fs::write(dir.path().join(format!("file{index}")), b"x").expect("a file");
    }
    let (mut files, mut vanished) = (0, 0);
    let summary = LiveTree::open(dir.path())
        .expect("a tree")
        .scan(
            &LiveOptions::default(),
            &mut |event| {
                match event {
                    ScanEvent::Name(kept) if files == 0 => {
                        files += 1;
                        let others = fs::read_dir(dir.path()).expect("the directory");
                        for other in others.map(|other| other.expect("an entry")) {
                            if other.file_name().as_bytes() != kept.name {
                                fs::remove_file(other.path()).expect("it is ours");
                            }
                        }
                    }
                    ScanEvent::Name(_) => files += 1,
                    ScanEvent::Finding(finding) if finding.code == FindingCode::Changed => vanished += 1,
                    _ => {}
                }
                Ok(())
            },
            &AtomicBool::new(false),
        )
        .expect("a whole walk");
    assert_eq!((files, vanished, summary.counts.findings), (1, 9, 9));
}

/// Runs one test of this binary under another program, with `NTT_TEST_DIR` set; gives whether it passed.
fn rerun(program: &str, arguments: &[&str], test: &str, dir: &Path) -> bool {
    let exe = std::env::current_exe().expect("the test has a path");
    std::process::Command::new(program)
        .args(arguments)
        .arg(exe)
        .args(["--exact", test, "--nocapture"])
        .env("NTT_TEST_DIR", dir)
        .status()
        .is_ok_and(|status| status.success())
}

/// R22: runs itself as nobody when started as root, who may read everything.
#[test]
fn r22_an_unreadable_directory_is_a_finding() {
    let dir = tempfile::tempdir().expect("a directory");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    if rustix::process::geteuid().is_root() && std::env::var_os("NTT_TEST_DIR").is_none() {
        let exe = std::env::current_exe().expect("the test has a path");
        let copy = dir.path().join("test");
        mode(dir.path(), 0o755);
        let copied = fs::copy(exe, &copy).is_ok();
        let probe = std::process::Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&copy)
            .arg("--list")
            .stdout(std::process::Stdio::null())
            .status();
        if !copied || !probe.is_ok_and(|status| status.success()) {
            eprintln!("skipped: cannot become another user than root");
            return;
        }
        let passed = std::process::Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&copy)
            .args([
                "--exact",
                "live::r22_an_unreadable_directory_is_a_finding",
                "--nocapture",
            ])
            .env("NTT_TEST_DIR", dir.path())
            .status()
            .expect("it started before");
        assert!(passed.success());
        return;
    }
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).expect("a directory");
    fs::write(closed.join("hidden"), b"x").expect("a file");
    fs::create_dir(dir.path().join("open")).expect("a directory");
    fs::write(dir.path().join("open/file"), b"x").expect("a file");
    mode(&closed, 0o000);
    let (summary, events) = walk(dir.path());
    mode(&closed, 0o700);
    let denied = events
        .iter()
        .filter(|event| matches!(event, ScanEvent::Finding(finding) if finding.code == FindingCode::Denied));
    assert_eq!((denied.count(), summary.counts.findings), (1, 1));
    assert_eq!(summary.counts.names, 3, "closed, open, open/file");
}

/// R24: what is mounted on a directory is neither entered nor taken for the directory; runs itself in a mount namespace of its own.
#[test]
fn r24_a_mount_point_carries_nothing_of_what_is_mounted() {
    let Some(dir) = std::env::var_os("NTT_TEST_DIR").map(PathBuf::from) else {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("mnt")).expect("a directory");
        fs::write(dir.path().join("beside"), b"x").expect("a file");
        let mount = "mount -t tmpfs -o mode=0711,uid=12345 tmpfs \"$NTT_TEST_DIR/mnt\" && touch \"$NTT_TEST_DIR/mnt/inside\"";
        let private = |script: &str| {
            std::process::Command::new("unshare")
                .args(["--mount", "sh", "-c", script])
                .env("NTT_TEST_DIR", dir.path())
                .status()
                .is_ok_and(|status| status.success())
        };
        if !private(mount) {
            eprintln!("skipped: cannot mount in a namespace of its own");
            return;
        }
        let script = format!("{mount} && exec \"$0\" \"$@\"");
        let test = "live::r24_a_mount_point_carries_nothing_of_what_is_mounted";
        assert!(rerun(
            "unshare",
            &["--mount", "sh", "-c", &script],
            test,
            dir.path()
        ));
        return;
    };
    let (summary, events) = walk(&dir);
    assert_eq!(summary.mount_points, [b"mnt".to_vec()]);
    assert!(names(&events).iter().all(|name| name.name != b"inside"));
    let number = names(&events)
        .iter()
        .find(|name| name.name == b"mnt")
        .expect("the mount point")
        .inode;
    let covered = inodes(&events)
        .into_iter()
        .find(|inode| inode.number == number)
        .expect("its inode");
    assert_eq!(
        (covered.kind, covered.mode, covered.uid),
        (Kind::Directory, None, None)
    );
    assert_eq!(covered.times, ntt_model::time::Times::default());
}

/// R27: a time that cannot be kept is said to be left out, as readers of file systems do.
#[test]
fn r27_a_time_beyond_2262_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let far = std::time::UNIX_EPOCH + std::time::Duration::from_secs(14_831_769_600);
    for name in ["far", "near"] {
        let file = fs::File::create(folder.path().join(name)).expect("a file");
        if name == "far" {
            file.set_modified(far).expect("its time");
        }
    }
    let kept = fs::metadata(folder.path().join("far")).and_then(|file| file.modified());
    if kept.expect("a time") != far {
        eprintln!("skipped: this file system keeps no such time");
        return;
    }
    let (_, events) = walk(folder.path());
    let told: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            ScanEvent::Finding(finding) if finding.code == FindingCode::OutOfRange => finding.inode,
            _ => None,
        })
        .collect();
    let far = fs::metadata(folder.path().join("far")).expect("a file").ino();
    assert_eq!(told, [far]);
}
