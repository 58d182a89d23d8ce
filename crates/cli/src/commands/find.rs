//! `ntt find`.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{ArgGroup, Args, ValueEnum};
use ntt_model::{Kind, Timestamp};
use ntt_report::find::{self, FindOptions, Found, Pattern};
use ntt_report::selector::Selector;

use crate::args::Global;
use crate::commands::ls::state_name;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output::{Names, Output};
use crate::{session, units};

/// Find paths on all media by name, size, date, kind and state.
///
/// Patterns match bytes, not text.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("pattern").multiple(false))]
pub(crate) struct FindArgs {
    /// Bytes that the name contains; with --path, that the whole path contains.
    #[arg(group = "pattern")]
    substring: Option<OsString>,
    /// Shell glob that the whole name matches: `*.jpg`. With --path, the whole path: `**/*.jpg`.
    #[arg(long, short, group = "pattern", value_name = "GLOB")]
    glob: Option<String>,
    /// Regular expression on the bytes of the name (of the whole path with --path); `(?-u)\xff` is the byte FF.
    #[arg(long, short = 'E', group = "pattern", value_name = "REGEX")]
    regex: Option<String>,
    /// Match the path relative to the volume's root instead of the name.
    #[arg(long, short)]
    path: bool,
    /// Ignore case.
    #[arg(long, short)]
    ignore_case: bool,
    /// Only on this MEDIUM[/VOLUME]; may be repeated.
    #[arg(long, short, value_name = "MEDIUM")]
    medium: Vec<OsString>,
    /// Only these kinds.
    #[arg(long, short, value_enum, value_delimiter = ',')]
    kind: Vec<KindName>,
    /// At least this big: `4k`, `1.5GiB`.
    #[arg(long, value_name = "SIZE", value_parser = units::parse_bytes)]
    min_size: Option<u64>,
    /// At most this big.
    #[arg(long, value_name = "SIZE", value_parser = units::parse_bytes)]
    max_size: Option<u64>,
    /// Modified at or after this date (`2003-04-05` or RFC 3339; UTC).
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    after: Option<Timestamp>,
    /// Modified before this date.
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    before: Option<Timestamp>,
    /// Only these states: pending, stored, damaged, excluded, retryable, failed, failed:CLASS.
    #[arg(long, short, value_name = "STATE", value_delimiter = ',')]
    state: Vec<String>,
    /// Second names of the same entries too.
    #[arg(long)]
    alternates: bool,
    /// Deleted entries too.
    #[arg(long)]
    deleted: bool,
    /// Show kind, size, date and state too.
    #[arg(long, short)]
    long: bool,
    /// Raw MEDIUM/VOLUME/PATH, each ended by a NUL.
    #[arg(long = "null", short = '0', conflicts_with = "long")]
    null: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KindName {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
    Unknown,
}

impl From<KindName> for Kind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::File => Self::File,
            KindName::Directory => Self::Directory,
            KindName::Symlink => Self::Symlink,
            KindName::Fifo => Self::Fifo,
            KindName::Socket => Self::Socket,
            KindName::CharDevice => Self::CharDevice,
            KindName::BlockDevice => Self::BlockDevice,
            KindName::Unknown => Self::Unknown,
        }
    }
}

pub(crate) fn run(global: &Global, args: &FindArgs) -> CommandResult {
    let archive = session::look(global)?;
    let catalogue = archive.catalogue();
    let mut options = options(args)?;
    for name in &args.medium {
        let selector = Selector::parse(name.as_bytes())?;
        options.media.push(selector.find_medium(catalogue)?.key);
        if selector.volume.is_some() && args.medium.len() > 1 {
            return Err(Failure::usage("a volume can be given with one --medium only"));
        }
        options.volume = selector.volume;
    }
    let mut out = Output::new(global);
    let names = if args.null { Names::Null } else { Names::Escaped };
    find::find(catalogue, &options, &mut |found| {
        if out.json() {
            out.json_line("found", &found)?;
        } else if args.long {
            out.line(long_line(&found))?;
        } else {
            out.name(names, &full_name(&found))?;
        }
        Ok(())
    })?;
    out.flush()?;
    Ok(Exit::Done)
}

