//! `ls` and `tree`.

use std::collections::BTreeMap;
use std::iter::Peekable;

use ntt_catalogue::rows::{ChildRow, DirRow, ScanRow, State, StreamState};
use ntt_catalogue::{Catalogue, Children};
use ntt_model::entry::{Allocation, StreamKind, Xattr};
use ntt_model::time::Times;
use ntt_model::{Kind, Namespace, ScanId};
use serde::Serialize;

use crate::occurrences::stream_name;
use crate::selector::Selector;
use crate::{ByteText, Error};

/// One line of `ls`.
#[derive(Clone, Debug, Serialize)]
pub struct ListedEntry {
    /// The name, or the path as it was asked for.
    pub name: ByteText,
    /// Convention of the name.
    pub namespace: Namespace,
    /// Whether it is a second name of the same entry.
    pub alternate: bool,
    /// Whether the entry is in use.
    pub allocation: Allocation,
    /// Inode number.
    pub inode: u64,
    /// Kind; `unknown` if the inode could not be read.
    pub kind: Kind,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Number of names.
    pub links: u32,
    /// Size of the data stream.
    pub size_bytes: u64,
    /// Times.
    pub times: Times,
    /// Target of a symbolic link.
    pub target: Option<ByteText>,
    /// State of the data stream; `None` for inodes without one.
    pub content: Option<State>,
    /// What content it has beside its data: forks, alternate streams, large attributes.
    pub streams: Vec<ListedStream>,
    /// Its small extended attributes.
    pub attributes: Vec<ListedAttribute>,
    /// Rule that excludes the path.
    pub rule: Option<String>,
    /// Who read it, where several file systems stand over the same bytes (a hybrid disc) and their names stand side by side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reader: Option<String>,
}

/// A stream that is not the data.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ListedStream {
    /// Its name.
    pub name: ByteText,
    /// Its size.
    pub size_bytes: u64,
    /// Its state.
    pub content: State,
}

/// An attribute that the catalogue holds whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ListedAttribute {
    /// Its full name.
    pub name: ByteText,
    /// Size of its value.
    pub size_bytes: u64,
}

/// What to leave out of a listing.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListOptions {
    /// Show second names too.
    pub alternates: bool,
    /// Show deleted entries too.
    pub deleted: bool,
    /// Show the directory itself first, as `.`, if it has streams or attributes: nothing else would tell of those of a root.
    pub itself: bool,
}

impl ListOptions {
    fn wants(self, child: &ChildRow) -> bool {
        (self.alternates || !child.alternate) && (self.deleted || child.allocation == Allocation::Allocated)
    }
}

/// Lists what stands at a path: the entries of a directory, or the one entry of anything else; in all scans of a volume.
///
/// # Errors
///
/// [`Error::NotFound`] if nothing stands there.
pub fn list(
    catalogue: &dyn Catalogue,
    scans: &[ScanRow],
    selector: &Selector,
    options: ListOptions,
    each: &mut dyn FnMut(ListedEntry) -> Result<(), Error>,
) -> Result<(), Error> {
    let directories = directories(catalogue, scans, selector)?;
    if directories.is_empty() {
        for (scan, child) in entries_at(catalogue, scans, selector)? {
            let states = states(catalogue, scan, &child)?;
            each(listed(scans, scan, child, states))?;
        }
        return Ok(());
    }
    for (scan, directory) in directories {
        let itself = itself(catalogue, scan, &directory, b".")?;
        let states = states(catalogue, scan, &itself)?;
        let itself = listed(scans, scan, itself, states);
        if options.itself && !(itself.streams.is_empty() && itself.attributes.is_empty()) {
            each(itself)?;
        }
        for entry in Entries::of(catalogue, scan, directory.inode, options)? {
            let (child, states) = entry?;
            each(listed(scans, scan, child, states))?;
        }
    }
    Ok(())
}

/// A directory as an entry of this name.
fn itself(
    catalogue: &dyn Catalogue,
    scan: ScanId,
    directory: &DirRow,
    name: &[u8],
) -> Result<ChildRow, Error> {
    Ok(ChildRow {
        id: 0,
        directory: directory.parent.unwrap_or(directory.inode),
        name: name.to_vec(),
        namespace: directory.namespace,
        alternate: false,
        allocation: Allocation::Allocated,
        rule: None,
        number: directory.inode,
        inode: catalogue.inode(scan, directory.inode)?,
    })
}

