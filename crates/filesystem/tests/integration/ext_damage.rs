//! Damaged ext: what must still be listed, and what must be said.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ntt_filesystem::{Family, ScanOptions};
use ntt_model::{ByteRange, FindingCode, Kind, Severity};
use ntt_source::Masked;
use ntt_testkit::corpus::{corpus, decompressed};
use ntt_testkit::listing::Listing;

use crate::ext_image::{Image, fls, odd_tree, scan};

/// Names that the referee lists and we rightly do not, by image. Each says why.
const ALLOWED: [(&str, &[u8], &str); 1] = [(
    "f_h_unsigned.img",
    b"test2/\xa6^",
    "not a name: the referee takes hashes of an index block (byte 0x588d54) for an entry that leads to the free inode 677; debugfs lists none",
)];

pub(crate) fn small_tree(tree: &Path) {
    for directory in ["a", "b", "a/c"] {
        fs::create_dir(tree.join(directory)).expect("a directory");
    }
    for index in 0..60 {
        let directory = ["a", "b", "a/c"][index % 3];
        fs::write(
            tree.join(format!("{directory}/file {index}")),
            vec![b'x'; index * 700],
        )
        .expect("a file");
    }
}

fn paths(listing: &Listing) -> BTreeSet<Vec<u8>> {
    listing.preferred().map(|name| name.path.clone()).collect()
}

