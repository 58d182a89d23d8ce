//! Media that are withdrawn, and reinstated.

use ntt_model::{BlobHash, MediumKey, ScanId};

use super::Case;
use super::fixture::{Fixture, files, flat, stored};
use crate::Labels;
use crate::query::{FindQuery, Scans};
use crate::rows::EventRow;

pub(super) const CASES: &[Case] = &[
    (
        "r5_the_log_says_whether_a_medium_is_withdrawn",
        the_log_says_whether_a_medium_is_withdrawn,
    ),
    (
        "r37_a_withdrawn_medium_does_not_count",
        a_withdrawn_medium_does_not_count,
    ),
    (
        "r3_a_copy_stands_though_its_original_is_withdrawn",
        a_copy_stands_though_its_original_is_withdrawn,
    ),
];

fn withdraw(fixture: &Fixture, medium: MediumKey, reason: &str) {
    let event = EventRow::of_withdrawal(medium, reason.to_owned());
    fixture.catalogue.add_event(&event).unwrap();
}

fn reinstate(fixture: &Fixture, medium: MediumKey) {
    let event = EventRow::of_reinstatement(medium);
    fixture.catalogue.add_event(&event).unwrap();
}

/// R5: every reason is kept, and the last word holds, whatever else the log tells.
fn the_log_says_whether_a_medium_is_withdrawn(fixture: &Fixture) {
    let catalogue = &fixture.catalogue;
    let (first, second) = (fixture.medium(1), fixture.medium(2));
    let reason = |medium| {
        let row = catalogue.medium(medium).unwrap();
        let listed = catalogue.media().unwrap();
        assert!(listed.contains(&row), "one and all say the same");
        row.withdrawn.map(|one| one.reason)
    };
    assert_eq!(reason(first), None);
    withdraw(fixture, first, "the wrong folder");
    catalogue.set_label(first, "words").unwrap();
    assert_eq!(reason(first).as_deref(), Some("the wrong folder"));
    assert_eq!(reason(second), None);
    withdraw(fixture, first, "a test");
    assert_eq!(reason(first).as_deref(), Some("a test"));
    reinstate(fixture, first);
    assert_eq!(reason(first), None);
    let log = catalogue.events(Some(first)).unwrap();
    let told = |event: &EventRow| (event.stage.clone(), event.detail.clone());
    let words = [
        ("withdraw", "the wrong folder"),
        ("label", ""),
        ("withdraw", "a test"),
        ("reinstate", ""),
    ];
    let words = words.map(|(stage, detail)| (stage.to_owned(), detail.to_owned()));
    assert_eq!(log.iter().map(told).collect::<Vec<_>>(), words);
    withdraw(fixture, first, "");
    let since = catalogue.medium(first).unwrap().withdrawn.map(|one| one.at);
    assert_eq!(since, catalogue.events(Some(first)).unwrap()[4].at);
}

/// Where a content of that name stands, on media that count and on those that do not.
fn places(fixture: &Fixture, content: &[u8]) -> [Vec<MediumKey>; 2] {
    let [mut standing, mut withdrawn] = [Vec::new(), Vec::new()];
    let hash = BlobHash::of(content);
    fixture
        .catalogue
        .occurrences(&hash, Scans::Current, &mut |row| {
            let media = if row.withdrawn {
                &mut withdrawn
            } else {
                &mut standing
            };
            media.push(row.medium);
            Ok(())
        })
        .unwrap();
    [standing, withdrawn]
}

fn found(fixture: &Fixture, media: &[MediumKey]) -> Vec<MediumKey> {
    let query = FindQuery {
        media: media.to_vec(),
        ..FindQuery::default()
    };
    let mut found = Vec::new();
    fixture
        .catalogue
        .find(&query, &mut |row| {
            found.push(row.medium);
            Ok(())
        })
        .unwrap();
    found
}

/// A medium with one file of which the content is stored.
fn copied(fixture: &Fixture, id: u8, content: &[u8]) -> (MediumKey, ScanId) {
    let medium = fixture.medium(id);
    let volume = fixture.volume(medium, 1);
    let (scan, _) = fixture.load(volume, &flat(&files(1, 4)), &Labels::NONE, None);
    let worker = fixture.worker();
    let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    assert!(fixture.complete(worker, &chunk, &stored(content)));
    (medium, scan)
}

/// R37: what stands on a withdrawn medium only stands nowhere, and stays known; whoever names the medium is answered as before.
fn a_withdrawn_medium_does_not_count(fixture: &Fixture) {
    let ((first, scan), (second, _)) = (copied(fixture, 1, b"same"), copied(fixture, 2, b"same"));
    withdraw(fixture, second, "a test");
    assert_eq!(places(fixture, b"same"), [vec![first], vec![second]]);
    assert_eq!(found(fixture, &[]), [first]);
    assert_eq!(found(fixture, &[second]), [second]);
    withdraw(fixture, first, "another");
    assert_eq!(places(fixture, b"same"), [vec![], vec![first, second]]);
    assert_eq!(found(fixture, &[]), []);
    assert_eq!(fixture.catalogue.blob_count().unwrap(), 1);
    let searched = fixture.catalogue.searched_scans(Scans::Current).unwrap();
    assert_eq!(searched.len(), 2, "the search index keeps its scans");
    assert!(searched.iter().all(|scan| scan.withdrawn));
    fixture.assert_consistent(scan);
    reinstate(fixture, second);
    assert_eq!(places(fixture, b"same"), [vec![second], vec![first]]);
    assert_eq!(found(fixture, &[]), [second]);
}

/// R3: the bytes of a copy are on its own medium, whatever became of the one that was scanned for both.
fn a_copy_stands_though_its_original_is_withdrawn(fixture: &Fixture) {
    let (first, _) = copied(fixture, 1, b"same");
    let second = fixture.medium(2);
    let original = fixture.catalogue.volumes(first).unwrap()[0].key;
    fixture.copy_of(original, second, 4);
    withdraw(fixture, first, "a test");
    assert_eq!(places(fixture, b"same"), [vec![second], vec![first]]);
    assert_eq!(found(fixture, &[]), [second]);
    reinstate(fixture, first);
    withdraw(fixture, second, "a test");
    assert_eq!(places(fixture, b"same"), [vec![first], vec![second]]);
    assert_eq!(found(fixture, &[]), [first]);
}
