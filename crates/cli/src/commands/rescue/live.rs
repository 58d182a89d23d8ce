//! A rescue while it runs: a few lines on a terminal, JSON lines with `--json`, the signals and the keys.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ntt_rescue::eta::Eta;
use ntt_rescue::monitor::{FilesNeed, Monitor, Snapshot};
use ntt_rescue::watch::{Stopwatch, SystemStopwatch};
use serde::Serialize;

use super::{answer, keys};
use crate::args::Global;
use crate::exit::{Failure, FailureKind};
use crate::output::SCHEMA_VERSION;
use crate::units;

/// A read that takes longer is told: well before anybody wonders.
const WAITING: Duration = Duration::from_millis(1500);
const DRAW_EVERY: Duration = Duration::from_millis(250);
const JSON_EVERY: Duration = Duration::from_secs(1);

/// Runs `work` in a thread and shows what the monitor says until it ends. This thread never waits for the device.
pub(crate) fn watched<T: Send>(
    form: Form,
    monitor: &Monitor,
    watch: &SystemStopwatch,
    work: impl FnOnce() -> T + Send,
) -> Result<T, Failure> {
    let keys = keys::Keys::listen(form == Form::Terminal)?;
    let display = Display::new(form);
    std::thread::scope(|scope| {
        let (ended, inbox) = channel::<()>();
        let worker = scope.spawn(move || {
            let result = work();
            // Dropping it wakes the display.
            drop(ended);
            result
        });
        while let Err(RecvTimeoutError::Timeout) = inbox.recv_timeout(DRAW_EVERY) {
            keys.obey(monitor);
            display.draw(
                &monitor.snapshot(),
                monitor.reading_for(watch.elapsed()),
                monitor.is_stopping(),
            );
        }
        display.end(&monitor.snapshot());
        worker
            .join()
            .map_err(|_| Failure::new(FailureKind::Failed, "the thread of the rescue died"))
    })
}

/// How a rescue is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// Lines that change, and keys that steer.
    Terminal,
    /// JSON lines.
    Json,
    /// Not at all.
    Quiet,
}

impl Form {
    /// What the arguments and the terminal ask for.
    pub(crate) fn of(global: &Global) -> Self {
        if global.json {
            Self::Json
        } else if global.quiet || !std::io::stderr().is_terminal() {
            Self::Quiet
        } else {
            Self::Terminal
        }
    }
}

enum Display {
    Lines(ProgressBar),
    Json(std::cell::Cell<Option<Instant>>),
    Quiet,
}

