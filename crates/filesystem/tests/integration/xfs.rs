//! What XFS has beside names and contents, and what damage to its structures costs.

use std::fs;
use std::path::Path;
use std::process::Command;

use ntt_filesystem::{Family, FileSystem, ScanOptions, State, open, probe, probe_deep};
use ntt_model::entry::{Inode, Namespace, StreamKind};
use ntt_model::{FindingCode, Kind, Severity};
use ntt_source::FileSource;
use ntt_testkit::corpus::{corpus_image, have};
use ntt_testkit::lab::make::{self, Image};
use ntt_testkit::lab::tree::Tree;
use ntt_testkit::lab::watch::Bytes;
use ntt_testkit::listing::Listing;

/// Blocks of 1024 bytes, two groups of 16 MiB.
const ARGUMENTS: &[&str] = &["-b", "size=1024", "-d", "agcount=2"];
const SIZE: u64 = 32 << 20;
const GROUP: usize = 16 << 20;

fn plain() -> Option<Image> {
    make::xfs_prototype(ARGUMENTS, SIZE, |root| {
        for number in 0..300 {
            let folder = root.join(format!("directory-{}", number % 5));
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(folder.join(format!("file-number-{number}")), [65; 2000]).expect("written");
        }
    })
}

fn opened(image: &[u8]) -> Box<dyn FileSystem + '_> {
    open(Family::Xfs, Box::new(Bytes(image)), 0).expect("the image opens")
}

fn listing(image: &[u8]) -> Listing {
    Listing::of(&*opened(image), &ScanOptions::default())
}

fn paths(listing: &Listing) -> Vec<&[u8]> {
    let mut paths: Vec<_> = listing.names.iter().map(|name| name.path.as_slice()).collect();
    paths.sort_unstable();
    paths
}

fn has(listing: &Listing, code: FindingCode, text: &str) -> bool {
    let mut findings = listing.findings.iter();
    findings.any(|finding| finding.code == code && finding.detail.contains(text))
}

fn shell(folder: &Path, script: &str) {
    let output = Command::new("sh")
        .args(["-ec", script])
        .current_dir(folder)
        .output()
        .expect("a shell");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn inode<'l>(listing: &'l Listing, path: &str) -> &'l Inode {
    let name = listing.names.iter().find(|name| name.path == path.as_bytes());
    &listing.inodes[&name.expect("listed").name.inode]
}

/// What the driver of Linux writes: attributes of every form, lists, devices, projects, owners.
#[test]
fn r27_attributes_devices_and_projects_are_kept() {
    if !["setfattr", "setfacl", "xfs_io"]
        .iter()
        .all(|program| have(program))
    {
        return;
    }
    let fill = |root: &Path| {
        shell(
            root,
            "for name in short leaf large acl project; do echo $name > $name; done
             setfattr -n user.one -v 1 short
             setfattr -n trusted.two -v 2 short
             for number in $(seq 60); do setfattr -n user.$number -v $(head -c 100 /dev/zero | tr '\\0' x) leaf; done
             setfattr -n user.remote -v 0x$(head -c 3000 /dev/zero | od -An -v -tx1 | tr -d ' \\n') large
             setfattr -n user.huge -v 0x$(head -c 40000 /dev/zero | od -An -v -tx1 | tr -d ' \\n') large
             setfacl -m u:1000:r acl
             xfs_io -c 'chproj 70000' project
             mknod device c 300 70000
             mkfifo pipe
             chown 70000:80000 pipe
             chmod 4711 pipe",
        );
        Tree::of_folder(root)
    };
    let Some(image) = make::xfs(ARGUMENTS, SIZE, fill) else {
        return;
    };
    let bytes = image.bytes();
    let listing = listing(&bytes);
    assert_eq!(listing.findings, []);
    assert_eq!(opened(&bytes).facts().state, State::Clean);
    let names = |path| -> Vec<_> {
        let names = inode(&listing, path).xattrs.iter();
        names
            .map(|xattr| String::from_utf8_lossy(&xattr.name).into_owned())
            .collect()
    };
    assert_eq!(names("short"), ["user.one", "trusted.two"]);
    assert_eq!(names("leaf").len(), 60);
    assert!(
        inode(&listing, "leaf")
            .xattrs
            .iter()
            .all(|xattr| xattr.value == [b'x'; 100])
    );
    assert_eq!(names("acl"), ["system.posix_acl_access"]);
    let large = inode(&listing, "large");
    assert_eq!(large.xattrs[0].value, [0; 3000]);
    assert_eq!(large.streams[1].kind, StreamKind::Xattr(b"user.huge".to_vec()));
    assert_eq!(
        large.streams[1]
            .extents
            .iter()
            .map(|extent| extent.len)
            .sum::<u64>(),
        40_000
    );
    assert_eq!(inode(&listing, "project").flags >> 32, 70_000);
    assert_eq!(inode(&listing, "device").device, Some((300, 70_000)));
    let pipe = inode(&listing, "pipe");
    assert_eq!(pipe.kind, Kind::Fifo);
    assert_eq!(
        (pipe.uid, pipe.gid, pipe.mode),
        (Some(70_000), Some(80_000), Some(0o4711))
    );
}

