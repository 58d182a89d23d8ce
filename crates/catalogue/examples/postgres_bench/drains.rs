//! Draining a queue with results, beside the predecessor's way.

use std::thread;
use std::time::Instant;

use ntt_catalogue::Catalogue;
use ntt_catalogue::postgres::PostgresCatalogue;
use ntt_catalogue::rows::ChunkResult;
use ntt_model::ScanId;
use postgres::{Client, NoTls};

use crate::synthetic::{Result, stored};
use crate::{Bench, Place, as_float, floor, predecessor};

/// Inodes of the drain.
const DRAINED: u64 = 300_000;

/// Drains a queue in our way and in the predecessor's.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    println!("\n### Drain of {DRAINED} inodes with results, 4 workers, every content new\n");
    println!(
        "| how | inodes/s | CPU ms per inode | WAL bytes per inode | of the first's inodes/s |\n|---|---|---|---|---|"
    );
    let place = bench.place("drain")?;
    let (scan, _) = bench.load(&place, 0, DRAINED, 1)?;
    let (again, _) = bench.load(&place, 1, DRAINED, 1)?;
    let mut first = None;
    drained(bench, &place, "leases, results by COPY", &mut first, || {
        drain(&place.url, scan, true)
    })?;
    drained(bench, &place, "the same, every content known", &mut first, || {
        drain(&place.url, again, false)
    })?;
    let mut client = Client::connect(&place.url, NoTls)?;
    for (is_new, what) in [(true, "contents and results"), (false, "results")] {
        floor::prepare(&mut client, scan)?;
        let what = format!("nothing but COPY of these {what}");
        drained(bench, &place, &what, &mut first, || {
            floor::fill(&place.url, scan, DRAINED, is_new)
        })?;
    }
    for (batch, is_indexed) in [(50, false), (500, false), (50, true), (500, true)] {
        predecessor::prepare_queue(&mut client, scan)?;
        let mut what = format!("predecessor: claim {batch} by UPDATE, UPDATE when done");
        if is_indexed {
            // As ours, it can then tell where a content stands.
            predecessor::index_queue(&mut client)?;
            what += ", all indexes of its production";
        }
        drained(bench, &place, &what, &mut first, || {
            predecessor::drain(&place.url, batch)
        })?;
    }
    bench.drop_place("drain", place)
}

/// Times one way, and counts what it writes to the log.
fn drained(
    bench: &Bench,
    place: &Place,
    what: &str,
    first: &mut Option<f64>,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let mut client = Client::connect(&place.url, NoTls)?;
    client.batch_execute("CHECKPOINT")?;
    let wal = |client: &mut Client| -> Result<u64> {
        let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::int8";
        Ok(client.query_one(sql, &[])?.get::<_, i64>(0).cast_unsigned())
    };
    let (wal_before, cpu, wall) = (wal(&mut client)?, bench.cpu()?, Instant::now());
    work()?;
    let (wall, cpu) = (wall.elapsed(), bench.cpu()?.saturating_sub(cpu));
    let inodes = as_float(DRAINED);
    let rate = inodes / wall.as_secs_f64();
    println!(
        "| {what} | {rate:.0} | {:.4} | {:.0} | 1/{:.1} |",
        cpu.as_secs_f64() * 1000.0 / inodes,
        as_float(wal(&mut client)? - wal_before) / inodes,
        *first.get_or_insert(rate) / rate
    );
    Ok(())
}

/// Chunks whose results are recorded together. A worker tells the catalogue when its store has made a batch of contents durable: that is after 64 MiB
/// or some thousand contents, more than these.
const TOGETHER: usize = 8;

/// Four workers, some chunks and their results at a time.
pub(crate) fn drain(url: &str, scan: ScanId, is_new: bool) -> Result<()> {
    thread::scope(|scope| -> std::result::Result<(), ntt_catalogue::Error> {
        let workers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| drain_one(url, scan, is_new)))
            .collect();
        for worker in workers {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(())
    })?;
    Ok(())
}

fn drain_one(url: &str, scan: ScanId, is_new: bool) -> std::result::Result<(), ntt_catalogue::Error> {
    let catalogue = PostgresCatalogue::open(url, None)?;
    let worker = catalogue.register_worker("bench")?;
    let mut results = Vec::with_capacity(TOGETHER);
    while let Some(chunk) = catalogue.claim_chunk(scan, worker)? {
        results.push(ChunkResult {
            chunk: chunk.id,
            epoch: chunk.epoch,
            streams: chunk
                .items
                .iter()
                .map(|item| stored(item.inode, is_new))
                .collect(),
            findings: Vec::new(),
        });
        if results.len() == TOGETHER {
            catalogue.complete_chunks(worker, &std::mem::take(&mut results))?;
        }
    }
    catalogue.complete_chunks(worker, &results)?;
    catalogue.retire_worker(worker)
}
