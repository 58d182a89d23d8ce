//! Opening the files of a rescue: new ones, or those of an earlier run.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ntt_host::{Disk, DiskFile, OpenMode};
use ntt_mapfile::{FILE_BYTES_MAX, Mapfile, Status};
use ntt_model::ByteRange;

use super::checkpoint::{Checkpointer, Checkpoints, publish};
use super::hashing::TreeWriter;
use super::image::{ImageReader, ImageWriter};
use super::writing::Writing;
use super::{Sink, require_space, tree_file};
use crate::error::Error;
use crate::geometry::Geometry;
use crate::paths::{Paths, directory_of};
use crate::sentinel::{self, Sentinel};
use crate::tree::HashTree;

/// Groups that are hashed again before an image is gone on with.
const SAMPLES: usize = 64;
/// Places that must be the same on the medium as in the image, if they can be read.
const SENTINELS: usize = 8;

/// How to open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenOptions {
    /// Write, hash and sync in threads of their own.
    pub background: bool,
    /// Go on although the map speaks of a medium of another size: the same disc in another drive.
    pub accept_size: bool,
    /// Begin although the target has less room than the medium may need.
    pub accept_space: bool,
}

/// What an earlier run left.
#[derive(Debug)]
pub struct Existing {
    /// Its map; untried if there was none.
    pub map: Mapfile,
    /// Whether there was one.
    pub resumed: bool,
    /// Some of what it rescued, to tell whether this is the same medium.
    pub sentinels: Vec<Sentinel>,
}

/// Reads a map; `None` if there is none.
pub(crate) fn read_map(disk: &dyn Disk, path: &Path) -> Result<Option<Mapfile>, Error> {
    let Some(bytes) = read_file(disk, path, FILE_BYTES_MAX)? else {
        return Ok(None);
    };
    let map = Mapfile::parse(&bytes).map_err(|source| Error::Map {
        path: path.to_owned(),
        source,
    })?;
    Ok(Some(map))
}

/// Reads a whole file; `None` if there is none.
pub(crate) fn read_file(disk: &dyn Disk, path: &Path, most: u64) -> Result<Option<Vec<u8>>, Error> {
    let file = match disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::target("opening", path)(error)),
    };
    let len = file.len().map_err(Error::target("reading", path))?;
    if len > most {
        return Err(Error::Refused(format!(
            "{}: {len} bytes are too many",
            path.display()
        )));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_exact_at(0, &mut bytes)
        .map_err(Error::target("reading", path))?;
    Ok(Some(bytes))
}

impl Sink {
    /// Opens the files of a rescue of a medium, or makes them. The image has the medium's full size from the start (R6).
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if what is there does not belong together: an image without a map, a map that claims what the image cannot hold,
    /// another size, or bytes that are not what their digests say; [`Error::Held`]; [`Error::Full`]; any error of the target.
    pub fn open(
        disk: Arc<dyn Disk>,
        paths: Paths,
        geometry: &Geometry,
        options: OpenOptions,
    ) -> Result<(Self, Existing), Error> {
        // Locked before the map is read: until then another run may publish a newer one.
        let locked = lock_existing(disk.as_ref(), &paths)?;
        let found = read_map(disk.as_ref(), &paths.map)?;
        let resumed = found.is_some();
        let size_bytes = check_size(&paths, found.as_ref(), geometry, options)?;
        let map = found
            .unwrap_or_else(|| Mapfile::untried(size_bytes))
            .covering(size_bytes);
        let image = open_image(disk.as_ref(), &paths, &map, resumed, size_bytes, locked)?;
        if !options.accept_space {
            let missing_bytes = size_bytes - map.totals().finished.bytes;
            require_space(disk.as_ref(), directory_of(&paths.image), missing_bytes)?;
        }
        let tree = open_tree(disk.as_ref(), &paths, size_bytes, &map)?;
        verify_samples(&tree.tree, &map, image.as_ref(), &paths)?;
        let open_again = || {
            disk.open(&paths.image, OpenMode::Write)
                .map_err(Error::target("opening", &paths.image))
        };
        let writer = ImageWriter::new(open_again()?, &paths.image);
        let checkpointer = Checkpointer::new(Arc::clone(&disk), paths.clone(), open_again()?);
        let (writing, checkpoints) = if options.background {
            (
                Writing::threads(writer, tree)?,
                Checkpoints::thread(checkpointer)?,
            )
        } else {
            (Writing::inline(writer, tree), Checkpoints::inline(checkpointer))
        };
        let sentinels = sentinels(&map, image.as_ref(), &paths)?;
        let sink = Self {
            disk,
            paths,
            image,
            size_bytes,
            writing,
            checkpoints,
            since_look_bytes: 0,
        };
        let existing = Existing {
            map,
            resumed,
            sentinels,
        };
        Ok((sink, existing))
    }
}

/// The size of the image: the medium's, or that of the map when both may differ and the map goes further.
fn check_size(
    paths: &Paths,
    map: Option<&Mapfile>,
    geometry: &Geometry,
    options: OpenOptions,
) -> Result<u64, Error> {
    let size_bytes = geometry.size_bytes;
    let Some(map) = map else { return Ok(size_bytes) };
    let mapped = map.extent().end();
    if mapped == size_bytes || options.accept_size {
        return Ok(mapped.max(size_bytes));
    }
    Err(Error::Refused(format!(
        "{} speaks of a medium of {mapped} bytes, the source has {size_bytes}",
        paths.map.display()
    )))
}