/// R17: a log that was not replayed is said so.
#[test]
fn r17_a_dirty_log_is_said() {
    if !have("xfs_io") {
        return;
    }
    let fill = |root: &Path| {
        fs::write(root.join("before"), [1; 5000]).expect("written");
        shell(root, "sync; echo after > after; xfs_io -x -c 'shutdown -f' .");
        Tree::default()
    };
    if let Some(image) = make::xfs(ARGUMENTS, SIZE, fill) {
        let bytes = image.bytes();
        assert_eq!(opened(&bytes).facts().state, State::Dirty);
        let found = listing(&bytes);
        assert!(has(&found, FindingCode::DirtyJournal, "not replayed"));
        let mut findings = found.findings.iter();
        let dirty = findings.find(|finding| finding.code == FindingCode::DirtyJournal);
        assert_eq!(dirty.map(|finding| finding.severity), Some(Severity::Loss));
    }
}

#[test]
fn public_images_are_listed() {
    let Some(image) = corpus_image("retro/xfs_v5_modern_small.img.zst") else {
        return;
    };
    let source = FileSource::open(image.path()).expect("an image");
    assert_eq!(probe(&source).len(), 1);
    let volume = open(Family::Xfs, Box::new(source), 0).expect("the image opens");
    assert_eq!(volume.facts().state, State::Clean);
    let listing = Listing::of(&*volume, &ScanOptions::default());
    assert_eq!(
        paths(&listing),
        [
            &b"data_1.bin"[..],
            b"data_2.bin",
            b"data_3.bin",
            b"data_4.bin",
            b"data_5.bin",
            b"hostname"
        ]
    );
    assert_eq!(listing.findings, []);
}

/// What is in use is told by the trees of free space, and holds all content.
#[test]
fn allocated_runs_hold_all_content() {
    let Some(image) = plain() else { return };
    let bytes = image.bytes();
    let mut runs: Vec<ntt_model::ByteRange> = Vec::new();
    opened(&bytes).allocated(&mut |run| runs.push(run)).expect("told");
    assert!(runs.windows(2).all(|pair| pair[0].end() < pair[1].offset));
    let used: u64 = runs.iter().map(|run| run.len).sum();
    assert!(used > 600_000 && used < SIZE / 2, "{used}");
    for extent in listing(&bytes)
        .inodes
        .values()
        .flat_map(|inode| &inode.streams)
        .flat_map(|stream| &stream.extents)
    {
        let range = ntt_model::ByteRange::new(extent.image_offset, extent.len);
        assert!(runs.iter().any(|run| run.contains_range(&range)), "{range:?}");
    }
}

