//! Writes a tree back to a directory: names, kinds, content, holes, links, modes, owners, attributes, times (R45).
//!
//! Every name is created relative to an open directory and never through a symbolic link, so a tree with hostile links cannot reach
//! outside the destination. Nothing that stands in the destination is replaced, and no file has its name before it is whole. Directories get their attributes last, deepest first, because
//! writing into them changes their times. What could not be restored as it was is listed; nothing is left out silently.

mod attributes;
mod content;
mod destination;
mod draft;
mod entry;
mod existing;
mod sidecar;
mod xattrs;

use std::collections::HashMap;

use ntt_catalogue::Catalogue;
use ntt_catalogue::rows::{ChildRow, FindingRow, MediumRow, State, StreamState};
use ntt_model::entry::{Inode, StreamKind};
use ntt_model::name::escape;
use ntt_model::{Kind, Layer, ScanId, Severity};
use serde::{Deserialize, Serialize};

pub(crate) use destination::{Destination, MISLEADING};
pub(crate) use existing::open_file;
pub(crate) use sidecar::sidecars;

use attributes::Refused;

use crate::stage::{Running, Subject};
use crate::tree::{self, Enter, Met, Names, Tree, Visible, Visit};
use crate::{Archive, Context, Error, HostPath, Interrupt, RunOutcome, Stage};
use ntt_report::selector::{Selection, current_findings};
use ntt_report::units;

/// How to restore.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoreRequest {
    /// What.
    pub selection: Selection,
    /// Where to; created if it is missing.
    pub destination: HostPath,
    /// Accept a directory that is not empty. What stands there is never replaced; what is equal counts as restored, so that an interrupted
    /// restore goes on.
    pub into_existing: bool,
    /// Forks and alternate streams too, as files beside those that they belong to.
    pub streams: bool,
}

impl RestoreRequest {
    /// The inode of the directory that a tree is written into, if that one is to be as it was, too. A directory that held something before
    /// is the user's and stays as it is.
    pub(crate) fn root(&self, catalogue: &dyn Catalogue, tree: &Tree) -> Result<Option<Inode>, Error> {
        if self.into_existing && tree.subdirectory.is_empty() {
            return Ok(None);
        }
        tree.root(catalogue)
    }
}

/// What a restore would write.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RestorePlan {
    /// One line per tree: volume number and subdirectory of the destination (empty if only one tree is restored).
    pub volumes: Vec<(u32, String)>,
    /// Names to write.
    pub paths: u64,
    /// Bytes of content, holes counted.
    pub bytes: u64,
    /// Names that are not written: a rule excludes them, and their contents were never stored.
    #[serde(default)]
    pub excluded: u64,
    /// Names that stand in each other's way: `volume/path`, escaped.
    pub conflicts: Vec<String>,
}

/// Something that could not be restored as it was.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Unrestored {
    /// `volume/path`, escaped.
    pub path: String,
    /// What is missing and why.
    pub problem: String,
}

/// What a restore did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RestoreSummary {
    /// Names written.
    pub paths: u64,
    /// Bytes of content written, holes counted.
    pub bytes: u64,
    /// Everything that is not as it was: damaged contents, owners refused, names in the way.
    pub problems: Vec<Unrestored>,
    /// How it ended.
    pub outcome: RunOutcome,
}

/// Counts what would be written. Changes nothing.
///
/// # Errors
///
/// [`Error::Refused`] if the destination is not empty, [`Error::Source`] if it lies in the archive, [`ntt_report::Error::NotFound`] if the path is not in the catalogue.
pub fn plan(archive: &Archive, request: &RestoreRequest) -> Result<RestorePlan, Error> {
    destination::refuse_archive(request.destination.as_path(), archive.root())?;
    destination::check(request.destination.as_path(), request.into_existing)?;
    let catalogue = archive.catalogue();
    let mut counter = Counter {
        catalogue,
        plan: RestorePlan::default(),
        volume: 0,
        scan: None,
        streams: request.streams,
    };
    for tree in tree::trees(catalogue, &request.selection)? {
        counter
            .plan
            .volumes
            .push((tree.volume, tree.subdirectory.clone()));
        (counter.volume, counter.scan) = (tree.volume, Some(tree.scan));
        tree::walk(catalogue, &tree, &Interrupt::new(), &mut counter)?;
    }
    Ok(counter.plan)
}

struct Counter<'a> {
    catalogue: &'a dyn Catalogue,
    plan: RestorePlan,
    /// Volume and scan of the tree at hand.
    volume: u32,
    scan: Option<ScanId>,
    /// Whether other streams than the data are restored.
    streams: bool,
}

