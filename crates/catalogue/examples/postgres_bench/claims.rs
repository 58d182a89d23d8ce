//! Claims: from small scans to large ones, full queues to nearly empty ones, one worker to many, beside the predecessor's.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ntt_catalogue::Catalogue;
use ntt_catalogue::postgres::PostgresCatalogue;
use ntt_model::{ScanId, WorkerId};
use postgres::{Client, IsolationLevel, NoTls};

use crate::synthetic::Result;
use crate::{Bench, Place, as_float, percentiles, predecessor};

/// Claims that are timed in each cell.
const CLAIMS: usize = 60;
/// Inodes of the scans; those above what was asked for are left out.
const SIZES: [u64; 4] = [1_000, 100_000, 3_000_000, 30_000_000];
/// What is done already: the queue's name, which chunks are done, and the same share of the predecessor's rows.
const QUEUES: [(&str, &str, &str); 4] = [
    ("full", "false", "false"),
    ("half", "id % 2 = 0", "ino % 2 = 0"),
    ("1 %", "id % 100 <> 0", "ino % 100 <> 0"),
    ("last 1,000", "id > (SELECT min(id) + 1 FROM chunk)", "ino > 1011"),
];

/// Gives back what claims took, behind all others as a worker does that ends. What is done stays done: as in a queue that is nearly empty, no more than that
/// changes between two claims.
const REFILL: &str = "UPDATE chunk SET state = 0, owner = NULL, seq = held.seq FROM (SELECT id, row_number() OVER (ORDER BY seq) \
                      + (SELECT max(seq) FROM chunk) AS seq FROM chunk WHERE state = 1) held WHERE chunk.id = held.id";

/// Times claims in every cell up to `inodes` inodes.
pub(crate) fn run(bench: &Bench, inodes: u64) -> Result<()> {
    println!("\n### Claims of up to 512 inodes: wall ms p50 / p99, and inodes/s\n");
    println!(
        "| inodes | queue | 1 worker | 4 workers | 16 workers | 1 worker, old snapshot held | predecessor, 1 inode | times its inodes/s |"
    );
    println!("|---:|---|---|---|---|---|---|---:|");
    for size in SIZES.into_iter().filter(|size| *size <= inodes) {
        let name = format!("claims_{size}");
        let place = bench.place(&name)?;
        let (scan, _) = bench.load(&place, 0, size, 1)?;
        // Ours first: the predecessor's table, a row for each inode, would be in the way of the server and of the disk.
        let ours = QUEUES.map(|queue| {
            let ours = our_cells(&place, scan, queue)?;
            eprintln!("{size} inodes, {}: {}", queue.0, ours.0.join(" | "));
            Ok::<_, Box<dyn std::error::Error>>(ours)
        });
        for ((name, _, done_before), ours) in QUEUES.into_iter().zip(ours) {
            let (cells, alone) = ours?;
            let mut client = Client::connect(&place.url, NoTls)?;
            let (theirs, rate) = predecessor::claims(&mut client, scan, done_before, CLAIMS)?;
            println!(
                "| {size} | {name} | {} | {theirs} | {:.0} |",
                cells.join(" | "),
                alone / rate.max(0.001)
            );
        }
        bench.drop_place(&name, place)?;
    }
    Ok(())
}

/// What our claims take of one queue: by one worker, by more, and beside an old snapshot; and the inodes a second of the one worker.
fn our_cells(place: &Place, scan: ScanId, (_, done, _): (&str, &str, &str)) -> Result<(Vec<String>, f64)> {
    let mut client = Client::connect(&place.url, NoTls)?;
    let all_free = "UPDATE chunk SET state = 0, owner = NULL WHERE state <> 0";
    // As a drain leaves them: every chunk was free, leased, done.
    let drained = format!(
        "UPDATE chunk SET state = 1, owner = 0 WHERE {done}; UPDATE chunk SET state = 2, owner = NULL WHERE state = 1"
    );
    let mut cells = Vec::new();
    let mut alone = 0.0;
    for workers in [1, 4, 16] {
        client.batch_execute(all_free)?;
        client.batch_execute(&drained)?;
        client.batch_execute("VACUUM chunk")?;
        let timed = timed_claims(&place.url, scan, workers)?;
        if workers == 1 {
            alone = timed.rate;
        }
        cells.push(timed.text);
    }
    // Held from before the first claim: no version of a chunk is cleaned away that the drain left behind.
    client.batch_execute(all_free)?;
    client.batch_execute("VACUUM chunk")?;
    let mut reporter = Client::connect(&place.url, NoTls)?;
    let mut old = reporter
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .start()?;
    old.query_one("SELECT count(*) FROM chunk", &[])?;
    client.batch_execute(&drained)?;
    cells.push(timed_claims(&place.url, scan, 1)?.text);
    old.commit()?;
    Ok((cells, alone))
}

