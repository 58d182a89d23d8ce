//! The search index beside the catalogue: which names of a scan can match.

use std::sync::{Mutex, PoisonError};

use ntt_catalogue::query::{NameIndex, SearchedScan};
use ntt_model::ScanId;
use ntt_search::{Identity, Query, SearchFolder};

/// A scan of which the catalogue was searched name by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unindexed {
    /// The scan.
    pub scan: ScanId,
    /// What is wrong with its index; `None` if there is none.
    pub problem: Option<String>,
}

/// What tells the scan from every other that its segment could have been made for.
pub const fn identity(scan: &SearchedScan) -> Identity {
    Identity {
        scan: scan.scan.0,
        begun: scan.begun.as_nanos(),
        sealed: scan.sealed.as_nanos(),
        directories: scan.directories,
        names: scan.names,
    }
}

/// Guides one search of the catalogue, and remembers where it could not.
pub(crate) struct Guide<'q> {
    folder: &'q SearchFolder,
    query: Query<'q>,
    unindexed: Mutex<Vec<Unindexed>>,
}

impl<'q> Guide<'q> {
    /// A guide for a query with a pattern.
    pub(crate) const fn new(folder: &'q SearchFolder, query: Query<'q>) -> Self {
        Self {
            folder,
            query,
            unindexed: Mutex::new(Vec::new()),
        }
    }

    /// The scans of which the catalogue was searched instead, in whole or in part.
    pub(crate) fn into_unindexed(self) -> Vec<Unindexed> {
        self.unindexed
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, scan: &SearchedScan, problem: Option<&ntt_search::Error>) {
        // The segment of a superseded scan was removed, and nobody makes it again.
        if scan.superseded {
            return;
        }
        let mut unindexed = self.unindexed.lock().unwrap_or_else(PoisonError::into_inner);
        // A scan that stands for several volumes comes several times.
        if unindexed.iter().all(|known| known.scan != scan.scan) {
            unindexed.push(Unindexed {
                scan: scan.scan,
                problem: problem.map(ToString::to_string),
            });
        }
    }
}

impl NameIndex for Guide<'_> {
    fn candidates(
        &self,
        scan: &SearchedScan,
        each: &mut dyn FnMut(&[i64]) -> Result<(), ntt_catalogue::Error>,
    ) -> Result<i64, ntt_catalogue::Error> {
        let segment = match self.folder.open(&identity(scan)) {
            Ok(Some(segment)) => segment,
            other => {
                self.note(scan, other.err().as_ref());
                return Ok(0);
            }
        };
        let mut failure = None;
        let answer = segment.search(&self.query, &mut |ids| {
            failure = each(ids).err();
            failure.is_none()
        });
        if let Some(error) = failure {
            return Err(error);
        }
        if answer.problem.is_some() {
            self.note(scan, answer.problem.as_ref());
        }
        Ok(i64::try_from(answer.searched).unwrap_or(i64::MAX))
    }
}
