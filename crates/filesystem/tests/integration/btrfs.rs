//! What btrfs has beside names and contents, and what damage to its structures costs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use ntt_filesystem::{Family, FileSystem, ScanOptions, State, open, probe};
use ntt_model::entry::{Encoding, Inode, Namespace, StreamKind};
use ntt_model::{ByteRange, Codec, Extent, ExtentKind, FindingCode, Kind, Layer, Severity};
use ntt_source::Masked;
use ntt_testkit::corpus::corpus_image;
use ntt_testkit::lab::corpus::{Size, Spec};
use ntt_testkit::lab::make::{self, Image, run};
use ntt_testkit::lab::tree::Tree;
use ntt_testkit::lab::watch::Bytes;
use ntt_testkit::listing::Listing;

const MIB: u64 = 1 << 20;
const SUPERBLOCK: usize = 0x1_0000;
const SECOND: usize = 0x400_0000;

fn opened(image: &[u8]) -> Box<dyn FileSystem + '_> {
    open(Family::Btrfs, Box::new(Bytes(image)), 0).expect("the image opens")
}

fn listing(image: &[u8]) -> Listing {
    Listing::of(&*opened(image), &ScanOptions::default())
}

fn verified(image: &[u8]) -> Listing {
    let options = ScanOptions {
        verify_content: true,
        ..ScanOptions::default()
    };
    Listing::of(&*opened(image), &options)
}

fn paths(listing: &Listing) -> BTreeSet<&[u8]> {
    listing.names.iter().map(|name| name.path.as_slice()).collect()
}

fn has(listing: &Listing, code: FindingCode, text: &str) -> bool {
    let mut findings = listing.findings.iter();
    findings.any(|finding| finding.code == code && finding.detail.contains(text))
}

fn inode<'l>(listing: &'l Listing, path: &str) -> &'l Inode {
    let mut names = listing.names.iter();
    let name = names.find(|name| name.path == path.as_bytes()).expect(path);
    &listing.inodes[&name.name.inode]
}

fn plain(arguments: &[&str], size: u64) -> Option<Vec<u8>> {
    let image = make::btrfs_of_folder(arguments, size, &Spec::posix(Size::Small))?;
    Some(image.bytes())
}

