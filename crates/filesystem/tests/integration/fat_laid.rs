//! FAT volumes laid down field by field, for what no formatter writes.

use ntt_filesystem::{ScanOptions, State, fat};
use ntt_model::entry::Allocation;
use ntt_model::{BlobHash, FindingCode, ScanEvent, Severity};
use ntt_testkit::listing::Listing;

use crate::fat_made::open;

const SECTOR: usize = 512;
pub(crate) const END: u32 = 0x0fff_ffff;
pub(crate) const DIRECTORY: u8 = 0x10;
const FILE: u8 = 0x20;
const CLUSTERS: u32 = 8000;

/// A FAT16 or FAT32 volume of 8,000 clusters of 512 bytes, with two tables and an empty root.
pub(crate) struct Laid {
    pub(crate) bytes: Vec<u8>,
    wide: bool,
}

impl Laid {
    pub(crate) fn fat16() -> Self {
        let mut laid = Self::blank(1, false);
        laid.bytes[17..19].copy_from_slice(&512_u16.to_le_bytes());
        laid.bytes[22..24].copy_from_slice(&64_u16.to_le_bytes());
        laid.bytes[38] = 0x29;
        laid.finish(32)
    }

    pub(crate) fn fat32() -> Self {
        let mut laid = Self::blank(32, true);
        laid.bytes[36..40].copy_from_slice(&64_u32.to_le_bytes());
        laid.bytes[44..48].copy_from_slice(&2_u32.to_le_bytes());
        laid.bytes[66] = 0x29;
        let mut laid = laid.finish(0);
        laid.link(2, END);
        laid
    }

    fn blank(reserved: u16, wide: bool) -> Self {
        let mut bytes = vec![0; usize::from(reserved) * SECTOR];
        bytes[..3].copy_from_slice(&[0xeb, 0x3c, 0x90]);
        bytes[11..13].copy_from_slice(&512_u16.to_le_bytes());
        bytes[13] = 1;
        bytes[14..16].copy_from_slice(&reserved.to_le_bytes());
        bytes[16] = 2;
        bytes[21] = 0xf8;
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        Self { bytes, wide }
    }

    fn finish(mut self, root_sectors: usize) -> Self {
        let before = self.bytes.len() + (2 * 64 + root_sectors) * SECTOR;
        self.bytes
            .resize(before + usize::try_from(CLUSTERS).expect("small") * SECTOR, 0);
        let sectors = u32::try_from(self.bytes.len() / SECTOR).expect("small");
        self.bytes[32..36].copy_from_slice(&sectors.to_le_bytes());
        self.link(0, 0x0fff_fff8);
        self.link(1, END);
        self
    }

    fn reserved(&self) -> usize {
        usize::from(u16::from_le_bytes([self.bytes[14], self.bytes[15]])) * SECTOR
    }

    /// Where a copy of the table has the entry of a cluster.
    fn link_at(&self, copy: usize, cluster: u32) -> usize {
        let width = if self.wide { 4 } else { 2 };
        self.reserved() + copy * 64 * SECTOR + usize::try_from(cluster).expect("small") * width
    }

    fn link_in(&mut self, copy: usize, cluster: u32, value: u32) {
        let at = self.link_at(copy, cluster);
        let width = if self.wide { 4 } else { 2 };
        self.bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
    }

    /// Sets the entry of a cluster in both tables.
    pub(crate) fn link(&mut self, cluster: u32, value: u32) {
        self.link_in(0, cluster, value);
        self.link_in(1, cluster, value);
    }

    pub(crate) fn chain(&mut self, clusters: &[u32]) {
        for (index, cluster) in clusters.iter().enumerate() {
            self.link(*cluster, clusters.get(index + 1).copied().unwrap_or(END));
        }
    }

    pub(crate) fn cluster_at(&self, cluster: u32) -> usize {
        let root = if self.wide { 0 } else { 32 };
        self.reserved() + (2 * 64 + root + usize::try_from(cluster).expect("small") - 2) * SECTOR
    }

    pub(crate) fn root_at(&self) -> usize {
        if self.wide {
            self.cluster_at(2)
        } else {
            self.reserved() + 2 * 64 * SECTOR
        }
    }

