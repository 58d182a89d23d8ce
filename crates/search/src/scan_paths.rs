//! Searching whole paths.
//!
//! A path is a directory's path and a name. What a pattern needs stands in the one, in the other, or across the `/` between them; the index knows
//! both with a `/` at either end, so a literal that holds a `/` is also cut there: its first part must end the directory, the rest begin the name.

use std::ops::Range;

use crate::blocks::{BlockReader, Names};
use crate::candidates;
use crate::directories::{Cursor, Directories};
use crate::error::Error;
use crate::format::{BlockPlace, PartPlace};
use crate::literal::{Clause, weight};
use crate::pattern::{How, Matcher};
use crate::postings::Granules;
use crate::read::Segment;
use crate::run::number;
use crate::scan_names::{has_block, is_dense, number_in};
use crate::trigram::{BYTES, EDGE};

/// With more runs of directories than this the search looks at every name: they take 24 bytes each.
const RUNS_MAX: usize = 2 << 20;

/// What is found once for all parts.
pub(crate) struct PathPlan<'q> {
    directories: Directories,
    name: Option<&'q Matcher>,
    /// Of a path out of a set of exact ones, the last component is one of these.
    last: Option<Matcher>,
    path: &'q Matcher,
    hits: Hits,
    /// What names need by themselves.
    name_clauses: Vec<Clause>,
}

/// Where matches can be, as far as directories tell.
enum Hits {
    /// Anywhere: nothing is known.
    Everywhere,
    /// In the names of these runs, and in those names that fulfil the clauses.
    Runs(Vec<Run>),
}

/// Neighbouring names whose directories can match.
struct Run {
    names: Range<u64>,
    /// All of them match, whatever the names.
    is_sure: bool,
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

impl<'q> PathPlan<'q> {
    pub(crate) fn new(
        segment: &Segment,
        directories: Directories,
        name: Option<&'q Matcher>,
        path: &'q Matcher,
    ) -> Result<Self, Error> {
        let mut plan = Self {
            directories,
            name,
            last: None,
            path,
            hits: Hits::Runs(Vec::new()),
            name_clauses: Vec::new(),
        };
        match (&path.how, name) {
            // A name's own pattern tells more than the path's.
            (_, Some(name)) => plan.name_clauses.clone_from(&name.clauses),
            (How::Exact(paths), None) if !segment.has_slashes() => {
                let last = paths.last_components();
                plan.name_clauses = last_clause(path);
                plan.last = Some(Matcher {
                    how: How::Exact(last),
                    clauses: Vec::new(),
                    suffixes: Vec::new(),
                });
            }
            _ => match path
                .clauses
                .iter()
                .max_by_key(|clause| weight(clause))
                .and_then(Split::of)
            {
                Some(split) => {
                    plan.hits = plan.runs(segment, &split)?;
                    plan.name_clauses = vec![split.name];
                }
                None => plan.hits = Hits::Everywhere,
            },
        }
        Ok(plan)
    }

    /// The names of all directories that hold one of the literals.
    fn runs(&self, segment: &Segment, split: &Split) -> Result<Hits, Error> {
        let literals: Vec<_> = split.directory.iter().map(memchr::memmem::Finder::new).collect();
        let mut runs: Vec<Run> = Vec::new();
        let mut padded = Vec::new();
        self.directories
            .each_candidate(segment, &split.directory, &mut |path, names| {
                padded.clear();
                padded.push(EDGE);
                padded.extend(path.iter().map(u8::to_ascii_lowercase));
                padded.push(EDGE);
                if !literals.iter().any(|literal| literal.find(&padded).is_some()) {
                    return;
                }
                let is_sure = matches!(self.path.how, How::Substring(_)) && self.path.matches(path);
                let neighbour = runs
                    .last_mut()
                    .filter(|last| last.is_sure == is_sure && last.names.end == names.start);
                if let Some(last) = neighbour {
                    last.names.end = names.end;
                } else if runs.len() < RUNS_MAX {
                    runs.push(Run { names, is_sure });
                }
            })?;
        Ok(if runs.len() < RUNS_MAX {
            Hits::Runs(runs)
        } else {
            Hits::Everywhere
        })
    }

