//! Measures the catalogue in a PostgreSQL server beside what it is compared with: bare binary COPY, and the SQL of its predecessor.
//!
//! `cargo run --release -p ntt-catalogue --example postgres_bench -- [INODES [LOADS_BEFORE]]` starts a throw-away server of its own.

#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ntt_catalogue::postgres::{PostgresCatalogue, init};
use ntt_catalogue::rows::ChunkResult;
use ntt_catalogue::{Catalogue, Labels};
use ntt_model::ScanId;
use ntt_model::entry::ScanCounts;
use ntt_testkit::postgres::PostgresServer;
use postgres::{Client, NoTls};

#[path = "postgres_bench/predecessor.rs"]
mod predecessor;
mod synthetic;

use synthetic::{BATCH, FILES, Result, begin, cpu_time, push_directory, stored};

/// Inodes of the drain.
const DRAINED: u64 = 300_000;
/// Claims that are timed in each cell.
const CLAIMS: usize = 60;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let inodes: u64 = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let before: u8 = arguments.next().map_or(Ok(2), |text| text.parse())?;
    // As a site would run it, but for the memory of this machine.
    let settings = [
        "fsync=on",
        "full_page_writes=on",
        "shared_buffers=1GB",
        "max_wal_size=4GB",
    ];
    let Some(server) = PostgresServer::start_with(&settings) else {
        return Ok(());
    };
    let bench = Bench { server };
    bench.loads(inodes, before)?;
    bench.sizes(inodes / 5)?;
    bench.claims(inodes)?;
    bench.drains()
}

struct Bench {
    server: PostgresServer,
}

/// A database with a catalogue.
struct Place {
    url: String,
    catalogue: PostgresCatalogue,
}

impl Bench {
    fn place(&self, name: &str) -> Result<Place> {
        let url = self.server.create_database(name, None);
        init(&url)?;
        let catalogue = PostgresCatalogue::open(&url, None)?;
        Ok(Place { url, catalogue })
    }

    /// User and system time of this process and of all of the server's.
    fn cpu(&self) -> Result<Duration> {
        Ok(cpu_time()? + self.server.cpu_time()?)
    }

    fn load(&self, place: &Place, medium: u8, inodes: u64, links: u64) -> Result<(ScanId, Duration)> {
        let scan = begin(&place.catalogue, medium)?;
        let mut counts = ScanCounts::default();
        let mut batch = Vec::with_capacity(BATCH * 2);
        let mut spent = Duration::ZERO;
        for directory in 0..inodes.div_ceil(FILES) {
            push_directory(&mut batch, directory, inodes, links);
            if batch.len() >= BATCH {
                spent += self.append(place, scan, &mut batch, &mut counts)?;
            }
        }
        spent += self.append(place, scan, &mut batch, &mut counts)?;
        let start = self.cpu()?;
        place.catalogue.seal_scan(scan, &counts, &Labels::NONE)?;
        Ok((scan, spent + self.cpu()?.saturating_sub(start)))
    }

    fn append(
        &self,
        place: &Place,
        scan: ScanId,
        batch: &mut Vec<ntt_model::ScanEvent>,
        counts: &mut ScanCounts,
    ) -> Result<Duration> {
        batch.iter().for_each(|event| counts.add(event));
        let start = cpu_time()?;
        place.catalogue.append(scan, batch)?;
        batch.clear();
        Ok(cpu_time()?.saturating_sub(start))
    }

    /// The floor: the rows of a scan into tables of the same columns, unlogged, without an index.
    fn floor(&self, place: &Place, scan: ScanId) -> Result<Duration> {
        let mut client = Client::connect(&place.url, NoTls)?;
        let mut spent = Duration::ZERO;
        for table in ["dir", "path", "inode", "stream"] {
            let mut rows = Vec::new();
            let from = format!("COPY {table}_{scan} TO STDOUT (FORMAT binary)");
            client.copy_out(&from)?.read_to_end(&mut rows)?;
            client.batch_execute(&format!(
                "CREATE UNLOGGED TABLE floor_{table} (LIKE {table}_{scan})"
            ))?;
            let start = self.cpu()?;
            let mut into = client.copy_in(&format!("COPY floor_{table} FROM STDIN (FORMAT binary)"))?;
            for piece in rows.chunks(1 << 16) {
                into.write_all(piece)?;
            }
            into.finish()?;
            spent += self.cpu()?.saturating_sub(start);
            client.batch_execute(&format!("DROP TABLE floor_{table}"))?;
        }
        Ok(spent)
    }

