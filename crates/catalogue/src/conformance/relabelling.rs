//! Labels that change while chunks are leased, and what copying leaves besides results.

use ntt_model::finding::{FindingCode, Layer, Severity};
use ntt_model::{FailureClass, Finding, Outcome, Timestamp, WorkerId};

use super::Case;
use super::fixture::{Fixture, failure, files, flat, results, stored};
use crate::Labels;
use crate::rows::{Chunk, EventRow, State};

pub(super) const CASES: &[Case] = &[
    ("r26_leased_chunks_keep_their_work", leased_chunks_keep_their_work),
    (
        "r33_what_was_excluded_meanwhile_does_not_return",
        what_was_excluded_meanwhile_does_not_return,
    ),
    (
        "r33_excluded_failures_are_not_retried",
        excluded_failures_are_not_retried,
    ),
    (
        "a_withdrawn_chunk_still_refuses_late_results",
        a_withdrawn_chunk_still_refuses_late_results,
    ),
    ("findings_of_copying_are_kept", findings_of_copying_are_kept),
    ("r46_events_keep_every_detail", events_keep_every_detail),
];

/// Leases four files, numbers 10 to 13, and excludes all but the last.
fn leased_and_excluded(fixture: &Fixture) -> (ntt_model::ScanId, WorkerId, Chunk) {
    let scan = fixture.scan(&flat(&files(4, 4)));
    let worker = fixture.worker();
    let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    let labels = Labels {
        rules: &["junk".to_owned()],
        rule_of: &|path| (path.path != b"f3").then_some(0),
    };
    let report = fixture.catalogue.relabel(scan, &labels).unwrap();
    assert_eq!((report.excluded_paths, report.withdrawn_streams), (3, 0));
    fixture.assert_consistent(scan);
    (scan, worker, chunk)
}

fn leased_chunks_keep_their_work(fixture: &Fixture) {
    let (scan, worker, chunk) = leased_and_excluded(fixture);
    assert!(fixture.complete(worker, &chunk, &stored(b"good")));
    assert!(matches!(fixture.state(scan, 10), State::Stored { .. }));
    fixture.assert_consistent(scan);
}

fn what_was_excluded_meanwhile_does_not_return(fixture: &Fixture) {
    type Lose = fn(&Fixture, WorkerId, &Chunk);
    let ways: [Lose; 2] = [
        |fixture, worker, chunk| fixture.catalogue.release_chunk(worker, chunk).unwrap(),
        |fixture, _, _| fixture.clock.advance(61),
    ];
    let (scan, mut worker, mut chunk) = leased_and_excluded(fixture);
    for lose in ways {
        lose(fixture, worker, &chunk);
        worker = fixture.worker();
        chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
        let numbers: Vec<u64> = chunk.items.iter().map(|item| item.inode).collect();
        assert_eq!(numbers, [13]);
        fixture.assert_consistent(scan);
    }
    let report = fixture.catalogue.relabel(scan, &Labels::NONE).unwrap();
    assert_eq!(report.reopened_streams, 3);
    fixture.assert_consistent(scan);
}

fn excluded_failures_are_not_retried(fixture: &Fixture) {
    let (scan, worker, chunk) = leased_and_excluded(fixture);
    let mut result = results(&chunk, |_, _| Outcome::Failed {
        failure: failure(FailureClass::Io, 5),
    });
    result.streams.truncate(2);
    assert_eq!(fixture.catalogue.complete_chunks(worker, &[result]).unwrap(), []);
    assert_eq!(fixture.catalogue.progress(scan).unwrap().pending_streams, 1);
    assert!(matches!(fixture.state(scan, 10), State::Excluded { .. }));
    fixture.assert_consistent(scan);
}

fn a_withdrawn_chunk_still_refuses_late_results(fixture: &Fixture) {
    let (scan, worker, chunk) = leased_and_excluded(fixture);
    fixture.catalogue.retire_worker(worker).unwrap();
    let all = Labels {
        rules: &["all".to_owned()],
        rule_of: &|_| Some(0),
    };
    assert_eq!(
        fixture.catalogue.relabel(scan, &all).unwrap().withdrawn_streams,
        1
    );
    assert!(!fixture.complete(worker, &chunk, &stored(b"late")));
    fixture.catalogue.release_chunk(worker, &chunk).unwrap();
    assert_eq!(fixture.catalogue.blob_count().unwrap(), 0);
    fixture.assert_consistent(scan);
}

fn findings_of_copying_are_kept(fixture: &Fixture) {
    let scan = fixture.scan(&flat(&files(1, 4)));
    let worker = fixture.worker();
    let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    let finding = Finding::new(
        Severity::Loss,
        Layer::Directory,
        FindingCode::BeyondEnd,
        "expected 4, found 3",
    );
    let mut result = results(&chunk, |_, _| stored(b"good"));
    result.findings.push(finding.at(u64::MAX).on_inode(10));
    let late = result.clone();
    fixture
        .catalogue
        .complete_chunks(worker, &[result.clone()])
        .unwrap();
    assert_eq!(
        fixture.catalogue.complete_chunks(worker, &[late]).unwrap(),
        [chunk.id]
    );
    let medium = fixture.catalogue.media().unwrap()[0].key;
    let found = fixture.catalogue.findings(medium).unwrap();
    assert_eq!(found.len(), 1, "those of late results are discarded too");
    assert_eq!(found[0].finding, result.findings[0]);
    assert_eq!(
        found[0].volume,
        Some(fixture.catalogue.volumes(medium).unwrap()[0].key)
    );
    assert_eq!(found[0].scan, Some(scan), "a newer scan supersedes them");
    fixture.assert_consistent(scan);
}

fn events_keep_every_detail(fixture: &Fixture) {
    let medium = fixture.medium(1);
    let event = EventRow {
        at: Some(ntt_model::Timestamp::from_nanos(-5)),
        medium: Some(medium),
        stage: "copy".to_owned(),
        result: "losses".to_owned(),
        elapsed_ms: 12,
        count: 3,
        bytes: u64::MAX,
        detail: "nine\nlives".to_owned(),
    };
    let of_nothing = EventRow {
        at: None,
        medium: None,
        ..event.clone()
    };
    fixture.catalogue.add_event(&event).unwrap();
    fixture.catalogue.add_event(&of_nothing).unwrap();
    assert_eq!(
        fixture.catalogue.events(Some(medium)).unwrap(),
        std::slice::from_ref(&event)
    );
    let all = fixture.catalogue.events(None).unwrap();
    assert_eq!(all[0], event);
    let last = fixture.catalogue.last_changes().unwrap();
    assert_eq!(last.0.get(&Some(medium)), Some(&Timestamp::from_nanos(-5)));
    assert_eq!((last.of(medium), last.latest()), (all[1].at, all[1].at));
    let earlier = EventRow {
        at: Some(Timestamp::from_nanos(-9)),
        ..event
    };
    fixture.catalogue.add_event(&earlier).unwrap();
    assert_eq!(fixture.catalogue.last_changes().unwrap(), last);
    // R37: a change under a clock that was set back is the last one all the same, and outdates what was written of the medium.
    let ahead = EventRow {
        at: Some(Timestamp::from_nanos(i64::MAX / 2)),
        ..earlier
    };
    fixture.catalogue.add_event(&ahead).unwrap();
    fixture.catalogue.set_label(medium, "right words").unwrap();
    let last = fixture.catalogue.last_changes().unwrap();
    assert!(last.of_itself(medium) > ahead.at, "{last:?}");
    assert!(
        all[1].at.is_some() && all[1].medium.is_none(),
        "the catalogue sets the time"
    );
}
