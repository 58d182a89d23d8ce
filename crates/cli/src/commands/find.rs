//! `ntt find`.

use clap::Args;
use ntt_model::name::escape;
use ntt_report::export::state_name;
use ntt_report::find::{self, Found};

use crate::args::Global;
use crate::commands::choice::scan_note;
use crate::commands::deleted_note;
use crate::commands::filter::{FilterArgs, tell_superseded, tell_unindexed, tell_wildcards};
use crate::commands::streams;
use crate::commands::volume::short;
use crate::exit::{CommandResult, Exit};
use crate::output::{Names, Output};
use crate::{session, units};

/// Find paths on all media by name, size, date, kind and state.
///
/// Patterns match bytes, not text.
#[derive(Debug, Args)]
pub(crate) struct FindArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Show size, date and state too.
    #[arg(long, short)]
    long: bool,
    /// Raw MEDIUM/VOLUME/PATH, each ended by a NUL. They have no room for the number of a scan: no --all-scans.
    #[arg(long = "null", short = '0', conflicts_with_all = ["long", "all_scans"])]
    null: bool,
}

pub(crate) fn run(global: &Global, args: &FindArgs) -> CommandResult {
    let archive = session::look(global)?;
    let options = args.filter.options(global, archive.catalogue())?;
    let mut out = Output::new(global);
    let names = if args.null { Names::Null } else { Names::Escaped };
    let index = archive.search();
    let mut is_empty = true;
    let unindexed = find::find(archive.catalogue(), Some(&index), &options, &mut |found| {
        is_empty = false;
        if out.json() {
            out.json_line("found", &found)?;
        } else if args.long {
            out.line(long_line(&found))?;
        } else if found.scan.superseded && !args.null {
            out.line(marked(&found))?;
        } else {
            out.name(names, &full_name(&found))?;
        }
        Ok(())
    })?;
    out.flush()?;
    tell_unindexed(global, &unindexed);
    if is_empty {
        tell_wildcards(global, &args.filter);
        tell_superseded(global, archive.catalogue(), &options)?;
    }
    Ok(Exit::Done)
}

/// `MEDIUM/VOLUME/PATH`: what other commands take.
fn full_name(found: &Found) -> Vec<u8> {
    let mut name = format!("{}/{}/", short(&found.medium.to_string()), found.volume).into_bytes();
    name.extend_from_slice(&found.path.0);
    name
}

/// The full name as text, with the scan behind it if that is superseded.
fn marked(found: &Found) -> String {
    format!("{}{}", escape(&full_name(found)), scan_note(&found.scan))
}

fn long_line(found: &Found) -> String {
    let rule = found
        .rule
        .as_ref()
        .map(|rule| format!(" [excluded by {rule}]"))
        .unwrap_or_default();
    let deleted = deleted_note(found.allocation);
    format!(
        "{:>12} {:19} {:9} {}{}{deleted}{rule}",
        found.size_bytes,
        units::time(found.modified),
        found.content.as_ref().map_or("-", state_name),
        marked(found),
        streams::note(found.content.as_ref(), &found.streams),
    )
}
