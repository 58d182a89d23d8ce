//! The image, its map and its tree: where rescued bytes go, durably.

mod checkpoint;
mod hashing;
mod open;
mod tree_file;

use std::sync::Arc;

use ntt_host::{Disk, DiskFile};
use ntt_mapfile::{Mapfile, Status};
use ntt_model::ByteRange;

use crate::buffer::Buffer;
use crate::error::Error;
use crate::paths::{Paths, directory_of};
use crate::tree::{Fill, Group, HashTree};
use checkpoint::Checkpoints;
use hashing::{Hashing, TreeWriter};

pub(crate) use checkpoint::publish;
pub use open::{Existing, OpenOptions};
pub(crate) use open::{read_file, read_map};

/// Zeros are not written in blocks of this size: they stay holes.
const HOLE_BYTES: usize = 64 << 10;
static ZEROS: [u8; HOLE_BYTES] = [0; HOLE_BYTES];
/// Room that must stay free on the target, beside what is written before the next look.
const RESERVE_BYTES: u64 = 32 << 20;
/// Free space is looked at after so many bytes.
const LOOK_BYTES: u64 = 64 << 20;

/// The files that a rescue writes.
#[derive(Debug)]
pub struct Sink {
    disk: Arc<dyn Disk>,
    paths: Paths,
    image: Box<dyn DiskFile>,
    size_bytes: u64,
    hashing: Hashing,
    checkpoints: Checkpoints,
    since_look_bytes: u64,
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
    /// Writes rescued bytes and hands them to the hasher; gives a buffer for the next read. Not durable before a checkpoint.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] before the target runs out of space; any error of the target.
    pub fn write(&mut self, offset: u64, buffer: Buffer) -> Result<Buffer, Error> {
        self.look_at_space(buffer.bytes().len() as u64)?;
        for data in self.data_runs(offset, buffer.bytes())? {
            let bytes = buffer.bytes().get(data.clone()).unwrap_or_default();
            self.image
                .write_all_at(offset + data.start as u64, bytes)
                .map_err(Error::target("writing", &self.paths.image))?;
        }
        self.hashing.add(offset, buffer)
    }

