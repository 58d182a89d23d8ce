//! Measures the search index on synthetic names: time and memory to make it, size, and a mix of 200 searches.
//!
//! `cargo run --release -p ntt-search --example search_bench -- FOLDER PATHS [FILE [NEEDLE...]]`: the segment is made in FOLDER; all paths go to FILE
//! too, one a line (newlines in names as `?`), for others to index the same. With PATHS = 0 the paths are read from FILE instead. Names that hold a
//! NEEDLE are looked for last.

#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::collections::HashSet;
use std::error::Error;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ntt_host::RealDisk;
use ntt_search::{Identity, Pattern, Query, SearchFolder, Segment};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// CPU time, wall time, matches, and what was asked.
type Timed = (Duration, Duration, usize, String);

const WORDS: [&str; 64] = [
    "budget", "letter", "image", "photo", "holiday", "report", "backup", "notes", "project", "draft",
    "final", "music", "video", "family", "tax", "invoice", "source", "include", "kernel", "driver", "module",
    "system", "library", "config", "data", "index", "cache", "temp", "archive", "mail", "inbox", "sent",
    "document", "scan", "print", "fax", "client", "server", "test", "result", "chapter", "book", "paper",
    "figure", "table", "map", "garden", "house", "school", "summer", "winter", "paris", "london", "berlin",
    "anna", "peter", "maria", "john", "old", "new", "copy", "misc", "stuff", "work",
];
const ENDS: [&str; 16] = [
    ".jpg", ".JPG", ".txt", ".doc", ".pdf", ".c", ".h", ".o", ".html", ".mp3", ".tar.gz", ".xls", ".png",
    ".gif", "", ".bak",
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap_or(1)).unwrap_or(0)
    }

    fn word(&mut self) -> &'static str {
        // A few words are common, as in life.
        let at = self.below(64) * self.below(64) / 64;
        WORDS[at]
    }

    /// An invented word, so that there are many more than 64.
    fn invented(&mut self) -> String {
        const SYLLABLES: &[u8] = b"bacodefagihojukelemonipurasotavuwyxezi";
        (0..2 + self.below(3))
            .flat_map(|_| {
                let at = self.below(SYLLABLES.len() / 2) * 2;
                [char::from(SYLLABLES[at]), char::from(SYLLABLES[at + 1])]
            })
            .collect()
    }

    fn name(&mut self, number: usize) -> Vec<u8> {
        let end = ENDS[self.below(ENDS.len())];
        let mut name = match self.below(5) {
            0 => format!("IMG_{:04}{end}", (number + self.below(250) * 40) % 10_000),
            1 => format!("{}_{}{end}", self.word(), self.invented()),
            2 => format!("{} {} {:02}{end}", self.word(), self.word(), self.below(100)),
            3 => format!("{}{:x}{end}", self.invented(), self.below(1 << 24)),
            _ => format!("{}-{}-{}{end}", self.invented(), self.word(), self.below(2010)),
        }
        .into_bytes();
        if self.below(110) == 0 {
            name.push(0xe9);
        }
        name
    }

    fn directory(&mut self) -> Vec<u8> {
        let mut path = format!("home/{}/{} {}", self.word(), self.word(), 1990 + self.below(20));
        for _ in 0..1 + self.below(5) {
            path = format!("{path}/{}{}", self.word(), self.invented());
        }
        path.into_bytes()
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("FOLDER is missing")?);
    let paths = arguments.next().ok_or("PATHS is missing")?;
    let paths: u64 = paths.to_str().ok_or("PATHS is no number")?.parse()?;
    let file = arguments.next().map(PathBuf::from);
    let index = SearchFolder::of_archive(Arc::new(RealDisk), &folder);
    let (identity, sample) = match (paths, &file) {
        (0, Some(file)) => build_from(&index, file)?,
        _ => build(&index, paths, file.as_deref())?,
    };
    let segment = index.open(&identity)?.ok_or("the segment is not there")?;
    let bytes = std::fs::metadata(index.path_of(1))?.len();
    println!(
        "size: {} bytes, {:.2} a path",
        bytes,
        ratio(bytes, identity.names)
    );
    mix(&segment, &sample)?;
    exact(&segment, &sample)?;
    for needle in arguments {
        let needle = needle.into_string().map_err(|_| "a NEEDLE is no text")?;
        let matcher = Pattern::Substring(needle.clone().into_bytes()).compile(false)?;
        let query = Query {
            name: Some(&matcher),
            path: None,
        };
        let (cpu, wall, count) = timed(&segment, &query)?;
        println!("{needle}: {cpu:.2?} CPU, {wall:.2?} wall, {count} found");
    }
    Ok(())
}

