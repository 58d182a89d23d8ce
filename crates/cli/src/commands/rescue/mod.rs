//! `ntt rescue`.

mod answer;
mod effort;
mod keys;
pub(crate) mod live;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use ntt_host::{Disk, RealDisk, SystemClock};
use ntt_mapfile::{FILE_BYTES_MAX, Mapfile};
use ntt_pipeline::rescue::Surveyor;
use ntt_pipeline::{Config, Interrupt};
use ntt_rescue::engine::Outcome;
use ntt_rescue::monitor::Monitor;
use ntt_rescue::policy::Phase;
use ntt_rescue::real::RealDevice;
use ntt_rescue::record::Record;
use ntt_rescue::session::{self, Request, World};
use ntt_rescue::sink::OpenOptions;
use ntt_rescue::watch::SystemStopwatch;
use ntt_rescue::{Error, Paths, merge};

use crate::args::Global;
use crate::exit::{CommandResult, Exit, Failure, FailureKind};
use crate::output::{Output, tell};
use crate::session::scan_program;
pub(crate) use effort::EffortFlags;
use effort::PatienceArg;

/// Read a failing medium into an image, as far and as gently as possible.
///
/// Needs no archive. Beside IMAGE it keeps the mapfile (GNU ddrescue's format: either program goes on with the other's work), an event log,
/// digests of each MiB and a health record. The same command goes on where the last run stopped, however that ended.
///
/// By default it reads everything that comes at once, finds the exact edges of what does not, and leaves dead zones unread; it then says how
/// to go on. Exits with 3 if bytes are missing, with 130 if it was stopped or the device went away.
///
/// While it runs: p pauses and goes on, s leaves the place where it is, q stops; so do the signals USR1, USR2 and INT.
#[derive(Debug, Args)]
pub(crate) struct RescueArgs {
    /// The device or file to read; with --merge the images, with --show the mapfile or image.
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<PathBuf>,
    /// The image to write.
    #[arg(long, short, value_name = "IMAGE", required_unless_present = "show")]
    output: Option<PathBuf>,
    /// The mapfile [default: IMAGE.map].
    #[arg(long, value_name = "MAP")]
    map: Option<PathBuf>,
    #[command(flatten)]
    effort: EffortFlags,
    /// Do only these kinds of work.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PHASES")]
    phases: Vec<PhaseArg>,
    /// Compute SHA-256 of the image too, after the rescue.
    #[arg(long)]
    sha256: bool,
    /// Make one image of several of the same medium: what the first lacks is taken from the others.
    #[arg(long, conflicts_with_all = ["show", "map", "phases", "priority", "files_first", "dry_run"])]
    merge: bool,
    /// Draw a mapfile and say what it means; nothing is read or written.
    #[arg(long, conflicts_with = "output")]
    show: bool,
    /// Look at source and target, say what would be done, and write nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum PhaseArg {
    /// The first and the last MiB.
    Edges,
    /// Large reads over everything.
    Copy,
    /// The edges of failed reads.
    Trim,
    /// The insides of failed reads.
    Scrape,
    /// Bad sectors once more.
    Retry,
}

impl From<PhaseArg> for Phase {
    fn from(phase: PhaseArg) -> Self {
        match phase {
            PhaseArg::Edges => Self::Edges,
            PhaseArg::Copy => Self::Copy,
            PhaseArg::Trim => Self::Trim,
            PhaseArg::Scrape => Self::Scrape,
            PhaseArg::Retry => Self::Retry,
        }
    }
}

pub(crate) fn run(global: &Global, args: &RescueArgs) -> CommandResult {
    match (&args.output, args.sources.as_slice()) {
        (_, [map]) if args.show => show(global, map),
        (Some(output), images) if args.merge => merge_images(global, images, output),
        (Some(output), [source]) => rescue(global, args, source, output),
        _ => Err(Failure::usage("one SOURCE is rescued at a time")
            .hint("`ntt rescue --merge IMAGE IMAGE --output IMAGE` makes one image of several")),
    }
}

fn rescue(global: &Global, args: &RescueArgs, source: &Path, output: &Path) -> CommandResult {
    let mut device = RealDevice::open(source)?;
    let paths = Paths::new(output, args.map.as_deref());
    refuse_special(&paths.map)?;
    device.refuse_as_target(&paths.all())?;
    let request = request(args, source, paths);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut out = Output::new(global);
    if args.dry_run {
        let plan = session::plan(disk.as_ref(), &device, &request)?;
        answer::plan(&mut out, &plan)?;
        return Ok(Exit::Done);
    }
    // The run prints its own JSON; two writers must not hold stdout.
    drop(out);
    let monitor = Monitor::new();
    let watch = SystemStopwatch::start();
    let mut surveyor = Surveyor::new(
        &Config::default(),
        &scan_program()?,
        &Interrupt::new(),
        &request.paths.image,
        args.effort.files_first,
    );
    let record = live::watched(live::Form::of(global), &monitor, &watch, || {
        let world = World {
            disk,
            device: &mut device,
            clock: &SystemClock,
            watch: &watch,
            monitor: &monitor,
            advisor: Some(&mut surveyor),
        };
        session::run(world, &request)
    })??;
    answer::record(&mut Output::new(global), &record, &request.paths)?;
    say_how_to_go_on(global, args, &record);
    Ok(exit(&record))
}

