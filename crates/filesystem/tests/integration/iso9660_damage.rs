//! Damaged, cut and hostile discs.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;

use ntt_filesystem::{Limits, ScanOptions, iso9660};
use ntt_model::{ByteRange, Finding, FindingCode, Kind, Severity};
use ntt_source::Masked;
use ntt_testkit::listing::Listing;

use crate::iso9660_made::{
    codes, file_extents, found, hash, last_position, listing, made, noise, open, redirect, sample_tree,
    two_sessions,
};

/// R11, R22: an unread sector of a big directory costs the records in it and nothing else.
#[test]
fn r22_an_unread_directory_sector_costs_only_its_records() {
    let dir = sample_tree();
    let Some(image) = made("genisoimage", &["-R"], &dir.path().join("tree")) else {
        return;
    };
    let whole = listing(&image);
    let many = whole
        .inodes
        .values()
        .filter(|inode| inode.kind == Kind::Directory)
        .map(|inode| inode.number >> 1);
    let directory = many
        .max_by_key(|at| {
            whole
                .names
                .iter()
                .filter(|name| name.name.directory == at << 1 | 1)
                .count()
        })
        .unwrap();
    let masked = Masked::new(image.clone(), vec![ByteRange::new(directory + 2048, 2048)]);
    let file_system = iso9660::open(Box::new(masked), 0).unwrap();
    let damaged = Listing::of(&*file_system, &ScanOptions::default());
    let lost = whole.preferred().count() - damaged.preferred().count();
    assert!((1..=2048 / 34).contains(&lost), "{lost} lost");
    assert!(codes(&damaged).contains("Unread"));
    let place = damaged
        .findings
        .iter()
        .find(|finding| finding.code == FindingCode::Unread)
        .unwrap();
    assert_eq!(place.image_offset, Some(directory + 2048));
    assert!(
        found(&damaged, &image)
            .into_iter()
            .all(|entry| found(&whole, &image).get(&entry.0) == Some(&entry.1))
    );
}

/// Where the directory with the most names starts, and how many bytes of records it has.
fn longest_directory(image: &[u8]) -> (usize, usize) {
    let whole = listing(image);
    let names = |number: u64| {
        whole
            .names
            .iter()
            .filter(|name| name.name.directory == number)
            .count()
    };
    let directories = whole
        .inodes
        .values()
        .filter(|inode| inode.kind == Kind::Directory);
    let number = directories
        .map(|inode| inode.number)
        .max_by_key(|number| names(*number))
        .unwrap();
    let at = usize::try_from(number >> 1).unwrap();
    (
        at,
        usize::try_from(u32::from_le_bytes(image[at + 10..at + 14].try_into().unwrap())).unwrap(),
    )
}

/// Where the records of a sector start, and where they end.
fn records(sector: &[u8]) -> Vec<usize> {
    let mut places = vec![0];
    while let Some(len) = sector.get(*places.last().unwrap()).filter(|len| **len > 0) {
        places.push(places.last().unwrap() + usize::from(*len));
    }
    places
}

/// R22: zeros in a directory, which an unreadable sector becomes in most images, are a loss at their place, wherever they stand.
#[test]
fn r22_zeros_in_a_directory_are_a_loss() {
    let dir = sample_tree();
    for arguments in [&["-R"][..], &["-J"], &[]] {
        let Some(image) = made("genisoimage", arguments, &dir.path().join("tree")) else {
            return;
        };
        let whole = listing(&image);
        assert!(
            whole
                .findings
                .iter()
                .all(|finding| finding.severity != Severity::Loss)
        );
        let (at, len) = longest_directory(&image);
        let sectors = len / 2048;
        assert!(sectors > 2, "{arguments:?}: {len} bytes");
        let second = records(&image[at + 2048..at + 4096]);
        let cut = |from: usize, to: usize| (at + 2048 + from, at + 2048 + to);
        let middle = second.len() / 2;
        for (from, to) in [
            (at, at + 2048),
            (at, at + second[1]),
            (at + 2048, at + 4096),
            (at + 2048 * (sectors - 1), at + 2048 * sectors),
            cut(second[1], second[3]),
            cut(second[middle], 2048),
            cut(second[middle] + 40, 2048),
        ] {
            let mut struck = image.clone();
            struck[from..to].fill(0);
            let found = listing(&struck);
            let place = |finding: &Finding| usize::try_from(finding.image_offset.unwrap()).unwrap();
            let is_told = found.findings.iter().any(|finding| {
                finding.severity == Severity::Loss && (from.saturating_sub(256)..to).contains(&place(finding))
            });
            assert!(is_told, "{arguments:?} {from:#x} {to:#x}: {:?}", found.findings);
            // What stands before and behind it in the sector is listed.
            let lost = whole.names.len() - found.names.len();
            assert!(lost <= 2 * (to - from).div_ceil(34), "{arguments:?}: {lost} lost");
        }
    }
}

/// R22: without the root directory, the directories are found through the path table.
#[test]
fn r22_an_unread_root_falls_back_on_the_path_table() {
    let dir = sample_tree();
    for arguments in [&["-R"][..], &["-D"], &["-R", "-J"]] {
        let Some(image) = made("genisoimage", arguments, &dir.path().join("tree")) else {
            return;
        };
        let root = open(&image).facts().root >> 1;
        let masked = Masked::new(image.clone(), vec![ByteRange::new(root, 2048)]);
        let file_system = iso9660::open(Box::new(masked), 0).unwrap();
        let damaged = Listing::of(&*file_system, &ScanOptions::default());
        let contents = damaged.contents(&image);
        assert!(
            contents.values().any(|content| *content == hash(b"content 149")),
            "{arguments:?}"
        );
        assert!(
            contents.values().any(|content| *content == hash(b"deep")),
            "{arguments:?}"
        );
        assert!(codes(&damaged).contains("BackupUsed"), "{arguments:?}");
        let mut ranges = Vec::new();
        file_system.allocated(&mut |range| ranges.push(range)).unwrap();
        assert_eq!(
            ranges[0].len,
            file_system.facts().size_bytes,
            "what is lost counts as allocated"
        );
    }
}

