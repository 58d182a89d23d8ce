//! R22 and R11 for NTFS: what each damaged structure costs.

use ntt_filesystem::{Family, ScanOptions, ntfs};
use ntt_model::{ByteRange, FindingCode, Kind};
use ntt_source::Masked;
use ntt_testkit::listing::Listing;
use ntt_testkit::ntfs::{CLUSTER, MIRROR, Mapped, RECORD, ROOT, Record, TABLE};

use crate::ntfs::bytes_of;
use crate::ntfs_laid::{FREE, Laid, at, details, paths};

/// Two folders with files, all in the indexes.
fn tree() -> Laid {
    let mut laid = Laid::new();
    for (folder, name) in [(30, "a"), (40, "b")] {
        laid.root_entry(Record::reference(folder), name, 3, true);
        let mut entries = Vec::new();
        for number in folder + 1..folder + 5 {
            let file = format!("file {number}");
            let parent = Record::reference(folder);
            let units = ntt_testkit::ntfs::utf16(&file);
            let key = ntt_testkit::ntfs::file_name(parent, &units, 3, false, 4096);
            entries.push(ntt_testkit::ntfs::entry(Record::reference(number), &key));
            let runs = [(1, Some(FREE + u64::from(number)))];
            let data = Mapped::plain(&runs, 4096);
            laid.content(FREE + u64::from(number), 1);
            laid.set(
                number,
                &Record::new(number).name(parent, &file, 3).mapped(0x80, "", &data),
            );
        }
        laid.set(
            folder,
            &Record::new(folder).flags(3).name(ROOT, name, 3).index(&entries),
        );
    }
    laid
}

fn whole() -> Vec<String> {
    let file = |folder: &str, number: u32| format!("{folder}/file {number}");
    let mut all = vec!["a".to_owned(), "b".to_owned()];
    all.extend((31..35).map(|number| file("a", number)));
    all.extend((41..45).map(|number| file("b", number)));
    all.sort();
    all
}

fn wiped(range: std::ops::Range<usize>) -> Laid {
    let mut laid = tree();
    laid.bytes[range].fill(0);
    laid
}

fn record(number: u32) -> std::ops::Range<usize> {
    let start = Laid::record_at(number);
    start..start + RECORD
}

fn has(listing: &Listing, code: FindingCode) -> bool {
    listing.findings.iter().any(|finding| finding.code == code)
}

#[test]
fn r22_the_copy_of_the_boot_sector_serves() {
    let laid = wiped(0..512);
    let candidate = ntfs::probe(&laid.bytes).expect("recognised");
    assert_eq!(candidate.family, Family::Ntfs);
    assert!(
        candidate.evidence.starts_with("only the copy"),
        "{}",
        candidate.evidence
    );
    let listing = laid.scan();
    assert_eq!(paths(&listing), whole());
    assert!(has(&listing, FindingCode::BackupUsed));
}

/// A boot sector that is valid but leads nowhere is no better than none.
#[test]
fn r22_a_boot_sector_that_leads_nowhere_gives_way_to_its_copy() {
    let mut laid = tree();
    laid.bytes[0x30] = 200;
    laid.bytes[0x38] = 201;
    let listing = laid.scan();
    assert_eq!(paths(&listing), whole());
    assert!(has(&listing, FindingCode::BackupUsed));
}

#[test]
fn r22_the_mirror_serves_for_the_first_record() {
    for range in [record(0), record(0).start + 510..record(0).start + 511] {
        let listing = wiped(range).scan();
        assert_eq!(paths(&listing), whole());
        assert!(has(&listing, FindingCode::BackupUsed));
    }
}

/// Without first record and mirror the records are found by their signatures, wherever they lie.
#[test]
fn r22_records_are_found_without_a_map() {
    let mut laid = wiped(record(0));
    laid.bytes[at(MIRROR)..at(MIRROR) + RECORD].fill(0);
    assert_eq!(paths(&laid.scan()), whole());
    // The second half of the table lies elsewhere.
    let half = at(TABLE) + 36 * RECORD;
    let moved: Vec<u8> = laid.bytes[half..half + 4 * CLUSTER].to_vec();
    laid.bytes[half..half + 4 * CLUSTER].fill(0);
    laid.put(at(200), &moved);
    let listing = laid.scan();
    assert_eq!(paths(&listing), whole());
    assert!(has(&listing, FindingCode::Corrupt));
}

/// A lost record costs the file's content: its name, size and times are in the index.
#[test]
fn r22_a_lost_record_keeps_its_name() {
    let laid = wiped(record(32));
    let listing = laid.scan();
    assert_eq!(paths(&listing), whole());
    let inode = &listing.inodes[&32];
    assert_eq!((inode.kind, inode.size_bytes()), (Kind::File, 4096));
    assert!(inode.data().expect("data").extents_incomplete);
    assert!(inode.times.modified.is_some());
    assert!(has(&listing, FindingCode::Orphan) && has(&listing, FindingCode::Corrupt));
}

/// A lost directory costs nothing at all: its name is in the index of its parent, its names are in the records.
#[test]
fn r22_a_lost_directory_keeps_its_names() {
    let laid = wiped(record(30));
    let listing = laid.scan();
    assert_eq!(paths(&listing), whole());
    assert_eq!(listing.inodes[&30].kind, Kind::Directory);
}

