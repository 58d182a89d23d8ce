//! NTFS, structure by structure.

use std::convert::Infallible;

use ntt_filesystem::{Family, ScanOptions, State};
use ntt_model::entry::{Allocation, Encoding, Inode, Namespace, Stream, StreamKind};
use ntt_model::{BlobHash, ByteRange, Codec, ExtentKind, FindingCode, Kind, Severity};
use ntt_source::extents::{Piece, read_stream};
use ntt_testkit::corpus::corpus_image;
use ntt_testkit::listing::{Listing, content_hash};
use ntt_testkit::ntfs::{Mapped, ROOT, Record, entry, file_name, index_block, utf16};

use crate::ntfs_laid::{FREE, Laid, at, details, paths};

/// The bytes of a plain stream, read through its extents.
pub(crate) fn bytes_of(image: &Vec<u8>, stream: &Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let missing = read_stream::<Infallible>(image, stream, &mut |piece| {
        match piece {
            Piece::Bytes(more) => bytes.extend_from_slice(more),
            Piece::Zeros(len) => bytes.resize(bytes.len() + usize::try_from(len).expect("small"), 0),
        }
        Ok(())
    });
    assert!(
        missing.expect("never fails").ranges.is_empty(),
        "bytes are missing"
    );
    bytes
}

fn only(laid: &Laid, number: u64) -> (Inode, Listing) {
    let listing = laid.scan();
    (listing.inodes[&number].clone(), listing)
}

#[test]
fn facts_are_those_of_the_volume() {
    let laid = Laid::new();
    let volume = laid.open();
    let facts = volume.facts();
    assert_eq!(
        (facts.type_name.as_str(), facts.label.as_slice()),
        ("ntfs", &b"laid"[..])
    );
    assert_eq!(facts.uuid.as_deref(), Some("0123456789ABCDEF"));
    assert_eq!(
        (facts.state, facts.root, facts.block_size_bytes),
        (State::Clean, 5, 4096)
    );
    assert!(facts.details.contains(&("version".to_owned(), "3.1".to_owned())));
    assert_eq!(details(&laid.scan()), [] as [&str; 0]);
}

/// Content in the record: the last two bytes of a sector hold the update sequence number, the true ones stand in the head.
#[test]
fn resident_content_across_a_sector_is_exact() {
    let mut laid = Laid::new();
    let content: Vec<u8> = (0..600_u16)
        .map(|at| u8::try_from(at % 249).expect("small"))
        .collect();
    laid.file(30, "resident", |record| record.resident(0x80, "", &content));
    let (inode, listing) = only(&laid, 30);
    let data = inode.data().expect("data");
    assert_eq!(bytes_of(&laid.bytes, data), content);
    let inline = data
        .extents
        .iter()
        .all(|extent| extent.kind == ExtentKind::Inline);
    assert!(inline && data.extents.len() == 3, "{:?}", data.extents);
    assert_eq!(details(&listing), [] as [&str; 0]);
}

/// Bytes behind the initialized size read as zeros, whatever stands there.
#[test]
fn bytes_that_were_never_written_are_zeros() {
    let mut laid = Laid::new();
    let content = laid.content(FREE, 3);
    let mapped = Mapped {
        initialized: 5000,
        ..Mapped::plain(&[(3, Some(FREE))], 12_000)
    };
    laid.file(30, "half", |record| record.mapped(0x80, "", &mapped));
    let (inode, _) = only(&laid, 30);
    let mut expected = content[..5000].to_vec();
    expected.resize(12_000, 0);
    assert_eq!(bytes_of(&laid.bytes, inode.data().expect("data")), expected);
}

