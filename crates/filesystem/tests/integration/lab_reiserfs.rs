//! ReiserFS in the lab for readers.

use std::fs;
use std::path::Path;

use ntt_filesystem::{Family, ScanOptions, State, open};
use ntt_model::extent::ExtentKind;
use ntt_model::{BlobHash, ByteRange, FindingCode, Kind, Layer};
use ntt_testkit::corpus::{corpus_image, have};
use ntt_testkit::lab::Lab;
use ntt_testkit::lab::compare::{Aspect, Difference, Explained};
use ntt_testkit::lab::corpus::{Size, Spec, fill};
use ntt_testkit::lab::make::{Image, run};
use ntt_testkit::lab::referee::Referee;
use ntt_testkit::lab::structure::Structure;
use ntt_testkit::lab::tree::Tree;
use ntt_testkit::lab::uml;
use ntt_testkit::lab::variant::Amount;
use ntt_testkit::lab::watch::Bytes;
use ntt_testkit::listing::Listing;

/// The smallest journal there can be.
const SMALL: &[&str] = &["-s", "513"];

fn format(path: &Path, arguments: &[&str], bytes: u64) {
    let file = fs::File::create(path).expect("a new file");
    file.set_len(bytes).expect("a length");
    let path = path.to_str().expect("a plain path");
    let fixed = ["-q", "-f", "-f", "-l", "LAB"];
    run(
        "mkreiserfs",
        &[&fixed, arguments, &[path]].concat(),
        Path::new("/"),
    );
}

fn image(arguments: &[&str], bytes: u64, fill: impl FnOnce(&Path)) -> Option<Image> {
    have("mkreiserfs").then_some(())?;
    let format = |path: &Path| format(path, arguments, bytes);
    uml::made(&arguments.join(" "), ("reiserfs", ""), format, fill, "true")
}

/// Beside the usual files: tails of all lengths, one directory of many blocks, a name as long as can be.
fn extremes(root: &Path) {
    let tails = root.join("tails");
    fs::create_dir(&tails).expect("a new folder");
    for len in (0..9000).step_by(251) {
        fs::write(tails.join(format!("{len}")), vec![b'a'; len]).expect("written");
    }
    let many = root.join("many names");
    fs::create_dir(&many).expect("a new folder");
    for number in 0..600 {
        fs::write(many.join(format!("a name that takes some room {number}")), b"").expect("written");
    }
    std::os::unix::fs::symlink("long/".repeat(700), root.join("long target")).expect("a link");
}

fn lab(images: Option<Vec<Image>>) -> Option<Lab> {
    Some(Lab {
        name: "reiserfs",
        family: Family::ReiserFs,
        images: images?,
        referees: Vec::new(),
        explained: Vec::new(),
    })
}

fn kernel() -> Referee {
    uml::referee("reiserfs", "ro,nolog", &Aspect::ALL)
}

fn small() -> Option<Lab> {
    let image = image(SMALL, 8 << 20, |root| {
        fill(root, &Spec::posix(Size::Small));
    });
    lab(image.map(|image| vec![image]))
}

/// The folder in which Linux keeps extended attributes.
fn hidden(judge: &'static str) -> Explained {
    Explained {
        judge,
        aspect: Aspect::Names,
        holds: |difference: &Difference| difference.path.starts_with(b".reiserfs_priv"),
        why: "Linux hides the folder in which it keeps extended attributes; it is listed",
    }
}

#[test]
fn r27_reiserfs_agrees_with_truth_and_kernel() {
    let full = |root: &Path| {
        fill(root, &Spec::posix(Size::Small));
        extremes(root);
    };
    let short = |root: &Path| {
        fill(root, &Spec::posix(Size::Small));
    };
    // Linux refuses what `mkreiserfs --format 3.5` makes: its check of leaves wants more room for the names of an empty root.
    let images = [
        image(&["--format", "3.6"], 48 << 20, full),
        image(&["-s", "600", "-t", "256"], 24 << 20, short),
    ];
    if let Some(lab) = lab(images.into_iter().collect()) {
        Lab {
            referees: vec![kernel()],
            explained: vec![hidden("truth"), hidden("kernel")],
            ..lab
        }
        .compares();
    }
}

