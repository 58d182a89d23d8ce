//! What squashfs has beside names and contents, its old versions, and what damage costs.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs;

use ntt_codec::{Kept, read_stream_after};
use ntt_filesystem::{Error, Family, FileSystem, ScanOptions, open, probe};
use ntt_model::entry::{Encoding, Inode, Namespace, Stream};
use ntt_model::{ByteRange, Codec, FindingCode, Kind, PackedUnit};
use ntt_source::extents::Piece;
use ntt_testkit::corpus::{corpus_image, have};
use ntt_testkit::lab::corpus::{Size, Spec};
use ntt_testkit::lab::make::{self, run};
use ntt_testkit::lab::watch::Bytes;
use ntt_testkit::listing::Listing;

fn opened(image: &[u8]) -> Box<dyn FileSystem + '_> {
    open(Family::Squashfs, Box::new(Bytes(image)), 0).expect("the image opens")
}

fn listing(image: &[u8]) -> Listing {
    Listing::of(&*opened(image), &ScanOptions::default())
}

fn paths(listing: &Listing) -> BTreeSet<&[u8]> {
    listing.names.iter().map(|name| name.path.as_slice()).collect()
}

fn inode<'l>(listing: &'l Listing, path: &str) -> &'l Inode {
    let mut names = listing.names.iter();
    let name = names.find(|name| name.path == path.as_bytes()).expect(path);
    &listing.inodes[&name.name.inode]
}

/// An image of what a script makes in an empty folder.
fn made(script: &str, arguments: &[&str]) -> Option<Vec<u8>> {
    if !have("mksquashfs") {
        return None;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("tree")).expect("a new folder");
    run("sh", &["-ec", script], &folder.path().join("tree"));
    let fixed = ["tree", "image", "-quiet", "-no-progress"];
    run("mksquashfs", &[&fixed[..], arguments].concat(), folder.path());
    Some(fs::read(folder.path().join("image")).expect("the image"))
}

fn word(bytes: &[u8], at: usize) -> usize {
    let word = u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    usize::try_from(word).expect("an address")
}

#[test]
fn devices_attributes_and_links() {
    let script = "echo content > file; ln file link; mkdir d; ln -s file d/s";
    let devices = ["-p", "null c 666 7 8 1 3", "-p", "disk b 600 0 6 259 70000"];
    let Some(image) = made(script, &devices) else {
        return;
    };
    let found = listing(&image);
    assert_eq!(found.findings, []);
    let null = inode(&found, "null");
    assert_eq!(
        (null.kind, null.device, null.mode),
        (Kind::CharDevice, Some((1, 3)), Some(0o666))
    );
    assert_eq!((null.uid, null.gid), (Some(7), Some(8)));
    assert_eq!(inode(&found, "disk").device, Some((259, 70_000)));
    assert_eq!(inode(&found, "file").number, inode(&found, "link").number);
    assert_eq!(inode(&found, "file").links, 2);
    assert_eq!(inode(&found, "d/s").target.as_deref(), Some(&b"file"[..]));
    assert_eq!(opened(&image).facts().root, 6);
}

#[test]
fn attributes_inline_and_elsewhere() {
    let script = "touch a b; setfattr -n user.small -v value a
        for file in a b; do setfattr -n user.same -v $(head -c 2000 /dev/zero | tr '\\0' x) $file; done";
    let probe = tempfile::tempdir().expect("a temporary folder");
    fs::write(probe.path().join("file"), b"").expect("written");
    let is_here = std::process::Command::new("setfattr")
        .args(["-n", "user.probe", "-v", "1", "file"])
        .current_dir(probe.path())
        .status();
    if !is_here.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no extended attributes here");
        return;
    }
    let Some(image) = made(script, &["-xattrs"]) else {
        return;
    };
    let found = listing(&image);
    let values = |path| -> BTreeSet<(Vec<u8>, usize)> {
        let xattrs = inode(&found, path).xattrs.iter();
        xattrs
            .map(|xattr| (xattr.name.clone(), xattr.value.len()))
            .collect()
    };
    assert_eq!(
        values("a"),
        [(b"user.same".to_vec(), 2000), (b"user.small".to_vec(), 5)].into()
    );
    assert_eq!(values("b"), [(b"user.same".to_vec(), 2000)].into());
}

