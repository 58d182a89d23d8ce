//! The one way in which every format gives its image: run by run.

use std::sync::Arc;

use ntt_model::ByteRange;
use ntt_source::{ReadAt, ReadError};

use crate::blocks::Blocks;

/// Runs of zeros that are looked at in a row before somebody is told of them.
const ZERO_RUNS_MAX: usize = 1024;

/// Where a run of the image comes from.
pub(crate) enum Run<'a> {
    /// So many zeros, which the container does not store.
    Zeros(u64),
    /// Bytes of a file, as they are.
    Stored {
        source: &'a dyn ReadAt,
        offset: u64,
        len: u64,
    },
    /// Bytes of a block that is stored compressed or with a checksum.
    Block { number: u64, skip: u64, len: u64 },
    /// Bytes that the container cannot give, and why.
    Lost { len: u64, what: String },
}

/// How a format lays an image out over its files.
pub(crate) trait Layout: Send + Sync {
    /// Length of the image.
    fn len(&self) -> u64;

    /// Where the bytes from `offset` on come from: a run of at least one byte. It may be longer than what is left of the image.
    fn locate(&self, offset: u64) -> Run<'_>;

    /// Decodes a block that [`Layout::locate`] named.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in [`Fault::Corrupt`], or why its stored bytes cannot be read.
    fn decode(&self, number: u64) -> Result<Vec<u8>, Fault> {
        Err(Fault::Corrupt(format!("there is no block {number}")))
    }
}

/// Why a block could not be had.
pub(crate) enum Fault {
    /// The block or its checksum is wrong.
    Corrupt(String),
    /// The file could not be read.
    Read(ReadError),
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

/// An image that lies in a container.
pub(crate) struct Image<L> {
    layout: L,
    blocks: Blocks,
}

impl<L: Layout> Image<L> {
    pub(crate) fn new(layout: L) -> Self {
        Self {
            layout,
            blocks: Blocks::default(),
        }
    }

    /// How many zeros are known without a read to begin the run at a byte of the image.
    fn zeros_at(&self, position: u64) -> u64 {
        let left = self.layout.len().saturating_sub(position);
        if left == 0 {
            return 0;
        }
        let zeros = match self.layout.locate(position) {
            Run::Zeros(len) => len,
            Run::Stored { source, offset, len } => source.zeros_until(offset).saturating_sub(offset).min(len),
            Run::Block { .. } | Run::Lost { .. } => 0,
        };
        zeros.min(left)
    }

    /// Fills `buffer` with what lies `skip` bytes into a block.
    fn block(&self, number: u64, skip: u64, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let range = ByteRange::new(offset, bytes_of(buffer));
        let block = match self.blocks.get(number) {
            Some(block) => block,
            None => match self.layout.decode(number) {
                Ok(bytes) => self.blocks.put(number, Ok(bytes)),
                Err(Fault::Corrupt(what)) => self.blocks.put(number, Err(what)),
                Err(Fault::Read(error)) => return Err(of_run(error, range, None)),
            },
        };
        let corrupt = |what: String| ReadError::Corrupt { range, what };
        let bytes = block.as_ref().as_ref().map_err(|what| corrupt(what.clone()))?;
        let start = usize::try_from(skip).unwrap_or(usize::MAX);
        let found = start
            .checked_add(buffer.len())
            .and_then(|end| bytes.get(start..end));
        buffer.copy_from_slice(
            found.ok_or_else(|| corrupt("a block is shorter than it should be".to_owned()))?,
        );
        Ok(())
    }

    fn run(&self, run: &Run<'_>, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let range = ByteRange::new(offset, bytes_of(buffer));
        match run {
            Run::Zeros(_) => {
                buffer.fill(0);
                Ok(())
            }
            Run::Stored {
                source, offset: at, ..
            } => source
                .read_exact_at(*at, buffer)
                .map_err(|error| of_run(error, range, Some(*at))),
            Run::Block { number, skip, .. } => self.block(*number, *skip, offset, buffer),
            Run::Lost { what, .. } => Err(ReadError::Corrupt {
                range,
                what: what.clone(),
            }),
        }
    }
}

impl<L: Layout> ReadAt for Image<L> {
    fn len(&self) -> u64 {
        self.layout.len()
    }

