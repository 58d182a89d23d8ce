//! Copying: results, failures, labels and what they do to the queue.

use std::time::Duration;

use ntt_host::Clock;
use ntt_model::entry::{Allocation, StreamKind};
use ntt_model::{BlobHash, ByteRange, FailureClass, Outcome, ScanEvent, ScanId, Timestamp};

use super::Case;
use super::fixture::{Fixture, ROOT, entering, failure, file, files, flat, named, results, stored};
use crate::rows::{BlobRow, PathRow, State};
use crate::{Error, Labels};

pub(super) const CASES: &[Case] = &[
    ("chunks_follow_the_image", chunks_follow_the_image),
    ("r24_one_content_at_70_000_paths", one_content_at_70_000_paths),
    (
        "r26_labels_are_reversible_and_keep_results",
        r26_labels_are_reversible_and_keep_results,
    ),
    (
        "r26_an_alternate_name_does_not_keep_an_excluded_file",
        an_alternate_does_not_keep_an_excluded_file,
    ),
    (
        "r33_without_an_eligible_path_nothing_is_claimable",
        r33_without_an_eligible_path_nothing_is_claimable,
    ),
    (
        "r33_failures_are_retried_and_settle",
        r33_failures_are_retried_and_settle,
    ),
    ("r33_reopened_failures_return", r33_reopened_failures_return),
    (
        "r33_a_person_does_not_wait_for_a_pause",
        r33_a_person_does_not_wait_for_a_pause,
    ),
    (
        "r37_streams_of_lost_contents_return",
        r37_streams_of_lost_contents_return,
    ),
    (
        "damage_settles_and_keeps_its_ranges",
        damage_settles_and_keeps_its_ranges,
    ),
    (
        "missing_results_return_to_the_queue",
        missing_results_return_to_the_queue,
    ),
    (
        "results_nobody_asked_for_are_refused",
        results_nobody_asked_for_are_refused,
    ),
    (
        "unchanged_results_are_carried_over",
        unchanged_results_are_carried_over,
    ),
    (
        "r11_what_is_found_in_another_place_is_read_again",
        r11_what_is_found_in_another_place_is_read_again,
    ),
    (
        "digests_that_begin_alike_are_several_contents",
        digests_that_begin_alike_are_several_contents,
    ),
    (
        "all_streams_of_an_inode_are_wanted",
        all_streams_of_an_inode_are_wanted,
    ),
];

fn chunks_follow_the_image(fixture: &Fixture) {
    let mut inodes: Vec<_> = (0..600)
        .map(|index| file(10 + index, 1, 4096 * (1000 - index)))
        .collect();
    inodes.push(file(5000, 1 << 30, 0));
    let scan = fixture.scan(&flat(&inodes));
    let worker = fixture.worker();
    let mut sizes = Vec::new();
    let mut last = None;
    while let Some(chunk) = fixture.catalogue.claim_chunk(scan, worker).unwrap() {
        sizes.push(chunk.items.len());
        for item in &chunk.items {
            let position = item.streams[0]
                .stream
                .extents
                .first()
                .map(|extent| extent.image_offset);
            assert!(position >= last);
            last = position;
        }
    }
    assert_eq!(sizes, [1, 512, 88]);
}

