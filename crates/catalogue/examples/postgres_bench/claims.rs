//! Claims: from small scans to large ones, full queues to nearly empty ones, one worker to many, beside the predecessor's.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ntt_catalogue::Catalogue;
use ntt_catalogue::postgres::PostgresCatalogue;
use ntt_model::ScanId;
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
        for queue in QUEUES {
            row(&place, scan, size, queue)?;
        }
        bench.drop_place(&name, place)?;
    }
    Ok(())
}

fn row(place: &Place, scan: ScanId, size: u64, (name, done, done_before): (&str, &str, &str)) -> Result<()> {
    let mut client = Client::connect(&place.url, NoTls)?;
    let reset = format!(
        "UPDATE chunk SET state = 0, owner = NULL WHERE state <> 0; UPDATE chunk SET state = 2 WHERE {done}"
    );
    let mut cells = Vec::new();
    let mut alone = 0.0;
    for workers in [1, 4, 16] {
        client.batch_execute(&reset)?;
        client.batch_execute("VACUUM chunk")?;
        let timed = timed_claims(&place.url, scan, workers)?;
        if workers == 1 {
            alone = timed.rate;
        }
        cells.push(timed.text);
    }
    let mut reporter = Client::connect(&place.url, NoTls)?;
    let mut old = reporter
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .start()?;
    old.query_one("SELECT count(*) FROM chunk", &[])?;
    for _ in 0..20 {
        client.batch_execute(&reset)?;
    }
    cells.push(timed_claims(&place.url, scan, 1)?.text);
    old.commit()?;
    let (text, rate) = predecessor::claims(&mut client, scan, done_before, CLAIMS)?;
    cells.push(text);
    println!(
        "| {size} | {name} | {} | {:.0} |",
        cells.join(" | "),
        alone / rate.max(0.001)
    );
    Ok(())
}

/// How long claims took, and how many inodes a second they gave.
struct Timed {
    text: String,
    rate: f64,
}

/// Claims by several workers at once, each with a catalogue of its own.
fn timed_claims(url: &str, scan: ScanId, workers: usize) -> Result<Timed> {
    let (claimed, ready) = (AtomicU64::new(0), Barrier::new(workers + 1));
    let claims = CLAIMS / workers + 4;
    let (walls, spent) = thread::scope(
        |scope| -> std::result::Result<(Vec<Duration>, Duration), ntt_catalogue::Error> {
            let threads: Vec<_> = (0..workers)
                .map(|_| scope.spawn(|| claim_some(url, scan, claims, &claimed, &ready)))
                .collect();
            ready.wait();
            let begun = Instant::now();
            let mut walls = Vec::new();
            for thread in threads {
                walls.extend(
                    thread
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
                );
            }
            Ok((walls, begun.elapsed()))
        },
    )?;
    let rate = as_float(claimed.into_inner() * 16) / 16.0 / spent.as_secs_f64();
    Ok(Timed {
        text: format!("{} ({rate:.0}/s)", percentiles(walls)),
        rate,
    })
}

fn claim_some(
    url: &str,
    scan: ScanId,
    claims: usize,
    claimed: &AtomicU64,
    ready: &Barrier,
) -> std::result::Result<Vec<Duration>, ntt_catalogue::Error> {
    let catalogue = PostgresCatalogue::open(url, None);
    let worker = catalogue
        .as_ref()
        .ok()
        .map(|catalogue| catalogue.register_worker("bench"));
    // Also when something failed: the others wait.
    ready.wait();
    let (catalogue, mut walls) = (catalogue?, Vec::new());
    let Some(worker) = worker.transpose()? else {
        return Ok(walls);
    };
    for _ in 0..claims {
        let begun = Instant::now();
        let Some(chunk) = catalogue.claim_chunk(scan, worker)? else {
            break;
        };
        walls.push(begun.elapsed());
        claimed.fetch_add(u64::try_from(chunk.items.len()).unwrap_or(0), Ordering::Relaxed);
    }
    Ok(walls)
}