#[test]
fn compressed_blocks_are_units_and_others_plain() {
    let script =
        "yes text | head -c 300000 > packed; head -c 300000 /dev/urandom > plain; truncate -s 1M hole";
    let Some(image) = made(script, &["-no-fragments", "-no-tailends"]) else {
        return;
    };
    let found = listing(&image);
    let stream = |path| inode(&found, path).data().expect("content").clone();
    let Encoding::Packed(units) = stream("packed").encoding else {
        panic!("not packed")
    };
    assert_eq!(units.len(), 3);
    assert!(
        units
            .iter()
            .all(|unit| unit.codec == Codec::Zlib && unit.skip == 0 && unit.is_whole)
    );
    assert_eq!(stream("plain").encoding, Encoding::Plain);
    assert_eq!(stream("plain").extents.len(), 1);
    assert_eq!(
        (stream("hole").size_bytes, stream("hole").extents.len()),
        (1 << 20, 0)
    );
}

/// R22: whichever bit of the content is flipped, of blocks and of fragments, what is read without a word about it is right.
#[test]
fn r22_a_hit_block_is_never_wrong_bytes() {
    let script = "seq 1 35000 > long; seq 7 3 60000 > other; for file in 1 2 3 4 5; do seq $file 1 2000 > small$file; done";
    // Those that have checksums; the others tell of what makes a block longer or shorter.
    for compressor in ["gzip", "xz"] {
        let Some(image) = made(script, &["-comp", compressor]) else {
            return;
        };
        let found = listing(&image);
        let files: Vec<_> = found.inodes.values().filter_map(Inode::data).collect();
        assert_eq!(files.len(), 7);
        let is_shared = |unit: &&PackedUnit| !unit.is_whole;
        let units = files.iter().flat_map(|stream| match &stream.encoding {
            Encoding::Packed(units) => units.as_slice(),
            other => panic!("{other:?}"),
        });
        assert!(units.filter(is_shared).count() >= 5, "fragments");
        let mut kept = Kept::default();
        let mut right = Vec::new();
        for stream in &files {
            let (bytes, missing) = content(&mut kept, &image, stream);
            assert_eq!(missing, []);
            right.push(bytes);
        }
        let (first, end) = (96, word(&image, 64));
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut told = 0;
        for _ in 0..40 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let bit = usize::try_from(state >> 16).expect("64 bits") % ((end - first) * 8);
            let mut hit = image.clone();
            hit[first + bit / 8] ^= 1 << (bit % 8);
            let mut kept = Kept::default();
            let mut is_told = false;
            for (stream, right) in files.iter().zip(&right) {
                let (mut bytes, missing) = content(&mut kept, &hit, stream);
                is_told |= !missing.is_empty();
                for range in missing {
                    let [from, to] =
                        [range.offset, range.end()].map(|at| usize::try_from(at).expect("small"));
                    bytes[from..to].copy_from_slice(&right[from..to]);
                }
                assert!(bytes == *right, "{compressor}: bit {bit}");
            }
            told += usize::from(is_told);
        }
        assert!(told > 36, "{compressor}: only {told}");
    }
}

/// What a stream reads as, and what of it is missing.
fn content(kept: &mut Kept, image: &[u8], stream: &Stream) -> (Vec<u8>, Vec<ByteRange>) {
    let mut bytes = Vec::new();
    let missing = read_stream_after::<Infallible>(kept, &Bytes(image), stream, &mut |piece| {
        match piece {
            Piece::Bytes(more) => bytes.extend_from_slice(more),
            Piece::Zeros(len) => bytes.resize(bytes.len() + usize::try_from(len).expect("small"), 0),
        }
        Ok(())
    });
    (bytes, missing.unwrap_or_else(|never| match never {}).ranges)
}

