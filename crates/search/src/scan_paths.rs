//! Searching whole paths.
//!
//! A path is a directory's path and a name. What a pattern needs stands in the one, in the other, or across the `/` between them; the index knows
//! both with a `/` at either end, so a literal that holds a `/` is also cut there: its first part must end the directory, the rest begin the name.

use std::ops::Range;

use crate::blocks::{BlockReader, Names};
use crate::candidates;
use crate::directories::{Cursor, Directories};
use crate::error::Error;
use crate::format::{BlockPlace, Footer, PartKind, PartPlace};
use crate::literal::{Clause, weight};
use crate::machine::{self, Stand};
use crate::parallel::in_order;
use crate::pattern::{How, Matcher};
use crate::postings::Granules;
use crate::read::Segment;
use crate::run::number;
use crate::scan_names::{IN_A_ROW, has_block, is_dense};
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

    /// The names of all directories that hold one of the literals and can begin a match.
    fn runs(&self, segment: &Segment, split: &Split) -> Result<Hits, Error> {
        let mut runs: Vec<Run> = Vec::new();
        let mut problem = None;
        let work = |footer: &Footer| self.runs_of(segment, footer, split);
        in_order(self.directories.parts(), &work, &mut |_, found| match found {
            Ok(found) => {
                found.into_iter().for_each(|run| put(&mut runs, run));
                runs.len() < RUNS_MAX
            }
            Err(error) => {
                problem = Some(error);
                false
            }
        });
        match problem {
            Some(error) => Err(error),
            None if runs.len() < RUNS_MAX => Ok(Hits::Runs(runs)),
            None => Ok(Hits::Everywhere),
        }
    }

    fn runs_of(&self, segment: &Segment, footer: &Footer, split: &Split) -> Result<Vec<Run>, Error> {
        let literals: Vec<_> = split.directory.iter().map(memchr::memmem::Finder::new).collect();
        let (mut runs, mut padded, mut states) = (Vec::new(), Vec::new(), self.path.run());
        Directories::each_candidate(segment, footer, &split.directory, &mut |path, names| {
            padded.clear();
            padded.push(EDGE);
            padded.extend(path.iter().map(u8::to_ascii_lowercase));
            padded.push(EDGE);
            if runs.len() >= RUNS_MAX || !literals.iter().any(|literal| literal.find(&padded).is_some()) {
                return;
            }
            let slashes = segment.has_slashes();
            let stand = states
                .as_mut()
                .map_or(Stand::Unknown, |states| within(states, path, slashes));
            let is_sure = match stand {
                Stand::Sure => self.name.is_none(),
                Stand::Dead => return,
                _ => {
                    let is_anywhere = matches!(self.path.how, How::Substring(_));
                    self.name.is_none() && is_anywhere && self.path.matches(path)
                }
            };
            put(&mut runs, Run { names, is_sure });
        })?;
        Ok(runs)
    }
}

/// Adds a run, to the one before if it goes on where that ends.
fn put(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        Some(last) if last.is_sure == run.is_sure && last.names.end == run.names.start => {
            last.names.end = run.names.end;
        }
        _ => runs.push(run),
    }
}

/// Where the path of a directory leads whose names are to follow.
fn within(states: &mut machine::Run<'_>, directory: &[u8], slashes: bool) -> Stand {
    let begin = states.begin();
    if directory.is_empty() {
        return states.before_names(begin, slashes);
    }
    let stand = states.over(begin, directory);
    let stand = states.over(stand, b"/");
    states.before_names(stand, slashes)
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
    let runs = match &plan.hits {
        Hits::Everywhere => &[][..],
        Hits::Runs(runs) => overlapping(
            runs,
            &(part.first_path..part.first_path.saturating_add(part.paths)),
        ),
    };
    let mut search = Search {
        segment,
        plan,
        reader: BlockReader::new(segment)?,
        names: Names::default(),
        in_a_row: is_dense(&granules, footer.blocks.len()) || runs.len() * IN_A_ROW > footer.blocks.len(),
        found: Vec::new(),
        directory: Directory {
            cursor: plan.directories.cursor(segment)?,
            states: plan.path.run(),
            names: 0..0,
            path: Vec::new(),
            stand: Stand::Unknown,
            slashes: segment.has_slashes(),
        },
    };
    for (index, place) in footer.blocks.iter().enumerate() {
        search.block(place, &granules, index, runs)?;
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
    directory: Directory<'s>,
}

/// The directory of the name at which a search stands.
struct Directory<'s> {
    cursor: Cursor<'s>,
    states: Option<machine::Run<'s>>,
    /// Its names.
    names: Range<u64>,
    /// Its path, ready for a name.
    path: Vec<u8>,
    /// Where that path leads.
    stand: Stand,
    /// Whether names may hold a `/`.
    slashes: bool,
}

