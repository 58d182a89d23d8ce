//! Which paths: the arguments that `find` and `export` share.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::ops::RangeInclusive;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, ValueEnum};
use ntt_catalogue::Catalogue;
use ntt_catalogue::query::Scans;
use ntt_model::{Kind, Timestamp};
use ntt_report::find::{self, FindOptions, Pattern};
use ntt_report::index::Unindexed;
use ntt_report::selector::Selector;

use crate::args::Global;
use crate::commands::choice::{AllScans, tell_older};
use crate::commands::withdrawn::tell_withdrawn;
use crate::exit::Failure;
use crate::output::tell;
use crate::units;

/// What a path and its inode must be.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("pattern").multiple(false))]
pub(crate) struct FilterArgs {
    /// Bytes that the name contains; with --path, that the whole path contains.
    #[arg(group = "pattern")]
    substring: Option<OsString>,
    /// Shell glob that the whole name matches: `*.jpg`. With --path, the whole path: `**/*.jpg`.
    #[arg(long, short, group = "pattern", value_name = "GLOB")]
    glob: Option<OsString>,
    /// Regular expression on the bytes of the name (of the whole path with --path); `(?-u:\xff)` is the byte FF.
    #[arg(long, short = 'E', group = "pattern", value_name = "REGEX")]
    regex: Option<OsString>,
    /// Whole names (whole paths with --path), one a line, or each ended by a NUL if there is one: any number in one pass; `-` is stdin.
    #[arg(long, group = "pattern", value_name = "FILE")]
    names_from: Option<PathBuf>,
    /// Match the path relative to the volume's root instead of the name.
    #[arg(long, short)]
    path: bool,
    /// Ignore case: that of all letters, as Unicode folds it. Bytes that are no UTF-8 are compared as they are.
    #[arg(long, short)]
    ignore_case: bool,
    /// Only on this MEDIUM[/VOLUME], be it withdrawn; may be repeated.
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
    /// Only these states: pending, stored, damaged, corrupt, excluded, retryable, failed, failed:CLASS.
    #[arg(long, short, value_name = "STATE", value_delimiter = ',')]
    state: Vec<String>,
    /// Second names of the same entries too.
    #[arg(long)]
    alternates: bool,
    /// Deleted entries too.
    #[arg(long)]
    deleted: bool,
    #[command(flatten)]
    scans: AllScans,
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

impl FilterArgs {
    /// The same as options, with the media looked up, and said of which are withdrawn.
    pub(crate) fn options(&self, global: &Global, catalogue: &dyn Catalogue) -> Result<FindOptions, Failure> {
        let mut options = conditions(self)?;
        for name in &self.medium {
            let selector = Selector::parse(catalogue, name.as_bytes())?;
            let medium = selector.find_medium(catalogue)?;
            tell_withdrawn(global, &medium);
            options.media.push(medium.key);
            if selector.volume.is_some() {
                if self.medium.len() > 1 {
                    return Err(Failure::usage("a volume can be given with one --medium only"));
                }
                options.volume = Some(selector.find_volume(catalogue, &medium)?.volume.number);
            }
        }
        Ok(options)
    }
}

/// Says on stderr which scans had no index to search.
pub(crate) fn tell_unindexed(global: &Global, unindexed: &[Unindexed]) {
    if unindexed.is_empty() || global.quiet || global.json {
        return;
    }
    let scans = units::counted(
        u64::try_from(unindexed.len()).unwrap_or(u64::MAX),
        "scan",
        "scans",
    );
    let why = unindexed
        .iter()
        .find_map(|scan| scan.problem.as_deref())
        .unwrap_or("there is none");
    let text = format!(
        "{scans} searched without the search index ({why}); the answer is whole, and `ntt doctor --fix` makes the index"
    );
    tell(&text);
}

/// Says on stderr, where a substring found nothing, that its wildcards were none.
pub(crate) fn tell_wildcards(global: &Global, args: &FilterArgs) {
    let substring = args.substring.iter().flat_map(|name| name.as_bytes());
    let is_pattern = substring.copied().any(|byte| matches!(byte, b'*' | b'?'));
    if is_pattern && !global.quiet && !global.json {
        tell("hint: `*` and `?` stand for themselves in a substring; --glob makes it a pattern");
    }
}

/// Says on stderr, where nothing was found, that there are superseded scans in which nobody looked.
pub(crate) fn tell_superseded(
    global: &Global,
    catalogue: &dyn Catalogue,
    options: &FindOptions,
) -> Result<(), Failure> {
    if options.scans == Scans::Current {
        let older = find::superseded_scans(catalogue, &options.media, options.volume)?;
        tell_older(global, older);
    }
    Ok(())
}

/// The text of a regular expression. Bytes that are no text have a way to be written in it.
fn in_utf8(regex: &OsStr) -> Result<String, Failure> {
    let text = regex.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        Failure::usage("a regular expression is UTF-8").hint("`(?-u:\\xff)` in it is the byte FF")
    })
}

/// The names of a list; empty lines are none.
fn read_names(file: &Path) -> Result<HashSet<Vec<u8>>, Failure> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes)?;
    } else {
        bytes =
            std::fs::read(file).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    }
    let end = if bytes.contains(&0) { 0 } else { b'\n' };
    let names = bytes.split(|byte| *byte == end).filter(|name| !name.is_empty());
    Ok(names.map(<[u8]>::to_vec).collect())
}

fn conditions(args: &FilterArgs) -> Result<FindOptions, Failure> {
    let pattern = match (&args.substring, &args.glob, &args.regex, &args.names_from) {
        (Some(bytes), ..) => Some(Pattern::Substring(bytes.clone().into_vec())),
        (_, Some(glob), ..) => Some(Pattern::Glob(glob.clone().into_vec())),
        (_, _, Some(regex), _) => Some(Pattern::Regex(in_utf8(regex)?)),
        (.., Some(file)) => Some(Pattern::Exact(read_names(file)?)),
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
        scans: args.scans.scans(),
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
