//! `ntt worker`.

use std::collections::HashMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use ntt_catalogue::Catalogue;
use ntt_catalogue::rows::{WorkerRow, WorkerWish};
use ntt_model::WorkerId;
use ntt_pipeline::Error;

use crate::args::Global;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output::Output;
use crate::{interrupt, session, units};

/// Show who copies, on which host, and ask them to finish or to stop.
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the workers that have not ended, with what they hold and how fast they are.
    List {
        /// Look again every SECONDS until interrupted; rates are then those between two looks.
        #[arg(long, short, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "5",
              value_parser = clap::value_parser!(u64).range(1..=3600))]
        watch: Option<u64>,
    },
    /// Ask workers to finish the chunks that they hold, and end. They hear of it within seconds.
    Drain(Who),
    /// Ask workers to give back what they hold, and end. They hear of it within seconds.
    Stop(Who),
}

#[derive(Debug, Args)]
struct Who {
    /// Numbers of workers, as `ntt worker list` shows them.
    #[arg(required_unless_present = "all")]
    workers: Vec<i64>,
    /// All that have not ended.
    #[arg(long, conflicts_with = "workers")]
    all: bool,
}

pub(crate) fn run(global: &Global, args: &WorkerArgs) -> CommandResult {
    match &args.action {
        Action::List { watch } => list(global, *watch),
        Action::Drain(who) => ask(global, who, WorkerWish::Drain),
        Action::Stop(who) => ask(global, who, WorkerWish::Stop),
    }
}

fn list(global: &Global, watch: Option<u64>) -> CommandResult {
    let archive = session::look(global)?;
    let mut out = Output::new(global);
    let mut before = living(archive.catalogue())?;
    print(&mut out, &before, None)?;
    let Some(seconds) = watch else {
        return Ok(Exit::Done);
    };
    let stop = interrupt::flag()?;
    while !interrupt::wait(&stop, Duration::from_secs(seconds)) {
        let now = living(archive.catalogue())?;
        print(&mut out, &now, Some((&before, seconds)))?;
        before = now;
    }
    Ok(Exit::Done)
}

fn living(catalogue: &dyn Catalogue) -> Result<Vec<WorkerRow>, Failure> {
    let mut workers = catalogue.workers().map_err(Error::from)?;
    workers.retain(|worker| !worker.retired);
    Ok(workers)
}

fn print(
    out: &mut Output,
    workers: &[WorkerRow],
    before: Option<(&[WorkerRow], u64)>,
) -> std::io::Result<()> {
    if out.json() {
        out.json_line("worker-list", &serde_json::json!({ "workers": workers }))?;
        return out.flush();
    }
    let earlier: HashMap<WorkerId, u64> = before
        .iter()
        .flat_map(|(workers, _)| workers.iter())
        .map(|worker| (worker.id, worker.done_bytes.unwrap_or(0)))
        .collect();
    let rows: Vec<Vec<String>> = workers
        .iter()
        .map(|worker| {
            let rate = match before {
                Some((_, seconds)) => {
                    let done = worker.done_bytes.unwrap_or(0);
                    Some(done.saturating_sub(earlier.get(&worker.id).copied().unwrap_or(done)) / seconds)
                }
                None => average(worker),
            };
            row(worker, rate)
        })
        .collect();
    let head = [
        "ID",
        "CHUNKS",
        "CONTENTS",
        "BYTES",
        "RATE",
        "LAST HEARD OF",
        "ASKED TO",
        "WORKER",
    ];
    out.table(&head, &rows)
}

/// Bytes a second since the worker registered.
fn average(worker: &WorkerRow) -> Option<u64> {
    let nanos = worker.seen.as_nanos().saturating_sub(worker.begun?.as_nanos());
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    worker.done_bytes?.checked_div(seconds)
}

fn row(worker: &WorkerRow, rate: Option<u64>) -> Vec<String> {
    let unknown = || "-".to_owned();
    vec![
        worker.id.to_string(),
        units::count(worker.leased_chunks),
        worker.done_streams.map_or_else(unknown, units::count),
        worker.done_bytes.map_or_else(unknown, units::bytes),
        rate.map_or_else(unknown, |rate| format!("{}/s", units::bytes(rate))),
        units::time(Some(worker.seen)),
        units::word(&worker.wish),
        worker.name.clone(),
    ]
}

fn ask(global: &Global, who: &Who, wish: WorkerWish) -> CommandResult {
    let root = session::archive_root(global)?;
    let catalogue = session::place(global)?.open(&root)?;
    let workers: Vec<WorkerId> = if who.all {
        let living = living(catalogue.as_ref())?;
        living.into_iter().map(|worker| worker.id).collect()
    } else {
        who.workers.iter().map(|number| WorkerId(*number)).collect()
    };
    for worker in &workers {
        catalogue.ask_worker(*worker, wish).map_err(Error::from)?;
    }
    let mut out = Output::new(global);
    if out.json() {
        out.document(
            "worker-asked",
            &serde_json::json!({ "workers": workers, "wish": wish }),
        )?;
        return Ok(Exit::Done);
    }
    let asked = units::counted(u64::try_from(workers.len()).unwrap_or(0), "worker", "workers");
    out.line(format!("asked {asked} to {}", units::word(&wish)))?;
    out.flush()?;
    Ok(Exit::Done)
}
