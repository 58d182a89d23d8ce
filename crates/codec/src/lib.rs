//! Turns stored bytes back into what was compressed.
//!
//! - [`decode`]: one function for every [`Codec`]; pure, bounded by what the caller wants.
//! - [`packed`]: reads a stream whose extents hold stored bytes, unit by unit.
//!
//! Stored bytes are hostile: a decoder never panics, never runs for ever, and never allocates from a length that they announce. It needs memory
//! for what the caller wants and for the window of its format, which is bounded by [`WINDOW_BYTES_MAX`].
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

/// Why decoding ended before all that was wanted was there. What was decoded until then is kept.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The stored bytes end too early.
    #[error("the compressed bytes end too early")]
    Truncated,
    /// The stored bytes are not what the format allows, or do not hold what their checksum says.
    #[error("the compressed bytes are corrupt: {0}")]
    Corrupt(String),
}

impl DecodeError {
    /// Something that the format does not allow.
    pub(crate) fn corrupt(what: &str) -> Self {
        Self::Corrupt(what.to_owned())
    }
}

/// Decodes `stored` and appends at most `len_max` bytes to `out`.
///
/// Stored bytes behind the end of the compressed data are passed over: formats pad to sectors. Fewer than `len_max` bytes without an error
/// mean that no more were stored.
///
/// # Errors
///
/// [`DecodeError`]; `out` then ends with what was decoded before. A wrong checksum shows only if `len_max` reaches the end of what it covers.
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
    let mut output = Output::new(out, len_max);
    let mut input = Input::new(stored);
    let result = match codec {
        Codec::Stored => output.literals(stored),
        Codec::Zlib => stream::zlib(stored, &mut output),
        Codec::Zstd => stream::zstd(stored, &mut output),
        Codec::Xz => stream::xz(stored, &mut output),
        Codec::Lzma => stream::lzma(stored, &mut output),
        Codec::Bzip2 => stream::bzip2(stored, &mut output),
        Codec::Lznt1 => lznt1::decode(&mut input, &mut output),
        Codec::Lzvn => lzvn::decode(&mut input, &mut output),
        Codec::Lzfse => lzfse::decode(&mut input, &mut output),
        Codec::LzoBtrfs => lzo::decode_btrfs(&mut input, &mut output),
        Codec::Lzo => lzo::decode(&mut input, &mut output),
        Codec::Lz4 => lz4::decode(&mut input, &mut output),
        Codec::Adc => adc::decode(&mut input, &mut output),
        _ => Err(DecodeError::Corrupt(format!("there is no decoder for {}", codec.name())).into()),
    };
    match result {
        Ok(()) | Err(Halt::Full) => Ok(()),
        Err(Halt::Failed(error)) => Err(error),
    }
}