/// Old versions, from public collections.
#[test]
fn versions_2_and_3() {
    for (name, type_name, version) in [
        ("detect/squashfs3.img.xz", "squashfs3", "3.1"),
        ("disktype/squashfs-2.1-i386.image.gz", "squashfs3", "2.1"),
    ] {
        let Some(path) = corpus_image(name) else { return };
        let image = fs::read(path.path()).expect("the image");
        let candidate = &probe(&Bytes(&image))[0];
        assert_eq!(candidate.type_name, type_name);
        let volume = opened(&image);
        assert_eq!(volume.facts().details[0].1, version);
        let found = listing(&image);
        assert_eq!(found.findings, [], "{name}");
        assert!(!found.names.is_empty(), "{name}");
        if !have("unsquashfs") {
            continue;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = path.path().to_str().expect("a temporary path");
        run("unsquashfs", &["-no-progress", "-d", "out", path], folder.path());
        for name in &found.names {
            let inode = &found.inodes[&name.name.inode];
            let path = folder
                .path()
                .join("out")
                .join(String::from_utf8_lossy(&name.path).as_ref());
            if inode.kind == Kind::File {
                let hash = ntt_testkit::listing::content_hash(&Bytes(&image), inode);
                let theirs = fs::read(&path).expect("extracted");
                assert_eq!(
                    hash.as_bytes(),
                    blake3::hash(&theirs).as_bytes(),
                    "{}",
                    path.display()
                );
            } else {
                assert!(path.symlink_metadata().is_ok(), "{}", path.display());
            }
        }
        let theirs = std::process::Command::new("find")
            .arg(folder.path().join("out"))
            .output()
            .expect("find");
        let lines = theirs.stdout.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(found.names.len(), lines - 1);
    }
}

#[test]
fn what_is_not_read_is_said() {
    let Some(mut image) = made("echo x > x", &[]) else {
        return;
    };
    image[..4].copy_from_slice(b"sqsh");
    let result = open(Family::Squashfs, Box::new(Bytes(&image)), 0);
    assert!(matches!(result.err(), Some(Error::Unsupported(_))));
    assert_eq!(probe(&Bytes(&image)), []);
    image[..4].copy_from_slice(b"hsqs");
    image[28] = 1;
    assert!(matches!(
        open(Family::Squashfs, Box::new(Bytes(&image)), 0).err(),
        Some(Error::Unsupported(_))
    ));
    image[28] = 4;
    image[12] = 7;
    assert!(matches!(
        open(Family::Squashfs, Box::new(Bytes(&image)), 0).err(),
        Some(Error::Corrupt { .. })
    ));
}

/// The export table leads to inodes whose directory is lost.
#[test]
fn r22_a_lost_directory_table_costs_names_only() {
    let Some(image) = make::squashfs(&[], &Spec::posix(Size::Small)) else {
        return;
    };
    let mut image = image.bytes();
    let whole = listing(&image);
    let table = word(&image, 72);
    image[table + 10..table + 200].fill(0);
    let found = listing(&image);
    assert_eq!(found.inodes.len(), whole.inodes.len());
    let lost = found
        .names
        .iter()
        .filter(|name| name.name.namespace == Namespace::Lost)
        .count();
    assert!(lost > 0);
    assert!(
        found
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::Orphan)
    );
    assert!(paths(&found) != paths(&whole));
}

/// An inode that says the number of another one keeps its own content.
#[test]
fn two_inodes_with_one_number_are_told_apart() {
    let Some(mut image) = made("echo one > a; echo two > b", &["-noI", "-no-exports"]) else {
        return;
    };
    let inodes = word(&image, 64) + 2;
    // Files come first: 32 bytes each, the number at 12.
    assert_eq!((image[inodes + 12], image[inodes + 32 + 12]), (1, 2));
    image[inodes + 32 + 12] = 1;
    let found = listing(&image);
    assert_eq!(found.inodes.len(), 3);
    assert_ne!(inode(&found, "a").number, inode(&found, "b").number);
    assert!(
        found
            .findings
            .iter()
            .any(|finding| finding.detail == "two inodes have the number 1")
    );
}
