//! Which bytes are in use, from the bitmap of allocation blocks.

use ntt_model::ByteRange;

use super::fork::ForkBytes;
use super::volume::Volume;

/// Bytes of the bitmap read at once.
const CHUNK: usize = 65_536;

/// Calls `each` for every run of allocated bytes in image offsets, ascending. What the bitmap does not tell counts as allocated, and so does what
/// lies outside of the allocation blocks.
pub(crate) fn allocated(volume: &Volume<'_>, bitmap: &ForkBytes, each: &mut dyn FnMut(ByteRange)) {
    let end_of_blocks = volume.block_offset(volume.block_count);
    let mut runs = Runs {
        volume,
        current: 0..volume.first_block,
        each,
    };
    let mut block = 0_u32;
    let mut at = 0_u64;
    let mut chunk = vec![0; CHUNK];
    while block < volume.block_count && volume.block_offset(block) < volume.len() {
        let left = usize::try_from(bitmap.len.saturating_sub(at))
            .unwrap_or(CHUNK)
            .min(CHUNK);
        let Some(part) = chunk.get_mut(..left).filter(|part| !part.is_empty()) else {
            break;
        };
        if bitmap.read(volume, at, part).is_err() {
            part.fill(0xff);
        }
        block = runs.add_bits(block, part);
        at = at.saturating_add(u64::try_from(left).unwrap_or(0));
    }
    runs.add(volume.block_offset(block), end_of_blocks);
    runs.add(end_of_blocks, u64::MAX);
    runs.flush();
}

/// Joins runs and hands them on.
struct Runs<'r, 'a> {
    volume: &'r Volume<'a>,
    current: std::ops::Range<u64>,
    each: &'r mut dyn FnMut(ByteRange),
}

impl Runs<'_, '_> {
    /// Adds the blocks whose bits are set, from `block` on; the block after the last bit.
    fn add_bits(&mut self, mut block: u32, bits: &[u8]) -> u32 {
        for byte in bits {
            for bit in 0..8_u32 {
                if block >= self.volume.block_count {
                    return block;
                }
                if byte & 0x80_u8.rotate_right(bit) != 0 {
                    let next = block.saturating_add(1);
                    self.add(self.volume.block_offset(block), self.volume.block_offset(next));
                }
                block = block.saturating_add(1);
            }
        }
        block
    }

    fn add(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        if start <= self.current.end {
            self.current.end = self.current.end.max(end);
            return;
        }
        self.flush();
        self.current = start..end;
    }

    fn flush(&mut self) {
        let len = self.volume.len();
        let (start, end) = (self.current.start.min(len), self.current.end.min(len));
        if start < end {
            (self.each)(ByteRange::new(
                self.volume.home_in_image(start),
                end.saturating_sub(start),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_joined_and_what_is_unknown_is_allocated() {
        let mut bytes = vec![0; 400];
        bytes[0] = 0b1100_1000;
        let volume = Volume::new(Box::new(bytes), 1000, (16, 20), 32);
        let mut runs = Vec::new();
        allocated(&volume, &ForkBytes::whole(0, 1), &mut |range| {
            runs.push((range.offset, range.len));
        });
        // Before the blocks and blocks 0 and 1; block 4; blocks 8 on, of which the bitmap says nothing, and the tail.
        assert_eq!(runs, [(1000, 64), (1096, 16), (1160, 240)]);
    }
}
