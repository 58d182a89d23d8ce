//! What damage to structures of UFS costs, and what real images hold.

use ntt_filesystem::{Family, FileSystem, ScanOptions, open, probe, probe_deep};
use ntt_model::{ByteRange, FindingCode};
use ntt_source::FileSource;
use ntt_testkit::corpus::corpus_image;
use ntt_testkit::lab::corpus::{Size, Spec};
use ntt_testkit::lab::make::ufs;
use ntt_testkit::lab::watch::Bytes;
use ntt_testkit::listing::Listing;

const MAGIC_OF_GROUP: [u8; 4] = [0x55, 0x02, 0x09, 0];

fn opened(image: &[u8]) -> Box<dyn FileSystem + '_> {
    open(Family::Ufs, Box::new(Bytes(image)), 0).expect("the image opens")
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

fn made(version: u8) -> Option<Vec<u8>> {
    let image = ufs(version, "le", "bsize=4096,fsize=512", &Spec::posix(Size::Small))?;
    Some(image.bytes())
}

/// R22: copies of the superblock stand in every group.
#[test]
fn r22_a_copy_of_the_superblock_is_used() {
    for version in [1, 2] {
        let Some(mut image) = made(version) else { return };
        let whole = listing(&image);
        assert_eq!(whole.findings, []);
        image[8192..8192 + 1376].fill(0);
        assert!(probe(&Bytes(&image)).is_empty());
        assert_eq!(probe_deep(&Bytes(&image)).len(), 1);
        let damaged = listing(&image);
        assert!(has(&damaged, FindingCode::BackupUsed, "a copy of it was used"));
        assert_eq!(paths(&damaged), paths(&whole));
    }
}

/// R22: without the header of a group its inodes are looked for.
#[test]
fn r22_a_group_without_header_keeps_its_inodes() {
    let Some(mut image) = made(2) else { return };
    let whole = listing(&image);
    let headers: Vec<_> = (4..image.len())
        .step_by(512)
        .filter(|at| image.get(*at..at + 4) == Some(&MAGIC_OF_GROUP))
        .collect();
    assert!(!headers.is_empty());
    for at in headers {
        image[at - 4..at + 508].fill(0);
    }
    let damaged = listing(&image);
    assert!(has(
        &damaged,
        FindingCode::Corrupt,
        "the header of group 0 is damaged"
    ));
    assert_eq!(paths(&damaged), paths(&whole));
}

#[test]
fn allocated_runs_hold_all_content() {
    for version in [1, 2] {
        let Some(image) = made(version) else { return };
        let mut runs: Vec<ByteRange> = Vec::new();
        opened(&image).allocated(&mut |run| runs.push(run)).expect("told");
        assert!(runs.windows(2).all(|pair| pair[0].end() < pair[1].offset));
        let used: u64 = runs.iter().map(|run| run.len).sum();
        assert!(used < u64::try_from(image.len()).expect("small"), "{used}");
        let listing = listing(&image);
        let streams = listing.inodes.values().flat_map(|inode| &inode.streams);
        for extent in streams.flat_map(|stream| &stream.extents) {
            let range = ByteRange::new(extent.image_offset, extent.len);
            assert!(runs.iter().any(|run| run.contains_range(&range)), "{range:?}");
        }
    }
}

#[test]
fn public_images_are_listed() {
    let files: &[&[u8]] = &[
        b"hello.txt",
        b"large.bin",
        b"link.txt",
        b"subdir",
        b"subdir/nested.txt",
        b"tiny.txt",
    ];
    for (name, kind, order, expected) in [
        ("retro/test_ufs2.img.zst", "ufs2", "little-endian", files),
        ("disktype/ufs-darwin.image.gz", "ufs1", "big-endian", &[]),
    ] {
        let Some(image) = corpus_image(name) else { return };
        let source = FileSource::open(image.path()).expect("an image");
        assert_eq!(probe(&source).len(), 1, "{name}");
        let volume = open(Family::Ufs, Box::new(source), 0).expect("the image opens");
        assert_eq!(volume.facts().type_name, kind);
        assert_eq!(volume.facts().details[0].1, order);
        let listing = Listing::of(&*volume, &ScanOptions::default());
        assert_eq!(listing.findings, [], "{name}");
        assert_eq!(paths(&listing), expected, "{name}");
    }
}

/// The first MiB of a volume of 2 GiB: what it says of itself is known, what is cut off is said.
#[test]
fn r12_a_cut_volume_says_so() {
    let Some(image) = corpus_image("detect/ufs.img.xz") else {
        return;
    };
    let source = FileSource::open(image.path()).expect("an image");
    let volume = open(Family::Ufs, Box::new(source), 0).expect("the image opens");
    assert_eq!(volume.facts().uuid.as_deref(), Some("4b0e640aec56ac70"));
    let listing = Listing::of(&*volume, &ScanOptions::default());
    assert!(has(
        &listing,
        FindingCode::BeyondEnd,
        "the file system has 2508677120 bytes"
    ));
    assert!(has(&listing, FindingCode::BeyondEnd, "a block of a directory"));
}