fn one_content_at_70_000_paths(fixture: &Fixture) {
    let mut events = flat(&files(69_000, 4));
    events.extend([entering(3, Some(ROOT), b"links")]);
    events.extend((0..1000).map(|index| ScanEvent::Name(named(3, format!("l{index}").as_bytes(), 10))));
    let scan = fixture.scan(&events);
    let worker = fixture.worker();
    while let Some(chunk) = fixture.catalogue.claim_chunk(scan, worker).unwrap() {
        assert!(fixture.complete(worker, &chunk, &stored(b"same")));
    }
    let mut places = 0;
    fixture
        .catalogue
        .occurrences(&BlobHash::of(b"same"), crate::query::Scans::Current, &mut |_| {
            places += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(places, 70_000);
    assert_eq!(fixture.catalogue.blob_count().unwrap(), 1);
    assert_eq!(fixture.catalogue.census(scan).unwrap().distinct_blobs.count, 1);
    fixture.assert_consistent(scan);
}

fn exclude(rules: &[String], test: impl Fn(&PathRow) -> bool, work: impl FnOnce(&Labels<'_>)) {
    let rule_of = |path: &PathRow| test(path).then_some(0);
    work(&Labels {
        rules,
        rule_of: &rule_of,
    });
}

fn r26_labels_are_reversible_and_keep_results(fixture: &Fixture) {
    let scan = fixture.scan(&flat(&files(4, 4)));
    let worker = fixture.worker();
    let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    let mut result = results(&chunk, |_, _| stored(b"good"));
    result.streams.truncate(1);
    fixture.catalogue.complete_chunks(worker, &[result]).unwrap();
    let rules = ["junk".to_owned()];
    exclude(
        &rules,
        |path| path.path != b"f3",
        |labels| {
            let report = fixture.catalogue.relabel(scan, labels).unwrap();
            assert_eq!(
                (
                    report.excluded_paths,
                    report.withdrawn_streams,
                    report.reopened_streams
                ),
                (3, 2, 0)
            );
        },
    );
    fixture.assert_consistent(scan);
    assert!(matches!(fixture.state(scan, 10), State::Stored { .. }));
    assert_eq!(
        fixture.state(scan, 11),
        State::Excluded {
            rule: "junk".to_owned()
        }
    );
    assert_eq!(fixture.state(scan, 13), State::Pending);
    let report = fixture.catalogue.relabel(scan, &Labels::NONE).unwrap();
    assert_eq!(
        (
            report.excluded_paths,
            report.withdrawn_streams,
            report.reopened_streams
        ),
        (0, 0, 2)
    );
    assert_eq!(fixture.state(scan, 11), State::Pending);
    fixture.assert_consistent(scan);
}

fn an_alternate_does_not_keep_an_excluded_file(fixture: &Fixture) {
    let mut short = named(ROOT, b"BACKUP~1.TMP", 10);
    short.alternate = true;
    let events = [
        entering(ROOT, None, b""),
        ScanEvent::Name(named(ROOT, b"backup copy.tmp", 10)),
        ScanEvent::Name(short),
        ScanEvent::Inode(Box::new(file(10, 1, 0))),
    ];
    let volume = fixture.volume(fixture.medium(1), 1);
    let rules = ["tmp".to_owned()];
    exclude(
        &rules,
        |path| path.path.ends_with(b".tmp"),
        |labels| {
            let (scan, report) = fixture.load(volume, &events, labels, None);
            assert_eq!((report.excluded_paths, report.pending_streams), (2, 0));
            assert!(matches!(fixture.state(scan, 10), State::Excluded { .. }));
        },
    );
}

fn r33_without_an_eligible_path_nothing_is_claimable(fixture: &Fixture) {
    let mut gone = named(ROOT, b"gone", 11);
    gone.allocation = Allocation::Deleted;
    let mut erased = file(12, 1, 0);
    erased.allocation = Allocation::Deleted;
    let events = [
        entering(ROOT, None, b""),
        ScanEvent::Name(named(ROOT, b"junk", 10)),
        ScanEvent::Name(gone),
        ScanEvent::Name(named(ROOT, b"erased", 12)),
        ScanEvent::Inode(Box::new(file(10, 1, 0))),
        ScanEvent::Inode(Box::new(file(11, 1, 0))),
        ScanEvent::Inode(Box::new(erased)),
        ScanEvent::Inode(Box::new(file(13, 1, 0))),
    ];
    let volume = fixture.volume(fixture.medium(1), 1);
    let rules = ["junk".to_owned()];
    exclude(
        &rules,
        |path| path.path == b"junk",
        |labels| {
            let (scan, report) = fixture.load(volume, &events, labels, None);
            assert_eq!((report.pending_streams, report.chunks), (0, 0));
            assert_eq!(
                fixture.catalogue.claim_chunk(scan, fixture.worker()).unwrap(),
                None
            );
            fixture.assert_consistent(scan);
        },
    );
}

fn r33_failures_are_retried_and_settle(fixture: &Fixture) {
    let scan = fixture.scan(&flat(&files(3, 4)));
    let worker = fixture.worker();
    let outcome = |inode: u64| match inode {
        10 => stored(b"good"),
        11 => Outcome::Failed {
            failure: failure(FailureClass::Io, 5),
        },
        _ => Outcome::Failed {
            failure: failure(FailureClass::Corrupt, 1),
        },
    };
    for pause in [1, 2] {
        let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
        let result = results(&chunk, |inode, _| outcome(inode));
        fixture.catalogue.complete_chunks(worker, &[result]).unwrap();
        assert!(matches!(fixture.state(scan, 11), State::Retryable { .. }));
        fixture.assert_consistent(scan);
        fixture.clock.advance(pause - 1);
        assert_eq!(fixture.catalogue.claim_chunk(scan, worker).unwrap(), None);
        let progress = fixture.catalogue.progress(scan).unwrap();
        assert_eq!(progress.waiting_chunks, 1);
        // By the catalogue's own clock, which is far from that of this host.
        let soon = Timestamp::from_nanos(fixture.clock.now().as_nanos() + 1_000_000_000);
        assert_eq!(progress.next_retry, Some(soon));
        assert_eq!(progress.until_retry, Some(Duration::from_secs(1)));
        fixture.clock.advance(1);
    }
    let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    assert_eq!(chunk.items.len(), 1);
    fixture.complete(worker, &chunk, &outcome(11));
    assert!(matches!(
        fixture.state(scan, 11),
        State::Failed { attempts: 3, .. }
    ));
    assert!(matches!(
        fixture.state(scan, 12),
        State::Failed { attempts: 1, .. }
    ));
    let progress = fixture.catalogue.progress(scan).unwrap();
    assert_eq!((progress.pending_streams, progress.done_streams), (0, 3));
    assert_eq!((progress.next_retry, progress.until_retry), (None, None));
    fixture.assert_consistent(scan);
}

fn r33_reopened_failures_return(fixture: &Fixture) {
    let scan = fixture.scan(&flat(&files(2, 4)));
    let worker = fixture.worker();
    let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    let classes = [FailureClass::Corrupt, FailureClass::Short];
    let result = results(&chunk, |inode, _| Outcome::Failed {
        failure: failure(classes[usize::try_from(inode - 10).unwrap()], 0),
    });
    fixture.catalogue.complete_chunks(worker, &[result]).unwrap();
    assert_eq!(
        fixture.catalogue.reopen(scan, Some(FailureClass::Short)).unwrap(),
        1
    );
    assert_eq!(fixture.state(scan, 11), State::Pending);
    assert_eq!(fixture.catalogue.reopen(scan, None).unwrap(), 1);
    fixture.assert_consistent(scan);
    let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    fixture.complete(
        worker,
        &chunk,
        &Outcome::Failed {
            failure: failure(FailureClass::Short, 0),
        },
    );
    assert!(matches!(
        fixture.state(scan, 11),
        State::Failed { attempts: 2, .. }
    ));
}

/// Streams of two classes wait in one chunk; the class asked for is due now, and is in the queue once.
fn r33_a_person_does_not_wait_for_a_pause(fixture: &Fixture) {
    let scan = fixture.scan(&flat(&files(2, 4)));
    let worker = fixture.worker();
    let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    let classes = [FailureClass::Permission, FailureClass::Io];
    let result = results(&chunk, |inode, _| Outcome::Failed {
        failure: failure(classes[usize::try_from(inode - 10).unwrap()], 5),
    });
    fixture.catalogue.complete_chunks(worker, &[result]).unwrap();
    assert!(fixture.catalogue.claim_chunk(scan, worker).unwrap().is_none());
    let mut counts = fixture.catalogue.reopenable(scan).unwrap();
    counts.sort_unstable_by_key(|(class, _)| class.as_str());
    assert_eq!(counts, [(FailureClass::Io, 1), (FailureClass::Permission, 1)]);

    let class = Some(FailureClass::Permission);
    assert_eq!(fixture.catalogue.reopen(scan, class).unwrap(), 1);
    assert_eq!(fixture.state(scan, 10), State::Pending);
    assert!(matches!(fixture.state(scan, 11), State::Retryable { .. }));
    assert_eq!(fixture.catalogue.progress(scan).unwrap().pending_streams, 2);
    fixture.assert_consistent(scan);
    let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    assert_eq!(chunk.items.len(), 1);
    // What a worker holds is not queued a second time.
    assert_eq!(fixture.catalogue.reopen(scan, class).unwrap(), 0);
    assert!(fixture.complete(worker, &chunk, &stored(b"text")));
    assert_eq!(
        fixture.catalogue.reopenable(scan).unwrap(),
        [(FailureClass::Io, 1)]
    );
    fixture.assert_consistent(scan);
}

fn r37_streams_of_lost_contents_return(fixture: &Fixture) {
    let scan = fixture.scan(&flat(&files(3, 4)));
    let worker = fixture.worker();
    let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    let result = results(&chunk, |inode, _| match inode {
        12 => stored(b"kept"),
        _ => stored(b"lost"),
    });
    fixture.catalogue.complete_chunks(worker, &[result]).unwrap();
    let lost = BlobHash::of(b"lost");
    fixture.catalogue.record_verified(&[(lost, true)]).unwrap();

    assert_eq!(fixture.catalogue.reopen_missing(scan, &[lost]).unwrap(), 2);
    assert_eq!(fixture.state(scan, 10), State::Pending);
    assert!(matches!(fixture.state(scan, 12), State::Stored { .. }));
    let blob = fixture.catalogue.blob(&lost).unwrap().unwrap();
    assert_eq!(
        (blob.verified, blob.bad),
        (None, true),
        "the row stays as the memory of the loss"
    );
    fixture.assert_consistent(scan);
    assert_eq!(fixture.catalogue.reopen_missing(scan, &[lost]).unwrap(), 0);

    let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    assert_eq!(chunk.items.len(), 2);
    assert!(fixture.complete(worker, &chunk, &stored(b"lost")));
    assert_eq!(fixture.state(scan, 10), State::Corrupt { blob: lost });
    fixture.catalogue.record_verified(&[(lost, true)]).unwrap();
    assert_eq!(fixture.state(scan, 10), State::Stored { blob: lost });
    fixture.assert_consistent(scan);
}

fn damage_settles_and_keeps_its_ranges(fixture: &Fixture) {
    let scan = fixture.scan(&flat(&files(1, 4)));
    let worker = fixture.worker();
    let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    let missing = vec![ByteRange::new(1, 2)];
    let damaged = Outcome::Damaged {
        blob: BlobHash::of(b"a\0\0d"),
        size: 4,
        missing: missing.clone(),
        failure: failure(FailureClass::Unread, 0),
    };
    fixture.complete(worker, &chunk, &damaged);
    let wanted = State::Damaged {
        blob: BlobHash::of(b"a\0\0d"),
        missing,
        failure: failure(FailureClass::Unread, 0),
    };
    assert_eq!(fixture.state(scan, 10), wanted);
    // What was read once is not lost when a second look fails.
    assert_eq!(
        fixture
            .catalogue
            .reopen(scan, Some(FailureClass::Unread))
            .unwrap(),
        1
    );
    let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    fixture.complete(
        worker,
        &chunk,
        &Outcome::Failed {
            failure: failure(FailureClass::Unread, 0),
        },
    );
    assert_eq!(fixture.state(scan, 10), wanted);
    fixture.assert_consistent(scan);
}

fn missing_results_return_to_the_queue(fixture: &Fixture) {
    let scan = fixture.scan(&flat(&files(5, 4)));
    let worker = fixture.worker();
    let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    let mut result = results(&chunk, |_, _| stored(b"good"));
    result.streams.truncate(2);
    fixture.catalogue.complete_chunks(worker, &[result]).unwrap();
    fixture.assert_consistent(scan);
    let rest = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    assert_eq!(rest.items.len(), 3);
}

fn results_nobody_asked_for_are_refused(fixture: &Fixture) {
    let scan = fixture.scan(&flat(&files(2, 4)));
    let worker = fixture.worker();
    let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    let mut result = results(&chunk, |_, _| stored(b"good"));
    result.streams[1].inode = 10;
    let refused = fixture.catalogue.complete_chunks(worker, &[result]);
    assert!(matches!(refused, Err(Error::Conflict(_))));
    assert_eq!(
        fixture.catalogue.blob_count().unwrap(),
        0,
        "nothing of the transaction was kept"
    );
    assert_eq!(fixture.state(scan, 10), State::Pending);
}

fn unchanged_results_are_carried_over(fixture: &Fixture) {
    let first = fixture.scan(&flat(&files(4, 4)));
    let worker = fixture.worker();
    let chunk = fixture.catalogue.claim_chunk(first, worker).unwrap().unwrap();
    assert!(fixture.complete(worker, &chunk, &stored(b"good")));
    let mut changed = files(4, 4);
    changed[1].streams[0].size_bytes = 5;
    changed[2].times.changed = None;
    let medium = fixture.catalogue.media().unwrap()[0].key;
    let volume = fixture.catalogue.volumes(medium).unwrap()[0].key;
    let (second, report) = fixture.load(volume, &flat(&changed), &Labels::NONE, Some(first));
    assert_eq!((report.carried_streams, report.pending_streams), (2, 2));
    assert!(matches!(fixture.state(second, 10), State::Stored { .. }));
    assert_eq!(fixture.state(second, 12), State::Pending);
    fixture.assert_consistent(second);

    let good = (BlobHash::of(b"good"), false);
    fixture.catalogue.record_verified(&[good]).unwrap();
    let (third, report) = fixture.load(volume, &flat(&changed), &Labels::NONE, Some(second));
    assert_eq!((report.carried_streams, report.pending_streams), (0, 4));
    assert_eq!(fixture.state(third, 10), State::Pending, "damaged: read again");
    fixture.assert_consistent(third);
}

/// R11: a scan that finds a file's bytes in another place has them read from there; which of two copies is right may have been taken wrongly before.
fn r11_what_is_found_in_another_place_is_read_again(fixture: &Fixture) {
    let mut before = files(3, 4);
    let mut attribute = before[0].streams[0].clone();
    attribute.kind = StreamKind::Xattr(b"user.test".to_vec());
    before[2].streams.push(attribute);
    let first = fixture.scan(&flat(&before));
    let worker = fixture.worker();
    while let Some(chunk) = fixture.catalogue.claim_chunk(first, worker).unwrap() {
        assert!(fixture.complete(worker, &chunk, &stored(b"good")));
    }
    let mut now = before.clone();
    now[1].streams[0].extents[0].image_offset += 1 << 20;
    now[2].streams[1].extents[0].image_offset += 1 << 20;
    let medium = fixture.catalogue.media().unwrap()[0].key;
    let volume = fixture.catalogue.volumes(medium).unwrap()[0].key;
    let (second, report) = fixture.load(volume, &flat(&now), &Labels::NONE, Some(first));
    assert_eq!((report.carried_streams, report.pending_streams), (2, 2));
    assert!(matches!(fixture.state(second, 10), State::Stored { .. }));
    assert_eq!(fixture.state(second, 11), State::Pending);
    assert!(
        matches!(fixture.state(second, 12), State::Stored { .. }),
        "its data lies where it lay"
    );
    assert!(
        matches!(fixture.state(first, 11), State::Stored { .. }),
        "the earlier scan keeps it"
    );
    fixture.assert_consistent(second);
}

/// An index may know the beginning of a digest only; whoever wants to can make contents whose digests begin alike.
fn digests_that_begin_alike_are_several_contents(fixture: &Fixture) {
    let alike = |eighth: u8, last: u8| {
        let mut bytes = [last; 32];
        bytes[..8].copy_from_slice(&[7, 7, 7, 7, 7, 7, 7, eighth]);
        BlobHash::from_bytes(bytes)
    };
    let (last, next, first, middle) = (alike(2, 9), alike(4, 0), alike(2, 0), alike(2, 5));
    let rounds = [vec![last, next], vec![first, middle, last], vec![first, next]];
    let worker = fixture.worker();
    let medium = fixture.medium(1);
    let copy = |(volume, hashes): (u32, &Vec<BlobHash>)| {
        let events = flat(&files(u64::try_from(hashes.len()).unwrap(), 4));
        let scan = fixture.scan_by("test", fixture.volume(medium, volume), &events);
        let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
        let mut left = hashes.iter();
        let result = results(&chunk, |_, _| Outcome::Stored {
            blob: *left.next().unwrap(),
            size: 4,
        });
        assert!(
            fixture
                .catalogue
                .complete_chunks(worker, &[result])
                .unwrap()
                .is_empty()
        );
        scan
    };
    let scans: Vec<ScanId> = (1..).zip(&rounds).map(copy).collect();

    for (scan, hashes) in scans.iter().zip(&rounds) {
        for (inode, hash) in (10..).zip(hashes) {
            assert_eq!(fixture.state(*scan, inode), State::Stored { blob: *hash });
        }
        fixture.assert_consistent(*scan);
    }
    let mut each = Vec::new();
    let mut keep = |blob: &BlobRow| {
        each.push(blob.hash);
        Ok(())
    };
    fixture.catalogue.each_blob(None, &mut keep).unwrap();
    assert_eq!(each, [first, middle, last, next], "ascending");
    fixture.catalogue.record_verified(&[(middle, false)]).unwrap();
    for hash in each {
        let blob = fixture.catalogue.blob(&hash).unwrap().unwrap();
        assert_eq!((blob.hash, blob.bad), (hash, hash == middle));
    }
    assert_eq!(fixture.catalogue.bad_blobs(None).unwrap(), [middle]);
    assert_eq!(fixture.catalogue.reopen_missing(scans[1], &[first]).unwrap(), 1);
    assert_eq!(fixture.state(scans[1], 10), State::Pending);
    assert_eq!(fixture.catalogue.blob(&alike(2, 1)).unwrap(), None);
}

fn all_streams_of_an_inode_are_wanted(fixture: &Fixture) {
    let mut inode = file(10, 4, 100);
    let mut fork = inode.streams[0].clone();
    fork.kind = StreamKind::Named(b"rsrc".to_vec());
    inode.streams.push(fork);
    let scan = fixture.scan(&flat(&[inode, file(11, 0, 0)]));
    let worker = fixture.worker();
    let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    let wanted: Vec<(u64, Vec<u32>)> = chunk
        .items
        .iter()
        .map(|item| {
            (
                item.inode,
                item.streams.iter().map(|stream| stream.ordinal).collect(),
            )
        })
        .collect();
    assert_eq!(wanted, [(11, vec![0]), (10, vec![0, 1])]);
    assert!(fixture.complete(worker, &chunk, &stored(b"good")));
    assert_eq!(fixture.catalogue.stream_states(scan, 10).unwrap().len(), 2);
    let all = fixture.catalogue.states_of_all(scan, &[11, 10, 2, 99]).unwrap();
    let one_by_one = [10, 11].map(|inode| (inode, fixture.catalogue.stream_states(scan, inode).unwrap()));
    assert_eq!(all, one_by_one.into());
    fixture.assert_consistent(scan);
}