impl Display {
    fn new(form: Form) -> Self {
        match form {
            Form::Json => return Self::Json(std::cell::Cell::new(None)),
            Form::Quiet => return Self::Quiet,
            Form::Terminal => {}
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
        bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self::Lines(bar)
    }

    fn draw(&self, snapshot: &Snapshot, reading: Option<Duration>, stopping: bool) {
        match self {
            Self::Lines(bar) => {
                bar.set_message(lines(snapshot, reading, stopping).join("\n"));
                bar.tick();
            }
            Self::Json(last) => {
                if last.get().is_none_or(|then| then.elapsed() >= JSON_EVERY) {
                    last.set(Some(Instant::now()));
                    print_json(snapshot, reading);
                }
            }
            Self::Quiet => {}
        }
    }

    fn end(&self, snapshot: &Snapshot) {
        match self {
            Self::Lines(bar) => bar.finish_and_clear(),
            Self::Json(_) => print_json(snapshot, None),
            Self::Quiet => {}
        }
    }
}

/// A snapshot as a JSON line on stdout; whoever closed stdout does not want it.
fn print_json(snapshot: &Snapshot, reading: Option<Duration>) {
    #[derive(Serialize)]
    struct Line<'a> {
        schema_version: u32,
        message_type: &'static str,
        #[serde(flatten)]
        snapshot: &'a Snapshot,
        /// How long the read that is out has taken, if that is worth telling.
        waiting_ms: Option<u128>,
    }
    let line = Line {
        schema_version: SCHEMA_VERSION,
        message_type: "rescue-progress",
        snapshot,
        waiting_ms: waiting(reading).map(|waiting| waiting.as_millis()),
    };
    if let Ok(text) = serde_json::to_string(&line) {
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}

fn waiting(reading: Option<Duration>) -> Option<Duration> {
    reading.filter(|reading| *reading >= WAITING)
}

fn lines(snapshot: &Snapshot, reading: Option<Duration>, stopping: bool) -> Vec<String> {
    let phase = snapshot.phase.map_or("starting", |phase| phase.as_str());
    let states: Vec<String> = answer::rows(&snapshot.states)
        .into_iter()
        .filter(|(_, bytes, _)| *bytes > 0)
        .map(|(name, bytes, areas)| match name {
            "rescued" | "untried" => format!("{name} {}", units::bytes(bytes)),
            _ => format!("{name} {} in {areas}", units::bytes(bytes)),
        })
        .collect();
    let mut lines = vec![
        format!(
            "{phase} at {} of {}, {}/s now, {}/s average, {} so far, {}",
            units::bytes(snapshot.position),
            units::bytes(snapshot.size_bytes),
            units::bytes(snapshot.rate_bytes),
            units::bytes(snapshot.average_rate_bytes),
            units::elapsed(snapshot.elapsed_ms),
            left(snapshot.eta)
        ),
        states.join(", "),
        files(snapshot.files),
        error(snapshot),
        snapshot.strip.clone(),
    ];
    lines.push(standing(snapshot, reading, stopping));
    lines
}

/// What files need, once readers have said so.
fn files(need: Option<FilesNeed>) -> String {
    match need {
        None => String::new(),
        Some(need) if need.missing_bytes == 0 => "all files are complete".to_owned(),
        Some(need) => format!(
            "files lack {} of {}",
            units::bytes(need.missing_bytes),
            units::bytes(need.needed_bytes)
        ),
    }
}

fn left(eta: Option<Eta>) -> String {
    match eta {
        Some(eta) if eta.shortest_ms / 1000 == eta.longest_ms / 1000 => {
            format!("{} left", units::elapsed(eta.shortest_ms))
        }
        Some(eta) => format!(
            "{} to {} left",
            units::elapsed(eta.shortest_ms),
            units::elapsed(eta.longest_ms)
        ),
        None => "time left unknown".to_owned(),
    }
}

fn error(snapshot: &Snapshot) -> String {
    match snapshot.last_error {
        Some(error) => format!(
            "{} failed, the last at {:#x} with error {} after {}",
            units::counted(snapshot.failed_reads, "read", "reads"),
            error.offset,
            error.errno,
            units::elapsed(error.latency_ms)
        ),
        None => "no read failed".to_owned(),
    }
}

fn standing(snapshot: &Snapshot, reading: Option<Duration>, stopping: bool) -> String {
    let waiting = waiting(reading).map(|waiting| format!("waiting on read, {} s", waiting.as_secs()));
    match (waiting, stopping) {
        (Some(waiting), true) => format!("{waiting}; it stops when the read returns"),
        (Some(waiting), false) => waiting,
        (None, true) => "stopping".to_owned(),
        (None, false) if snapshot.waiting_for_device => "the device went away; waiting for it".to_owned(),
        (None, false) if snapshot.paused => "paused; p goes on, q stops".to_owned(),
        (None, false) => "p pauses, s skips, q stops".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hung_read_is_told_within_two_seconds() {
        let snapshot = Snapshot::default();
        let text = |reading| lines(&snapshot, reading, false).join("\n");
        assert!(!text(Some(Duration::from_millis(1000))).contains("waiting"));
        let told = text(Some(Duration::from_millis(2000) - DRAW_EVERY));
        assert!(told.contains("waiting on read, 1 s"), "{told}");
        assert!(
            lines(&snapshot, Some(Duration::from_secs(9)), true)
                .join("\n")
                .contains("stops when")
        );
    }

    #[test]
    fn time_left_is_a_range_or_unknown() {
        let eta = |shortest_ms, longest_ms| {
            Some(Eta {
                shortest_ms,
                longest_ms,
            })
        };
        assert_eq!(left(None), "time left unknown");
        assert_eq!(left(eta(61_000, 125_000)), "1 min 1 s to 2 min 5 s left");
        assert_eq!(left(eta(5_000, 5_100)), "5.0 s left");
    }
}