    /// Writes an entry into a slot of the 32-byte slots that start at `at`.
    pub(crate) fn entry(
        &mut self,
        at: usize,
        slot: usize,
        name: &str,
        attributes: u8,
        first: u32,
        size: u32,
    ) {
        let raw = entry(name, attributes, first, size);
        self.bytes[at + slot * 32..at + slot * 32 + 32].copy_from_slice(&raw);
    }

    /// Makes a cluster a directory with `.` and `..`.
    pub(crate) fn directory(&mut self, cluster: u32, parent: u32) -> usize {
        let at = self.cluster_at(cluster);
        self.link(cluster, END);
        self.entry(at, 0, ".", DIRECTORY, cluster, 0);
        self.entry(at, 1, "..", DIRECTORY, parent, 0);
        at
    }

    /// Fills each cluster with its byte.
    fn fill(&mut self, clusters: &[(u32, u8)]) {
        for (cluster, byte) in clusters {
            let at = self.cluster_at(*cluster);
            self.bytes[at..at + SECTOR].fill(*byte);
        }
    }

    pub(crate) fn scan(&self, options: &ScanOptions) -> Listing {
        Listing::of(&*open(&self.bytes), options)
    }

    fn listing(&self) -> Listing {
        self.scan(&ScanOptions::default())
    }
}