    fn loads(&self, inodes: u64, before: u8) -> Result<()> {
        let place = self.place("loads")?;
        println!("### Load, {inodes} inodes with one name each, CPU of client and server\n");
        let (scan, empty) = self.load(&place, 0, inodes, 1)?;
        let floor = self.floor(&place, scan)?;
        println!("| what | CPU s | times the floor |\n|---|---|---|");
        let line = |what: &str, spent: Duration| {
            let times = spent.as_secs_f64() / floor.as_secs_f64();
            println!("| {what} | {:.2} | {times:.2} |", spent.as_secs_f64());
        };
        line("binary COPY into unlogged tables without an index", floor);
        line("a scan, from events to sealed, into an empty catalogue", empty);
        println!();
        self.print_size(&place, inodes)?;
        for medium in 1..=before {
            self.load(&place, medium, inodes, 1)?;
        }
        let (_, last) = self.load(&place, before + 1, inodes, 1)?;
        let held = u64::from(before + 1) * inodes;
        println!(
            "\nThe same into a catalogue that holds {held} inodes: {:.2} s, {:.2} times.\n",
            last.as_secs_f64(),
            last.as_secs_f64() / empty.as_secs_f64()
        );
        line(
            "the predecessor's procedure for the same paths",
            self.predecessor_load(&place, scan)?,
        );
        Ok(())
    }

    fn predecessor_load(&self, place: &Place, scan: ScanId) -> Result<Duration> {
        let mut client = Client::connect(&place.url, NoTls)?;
        let rows = predecessor::rows_of(&mut client, scan)?;
        let start = self.cpu()?;
        predecessor::load(&mut client, &rows)?;
        Ok(self.cpu()?.saturating_sub(start))
    }

    fn print_size(&self, place: &Place, paths: u64) -> Result<()> {
        let mut client = Client::connect(&place.url, NoTls)?;
        let sql = "SELECT sum(pg_table_size(oid))::int8, sum(pg_indexes_size(oid))::int8 FROM pg_class \
                   WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname !~ '^(floor_|old_)'";
        let row = client.query_one(sql, &[])?;
        let (tables, indexes): (i64, i64) = (row.get(0), row.get(1));
        let per = |bytes: i64| {
            f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) * 1024.0 / as_float(paths)
        };
        println!(
            "size: {:.0} bytes per path, of which indexes {:.0}",
            per(tables + indexes),
            per(indexes)
        );
        Ok(())
    }

    fn sizes(&self, inodes: u64) -> Result<()> {
        let place = self.place("five")?;
        self.load(&place, 0, inodes, 5)?;
        println!("\n### {inodes} inodes with five names each\n");
        self.print_size(&place, inodes * 5)
    }

    fn claims(&self, inodes: u64) -> Result<()> {
        println!("\n### Claims of up to 512 inodes, {inodes} inodes; wall ms p50 / p99\n");
        println!(
            "| queue | 1 worker | 4 workers | 16 workers | 1 worker, old snapshot held | predecessor, 1 inode |"
        );
        println!("|---|---|---|---|---|---|");
        for (index, (name, condition)) in [
            ("full", "false"),
            ("half", "id % 2 = 0"),
            ("1 %", "id % 100 <> 0"),
            ("last 1,000", "id > (SELECT min(id) + 1 FROM chunk)"),
        ]
        .into_iter()
        .enumerate()
        {
            let place = self.place(&format!("claims{index}"))?;
            let (scan, _) = self.load(&place, 0, inodes, 1)?;
            let mut client = Client::connect(&place.url, NoTls)?;
            let reset = format!(
                "UPDATE chunk SET state = 0, owner = NULL WHERE state = 1; UPDATE chunk SET state = 2 WHERE {condition}"
            );
            let mut cells = Vec::new();
            for workers in [1, 4, 16] {
                client.batch_execute(&reset)?;
                client.batch_execute("VACUUM chunk")?;
                cells.push(timed_claims(&place.url, scan, workers)?);
            }
            let mut reporter = Client::connect(&place.url, NoTls)?;
            let mut old = reporter
                .build_transaction()
                .isolation_level(postgres::IsolationLevel::RepeatableRead)
                .start()?;
            old.query_one("SELECT count(*) FROM chunk", &[])?;
            for _ in 0..20 {
                client.batch_execute(&reset)?;
            }
            cells.push(timed_claims(&place.url, scan, 1)?);
            old.commit()?;
            cells.push(predecessor::claims(&mut client, scan, condition, CLAIMS)?);
            println!("| {name} | {} |", cells.join(" | "));
        }
        Ok(())
    }

    fn drains(&self) -> Result<()> {
        println!("\n### Drain of {DRAINED} inodes with results, 4 workers, every content new\n");
        println!("| how | inodes/s | CPU ms per inode | WAL bytes per inode |\n|---|---|---|---|");
        let place = self.place("drain")?;
        let (scan, _) = self.load(&place, 0, DRAINED, 1)?;
        let again = begin_again(self, &place)?;
        self.drained(&place, "leases, results by COPY", || drain(&place.url, scan))?;
        self.drained(&place, "the same, every content known", || {
            drain(&place.url, again)
        })?;
        let mut client = Client::connect(&place.url, NoTls)?;
        for batch in [50, 500] {
            predecessor::prepare_queue(&mut client, scan)?;
            let what = format!("predecessor: claim {batch} by UPDATE, UPDATE when done");
            self.drained(&place, &what, || predecessor::drain(&place.url, batch))?;
        }
        Ok(())
    }

    fn drained(&self, place: &Place, what: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut client = Client::connect(&place.url, NoTls)?;
        client.batch_execute("CHECKPOINT")?;
        let wal = |client: &mut Client| -> Result<u64> {
            let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::int8";
            Ok(client.query_one(sql, &[])?.get::<_, i64>(0).cast_unsigned())
        };
        let (wal_before, cpu, wall) = (wal(&mut client)?, self.cpu()?, Instant::now());
        work()?;
        let (wall, cpu) = (wall.elapsed(), self.cpu()?.saturating_sub(cpu));
        let inodes = as_float(DRAINED);
        println!(
            "| {what} | {:.0} | {:.4} | {:.0} |",
            inodes / wall.as_secs_f64(),
            cpu.as_secs_f64() * 1000.0 / inodes,
            as_float(wal(&mut client)? - wal_before) / inodes
        );
        Ok(())
    }
}

