//! Answers: media, paths, searches, blobs, events.

use ntt_model::{BlobHash, ByteRange, Kind, ScanEvent};

use super::Case;
use super::fixture::{Fixture, ROOT, entering, file, files, flat, named, new_medium, stored};
use crate::query::{FindQuery, Scans, StateFilter};
use crate::rows::{Evidence, Image, PathRow, State};
use crate::{Error, Labels};

pub(super) const CASES: &[Case] = &[
    (
        "r25_paths_are_rebuilt_from_the_tree",
        r25_paths_are_rebuilt_from_the_tree,
    ),
    (
        "r5_labels_of_media_stay_in_the_log",
        r5_labels_of_media_stay_in_the_log,
    ),
    (
        "r2_media_are_recognised_by_evidence",
        r2_media_are_recognised_by_evidence,
    ),
    ("an_image_round_trips", an_image_round_trips),
    (
        "r4_a_medium_comes_with_what_is_known_of_it",
        r4_a_medium_comes_with_what_is_known_of_it,
    ),
    (
        "find_tests_names_facts_and_states",
        find_tests_names_facts_and_states,
    ),
    (
        "find_takes_candidates_from_an_index_as_far_as_it_goes",
        find_takes_candidates_from_an_index_as_far_as_it_goes,
    ),
    ("queries_use_the_latest_scan", queries_use_the_latest_scan),
    (
        "r28_what_a_superseded_scan_lists_is_found_if_asked_for",
        r28_what_a_superseded_scan_lists_is_found_if_asked_for,
    ),
    (
        "r3_a_copy_is_searched_as_its_original",
        r3_a_copy_is_searched_as_its_original,
    ),
    (
        "every_file_system_over_a_volume_is_searched",
        every_file_system_over_a_volume_is_searched,
    ),
    ("verified_blobs_are_recorded", verified_blobs_are_recorded),
    ("what_is_not_there_is_an_error", what_is_not_there_is_an_error),
];

fn tree() -> Vec<ScanEvent> {
    let mut events = vec![
        entering(ROOT, None, b""),
        ScanEvent::Name(named(ROOT, b"a", 3)),
        ScanEvent::Name(named(ROOT, b"top", 10)),
        entering(3, Some(ROOT), b"a"),
        ScanEvent::Name(named(3, b"b", 4)),
        entering(4, Some(3), b"b"),
        ScanEvent::Name(named(4, b"deep", 11)),
        ScanEvent::Name(named(4, b"link", 10)),
        ScanEvent::Name(named(4, b"lost", 99)),
    ];
    for mut directory in [file(3, 0, 0), file(4, 0, 0)] {
        directory.kind = Kind::Directory;
        directory.streams.clear();
        events.push(ScanEvent::Inode(Box::new(directory)));
    }
    events.push(ScanEvent::Inode(Box::new(file(10, 4, 0))));
    events.push(ScanEvent::Inode(Box::new(file(11, 8, 4096))));
    events
}

fn r25_paths_are_rebuilt_from_the_tree(fixture: &Fixture) {
    let scan = fixture.scan(&tree());
    let mut paths = Vec::new();
    fixture
        .catalogue
        .each_path(scan, &mut |path| {
            paths.push(String::from_utf8(path.path.clone()).unwrap());
            Ok(())
        })
        .unwrap();
    assert_eq!(paths, ["a", "top", "a/b", "a/b/deep", "a/b/link", "a/b/lost"]);
    let names: Vec<_> = fixture
        .catalogue
        .paths_of(scan, 10)
        .unwrap()
        .into_iter()
        .map(|row| row.path)
        .collect();
    assert_eq!(names, [b"top".to_vec(), b"a/b/link".to_vec()]);
    let dirs = |path: &[u8]| fixture.catalogue.resolve_dirs(scan, path).unwrap();
    assert_eq!(dirs(b"a/b").first().map(|row| row.inode), Some(4));
    assert_eq!(dirs(b"").first().map(|row| row.inode), Some(ROOT));
    assert!(dirs(b"top").is_empty());
    let lost = fixture.catalogue.resolve_path(scan, b"/a/b/lost").unwrap();
    assert_eq!((lost.len(), lost[0].number, &lost[0].inode), (1, 99, &None));
}