/// A short entry; the base name and the extension are padded with spaces.
pub(crate) fn entry(name: &str, attributes: u8, first: u32, size: u32) -> [u8; 32] {
    let mut raw = [0; 32];
    raw[..11].fill(b' ');
    let dots = name.chars().all(|letter| letter == '.');
    let (base, extension) = if dots {
        (name, "")
    } else {
        name.split_once('.').unwrap_or((name, ""))
    };
    raw[..base.len()].copy_from_slice(base.as_bytes());
    raw[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
    raw[11] = attributes;
    raw[20..22].copy_from_slice(&first.to_le_bytes()[2..]);
    raw[26..28].copy_from_slice(&first.to_le_bytes()[..2]);
    raw[28..32].copy_from_slice(&size.to_le_bytes());
    raw
}

/// The slots of a long name in front of `short`, in the order of the directory.
fn long_name(name: &str, short: &[u8; 32]) -> Vec<[u8; 32]> {
    let mut units: Vec<u16> = name.encode_utf16().collect();
    if !units.len().is_multiple_of(13) {
        units.push(0);
        units.resize(units.len().next_multiple_of(13), 0xffff);
    }
    let sum = short[..11]
        .iter()
        .fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let last = units.len() / 13;
    let slot = |(index, part): (usize, &[u16])| {
        let mut raw = [0; 32];
        raw[0] = u8::try_from(index + 1).expect("small") | if index + 1 == last { 0x40 } else { 0 };
        (raw[11], raw[13]) = (0x0f, sum);
        let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain([28, 30]);
        for (at, unit) in places.zip(part) {
            raw[at..at + 2].copy_from_slice(&unit.to_le_bytes());
        }
        raw
    };
    units.chunks(13).enumerate().map(slot).rev().collect()
}

fn paths(listing: &Listing) -> Vec<String> {
    let shown = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    listing.names.iter().map(|listed| shown(&listed.path)).collect()
}

/// Codes of the findings and where they are, in bytes of the image.
fn findings(listing: &Listing) -> Vec<(FindingCode, usize)> {
    let at = |offset: Option<u64>| usize::try_from(offset.expect("an offset")).expect("small");
    let told = listing.findings.iter();
    told.map(|finding| (finding.code, at(finding.image_offset)))
        .collect()
}

/// R22: a directory that holds itself is entered once, and its second name is kept.
#[test]
fn r22_a_directory_that_holds_itself_is_entered_once() {
    for mut laid in [Laid::fat16(), Laid::fat32()] {
        let root = laid.root_at();
        laid.entry(root, 0, "OUTER", DIRECTORY, 10, 0);
        let outer = laid.directory(10, 0);
        laid.entry(outer, 2, "INNER", DIRECTORY, 11, 0);
        let inner = laid.directory(11, 10);
        laid.entry(inner, 2, "LOOP", DIRECTORY, 10, 0);
        laid.entry(inner, 3, "FILE", FILE, 0, 0);
        let listing = laid.listing();
        let expected = ["OUTER", "OUTER/INNER", "OUTER/INNER/LOOP", "OUTER/INNER/FILE"];
        assert_eq!(paths(&listing), expected);
        assert_eq!(findings(&listing), [(FindingCode::Loop, outer)]);
    }
}

/// R22: two entries that name one directory are both listed, what it holds is listed once.
#[test]
fn r22_two_entries_of_one_directory_list_its_content_once() {
    let mut laid = Laid::fat16();
    let root = laid.root_at();
    laid.entry(root, 0, "ONE", DIRECTORY, 10, 0);
    laid.entry(root, 1, "TWO", DIRECTORY, 10, 0);
    let at = laid.directory(10, 0);
    laid.entry(at, 2, "FILE", FILE, 0, 0);
    let listing = laid.listing();
    assert_eq!(paths(&listing), ["ONE", "TWO", "TWO/FILE"]);
    assert_eq!(findings(&listing), [(FindingCode::Loop, at)]);
}

/// A `..` that points elsewhere is told where it stands, with both clusters, and changes nothing.
#[test]
fn a_wrong_parent_link_is_told() {
    let mut laid = Laid::fat16();
    let root = laid.root_at();
    laid.entry(root, 0, "FOLDER", DIRECTORY, 10, 0);
    let at = laid.directory(10, 77);
    laid.entry(at, 2, "FILE", FILE, 0, 0);
    let listing = laid.listing();
    assert_eq!(paths(&listing), ["FOLDER", "FOLDER/FILE"]);
    assert_eq!(findings(&listing), [(FindingCode::Contradiction, at + 32)]);
    assert!(listing.findings[0].detail.contains("cluster 0 but points to 77"));
}

/// Files that share a cluster both keep all of their bytes, and the one listed later says so.
#[test]
fn cross_linked_files_are_both_whole() {
    let mut laid = Laid::fat16();
    let root = laid.root_at();
    laid.entry(root, 0, "FIRST", FILE, 10, 1024);
    laid.entry(root, 1, "SECOND", FILE, 12, 1024);
    laid.chain(&[10, 11]);
    laid.chain(&[12, 11]);
    laid.fill(&[(10, b'a'), (11, b's'), (12, b'b')]);
    let listing = laid.listing();
    let contents = listing.contents(&laid.bytes);
    let expected = |first: u8| BlobHash::of(&[[first; SECTOR], [b's'; SECTOR]].concat());
    assert_eq!(contents[&b"FIRST"[..]], expected(b'a'));
    assert_eq!(contents[&b"SECOND"[..]], expected(b'b'));
    assert_eq!(findings(&listing), [(FindingCode::Loop, laid.link_at(0, 11))]);
    assert!(
        listing
            .inodes
            .values()
            .all(|inode| inode.data().is_none_or(|data| !data.extents_incomplete))
    );
}

/// Copies of the table that differ: the first is believed, and the difference is told where it is.
#[test]
fn the_first_table_is_believed_and_a_difference_told() {
    let mut laid = Laid::fat16();
    let root = laid.root_at();
    laid.entry(root, 0, "FILE", FILE, 10, 1024);
    laid.chain(&[10, 11]);
    laid.link_in(1, 10, 20);
    laid.fill(&[(11, b'1'), (20, b'2')]);
    let listing = laid.listing();
    let expected = BlobHash::of(&[[0; SECTOR], [b'1'; SECTOR]].concat());
    assert_eq!(listing.contents(&laid.bytes)[&b"FILE"[..]], expected);
    assert_eq!(
        findings(&listing),
        [(FindingCode::Contradiction, laid.reserved())]
    );
}

/// FAT32 can name one table and stop keeping the others: then only that one counts, and differences mean nothing.
#[test]
fn the_active_table_alone_counts_without_mirroring() {
    let mut laid = Laid::fat32();
    let root = laid.root_at();
    laid.entry(root, 0, "FILE", FILE, 10, 1024);
    laid.chain(&[10, 11]);
    laid.link_in(1, 10, 20);
    laid.link(20, END);
    laid.fill(&[(11, b'1'), (20, b'2')]);
    for (flags, second, told) in [(0x81, b'2', 0), (0x01, b'1', 1), (0x80, b'1', 0)] {
        laid.bytes[40] = flags;
        let listing = laid.listing();
        let expected = BlobHash::of(&[[0; SECTOR], [second; SECTOR]].concat());
        assert_eq!(
            listing.contents(&laid.bytes)[&b"FILE"[..]],
            expected,
            "{flags:#x}"
        );
        let (lost, others): (Vec<_>, Vec<_>) = findings(&listing)
            .into_iter()
            .partition(|(code, _)| *code == FindingCode::Orphan);
        assert_eq!((lost.len(), others.len()), (1, told), "{flags:#x}");
    }
}

/// A piece of a directory that was wiped does not end it; garbage after its end is no part of it.
#[test]
fn r22_zeros_inside_a_directory_cost_only_what_stood_there() {
    for (name, is_entry) in [("AFTER", true), ("\x01\x02", false)] {
        let mut laid = Laid::fat16();
        let root = laid.root_at();
        laid.entry(root, 0, "BEFORE", FILE, 0, 0);
        for slot in 1..16 {
            laid.entry(root, slot, &format!("FILL{slot}"), FILE, 0, 0);
        }
        laid.entry(root + 1024, 0, name, FILE, 0, 0);
        let listing = laid.listing();
        assert_eq!(listing.names.len(), 16 + usize::from(is_entry));
        let told: Vec<_> = is_entry
            .then_some((FindingCode::Corrupt, root + 512))
            .into_iter()
            .collect();
        assert_eq!(findings(&listing), told);
    }
}

/// What hangs on nothing is listed: a directory with what it holds, and a chain of unknown content.
#[test]
fn r22_chains_that_no_entry_names_are_listed() {
    let mut laid = Laid::fat16();
    let at = laid.cluster_at(10);
    laid.entry(at, 0, ".", DIRECTORY, 10, 0);
    laid.entry(at, 1, "..", DIRECTORY, 99, 0);
    laid.entry(at, 2, "INSIDE", FILE, 12, 700);
    for chain in [&[10][..], &[12, 14], &[20, 21, 30]] {
        laid.chain(chain);
    }
    laid.fill(&[(12, b'a'), (14, b'b'), (20, b'1'), (21, b'2'), (30, b'3')]);
    let listing = laid.listing();
    let contents = listing.contents(&laid.bytes);
    let expected = |parts: &[u8], len: usize| {
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| [*part; SECTOR]).collect();
        bytes.truncate(len);
        BlobHash::of(&bytes)
    };
    assert_eq!(
        contents.into_iter().collect::<Vec<_>>(),
        [
            (b"#10/INSIDE".to_vec(), expected(b"ab", 700)),
            (b"#20".to_vec(), expected(b"123", 3 * SECTOR)),
        ]
    );
    // A name is gone, or a length: both are losses.
    let orphans = listing
        .findings
        .iter()
        .filter(|finding| (finding.code, finding.severity) == (FindingCode::Orphan, Severity::Loss));
    assert_eq!(orphans.count(), 2);
}