    fn zeros_until(&self, offset: u64) -> u64 {
        let mut position = offset;
        for _ in 0..ZERO_RUNS_MAX {
            let zeros = self.zeros_at(position);
            if zeros == 0 {
                break;
            }
            position = position.saturating_add(zeros);
        }
        position
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let len = bytes_of(buffer);
        if offset.checked_add(len).is_none_or(|end| end > self.len()) {
            return Err(ReadError::beyond_end(offset, len, self.len()));
        }
        let (mut position, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let run = self.layout.locate(position);
            // A run of nothing would be asked for again and again.
            let len = run_len(&run).max(1);
            let step = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at_mut(step);
            self.run(&run, position, now)?;
            position = position.saturating_add(bytes_of(now));
            rest = later;
        }
        Ok(())
    }
}

fn run_len(run: &Run<'_>) -> u64 {
    match run {
        Run::Zeros(len) | Run::Stored { len, .. } | Run::Block { len, .. } | Run::Lost { len, .. } => *len,
    }
}

/// The error of a file as one of the run that it costs. `stored_at` is where the run begins in the file, if it is stored as it is.
fn of_run(error: ReadError, run: ByteRange, stored_at: Option<u64>) -> ReadError {
    match error {
        ReadError::Io { source, .. } => ReadError::Io {
            offset: run.offset,
            len: run.len,
            source,
        },
        ReadError::Unread { range } => ReadError::Unread {
            range: moved(range, run, stored_at),
        },
        ReadError::Corrupt { range, what } => ReadError::Corrupt {
            range: moved(range, run, stored_at),
            what,
        },
        ReadError::BeyondEnd { end, .. } => ReadError::Corrupt {
            range: run,
            what: format!("its file ends at {end:#x}, before them"),
        },
        other => other,
    }
}

fn moved(range: ByteRange, run: ByteRange, stored_at: Option<u64>) -> ByteRange {
    let Some(at) = stored_at else { return run };
    let distance = range.offset.saturating_sub(at);
    let found = ByteRange::new(run.offset.saturating_add(distance), range.len);
    found.intersection(&run).unwrap_or(run)
}

pub(crate) fn bytes_of(buffer: &[u8]) -> u64 {
    u64::try_from(buffer.len()).unwrap_or(u64::MAX)
}

/// Reads what there is of a header: at most `len` bytes, fewer at the end of the file.
pub(crate) fn read_upto(source: &dyn ReadAt, offset: u64, len: u64) -> Result<Vec<u8>, ReadError> {
    let len = len.min(source.len().saturating_sub(offset));
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    source.read_exact_at(offset, &mut bytes)?;
    Ok(bytes)
}

/// An image behind a pointer.
pub(crate) fn image(layout: impl Layout + 'static) -> Arc<dyn ReadAt> {
    Arc::new(Image::new(layout))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::concat::{Concat, Piece};

    /// R6: runs that a container does not store are known zeros, up to what is stored or lost.
    #[test]
    fn r06_runs_that_are_not_stored_are_known_zeros() {
        let mut concat = Concat::default();
        let piece = |source: Option<Arc<dyn ReadAt>>, len, missing: &str| Piece {
            source,
            offset: 0,
            len,
            missing: missing.to_owned(),
        };
        for zeros in [100, 50] {
            concat.push(piece(None, zeros, ""));
        }
        concat.push(piece(Some(Arc::new(vec![7; 10])), 10, ""));
        concat.push(piece(None, 20, ""));
        concat.push(piece(None, 30, "a part is gone"));
        concat.push(piece(None, 5, ""));
        let image = Image::new(concat);
        for (offset, end) in [
            (0, 150),
            (99, 150),
            (150, 150),
            (159, 159),
            (160, 180),
            (180, 180),
            (210, 215),
            (215, 215),
            (u64::MAX, u64::MAX),
        ] {
            assert_eq!(image.zeros_until(offset), end, "{offset}");
        }
    }
}
