//! Damaged HFS+: what must still be listed, and what must be said.

use ntt_filesystem::{Family, ScanOptions, open, probe};
use ntt_model::{FindingCode, Layer, Severity};
use ntt_source::Masked;
use ntt_testkit::hfsplus::{Built, JournalShape, Shape};
use ntt_testkit::listing::Listing;

use crate::hfsplus::{Truth, complaints, expected_hashes, listing, sample, small_nodes};

fn journaled() -> (Built, Truth) {
    sample(Shape {
        journal_blocks: 64,
        blocks: 2048,
        node_bytes: 8192,
        ..Shape::default()
    })
}

#[test]
fn r17_a_dirty_journal_is_replayed_in_memory() {
    let (clean, truth) = journaled();
    let whole = listing(&clean.image);
    assert_eq!(complaints(&whole), Vec::<String>::new());
    let leaf = |number: usize| clean.catalog_nodes[number].0.clone();
    for (is_little, start, has_checksums) in [
        (true, 512, false),
        (false, 512, true),
        (true, 64 * 4096 - 1024, true),
    ] {
        let mut dirty = clean.clone();
        let shape = JournalShape {
            is_little,
            start,
            has_checksums,
        };
        // The second run comes again, with the first version overwritten by the second.
        let inner = leaf(2).start + 512..leaf(2).start + 1024;
        dirty.hide_in_journal(&[leaf(1), leaf(3), leaf(2), inner], shape, 0xee);
        let mut expected = whole.names.clone();
        let found = listing(&dirty.image);
        // The last block list holds what the others left in the place of its run.
        assert_eq!(found.findings[0].code, FindingCode::DirtyJournal);
        assert!(
            found.findings[0].detail.contains("4 block lists"),
            "{}",
            found.findings[0]
        );
        assert!(
            found.names.len() + 4 >= expected.len(),
            "{} {}",
            found.names.len(),
            expected.len()
        );
        let mut dirty = clean.clone();
        dirty.hide_in_journal(&[leaf(1), leaf(3), leaf(2)], shape, 0xee);
        let found = listing(&dirty.image);
        expected.sort_by(|left, right| left.path.cmp(&right.path));
        let mut names = found.names.clone();
        names.sort_by(|left, right| left.path.cmp(&right.path));
        assert_eq!(names, expected, "{shape:?}");
        assert_eq!(found.contents(&dirty.image), expected_hashes(&truth));
        let before = dirty.image.clone();
        let _ = listing(&dirty.image);
        assert!(before == dirty.image);
    }
}

#[test]
fn r17_a_journal_that_breaks_off_is_said() {
    let (clean, _) = journaled();
    let shape = JournalShape {
        is_little: true,
        start: 512,
        has_checksums: true,
    };
    let mut dirty = clean.clone();
    let nodes: Vec<_> = (1..4)
        .map(|number| clean.catalog_nodes[number].0.clone())
        .collect();
    dirty.hide_in_journal(&nodes, shape, 0);
    let journal = dirty.journal().expect("a journal");
    let mut second = dirty.image.clone();
    second[journal.start + 512 + 4096 + 8192 + 4096 + 100] ^= 1;
    let found = listing(&second);
    assert!(
        found.findings[0].detail.contains("ends early"),
        "{}",
        found.findings[0]
    );
    let mut first = dirty.image;
    first[journal.start + 512 + 20] ^= 1;
    let found = listing(&first);
    assert!(
        found.findings[0].detail.contains("was not replayed"),
        "{}",
        found.findings[0]
    );
    assert_eq!(found.findings[0].severity, Severity::Loss);
}

/// R22: an index, a chain or a header that is broken costs nothing.
#[test]
fn r22_index_and_header_of_the_catalogue_are_not_needed() {
    let (built, truth) = sample(small_nodes());
    let whole = listing(&built.image);
    let indices: Vec<_> = built
        .catalog_nodes
        .iter()
        .filter(|(_, kind)| *kind == "index")
        .collect();
    assert!(indices.len() >= 2, "several levels");
    let mut cases: Vec<(&str, Vec<u8>)> = Vec::new();
    let mut without_index = built.image.clone();
    for (place, _) in &indices {
        without_index[place.clone()].fill(0);
    }
    cases.push(("index", without_index));
    let mut without_header = built.image.clone();
    without_header[built.catalog_nodes[0].0.clone()].fill(0xa5);
    cases.push(("header", without_header));
    let mut without_chain = built.image.clone();
    for (place, _) in built.catalog_nodes.iter().filter(|(_, kind)| *kind == "leaf") {
        without_chain[place.start..place.start + 8].fill(0);
    }
    cases.push(("chain", without_chain));
    for (case, image) in cases {
        let found = listing(&image);
        assert_eq!(found.contents(&built.image), expected_hashes(&truth), "{case}");
        assert_eq!(found.names.len(), whole.names.len(), "{case}");
        assert!(!complaints(&found).is_empty(), "{case}");
    }
}

/// R22: a leaf that is lost costs what was in it: directories come back by their threads, and files of other leaves stay.
#[test]
fn r22_a_lost_leaf_costs_what_was_in_it() {
    let (built, truth) = sample(small_nodes());
    let leaves: Vec<_> = built
        .catalog_nodes
        .iter()
        .filter(|(_, kind)| *kind == "leaf")
        .collect();
    let records = |place: &std::ops::Range<usize>| {
        usize::from(u16::from_be_bytes([
            built.image[place.start + 10],
            built.image[place.start + 11],
        ]))
    };
    for (place, _) in &leaves {
        let mut image = built.image.clone();
        image[place.clone()].fill(0);
        let found = listing(&image);
        let contents = found.contents(&built.image);
        let hashes = expected_hashes(&truth);
        let lost = hashes
            .iter()
            .filter(|(path, hash)| contents.get(*path) != Some(hash))
            .count();
        assert!(
            lost <= records(place),
            "{lost} lost with {} records",
            records(place)
        );
        let counts = found
            .findings
            .iter()
            .any(|finding| finding.detail.contains("claimed by its header"));
        assert!(counts, "both counts are told");
    }
}