/// Every name that the referee lists from a damaged image is listed.
#[test]
fn r22_damaged_images_lose_no_more_than_the_referee() {
    let Some(corpus) = corpus() else { return };
    let mut images: Vec<_> = fs::read_dir(corpus.join("damaged-ext"))
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(".img.gz"))
        .collect();
    images.sort();
    let mut missing = Vec::new();
    for source in images {
        let image = decompressed(&source);
        let name = image
            .path()
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let bytes = fs::read(image.path()).expect("the image");
        let Some(expected) = fls(image.path()) else { return };
        let opened = ntt_filesystem::open(Family::Ext, Box::new(bytes), 0);
        let ours = match &opened {
            Ok(file_system) => paths(&Listing::of(&**file_system, &ScanOptions::default())),
            Err(error) => {
                eprintln!("{name}: {error}");
                BTreeSet::new()
            }
        };
        let lacking: Vec<_> = expected.difference(&ours).collect();
        eprintln!(
            "{name}: {} of {} names of the referee, {} in all",
            expected.len() - lacking.len(),
            expected.len(),
            ours.len()
        );
        missing.extend(lacking.into_iter().filter_map(|path| {
            let allowed = ALLOWED
                .iter()
                .any(|(image, known, _)| *image == name && known == path);
            (!allowed).then(|| format!("{name}: {}", String::from_utf8_lossy(path)))
        }));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// A wiped superblock and wiped descriptors cost nothing while there are copies.
#[test]
fn r22_copies_serve_for_superblock_and_descriptors() {
    for arguments in [
        &["-t", "ext2", "-b", "1024"][..],
        &["-t", "ext4", "-b", "1024"],
        &["-t", "ext4", "-b", "4096"],
    ] {
        let Some(image) = Image::new(arguments, "160M", odd_tree) else {
            return;
        };
        let bytes = image.bytes();
        let (whole, _) = scan(bytes.clone());
        let mut wiped = bytes.clone();
        let descriptors = if arguments.contains(&"1024") {
            2048..4096
        } else {
            4096..8192
        };
        wiped[1024..2048].fill(0);
        wiped[descriptors].fill(0xff);
        assert_eq!(
            ntt_filesystem::ext::probe(&wiped).expect("recognised").family,
            Family::Ext
        );
        let (listing, _) = scan(wiped.clone());
        assert_eq!(paths(&whole), paths(&listing), "{arguments:?}");
        assert_eq!(whole.contents(&bytes), listing.contents(&wiped));
        assert!(
            listing
                .findings
                .iter()
                .any(|finding| finding.code == FindingCode::BackupUsed)
        );
    }
}

/// R11: a hole in each structure is told apart from corruption and costs only what it hits.
#[test]
fn r11_holes_in_structures_are_unread_findings() {
    let Some(image) = Image::new(&["-t", "ext2", "-b", "1024"], "32M", small_tree) else {
        return;
    };
    let bytes = image.bytes();
    let (whole, _) = scan(bytes.clone());
    let find = |path: &[u8]| {
        whole
            .names
            .iter()
            .find(|name| name.path == path)
            .expect("listed")
            .name
            .inode
    };
    let word = |at: usize| u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four")));
    let table = word(2048 + 8) * 1024;
    let inode_at = |number: u64| table + (number - 1) * 256;
    let directory = find(b"b");
    let directory_block = word(usize::try_from(inode_at(directory) + 0x28).expect("small")) * 1024;
    let holes = [
        ("superblock", ByteRange::new(1024, 1024)),
        ("descriptors", ByteRange::new(2048, 1024)),
        ("inode bitmap", ByteRange::new(word(2048 + 4) * 1024, 1024)),
        (
            "inode table",
            ByteRange::new(inode_at(find(b"b/file 31")) / 1024 * 1024, 1024),
        ),
        ("directory", ByteRange::new(directory_block, 1024)),
    ];
    for (structure, hole) in holes {
        let source = Masked::new(bytes.clone(), vec![hole]);
        let file_system = ntt_filesystem::open(Family::Ext, Box::new(source), 0).expect("opens");
        let listing = Listing::of(&*file_system, &ScanOptions::default());
        let unread = listing
            .findings
            .iter()
            .find(|finding| finding.code == FindingCode::Unread);
        assert_eq!(
            unread.and_then(|finding| finding.image_offset),
            Some(hole.offset),
            "{structure}"
        );
        let lost = whole
            .inodes
            .keys()
            .filter(|number| !listing.inodes.contains_key(number))
            .count();
        assert_eq!(
            lost,
            if structure == "inode table" { 4 } else { 0 },
            "{structure}"
        );
        if structure == "directory" {
            assert!(
                listing
                    .names
                    .iter()
                    .filter(|name| name.path.starts_with(b"#"))
                    .count()
                    >= 20
            );
        }
    }
}

/// R12: a cut image lists what lies before the cut, and says that it is cut.
#[test]
fn r12_a_cut_image_says_so_and_lists_the_rest() {
    let Some(image) = Image::new(&["-t", "ext4"], "64M", odd_tree) else {
        return;
    };
    let mut bytes = image.bytes();
    let (whole, _) = scan(bytes.clone());
    bytes.truncate(bytes.len() / 2);
    let (listing, _) = scan(bytes);
    assert_eq!(paths(&whole), paths(&listing));
    let cut = listing
        .findings
        .iter()
        .find(|finding| finding.code == FindingCode::BeyondEnd);
    assert_eq!(cut.and_then(|finding| finding.image_offset), Some(32 << 20));
}

/// Directories without a name are entered too, under a made-up name.
#[test]
fn r22_what_hangs_on_nothing_is_listed_as_lost() {
    let Some(image) = Image::new(&["-t", "ext4"], "32M", small_tree) else {
        return;
    };
    image.change("unlink a\n");
    let (listing, _) = scan(image.bytes());
    let lost: Vec<_> = listing
        .names
        .iter()
        .filter(|name| name.name.directory == 0)
        .collect();
    assert_eq!(lost.len(), 1);
    let below: Vec<u8> = [&lost[0].path[..], b"/c/file 2"].concat();
    assert!(paths(&listing).contains(&below));
    assert!(
        listing
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::Orphan)
    );
}

/// A directory reached twice, or through itself, is entered once and its names are kept.
#[test]
fn r22_loops_end_and_keep_their_names() {
    let Some(image) = Image::new(&["-t", "ext4"], "32M", small_tree) else {
        return;
    };
    image.change("link a a/c/loop\nlink b second\n");
    let (listing, _) = scan(image.bytes());
    let names = paths(&listing);
    assert!(names.contains(&b"a/c/loop"[..]) && names.contains(&b"second"[..]));
    assert!(
        listing
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::Loop)
    );
    assert!(
        listing
            .inodes
            .values()
            .filter(|inode| inode.kind == Kind::Directory)
            .count()
            == 5
    );
}

