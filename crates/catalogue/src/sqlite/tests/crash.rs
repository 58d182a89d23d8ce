//! kill -9 at random points of a run.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use ntt_model::entry::{Directory, ScanCounts};
use ntt_model::{BlobHash, Namespace, Outcome, ScanEvent, ScanId};

use super::{begin, open};
use crate::conformance::{file, named};
use crate::rows::{Chunk, ChunkResult, StreamResult};
use crate::sqlite::SqliteCatalogue;
use crate::{Catalogue, Labels};

/// Tells the child where the catalogue lies.
const PLACE: &str = "NTT_CATALOGUE_CRASH_TEST";
/// Files of a scan: two chunks.
const FILES: u64 = 600;
const ROUNDS: usize = 7;

#[test]
fn r28_r38_after_kill_9_all_that_was_promised_is_there_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    let mut promised = Promised::default();
    for round in 0..ROUNDS {
        promised.extend(&run_and_kill(&path, 1 + round));
        promised.assert_kept(&path);
    }
    assert!(!promised.sealed.is_empty() && !promised.completed.is_empty());
}

/// Starts a child, kills it after it has reported `lines` steps, and returns all that it reported.
fn run_and_kill(path: &Path, lines: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "sqlite::tests::crash::child",
            "--ignored",
            "--nocapture",
        ])
        .env(PLACE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let reports = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let mut reports = reports.filter(|line| line.starts_with("step "));
    let mut seen: Vec<String> = reports.by_ref().take(lines).collect();
    assert_eq!(seen.len(), lines, "the child ended by itself");
    child.kill().unwrap();
    seen.extend(reports);
    child.wait().unwrap();
    seen
}

/// What children reported as durable.
#[derive(Default)]
struct Promised {
    sealed: Vec<ScanId>,
    completed: Vec<ScanId>,
}

impl Promised {
    fn extend(&mut self, reports: &[String]) {
        for report in reports {
            let words: Vec<&str> = report.split(' ').collect();
            // The last line may be cut short by the kill; only whole ones end in a full stop.
            if let ["step", what, scan, "."] = words.as_slice() {
                let scan = ScanId(scan.parse().unwrap());
                match *what {
                    "sealed" => self.sealed.push(scan),
                    _ => self.completed.push(scan),
                }
            }
        }
    }

    fn assert_kept(&self, path: &Path) {
        let catalogue = open(path);
        assert_eq!(catalogue.check().unwrap(), Vec::<String>::new());
        for scan in &self.sealed {
            assert_eq!(catalogue.census(*scan).unwrap().found.count, FILES);
        }
        for scan in &self.completed {
            assert_eq!(catalogue.census(*scan).unwrap().stored.count, FILES);
        }
        assert_no_half_scan(&catalogue, path);
    }
}

/// Every leaf table belongs to a scan that can be seen, and every scan that can be seen is whole.
fn assert_no_half_scan(catalogue: &SqliteCatalogue, path: &Path) {
    let mut visible = Vec::new();
    for medium in catalogue.media().unwrap() {
        for volume in catalogue.volumes(medium.key).unwrap() {
            visible.extend(catalogue.scans(volume.key).unwrap());
        }
    }
    for scan in &visible {
        assert_eq!(scan.counts.inodes, FILES);
        let census = catalogue.census(scan.id).unwrap();
        assert_eq!(census.stored.count + census.pending.count, FILES);
    }
    let raw = rusqlite::Connection::open(path).unwrap();
    let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name GLOB 'inode_[0-9]*'";
    let leaves: i64 = raw.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(leaves, i64::try_from(visible.len()).unwrap());
}

/// Loads scans and completes their chunks until it is killed.
#[test]
#[ignore = "the child of the test above"]
fn child() {
    let place: OsString = std::env::var_os(PLACE).expect("started by the test above");
    let catalogue = open(Path::new(&place));
    let worker = catalogue.register_worker("child").unwrap();
    let first = u8::try_from(catalogue.media().unwrap().len()).unwrap();
    for medium in first..=u8::MAX {
        let scan = load(&catalogue, medium);
        report("sealed", scan);
        while let Some(chunk) = catalogue.claim_chunk(scan, worker).unwrap() {
            let lost = catalogue.complete_chunks(worker, &[copied(&chunk)]).unwrap();
            assert!(lost.is_empty());
        }
        report("completed", scan);
    }
}

fn report(what: &str, scan: ScanId) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "step {what} {scan} .").unwrap();
    out.flush().unwrap();
}

fn load(catalogue: &SqliteCatalogue, medium: u8) -> ScanId {
    let scan = begin(catalogue, medium);
    let root = Directory {
        inode: 2,
        parent: None,
        name: Vec::new(),
        namespace: Namespace::Native,
    };
    let mut events = vec![ScanEvent::Directory(root)];
    for number in 10..10 + FILES {
        events.push(ScanEvent::Name(named(2, &number.to_le_bytes(), number)));
        events.push(ScanEvent::Inode(Box::new(file(number, 8, number * 4096))));
    }
    let mut counts = ScanCounts::default();
    events.iter().for_each(|event| counts.add(event));
    for batch in events.chunks(100) {
        catalogue.append(scan, batch).unwrap();
    }
    catalogue.seal_scan(scan, &counts, &Labels::NONE).unwrap();
    scan
}

fn copied(chunk: &Chunk) -> ChunkResult {
    let streams = chunk.items.iter().map(|item| StreamResult {
        inode: item.inode,
        stream: 0,
        outcome: Outcome::Stored {
            blob: BlobHash::of(&item.inode.to_le_bytes()),
            size: 8,
        },
        sha256: None,
        content_type: None,
        is_new: true,
    });
    ChunkResult {
        chunk: chunk.id,
        epoch: chunk.epoch,
        streams: streams.collect(),
        findings: Vec::new(),
    }
}