fn filled(arguments: &[&str], options: &str, fill: impl FnOnce(&Path)) -> Option<Image> {
    make::btrfs(arguments, 240 * MIB, options, |root| {
        fill(root);
        Tree::default()
    })
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Where nodes of a tree lie in the image: 4 KiB each, with a header that names owner and level.
fn nodes(image: &[u8], owner: u64, level: u8) -> Vec<usize> {
    let uuid = &image[SUPERBLOCK + 0x20..SUPERBLOCK + 0x30];
    let generation = word(image, SUPERBLOCK + 0x48);
    (0..image.len() / 4096)
        .map(|number| number * 4096)
        .filter(|at| {
            &image[at + 0x20..at + 0x30] == uuid
                && &image[at + 64..at + 72] != b"_BHRfS_M"
                && word(image, at + 0x58) == owner
                && word(image, at + 0x50) == generation
                && image[at + 0x64] == level
        })
        .collect()
}

const SINGLE: &[&str] = &["-M", "-m", "single", "-d", "single", "-n", "4096"];
const DUP: &[&str] = &["-m", "dup", "-n", "4096"];

#[test]
fn the_superblock_and_its_copy() {
    let Some(mut image) = plain(SINGLE, 80 * MIB) else {
        return;
    };
    let whole = listing(&image);
    assert_eq!(whole.findings, []);
    let candidate = &probe(&Bytes(&image))[0];
    assert_eq!(
        (candidate.family, candidate.size_bytes),
        (Family::Btrfs, 80 * MIB)
    );
    assert_eq!(opened(&image).facts().label, b"LAB");
    assert_eq!(opened(&image).facts().state, State::Clean);

    image[SECOND + 0x48] ^= 1;
    assert!(has(
        &listing(&image),
        FindingCode::Corrupt,
        "its checksum is wrong"
    ));
    image[SECOND + 0x48] ^= 1;
    image[SUPERBLOCK..SUPERBLOCK + 4096].fill(0);
    assert!(probe(&Bytes(&image))[0].evidence.contains("only a copy"));
    let by_copy = listing(&image);
    assert!(has(
        &by_copy,
        FindingCode::BackupUsed,
        "the superblock at 0x4000000 was used"
    ));
    assert_eq!(paths(&by_copy), paths(&whole));
    image[SECOND..SECOND + 4096].fill(0);
    assert_eq!(probe(&Bytes(&image)), []);
}

/// From a public collection.
#[test]
fn a_real_one() {
    let Some(path) = corpus_image("detect/btrfs.img.xz") else {
        return;
    };
    let image = fs::read(path.path()).expect("the image");
    let volume = opened(&image);
    let facts = volume.facts();
    assert_eq!(
        facts.uuid.as_deref(),
        Some("d4a78b72-55e4-4811-86a6-09af936d43f9")
    );
    assert_eq!((facts.size_bytes, facts.block_size_bytes), (120_586_240, 4096));
    assert_eq!(verified(&image).findings, []);
}

#[test]
fn r22_a_bad_node_is_replaced_by_its_copy() {
    let Some(mut image) = plain(DUP, 130 * MIB) else {
        return;
    };
    let whole = listing(&image);
    let leaves = nodes(&image, 5, 0);
    assert!(leaves.len() > 20, "{}", leaves.len());
    // Every other node in the order of the image: of every pair one.
    let half = leaves.len() / 2;
    for at in &leaves[..half] {
        image[at + 200] ^= 1;
    }
    let found = listing(&image);
    assert_eq!(
        (found.names.len(), paths(&found)),
        (whole.names.len(), paths(&whole))
    );
    assert!(has(
        &found,
        FindingCode::BackupUsed,
        "another copy of it was used"
    ));
    assert!(
        found
            .findings
            .iter()
            .all(|finding| finding.severity == Severity::Warning)
    );
}

#[test]
fn r22_a_lost_root_costs_nothing_but_the_node() {
    let Some(mut image) = plain(SINGLE, 40 * MIB) else {
        return;
    };
    let whole = listing(&image);
    let level = (1..8).rev().find(|level| !nodes(&image, 5, *level).is_empty());
    let tops = nodes(&image, 5, level.expect("a tree of several levels"));
    for at in tops {
        image[at..at + 4096].fill(0);
    }
    let found = listing(&image);
    assert_eq!(paths(&found), paths(&whole));
    assert!(has(&found, FindingCode::Corrupt, "is none of this file system"));
    assert!(has(&found, FindingCode::BackupUsed, "looked for in all chunks"));
}

/// Every name stands three times: in the order of making, by hash, and with its inode.
#[test]
fn r22_names_survive_a_lost_leaf() {
    let Some(image) = plain(SINGLE, 40 * MIB) else {
        return;
    };
    let whole = listing(&image);
    for at in nodes(&image, 5, 0).into_iter().step_by(7) {
        let mut image = image.clone();
        image[at..at + 4096].fill(0);
        let found = listing(&image);
        let lost = whole.names.len().saturating_sub(found.names.len());
        // Inodes that are in the lost leaf only. A directory whose name was there too goes on under a made-up one.
        assert!(lost < 40, "{lost} of {} names are lost", whole.names.len());
        assert!(
            found
                .findings
                .iter()
                .any(|finding| finding.severity == Severity::Loss)
        );
    }
}

#[test]
fn r22_an_earlier_root_tree_is_used() {
    let Some(image) = filled(SINGLE, "", |root| {
        for number in 0..20 {
            fs::write(root.join(format!("file {number}")), b"content").expect("written");
            run("sync", &["-f", "."], root);
        }
    }) else {
        return;
    };
    let mut image = image.bytes();
    let root = usize::try_from(word(&image, SUPERBLOCK + 0x50)).expect("an address");
    let logical = u64::try_from(root).expect("an address");
    let at = (0..image.len() / 4096)
        .map(|number| number * 4096)
        .find(|at| word(&image, at + 0x30) == logical && image[at + 64..at + 72] != *b"_BHRfS_M");
    let at = at.expect("the root tree");
    image[at..at + 4096].fill(0);
    let found = listing(&image);
    assert!(has(&found, FindingCode::BackupUsed, "would be the latest"));
    assert!(found.names.len() >= 18, "{}", found.names.len());
}

#[test]
fn subvolumes_and_snapshots_stand_in_the_tree() {
    let Some(image) = filled(&[], "", |root| {
        let script =
            "btrfs subvolume create a; btrfs subvolume create a/b; echo x > a/b/x; echo y > a/y; mkdir a/d
            btrfs subvolume snapshot a s; btrfs subvolume snapshot -r a/b r
            btrfs subvolume create gone; echo z > gone/z; sync -f .
            btrfs subvolume set-default $(btrfs subvolume list . | awk '$NF == \"a\" {print $2}') .";
        run("sh", &["-ec", script], root);
    }) else {
        return;
    };
    let image = image.bytes();
    let found = listing(&image);
    assert_eq!(found.findings, []);
    let expected = [
        "a", "a/b", "a/b/x", "a/d", "a/y", "gone", "gone/z", "r", "r/x", "s", "s/b", "s/d", "s/y",
    ];
    let expected: BTreeSet<&[u8]> = expected.iter().map(|path| path.as_bytes()).collect();
    assert_eq!(paths(&found), expected);
    // The snapshot did not take the inner subvolume in: a directory of its own stands for it.
    assert_eq!(inode(&found, "s/b").kind, Kind::Directory);
    assert_ne!(inode(&found, "s/b").number, inode(&found, "a/b").number);
    assert_eq!(
        inode(&found, "a/y").number & 0xff_ffff,
        inode(&found, "s/y").number & 0xff_ffff
    );
    assert_eq!(inode(&found, "a").number, (256 << 40) | 256);
    let volume = opened(&image);
    let detail = |label: &str| {
        let details = volume.facts().details.iter();
        details
            .filter(|(key, _)| key == label)
            .map(|(_, value)| value.clone())
            .next()
    };
    assert_eq!(detail("subvolumes").as_deref(), Some("5"));
    assert_eq!(detail("of them read-only").as_deref(), Some("1"));
    assert_eq!(detail("default subvolume").as_deref(), Some("256"));
    assert!(
        found
            .names
            .iter()
            .all(|name| name.name.namespace != Namespace::Lost)
    );
}

#[test]
fn compressed_extents_are_units() {
    let text = b"the quick brown fox ".repeat(10_000);
    for (option, codec) in [
        ("compress-force=zlib", Codec::Zlib),
        ("compress-force=lzo", Codec::LzoBtrfs),
        ("compress-force=zstd", Codec::Zstd),
    ] {
        let Some(image) = filled(&[], option, |root| {
            fs::write(root.join("large"), &text).expect("written");
            fs::write(root.join("small"), &text[..900]).expect("written");
        }) else {
            return;
        };
        let image = image.bytes();
        let found = listing(&image);
        for (path, content) in [("large", &text[..]), ("small", &text[..900])] {
            let stream = inode(&found, path).data().expect("content");
            let Encoding::Packed(units) = &stream.encoding else {
                panic!("{path} is {:?}", stream.encoding)
            };
            assert!(units.iter().all(|unit| unit.codec == codec), "{path}: {units:?}");
            let mut read = Vec::new();
            let missing = ntt_codec::read_stream(&Bytes(&image), stream, &mut |piece| {
                match piece {
                    ntt_source::extents::Piece::Bytes(bytes) => read.extend_from_slice(bytes),
                    ntt_source::extents::Piece::Zeros(len) => read.resize(read.len() + len as usize, 0),
                }
                Ok::<(), ()>(())
            });
            assert!(missing.expect("no stop").ranges.is_empty(), "{path}");
            assert!(read == content, "{path} by {option}");
        }
    }
}

#[test]
fn attributes_devices_and_flags() {
    let Some(image) = filled(&["-n", "32768"], "", |root| {
        let script =
            "touch f; setfattr -n user.small -v value f; chattr +C f; mknod d c 5 1; mknod e b 259 70000
            setfattr -n user.large -v $(head -c 9000 /dev/zero | tr '\\0' x) f; chown 12:34 f; chmod 4751 f";
        run("sh", &["-ec", script], root);
    }) else {
        return;
    };
    let bytes = image.bytes();
    let found = listing(&bytes);
    let file = inode(&found, "f");
    assert_eq!(
        (file.mode, file.uid, file.gid, file.links),
        (Some(0o4751), Some(12), Some(34), 1)
    );
    assert_eq!(file.xattrs[0].name, b"user.small");
    assert_eq!(file.xattrs[0].value, b"value");
    let large = &file.streams[1];
    assert_eq!(
        (&large.kind, large.size_bytes),
        (&StreamKind::Xattr(b"user.large".to_vec()), 9000)
    );
    let at = usize::try_from(large.extents[0].image_offset).expect("an offset");
    assert!(bytes[at..at + 9000].iter().all(|byte| *byte == b'x'));
    assert_eq!(inode(&found, "d").device, Some((5, 1)));
    assert_eq!(inode(&found, "e").device, Some((259, 70_000)));
    assert_ne!(file.flags & 1, 0, "NODATASUM");
    assert!(file.times.created.is_some());
}

/// A file of several sectors whose extents are data, with the bytes of its first extent.
fn data_file(listing: &Listing) -> (u64, Extent) {
    let files = listing.inodes.values().filter_map(|inode| {
        let stream = inode.data().filter(|stream| stream.encoding == Encoding::Plain)?;
        let first = stream.extents.first()?;
        (first.kind == ExtentKind::Data && first.len > 16_384).then_some((inode.number, *first))
    });
    files.max_by_key(|(_, extent)| extent.len).expect("a large file")
}

/// The bytes that the extents of a file name.
fn content(image: &[u8], listing: &Listing, number: u64) -> Vec<u8> {
    let stream = listing.inodes[&number].data().expect("content");
    let bytes = stream.extents.iter().flat_map(|extent| {
        let at = usize::try_from(extent.image_offset).expect("an offset");
        image[at..at + usize::try_from(extent.len).expect("a length")].to_vec()
    });
    bytes.collect()
}

#[test]
fn content_is_verified_on_demand() {
    let Some(mut image) = plain(SINGLE, 80 * MIB) else {
        return;
    };
    assert_eq!(verified(&image).findings, []);
    let (number, first) = data_file(&listing(&image));
    let at = usize::try_from(first.image_offset).expect("an offset");
    image[at + 5000] ^= 1;
    image[at + 9000] ^= 1;
    assert_eq!(listing(&image).findings, [], "only on demand");
    let found = verified(&image);
    assert_eq!(found.findings.len(), 1);
    let finding = &found.findings[0];
    assert_eq!(
        (finding.layer, finding.code, finding.severity),
        (Layer::Content, FindingCode::Corrupt, Severity::Loss)
    );
    assert_eq!(finding.image_offset, Some(first.image_offset + 4096));
    assert_eq!(
        finding.detail,
        "bytes 4096 to 12287 of a file: 8192 bytes of content do not match their checksums"
    );
    assert_eq!(finding.inode, Some(number));
}

const MIRRORED: &[&str] = &["-m", "dup", "-d", "dup"];

/// R11, R22: where content is kept twice, the copy that its checksum vouches for is read, not the first one.
#[test]
fn r11_the_copy_that_is_right_is_read() {
    let Some(mut image) = plain(MIRRORED, 400 * MIB) else {
        return;
    };
    let whole = listing(&image);
    assert_eq!(whole.findings, []);
    let (number, first) = data_file(&whole);
    let right = content(&image, &whole, number);
    let at = usize::try_from(first.image_offset).expect("an offset");
    image[at + 5000] ^= 1;
    image[at + 9000] ^= 1;
    for found in [listing(&image), verified(&image)] {
        assert!(
            content(&image, &found, number) == right,
            "what is damaged is read"
        );
        assert_eq!(found.findings.len(), 1);
        let finding = &found.findings[0];
        assert_eq!(
            (finding.layer, finding.code, finding.severity),
            (Layer::Content, FindingCode::BackupUsed, Severity::Warning)
        );
        assert_eq!(
            (finding.image_offset, finding.inode),
            (Some(first.image_offset + 4096), Some(number))
        );
        assert!(finding.detail.starts_with(
            "bytes 4096 to 12287 of a file: 8192 bytes of content do not match their checksums; the copy at 0x"
        ));
    }

    // Both copies of the second sector: nothing is right there, and the file is named without being asked for.
    let used = listing(&image).inodes[&number].data().expect("content").extents[1];
    let other = usize::try_from(used.image_offset).expect("an offset");
    image[other + 7] ^= 1;
    let found = listing(&image);
    let severities: Vec<_> = found.findings.iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Loss, Severity::Warning]);
    assert!(found.findings.iter().all(|finding| finding.inode == Some(number)));
}

