//! The blocks of a file: pages of 4096 bytes, compressed one by one. Each has a pointer, which says where the page *ends*.
//!
//! Source: `fs/cramfs/README` and `inode.c` of the Linux kernel.

use ntt_codec::decode;
use ntt_model::entry::{Encoding, Stream, StreamKind};
use ntt_model::extent::push_joined;
use ntt_model::{Codec, Extent, ExtentKind, PackedUnit};
use ntt_source::{ReadAt, ReadError};

use super::layout::{RawInode, Superblock, flag};

const PAGE_BYTES: u64 = 4096;
const POINTER_BYTES: u64 = 4;
/// The longest stored page that the kernel takes.
const STORED_MAX: u64 = 2 * PAGE_BYTES;
/// With extended pointers: the page is stored as it is.
const UNCOMPRESSED: u32 = 1 << 31;
/// With extended pointers: the pointer is where the page begins, in words.
const DIRECT: u32 = 1 << 30;

/// Where a stored page lies, in bytes from the superblock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Page {
    start: u64,
    len: u64,
    codec: Codec,
}

/// Reads the pointers of one file.
struct Pages<'p> {
    source: &'p dyn ReadAt,
    superblock: &'p Superblock,
    base: u64,
    size: u64,
    table_end: u64,
    /// Where what the pointer before describes ends.
    end: u64,
}

impl Pages<'_> {
    fn u16(&self, at: u64) -> Result<u64, ReadError> {
        let mut bytes = [0; 2];
        self.source
            .read_exact_at(self.base.saturating_add(at), &mut bytes)?;
        Ok(self.superblock.order.half(&bytes, 0).map_or(0, u64::from))
    }

    /// Page `number`, whose pointer is `pointer`.
    fn page(&mut self, number: u64, pointer: u32) -> Result<Option<Page>, ReadError> {
        let is_extended = self.superblock.has(flag::EXTENDED_POINTERS);
        let place = if is_extended {
            pointer & !(UNCOMPRESSED | DIRECT)
        } else {
            pointer
        };
        let codec = if is_extended && pointer & UNCOMPRESSED != 0 {
            Codec::Stored
        } else {
            Codec::Zlib
        };
        let page = if is_extended && pointer & DIRECT != 0 {
            let start = u64::from(place).saturating_mul(4);
            let left = self.size.saturating_sub(number.saturating_mul(PAGE_BYTES));
            if codec == Codec::Stored {
                let len = left.min(PAGE_BYTES);
                Page { start, len, codec }
            } else {
                let len = self.u16(start)?;
                let start = start.saturating_add(2);
                Page { start, len, codec }
            }
        } else {
            let Some(len) = u64::from(place).checked_sub(self.end) else {
                return Ok(None);
            };
            Page {
                start: self.end,
                len,
                codec,
            }
        };
        self.end = page.start.saturating_add(page.len);
        Ok((page.len <= STORED_MAX).then_some(page))
    }

    fn all(&mut self, start: u64, pages: u64) -> (Vec<Page>, Option<Trouble>) {
        let mut found = Vec::new();
        self.end = self.table_end;
        for number in 0..pages {
            let mut bytes = [0; 4];
            let at = start.saturating_add(number.saturating_mul(POINTER_BYTES));
            let read = self
                .source
                .read_exact_at(self.base.saturating_add(at), &mut bytes);
            let pointer = self.superblock.order.word(&bytes, 0).unwrap_or(0);
            match read.and_then(|()| self.page(number, pointer)) {
                Ok(Some(page)) => found.push(page),
                Ok(None) => return (found, Some(Trouble::Corrupt(at))),
                Err(error) => return (found, Some(Trouble::Read(error, at))),
            }
        }
        (found, None)
    }
}

/// What cut the map of a file short, and where.
#[derive(Debug)]
pub(super) enum Trouble {
    Read(ReadError, u64),
    Corrupt(u64),
}

/// The stream of a file. `base` is the byte of the volume from which places count, `image_offset` where the volume stands in the image.
pub(super) fn stream(
    source: &dyn ReadAt,
    superblock: &Superblock,
    (base, image_offset): (u64, u64),
    inode: &RawInode,
) -> (Stream, Option<Trouble>) {
    let size = u64::from(inode.size);
    let count = size.div_ceil(PAGE_BYTES);
    let mut pages = Pages {
        source,
        superblock,
        base,
        size,
        table_end: inode.offset.saturating_add(count.saturating_mul(POINTER_BYTES)),
        end: 0,
    };
    let (pages, trouble) = pages.all(inode.offset, count);
    let (mut extents, mut units, mut stored) = (Vec::new(), Vec::new(), 0_u64);
    for (number, page) in (0..).zip(pages) {
        // A page of zeros is not stored.
        if page.len == 0 {
            continue;
        }
        let logical_offset = PAGE_BYTES.saturating_mul(number);
        units.push(PackedUnit {
            logical_offset,
            len: size.saturating_sub(logical_offset).min(PAGE_BYTES),
            stored_offset: stored,
            stored_len: page.len,
            skip: 0,
            codec: page.codec,
            // Linux takes a last page that was filled up.
            is_whole: size.saturating_sub(logical_offset) >= PAGE_BYTES,
        });
        push_joined(
            &mut extents,
            Extent {
                logical_offset: stored,
                image_offset: image_offset.saturating_add(base).saturating_add(page.start),
                len: page.len,
                kind: ExtentKind::Data,
            },
        );
        stored = stored.saturating_add(page.len);
    }
    let encoding = if units.is_empty() {
        Encoding::Plain
    } else {
        Encoding::Packed(units)
    };
    let stream = Stream {
        kind: StreamKind::Data,
        size_bytes: size,
        extents,
        encoding,
        extents_incomplete: trouble.is_some(),
    };
    (stream, trouble)
}

/// What is in a file of one page: the target of a symbolic link.
pub(super) fn target(
    source: &dyn ReadAt,
    superblock: &Superblock,
    base: u64,
    inode: &RawInode,
) -> Option<Vec<u8>> {
    let (stream, trouble) = stream(source, superblock, (base, 0), inode);
    let Encoding::Packed(units) = &stream.encoding else {
        return None;
    };
    let (unit, extent) = (units.first()?, stream.extents.first()?);
    (trouble.is_none() && units.len() == 1).then_some(())?;
    let mut stored = vec![0; usize::try_from(unit.stored_len).ok()?];
    source.read_exact_at(extent.image_offset, &mut stored).ok()?;
    let len = usize::try_from(unit.len).ok()?;
    let mut target = Vec::new();
    decode(unit.codec, &stored, &mut target, len).ok()?;
    (target.len() == len).then_some(target)
}
