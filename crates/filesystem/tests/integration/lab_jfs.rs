//! JFS in the lab for readers.

use std::fs;
use std::path::Path;

use ntt_filesystem::{Family, ScanOptions, State, open};
use ntt_model::entry::{Inode, StreamKind};
use ntt_model::{ByteRange, FindingCode, Kind, Layer};
use ntt_source::ReadAt;
use ntt_testkit::corpus::{corpus_image, have};
use ntt_testkit::lab::Lab;
use ntt_testkit::lab::compare::Aspect;
use ntt_testkit::lab::corpus::{Size, Spec, fill};
use ntt_testkit::lab::make::{Image, run};
use ntt_testkit::lab::referee::Referee;
use ntt_testkit::lab::structure::{Structure, some_content};
use ntt_testkit::lab::tree::Tree;
use ntt_testkit::lab::uml;
use ntt_testkit::lab::variant::Amount;
use ntt_testkit::lab::watch::Bytes;
use ntt_testkit::listing::Listing;
use ntt_testkit::synthetic::Synthetic;

fn format(path: &Path, arguments: &[&str], bytes: u64) {
    let file = fs::File::create(path).expect("a new file");
    file.set_len(bytes).expect("a length");
    let path = path.to_str().expect("a plain path");
    let fixed = ["-q", "-L", "LAB"];
    run("mkfs.jfs", &[&fixed, arguments, &[path]].concat(), Path::new("/"));
}

fn image(arguments: &[&str], options: &str, fill: impl FnOnce(&Path), more: &str) -> Option<Image> {
    have("mkfs.jfs").then_some(())?;
    let format = |path: &Path| format(path, arguments, 16 << 20);
    uml::made(&arguments.join(" "), ("jfs", options), format, fill, more)
}

/// Directories of every form, a content in many pieces, targets in the inode and in blocks.
fn extremes(root: &Path) {
    for count in [3, 8, 9, 40, 300] {
        let folder = root.join(format!("names {count}"));
        fs::create_dir(&folder).expect("a new folder");
        for number in 0..count {
            let name = format!("a name that takes some room {number}");
            fs::write(folder.join(name), format!("{number}")).expect("written");
        }
    }
    let pieces = fs::File::create(root.join("pieces")).expect("a new file");
    for piece in 0..400_u64 {
        use std::os::unix::fs::FileExt;
        pieces.write_all_at(&[3; 1000], piece * 16_384).expect("written");
    }
    for len in [50, 120, 127, 128, 200, 254, 255, 256, 300, 3000] {
        std::os::unix::fs::symlink("t".repeat(len), root.join(format!("target {len}"))).expect("a link");
    }
}

fn lab(name: &'static str, image: Option<Image>) -> Option<Lab> {
    Some(Lab {
        name,
        family: Family::Jfs,
        images: vec![image?],
        referees: Vec::new(),
        explained: Vec::new(),
    })
}

fn kernel() -> Referee {
    uml::referee("jfs", "ro", &Aspect::ALL)
}

fn small() -> Option<Lab> {
    let fill = |root: &Path| {
        fill(root, &Spec::posix(Size::Small));
    };
    lab("jfs", image(&[], "", fill, "true"))
}

#[test]
fn r27_jfs_agrees_with_truth_and_kernel() {
    let full = |root: &Path| {
        fill(root, &Spec::posix(Size::Small));
        extremes(root);
    };
    if let Some(lab) = lab("jfs", image(&[], "", full, "true")) {
        Lab {
            referees: vec![kernel()],
            ..lab
        }
        .compares();
    }
}

/// As OS/2 makes them: names of Unicode characters; those that differ in case only are one.
#[test]
fn r27_jfs_of_os2_agrees_with_truth_and_kernel() {
    let full = |root: &Path| {
        let spec = Spec::posix(Size::Small);
        fill(
            root,
            &Spec {
                case_sensitive: false,
                byte_names: false,
                ..spec
            },
        );
    };
    if let Some(lab) = lab("jfs of OS/2", image(&["-O"], "iocharset=utf8", full, "true")) {
        let kernel = uml::referee("jfs", "ro,iocharset=utf8", &Aspect::ALL);
        Lab {
            referees: vec![kernel],
            ..lab
        }
        .compares();
    }
}

