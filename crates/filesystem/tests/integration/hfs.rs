//! HFS by hfsutils, MFS by the crate `macfs`, and real floppies.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::PathBuf;

use macfs::{ImageFormat, MfsVolume};
use ntt_filesystem::{Family, ScanOptions, State, TimeZone, open, probe};
use ntt_model::entry::{Inode, StreamKind};
use ntt_model::{FindingCode, Kind, Severity};
use ntt_testkit::corpus::{corpus_image, have};
use ntt_testkit::hfsplus::content;
use ntt_testkit::lab::apple::hfsutils;
use ntt_testkit::listing::Listing;
use tempfile::TempDir;

fn listing(family: Family, image: &[u8]) -> Listing {
    let volume = open(family, Box::new(image.to_vec()), 0).expect("opens");
    Listing::of(&*volume, &ScanOptions::default())
}

fn complaints(listing: &Listing) -> Vec<String> {
    let bad = listing
        .findings
        .iter()
        .filter(|finding| finding.severity > Severity::Info);
    bad.map(ToString::to_string).collect()
}

fn inode<'l>(listing: &'l Listing, path: &[u8]) -> &'l Inode {
    let named = listing
        .names
        .iter()
        .find(|named| named.path == path)
        .expect("listed");
    &listing.inodes[&named.name.inode]
}

/// The bytes of a stream through its extents.
fn bytes(image: &[u8], inode: &Inode, kind: &StreamKind) -> Vec<u8> {
    let stream = inode
        .streams
        .iter()
        .find(|stream| stream.kind == *kind)
        .expect("a stream");
    assert!(!stream.extents_incomplete);
    let part = |extent: &ntt_model::Extent| {
        let start = usize::try_from(extent.image_offset).expect("small");
        image[start..start + usize::try_from(extent.len).expect("small")].to_vec()
    };
    stream.extents.iter().flat_map(part).collect()
}

fn resource() -> StreamKind {
    StreamKind::Named(b"rsrc".to_vec())
}

/// A floppy of 1440 KB and its tools.
struct Floppy {
    folder: TempDir,
    path: PathBuf,
}

impl Floppy {
    fn new() -> Option<Self> {
        (have("hformat") && have("hcopy")).then_some(())?;
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("floppy");
        std::fs::write(&path, vec![0; 1_474_560]).expect("written");
        let floppy = Self { folder, path };
        floppy.run(
            "hformat",
            &["-l", "A Floppy", floppy.path.to_str().expect("plain")],
        );
        Some(floppy)
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = hfsutils(self.folder.path(), program, arguments);
        assert!(output.is_some(), "{program} {arguments:?}");
    }

    fn copy(&self, bytes: &[u8], mode: &str, target: &str) {
        let source = self.folder.path().join("source");
        std::fs::write(&source, bytes).expect("written");
        self.run("hcopy", &[mode, source.to_str().expect("plain"), target]);
    }

    fn image(&self) -> Vec<u8> {
        self.run("humount", &[]);
        std::fs::read(&self.path).expect("the image")
    }
}

/// Both forks of a file in a MacBinary II file.
fn mac_binary(name: &str, data: &[u8], resource: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    bytes[1] = u8::try_from(name.len()).expect("short");
    bytes[2..2 + name.len()].copy_from_slice(name.as_bytes());
    bytes[65..73].copy_from_slice(b"TEXTttxt");
    for (at, part) in [(83, data), (87, resource)] {
        bytes[at..at + 4].copy_from_slice(&u32::try_from(part.len()).expect("small").to_be_bytes());
    }
    for at in [91, 95] {
        bytes[at..at + 4].copy_from_slice(&3_000_000_000_u32.to_be_bytes());
    }
    bytes[122..124].fill(129);
    let sum = crc(&bytes[..124]).to_be_bytes();
    bytes[124..126].copy_from_slice(&sum);
    for part in [data, resource] {
        bytes.extend_from_slice(part);
        bytes.resize(bytes.len().next_multiple_of(128), 0);
    }
    bytes
}

/// CRC-16 with the polynomial of CCITT, from 0.
fn crc(bytes: &[u8]) -> u16 {
    let step = |sum: u16, _| {
        if sum & 0x8000 == 0 {
            sum << 1
        } else {
            (sum << 1) ^ 0x1021
        }
    };
    bytes
        .iter()
        .fold(0, |sum, byte| (0..8).fold(sum ^ (u16::from(*byte) << 8), step))
}

