//! LZVN, Apple's small codec. Read from the opcode table of the reference implementation of LZFSE (`lzvn_decode_base.c`, BSD).

use crate::DecodeError;
use crate::input::Input;
use crate::output::{Halt, Output};

/// The shortest copy of an instruction that has literals too; its lengths are counted from it.
const COPY_MIN: usize = 3;
/// Lengths that need a byte of their own are counted from here.
const LONG: usize = 16;

/// Decodes up to the end marker. A stream whose bytes end just where the output is full lacks nothing but its marker: that is no damage to what is in it.
pub(crate) fn decode(input: &mut Input<'_>, output: &mut Output<'_>) -> Result<(), Halt> {
    let mut distance = 0;
    while !(input.is_empty() && output.room() == 0) {
        let code = input.u8()?;
        let bits = usize::from(code);
        match code {
            0x06 => return Ok(()),
            0x0e | 0x16 => {}
            0x1e | 0x26 | 0x2e | 0x36 | 0x3e | 0x70..=0x7f | 0xd0..=0xdf => {
                return Err(DecodeError::corrupt("an instruction that has no meaning").into());
            }
            0xa0..=0xbf => {
                let word = usize::from(input.u16_le()?);
                distance = word >> 2;
                let len = (bits & 7) << 2 | word & 3;
                both(
                    bits >> 3 & 3,
                    distance,
                    len.saturating_add(COPY_MIN),
                    input,
                    output,
                )?;
            }
            0xe0 => {
                let len = usize::from(input.u8()?).saturating_add(LONG);
                literals(len, input, output)?;
            }
            0xe1..=0xef => literals(bits & 0xf, input, output)?,
            0xf0 => {
                let len = usize::from(input.u8()?).saturating_add(LONG);
                output.copy(distance, len)?;
            }
            0xf1..=0xff => output.copy(distance, bits & 0xf)?,
            _ => {
                distance = match code & 7 {
                    6 => distance,
                    7 => usize::from(input.u16_le()?),
                    high => usize::from(high) << 8 | usize::from(input.u8()?),
                };
                let len = (bits >> 3 & 7).saturating_add(COPY_MIN);
                both(bits >> 6, distance, len, input, output)?;
            }
        }
    }
    Ok(())
}

/// Literals, then a copy.
fn both(
    literal_count: usize,
    distance: usize,
    len: usize,
    input: &mut Input<'_>,
    output: &mut Output<'_>,
) -> Result<(), Halt> {
    if literal_count > 0 {
        literals(literal_count, input, output)?;
    }
    output.copy(distance, len)
}

fn literals(len: usize, input: &mut Input<'_>, output: &mut Output<'_>) -> Result<(), Halt> {
    let taken = input.take_up_to(len);
    output.literals(taken)?;
    if taken.len() < len {
        return Err(DecodeError::Truncated.into());
    }
    Ok(())
}
