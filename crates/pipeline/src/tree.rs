//! Walks the tree of a scan, directory by directory, as `restore` and `compare` need it.

use std::collections::{HashMap, HashSet};

use ntt_catalogue::rows::{ChildRow, VolumeRow};
use ntt_catalogue::{Catalogue, Children};
use ntt_model::entry::{Allocation, Inode};
use ntt_model::name::{can_stand_in_path, escape};
use ntt_model::{Kind, ScanId};

use crate::{Error, Interrupt};
use ntt_report::selector::{ScanChoice, Selection, chosen_scans};

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

    /// The inode of the directory that the walk begins with: of the first naming tree that has one.
    pub(crate) fn root(&self, catalogue: &dyn Catalogue) -> Result<Option<Inode>, Error> {
        let Start::Directories(directories) = &self.start else {
            return Ok(None);
        };
        for directory in directories {
            if let Some(inode) = catalogue.inode(self.scan, *directory)? {
                return Ok(Some(inode));
            }
        }
        Ok(None)
    }
}

/// Names that people see, one after the other: a directory may hold more than fits in memory.
pub(crate) type Visible<'c> = dyn Iterator<Item = Result<ChildRow, Error>> + 'c;

/// Subdirectories to enter: name and inode number.
pub(crate) type Enter = Vec<(Vec<u8>, u64)>;

/// Is shown every path that is a directory once, parents first.
pub(crate) trait Visit {
    /// `path` is relative to the start of the walk, without leading `/`; `children` are the names that people see: no alternates, nothing
    /// deleted. Several directories under one path, as the naming trees of a disc or a volume with lost entries have them, are shown as one, so that
    /// a name may come twice. Answers which subdirectories to enter.
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
        trees.extend(volume_trees(catalogue, volume, &selection.path, selection.scans)?);
    }
    if trees.is_empty() {
        let (what, name) = match selection.path.as_slice() {
            b"" => ("scan of", selection.medium.medium.id.to_string()),
            path => ("path", escape(path).into_owned()),
        };
        return Err(ntt_report::Error::NotFound { what, name }.into());
    }
    if let [only] = trees.as_mut_slice() {
        only.subdirectory.clear();
    }
    Ok(trees)
}

fn volume_trees(
    catalogue: &dyn Catalogue,
    volume: &VolumeRow,
    path: &[u8],
    choice: ScanChoice,
) -> Result<Vec<Tree>, Error> {
    let scans = chosen_scans(catalogue, volume, choice)?;
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

/// Whether a name has something beside its data that can be a file of its own: it is one that can stand in a directory, and has forks or alternate streams.
pub(crate) fn has_named_streams(child: &ChildRow) -> bool {
    let inode = child.inode.as_ref();
    can_stand_in_path(&child.name) && inode.is_some_and(|inode| inode.named_streams().next().is_some())
}

/// Walks a tree. Every path is visited once, and every directory once, however many names or loops lead to it.
pub(crate) fn walk(
    catalogue: &dyn Catalogue,
    tree: &Tree,
    interrupt: &Interrupt,
    visitor: &mut dyn Visit,
) -> Result<(), Error> {
    let roots = match &tree.start {
        Start::Directories(directories) => directories.clone(),
        Start::Entry(entry) => {
            visitor.directory(b"", &mut std::iter::once(Ok(entry.as_ref().clone())))?;
            return Ok(());
        }
    };
    let mut waiting = vec![(Vec::new(), roots)];
    let mut seen = HashSet::new();
    while let Some((path, mut inodes)) = waiting.pop() {
        interrupt.check()?;
        inodes.retain(|inode| seen.insert(*inode));
        if inodes.is_empty() {
            continue;
        }
        let enter = visitor.directory(&path, &mut visible(catalogue, tree.scan, &inodes))?;
        let subdirectories = laid_over(enter).into_iter().rev();
        waiting.extend(subdirectories.map(|(name, inodes)| (join(&path, &name), inodes)));
    }
    Ok(())
}

/// What people see in directories that stand under one path.
fn visible<'c>(
    catalogue: &'c dyn Catalogue,
    scan: ScanId,
    directories: &'c [u64],
) -> impl Iterator<Item = Result<ChildRow, Error>> + 'c {
    let children = directories.iter().flat_map(move |directory| {
        let (children, failed) = match Children::of(catalogue, scan, *directory) {
            Ok(children) => (Some(children), None),
            // The name is there, and the scan did not enter it: a limit or a defect, which a finding tells.
            Err(ntt_catalogue::Error::NotFound { .. }) => (None, None),
            Err(error) => (None, Some(Err(error))),
        };
        children.into_iter().flatten().chain(failed)
    });
    children
        .filter(|child| child.as_ref().map_or(true, is_visible))
        .map(|child| child.map_err(Error::from))
}

/// Subdirectories of one name, which several naming trees may have, belong together. The order stays.
fn laid_over(enter: Enter) -> Vec<(Vec<u8>, Vec<u64>)> {
    let mut places = HashMap::new();
    let mut together: Vec<(Vec<u8>, Vec<u64>)> = Vec::new();
    for (name, inode) in enter {
        let place = *places.entry(name.clone()).or_insert(together.len());
        match together.get_mut(place) {
            Some((_, inodes)) => inodes.push(inode),
            None => together.push((name, vec![inode])),
        }
    }
    together
}

/// Names that were met under one path, so that one which comes twice is restored and compared once.
#[derive(Default)]
pub(crate) struct Names(HashMap<Vec<u8>, (u64, Kind)>);

/// What stands under a name already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Met {
    /// Nothing.
    Nothing,
    /// The same inode, or a directory where this is one too: two naming trees say the same.
    Same,
    /// Something else.
    Other,
}

impl Names {
    /// What was taken in under the name of `inode`.
    pub(crate) fn met(&self, name: &[u8], inode: &Inode) -> Met {
        match self.0.get(name) {
            None => Met::Nothing,
            Some((number, _)) if *number == inode.number => Met::Same,
            Some((_, Kind::Directory)) if inode.kind == Kind::Directory => Met::Same,
            Some(_) => Met::Other,
        }
    }

    /// Takes in a name, which keeps the first inode that it was met with.
    pub(crate) fn take_in(&mut self, name: &[u8], inode: &Inode) {
        self.0.entry(name.to_vec()).or_insert((inode.number, inode.kind));
    }

    /// Whether anything was taken in under the name.
    pub(crate) fn contains(&self, name: &[u8]) -> bool {
        self.0.contains_key(name)
    }
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