fn r5_labels_of_media_stay_in_the_log(fixture: &Fixture) {
    let medium = fixture.medium(1);
    fixture.catalogue.set_label(medium, "Festplatte blau").unwrap();
    fixture.catalogue.set_label(medium, "blue disk").unwrap();
    assert_eq!(
        fixture.catalogue.medium(medium).unwrap().medium.label,
        "blue disk"
    );
    let events = fixture.catalogue.events(Some(medium)).unwrap();
    let words: Vec<_> = events.iter().map(|event| event.detail.as_str()).collect();
    assert_eq!(words, ["", "Festplatte blau"]);
}

fn r2_media_are_recognised_by_evidence(fixture: &Fixture) {
    let (one, two) = (fixture.medium(1), fixture.medium(2));
    let piece = |value: &str| Evidence {
        kind: "fs-uuid".to_owned(),
        value: value.to_owned(),
        origin: "volume 1".to_owned(),
    };
    fixture
        .catalogue
        .add_evidence(one, &[piece("x"), piece("y"), piece("x")])
        .unwrap();
    fixture.catalogue.add_evidence(two, &[piece("y")]).unwrap();
    assert_eq!(fixture.catalogue.evidence(one).unwrap(), [piece("x"), piece("y")]);
    let shared = fixture
        .catalogue
        .media_with_evidence(&[piece("x"), piece("y"), piece("z")])
        .unwrap();
    assert_eq!(
        shared,
        [(one, vec![piece("x"), piece("y")]), (two, vec![piece("y")])]
    );
}

fn an_image_round_trips(fixture: &Fixture) {
    let medium = fixture.medium(1);
    assert_eq!(fixture.catalogue.image(medium).unwrap(), None);
    let image = Image {
        path: b"/srv/\xff.img".to_vec(),
        imported: false,
        size_bytes: 10,
        modified: None,
        digest: Some(BlobHash::EMPTY),
        mapfile: Some(b"/srv/m".to_vec()),
        unread: vec![ByteRange::new(2, 3), ByteRange::new(7, 1)],
        expected_bytes: u64::MAX,
    };
    fixture.catalogue.set_image(medium, &image).unwrap();
    assert_eq!(fixture.catalogue.image(medium).unwrap(), Some(image));
}

/// R4: a medium comes with the place of its bytes and with what it is known by, or not at all.
fn r4_a_medium_comes_with_what_is_known_of_it(fixture: &Fixture) {
    let image = Image {
        path: b"/srv/disk".to_vec(),
        imported: false,
        size_bytes: 10,
        modified: None,
        digest: None,
        mapfile: None,
        unread: Vec::new(),
        expected_bytes: 10,
    };
    let evidence = [Evidence {
        kind: "size".to_owned(),
        value: "10".to_owned(),
        origin: "image".to_owned(),
    }];
    let catalogue = &fixture.catalogue;
    let key = catalogue
        .add_medium(&new_medium(1), Some(&image), &evidence)
        .unwrap();
    assert_eq!(catalogue.image(key).unwrap(), Some(image.clone()));
    assert_eq!(catalogue.evidence(key).unwrap(), evidence);
    assert!(
        catalogue
            .add_medium(&new_medium(1), Some(&image), &evidence)
            .is_err()
    );
    assert_eq!(catalogue.media().unwrap().len(), 1);
}

fn found(fixture: &Fixture, query: &FindQuery<'_>) -> Vec<String> {
    let mut paths = Vec::new();
    fixture
        .catalogue
        .find(query, &mut |row| {
            paths.push(String::from_utf8(row.path.path.clone()).unwrap());
            Ok(())
        })
        .unwrap();
    paths
}

