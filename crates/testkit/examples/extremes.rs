//! Scans a volume at the edge of its format and tells what that cost, or writes it to a sparse file for other tools.
//!
//!     extremes fat-wide|fat-deep|fat-fragmented|ext-wide|ext-deep|ext-fragmented|iso-wide|iso-deep|hfsplus-wide|hfsplus-deep|hfsplus-fragmented COUNT [FILE]
//!
//! The cost holds that of computing the volume: a reader alone is faster.

#![allow(clippy::print_stdout, reason = "a command line tool")]

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use ntt_filesystem::{ScanOptions, open, probe};
use ntt_model::ScanEvent;
use ntt_model::entry::ScanCounts;
use ntt_source::ReadAt;
use ntt_testkit::extremes::{ext, fat, hfsplus, iso9660, ntfs};
use ntt_testkit::synthetic::Synthetic;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (case, count) = match words.as_slice() {
        [case, count, ..] => (case, count.parse()?),
        _ => return Err("usage: extremes CASE COUNT [FILE]".into()),
    };
    let image = match case.as_str() {
        "fat-wide" => fat::wide(count),
        "fat-deep" => fat::deep(count),
        "fat-fragmented" => fat::fragmented(count),
        "ext-wide" => ext::wide(count),
        "ext-deep" => ext::deep(count),
        "ext-fragmented" => ext::fragmented(count),
        "iso-wide" => iso9660::wide(count),
        "iso-deep" => iso9660::deep(count),
        "ntfs-wide" => ntfs::wide(count),
        "ntfs-deep" => ntfs::deep(count),
        "hfsplus-wide" => hfsplus::wide(count),
        "hfsplus-deep" => hfsplus::deep(count),
        "hfsplus-fragmented" => hfsplus::fragmented(count),
        other => return Err(format!("no case {other}").into()),
    };
    match words.get(2) {
        Some(path) => write(&image, path),
        None => scan(&image),
    }
}

fn scan(image: &Synthetic) -> Result<(), Box<dyn Error>> {
    let candidate = probe(image).into_iter().next().ok_or("not recognised")?;
    let volume = open(candidate.family, Box::new(image), 0)?;
    let (mut counts, mut extents) = (ScanCounts::default(), 0);
    let mut visit = |event: ScanEvent| {
        counts.add(&event);
        if let ScanEvent::Inode(inode) = &event {
            extents += inode
                .streams
                .iter()
                .map(|stream| stream.extents.len())
                .sum::<usize>();
        }
        Ok(())
    };
    volume.scan(&ScanOptions::default(), &mut visit)?;
    let usage = std::fs::read_to_string("/proc/self/status")?;
    let peak = usage
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or_default();
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let time = Duration::new(u64::try_from(time.tv_sec)?, u32::try_from(time.tv_nsec)?);
    println!(
        "{}: {counts:?}, {extents} extents, {time:.2?} CPU, {peak}",
        candidate.type_name
    );
    Ok(())
}

/// Writes every block that is not all zeros.
fn write(image: &Synthetic, path: &str) -> Result<(), Box<dyn Error>> {
    let file = File::create(path)?;
    file.set_len(image.len())?;
    let mut block = vec![0; 1 << 16];
    for at in (0..image.len()).step_by(1 << 16) {
        let len = usize::try_from(image.len() - at)?.min(block.len());
        image.read_exact_at(at, &mut block[..len])?;
        if block[..len].iter().any(|byte| *byte != 0) {
            file.write_all_at(&block[..len], at)?;
        }
    }
    Ok(())
}
