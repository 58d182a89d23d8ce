//! Loading: what goes in comes out, all or nothing, and nothing else is touched.

use ntt_model::entry::{Allocation, Encoding, Stream, StreamKind, Xattr};
use ntt_model::{Codec, Finding, FindingCode, Kind, Layer, PackedUnit, ScanEvent, Severity, Timestamp};

use super::Case;
use super::fixture::{Fixture, ROOT, counts, entering, file, files, flat, named};
use crate::{CHILDREN_PAGE, Children, Error, Labels};

pub(super) const CASES: &[Case] = &[
    ("r23_all_byte_names_round_trip", r23_all_byte_names_round_trip),
    ("a_directory_comes_page_by_page", a_directory_comes_page_by_page),
    (
        "r24_equal_inode_numbers_on_two_volumes_keep_both",
        r24_equal_inode_numbers_on_two_volumes_keep_both,
    ),
    ("r27_an_inode_keeps_everything", r27_an_inode_keeps_everything),
    (
        "r28_loading_leaves_other_media_alone",
        r28_loading_leaves_other_media_alone,
    ),
    (
        "r29_a_seal_with_other_counts_is_refused",
        r29_a_seal_with_other_counts_is_refused,
    ),
    (
        "streams_out_of_order_are_refused",
        streams_out_of_order_are_refused,
    ),
    (
        "an_abandoned_scan_leaves_nothing",
        an_abandoned_scan_leaves_nothing,
    ),
    ("findings_appear_with_the_seal", findings_appear_with_the_seal),
];

fn r23_all_byte_names_round_trip(fixture: &Fixture) {
    let bytes: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    let long = [b'x'; 255];
    let mut names: Vec<&[u8]> = bytes.chunks(1).collect();
    names.extend([
        &bytes[..],
        &long[..],
        b"a\\nb",
        b"a\nb",
        b"##",
        b"\x1c\x1c",
        b"\xff\xfe",
    ]);
    let mut events = vec![entering(ROOT, None, b"")];
    for (number, name) in (10..).zip(&names) {
        events.push(ScanEvent::Name(named(ROOT, name, number)));
        events.push(ScanEvent::Inode(Box::new(file(number, 1, number))));
    }
    let scan = fixture.scan(&events);
    let children = fixture.catalogue.children(scan, ROOT, 0).unwrap();
    let found: Vec<&[u8]> = children.iter().map(|child| child.name.as_slice()).collect();
    assert_eq!(found, names);
    for name in names {
        assert_eq!(fixture.catalogue.resolve_path(scan, name).unwrap().len(), 1);
    }
}

fn a_directory_comes_page_by_page(fixture: &Fixture) {
    let count = 2 * CHILDREN_PAGE + 7;
    let mut events = vec![entering(ROOT, None, b"")];
    for number in (10..).take(count) {
        events.push(ScanEvent::Name(named(
            ROOT,
            number.to_string().as_bytes(),
            number,
        )));
        events.push(ScanEvent::Inode(Box::new(file(number, 1, number))));
    }
    events.push(entering(5, Some(ROOT), b"below"));
    events.push(ScanEvent::Name(named(5, b"not of the root", 10)));
    let catalogue = fixture.catalogue.as_ref();
    let scan = fixture.scan(&events);
    let all: Vec<_> = Children::of(catalogue, scan, ROOT)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let numbers: Vec<u64> = all.iter().map(|child| child.number).collect();
    assert_eq!(numbers, (10..).take(count).collect::<Vec<u64>>());
    let (page, last) = (&all[CHILDREN_PAGE..2 * CHILDREN_PAGE], all[count - 1].id);
    assert_eq!(catalogue.children(scan, ROOT, page[0].id - 1).unwrap(), page);
    assert_eq!(catalogue.children(scan, ROOT, last).unwrap(), []);
    assert_eq!(Children::of(catalogue, scan, 5).unwrap().count(), 1);
}

fn r24_equal_inode_numbers_on_two_volumes_keep_both(fixture: &Fixture) {
    let medium = fixture.medium(1);
    let scans = [3, 5].map(|size| {
        let volume = fixture.volume(medium, u32::try_from(size).unwrap());
        fixture
            .load(volume, &flat(&[file(10, size, 0)]), &Labels::NONE, None)
            .0
    });
    for (scan, size) in scans.into_iter().zip([3, 5]) {
        let inode = fixture.catalogue.inode(scan, 10).unwrap().unwrap();
        assert_eq!(inode.size_bytes(), size);
    }
}

fn r27_an_inode_keeps_everything(fixture: &Fixture) {
    let mut inode = file(u64::from(u32::MAX), u64::MAX, u64::MAX - 5);
    inode.generation = u64::MAX;
    inode.flags = u64::MAX;
    inode.times.accessed = Some(Timestamp::from_nanos(i64::MIN));
    inode.times.created = Some(Timestamp::from_nanos(i64::MAX));
    inode.target = Some(b"to\xff".to_vec());
    inode.device = Some((8, u32::MAX));
    inode.xattrs = vec![Xattr {
        name: b"user.x".to_vec(),
        value: vec![0, 1],
    }];
    let mut fork = inode.streams[0].clone();
    fork.encoding = Encoding::Encrypted;
    fork.extents_incomplete = true;
    for kind in [
        StreamKind::Named(b"rsrc".to_vec()),
        StreamKind::Xattr(b"user.big".to_vec()),
    ] {
        inode.streams.push(Stream { kind, ..fork.clone() });
    }
    let mut packed = inode.clone();
    packed.number = 13;
    packed.streams[0].encoding = Encoding::Packed(vec![unit(0, 0), unit(70_000, 5)]);
    packed.streams[1].encoding = Encoding::Packed(vec![unit(u64::MAX - 9, u64::MAX)]);
    packed.streams[2].encoding = Encoding::Packed(Vec::new());
    let mut deleted = inode.clone();
    deleted.number = 12;
    deleted.kind = Kind::Unknown;
    deleted.allocation = Allocation::Deleted;
    deleted.streams.remove(0);
    let scan = fixture.scan(&flat(&[inode.clone(), deleted.clone(), packed.clone()]));
    for wanted in [inode, deleted, packed] {
        assert_eq!(
            fixture.catalogue.inode(scan, wanted.number).unwrap(),
            Some(wanted)
        );
    }
}

