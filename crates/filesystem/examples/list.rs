//! Lists the file systems that start at a byte of an image, one path a line, as `find -print` does; findings go to stderr.
//!
//!     list IMAGE [OFFSET] [--only=FAMILY] [--cat] [--count] [--verify]
//!
//! With `--only` one family is listed where several see their own: `--only=udf`. With `--verify` content is compared with the checksums that the file system keeps of it. With `--cat` the
//! data of all files is written instead of their paths. With `--count` nothing is listed: the events are counted, and CPU time and peak memory of the process are told. Run it on an image in
//! the page cache to measure a reader.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

use std::collections::HashMap;
use std::error::Error;
use std::io::{BufWriter, Write};

use ntt_codec::{Kept, read_stream_after};
use ntt_filesystem::{FileSystem, ScanOptions, Stop, open, probe};
use ntt_model::ScanEvent;
use ntt_model::entry::{Kind, ScanCounts};
use ntt_source::extents::Piece;
use ntt_source::{FileSource, ReadAt, SubRange};

fn main() -> Result<(), Box<dyn Error>> {
    let (flags, words): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|word| word.starts_with("--"));
    let path = words
        .first()
        .ok_or("usage: list IMAGE [OFFSET] [--only=FAMILY] [--cat] [--count] [--verify]")?;
    let offset: u64 = words.get(1).map_or(Ok(0), |word| word.parse())?;
    let has = |flag: &str| flags.iter().any(|given| given == flag);
    let only = flags.iter().find_map(|flag| flag.strip_prefix("--only="));
    let options = ScanOptions {
        verify_content: has("--verify"),
        ..ScanOptions::default()
    };
    let image = FileSource::open(path.as_ref())?;
    let rest = ntt_model::ByteRange::new(offset, image.len().saturating_sub(offset));
    for candidate in probe(&SubRange::new(&image, rest)) {
        if only.is_some_and(|only| only != format!("{:?}", candidate.family).to_lowercase()) {
            continue;
        }
        eprintln!("{}: {}", candidate.type_name, candidate.evidence);
        let volume = open(candidate.family, Box::new(SubRange::new(&image, rest)), offset)?;
        if has("--count") {
            count(&*volume, &options)?;
        } else if has("--cat") {
            cat(&*volume, &SubRange::new(&image, rest), &options)?;
        } else {
            list(&*volume, &options)?;
        }
    }
    Ok(())
}

/// Prints every name with the path of its directory.
fn list(volume: &dyn FileSystem, options: &ScanOptions) -> Result<(), Box<dyn Error>> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut directories: HashMap<u64, Vec<u8>> = HashMap::new();
    let mut visit = |event: ScanEvent| {
        match event {
            ScanEvent::Directory(directory) => {
                let parent = directory.parent.and_then(|parent| directories.get(&parent));
                let mut path = parent.cloned().unwrap_or_default();
                path.extend_from_slice(&directory.name);
                path.push(b'/');
                directories.insert(directory.inode, path);
            }
            ScanEvent::Name(name) => {
                let parent = directories.get(&name.directory).map_or(&b""[..], Vec::as_slice);
                let line = [parent, &name.name, b"\n"];
                line.iter()
                    .try_for_each(|part| out.write_all(part))
                    .map_err(|_| Stop)?;
            }
            ScanEvent::Finding(finding) => eprintln!("{finding}"),
            ScanEvent::Inode(_) => {}
        }
        Ok(())
    };
    volume.scan(options, &mut visit)?;
    Ok(out.flush()?)
}

/// Writes the data of all files, in the order in which they are found.
fn cat(volume: &dyn FileSystem, image: &dyn ReadAt, options: &ScanOptions) -> Result<(), Box<dyn Error>> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let zeros = [0; 65536];
    let mut kept = Kept::default();
    let mut visit = |event: ScanEvent| {
        let ScanEvent::Inode(inode) = &event else {
            return Ok(());
        };
        let Some(stream) = inode.data().filter(|_| inode.kind == Kind::File) else {
            return Ok(());
        };
        let missing = read_stream_after(&mut kept, image, stream, &mut |piece| match piece {
            Piece::Bytes(bytes) => out.write_all(bytes).map_err(|_| Stop),
            Piece::Zeros(len) => (0..len)
                .step_by(zeros.len())
                .try_for_each(|at| {
                    let len = usize::try_from(len - at).map_or(zeros.len(), |left| left.min(zeros.len()));
                    out.write_all(&zeros[..len])
                })
                .map_err(|_| Stop),
        })?;
        if !missing.ranges.is_empty() {
            eprintln!("inode {}: {:?}", inode.number, missing.ranges);
        }
        Ok(())
    };
    volume.scan(options, &mut visit)?;
    Ok(out.flush()?)
}

/// Prints how many events there are and what they cost.
fn count(volume: &dyn FileSystem, options: &ScanOptions) -> Result<(), Box<dyn Error>> {
    let before = cpu_seconds()?;
    let mut counts = ScanCounts::default();
    let mut extents = 0;
    let mut visit = |event: ScanEvent| {
        counts.add(&event);
        if let ScanEvent::Inode(inode) = &event {
            extents += inode.data().map_or(0, |data| data.extents.len());
        }
        Ok(())
    };
    volume.scan(options, &mut visit)?;
    let seconds = cpu_seconds()? - before;
    println!("{counts:?}, {extents} extents");
    println!(
        "{seconds:.2} CPU s, {:.0} names/CPU s, peak {} KiB",
        per_second(counts.names, seconds),
        status("VmHWM:")?
    );
    Ok(())
}

#[allow(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a figure for people"
)]
fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds.max(0.001)
}

/// User and system time of this process (proc(5): fields 14 and 15 of `stat`, in hundredths of a second).
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Vec<f64> = fields
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

/// A number of `/proc/self/status`.
fn status(field: &str) -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.split_whitespace().next());
    Ok(value.unwrap_or("0").parse()?)
}