/// Groups of an unusual length: the copy of the superblock is found all the same, if one asks for it.
#[test]
fn r22_a_superblock_is_found_in_groups_of_any_length() {
    for arguments in [
        &["-t", "ext2", "-b", "1024", "-g", "2048"][..],
        &["-t", "ext4", "-b", "4096", "-g", "1024"],
    ] {
        let Some(image) = Image::new(arguments, "16M", small_tree) else {
            return;
        };
        let mut bytes = image.bytes();
        let (whole, _) = scan(bytes.clone());
        bytes[1024..2048].fill(0);
        assert_eq!(ntt_filesystem::probe(&bytes), [], "{arguments:?}");
        let found = ntt_filesystem::probe_deep(&bytes);
        assert_eq!(found.len(), 1, "{arguments:?}");
        assert!(found[0].evidence.contains("in group 1"), "{}", found[0].evidence);
        let (listing, _) = scan(bytes);
        assert_eq!(paths(&whole), paths(&listing), "{arguments:?}");
    }
}

/// Without any copy of the descriptors, tables are where mke2fs puts them, with and without `flex_bg`.
#[test]
fn r22_tables_are_found_without_descriptors() {
    for (arguments, size) in [
        (&["-t", "ext2", "-b", "1024"][..], "6M"),
        (&["-t", "ext4", "-b", "1024"], "6M"),
        (&["-t", "ext4", "-b", "1024", "-G", "4"], "30M"),
        (&["-t", "ext4", "-b", "4096"], "32M"),
    ] {
        let Some(image) = Image::new(arguments, size, small_tree) else {
            return;
        };
        let mut bytes = image.bytes();
        let (whole, _) = scan(bytes.clone());
        let block = if arguments.contains(&"1024") { 1024 } else { 4096 };
        let first = usize::from(block == 1024);
        for group in [0, 1, 3] {
            let at = (group * 8 * block + first + 1) * block;
            if at < bytes.len() {
                bytes[at..at + block].fill(0xa5);
            }
        }
        let (listing, _) = scan(bytes);
        assert_eq!(paths(&whole), paths(&listing), "{arguments:?}");
        let told = |listing: &Listing| {
            listing
                .findings
                .iter()
                .any(|finding| finding.detail.contains("descriptor"))
        };
        assert!(told(&listing) && !told(&whole), "{arguments:?}");
    }
}

/// R11, R17: a log that has to be replayed and cannot be read may hold anything: that is a loss at its place.
#[test]
fn r17_a_log_that_cannot_be_read_is_a_loss() {
    let Some(image) = Image::new(&["-t", "ext4", "-b", "1024"], "64M", small_tree) else {
        return;
    };
    let source = image.path().with_extension("blocks");
    fs::write(&source, vec![0; 1024]).expect("a file");
    image.change(&format!("jo -c\njw -b 9000 {}\njc\n", source.display()));
    let bytes = image.bytes();
    let mut blocks = bytes.windows(8).step_by(1024);
    let superblock = blocks.position(|window| window == [0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 4]);
    let log = (superblock.expect("the journal") as u64 + 1) * 1024;
    for (hole, is_lost) in [(log, true), (log + 400 * 1024, false)] {
        let source = Masked::new(bytes.clone(), vec![ByteRange::new(hole, 1024)]);
        let file_system = ntt_filesystem::open(Family::Ext, Box::new(source), 0).expect("opens");
        let listing = Listing::of(&*file_system, &ScanOptions::default());
        let unread = listing
            .findings
            .iter()
            .find(|finding| finding.code == FindingCode::Unread);
        let told = unread.map(|finding| (finding.severity, finding.image_offset));
        let expected = is_lost.then_some((Severity::Loss, Some(hole)));
        assert_eq!(told, expected, "{:?}", listing.findings);
    }
}
