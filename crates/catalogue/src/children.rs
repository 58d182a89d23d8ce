//! What a directory holds, entry by entry: a directory may have more than fits in memory.

use ntt_model::ScanId;

use crate::rows::ChildRow;
use crate::{Catalogue, Error};

/// Entries that [`Catalogue::children`] gives in one go.
pub const CHILDREN_PAGE: usize = 1024;

/// The entries of a directory in the order of the medium, read page by page. Ends after the first error.
pub struct Children<'c> {
    catalogue: &'c dyn Catalogue,
    scan: ScanId,
    directory: u64,
    page: std::vec::IntoIter<ChildRow>,
    /// The id of the last entry of the page; `None` if no page follows.
    after: Option<i64>,
}

impl<'c> Children<'c> {
    /// The entries of a directory of a sealed scan.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if there is no such directory.
    pub fn of(catalogue: &'c dyn Catalogue, scan: ScanId, directory: u64) -> Result<Self, Error> {
        let mut children = Self {
            catalogue,
            scan,
            directory,
            page: Vec::new().into_iter(),
            after: None,
        };
        children.read(0)?;
        Ok(children)
    }

    fn read(&mut self, after: i64) -> Result<(), Error> {
        let page = self.catalogue.children(self.scan, self.directory, after)?;
        let last = page.last().map(|child| child.id);
        self.after = last.filter(|_| page.len() >= CHILDREN_PAGE);
        self.page = page.into_iter();
        Ok(())
    }
}

impl Iterator for Children<'_> {
    type Item = Result<ChildRow, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(child) = self.page.next() {
            return Some(Ok(child));
        }
        let after = self.after.take()?;
        match self.read(after) {
            Ok(()) => self.page.next().map(Ok),
            Err(error) => Some(Err(error)),
        }
    }
}

impl std::fmt::Debug for Children<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Children")
            .field("scan", &self.scan)
            .field("directory", &self.directory)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}
