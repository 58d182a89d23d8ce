//! Any sequence of what workers, clocks and crashes can do to the queue, compared with a tiny model of it.

use std::collections::BTreeMap;

use ntt_model::entry::Inode;
use ntt_model::{FailureClass, Outcome, ScanId, WorkerId};

use super::fixture::{Fixture, failure, file, flat, results, stored};
use super::{Make, fixture_of};
use crate::rows::{Chunk, ChunkResult, State, StreamState};

/// Each file is bigger than half a chunk, so that it is a chunk of its own.
const FILE_BYTES: u64 = 40 << 20;
/// Numbers of the first and the last file.
const FILES: std::ops::RangeInclusive<u64> = 10..=14;
const WORKERS: usize = 3;

/// Plays `script` on an empty catalogue, comparing every answer with a model; then lets a last worker empty the queue, which must end
/// as if nothing had disturbed it (R38). Every pair is a step: what is done, and by or to whom. Every script is valid.
///
/// Panics at the first difference.
pub fn run_lease_script(make: &Make<'_>, script: &[(u8, u8)]) {
    let (disturbed, calm) = (play(make, script), play(make, &[]));
    assert_eq!(disturbed, calm);
}

fn play(make: &Make<'_>, script: &[(u8, u8)]) -> Vec<Vec<StreamState>> {
    let fixture = fixture_of(make);
    let inodes: Vec<Inode> = FILES
        .map(|number| file(number, FILE_BYTES, number << 30))
        .collect();
    let scan = fixture.scan(&flat(&inodes));
    let mut play = Play::new(&fixture, scan);
    for (action, whom) in script {
        play.step(*action, usize::from(*whom));
        play.compare();
    }
    play.drain();
    fixture.assert_consistent(scan);
    FILES
        .map(|inode| fixture.catalogue.stream_states(scan, inode).unwrap())
        .collect()
}

/// What the `attempt`-th attempt (from 0) on a file meets. Depends on nothing else, so that all orders of events must end alike.
fn fate(inode: u64, attempt: u32) -> Outcome {
    let fail = |class, code| Outcome::Failed {
        failure: failure(class, code),
    };
    match (inode, attempt) {
        (11, 0..=1) | (12, _) => fail(FailureClass::Io, 5),
        (13, 0..=4) => fail(FailureClass::Io, i32::try_from(attempt % 2).unwrap()),
        (14, _) => fail(FailureClass::Corrupt, 1),
        _ => stored(&inode.to_le_bytes()),
    }
}

/// How many failed attempts settle a file, by the rule of three equal ones in a row and of hopeless classes (R33).
fn settles_after(inode: u64) -> Option<u32> {
    match inode {
        12 => Some(3),
        14 => Some(1),
        _ => None,
    }
}

/// The model of one file.
#[derive(Clone, Debug, Default)]
struct Expected {
    attempts: u32,
    due: i64,
    is_settled: bool,
    /// The claim that holds it, as an index into [`Play::claims`].
    holder: Option<usize>,
}

struct Worker {
    id: WorkerId,
    seen: i64,
}

struct Claim {
    worker: WorkerId,
    inode: u64,
    chunk: Chunk,
}

struct Play<'f> {
    fixture: &'f Fixture,
    scan: ScanId,
    now: i64,
    workers: Vec<Worker>,
    claims: Vec<Claim>,
    files: BTreeMap<u64, Expected>,
}

impl<'f> Play<'f> {
    fn new(fixture: &'f Fixture, scan: ScanId) -> Self {
        let worker = |_| Worker {
            id: fixture.worker(),
            seen: 0,
        };
        Self {
            fixture,
            scan,
            now: 0,
            workers: (0..WORKERS).map(worker).collect(),
            claims: Vec::new(),
            files: FILES.map(|inode| (inode, Expected::default())).collect(),
        }
    }

    fn step(&mut self, action: u8, whom: usize) {
        match action % 10 {
            0..=2 => self.claim(whom % WORKERS),
            3..=4 => self.on_claim(whom, Self::complete),
            5 => self.on_claim(whom, Self::complete_without_results),
            6 => self.on_claim(whom, Self::release),
            7 => self.heartbeat(whom % WORKERS),
            8 => self.retire(whom % WORKERS),
            _ => self.pass([1, 3, 31, 61][whom % 4]),
        }
    }

    fn pass(&mut self, seconds: i64) {
        self.fixture.clock.advance(seconds);
        self.now += seconds;
    }

    fn heartbeat(&mut self, worker: usize) {
        self.fixture.catalogue.heartbeat(self.workers[worker].id).unwrap();
        self.workers[worker].seen = self.now;
    }

    /// Ends a worker; a new one takes its place.
    fn retire(&mut self, worker: usize) {
        let old = self.workers[worker].id;
        self.fixture.catalogue.retire_worker(old).unwrap();
        self.free_held_by(&[old]);
        assert!(self.fixture.catalogue.heartbeat(old).is_err());
        assert!(self.fixture.catalogue.claim_chunk(self.scan, old).is_err());
        self.workers[worker] = Worker {
            id: self.fixture.worker(),
            seen: self.now,
        };
    }

    fn free_held_by(&mut self, workers: &[WorkerId]) {
        for file in self.files.values_mut() {
            if file
                .holder
                .is_some_and(|claim| workers.contains(&self.claims[claim].worker))
            {
                file.holder = None;
            }
        }
    }

    fn dead(&self) -> Vec<WorkerId> {
        let dead = self.workers.iter().filter(|worker| self.now - worker.seen > 60);
        dead.map(|worker| worker.id).collect()
    }

