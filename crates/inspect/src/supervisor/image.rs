//! The bytes of an image in a container, read in a confined child.

use std::convert::Infallible;
use std::io;
use std::sync::{Mutex, PoisonError};

use ntt_model::entry::{Encoding, Stream, StreamKind};
use ntt_model::failure::Failure;
use ntt_model::{ByteRange, Extent, ExtentKind, FailureClass};
use ntt_source::extents::{Missing, Piece};
use ntt_source::{ReadAt, ReadError};

use super::Supervisor;
use super::reading::{StreamError, StreamReader};
use crate::container::ImageFiles;

/// The image in the files of a container. Reading starts a child when it is first needed; one reads at a time.
///
/// A child that dies over a read costs that read, and the next one has a new child.
#[derive(Debug)]
pub struct ChildImage {
    len: u64,
    reader: Mutex<StreamReader>,
}

impl ChildImage {
    /// The image of `len` bytes, which [`Supervisor::look`] told.
    pub fn new(supervisor: Supervisor, files: ImageFiles, len: u64) -> Self {
        Self {
            len,
            reader: Mutex::new(StreamReader::new(supervisor, files)),
        }
    }
}

impl ReadAt for ChildImage {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let len = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(ReadError::beyond_end(offset, len, self.len));
        }
        let mut at = 0;
        let read = self.reader.lock().unwrap_or_else(PoisonError::into_inner).read(
            &run(offset, len),
            &mut |piece| {
                at += fill(piece, buffer.get_mut(at..).unwrap_or_default());
                Ok::<(), Infallible>(())
            },
        );
        match read {
            Ok(missing) => lost(&missing, ByteRange::new(offset, len)),
            Err(StreamError::Sink(never)) => match never {},
            Err(error) => Err(ReadError::Io {
                offset,
                len,
                source: io::Error::other(error.to_string()),
            }),
        }
    }
}

/// A run of the image as a stream.
fn run(offset: u64, len: u64) -> Stream {
    Stream {
        kind: StreamKind::Data,
        size_bytes: len,
        extents: vec![Extent {
            logical_offset: 0,
            image_offset: offset,
            len,
            kind: ExtentKind::Data,
        }],
        encoding: Encoding::Plain,
        extents_incomplete: false,
    }
}

/// Puts a piece to the front of `rest`; more than fits is not taken, the reader refuses it anyway.
fn fill(piece: Piece<'_>, rest: &mut [u8]) -> usize {
    match piece {
        Piece::Bytes(bytes) => {
            let len = bytes.len().min(rest.len());
            rest[..len].copy_from_slice(&bytes[..len]);
            len
        }
        Piece::Zeros(zeros) => {
            let len = rest.len().min(usize::try_from(zeros).unwrap_or(usize::MAX));
            rest[..len].fill(0);
            len
        }
    }
}

/// The first missing range as the error that it was in the child. The child may say what it likes: a range that is not of what was asked for, or one
/// without a reason, is no answer.
fn lost(missing: &Missing, asked: ByteRange) -> Result<(), ReadError> {
    let Some(first) = missing.ranges.first() else {
        return Ok(());
    };
    let said = ByteRange::new(asked.offset.saturating_add(first.offset), first.len);
    match (said.intersection(&asked), &missing.failure) {
        (Some(range), Some(failure)) => Err(error(range, failure)),
        _ => Err(ReadError::Corrupt {
            range: asked,
            what: "the read child said that bytes are missing that nobody asked for".to_owned(),
        }),
    }
}

fn error(range: ByteRange, failure: &Failure) -> ReadError {
    let what = failure.detail.clone();
    match failure.class {
        FailureClass::Unread => ReadError::Unread { range },
        FailureClass::Io => ReadError::Io {
            offset: range.offset,
            len: range.len,
            source: io::Error::other(what),
        },
        _ => ReadError::Corrupt { range, what },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(range: ByteRange) -> Missing {
        let mut missing = Missing::default();
        missing.add(range, FailureClass::Unread, 0, String::new);
        missing
    }

    #[test]
    fn a_missing_range_is_told_where_it_lies_in_the_image() {
        let asked = ByteRange::new(1000, 100);
        assert!(lost(&Missing::default(), asked).is_ok());
        let told = lost(&missing(ByteRange::new(10, 20)), asked);
        let expected = ByteRange::new(1010, 20);
        assert!(matches!(told, Err(ReadError::Unread { range }) if range == expected));
    }

    /// R20: a child that was taken over says nothing that is believed beyond what it was asked for.
    #[test]
    fn r20_a_missing_range_is_never_larger_than_what_was_asked_for() {
        let asked = ByteRange::new(1000, 100);
        let told = lost(&missing(ByteRange::new(10, u64::MAX)), asked);
        let expected = ByteRange::new(1010, 90);
        assert!(matches!(told, Err(ReadError::Unread { range }) if range == expected));
        for nonsense in [
            ByteRange::new(100, 20),
            ByteRange::new(10, 0),
            ByteRange::new(u64::MAX, 1),
        ] {
            let missing = Missing {
                ranges: vec![nonsense],
                ..missing(asked)
            };
            let told = lost(&missing, asked);
            assert!(
                matches!(told, Err(ReadError::Corrupt { range, .. }) if range == asked),
                "{nonsense}"
            );
        }
        let unreasoned = Missing {
            failure: None,
            ..missing(ByteRange::new(0, 1))
        };
        assert!(matches!(lost(&unreasoned, asked), Err(ReadError::Corrupt { .. })));
    }
}
