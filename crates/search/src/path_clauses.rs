//! What a path needs, by where it can stand.
//!
//! A path is a directory's path and a name. What a pattern needs stands in the one, in the other, or across the `/` between them; the index knows
//! both with a `/` at either end, so a literal that holds a `/` is also cut there: its first part must end the directory, the rest begin the name.

use crate::literal::{Clause, weight};
use crate::pattern::{How, Matcher};
use crate::trigram::{BYTES, EDGE};

/// What must stand where; the case of ASCII letters is folded.
#[derive(Default)]
pub(crate) struct Clauses {
    /// What every name needs.
    pub(crate) name: Vec<Clause>,
    /// What a name needs besides if its directory holds none of the literals below.
    pub(crate) alone: Vec<Clause>,
    pub(crate) directory: Clause,
}

impl Clauses {
    /// `slashes`: whether names may hold a `/`.
    pub(crate) fn of(name: Option<&Matcher>, path: &Matcher, slashes: bool) -> Self {
        if let Some(name) = name.filter(|name| !name.clauses.is_empty()) {
            // A name's own pattern tells more than the path's.
            return Self {
                name: name.clauses.clone(),
                ..Self::default()
            };
        }
        if matches!(path.how, How::Exact(_)) && !slashes {
            // The last component of an exact path is the name.
            return Self {
                name: last_clause(path),
                ..Self::default()
            };
        }
        let heaviest = path.clauses.iter().max_by_key(|clause| weight(clause));
        let (alone, directory) = match heaviest.and_then(Split::of) {
            Some(split) => (vec![split.name], split.directory),
            None => (Vec::new(), Clause::new()),
        };
        Self {
            name: suffix_clause(path),
            alone,
            directory,
        }
    }
}

/// The literals of a clause by where they can stand.
#[derive(Default)]
struct Split {
    /// In the path of a directory.
    directory: Clause,
    /// In a name.
    name: Clause,
}

impl Split {
    /// `None` if a literal is too short to tell anything.
    fn of(clause: &Clause) -> Option<Self> {
        let mut split = Self::default();
        for literal in clause {
            if literal.len() < BYTES {
                return None;
            }
            split.directory.push(literal.clone());
            split.name.push(literal.clone());
            for (at, _) in literal.iter().enumerate().filter(|(_, byte)| **byte == EDGE) {
                let (directory, name) = (&literal[..=at], &literal[at..]);
                // An edge alone tells nothing of its side; the other side then does, or nobody.
                if directory.len() >= BYTES {
                    split.directory.push(directory.to_vec());
                } else if name.len() >= BYTES {
                    split.name.push(name.to_vec());
                } else {
                    return None;
                }
            }
        }
        Some(split)
    }
}

/// The last components of a clause of exact paths, or as much as is known of their ends: they have an edge there.
fn last_clause(path: &Matcher) -> Vec<Clause> {
    let last = |literal: &Vec<u8>| {
        let inner = literal.strip_suffix(&[EDGE]).unwrap_or(literal);
        let start = inner.iter().rposition(|byte| *byte == EDGE).unwrap_or(0);
        literal.get(start..).unwrap_or_default().to_vec()
    };
    path.clauses
        .iter()
        .map(|clause| clause.iter().map(last).collect())
        .collect()
}

/// A path's end is its name's where it does not reach beyond it.
fn suffix_clause(path: &Matcher) -> Vec<Clause> {
    let is_of_name = |suffix: &Vec<u8>| suffix.len() + 1 >= BYTES && !suffix.contains(&EDGE);
    if path.suffixes.is_empty() || !path.suffixes.iter().all(is_of_name) {
        return Vec::new();
    }
    let with_edge = |suffix: &Vec<u8>| [suffix.as_slice(), &[EDGE]].concat();
    vec![path.suffixes.iter().map(with_edge).collect()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Pattern;

    fn of(pattern: &Pattern) -> Clauses {
        Clauses::of(None, &pattern.compile(false).expect("well-formed"), false)
    }

    #[test]
    fn literals_are_cut_at_their_slashes() {
        let clauses = of(&Pattern::Substring(b"ab/cde".to_vec()));
        assert_eq!(clauses.directory, [b"ab/cde".to_vec(), b"ab/".to_vec()]);
        assert_eq!(clauses.alone, [[b"ab/cde".to_vec()]]);
        let clauses = of(&Pattern::Substring(b"b/cde".to_vec()));
        assert_eq!(clauses.directory, [b"b/cde"]);
        assert_eq!(clauses.alone, [[b"b/cde".to_vec(), b"/cde".to_vec()]]);
        let clauses = of(&Pattern::Substring(b"b/c".to_vec()));
        assert!(
            clauses.directory.is_empty() && clauses.alone.is_empty(),
            "either side tells too little"
        );
    }

    #[test]
    fn the_end_of_a_path_is_that_of_its_name() {
        assert_eq!(
            of(&Pattern::Glob(b"**/a*/**/*.doc".to_vec())).name,
            [[b".doc/".to_vec()]]
        );
        assert!(of(&Pattern::Glob(b"**/a/b".to_vec())).name.is_empty());
        assert!(of(&Pattern::Regex("a.*(b|cde)$".to_owned())).name.is_empty());
    }
}