/// The image, if there is one, locked.
fn lock_existing(disk: &dyn Disk, paths: &Paths) -> Result<Option<Box<dyn DiskFile>>, Error> {
    let path = &paths.image;
    let entry = disk.entry(path).map_err(Error::target("looking at", path))?;
    entry
        .map(|_| open_locked(disk, paths, OpenMode::Write))
        .transpose()
}

/// A new image, locked. One that is there now was made by another run that began at the same time.
fn create_locked(disk: &dyn Disk, paths: &Paths) -> Result<Box<dyn DiskFile>, Error> {
    match open_locked(disk, paths, OpenMode::CreateNew) {
        Err(Error::Target { source, path, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
            Err(Error::Held(path))
        }
        created => created,
    }
}

fn open_locked(disk: &dyn Disk, paths: &Paths, mode: OpenMode) -> Result<Box<dyn DiskFile>, Error> {
    let path = &paths.image;
    let image = disk.open(path, mode).map_err(Error::target("opening", path))?;
    if !image.try_lock().map_err(Error::target("locking", path))? {
        return Err(Error::Held(path.clone()));
    }
    Ok(image)
}

/// An image without a map is ours only if it is empty: it is made and locked first, so that of two runs that begin at once one has it, and has no length
/// before the map is there.
fn open_image(
    disk: &dyn Disk,
    paths: &Paths,
    map: &Mapfile,
    resumed: bool,
    size_bytes: u64,
    locked: Option<Box<dyn DiskFile>>,
) -> Result<Box<dyn DiskFile>, Error> {
    let path = &paths.image;
    let mut image = match locked {
        Some(image) => image,
        None if resumed && map.totals().finished.bytes > 0 => {
            return Err(Error::Refused(format!(
                "{} calls bytes rescued, but {} is not there",
                paths.map.display(),
                path.display()
            )));
        }
        None => create_locked(disk, paths)?,
    };
    if !resumed {
        let len = image.len().map_err(Error::target("reading", path))?;
        if len > 0 {
            return Err(Error::Refused(format!(
                "{} exists and has no mapfile {}: it would be overwritten",
                path.display(),
                paths.map.display()
            )));
        }
        publish(disk, &paths.map_temporary, &paths.map, &map.to_bytes())?;
    }
    let len = image.len().map_err(Error::target("reading", path))?;
    let claimed = map.runs(Status::Finished).last().map_or(0, |run| run.end());
    if claimed > len {
        return Err(Error::Refused(format!(
            "{} calls bytes up to {claimed} rescued, but {} has {len} bytes",
            paths.map.display(),
            path.display()
        )));
    }
    if len < size_bytes {
        image
            .set_len(size_bytes)
            .and_then(|()| image.sync_data())
            .and_then(|()| disk.sync_dir(directory_of(path)))
            .map_err(Error::target("extending", path))?;
    }
    Ok(image)
}

fn open_tree(disk: &dyn Disk, paths: &Paths, size_bytes: u64, map: &Mapfile) -> Result<TreeWriter, Error> {
    let path = &paths.tree;
    let fits = tree_file::position(HashTree::new(size_bytes).groups());
    let bytes = match read_file(disk, path, fits) {
        // A file that is too long is no tree of this image; it is begun anew below.
        Err(Error::Refused(_)) => None,
        read => read?,
    };
    let tree = tree_file::load(bytes.as_deref().unwrap_or_default(), size_bytes, map);
    let exists = disk
        .entry(path)
        .map_err(Error::target("looking at", path))?
        .is_some();
    let mode = if exists {
        OpenMode::Write
    } else {
        OpenMode::CreateNew
    };
    let mut file = disk.open(path, mode).map_err(Error::target("opening", path))?;
    file.set_len(fits)
        .and_then(|()| file.write_all_at(0, &tree_file::header(size_bytes)))
        .map_err(Error::target("writing", path))?;
    Ok(TreeWriter::new(tree, file, path))
}

/// Places of all that was rescued; if none of it says anything, the first.
fn sentinels(map: &Mapfile, image: &dyn DiskFile, paths: &Paths) -> Result<Vec<Sentinel>, Error> {
    let mut read = |range: ByteRange, bytes: &mut [u8]| image.read_exact_at(range.offset, bytes);
    let reading = |error| Error::target("reading", &paths.image)(error);
    let sentinels = sentinel::spread(map, SENTINELS, &mut read).map_err(reading)?;
    if !sentinels.is_empty() {
        return Ok(sentinels);
    }
    let first = sentinel::first(map, &mut read).map_err(reading)?;
    Ok(first.into_iter().collect())
}

/// Hashes some of the known groups again: an image that changed since must not be gone on with.
fn verify_samples(tree: &HashTree, map: &Mapfile, image: &dyn DiskFile, paths: &Paths) -> Result<(), Error> {
    let known: Vec<usize> = (0..tree.groups())
        .filter(|group| tree.known(*group).is_some())
        .collect();
    let stride = known.len().div_ceil(SAMPLES).max(1);
    let reader = ImageReader {
        image,
        path: &paths.image,
    };
    for group in known.into_iter().step_by(stride) {
        let found = reader.group(tree, group, map)?;
        if tree.known(group) != Some(&found) {
            return Err(Error::Refused(format!(
                "{} changed since it was written: the MiB at {} is not what {} says; remove that file if the image is right",
                paths.image.display(),
                tree.range(group).offset,
                paths.tree.display()
            )));
        }
    }
    Ok(())
}