fn options(args: &FindArgs) -> Result<FindOptions, Failure> {
    let pattern = match (&args.substring, &args.glob, &args.regex) {
        (Some(bytes), _, _) => Some(Pattern::Substring(bytes.clone().into_vec())),
        (_, Some(glob), _) => Some(Pattern::Glob(glob.clone())),
        (_, _, Some(regex)) => Some(Pattern::Regex(regex.clone())),
        _ => None,
    };
    let (name, path) = if args.path {
        (None, pattern)
    } else {
        (pattern, None)
    };
    Ok(FindOptions {
        name,
        path,
        ignore_case: args.ignore_case,
        kinds: args.kind.iter().copied().map(Kind::from).collect(),
        size_bytes: range(args.min_size, args.max_size, 0, u64::MAX),
        modified: range(args.after, args.before.map(just_before), EARLIEST, LATEST),
        states: args
            .state
            .iter()
            .map(|text| find::parse_state(text))
            .collect::<Result<_, _>>()?,
        alternates: args.alternates,
        deleted: args.deleted,
        ..FindOptions::default()
    })
}

const EARLIEST: Timestamp = Timestamp::from_nanos(i64::MIN);
const LATEST: Timestamp = Timestamp::from_nanos(i64::MAX);

fn just_before(time: Timestamp) -> Timestamp {
    Timestamp::from_nanos(time.as_nanos().saturating_sub(1))
}

/// A range with at least one given end; `None` if neither is.
fn range<T>(from: Option<T>, to: Option<T>, least: T, most: T) -> Option<RangeInclusive<T>> {
    match (from, to) {
        (None, None) => None,
        (from, to) => Some(from.unwrap_or(least)..=to.unwrap_or(most)),
    }
}

pub(crate) fn parse_date(text: &str) -> Result<Timestamp, String> {
    let midnight = text
        .parse::<jiff::civil::Date>()
        .ok()
        .map(|date| format!("{date}T00:00:00Z"));
    let timestamp: jiff::Timestamp = midnight
        .as_deref()
        .unwrap_or(text)
        .parse()
        .map_err(|_| format!("`{text}` is no date such as 2003-04-05 or 2003-04-05T06:07:08Z"))?;
    i64::try_from(timestamp.as_nanosecond())
        .map(Timestamp::from_nanos)
        .map_err(|_| format!("`{text}` is out of range"))
}

/// `MEDIUM/VOLUME/PATH`: what other commands take.
fn full_name(found: &Found) -> Vec<u8> {
    let mut name = format!("{}/{}/", &found.medium.to_string()[..12], found.volume).into_bytes();
    name.extend_from_slice(&found.path.0);
    name
}

fn long_line(found: &Found) -> String {
    let rule = found
        .rule
        .as_ref()
        .map(|rule| format!(" [excluded by {rule}]"))
        .unwrap_or_default();
    format!(
        "{:>12} {:19} {:9} {}{rule}",
        found.size_bytes,
        units::time(found.modified),
        found.content.as_ref().map_or("-", state_name),
        ntt_model::name::escape(&full_name(found)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days_or_instants() {
        assert_eq!(
            parse_date("1970-01-02").map(|time| time.as_nanos()),
            Ok(86_400_000_000_000)
        );
        assert_eq!(
            parse_date("1970-01-01T00:00:01Z").map(|time| time.as_nanos()),
            Ok(1_000_000_000)
        );
        assert!(parse_date("yesterday").is_err());
    }

    #[test]
    fn a_range_needs_one_end() {
        assert_eq!(range(None, None, 0, 9), None);
        assert_eq!(range(Some(3), None, 0, 9), Some(3..=9));
        assert_eq!(range(None, Some(3), 0, 9), Some(0..=3));
    }
}
