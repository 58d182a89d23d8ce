//! Turns stored bytes back into what was compressed.
//!
//! - [`decode`]: one function for every [`Codec`]; pure, bounded by what the caller expects.
//! - [`packed`]: reads a stream whose extents hold stored bytes, unit by unit.
//!
//! Stored bytes are hostile: a decoder never panics, never runs for ever, and never allocates from a length that they announce. It needs memory
//! for what the caller expects and for the window of its format, which is bounded by [`WINDOW_BYTES_MAX`].
//!
//! Formats that are no more than copies of what came before are decoded here, over one bounded output; Deflate, Zstandard, LZMA and bzip2 by
//! crates. What runs here runs in the confined child all the same.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::expect_used
    )
)]

use ntt_model::Codec;

mod adc;
mod fse;
mod input;
mod lz4;
mod lzfse;
mod lznt1;
mod lzo;
mod lzvn;
mod output;
pub mod packed;
mod stream;

use input::Input;
use output::{Halt, Output};
pub use packed::{Kept, read_stream, read_stream_after};

/// The largest window that a decoder keeps besides its output. Formats that announce a larger one are refused.
pub const WINDOW_BYTES_MAX: usize = 64 << 20;

/// Why decoding did not come to the end of what is stored. What was decoded until then is kept.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The stored bytes end too early.
    #[error("the compressed bytes end too early")]
    Truncated,
    /// The stored bytes are not what the format allows, do not hold what their checksum says, or hold more than there can be.
    #[error("the compressed bytes are corrupt: {0}")]
    Corrupt(String),
}

impl DecodeError {
    /// Something that the format does not allow.
    pub(crate) fn corrupt(what: &str) -> Self {
        Self::Corrupt(what.to_owned())
    }
}

/// Decodes all of `stored` and appends it to `out`: at most `len_max` bytes, since more is an error.
///
/// The compressed data must come to its end: to its end marker where the format has one, and to a checksum that fits. So damage that makes a block longer
/// is told as one that makes it shorter, and the checksum of a block that is just full is looked at. Fewer than `len_max` bytes without an error mean
/// that no more were stored; a caller that knows the length compares.
///
/// Stored bytes behind the end of the compressed data are passed over: formats pad to sectors. A bare block of LZ4 has no other end than that of its bytes; behind
/// one of ADC zeros are padding. LZNT1 fills a unit, whose last chunk may reach beyond `len_max`: a file may end before its unit does.
///
/// # Errors
///
/// [`DecodeError`]; `out` then ends with what was decoded before. Nothing tells where in it the damage begins.
///
/// # Examples
///
/// ```
/// use ntt_codec::decode;
/// use ntt_model::Codec;
///
/// let mut out = Vec::new();
/// // LZ4: one literal, then five copies of it.
/// decode(Codec::Lz4, b"\x11a\x01\x00\x00", &mut out, 6)?;
/// assert_eq!(out, b"aaaaaa");
/// # Ok::<(), ntt_codec::DecodeError>(())
/// ```
pub fn decode(codec: Codec, stored: &[u8], out: &mut Vec<u8>, len_max: usize) -> Result<(), DecodeError> {
    let mut input = Input::new(stored);
    bounded(out, len_max, |output| match codec {
        Codec::Stored => output.literals(stored),
        Codec::Zlib => stream::zlib(stored, output),
        Codec::Zstd => stream::zstd(stored, output),
        Codec::Xz => stream::xz(stored, output),
        Codec::Lzma => stream::lzma(stored, output),
        Codec::Bzip2 => stream::bzip2(stored, output),
        Codec::Lznt1 => lznt1::decode(&mut input, output),
        Codec::Lzvn => lzvn::decode(&mut input, output),
        Codec::Lzfse => lzfse::decode(&mut input, output),
        Codec::LzoBtrfs => lzo::decode_btrfs(&mut input, output),
        Codec::Lzo => lzo::decode(&mut input, output),
        Codec::Lz4 => lz4::decode(&mut input, output),
        Codec::Adc => adc::decode(&mut input, output),
        _ => Err(DecodeError::Corrupt(format!("there is no decoder for {}", codec.name())).into()),
    })
}

/// As [`decode`], for raw Deflate (RFC 1951). No stream of a file system is stored so, only clusters of virtual disks: it has no [`Codec`], and no checksum.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_deflate(stored: &[u8], out: &mut Vec<u8>, len_max: usize) -> Result<(), DecodeError> {
    bounded(out, len_max, |output| stream::deflate(stored, output))
}

fn bounded(
    out: &mut Vec<u8>,
    len_max: usize,
    decode: impl FnOnce(&mut Output<'_>) -> Result<(), Halt>,
) -> Result<(), DecodeError> {
    match decode(&mut Output::new(out, len_max)) {
        Ok(()) => Ok(()),
        Err(Halt::Overfull) => Err(DecodeError::Corrupt(format!(
            "they hold more than the {len_max} bytes that there can be"
        ))),
        Err(Halt::Failed(error)) => Err(error),
    }
}
