//! The finite-state entropy coder of LZFSE (`lzfse_fse.c` of the reference implementation, BSD): decoding tables, and bits read backwards.

use crate::DecodeError;

/// One state of a decoder: what it stands for, and how to come to the next.
#[derive(Clone, Copy)]
struct State {
    /// The symbol, by its number.
    symbol: u8,
    /// Bits to read for the next state.
    bits: u32,
    /// What is added to them.
    delta: u16,
}

/// The states of a decoder.
pub(crate) struct Table(Vec<State>);

impl Table {
    /// Spreads symbols over `states` (a power of two, at most 1024) by their frequencies.
    pub(crate) fn new(states: u16, frequencies: &[u16]) -> Result<Self, DecodeError> {
        let sum: usize = frequencies.iter().map(|frequency| usize::from(*frequency)).sum();
        if sum > usize::from(states) {
            return Err(DecodeError::corrupt("frequencies of more than all states"));
        }
        let mut table = Vec::with_capacity(sum);
        for (symbol, frequency) in (0..=u8::MAX).zip(frequencies) {
            if *frequency > 0 {
                spread(&mut table, states, symbol, *frequency);
            }
        }
        Ok(Self(table))
    }

    /// The symbol of a state; the state moves on.
    pub(crate) fn next(&self, state: &mut u16, bits: &mut Bits<'_>) -> Result<u8, DecodeError> {
        let now = self
            .0
            .get(usize::from(*state))
            .ok_or_else(|| DecodeError::corrupt("a state that does not exist"))?;
        let more = u16::try_from(bits.pull(now.bits)?).unwrap_or(0);
        *state = now.delta.saturating_add(more);
        Ok(now.symbol)
    }
}

/// The states of one symbol. Those that need one bit more come first, so that all together cover every next state once.
fn spread(table: &mut Vec<State>, states: u16, symbol: u8, frequency: u16) {
    let bits = frequency.leading_zeros().saturating_sub(states.leading_zeros());
    let longer = (states << 1 >> bits).saturating_sub(frequency);
    for index in 0..frequency {
        let is_longer = index < longer;
        let (bits, delta) = if is_longer {
            let scaled = frequency.saturating_add(index).checked_shl(bits).unwrap_or(0);
            (bits, scaled.saturating_sub(states))
        } else {
            let bits = bits.saturating_sub(1);
            (bits, index.saturating_sub(longer).checked_shl(bits).unwrap_or(0))
        };
        table.push(State { symbol, bits, delta });
    }
}

/// Bits of a payload, from its last to its first.
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    /// The bits of `bytes` without the `unused` ones (0 to 7) at their end, which are zero.
    pub(crate) fn new(bytes: &'a [u8], unused: u32) -> Result<Self, DecodeError> {
        let mut bits = Self {
            bytes,
            held: 0,
            count: 0,
        };
        if bits.pull(unused)? != 0 {
            return Err(DecodeError::corrupt("bits behind the end"));
        }
        Ok(bits)
    }

    /// The next `count` bits, at most 32.
    pub(crate) fn pull(&mut self, count: u32) -> Result<u64, DecodeError> {
        while self.count < count {
            let (byte, rest) = self
                .bytes
                .split_last()
                .ok_or_else(|| DecodeError::corrupt("too few bits"))?;
            self.bytes = rest;
            self.held = self.held << 8 | u64::from(*byte);
            self.count = self.count.saturating_add(8);
        }
        self.count = self.count.saturating_sub(count);
        let value = self.held.checked_shr(self.count).unwrap_or(0);
        self.held &= 1_u64.checked_shl(self.count).unwrap_or(0).wrapping_sub(1);
        Ok(value)
    }
}
