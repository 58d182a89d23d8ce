//! `ntt medium list|add|show|label|withdraw|reinstate`.

mod show;
mod withdraw;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::{Args, Subcommand};
use ntt_model::name::escape;
use ntt_pipeline::archive::Access;
use ntt_pipeline::census::Kept;
use ntt_pipeline::rescue;
use ntt_report::media;

use crate::args::Global;
use crate::commands::volume::short;
use crate::exit::{CommandResult, Exit};
use crate::output::Output;
use crate::session::{self, Session};
use crate::units;

/// List, add, show, label or withdraw the media in the archive.
#[derive(Debug, Args)]
pub(crate) struct MediumArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all media: what they hold, and whether all of it is safe.
    List {
        /// Those that are withdrawn too.
        #[arg(long)]
        all: bool,
    },
    /// Put a medium on record from which nothing can be read, such as a drive that never spins up.
    Add {
        /// What it is called until it has a label: the time is put behind it.
        name: String,
        /// Nothing of it can be read. (What can be read is added by `ntt ingest`.)
        #[arg(long, required = true)]
        unreadable: bool,
        /// Words on its label, or what there is to say of it; kept verbatim.
        #[arg(long, value_name = "TEXT")]
        label: Option<String>,
        /// The serial number printed on it.
        #[arg(long, value_name = "TEXT")]
        serial: Option<String>,
    },
    /// Show everything known of one medium: identity, volumes, content, findings, history.
    Show {
        /// Id (or its first digits), label or source name of the medium.
        medium: OsString,
        /// List every finding.
        #[arg(long)]
        findings: bool,
    },
    /// Set the words on a medium's label; they are kept verbatim, and earlier words stay in its history (R5).
    Label {
        /// Id (or its first digits), label or source name of the medium.
        medium: OsString,
        /// The words.
        text: String,
        /// Say what would change and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Put on record that a medium is none: the wrong folder, a part of an image taken alone, a test. All that is known of it stays, and can be asked for by its name; `medium list`, `find`,
    /// `where`, `status` and `export` leave it out, and no file counts as archived because it stands there. `ntt medium reinstate` takes it back.
    Withdraw {
        /// Id (or its first digits), label or source name of the medium.
        medium: OsString,
        /// Why; the words are kept verbatim.
        #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
        reason: String,
        /// Say what would change and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Take back that a medium was withdrawn: it counts again, as if it had never been. The log keeps both.
    Reinstate {
        /// Id (or its first digits), label or source name of the medium.
        medium: OsString,
        /// Say what would change and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

pub(crate) fn run(global: &Global, args: &MediumArgs) -> CommandResult {
    match &args.action {
        Action::List { all } => list(global, *all),
        Action::Add {
            name, label, serial, ..
        } => add(global, name, label.as_deref(), serial.as_deref()),
        Action::Show { medium, findings } => show::show(global, medium, *findings),
        Action::Label {
            medium,
            text,
            dry_run,
        } => label(global, medium, text, *dry_run),
        Action::Withdraw {
            medium,
            reason,
            dry_run,
        } => withdraw::withdraw(global, medium, reason, *dry_run),
        Action::Reinstate { medium, dry_run } => withdraw::reinstate(global, medium, *dry_run),
    }
}

fn list(global: &Global, all: bool) -> CommandResult {
    let archive = session::look(global)?;
    let catalogue = archive.catalogue();
    let list = media::list(catalogue, &Kept::load(&archive)?, all)?;
    let mut out = Output::new(global);
    if out.json() {
        out.document("medium-list", &list)?;
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = list
        .media
        .iter()
        .map(|medium| {
            let name = match medium.label.as_str() {
                "" => medium.source_name.clone(),
                label => escape(label.as_bytes()).into_owned(),
            };
            let state = match &medium.withdrawn {
                Some(_) => "withdrawn",
                None => medium.completeness.as_str(),
            };
            vec![
                short(&medium.id.to_string()).to_owned(),
                state.to_owned(),
                units::count(medium.volumes),
                units::count(medium.paths),
                units::count(medium.stored.count),
                units::bytes(medium.stored.bytes),
                units::count(medium.lost.count),
                name,
            ]
        })
        .collect();
    out.table(
        &[
            "MEDIUM", "STATE", "VOLUMES", "PATHS", "STORED", "BYTES", "LOST", "NAME",
        ],
        &rows,
    )?;
    if list.withdrawn > 0 {
        let media = units::counted(list.withdrawn, "medium is", "media are");
        let more = if all { "" } else { ", and not listed: see --all" };
        out.line(format!("{media} withdrawn{more}"))?;
        out.flush()?;
    }
    Ok(Exit::Done)
}

fn add(global: &Global, name: &str, label: Option<&str>, serial: Option<&str>) -> CommandResult {
    let session = Session::open_or_create(global, &[])?;
    let added = rescue::add_unreadable(session.archive(), name, label, serial);
    let row = session.settle(added)?;
    let mut out = Output::new(global);
    if out.json() {
        out.document("medium-add", &row)?;
    } else {
        let id = row.medium.id;
        out.line(format!(
            "added {} as unreadable, medium {id}",
            row.medium.source_name
        ))?;
        out.flush()?;
    }
    Ok(Exit::Done)
}

fn label(global: &Global, name: &OsString, text: &str, dry_run: bool) -> CommandResult {
    let access = Access::Write.unless_dry(dry_run);
    let session = Session::open(global, access, &[])?;
    let medium = session.medium(name.as_bytes())?;
    let catalogue = session.archive().catalogue();
    if !dry_run {
        session.settle(
            catalogue
                .set_label(medium.key, text)
                .map_err(ntt_pipeline::Error::from),
        )?;
    }
    let mut out = Output::new(global);
    if out.json() {
        let value = serde_json::json!({
            "medium": medium.medium.id, "label": text, "previous": medium.medium.label, "dry_run": dry_run,
        });
        out.document("medium-label", &value)?;
    } else {
        let verb = if dry_run { "would label" } else { "labelled" };
        out.line(format!(
            "{verb} {} `{text}`{}",
            short(&medium.medium.id.to_string()),
            match medium.medium.label.as_str() {
                "" => String::new(),
                previous => format!(" (was `{previous}`)"),
            }
        ))?;
        out.flush()?;
    }
    Ok(Exit::Done)
}
