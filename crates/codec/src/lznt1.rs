//! LZNT1 of NTFS: [MS-XCA] 2.5.

use crate::input::Input;
use crate::output::{Halt, Output};

/// Bytes that a chunk decodes to.
const CHUNK_BYTES: usize = 4096;
/// Bit of a chunk's header: compressed.
const COMPRESSED: u16 = 0x8000;
/// Bits of a chunk's header: its stored bytes, less one.
const LEN: u16 = 0x0fff;

/// Decodes chunk after chunk. As the drivers of Windows and Linux do, what a chunk leaves of its 4096 bytes is zeros, and so is all behind a zero
/// header: a compression unit is as long as it is, however little of it was compressed.
///
/// The stored bytes are whole clusters, and nothing says where in the last one the chunks end if they fill the unit. So nothing is looked at behind the chunk
/// that fills the output. That chunk may reach beyond it, since a file may end within a unit; but none may be of more than 4096 bytes.
pub(crate) fn decode(input: &mut Input<'_>, output: &mut Output<'_>) -> Result<(), Halt> {
    let mut bytes = Vec::with_capacity(CHUNK_BYTES);
    while input.len() > 1 && output.room() > 0 {
        let header = input.u16_le()?;
        if header == 0 {
            return output.zeros(output.room());
        }
        let len = usize::from(header & LEN).saturating_add(1);
        let stored = input.take_up_to(len);
        bytes.clear();
        let mut chunk = Output::new(&mut bytes, CHUNK_BYTES);
        let result = if header & COMPRESSED == 0 {
            chunk.literals(stored)
        } else {
            decode_chunk(&mut Input::new(stored), &mut chunk)
        };
        if result.is_ok() && stored.len() == len {
            bytes.resize(CHUNK_BYTES, 0);
        }
        let fitting = bytes.get(..output.room()).unwrap_or(&bytes);
        output.literals(fitting)?;
        result?;
        if stored.len() < len && output.room() > 0 {
            return Err(crate::DecodeError::Truncated.into());
        }
    }
    Ok(())
}

fn decode_chunk(input: &mut Input<'_>, output: &mut Output<'_>) -> Result<(), Halt> {
    while !input.is_empty() {
        let flags = input.u8()?;
        for bit in 0..8 {
            if input.is_empty() {
                break;
            }
            if flags & (1 << bit) == 0 {
                output.literals(&[input.u8()?])?;
            } else {
                let token = input.u16_le()?;
                let (distance, len) = split(token, output.len());
                output.copy(distance, len)?;
            }
        }
    }
    Ok(())
}

/// Distance and length of a copy. The further into the chunk, the more bits the distance takes.
fn split(token: u16, position: usize) -> (usize, usize) {
    let reach = position.saturating_sub(1).max(0xf);
    let distance_bits = reach.checked_ilog2().unwrap_or(0).saturating_add(1).min(16);
    let len_bits = 16_u32.saturating_sub(distance_bits);
    let token = usize::from(token);
    let len_mask = 1_usize.checked_shl(len_bits).unwrap_or(0).saturating_sub(1);
    let distance = token.checked_shr(len_bits).unwrap_or(0).saturating_add(1);
    (distance, (token & len_mask).saturating_add(3))
}

#[cfg(test)]
mod tests {
    use ntt_model::Codec;

    use crate::{DecodeError, decode};

    fn decoded(stored: &[u8], len_max: usize) -> (Vec<u8>, Result<(), DecodeError>) {
        let mut out = Vec::new();
        let result = decode(Codec::Lznt1, stored, &mut out, len_max);
        (out, result)
    }

    /// The example of [MS-XCA] 3.3.
    #[test]
    fn the_example_of_the_specification() {
        let stored = [
            0x38, 0xb0, 0x88, 0x46, 0x23, 0x20, 0x00, 0x20, 0x47, 0x20, 0x41, 0x00, 0x10, 0xa2, 0x47, 0x01,
            0xa0, 0x45, 0x20, 0x44, 0x00, 0x08, 0x45, 0x01, 0x50, 0x79, 0x00, 0xc0, 0x45, 0x20, 0x05, 0x24,
            0x13, 0x88, 0x05, 0xb4, 0x02, 0x4a, 0x44, 0xef, 0x03, 0x58, 0x02, 0x8c, 0x09, 0x16, 0x01, 0x48,
            0x45, 0x00, 0xbe, 0x00, 0x9e, 0x00, 0x04, 0x01, 0x18, 0x90, 0x00,
        ];
        let text = b"F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# G F# D E F# G F# E D E A F# F# G A A G F# E D D E F# E D D\0";
        let (out, result) = decoded(&stored, text.len());
        assert_eq!((result, out.as_slice()), (Ok(()), text.as_slice()));
    }

    #[test]
    fn a_short_chunk_and_what_is_behind_a_zero_header_are_zeros() {
        let (out, result) = decoded(&[0x01, 0x30, b'a', b'b', 0x00, 0x30, b'c', 0, 0], 10_000);
        result.unwrap();
        let mut expected = vec![0; 10_000];
        expected[..2].copy_from_slice(b"ab");
        expected[4096] = b'c';
        assert_eq!(out, expected);
    }

    #[test]
    fn the_end_of_the_stored_bytes_ends_it_without_zeros() {
        let (out, result) = decoded(&[0x00, 0x30, b'c'], 10_000);
        assert_eq!((out.len(), result), (4096, Ok(())));
        let (out, result) = decoded(&[0x05, 0x30, b'a', b'b'], 10_000);
        assert_eq!(
            (out.as_slice(), result),
            (b"ab".as_slice(), Err(DecodeError::Truncated))
        );
    }

    /// A copy must not reach into the chunk before.
    #[test]
    fn chunks_have_windows_of_their_own() {
        let (out, result) = decoded(&[0x00, 0x30, b'c', 0x02, 0xb0, 0x01, 0x00, 0x00], 10_000);
        assert!(matches!(result, Err(DecodeError::Corrupt(_))));
        assert_eq!(out.len(), 4096);
    }
}
