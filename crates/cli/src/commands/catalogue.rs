//! `ntt catalogue`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ntt_catalogue::postgres;
use ntt_pipeline::archive::{self, CataloguePlace};
use ntt_pipeline::transfer::{self, TransferSummary};
use ntt_pipeline::{Error, Interrupt};

use crate::args::Global;
use crate::exit::{CommandResult, Exit};
use crate::interrupt;
use crate::output::Output;
use crate::progress::Renderer;
use crate::session;
use crate::units;

/// Make a catalogue in a PostgreSQL server, bring one to the version of this program, and copy catalogues.
#[derive(Debug, Args)]
pub(crate) struct CatalogueArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make the catalogue in the empty database that --catalogue or the setting names, or bring it, or the one in the archive, to the version of this program.
    Init,
    /// Copy a catalogue with everything in it into an empty database or a new file.
    ///
    /// FROM and TO are files of embedded catalogues (ARCHIVE/catalogue.db) or URLs of databases. What is written to FROM meanwhile is left out: the copy is what it was at the start.
    /// Workers and leases are left behind.
    Copy {
        /// The catalogue to copy.
        from: PathBuf,
        /// The file to make, or the empty database to fill.
        to: PathBuf,
        /// Say how much there is and copy nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

pub(crate) fn run(global: &Global, args: &CatalogueArgs) -> CommandResult {
    match &args.action {
        Action::Init => init(global),
        Action::Copy { from, to, dry_run } => {
            let (from, to) = (from.as_path().into(), to.as_path().into());
            let summary = if *dry_run {
                transfer::plan(&from)?
            } else {
                let renderer = Renderer::new(global);
                transfer::run(&from, &to, &renderer, &Interrupt::from_flag(interrupt::flag()?))?
            };
            print_copied(&mut Output::new(global), &summary, *dry_run)
        }
    }
}

fn init(global: &Global) -> CommandResult {
    let (before, now) = match session::place(global)? {
        CataloguePlace::Server(url) => postgres::init(&url).map_err(Error::from)?,
        CataloguePlace::Embedded => archive::migrate(&session::archive_root(global)?)?,
    };
    let mut out = Output::new(global);
    if out.json() {
        let versions = serde_json::json!({ "version_before": before, "version": now });
        out.document("catalogue-init", &versions)?;
        return Ok(Exit::Done);
    }
    out.line(match before {
        0 => format!("made the catalogue, version {now}"),
        before if before == now => format!("the catalogue has version {now} already"),
        before => format!("brought the catalogue from version {before} to {now}"),
    })?;
    out.flush()?;
    Ok(Exit::Done)
}

fn print_copied(out: &mut Output, summary: &TransferSummary, dry_run: bool) -> CommandResult {
    if out.json() {
        out.document("catalogue-copy", summary)?;
        return Ok(Exit::Done);
    }
    let verb = if dry_run { "would copy" } else { "copied" };
    out.line(format!(
        "{verb} {}, {}, {}, {}, {}",
        units::counted(summary.media, "medium", "media"),
        units::counted(summary.scans, "scan", "scans"),
        units::counted(summary.names, "name", "names"),
        units::counted(summary.inodes, "inode", "inodes"),
        units::counted(summary.blobs, "content", "contents"),
    ))?;
    out.flush()?;
    Ok(Exit::Done)
}