/// R22: half a leaf gives the records of the other half, whichever it is.
#[test]
fn r22_half_a_leaf_is_half_as_bad() {
    let (built, truth) = sample(Shape::default());
    let (place, _) = built
        .catalog_nodes
        .iter()
        .filter(|(_, kind)| *kind == "leaf")
        .nth(2)
        .expect("a leaf");
    for half in [place.start..place.start + 2048, place.start + 2048..place.end] {
        let mut image = built.image.clone();
        image[half].fill(0);
        let found = listing(&image);
        let contents = found.contents(&built.image);
        let lost = truth.keys().filter(|path| !contents.contains_key(*path)).count();
        assert!((1..=9).contains(&lost), "{lost}");
        assert!(
            complaints(&found)
                .iter()
                .any(|detail| detail.contains("records of it were saved"))
        );
    }
}

/// R22: without the extents of the catalogue the volume is searched for its leaves.
#[test]
fn r22_a_catalogue_that_cannot_be_found_is_searched_for() {
    for shape in [
        small_nodes(),
        Shape {
            node_bytes: 8192,
            ..Shape::default()
        },
    ] {
        let (built, truth) = sample(shape);
        let mut image = built.image.clone();
        let end = image.len() - 1024;
        for header in [1024, end] {
            image[header + 272..header + 352].fill(0);
        }
        let found = listing(&image);
        assert_eq!(found.contents(&built.image), expected_hashes(&truth));
        assert!(
            complaints(&found)
                .iter()
                .any(|detail| detail.contains("the whole volume was searched"))
        );
    }
}

#[test]
fn r22_the_copy_of_the_volume_header_serves() {
    let (built, truth) = sample(Shape::default());
    let mut image = built.image.clone();
    image[..4096].fill(0);
    assert!(
        probe(&image)
            .iter()
            .any(|candidate| candidate.evidence.contains("copy"))
    );
    let found = listing(&image);
    assert_eq!(found.contents(&built.image), expected_hashes(&truth));
    assert_eq!(found.findings[0].code, FindingCode::BackupUsed);
}

/// R11: a hole in the catalogue is unread, not corrupt, and costs the sectors in it.
#[test]
fn r11_holes_in_the_catalogue_are_unread() {
    let (built, truth) = sample(Shape::default());
    let (place, _) = built
        .catalog_nodes
        .iter()
        .filter(|(_, kind)| *kind == "leaf")
        .nth(1)
        .expect("a leaf");
    let hole = ntt_model::ByteRange::new(u64::try_from(place.start + 1024).expect("small"), 512);
    let source = Masked::new(built.image.clone(), vec![hole]);
    let volume = open(Family::HfsPlus, Box::new(source), 0).expect("opens");
    let found = Listing::of(&*volume, &ScanOptions::default());
    let unread = found
        .findings
        .iter()
        .find(|finding| finding.code == FindingCode::Unread)
        .expect("told");
    assert_eq!(unread.image_offset, Some(hole.offset));
    let contents = found.contents(&built.image);
    let lost = truth.keys().filter(|path| !contents.contains_key(*path)).count();
    assert!((1..=3).contains(&lost), "{lost}");
}

/// Found by fuzzing: a catalogue that claims billions of nodes beyond the end of the volume was looked through node by node, for half an hour.
#[test]
fn r22_a_catalogue_that_claims_more_than_there_is_ends() {
    let (built, truth) = sample(small_nodes());
    let mut image = built.image.clone();
    let (blocks, catalog) = (1024 + 44, 1024 + 272);
    image[catalog..catalog + 8].copy_from_slice(&(1_u64 << 44).to_be_bytes());
    image[catalog + 12..catalog + 16].copy_from_slice(&0xf800_0000_u32.to_be_bytes());
    // Its second extent: from behind the last block on, as many as can be written.
    let second = catalog + 16 + 8;
    image[second..second + 4].copy_from_slice(&0x00ff_0000_u32.to_be_bytes());
    image[second + 4..second + 8].copy_from_slice(&0xf000_0000_u32.to_be_bytes());
    let found = listing(&image);
    assert_eq!(found.contents(&image), expected_hashes(&truth));
    let left_out = |finding: &ntt_model::Finding| {
        finding.layer == Layer::FileSystem && finding.detail.contains("were left out")
    };
    assert!(found.findings.iter().any(left_out), "{:?}", found.findings);
    image[blocks..blocks + 4].fill(0xff);
    for has_header in [true, false] {
        let mut image = image.clone();
        if !has_header {
            image[built.catalog_nodes[0].0.clone()].fill(0xa5);
        }
        let found = listing(&image);
        assert!(found.findings.len() < 200, "{:?}", found.findings);
        let said =
            |finding: &ntt_model::Finding| finding.detail.contains("lie beyond the end of the volume; 4");
        assert!(found.findings.iter().any(said), "{:?}", found.findings);
        assert_eq!(found.contents(&image), expected_hashes(&truth), "{has_header}");
    }
}