fn find_tests_names_facts_and_states(fixture: &Fixture) {
    let scan = fixture.scan(&tree());
    let is_deep = |name: &[u8]| name == b"deep";
    let in_a = |path: &[u8]| path.starts_with(b"a/");
    let query = || FindQuery::default();
    assert_eq!(found(fixture, &query()).len(), 6);
    assert_eq!(
        found(
            fixture,
            &FindQuery {
                name: Some(&is_deep),
                ..query()
            }
        ),
        ["a/b/deep"]
    );
    assert_eq!(
        found(
            fixture,
            &FindQuery {
                path: Some(&in_a),
                size_bytes: Some(1..=4),
                ..query()
            }
        ),
        ["a/b/link"]
    );
    assert_eq!(
        found(
            fixture,
            &FindQuery {
                kinds: vec![Kind::Directory],
                ..query()
            }
        ),
        ["a", "a/b"]
    );
    assert_eq!(
        found(
            fixture,
            &FindQuery {
                volume: Some(2),
                ..query()
            }
        ),
        [""; 0]
    );
    let worker = fixture.worker();
    let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    let result = super::fixture::results(&chunk, |inode, _| match inode {
        10 => stored(b"good"),
        _ => ntt_model::Outcome::Failed {
            failure: super::fixture::failure(ntt_model::FailureClass::Corrupt, 0),
        },
    });
    fixture.catalogue.complete_chunks(worker, &[result]).unwrap();
    let stored = FindQuery {
        states: vec![StateFilter::Stored],
        ..query()
    };
    assert_eq!(found(fixture, &stored), ["top", "a/b/link"]);
    let failed = FindQuery {
        states: vec![StateFilter::Failed(None)],
        ..query()
    };
    assert_eq!(found(fixture, &failed), ["a/b/deep"]);
    let stop = fixture.catalogue.find(&query(), &mut |_| Err(Error::Stopped));
    assert!(matches!(stop, Err(Error::Stopped)));
}

/// Knows the ids up to a bound, and counts them off.
struct Halfway {
    ids: Vec<i64>,
    until: i64,
}

impl crate::query::NameIndex for Halfway {
    fn candidates(
        &self,
        _: &crate::query::SearchedScan,
        each: &mut dyn FnMut(&[i64]) -> Result<(), Error>,
    ) -> Result<i64, Error> {
        self.ids.chunks(2).try_for_each(each)?;
        Ok(self.until)
    }
}

fn find_takes_candidates_from_an_index_as_far_as_it_goes(fixture: &Fixture) {
    let scan = fixture.scan(&tree());
    let mut names = Vec::new();
    fixture
        .catalogue
        .each_name(scan, &mut |directory, name| {
            names.push((directory.to_vec(), name.to_vec()));
            Ok(())
        })
        .unwrap();
    let mut paths = Vec::new();
    let mut rows = Vec::new();
    fixture
        .catalogue
        .each_path(scan, &mut |row| {
            paths.push(row.path.clone());
            rows.push(row.id);
            Ok(())
        })
        .unwrap();
    let joined = names.iter().map(|(directory, name)| match directory.is_empty() {
        true => name.clone(),
        false => [directory.as_slice(), b"/", name].concat(),
    });
    assert_eq!(joined.collect::<Vec<_>>(), paths);
    let ids: Vec<i64> = (1..).take(paths.len()).collect();
    assert_eq!(rows, ids);
    let searched = fixture.catalogue.searched_scans(Scans::Current).unwrap();
    assert_eq!(searched.len(), 1);
    assert_eq!((searched[0].scan, searched[0].names), (scan, ids.len() as u64));

    let all = found(fixture, &FindQuery::default());
    let has_e = |name: &[u8]| name.contains(&b'e');
    let with_e = FindQuery {
        name: Some(&has_e),
        ..FindQuery::default()
    };
    let some = found(fixture, &with_e);
    for until in 0..=ids.len() {
        let index = Halfway {
            ids: ids[..until].to_vec(),
            until: ids[..until].len() as i64,
        };
        assert_eq!(
            found(
                fixture,
                &FindQuery {
                    index: Some(&index),
                    ..FindQuery::default()
                }
            ),
            all
        );
        assert_eq!(
            found(
                fixture,
                &FindQuery {
                    index: Some(&index),
                    name: Some(&has_e),
                    ..FindQuery::default()
                }
            ),
            some
        );
    }
    let last = Halfway {
        ids: vec![ids.len() as i64],
        until: ids.len() as i64,
    };
    let found = found(
        fixture,
        &FindQuery {
            index: Some(&last),
            alternates: true,
            deleted: true,
            ..FindQuery::default()
        },
    );
    assert_eq!(
        found.as_slice(),
        [String::from_utf8(paths[paths.len() - 1].clone()).unwrap()]
    );
}

