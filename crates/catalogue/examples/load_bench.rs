//! Measures the embedded catalogue: loading (CPU time and size), claiming, and what passes over a whole scan.
//!
//! `cargo run --release -p ntt-catalogue --example load_bench -- [INODES [PATHS_PER_INODE]]`

#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ntt_catalogue::query::{FindQuery, StateFilter};
use ntt_catalogue::rows::{ChunkResult, MediumKind, NewMedium, NewScan, NewVolume};
use ntt_catalogue::sqlite::SqliteCatalogue;
use ntt_catalogue::{Catalogue, Labels};
use ntt_host::SystemClock;
use ntt_model::entry::{Allocation, Directory, Encoding, Inode, Name, ScanCounts, Stream, StreamKind};
use ntt_model::time::Times;
use ntt_model::{
    BlobHash, ByteRange, Extent, ExtentKind, Kind, MediumId, Namespace, Outcome, ScanEvent, ScanId, Timestamp,
};

/// Files of a directory.
const FILES: u64 = 20;
/// Events of one append.
const BATCH: usize = 8192;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

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
    let scan = begin(catalogue)?;
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

fn begin(catalogue: &SqliteCatalogue) -> Result<ScanId> {
    let medium = catalogue.add_medium(&NewMedium {
        id: MediumId::from_bytes([1; 16]),
        kind: MediumKind::Image,
        label: String::new(),
        source_name: "bench".to_owned(),
    })?;
    let volume = catalogue.put_volume(
        medium,
        &NewVolume {
            number: 1,
            range: ByteRange::new(0, 1 << 40),
            verdict: "readable".to_owned(),
            type_name: "ext4".to_owned(),
            label: String::new(),
            uuid: String::new(),
            digest: None,
            same_as: None,
            layer_json: "{}".to_owned(),
        },
    )?;
    Ok(catalogue.begin_scan(&NewScan {
        volume,
        reader: "ext".to_owned(),
        root: 2,
        previous: None,
    })?)
}

/// A directory with its files; hard links are further names of the same inodes in the same directory. Names are 18 bytes on average.
fn push_directory(batch: &mut Vec<ScanEvent>, index: u64, inodes: u64, links: u64) {
    let inode = if index == 0 { 2 } else { 1_000_000_000 + index };
    batch.push(ScanEvent::Directory(Directory {
        inode,
        parent: (index > 0).then(|| if index < 16 { 2 } else { 1_000_000_000 + index / 16 }),
        name: if index == 0 {
            Vec::new()
        } else {
            format!("folder {index}").into_bytes()
        },
        namespace: Namespace::Native,
    }));
    let numbers = index * FILES..inodes.min((index + 1) * FILES);
    for number in numbers {
        for link in 0..links {
            batch.push(ScanEvent::Name(Name {
                directory: inode,
                name: format!("image_{number:07}-{link}.jpg").into_bytes(),
                inode: 12 + number,
                namespace: Namespace::Native,
                alternate: false,
                allocation: Allocation::Allocated,
            }));
        }
        batch.push(ScanEvent::Inode(Box::new(file(number))));
    }
}

/// What ext4 keeps of a file: four times to the nanosecond, a random generation, one extent.
fn file(number: u64) -> Inode {
    let noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let size = 500 + noise % 9000;
    let time = |bits: u64| {
        Some(Timestamp::from_nanos(
            1_100_000_000_000_000_000 + (bits >> 10).cast_signed(),
        ))
    };
    Inode {
        number: 12 + number,
        generation: noise >> 32,
        kind: Kind::File,
        mode: Some(0o644),
        uid: Some(1000),
        gid: Some(1000),
        links: 1,
        times: Times {
            modified: time(noise),
            accessed: time(noise.wrapping_mul(3)),
            changed: time(noise),
            created: time(noise),
            deleted: None,
        },
        target: None,
        device: None,
        flags: 0x8_0000,
        streams: vec![Stream {
            kind: StreamKind::Data,
            size_bytes: size,
            extents: vec![Extent {
                logical_offset: 0,
                image_offset: (1 << 30) + number * 12_288,
                len: size.next_multiple_of(4096),
                kind: ExtentKind::Data,
            }],
            encoding: Encoding::Plain,
            extents_incomplete: false,
        }],
        xattrs: Vec::new(),
        allocation: Allocation::Allocated,
    }
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
                streams: chunk.items.iter().map(|item| stored(item.inode.number)).collect(),
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

fn stored(inode: u64) -> ntt_catalogue::rows::StreamResult {
    let content = inode.to_le_bytes();
    ntt_catalogue::rows::StreamResult {
        inode,
        stream: 0,
        outcome: Outcome::Stored {
            blob: BlobHash::of(&content),
            size: 8,
        },
        sha256: None,
        content_type: None,
    }
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// User and system time of this process.
fn cpu_time() -> Result<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Ok(Duration::new(
        u64::try_from(time.tv_sec)?,
        u32::try_from(time.tv_nsec)?,
    ))
}
