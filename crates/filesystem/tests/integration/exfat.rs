//! exFAT volumes made by code, to the letter of the specification.

use ntt_filesystem::{Family, FileSystem, ScanOptions, State, TimeZone, open, probe};
use ntt_model::entry::{Allocation, Namespace, StreamKind};
use ntt_model::{ByteRange, ExtentKind, FindingCode, Severity};
use ntt_source::{Masked, ReadAt};
use ntt_testkit::exfat::{CLUSTER, HEAP_AT, Node, SECTOR, boot_checksum, cluster_at, volume};
use ntt_testkit::lab::watch::Bytes;
use ntt_testkit::listing::Listing;

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|at| u8::try_from(at % 251).expect("small") ^ seed)
        .collect()
}

fn image() -> Vec<u8> {
    let many: Vec<Node> = (0..60)
        .map(|number| Node::file(&format!("file number {number} of many"), &pattern(100, number)))
        .collect();
    volume(&[
        Node::file("contiguous.bin", &pattern(3 * CLUSTER + 17, 1)),
        Node::file("fragmented.bin", &pattern(3 * CLUSTER + 17, 2)).fragmented(),
        Node::file("preallocated.bin", &pattern(2 * CLUSTER, 3)).valid(5000),
        Node::file("vendor.bin", b"mine").vendor(b"theirs"),
        Node::file("empty", b""),
        Node::named(&[0x61, 0xd800, 0x62], b"lone surrogate"),
        Node::file("deleted.bin", &pattern(5000, 4)).deleted(),
        Node::directory("fragmented directory", many.clone()).fragmented(),
        Node::directory("directory", vec![Node::directory("inner", many)]),
    ])
}

fn opened<'a>(source: impl ReadAt + 'a) -> Box<dyn FileSystem + 'a> {
    open(Family::ExFat, Box::new(source), 0).expect("the image opens")
}

fn listing(image: &[u8]) -> Listing {
    Listing::of(&*opened(Bytes(image)), &ScanOptions::default())
}

fn content(listing: &Listing, image: &[u8], path: &[u8]) -> Vec<u8> {
    let name = listing
        .names
        .iter()
        .find(|name| name.path == path)
        .expect("the path");
    let stream = listing.inodes[&name.name.inode].data().expect("a stream");
    let mut bytes = vec![0; usize::try_from(stream.size_bytes).expect("small")];
    for extent in stream
        .extents
        .iter()
        .filter(|extent| extent.kind == ExtentKind::Data)
    {
        let place = |at: u64, len: u64| {
            usize::try_from(at).expect("small")..usize::try_from(at + len).expect("small")
        };
        bytes[place(extent.logical_offset, extent.len)]
            .copy_from_slice(&image[place(extent.image_offset, extent.len)]);
    }
    bytes
}

#[test]
fn everything_of_the_format_is_read() {
    let image = image();
    let candidates = probe(&Bytes(&image));
    assert_eq!(candidates.len(), 1);
    let volume = opened(Bytes(&image));
    let facts = volume.facts();
    assert_eq!(facts.label, "Étiquette".as_bytes());
    assert_eq!(facts.uuid.as_deref(), Some("12AB-34CD"));
    assert_eq!((facts.state, facts.time_zone), (State::Clean, TimeZone::Utc));
    assert!(
        facts
            .details
            .iter()
            .any(|(_, value)| value == "00112233-4455-6677-8899-aabbccddeeff")
    );
    let listing = listing(&image);
    assert_eq!(listing.findings, []);
    assert_eq!(listing.names.len(), 9 + 60 + 60);
    for (path, expected) in [
        (&b"contiguous.bin"[..], pattern(3 * CLUSTER + 17, 1)),
        (b"fragmented.bin", pattern(3 * CLUSTER + 17, 2)),
        (b"empty", Vec::new()),
        (b"a\xed\xa0\x80b", b"lone surrogate".to_vec()),
        (b"fragmented directory/file number 59 of many", pattern(100, 59)),
        (b"directory/inner/file number 7 of many", pattern(100, 7)),
    ] {
        assert_eq!(content(&listing, &image, path), expected);
    }
    let inode = listing
        .inodes
        .values()
        .find(|inode| inode.number != 1)
        .expect("an inode");
    let created = inode.times.created.expect("a time").to_string();
    assert_eq!(created, "2024-02-29T11:34:56.5Z");
}

