//! UDF against what the images were built of.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;

use ntt_filesystem::name::wtf8_from_utf16;
use ntt_filesystem::{FileSystem, ScanOptions, State, udf};
use ntt_model::entry::{Allocation, StreamKind};
use ntt_model::{BlobHash, ByteRange, FindingCode, Kind, Namespace, Severity};
use ntt_source::{Masked, ReadAt};
use ntt_testkit::listing::{Listing, content_hash};
use ntt_testkit::udf::{Built, Descriptors, Kind as NodeKind, Layout, Node, Options, Piece, build, corpus};

const MANY: u32 = 120;

/// The layouts with the revisions, sector sizes and forms that go with them.
pub(crate) fn variants() -> Vec<(&'static str, Options)> {
    let plain = Options::default();
    vec![
        (
            "plain 1.02",
            Options {
                revision: 0x0102,
                ..plain
            },
        ),
        (
            "plain, 512",
            Options {
                block_bytes: 512,
                fragment_blocks: 2,
                ..plain
            },
        ),
        (
            "plain, 4096, embedded",
            Options {
                block_bytes: 4096,
                embed: true,
                extended: true,
                ..plain
            },
        ),
        (
            "long, continued",
            Options {
                descriptors: Descriptors::Long,
                fragment_blocks: 1,
                ..plain
            },
        ),
        (
            "extended descriptors",
            Options {
                descriptors: Descriptors::Extended,
                fragment_blocks: 1,
                embed: true,
                ..plain
            },
        ),
        (
            "strategy 4096",
            Options {
                replaced: true,
                revision: 0x0102,
                ..plain
            },
        ),
        ("no CRC", Options { crc: false, ..plain }),
        (
            "spared",
            Options {
                layout: Layout::Spared,
                revision: 0x0150,
                ..plain
            },
        ),
        (
            "spared, embedded",
            Options {
                layout: Layout::Spared,
                embed: true,
                fragment_blocks: 3,
                ..plain
            },
        ),
        (
            "virtual 1.50",
            Options {
                layout: Layout::Virtual,
                revision: 0x0150,
                ..plain
            },
        ),
        (
            "virtual, displaced",
            Options {
                layout: Layout::Virtual,
                embed: true,
                tail_blocks: 1500,
                ..plain
            },
        ),
        (
            "metadata 2.50",
            Options {
                layout: Layout::Metadata,
                revision: 0x0250,
                extended: true,
                ..plain
            },
        ),
        (
            "metadata 2.60, fragmented",
            Options {
                layout: Layout::Metadata,
                revision: 0x0260,
                extended: true,
                embed: true,
                fragment_blocks: 1,
                ..plain
            },
        ),
    ]
}

/// Kind, and link target or hash of the content.
pub(crate) type Truth = BTreeMap<Vec<u8>, (Kind, Vec<u8>)>;

fn hash(bytes: &[u8]) -> Vec<u8> {
    BlobHash::of(bytes).to_string().into_bytes()
}

fn content(pieces: &[Piece], block_bytes: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Bytes(piece) => bytes.extend(piece),
            Piece::Hole(blocks) | Piece::Unwritten(blocks) => {
                bytes.resize(bytes.len() + usize::try_from(blocks * block_bytes).unwrap(), 0);
            }
        }
    }
    bytes
}

/// What a reader must list of a tree.
pub(crate) fn truth(nodes: &[Node], block_bytes: u32) -> Truth {
    let mut found = Truth::new();
    let mut queue: Vec<(Vec<u8>, &[Node])> = vec![(Vec::new(), nodes)];
    while let Some((parent, nodes)) = queue.pop() {
        for node in nodes.iter().filter(|node| !node.deleted) {
            let name = wtf8_from_utf16(node.name.iter().copied());
            let path = if parent.is_empty() {
                name
            } else {
                [&parent, &b"/"[..], &name].concat()
            };
            let value = match &node.kind {
                NodeKind::File(pieces) => (Kind::File, hash(&content(pieces, block_bytes))),
                NodeKind::Directory(nodes) => {
                    queue.push((path.clone(), nodes));
                    (Kind::Directory, Vec::new())
                }
                NodeKind::Symlink(target) => (Kind::Symlink, target.clone().into_bytes()),
                NodeKind::Fifo => (Kind::Fifo, Vec::new()),
                NodeKind::Device(..) => (Kind::CharDevice, Vec::new()),
                NodeKind::Link(first) => {
                    let is_first = |other: &&Node| String::from_utf16_lossy(&other.name) == *first;
                    let first = nodes.iter().find(is_first).expect("the first name");
                    let NodeKind::File(pieces) = &first.kind else {
                        panic!("links are of files");
                    };
                    (Kind::File, hash(&content(pieces, block_bytes)))
                }
            };
            found.insert(path, value);
        }
    }
    found
}

