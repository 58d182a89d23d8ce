//! Progress of a run on stderr: bars on a terminal, a line per stage elsewhere, JSON lines on stdout with `--json`.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ntt_model::Severity;
use ntt_model::name::escape;
use ntt_pipeline::observer::{Done, Stage};
use ntt_pipeline::{Event, Observer, RunOutcome};
use ntt_rescue::monitor::Monitor;
use ntt_rescue::watch::SystemStopwatch;

use crate::args::Global;
use crate::commands::live;
use crate::output::tell;
use crate::units;

/// Renders the events of a run.
pub(crate) struct Renderer {
    form: Form,
    rescue: live::Form,
    bar: Mutex<Option<ProgressBar>>,
    /// What the running stage works on.
    subject: Mutex<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Bars and lines on a terminal.
    Bars,
    /// A line per stage and finding.
    Lines,
    /// A JSON line per event.
    Json,
    /// Nothing.
    Quiet,
}

impl Renderer {
    /// A renderer in the form that the arguments and the terminal ask for.
    pub(crate) fn new(global: &Global) -> Self {
        let form = match (global.json, global.quiet, std::io::stderr().is_terminal()) {
            (true, ..) => Form::Json,
            (_, true, _) => Form::Quiet,
            (_, _, true) => Form::Bars,
            _ => Form::Lines,
        };
        Self {
            form,
            rescue: live::Form::of(global),
            bar: Mutex::new(None),
            subject: Mutex::new(String::new()),
        }
    }

    /// A line on stderr, above the bar if there is one.
    fn line(&self, text: &str) {
        let bar = self.bar.lock().ok();
        match bar.as_ref().and_then(|bar| bar.as_ref()) {
            Some(bar) => bar.suspend(|| tell(text)),
            None => tell(text),
        }
    }

    fn show_bar(&self, title: String) {
        if self.form != Form::Bars {
            return;
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
        bar.set_style(style("{prefix} {spinner} {msg}"));
        bar.set_prefix(title);
        bar.enable_steady_tick(Duration::from_millis(250));
        if let Ok(mut slot) = self.bar.lock() {
            *slot = Some(bar);
        }
    }

    fn advance(&self, done: &Done) {
        let Ok(slot) = self.bar.lock() else { return };
        let Some(bar) = slot.as_ref() else { return };
        if let Some(total) = done.total_bytes.filter(|total| *total > 0) {
            bar.set_style(style("{prefix} [{bar:24}] {percent:>3}%  {msg}"));
            bar.set_length(total);
        }
        bar.set_position(done.bytes);
        bar.set_message(message(done, bar.elapsed()));
    }

    fn end_bar(&self) {
        if let Ok(mut slot) = self.bar.lock()
            && let Some(bar) = slot.take()
        {
            bar.finish_and_clear();
        }
    }

    /// Tells people; notes are left to `ntt medium show --findings`.
    fn print(&self, event: &Event) {
        match event {
            Event::StageStarted { stage, subject, .. } => {
                if let Ok(mut slot) = self.subject.lock() {
                    slot.clone_from(subject);
                }
                self.show_bar(format!("{:<8} {subject}", stage.as_str()));
            }
            Event::Progress { done, .. } => self.advance(done),
            Event::StageEnded {
                stage,
                outcome,
                elapsed_ms,
                done,
            } => {
                self.end_bar();
                let subject = self.subject.lock().map(|slot| slot.clone()).unwrap_or_default();
                let line = ended(*stage, *outcome, *elapsed_ms, done);
                self.line(format!("{line}  {subject}").trim_end());
            }
            Event::Finding { volume, finding } if finding.severity != Severity::Info => {
                let volume = volume
                    .map(|number| format!("volume {number}: "))
                    .unwrap_or_default();
                let word = units::severity(finding.severity);
                self.line(&format!(
                    "  {word}: {volume}{}",
                    escape(finding.to_string().as_bytes())
                ));
            }
            Event::Finding { .. } => {}
            Event::Message { text, .. } => self.line(text),
        }
    }
}

impl Observer for Renderer {
    fn event(&self, event: &Event) {
        match self.form {
            Form::Quiet => {}
            Form::Json => print_json(event),
            Form::Bars | Form::Lines => self.print(event),
        }
    }