#[test]
fn alternate_streams_and_holes_are_kept() {
    let mut laid = Laid::new();
    let content = laid.content(FREE, 4);
    laid.file(30, "host", |record| {
        record
            .mapped(
                0x80,
                "",
                &Mapped::plain(&[(1, Some(FREE)), (5, None), (1, Some(FREE + 3))], 28_000),
            )
            .resident(0x80, "ads", b"hidden")
    });
    let (inode, listing) = only(&laid, 30);
    assert_eq!(inode.streams.len(), 2);
    assert_eq!(inode.streams[1].kind, StreamKind::Named(b"ads".to_vec()));
    assert_eq!(bytes_of(&laid.bytes, &inode.streams[1]), b"hidden");
    let data = bytes_of(&laid.bytes, &inode.streams[0]);
    assert_eq!(
        (&data[..4096], &data[4096..24_576]),
        (&content[..4096], &[0; 20_480][..])
    );
    assert_eq!(data[24_576..], content[12_288..12_288 + 3424]);
    assert_eq!(details(&listing), [] as [&str; 0]);
}

/// Units in clusters that lie apart are one stored stream.
#[test]
fn compressed_content_is_told_unit_by_unit() {
    let mut laid = Laid::new();
    let mapped = Mapped {
        flags: 1,
        unit: 4,
        ..Mapped::plain(
            &[
                (2, Some(FREE)),
                (1, Some(FREE + 9)),
                (13, None),
                (16, Some(FREE + 20)),
                (16, None),
            ],
            196_000,
        )
    };
    laid.file(30, "packed", |record| record.mapped(0x80, "", &mapped));
    let (inode, _) = only(&laid, 30);
    let data = inode.data().expect("data");
    let Encoding::Packed(units) = &data.encoding else {
        panic!("{:?}", data.encoding)
    };
    let shape: Vec<_> = units
        .iter()
        .map(|unit| {
            (
                unit.logical_offset,
                unit.len,
                unit.stored_offset,
                unit.stored_len,
                unit.codec,
            )
        })
        .collect();
    assert_eq!(
        shape,
        [
            (0, 65536, 0, 12_288, Codec::Lznt1),
            (65536, 65536, 12_288, 65536, Codec::Stored)
        ]
    );
    let places: Vec<_> = data
        .extents
        .iter()
        .map(|extent| (extent.logical_offset, extent.image_offset / 4096, extent.len))
        .collect();
    assert_eq!(
        places,
        [
            (0, FREE, 8192),
            (8192, FREE + 9, 4096),
            (12_288, FREE + 20, 65536)
        ]
    );
}

#[test]
fn encrypted_content_is_said_to_be() {
    let mut laid = Laid::new();
    let mapped = Mapped {
        flags: 0x4000,
        ..Mapped::plain(&[(1, Some(FREE))], 4096)
    };
    laid.file(30, "secret", |record| {
        record.mapped(0x80, "", &mapped).resident(0x100, "$EFS", b"keys")
    });
    let (inode, listing) = only(&laid, 30);
    assert_eq!(
        inode.data().map(|data| &data.encoding),
        Some(&Encoding::Encrypted)
    );
    assert_eq!(
        (inode.xattrs[0].name.as_slice(), inode.xattrs[0].value.as_slice()),
        (&b"user.ntfs.efs_info"[..], &b"keys"[..])
    );
    assert_eq!(listing.findings[0].code, FindingCode::Encrypted);
}

