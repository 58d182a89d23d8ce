//! Fill detection: is a range nothing but one byte? (R13)

use ntt_model::ByteRange;
use ntt_source::{ReadAt, ReadError};

const BLOCK_BYTES: u64 = 1 << 20;

/// A range whose every rescued byte is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// The byte.
    pub byte: u8,
    /// How many bytes were looked at: all that the source could give.
    pub examined_bytes: u64,
    /// How many bytes were skipped because they were never rescued or could not be read.
    pub unread_bytes: u64,
}

/// Reads the whole source; `None` as soon as two bytes differ, or if not one byte could be read.
///
/// Bytes that were never rescued are skipped exactly; after an I/O error the rest of that block (1 MiB) is skipped.
pub fn detect(source: &dyn ReadAt) -> Option<Fill> {
    let mut fill: Option<Fill> = None;
    let mut unread_bytes = 0_u64;
    let mut position = 0;
    let mut buffer = vec![0; usize::try_from(BLOCK_BYTES).unwrap_or(0)];
    while position < source.len() {
        let wanted = ByteRange::new(position, BLOCK_BYTES.min(source.len().saturating_sub(position)));
        let readable = readable_head(source, wanted, &mut buffer);
        let block = buffer.get(..usize::try_from(readable.len).unwrap_or(0))?;
        if let Some(first) = block.first() {
            let known = fill.get_or_insert(Fill {
                byte: *first,
                examined_bytes: 0,
                unread_bytes: 0,
            });
            if block.iter().any(|byte| *byte != known.byte) {
                return None;
            }
            known.examined_bytes = known.examined_bytes.saturating_add(readable.len);
        }
        unread_bytes = unread_bytes.saturating_add(readable.skipped);
        position = position
            .saturating_add(readable.len)
            .saturating_add(readable.skipped.max(u64::from(readable.len == 0)));
    }
    fill.map(|fill| Fill { unread_bytes, ..fill })
}

/// What the head of a block gave: `len` bytes in the buffer, then `skipped` bytes that cannot be had.
struct Head {
    len: u64,
    skipped: u64,
}

fn readable_head(source: &dyn ReadAt, wanted: ByteRange, buffer: &mut [u8]) -> Head {
    let all = usize::try_from(wanted.len).unwrap_or(0);
    let Some(window) = buffer.get_mut(..all) else {
        return Head {
            len: 0,
            skipped: wanted.len,
        };
    };
    let unread = match source.read_exact_at(wanted.offset, window) {
        Ok(()) => {
            return Head {
                len: wanted.len,
                skipped: 0,
            };
        }
        Err(ReadError::Unread { range } | ReadError::Corrupt { range, .. }) => {
            range.intersection(&wanted).unwrap_or(wanted)
        }
        Err(_) => wanted,
    };
    let before = unread.offset.saturating_sub(wanted.offset);
    let head = window
        .get_mut(..usize::try_from(before).unwrap_or(0))
        .unwrap_or_default();
    match source.read_exact_at(wanted.offset, head) {
        Ok(()) => Head {
            len: before,
            skipped: unread.len,
        },
        Err(_) => Head {
            len: 0,
            skipped: before.saturating_add(unread.len),
        },
    }
}

#[cfg(test)]
mod tests {
    use ntt_source::Masked;

    use super::*;

    /// R13: the verdict says how many bytes it rests on.
    #[test]
    fn r13_a_fill_counts_what_was_examined() {
        let erased = vec![0x55; (3 << 20) + 7];
        let expected = Fill {
            byte: 0x55,
            examined_bytes: (3 << 20) + 7,
            unread_bytes: 0,
        };
        assert_eq!(detect(&erased), Some(expected));
        let masked = Masked::new(
            erased,
            vec![ByteRange::new(100, 1000), ByteRange::new(2 << 20, 512)],
        );
        let expected = Fill {
            byte: 0x55,
            examined_bytes: (3 << 20) + 7 - 1512,
            unread_bytes: 1512,
        };
        assert_eq!(detect(&masked), Some(expected));
    }

    /// R13: one other byte at the very end, and there is no verdict.
    #[test]
    fn r13_every_rescued_byte_counts() {
        let mut bytes = vec![0xf6; 3 << 20];
        *bytes.last_mut().expect("bytes") = 0xf7;
        assert_eq!(detect(&bytes), None);
        let masked = Masked::new(bytes, vec![ByteRange::new((3 << 20) - 1, 1)]);
        assert!(detect(&masked).is_some());
    }

    #[test]
    fn nothing_read_is_no_fill() {
        assert_eq!(detect(&Vec::new()), None);
        assert_eq!(
            detect(&Masked::new(vec![0; 4096], vec![ByteRange::new(0, 4096)])),
            None
        );
    }
}
