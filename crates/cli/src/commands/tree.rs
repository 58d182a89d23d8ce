//! `ntt tree`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use ntt_model::Kind;
use ntt_report::listing::{self, ListOptions, TreeEntry};
use ntt_report::selector::Selector;

use crate::args::Global;
use crate::commands::choice::{OneScan, not_found};
use crate::commands::deleted_note;
use crate::commands::withdrawn::tell_place;
use crate::exit::{CommandResult, Exit};
use crate::output::Output;
use crate::{session, units};

/// Draw the tree below a directory of a volume.
#[derive(Debug, Args)]
pub(crate) struct TreeArgs {
    /// MEDIUM[/VOLUME[/PATH]]; the volume may be left out when the medium has only one.
    target: OsString,
    /// Levels to show.
    #[arg(long, short = 'L', default_value_t = u32::MAX, hide_default_value = true)]
    depth: u32,
    /// Sizes of files too.
    #[arg(long, short)]
    sizes: bool,
    #[command(flatten)]
    scan: OneScan,
    /// Second names of the same entries too.
    #[arg(long)]
    alternates: bool,
    /// Deleted entries too.
    #[arg(long)]
    deleted: bool,
}

pub(crate) fn run(global: &Global, args: &TreeArgs) -> CommandResult {
    let archive = session::look(global)?;
    let catalogue = archive.catalogue();
    let selector = Selector::parse(catalogue, args.target.as_bytes())?;
    tell_place(global, catalogue, &selector);
    let absent = |error| not_found(catalogue, &selector, args.scan.choice(), error);
    let scans = selector
        .find_scans(catalogue, args.scan.choice())
        .map_err(absent)?;
    let options = ListOptions {
        alternates: args.alternates,
        deleted: args.deleted,
        itself: false,
    };
    let mut out = Output::new(global);
    let (mut directories, mut others) = (0, 0);
    listing::tree(catalogue, &scans, &selector, options, args.depth, &mut |entry| {
        let counter = if entry.entry.kind == Kind::Directory {
            &mut directories
        } else {
            &mut others
        };
        *counter += 1;
        if out.json() {
            out.json_line("tree-entry", &entry)?;
        } else {
            out.line(drawn(&entry, args.sizes))?;
        }
        Ok(())
    })
    .map_err(absent)?;
    if !out.json() {
        let directories = units::counted(directories, "directory", "directories");
        let others = units::counted(others, "other entry", "other entries");
        out.line("")?;
        out.line(format!("{directories}, {others}"))?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn drawn(entry: &TreeEntry, sizes: bool) -> String {
    let mut line = String::new();
    if let Some((last, above)) = entry.more.split_last() {
        for more in above {
            line.push_str(if *more { "│   " } else { "    " });
        }
        line.push_str(if *last { "├── " } else { "└── " });
    }
    line.push_str(&entry.entry.name.escaped());
    match entry.entry.kind {
        Kind::Directory => line.push('/'),
        Kind::File if sizes => line.push_str(&format!("  ({})", units::bytes(entry.entry.size_bytes))),
        _ => {}
    }
    if let Some(target) = &entry.entry.target {
        line.push_str(&format!(" -> {}", target.escaped()));
    }
    line.push_str(deleted_note(entry.entry.allocation));
    // Only where the trees of several file systems begin.
    if let Some(reader) = entry.entry.reader.as_ref().filter(|_| entry.depth == 1) {
        line.push_str(&format!("  [{reader}]"));
    }
    line
}
