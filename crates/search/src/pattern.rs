//! Patterns on bytes (R23).

use std::collections::HashSet;
use std::sync::OnceLock;

use memchr::memmem::Finder;
use regex_syntax::ParserBuilder;

use crate::Error;
use crate::fold::{Element, elements, forms};
use crate::glob;
use crate::literal::{Clause, clauses, suffixes};
use crate::machine::{Machine, Run};
use crate::names::NameSet;
use crate::needle::Needle;
use crate::trigram::EDGE;

/// Up to so many exact names are looked up by their trigrams; more are found in one pass over all names.
const NAMES_BY_TRIGRAM_MAX: usize = 256;
/// Where case is ignored, in so many forms an exact name is looked up if there are few names, and if there are many.
const FORMS_MAX: usize = 16;
const FORMS_MIN: usize = 4;

/// How a name or path is matched; all on bytes (R23).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// These bytes anywhere.
    Substring(Vec<u8>),
    /// A shell glob over the whole; `*` and `?` do not match `/` in paths, `**` does.
    Glob(Vec<u8>),
    /// A regular expression of the `regex` crate in byte mode, anywhere.
    Regex(String),
    /// One of these, whole; any number of them costs one pass.
    Exact(HashSet<Vec<u8>>),
}

impl Pattern {
    /// Compiles the pattern. Case is ignored as Unicode folds it, character by character; bytes that are no UTF-8 are only like themselves.
    ///
    /// # Errors
    ///
    /// [`Error::Pattern`] with what is wrong with it.
    pub fn compile(&self, ignore_case: bool) -> Result<Matcher, Error> {
        match self {
            Self::Substring(bytes) if ignore_case => substring_without_case(bytes),
            Self::Substring(bytes) => Ok(substring(bytes)),
            Self::Glob(glob) => compile_regex(&glob::regex(glob, ignore_case)?, ignore_case),
            Self::Regex(regex) => compile_regex(regex, ignore_case),
            Self::Exact(names) => Ok(exact(names, ignore_case)),
        }
    }
}

fn substring(bytes: &[u8]) -> Matcher {
    let how = How::Substring(Box::new(Finder::new(bytes).into_owned()));
    Matcher {
        clauses: substring_clause(bytes),
        ..Matcher::of(how, Some(Expression::new(&glob::literal(bytes), false)))
    }
}

