//! Searching a segment: part by part, several at a time, told in the order of the scan.

use crate::error::Error;
use crate::format::{PartKind, PartPlace};
use crate::parallel::in_order;
use crate::pattern::Matcher;
use crate::read::Segment;
use crate::scan_names;
use crate::scan_paths::{self, PathPlan};

/// What to look for; all given conditions must hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<'q> {
    /// On the last component.
    pub name: Option<&'q Matcher>,
    /// On the path relative to the root.
    pub path: Option<&'q Matcher>,
}

/// How far a search came.
#[derive(Debug)]
pub struct Answer {
    /// Every match up to this number, and none after it, was told.
    pub searched: u64,
    /// Why it ended before the last name; `None` if it did not.
    pub problem: Option<Error>,
}

impl Segment {
    /// Visits the numbers of all paths that match, ascending from 1, in groups; `each` answers false to stop. A damaged part ends the search
    /// before it: what was told until then is whole.
    pub fn search(&self, query: &Query<'_>, each: &mut dyn FnMut(&[i64]) -> bool) -> Answer {
        let mut answer = Answer {
            searched: 0,
            problem: None,
        };
        let plan = match Plan::new(self, query) {
            Ok(plan) => plan,
            Err(error) => {
                answer.problem = Some(error);
                return answer;
            }
        };
        let parts: Vec<&PartPlace> = self.parts(PartKind::Names).collect();
        let work = |part: &&PartPlace| plan.search(self, part);
        in_order(&parts, &work, &mut |part, found| match found {
            Ok(found) => {
                answer.searched = part.first_path.saturating_add(part.paths);
                found.is_empty() || each(&found)
            }
            Err(error) => {
                answer.problem = Some(error);
                false
            }
        });
        answer
    }
}

/// A query with what is found once for all parts.
enum Plan<'q> {
    Names(Option<&'q Matcher>),
    Paths(Box<PathPlan<'q>>),
}

impl<'q> Plan<'q> {
    fn new(segment: &Segment, query: &Query<'q>) -> Result<Self, Error> {
        Ok(match query.path {
            None => Self::Names(query.name),
            Some(path) => Self::Paths(Box::new(PathPlan::new(segment, query.name, path)?)),
        })
    }

    fn search(&self, segment: &Segment, part: &PartPlace) -> Result<Vec<i64>, Error> {
        match self {
            Self::Names(None) => {
                let end = part.first_path.saturating_add(part.paths);
                Ok((part.first_path..end).map(number).collect())
            }
            Self::Names(Some(matcher)) => scan_names::search(segment, part, matcher),
            Self::Paths(plan) => scan_paths::search(segment, part, plan),
        }
    }
}

/// The number of the name with so many before it.
pub(crate) fn number(before: u64) -> i64 {
    i64::try_from(before).unwrap_or(i64::MAX).saturating_add(1)
}