    fn claim(&mut self, worker: usize) {
        self.workers[worker].seen = self.now;
        self.free_held_by(&self.dead());
        let id = self.workers[worker].id;
        let chunk = self.fixture.catalogue.claim_chunk(self.scan, id).unwrap();
        let is_free = |file: &Expected| !file.is_settled && file.holder.is_none() && file.due <= self.now;
        let Some(chunk) = chunk else {
            assert!(
                !self.files.values().any(is_free),
                "a free file was withheld: {:?}",
                self.files
            );
            return;
        };
        assert_eq!(chunk.items.len(), 1);
        let inode = chunk.items[0].inode;
        assert!(is_free(&self.files[&inode]), "file {inode} was not free");
        let earlier = self.claims.iter().filter(|claim| claim.chunk.id == chunk.id);
        assert!(
            earlier.map(|claim| claim.chunk.epoch).max() < Some(chunk.epoch),
            "epochs rise"
        );
        self.files.get_mut(&inode).unwrap().holder = Some(self.claims.len());
        self.claims.push(Claim {
            worker: id,
            inode,
            chunk,
        });
    }

    /// Acts on any claim ever made, so that most come too late.
    fn on_claim(&mut self, whom: usize, act: fn(&mut Self, usize)) {
        if !self.claims.is_empty() {
            act(self, whom % self.claims.len());
        }
    }

    fn holds(&self, claim: usize) -> bool {
        self.files[&self.claims[claim].inode].holder == Some(claim)
    }

    fn release(&mut self, claim: usize) {
        let Claim { worker, inode, chunk } = &self.claims[claim];
        self.fixture.catalogue.release_chunk(*worker, chunk).unwrap();
        if self.holds(claim) {
            self.files.get_mut(inode).unwrap().holder = None;
        }
    }

    /// Sends a result; true if it counted. One that did not must leave no trace.
    fn send(&self, claim: usize, result: ChunkResult) -> bool {
        let Claim { worker, inode, chunk } = &self.claims[claim];
        let catalogue = &self.fixture.catalogue;
        let look = || {
            (
                catalogue.stream_states(self.scan, *inode).unwrap(),
                catalogue.blob_count().unwrap(),
            )
        };
        let before = look();
        let lost = catalogue.complete_chunks(*worker, &[result]).unwrap();
        if lost.is_empty() {
            return true;
        }
        assert_eq!(lost, [chunk.id]);
        assert_eq!(look(), before);
        false
    }

    fn complete(&mut self, claim: usize) {
        let inode = self.claims[claim].inode;
        let outcome = fate(inode, self.files[&inode].attempts);
        let result = results(&self.claims[claim].chunk, |_, _| outcome.clone());
        assert_eq!(self.send(claim, result), self.holds(claim));
        if !self.holds(claim) {
            return;
        }
        let now = self.now;
        let file = self.files.get_mut(&inode).unwrap();
        assert!(!file.is_settled, "file {inode} was recorded twice");
        file.holder = None;
        if let Outcome::Failed { .. } = outcome {
            file.due = now + (1 << file.attempts);
            file.attempts += 1;
            file.is_settled = settles_after(inode).is_some_and(|most| file.attempts >= most);
        } else {
            file.is_settled = true;
        }
    }

    /// A worker that stops in the middle: what it did not get to returns at once.
    fn complete_without_results(&mut self, claim: usize) {
        let chunk = &self.claims[claim].chunk;
        let nothing = ChunkResult {
            chunk: chunk.id,
            epoch: chunk.epoch,
            streams: Vec::new(),
            findings: Vec::new(),
        };
        assert_eq!(self.send(claim, nothing), self.holds(claim));
        if self.holds(claim) {
            let file = self.files.get_mut(&self.claims[claim].inode).unwrap();
            (file.holder, file.due) = (None, 0);
        }
    }

    /// Compares the queue and every state with the model.
    fn compare(&self) {
        let dead = self.dead();
        let is_held = |file: &&Expected| {
            let holder = file.holder.map(|claim| self.claims[claim].worker);
            holder.is_some_and(|worker| !dead.contains(&worker))
        };
        let progress = self.fixture.catalogue.progress(self.scan).unwrap();
        let count = |number: usize| u64::try_from(number).unwrap();
        assert_eq!(
            progress.leased_chunks,
            count(self.files.values().filter(is_held).count())
        );
        let open = self.files.values().filter(|file| !file.is_settled).count();
        assert_eq!(progress.pending_streams, count(open), "{:?}", self.files);
        for (inode, file) in &self.files {
            let state = self.fixture.state(self.scan, *inode);
            let is_settled = matches!(state, State::Stored { .. } | State::Failed { .. });
            assert_eq!(
                is_settled, file.is_settled,
                "file {inode} is {state:?}, not {file:?}"
            );
        }
        assert_eq!(self.fixture.catalogue.check().unwrap(), Vec::<String>::new());
    }

    /// All workers are gone; the first of the new ones does the rest.
    fn drain(&mut self) {
        (0..WORKERS).for_each(|worker| self.retire(worker));
        let rounds = 8 * self.files.len();
        for _ in 0..rounds {
            let claimed = self.claims.len();
            self.claim(0);
            if self.claims.len() > claimed {
                self.complete(claimed);
            } else {
                self.pass(3600);
            }
        }
        self.compare();
        assert!(
            self.files.values().all(|file| file.is_settled),
            "the queue drains"
        );
    }
}