#[test]
fn r22_copies_of_the_superblock_serve() {
    let Some(image) = plain() else { return };
    let mut bytes = image.bytes();
    let expected = listing(&bytes);
    bytes[300] ^= 1;
    let changed = listing(&bytes);
    assert_eq!(paths(&changed), paths(&expected));
    assert!(has(&changed, FindingCode::BackupUsed, "0x1000000"));
    bytes[..512].fill(0);
    assert_eq!(probe(&Bytes(&bytes)).len(), 1);
    assert_eq!(paths(&listing(&bytes)), paths(&expected));
    // The sweep finds a copy anywhere.
    assert_eq!(probe_deep(&Bytes(&bytes[..GROUP + 512])).len(), 1);
}

/// Without the header of a group its inodes are found by what stands in them.
#[test]
fn r22_inodes_are_found_without_their_tree() {
    let Some(image) = plain() else { return };
    let mut bytes = image.bytes();
    let expected = listing(&bytes);
    bytes[1024..1536].fill(0);
    let swept = listing(&bytes);
    assert_eq!(paths(&swept), paths(&expected));
    assert!(has(&swept, FindingCode::Corrupt, "AGI"));
    assert!(has(&swept, FindingCode::Corrupt, "block by block"));
}

/// A lost root: its directories are listed with their names below them.
#[test]
fn r22_orphans_are_listed() {
    let Some(image) = plain() else { return };
    let mut bytes = image.bytes();
    let root = usize::try_from(opened(&bytes).facts().root).expect("small") * 512;
    bytes[root..root + 512].fill(0);
    let listing = listing(&bytes);
    let lost = listing
        .names
        .iter()
        .filter(|name| name.name.namespace == Namespace::Lost);
    assert_eq!(lost.count(), 5);
    let files = listing
        .names
        .iter()
        .filter(|name| name.path.windows(12).any(|part| part == b"file-number-"));
    assert_eq!(files.count(), 300);
}

/// R22: names and contents hang on inodes and directory blocks; a copy of the superblock serves nobody as long as the first is right.
#[test]
fn r22_a_wrong_checksum_is_a_loss_where_something_hangs_on_it() {
    let Some(image) = plain() else { return };
    let bytes = image.bytes();
    let file = listing(&bytes);
    let number = inode(&file, "directory-1/file-number-1").number;
    let said = |at: usize, text: &str| {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let findings = listing(&changed).findings;
        let mut of_it = findings.iter().filter(|finding| finding.detail.contains(text));
        of_it
            .next()
            .unwrap_or_else(|| panic!("{text}: {findings:?}"))
            .severity
    };
    let at_inode = usize::try_from(number).expect("small") * 512;
    let (generation, size, extent) = (95, 63, 176 + 13);
    for field in [generation, size, extent] {
        assert_eq!(said(at_inode + field, "checksum of the inode"), Severity::Loss);
    }
    let copy = "checksum of the superblock of group 1";
    assert_eq!(said(GROUP + 300, copy), Severity::Warning);
    let directory = bytes
        .windows(4)
        .position(|four| four == b"XDD3" || four == b"XDB3")
        .expect("a block");
    let block = "checksum of a directory block";
    assert_eq!(said(directory + 50, block), Severity::Loss);
    assert_eq!(said(directory, "has a damaged head"), Severity::Loss);
}

#[test]
fn directories_of_the_first_format_are_refused_by_name() {
    let Some(image) = make::xfs_prototype(&["-m", "crc=0", "-n", "ftype=0"], SIZE, |_| {}) else {
        return;
    };
    let mut bytes = image.bytes();
    bytes[100] &= !0x20;
    let refused = open(Family::Xfs, Box::new(Bytes(&bytes)), 0)
        .err()
        .expect("refused");
    assert_eq!(
        refused.to_string(),
        "XFS with directories of the first format is not supported"
    );
}
