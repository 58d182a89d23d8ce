//! The CRC-32 over the whole image, which the second version of the superblock keeps: the only witness that the format has of names and places.

use ntt_model::ByteRange;
use ntt_source::ReadAt;

use super::layout::{CRC_AT, Superblock, flag};

/// Bytes that are read at a time.
const STEP_BYTES: u64 = 64 << 10;

/// What the checksum of an image from its superblock to its end is, if the superblock says another; `None` also where there is none, or not all of the image can be read.
pub(super) fn contradiction(source: &dyn ReadAt, image: ByteRange, superblock: &Superblock) -> Option<u32> {
    if !superblock.has(flag::VERSION_2) || image.end() > source.len() {
        return None;
    }
    let mut hasher = crc32fast::Hasher::new();
    let mut at = image.offset;
    let mut bytes = Vec::new();
    while at < image.end() {
        let len = STEP_BYTES.min(image.end().saturating_sub(at));
        bytes.resize(usize::try_from(len).ok()?, 0);
        source.read_exact_at(at, &mut bytes).ok()?;
        if at == image.offset
            && let Some(field) = bytes.get_mut(CRC_AT)
        {
            // It was computed before it was written.
            field.fill(0);
        }
        hasher.update(&bytes);
        at = at.saturating_add(len);
    }
    Some(hasher.finalize()).filter(|computed| *computed != superblock.crc)
}