/// Whether a stream of this kind is restored as bytes of a file.
fn is_file(kind: &StreamKind, with_streams: bool) -> bool {
    match kind {
        StreamKind::Data => true,
        StreamKind::Named(_) => with_streams,
        _ => false,
    }
}

impl Counter<'_> {
    /// Whether a rule keeps the content of a name out of the archive. One that was stored before the rule is restored.
    fn is_left_out(&self, child: &ChildRow) -> Result<bool, Error> {
        let (Some(scan), Some(_)) = (self.scan, &child.rule) else {
            return Ok(false);
        };
        let states = self.catalogue.stream_states(scan, child.number)?;
        let is_excluded = |state: &StreamState| {
            state.kind == StreamKind::Data && matches!(state.state, State::Excluded { .. })
        };
        Ok(states.iter().any(is_excluded))
    }
}

impl Visit for Counter<'_> {
    fn directory(&mut self, path: &[u8], children: &mut Visible<'_>) -> Result<Enter, Error> {
        let mut names = Names::default();
        let mut enter = Vec::new();
        for child in children {
            let child = child?;
            if self.is_left_out(&child)? {
                self.plan.excluded += 1;
                continue;
            }
            self.plan.paths += 1;
            let (inode, with_streams) = (child.inode.as_ref(), self.streams);
            let streams = inode.map_or(&[][..], |inode| &inode.streams);
            for stream in streams
                .iter()
                .filter(|stream| is_file(&stream.kind, with_streams))
            {
                self.plan.bytes = self.plan.bytes.saturating_add(stream.size_bytes);
            }
            if tree::kind_of(&child) == Some(Kind::Directory) {
                enter.push((child.name.clone(), child.number));
            }
            let Some(inode) = &child.inode else {
                continue;
            };
            if names.met(&child.name, inode) == Met::Other {
                let path = tree::join(path, &child.name);
                self.plan
                    .conflicts
                    .push(format!("{}/{}", self.volume, escape(&path)));
            }
            names.take_in(&child.name, inode);
        }
        Ok(enter)
    }
}

/// Restores. Never follows a symbolic link inside the destination and never replaces what stands there.
///
/// # Errors
///
/// When the destination cannot be written at all, or catalogue or store fail.
pub fn run(context: &Context<'_>, request: &RestoreRequest) -> Result<RestoreSummary, Error> {
    let plan = plan(context.archive, request)?;
    let stage = Running::start_with(
        context.observer,
        Stage::Restore,
        Subject::medium(&request.selection.medium),
        Some(plan.paths),
        Some(plan.bytes),
    );
    stage.conclude(restore_all(context, request, &stage), |summary| summary.outcome)
}

fn restore_all(
    context: &Context<'_>,
    request: &RestoreRequest,
    stage: &Running<'_>,
) -> Result<RestoreSummary, Error> {
    let root = Destination::create(request.destination.as_path())?;
    let catalogue = context.archive.catalogue();
    let (mut problems, mut store_is_damaged, mut left_out) = (Vec::new(), false, 0);
    for tree in tree::trees(catalogue, &request.selection)? {
        let root = root.subdirectory(&tree.subdirectory)?;
        let mut restorer = Restorer {
            context,
            stage,
            tree: &tree,
            root: &root,
            into_existing: request.into_existing,
            streams: request.streams,
            links: HashMap::new(),
            made: Names::default(),
            directories: Vec::new(),
            owners_refused: 0,
            left_out: &mut left_out,
            problems: &mut problems,
            store_is_damaged: &mut store_is_damaged,
        };
        if let Some(inode) = request.root(catalogue, &tree)? {
            restorer.directories.push((Vec::new(), inode.number));
        }
        tree::walk(catalogue, &tree, context.interrupt, &mut restorer)?;
        restorer.finish_directories()?;
        restorer.tell_owners();
        restorer.tell_unlisted(&request.selection.medium)?;
    }
    let done = stage.done();
    let outcome = match (store_is_damaged, problems.is_empty()) {
        (true, _) => RunOutcome::DamageFound,
        (false, false) => RunOutcome::Losses,
        (false, true) => RunOutcome::Complete,
    };
    Ok(RestoreSummary {
        paths: done.items.saturating_sub(left_out),
        bytes: done.bytes,
        problems,
        outcome,
    })
}

/// Losses on record of the listing of a tree: of what they cost nobody knows names. None of a single entry.
pub(crate) fn unlisted_losses(
    catalogue: &dyn Catalogue,
    medium: &MediumRow,
    tree: &Tree,
) -> Result<u64, Error> {
    if tree.is_single_entry() {
        return Ok(0);
    }
    let is_unlisted = |row: &&FindingRow| {
        let is_loss = row.finding.severity == Severity::Loss && row.finding.layer != Layer::Content;
        row.scan == Some(tree.scan) && is_loss
    };
    let mut count = catalogue.findings(medium.key)?.iter().filter(is_unlisted).count();
    if count == 0 {
        // Of a copy of a volume the other medium tells.
        count = current_findings(catalogue, medium)?
            .iter()
            .filter(is_unlisted)
            .count();
    }
    Ok(u64::try_from(count).unwrap_or(u64::MAX))
}

