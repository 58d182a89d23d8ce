//! The image, its map and its tree: where rescued bytes go, durably.

mod checkpoint;
mod hashing;
mod image;
mod open;
mod stage;
mod tree_file;
mod writing;

use std::path::Path;
use std::sync::Arc;

use ntt_host::{Disk, DiskFile};
use ntt_mapfile::{Mapfile, Status};
use ntt_model::ByteRange;

use crate::buffer::Buffer;
use crate::error::Error;
use crate::paths::{Paths, directory_of};
use crate::tree::Fill;
use checkpoint::Checkpoints;
use hashing::TreeWriter;
use writing::Writing;

pub(crate) use checkpoint::publish;
pub(crate) use image::ImageReader;
pub use open::{Existing, OpenOptions};
pub(crate) use open::{read_file, read_map};

/// Room that must stay free on the target, beside what is written before the next look.
const RESERVE_BYTES: u64 = 32 << 20;
/// Free space is looked at after so many bytes.
const LOOK_BYTES: u64 = 64 << 20;

/// The files that a rescue writes.
#[derive(Debug)]
pub struct Sink {
    disk: Arc<dyn Disk>,
    paths: Paths,
    size_bytes: u64,
    writing: Writing,
    checkpoints: Checkpoints,
    since_look_bytes: u64,
    /// Locked, and read from. The last to be dropped: the lock must outlive the threads that write.
    image: Box<dyn DiskFile>,
}

/// What the whole image came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digest {
    /// BLAKE3 of the image, unread bytes as zeros.
    pub blake3: blake3::Hash,
    /// What all rescued bytes are filled with (R13).
    pub fill: Fill,
    /// Bytes of the image that hold data although the map does not call them rescued: a crash before a checkpoint, or another program,
    /// left them. They count as zeros in the digest, and `b3sum` of the image then gives another one.
    pub unclaimed_bytes: u64,
}

impl Sink {
    /// Takes rescued bytes, and gives a buffer for the next read. In the image after [`Sink::settle`], durable after a checkpoint.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] before the target runs out of space; any error of the target, perhaps for bytes that were taken before.
    pub fn write(&mut self, offset: u64, buffer: Buffer) -> Result<Buffer, Error> {
        self.look_at_space(buffer.bytes().len() as u64)?;
        self.writing.add(offset, buffer)
    }

    /// Waits until all that was taken is in the image, where whoever reads it finds it.
    ///
    /// # Errors
    ///
    /// Any error of the target.
    pub fn settle(&mut self) -> Result<(), Error> {
        self.writing.settle()
    }

    /// Reads what was written.
    pub(crate) fn read_back(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.settle()?;
        self.image
            .read_exact_at(offset, buffer)
            .map_err(Error::target("reading", &self.paths.image))
    }

    fn look_at_space(&mut self, bytes: u64) -> Result<(), Error> {
        self.since_look_bytes += bytes;
        if self.since_look_bytes < LOOK_BYTES {
            return Ok(());
        }
        self.since_look_bytes = 0;
        require_space(self.disk.as_ref(), directory_of(&self.paths.image), LOOK_BYTES)
    }

    /// Whether a checkpoint can begin without waiting for the last one.
    ///
    /// # Errors
    ///
    /// The error of the last checkpoint: the map on disk is then the one before it, and nothing more may be written.
    pub fn is_ready(&mut self) -> Result<bool, Error> {
        self.checkpoints.is_ready()
    }

    /// Makes durable all that was written, and then `map`; in the background if the sink was opened so. What is written later may or may not
    /// become durable.
    ///
    /// # Errors
    ///
    /// As [`Sink::is_ready`].
    pub fn checkpoint(&mut self, map: &Mapfile) -> Result<(), Error> {
        self.settle()?;
        self.checkpoints.begin(map.to_bytes())
    }

    /// What was rescued in these ranges is void.
    ///
    /// # Errors
    ///
    /// An error of the target, for bytes that were taken before.
    pub fn forget(&mut self, ranges: &[ByteRange]) -> Result<(), Error> {
        self.writing.forget(ranges)
    }

    /// The last checkpoint, then the digest of the image. Groups with unread bytes are hashed from the image.
    ///
    /// # Errors
    ///
    /// Any error of the target.
    pub fn finish(mut self, map: &Mapfile) -> Result<Digest, Error> {
        self.checkpoint(map)?;
        self.checkpoints.finish()?;
        let mut writer = self.writing.finish()?;
        let image = ImageReader {
            image: self.image.as_ref(),
            path: &self.paths.image,
        };
        for group in 0..writer.tree.groups() {
            complete_group(&mut writer, group, map, &image)?;
        }
        writer.sync()?;
        let (blake3, fill) = writer
            .tree
            .finish()
            .ok_or_else(|| Error::Refused("the image has no bytes".to_owned()))?;
        Ok(Digest {
            blake3,
            fill,
            unclaimed_bytes: image.unclaimed_bytes(map, self.size_bytes)?,
        })
    }
}

/// Hashes a group from the image, unless its record says all that the map says.
fn complete_group(
    writer: &mut TreeWriter,
    group: usize,
    map: &Mapfile,
    image: &ImageReader<'_>,
) -> Result<(), Error> {
    let range = writer.tree.range(group);
    let rescued_bytes = map.bytes_within(Status::Finished, range);
    let known = writer.tree.known(group);
    if known.is_some_and(|known| known.rescued_bytes == rescued_bytes) {
        return Ok(());
    }
    let known = image.group(&writer.tree, group, map)?;
    writer.tree.set(group, known);
    writer.save(group)
}

/// Refuses a directory whose file system has too little room for so many bytes.
///
/// # Errors
///
/// [`Error::Full`]; any error of the target.
pub fn require_space(disk: &dyn Disk, directory: &Path, bytes: u64) -> Result<(), Error> {
    let free_bytes = disk
        .free_bytes(directory)
        .map_err(Error::target("looking at the free space", directory))?;
    let needed_bytes = bytes.saturating_add(RESERVE_BYTES);
    if free_bytes < needed_bytes {
        return Err(Error::Full {
            path: directory.to_owned(),
            free_bytes,
            needed_bytes,
        });
    }
    Ok(())
}
