//! From a path to what stands under it, name by name: no full path is stored. Several directories may have one path.

use crate::Error;
use crate::children::CHILDREN_PAGE;
use crate::rows::{ChildRow, DirRow};

/// A directory and where its names lie: paths that follow each other.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) row: DirRow,
    pub(crate) first_path: i64,
    pub(crate) paths: i64,
}

impl Located {
    /// Path behind its last one.
    pub(crate) fn end(&self) -> i64 {
        self.first_path.saturating_add(self.paths)
    }

    /// The same with no more than a page of its paths: those behind `after`.
    pub(crate) fn page(self, after: i64) -> Self {
        let end = self.end();
        let first_path = self.first_path.max(after.saturating_add(1));
        let page = i64::try_from(CHILDREN_PAGE).unwrap_or(1);
        Self {
            paths: end.saturating_sub(first_path).clamp(0, page),
            first_path,
            ..self
        }
    }
}

/// The directories of a scan in a back end.
pub(crate) trait Directories {
    /// Directories without a parent, in the order in which they were scanned.
    fn roots(&self) -> Result<Vec<Located>, Error>;

    /// A directory by its inode.
    fn place(&self, inode: u64) -> Result<Option<Located>, Error>;

    /// What has `name` in a directory.
    fn named(&self, place: &Located, name: &[u8]) -> Result<Vec<ChildRow>, Error>;
}

/// Directories that stand under a path.
pub(crate) fn directories<D: Directories>(tree: &D, path: &[u8]) -> Result<Vec<DirRow>, Error> {
    let places = places(tree, ntt_model::name::components(path))?;
    Ok(places.into_iter().map(|place| place.row).collect())
}

/// Entries that stand under a path; none for the root, which has no name.
pub(crate) fn entries<D: Directories>(tree: &D, path: &[u8]) -> Result<Vec<ChildRow>, Error> {
    let names: Vec<&[u8]> = ntt_model::name::components(path).collect();
    let Some((last, above)) = names.split_last() else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for place in places(tree, above.iter().copied())? {
        found.append(&mut tree.named(&place, last)?);
    }
    Ok(found)
}

fn places<'p, D: Directories>(tree: &D, path: impl Iterator<Item = &'p [u8]>) -> Result<Vec<Located>, Error> {
    let mut places = tree.roots()?;
    for name in path {
        let mut below: Vec<Located> = Vec::new();
        for place in &places {
            for child in tree.named(place, name)? {
                let is_new = below.iter().all(|known| known.row.inode != child.number);
                if is_new && let Some(found) = tree.place(child.number)? {
                    below.push(found);
                }
            }
        }
        places = below;
    }
    Ok(places)
}
