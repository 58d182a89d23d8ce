//! From the block lengths of a file to its stream. Blocks lie one behind the other; the end of a file may be a part of a fragment, which several files share.

use ntt_model::entry::{Encoding, Stream, StreamKind};
use ntt_model::extent::push_joined;
use ntt_model::{Codec, Extent, ExtentKind, PackedUnit};

use super::tables::{self, Fragment};
use super::volume::{Fault, Metadata, Volume};

/// Bit of a block's length that says that it is not compressed.
const STORED: u32 = 1 << 24;

/// Bytes of the image that a stored block takes at least; no codec makes fewer of a block. An image bounds by this what a file may have.
const STORED_BYTES_MIN: u64 = 8;

/// Blocks and fragment of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) start: u64,
    pub(super) size: u64,
    pub(super) fragment: Option<(u32, u32)>,
}

/// A stream while its blocks come in.
struct Builder {
    codec: Codec,
    extents: Vec<Extent>,
    units: Vec<PackedUnit>,
    stored: u64,
}

impl Builder {
    /// Adds `len` bytes at `logical` that come out of the `size` (with its bit) stored bytes at `image_offset`: a block of the file's own, or a part of a fragment
    /// after `skip` bytes of others.
    fn add(&mut self, (logical, len): (u64, u64), image_offset: u64, size: u32, skip: Option<u64>) {
        let stored_len = u64::from(size & !STORED);
        self.units.push(PackedUnit {
            logical_offset: logical,
            len,
            stored_offset: self.stored,
            stored_len,
            skip: skip.unwrap_or(0),
            codec: if size & STORED == 0 {
                self.codec
            } else {
                Codec::Stored
            },
            is_whole: skip.is_none(),
        });
        let extent = Extent {
            logical_offset: self.stored,
            image_offset,
            len: stored_len,
            kind: ExtentKind::Data,
        };
        push_joined(&mut self.extents, extent);
        self.stored = self.stored.saturating_add(stored_len);
    }

    /// Plain extents, if nothing is compressed and every block is as long as what comes out of it.
    fn plain(&self) -> Option<Vec<Extent>> {
        let mut plain = Vec::new();
        let mut extents = self.extents.iter().copied().peekable();
        for unit in &self.units {
            let first = unit.stored_offset.checked_add(unit.skip)?;
            let fits = unit.codec == Codec::Stored && unit.skip.checked_add(unit.len)? <= unit.stored_len;
            fits.then_some(())?;
            while extents
                .peek()
                .is_some_and(|extent| extent.logical_offset.saturating_add(extent.len) <= unit.stored_offset)
            {
                extents.next();
            }
            let within = first.checked_sub(extents.peek()?.logical_offset)?;
            push_joined(
                &mut plain,
                Extent {
                    logical_offset: unit.logical_offset,
                    image_offset: extents.peek()?.image_offset.checked_add(within)?,
                    len: unit.len,
                    kind: ExtentKind::Data,
                },
            );
        }
        Some(plain)
    }
}

/// The stream of a file, and what cut it short. `lengths` stands at the lengths of its blocks.
pub(super) fn stream(
    volume: &Volume<'_>,
    layout: Layout,
    lengths: &mut Metadata<'_, '_>,
    extents_max: u64,
) -> (Stream, Option<Fault>) {
    let mut builder = Builder {
        codec: volume.superblock.codec,
        extents: Vec::new(),
        units: Vec::new(),
        stored: 0,
    };
    let fault = fill(volume, layout, lengths, extents_max, &mut builder).err();
    let (extents, encoding) = match builder.plain() {
        Some(extents) => (extents, Encoding::Plain),
        None => (builder.extents, Encoding::Packed(builder.units)),
    };
    let stream = Stream {
        kind: StreamKind::Data,
        size_bytes: layout.size,
        extents,
        encoding,
        extents_incomplete: fault.is_some(),
    };
    (stream, fault)
}

fn fill(
    volume: &Volume<'_>,
    layout: Layout,
    lengths: &mut Metadata<'_, '_>,
    extents_max: u64,
    builder: &mut Builder,
) -> Result<(), Fault> {
    let block_bytes = u64::from(volume.superblock.block_bytes);
    let at = lengths.position();
    let corrupt = |detail: String| Fault::Corrupt(detail, at);
    let whole = layout.size.checked_div(block_bytes).unwrap_or(0);
    let rest = layout.size.checked_rem(block_bytes).unwrap_or(0);
    let blocks = if rest > 0 && layout.fragment.is_none() {
        whole.saturating_add(1)
    } else {
        whole
    };
    let units_max = volume.source_len() / STORED_BYTES_MIN;
    let mut place = layout.start;
    for number in 0..blocks {
        if number >= extents_max || u64::try_from(builder.units.len()).is_ok_and(|units| units >= units_max) {
            return Err(corrupt(format!(
                "a file of {} bytes has too many blocks",
                layout.size
            )));
        }
        let size = lengths.u32()?;
        let stored_len = u64::from(size & !STORED);
        // An incompressible block of old versions may be as long as a block; none is longer.
        if stored_len > block_bytes {
            return Err(corrupt(format!("a block of content has {stored_len} bytes")));
        }
        let logical = number.saturating_mul(block_bytes);
        let len = layout.size.saturating_sub(logical).min(block_bytes);
        if stored_len > 0 {
            builder.add((logical, len), volume.in_image(place), size, None);
        }
        place = place.saturating_add(stored_len);
    }
    let Some((fragment, offset)) = layout.fragment.filter(|_| rest > 0) else {
        return Ok(());
    };
    let Some(Fragment { start, size }) = tables::fragment(volume, fragment)? else {
        return Err(corrupt(format!("there is no fragment {fragment}")));
    };
    if u64::from(size & !STORED) > block_bytes || u64::from(offset) >= block_bytes {
        return Err(corrupt("a fragment is longer than a block".to_owned()));
    }
    let logical = whole.saturating_mul(block_bytes);
    let skip = Some(u64::from(offset));
    builder.add((logical, rest), volume.in_image(start), size, skip);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::superblock::Superblock;
    use super::super::volume::Place;
    use super::*;

    /// A file of blocks of a byte: an image of some KiB, compressed, made a map of 200 MB.
    #[test]
    fn r22_more_blocks_than_the_image_can_hold_are_not_mapped() {
        let block = [&0xa000_u16.to_le_bytes()[..], &1_u32.to_le_bytes().repeat(2048)].concat();
        let image = block.repeat(16);
        let most = image.len() / 8;
        let volume = Volume::new(Box::new(image), 0, Superblock::bare(u64::MAX));
        let layout = Layout {
            start: 0,
            size: 1 << 40,
            fragment: None,
        };
        let mut lengths = volume.metadata(0, Place { block: 0, offset: 0 });
        let (stream, fault) = stream(&volume, layout, &mut lengths, u64::MAX);
        assert!(
            matches!(&fault, Some(Fault::Corrupt(detail, _)) if detail.contains("too many blocks")),
            "{fault:?}"
        );
        assert!(stream.extents_incomplete);
        let Encoding::Packed(units) = stream.encoding else {
            panic!("the blocks are compressed");
        };
        assert_eq!(units.len(), most);
    }
}
