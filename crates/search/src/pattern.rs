//! Patterns on bytes (R23).

use std::collections::HashSet;
use std::sync::OnceLock;

use memchr::memmem::Finder;
use regex_syntax::ParserBuilder;

use crate::Error;
use crate::literal::{Clause, clauses, suffixes};
use crate::machine::{Machine, Run};
use crate::names::NameSet;
use crate::trigram::EDGE;

/// Up to so many exact names are looked up by their trigrams; more are found in one pass over all names.
const NAMES_BY_TRIGRAM_MAX: usize = 256;

/// How a name or path is matched; all on bytes (R23).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// These bytes anywhere.
    Substring(Vec<u8>),
    /// A shell glob over the whole; `*` and `?` do not match `/` in paths, `**` does.
    Glob(String),
    /// A regular expression of the `regex` crate in byte mode, anywhere.
    Regex(String),
    /// One of these, whole; any number of them costs one pass.
    Exact(HashSet<Vec<u8>>),
}

impl Pattern {
    /// Compiles the pattern. Case is ignored as Unicode folds it; of exact names, and of substrings that are no UTF-8, only that of ASCII letters.
    ///
    /// # Errors
    ///
    /// [`Error::Pattern`] with what is wrong with it.
    pub fn compile(&self, ignore_case: bool) -> Result<Matcher, Error> {
        match self {
            Self::Substring(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) if ignore_case && !text.is_ascii() => {
                    compile_regex(&regex_syntax::escape(text), true)
                }
                _ => substring(bytes, ignore_case),
            },
            Self::Glob(glob) => {
                let built = globset::GlobBuilder::new(glob)
                    .literal_separator(true)
                    .case_insensitive(ignore_case)
                    .build();
                let glob = built.map_err(|error| Error::Pattern(error.to_string()))?;
                // Any byte may stand where a star does, and a newline is one.
                compile_regex(&format!("(?s){}", glob.regex()), false)
            }
            Self::Regex(regex) => compile_regex(regex, ignore_case),
            Self::Exact(names) => Ok(exact(names, ignore_case)),
        }
    }
}

fn substring(bytes: &[u8], ignore_case: bool) -> Result<Matcher, Error> {
    let expression = escape_regex(bytes);
    let how = if ignore_case {
        let folded = Finder::new(&bytes.to_ascii_lowercase()).into_owned();
        How::Folded(Box::new(folded), Box::new(regex(&expression, true)?))
    } else {
        How::Substring(Box::new(Finder::new(bytes).into_owned()))
    };
    Ok(Matcher {
        clauses: substring_clause(bytes),
        ..Matcher::of(how, Some(Expression::new(&expression, ignore_case)))
    })
}

fn substring_clause(bytes: &[u8]) -> Vec<Clause> {
    if bytes.is_empty() {
        Vec::new()
    } else {
        vec![vec![bytes.to_ascii_lowercase()]]
    }
}

fn exact(names: &HashSet<Vec<u8>>, ignore_case: bool) -> Matcher {
    let clauses = if names.len() <= NAMES_BY_TRIGRAM_MAX {
        let mut literals: Clause = names.iter().map(|name| with_edges(name)).collect();
        literals.sort_unstable();
        literals.dedup();
        vec![literals]
    } else {
        Vec::new()
    };
    let set = NameSet::new(names.iter().map(Vec::as_slice), ignore_case);
    Matcher {
        clauses,
        ..Matcher::of(How::Exact(set), None)
    }
}

/// A whole text as the index knows it.
fn with_edges(text: &[u8]) -> Vec<u8> {
    [&[EDGE], text.to_ascii_lowercase().as_slice(), &[EDGE]].concat()
}

/// A regular expression for exactly these bytes.
fn escape_regex(bytes: &[u8]) -> String {
    let mut regex = String::from("(?-u)");
    for byte in bytes {
        regex.push_str(&format!("\\x{byte:02x}"));
    }
    regex
}

fn regex(pattern: &str, ignore_case: bool) -> Result<regex::bytes::Regex, Error> {
    let built = regex::bytes::RegexBuilder::new(pattern)
        .unicode(true)
        .case_insensitive(ignore_case)
        .build();
    built.map_err(|error| Error::Pattern(error.to_string()))
}

fn compile_regex(pattern: &str, ignore_case: bool) -> Result<Matcher, Error> {
    let how = How::Regex(Box::new(regex(pattern, ignore_case)?));
    // The same settings as above; what the parser does not take is searched without the index's help.
    let parsed = ParserBuilder::new()
        .utf8(false)
        .unicode(true)
        .case_insensitive(ignore_case)
        .build()
        .parse(pattern);
    Ok(Matcher {
        clauses: parsed.as_ref().map(clauses).unwrap_or_default(),
        suffixes: parsed.as_ref().map(suffixes).unwrap_or_default(),
        ..Matcher::of(how, Some(Expression::new(pattern, ignore_case)))
    })
}

