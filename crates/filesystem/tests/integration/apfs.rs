//! What APFS has beside names and contents, and what damage to its structures costs.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use ntt_codec::read_stream;
use ntt_filesystem::{Family, FileSystem, ScanOptions, State, open, probe, probe_deep};
use ntt_model::entry::{Encoding, Inode, StreamKind};
use ntt_model::{ByteRange, FindingCode, Kind, Severity};
use ntt_source::FileSource;
use ntt_source::extents::Piece as Read;
use ntt_testkit::apfs::{BLOCK, Builder, Piece, ROOT, Shape, seal};
use ntt_testkit::corpus::corpus_image;
use ntt_testkit::lab::watch::Bytes;
use ntt_testkit::listing::Listing;

/// `OBJECT_TYPE_BTREE`, `_BTREE_NODE`, `_OMAP`, `_FS`, `_FSTREE`.
const TREE: u8 = 2;
const NODE: u8 = 3;
const MAP: u8 = 0x0b;
const VOLUME: u8 = 0x0d;
const FILES: u8 = 0x0e;

fn opened(image: &[u8]) -> Box<dyn FileSystem + '_> {
    open(Family::Apfs, Box::new(Bytes(image)), 0).expect("the image opens")
}

fn listing(image: &[u8]) -> Listing {
    Listing::of(&*opened(image), &ScanOptions::default())
}

fn paths(listing: &Listing) -> Vec<String> {
    let names = listing.names.iter();
    let mut paths: Vec<_> = names
        .map(|name| String::from_utf8_lossy(&name.path).into_owned())
        .collect();
    paths.sort_unstable();
    paths
}

fn inode<'l>(listing: &'l Listing, path: &str) -> &'l Inode {
    let name = listing.names.iter().find(|name| name.path == path.as_bytes());
    &listing.inodes[&name.unwrap_or_else(|| panic!("{path} is listed")).name.inode]
}

fn content(image: &[u8], listing: &Listing, path: &str, kind: &StreamKind) -> Vec<u8> {
    let inode = inode(listing, path);
    let stream = inode
        .streams
        .iter()
        .find(|stream| stream.kind == *kind)
        .expect("the stream");
    let mut bytes = Vec::new();
    let mut sink = |piece: Read<'_>| {
        match piece {
            Read::Bytes(part) => bytes.extend_from_slice(part),
            Read::Zeros(len) => bytes.resize(bytes.len() + usize::try_from(len).expect("small"), 0),
        }
        Ok::<_, std::convert::Infallible>(())
    };
    let missing = read_stream(&Bytes(image), stream, &mut sink).expect("it cannot fail");
    assert_eq!(missing.ranges, [], "{path}");
    bytes
}

fn has(listing: &Listing, code: FindingCode, text: &str) -> bool {
    let mut findings = listing.findings.iter();
    findings.any(|finding| finding.code == code && finding.detail.contains(text))
}

/// Blocks that hold objects of a type and subtype.
fn blocks(image: &[u8], kind: u8, subkind: u8) -> Vec<usize> {
    let all = image.chunks(BLOCK).enumerate();
    let wanted = all.filter(|(_, block)| block[24] == kind && block[28] == subkind && block[25] == 0);
    wanted.map(|(number, _)| number).collect()
}

fn wipe(image: &mut [u8], block: usize) {
    image[block * BLOCK..(block + 1) * BLOCK].fill(0);
}

/// Two hundred files in four directories, committed `commits` times.
fn many(commits: usize) -> Vec<u8> {
    let mut builder = Builder::new(1200);
    let volume = builder.volume("Main", Shape::default());
    for folder in 0..4 {
        let directory = builder.directory(volume, ROOT, format!("directory {folder}").as_bytes());
        for number in 0..50 {
            let name = format!("a file with the number {number}");
            builder.file(volume, directory, name.as_bytes(), &[Piece::Data(&[65; 3000])]);
        }
    }
    for _ in 1..commits {
        builder.commit();
    }
    builder.build()
}

