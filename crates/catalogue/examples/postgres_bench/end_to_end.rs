//! From the events of a scan to an empty queue: load, cut, lease, complete, with nothing that copies.

use std::time::{Duration, Instant};

use ntt_catalogue::Catalogue;
use postgres::{Client, NoTls};

use crate::synthetic::Result;
use crate::{Bench, as_float, drains};

/// What the cost of a path is compared with.
const FEW: u64 = 1_000_000;

/// One way through.
struct Way {
    load: Duration,
    drain: Duration,
    wall: Duration,
    peak_mib: u64,
}

/// Runs a million inodes and then `inodes`, each in a catalogue of its own.
pub(crate) fn run(bench: &Bench, inodes: u64) -> Result<()> {
    println!(
        "### End to end: events, load, chunks, drain by 4 workers into nothing; CPU of client and server\n"
    );
    println!(
        "| paths | load, us a path | drain, us a path | together | times the first | wall s | peak memory of the client, MiB |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|");
    let mut first = None;
    for paths in [FEW.min(inodes), inodes] {
        let way = through(bench, paths)?;
        let micros = |spent: Duration| spent.as_secs_f64() * 1e6 / as_float(paths);
        let all = micros(way.load + way.drain);
        println!(
            "| {paths} | {:.2} | {:.2} | {all:.2} | {:.2} | {:.0} | {} |",
            micros(way.load),
            micros(way.drain),
            all / *first.get_or_insert(all),
            way.wall.as_secs_f64(),
            way.peak_mib
        );
    }
    println!();
    Ok(())
}

fn through(bench: &Bench, inodes: u64) -> Result<Way> {
    let (name, begun) = (format!("way_{inodes}"), Instant::now());
    let place = bench.place(&name)?;
    let (scan, load) = bench.load(&place, 0, inodes, 1)?;
    let cpu = bench.cpu()?;
    drains::drain(&place.url, scan, true)?;
    let drain = bench.cpu()?.saturating_sub(cpu);
    let stored: i64 = Client::connect(&place.url, NoTls)?
        .query_one(
            &format!("SELECT count(*) FROM result_{scan} WHERE state = 1"),
            &[],
        )?
        .get(0);
    if stored.cast_unsigned() != inodes || place.catalogue.progress(scan)?.free_chunks > 0 {
        return Err(format!("{stored} of {inodes} were stored").into());
    }
    bench.drop_place(&name, place)?;
    Ok(Way {
        load,
        drain,
        wall: begun.elapsed(),
        peak_mib: peak_mib(),
    })
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}
