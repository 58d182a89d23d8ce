//! HFS+ volumes of our builder against what was put in, and against the Sleuth Kit and 7-Zip.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use ntt_filesystem::{Family, ScanOptions, open, probe};
use ntt_model::entry::{Encoding, StreamKind};
use ntt_model::{BlobHash, FindingCode, Kind, Severity};
use ntt_source::extents::Piece;
use ntt_testkit::corpus::{corpus_image, have};
use ntt_testkit::hfsplus::{Builder, Built, ROOT, Shape, content};
use ntt_testkit::listing::Listing;

/// Files of a sample volume: path and content.
pub(crate) type Truth = BTreeMap<Vec<u8>, Vec<u8>>;

pub(crate) fn listing(image: &[u8]) -> Listing {
    let volume = open(Family::HfsPlus, Box::new(image.to_vec()), 0).expect("opens");
    Listing::of(&*volume, &ScanOptions::default())
}

/// Findings that say that something is lost or wrong.
pub(crate) fn complaints(listing: &Listing) -> Vec<String> {
    let bad = listing
        .findings
        .iter()
        .filter(|finding| finding.severity > Severity::Info);
    bad.map(ToString::to_string).collect()
}

/// Directories of many files, so that the catalogue has several levels; odd names; forks in pieces.
pub(crate) fn sample(shape: Shape) -> (Built, Truth) {
    let mut builder = Builder::new("Sample", shape);
    let mut truth = Truth::new();
    let mut file = |builder: &mut Builder, parent: u32, path: &str, name: &str, len: usize, pieces: usize| {
        let bytes = content(u64::try_from(truth.len()).expect("few") + 1, len);
        let cnid = builder.fragmented(parent, name, &bytes, pieces);
        truth.insert(path.as_bytes().to_vec(), bytes);
        cnid
    };
    for index in 0..6 {
        let directory = builder.directory(ROOT, &format!("directory {index}"));
        for number in 0..40 {
            let name = format!("a file with a longer name {number:03}");
            let path = format!("directory {index}/{name}");
            file(&mut builder, directory, &path, &name, 100 * number, 1);
        }
        let inner = builder.directory(directory, "inner");
        file(
            &mut builder,
            inner,
            &format!("directory {index}/inner/deep"),
            "deep",
            5000,
            1,
        );
    }
    file(&mut builder, ROOT, "in pieces", "in pieces", 40 * 4096 - 5, 40);
    let forked = file(&mut builder, ROOT, "forked", "forked", 3, 1);
    builder.resource(forked, &content(77, 9000), 2);
    builder.finder(
        forked,
        *b"TEXTttxt\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    );
    file(&mut builder, ROOT, "10:12:98", "10/12/98", 10, 1);
    file(&mut builder, ROOT, "Icon\r", "Icon\r", 0, 1);
    file(
        &mut builder,
        ROOT,
        "cafe\u{301} \u{1f600}",
        "cafe\u{301} \u{1f600}",
        20,
        1,
    );
    (builder.build(), truth)
}

pub(crate) fn expected_hashes(truth: &Truth) -> BTreeMap<Vec<u8>, BlobHash> {
    let hash = |bytes: &Vec<u8>| BlobHash::from_bytes(*blake3::hash(bytes).as_bytes());
    truth
        .iter()
        .map(|(path, bytes)| (path.clone(), hash(bytes)))
        .collect()
}

pub(crate) fn small_nodes() -> Shape {
    Shape {
        node_bytes: 2048,
        blocks: 2048,
        ..Shape::default()
    }
}

#[test]
fn names_and_contents_are_those_put_in() {
    for shape in [
        Shape::default(),
        small_nodes(),
        Shape {
            node_bytes: 8192,
            catalog_pieces: 20,
            is_hfsx: true,
            ..Shape::default()
        },
        Shape {
            block_bytes: 512,
            blocks: 4000,
            node_bytes: 4096,
            catalog_pieces: 9,
            ..Shape::default()
        },
    ] {
        let (built, truth) = sample(shape.clone());
        let found = listing(&built.image);
        assert_eq!(complaints(&found), Vec::<String>::new(), "{shape:?}");
        assert_eq!(found.contents(&built.image), expected_hashes(&truth), "{shape:?}");
    }
}

#[test]
fn r27_forks_types_and_attributes_are_kept() {
    let mut builder = Builder::new("Attributes", Shape::default());
    let file = builder.file(ROOT, "file", b"data");
    builder.resource(file, &content(1, 9000), 20);
    builder.attribute(file, "com.example.small", b"value");
    builder.attribute(file, "com.example.big", &content(2, 90_000));
    let directory = builder.directory(ROOT, "directory");
    builder.attribute(directory, "on a directory", b"");
    builder.finder(file, [7; 32]);
    builder.symlink(ROOT, "link", "directory/../file");
    let pipe = builder.file(ROOT, "pipe", b"");
    builder.mode(pipe, 0o010_600, 0);
    let device = builder.file(ROOT, "device", b"");
    builder.mode(device, 0o060_640, 0x0100_0002);
    let built = builder.build();
    let found = listing(&built.image);
    assert_eq!(complaints(&found), Vec::<String>::new());
    let inode = |name: &[u8]| {
        let named = found
            .names
            .iter()
            .find(|named| named.path == name)
            .expect("listed");
        &found.inodes[&named.name.inode]
    };
    let file = inode(b"file");
    let kinds: Vec<_> = file
        .streams
        .iter()
        .map(|stream| (stream.kind.clone(), stream.size_bytes))
        .collect();
    let expected = [
        (StreamKind::Data, 4),
        (StreamKind::Named(b"rsrc".to_vec()), 9000),
        (StreamKind::Xattr(b"com.example.big".to_vec()), 90_000),
    ];
    assert_eq!(kinds, expected);
    for (index, seed, len) in [(1, 1, 9000), (2, 2, 90_000)] {
        let mut bytes = Vec::new();
        for extent in &file.streams[index].extents {
            let start = usize::try_from(extent.image_offset).expect("small");
            bytes.extend_from_slice(&built.image[start..start + usize::try_from(extent.len).expect("small")]);
        }
        assert!(bytes == content(seed, len), "stream {index}");
    }
    let names: Vec<_> = file
        .xattrs
        .iter()
        .map(|attribute| (&attribute.name[..], &attribute.value[..]))
        .collect();
    assert_eq!(
        names,
        [
            (&b"com.apple.FinderInfo"[..], &[7; 32][..]),
            (b"com.example.small", b"value")
        ]
    );
    assert_eq!(inode(b"directory").xattrs[0].name, b"on a directory");
    assert_eq!(inode(b"link").target.as_deref(), Some(&b"directory/../file"[..]));
    assert_eq!(
        (inode(b"pipe").kind, inode(b"pipe").mode),
        (Kind::Fifo, Some(0o600))
    );
    assert_eq!(inode(b"device").device, Some((1, 2)));
    assert_eq!(
        (file.uid, file.gid, file.mode),
        (Some(501), Some(20), Some(0o644))
    );
    let seconds = file.times.modified.map(|time| time.to_parts());
    assert_eq!(seconds, Some((ntt_testkit::hfsplus::TIME, 0)));
}

#[test]
fn hard_links_share_an_inode_and_orphans_are_lost() {
    let mut builder = Builder::new("Links", Shape::default());
    let directory = builder.directory(ROOT, "d");
    let file = builder.file(ROOT, "first", b"shared");
    builder.hard_links(file, &[(directory, "second"), (ROOT, "third")], None);
    let old = builder.file(ROOT, "old", b"numbered by chance");
    builder.hard_links(old, &[(directory, "older")], Some(123_456_789));
    let found = listing(&builder.build().image);
    assert_eq!(complaints(&found), Vec::<String>::new());
    let inodes = |paths: &[&[u8]]| -> BTreeSet<u64> {
        let wanted = found
            .names
            .iter()
            .filter(|named| paths.contains(&&named.path[..]));
        wanted.map(|named| named.name.inode).collect()
    };
    assert_eq!(
        inodes(&[b"first", b"d/second", b"third"]),
        [u64::from(file)].into()
    );
    assert_eq!(inodes(&[b"old", b"d/older"]), [u64::from(old)].into());
    assert_eq!(found.inodes[&u64::from(file)].links, 3);
    assert_eq!(found.names.len(), 6, "{:?}", found.names);
}

/// Backups that share directories: each is entered once, and the finding has both counts.
#[test]
fn time_machine_trees_are_kept_folded() {
    let mut builder = Builder::new("Backups", small_nodes());
    let shared = builder.directory(ROOT, "shared");
    let inner = builder.directory(shared, "inner");
    for number in 0..50 {
        builder.file(inner, &format!("file {number}"), b"x");
    }
    let mut names = Vec::new();
    for number in 0..30 {
        names.push(builder.directory(ROOT, &format!("backup {number:02}")));
    }
    let links: Vec<_> = names.iter().map(|backup| (*backup, "shared")).collect();
    builder.directory_links(shared, &links);
    builder.directory_links(inner, &[(names[0], "again")]);
    let found = listing(&builder.build().image);
    assert_eq!(complaints(&found), Vec::<String>::new());
    // 30 backups and the first name in the root; 30 in the backups; `inner` twice; 50 files.
    assert_eq!(found.names.len(), 31 + 30 + 2 + 50);
    let folding = found
        .findings
        .iter()
        .find(|finding| finding.code == FindingCode::Loop)
        .expect("told");
    let unfolded = 31 + 30 + 31 + 1 + 32 * 50;
    assert!(
        folding
            .detail
            .contains(&format!("113 paths as listed, {unfolded} unfolded")),
        "{folding}"
    );
    let shared_names = found
        .names
        .iter()
        .filter(|named| named.name.inode == u64::from(shared));
    assert_eq!(shared_names.count(), 31);
}

fn decmpfs(kind: u32, size: usize, body: &[u8]) -> Vec<u8> {
    let size = u64::try_from(size).expect("fits");
    [&b"fpmc"[..], &kind.to_le_bytes(), &size.to_le_bytes(), body].concat()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

/// A resource fork with zlib blocks, as macOS writes it.
fn zlib_fork(bytes: &[u8]) -> Vec<u8> {
    let blocks: Vec<Vec<u8>> = bytes.chunks(65_536).map(zlib).collect();
    let mut table = u32::try_from(blocks.len()).expect("few").to_le_bytes().to_vec();
    let mut offset = 4 + 8 * blocks.len();
    for block in &blocks {
        table.extend_from_slice(&u32::try_from(offset).expect("small").to_le_bytes());
        table.extend_from_slice(&u32::try_from(block.len()).expect("small").to_le_bytes());
        offset += block.len();
    }
    let resource = [table, blocks.concat()].concat();
    let len = u32::try_from(resource.len()).expect("small");
    let head = [256_u32, 256 + 4 + len, 4 + len, 50]
        .map(u32::to_be_bytes)
        .concat();
    [&head[..], &[0; 240], &len.to_be_bytes(), &resource, &[0; 50]].concat()
}

fn lzfse(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    lzfse_rust::encode_bytes(bytes, &mut packed).expect("in memory");
    packed
}

/// The payload of an LZVN block as the encoder of LZFSE makes it of short content: magic, two lengths, payload.
fn lzvn(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    for part in bytes.chunks(2048) {
        let block = lzfse(part);
        assert!(block.starts_with(b"bvxn"));
        let len = usize::try_from(u32::from_le_bytes(block[8..12].try_into().expect("four"))).expect("small");
        let payload = &block[12..12 + len];
        // Each payload ends with the eight bytes of the end mark, which only the last may have.
        packed.extend_from_slice(&payload[..len - 8]);
    }
    packed.extend_from_slice(&[6, 0, 0, 0, 0, 0, 0, 0]);
    packed
}

/// A resource fork with a list of offsets; blocks that do not shrink are stored behind a marker.
fn offsets_fork(bytes: &[u8], marker: u8, pack: fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let block = |part: &[u8]| {
        let is_text = part.starts_with(b"all work");
        let packed = if is_text { pack(part) } else { Vec::new() };
        if is_text && packed.len() < part.len() {
            packed
        } else {
            [&[marker], part].concat()
        }
    };
    let blocks: Vec<Vec<u8>> = bytes.chunks(65_536).map(block).collect();
    let mut offset = 4 * (blocks.len() + 1);
    let mut table = u32::try_from(offset).expect("small").to_le_bytes().to_vec();
    for block in &blocks {
        offset += block.len();
        table.extend_from_slice(&u32::try_from(offset).expect("small").to_le_bytes());
    }
    [table, blocks.concat()].concat()
}

/// Compressible bytes.
fn text(len: usize) -> Vec<u8> {
    b"all work and no play makes jack a dull boy\n"
        .iter()
        .copied()
        .cycle()
        .take(len)
        .collect()
}

pub(crate) fn compressed_volume() -> (Built, Truth) {
    let mut builder = Builder::new("Compressed", small_nodes());
    let mut truth = Truth::new();
    let in_attribute = text(900);
    let cnid = builder.file(ROOT, "inline", b"");
    builder.compressed(cnid, &decmpfs(3, 900, &zlib(&in_attribute)));
    truth.insert(b"inline".to_vec(), in_attribute);
    let cnid = builder.file(ROOT, "raw", b"");
    builder.compressed(cnid, &decmpfs(3, 5, b"\xffhello"));
    truth.insert(b"raw".to_vec(), b"hello".to_vec());
    let mut inline = |builder: &mut Builder, name: &str, kind: u32, content: Vec<u8>, body: &[u8]| {
        let cnid = builder.file(ROOT, name, b"");
        builder.compressed(cnid, &decmpfs(kind, content.len(), body));
        truth.insert(name.as_bytes().to_vec(), content);
    };
    inline(&mut builder, "lzvn", 7, text(900), &lzvn(&text(900)));
    inline(&mut builder, "lzvn raw", 7, b"hello".to_vec(), b"\x06hello");
    inline(&mut builder, "lzfse", 11, text(900), &lzfse(&text(900)));
    inline(&mut builder, "plain", 9, b"hello".to_vec(), b"\xcchello");
    inline(&mut builder, "nothing", 3, Vec::new(), b"");
    for (name, kind, pack) in [
        ("lzvn fork", 8, lzvn as fn(&[u8]) -> Vec<u8>),
        ("lzfse fork", 12, lzfse),
    ] {
        let content = [text(70_000), content(5, 70_000)].concat();
        let cnid = builder.file(ROOT, name, b"");
        builder.resource(
            cnid,
            &offsets_fork(&content, if kind == 8 { 6 } else { 0xff }, pack),
            5,
        );
        builder.compressed(cnid, &decmpfs(kind, content.len(), b""));
        truth.insert(name.as_bytes().to_vec(), content);
    }
    let big = text(200_000);
    let cnid = builder.file(ROOT, "fork", b"");
    builder.resource(cnid, &zlib_fork(&big), 1);
    builder.compressed(cnid, &decmpfs(4, 200_000, b""));
    truth.insert(b"fork".to_vec(), big);
    (builder.build(), truth)
}

/// A packed stream, decoded.
fn unpacked(image: &[u8], stream: &ntt_model::entry::Stream) -> Vec<u8> {
    assert!(matches!(stream.encoding, Encoding::Packed(_)));
    let mut bytes = Vec::new();
    let missing = ntt_codec::packed::read_stream::<Infallible>(&image.to_vec(), stream, &mut |piece| {
        match piece {
            Piece::Bytes(part) => bytes.extend_from_slice(part),
            Piece::Zeros(len) => bytes.resize(bytes.len() + usize::try_from(len).expect("small"), 0),
        }
        Ok(())
    });
    let missing = missing.unwrap_or_else(|never| match never {});
    assert_eq!(missing.ranges, []);
    bytes
}

#[test]
fn compressed_files_are_packed_streams() {
    let (built, truth) = compressed_volume();
    let found = listing(&built.image);
    assert_eq!(complaints(&found), Vec::<String>::new());
    for named in &found.names {
        let inode = &found.inodes[&named.name.inode];
        assert!(inode.xattrs.is_empty() && inode.streams.len() == 1, "{inode:?}");
        assert!(unpacked(&built.image, &inode.streams[0]) == truth[&named.path]);
    }
    assert_eq!(found.names.len(), truth.len());
}

#[test]
fn what_cannot_be_decompressed_is_said_and_kept() {
    let mut builder = Builder::new("Unknown", Shape::default());
    let unknown = builder.file(ROOT, "unknown", b"");
    builder.compressed(unknown, &decmpfs(99, 100, b"abc"));
    let dataless = builder.file(ROOT, "dataless", b"");
    builder.compressed(dataless, &decmpfs(5, 100, b""));
    let broken = builder.file(ROOT, "broken", b"");
    builder.resource(broken, &[0; 300], 1);
    builder.compressed(broken, &decmpfs(8, 1 << 40, b""));
    let found = listing(&builder.build().image);
    let data = |cnid: u32| found.inodes[&u64::from(cnid)].data().expect("a stream").clone();
    assert_eq!(data(unknown).encoding, Encoding::Unsupported);
    assert!(data(dataless).extents_incomplete);
    assert_eq!(data(broken).encoding, Encoding::Unsupported);
    let broken = &found.inodes[&u64::from(broken)];
    assert!(
        broken
            .streams
            .iter()
            .any(|stream| stream.kind == StreamKind::Named(b"rsrc".to_vec()))
    );
    assert_eq!(complaints(&found).len(), 3);
}

/// A volume in an HFS wrapper: extents count from the embedded volume, and the wrapper itself is a volume too.
#[test]
fn a_wrapped_volume_is_found() {
    let (built, truth) = sample(Shape::default());
    let mut image = vec![0; 64 * 512];
    image[1024..1026].copy_from_slice(b"BD");
    for (at, bytes) in [
        (14, &[0, 3][..]),
        (18, &[4, 4]),
        (20, &[0, 0, 0x10, 0]),
        (28, &[0, 8]),
        (36, b"\x04wrap"),
        (124, &[0x48, 0x2b, 0, 7, 4, 0]),
    ] {
        image[1024 + at..1024 + at + bytes.len()].copy_from_slice(bytes);
    }
    let start = 8 * 512 + 7 * 4096;
    image.resize(start, 0);
    image.extend_from_slice(&built.image);
    let families: Vec<_> = probe(&image).iter().map(|candidate| candidate.family).collect();
    assert_eq!(families, [Family::HfsPlus, Family::Hfs]);
    let volume = open(Family::HfsPlus, Box::new(image.clone()), 512).expect("opens");
    let found = Listing::of(&*volume, &ScanOptions::default());
    let shifted = [&[0; 512][..], &image].concat();
    assert_eq!(found.contents(&shifted), expected_hashes(&truth));
    assert_eq!(complaints(&found), Vec::<String>::new());
}

#[test]
fn allocated_ranges_hold_all_content() {
    let (built, _) = sample(Shape::default());
    let volume = open(Family::HfsPlus, Box::new(built.image), 0).expect("opens");
    let mut ranges = Vec::new();
    volume.allocated(&mut |range| ranges.push(range)).expect("told");
    let found = Listing::of(&*volume, &ScanOptions::default());
    for extent in found
        .inodes
        .values()
        .flat_map(|inode| &inode.streams)
        .flat_map(|stream| &stream.extents)
    {
        let inside = |range: &&ntt_model::ByteRange| {
            range.offset <= extent.image_offset && extent.image_offset + extent.len <= range.end()
        };
        assert!(ranges.iter().any(|range| inside(&range)), "{extent:?}");
    }
    let used: u64 = ranges.iter().map(|range| range.len).sum();
    assert_eq!(Some(used), volume.facts().used_bytes);
}

/// Paths that `fls` lists, as it writes them, without the volume's own files and its stores.
pub(crate) fn fls(image: &Path) -> Option<BTreeMap<Vec<u8>, u64>> {
    if !have("fls") {
        return None;
    }
    let output = Command::new("fls")
        .args(["-rpu", "-f", "hfs"])
        .arg(image)
        .output()
        .expect("runs");
    let mut paths = BTreeMap::new();
    for line in output.stdout.split(|byte| *byte == b'\n') {
        let Some(tab) = line.iter().position(|byte| *byte == b'\t') else {
            continue;
        };
        let (head, path) = (&line[..tab], &line[tab + 1..]);
        let number: String = String::from_utf8_lossy(head)
            .chars()
            .filter(char::is_ascii_digit)
            .collect();
        let is_own = path.starts_with(b"$")
            || path.starts_with(b"^^^^HFS+ Private")
            || path.starts_with(b".HFS+ Private");
        if !is_own {
            paths.insert(path.to_vec(), number.parse().expect("a number"));
        }
    }
    Some(paths)
}

/// The referee shows control characters as `^`.
pub(crate) fn as_fls(path: &[u8]) -> Vec<u8> {
    path.iter()
        .map(|byte| if *byte < 0x20 { b'^' } else { *byte })
        .collect()
}

pub(crate) fn icat(image: &Path, inode: u64) -> Vec<u8> {
    let output = Command::new("icat")
        .args(["-f", "hfs"])
        .arg(image)
        .arg(inode.to_string())
        .output();
    output.expect("runs").stdout
}

/// What the Sleuth Kit lists and reads of the builder's volumes is what we list and read: the builder makes sound volumes.
#[test]
fn the_sleuth_kit_agrees_on_names_and_contents() {
    for (built, truth) in [
        sample(Shape::default()),
        sample(small_nodes()),
        compressed_volume(),
    ] {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("image");
        std::fs::write(&path, &built.image).expect("written");
        let Some(expected) = fls(&path) else { return };
        let found = listing(&built.image);
        let names: BTreeSet<Vec<u8>> = found.names.iter().map(|named| as_fls(&named.path)).collect();
        assert_eq!(names, expected.keys().cloned().collect());
        // It does not know LZFSE, nor content that is not compressed in a fork or attribute.
        let known = |path: &[u8]| !path.starts_with(b"lzfse") && path != b"plain";
        let step = if truth.len() < 50 { 1 } else { 17 };
        for (path_in_volume, content) in truth.iter().filter(|(path, _)| known(path)).step_by(step) {
            let number = expected[&as_fls(path_in_volume)];
            assert!(
                icat(&path, number) == *content,
                "{}",
                String::from_utf8_lossy(path_in_volume)
            );
        }
    }
}

#[test]
fn public_volumes_are_listed_as_the_sleuth_kit_does() {
    for image in [
        "dfvfs/hfsplus.raw.gz",
        "dftt/nps-2009-hfsjtest1.zip",
        "retro/test_hfsplus_journaled_dirty.img.zst",
        "disktype/hfs-plus.image.gz",
    ] {
        let Some(copy) = corpus_image(image) else { return };
        let bytes = std::fs::read(copy.path()).expect("the image");
        let found = listing(&bytes);
        assert_eq!(complaints(&found), Vec::<String>::new(), "{image}");
        let Some(expected) = fls(copy.path()) else { return };
        let names: BTreeSet<Vec<u8>> = found.names.iter().map(|named| as_fls(&named.path)).collect();
        assert_eq!(names, expected.keys().cloned().collect(), "{image}");
        for named in &found.names {
            let inode = &found.inodes[&named.name.inode];
            let Some(data) = inode.data() else { continue };
            let mut ours = Vec::new();
            for extent in &data.extents {
                let start = usize::try_from(extent.image_offset).expect("small");
                ours.extend_from_slice(&bytes[start..start + usize::try_from(extent.len).expect("small")]);
            }
            assert!(
                ours == icat(copy.path(), named.name.inode),
                "{image}: {:?}",
                named.path
            );
        }
    }
}