fn listing(image: &[u8]) -> (State, Listing) {
    let volume = open(Family::Jfs, Box::new(Bytes(image)), 0).expect("the image opens");
    (
        volume.facts().state,
        Listing::of(&*volume, &ScanOptions::default()),
    )
}

fn inode<'l>(listing: &'l Listing, path: &str) -> &'l Inode {
    let name = listing.names.iter().find(|name| name.path == path.as_bytes());
    &listing.inodes[&name.expect("listed").name.inode]
}

fn has(listing: &Listing, code: FindingCode, text: &str) -> bool {
    let mut findings = listing.findings.iter();
    findings.any(|finding| finding.code == code && finding.detail.contains(text))
}

/// What the driver writes: attributes in the inode and in blocks, devices.
#[test]
fn r27_attributes_and_devices_of_jfs_are_kept() {
    let more = "echo x > short; echo x > long; mknod device b 300 70000; mknod null c 1 3
        setfattr -n user.one -v 1 short
        for n in $(seq 30); do setfattr -n user.$n -v 0123456789012345678901234567890123456789 long; done
        setfattr -n user.huge -v 0x$(head -c 9000 /dev/zero | od -An -v -tx1 | tr -d ' \\n') long";
    if !have("setfattr") {
        return;
    }
    let Some(image) = image(&[], "", |_| (), more) else {
        return;
    };
    let bytes = image.bytes();
    let (state, found) = listing(&bytes);
    assert_eq!((state, &found.findings[..]), (State::Clean, &[][..]));
    let short = inode(&found, "short");
    assert_eq!(short.xattrs.len(), 1);
    assert_eq!(
        (&short.xattrs[0].name[..], &short.xattrs[0].value[..]),
        (&b"user.one"[..], &b"1"[..])
    );
    let long = inode(&found, "long");
    assert_eq!(long.xattrs.len(), 30);
    assert!(long.xattrs.iter().all(|xattr| xattr.value.len() == 40));
    assert_eq!(long.streams[1].kind, StreamKind::Xattr(b"user.huge".to_vec()));
    assert_eq!(long.streams[1].size_bytes, 9000);
    assert_eq!(inode(&found, "device").device, Some((300, 70_000)));
    assert_eq!(inode(&found, "null").device, Some((1, 3)));
}

/// R17: what the log holds is not in the listing, and that is said.
#[test]
fn r17_the_log_of_jfs_is_said_to_be_skipped() {
    if !have("mkfs.jfs") || !have("linux.uml") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("image");
    format(&path, &[], 16 << 20);
    let script = "for n in $(seq 100); do echo content $n > mounted/file-$n; done";
    assert!(uml::run_and_crash("jfs", "", &path, folder.path(), script));
    let (state, found) = listing(&fs::read(&path).expect("the image"));
    assert_eq!(state, State::Dirty);
    assert!(
        has(&found, FindingCode::DirtyJournal, "was not replayed"),
        "{:?}",
        found.findings
    );
}

/// Superblock, first inodes of the aggregate, and the map of inodes, one after the other: nothing is lost.
#[test]
fn r22_copies_and_searches_serve_where_jfs_is_damaged() {
    let Some(lab) = small() else { return };
    let bytes = lab.images[0].bytes();
    let (_, intact) = listing(&bytes);
    assert_eq!(intact.findings, []);
    let whole = Tree::of_listing(&intact, &Bytes(&bytes));
    let page = |at: usize| {
        let mut torn = bytes.clone();
        torn[at..at + 4096].fill(0);
        torn
    };
    // Where the first extent of the map of inodes starts: in the root of the tree of inode 16. Its second page is the first group.
    let at = 0xd000 + 224 + 32 + 12;
    let group = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes")) + 1;
    let group = usize::try_from(group).expect("small") * 4096;
    let cases = [
        (0x8000, FindingCode::BackupUsed, "its copy was used"),
        (
            0xb000 + 8192,
            FindingCode::BackupUsed,
            "the copy of the inode of the map of inodes",
        ),
        (group, FindingCode::Corrupt, "looked for block by block"),
    ];
    for (at, code, text) in cases {
        let torn = page(at);
        let (_, found) = listing(&torn);
        assert!(has(&found, code, text), "{at:#x}: {:?}", found.findings);
        let tree = Tree::of_listing(&found, &Bytes(&torn));
        assert_eq!(
            tree.entries.len(),
            whole.entries.len(),
            "{at:#x}: {:?}",
            found.findings
        );
        assert_eq!(tree.contents(), whole.contents(), "{at:#x}");
    }
}