fn identity(names: u64) -> Identity {
    Identity {
        scan: 1,
        begun: 0,
        sealed: 0,
        directories: 0,
        names,
    }
}

/// Makes the segment of so many invented paths; gives every so-manieth name as a sample.
fn build(index: &SearchFolder, paths: u64, file: Option<&Path>) -> Result<(Identity, Vec<Vec<u8>>)> {
    let mut out = file.map(std::fs::File::create).transpose()?.map(BufWriter::new);
    let mut random = Random(7);
    let mut sample = Vec::new();
    let identity = identity(paths);
    let (begun, cpu) = (Instant::now(), cpu_time()?);
    let mut generating = Duration::ZERO;
    index.build(&identity, &mut |visit| {
        let mut left = paths;
        while left > 0 {
            let start = cpu_time().unwrap_or_default();
            let directory = random.directory();
            let count = u64::try_from(1 + random.below(39)).unwrap_or(1).min(left);
            let names: Vec<Vec<u8>> = (0..count)
                .map(|number| random.name(usize::try_from(number).unwrap_or(0)))
                .collect();
            if let Some(out) = &mut out {
                for name in &names {
                    let line = [b"/", directory.as_slice(), b"/", name, b"\n"].concat();
                    out.write_all(&line)
                        .map_err(|error| ntt_search::Error::Names(Box::new(error)))?;
                }
            }
            if sample.len() < 20_000 && random.below(8) == 0 {
                sample.push(names[0].clone());
            }
            generating += cpu_time().unwrap_or_default().saturating_sub(start);
            names.iter().try_for_each(|name| visit(&directory, name))?;
            left -= count;
        }
        Ok(())
    })?;
    let spent = cpu_time()?.saturating_sub(cpu).saturating_sub(generating);
    told(paths, begun.elapsed(), spent);
    Ok((identity, sample))
}

/// Makes the segment of the paths of a file, one a line, in its order.
fn build_from(index: &SearchFolder, file: &Path) -> Result<(Identity, Vec<Vec<u8>>)> {
    let count = lines(file)?.count();
    let identity = identity(u64::try_from(count)?);
    let mut sample = Vec::new();
    let (begun, cpu) = (Instant::now(), cpu_time()?);
    let mut lines = lines(file)?.enumerate();
    index.build(&identity, &mut |visit| {
        for (number, line) in lines.by_ref() {
            let line = line.map_err(|error| ntt_search::Error::Names(Box::new(error)))?;
            let at = line.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            let (directory, name) = (
                &line[usize::from(at > 0)..at.max(1).min(line.len())],
                &line[(at + 1).min(line.len())..],
            );
            if number % 1009 == 0 {
                sample.push(name.to_vec());
            }
            visit(directory, name)?;
        }
        Ok(())
    })?;
    told(identity.names, begun.elapsed(), cpu_time()?.saturating_sub(cpu));
    Ok((identity, sample))
}

fn lines(file: &Path) -> Result<impl Iterator<Item = std::io::Result<Vec<u8>>>> {
    Ok(BufReader::new(std::fs::File::open(file)?).split(b'\n'))
}

fn told(paths: u64, wall: Duration, cpu: Duration) {
    println!(
        "made: {paths} paths, {:.2} s wall with the generator, {:.2} s CPU without, {:.2} us a path; peak memory {} MiB",
        wall.as_secs_f64(),
        cpu.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / ratio(paths, 1),
        peak_mib()
    );
}

