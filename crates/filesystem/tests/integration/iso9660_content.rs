//! Contents that are more than one run of bytes: packed, in sections, with a fork.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ntt_model::entry::{Encoding, Stream, StreamKind};
use ntt_model::{ByteRange, Kind};
use ntt_source::extents::{Missing, Piece};
use ntt_testkit::corpus::have;

use crate::iso9660_made::{codes, last_position, listing, made};

/// What zisofs-tools and libisofs compress comes back byte for byte; holes cost no unit.
#[test]
fn zisofs_files_are_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let contents = compressible(dir.path());
    let mut images = Vec::from_iter(zisofs(dir.path()));
    images.extend(mkzftree(dir.path()));
    for image in &images {
        let listing = listing(image);
        assert_eq!(listing.findings, []);
        for name in listing.preferred().filter(|name| name.path != b"short") {
            let stream = listing.inodes[&name.name.inode].data().unwrap();
            let expected = &contents[&name.path];
            let (bytes, missing) = unpacked(image, stream);
            assert!(
                bytes == *expected && missing == Missing::default(),
                "{:?}",
                name.path
            );
            let Encoding::Packed(units) = &stream.encoding else {
                panic!("{:?}", name.path)
            };
            assert!(name.path != b"zeros" || units.len() <= 1, "{units:?}");
        }
    }
}

/// Damaged block pointers cost the blocks that they lead to; a file without the magic is given as it is.
#[test]
fn r22_zisofs_damage_costs_its_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let contents = compressible(dir.path());
    let Some(image) = mkzftree(dir.path()) else { return };
    let text = &contents[b"text".as_slice()];
    let found = |image: &[u8]| {
        let listing = listing(image);
        let name = listing
            .preferred()
            .find(|name| name.path == b"text")
            .expect("text")
            .clone();
        (
            listing.inodes[&name.name.inode].data().unwrap().clone(),
            codes(&listing),
        )
    };
    let start = usize::try_from(found(&image).0.extents[0].image_offset).unwrap();
    let mut backwards = image.clone();
    backwards[start + 16 + 4..start + 16 + 8].copy_from_slice(&3_u32.to_le_bytes());
    let (bytes, missing) = unpacked(&backwards, &found(&backwards).0);
    assert_eq!(missing.ranges, [ByteRange::new(0, 65_536)]);
    assert!(bytes[65_536..] == text[65_536..]);
    let mut other = image.clone();
    other[start] ^= 1;
    let (stream, codes) = found(&other);
    assert!(stream.encoding == Encoding::Plain && codes.contains("Corrupt"));
    let cut = &image[..start + 20];
    let (stream, codes) = found(cut);
    let (_, missing) = unpacked(cut, &stream);
    assert_eq!(
        missing.ranges,
        [ByteRange::new(0, u64::try_from(text.len()).unwrap())]
    );
    assert!(
        codes.contains("Limit") || codes.contains("BeyondEnd"),
        "{codes:?}"
    );
}

/// Contents that compress, by the path they get on the disc; written below `dir`.
fn compressible(dir: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let text = (0..40_000)
        .map(|line| format!("line {line}\n"))
        .collect::<String>();
    let mut holes = vec![0; 150_000];
    holes.extend(text.as_bytes());
    holes.extend(vec![0; 70_000]);
    let contents = [
        ("zeros", vec![0; 200_000]),
        ("text", text.into_bytes()),
        ("holes", holes),
        ("short", b"not worth it".to_vec()),
    ];
    fs::create_dir_all(dir.join("plain")).unwrap();
    for (name, content) in &contents {
        fs::write(dir.join("plain").join(name), content).unwrap();
    }
    contents
        .map(|(name, content)| (name.as_bytes().to_vec(), content))
        .into()
}

fn unpacked(image: &[u8], stream: &Stream) -> (Vec<u8>, Missing) {
    let mut bytes = Vec::new();
    let missing = ntt_codec::read_stream::<Infallible>(&image.to_vec(), stream, &mut |piece| {
        match piece {
            Piece::Bytes(more) => bytes.extend_from_slice(more),
            Piece::Zeros(len) => bytes.resize(bytes.len() + usize::try_from(len).unwrap(), 0),
        }
        Ok(())
    });
    (bytes, missing.unwrap_or_else(|never| match never {}))
}