fn substring_without_case(bytes: &[u8]) -> Result<Matcher, Error> {
    let regex = compile_regex(&glob::literal(bytes), true)?;
    // What is the same in the index for all forms can be looked for in folded texts.
    let has_one_form = |element| match element {
        Element::Character(character) => character.is_ascii() || forms(element).len() == 1,
        Element::Byte(_) => true,
    };
    Ok(if elements(bytes).all(has_one_form) {
        regex.with_needle(bytes)
    } else {
        regex
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
        let forms_max = (NAMES_BY_TRIGRAM_MAX / names.len().max(1)).clamp(FORMS_MIN, FORMS_MAX);
        let literals = |name: &Vec<u8>| {
            if ignore_case {
                ends_in_all_forms(name, forms_max)
            } else {
                vec![[&[EDGE], name.to_ascii_lowercase().as_slice(), &[EDGE]].concat()]
            }
        };
        let mut literals: Clause = names.iter().flat_map(literals).collect();
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

/// A whole text with its edges, as the index knows it, in every form that it can have; if those are too many, as much of its end as has few.
fn ends_in_all_forms(text: &[u8], forms_max: usize) -> Vec<Vec<u8>> {
    let mut ends = vec![vec![EDGE]];
    let elements: Vec<Element> = elements(text).collect();
    for element in elements.into_iter().rev() {
        let forms = forms(element);
        if ends.len() * forms.len() > forms_max {
            return ends;
        }
        let longer = |form: &Vec<u8>| {
            let form = form.clone();
            let longer = move |end: &Vec<u8>| [form.as_slice(), end].concat();
            ends.iter().map(longer).collect::<Vec<_>>()
        };
        ends = forms.iter().flat_map(longer).collect();
    }
    for end in &mut ends {
        end.insert(0, EDGE);
    }
    ends
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
    Folded(Box<Needle>, Box<regex::bytes::Regex>),
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

    /// The same for bytes whose letters are ASCII, which are found sooner.
    fn with_needle(self, bytes: &[u8]) -> Self {
        let needle = Needle::new(bytes);
        let How::Regex(regex) = self.how else {
            return self;
        };
        Self {
            clauses: if needle.has_foreign_forms() {
                self.clauses
            } else {
                substring_clause(bytes)
            },
            how: How::Folded(Box::new(needle), regex),
            ..self
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
        assert!(matches(&Pattern::Glob(b"a*b".to_vec()), false, b"a\xff\nb"));
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

    /// R23: case is the same in every kind of pattern, and bytes that are no text have none.
    #[test]
    fn r23_case_is_ignored_alike_in_all_patterns() {
        let finds = |typed: &[u8], name: &[u8]| {
            let text = String::from_utf8_lossy(typed).into_owned();
            let whole = Pattern::Exact(HashSet::from([typed.to_vec()]));
            let mut kinds = vec![
                Pattern::Substring(typed.to_vec()),
                Pattern::Glob(typed.to_vec()),
                whole,
            ];
            if typed.len() == text.len() {
                kinds.push(Pattern::Regex(format!("^{text}$")));
            }
            let found: Vec<bool> = kinds.iter().map(|kind| matches(kind, true, name)).collect();
            assert!(
                found.iter().all(|one| *one == found[0]),
                "{typed:?} {name:?} {found:?}"
            );
            found[0]
        };
        for (typed, name) in [
            ("k", "\u{212a}"),
            ("\u{212a}", "k"),
            ("MISS", "mi\u{17f}s"),
            ("\u{c4}.TXT", "\u{e4}.txt"),
            ("\u{3a3}", "\u{3c2}"),
            ("\u{1e9e}", "\u{df}"),
        ] {
            assert!(finds(typed.as_bytes(), name.as_bytes()), "{typed} {name}");
        }
        assert!(finds(b"\xe4K", b"\xe4k") && !finds(b"\xe4", b"\xc4"));
        assert!(!finds(b"\xc4", "\u{e4}".as_bytes()) && !finds("\u{df}".as_bytes(), b"ss"));
    }

    #[test]
    fn exact_names_have_few_forms() {
        let clause = |name: &str, max| {
            let ends = ends_in_all_forms(name.as_bytes(), max);
            ends.into_iter()
                .map(|end| String::from_utf8(end).expect("text"))
                .collect::<Vec<_>>()
        };
        assert_eq!(clause("Ab", 16), ["/ab/"]);
        assert_eq!(clause("kb", 2), ["/kb/", "/\u{212a}b/"]);
        assert_eq!(
            clause("kiss", 4),
            ["ss/", "s\u{17f}/", "\u{17f}s/", "\u{17f}\u{17f}/"].map(|end| format!("i{end}"))
        );
    }

    #[test]
    fn globs_cover_the_whole_and_stars_stop_at_slashes() {
        assert!(!matches(&Pattern::Glob(b"*.txt".to_vec()), false, b"a/b.txt"));
        assert!(matches(&Pattern::Glob(b"**/*.txt".to_vec()), false, b"a/b.txt"));
        assert!(matches(&Pattern::Glob(b"**/b".to_vec()), false, b"a\nx/b"));
        assert!(!matches(&Pattern::Glob(b"b".to_vec()), false, b"abc"));
        assert!(matches(&Pattern::Glob(b"*.TXT".to_vec()), true, b"b.txt"));
    }

    #[test]
    fn globs_have_literals_with_edges() {
        let matcher = Pattern::Glob(b"*.jpg".to_vec())
            .compile(false)
            .expect("well-formed");
        assert_eq!(matcher.clauses, [[b".jpg/".to_vec()]]);
    }

    #[test]
    fn malformed_patterns_say_what_is_wrong() {
        for pattern in [Pattern::Regex("(".to_owned()), Pattern::Glob(b"[".to_vec())] {
            assert!(matches!(pattern.compile(false), Err(Error::Pattern(_))));
        }
    }
}