#[test]
fn volumes_are_directories_of_one_root() {
    let mut builder = Builder::new(300);
    for (name, role, is_encrypted) in [
        ("Same", 1, false),
        ("Same", 0x40, false),
        ("a/b", 0, false),
        ("Secret", 0, true),
    ] {
        let shape = Shape {
            role,
            is_encrypted,
            ..Shape::default()
        };
        let volume = builder.volume(name, shape);
        builder.file(volume, ROOT, b"file", &[Piece::Data(name.as_bytes())]);
    }
    let image = builder.build();
    let listing = listing(&image);
    let expected = [
        "Same",
        "Same#1",
        "Same#1/file",
        "Same/file",
        "Secret",
        "a%2Fb",
        "a%2Fb/file",
    ];
    assert_eq!(paths(&listing), expected);
    assert!(has(
        &listing,
        FindingCode::Encrypted,
        "volume Secret is encrypted"
    ));
    assert_eq!(inode(&listing, "Same/file").number, (1 << 56) | 16);
    assert_eq!(inode(&listing, "a%2Fb/file").number, (3 << 56) | 16);
    let volume = opened(&image);
    let details = &volume.facts().details;
    assert_eq!(details[2].0, "volume 0");
    assert!(
        details[2].1.starts_with("\"Same\", role system, 6e74742d"),
        "{}",
        details[2].1
    );
    assert!(details[5].1.contains("encrypted"));
    assert_eq!(volume.facts().state, State::Clean);
}

#[test]
fn snapshots_are_told() {
    let mut builder = Builder::new(300);
    let shape = Shape {
        snapshots: vec!["com.apple.TimeMachine.1".to_owned(), "second".to_owned()],
        ..Shape::default()
    };
    builder.volume("Main", shape);
    let image = builder.build();
    let listing = listing(&image);
    assert!(has(
        &listing,
        FindingCode::Unsupported,
        "snapshot second of volume Main, of transaction 2"
    ));
    let volume = opened(&image);
    let details = &volume.facts().details;
    assert!(
        details
            .iter()
            .any(|(_, value)| value == "com.apple.TimeMachine.1, second"),
        "{details:?}"
    );
}

