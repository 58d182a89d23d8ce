//! Volumes in reports: their names, titles and balances.

use ntt_catalogue::rows::{Census, Tally};
use ntt_model::Kind;

use crate::output::Output;
use crate::units;

/// What a volume is called in a report.
pub(crate) struct VolumeTitle<'v> {
    pub(crate) number: u32,
    pub(crate) type_name: &'v str,
    pub(crate) verdict: &'v str,
    /// Its label, escaped.
    pub(crate) label: &'v str,
    /// Who read what is told of it: a hybrid disc has several file systems over the same bytes.
    pub(crate) reader: &'v str,
}

impl std::fmt::Display for VolumeTitle<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_hybrid = self.type_name.contains('+') && !self.reader.is_empty();
        let what = match self.type_name {
            "" => self.verdict,
            name => name,
        };
        write!(out, "volume {}", self.number)?;
        if is_hybrid {
            write!(out, " as {}", self.reader)?;
        }
        write!(out, ": {what}")?;
        if !self.label.is_empty() {
            write!(out, " `{}`", self.label)?;
        }
        Ok(())
    }
}

/// What became of a volume: of which other one it is a copy, and its balance.
pub(crate) fn print_content(
    out: &mut Output,
    indent: &str,
    (same_as, census, verdict): (Option<&str>, Option<&Census>, &str),
) -> std::io::Result<()> {
    if let Some(original) = same_as {
        out.line(format!(
            "{indent}the same volume as {}: not copied again",
            short_volume(original)
        ))?;
    }
    match census {
        Some(census) => print_census(out, census, indent),
        None => out.line(format!("{indent}not scanned ({verdict})")),
    }
}

/// The balance of a volume: found = stored + excluded + lost + waiting (R29).
fn print_census(out: &mut Output, census: &Census, indent: &str) -> std::io::Result<()> {
    let row = |what: &str, tally: Tally| {
        format!(
            "{indent}{what:<22} {:>12} {:>12}",
            units::count(tally.count),
            units::bytes(tally.bytes)
        )
    };
    let inodes: Vec<String> = census
        .inodes
        .iter()
        .map(|(kind, count)| counted_kind(*count, *kind))
        .collect();
    let count = census
        .inodes
        .iter()
        .fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
    out.line(format!(
        "{indent}{}, {}: {}",
        units::counted(census.paths, "path", "paths"),
        units::counted(count, "inode", "inodes"),
        inodes.join(", ")
    ))?;
    out.line(row("found", census.found))?;
    out.line(row("stored", census.stored))?;
    for (rule, tally) in &census.excluded {
        out.line(row(&format!("excluded by {rule}"), *tally))?;
    }
    let lost = [
        ("damaged", census.damaged),
        ("to be tried again", census.retryable),
        ("not copied yet", census.pending),
    ];
    for (what, tally) in lost {
        if tally.count > 0 {
            out.line(row(what, tally))?;
        }
    }
    for (class, tally) in &census.failed {
        out.line(row(&format!("given up: {class}"), *tally))?;
    }
    Ok(())
}

/// `1 symbolic link`, `2 directories`.
fn counted_kind(count: u64, kind: Kind) -> String {
    let (one, many) = match kind {
        Kind::File => ("file", "files"),
        Kind::Directory => ("directory", "directories"),
        Kind::Symlink => ("symbolic link", "symbolic links"),
        Kind::Fifo => ("named pipe", "named pipes"),
        Kind::Socket => ("socket", "sockets"),
        Kind::CharDevice => ("character device", "character devices"),
        Kind::BlockDevice => ("block device", "block devices"),
        Kind::Unknown => ("of unknown kind", "of unknown kind"),
    };
    units::counted(count, one, many)
}

/// `MEDIUM/VOLUME` with the first digits of the medium's id.
pub(crate) fn short_volume(name: &str) -> String {
    match name.split_once('/') {
        Some((id, volume)) => format!("{}/{volume}", short(id)),
        None => name.to_owned(),
    }
}

/// The first digits of an id, as people type them.
pub(crate) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