/// R11: a first copy that was never rescued costs nothing where there is another.
#[test]
fn r11_an_unread_copy_is_replaced() {
    let Some(image) = plain(MIRRORED, 400 * MIB) else {
        return;
    };
    let whole = listing(&image);
    let (number, first) = data_file(&whole);
    let right = content(&image, &whole, number);
    let lost = ByteRange::new(first.image_offset + 4096, 8192);
    let masked = Masked::new(Bytes(&image), vec![lost]);
    let volume = open(Family::Btrfs, Box::new(masked), 0).expect("the image opens");
    let found = Listing::of(&*volume, &ScanOptions::default());
    assert!(content(&image, &found, number) == right);
    let extents = &found.inodes[&number].data().expect("content").extents;
    let mut places = extents.iter().filter_map(Extent::image_range);
    assert!(places.all(|place| place.intersection(&lost).is_none()));
    assert_eq!(found.findings.len(), 1);
    assert_eq!(
        (found.findings[0].code, found.findings[0].severity),
        (FindingCode::Unread, Severity::Warning)
    );
}

#[test]
fn a_log_tree_is_told_of() {
    let Some(image) = make::btrfs_of_folder(SINGLE, 40 * MIB, &Spec::posix(Size::Small)) else {
        return;
    };
    let mut image = image.bytes();
    image[SUPERBLOCK + 0x60] = 1;
    let found = listing(&image);
    assert!(has(&found, FindingCode::DirtyJournal, "was not replayed"));
    assert_eq!(opened(&image).facts().state, State::Dirty);
}

