//! Where decoders put bytes, and copy them from again.

use std::io::Read;

use crate::DecodeError;

/// How much a reader is asked for at a time.
const STEP_BYTES: usize = 64 * 1024;

/// Why a decoder stops before the end of its stream.
#[derive(Debug)]
pub(crate) enum Halt {
    /// More was stored than there is room for. Not told before the first byte too many: an output that is just full is no reason to stop.
    Overfull,
    /// The stored bytes are no good.
    Failed(DecodeError),
}

impl From<DecodeError> for Halt {
    fn from(error: DecodeError) -> Self {
        Self::Failed(error)
    }
}

/// The bytes decoded so far, up to a bound. Grows with what is decoded.
pub(crate) struct Output<'a> {
    bytes: &'a mut Vec<u8>,
    /// Where the window begins: nothing before it can be copied.
    start: usize,
    end: usize,
}

impl<'a> Output<'a> {
    /// Appends at most `len_max` bytes.
    pub(crate) fn new(bytes: &'a mut Vec<u8>, len_max: usize) -> Self {
        let start = bytes.len();
        Self {
            bytes,
            start,
            end: start.saturating_add(len_max),
        }
    }

    /// An output that goes on with a window of its own, for at most `len_max` bytes more.
    pub(crate) fn section(&mut self, len_max: usize) -> Output<'_> {
        let start = self.bytes.len();
        Output {
            start,
            end: start.saturating_add(len_max).min(self.end),
            bytes: self.bytes,
        }
    }

    /// Bytes in the window.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.start)
    }

    /// Bytes that still fit. None: the stream must end now.
    pub(crate) fn room(&self) -> usize {
        self.end.saturating_sub(self.bytes.len())
    }

    /// Makes room without doubling past the bound.
    fn reserve(&mut self, len: usize) {
        let free = self.bytes.capacity().saturating_sub(self.bytes.len());
        if len > free {
            let more = self.bytes.len().max(len).min(self.room()).max(len);
            self.bytes.reserve_exact(more);
        }
    }

    /// Adds bytes.
    pub(crate) fn literals(&mut self, bytes: &[u8]) -> Result<(), Halt> {
        let room = self.room();
        let fitting = bytes.get(..room).unwrap_or(bytes);
        self.reserve(fitting.len());
        self.bytes.extend_from_slice(fitting);
        within(bytes.len(), room)
    }

    /// Adds zeros.
    pub(crate) fn zeros(&mut self, len: usize) -> Result<(), Halt> {
        let room = self.room();
        let fitting = len.min(room);
        self.reserve(fitting);
        self.bytes.resize(self.bytes.len().saturating_add(fitting), 0);
        within(len, room)
    }

    /// Adds `len` bytes that begin `distance` bytes back; they may overlap themselves, and so repeat.
    pub(crate) fn copy(&mut self, distance: usize, len: usize) -> Result<(), Halt> {
        if distance == 0 || distance > self.len() {
            return Err(DecodeError::corrupt("a copy reaches before the first byte").into());
        }
        let room = self.room();
        let mut left = len.min(room);
        self.reserve(left);
        let from = self.bytes.len().saturating_sub(distance);
        while left > 0 {
            // What was copied is a whole number of repetitions, so the next step may take twice as much.
            let step = self.bytes.len().saturating_sub(from).min(left);
            self.bytes.extend_from_within(from..from.saturating_add(step));
            left = left.saturating_sub(step);
        }
        within(len, room)
    }

    /// Takes all that a reader gives, to the end of its stream: a full output still asks for one byte more, so that the reader comes to its end marker and
    /// its checksum.
    pub(crate) fn drain(&mut self, reader: &mut dyn Read) -> Result<(), Halt> {
        loop {
            let step = self.room().min(STEP_BYTES);
            if step == 0 {
                return expect_end(reader);
            }
            self.reserve(step);
            let before = self.bytes.len();
            self.bytes.resize(before.saturating_add(step), 0);
            let target = self.bytes.get_mut(before..).unwrap_or_default();
            let read = reader.read(target);
            let len = *read.as_ref().unwrap_or(&0);
            self.bytes.truncate(before.saturating_add(len));
            match read {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(failed(&error).into()),
            }
        }
    }
}

/// Asks a reader for a byte that there must not be.
fn expect_end(reader: &mut dyn Read) -> Result<(), Halt> {
    match reader.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Halt::Overfull),
        Err(error) => Err(failed(&error).into()),
    }
}

fn within(len: usize, room: usize) -> Result<(), Halt> {
    if len > room { Err(Halt::Overfull) } else { Ok(()) }
}

/// What an error of a reader over bytes in memory means.
pub(crate) fn failed(error: &std::io::Error) -> DecodeError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => DecodeError::Truncated,
        _ => DecodeError::Corrupt(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_overlaps_itself_repeats() {
        let mut bytes = b"xx".to_vec();
        let mut output = Output::new(&mut bytes, 20);
        output.literals(b"abc").unwrap();
        output.copy(3, 10).unwrap();
        assert!(matches!(output.copy(14, 1), Err(Halt::Failed(_))));
        assert!(matches!(output.copy(13, 100), Err(Halt::Overfull)));
        assert_eq!(bytes, b"xxabcabcabcabcaabcabca");
    }

    /// What is full may still end well.
    #[test]
    fn only_a_byte_too_many_is_too_many() {
        let mut bytes = Vec::new();
        let mut output = Output::new(&mut bytes, 4);
        output.literals(b"ab").unwrap();
        output.copy(2, 2).unwrap();
        output.literals(b"").unwrap();
        output.zeros(0).unwrap();
        output.drain(&mut [].as_slice()).unwrap();
        assert!(matches!(output.drain(&mut b"c".as_slice()), Err(Halt::Overfull)));
        assert!(matches!(output.literals(b"c"), Err(Halt::Overfull)));
        assert_eq!(bytes, b"abab");
    }

    #[test]
    fn nothing_grows_past_the_bound() {
        let mut bytes = Vec::new();
        let mut output = Output::new(&mut bytes, 5);
        output.literals(b"ab").unwrap();
        assert!(matches!(output.copy(1, usize::MAX), Err(Halt::Overfull)));
        assert_eq!(
            (bytes.as_slice(), bytes.capacity() < 64),
            (b"abbbb".as_slice(), true)
        );
    }
}