/// A second medium with the same contents.
fn begin_again(bench: &Bench, place: &Place) -> Result<ScanId> {
    Ok(bench.load(place, 1, DRAINED, 1)?.0)
}

fn as_float(value: u64) -> f64 {
    u32::try_from(value / 16).map_or(f64::MAX, f64::from) * 16.0
}

/// Claims by several workers at once, each with a catalogue of its own.
fn timed_claims(url: &str, scan: ScanId, workers: usize) -> Result<String> {
    let claimed = AtomicU64::new(0);
    let walls = thread::scope(
        |scope| -> std::result::Result<Vec<Duration>, ntt_catalogue::Error> {
            let threads: Vec<_> = (0..workers)
                .map(|_| scope.spawn(|| claim_some(url, scan, CLAIMS / workers.min(CLAIMS) + 4, &claimed)))
                .collect();
            let mut walls = Vec::new();
            for thread in threads {
                walls.extend(
                    thread
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
                );
            }
            Ok(walls)
        },
    )?;
    Ok(format!("{} ({})", percentiles(walls), claimed.into_inner()))
}

fn claim_some(
    url: &str,
    scan: ScanId,
    claims: usize,
    claimed: &AtomicU64,
) -> std::result::Result<Vec<Duration>, ntt_catalogue::Error> {
    let catalogue = PostgresCatalogue::open(url, None)?;
    let worker = catalogue.register_worker("bench")?;
    let mut walls = Vec::new();
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

/// Median and 99th percentile in milliseconds.
fn percentiles(mut walls: Vec<Duration>) -> String {
    walls.sort_unstable();
    let at = |part: usize| walls.get(walls.len() * part / 100).or(walls.last()).copied();
    let millis = |time: Option<Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    format!("{:.2} / {:.2}", millis(at(50)), millis(at(99)))
}

/// Four workers, a chunk and its results at a time.
fn drain(url: &str, scan: ScanId) -> Result<()> {
    thread::scope(|scope| -> std::result::Result<(), ntt_catalogue::Error> {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| drain_one(url, scan))).collect();
        for worker in workers {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(())
    })?;
    Ok(())
}

fn drain_one(url: &str, scan: ScanId) -> std::result::Result<(), ntt_catalogue::Error> {
    let catalogue = PostgresCatalogue::open(url, None)?;
    let worker = catalogue.register_worker("bench")?;
    while let Some(chunk) = catalogue.claim_chunk(scan, worker)? {
        let result = ChunkResult {
            chunk: chunk.id,
            epoch: chunk.epoch,
            streams: chunk.items.iter().map(|item| stored(item.inode.number)).collect(),
            findings: Vec::new(),
        };
        catalogue.complete_chunks(worker, &[result])?;
    }
    catalogue.retire_worker(worker)
}