/// Two devices: what lies on the other one is missing, and said to be.
#[test]
fn devices_of_a_set_are_read_alone() {
    if !have_loop_devices() {
        eprintln!("skipped: no loop devices here");
        return;
    }
    for (metadata, data, is_whole) in [
        ("raid1", "raid1", true),
        ("raid1", "raid0", false),
        ("raid1", "single", false),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = format!(
            "truncate -s 200M one two; a=$(losetup -f --show one); b=$(losetup -f --show two); trap 'losetup -d $a $b' EXIT
            mkfs.btrfs -q -f -m {metadata} -d {data} $a $b; mkdir m; mount -t btrfs -o device=$b $a m
            yes content | head -c 3000000 > m/large; echo small > m/small; umount m"
        );
        run("sh", &["-ec", &script], folder.path());
        for device in ["one", "two"] {
            let image = fs::read(folder.path().join(device)).expect("the image");
            let found = listing(&image);
            assert_eq!(
                paths(&found),
                BTreeSet::from([&b"large"[..], b"small"]),
                "{data} {device}"
            );
            let large = inode(&found, "large").data().expect("content").clone();
            let read = ntt_codec::read_stream(&Bytes(&image), &large, &mut |_| Ok::<(), ()>(()));
            assert_eq!(
                read.expect("no stop").ranges.is_empty(),
                !large.extents_incomplete,
                "{data} {device}"
            );
            assert!(
                data == "single" || large.extents_incomplete != is_whole,
                "{data} {device}"
            );
            assert!(has(&found, FindingCode::Unsupported, "of 2"));
        }
    }
}

fn have_loop_devices() -> bool {
    let probe = "losetup -f > /dev/null && [ \"$(id -u)\" = 0 ] && command -v mkfs.btrfs";
    let status = Command::new("sh")
        .args(["-c", probe])
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output();
    status.is_ok_and(|output| output.status.success())
}

/// What is in use is what `allocated` says: zeroing all else changes nothing.
#[test]
fn what_is_not_allocated_does_not_matter() {
    let Some(image) = plain(DUP, 130 * MIB) else {
        return;
    };
    let mut kept = vec![0; image.len()];
    opened(&image)
        .allocated(&mut |run| {
            let range = usize::try_from(run.offset).expect("in memory")
                ..usize::try_from(run.end()).expect("in memory");
            kept[range.clone()].copy_from_slice(&image[range]);
        })
        .expect("runs");
    let (whole, found) = (listing(&image), listing(&kept));
    assert_eq!(whole.events, found.events);
    assert_eq!(whole.contents(&Bytes(&image)), found.contents(&Bytes(&kept)));
}