#[test]
fn r27_both_forks_type_and_creator_are_kept() {
    let Some(floppy) = Floppy::new() else { return };
    floppy.run("hmkdir", &[":Folder"]);
    floppy.copy(
        &mac_binary("Read Me", b"data", &content(1, 3000)),
        "-m",
        ":Folder:",
    );
    floppy.copy(b"10 to 12", "-r", ":10/12/98");
    let image = floppy.image();
    let found = listing(Family::Hfs, &image);
    assert_eq!(complaints(&found), Vec::<String>::new());
    let file = inode(&found, b"Folder/Read Me");
    assert_eq!(bytes(&image, file, &StreamKind::Data), b"data");
    assert!(bytes(&image, file, &resource()) == content(1, 3000));
    assert_eq!(
        (&file.xattrs[0].name[..], &file.xattrs[0].value[..8]),
        (&b"com.apple.FinderInfo"[..], &b"TEXTttxt"[..])
    );
    assert_eq!(
        bytes(&image, inode(&found, b"10:12:98"), &StreamKind::Data),
        b"10 to 12"
    );
    let volume = open(Family::Hfs, Box::new(image), 0).expect("opens");
    let facts = volume.facts();
    assert_eq!(
        (&facts.label[..], facts.state, facts.time_zone),
        (&b"A Floppy"[..], State::Clean, TimeZone::UnknownLocal)
    );
}

/// Contents by path.
type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// A floppy on which every other file was deleted, so that the last one lies in many pieces.
fn fragmented() -> Option<(Vec<u8>, Contents)> {
    let floppy = Floppy::new()?;
    let mut truth = BTreeMap::new();
    for number in 0..70_u64 {
        let bytes = content(number, 20_000);
        floppy.copy(&bytes, "-r", &format!(":file {number:02}"));
        truth.insert(format!("file {number:02}").into_bytes(), bytes);
    }
    for number in (0..70).step_by(2) {
        floppy.run("hdel", &[&format!(":file {number:02}")]);
        truth.remove(format!("file {number:02}").as_bytes());
    }
    let bytes = content(999, 500_000);
    floppy.copy(&bytes, "-r", ":in pieces");
    truth.insert(b"in pieces".to_vec(), bytes);
    Some((floppy.image(), truth))
}

fn contents(image: &[u8], found: &Listing) -> Contents {
    let files = found
        .names
        .iter()
        .filter(|named| found.inodes[&named.name.inode].kind == Kind::File);
    let content = |named: &ntt_testkit::listing::ListedName| {
        let inode = &found.inodes[&named.name.inode];
        (named.path.clone(), bytes(image, inode, &StreamKind::Data))
    };
    files.map(content).collect()
}

#[test]
fn extents_beyond_the_third_are_in_the_overflow_file() {
    let Some((image, truth)) = fragmented() else {
        return;
    };
    let found = listing(Family::Hfs, &image);
    assert_eq!(complaints(&found), Vec::<String>::new());
    assert!(inode(&found, b"in pieces").streams[0].extents.len() > 3);
    assert!(contents(&image, &found) == truth);
}

/// R22: the copy of the master directory block serves, and the index of the catalogue is not needed.
#[test]
fn r22_copy_and_sweep_serve_for_hfs() {
    let Some((image, truth)) = fragmented() else {
        return;
    };
    let mut without_mdb = image.clone();
    without_mdb[1024..1536].fill(0);
    assert!(
        probe(&without_mdb)
            .iter()
            .any(|candidate| candidate.family == Family::Hfs)
    );
    let found = listing(Family::Hfs, &without_mdb);
    assert_eq!(found.findings[0].code, FindingCode::BackupUsed);
    assert!(contents(&image, &found) == truth);

    let half = |at: usize| usize::from(u16::from_be_bytes([image[at], image[at + 1]]));
    let catalog = half(1024 + 28) * 512 + half(1024 + 150) * 512;
    let nodes = (0..half(1024 + 152)).map(|node| catalog + node * 512);
    let mut without_index = image.clone();
    let mut without_leaves = Vec::new();
    for node in nodes {
        match (image[node + 8], image[node + 9]) {
            (0, 2..) => without_index[node..node + 512].fill(0),
            (0xff, 1) => without_leaves.push(node),
            _ => {}
        }
    }
    assert!(without_index != image);
    let found = listing(Family::Hfs, &without_index);
    assert!(contents(&image, &found) == truth && !complaints(&found).is_empty());
    for leaf in without_leaves.iter().step_by(3) {
        let mut damaged = image.clone();
        damaged[*leaf..leaf + 512].fill(0xf6);
        let found = contents(&image, &listing(Family::Hfs, &damaged));
        let lost = truth
            .iter()
            .filter(|(path, bytes)| found.get(*path) != Some(bytes))
            .count();
        assert!(lost <= 4, "{lost}");
    }
}

