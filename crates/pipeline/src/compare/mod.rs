//! Compares a directory with what the catalogue says it should hold (R45).
//!
//! Every attribute that the medium had is compared: kind, content by its digest, size, mode, owner (by the one user who could have restored it),
//! modification time to the nanosecond, link target, which names are one file, extended attributes, forks and streams; and names that should not be there. Access
//! times are not: reading changes them.

mod entry;
mod xattrs;

use std::collections::HashMap;

use ntt_model::name::escape;
use serde::{Deserialize, Serialize};

use crate::restore::{Destination, RestoreRequest, unlisted_losses};
use crate::stage::{Running, Subject};
use crate::tree::{self, Enter, Names, Tree, Visible, Visit};
use crate::{Context, Error, RunOutcome, Stage};

/// One difference.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Difference {
    /// `volume/path`, escaped.
    pub path: String,
    /// Which attribute: `missing`, `extra`, `kind`, `content`, `size`, `mode`, `owner`, `group`, `modified`, `target`, `device`, `link`, `xattr`,
    /// `stream`, `unreadable`.
    pub attribute: String,
    /// What the catalogue says.
    pub expected: String,
    /// What stands in the directory.
    pub actual: String,
}

/// What a comparison found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CompareSummary {
    /// Names compared.
    pub paths: u64,
    /// Bytes of content read.
    pub bytes: u64,
    /// Differences in all.
    pub differences: u64,
    /// The first [`CompareSummary::LISTED_MAX`] of them.
    pub listed: Vec<Difference>,
    /// Of the names compared, those whose contents the medium did not give in full: zeros stand for what is missing.
    #[serde(default)]
    pub damaged: u64,
    /// Of the names compared, those that no restore can write, and that do not stand in the directory: their contents, or they themselves, are not in the archive.
    #[serde(default)]
    pub not_stored: u64,
    /// Losses when the volumes were listed: what nobody listed is not compared either.
    #[serde(default)]
    pub unlisted: u64,
    /// How it ended: complete, losses that are on record, or damage found.
    pub outcome: RunOutcome,
}

impl CompareSummary {
    /// Differences kept in the summary.
    pub const LISTED_MAX: usize = 1000;

    /// Whether the catalogue itself tells of nothing that is missing in what was compared.
    pub const fn is_whole(&self) -> bool {
        self.damaged == 0 && self.not_stored == 0 && self.unlisted == 0
    }

    fn differ(&mut self, difference: Difference) {
        self.differences += 1;
        if self.listed.len() < Self::LISTED_MAX {
            self.listed.push(difference);
        }
    }
}

/// Compares `request.destination` with `request.selection`. Writes nothing.
///
/// # Errors
///
/// When the directory cannot be read at all, or the catalogue fails.
pub fn run(context: &Context<'_>, request: &RestoreRequest) -> Result<CompareSummary, Error> {
    let subject = Subject::medium(&request.selection.medium);
    let stage = Running::start(context.observer, Stage::Compare, subject);
    stage.conclude(compare_all(context, request, &stage), |summary| summary.outcome)
}

fn compare_all(
    context: &Context<'_>,
    request: &RestoreRequest,
    stage: &Running<'_>,
) -> Result<CompareSummary, Error> {
    let catalogue = context.archive.catalogue();
    let mut summary = CompareSummary::default();
    for tree in tree::trees(catalogue, &request.selection)? {
        let path = request.destination.as_path().join(&tree.subdirectory);
        let root = match Destination::existing(&path) {
            // The directory to compare must be there; a volume that is missing in it is a difference.
            Err(error) if !tree.subdirectory.is_empty() && request.destination.as_path().is_dir() => {
                summary.differ(Difference {
                    path: tree.volume.to_string(),
                    attribute: "missing".to_owned(),
                    expected: "a directory".to_owned(),
                    actual: error.to_string(),
                });
                continue;
            }
            root => root?,
        };
        let mut comparer = Comparer {
            context,
            stage,
            tree: &tree,
            root: &root,
            into_existing: request.into_existing,
            streams: request.streams,
            identities: HashMap::new(),
            summary: &mut summary,
        };
        if let Some(inode) = request.root(catalogue, &tree)? {
            comparer.root(&inode)?;
        }
        tree::walk(catalogue, &tree, context.interrupt, &mut comparer)?;
        let unlisted = unlisted_losses(catalogue, &request.selection.medium, &tree)?;
        summary.unlisted = summary.unlisted.saturating_add(unlisted);
    }
    let done = stage.done();
    summary.paths = done.items;
    summary.bytes = done.bytes;
    summary.outcome = match (summary.differences, summary.is_whole()) {
        (0, true) => RunOutcome::Complete,
        (0, false) => RunOutcome::Losses,
        _ => RunOutcome::DamageFound,
    };
    Ok(summary)
}

/// Compares one tree.
struct Comparer<'a> {
    context: &'a Context<'a>,
    stage: &'a Running<'a>,
    tree: &'a Tree,
    root: &'a Destination,
    /// Whether the directory held something before, so that names besides are no difference.
    into_existing: bool,
    /// Whether forks and alternate streams stand there as files.
    streams: bool,
    /// Device and inode number in the directory of every inode that has several names.
    identities: HashMap<u64, (u64, u64)>,
    summary: &'a mut CompareSummary,
}

impl Comparer<'_> {
    fn differ(
        &mut self,
        path: &[u8],
        attribute: &str,
        expected: impl Into<String>,
        actual: impl Into<String>,
    ) {
        self.summary.differ(Difference {
            path: format!("{}/{}", self.tree.volume, escape(path)),
            attribute: attribute.to_owned(),
            expected: expected.into(),
            actual: actual.into(),
        });
    }

    fn check<T: PartialEq + ToString>(&mut self, path: &[u8], attribute: &str, expected: &T, actual: &T) {
        if expected != actual {
            self.differ(path, attribute, expected.to_string(), actual.to_string());
        }
    }
}

impl Visit for Comparer<'_> {
    fn directory(&mut self, path: &[u8], children: &mut Visible<'_>) -> Result<Enter, Error> {
        let directory = match self.root.open(path) {
            Ok(directory) => directory,
            Err(error) => {
                self.differ(path, "unreadable", "a directory", error.to_string());
                return Ok(Vec::new());
            }
        };
        let mut names = Names::default();
        let (mut enter, mut beside) = (Vec::new(), Vec::new());
        for child in children {
            self.context.interrupt.check()?;
            let child = child?;
            let path = tree::join(path, &child.name);
            if self.streams && tree::has_named_streams(&child) {
                beside.push((child.name.clone(), child.number));
            }
            if self.entry(&directory, &path, &child, &mut names)? {
                enter.push((child.name, child.number));
            }
        }
        for (name, number) in beside {
            if let Some(inode) = self.context.archive.catalogue().inode(self.tree.scan, number)? {
                self.sidecars(&directory, (path, &name), &inode, &mut names)?;
            }
        }
        self.extra(&directory, path, &names);
        Ok(enter)
    }
}