/// The same of a listing.
pub(crate) fn found(listing: &Listing, image: &dyn ReadAt) -> Truth {
    let value = |number: u64| {
        let inode = &listing.inodes[&number];
        let what = match inode.kind {
            Kind::File => content_hash(image, inode).to_string().into_bytes(),
            _ => inode.target.clone().unwrap_or_default(),
        };
        (inode.kind, what)
    };
    let preferred = listing.preferred();
    preferred
        .map(|name| (name.path.clone(), value(name.name.inode)))
        .collect()
}

pub(crate) fn opened<'a>(image: &'a dyn ReadAt) -> Box<dyn FileSystem + 'a> {
    udf::open(Box::new(image), 0).expect("a volume")
}

pub(crate) fn listing(image: &dyn ReadAt) -> Listing {
    Listing::of(&*opened(image), &ScanOptions::default())
}

fn made(options: Options) -> Built {
    build(&corpus(MANY, options.block_bytes), options)
}

/// Every layout gives back the tree that it was built of, without a finding.
#[test]
fn every_layout_gives_back_its_tree() {
    for (name, options) in variants() {
        let tree = corpus(MANY, options.block_bytes);
        let built = build(&tree, options);
        assert!(udf::probe(&built.bytes).is_some(), "{name}");
        let listing = listing(&built.bytes);
        assert_eq!(listing.findings, [], "{name}");
        let (found, truth) = (found(&listing, &built.bytes), truth(&tree, options.block_bytes));
        for (path, value) in &truth {
            assert_eq!(found.get(path), Some(value), "{name}: {}", path.escape_ascii());
        }
        assert_eq!(found.len(), truth.len(), "{name}");
    }
}

fn inode<'a>(listing: &'a Listing, path: &[u8]) -> &'a ntt_model::entry::Inode {
    let name = listing
        .names
        .iter()
        .find(|name| name.path == path)
        .expect("the name");
    &listing.inodes[&name.name.inode]
}

/// R27: times, owner, mode, links, streams and attributes of a file.
#[test]
fn r27_metadata_is_kept() {
    for extended in [false, true] {
        let image = made(Options {
            extended,
            ..Options::default()
        })
        .bytes;
        let listing = listing(&image);
        let file = inode(&listing, b"first name");
        assert_eq!(
            (file.mode, file.uid, file.gid, file.links),
            (Some(0o640), Some(1000), Some(100), 2)
        );
        let time = |time: Option<ntt_model::Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
        assert_eq!(time(file.times.modified), "2008-04-15T12:34:56.78Z");
        assert_eq!(time(file.times.created).is_empty(), !extended);
        assert!(file.generation > 16, "the unique id");
        assert_eq!(file.number, inode(&listing, b"second name").number);
        assert_eq!(inode(&listing, b"null").device, Some((1, 3)));
        let mac = inode(&listing, b"Mac file");
        let kinds: Vec<&StreamKind> = mac.streams.iter().map(|stream| &stream.kind).collect();
        let named = |name: &[u8]| StreamKind::Named(name.to_vec());
        assert_eq!(
            kinds,
            [&StreamKind::Data, &named(b"rsrc"), &named(b"other stream")]
        );
        assert_eq!(mac.streams[1].size_bytes, 6000);
        assert_eq!(mac.xattrs[0].name, b"com.apple.FinderInfo");
        assert_eq!(mac.xattrs[0].value, (8..40).collect::<Vec<u8>>());
        assert!(
            listing
                .names
                .iter()
                .all(|name| name.name.namespace == Namespace::Udf)
        );
    }
}

#[test]
fn facts_are_those_of_the_descriptors() {
    let built = made(Options {
        revision: 0x0250,
        layout: Layout::Metadata,
        ..Options::default()
    });
    let volume = opened(&built.bytes);
    let facts = volume.facts();
    assert_eq!(facts.label, b"Label");
    assert_eq!(facts.uuid.as_deref(), Some("0123456789abcdef"));
    assert_eq!((facts.block_size_bytes, facts.state), (2048, State::Clean));
    let details = &facts.details;
    insta::assert_debug_snapshot!(details);
}

/// An open integrity descriptor makes a volume dirty, but for a write-once disc, which is whole if it has its table.
#[test]
fn open_integrity_is_dirty() {
    let state = |layout| {
        opened(
            &made(Options {
                layout,
                closed: false,
                ..Options::default()
            })
            .bytes,
        )
        .facts()
        .state
    };
    assert_eq!(state(Layout::Plain), State::Dirty);
    assert_eq!(state(Layout::Virtual), State::Clean);
}