fn queries_use_the_latest_scan(fixture: &Fixture) {
    let volume = fixture.volume(fixture.medium(1), 1);
    fixture.load(volume, &flat(&files(3, 1)), &Labels::NONE, None);
    fixture.load(volume, &flat(&files(1, 1)), &Labels::NONE, None);
    assert_eq!(found(fixture, &FindQuery::default()), ["f0"]);
}

/// R28: a second scan takes nothing away. A copy (R3) and a scan by another reader do not change which scans are superseded.
fn r28_what_a_superseded_scan_lists_is_found_if_asked_for(fixture: &Fixture) {
    let catalogue = &fixture.catalogue;
    let (first, second) = (fixture.medium(1), fixture.medium(2));
    let volume = fixture.volume(first, 1);
    let (old, _) = fixture.load(volume, &flat(&files(2, 1)), &Labels::NONE, None);
    let worker = fixture.worker();
    let chunk = catalogue.claim_chunk(old, worker).unwrap().unwrap();
    let result = super::fixture::results(&chunk, |inode, _| stored(&inode.to_le_bytes()));
    catalogue.complete_chunks(worker, &[result]).unwrap();
    let (new, _) = fixture.load(volume, &flat(&files(1, 1)), &Labels::NONE, Some(old));
    let other = fixture.scan_by("hfs", volume, &flat(&files(1, 1)));
    fixture.copy_of(volume, second, 4);

    let searched = |scans| {
        let searched = catalogue.searched_scans(scans).unwrap().into_iter();
        let told = searched.map(|one| (one.medium, one.volume_number, one.scan, one.superseded));
        told.collect::<Vec<_>>()
    };
    let of = |medium, number, all: &[(_, bool)]| {
        let told = all
            .iter()
            .map(|(scan, superseded)| (medium, number, *scan, *superseded));
        told.collect::<Vec<_>>()
    };
    let current = [(new, false), (other, false)];
    let all = [(old, true), (new, false), (other, false)];
    assert_eq!(
        searched(Scans::Current),
        [of(first, 1, &current), of(second, 4, &current)].concat()
    );
    assert_eq!(
        searched(Scans::All),
        [of(first, 1, &all), of(second, 4, &all)].concat()
    );

    let is_gone = |name: &[u8]| name == b"f1";
    let mut query = FindQuery {
        name: Some(&is_gone),
        media: vec![first],
        ..FindQuery::default()
    };
    assert_eq!(found(fixture, &query), [""; 0]);
    query.scans = Scans::All;
    assert_eq!(found(fixture, &query), ["f1"]);

    let places = |scans| {
        let mut places = Vec::new();
        let gone = BlobHash::of(&11_u64.to_le_bytes());
        catalogue
            .occurrences(&gone, scans, &mut |row| {
                places.push((row.medium, row.scan, row.path.path.clone()));
                Ok(())
            })
            .unwrap();
        places
    };
    assert_eq!(places(Scans::Current), []);
    let gone = |medium| (medium, old, b"f1".to_vec());
    assert_eq!(places(Scans::All), [gone(first), gone(second)]);
}

fn every_file_system_over_a_volume_is_searched(fixture: &Fixture) {
    let volume = fixture.volume(fixture.medium(1), 1);
    fixture.load(volume, &flat(&files(2, 1)), &Labels::NONE, None);
    fixture.scan_by("hfs", volume, &flat(&files(1, 1)));
    assert_eq!(found(fixture, &FindQuery::default()), ["f0", "f1", "f0"]);
    let searched = fixture.catalogue.searched_scans(Scans::Current).unwrap();
    let readers: Vec<&str> = searched.iter().map(|scan| scan.reader.as_str()).collect();
    assert_eq!(readers, ["ext", "hfs"]);
}