/// Found by fuzzing: a map that claims blocks without end was asked for each of them, with a finding for every page.
#[test]
fn r22_a_map_of_jfs_that_claims_blocks_without_end_is_given_up() {
    let Some(lab) = small() else { return };
    let mut image = lab.images[0].bytes();
    // Where the map of blocks starts: in the root of the tree of inode 2. It begins with how many blocks it counts.
    let at = 0xb000 + 2 * 512 + 224 + 32 + 12;
    let map = u32::from_le_bytes(image[at..at + 4].try_into().expect("4 bytes"));
    let map = usize::try_from(map).expect("small") * 4096;
    image[map..map + 8].copy_from_slice(&(1_u64 << 47).to_le_bytes());
    image[0x8008..0x8010].copy_from_slice(&(1_u64 << 50).to_le_bytes());
    let given_up = |source: Box<dyn ReadAt>| {
        let volume = open(Family::Jfs, source, 0).expect("the image opens");
        let mut end = 0;
        volume.allocated(&mut |range| end = range.end()).expect("asked");
        assert_eq!(end, 1 << 59, "what the map does not tell counts as used");
        let found = Listing::of(&*volume, &ScanOptions::default());
        assert!(found.findings.len() < 100, "{}", found.findings.len());
        has(&found, FindingCode::Limit, "cannot be read; from block 532480 on")
    };
    // Zeros behind it, up to a length that no disk has.
    let pages = image.clone();
    let count = u64::try_from(image.len() / 4096).expect("small");
    let endless = Synthetic::new(1 << 60).records(0, 4096, count, move |number, page| {
        let start = usize::try_from(number).expect("small") * 4096;
        page.copy_from_slice(&pages[start..start + 4096]);
    });
    assert!(given_up(Box::new(endless)));
    assert!(
        !given_up(Box::new(image)),
        "what lies beyond the end is not asked for"
    );
}

/// The image of util-linux: label and UUID are those of `blkid`.
#[test]
fn the_public_image_of_jfs_is_read() {
    let Some(image) = corpus_image("detect/jfs.img.xz") else {
        return;
    };
    let bytes = fs::read(image.path()).expect("the image");
    let volume = open(Family::Jfs, Box::new(Bytes(&bytes)), 0).expect("the image opens");
    let facts = volume.facts();
    assert_eq!(facts.label, b"test-jfs");
    assert!(facts.uuid.is_some());
    let found = Listing::of(&*volume, &ScanOptions::default());
    assert!(found.inodes.values().any(|inode| inode.kind == Kind::Directory));
}

#[test]
fn r11_r22_variants_and_holes_of_jfs() {
    if let Some(lab) = small() {
        lab.survives(Amount::FULL);
        lab.names_what_is_hit(structures);
    }
}

#[test]
fn r22_jfs_loses_no_more_than_the_kernel() {
    if let Some(lab) = small() {
        lab.loses_no_more(&[kernel()], 0..1);
    }
}

#[test]
#[ignore = "takes minutes: sh scripts/loss.sh"]
fn loss_score_of_jfs() {
    if let Some(lab) = small() {
        lab.loss_of_100_seeds(&[kernel()]);
    }
}

fn structures(_image: &[u8], listing: &Listing) -> Vec<Structure> {
    vec![
        Structure::new("superblock", ByteRange::new(0x8000, 512), Layer::FileSystem),
        Structure::new("copy of it", ByteRange::new(0xf000, 512), Layer::FileSystem),
        Structure::new(
            "map of inodes",
            ByteRange::new(0xb000 + 8192, 512),
            Layer::FileSystem,
        ),
        Structure::new(
            "map of blocks",
            ByteRange::new(0xb000 + 1024, 512),
            Layer::FileSystem,
        ),
        some_content(listing, 512),
    ]
}
