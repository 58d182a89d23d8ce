//! `find`: patterns on bytes.

use std::ops::RangeInclusive;

use ntt_catalogue::Catalogue;
use ntt_catalogue::query::{BytesTest, FindQuery, FoundRow, StateFilter};
use ntt_catalogue::rows::State;
use ntt_model::{FailureClass, Kind, MediumId, MediumKey, Timestamp};
use serde::Serialize;

use crate::occurrences::medium_name;
use crate::{ByteText, Error};

/// How a name or path is matched; all on bytes (R23).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// These bytes anywhere.
    Substring(Vec<u8>),
    /// A shell glob over the whole; `*` and `?` do not match `/` in paths, `**` does.
    Glob(String),
    /// A regular expression of the `regex` crate in byte mode, anywhere.
    Regex(String),
}

impl Pattern {
    /// Compiles the pattern.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] with what is wrong with it.
    pub fn compile(&self, ignore_case: bool) -> Result<Box<BytesTest>, Error> {
        match self {
            Self::Substring(bytes) if !ignore_case => {
                let finder = memchr::memmem::Finder::new(bytes).into_owned();
                Ok(Box::new(move |name| finder.find(name).is_some()))
            }
            Self::Substring(bytes) => compile_regex(&escape_regex(bytes), true),
            Self::Glob(glob) => {
                let built = globset::GlobBuilder::new(glob)
                    .literal_separator(true)
                    .case_insensitive(ignore_case)
                    .build();
                let glob = built.map_err(|error| Error::Usage(error.to_string()))?;
                compile_regex(glob.regex(), false)
            }
            Self::Regex(regex) => compile_regex(regex, ignore_case),
        }
    }
}

/// A regular expression for exactly these bytes.
fn escape_regex(bytes: &[u8]) -> String {
    let mut regex = String::from("(?-u)");
    for byte in bytes {
        regex.push_str(&format!("\\x{byte:02x}"));
    }
    regex
}

fn compile_regex(regex: &str, ignore_case: bool) -> Result<Box<BytesTest>, Error> {
    let built = regex::bytes::RegexBuilder::new(regex)
        .unicode(true)
        .case_insensitive(ignore_case)
        .build();
    let regex = built.map_err(|error| Error::Usage(error.to_string()))?;
    Ok(Box::new(move |name| regex.is_match(name)))
}

/// What to look for; all given conditions must hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FindOptions {
    /// On the last component.
    pub name: Option<Pattern>,
    /// On the path relative to the volume's root.
    pub path: Option<Pattern>,
    /// Whether ASCII and Unicode case is ignored.
    pub ignore_case: bool,
    /// Only these media.
    pub media: Vec<MediumKey>,
    /// Only this volume number.
    pub volume: Option<u32>,
    /// Only these kinds.
    pub kinds: Vec<Kind>,
    /// Size in bytes.
    pub size_bytes: Option<RangeInclusive<u64>>,
    /// Modification time.
    pub modified: Option<RangeInclusive<Timestamp>>,
    /// Only these states.
    pub states: Vec<StateFilter>,
    /// Search second names too.
    pub alternates: bool,
    /// Search deleted entries too.
    pub deleted: bool,
}

/// One line of `find`.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// Id of the medium.
    pub medium: MediumId,
    /// Its label, or the name of its source.
    pub medium_name: String,
    /// Volume number.
    pub volume: u32,
    /// Path in the volume.
    pub path: ByteText,
    /// Inode number.
    pub inode: u64,
    /// Kind.
    pub kind: Option<Kind>,
    /// Size of the data stream.
    pub size_bytes: u64,
    /// Modification time.
    pub modified: Option<Timestamp>,
    /// State of the data stream.
    pub content: Option<State>,
    /// Rule that excludes the path.
    pub rule: Option<String>,
}

