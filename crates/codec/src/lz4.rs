//! LZ4, one bare block: `lz4_Block_format.md` of the reference implementation.

use crate::input::Input;
use crate::output::{Halt, Output};

/// A length nibble that goes on in the bytes that follow.
const GOES_ON: u8 = 15;
/// The shortest copy; lengths are counted from it.
const COPY_MIN: usize = 4;

pub(crate) fn decode(input: &mut Input<'_>, output: &mut Output<'_>) -> Result<(), Halt> {
    while !input.is_empty() {
        let token = input.u8()?;
        let literals = length(token >> 4, input)?;
        let taken = input.take_up_to(literals);
        output.literals(taken)?;
        if taken.len() < literals {
            return Err(crate::DecodeError::Truncated.into());
        }
        // The last sequence has no copy.
        if input.is_empty() {
            return Ok(());
        }
        let distance = usize::from(input.u16_le()?);
        let len = length(token & 0xf, input)?.saturating_add(COPY_MIN);
        output.copy(distance, len)?;
    }
    Ok(())
}

fn length(nibble: u8, input: &mut Input<'_>) -> Result<usize, Halt> {
    let len = usize::from(nibble);
    if nibble == GOES_ON {
        Ok(input.length(u8::MAX, usize::from(u8::MAX))?.saturating_add(len))
    } else {
        Ok(len)
    }
}
