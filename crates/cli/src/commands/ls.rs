//! `ntt ls`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use ntt_model::Kind;
use ntt_report::export::state_name;
use ntt_report::listing::{self, ListOptions, ListedEntry};
use ntt_report::selector::Selector;

use crate::args::Global;
use crate::commands::choice::{OneScan, not_found};
use crate::commands::deleted_note;
use crate::commands::streams;
use crate::commands::withdrawn::tell_place;
use crate::exit::{CommandResult, Exit};
use crate::output::{Names, Output};
use crate::{session, units};

/// List a directory of a volume.
///
/// With `-l` everything that `ls -l` shows, and whether the content is stored.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// MEDIUM[/VOLUME[/PATH]]; the volume may be left out when the medium has only one.
    target: OsString,
    /// Long form: kind, mode, owner, size, time, state of the content.
    #[arg(long, short)]
    long: bool,
    /// Below each entry, and below `.` for the directory itself, the other streams (forks, alternate streams) and extended attributes; with `-l` their sizes and states too. `ntt cat --stream NAME` writes one.
    #[arg(long)]
    streams: bool,
    /// Raw names, each ended by a NUL, for `xargs -0`.
    #[arg(long = "null", short = '0', conflicts_with_all = ["long", "streams"])]
    null: bool,
    #[command(flatten)]
    scan: OneScan,
    /// Second names of the same entries too: DOS 8.3 names, ISO names beside Rock Ridge or Joliet ones.
    #[arg(long)]
    alternates: bool,
    /// Deleted entries too, where the reader finds some.
    #[arg(long)]
    deleted: bool,
}

pub(crate) fn run(global: &Global, args: &LsArgs) -> CommandResult {
    let archive = session::look(global)?;
    let catalogue = archive.catalogue();
    let selector = Selector::parse(catalogue, args.target.as_bytes())?;
    tell_place(global, catalogue, &selector);
    let absent = |error| not_found(catalogue, &selector, args.scan.choice(), error);
    let scans = selector
        .find_scans(catalogue, args.scan.choice())
        .map_err(absent)?;
    let mut out = Output::new(global);
    let names = if args.null { Names::Null } else { Names::Escaped };
    let options = ListOptions {
        alternates: args.alternates,
        deleted: args.deleted,
        itself: args.streams,
    };
    listing::list(
        catalogue,
        &scans,
        &selector,
        options,
        &mut |entry: ListedEntry| {
            if out.json() {
                out.json_line("entry", &entry)?;
                return Ok(());
            }
            if args.long {
                out.line(long_line(&entry))?;
            } else {
                out.name(names, &entry.name.0)?;
            }
            if args.streams {
                for (size, state, what, name) in parts(&entry) {
                    out.line(part_line(args.long, size, state, what, &name))?;
                }
            }
            Ok(())
        },
    )
    .map_err(absent)?;
    out.flush()?;
    Ok(Exit::Done)
}

/// `-rw-r--r--  1 1000 1000   12345 2003-04-05 06:07:08 stored   name -> target`.
pub(crate) fn long_line(entry: &ListedEntry) -> String {
    let number = |id: Option<u32>| id.map_or("-".to_owned(), |id| id.to_string());
    let target = entry
        .target
        .as_ref()
        .map(|target| format!(" -> {}", target.escaped()))
        .unwrap_or_default();
    format!(
        "{} {:>3} {:>5} {:>5} {:>12} {:19} {:9} {}{target}{}",
        mode_text(entry.kind, entry.mode),
        entry.links,
        number(entry.uid),
        number(entry.gid),
        entry.size_bytes,
        units::time(entry.times.modified),
        entry.content.as_ref().map_or("-", state_name),
        entry.name.escaped(),
        remarks(entry),
    )
}

/// What an entry has beside its data: size, state, what it is, name.
fn parts(entry: &ListedEntry) -> impl Iterator<Item = (u64, &'static str, &'static str, String)> {
    let streams = entry.streams.iter().map(|stream| {
        let name = stream.name.escaped();
        (stream.size_bytes, state_name(&stream.content), "stream", name)
    });
    let attributes = entry.attributes.iter().map(|attribute| {
        let name = attribute.name.escaped();
        (attribute.size_bytes, "stored", "attribute", name)
    });
    streams.chain(attributes)
}

/// Size and state stand below those of the entry.
fn part_line(is_long: bool, size: u64, state: &str, what: &str, name: &str) -> String {
    if is_long {
        format!("{size:>39} {:19} {state:9}   {what} {name}", "")
    } else {
        format!("  {what} {name}")
    }
}

/// What a name deserves to have said beside it.
fn remarks(entry: &ListedEntry) -> String {
    let mut remarks = String::new();
    if let Some(reader) = &entry.reader {
        remarks.push_str(&format!(" [{reader}]"));
    }
    remarks.push_str(&streams::note(entry.content.as_ref(), &entry.streams));
    if entry.alternate {
        let namespace = serde_json::to_value(entry.namespace).unwrap_or_default();
        remarks.push_str(&format!(" [{} name]", namespace.as_str().unwrap_or_default()));
    }
    remarks.push_str(deleted_note(entry.allocation));
    if let Some(rule) = &entry.rule {
        remarks.push_str(&format!(" [excluded by {rule}]"));
    }
    remarks
}

/// The ten characters of `ls -l`; question marks where the format has no permissions.
fn mode_text(kind: Kind, mode: Option<u32>) -> String {
    let letter = match kind {
        Kind::File => '-',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
        Kind::CharDevice => 'c',
        Kind::BlockDevice => 'b',
        Kind::Unknown => '?',
    };
    let Some(mode) = mode else {
        return format!("{letter}?????????");
    };
    let mut text = String::from(letter);
    for (shift, special, set, unset) in [
        (6, 0o4000, 's', 'S'),
        (3, 0o2000, 's', 'S'),
        (0, 0o1000, 't', 'T'),
    ] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, false) => 'x',
            (false, false) => '-',
            (true, true) => set,
            (false, true) => unset,
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_look_as_in_ls() {
        assert_eq!(mode_text(Kind::Directory, Some(0o1777)), "drwxrwxrwt");
        assert_eq!(mode_text(Kind::File, Some(0o4640)), "-rwSr-----");
        assert_eq!(mode_text(Kind::File, Some(0o755)), "-rwxr-xr-x");
        assert_eq!(mode_text(Kind::File, None), "-?????????");
    }
}