/// Deleted names are listed if they are wanted, with the content that still stands there.
#[test]
fn deleted_entries_are_listed_on_request() {
    let image = made(Options::default()).bytes;
    let options = ScanOptions {
        deleted: true,
        ..ScanOptions::default()
    };
    let listing = Listing::of(&*opened(&image), &options);
    let name = listing
        .names
        .iter()
        .find(|name| name.path == b"deleted.txt")
        .expect("the name");
    assert_eq!(name.name.allocation, Allocation::Deleted);
    let inode = &listing.inodes[&name.name.inode];
    assert_eq!(
        (inode.allocation, inode.size_bytes()),
        (Allocation::Deleted, 3000)
    );
}

/// Extents and findings are in image offsets.
#[test]
fn a_volume_inside_an_image_has_image_offsets() {
    let built = made(Options::default());
    let at = 1 << 20;
    let image = [vec![0x55; at], built.bytes].concat();
    let window = ntt_source::SubRange::new(&image, ByteRange::new(1 << 20, u64::MAX));
    let volume = udf::open(Box::new(window), 1 << 20).expect("a volume");
    let listing = Listing::of(&*volume, &ScanOptions::default());
    assert_eq!(found(&listing, &image), truth(&corpus(MANY, 2048), 2048));
}

/// What is in use holds every structure and all content, in order; what is free is left out.
#[test]
fn the_allocated_ranges_hold_everything() {
    for (name, options) in variants() {
        let built = made(options);
        let volume = opened(&built.bytes);
        let mut ranges: Vec<ByteRange> = Vec::new();
        volume
            .allocated(&mut |range| {
                assert!(
                    ranges.last().is_none_or(|last| last.end() <= range.offset),
                    "{name}"
                );
                ranges.push(range);
            })
            .expect("the ranges");
        let holds = |wanted: ByteRange| ranges.iter().any(|range| range.contains_range(&wanted));
        let listing = listing(&built.bytes);
        for inode in listing.inodes.values() {
            for stream in &inode.streams {
                for range in stream.extents.iter().filter_map(ntt_model::Extent::image_range) {
                    assert!(holds(range), "{name}: {range}");
                }
            }
        }
        if options.layout == Layout::Plain {
            assert!(ranges.len() > 1, "{name}: the deleted entry is free");
        }
    }
}

fn without(image: &[u8], offset: u64, len: usize) -> Vec<u8> {
    let mut image = image.to_vec();
    let at = usize::try_from(offset).unwrap();
    image[at..at + len].fill(0);
    image
}

/// R22: any anchor, either descriptor sequence, and the anchors altogether can be missing.
#[test]
fn r22_backups_of_the_volume_structures_serve() {
    let built = made(Options::default());
    let truth = truth(&corpus(MANY, 2048), 2048);
    let last = u64::try_from(built.bytes.len()).unwrap() - 2048;
    for (what, places) in [
        ("first anchor", vec![(256 * 2048, 2048)]),
        ("last anchor", vec![(last, 2048)]),
        ("main sequence", vec![(96 * 2048, 16 * 2048)]),
        ("logical volume descriptor", vec![(98 * 2048, 2048)]),
        ("reserve sequence", vec![(112 * 2048, 16 * 2048)]),
        ("all anchors", vec![(256 * 2048, 2048), (last, 2048)]),
        ("recognition sequence", vec![(32_768, 8192)]),
    ] {
        let mut image = built.bytes.clone();
        for (offset, len) in &places {
            image = without(&image, *offset, *len);
        }
        assert_eq!(found(&listing(&image), &image), truth, "without the {what}");
    }
    let image = without(&built.bytes, 96 * 2048, 16 * 2048);
    assert_eq!(listing(&image).findings[0].code, FindingCode::BackupUsed);
    let image = without(&built.bytes, 96 * 2048, 32 * 2048);
    assert!(udf::open(Box::new(image), 0).is_err());
}

/// R22: each block of structures, set to zero, costs only what was in it. What a lost directory held is found again.
#[test]
fn r22_a_lost_block_costs_only_what_it_held() {
    for (name, options) in variants() {
        // A second version of an entry, and a lost entry of an embedded directory, cannot be made up for.
        let built = made(options);
        let whole = contents(&listing(&built.bytes), &built.bytes);
        let step = built.structures.len() / 12;
        for offset in built.structures.iter().step_by(step.max(1)) {
            let image = without(
                &built.bytes,
                *offset,
                usize::try_from(options.block_bytes).unwrap(),
            );
            let Ok(volume) = udf::open(Box::new(&image), 0) else {
                panic!("{name}: {offset:#x}");
            };
            let listing = Listing::of(&*volume, &ScanOptions::default());
            let left = contents(&listing, &image);
            let lost = whole.iter().filter(|hash| !left.contains(*hash)).count();
            let most = if options.layout == Layout::Virtual || options.embed {
                40
            } else {
                3
            };
            assert!(
                lost <= most,
                "{name}: {lost} contents lost with the block at {offset:#x}"
            );
        }
    }
}