/// A compiled pattern.
#[derive(Debug)]
pub struct Matcher {
    pub(crate) how: How,
    /// The same as an expression, if it is one.
    expression: Option<Expression>,
    /// What every match contains; empty if nothing is known.
    pub(crate) clauses: Vec<Clause>,
    /// What every match ends with; empty if nothing is known.
    pub(crate) suffixes: Vec<Vec<u8>>,
}

/// How a match is told.
#[derive(Debug)]
pub(crate) enum How {
    Substring(Box<Finder<'static>>),
    /// Without case: small letters are looked for in folded texts; a text by itself is matched without a copy of it.
    Folded(Box<Finder<'static>>, Box<regex::bytes::Regex>),
    Regex(Box<regex::bytes::Regex>),
    Exact(NameSet),
}

/// An expression with the machine for it, which can begin in the middle of a text. It is made when it is first wanted.
#[derive(Debug)]
struct Expression {
    pattern: String,
    ignore_case: bool,
    machine: OnceLock<Option<Machine>>,
}

impl Expression {
    fn new(pattern: &str, ignore_case: bool) -> Self {
        Self {
            pattern: pattern.to_owned(),
            ignore_case,
            machine: OnceLock::new(),
        }
    }
}

impl Matcher {
    /// One of which nothing else is known.
    fn of(how: How, expression: Option<Expression>) -> Self {
        Self {
            how,
            expression,
            clauses: Vec::new(),
            suffixes: Vec::new(),
        }
    }

    /// Of a set of paths: whether a name is the last component of one.
    pub(crate) fn of_last_components(paths: &NameSet) -> Self {
        Self::of(How::Exact(paths.last_components()), None)
    }

    /// A run of the expression for one thread, if it is one that can be run.
    pub(crate) fn run(&self) -> Option<Run<'_>> {
        let expression = self.expression.as_ref()?;
        let made = || Machine::new(&expression.pattern, expression.ignore_case);
        expression.machine.get_or_init(made).as_ref().map(Machine::run)
    }

    /// Whether a name or path matches.
    #[inline]
    pub fn matches(&self, text: &[u8]) -> bool {
        match &self.how {
            How::Substring(finder) => finder.find(text).is_some(),
            How::Folded(_, regex) | How::Regex(regex) => regex.is_match(text),
            How::Exact(names) => names.contains(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &Pattern, ignore_case: bool, bytes: &[u8]) -> bool {
        pattern.compile(ignore_case).expect("well-formed").matches(bytes)
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
        let exact = Pattern::Exact(HashSet::from([b"a\xffB".to_vec()]));
        assert!(matches(&exact, false, b"a\xffB") && !matches(&exact, false, b"a\xffb"));
        assert!(matches(&exact, true, b"A\xffb"));
    }

    /// As globs and expressions find them.
    #[test]
    fn substrings_ignore_the_case_of_all_letters() {
        let pattern = Pattern::Substring("CAFÉ (".as_bytes().to_vec());
        assert!(matches(&pattern, true, "a café (2)".as_bytes()));
        assert!(!matches(&pattern, false, "a café (2)".as_bytes()));
    }

    #[test]
    fn globs_cover_the_whole_and_stars_stop_at_slashes() {
        assert!(!matches(&Pattern::Glob("*.txt".to_owned()), false, b"a/b.txt"));
        assert!(matches(&Pattern::Glob("**/*.txt".to_owned()), false, b"a/b.txt"));
        assert!(matches(&Pattern::Glob("**/b".to_owned()), false, b"a\nx/b"));
        assert!(!matches(&Pattern::Glob("b".to_owned()), false, b"abc"));
        assert!(matches(&Pattern::Glob("*.TXT".to_owned()), true, b"b.txt"));
    }

    #[test]
    fn globs_have_literals_with_edges() {
        let matcher = Pattern::Glob("*.jpg".to_owned())
            .compile(false)
            .expect("well-formed");
        assert_eq!(matcher.clauses, [[b".jpg/".to_vec()]]);
    }

    #[test]
    fn malformed_patterns_say_what_is_wrong() {
        for pattern in [Pattern::Regex("(".to_owned()), Pattern::Glob("[".to_owned())] {
            assert!(matches!(pattern.compile(false), Err(Error::Pattern(_))));
        }
    }
}
