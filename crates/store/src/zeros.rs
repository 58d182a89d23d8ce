//! BLAKE3 of zeros, of which the holes of sparse files consist: they are not hashed again for every file.
//!
//! The chaining value of a subtree depends on what is in it and on where it stands. Those of the first zeros are part of the program, in steps of
//! 1 GiB; those of smaller parts, and of what lies behind, are hashed once in a process.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt};

/// The smallest subtree whose value is kept.
pub(crate) const SEGMENT_BYTES: u64 = 16 << 20;
/// Subtrees whose values are known.
const KNOWN_BYTES: u64 = 1 << 30;
/// Values of segments that are kept: those of 4 TiB.
const KEPT_MAX: usize = 1 << 18;
/// How many zeros are hashed at a time.
pub(crate) static BLOCK: [u8; 64 * 1024] = [0; 64 * 1024];

/// One value after the other, made by `examples/zeros.rs`.
static KNOWN: &[u8] = include_bytes!("zeros.bin");
/// Values of segments, by where they start.
static KEPT: RwLock<BTreeMap<u64, ChainingValue>> = RwLock::new(BTreeMap::new());

/// A subtree of zeros at `offset`, a multiple of [`SEGMENT_BYTES`]: its chaining value and its length, which is at most `len`. `len` is at least
/// one segment.
pub(crate) fn subtree(offset: u64, len: u64) -> (ChainingValue, u64) {
    match known(offset) {
        Some(value) if len >= KNOWN_BYTES => (value, KNOWN_BYTES),
        _ => (segment(offset), SEGMENT_BYTES),
    }
}

fn known(offset: u64) -> Option<ChainingValue> {
    let index = usize::try_from(offset / KNOWN_BYTES).ok()?;
    let (values, _) = KNOWN.as_chunks();
    values
        .get(index)
        .copied()
        .filter(|_| offset.is_multiple_of(KNOWN_BYTES))
}

fn segment(offset: u64) -> ChainingValue {
    let kept = KEPT.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(value) = kept.get(&offset) {
        return *value;
    }
    drop(kept);
    let value = hash(offset, SEGMENT_BYTES);
    let mut kept = KEPT.write().unwrap_or_else(PoisonError::into_inner);
    if kept.len() < KEPT_MAX {
        kept.insert(offset, value);
    }
    value
}

fn hash(offset: u64, len: u64) -> ChainingValue {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(offset);
    let block_bytes = BLOCK.len() as u64;
    for _ in 0..len / block_bytes {
        hasher.update(&BLOCK);
    }
    hasher.finalize_non_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_that_are_part_of_the_program_are_right() {
        let (values, []) = KNOWN.as_chunks::<32>() else {
            panic!("the last value is cut");
        };
        let count = values.len() as u64;
        for index in [1, count / 3, count - 1] {
            let offset = index * KNOWN_BYTES;
            let value = hash(offset, KNOWN_BYTES);
            assert_eq!(subtree(offset, u64::MAX), (value, KNOWN_BYTES), "{index}");
        }
        assert_eq!(known(count * KNOWN_BYTES), None);
        assert_eq!(known(SEGMENT_BYTES), None);
    }

    #[test]
    fn segments_are_hashed_where_nothing_greater_fits() {
        let value = hash(KNOWN_BYTES, SEGMENT_BYTES);
        for _ in 0..2 {
            assert_eq!(subtree(KNOWN_BYTES, KNOWN_BYTES - 1), (value, SEGMENT_BYTES));
        }
    }
}
