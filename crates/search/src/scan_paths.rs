//! Searching whole paths.
//!
//! The directories of a part are walked once, as far as they or their names can matter. The pattern is run over each of their paths; names are only unpacked
//! where they still decide.

use std::ops::Range;

use memchr::memmem::Finder;

use crate::blocks::BlockReader;
use crate::candidates;
use crate::directories::{Directories, DirectoryBlock, Walk};
use crate::error::Error;
use crate::format::PartPlace;
use crate::machine::{self, Stand};
use crate::name_blocks::NameBlocks;
use crate::path_clauses::Clauses;
use crate::pattern::{How, Matcher};
use crate::postings::Granules;
use crate::read::Segment;
use crate::run::number;
use crate::trigram::EDGE;

/// What is found once for all parts.
pub(crate) struct PathPlan<'q> {
    path: &'q Matcher,
    name: Option<&'q Matcher>,
    /// Of a path out of a set of exact ones, the last component is one of these.
    last: Option<Matcher>,
    directories: Directories,
    clauses: Clauses,
    /// Looks for the literals of a directory.
    in_directory: Vec<Finder<'static>>,
}

impl<'q> PathPlan<'q> {
    pub(crate) fn new(
        segment: &Segment,
        name: Option<&'q Matcher>,
        path: &'q Matcher,
    ) -> Result<Self, Error> {
        let clauses = Clauses::of(name, path, segment.has_slashes());
        let last = match &path.how {
            How::Exact(paths) if !segment.has_slashes() => Some(Matcher::of_last_components(paths)),
            _ => None,
        };
        let finder = |literal: &Vec<u8>| Finder::new(literal).into_owned();
        Ok(Self {
            path,
            name,
            last,
            directories: Directories::open(segment, &clauses.directory)?,
            in_directory: clauses.directory.iter().map(finder).collect(),
            clauses,
        })
    }

    /// Whether a name can end a match, apart from its directory.
    fn admits(&self, name: &[u8]) -> bool {
        self.last.as_ref().is_none_or(|last| last.matches(name))
            && self.name.is_none_or(|matcher| matcher.matches(name))
    }
}

/// The numbers of all paths of a part that match.
pub(crate) fn search(segment: &Segment, part: &PartPlace, plan: &PathPlan<'_>) -> Result<Vec<i64>, Error> {
    let footer = segment.footer(part)?;
    let of_held = candidates::of_clauses(segment, &footer, &plan.clauses.name)?;
    let mut of_all = of_held.clone();
    of_all.keep(&candidates::of_clauses(segment, &footer, &plan.clauses.alone)?);
    let mut search = Search {
        plan,
        slashes: segment.has_slashes(),
        part: part.numbers(),
        names: NameBlocks::new(segment, footer)?,
        of_held,
        of_all,
        states: plan.path.run(),
        text: Vec::new(),
        found: Vec::new(),
    };
    let mut reader = BlockReader::new(segment)?;
    let mut walk = Walk::default();
    for block in plan.directories.of_names(&part.numbers()) {
        if search.passes_over(block) {
            continue;
        }
        let bytes = reader.unpack(&block.place)?;
        let malformed = || segment.damaged(block.place.at, "a block of directories is malformed");
        walk.open(bytes, &block.place).ok_or_else(malformed)?;
        while walk.step(bytes).ok_or_else(malformed)? {
            search.directory(&walk.path, &walk.names, block.can_hold)?;
        }
    }
    Ok(search.found)
}

/// A search in one part.
struct Search<'s> {
    plan: &'s PathPlan<'s>,
    /// Whether names may hold a `/`.
    slashes: bool,
    /// The numbers of its names.
    part: Range<u64>,
    names: NameBlocks<'s>,
    /// Where names can match if their directory holds a literal.
    of_held: Granules,
    /// Where they can in any directory.
    of_all: Granules,
    states: Option<machine::Run<'s>>,
    /// A text that is put together; empty in between.
    text: Vec<u8>,
    found: Vec<i64>,
}

/// A directory in which names decide.
struct Open<'d> {
    path: &'d [u8],
    stand: Stand,
}

impl Search<'_> {
    /// The names of this part among some.
    fn here(&self, names: &Range<u64>) -> Range<u64> {
        names.start.max(self.part.start)..names.end.min(self.part.end)
    }

    /// Whether nothing can match in the directories of a block.
    fn passes_over(&mut self, block: &DirectoryBlock) -> bool {
        let names = self.here(&block.place.numbers());
        !block.can_hold && self.names.piece(&names, &self.of_all).is_none()
    }

    /// Searches a directory.
    fn directory(&mut self, path: &[u8], names: &Range<u64>, can_hold: bool) -> Result<(), Error> {
        let names = self.here(names);
        if names.is_empty() || !can_hold && self.names.piece(&names, &self.of_all).is_none() {
            return Ok(());
        }
        match self.after(path) {
            Stand::Dead => Ok(()),
            Stand::Sure if self.plan.name.is_none() => {
                self.found.extend(names.map(number));
                Ok(())
            }
            stand => {
                let is_held = can_hold && !self.names.are_all(&names, &self.of_all) && self.holds(path);
                self.look_at(&names, is_held, &Open { path, stand })
            }
        }
    }

    /// Where the path of a directory leads whose names are to follow.
    fn after(&mut self, path: &[u8]) -> Stand {
        let Some(states) = &mut self.states else {
            return Stand::Unknown;
        };
        let mut stand = states.begin();
        if !path.is_empty() {
            stand = states.over(stand, path);
            stand = states.over(stand, &[EDGE]);
        }
        states.before_names(stand, self.slashes)
    }

    /// Whether a directory's path holds one of the literals.
    fn holds(&mut self, path: &[u8]) -> bool {
        self.text.push(EDGE);
        self.text.extend_from_slice(path);
        self.text.push(EDGE);
        self.text.make_ascii_lowercase();
        let holds = |literal: &Finder<'_>| literal.find(&self.text).is_some();
        let is_held = self.plan.in_directory.iter().any(holds);
        self.text.clear();
        is_held
    }

    /// Looks at the names of a directory that can match.
    fn look_at(&mut self, names: &Range<u64>, is_held: bool, directory: &Open<'_>) -> Result<(), Error> {
        let granules = if is_held { &self.of_held } else { &self.of_all };
        let mut rest = names.clone();
        while let Some(piece) = self.names.piece(&rest, granules) {
            rest.start = piece.numbers.end;
            for (at, name) in self.names.names(&piece)? {
                let states = self.states.as_mut();
                if states.as_ref().is_some_and(|states| !states.can_end(name)) || !self.plan.admits(name) {
                    continue;
                }
                let told = states.and_then(|states| {
                    let end = states.over_name(directory.stand, name, self.slashes);
                    states.ends(end)
                });
                let is_match = told
                    .unwrap_or_else(|| matches_whole(self.plan.path, directory.path, name, &mut self.text));
                if is_match {
                    self.found.push(number(at));
                }
            }
        }
        Ok(())
    }
}

/// Whether a directory and a name make a path that matches; `text` is empty before and after.
fn matches_whole(matcher: &Matcher, directory: &[u8], name: &[u8], text: &mut Vec<u8>) -> bool {
    text.extend_from_slice(directory);
    if !directory.is_empty() {
        text.push(EDGE);
    }
    text.extend_from_slice(name);
    let is_match = matcher.matches(text);
    text.clear();
    is_match
}
