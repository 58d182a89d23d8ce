//! Rescue against GNU ddrescue and dd, on media of rules served through FUSE. What counts is the log of the medium, not what the programs say.

mod clean;
mod curve;
mod kill;
mod plot;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use ntt_model::ByteRange;
use ntt_testkit::faulty::{FaultyMedium, bars};
use ntt_testkit::faulty_file::FaultyFile;
use ntt_testkit::part_full::{Kind, PartFull};

use crate::Setting;
use curve::Curve;

#[derive(Debug, Args)]
pub(crate) struct RescueArgs {
    /// Which cases; all but `kill` and `clean` make the curves.
    #[arg(long, value_delimiter = ',', default_value = "clean,a,b,c,d,e,f,kill")]
    cases: Vec<String>,
    /// Let ddrescue scrape the dead zones of cases B and F to their ends, which takes 21 minutes each; otherwise it runs with -n.
    #[arg(long)]
    long: bool,
    /// How often the program is killed in case `kill`.
    #[arg(long, default_value_t = 200)]
    kills: u32,
    /// Write the curves to this file.
    #[arg(long)]
    svg: Option<PathBuf>,
}

/// One program over one medium.
pub(crate) struct Run {
    pub(crate) case: &'static str,
    pub(crate) program: String,
    pub(crate) curve: Curve,
}

pub(crate) fn run(arguments: &RescueArgs, setting: &Setting) -> io::Result<()> {
    let ntt = setting.program("ntt")?;
    let work = setting.work_dir()?;
    let wants = |case: &str| arguments.cases.iter().any(|wanted| wanted == case);
    if wants("clean") {
        clean::run(&ntt, work.path(), setting.runs)?;
    }
    let mut runs = Vec::new();
    for (case, medium) in CASES {
        if wants(case) {
            runs.extend(both(case, medium, None, &ntt, work.path(), arguments.long)?);
        }
    }
    if wants("f") {
        for (case, kind) in [("f, ext4", Kind::Ext4), ("f, FAT", Kind::Fat)] {
            let Some(volume) = PartFull::new(kind) else {
                continue;
            };
            let (files, medium) = (volume.whole_files(), || volume.medium());
            runs.extend(both(
                case,
                &medium,
                Some(&files),
                &ntt,
                work.path(),
                arguments.long,
            )?);
        }
    }
    print_table(&runs);
    if let Some(path) = &arguments.svg {
        std::fs::write(path, plot::svg(&runs))?;
    }
    if wants("kill") {
        kill::run(&ntt, work.path(), arguments.kills)?;
    }
    Ok(())
}

type Medium = fn() -> FaultyMedium;
const CASES: &[(&str, Medium)] = &[
    ("a", bars::a),
    ("b", bars::b),
    ("c", bars::c),
    ("d", bars::d),
    ("e", bars::e),
];

/// What ddrescue is told in a case: its defaults, and what a careful user would add.
fn ddrescue_options(case: &str, long: bool) -> &'static [&'static str] {
    match case {
        "b" | "f, ext4" | "f, FAT" if !long => &["-n"],
        "d" => &["-r", "3"],
        _ => &[],
    }
}

/// Both programs over one medium; `wanted` is what counts, if not all.
fn both(
    case: &'static str,
    medium: &dyn Fn() -> FaultyMedium,
    wanted: Option<&[ByteRange]>,
    ntt: &str,
    work: &Path,
    long: bool,
) -> io::Result<[Run; 2]> {
    let options = ddrescue_options(case, long);
    let [image, map] = ["image", "image.map"].map(|name| work.join(name).display().to_string());
    let ours = one(medium, wanted, work, |source| {
        let mut command = Command::new(ntt);
        command.args(["--quiet", "rescue", source, "--output", &image]);
        command
    })?;
    let theirs = one(medium, wanted, work, |source| {
        let mut command = Command::new("ddrescue");
        command.arg("-q").args(options).args([source, &image, &map]);
        command
    })?;
    let name = |words: &[&str]| words.join(" ");
    Ok([
        Run {
            case,
            program: "ntt rescue".to_owned(),
            curve: ours,
        },
        Run {
            case,
            program: name(&[&["ddrescue"], options].concat()),
            curve: theirs,
        },
    ])
}

/// A program that reads a vanished device for ever is stopped: it has shown what it does.
const LONGEST_WITHOUT_DEVICE: Duration = Duration::from_secs(75);

fn one(
    medium: &dyn Fn() -> FaultyMedium,
    wanted: Option<&[ByteRange]>,
    work: &Path,
    command: impl Fn(&str) -> Command,
) -> io::Result<Curve> {
    empty(work)?;
    let file = FaultyFile::mount(medium(), true).ok_or_else(|| io::Error::other("no FUSE here"))?;
    let source = file.path().display().to_string();
    let begin = Instant::now();
    let mut child = command(&source)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    while child.try_wait()?.is_none() {
        std::thread::sleep(Duration::from_millis(20));
        if file.medium().is_gone() && begin.elapsed() > LONGEST_WITHOUT_DEVICE {
            child.kill()?;
        }
    }
    let total = begin.elapsed();
    let curve = Curve::new(&file.medium(), &work.join("image.map"), total, wanted)?;
    tell(&format!("{}: {:.1} s", source, total.as_secs_f64()));
    Ok(curve)
}

/// Removes what the last run left.
pub(crate) fn empty(work: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(work)? {
        std::fs::remove_file(entry?.path())?;
    }
    Ok(())
}

#[allow(clippy::print_stderr, reason = "a long benchmark says how far it is")]
pub(crate) fn tell(text: &str) {
    eprintln!("{text}");
}

fn print_table(runs: &[Run]) {
    println!(
        "| case | program | s to 50 / 90 / 95 / 99 / 100 % of what counts | total s | failed reads | lost bytes | of them wrongly bad |"
    );
    println!("|---|---|---|---:|---:|---:|---:|");
    for Run { case, program, curve } in runs {
        let marks = [500, 900, 950, 990, 1000].map(|per_mille| match curve.seconds_to(per_mille) {
            Some(seconds) => format!("{seconds:.1}"),
            None => "-".to_owned(),
        });
        println!(
            "| {} | {program} | {} | {:.1} | {} | {} | {} |",
            case.to_uppercase(),
            marks.join(" / "),
            curve.total.as_secs_f64(),
            curve.failures,
            curve.lost_bytes,
            curve.wrongly_bad_bytes
        );
    }
    println!();
}
