//! kill -9 of workers, of loaders, and of the server itself.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ntt_model::ScanId;
use ntt_testkit::postgres::PostgresServer;

use super::work::{assert_drained, begin, events, load, one_chunk};
use crate::postgres::{PostgresCatalogue, init};
use crate::{Catalogue, Labels};

/// Tells a child where the catalogue is, and which scan to work on.
const PLACE: &str = "NTT_CATALOGUE_KILL_TEST";
/// Forty chunks: children hold what they are killed with.
const FILES: u64 = 20_000;

fn server() -> Option<(PostgresServer, String)> {
    let server = PostgresServer::start()?;
    let url = server.create_database("a", None);
    init(&url).unwrap();
    Some((server, url))
}

/// Starts a child of this test program, kills it after it has said `lines` things and a moment has passed.
fn run_and_kill(child: &str, place: &str, lines: usize, moment: Duration) -> Vec<String> {
    let name = format!("postgres::tests::killed::{child}");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--ignored", "--nocapture"])
        .env(PLACE, place)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let mut said = said.filter(|line| line.starts_with("step "));
    let seen: Vec<String> = said.by_ref().take(lines).collect();
    assert_eq!(seen.len(), lines, "the child ended by itself");
    thread::sleep(moment);
    child.kill().unwrap();
    child.wait().unwrap();
    seen
}

fn say(what: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "step {what}").unwrap();
    out.flush().unwrap();
}

fn place() -> (PostgresCatalogue, ScanId) {
    let place = std::env::var(PLACE).expect("started by a test");
    let (scan, url) = place.split_once(' ').unwrap();
    let catalogue = PostgresCatalogue::open(url, None).unwrap();
    (catalogue, ScanId(scan.parse().unwrap()))
}

#[test]
fn r38_what_a_killed_worker_held_returns_and_nothing_is_recorded_twice() {
    let Some((server, url)) = server() else { return };
    let catalogue = PostgresCatalogue::open(&url, None).unwrap();
    let scan = load(&catalogue, FILES);
    let place = format!("{scan} {url}");
    let mut recorded = BTreeSet::new();
    for lines in [1, 2, 3] {
        for line in run_and_kill("worker", &place, lines, Duration::ZERO) {
            for inode in line.split(' ').skip(1) {
                assert!(recorded.insert(inode.parse::<u64>().unwrap()), "recorded twice");
            }
        }
    }
    let before = catalogue.progress(scan).unwrap();
    let worker = catalogue.register_worker("the last").unwrap();
    // The dead are found by their silence: a minute of it, made short here.
    server.psql(
        "a",
        "UPDATE worker SET seen = seen - 61000000000 WHERE name = 'child'",
    );
    while let Some(inodes) = one_chunk(&catalogue, scan, worker).unwrap() {
        for inode in inodes {
            assert!(recorded.insert(inode), "recorded twice");
        }
    }
    assert!(before.leased_chunks > 0, "a worker was killed with a lease");
    assert_drained(&catalogue, scan, FILES);
}

#[test]
#[ignore = "the child of the test above"]
fn worker() {
    let (catalogue, scan) = place();
    let worker = catalogue.register_worker("child").unwrap();
    loop {
        let inodes = one_chunk(&catalogue, scan, worker).unwrap().unwrap();
        // A lease that it is killed with.
        catalogue.claim_chunk(scan, worker).unwrap();
        say(inodes.iter().map(u64::to_string).collect::<Vec<_>>().join(" "));
    }
}

#[test]
fn r28_a_killed_loader_leaves_a_whole_scan_or_none() {
    let Some((server, url)) = server() else { return };
    let catalogue = PostgresCatalogue::open(&url, None).unwrap();
    let first = load(&catalogue, 100);
    let census = catalogue.census(first).unwrap();
    for moment in [0, 5, 20, 60, 150] {
        run_and_kill("loader", &format!("0 {url}"), 1, Duration::from_millis(moment));
    }
    // The server ends what a killed client began as soon as it notices.
    while server.psql(
        "a",
        "SELECT count(*) FROM pg_stat_activity WHERE datname = 'a' AND state <> 'idle'",
    ) != "1"
    {
        thread::sleep(Duration::from_millis(20));
    }
    let scans = server.psql("a", "SELECT count(*) FROM scan");
    let leaves = server.psql(
        "a",
        "SELECT count(*) FROM pg_class WHERE relname ~ '^inode_[0-9]+$'",
    );
    assert_eq!(scans, leaves, "every leaf belongs to a scan");
    assert_eq!(catalogue.check().unwrap(), Vec::<String>::new());
    assert_eq!(catalogue.census(first).unwrap(), census);
}

#[test]
#[ignore = "the child of the test above"]
fn loader() {
    let (catalogue, _) = place();
    let scan = begin(&catalogue);
    let (events, counts) = events(20_000);
    catalogue.append(scan, &events).unwrap();
    say("loading");
    catalogue.seal_scan(scan, &counts, &Labels::NONE).unwrap();
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn r38_r39_the_server_is_killed_again_and_again_while_four_workers_drain() {
    let Some((mut server, url)) = server() else { return };
    let scan = load(&PostgresCatalogue::open(&url, None).unwrap(), 40_000);
    let is_over = AtomicBool::new(false);
    let recorded: Vec<u64> = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| drain_in_spite(&url, scan, &is_over)))
            .collect();
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(300));
            server.kill_9();
            server.restart().unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    let distinct: BTreeSet<u64> = recorded.iter().copied().collect();
    assert_eq!(recorded.len(), distinct.len(), "recorded twice");
    let kept: usize = server.psql("a", "SELECT count(*) FROM result").parse().unwrap();
    assert!(kept >= distinct.len(), "what was acknowledged is there");
    // What workers were thought to hold when the server died returns when they are found dead.
    server.psql("a", "UPDATE worker SET seen = seen - 61000000000");
    let catalogue = PostgresCatalogue::open(&url, None).unwrap();
    let worker = catalogue.register_worker("the last").unwrap();
    while one_chunk(&catalogue, scan, worker).unwrap().is_some() {}
    assert_drained(&catalogue, scan, 40_000);
}

/// Works until nothing is left or all is over; what fails because the server is away is tried again. Tells what it was told to be recorded.
fn drain_in_spite(url: &str, scan: ScanId, is_over: &AtomicBool) -> Vec<u64> {
    let mut recorded = Vec::new();
    loop {
        let round = PostgresCatalogue::open(url, None).and_then(|catalogue| {
            let worker = catalogue.register_worker("w")?;
            while let Some(inodes) = one_chunk(&catalogue, scan, worker)? {
                recorded.extend(inodes);
            }
            Ok(())
        });
        match round {
            Ok(()) if is_over.load(Ordering::Relaxed) => return recorded,
            _ => thread::sleep(Duration::from_millis(20)),
        }
    }
}