    /// Whether a name and its path match.
    fn matches(&self, name: &[u8], path: &[u8]) -> bool {
        self.name.is_none_or(|matcher| matcher.matches(name)) && self.path.matches(path)
    }
}

/// The last components of a clause of exact paths, which have an edge at either end.
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

/// The numbers of all paths of a part that match.
pub(crate) fn search(segment: &Segment, part: &PartPlace, plan: &PathPlan<'_>) -> Result<Vec<i64>, Error> {
    let footer = segment.footer(part)?;
    let granules = match plan.hits {
        Hits::Everywhere => Granules::ALL,
        Hits::Runs(_) => candidates::of_clauses(segment, &footer, &plan.name_clauses)?,
    };
    let mut search = Search {
        segment,
        plan,
        reader: BlockReader::new(segment)?,
        names: Names::default(),
        in_a_row: is_dense(&granules, footer.blocks.len()),
        found: Vec::new(),
        path: Vec::new(),
    };
    let mut cursor = plan.directories.cursor(segment)?;
    for (index, place) in footer.blocks.iter().enumerate() {
        search.block(place, has_block(&granules, index), &mut cursor)?;
    }
    Ok(search.found)
}

/// A search in one part.
struct Search<'s> {
    segment: &'s Segment,
    plan: &'s PathPlan<'s>,
    reader: BlockReader<'s>,
    names: Names,
    in_a_row: bool,
    found: Vec<i64>,
    path: Vec<u8>,
}

impl Search<'_> {
    /// Searches a block of names: all of it if its names can match by themselves, else those of the runs.
    fn block(
        &mut self,
        place: &BlockPlace,
        is_candidate: bool,
        cursor: &mut Cursor<'_>,
    ) -> Result<(), Error> {
        let all = place.first_path..place.first_path.saturating_add(place.paths);
        let runs = match &self.plan.hits {
            Hits::Everywhere => &[][..],
            Hits::Runs(runs) => within(runs, &all),
        };
        let must_read = is_candidate || runs.iter().any(|run| !run.is_sure);
        if !must_read {
            for run in runs {
                let names = run.names.start.max(all.start)..run.names.end.min(all.end);
                self.found.extend(names.map(number));
            }
            return Ok(());
        }
        let block = self.reader.unpack(place, self.in_a_row)?;
        let parsed = self.names.parse(block, place.texts);
        parsed.ok_or_else(|| self.segment.damaged(place.at, "a block of names is malformed"))?;
        let mut runs = runs.iter().peekable();
        let mut known = 0..0;
        for (index, at) in (0..place.texts).zip(all.start..) {
            while runs.next_if(|run| run.names.end <= at).is_some() {}
            let is_wanted = is_candidate || runs.peek().is_some_and(|run| run.names.contains(&at));
            let name = self.names.get(block, index);
            if !is_wanted
                || !self.plan.path.can_end(name)
                || self.plan.last.as_ref().is_some_and(|last| !last.matches(name))
            {
                continue;
            }
            if !known.contains(&at) {
                known = stand_in(&mut self.path, cursor.holder(at)?);
            }
            let directory_bytes = self.path.len();
            self.path.extend_from_slice(name);
            if self.plan.matches(name, &self.path) {
                self.found.push(number_in(place, index));
            }
            self.path.truncate(directory_bytes);
        }
        Ok(())
    }
}

/// Makes `path` that of a directory, ready for a name, and gives the directory's names.
fn stand_in(path: &mut Vec<u8>, (directory, names): (&[u8], Range<u64>)) -> Range<u64> {
    path.clear();
    path.extend_from_slice(directory);
    if !directory.is_empty() {
        path.push(b'/');
    }
    names
}

/// The runs that overlap a range.
fn within<'r>(runs: &'r [Run], range: &Range<u64>) -> &'r [Run] {
    let start = runs.partition_point(|run| run.names.end <= range.start);
    let end = runs.partition_point(|run| run.names.start < range.end);
    runs.get(start..end).unwrap_or_default()
}