/// Restores one tree.
struct Restorer<'a> {
    context: &'a Context<'a>,
    stage: &'a Running<'a>,
    tree: &'a Tree,
    root: &'a Destination,
    /// Whether what stands there already and is equal counts as restored.
    into_existing: bool,
    /// Whether forks and alternate streams become files.
    streams: bool,
    /// First path of every inode that has several names.
    links: HashMap<u64, Vec<u8>>,
    /// What this run made in the directory at hand.
    made: Names,
    /// Directories made, parents first, for their attributes; the one that everything is written into first of all.
    directories: Vec<(Vec<u8>, u64)>,
    /// Entries whose owner could not be set.
    owners_refused: u64,
    /// Names that do not stand there.
    left_out: &'a mut u64,
    problems: &'a mut Vec<Unrestored>,
    /// Set when the store does not give a content as it was put.
    store_is_damaged: &'a mut bool,
}

impl Restorer<'_> {
    fn problem(&mut self, path: &[u8], problem: impl Into<String>) {
        self.problems.push(Unrestored {
            path: format!("{}/{}", self.tree.volume, escape(path)),
            problem: problem.into(),
        });
    }

    /// A content that the store does not have right any more.
    fn damage(&mut self, path: &[u8], problem: impl Into<String>) {
        *self.store_is_damaged = true;
        self.problem(path, problem);
    }

    /// Takes down what could not be set.
    fn refused(&mut self, path: &[u8], refused: &Refused) {
        self.owners_refused += u64::from(refused.owner);
        if !refused.others.is_empty() {
            self.problem(path, refused.others.join("; "));
        }
    }

    /// Gives directories their attributes, deepest first.
    fn finish_directories(&mut self) -> Result<(), Error> {
        for (path, inode) in std::mem::take(&mut self.directories).into_iter().rev() {
            self.finish_directory(&path, inode)?;
        }
        Ok(())
    }

    fn finish_directory(&mut self, path: &[u8], inode: u64) -> Result<(), Error> {
        let catalogue = self.context.archive.catalogue();
        let Some(inode) = catalogue.inode(self.tree.scan, inode)? else {
            return Ok(());
        };
        self.tell_streams(path, &inode);
        let xattrs = self.xattrs(path, &inode)?;
        match self.root.open(path) {
            Ok(directory) => self.refused(path, &attributes::apply(&directory, &inode, &xattrs)),
            Err(error) => self.problem(path, error.to_string()),
        }
        Ok(())
    }

    /// One line for all owners: a user who may not give files away would else read one for each.
    fn tell_owners(&mut self) {
        let refused = self.owners_refused;
        if refused > 0 {
            let problem = format!(
                "owners not set, of entries: {refused} (only root can, and not on every file system)"
            );
            self.problem(b"", problem);
        }
    }

    /// Says what nobody could list: what is not there is not restored either.
    fn tell_unlisted(&mut self, medium: &MediumRow) -> Result<(), Error> {
        let count = unlisted_losses(self.context.archive.catalogue(), medium, self.tree)?;
        if count > 0 {
            let told = units::counted(count, "loss", "losses");
            let problem = format!(
                "{told} when it was listed: there may be more on the medium than is restored; `ntt medium show --findings {}` tells",
                medium.medium.id
            );
            self.problem(b"", problem);
        }
        Ok(())
    }
}

impl Visit for Restorer<'_> {
    fn directory(&mut self, path: &[u8], children: &mut Visible<'_>) -> Result<Enter, Error> {
        let directory = match self.root.open(path) {
            Ok(directory) => directory,
            Err(error) => {
                self.problem(path, format!("the directory cannot be opened: {error}"));
                return Ok(Vec::new());
            }
        };
        self.made = Names::default();
        let (mut enter, mut beside) = (Vec::new(), Vec::new());
        for child in children {
            self.context.interrupt.check()?;
            let child = child?;
            let path = tree::join(path, &child.name);
            if self.streams && tree::has_named_streams(&child) {
                beside.push((child.name.clone(), child.number));
            }
            if self.entry(&directory, &path, &child)? {
                enter.push((child.name, child.number));
            }
        }
        // When all entries stand: a name belongs to them first.
        for (name, number) in beside {
            if let Some(inode) = self.context.archive.catalogue().inode(self.tree.scan, number)? {
                self.write_sidecars(&directory, (path, &name), &inode)?;
            }
        }
        Ok(enter)
    }
}