/// R22: without the primary descriptor the Joliet one serves.
#[test]
fn r22_a_lost_primary_descriptor_leaves_the_joliet_tree() {
    let dir = sample_tree();
    let Some(image) = made("genisoimage", &["-R", "-J"], &dir.path().join("tree")) else {
        return;
    };
    let masked = Masked::new(image.clone(), vec![ByteRange::new(16 * 2048, 2048)]);
    let file_system = iso9660::open(Box::new(masked), 0).unwrap();
    let listing = Listing::of(&*file_system, &ScanOptions::default());
    assert!(
        listing
            .contents(&image)
            .values()
            .any(|content| *content == hash(b"deep"))
    );
    assert!(codes(&listing).is_superset(&BTreeSet::from(["BackupUsed".to_owned(), "Unread".to_owned()])));
}

/// R12: a cut image keeps its listing; files and the volume that pass its end say so.
#[test]
fn r12_a_cut_image_is_listed_and_said_to_be_cut() {
    let dir = sample_tree();
    let Some(image) = made("genisoimage", &["-R"], &dir.path().join("tree")) else {
        return;
    };
    let random = file_extents(&listing(&image), b"Random Data.bin");
    let cut = image[..usize::try_from(random.offset).unwrap() + 5000].to_vec();
    let file_system = open(&cut);
    assert_eq!(
        file_system.facts().size_bytes,
        u64::try_from(image.len()).unwrap()
    );
    let damaged = Listing::of(&*file_system, &ScanOptions::default());
    assert_eq!(damaged.preferred().count(), listing(&image).preferred().count());
    assert!(codes(&damaged).contains("BeyondEnd"));
}

#[test]
fn a_poisoned_directory_is_left_and_depth_is_bounded() {
    let dir = sample_tree();
    let Some(image) = made("genisoimage", &["-R"], &dir.path().join("tree")) else {
        return;
    };
    let file_system = open(&image);
    let root = file_system.facts().root;
    let mut options = ScanOptions::default();
    options.leave_after.insert(root, 3);
    let left = Listing::of(&*file_system, &options);
    assert_eq!(
        left.names
            .iter()
            .filter(|name| name.name.directory == root)
            .count(),
        3
    );
    assert!(codes(&left).contains("Limit"));
    let limits = Limits {
        depth: 2,
        ..Limits::default()
    };
    let shallow = Listing::of(
        &*file_system,
        &ScanOptions {
            limits,
            ..ScanOptions::default()
        },
    );
    let deepest = shallow
        .preferred()
        .map(|name| name.path.iter().filter(|byte| **byte == b'/').count())
        .max();
    assert_eq!(deepest, Some(2));
}

/// A directory that names its parent as its child is entered once.
#[test]
fn r22_a_directory_loop_is_a_finding() {
    let dir = sample_tree();
    let Some(mut image) = made("genisoimage", &["-R"], &dir.path().join("tree")) else {
        return;
    };
    let root = u32::try_from((open(&image).facts().root >> 1) / 2048).unwrap();
    let record = last_position(&image, b"\x04MANY") - 32;
    redirect(&mut image, record, root, 2048);
    assert!(codes(&listing(&image)).contains("Loop"));
}

/// R22: flipped bytes and cuts never panic, never break the order of events, and never give more than a bounded number of them.
#[test]
fn r22_mutated_discs_end_with_bounded_events() {
    let dir = sample_tree();
    let Some(image) = two_sessions(dir.path()) else {
        return;
    };
    let metadata: Vec<usize> = metadata_sectors(&image);
    let mut random = noise(300 * 64).into_iter().map(usize::from);
    let mut next = |below: usize| {
        let mut value = || random.next().unwrap_or(0);
        (value() * 65_536 + value() * 256 + value()) % below
    };
    let events = listing(&image).events.len();
    for round in 0..300 {
        let mut mutated = image.clone();
        for _ in 0..=round % 7 {
            let at = metadata[next(metadata.len())] * 2048 + next(2048);
            mutated[at] ^= 1 << (round % 8);
        }
        if round % 10 == 0 {
            mutated.truncate(next(image.len()));
        }
        if let Ok(file_system) = iso9660::open(Box::new(mutated), 0) {
            let count = Listing::of(&*file_system, &ScanOptions::default()).events.len();
            assert!(count < events * 4 + 5000, "round {round}: {count} events");
            file_system.allocated(&mut |_| {}).expect("ranges");
        }
    }
}

/// Sectors of descriptors, path tables and directories.
fn metadata_sectors(image: &[u8]) -> Vec<usize> {
    let content: Vec<ByteRange> = listing(image)
        .inodes
        .values()
        .filter_map(|inode| inode.data())
        .flat_map(|data| {
            data.extents
                .iter()
                .map(|extent| ByteRange::new(extent.image_offset, extent.len))
        })
        .collect();
    let mut sectors = Vec::new();
    open(image)
        .allocated(&mut |range| {
            let from = usize::try_from(range.offset / 2048).unwrap();
            let to = usize::try_from(range.end() / 2048).unwrap();
            sectors.extend(from.max(16)..to);
        })
        .unwrap();
    let is_content = |sector: &usize| {
        let at = u64::try_from(*sector).unwrap() * 2048;
        content
            .iter()
            .any(|range| (range.offset..range.end()).contains(&at))
    };
    sectors.retain(|sector| !is_content(sector));
    sectors
}