/// A floppy that its collection files as FAT12 too, and the HFS side of a hybrid disc.
#[test]
fn r18_public_volumes_of_hfs() {
    for (path, names) in [
        ("preservation/hello-world-hfs.img.gz", 1),
        ("disktype/hfs.image.gz", 0),
        ("disktype/iso9660-hybrid.image.gz", 12),
    ] {
        let Some(copy) = corpus_image(path) else { return };
        let image = std::fs::read(copy.path()).expect("the image");
        assert!(
            probe(&image)
                .iter()
                .any(|candidate| candidate.family == Family::Hfs),
            "{path}"
        );
        let found = listing(Family::Hfs, &image);
        assert_eq!(complaints(&found), Vec::<String>::new(), "{path}");
        assert_eq!(found.names.len(), names, "{path}");
    }
}

/// Boot blocks that look like a boot sector of a PC do not hide the volume.
#[test]
fn r14_boot_blocks_do_not_matter() {
    let Some(floppy) = Floppy::new() else { return };
    floppy.copy(b"x", "-r", ":file");
    let mut image = floppy.image();
    image[..3].copy_from_slice(&[0xeb, 0x3c, 0x90]);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    let families: Vec<_> = probe(&image).iter().map(|candidate| candidate.family).collect();
    assert_eq!(families, [Family::Hfs]);
}

fn mfs_image(fill: impl FnOnce(&mut MfsVolume)) -> Vec<u8> {
    let mut volume = MfsVolume::format(400 * 1024, "Desk", ImageFormat::Raw).expect("a volume");
    fill(&mut volume);
    let mut bytes = Cursor::new(Vec::new());
    volume.save_to(&mut bytes).expect("in memory");
    bytes.into_inner()
}

#[test]
fn r27_mfs_forks_and_versions() {
    let mut image = mfs_image(|volume| {
        volume
            .add_file("first", *b"APPL", *b"MACS", b"data", &content(3, 5000))
            .expect("room");
        volume
            .add_file("second", *b"TEXT", *b"ttxt", &content(4, 100_000), b"")
            .expect("room");
        volume.delete_file("first").expect("deleted");
        volume
            .add_file(
                "in pieces",
                *b"TEXT",
                *b"ttxt",
                &content(5, 30_000),
                &content(6, 700),
            )
            .expect("room");
    });
    // The version of the first entry of the directory.
    let directory = usize::from(u16::from_be_bytes([image[1038], image[1039]])) * 512;
    image[directory + 1] = 3;
    assert_eq!(
        probe(&image).first().map(|candidate| candidate.family),
        Some(Family::Mfs)
    );
    let found = listing(Family::Mfs, &image);
    assert_eq!(complaints(&found), Vec::<String>::new());
    let mut names: Vec<_> = found.names.iter().map(|named| &named.path[..]).collect();
    names.sort_unstable();
    let versioned = names.iter().filter(|name| name.ends_with(b";3")).count();
    assert_eq!((names.len(), versioned), (2, 1), "{names:?}");
    let plain = |name: &[u8]| {
        let found = found
            .names
            .iter()
            .find(|named| named.path.starts_with(name))
            .expect("listed");
        found.name.inode
    };
    let file = &found.inodes[&plain(b"in pieces")];
    assert!(bytes(&image, file, &StreamKind::Data) == content(5, 30_000));
    assert!(bytes(&image, file, &resource()) == content(6, 700));
    assert!(file.data().expect("data").extents.len() > 1);
    assert_eq!(&file.xattrs[0].value[..8], b"TEXTttxt");
    let volume = open(Family::Mfs, Box::new(image.clone()), 0).expect("opens");
    let mut used = 0;
    volume.allocated(&mut |range| used += range.len).expect("told");
    let blocks = u64::from(u16::from_be_bytes([image[1024 + 18], image[1024 + 19]]));
    let free = u64::from(u16::from_be_bytes([image[1024 + 34], image[1024 + 35]]));
    assert_eq!(used, 409_600 - free * 1024, "{blocks} blocks");
}
