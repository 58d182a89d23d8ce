//! The formats that crates decode: each is a reader over the stored bytes, drained up to the bound.

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
    output.drain(&mut flate2::bufread::ZlibDecoder::new(stored))
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
    output.drain(&mut reader)
}

/// Frame after frame; padding that is no frame ends them.
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
        stored = rest;
    }
    Ok(())
}

fn begins_a_frame(stored: &[u8]) -> bool {
    let magic = stored.first_chunk().map(|magic| u32::from_le_bytes(*magic));
    magic.is_some_and(|magic| magic == ZSTD_MAGIC || magic & !0xf == ZSTD_MAGIC_SKIPPED)
}