/// A unit of a packed stream.
fn unit(logical_offset: u64, skip: u64) -> PackedUnit {
    PackedUnit {
        logical_offset,
        len: 9,
        stored_offset: 7,
        stored_len: 5,
        skip,
        codec: Codec::Lznt1,
        is_whole: false,
    }
}

fn r28_loading_leaves_other_media_alone(fixture: &Fixture) {
    let first = fixture.scan(&flat(&files(20, 7)));
    let census = fixture.catalogue.census(first).unwrap();
    let volume = fixture.volume(fixture.medium(2), 1);
    let (second, _) = fixture.load(volume, &flat(&files(30, 9)), &Labels::NONE, None);
    let (third, _) = fixture.load(volume, &flat(&files(10, 9)), &Labels::NONE, None);
    assert_eq!(fixture.catalogue.census(first).unwrap(), census);
    assert_eq!(fixture.catalogue.census(second).unwrap().found.count, 30);
    assert_eq!(fixture.catalogue.census(third).unwrap().found.count, 10);
    assert_eq!(fixture.catalogue.scans(volume).unwrap().len(), 2);
}

fn r29_a_seal_with_other_counts_is_refused(fixture: &Fixture) {
    let volume = fixture.volume(fixture.medium(1), 1);
    let scan = fixture.begin(volume, None);
    let events = flat(&files(3, 1));
    fixture.catalogue.append(scan, &events).unwrap();
    let mut wrong = counts(&events);
    wrong.names += 1;
    let refused = fixture.catalogue.seal_scan(scan, &wrong, &Labels::NONE);
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    assert!(fixture.catalogue.scans(volume).unwrap().is_empty());
    fixture
        .catalogue
        .seal_scan(scan, &counts(&events), &Labels::NONE)
        .unwrap();
    fixture.assert_consistent(scan);
}

fn streams_out_of_order_are_refused(fixture: &Fixture) {
    let volume = fixture.volume(fixture.medium(1), 1);
    let twice = ScanEvent::Inode(Box::new(file(10, 1, 0)));
    let bad: [Vec<ScanEvent>; 6] = [
        vec![ScanEvent::Name(named(ROOT, b"x", 3))],
        vec![entering(ROOT, None, b""), ScanEvent::Name(named(9, b"x", 3))],
        vec![
            entering(ROOT, None, b""),
            entering(9, Some(ROOT), b"a"),
            entering(9, Some(ROOT), b"a"),
            twice.clone(),
        ],
        vec![
            entering(ROOT, None, b""),
            entering(9, Some(8), b"a"),
            entering(8, Some(9), b"b"),
        ],
        vec![entering(ROOT, None, b""), twice.clone(), twice],
        vec![
            entering(ROOT, None, b""),
            ScanEvent::Inode(Box::new(file(1 << 63, 1, 0))),
        ],
    ];
    for events in bad {
        let scan = fixture.begin(volume, None);
        let result = fixture
            .catalogue
            .append(scan, &events)
            .and_then(|()| fixture.catalogue.seal_scan(scan, &counts(&events), &Labels::NONE));
        assert!(
            matches!(result, Err(Error::Conflict(_))),
            "{events:?}: {result:?}"
        );
        fixture.catalogue.abandon_scan(scan).unwrap();
    }
    assert!(fixture.catalogue.scans(volume).unwrap().is_empty());
}

fn an_abandoned_scan_leaves_nothing(fixture: &Fixture) {
    let medium = fixture.medium(1);
    let volume = fixture.volume(medium, 1);
    let scan = fixture.begin(volume, None);
    let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Corrupt, "gone");
    fixture
        .catalogue
        .append(scan, &[ScanEvent::Finding(finding)])
        .unwrap();
    assert!(fixture.catalogue.findings(medium).unwrap().is_empty());
    fixture.catalogue.abandon_scan(scan).unwrap();
    assert!(fixture.catalogue.append(scan, &[]).is_err());
    assert!(matches!(
        fixture.catalogue.census(scan),
        Err(Error::NotFound { .. })
    ));
}

fn findings_appear_with_the_seal(fixture: &Fixture) {
    let medium = fixture.medium(1);
    let volume = fixture.volume(medium, 1);
    let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Corrupt, "bad")
        .at(u64::MAX)
        .on_inode(4);
    let events = [entering(ROOT, None, b""), ScanEvent::Finding(finding.clone())];
    let (scan, _) = fixture.load(volume, &events, &Labels::NONE, None);
    let rows = fixture.catalogue.findings(medium).unwrap();
    assert_eq!(
        (rows.len(), &rows[0].finding, rows[0].scan),
        (1, &finding, Some(scan))
    );
}
