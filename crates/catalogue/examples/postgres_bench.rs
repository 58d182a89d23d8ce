//! Measures the catalogue in a PostgreSQL server beside what it is compared with: bare binary COPY, and the SQL of its predecessor.
//!
//! `cargo run --release -p ntt-catalogue --example postgres_bench -- [INODES [LOADS_BEFORE [END_TO_END [PART...]]]]` starts a throw-away server of its
//! own. LOADS_BEFORE loads fill the catalogue before the last one is timed. END_TO_END inodes go from events to an empty queue, after a million that do
//! the same; none if it is 0. Parts are `loads`, `sizes`, `claims` and `drains`; all if none is named.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its output is its purpose"
)]

use std::io::{Read, Write};
use std::time::Duration;

use ntt_catalogue::postgres::{PostgresCatalogue, init};
use ntt_catalogue::{Catalogue, Labels};
use ntt_model::ScanId;
use ntt_model::entry::ScanCounts;
use ntt_testkit::postgres::PostgresServer;
use postgres::{Client, NoTls};

#[path = "postgres_bench/claims.rs"]
mod claims;
#[path = "postgres_bench/drains.rs"]
mod drains;
#[path = "postgres_bench/end_to_end.rs"]
mod end_to_end;
#[path = "postgres_bench/floor.rs"]
mod floor;
#[path = "postgres_bench/predecessor.rs"]
mod predecessor;
mod synthetic;

use synthetic::{BATCH, FILES, Result, begin, cpu_time, push_directory};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let inodes: u64 = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let before: u8 = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let end_to_end: u64 = arguments.next().map_or(Ok(0), |text| text.parse())?;
    let parts: Vec<String> = arguments.collect();
    let is_wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
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
    // First, since what is told of memory is the most that the process ever had.
    if end_to_end > 0 {
        end_to_end::run(&bench, end_to_end)?;
    }
    if is_wanted("loads") {
        bench.loads(inodes, before)?;
    }
    if is_wanted("sizes") {
        bench.sizes(inodes / 5)?;
    }
    if is_wanted("claims") {
        claims::run(&bench, inodes)?;
    }
    if is_wanted("drains") {
        drains::run(&bench)?;
    }
    Ok(())
}

/// So many inodes show what the predecessor's procedure costs.
const PREDECESSOR_INODES: u64 = 200_000;

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

    /// Gives the disk back.
    fn drop_place(&self, name: &str, place: Place) -> Result<()> {
        drop(place);
        let mut client = Client::connect(&self.server.url("postgres"), NoTls)?;
        client.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)"))?;
        Ok(())
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
        let size = self.size(&place, inodes)?;
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
        println!("{size}\n");
        self.drop_place("loads", place)?;
        self.beside_the_predecessor(inodes.min(PREDECESSOR_INODES))
    }

    /// The same load by ours and by the predecessor's procedure, which takes many times as long.
    fn beside_the_predecessor(&self, inodes: u64) -> Result<()> {
        let place = self.place("predecessor")?;
        let (scan, ours) = self.load(&place, 0, inodes, 1)?;
        let theirs = self.predecessor_load(&place, scan)?;
        println!(
            "The predecessor's procedure for {inodes} inodes: {:.2} s, {:.1} times ours ({:.2} s).",
            theirs.as_secs_f64(),
            theirs.as_secs_f64() / ours.as_secs_f64(),
            ours.as_secs_f64()
        );
        self.drop_place("predecessor", place)
    }

    fn predecessor_load(&self, place: &Place, scan: ScanId) -> Result<Duration> {
        let mut client = Client::connect(&place.url, NoTls)?;
        let rows = predecessor::rows_of(&mut client, scan)?;
        let start = self.cpu()?;
        predecessor::load(&mut client, &rows)?;
        Ok(self.cpu()?.saturating_sub(start))
    }

    fn size(&self, place: &Place, paths: u64) -> Result<String> {
        let mut client = Client::connect(&place.url, NoTls)?;
        let sql = "SELECT sum(pg_table_size(oid))::int8, sum(pg_indexes_size(oid))::int8 FROM pg_class \
                   WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname !~ '^(floor_|old_)'";
        let row = client.query_one(sql, &[])?;
        let (tables, indexes): (i64, i64) = (row.get(0), row.get(1));
        let per = |bytes: i64| {
            f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) * 1024.0 / as_float(paths)
        };
        Ok(format!(
            "size: {:.0} bytes per path, of which indexes {:.0}",
            per(tables + indexes),
            per(indexes)
        ))
    }

    fn sizes(&self, inodes: u64) -> Result<()> {
        let place = self.place("five")?;
        self.load(&place, 0, inodes, 5)?;
        println!("\n### {inodes} inodes with five names each\n");
        println!("{}", self.size(&place, inodes * 5)?);
        self.drop_place("five", place)
    }
}

fn as_float(value: u64) -> f64 {
    u32::try_from(value / 16).map_or(f64::MAX, f64::from) * 16.0
}

/// Median and 99th percentile in milliseconds.
fn percentiles(mut walls: Vec<Duration>) -> String {
    walls.sort_unstable();
    let at = |part: usize| walls.get(walls.len() * part / 100).or(walls.last()).copied();
    let millis = |time: Option<Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    format!("{:.2} / {:.2}", millis(at(50)), millis(at(99)))
}
