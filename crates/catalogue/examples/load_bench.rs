//! Measures the embedded catalogue: loading (CPU time and size), claiming, and what passes over a whole scan.
//!
//! `cargo run --release -p ntt-catalogue --example load_bench -- [INODES [PATHS_PER_INODE]]`

#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use ntt_catalogue::query::{FindQuery, StateFilter};
use ntt_catalogue::rows::ChunkResult;
use ntt_catalogue::sqlite::SqliteCatalogue;
use ntt_catalogue::{Catalogue, Labels};
use ntt_host::SystemClock;
use ntt_model::ScanId;
use ntt_model::entry::ScanCounts;

mod synthetic;

use synthetic::{BATCH, FILES, Result, begin, cpu_time, push_directory, stored};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let inodes: u64 = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let links: u64 = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("catalogue.db");
    let catalogue = SqliteCatalogue::open(&path, Arc::new(SystemClock))?;
    let scan = load(&catalogue, inodes, links)?;
    drop(catalogue);
    let bytes = std::fs::metadata(&path)?.len();
    println!("size: {:.1} bytes per path", ratio(bytes, inodes * links));
    let catalogue = SqliteCatalogue::open(&path, Arc::new(SystemClock))?;
    drain(&catalogue, scan)?;
    passes(&catalogue, scan)
}

/// What looks at every row of a scan.
fn passes(catalogue: &SqliteCatalogue, scan: ScanId) -> Result<()> {
    let rules = ["odd".to_owned()];
    let half = Labels {
        rules: &rules,
        rule_of: &|path| (path.inode % 2 == 1).then_some(0),
    };
    timed("census", || catalogue.census(scan).map(drop))?;
    timed("relabel, half excluded", || {
        catalogue.relabel(scan, &half).map(drop)
    })?;
    timed("relabel, none excluded", || {
        catalogue.relabel(scan, &Labels::NONE).map(drop)
    })?;
    let stored = FindQuery {
        states: vec![StateFilter::Stored],
        ..FindQuery::default()
    };
    timed("find by state", || catalogue.find(&stored, &mut |_| Ok(())))
}

fn timed(what: &str, work: impl FnOnce() -> std::result::Result<(), ntt_catalogue::Error>) -> Result<()> {
    let start = cpu_time()?;
    work()?;
    println!("{what}: {:.2?} of CPU", cpu_time()?.saturating_sub(start));
    Ok(())
}

fn load(catalogue: &SqliteCatalogue, inodes: u64, links: u64) -> Result<ScanId> {
    let scan = begin(catalogue, 1)?;
    let mut counts = ScanCounts::default();
    let mut batch = Vec::with_capacity(BATCH * 2);
    let mut spent = Duration::ZERO;
    for directory in 0..inodes.div_ceil(FILES) {
        push_directory(&mut batch, directory, inodes, links);
        if batch.len() >= BATCH {
            batch.iter().for_each(|event| counts.add(event));
            let start = cpu_time()?;
            catalogue.append(scan, &batch)?;
            spent += cpu_time()?.saturating_sub(start);
            batch.clear();
        }
    }
    batch.iter().for_each(|event| counts.add(event));
    let start = cpu_time()?;
    catalogue.append(scan, &batch)?;
    let rows = spent + cpu_time()?.saturating_sub(start);
    let start = cpu_time()?;
    let report = catalogue.seal_scan(scan, &counts, &Labels::NONE)?;
    let seal = cpu_time()?.saturating_sub(start);
    let paths = inodes * links;
    println!(
        "load: {paths} paths, {} chunks; rows {:.2} s, seal {:.2} s of CPU; {:.0} paths per CPU second",
        report.chunks,
        rows.as_secs_f64(),
        seal.as_secs_f64(),
        ratio(paths, 1) / (rows + seal).as_secs_f64()
    );
    Ok(scan)
}

fn ratio(of: u64, to: u64) -> f64 {
    let float = |value: u64| u32::try_from(value / 16).map_or(f64::MAX, f64::from) * 16.0;
    if to == 1 { float(of) } else { float(of) / float(to) }
}

/// Claims from full to empty; every hundredth chunk is completed.
fn drain(catalogue: &SqliteCatalogue, scan: ScanId) -> Result<()> {
    let worker = catalogue.register_worker("bench")?;
    let mut walls = Vec::new();
    let start = cpu_time()?;
    loop {
        let begun = Instant::now();
        let Some(chunk) = catalogue.claim_chunk(scan, worker)? else {
            break;
        };
        walls.push(begun.elapsed());
        if walls.len() % 100 == 0 {
            let result = ChunkResult {
                chunk: chunk.id,
                epoch: chunk.epoch,
                streams: chunk.items.iter().map(|item| stored(item.inode, true)).collect(),
                findings: Vec::new(),
            };
            catalogue.complete_chunks(worker, &[result])?;
        }
    }
    let spent = cpu_time()?.saturating_sub(start);
    let thirds: Vec<_> = walls.chunks(walls.len().div_ceil(3).max(1)).map(median).collect();
    println!(
        "claim: {} chunks, {spent:?} of CPU in all; p50 (wall) of each third {thirds:?}",
        walls.len()
    );
    Ok(())
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
