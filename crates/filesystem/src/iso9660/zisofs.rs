//! zisofs: files compressed block by block (RRIP's `ZF` entry, added by zisofs-tools; `Documentation/filesystems/isofs.rst`, `fs/isofs/compress.c`).
//!
//! A compressed file begins with a header and a table of block pointers, one more than there are blocks, counted from the start of the file. A block
//! lies between its pointer and the next; one of no bytes is all zeros.

use std::convert::Infallible;

use ntt_model::entry::{Encoding, Stream};
use ntt_model::failure::Failure;
use ntt_model::{ByteRange, Codec, FindingCode, PackedUnit, Severity};
use ntt_source::extents::{Missing, Piece, read_extents};
use ntt_source::field::{le_u32, u8_at};
use ntt_source::{ReadAt, ReadError};

use super::disc::{Disc, both_u32};

/// Magic bytes of a compressed file.
const MAGIC: [u8; 8] = [0x37, 0xe4, 0x53, 0x96, 0xc9, 0xdb, 0xd6, 0x07];
/// The only algorithm of the original format. The later `PZ`, of libisofs, has another header.
const DEFLATE: &[u8] = b"pz";
/// Block sizes that the format allows, as powers of two.
const BLOCK_LOG2: std::ops::RangeInclusive<u8> = 15..=17;
/// Bytes of a block pointer.
const POINTER_BYTES: u64 = 4;

/// What a `ZF` entry says of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Zisofs {
    /// Length of the file after decompression.
    pub(super) size_bytes: u32,
    /// Whether it is compressed in the way that is read here.
    is_deflate: bool,
    header_bytes: u64,
    block_log2: u8,
}

/// What is to be said of a compressed file.
pub(super) type Remark = (Severity, FindingCode, String);

impl Zisofs {
    /// Reads the data of a `ZF` entry.
    pub(super) fn parse(data: &[u8]) -> Option<Self> {
        Some(Self {
            is_deflate: data.get(..2)? == DEFLATE,
            header_bytes: u64::from(u8_at(data, 2)?).saturating_mul(4),
            block_log2: u8_at(data, 3)?,
            size_bytes: both_u32(data, 4)?.choose(|_| true),
        })
    }

    /// Makes a stream of stored bytes a packed one. Reads the header and the block pointers; at most `max` blocks are kept.
    pub(super) fn unpack(self, disc: &Disc<'_>, stream: &mut Stream, max: u64) -> Option<Remark> {
        if !self.is_deflate || !BLOCK_LOG2.contains(&self.block_log2) {
            stream.encoding = Encoding::Unsupported;
            let detail = format!(
                "zisofs variant, {} bytes unpacked: kept as stored",
                self.size_bytes
            );
            return Some((Severity::Info, FindingCode::Unsupported, detail));
        }
        let blocks = u64::from(self.size_bytes).div_ceil(self.block_bytes());
        let (header, missing) = fetch(
            disc,
            stream,
            ByteRange::new(0, u64::try_from(MAGIC.len()).unwrap_or(0)),
        );
        if missing.ranges.is_empty() && header != MAGIC {
            let detail = "said to be compressed (zisofs), but does not begin so: kept as stored".to_owned();
            return Some((Severity::Warning, FindingCode::Corrupt, detail));
        }
        let kept = blocks.min(max);
        let table = ByteRange::new(
            self.header_bytes,
            kept.saturating_add(1).saturating_mul(POINTER_BYTES),
        );
        let (table, missing) = fetch(disc, stream, table);
        let pointers: Vec<u64> = table
            .chunks_exact(4)
            .map_while(|pointer| le_u32(pointer, 0).map(u64::from))
            .collect();
        let units = self.units(&pointers);
        let known = pointers.len().saturating_sub(1);
        stream.size_bytes = u64::from(self.size_bytes);
        stream.encoding = Encoding::Packed(units);
        let is_short = u64::try_from(known).is_ok_and(|known| known < blocks);
        stream.extents_incomplete |= is_short;
        is_short.then(|| self.cut(known, blocks, missing.failure))
    }

    fn block_bytes(self) -> u64 {
        1_u64.checked_shl(u32::from(self.block_log2)).unwrap_or(u64::MAX)
    }

    /// A unit for every block that is no hole. Pointers that run backwards give a unit without stored bytes, which is corrupt, not a hole.
    fn units(self, pointers: &[u64]) -> Vec<PackedUnit> {
        let size = u64::from(self.size_bytes);
        let mut units = Vec::new();
        for (index, pair) in (0_u64..).zip(pointers.windows(2)) {
            let &[from, to] = pair else { continue };
            let logical_offset = index.saturating_mul(self.block_bytes());
            if from != to {
                units.push(PackedUnit {
                    logical_offset,
                    len: self.block_bytes().min(size.saturating_sub(logical_offset)),
                    stored_offset: from,
                    stored_len: to.saturating_sub(from),
                    skip: 0,
                    codec: Codec::Zlib,
                    // Linux takes a last block that was filled up.
                    is_whole: size.saturating_sub(logical_offset) >= self.block_bytes(),
                });
            }
        }
        units
    }

    fn cut(self, known: usize, blocks: u64, failure: Option<Failure>) -> Remark {
        let why = failure.map_or_else(|| "too many blocks".to_owned(), |failure| failure.detail);
        let detail = format!("only {known} of {blocks} block pointers (zisofs): {why}");
        (Severity::Loss, FindingCode::Limit, detail)
    }
}

/// The stored bytes of a range up to the first that is missing. The caller bounds the range.
fn fetch(disc: &Disc<'_>, stream: &Stream, range: ByteRange) -> (Vec<u8>, Missing) {
    let mut bytes = Vec::new();
    let mut take = |piece: Piece<'_>| -> Result<(), Infallible> {
        match piece {
            Piece::Bytes(more) => bytes.extend_from_slice(more),
            // The bytes of a file on a disc are all recorded: zeros stand for what is missing.
            Piece::Zeros(_) => {}
        }
        Ok(())
    };
    let read = read_extents(&InImage(disc), &stream.extents, true, range, &mut take);
    let missing = read.unwrap_or_else(|never| match never {});
    let good = missing.ranges.first().map_or(range.end(), |first| first.offset);
    bytes.truncate(usize::try_from(good.saturating_sub(range.offset)).unwrap_or(0));
    (bytes, missing)
}

/// The disc as extents see it: by image offsets.
struct InImage<'a>(&'a Disc<'a>);

impl ReadAt for InImage<'_> {
    fn len(&self) -> u64 {
        self.0.in_image(self.0.len())
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        match offset.checked_sub(self.0.in_image(0)) {
            Some(offset) => self.0.fill(offset, buffer),
            None => Err(ReadError::beyond_end(
                offset,
                u64::try_from(buffer.len()).unwrap_or(u64::MAX),
                self.len(),
            )),
        }
    }
}
