//! `ntt medium withdraw|reinstate`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use ntt_catalogue::rows::{EventRow, MediumRow};
use ntt_model::name::escape;
use ntt_pipeline::archive::Access;
use ntt_report::occurrences::medium_name;

use crate::args::Global;
use crate::commands::volume::short;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output::Output;
use crate::session::Session;

/// Puts on record that a medium is none. What it says already is not said again.
pub(super) fn withdraw(global: &Global, name: &OsString, reason: &str, dry_run: bool) -> CommandResult {
    let (session, medium) = open(global, name, dry_run)?;
    let previous = reason_of(&medium);
    if previous != Some(reason) && !dry_run {
        say(&session, &EventRow::of_withdrawal(medium.key, reason.to_owned()))?;
    }
    let mut out = Output::new(global);
    if out.json() {
        let value = serde_json::json!({
            "medium": medium.medium.id, "reason": reason, "previous": previous, "dry_run": dry_run,
        });
        out.document("medium-withdraw", &value)?;
        return Ok(Exit::Done);
    }
    let verb = if dry_run { "would withdraw" } else { "withdrew" };
    let was = previous.map_or(String::new(), |previous| {
        format!(" (was withdrawn before: `{}`)", escape(previous.as_bytes()))
    });
    out.line(format!(
        "{verb} {}: `{}`{was}",
        named(&medium),
        escape(reason.as_bytes())
    ))?;
    out.line("what it has stays stored, and answers about all media leave it out")?;
    out.flush()?;
    Ok(Exit::Done)
}

/// Puts on record that a medium which was withdrawn is one after all.
pub(super) fn reinstate(global: &Global, name: &OsString, dry_run: bool) -> CommandResult {
    let (session, medium) = open(global, name, dry_run)?;
    let previous = reason_of(&medium);
    if previous.is_some() && !dry_run {
        say(&session, &EventRow::of_reinstatement(medium.key))?;
    }
    let mut out = Output::new(global);
    if out.json() {
        let value = serde_json::json!({
            "medium": medium.medium.id, "previous": previous, "dry_run": dry_run,
        });
        out.document("medium-reinstate", &value)?;
        return Ok(Exit::Done);
    }
    let named = named(&medium);
    let verb = if dry_run { "would reinstate" } else { "reinstated" };
    out.line(match previous {
        Some(previous) => format!(
            "{verb} {named} (was withdrawn: `{}`)",
            escape(previous.as_bytes())
        ),
        None => format!("{named} is not withdrawn"),
    })?;
    out.flush()?;
    Ok(Exit::Done)
}

fn open(global: &Global, name: &OsString, dry_run: bool) -> Result<(Session, MediumRow), Failure> {
    let session = Session::open(global, Access::Write.unless_dry(dry_run), &[])?;
    let medium = session.medium(name.as_bytes())?;
    Ok((session, medium))
}

fn say(session: &Session, event: &EventRow) -> Result<(), Failure> {
    let said = session.archive().catalogue().add_event(event);
    session.settle(said.map_err(ntt_pipeline::Error::from))
}

fn reason_of(medium: &MediumRow) -> Option<&str> {
    medium.withdrawn.as_ref().map(|one| one.reason.as_str())
}

/// `ab12cd34ef56 (demo.img)`.
fn named(medium: &MediumRow) -> String {
    let id = medium.medium.id.to_string();
    format!("{} ({})", short(&id), escape(medium_name(medium).as_bytes()))
}