fn listing(image: &[u8]) -> (State, Listing) {
    let volume = open(Family::ReiserFs, Box::new(Bytes(image)), 0).expect("the image opens");
    (
        volume.facts().state,
        Listing::of(&*volume, &ScanOptions::default()),
    )
}

/// Version 3.5, in one leaf: stat data of 32 bytes, keys of the old form, a tail, a file of a block.
#[test]
fn r27_reiserfs_3_5_is_read() {
    if !have("mkreiserfs") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("image");
    format(&path, &["--format", "3.5"], 48 << 20);
    let mut bytes = fs::read(&path).expect("the image");
    let root = u32::from_le_bytes(bytes[65_544..65_548].try_into().expect("4 bytes"));
    let at = usize::try_from(root).expect("small") * 4096;
    let stat = |mode: u16, size: u32| -> Vec<u8> {
        let mut stat = vec![0; 32];
        stat[..2].copy_from_slice(&mode.to_le_bytes());
        stat[2] = 1;
        stat[8..12].copy_from_slice(&size.to_le_bytes());
        stat[16..20].copy_from_slice(&900_000_000_u32.to_le_bytes());
        stat
    };
    let names: [(u32, &[u8]); 4] = [(2, b"."), (0, b".."), (5, b"tail"), (6, b"block")];
    let mut entries = Vec::new();
    let mut end = 4 * 16 + names.iter().map(|(_, name)| name.len()).sum::<usize>();
    for (object, name) in names {
        end -= name.len();
        entries.extend([1_u32, 1, object].iter().flat_map(|word| word.to_le_bytes()));
        entries.extend(u16::try_from(end).expect("small").to_le_bytes());
        entries.extend([4, 0]);
    }
    entries.extend(names.iter().rev().flat_map(|(_, name)| name.iter().copied()));
    let items: [(u32, [u32; 2], u16, Vec<u8>); 6] = [
        (2, [0, 0], 0, stat(0o40_755, 48)),
        (2, [1, 500], 4, entries),
        (5, [0, 0], 0, stat(0o100_644, 7)),
        (5, [1, u32::MAX], 0xffff, b"content\0".to_vec()),
        (6, [0, 0], 0, stat(0o100_600, 4000)),
        (6, [1, u32::MAX - 1], 0, (root + 1).to_le_bytes().to_vec()),
    ];
    let leaf = &mut bytes[at..at + 4096];
    leaf.fill(0);
    leaf[..4].copy_from_slice(&[1, 0, 6, 0]);
    let mut end = 4096;
    for (index, (object, key, count, body)) in items.iter().enumerate() {
        end -= body.len();
        leaf[end..end + body.len()].copy_from_slice(body);
        let head = &mut leaf[24 + 24 * index..][..24];
        for (word, at) in [1, *object, key[0], key[1]].iter().zip([0, 4, 8, 12]) {
            head[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        let halves = [
            *count,
            u16::try_from(body.len()).expect("small"),
            u16::try_from(end).expect("small"),
        ];
        for (half, at) in halves.iter().zip([16, 18, 20]) {
            head[at..at + 2].copy_from_slice(&half.to_le_bytes());
        }
    }
    bytes[at + 4096..at + 8192].fill(b'b');
    let (state, found) = listing(&bytes);
    assert_eq!((state, &found.findings[..]), (State::Clean, &[][..]));
    let tree = Tree::of_listing(&found, &Bytes(&bytes));
    let paths: Vec<_> = found.names.iter().map(|name| name.path.as_slice()).collect();
    assert_eq!(paths, [b"tail".as_slice(), b"block"]);
    assert_eq!(tree.entries[0].modified, Some(900_000_000));
    let hash = |content: &[u8]| BlobHash::from_bytes(*blake3::hash(content).as_bytes());
    let contents = found.contents(&Bytes(&bytes));
    assert_eq!(contents[b"tail".as_slice()], hash(b"content"));
    assert_eq!(contents[b"block".as_slice()], hash(&[b'b'; 4000]));
}

/// R17: what stands only in the journal is listed, and said so.
#[test]
fn r17_the_journal_of_reiserfs_is_replayed_in_memory() {
    if !have("mkreiserfs") || !have("linux.uml") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("image");
    format(&path, SMALL, 8 << 20);
    let script = "for n in $(seq 300); do echo content $n > mounted/file-$n; done; mkdir mounted/d; mv mounted/file-7 mounted/d/seven";
    assert!(uml::run_and_crash("reiserfs", "", &path, folder.path(), script));
    let bytes = fs::read(&path).expect("the image");
    let (state, found) = listing(&bytes);
    assert_eq!(state, State::Dirty);
    let replayed = found
        .findings
        .iter()
        .any(|finding| finding.code == FindingCode::DirtyJournal && finding.detail.contains("were replayed"));
    assert!(replayed, "{:?}", found.findings);
    let contents = Tree::of_listing(&found, &Bytes(&bytes)).contents();
    assert_eq!(contents.len(), 300, "{:?}", found.findings);
    assert!(found.names.iter().any(|name| name.path == b"d/seven"));
}

/// A volume whose root block is wiped loses nothing: all leaves are found.
#[test]
fn r22_leaves_are_found_without_the_tree() {
    let Some(lab) = small() else { return };
    let mut bytes = lab.images[0].bytes();
    let whole = Tree::of_listing(&listing(&bytes).1, &Bytes(&bytes));
    let root = u32::from_le_bytes(bytes[65_544..65_548].try_into().expect("4 bytes"));
    let root = usize::try_from(root).expect("small") * 4096;
    bytes[root..root + 4096].fill(0);
    let (_, found) = listing(&bytes);
    assert_eq!(Tree::of_listing(&found, &Bytes(&bytes)), whole);
    let told = found
        .findings
        .iter()
        .any(|finding| finding.detail.contains("found by a search of all blocks"));
    assert!(told, "{:?}", found.findings);
}

/// Public images: who made them knows what is in them.
#[test]
fn public_images_of_reiserfs_are_listed() {
    for (name, version, paths) in [
        ("disktype/reiserfs-3.5.image.gz", "3.5", 0),
        ("retro/test_reiserfs_v3_6.img.zst", "3.6", 1),
    ] {
        let Some(image) = corpus_image(name) else { return };
        let bytes = fs::read(image.path()).expect("the image");
        let volume = open(Family::ReiserFs, Box::new(Bytes(&bytes)), 0).expect("the image opens");
        let says = volume.facts().details.iter().any(|(_, value)| value == version);
        assert!(says, "{:?}", volume.facts());
        let found = Listing::of(&*volume, &ScanOptions::default());
        let losses = found
            .findings
            .iter()
            .filter(|finding| finding.severity == ntt_model::Severity::Loss);
        assert_eq!(losses.count(), 0, "{name}: {:?}", found.findings);
        assert!(found.names.len() >= paths, "{name}: {:?}", found.names);
        assert!(found.inodes.values().any(|inode| inode.kind == Kind::Directory));
    }
}

#[test]
fn r11_r22_variants_and_holes_of_reiserfs() {
    if let Some(lab) = small() {
        lab.survives(Amount::FULL);
        lab.names_what_is_hit(structures);
    }
}

#[test]
fn r22_reiserfs_loses_no_more_than_the_kernel() {
    if let Some(lab) = small() {
        lab.loses_no_more(&[kernel()], 0..1);
    }
}

#[test]
#[ignore = "takes minutes: sh scripts/loss.sh"]
fn loss_score_of_reiserfs() {
    if let Some(lab) = small() {
        lab.loss_of_100_seeds(&[kernel()]);
    }
}

fn structures(image: &[u8], listing: &Listing) -> Vec<Structure> {
    // Not a tail: a hole in a leaf costs all that is in it.
    let extents = listing.inodes.values().filter_map(|inode| inode.data());
    let content = extents
        .flat_map(|stream| &stream.extents)
        .find(|extent| extent.kind == ExtentKind::Data && extent.len >= 4096)
        .map(|extent| Structure::content(ByteRange::new(extent.image_offset, 512)))
        .expect("a file of blocks");
    let root = u64::from(u32::from_le_bytes(
        image[65_544..65_548].try_into().expect("4 bytes"),
    ));
    vec![
        Structure::new("superblock", ByteRange::new(65_536, 512), Layer::FileSystem),
        Structure::new("bitmap", ByteRange::new(65_536 + 4096, 512), Layer::FileSystem),
        Structure::new(
            "root of the tree",
            ByteRange::new(root * 4096, 4096),
            Layer::FileSystem,
        ),
        content,
    ]
}
