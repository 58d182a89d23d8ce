//! Leases: one holder at a time, none for ever, and late comers do no harm.

use super::Case;
use super::fixture::{Fixture, files, flat, odd_inodes, stored};
use crate::rows::State;

pub(super) const CASES: &[Case] = &[
    ("every_chunk_is_leased_once", every_chunk_is_leased_once),
    ("a_dead_workers_lease_returns", a_dead_workers_lease_returns),
    ("a_heartbeat_keeps_all_leases", a_heartbeat_keeps_all_leases),
    (
        "a_retired_workers_lease_returns_at_once",
        a_retired_workers_lease_returns_at_once,
    ),
    ("a_released_chunk_returns", a_released_chunk_returns),
    (
        "a_lease_gives_what_the_inodes_say",
        a_lease_gives_what_the_inodes_say,
    ),
];

fn every_chunk_is_leased_once(fixture: &Fixture) {
    let scan = fixture.scan(&flat(&files(1100, 1)));
    let (one, two) = (fixture.worker(), fixture.worker());
    let mut seen = std::collections::BTreeSet::new();
    for worker in [one, two, one] {
        let chunk = fixture.catalogue.claim_chunk(scan, worker).unwrap().unwrap();
        assert!(chunk.items.iter().all(|item| seen.insert(item.inode)));
    }
    assert_eq!(seen.len(), 1100);
    assert_eq!(fixture.catalogue.claim_chunk(scan, two).unwrap(), None);
    assert_eq!(fixture.catalogue.progress(scan).unwrap().leased_chunks, 3);
    assert_eq!(fixture.catalogue.workers().unwrap()[1].leased_chunks, 2);
}

fn a_dead_workers_lease_returns(fixture: &Fixture) {
    let scan = fixture.scan(&flat(&files(1, 4)));
    let (dead, alive) = (fixture.worker(), fixture.worker());
    let chunk = fixture.catalogue.claim_chunk(scan, dead).unwrap().unwrap();
    fixture.clock.advance(60);
    assert_eq!(fixture.catalogue.claim_chunk(scan, alive).unwrap(), None);
    fixture.clock.advance(1);
    let again = fixture.catalogue.claim_chunk(scan, alive).unwrap().unwrap();
    assert_eq!((again.id, again.items.clone()), (chunk.id, chunk.items.clone()));
    assert!(again.epoch > chunk.epoch);
    assert!(
        !fixture.complete(dead, &chunk, &stored(b"late")),
        "the lease was lost"
    );
    assert_eq!(fixture.state(scan, 10), State::Pending);
    assert!(fixture.complete(alive, &again, &stored(b"good")));
    assert!(
        !fixture.complete(alive, &again, &stored(b"good")),
        "a chunk is completed once"
    );
}

fn a_heartbeat_keeps_all_leases(fixture: &Fixture) {
    let scan = fixture.scan(&flat(&files(1, 4)));
    let (one, two) = (fixture.worker(), fixture.worker());
    let chunk = fixture.catalogue.claim_chunk(scan, one).unwrap().unwrap();
    for _ in 0..5 {
        fixture.clock.advance(50);
        fixture.catalogue.heartbeat(one).unwrap();
        assert_eq!(fixture.catalogue.claim_chunk(scan, two).unwrap(), None);
    }
    assert!(fixture.complete(one, &chunk, &stored(b"good")));
}

fn a_retired_workers_lease_returns_at_once(fixture: &Fixture) {
    let scan = fixture.scan(&flat(&files(1, 4)));
    let (one, two) = (fixture.worker(), fixture.worker());
    fixture.catalogue.claim_chunk(scan, one).unwrap().unwrap();
    fixture.catalogue.retire_worker(one).unwrap();
    assert!(fixture.catalogue.claim_chunk(scan, one).is_err());
    assert!(fixture.catalogue.claim_chunk(scan, two).unwrap().is_some());
}

fn a_released_chunk_returns(fixture: &Fixture) {
    let scan = fixture.scan(&flat(&files(1, 4)));
    let (one, two) = (fixture.worker(), fixture.worker());
    let chunk = fixture.catalogue.claim_chunk(scan, one).unwrap().unwrap();
    fixture.catalogue.release_chunk(two, &chunk).unwrap();
    assert_eq!(
        fixture.catalogue.claim_chunk(scan, two).unwrap(),
        None,
        "only its holder can release it"
    );
    fixture.catalogue.release_chunk(one, &chunk).unwrap();
    assert!(fixture.catalogue.claim_chunk(scan, two).unwrap().is_some());
}

fn a_lease_gives_what_the_inodes_say(fixture: &Fixture) {
    let mut inodes = odd_inodes();
    inodes.extend(files(600, 7).into_iter().skip(100));
    let scan = fixture.scan(&flat(&inodes));
    let worker = fixture.worker();
    let mut seen = 0;
    while let Some(chunk) = fixture.catalogue.claim_chunk(scan, worker).unwrap() {
        for item in chunk.items {
            let row = fixture.catalogue.inode(scan, item.inode).unwrap().unwrap();
            for wanted in item.streams {
                let ordinal = usize::try_from(wanted.ordinal).unwrap();
                assert_eq!(row.streams[ordinal], wanted.stream, "inode {}", item.inode);
                seen += 1;
            }
        }
    }
    let streams: usize = inodes.iter().map(|inode| inode.streams.len()).sum();
    assert_eq!(seen, streams);
}
