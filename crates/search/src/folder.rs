//! The folder of all segments: one file per scan, put in place whole or not at all.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ntt_host::Disk;

use crate::error::{During, Error};
use crate::identity::Identity;
use crate::read::Segment;
use crate::write::SegmentWriter;

/// Gives a scan's names in order, with the paths of their directories.
pub type EachName<'a> = dyn FnMut(&mut NameVisitor<'_>) -> Result<(), Error> + 'a;
/// Takes a directory's path and a name in it.
pub type NameVisitor<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), Error> + 'a;

/// The folder of all segments of an archive. Several hosts may read it at once; the archive's lock admits one that writes.
#[derive(Clone, Debug)]
pub struct SearchFolder {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
}

impl SearchFolder {
    /// The folder of the archive in `root`; it need not exist.
    pub fn of_archive(disk: Arc<dyn Disk>, root: &Path) -> Self {
        Self {
            disk,
            folder: root.join("search"),
        }
    }

    /// The file of a scan.
    pub fn path_of(&self, scan: i64) -> PathBuf {
        self.folder.join(format!("{scan}.seg"))
    }

    /// Opens the segment of a scan; `None` if there is none.
    ///
    /// # Errors
    ///
    /// As [`Segment::open`].
    pub fn open(&self, identity: &Identity) -> Result<Option<Segment>, Error> {
        Segment::open(self.disk.as_ref(), &self.path_of(identity.scan), identity)
    }

    /// Makes the segment of a scan, in the place of one that may be there. When it returns, it is durable; after a crash there is the earlier
    /// one, none, or the new one.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] if the names are not those of the scan, [`Error::Names`] if they cannot be read, [`Error::Io`] of the disk.
    pub fn build(&self, identity: &Identity, each_name: &mut EachName<'_>) -> Result<(), Error> {
        self.disk
            .create_dir_all(&self.folder)
            .during("creating", &self.folder)?;
        let temporary = self.folder.join(format!("{}.tmp", identity.scan));
        self.remove_file(&temporary)?;
        let written = self.write(&temporary, identity, each_name);
        if written.is_err() {
            // The first error matters more; what is left has no value, and the next attempt removes it.
            let _ = self.remove_file(&temporary);
        }
        written?;
        let path = self.path_of(identity.scan);
        self.disk
            .rename_over(&temporary, &path)
            .during("putting in place", &path)?;
        self.disk.sync_dir(&self.folder).during("syncing", &self.folder)
    }

    fn write(
        &self,
        temporary: &Path,
        identity: &Identity,
        each_name: &mut EachName<'_>,
    ) -> Result<(), Error> {
        let mut writer = SegmentWriter::create(self.disk.as_ref(), temporary, *identity)?;
        each_name(&mut |directory, name| writer.push(directory, name))?;
        writer.finish()
    }

    /// Removes the segment of a scan that nobody asks any more; nothing if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] of the disk.
    pub fn remove(&self, scan: i64) -> Result<(), Error> {
        self.remove_file(&self.path_of(scan))
    }

    fn remove_file(&self, path: &Path) -> Result<(), Error> {
        match self.disk.remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).during("removing", path),
            _ => Ok(()),
        }
    }

    /// The scans that have a segment, and names of files that are none.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] of the disk.
    pub fn list(&self) -> Result<(Vec<i64>, Vec<PathBuf>), Error> {
        if self
            .disk
            .entry(&self.folder)
            .during("looking for", &self.folder)?
            .is_none()
        {
            return Ok((Vec::new(), Vec::new()));
        }
        let (mut scans, mut strays) = (Vec::new(), Vec::new());
        for name in self.disk.list(&self.folder).during("listing", &self.folder)? {
            let stem = name.to_str().and_then(|name| name.strip_suffix(".seg"));
            match stem.and_then(|stem| stem.parse().ok()) {
                Some(scan) => scans.push(scan),
                None => strays.push(self.folder.join(name)),
            }
        }
        scans.sort_unstable();
        Ok((scans, strays))
    }
}