#[test]
fn r22_a_lost_root_keeps_its_names() {
    let laid = wiped(record(5));
    let listing = laid.scan();
    assert_eq!(paths(&listing), whole());
    assert!(
        details(&listing)
            .iter()
            .any(|detail| detail.contains("names of the directory are missing from its index"))
    );
}

/// With its name gone too, what a directory held hangs together below its number.
#[test]
fn r22_names_of_a_directory_without_a_name_stay_together() {
    let mut laid = wiped(record(5));
    laid.bytes[record(30)].fill(0);
    let mut expected: Vec<String> = whole();
    for path in &mut expected {
        *path = path.replace("a/", "#30/");
    }
    expected[0] = "#30".to_owned();
    expected.sort();
    assert_eq!(paths(&laid.scan()), expected);
}

/// A torn sector of a record is told; what stands before it is read.
#[test]
fn r22_a_torn_record_is_told() {
    let mut laid = tree();
    laid.bytes[record(31).start + 1022] ^= 0xff;
    let listing = laid.scan();
    assert_eq!(paths(&listing), whole());
    assert!(
        details(&listing)
            .iter()
            .any(|detail| detail.contains("torn write")),
        "{:?}",
        details(&listing)
    );
}

/// R11: what was never rescued is told apart from what is corrupt.
#[test]
fn r11_unread_records_are_told_apart() {
    let laid = tree();
    let hole = ByteRange::new(u64::try_from(record(32).start).expect("fits"), 1024);
    let masked = Masked::new(laid.bytes, vec![hole]);
    let volume = ntfs::open(Box::new(masked), 0).expect("opens");
    let listing = Listing::of(&*volume, &ScanOptions::default());
    assert_eq!(paths(&listing), whole());
    let unread = listing
        .findings
        .iter()
        .find(|finding| finding.code == FindingCode::Unread)
        .expect("told");
    assert_eq!((unread.image_offset, unread.inode), (Some(hole.offset), Some(32)));
}

#[test]
fn r22_a_broken_map_loses_only_what_it_maps() {
    let mut laid = Laid::new();
    let content = laid.content(FREE, 2);
    laid.file(30, "broken", |record| {
        record.mapped(
            0x80,
            "",
            &Mapped::plain(&[(1, Some(FREE)), (1, Some(FREE + 1)), (1, Some(9999))], 12_288),
        )
    });
    let listing = laid.scan();
    let data = listing.inodes[&30].data().expect("data");
    assert!(data.extents_incomplete);
    let mut part = data.clone();
    (part.size_bytes, part.extents_incomplete) = (8192, false);
    assert_eq!(bytes_of(&laid.bytes, &part), content);
    assert!(has(&listing, FindingCode::Corrupt));
}

/// Every record and every structure wiped in turn: nothing else is lost.
#[test]
fn r22_each_wiped_sector_costs_at_most_one_file() {
    let laid = tree();
    let is_used = |start: &usize| laid.bytes[*start..*start + 512].iter().any(|byte| *byte != 0);
    for start in (0..at(FREE)).step_by(512).filter(is_used) {
        let laid = wiped(start..start + 512);
        let volume = ntfs::open(Box::new(laid.bytes.clone()), 0).expect("opens");
        let listing = Listing::of(&*volume, &ScanOptions::default());
        assert_eq!(paths(&listing), whole(), "at {start:#x}");
    }
}

/// R15: the copy of a boot sector behind its volume is no volume of its own.
#[test]
fn r15_a_copy_of_the_boot_sector_is_no_volume() {
    let mut laid = tree();
    let mut bytes = laid.bytes.split_off(at(256));
    bytes.resize(1 << 20, 0);
    assert!(ntfs::open(Box::new(bytes), 0).is_err());
    let whole = tree();
    let len = u64::try_from(whole.bytes.len()).expect("fits");
    assert_eq!(whole.open().facts().size_bytes, len);
}

/// An index that claims blocks without end, in a volume that claims as many sectors: each was asked for, and cost the budget nothing.
#[test]
fn r22_an_index_longer_than_the_volume_ends() {
    let mut laid = Laid::new();
    laid.put(0x28, &(1_u64 << 52).to_le_bytes());
    let parent = Record::reference(29);
    let key = ntt_testkit::ntfs::file_name(parent, &ntt_testkit::ntfs::utf16("inside"), 3, false, 0);
    let block = ntt_testkit::ntfs::index_block(0, &[ntt_testkit::ntfs::entry(Record::reference(30), &key)]);
    laid.put(at(FREE), &block);
    laid.set(
        29,
        &Record::new(29)
            .flags(3)
            .name(ROOT, "long", 3)
            .index(&[])
            .mapped(0xa0, "$I30", &Mapped::plain(&[(1, Some(FREE))], 1 << 60))
            .resident(0xb0, "$I30", &[1, 0, 0, 0, 0, 0, 0, 0]),
    );
    laid.root_entry(parent, "long", 3, true);
    let inside = Record::new(30).name(parent, "inside", 3).resident(0x80, "", b"");
    laid.set(30, &inside);
    let listing = laid.scan();
    assert_eq!(paths(&listing), ["long", "long/inside"]);
    let said = |detail: &&str| detail.contains("claims to be longer than the volume");
    assert!(details(&listing).iter().any(said), "{:?}", details(&listing));
}
