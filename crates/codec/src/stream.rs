//! The formats that crates decode: each is a reader over the stored bytes, drained to its end.

use std::io::{self, Read};

use flate2::{Decompress, FlushDecompress, Status};

use crate::output::{Halt, Output, failed};
use crate::{DecodeError, WINDOW_BYTES_MAX};

/// [`WINDOW_BYTES_MAX`] as Zstandard counts it.
const WINDOW_LOG_MAX: u32 = WINDOW_BYTES_MAX.ilog2();
/// [`WINDOW_BYTES_MAX`] and what an LZMA decoder needs besides, in the unit that its crate counts in.
const LZMA_KIB_MAX: u32 = 65 << 10;
/// First bytes of a Zstandard frame (RFC 8878, 3.1.1), and of one that is skipped (3.1.2), whose first four bits are free.
const ZSTD_MAGIC: u32 = 0xfd2f_b528;
const ZSTD_MAGIC_SKIPPED: u32 = 0x184d_2a50;

pub(crate) fn zlib(stored: &[u8], output: &mut Output<'_>) -> Result<(), Halt> {
    output.drain(&mut Inflate::new(stored, true))
}

/// Raw Deflate, which has an end and no checksum.
pub(crate) fn deflate(stored: &[u8], output: &mut Output<'_>) -> Result<(), Halt> {
    output.drain(&mut Inflate::new(stored, false))
}

/// Reads a stream of Deflate. The readers of the crate take the end of the stored bytes for the end of the stream; here a stream has an end of its own.
struct Inflate<'a> {
    state: Decompress,
    stored: &'a [u8],
    has_ended: bool,
}

impl<'a> Inflate<'a> {
    fn new(stored: &'a [u8], is_zlib: bool) -> Self {
        Self {
            state: Decompress::new(is_zlib),
            stored,
            has_ended: false,
        }
    }

    /// One step; the number of bytes that it gave.
    fn step(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let before = (self.state.total_in(), self.state.total_out());
        let status = self
            .state
            .decompress(self.stored, buffer, FlushDecompress::None)
            .map_err(io::Error::other)?;
        let taken = since(before.0, self.state.total_in());
        let given = since(before.1, self.state.total_out());
        self.stored = self.stored.get(taken..).unwrap_or_default();
        self.has_ended = status == Status::StreamEnd;
        if given == 0 && !self.has_ended && (taken == 0 || self.stored.is_empty()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(given)
    }
}

impl Read for Inflate<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.has_ended && !buffer.is_empty() {
            let given = self.step(buffer)?;
            if given > 0 {
                return Ok(given);
            }
        }
        Ok(0)
    }
}

fn since(before: u64, now: u64) -> usize {
    usize::try_from(now.saturating_sub(before)).unwrap_or(0)
}

pub(crate) fn bzip2(stored: &[u8], output: &mut Output<'_>) -> Result<(), Halt> {
    output.drain(&mut bzip2::bufread::BzDecoder::new(stored))
}

pub(crate) fn xz(stored: &[u8], output: &mut Output<'_>) -> Result<(), Halt> {
    output.drain(&mut lzma_rust2::XzReader::new_mem_limit(
        stored,
        false,
        LZMA_KIB_MAX,
    ))
}

pub(crate) fn lzma(stored: &[u8], output: &mut Output<'_>) -> Result<(), Halt> {
    let mut reader =
        lzma_rust2::LzmaReader::new_mem_limit(stored, LZMA_KIB_MAX, None).map_err(|error| failed(&error))?;
    // All that this format has of a checksum: a stream of a known length ends with its range coder at rest.
    reader.set_relaxed_end_condition(false);
    output.drain(&mut reader)
}

/// Frame after frame; padding that is no frame ends them. So does an output that is full: behind the frame of one cluster of qcow2 that of the next begins.
pub(crate) fn zstd(mut stored: &[u8], output: &mut Output<'_>) -> Result<(), Halt> {
    let mut is_first = true;
    while is_first || begins_a_frame(stored) {
        is_first = false;
        let mut decoder = zstd::stream::read::Decoder::with_buffer(stored)
            .map_err(|error| failed(&error))?
            .single_frame();
        decoder
            .window_log_max(WINDOW_LOG_MAX)
            .map_err(|error| failed(&error))?;
        output.drain(&mut decoder)?;
        let rest = decoder.finish();
        // A frame that took nothing would come again for ever.
        if rest.len() >= stored.len() {
            return Err(DecodeError::corrupt("a frame of no bytes").into());
        }
        if output.room() == 0 {
            return Ok(());
        }
        stored = rest;
    }
    Ok(())
}

fn begins_a_frame(stored: &[u8]) -> bool {
    let magic = stored.first_chunk().map(|magic| u32::from_le_bytes(*magic));
    magic.is_some_and(|magic| magic == ZSTD_MAGIC || magic & !0xf == ZSTD_MAGIC_SKIPPED)
}
