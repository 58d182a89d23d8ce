//! `ntt status`.

use std::time::Duration;

use clap::Args;
use ntt_report::status::{self, Failing, Queue, Status};

use crate::args::Global;
use crate::exit::{CommandResult, Exit};
use crate::output::Output;
use crate::{interrupt, session, units};

/// Show what is being worked on, what waits, and what was done last.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Look again every SECONDS until interrupted; rates and the time left come from the second look on.
    #[arg(long, short, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
}

pub(crate) fn run(global: &Global, args: &StatusArgs) -> CommandResult {
    let archive = session::look(global)?;
    let catalogue = archive.catalogue();
    let mut out = Output::new(global);
    let mut earlier = status::status(catalogue)?;
    print(&mut out, &earlier, None)?;
    let Some(seconds) = args.watch else {
        return Ok(Exit::Done);
    };
    let stop = interrupt::flag()?;
    while !interrupt::wait(&stop, Duration::from_secs(seconds)) {
        let now = status::status(catalogue)?;
        print(&mut out, &now, Some((&earlier, seconds)))?;
        earlier = now;
    }
    Ok(Exit::Done)
}

fn print(out: &mut Output, status: &Status, earlier: Option<(&Status, u64)>) -> std::io::Result<()> {
    if out.json() {
        out.json_line("status", status)?;
        return out.flush();
    }
    let media = units::counted(status.media, "medium", "media");
    let withdrawn = match status.withdrawn {
        0 => String::new(),
        withdrawn => format!(" and {} withdrawn", units::count(withdrawn)),
    };
    out.line(format!(
        "{media}{withdrawn}, {}",
        units::counted(status.blobs, "distinct content", "distinct contents")
    ))?;
    if status.queues.is_empty() {
        out.line("nothing waits to be copied")?;
    }
    for queue in &status.queues {
        out.line(queue_line(queue, earlier))?;
    }
    for failing in &status.failing {
        out.line(failing_line(failing))?;
    }
    for worker in &status.workers {
        let chunks = units::counted(worker.leased_chunks, "chunk", "chunks");
        out.line(format!(
            "worker {}: {chunks}, last heard of {}",
            worker.name,
            units::time(Some(worker.seen))
        ))?;
    }
    if !status.recent.is_empty() {
        out.line("")?;
        let rows: Vec<Vec<String>> = status.recent.iter().map(recent_row).collect();
        out.table(
            &[
                "WHEN (UTC)",
                "STAGE",
                "RESULT",
                "TOOK",
                "ITEMS",
                "BYTES",
                "MEDIUM",
            ],
            &rows,
        )?;
    }
    out.flush()
}

/// `floppy-7: files-complete, 8,192 bytes are missing`.
fn failing_line(failing: &Failing) -> String {
    let missing = units::count(failing.missing_bytes);
    let verdict = match failing.hits.files_hit {
        Some(false) => "files-complete",
        Some(true) | None => "partial",
    };
    format!("{}: {verdict}, {missing} bytes are missing", failing.medium_name)
}

fn recent_row(event: &status::RecentEvent) -> Vec<String> {
    vec![
        units::time(event.at),
        event.stage.clone(),
        event.result.clone(),
        units::elapsed(event.elapsed_ms),
        units::count(event.count),
        units::bytes(event.bytes),
        event.medium_name.clone().unwrap_or_default(),
    ]
}

/// `practical.floppy.dd/1: 12 files, 1.1 MiB wait; 3 files, 120.0 KiB done; 40.0 KiB/s, 27 s left`. No sum of both is told: what was done and waits again stands in both.
fn queue_line(queue: &Queue, earlier: Option<(&Status, u64)>) -> String {
    let progress = &queue.progress;
    let mut line = format!(
        "{}/{}: {}, {} wait; {}, {} done",
        queue.medium_name,
        queue.volume,
        units::counted(progress.pending_streams, "file", "files"),
        units::bytes(progress.pending_bytes),
        units::counted(progress.done_streams, "file", "files"),
        units::bytes(progress.done_bytes),
    );
    if let Some(next) = progress.next_retry {
        line.push_str(&format!(
            "; {} chunks wait until {}",
            progress.waiting_chunks,
            units::time(Some(next))
        ));
    }
    line.push_str(&rate_text(queue, earlier));
    line
}

/// Rate and time left, or that they are unknown (R41).
fn rate_text(queue: &Queue, earlier: Option<(&Status, u64)>) -> String {
    let Some((earlier, seconds)) = earlier else {
        return String::new();
    };
    let same = |other: &&Queue| other.medium == queue.medium && other.volume == queue.volume;
    let before = earlier
        .queues
        .iter()
        .find(same)
        .map_or(0, |other| other.progress.done_bytes);
    let rate = queue.progress.done_bytes.saturating_sub(before) / seconds;
    match queue.progress.pending_bytes.checked_div(rate) {
        Some(left) => format!(
            "; {}/s, {} left",
            units::bytes(rate),
            units::elapsed(left.saturating_mul(1000))
        ),
        None => "; time left unknown".to_owned(),
    }
}