impl Directory<'_> {
    /// Goes to the directory of a name; names ascend.
    fn enter(&mut self, name: u64) -> Result<(), Error> {
        let (path, names) = self.cursor.holder(name)?;
        self.names = names;
        self.path.clear();
        self.path.extend_from_slice(path);
        self.stand = match &mut self.states {
            Some(states) => within(states, path, self.slashes),
            None => Stand::Unknown,
        };
        if !path.is_empty() {
            self.path.push(EDGE);
        }
        Ok(())
    }

    /// Whether a name in it makes a path that matches.
    fn matches(&mut self, matcher: &Matcher, name: &[u8]) -> bool {
        let told = self.states.as_mut().and_then(|states| {
            let end = states.over(self.stand, name);
            states.ends(end)
        });
        told.unwrap_or_else(|| {
            let bytes = self.path.len();
            self.path.extend_from_slice(name);
            let is_match = matcher.matches(&self.path);
            self.path.truncate(bytes);
            is_match
        })
    }
}

impl Search<'_> {
    /// Searches a block of names: those that can match by themselves, and those of the runs.
    fn block(
        &mut self,
        place: &BlockPlace,
        granules: &Granules,
        index: usize,
        runs: &[Run],
    ) -> Result<(), Error> {
        let all = place.first_path..place.first_path.saturating_add(place.paths);
        let runs = overlapping(runs, &all);
        if !has_block(granules, index) && runs.iter().all(|run| run.is_sure) {
            for run in runs {
                let names = run.names.start.max(all.start)..run.names.end.min(all.end);
                self.found.extend(names.map(number));
            }
            return Ok(());
        }
        let block = self.reader.unpack(place, self.in_a_row)?;
        let parsed = self.names.parse(block, place.texts);
        parsed.ok_or_else(|| self.segment.damaged(place.at, "a block of names is malformed"))?;
        let (plan, directory) = (self.plan, &mut self.directory);
        for wanted in wanted(&all, granules, index, runs) {
            let mut at = wanted.start;
            while at < wanted.end {
                let name = self.names.get(block, index_in(place, at));
                let can_match =
                    plan.path.can_end(name) && plan.last.as_ref().is_none_or(|last| last.matches(name));
                if can_match {
                    if !directory.names.contains(&at) {
                        directory.enter(at)?;
                    }
                    if directory.stand == Stand::Dead {
                        at = directory.names.end;
                        continue;
                    }
                    let is_name = plan.name.is_none_or(|matcher| matcher.matches(name));
                    if is_name && directory.matches(plan.path, name) {
                        self.found.push(number(at));
                    }
                }
                at += 1;
            }
        }
        Ok(())
    }
}

/// Where a name stands in its block.
fn index_in(place: &BlockPlace, name: u64) -> usize {
    usize::try_from(name.saturating_sub(place.first_path)).unwrap_or(usize::MAX)
}

/// The names of a block that are to be looked at: granules that can hold a match, and runs, without a name twice.
fn wanted(all: &Range<u64>, granules: &Granules, block: usize, runs: &[Run]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let in_block = PartKind::Names.block_granules();
    let texts = u64::try_from(PartKind::Names.granule_texts()).unwrap_or(u64::MAX);
    let mut start = all.start;
    for granule in (block * in_block..).take(in_block) {
        let end = start.saturating_add(texts).min(all.end);
        if start < end && granules.contains(granule) {
            ranges.push(start..end);
        }
        start = end;
    }
    ranges.extend(
        runs.iter()
            .map(|run| run.names.start.max(all.start)..run.names.end.min(all.end)),
    );
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// The runs that overlap a range.
fn overlapping<'r>(runs: &'r [Run], range: &Range<u64>) -> &'r [Run] {
    let start = runs.partition_point(|run| run.names.end <= range.start);
    let end = runs.partition_point(|run| run.names.start < range.end);
    runs.get(start..end).unwrap_or_default()
}
