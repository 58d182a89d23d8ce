//! The image file: what is written to it, and what is read back.

use ntt_host::DiskFile;
use ntt_mapfile::{Mapfile, Status};
use ntt_model::ByteRange;

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::tree::{Fill, Group, HashTree};

/// Zeros are not written in blocks of this size: they stay holes.
const HOLE_BYTES: usize = 64 << 10;
static ZEROS: [u8; HOLE_BYTES] = [0; HOLE_BYTES];

/// Writes rescued bytes, and leaves zeros as holes.
#[derive(Debug)]
pub(crate) struct ImageWriter {
    file: Box<dyn DiskFile>,
    path: PathBuf,
}

impl ImageWriter {
    pub(crate) fn new(file: Box<dyn DiskFile>, path: &Path) -> Self {
        Self {
            file,
            path: path.to_owned(),
        }
    }

    /// Writes bytes rescued at `offset`; not durable.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        for run in self.data_runs(offset, bytes)? {
            let data = bytes.get(run.clone()).unwrap_or_default();
            self.file
                .write_all_at(offset + run.start as u64, data)
                .map_err(Error::target("writing", &self.path))?;
        }
        Ok(())
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

    /// Whether the block is zeros, and the image already reads as zeros there.
    fn is_hole(&self, position: u64, block: &[u8]) -> Result<bool, Error> {
        if ZEROS.get(..block.len()) != Some(block) {
            return Ok(false);
        }
        let data = self
            .file
            .next_data(position)
            .map_err(Error::target("reading", &self.path))?;
        Ok(data.is_none_or(|(start, _)| start >= position + block.len() as u64))
    }
}

/// Reads back what was rescued.
pub(crate) struct ImageReader<'a> {
    pub(crate) image: &'a dyn DiskFile,
    pub(crate) path: &'a Path,
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
                .map_err(Error::target("reading", self.path))?;
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

    /// Bytes of data that the map does not call rescued.
    pub(crate) fn unclaimed_bytes(&self, map: &Mapfile, size_bytes: u64) -> Result<u64, Error> {
        let mut sum = 0;
        for unread in map.unread_ranges(size_bytes) {
            let mut from = unread.offset;
            while let Some((start, len)) = self
                .image
                .next_data(from)
                .map_err(Error::target("reading", self.path))?
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
                .map_err(Error::target("reading", self.path))?;
            if window.iter().any(|byte| *byte != 0) {
                sum += len;
            }
            position += len;
        }
        Ok(sum)
    }
}
