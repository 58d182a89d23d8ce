//! What cramfs has beside names and contents.

use std::fs;

use ntt_filesystem::{Error, Family, ScanOptions, open, probe};
use ntt_model::entry::{Encoding, Inode};
use ntt_model::{ByteRange, ExtentKind, FindingCode, Kind, Severity};
use ntt_source::Masked;
use ntt_testkit::corpus::have;
use ntt_testkit::lab::make::run;
use ntt_testkit::lab::watch::Bytes;
use ntt_testkit::listing::Listing;

fn listing(image: &[u8]) -> Listing {
    let volume = open(Family::Cramfs, Box::new(Bytes(image)), 0).expect("the image opens");
    Listing::of(&*volume, &ScanOptions::default())
}

fn inode<'l>(listing: &'l Listing, path: &str) -> &'l Inode {
    let mut names = listing.names.iter();
    let name = names.find(|name| name.path == path.as_bytes()).expect(path);
    &listing.inodes[&name.name.inode]
}

fn made(script: &str, arguments: &[&str]) -> Option<Vec<u8>> {
    if !have("mkfs.cramfs") {
        return None;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("tree")).expect("a new folder");
    run("sh", &["-ec", script], &folder.path().join("tree"));
    run(
        "mkfs.cramfs",
        &[arguments, &["tree", "image"]].concat(),
        folder.path(),
    );
    Some(fs::read(folder.path().join("image")).expect("the image"))
}

#[test]
fn both_orders_and_a_superblock_behind_boot_code() {
    for order in ["little", "big"] {
        let script = "mkdir d; echo content > d/file; ln -s d/file link; mkfifo pipe";
        let Some(image) = made(script, &["-N", order, "-n", "NAME"]) else {
            return;
        };
        let found = listing(&image);
        assert_eq!(found.findings, [], "{order}");
        assert_eq!(inode(&found, "link").target.as_deref(), Some(&b"d/file"[..]));
        assert_eq!((inode(&found, "pipe").kind, found.names.len()), (Kind::Fifo, 4));
        let candidate = &probe(&Bytes(&image))[0];
        assert!(candidate.evidence.contains(order), "{}", candidate.evidence);

        let behind = [&[0; 512][..], &image].concat();
        let found = listing(&behind);
        assert_eq!((found.findings.len(), found.names.len()), (0, 4));
        let extent = inode(&found, "d/file").data().expect("content").extents[0];
        let at = usize::try_from(extent.image_offset).expect("an offset");
        // zlib begins with 0x78.
        assert_eq!((behind[at], extent.kind), (0x78, ExtentKind::Data));
    }
}

#[test]
fn holes_have_no_unit() {
    let script = "{ yes a | head -c 4096; head -c 20480 /dev/zero; yes b | head -c 100; } > holes";
    let Some(image) = made(script, &["-z"]) else {
        return;
    };
    let found = listing(&image);
    let stream = inode(&found, "holes").data().expect("content");
    let Encoding::Packed(units) = &stream.encoding else {
        panic!("not packed")
    };
    let runs: Vec<_> = units.iter().map(|unit| (unit.logical_offset, unit.len)).collect();
    assert_eq!(runs, [(0, 4096), (24_576, 100)]);
}

#[test]
fn r22_directories_in_circles_end() {
    let Some(mut image) = made("mkdir -p a/b; echo x > a/b/x", &[]) else {
        return;
    };
    let whole = listing(&image);
    assert_eq!(whole.names.len(), 3);
    // The inode of `b` stands where its number says; its data then begins where that of `a` does.
    let place = |path| usize::try_from(inode(&whole, path).number).expect("an offset");
    let (a, b) = (place("a"), place("a/b"));
    let offset = image[a + 8..a + 12].to_vec();
    image[b + 8..b + 12].copy_from_slice(&offset);
    let found = listing(&image);
    assert!(
        found
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::Loop)
    );
    assert_eq!(found.names.len(), 2);
}

/// The checksum over the whole image is the only witness of names and places. Nothing is said of it where a part of the image was never read.
#[test]
fn r22_a_flipped_bit_contradicts_the_checksum_of_the_image() {
    for arguments in [&["-p"][..], &["-N", "big", "-p"], &["-N", "big"], &[]] {
        let Some(image) = made("echo content > file; mkdir d; echo more > d/more", arguments) else {
            return;
        };
        let whole = listing(&image);
        assert_eq!((whole.findings.len(), whole.names.len()), (0, 3), "{arguments:?}");
        let name = image
            .windows(4)
            .position(|bytes| bytes == b"file")
            .expect("the name");
        let mut flipped = image.clone();
        flipped[name + 3] ^= 1;
        let found = listing(&flipped);
        let place = u64::try_from(if arguments.contains(&"-p") { 512 } else { 0 }).ok();
        let told: Vec<_> = found
            .findings
            .iter()
            .map(|finding| (finding.severity, finding.code, finding.image_offset))
            .collect();
        assert_eq!(
            told,
            [(Severity::Loss, FindingCode::Corrupt, place)],
            "{arguments:?}"
        );
        assert!(found.findings[0].detail.contains("checksum over the whole image"));
        // Of the padding at the end nothing else depends.
        let unread = ByteRange::new(u64::try_from(image.len()).expect("small") - 512, 512);
        let source = Masked::new(Bytes(&flipped), vec![unread]);
        let volume = open(Family::Cramfs, Box::new(source), 0).expect("the image opens");
        assert_eq!(Listing::of(&*volume, &ScanOptions::default()).findings, []);
    }
}

#[test]
fn no_superblock_is_an_error() {
    let result = open(Family::Cramfs, Box::new(Bytes(&[0; 4096])), 0);
    assert!(matches!(result.err(), Some(Error::Corrupt { .. })));
}