/// R23: names of Windows, DOS and POSIX, half a surrogate pair, and what cannot stand in a path.
#[test]
fn r23_every_name_of_a_record_is_kept() {
    let mut laid = Laid::new();
    laid.set(
        30,
        &Record::new(30)
            .name(ROOT, "a long name.txt", 1)
            .name(ROOT, "ALONGN~1.TXT", 2)
            .name(ROOT, "second", 0)
            .resident(0x80, "", b"x"),
    );
    laid.set(
        31,
        &Record::new(31)
            .raw_name(ROOT, &[0x61, 0xd83d, 0x62], 0)
            .resident(0x80, "", b""),
    );
    laid.set(32, &Record::new(32).name(ROOT, "a/b", 0).resident(0x80, "", b""));
    laid.root_entry(Record::reference(30), "ALONGN~1.TXT", 2, false);
    laid.root_entry(Record::reference(30), "a long name.txt", 1, false);
    laid.root_entry(Record::reference(30), "second", 0, false);
    let (inode, listing) = only(&laid, 30);
    assert_eq!(inode.links, 2);
    let of = |name: &[u8]| {
        listing
            .names
            .iter()
            .find(|listed| listed.path == name)
            .map(|listed| (listed.name.namespace, listed.name.alternate))
    };
    assert_eq!(of(b"a long name.txt"), Some((Namespace::Windows, false)));
    assert_eq!(of(b"ALONGN~1.TXT"), Some((Namespace::Dos, true)));
    assert_eq!(of(b"second"), Some((Namespace::Native, false)));
    assert_eq!(of(b"a\xed\xa0\xbdb"), Some((Namespace::Native, false)));
    assert_eq!(of(b"a%2Fb"), Some((Namespace::Native, false)));
    assert_eq!(listing.names.len(), 5);
}

fn reparse(tag: u32, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len()).expect("short");
    [&tag.to_le_bytes()[..], &len.to_le_bytes(), &[0, 0], data].concat()
}