fn contents(listing: &Listing, image: &dyn ReadAt) -> std::collections::BTreeSet<Vec<u8>> {
    let files = listing.inodes.values().filter(|inode| inode.kind == Kind::File);
    files
        .map(|inode| content_hash(image, inode).to_string().into_bytes())
        .collect()
}

/// R22: the metadata mirror serves block by block.
#[test]
fn r22_the_metadata_mirror_serves() {
    let options = Options {
        layout: Layout::Metadata,
        revision: 0x0250,
        extended: true,
        ..Options::default()
    };
    let built = made(options);
    let truth = truth(&corpus(MANY, 2048), 2048);
    for offset in built.structures.iter().step_by(5) {
        let image = without(&built.bytes, *offset, 2048);
        let listing = listing(&image);
        assert_eq!(found(&listing, &image), truth, "{offset:#x}");
    }
}

/// R22: names and contents that hang on a descriptor with a wrong CRC are doubtful, unless the mirror has it with a right one.
#[test]
fn r22_a_wrong_crc_is_a_loss() {
    let losses = |image: &Vec<u8>| {
        let findings = listing(image).findings;
        findings
            .iter()
            .filter(|finding| finding.severity == Severity::Loss)
            .count()
    };
    let flipped = |built: &Built| {
        let bytes = &built.bytes;
        let is_of = |at: usize, ids: &[u16]| ids.contains(&u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        // What is deleted is not read. The number of an inode is the place of its entry.
        let inodes = listing(bytes).inodes;
        let is_listed = |at: usize| inodes.contains_key(&u64::try_from(at).expect("small"));
        let is_in_use = |at: usize| bytes[at + 18] & 4 == 0;
        let offsets = built
            .structures
            .iter()
            .map(|at| usize::try_from(*at).expect("small"));
        let places: Vec<usize> = offsets
            .filter_map(|at| match () {
                // The length of a file; the number in the entry behind the parent's.
                () if is_of(at, &[261, 266]) => is_listed(at).then_some(at + 56),
                () if is_of(at, &[257]) && is_of(at + 40, &[257]) => {
                    is_in_use(at + 40).then_some(at + 40 + 24)
                }
                () => None,
            })
            .collect();
        assert!(places.len() > 4);
        let change = |at: usize| {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            changed
        };
        places.into_iter().step_by(3).map(change).collect::<Vec<_>>()
    };
    for image in flipped(&made(Options::default())) {
        assert!(losses(&image) > 0);
    }
    let mirrored = made(Options {
        layout: Layout::Metadata,
        revision: 0x0250,
        extended: true,
        ..Options::default()
    });
    let inodes = listing(&mirrored.bytes).inodes;
    let is_entry = |at: &&u64| inodes.contains_key(*at);
    for at in mirrored.structures.iter().filter(is_entry).step_by(3) {
        let mut changed = mirrored.bytes.clone();
        changed[usize::try_from(*at).expect("small") + 56] ^= 1;
        assert_eq!(losses(&changed), 0, "{at:#x}");
    }
}

/// R11: a directory block that was never rescued is told apart from a corrupt one.
#[test]
fn r11_an_unread_directory_block_is_no_corrupt_one() {
    let options = Options {
        block_bytes: 512,
        ..Options::default()
    };
    let built = made(options);
    let listing_whole = listing(&built.bytes);
    let many = inode(&listing_whole, b"many").number;
    // The entries of the directory come first; its blocks are the structures before its own entry was written.
    let bytes = built.bytes.clone();
    let mut identifiers = built.structures.iter().filter(|offset| {
        let at = usize::try_from(**offset).unwrap();
        bytes[at + 4..at + 2000]
            .windows(9)
            .any(|window| window == b"file 0010")
    });
    let offset = *identifiers.next_back().expect("a block of the directory");
    let image = Masked::new(bytes, vec![ByteRange::new(offset, 512)]);
    let listing = listing(&image);
    let findings: Vec<_> = listing
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Loss)
        .map(|finding| (finding.code, finding.inode))
        .collect();
    assert_eq!(
        findings,
        [(FindingCode::Unread, Some(many))],
        "{:?}",
        listing.findings
    );
}

/// R12: an image that is cut says so and gives what is left.
#[test]
fn r12_a_cut_image_gives_what_is_left() {
    let built = made(Options::default());
    let image = built.bytes[..built.bytes.len() / 2].to_vec();
    let listing = listing(&image);
    assert!(
        listing
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::BeyondEnd)
    );
    assert!(listing.names.len() > 50, "{}", listing.names.len());
}
