//! LZO1X, bare and in the framing of btrfs. The format is described in the kernel's `Documentation/staging/lzo.rst`, the framing in
//! `fs/btrfs/lzo.c`.

use crate::DecodeError;
use crate::input::Input;
use crate::output::{Halt, Output};

/// Bytes of a page of btrfs's framing: the sector size of nearly every file system there is.
const PAGE_BYTES: usize = 4096;
/// Bytes of a length of btrfs's framing.
const LENGTH_BYTES: usize = 4;
/// First byte above which the stream begins with literals.
const LITERALS_FIRST: u8 = 17;
/// Distance from which the far copies count, and which in itself ends the stream.
const FAR: usize = 16_384;

/// How many literals the instruction before copied, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Few,
    Many,
}

/// Decodes one bare block, up to its end marker.
pub(crate) fn decode(input: &mut Input<'_>, output: &mut Output<'_>) -> Result<(), Halt> {
    let mut before = start(input, output)?;
    loop {
        let code = input.u8()?;
        if code < 16 && before == Before::Nothing {
            let len = length(code, 15, input)?.saturating_add(3);
            literals(len, input, output)?;
            before = Before::Many;
            continue;
        }
        let Some((distance, len, literals_behind)) = copy(code, before, input)? else {
            return Ok(());
        };
        output.copy(distance, len)?;
        literals(literals_behind, input, output)?;
        before = if literals_behind == 0 {
            Before::Nothing
        } else {
            Before::Few
        };
    }
}

/// The first byte may stand for literals.
fn start(input: &mut Input<'_>, output: &mut Output<'_>) -> Result<Before, Halt> {
    let first = input.clone().u8()?;
    if first <= LITERALS_FIRST {
        return Ok(Before::Nothing);
    }
    input.u8()?;
    let len = usize::from(first.saturating_sub(LITERALS_FIRST));
    literals(len, input, output)?;
    Ok(if len < 4 { Before::Few } else { Before::Many })
}

fn literals(len: usize, input: &mut Input<'_>, output: &mut Output<'_>) -> Result<(), Halt> {
    let taken = input.take_up_to(len);
    output.literals(taken)?;
    if taken.len() < len {
        return Err(DecodeError::Truncated.into());
    }
    Ok(())
}

/// Distance and length of a copy, and the number of literals behind it; `None` at the end of the stream.
fn copy(
    code: u8,
    before: Before,
    input: &mut Input<'_>,
) -> Result<Option<(usize, usize, usize)>, DecodeError> {
    let bits = usize::from(code);
    if code >= 64 {
        let high = usize::from(input.u8()?);
        let distance = ((high << 3) | (bits >> 2 & 7)).saturating_add(1);
        let len = if code >= 128 {
            (bits >> 5 & 3).saturating_add(5)
        } else {
            (bits >> 5 & 1).saturating_add(3)
        };
        return Ok(Some((distance, len, bits & 3)));
    }
    if code >= 16 {
        let mask = if code >= 32 { 31 } else { 7 };
        let len = length(code & mask, mask, input)?.saturating_add(2);
        let word = usize::from(input.u16_le()?);
        let near = word >> 2;
        let distance = if code >= 32 {
            near.saturating_add(1)
        } else {
            ((bits & 8) << 11 | near).saturating_add(FAR)
        };
        let is_end = code < 32 && distance == FAR;
        return Ok((!is_end).then_some((distance, len, word & 3)));
    }
    let near = usize::from(input.u8()?) << 2 | bits >> 2;
    Ok(Some(if before == Before::Many {
        (near.saturating_add(2049), 3, bits & 3)
    } else {
        (near.saturating_add(1), 2, bits & 3)
    }))
}

/// A length that goes on in the bytes that follow if its bits are zero.
fn length(bits: u8, base: u8, input: &mut Input<'_>) -> Result<usize, DecodeError> {
    if bits == 0 {
        Ok(input
            .length(0, usize::from(u8::MAX))?
            .saturating_add(usize::from(base)))
    } else {
        Ok(usize::from(bits))
    }
}

/// Decodes btrfs's framing: the length of all, then segments of a page each, none of whose lengths straddles a page.
pub(crate) fn decode_btrfs(input: &mut Input<'_>, output: &mut Output<'_>) -> Result<(), Halt> {
    let total = input.len_u32()?;
    let body = total
        .checked_sub(LENGTH_BYTES)
        .ok_or_else(|| DecodeError::corrupt("a length below that of its own field"))?;
    let mut body = Input::new(input.take_up_to(body));
    let mut position = LENGTH_BYTES;
    while position < total {
        let left_of_page = PAGE_BYTES.saturating_sub(position % PAGE_BYTES);
        if left_of_page < LENGTH_BYTES {
            body.take(left_of_page.min(total.saturating_sub(position)))?;
            position = position.saturating_add(left_of_page);
            continue;
        }
        let len = body.len_u32()?;
        let segment = body.take_up_to(len);
        match decode(&mut Input::new(segment), &mut output.section(PAGE_BYTES)) {
            Ok(()) => {}
            Err(Halt::Failed(_)) if segment.len() < len => return Err(DecodeError::Truncated.into()),
            Err(failed) => return Err(failed),
        }
        position = position.saturating_add(LENGTH_BYTES).saturating_add(len);
    }
    Ok(())
}
