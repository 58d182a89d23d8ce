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

impl Fill {
    /// What is known after `len` more bytes that are `byte`; `None` if those before are another.
    fn with(before: Option<Self>, byte: u8, len: u64) -> Option<Self> {
        let before = before.unwrap_or(Self {
            byte,
            examined_bytes: 0,
            unread_bytes: 0,
        });
        (before.byte == byte).then(|| Self {
            examined_bytes: before.examined_bytes.saturating_add(len),
            ..before
        })
    }
}

/// Reads the whole source, but for what is known to be zeros; `None` as soon as two bytes differ, or if not one byte could be read.
///
/// Bytes that were never rescued are skipped exactly; after an I/O error the rest of that block (1 MiB) is skipped.
pub fn detect(source: &dyn ReadAt) -> Option<Fill> {
    let mut fill: Option<Fill> = None;
    let mut unread_bytes = 0_u64;
    let mut position = 0;
    let mut buffer = vec![0; usize::try_from(BLOCK_BYTES).unwrap_or(0)];
    while position < source.len() {
        let zeros = source.zeros_until(position).saturating_sub(position);
        if zeros > 0 {
            fill = Some(Fill::with(fill, 0, zeros)?);
            position = position.saturating_add(zeros);
            continue;
        }
        let wanted = ByteRange::new(position, BLOCK_BYTES.min(source.len().saturating_sub(position)));
        let readable = readable_head(source, wanted, &mut buffer);
        let block = buffer.get(..usize::try_from(readable.len).unwrap_or(0))?;
        if let Some(first) = block.first() {
            let known = Fill::with(fill, *first, readable.len)?;
            if block.iter().any(|byte| *byte != known.byte) {
                return None;
            }
            fill = Some(known);
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
    use std::os::unix::fs::FileExt;

    use ntt_source::{FileSource, Masked};

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

    /// R13: what is known to be zeros counts like zeros that were read.
    #[test]
    fn r13_holes_are_zeros_that_were_examined() -> std::io::Result<()> {
        let file = tempfile::tempfile()?;
        file.set_len(5 << 20)?;
        let detect = |file: &std::fs::File| {
            Ok::<_, std::io::Error>(detect(&FileSource::from_file(file.try_clone()?)?))
        };
        let expected = Fill {
            byte: 0,
            examined_bytes: 5 << 20,
            unread_bytes: 0,
        };
        assert_eq!(detect(&file)?, Some(expected));
        file.write_all_at(&[0; 4096], 2 << 20)?;
        assert_eq!(detect(&file)?, Some(expected));
        file.write_all_at(&[1; 4096], 2 << 20)?;
        assert_eq!(detect(&file)?, None, "other bytes between zeros");
        file.write_all_at(&[1; 2 << 20], 0)?;
        assert_eq!(detect(&file)?, None, "zeros behind other bytes");
        Ok(())
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