/// A directory always starts with its own `.`: where zeros stand in its place, its entries are gone. Anything else there is odd, and costs nothing that is known.
#[test]
fn r22_a_directory_of_zeros_is_a_loss() {
    let mut laid = Laid::fat16();
    let root = laid.root_at();
    laid.entry(root, 0, "SUB", DIRECTORY, 5, 0);
    let at = laid.directory(5, 0);
    laid.entry(at, 2, "FILE", FILE, 6, 3);
    laid.link(6, END);
    assert_eq!(laid.listing().findings, []);
    let whole = laid.bytes.clone();
    laid.bytes[at..at + SECTOR].fill(0);
    let severities = |listing: &Listing| -> Vec<_> {
        let told = listing.findings.iter();
        told.map(|finding| (finding.severity, finding.image_offset))
            .collect()
    };
    let places = [at, laid.cluster_at(6)].map(|at| (Severity::Loss, u64::try_from(at).ok()));
    assert_eq!(severities(&laid.listing()), places);

    laid.bytes = whole;
    laid.entry(at, 0, "OTHER", FILE, 0, 0);
    let told = severities(&laid.listing());
    assert_eq!(told, [(Severity::Warning, u64::try_from(at).ok())]);
}

/// Each of the bits that say "not cleanly unmounted" or "had errors" makes the volume dirty.
#[test]
fn every_dirty_bit_counts() {
    assert_eq!(open(&Laid::fat16().bytes).facts().state, State::Clean);
    assert_eq!(open(&Laid::fat32().bytes).facts().state, State::Clean);
    for entry in [0x7fff, 0xbfff] {
        let mut laid = Laid::fat16();
        laid.link(1, entry);
        assert_eq!(open(&laid.bytes).facts().state, State::Dirty, "{entry:#x}");
    }
    for entry in [0x07ff_ffff, 0x0bff_ffff] {
        let mut laid = Laid::fat32();
        laid.link(1, entry);
        assert_eq!(open(&laid.bytes).facts().state, State::Dirty, "{entry:#x}");
    }
    for (mut laid, flags) in [(Laid::fat16(), 37), (Laid::fat32(), 65)] {
        laid.bytes[flags] = 1;
        assert_eq!(open(&laid.bytes).facts().state, State::Dirty);
    }
}