/// A disc of files that mkzftree compressed.
fn mkzftree(dir: &Path) -> Option<Vec<u8>> {
    if !have("mkzftree") || !have("genisoimage") {
        return None;
    }
    let (packed, image) = (dir.join("packed"), dir.join("mkzftree.iso"));
    let run = |command: &mut Command| assert!(command.status().unwrap().success());
    run(Command::new("mkzftree").arg(dir.join("plain")).arg(&packed));
    run(Command::new("genisoimage")
        .args(["-quiet", "-R", "-z", "-o"])
        .arg(&image)
        .arg(&packed));
    fs::read(image).ok()
}

/// A disc of files that libisofs compressed.
fn zisofs(dir: &Path) -> Option<Vec<u8>> {
    if !have("xorriso") {
        return None;
    }
    let image: PathBuf = dir.join("z.iso");
    let status = Command::new("xorriso")
        .args(["-report_about", "FATAL", "-outdev"])
        .arg(&image)
        .arg("-map")
        .arg(dir.join("plain"))
        .args([
            "/",
            "-find",
            "/",
            "-type",
            "f",
            "-exec",
            "set_filter",
            "--zisofs",
            "--",
            "-commit",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    fs::read(image).ok()
}

/// An associated file is the resource fork of the file of the same name, and files of several sections are one (hand-made).
#[test]
fn sections_and_associated_files_are_folded() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("AAA"), vec![1; 2048]).unwrap();
    fs::write(dir.path().join("AAB"), vec![2; 100]).unwrap();
    let Some(image) = made("genisoimage", &[], dir.path()) else {
        return;
    };
    let flags = |flag: u8| {
        let mut image = image.clone();
        let (first, second) = (
            last_position(&image, b"AAA.;1") - 33,
            last_position(&image, b"AAB.;1") - 33,
        );
        image[first + 25] = flag;
        image[second + 33 + 2] = b'A';
        let listing = listing(&image);
        assert_eq!(listing.preferred().count(), 1, "{:?}", listing.findings);
        assert_eq!(listing.findings, []);
        listing
    };
    let whole = flags(0x80);
    let inode = whole
        .inodes
        .values()
        .find(|inode| inode.kind == Kind::File)
        .unwrap();
    assert_eq!(inode.size_bytes(), 2148);
    let forked = flags(0x04);
    let inode = forked
        .inodes
        .values()
        .find(|inode| inode.kind == Kind::File)
        .unwrap();
    assert_eq!(inode.size_bytes(), 100);
    assert_eq!(inode.streams[1].kind, StreamKind::Named(b"rsrc".to_vec()));
    assert_eq!(inode.streams[1].size_bytes, 2048);
}

/// Type, creator and resource fork of a Macintosh file, with Rock Ridge and beside the attributes of CD-ROM XA.
#[test]
fn type_and_creator_of_macintosh_files_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("hello.txt"), "the data fork").unwrap();
    fs::write(
        tree.join("._hello.txt"),
        apple_double(b"TEXTttxt", b"the resource fork"),
    )
    .unwrap();
    for form in ["-R", "-XA"] {
        let Some(image) = made("genisoimage", &["-apple", "--osx-double", form], &tree) else {
            return;
        };
        let listing = listing(&image);
        assert_eq!(listing.findings, [], "{form}");
        let [name] = listing.preferred().collect::<Vec<_>>()[..] else {
            panic!("{form}: {:?}", listing.names);
        };
        let inode = &listing.inodes[&name.name.inode];
        assert_eq!(inode.xattrs.len(), 1, "{form}");
        assert_eq!(inode.xattrs[0].name, b"com.apple.FinderInfo");
        assert_eq!(
            (&inode.xattrs[0].value[..8], inode.xattrs[0].value.len()),
            (&b"TEXTttxt"[..], 32)
        );
        let sizes: Vec<u64> = inode.streams.iter().map(|stream| stream.size_bytes).collect();
        assert_eq!(sizes, [13, 17], "{form}");
    }
}

/// An AppleDouble file: Finder info and resource fork.
fn apple_double(type_and_creator: &[u8], fork: &[u8]) -> Vec<u8> {
    let mut bytes = [0x0005_1607_u32, 0x0002_0000].map(u32::to_be_bytes).concat();
    bytes.extend(b"Mac OS X        \0\x02");
    let fork_len = u32::try_from(fork.len()).unwrap();
    bytes.extend([9_u32, 50, 32, 2, 82, fork_len].map(u32::to_be_bytes).concat());
    bytes.extend(type_and_creator);
    bytes.resize(82, 0);
    bytes.extend(fork);
    bytes
}