#[test]
fn r27_clones_links_attributes_and_devices() {
    let mut builder = Builder::new(300);
    let volume = builder.volume("Main", Shape::default());
    let original = builder.file(
        volume,
        ROOT,
        b"original",
        &[Piece::Data(&[1; 2 * BLOCK]), Piece::Hole(3), Piece::Data(b"end")],
    );
    builder.clone_of(volume, ROOT, b"clone", original);
    let folder = builder.directory(volume, ROOT, b"folder");
    builder.link(volume, folder, b"again", original);
    builder.symlink(volume, ROOT, b"link", b"folder/again");
    let mut info = [0; 32];
    info[..8].copy_from_slice(b"TEXTttxt");
    builder.attribute(volume, original, b"com.apple.FinderInfo", &info);
    builder.attribute(volume, original, b"com.example", b"value");
    builder.attribute_stream(volume, original, b"com.example.large", &[Piece::Data(&[3; 9000])]);
    builder.attribute_stream(
        volume,
        original,
        b"com.apple.ResourceFork",
        &[Piece::Data(&[4; 300])],
    );
    let device = builder.add(volume, ROOT, b"device", 0o020_644);
    builder.device(volume, device, 0x0300_0102);
    builder.flags(volume, folder, 0x8000);
    let image = builder.build();
    let listing = listing(&image);
    assert_eq!(listing.findings, []);
    let expected: Vec<u8> = [vec![1; 2 * BLOCK], vec![0; 3 * BLOCK], b"end".to_vec()].concat();
    for path in ["Main/original", "Main/clone", "Main/folder/again"] {
        assert!(
            content(&image, &listing, path, &StreamKind::Data) == expected,
            "{path}"
        );
    }
    let file = inode(&listing, "Main/original");
    assert_eq!(file.number, inode(&listing, "Main/folder/again").number);
    assert_eq!(
        file.data().expect("data").extents,
        inode(&listing, "Main/clone").data().expect("data").extents
    );
    assert_eq!(
        (file.links, file.mode, file.uid, file.gid),
        (2, Some(0o644), Some(501), Some(20))
    );
    assert_eq!(
        file.times.modified.map(|time| time.as_nanos()),
        Some(1_700_000_000_000_000_001)
    );
    let names: Vec<_> = file.xattrs.iter().map(|xattr| xattr.name.as_slice()).collect();
    assert_eq!(names, [&b"com.apple.FinderInfo"[..], b"com.example"]);
    let rsrc = StreamKind::Named(b"rsrc".to_vec());
    assert_eq!(content(&image, &listing, "Main/original", &rsrc), [4; 300]);
    let large = StreamKind::Xattr(b"com.example.large".to_vec());
    assert_eq!(content(&image, &listing, "Main/original", &large), [3; 9000]);
    assert_eq!(
        inode(&listing, "Main/link").target.as_deref(),
        Some(&b"folder/again"[..])
    );
    assert_eq!(inode(&listing, "Main/device").device, Some((3, 0x102)));
    assert_eq!(inode(&listing, "Main/folder").flags & 0xffff_ffff, 0x8000);
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

fn decmpfs(kind: u8, size: usize, body: &[u8]) -> Vec<u8> {
    let size = u64::try_from(size).expect("small").to_le_bytes();
    [b"fpmc", &[kind, 0, 0, 0][..], &size, body].concat()
}

#[test]
fn compressed_files_are_packed() {
    let mut builder = Builder::new(300);
    let volume = builder.volume("Main", Shape::default());
    let text: Vec<u8> = (0..100_000_u32)
        .flat_map(|number| number.to_string().into_bytes())
        .collect();
    let compressed = |builder: &mut Builder, name: &[u8], value: &[u8]| {
        let id = builder.add(volume, ROOT, name, 0o100_644);
        builder.flags(volume, id, 0x20);
        builder.attribute(volume, id, b"com.apple.decmpfs", value);
        id
    };
    let small = &text[..5000];
    compressed(&mut builder, b"inline", &decmpfs(3, small.len(), &zlib(small)));
    compressed(&mut builder, b"plain", &decmpfs(9, 5, b"\xcchello"));
    let in_fork = compressed(&mut builder, b"in fork", &decmpfs(4, text.len(), b""));
    let (mut table, mut data): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
    let parts: Vec<_> = text.chunks(65_536).map(zlib).collect();
    let head = u32::try_from(4 + 8 * parts.len()).expect("small");
    for part in &parts {
        let len = u32::try_from(part.len()).expect("small");
        table.extend((head + u32::try_from(data.len()).expect("small")).to_le_bytes());
        table.extend(len.to_le_bytes());
        data.extend(part);
    }
    let mut fork = vec![0; 0x104];
    fork[2] = 1;
    fork.extend(u32::try_from(parts.len()).expect("few").to_le_bytes());
    fork.extend(table);
    fork.extend(data);
    builder.attribute_stream(volume, in_fork, b"com.apple.ResourceFork", &[Piece::Data(&fork)]);
    let image = builder.build();
    let listing = listing(&image);
    assert_eq!(listing.findings, []);
    for (path, expected) in [
        ("Main/inline", small),
        ("Main/plain", b"hello"),
        ("Main/in fork", &text),
    ] {
        assert!(
            content(&image, &listing, path, &StreamKind::Data) == expected,
            "{path}"
        );
        let inode = inode(&listing, path);
        assert!(matches!(
            inode.data().expect("data").encoding,
            Encoding::Packed(_)
        ));
        assert_eq!((inode.streams.len(), inode.xattrs.len()), (1, 0), "{path}");
    }
}

#[test]
fn files_in_removal_are_listed_as_lost() {
    let mut builder = Builder::new(300);
    let volume = builder.volume("Main", Shape::default());
    builder.file(volume, 3, b"17-dead", &[Piece::Data(b"still here")]);
    let image = builder.build();
    let listing = listing(&image);
    assert!(has(&listing, FindingCode::Orphan, "removal"));
    assert_eq!(paths(&listing), ["#0.3", "#0.3/17-dead", "Main"]);
}

#[test]
fn allocated_runs_hold_all_content() {
    let image = many(1);
    let mut runs: Vec<ByteRange> = Vec::new();
    opened(&image).allocated(&mut |run| runs.push(run)).expect("told");
    assert!(runs.windows(2).all(|pair| pair[0].end() < pair[1].offset));
    let used: u64 = runs.iter().map(|run| run.len).sum();
    assert!(used > 200 * 4096 && used < 400 * 4096, "{used}");
    let listing = listing(&image);
    let streams = listing.inodes.values().flat_map(|inode| &inode.streams);
    for extent in streams.flat_map(|stream| &stream.extents) {
        let range = ByteRange::new(extent.image_offset, extent.len);
        assert!(runs.iter().any(|run| run.contains_range(&range)), "{range:?}");
    }
}

#[test]
fn r22_a_newest_checkpoint_that_is_broken_gives_way() {
    let image = many(2);
    let expected = paths(&listing(&image));
    // The newest superblock has a wrong checksum: the one before it counts.
    let mut older = image.clone();
    older[4 * BLOCK + 100] ^= 1;
    older[100] ^= 1;
    let volume = opened(&older);
    assert_eq!(volume.facts().details[0].1, "2");
    assert_eq!(paths(&listing(&older)), expected);
    assert!(has(&listing(&older), FindingCode::Corrupt, "checkpoint is wrong"));
    // The newest has no object map.
    let mut mapless = image;
    let maps = blocks(&mapless, MAP, 0);
    wipe(&mut mapless, *maps.last().expect("a map"));
    assert!(has(
        &listing(&mapless),
        FindingCode::BackupUsed,
        "checkpoint 3 has no object map"
    ));
    assert_eq!(paths(&listing(&mapless)), expected);
}

#[test]
fn r22_block_0_is_not_needed() {
    let mut image = many(1);
    let expected = paths(&listing(&image));
    wipe(&mut image, 0);
    assert!(probe(&Bytes(&image)).is_empty());
    assert_eq!(probe_deep(&Bytes(&image)).len(), 1);
    assert!(has(&listing(&image), FindingCode::BackupUsed, "block 0"));
    assert_eq!(paths(&listing(&image)), expected);
}

/// R22: whatever single node above the leaves or map is lost, every file is still listed with its content.
#[test]
fn r22_nodes_above_the_leaves_cost_nothing() {
    let image = many(1);
    let expected = paths(&listing(&image));
    let roots = blocks(&image, TREE, FILES);
    let maps = [blocks(&image, MAP, 0), blocks(&image, TREE, MAP)].concat();
    let volumes = blocks(&image, VOLUME, 0);
    assert_eq!((roots.len(), maps.len()), (1, 4));
    for block in [roots, maps].concat() {
        let mut damaged = image.clone();
        wipe(&mut damaged, block);
        let listing = listing(&damaged);
        assert_eq!(paths(&listing), expected, "block {block}");
        assert!(
            listing
                .findings
                .iter()
                .any(|finding| finding.severity == Severity::Loss)
        );
        let incomplete = |inode: &Inode| inode.streams.iter().any(|stream| stream.extents_incomplete);
        assert!(!listing.inodes.values().any(incomplete), "block {block}");
    }
    // Without superblock the volume has no name, but its tree is found.
    let mut damaged = image;
    wipe(&mut damaged, volumes[0]);
    let renamed: Vec<_> = expected
        .iter()
        .map(|path| path.replacen("Main", "volume 0", 1))
        .collect();
    assert_eq!(paths(&listing(&damaged)), renamed);
}

/// R22: a leaf costs what was in it; an inode tells the name that its entry lost.
#[test]
fn r22_a_leaf_costs_only_itself() {
    let image = many(1);
    let whole = listing(&image);
    for block in blocks(&image, NODE, FILES) {
        let mut damaged = image.clone();
        wipe(&mut damaged, block);
        let listing = listing(&damaged);
        assert!(
            has(&listing, FindingCode::Corrupt, "is all zeros"),
            "block {block}"
        );
        // Directories whose names are lost have others.
        let names: std::collections::BTreeSet<_> = listing.names.iter().map(|name| &name.name.name).collect();
        let left = whole.names.iter().filter(|name| names.contains(&name.name.name));
        let lost = whole.names.len() - left.count();
        assert!(
            lost <= 20,
            "block {block} costs {lost} of {} names",
            whole.names.len()
        );
    }
}

/// R22: where an older state of a leaf still lies on the volume, it is used and said so.
#[test]
fn r22_older_states_of_a_leaf_help() {
    let image = many(2);
    let expected = paths(&listing(&image));
    let leaves = blocks(&image, NODE, FILES);
    let mut damaged = image;
    wipe(&mut damaged, leaves[leaves.len() - 1]);
    let listing = listing(&damaged);
    assert!(has(
        &listing,
        FindingCode::BackupUsed,
        "an older state of it, of transaction 2, was used"
    ));
    assert_eq!(paths(&listing), expected);
}

#[test]
fn r22_a_wrong_checksum_is_a_loss_and_the_node_read() {
    let mut image = many(1);
    let expected = paths(&listing(&image));
    let leaf = blocks(&image, NODE, FILES)[0];
    image[leaf * BLOCK] ^= 1;
    let damaged = listing(&image);
    assert!(has(&damaged, FindingCode::Corrupt, "the checksum of node"));
    let severities: Vec<_> = damaged.findings.iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Loss]);
    assert_eq!(paths(&damaged), expected);
    seal(&mut image[leaf * BLOCK..(leaf + 1) * BLOCK]);
    assert_eq!(listing(&image).findings, []);
}