/// R3: a volume that is a copy holds every path of the scan that was made of the original.
fn r3_a_copy_is_searched_as_its_original(fixture: &Fixture) {
    let (first, second) = (fixture.medium(1), fixture.medium(2));
    let original = fixture.volume(first, 1);
    let (scan, _) = fixture.load(original, &flat(&files(3, 1)), &Labels::NONE, None);
    fixture.copy_of(original, second, 4);
    let worker = fixture.worker();
    let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    fixture.complete(worker, &chunk, &stored(b"s"));
    let places = [(first, 1), (second, 4)];

    let searched = fixture.catalogue.searched_scans(Scans::Current).unwrap();
    let told: Vec<_> = searched
        .iter()
        .map(|one| (one.medium, one.volume_number))
        .collect();
    assert_eq!(told, places);
    assert!(searched.iter().all(|one| one.scan == scan));
    let (mut rows, catalogue) = (Vec::new(), &fixture.catalogue);
    let place =
        |medium, volume, path: &PathRow| (medium, volume, String::from_utf8(path.path.clone()).unwrap());
    catalogue
        .find(&FindQuery::default(), &mut |row| {
            rows.push(place(row.medium, row.volume_number, &row.path));
            Ok(())
        })
        .unwrap();
    catalogue
        .occurrences(&BlobHash::of(b"s"), Scans::Current, &mut |row| {
            rows.push(place(row.medium, row.volume_number, &row.path));
            Ok(())
        })
        .unwrap();
    let names = ["f0", "f1", "f2"];
    let each = places.map(|(medium, volume)| names.map(|name| (medium, volume, name.to_owned())));
    assert_eq!(rows, [each.concat(), each.concat()].concat());
    let of_copy = FindQuery {
        media: vec![second],
        volume: Some(4),
        ..FindQuery::default()
    };
    assert_eq!(found(fixture, &of_copy), names);
}

fn verified_blobs_are_recorded(fixture: &Fixture) {
    let scan = fixture.scan(&flat(&files(1, 4)));
    let worker = fixture.worker();
    let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    fixture.complete(worker, &chunk, &stored(b"good"));
    let blob = BlobHash::of(b"good");
    fixture.catalogue.record_verified(&[(blob, true)]).unwrap();
    let volume = fixture.volume(fixture.medium(2), 1);
    let (none, _) = fixture.load(volume, &flat(&files(1, 4)), &Labels::NONE, None);
    for matched in [false, true, false] {
        fixture.catalogue.record_verified(&[(blob, matched)]).unwrap();
        let row = fixture.catalogue.blob(&blob).unwrap().unwrap();
        assert!(row.bad != matched && row.verified.is_some());
        let bad = |scan| fixture.catalogue.bad_blobs(scan).unwrap();
        assert_eq!(bad(None), if matched { vec![] } else { vec![blob] });
        assert_eq!(bad(Some(scan)), bad(None));
        assert_eq!(bad(Some(none)), []);
        let (state, filter) = match matched {
            true => (State::Stored { blob }, StateFilter::Stored),
            false => (State::Corrupt { blob }, StateFilter::Corrupt),
        };
        assert_eq!(fixture.state(scan, 10), state);
        for asked in [StateFilter::Stored, StateFilter::Corrupt] {
            let query = FindQuery {
                states: vec![asked],
                ..FindQuery::default()
            };
            let expected = if asked == filter { &["f0"][..] } else { &[] };
            assert_eq!(found(fixture, &query), expected, "{asked:?}");
        }
        assert_eq!(fixture.catalogue.census(scan).unwrap().stored.count, 1);
    }
    assert!(
        fixture
            .catalogue
            .record_verified(&[(BlobHash::EMPTY, true)])
            .is_err()
    );
    let mut blobs = Vec::new();
    fixture
        .catalogue
        .each_blob(Some(scan), &mut |row| {
            blobs.push(row.hash);
            Ok(())
        })
        .unwrap();
    assert_eq!(blobs, [blob]);
}

fn what_is_not_there_is_an_error(fixture: &Fixture) {
    let scan = ntt_model::ScanId(77);
    let medium = ntt_model::MediumKey(77);
    assert!(matches!(
        fixture.catalogue.medium(medium),
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        fixture.catalogue.evidence(medium),
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        fixture.catalogue.children(scan, ROOT, 0),
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        fixture.catalogue.progress(scan),
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        fixture.catalogue.claim_chunk(scan, fixture.worker()),
        Err(Error::NotFound { .. })
    ));
}