    fn attend(&self, monitor: &Monitor, watch: &SystemStopwatch, work: &mut (dyn FnMut() + Send)) {
        self.end_bar();
        // Without a display the work is done all the same; if it did not begin, the caller sees that.
        let _ = live::watched(self.rescue, monitor, watch, work);
    }
}

/// A run's event as a JSON line on stdout; whoever closed stdout does not want it.
fn print_json(event: &Event) {
    let mut line =
        serde_json::json!({ "schema_version": crate::output::SCHEMA_VERSION, "message_type": "progress" });
    if let (Some(object), Ok(serde_json::Value::Object(fields))) =
        (line.as_object_mut(), serde_json::to_value(event))
    {
        object.extend(fields);
    }
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// Counts, rates and the time left, or that it is unknown (R41).
fn message(done: &Done, elapsed: Duration) -> String {
    let items = match done.total_items {
        Some(total) => format!("{} of {}", units::count(done.items), units::count(total)),
        None => units::count(done.items),
    };
    let seconds = elapsed.as_secs_f64().max(0.001);
    let rate = |amount: u64| (amount as f64 / seconds) as u64;
    let bytes_rate = rate(done.bytes);
    let left = match done
        .total_bytes
        .map(|total| total.saturating_sub(done.bytes).checked_div(bytes_rate))
    {
        Some(Some(seconds)) => format!("{} left", units::elapsed(seconds.saturating_mul(1000))),
        _ => "time left unknown".to_owned(),
    };
    format!(
        "{items} ({}/s), {} ({}/s), {left}",
        units::count(rate(done.items)),
        units::bytes(done.bytes),
        units::bytes(bytes_rate),
    )
}

/// `scan     ok             11 ms  8 names`.
fn ended(stage: Stage, outcome: RunOutcome, elapsed_ms: u64, done: &Done) -> String {
    let (one, many) = items(stage);
    let items = (done.items > 0 || done.bytes == 0).then(|| units::counted(done.items, one, many));
    let bytes = (done.bytes > 0).then(|| units::bytes(done.bytes));
    let handled: Vec<String> = items.into_iter().chain(bytes).collect();
    format!(
        "{:<9}{:<12}{:>10}  {:<24}",
        stage.as_str(),
        outcome.as_str(),
        units::elapsed(elapsed_ms),
        handled.join(", ")
    )
}

/// What a stage counts, as one and as many.
fn items(stage: Stage) -> (&'static str, &'static str) {
    match stage {
        Stage::Identify => ("source", "sources"),
        Stage::Rescue => ("gap", "gaps"),
        Stage::Inspect => ("volume", "volumes"),
        Stage::Scan => ("name", "names"),
        Stage::Copy | Stage::Verify | Stage::Retry | Stage::Reindex => ("content", "contents"),
        Stage::Manifest | Stage::Rebuild => ("line", "lines"),
        Stage::Exclude | Stage::Restore | Stage::Compare => ("path", "paths"),
        Stage::Transfer => ("entry", "entries"),
        Stage::Doctor => ("check", "checks"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::args::Global;
    use crate::output::Output;

    /// Many commands open their answer before the run whose threads tell their progress: neither may wait for the other.
    #[test]
    fn progress_is_told_while_an_answer_is_open() {
        let global = Global {
            archive: None,
            catalogue: None,
            json: true,
            quiet: false,
            log: None,
        };
        let answer = Output::new(&global);
        let (told, done) = channel();
        std::thread::spawn(move || {
            print_json(&Event::Progress {
                stage: Stage::Copy,
                done: Done::default(),
            });
            told.send(())
        });
        assert_eq!(done.recv_timeout(Duration::from_secs(60)), Ok(()));
        drop(answer);
    }
}