#[test]
fn links_have_their_targets() {
    let mut laid = Laid::new();
    let target = utf16("\\??\\C:\\Users");
    let len = u8::try_from(target.len()).expect("short");
    let junction = [&[0, 0, len, 0, 0, 0, 0, 0][..], &target].concat();
    let symlink = [&[0, 0, len, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &target].concat();
    laid.set(
        30,
        &Record::new(30).flags(3).name(ROOT, "junction", 1).resident(
            0xc0,
            "",
            &reparse(0xa000_0003, &junction),
        ),
    );
    laid.file(31, "symlink", |record| {
        record
            .resident(0x80, "", b"")
            .resident(0xc0, "", &reparse(0xa000_000c, &symlink))
    });
    laid.file(32, "linux", |record| {
        record.resident(0xc0, "", &reparse(0xa000_001d, b"\x02\0\0\0../x"))
    });
    laid.file(33, "interix", |record| {
        record
            .dos(4, 0)
            .resident(0x80, "", &[&b"IntxLNK\x01"[..], &utf16("over")].concat())
    });
    let listing = laid.scan();
    for (number, expected) in [
        (30, &b"\\??\\C:\\Users"[..]),
        (31, b"\\??\\C:\\Users"),
        (32, b"../x"),
        (33, b"over"),
    ] {
        let inode = &listing.inodes[&number];
        assert_eq!(
            (inode.kind, inode.target.as_deref()),
            (Kind::Symlink, Some(expected)),
            "{number}"
        );
        assert_eq!(inode.data(), None, "{number}");
    }
    let raw = &listing.inodes[&31].xattrs[0];
    assert_eq!(
        (raw.name.as_slice(), raw.value.len()),
        (&b"user.ntfs.reparse_data"[..], 8 + symlink.len())
    );
}

/// Content that a filter of Windows makes up is named, and what is stored of it is kept.
#[test]
fn overlays_are_named_and_not_taken_for_content() {
    let mut laid = Laid::new();
    let stored = laid.content(FREE, 1);
    let overlay = reparse(0x8000_0017, &[1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
    laid.file(30, "system.dll", |record| {
        record
            .mapped(0x80, "", &Mapped::plain(&[(8, None)], 30_000))
            .mapped(
                0x80,
                "WofCompressedData",
                &Mapped::plain(&[(1, Some(FREE))], 4000),
            )
            .resident(0xc0, "", &overlay)
    });
    laid.file(31, "dedup", |record| {
        record
            .resident(0x80, "", b"")
            .resident(0xc0, "", &reparse(0x8000_0013, &[]))
    });
    laid.file(32, "cloud here", |record| {
        record
            .resident(0x80, "", b"here")
            .resident(0xc0, "", &reparse(0x9000_601a, &[]))
    });
    laid.file(33, "cloud away", |record| {
        record
            .dos(0x40_0000, 0)
            .resident(0x80, "", b"")
            .resident(0xc0, "", &reparse(0x9000_601a, &[]))
    });
    let listing = laid.scan();
    let encoding = |number| listing.inodes[&number].data().map(|data| data.encoding.clone());
    assert_eq!(encoding(30), Some(Encoding::Unsupported));
    assert_eq!(listing.inodes[&30].size_bytes(), 30_000);
    let raw = &listing.inodes[&30].streams[1];
    assert_eq!(bytes_of(&laid.bytes, raw), stored[..4000]);
    assert_eq!(listing.inodes[&30].data().expect("data").extents, raw.extents);
    assert_eq!(encoding(31), Some(Encoding::Unsupported));
    assert_eq!(encoding(32), Some(Encoding::Plain));
    assert_eq!(encoding(33), Some(Encoding::Unsupported));
    let losses = listing
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Loss);
    assert_eq!(losses.count(), 3);
    assert!(
        details(&listing)
            .contains(&"compressed system file (LZX, 32 KiB), tag 0x80000017: its content is not decoded")
    );
}

fn list(entries: &[(u32, u64, u64)]) -> Vec<u8> {
    let entry = |(kind, first, record): &(u32, u64, u64)| {
        let mut entry = vec![0; 0x20];
        entry[..4].copy_from_slice(&kind.to_le_bytes());
        entry[4] = 0x20;
        entry[7] = 0x1a;
        entry[8..16].copy_from_slice(&first.to_le_bytes());
        entry[16..24].copy_from_slice(&record.to_le_bytes());
        entry
    };
    entries.iter().flat_map(entry).collect()
}

/// A file whose map is in two further records, one of its names in a third.
fn listed_file(laid: &mut Laid, list: Option<&[u8]>) -> Vec<u8> {
    let content = laid.content(FREE, 6);
    let base = Record::reference(30);
    let parts = [(4, FREE + 4), (2, FREE), (0, FREE + 2)];
    for (number, (first, cluster)) in [31, 32, 33].into_iter().zip(parts) {
        let runs = [(2, Some(cluster))];
        let mapped = Mapped {
            first,
            ..Mapped::plain(&runs, 24_000)
        };
        laid.set(
            number,
            &Record::new(number).bare().extends(base).mapped(0x80, "", &mapped),
        );
    }
    laid.set(34, &Record::new(34).bare().extends(base).name(ROOT, "other", 0));
    laid.file(30, "listed", |record| match list {
        Some(list) => record.resident(0x20, "", list),
        None => record.mapped(0x20, "", &Mapped::plain(&[(1, Some(FREE + 100))], 1 << 30)),
    });
    [&content[8192..16_384], &content[..8192], &content[16_384..24_000]].concat()
}

#[test]
fn an_attribute_list_is_followed_in_any_order() {
    let mut laid = Laid::new();
    let refs = [31, 32, 33, 34].map(Record::reference);
    let list = list(&[
        (0x10, 0, Record::reference(30)),
        (0x80, 4, refs[0]),
        (0x80, 2, refs[1]),
        (0x80, 0, refs[2]),
        (0x30, 0, refs[3]),
    ]);
    let expected = listed_file(&mut laid, Some(&list));
    let (inode, listing) = only(&laid, 30);
    assert_eq!(bytes_of(&laid.bytes, inode.data().expect("data")), expected);
    assert_eq!(paths(&listing), ["listed", "other"]);
}

/// R22: records that continue a file say so themselves; a lost list costs nothing.
#[test]
fn r22_a_lost_attribute_list_is_made_up_for() {
    let mut laid = Laid::new();
    let expected = listed_file(&mut laid, None);
    let (inode, listing) = only(&laid, 30);
    assert_eq!(bytes_of(&laid.bytes, inode.data().expect("data")), expected);
    assert_eq!(paths(&listing), ["listed", "other"]);
    assert!(details(&listing).contains(&"its attribute list cannot be read"));
}

/// A list that leads to other files' records, to itself and beyond the table ends, and the part that it cannot give is missing, not zeros.
#[test]
fn a_list_that_leads_astray_is_told() {
    let mut laid = Laid::new();
    laid.file(40, "other", |record| record.resident(0x80, "", b"own"));
    let list = list(&[
        (0x80, 0, Record::reference(31)),
        (0x80, 2, Record::reference(40)),
        (0x80, 4, Record::reference(30)),
        (0x80, 4, 9999),
    ]);
    let mapped = Mapped::plain(&[(2, Some(FREE))], 24_000);
    laid.set(
        31,
        &Record::new(31)
            .bare()
            .extends(Record::reference(30))
            .mapped(0x80, "", &mapped),
    );
    laid.file(30, "astray", |record| record.resident(0x20, "", &list));
    let (inode, listing) = only(&laid, 30);
    let data = inode.data().expect("data");
    assert_eq!(
        (data.size_bytes, data.extents.len(), data.extents_incomplete),
        (24_000, 1, true)
    );
    assert!(details(&listing).contains(&"record 40, which should continue it, is another file's"));
}

/// Directories that hold each other, and one that holds itself.
#[test]
fn rings_of_directories_are_entered_once() {
    let mut laid = Laid::new();
    let pair = |number: u32, other: u32, name: &str| {
        Record::new(number)
            .flags(3)
            .name(Record::reference(other), name, 1)
            .index(&[])
    };
    laid.set(30, &pair(30, 31, "a"));
    laid.set(31, &pair(31, 30, "b"));
    laid.set(32, &pair(32, 32, "self"));
    laid.set(
        33,
        &Record::new(33)
            .name(Record::reference(31), "inside", 1)
            .resident(0x80, "", b""),
    );
    let listing = laid.scan();
    let all = paths(&listing);
    assert!(all.contains(&"#30/b/inside".to_owned()), "{all:?}");
    assert_eq!(
        listing
            .findings
            .iter()
            .filter(|finding| finding.code == FindingCode::Loop)
            .count(),
        4
    );
}

#[test]
fn security_ids_lead_to_owners() {
    let mut laid = Laid::new();
    let sid = [
        &[1, 2, 0, 0, 0, 0, 0, 5][..],
        &32_u32.to_le_bytes(),
        &544_u32.to_le_bytes(),
    ]
    .concat();
    let descriptor = [&[1, 0, 0, 0x80][..], &20_u32.to_le_bytes(), &[0; 12], &sid].concat();
    let len = u32::try_from(20 + descriptor.len()).expect("short");
    let head = [&[0; 4][..], &261_u32.to_le_bytes(), &[0; 8], &len.to_le_bytes()].concat();
    laid.put(at(FREE), &[head, descriptor].concat());
    laid.set(
        9,
        &Record::new(9).name(ROOT, "$Secure", 3).mapped(
            0x80,
            "$SDS",
            &Mapped::plain(&[(1, Some(FREE))], 4096),
        ),
    );
    laid.file(30, "owned", |record| {
        record.dos(0x20, 261).resident(0x80, "", b"")
    });
    let (inode, _) = only(&laid, 30);
    assert_eq!(inode.flags, 0x20);
    assert_eq!(
        (inode.xattrs[0].name.as_slice(), inode.xattrs[0].value.as_slice()),
        (&b"user.ntfs.owner"[..], &b"S-1-5-32-544"[..])
    );
}

#[test]
fn attributes_of_the_subsystem_for_linux_are_read() {
    let mut laid = Laid::new();
    let ea = |name: &[u8], value: u32| {
        let mut entry = [
            &[0; 5][..],
            &[u8::try_from(name.len()).expect("short"), 4, 0],
            name,
            b"\0",
            &value.to_le_bytes(),
        ]
        .concat();
        entry.resize(entry.len().next_multiple_of(4), 0);
        entry
    };
    let mut value = ea(b"$LXUID", 1000);
    value[0] = u8::try_from(value.len()).expect("short");
    value.extend(ea(b"$LXMOD", 0o100_640));
    laid.file(30, "linux", |record| {
        record.resident(0x80, "", b"").resident(0xe0, "", &value)
    });
    let (inode, _) = only(&laid, 30);
    assert_eq!(
        (inode.uid, inode.mode, inode.gid),
        (Some(1000), Some(0o640), None)
    );
    assert_eq!(inode.xattrs[0].name, b"user.ntfs.ea.$LXUID");
    assert_eq!(inode.xattrs.len(), 2);
}

/// Deleted files are listed where they were, when they are asked for.
#[test]
fn deleted_files_are_found_when_asked_for() {
    let mut laid = Laid::new();
    let content = laid.content(FREE, 1);
    laid.set(
        30,
        &Record::new(30)
            .flags(2)
            .sequence(31)
            .name(ROOT, "gone", 1)
            .index(&[]),
    );
    let data = Mapped::plain(&[(1, Some(FREE))], 4000);
    let parent = 30 | 30 << 48;
    laid.set(
        31,
        &Record::new(31)
            .flags(0)
            .sequence(32)
            .name(parent, "file", 1)
            .mapped(0x80, "", &data),
    );
    assert_eq!(laid.scan().names.len(), 0);
    let options = ScanOptions {
        deleted: true,
        ..ScanOptions::default()
    };
    let listing = Listing::of(&*laid.open(), &options);
    let found: Vec<_> = listing
        .names
        .iter()
        .map(|listed| (listed.path.as_slice(), listed.name.allocation))
        .collect();
    assert_eq!(
        found,
        [
            (&b"gone"[..], Allocation::Deleted),
            (b"gone/file", Allocation::Deleted)
        ]
    );
    let inode = &listing.inodes[&31];
    assert_eq!(inode.allocation, Allocation::Deleted);
    assert_eq!(
        bytes_of(&laid.bytes, inode.data().expect("data")),
        content[..4000]
    );
    assert_eq!(details(&listing), [] as [&str; 0]);
}

/// The file system's own files, and what is in their directories, are not listed.
#[test]
fn system_files_are_not_listed() {
    let mut laid = Laid::new();
    let extend = Record::reference(11);
    laid.set(11, &Record::new(11).flags(3).name(ROOT, "$Extend", 3).index(&[]));
    laid.set(
        24,
        &Record::new(24).flags(3).name(extend, "$RmMetadata", 1).index(&[]),
    );
    laid.set(
        25,
        &Record::new(25)
            .name(Record::reference(24), "$Repair", 1)
            .resident(0x80, "", b""),
    );
    laid.root_entry(extend, "$Extend", 3, true);
    let listing = laid.scan();
    assert_eq!((paths(&listing), listing.inodes.len()), (Vec::new(), 1));
    assert_eq!(details(&listing), [] as [&str; 0]);
}

/// A wide index: its blocks are read as they lie, and stale entries are told and left out.
#[test]
fn an_index_in_blocks_is_read_and_compared() {
    let mut laid = Laid::new();
    let names = ["one", "two", "three"];
    let entries: Vec<Vec<u8>> = (30..33)
        .zip(names)
        .map(|(number, name)| {
            entry(
                Record::reference(number),
                &file_name(Record::reference(29), &utf16(name), 3, false, 0),
            )
        })
        .collect();
    let stale = entry(
        Record::reference(30),
        &file_name(Record::reference(29), &utf16("stale"), 3, false, 0),
    );
    laid.put(at(FREE), &index_block(0, &[&entries[..2], &[stale]].concat()));
    laid.put(at(FREE + 1), &index_block(1, &entries[2..]));
    laid.put(at(FREE + 2), &index_block(2, &entries[..1]));
    laid.set(
        29,
        &Record::new(29)
            .flags(3)
            .name(ROOT, "wide", 3)
            .index(&[])
            .mapped(0xa0, "$I30", &Mapped::plain(&[(3, Some(FREE))], 12_288))
            .resident(0xb0, "$I30", &[0b011, 0, 0, 0, 0, 0, 0, 0]),
    );
    laid.root_entry(Record::reference(29), "wide", 3, true);
    for (number, name) in (30..33).zip(names) {
        laid.set(
            number,
            &Record::new(number)
                .name(Record::reference(29), name, 3)
                .resident(0x80, "", b""),
        );
    }
    let listing = laid.scan();
    assert_eq!(paths(&listing), ["wide", "wide/one", "wide/three", "wide/two"]);
    assert_eq!(
        details(&listing),
        ["an entry for record 30, which has no such name"]
    );
}

#[test]
fn allocated_ranges_follow_the_bitmap() {
    let mut laid = Laid::new();
    laid.bytes[at(FREE)] = 0b1110_0111;
    laid.set(
        6,
        &Record::new(6)
            .name(ROOT, "$Bitmap", 3)
            .mapped(0x80, "", &Mapped::plain(&[(1, Some(FREE))], 32)),
    );
    let volume = laid.open();
    assert_eq!(volume.facts().used_bytes, Some(6 * 4096));
    let mut ranges = Vec::new();
    volume.allocated(&mut |range| ranges.push(range)).expect("told");
    let copy = u64::try_from(laid.bytes.len()).expect("fits") - 512;
    assert_eq!(
        ranges,
        [
            ByteRange::new(0, 3 * 4096),
            ByteRange::new(5 * 4096, 3 * 4096),
            ByteRange::new(copy, 512)
        ]
    );
}

/// A dirty volume says so, and that the log is not replayed (R17).
#[test]
fn r17_an_open_log_is_told() {
    let mut laid = Laid::new();
    let mut page = vec![0; 4096];
    page[..8].copy_from_slice(&[b'R', b'S', b'T', b'R', 0x1e, 0, 9, 0]);
    page[0x10..0x14].copy_from_slice(&4096_u32.to_le_bytes());
    page[0x18] = 0x30;
    ntt_testkit::ntfs::protect(&mut page);
    laid.put(at(1), &page);
    let volume = laid.open();
    assert_eq!(volume.facts().state, State::Dirty);
    let dirty = &laid.scan().findings[0];
    assert_eq!(
        (dirty.code, dirty.severity),
        (FindingCode::DirtyJournal, ntt_model::Severity::Loss)
    );
}

#[test]
fn a_real_volume_is_read() {
    let Some(image) = corpus_image("retro/test_ntfs.img.zst") else {
        return;
    };
    let bytes = std::fs::read(image.path()).expect("the image");
    let volume = ntt_filesystem::open(Family::Ntfs, Box::new(bytes.clone()), 0).expect("opens");
    assert_eq!(volume.facts().label, b"test_ntfs");
    assert_eq!(volume.facts().uuid.as_deref(), Some("2E10B498285B9847"));
    let listing = Listing::of(&*volume, &ScanOptions::default());
    assert_eq!(paths(&listing), ["hello.txt", "subdir", "subdir/nested.txt"]);
    let hello = listing
        .inodes
        .values()
        .find(|inode| inode.kind == Kind::File)
        .expect("a file");
    let content = bytes_of(&bytes, hello.data().expect("data"));
    assert_eq!(content_hash(&bytes, hello), BlobHash::of(&content));
    assert_eq!(details(&listing), [] as [&str; 0]);
}