fn request(args: &RescueArgs, source: &Path, paths: Paths) -> Request {
    let mut policy = args.effort.policy();
    if !args.phases.is_empty() {
        policy.phases = args.phases.iter().map(|phase| (*phase).into()).collect();
    }
    Request {
        source: source.display().to_string(),
        paths,
        policy,
        options: OpenOptions {
            background: true,
            accept_size: args.effort.accept_size,
            accept_space: args.effort.accept_space,
        },
        priority: args.effort.priority.clone(),
        sha256: args.sha256,
    }
}

fn exit(record: &Record) -> Exit {
    match record.outcome {
        Outcome::Stopped | Outcome::DeviceLost => Exit::Interrupted,
        Outcome::NobodyAnswers => Exit::Failed,
        Outcome::Done | Outcome::EffortSpent if record.health.missing_bytes == 0 => Exit::Done,
        Outcome::Done | Outcome::EffortSpent => Exit::Losses,
    }
}

/// What is left can be had, or at least tried: the command for it.
fn say_how_to_go_on(global: &Global, args: &RescueArgs, record: &Record) {
    if global.quiet || global.json || record.health.missing_bytes == 0 {
        return;
    }
    let advice = match (record.outcome, args.effort.patience()) {
        (Outcome::NobodyAnswers, _) => return,
        (Outcome::Stopped, _) => (
            "stopped; the same command goes on from here",
            args.effort.patience(),
        ),
        (Outcome::DeviceLost, _) => (
            "the device went away; when it is back, the same command goes on from here",
            args.effort.patience(),
        ),
        (_, PatienceArg::Minutes | PatienceArg::Hours) => {
            ("what is left takes longer: give it a night", PatienceArg::Night)
        }
        (_, patience) => (
            "what is left may come from another drive, or another day",
            patience,
        ),
    };
    let source = args.sources.first().map(|path| quoted(path)).unwrap_or_default();
    let output = args.output.as_deref().map(quoted).unwrap_or_default();
    let map = args
        .map
        .as_deref()
        .map(|map| format!(" --map {}", quoted(map)))
        .unwrap_or_default();
    let patience = advice
        .1
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default();
    tell(&format!("{}:", advice.0));
    tell(&format!(
        "  ntt rescue {source} --output {output}{map} --patience {patience}"
    ));
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+=:,@%".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Refuses a map that is there and no regular file.
fn refuse_special(map: &Path) -> Result<(), Failure> {
    match ntt_host::expect_regular(map) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Err(Failure::usage(format!(
            "{} is {error}, and so no mapfile",
            map.display()
        ))),
        // That there is none yet, or what is wrong with it, is told by who reads it.
        _ => Ok(()),
    }
}

fn show(global: &Global, path: &Path) -> CommandResult {
    let beside = Paths::new(path, None).map;
    let file = if beside.exists() { beside } else { path.to_owned() };
    refuse_special(&file)?;
    let failed = |reason: String| Failure::new(FailureKind::Failed, reason);
    let no_map = || {
        let map = Paths::new(path, None).map;
        failed(format!("{} is no mapfile", path.display())).hint(format!(
            "if it is an image, its map would be {}, and there is none: what of it was read is unknown",
            map.display()
        ))
    };
    let told = |error: std::io::Error| failed(format!("{}: {error}", file.display()));
    // An image can be too large for the memory.
    if file == path && std::fs::metadata(path).map_err(told)?.len() > FILE_BYTES_MAX {
        return Err(no_map());
    }
    let bytes = std::fs::read(&file).map_err(told)?;
    let map = match Mapfile::parse(&bytes) {
        Ok(map) => map,
        // What has the name of a mapfile was meant to be one.
        Err(_) if file == path && path.extension().is_none_or(|extension| extension != "map") => {
            return Err(no_map());
        }
        Err(error) => return Err(failed(format!("{} is no mapfile: {error}", file.display()))),
    };
    // What lies behind the end of the map was never read.
    let image = match file == path {
        true => path.with_extension(""),
        false => path.to_owned(),
    };
    let image_bytes = std::fs::metadata(image).map_or(0, |image| image.len());
    let size_bytes = map.extent().end().max(image_bytes);
    answer::map(&mut Output::new(global), &file, &map, size_bytes)?;
    Ok(Exit::Done)
}

fn merge_images(global: &Global, images: &[PathBuf], output: &Path) -> CommandResult {
    if images.len() < 2 {
        return Err(Failure::usage("--merge takes two images or more"));
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let inputs: Vec<Paths> = images.iter().map(|image| Paths::new(image, None)).collect();
    let output = Paths::new(output, None);
    for paths in inputs.iter().chain([&output]) {
        refuse_special(&paths.map)?;
    }
    let merged = merge::merge(&disk, &inputs, &output, &SystemClock)?;
    answer::merged(&mut Output::new(global), &merged)?;
    let differs = merged
        .contributions
        .iter()
        .any(|contribution| contribution.differing_bytes > 0);
    Ok(if differs || merged.health.missing_bytes > 0 {
        Exit::Losses
    } else {
        Exit::Done
    })
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Held(_) => FailureKind::Held,
            _ => FailureKind::Failed,
        };
        let hint = match &error {
            error if error.is_full() => Some(
                "what was read is kept: make room, and the same command goes on; --accept-space begins with less",
            ),
            Error::Refused(reason) if reason.contains("speaks of a medium") => {
                Some("--accept-size goes on if this is the same disc in another drive")
            }
            _ => None,
        };
        let failure = Self::new(kind, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_when_a_shell_would_not_take_it() {
        assert_eq!(quoted(Path::new("/dev/sdb")), "/dev/sdb");
        assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
    }
}
