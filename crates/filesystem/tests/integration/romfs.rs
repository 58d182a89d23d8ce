//! What romfs has beside names and contents.

use std::fs;

use ntt_filesystem::{Error, Family, ScanOptions, open, probe};
use ntt_model::entry::Inode;
use ntt_model::{FindingCode, Kind, Severity};
use ntt_testkit::corpus::have;
use ntt_testkit::lab::make::run;
use ntt_testkit::lab::watch::Bytes;
use ntt_testkit::listing::Listing;

fn listing(image: &[u8]) -> Listing {
    let volume = open(Family::Romfs, Box::new(Bytes(image)), 0).expect("the image opens");
    Listing::of(&*volume, &ScanOptions::default())
}

fn inode<'l>(listing: &'l Listing, path: &str) -> &'l Inode {
    let mut names = listing.names.iter();
    let name = names.find(|name| name.path == path.as_bytes()).expect(path);
    &listing.inodes[&name.name.inode]
}

fn made(script: &str) -> Option<Vec<u8>> {
    if !have("genromfs") {
        return None;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("tree")).expect("a new folder");
    run("sh", &["-ec", script], &folder.path().join("tree"));
    run(
        "genromfs",
        &["-V", "NAME", "-d", "tree", "-f", "image"],
        folder.path(),
    );
    Some(fs::read(folder.path().join("image")).expect("the image"))
}

#[test]
fn links_and_kinds() {
    let script = "mkdir d; echo content > d/file; chmod +x d/file; ln d/file hard; ln -s d/file link; mkfifo pipe; touch empty";
    let Some(image) = made(script) else { return };
    let found = listing(&image);
    assert_eq!(found.findings, []);
    assert_eq!(inode(&found, "hard").number, inode(&found, "d/file").number);
    assert_eq!(inode(&found, "d/file").mode, Some(0o755));
    assert_eq!(inode(&found, "link").target.as_deref(), Some(&b"d/file"[..]));
    assert_eq!((inode(&found, "pipe").kind, found.names.len()), (Kind::Fifo, 6));
    assert_eq!(probe(&Bytes(&image))[0].type_name, "romfs");
}

/// R22: names and contents hang on what has a wrong checksum.
#[test]
fn r22_a_wrong_checksum_is_a_loss() {
    let Some(image) = made("mkdir d; echo content > d/file; echo other > d/other") else {
        return;
    };
    let found = listing(&image);
    assert_eq!(found.findings, []);
    let [file, folder] = ["d/file", "d"].map(|path| inode(&found, path).number);
    let root = image.windows(2).position(|name| name == b".\0").expect("a name") as u64 - 16;
    for (header, at) in [(file, 16), (file, 8), (folder, 4), (root, 15)] {
        let mut changed = image.clone();
        changed[usize::try_from(header).expect("an offset") + at] ^= 1;
        let told = listing(&changed).findings;
        let is_told = told.iter().any(|finding| {
            finding.severity == Severity::Loss
                && finding.detail == "the checksum of a header is wrong"
                && finding.image_offset == Some(header)
        });
        assert!(is_told, "{header:#x} + {at}: {told:?}");
    }
    let mut changed = image;
    changed[12] ^= 1;
    let told = listing(&changed).findings;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].severity, Severity::Loss);
}

#[test]
fn r22_chains_in_circles_end() {
    let Some(mut image) = made("echo a > a; echo b > b; echo c > c") else {
        return;
    };
    let whole = listing(&image);
    let place = |path| usize::try_from(inode(&whole, path).number).expect("an offset");
    let first = ["a", "b", "c"].map(place).into_iter().min().expect("three");
    let last = ["a", "b", "c"].map(place).into_iter().max().expect("three");
    let back = u32::try_from(first).expect("an offset") | 2;
    image[last..last + 4].copy_from_slice(&back.to_be_bytes());
    let found = listing(&image);
    assert_eq!(found.names.len(), 3);
    assert!(
        found
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::Loop)
    );
}

#[test]
fn what_is_none_is_refused() {
    for bytes in [
        &b"-rom1fs-"[..],
        &[0; 64],
        b"-rom1fs-\0\0\0\x04\0\0\0\0NAME\0\0\0\0\0\0\0\0\0\0\0\0",
    ] {
        assert_eq!(probe(&Bytes(bytes)), []);
        let result = open(Family::Romfs, Box::new(Bytes(bytes)), 0);
        assert!(matches!(
            result.err(),
            Some(Error::Corrupt { .. } | Error::Read { .. })
        ));
    }
}