/// What was never written reads as zeros, whatever stands there.
#[test]
fn bytes_after_the_valid_length_are_not_read() {
    let image = image();
    let content = content(&listing(&image), &image, b"preallocated.bin");
    assert_eq!(content[..5000], pattern(2 * CLUSTER, 3)[..5000]);
    assert!(content[5000..].iter().all(|byte| *byte == 0));
}

#[test]
fn allocations_of_vendors_are_streams() {
    let image = image();
    let listing = listing(&image);
    let name = listing
        .names
        .iter()
        .find(|name| name.path == b"vendor.bin")
        .expect("listed");
    let streams = &listing.inodes[&name.name.inode].streams;
    let expected = b"vendor-66666666-6666-6666-6666-666666666666".to_vec();
    assert_eq!(streams[1].kind, StreamKind::Named(expected));
    assert_eq!(streams[1].size_bytes, 6);
}

#[test]
fn deleted_entries_are_listed_when_asked() {
    let image = image();
    let options = ScanOptions {
        deleted: true,
        ..ScanOptions::default()
    };
    let listing = Listing::of(&*opened(Bytes(&image)), &options);
    let deleted: Vec<_> = listing
        .names
        .iter()
        .filter(|name| name.name.allocation == Allocation::Deleted)
        .collect();
    assert_eq!(deleted.len(), 1);
    assert_eq!(content(&listing, &image, b"deleted.bin"), pattern(5000, 4));
}

/// What is in use, once per byte, and nothing else.
#[test]
fn allocated_runs_are_those_of_the_bitmap() {
    let image = image();
    let mut runs: Vec<ByteRange> = Vec::new();
    opened(Bytes(&image))
        .allocated(&mut |run| runs.push(run))
        .expect("told");
    assert!(runs.windows(2).all(|pair| pair[0].end() < pair[1].offset));
    assert_eq!(runs[0].offset, 0);
    let listing = listing(&image);
    for extent in listing
        .inodes
        .values()
        .flat_map(|inode| &inode.streams)
        .flat_map(|stream| &stream.extents)
    {
        let range = ByteRange::new(extent.image_offset, extent.len);
        assert!(runs.iter().any(|run| run.contains_range(&range)), "{range:?}");
    }
    let used: u64 = runs.iter().map(|run| run.len).sum();
    let heap = u64::try_from(HEAP_AT).expect("small");
    assert_eq!(opened(Bytes(&image)).facts().used_bytes, Some(used - heap));
}

#[test]
fn r22_the_backup_boot_region_serves() {
    let mut image = image();
    let names = listing(&image).names;
    image[70] ^= 0xff;
    image[88] ^= 1;
    let listing = listing(&image);
    assert_eq!(
        listing
            .findings
            .iter()
            .map(|finding| finding.code)
            .collect::<Vec<_>>(),
        [FindingCode::BackupUsed]
    );
    assert_eq!(listing.names, names);
    image[..SECTOR].fill(0);
    assert_eq!(probe(&Bytes(&image)).len(), 1);
}

/// R22: no name hangs on the upcase table, one does on an entry set.
#[test]
fn r22_a_wrong_checksum_is_a_loss_where_names_hang_on_it() {
    let mut image = image();
    // The upcase table is in cluster 3, the root in the last one in use.
    image[cluster_at(3) + 9] ^= 1;
    let root = u32::from_le_bytes(image[96..100].try_into().expect("4 bytes"));
    image[cluster_at(root) + 4 * 32 + 4] |= 1;
    let listing = listing(&image);
    let details: Vec<_> = listing
        .findings
        .iter()
        .map(|finding| finding.detail.as_str())
        .collect();
    assert_eq!(details.len(), 2, "{details:?}");
    assert!(details[0].starts_with("checksum of the upcase table is"));
    assert!(details[1].starts_with("checksum of the entry set is"));
    let severities: Vec<_> = listing.findings.iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Warning, Severity::Loss]);
}

/// A root that is gone: its directories are found by what stands in them, its files by the bitmap.
#[test]
fn r22_what_nothing_names_is_listed() {
    let mut image = image();
    let root = u32::from_le_bytes(image[96..100].try_into().expect("4 bytes"));
    let at = cluster_at(root) + 4 * 32;
    image[at..cluster_at(root) + CLUSTER].fill(0);
    let listing = listing(&image);
    let many = listing
        .names
        .iter()
        .filter(|name| name.path.ends_with(b" of many"));
    assert_eq!(many.count(), 120);
    let lost = listing
        .names
        .iter()
        .filter(|name| name.name.namespace == Namespace::Lost);
    assert!(lost.count() >= 5);
    // Directories, and pieces of unknown length.
    let orphans = listing
        .findings
        .iter()
        .filter(|finding| (finding.code, finding.severity) == (FindingCode::Orphan, Severity::Loss));
    assert_eq!(orphans.count(), 2, "{:?}", listing.findings);
}