    /// The runs of blocks that must be written, as places in `bytes`.
    fn data_runs(&self, offset: u64, bytes: &[u8]) -> Result<Vec<std::ops::Range<usize>>, Error> {
        let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
        for (at, block) in bytes.chunks(HOLE_BYTES).enumerate() {
            let start = at * HOLE_BYTES;
            if self.is_hole(offset + start as u64, block)? {
                continue;
            }
            let end = start + block.len();
            match runs.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => runs.push(start..end),
            }
        }
        Ok(runs)
    }

    /// Reads what was written.
    pub(crate) fn read_back(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.image
            .read_exact_at(offset, buffer)
            .map_err(Error::target("reading", &self.paths.image))
    }

    /// Whether the block is zeros, and the image already reads as zeros there.
    fn is_hole(&self, position: u64, block: &[u8]) -> Result<bool, Error> {
        if ZEROS.get(..block.len()) != Some(block) {
            return Ok(false);
        }
        let data = self
            .image
            .next_data(position)
            .map_err(Error::target("reading", &self.paths.image))?;
        Ok(data.is_none_or(|(start, _)| start >= position + block.len() as u64))
    }

    fn look_at_space(&mut self, bytes: u64) -> Result<(), Error> {
        self.since_look_bytes += bytes;
        if self.since_look_bytes < LOOK_BYTES {
            return Ok(());
        }
        self.since_look_bytes = 0;
        require_space(self.disk.as_ref(), &self.paths, LOOK_BYTES)
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
        self.checkpoints.begin(map.to_bytes())
    }

    /// What was rescued in these ranges is void.
    ///
    /// # Errors
    ///
    /// When the hasher is gone.
    pub fn forget(&mut self, ranges: &[ByteRange]) -> Result<(), Error> {
        ranges.iter().try_for_each(|range| self.hashing.forget(*range))
    }

    /// The last checkpoint, then the digest of the image. Groups with unread bytes are hashed from the image.
    ///
    /// # Errors
    ///
    /// Any error of the target.
    pub fn finish(mut self, map: &Mapfile) -> Result<Digest, Error> {
        self.checkpoint(map)?;
        self.checkpoints.finish()?;
        let mut writer = self.hashing.finish()?;
        let image = ImageReader {
            image: self.image.as_ref(),
            paths: &self.paths,
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

/// Refuses to go on with too little space on the target.
pub(crate) fn require_space(disk: &dyn Disk, paths: &Paths, bytes: u64) -> Result<(), Error> {
    let directory = directory_of(&paths.image);
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

/// Reads back what was rescued.
pub(crate) struct ImageReader<'a> {
    pub(crate) image: &'a dyn DiskFile,
    pub(crate) paths: &'a Paths,
}

impl ImageReader<'_> {
    /// Fills `buffer` with the image from `offset`, unread bytes as zeros.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8], map: &Mapfile) -> Result<(), Error> {
        buffer.fill(0);
        let range = ByteRange::new(offset, buffer.len() as u64);
        for part in map.runs_within(Status::Finished, range) {
            let start = usize::try_from(part.offset - offset).unwrap_or(usize::MAX);
            let len = usize::try_from(part.len).unwrap_or(0);
            let window = buffer
                .get_mut(start..start.saturating_add(len))
                .unwrap_or_default();
            self.image
                .read_exact_at(part.offset, window)
                .map_err(Error::target("reading", &self.paths.image))?;
        }
        Ok(())
    }

    /// A group as the image has it.
    pub(crate) fn group(&self, tree: &HashTree, group: usize, map: &Mapfile) -> Result<Group, Error> {
        let range = tree.range(group);
        let mut bytes = vec![0; usize::try_from(range.len).unwrap_or(0)];
        self.read(range.offset, &mut bytes, map)?;
        let mut fill = Fill::Nothing;
        for part in map.runs_within(Status::Finished, range) {
            let start = usize::try_from(part.offset - range.offset).unwrap_or(usize::MAX);
            let end = start.saturating_add(usize::try_from(part.len).unwrap_or(0));
            fill = fill.and(Fill::of(bytes.get(start..end).unwrap_or_default()));
        }
        Ok(Group {
            value: tree.hash(group, &bytes),
            rescued_bytes: map.bytes_within(Status::Finished, range),
            fill,
        })
    }

    fn unclaimed_bytes(&self, map: &Mapfile, size_bytes: u64) -> Result<u64, Error> {
        let mut sum = 0;
        for unread in map.unread_ranges(size_bytes) {
            let mut from = unread.offset;
            while let Some((start, len)) = self
                .image
                .next_data(from)
                .map_err(Error::target("reading", &self.paths.image))?
            {
                let data = ByteRange::new(start, len);
                let Some(part) = data.intersection(&unread) else {
                    break;
                };
                sum += self.nonzero_bytes(part)?;
                from = data.end();
            }
        }
        Ok(sum)
    }

    /// Bytes from the first to the last one that is not zero, block by block: a file system may keep zeros as data.
    fn nonzero_bytes(&self, range: ByteRange) -> Result<u64, Error> {
        let mut sum = 0;
        let mut block = vec![0; HOLE_BYTES];
        let mut position = range.offset;
        while position < range.end() {
            let len = (range.end() - position).min(HOLE_BYTES as u64);
            let window = block
                .get_mut(..usize::try_from(len).unwrap_or(0))
                .unwrap_or_default();
            self.image
                .read_exact_at(position, window)
                .map_err(Error::target("reading", &self.paths.image))?;
            if window.iter().any(|byte| *byte != 0) {
                sum += len;
            }
            position += len;
        }
        Ok(sum)
    }
}