/// A floppy of DOS 1 has no parameter block and no dates before 1980: it is listed with its content all the same.
#[test]
fn a_floppy_without_a_parameter_block_is_read_to_its_content() {
    let mut image = vec![0; 320 * SECTOR];
    for table in [SECTOR, 2 * SECTOR] {
        // Clusters 2 and 3 in one chain, in 12-bit entries: 003, then fff.
        image[table..table + 6].copy_from_slice(&[0xfe, 0xff, 0xff, 0x03, 0xf0, 0xff]);
    }
    let root = 3 * SECTOR;
    image[root..root + 32].copy_from_slice(&entry("COMMAND.COM", FILE, 2, 700));
    let data = 7 * SECTOR;
    image[data..data + 700].fill(b'c');
    let volume = fat::open(Box::new(image.clone()), 0).expect("a FAT volume");
    assert_eq!(
        (&*volume.facts().type_name, volume.facts().state),
        ("fat12", State::Unknown)
    );
    let listing = Listing::of(&*volume, &ScanOptions::default());
    assert_eq!(listing.findings, []);
    let expected = [(b"COMMAND.COM".to_vec(), BlobHash::of(&[b'c'; 700]))];
    assert_eq!(listing.contents(&image).into_iter().collect::<Vec<_>>(), expected);
}

/// R23: the name of a directory is read again when it is entered, wherever its slots lie: over the ends of clusters, one after
/// another or not, and in deleted directories.
#[test]
fn r23_a_directory_is_entered_under_the_name_it_was_listed_with() {
    for deleted in [false, true] {
        let mut laid = Laid::fat16();
        let root = laid.root_at();
        laid.entry(root, 0, "HOLDER", DIRECTORY, 10, 0);
        laid.directory(10, 0);
        let clusters: Vec<u32> = (10..60).step_by(2).collect();
        laid.chain(&clusters);
        let mut slot = 2;
        for number in 0..18_u32 {
            let short = entry(&format!("DIR{number}"), DIRECTORY, 100 + number, 0);
            let name = format!(
                "{number} {}",
                "n".repeat(10 + 13 * (usize::try_from(number).expect("small") + 1))
            );
            for mut raw in long_name(&name, &short).into_iter().chain([short]) {
                raw[0] = if deleted { 0xe5 } else { raw[0] };
                let at = laid.cluster_at(clusters[slot / 16]) + slot % 16 * 32;
                laid.bytes[at..at + 32].copy_from_slice(&raw);
                slot += 1;
            }
            laid.directory(100 + number, 10);
            laid.link(100 + number, if deleted { 0 } else { END });
        }
        let listing = laid.scan(&ScanOptions {
            deleted,
            ..ScanOptions::default()
        });
        assert_eq!(listing.findings, []);
        let entered = listing.events.iter().filter_map(|event| match event {
            ScanEvent::Directory(directory) => Some((directory.inode, directory.name.clone())),
            _ => None,
        });
        let entered: Vec<_> = entered.filter(|(_, name)| name.ends_with(b"nnn")).collect();
        assert_eq!(entered.len(), 18);
        for (inode, name) in entered {
            let listed = listing
                .names
                .iter()
                .find(|listed| listed.name.inode == inode && !listed.name.alternate);
            let listed = &listed.expect("listed").name;
            assert_eq!(
                (&listed.name, listed.allocation == Allocation::Deleted),
                (&name, deleted)
            );
        }
    }
}