/// Every root names the bitmap: one that does not lost what stood in it.
#[test]
fn r22_a_root_of_zeros_is_a_loss() {
    let mut image = image();
    let root = u32::from_le_bytes(image[96..100].try_into().expect("4 bytes"));
    let at = cluster_at(root);
    image[at..at + CLUSTER].fill(0);
    let listing = listing(&image);
    let losses: Vec<_> = listing
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Loss)
        .map(|finding| finding.image_offset)
        .collect();
    assert_eq!(losses, [u64::try_from(at).ok()], "{:?}", listing.findings);
    assert_eq!(listing.names, []);
}

/// Zeros in a directory do not end it.
#[test]
fn r22_a_wiped_sector_costs_what_stood_in_it() {
    let mut image = image();
    let root = u32::from_le_bytes(image[96..100].try_into().expect("4 bytes"));
    let at = cluster_at(root) + SECTOR;
    image[at..at + SECTOR].fill(0);
    let listing = listing(&image);
    assert!(
        listing
            .names
            .iter()
            .any(|name| name.path == b"directory/inner/file number 7 of many")
    );
    assert!(
        listing
            .findings
            .iter()
            .any(|finding| finding.detail.starts_with("zeros in the midst"))
    );
}

#[test]
fn r22_an_unread_sector_is_named() {
    let image = image();
    let root = u32::from_le_bytes(image[96..100].try_into().expect("4 bytes"));
    let at = u64::try_from(cluster_at(root) + SECTOR).expect("small");
    let source = Masked::new(Bytes(&image), vec![ByteRange::new(at, 512)]);
    let listing = Listing::of(&*opened(source), &ScanOptions::default());
    let unread = listing
        .findings
        .iter()
        .find(|finding| finding.code == FindingCode::Unread);
    assert_eq!(unread.expect("a finding").image_offset, Some(at));
}

/// The stream entry behind the root's entry set that has this name.
fn stream_entry(image: &[u8], name: &str) -> usize {
    let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut places = image.windows(units.len());
    // The name stands in the entry behind it, after two bytes.
    places.position(|place| place == units).expect("the name") - 2 - 32
}

/// Billions of clusters that are only claimed, a file and a directory over all of them: each was walked several times, in 512 MiB, and the directory
/// read to its end.
#[test]
fn r22_clusters_beyond_the_end_cost_nothing() {
    let mut image = volume(&[
        Node::directory("directory", vec![Node::file("inner", &pattern(100, 1))]),
        Node::directory("far", vec![]),
        Node::file("long", &pattern(CLUSTER, 2)),
    ]);
    let clusters = 0xffff_fff5_u32;
    image[92..96].copy_from_slice(&clusters.to_le_bytes());
    let sum = boot_checksum(&image);
    for word in image[11 * SECTOR..12 * SECTOR].chunks_mut(4) {
        word.copy_from_slice(&sum.to_le_bytes());
    }
    let long = stream_entry(&image, "long");
    image[long + 24..long + 32].copy_from_slice(&(1_u64 << 50).to_le_bytes());
    let far = stream_entry(&image, "far");
    image[far + 20..far + 24].copy_from_slice(&1_000_000_u32.to_le_bytes());
    image[far + 24..far + 32].copy_from_slice(&(1_u64 << 50).to_le_bytes());
    let listing = listing(&image);
    assert_eq!(content(&listing, &image, b"directory/inner"), pattern(100, 1));
    let says = |text: &str| {
        let mut details = listing.findings.iter().map(|finding| &finding.detail);
        assert!(
            details.any(|detail| detail.contains(text)),
            "{text}: {:?}",
            listing.findings
        );
    };
    says("4294967085 of 4294967285 clusters lie beyond the end of the image");
    says("bytes of the directory lie beyond the end of the image");
    says("the chain has 4294967280 clusters, the size needs 274877906944");
    says("the chain has 4293967287 clusters, the size needs 274877906944");
    assert!(listing.findings.len() < 20, "{:?}", listing.findings);
    let mut end = 0;
    let told = opened(Bytes(&image)).allocated(&mut |run| end = run.end());
    told.expect("told");
    let heap = u64::try_from(HEAP_AT).expect("small");
    assert_eq!(end, heap + u64::from(clusters) * 4096);
}
