//! LZFSE, a sequence of blocks with their magic. Read from the reference implementation (`lzfse_internal.h`, `lzfse_decode_base.c`, BSD).
//!
//! Blocks of version 1, which the reference can read but no known encoder writes, are refused.

use crate::DecodeError;
use crate::fse::{Bits, Table};
use crate::input::Input;
use crate::lzvn;
use crate::output::{Halt, Output};

const END: &[u8] = b"bvx$";
const UNCOMPRESSED: &[u8] = b"bvx-";
const COMPRESSED: &[u8] = b"bvx2";
const LZVN: &[u8] = b"bvxn";

/// Most literals of a block (`LZFSE_LITERALS_PER_BLOCK`).
const LITERALS_MAX: u64 = 40_000;
/// Most copies of a block (`LZFSE_MATCHES_PER_BLOCK`).
const COPIES_MAX: u64 = 10_000;
/// Bytes of a header of version 2 before its frequencies.
const HEADER_BYTES: usize = 32;

const LENGTH_STATES: u16 = 64;
const DISTANCE_STATES: u16 = 256;
const LITERAL_STATES: u16 = 1024;
const LENGTH_SYMBOLS: usize = 20;
const DISTANCE_SYMBOLS: usize = 64;
const LITERAL_SYMBOLS: usize = 256;
const SYMBOLS: usize = 2 * LENGTH_SYMBOLS + DISTANCE_SYMBOLS + LITERAL_SYMBOLS;

/// Bits that follow a symbol for a number of literals.
const LITERALS_EXTRA: [u32; LENGTH_SYMBOLS] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 3, 5, 8];
/// Bits that follow a symbol for the length of a copy.
const COPY_EXTRA: [u32; LENGTH_SYMBOLS] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 5, 8, 11];

pub(crate) fn decode(input: &mut Input<'_>, output: &mut Output<'_>) -> Result<(), Halt> {
    loop {
        match input.take(4)? {
            END => return Ok(()),
            UNCOMPRESSED => {
                let len = input.len_u32()?;
                let taken = input.take_up_to(len);
                output.literals(taken)?;
                if taken.len() < len {
                    return Err(DecodeError::Truncated.into());
                }
            }
            LZVN => {
                let len = input.len_u32()?;
                let payload = input.len_u32()?;
                let mut payload = Input::new(input.take_up_to(payload));
                expect(len, output, |output| lzvn::decode(&mut payload, output))?;
            }
            COMPRESSED => {
                let len = input.len_u32()?;
                let block = Block::read(input)?;
                expect(len, output, |output| block.decode(output))?;
            }
            _ => return Err(DecodeError::corrupt("no block begins here").into()),
        }
    }
}

/// Decodes a block that must give `len` bytes.
fn expect(
    len: usize,
    output: &mut Output<'_>,
    decode: impl FnOnce(&mut Output<'_>) -> Result<(), Halt>,
) -> Result<(), Halt> {
    let before = output.len();
    decode(output)?;
    if output.len().saturating_sub(before) != len {
        return Err(DecodeError::corrupt("a block of another length than it says").into());
    }
    Ok(())
}

/// A block of version 2.
struct Block<'a> {
    literal_count: u64,
    copy_count: u64,
    literal_unused: u32,
    copy_unused: u32,
    literal_states: [u16; 4],
    /// Of the number of literals, the length of the copy, the distance.
    copy_states: [u16; 3],
    frequencies: Frequencies,
    literal_payload: &'a [u8],
    copy_payload: &'a [u8],
}

impl<'a> Block<'a> {
    /// Reads the header behind the magic and the length, and takes the payload.
    fn read(input: &mut Input<'a>) -> Result<Self, DecodeError> {
        let fields = [input.u64_le()?, input.u64_le()?, input.u64_le()?];
        let [first, second, third] = fields;
        let header = usize::try_from(bits(third, 0, 32)).unwrap_or(usize::MAX);
        let frequency_bytes = header
            .checked_sub(HEADER_BYTES)
            .ok_or_else(|| DecodeError::corrupt("a header that is too short"))?;
        let frequencies = Frequencies::read(input.take(frequency_bytes)?)?;
        let block = Self {
            literal_count: bits(first, 0, 20),
            copy_count: bits(first, 40, 20),
            literal_unused: unused(first)?,
            copy_unused: unused(second)?,
            literal_states: [0, 10, 20, 30].map(|shift| state(second, shift)),
            copy_states: [32, 42, 52].map(|shift| state(third, shift)),
            frequencies,
            literal_payload: input.take(len(bits(first, 20, 20)))?,
            copy_payload: input.take(len(bits(second, 40, 20)))?,
        };
        if block.literal_count > LITERALS_MAX || block.copy_count > COPIES_MAX {
            return Err(DecodeError::corrupt("a block with too much in it"));
        }
        Ok(block)
    }

    fn decode(&self, output: &mut Output<'_>) -> Result<(), Halt> {
        let literals = self.literals()?;
        self.copies(&mut Input::new(&literals), output)
    }

    /// Four interleaved streams of literals.
    fn literals(&self) -> Result<Vec<u8>, DecodeError> {
        let table = Table::new(LITERAL_STATES, self.frequencies.literals())?;
        let mut bits = Bits::new(self.literal_payload, self.literal_unused)?;
        let mut states = self.literal_states;
        let mut literals = Vec::new();
        for _ in 0..self.literal_count.div_ceil(4) {
            for state in &mut states {
                literals.push(table.next(state, &mut bits)?);
            }
        }
        Ok(literals)
    }