/// How long claims took, and how many inodes a second they gave.
struct Timed {
    text: String,
    rate: f64,
}

/// Claims by several workers at once, each with a catalogue of its own. A queue with fewer chunks than claims are wanted is filled again, between
/// rounds: the sessions stay, as those of a worker do.
fn timed_claims(url: &str, scan: ScanId, workers: usize) -> Result<Timed> {
    let mut client = Client::connect(url, NoTls)?;
    let sql = "SELECT count(*) FROM chunk WHERE state = 0";
    let free: i64 = client.query_one(sql, &[])?.get(0);
    let free = usize::try_from(free)?.max(1);
    let claims = CLAIMS / workers + 4;
    let rounds = (claims * workers).div_ceil(free);
    let crew = Crew {
        claimed: AtomicU64::new(0),
        rounds,
        claims: claims.div_ceil(rounds),
        gate: Barrier::new(workers + 1),
    };
    let mut spent = Duration::ZERO;
    let outcomes = thread::scope(|scope| -> Result<Vec<_>> {
        let threads: Vec<_> = (0..workers)
            .map(|_| scope.spawn(|| crew.claim(url, scan)))
            .collect();
        let mut filled = Ok(());
        for round in 0..rounds {
            // The crew waits at the gate whatever happens here.
            if round > 0 && filled.is_ok() {
                filled = client.batch_execute(REFILL);
            }
            crew.gate.wait();
            let begun = Instant::now();
            crew.gate.wait();
            spent += begun.elapsed();
        }
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let outcomes = threads.into_iter().map(join).collect();
        filled?;
        Ok(outcomes)
    })?;
    let (mut first, mut walls) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        let mut of_one: Vec<Duration> = outcome?;
        first.extend(of_one.drain(..of_one.len().min(1)));
        walls.extend(of_one);
    }
    let rate = as_float(crew.claimed.into_inner() * 16) / 16.0 / spent.as_secs_f64();
    let first = percentiles(first);
    let first = first.split(' ').next().unwrap_or_default();
    Ok(Timed {
        text: format!("{} ({rate:.0}/s; first {first})", percentiles(walls)),
        rate,
    })
}

/// Workers that claim in rounds.
struct Crew {
    claimed: AtomicU64,
    rounds: usize,
    claims: usize,
    gate: Barrier,
}

impl Crew {
    /// How long each claim took that gave a chunk.
    fn claim(&self, url: &str, scan: ScanId) -> std::result::Result<Vec<Duration>, ntt_catalogue::Error> {
        let session = PostgresCatalogue::open(url, None).and_then(|catalogue| {
            catalogue
                .register_worker("bench")
                .map(|worker| (catalogue, worker))
        });
        let mut walls = Vec::new();
        let mut failure = None;
        for _ in 0..self.rounds {
            // Also when something failed: the others wait.
            self.gate.wait();
            if let (Ok((catalogue, worker)), None) = (&session, &failure) {
                failure = self.round(catalogue, scan, *worker, &mut walls).err();
            }
            self.gate.wait();
        }
        session.and(failure.map_or(Ok(walls), Err))
    }

    fn round(
        &self,
        catalogue: &PostgresCatalogue,
        scan: ScanId,
        worker: WorkerId,
        walls: &mut Vec<Duration>,
    ) -> std::result::Result<(), ntt_catalogue::Error> {
        for _ in 0..self.claims {
            let begun = Instant::now();
            let Some(chunk) = catalogue.claim_chunk(scan, worker)? else {
                break;
            };
            walls.push(begun.elapsed());
            let inodes = u64::try_from(chunk.items.len()).unwrap_or(0);
            self.claimed.fetch_add(inodes, Ordering::Relaxed);
        }
        Ok(())
    }
}
