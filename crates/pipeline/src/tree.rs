//! Walks the tree of a scan, directory by directory, as `restore` and `compare` need it.

use std::collections::HashSet;

use ntt_catalogue::rows::{ChildRow, VolumeRow};
use ntt_catalogue::{Catalogue, Children};
use ntt_model::entry::Allocation;
use ntt_model::name::escape;
use ntt_model::{Kind, ScanId};

use crate::{Error, Interrupt};
use ntt_report::selector::{Selection, current_scans};

/// One tree to walk: a scan, where to begin, and under which subdirectory of the destination it goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tree {
    pub(crate) volume: u32,
    pub(crate) scan: ScanId,
    /// Empty when the selection is one tree.
    pub(crate) subdirectory: String,
    start: Start,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Start {
    /// These directories, laid over each other (one per naming tree).
    Directories(Vec<u64>),
    /// This entry alone.
    Entry(Box<ChildRow>),
}

impl Tree {
    /// Whether the selection is one file, not a directory.
    pub(crate) const fn is_single_entry(&self) -> bool {
        matches!(self.start, Start::Entry(_))
    }
}

/// Names that people see, one after the other: a directory may hold more than fits in memory.
pub(crate) type Visible<'c> = dyn Iterator<Item = Result<ChildRow, Error>> + 'c;

/// Subdirectories to enter: name and inode number.
pub(crate) type Enter = Vec<(Vec<u8>, u64)>;

/// Is shown every directory once, parents first.
pub(crate) trait Visit {
    /// `path` is relative to the start of the walk, without leading `/`; `children` are the names that people see: no alternates, nothing
    /// deleted. Answers which subdirectories to enter.
    fn directory(&mut self, path: &[u8], children: &mut Visible<'_>) -> Result<Enter, Error>;
}

/// The trees that a selection names.
pub(crate) fn trees(catalogue: &dyn Catalogue, selection: &Selection) -> Result<Vec<Tree>, Error> {
    let volumes = match &selection.volume {
        Some(volume) => vec![volume.clone()],
        None => catalogue.volumes(selection.medium.key)?,
    };
    let mut trees = Vec::new();
    for volume in &volumes {
        trees.extend(volume_trees(catalogue, volume, &selection.path)?);
    }
    if trees.is_empty() {
        let path = escape(&selection.path);
        return Err(Error::Selection(format!(
            "nothing in the catalogue answers to the path `{path}`"
        )));
    }
    if let [only] = trees.as_mut_slice() {
        only.subdirectory.clear();
    }
    Ok(trees)
}

fn volume_trees(catalogue: &dyn Catalogue, volume: &VolumeRow, path: &[u8]) -> Result<Vec<Tree>, Error> {
    let scans = current_scans(catalogue, volume)?;
    let number = volume.volume.number;
    let mut trees = Vec::new();
    for scan in &scans {
        let subdirectory = match scans.len() {
            1 => number.to_string(),
            _ => format!("{number}-{}", scan.scan.reader),
        };
        if let Some(start) = start(catalogue, scan.id, path)? {
            trees.push(Tree {
                volume: number,
                scan: scan.id,
                subdirectory,
                start,
            });
        }
    }
    Ok(trees)
}

fn start(catalogue: &dyn Catalogue, scan: ScanId, path: &[u8]) -> Result<Option<Start>, Error> {
    let directories = catalogue.resolve_dirs(scan, path)?;
    if !directories.is_empty() {
        let inodes = directories.into_iter().map(|row| row.inode).collect();
        return Ok(Some(Start::Directories(inodes)));
    }
    let mut entries = catalogue.resolve_path(scan, path)?;
    entries.retain(is_visible);
    Ok(entries
        .into_iter()
        .next()
        .map(|entry| Start::Entry(Box::new(entry))))
}

/// Whether people see the name: no alternate of another one, not deleted.
pub(crate) fn is_visible(child: &ChildRow) -> bool {
    !child.alternate && child.allocation == Allocation::Allocated
}

/// The kind of what a name points to.
pub(crate) fn kind_of(child: &ChildRow) -> Option<Kind> {
    child.inode.as_ref().map(|inode| inode.kind)
}

/// Walks a tree. Every directory is visited once, however many names or loops lead to it.
pub(crate) fn walk(
    catalogue: &dyn Catalogue,
    tree: &Tree,
    interrupt: &Interrupt,
    visitor: &mut dyn Visit,
) -> Result<(), Error> {
    let directories = match &tree.start {
        Start::Directories(directories) => directories,
        Start::Entry(entry) => {
            visitor.directory(b"", &mut std::iter::once(Ok(entry.as_ref().clone())))?;
            return Ok(());
        }
    };
    let mut waiting: Vec<(Vec<u8>, u64)> = directories
        .iter()
        .rev()
        .map(|inode| (Vec::new(), *inode))
        .collect();
    let mut seen = HashSet::new();
    while let Some((path, inode)) = waiting.pop() {
        interrupt.check()?;
        if !seen.insert(inode) {
            continue;
        }
        let children = match Children::of(catalogue, tree.scan, inode) {
            Ok(children) => Some(children),
            // The name is there, and the scan did not enter it: a limit or a defect, which a finding tells.
            Err(ntt_catalogue::Error::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let children = children.into_iter().flatten();
        let mut visible = children
            .filter(|child| child.as_ref().map_or(true, is_visible))
            .map(|child| child.map_err(Error::from));
        let enter = visitor.directory(&path, &mut visible)?;
        waiting.extend(
            enter
                .into_iter()
                .rev()
                .map(|(name, inode)| (join(&path, &name), inode)),
        );
    }
    Ok(())
}

/// `name` in the directory `path`.
pub(crate) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(path.len() + name.len() + 1);
    joined.extend_from_slice(path);
    if !path.is_empty() {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    joined
}