#[test]
fn public_images_are_listed() {
    let Some(image) = corpus_image("dfvfs/apfs.raw.gz") else {
        return;
    };
    let source = FileSource::open(image.path()).expect("an image");
    assert_eq!(probe(&source).len(), 1);
    let volume = open(Family::Apfs, Box::new(source), 0).expect("the image opens");
    assert_eq!(volume.facts().label, b"apfs_test");
    assert_eq!(volume.facts().state, State::Clean);
    let listing = Listing::of(&*volume, &ScanOptions::default());
    let expected = [
        "apfs_test",
        "apfs_test/.fseventsd",
        "apfs_test/.fseventsd/000000001714941a",
        "apfs_test/.fseventsd/000000001714941b",
        "apfs_test/.fseventsd/fseventsd-uuid",
        "apfs_test/a_directory",
        "apfs_test/a_directory/a_file",
        "apfs_test/a_directory/a_resourcefork",
        "apfs_test/a_directory/another_file",
        "apfs_test/a_link",
        "apfs_test/passwords.txt",
    ];
    assert_eq!(paths(&listing), expected);
    assert_eq!(listing.findings, []);
    let bytes = std::fs::read(image.path()).expect("the image");
    let rsrc = StreamKind::Named(b"rsrc".to_vec());
    let fork = content(&bytes, &listing, "apfs_test/a_directory/a_resourcefork", &rsrc);
    assert_eq!(fork, b"My resource fork\n");
    let link = inode(&listing, "apfs_test/a_link");
    assert_eq!(
        (link.kind, link.target.as_deref()),
        (Kind::Symlink, Some(&b"a_directory/another_file"[..]))
    );
    let passwords = content(&bytes, &listing, "apfs_test/passwords.txt", &StreamKind::Data);
    assert!(passwords.starts_with(b"place,user,password\n"));
}