/// The entries that stand at exactly this path, each with its scan; the roots if it is empty.
///
/// # Errors
///
/// [`Error::NotFound`] if there is none.
pub fn entries_at(
    catalogue: &dyn Catalogue,
    scans: &[ScanRow],
    selector: &Selector,
) -> Result<Vec<(ScanId, ChildRow)>, Error> {
    let found = if selector.path.is_empty() {
        let roots = directories(catalogue, scans, selector)?.into_iter();
        let entry = |(scan, root)| Ok((scan, itself(catalogue, scan, &root, b"")?));
        roots.map(entry).collect::<Result<_, Error>>()?
    } else {
        first_reading(scans, selector, |scan, path| catalogue.resolve_path(scan, path))?
    };
    if found.is_empty() {
        return Err(Error::NotFound {
            what: "path",
            name: ntt_model::name::escape(&selector.path).into_owned(),
        });
    }
    Ok(found)
}

/// The directories that stand at this path; several when naming trees overlap.
fn directories(
    catalogue: &dyn Catalogue,
    scans: &[ScanRow],
    selector: &Selector,
) -> Result<Vec<(ScanId, DirRow)>, Error> {
    first_reading(scans, selector, |scan, path| catalogue.resolve_dirs(scan, path))
}

/// What the first reading of the path that finds anything finds in all scans.
fn first_reading<T>(
    scans: &[ScanRow],
    selector: &Selector,
    resolve: impl Fn(ScanId, &[u8]) -> Result<Vec<T>, ntt_catalogue::Error>,
) -> Result<Vec<(ScanId, T)>, Error> {
    for path in selector.path_readings() {
        let mut found = Vec::new();
        for scan in scans {
            found.extend(resolve(scan.id, &path)?.into_iter().map(|row| (scan.id, row)));
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// Entries of a directory whose states are asked for together.
const ENTRIES_PAGE: usize = 256;

/// An entry with the states of its streams.
type Entry = (ChildRow, Vec<StreamState>);

/// The entries of a directory that are wanted, with the states of their streams; read as they are asked for. Ends after the first error.
struct Entries<'c> {
    catalogue: &'c dyn Catalogue,
    scan: ScanId,
    children: Children<'c>,
    options: ListOptions,
    page: std::vec::IntoIter<Entry>,
}

impl<'c> Entries<'c> {
    fn of(
        catalogue: &'c dyn Catalogue,
        scan: ScanId,
        directory: u64,
        options: ListOptions,
    ) -> Result<Self, Error> {
        Ok(Self {
            catalogue,
            scan,
            children: Children::of(catalogue, scan, directory)?,
            options,
            page: Vec::new().into_iter(),
        })
    }

    fn read(&mut self) -> Result<(), Error> {
        let options = self.options;
        let wanted = self.children.by_ref().filter(|child| match child {
            Ok(child) => options.wants(child),
            Err(_) => true,
        });
        let children: Vec<ChildRow> = wanted.take(ENTRIES_PAGE).collect::<Result<_, _>>()?;
        let numbers: Vec<u64> = children
            .iter()
            .filter(|child| has_streams(child))
            .map(|child| child.number)
            .collect();
        let states = if numbers.is_empty() {
            BTreeMap::new()
        } else {
            self.catalogue.states_of_all(self.scan, &numbers)?
        };
        // A file may have several names in a directory.
        let with_states = |child: ChildRow| {
            let states = states.get(&child.number).cloned().unwrap_or_default();
            (child, states)
        };
        self.page = children
            .into_iter()
            .map(with_states)
            .collect::<Vec<_>>()
            .into_iter();
        Ok(())
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(entry) = self.page.next() {
            return Some(Ok(entry));
        }
        match self.read() {
            Ok(()) => self.page.next().map(Ok),
            Err(error) => Some(Err(error)),
        }
    }
}

fn has_streams(child: &ChildRow) -> bool {
    child
        .inode
        .as_ref()
        .is_some_and(|inode| !inode.streams.is_empty())
}

/// The states of the streams of one entry.
fn states(catalogue: &dyn Catalogue, scan: ScanId, child: &ChildRow) -> Result<Vec<StreamState>, Error> {
    Ok(if has_streams(child) {
        catalogue.stream_states(scan, child.number)?
    } else {
        Vec::new()
    })
}

/// The line of an entry of one of `scans`.
fn listed(scans: &[ScanRow], scan: ScanId, child: ChildRow, states: Vec<StreamState>) -> ListedEntry {
    let (data, others): (Vec<_>, Vec<_>) = states
        .into_iter()
        .partition(|state| state.kind == StreamKind::Data);
    let inode = child.inode.as_ref();
    let attributes = inode.map_or(&[][..], |inode| &inode.xattrs);
    let reader = scans.iter().find(|row| row.id == scan && scans.len() > 1);
    ListedEntry {
        reader: reader.map(|row| row.scan.reader.clone()),
        namespace: child.namespace,
        alternate: child.alternate,
        allocation: child.allocation,
        inode: child.number,
        kind: inode.map_or(Kind::Unknown, |inode| inode.kind),
        mode: inode.and_then(|inode| inode.mode),
        uid: inode.and_then(|inode| inode.uid),
        gid: inode.and_then(|inode| inode.gid),
        links: inode.map_or(0, |inode| inode.links),
        size_bytes: inode.map_or(0, ntt_model::entry::Inode::size_bytes),
        times: inode.map(|inode| inode.times).unwrap_or_default(),
        target: inode.and_then(|inode| inode.target.clone()).map(ByteText),
        content: data.into_iter().next().map(|state| state.state),
        streams: others.iter().map(ListedStream::from).collect(),
        attributes: attributes.iter().map(ListedAttribute::from).collect(),
        rule: child.rule,
        name: ByteText(child.name),
    }
}

impl From<&StreamState> for ListedStream {
    fn from(stream: &StreamState) -> Self {
        Self {
            name: ByteText(stream_name(&stream.kind)),
            size_bytes: stream.size_bytes,
            content: stream.state.clone(),
        }
    }
}

impl From<&Xattr> for ListedAttribute {
    fn from(attribute: &Xattr) -> Self {
        Self {
            name: ByteText(attribute.name.clone()),
            size_bytes: u64::try_from(attribute.value.len()).unwrap_or(u64::MAX),
        }
    }
}

/// One line of `tree`.
#[derive(Clone, Debug, Serialize)]
pub struct TreeEntry {
    /// Depth below where the tree starts, from 1.
    pub depth: u32,
    /// For each level above, whether more entries follow there; for drawing.
    #[serde(skip)]
    pub more: Vec<bool>,
    /// The entry.
    #[serde(flatten)]
    pub entry: ListedEntry,
}

/// Walks the tree below a path, depth first, in the order of the medium.
///
/// # Errors
///
/// [`Error::NotFound`] if no directory stands there.
pub fn tree(
    catalogue: &dyn Catalogue,
    scans: &[ScanRow],
    selector: &Selector,
    options: ListOptions,
    depth_max: u32,
    each: &mut dyn FnMut(TreeEntry) -> Result<(), Error>,
) -> Result<(), Error> {
    let roots = directories(catalogue, scans, selector)?;
    if roots.is_empty() {
        let name = ntt_model::name::escape(&selector.path).into_owned();
        return Err(Error::NotFound {
            what: "directory",
            name,
        });
    }
    let roots = roots.iter().map(|(scan, root)| (*scan, root.inode)).collect();
    let mut levels = vec![level(catalogue, roots, options)];
    while let Some(current) = levels.last_mut() {
        let Some(found) = current.next() else {
            levels.pop();
            continue;
        };
        let (scan, (child, states)) = found?;
        let more = levels.iter_mut().map(|level| level.peek().is_some()).collect();
        let depth = u32::try_from(levels.len()).unwrap_or(u32::MAX);
        let enters = depth < depth_max && is_entered_here(catalogue, scan, &child)?;
        let number = child.number;
        each(TreeEntry {
            depth,
            more,
            entry: listed(scans, scan, child, states),
        })?;
        if enters {
            levels.push(level(catalogue, vec![(scan, number)], options));
        }
    }
    Ok(())
}

/// A directory with several names is shown below the first only: a damaged medium may hold loops.
fn is_entered_here(catalogue: &dyn Catalogue, scan: ScanId, child: &ChildRow) -> Result<bool, Error> {
    if child
        .inode
        .as_ref()
        .is_none_or(|inode| inode.kind != Kind::Directory)
    {
        return Ok(false);
    }
    let directory = catalogue.directory(scan, child.number)?;
    Ok(directory.is_some_and(|row| row.parent == Some(child.directory) && row.name == child.name))
}

/// The entries of a level of the tree, read as they are asked for: every directory on the way down holds one page of its own.
type Level<'c> = Peekable<Box<dyn Iterator<Item = Result<(ScanId, Entry), Error>> + 'c>>;

fn level(catalogue: &dyn Catalogue, directories: Vec<(ScanId, u64)>, options: ListOptions) -> Level<'_> {
    let entries = directories.into_iter().flat_map(move |(scan, directory)| {
        let (entries, problem) = match Entries::of(catalogue, scan, directory, options) {
            Ok(entries) => (Some(entries), None),
            Err(error) => (None, Some(Err(error))),
        };
        let all = problem.into_iter().chain(entries.into_iter().flatten());
        all.map(move |entry| Ok((scan, entry?)))
    });
    (Box::new(entries) as Box<dyn Iterator<Item = _>>).peekable()
}