/// Visits everything that matches.
///
/// # Errors
///
/// [`Error::Usage`] for a malformed pattern; else what the catalogue or `each` says.
pub fn find(
    catalogue: &dyn Catalogue,
    options: &FindOptions,
    each: &mut dyn FnMut(Found) -> Result<(), Error>,
) -> Result<(), Error> {
    let compile = |pattern: &Option<Pattern>| {
        pattern
            .as_ref()
            .map(|one| one.compile(options.ignore_case))
            .transpose()
    };
    let (name, path) = (compile(&options.name)?, compile(&options.path)?);
    let query = FindQuery {
        media: options.media.clone(),
        volume: options.volume,
        name: name.as_deref(),
        path: path.as_deref(),
        kinds: options.kinds.clone(),
        size_bytes: options.size_bytes.clone(),
        modified: options.modified.clone(),
        states: options.states.clone(),
        alternates: options.alternates,
        deleted: options.deleted,
    };
    let media = catalogue.media()?;
    let mut failure = None;
    let visited = catalogue.find(&query, &mut |row: &FoundRow| {
        let Some(medium) = media.iter().find(|medium| medium.key == row.medium) else {
            return Err(ntt_catalogue::Error::NotFound {
                what: format!("medium {}", row.medium),
            });
        };
        let found = Found {
            medium: medium.medium.id,
            medium_name: medium_name(medium).to_owned(),
            volume: row.volume_number,
            path: ByteText(row.path.path.clone()),
            inode: row.path.inode,
            kind: row.path.kind,
            size_bytes: row.path.size_bytes,
            modified: row.modified,
            content: row.state.as_ref().map(|state| state.state.clone()),
            rule: row.path.rule.clone(),
        };
        each(found).map_err(|error| {
            failure = Some(error);
            ntt_catalogue::Error::Stopped
        })
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(visited?),
    }
}

/// Parses a state as typed: `stored`, `pending`, `failed`, `failed:io`...
///
/// # Errors
///
/// [`Error::Usage`] naming the known states.
pub fn parse_state(text: &str) -> Result<StateFilter, Error> {
    let state = match text {
        "pending" => StateFilter::Pending,
        "stored" => StateFilter::Stored,
        "damaged" => StateFilter::Damaged,
        "excluded" => StateFilter::Excluded,
        "retryable" => StateFilter::Retryable,
        "failed" => StateFilter::Failed(None),
        _ => match text.strip_prefix("failed:").map(str::parse::<FailureClass>) {
            Some(Ok(class)) => StateFilter::Failed(Some(class)),
            _ => {
                let known = "pending, stored, damaged, excluded, retryable, failed or failed:CLASS";
                return Err(Error::Usage(format!("unknown state `{text}`: use {known}")));
            }
        },
    };
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &Pattern, ignore_case: bool, bytes: &[u8]) -> bool {
        pattern.compile(ignore_case).expect("well-formed")(bytes)
    }

    /// R23: patterns match bytes, not text.
    #[test]
    fn r23_patterns_match_invalid_utf8() {
        assert!(matches(&Pattern::Substring(vec![0xff]), false, b"a\xffb"));
        assert!(matches(&Pattern::Substring(vec![0xff, b'B']), true, b"a\xffb"));
        assert!(matches(&Pattern::Glob("a*b".to_owned()), false, b"a\xff\nb"));
        assert!(matches(
            &Pattern::Regex("(?-u)\\xff".to_owned()),
            false,
            b"a\xffb"
        ));
    }

    #[test]
    fn globs_cover_the_whole_and_stars_stop_at_slashes() {
        assert!(!matches(&Pattern::Glob("*.txt".to_owned()), false, b"a/b.txt"));
        assert!(matches(&Pattern::Glob("**/*.txt".to_owned()), false, b"a/b.txt"));
        assert!(!matches(&Pattern::Glob("b".to_owned()), false, b"abc"));
        assert!(matches(&Pattern::Glob("*.TXT".to_owned()), true, b"b.txt"));
    }

    #[test]
    fn malformed_patterns_and_states_say_what_is_wrong() {
        assert!(matches!(
            Pattern::Regex("(".to_owned()).compile(false),
            Err(Error::Usage(_))
        ));
        assert!(matches!(
            Pattern::Glob("[".to_owned()).compile(false),
            Err(Error::Usage(_))
        ));
        assert_eq!(
            parse_state("failed:io").ok(),
            Some(StateFilter::Failed(Some(FailureClass::Io)))
        );
        assert!(parse_state("failed:disk").is_err());
    }
}
