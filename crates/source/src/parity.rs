//! What the columns of a stripe say of each other: P is their sum, Q their sum weighted by powers of 2 in the field of 256 elements that RAID 6 uses
//! (H. P. Anvin, *The mathematics of RAID-6*; Linux `lib/raid6`).

use ntt_model::mapping::Stripe;

use crate::{ReadAt, ReadError};

/// What is left of x to the eighth when the field's polynomial is taken off.
const REDUCTION: u8 = 0x1d;
/// Powers of 2 after which they repeat.
const ORDER: u32 = 255;

/// Twice a number of the field.
const fn twice(value: u8) -> u8 {
    let doubled = value << 1;
    if value & 0x80 == 0 {
        doubled
    } else {
        doubled ^ REDUCTION
    }
}

const fn product(left: u8, right: u8) -> u8 {
    let (mut sum, mut left, mut right) = (0, left, right);
    while right != 0 {
        if right & 1 != 0 {
            sum ^= left;
        }
        left = twice(left);
        right >>= 1;
    }
    sum
}

/// 2 to the power of `exponent`.
fn power(exponent: u32) -> u8 {
    (0..exponent % ORDER).fold(1, |value, _| twice(value))
}

/// What a number other than 0 must be multiplied with to be 1: its 254th power.
fn inverse(value: u8) -> u8 {
    (0..ORDER - 1).fold(1, |result, _| product(result, value))
}

/// Adds `factor` times the other bytes.
fn add(sum: &mut [u8], factor: u8, other: &[u8]) {
    if factor == 1 {
        sum.iter_mut().zip(other).for_each(|(sum, byte)| *sum ^= byte);
        return;
    }
    let mut table = [0; 256];
    for (value, entry) in (0..=u8::MAX).zip(&mut table) {
        *entry = product(value, factor);
    }
    sum.iter_mut()
        .zip(other)
        .for_each(|(sum, byte)| *sum ^= table[usize::from(*byte)]);
}

fn scale(bytes: &mut [u8], factor: u8) {
    bytes.iter_mut().for_each(|byte| *byte = product(*byte, factor));
}

/// The bytes of a column that were read, or why they were not.
fn column(source: &dyn ReadAt, at: Option<u64>, len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len];
    source.read_exact_at(at?, &mut bytes).ok().map(|()| bytes)
}

/// Computes what the wanted column of a stripe holds into `buffer`, without reading it.
///
/// # Errors
///
/// `error`, if too much of the stripe is missing too.
pub(crate) fn rebuild(
    source: &dyn ReadAt,
    stripe: &Stripe,
    buffer: &mut [u8],
    error: ReadError,
) -> Result<(), ReadError> {
    match rebuilt(source, stripe, buffer.len()) {
        Some(bytes) => {
            buffer.copy_from_slice(&bytes);
            Ok(())
        }
        None => Err(error),
    }
}

fn rebuilt(source: &dyn ReadAt, stripe: &Stripe, len: usize) -> Option<Vec<u8>> {
    let (wanted, _) = *stripe.data.get(stripe.wanted)?;
    // Sums over the data that is here.
    let (mut p, mut q) = (vec![0; len], vec![0; len]);
    let mut other = None;
    for (index, (exponent, at)) in stripe.data.iter().enumerate() {
        if index == stripe.wanted {
            continue;
        }
        match column(source, *at, len) {
            Some(bytes) => {
                add(&mut p, 1, &bytes);
                if stripe.q.is_some() {
                    add(&mut q, power(*exponent), &bytes);
                }
            }
            // A second one needs both sums, a third is too many.
            None if other.is_none() && stripe.q.is_some() => other = Some(*exponent),
            None => return None,
        }
    }
    let sum = column(source, stripe.p, len);
    match (sum, other) {
        (Some(sum), None) => {
            add(&mut p, 1, &sum);
            Some(p)
        }
        (None, None) => {
            add(&mut q, 1, &column(source, stripe.q, len)?);
            scale(&mut q, inverse(power(wanted)));
            Some(q)
        }
        (Some(sum), Some(other)) => {
            add(&mut p, 1, &sum);
            add(&mut q, 1, &column(source, stripe.q, len)?);
            // p = x + y and q = 2^wanted x + 2^other y, so x = (q + 2^other p) / (2^wanted + 2^other).
            add(&mut q, power(other), &p);
            scale(&mut q, inverse(power(wanted) ^ power(other)));
            Some(q)
        }
        (None, Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_that_of_raid6() {
        // Linux `lib/raid6/mktables.c`: raid6_gfexp and raid6_gfinv.
        assert_eq!(
            [power(0), power(1), power(8), power(9), power(254)],
            [1, 2, 0x1d, 0x3a, 0x8e]
        );
        assert_eq!([inverse(1), inverse(2), inverse(3)], [1, 0x8e, 0xf4]);
        assert!((1..=u8::MAX).all(|value| product(value, inverse(value)) == 1));
    }
}