/// 200 searches: parts of names that are there, suffixes, globs, expressions, paths, both cases, and some that match nothing or nearly everything.
fn mix(segment: &Segment, sample: &[Vec<u8>]) -> Result<()> {
    let mut random = Random(11);
    let mut queries: Vec<(Pattern, bool, bool)> = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\u{fffd}', "?");
    for number in 0..200 {
        let name = &sample[random.below(sample.len())];
        let middle = &name[name.len() / 4..(name.len() / 4 + 8).min(name.len())];
        queries.push(match number % 10 {
            0..=3 => (Pattern::Substring(middle.to_vec()), false, false),
            4 => (Pattern::Substring(middle.to_vec()), false, true),
            5 => (
                Pattern::Glob(format!("*{}", glob_escape(&text(&name[name.len() / 2..]))).into_bytes()),
                false,
                false,
            ),
            6 => (
                Pattern::Regex(format!(
                    "^{}.*{}$",
                    word(&mut random),
                    regex_escape(ENDS[random.below(ENDS.len())])
                )),
                false,
                false,
            ),
            7 => (
                Pattern::Substring(format!("{} 19", word(&mut random)).into_bytes()),
                true,
                false,
            ),
            8 => (
                Pattern::Glob(
                    format!("**/{}*/**/*{}", word(&mut random), ENDS[random.below(ENDS.len())]).into_bytes(),
                ),
                true,
                false,
            ),
            _ => (Pattern::Exact(HashSet::from([name.clone()])), false, false),
        });
    }
    for broad in ["e", "jpg", ".c", "zzzzzz", "/"] {
        queries.push((Pattern::Substring(broad.into()), broad == "/", false));
    }
    queries.push((Pattern::Regex("[0-9]{4}[a-f]$".to_owned()), false, false));
    queries.push((Pattern::Regex("(a|e)[^/]*x".to_owned()), true, false));
    let mut times: Vec<Timed> = Vec::new();
    for (pattern, of_path, ignore_case) in &queries {
        let matcher = pattern.compile(*ignore_case)?;
        let query = if *of_path {
            Query {
                name: None,
                path: Some(&matcher),
            }
        } else {
            Query {
                name: Some(&matcher),
                path: None,
            }
        };
        let (cpu, wall, count) = timed(segment, &query)?;
        times.push((
            cpu,
            wall,
            count,
            format!("{pattern:?}{}", if *of_path { " in paths" } else { "" }),
        ));
    }
    let (regular, broad) = times.split_at(200);
    // Five of ten are parts of names that are there.
    let substrings: Vec<&Timed> = regular
        .iter()
        .enumerate()
        .filter_map(|(number, time)| (number % 10 < 5).then_some(time))
        .collect();
    distribution("mix of 200", &regular.iter().collect::<Vec<_>>());
    distribution("of it substrings", &substrings);
    let mut slowest: Vec<_> = regular.iter().collect();
    slowest.sort_by_key(|(cpu, ..)| std::cmp::Reverse(*cpu));
    for (cpu, wall, count, pattern) in slowest.into_iter().take(5).chain(broad) {
        println!("  {cpu:>10.1?} CPU {wall:>10.1?} wall {count:>9} {pattern}");
    }
    println!("peak memory {} MiB", peak_mib());
    Ok(())
}

fn distribution(of: &str, times: &[&Timed]) {
    for (what, time) in [
        ("CPU", (|time| time.0) as fn(&Timed) -> Duration),
        ("wall", |time| time.1),
    ] {
        let mut sorted: Vec<Duration> = times.iter().map(|timed| time(timed)).collect();
        sorted.sort_unstable();
        let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
        println!(
            "{of}, {what}: p50 {:.1?}, p90 {:.1?}, p99 {:.1?}, worst {:.1?}",
            at(50),
            at(90),
            at(99),
            at(100)
        );
    }
}

fn timed(segment: &Segment, query: &Query<'_>) -> Result<(Duration, Duration, usize)> {
    let (begun, cpu) = (Instant::now(), cpu_time()?);
    let mut count = 0;
    let answer = segment.search(query, &mut |found| {
        count += found.len();
        true
    });
    match answer.problem {
        Some(problem) => Err(problem.into()),
        None => Ok((cpu_time()?.saturating_sub(cpu), begun.elapsed(), count)),
    }
}

/// 10,000 exact names in one pass, half of them there.
fn exact(segment: &Segment, sample: &[Vec<u8>]) -> Result<()> {
    let mut names: HashSet<Vec<u8>> = sample.iter().take(5000).cloned().collect();
    names.extend((names.len()..10_000).map(|number| format!("not there {number}.doc").into_bytes()));
    let matcher = Pattern::Exact(names).compile(false)?;
    let (cpu, wall, count) = timed(
        segment,
        &Query {
            name: Some(&matcher),
            path: None,
        },
    )?;
    println!("10,000 exact names: {cpu:.2?} CPU, {wall:.2?} wall, {count} found");
    Ok(())
}

fn word(random: &mut Random) -> &'static str {
    random.word()
}

fn glob_escape(text: &str) -> String {
    text.chars()
        .flat_map(|letter| {
            if "[]{}*?\\!".contains(letter) {
                vec!['?']
            } else {
                vec![letter]
            }
        })
        .collect()
}

fn regex_escape(text: &str) -> String {
    text.replace('.', "\\.")
}

fn ratio(of: u64, to: u64) -> f64 {
    let float = |value: u64| u32::try_from(value / 16).map_or(f64::MAX, f64::from) * 16.0;
    if to == 1 { float(of) } else { float(of) / float(to) }
}

fn cpu_time() -> Result<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Ok(Duration::new(
        u64::try_from(time.tv_sec)?,
        u32::try_from(time.tv_nsec)?,
    ))
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}