    fn copies(&self, literals: &mut Input<'_>, output: &mut Output<'_>) -> Result<(), Halt> {
        let of_literals = Values::new(LENGTH_STATES, self.frequencies.literal_runs(), &LITERALS_EXTRA)?;
        let of_copies = Values::new(LENGTH_STATES, self.frequencies.copies(), &COPY_EXTRA)?;
        let of_distances = Values::new(DISTANCE_STATES, self.frequencies.distances(), &distance_extra())?;
        let mut bits = Bits::new(self.copy_payload, self.copy_unused)?;
        let [mut literal_state, mut copy_state, mut distance_state] = self.copy_states;
        let mut distance = 0;
        for _ in 0..self.copy_count {
            let literal_count = of_literals.next(&mut literal_state, &mut bits)?;
            let len = of_copies.next(&mut copy_state, &mut bits)?;
            // A distance of zero stands for the one before.
            match of_distances.next(&mut distance_state, &mut bits)? {
                0 => {}
                other => distance = other,
            }
            let run = literals
                .take(literal_count)
                .map_err(|_| DecodeError::corrupt("more literals used than there are"))?;
            if !run.is_empty() {
                output.literals(run)?;
            }
            if len > 0 {
                output.copy(distance, len)?;
            }
        }
        Ok(())
    }
}

fn bits(field: u64, shift: u32, count: u32) -> u64 {
    let mask = 1_u64.checked_shl(count).unwrap_or(0).wrapping_sub(1);
    field.checked_shr(shift).unwrap_or(0) & mask
}

fn state(field: u64, shift: u32) -> u16 {
    u16::try_from(bits(field, shift, 10)).unwrap_or(0)
}

fn len(field: u64) -> usize {
    usize::try_from(field).unwrap_or(usize::MAX)
}

/// Bits at the end of a payload that are not used; the field holds 7 less them.
fn unused(field: u64) -> Result<u32, DecodeError> {
    u32::try_from(bits(field, 60, 3))
        .ok()
        .and_then(|field| 7_u32.checked_sub(field))
        .ok_or_else(|| DecodeError::corrupt("more than seven unused bits"))
}

/// How often every symbol occurs.
struct Frequencies([u16; SYMBOLS]);

impl Frequencies {
    /// Reads them from their variable-length code; none at all are all zero.
    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut frequencies = [0; SYMBOLS];
        if bytes.is_empty() {
            return Ok(Self(frequencies));
        }
        let mut rest = Input::new(bytes);
        let (mut held, mut count) = (0_u32, 0_u32);
        for frequency in &mut frequencies {
            while count <= 24 && !rest.is_empty() {
                held |= u32::from(rest.u8()?).checked_shl(count).unwrap_or(0);
                count = count.saturating_add(8);
            }
            let (value, len) = frequency_of(held);
            count = count
                .checked_sub(len)
                .ok_or_else(|| DecodeError::corrupt("frequencies that end too early"))?;
            held = held.checked_shr(len).unwrap_or(0);
            *frequency = value;
        }
        Ok(Self(frequencies))
    }

    fn part(&self, first: usize, count: usize) -> &[u16] {
        self.0.get(first..first.saturating_add(count)).unwrap_or_default()
    }

    fn literal_runs(&self) -> &[u16] {
        self.part(0, LENGTH_SYMBOLS)
    }

    fn copies(&self) -> &[u16] {
        self.part(LENGTH_SYMBOLS, LENGTH_SYMBOLS)
    }

    fn distances(&self) -> &[u16] {
        self.part(LENGTH_SYMBOLS.saturating_mul(2), DISTANCE_SYMBOLS)
    }

    fn literals(&self) -> &[u16] {
        self.part(SYMBOLS.saturating_sub(LITERAL_SYMBOLS), LITERAL_SYMBOLS)
    }
}

/// A frequency and the number of bits that it takes: two bits for 0 and 1, three for 2 and 3, five for 4 to 7, eight for 8 to 23, fourteen
/// for the rest.
fn frequency_of(held: u32) -> (u16, u32) {
    let long = |mask: u32| u16::try_from(held >> 4 & mask).unwrap_or(0);
    match held & 0b11 {
        0b00 => (0, 2),
        0b10 => (1, 2),
        0b01 => (if held & 0b100 == 0 { 2 } else { 3 }, 3),
        _ => match held & 0b1111 {
            0b0111 => (long(0xf).saturating_add(8), 8),
            0b1111 => (long(0x3ff).saturating_add(24), 14),
            _ => (u16::try_from(held >> 3 & 3).unwrap_or(0).saturating_add(4), 5),
        },
    }
}

/// Four symbols for every number of extra bits from 0 to 15.
fn distance_extra() -> [u32; DISTANCE_SYMBOLS] {
    let mut extra = [0; DISTANCE_SYMBOLS];
    for (index, extra) in (0_u32..).zip(&mut extra) {
        *extra = index >> 2;
    }
    extra
}

/// A decoder of numbers: symbols, each with some bits behind it.
struct Values {
    table: Table,
    /// First number and extra bits of every symbol.
    symbols: Vec<(u64, u32)>,
}

impl Values {
    fn new(states: u16, frequencies: &[u16], extra: &[u32]) -> Result<Self, DecodeError> {
        let mut base = 0_u64;
        let mut symbols = Vec::with_capacity(extra.len());
        for extra in extra {
            symbols.push((base, *extra));
            base = base.saturating_add(1_u64.checked_shl(*extra).unwrap_or(0));
        }
        Ok(Self {
            table: Table::new(states, frequencies)?,
            symbols,
        })
    }

    fn next(&self, state: &mut u16, bits: &mut Bits<'_>) -> Result<usize, DecodeError> {
        let symbol = usize::from(self.table.next(state, bits)?);
        let (base, extra) = self.symbols.get(symbol).copied().unwrap_or_default();
        Ok(len(base.saturating_add(bits.pull(extra)?)))
    }
}
