//! Files that macOS compressed without telling: `com.apple.decmpfs`.
//!
//! Sources: `decmpfs.h` of Apple's xnu (the header and type 1); the documentation of libfsapfs, "Compression method", and `tsk_hfs.h` of the
//! Sleuth Kit (the other types). Numbers are little-endian, except in the header of a resource fork.

use ntt_model::{Codec, PackedUnit};
use ntt_source::field::{be_u32, le_u32, le_u64, u8_at};

/// Name of the attribute.
pub(crate) const ATTRIBUTE: &[u8] = b"com.apple.decmpfs";
/// Bytes of its header; what follows is content, for some types.
pub(crate) const HEADER_LEN: usize = 16;
/// Content is compressed in blocks of this length if it stands in the resource fork.
const BLOCK_BYTES: u64 = 65_536;
/// Bytes of a table of blocks that are read at once.
const TABLE_CHUNK: u64 = 65_536;

/// The header of the attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) kind: u32,
    /// Length of the content when it is decompressed.
    pub(crate) size: u64,
}

/// Where the compressed content stands, and how it is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Storage {
    /// In the attribute itself.
    Attribute(Codec),
    /// In the resource fork, in blocks.
    Fork(Codec),
    /// Not on the volume.
    Nowhere,
}

impl Header {
    /// The header at the start of the attribute's value.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        value.starts_with(b"fpmc").then_some(())?;
        Some(Self {
            kind: le_u32(value, 4)?,
            size: le_u64(value, 8)?,
        })
    }

    /// `None` for a type that is not known.
    pub(crate) fn storage(&self) -> Option<Storage> {
        Some(match self.kind {
            1 | 9 => Storage::Attribute(Codec::Stored),
            3 => Storage::Attribute(Codec::Zlib),
            4 => Storage::Fork(Codec::Zlib),
            5 => Storage::Nowhere,
            7 => Storage::Attribute(Codec::Lzvn),
            8 => Storage::Fork(Codec::Lzvn),
            10 => Storage::Fork(Codec::Stored),
            11 => Storage::Attribute(Codec::Lzfse),
            12 => Storage::Fork(Codec::Lzfse),
            _ => return None,
        })
    }
}

/// Whether a first byte says that what follows was not worth compressing.
fn is_marker(codec: Codec, byte: u8) -> bool {
    match codec {
        Codec::Zlib => byte & 0x0f == 0x0f,
        Codec::Lzvn => byte == 0x06,
        Codec::Lzfse => byte == 0xff,
        _ => true,
    }
}

/// The unit of content in the attribute; the stored stream is its whole value.
pub(crate) fn unit_in_attribute(header: &Header, codec: Codec, value: &[u8]) -> Vec<PackedUnit> {
    let body = value.get(HEADER_LEN..).unwrap_or_default();
    let body_len = u64::try_from(body.len()).unwrap_or(u64::MAX);
    let first = u8_at(body, 0);
    let has_marker = match codec {
        Codec::Stored => body_len == header.size.saturating_add(1),
        codec => first.is_some_and(|first| is_marker(codec, first)),
    };
    let skipped = u64::from(has_marker);
    let (codec, stored_len) = if has_marker || codec == Codec::Stored {
        (Codec::Stored, body_len.saturating_sub(skipped).min(header.size))
    } else {
        (codec, body_len)
    };
    if header.size == 0 {
        return Vec::new();
    }
    vec![PackedUnit {
        logical_offset: 0,
        len: header.size,
        stored_offset: 16_u64.saturating_add(skipped),
        stored_len,
        skip: 0,
        codec,
        is_whole: true,
    }]
}

/// Reads bytes of the resource fork.
pub(crate) type ReadFork<'r> = dyn FnMut(u64, &mut [u8]) -> Result<(), String> + 'r;

/// The resource fork that holds compressed content.
pub(crate) struct Fork<'r> {
    /// Its length.
    pub(crate) len: u64,
    pub(crate) read: &'r mut ReadFork<'r>,
}

impl Fork<'_> {
    fn bytes(&mut self, at: u64, len: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; len];
        (self.read)(at, &mut bytes).map(|()| bytes)
    }
}

/// The units of content in the resource fork, at most `units_max`; the stored stream is the fork.
pub(crate) fn units_in_fork(
    header: &Header,
    codec: Codec,
    fork: &mut Fork<'_>,
    units_max: u64,
) -> Result<Vec<PackedUnit>, String> {
    let count = header.size.div_ceil(BLOCK_BYTES);
    if count > units_max || count > fork.len {
        return Err(format!(
            "content of {} bytes in a resource fork of {}",
            header.size, fork.len
        ));
    }
    if count == 0 {
        return Ok(Vec::new());
    }
    let table = if codec == Codec::Zlib {
        Table::of_resource(fork, count)?
    } else {
        Table::at_start(fork, count)?
    };
    let mut units = Vec::new();
    let entries_per_chunk = TABLE_CHUNK.checked_div(table.entry_bytes).unwrap_or(1);
    let mut first = 0;
    while first < count {
        let entries = entries_per_chunk.min(count.saturating_sub(first));
        let at = table
            .offset
            .saturating_add(first.saturating_mul(table.entry_bytes));
        let len = entries
            .saturating_mul(table.entry_bytes)
            .saturating_add(8)
            .saturating_sub(table.entry_bytes);
        let chunk = fork.bytes(at, usize::try_from(len).unwrap_or(0))?;
        for index in 0..entries {
            let block = first.saturating_add(index);
            let within = usize::try_from(index.saturating_mul(table.entry_bytes)).unwrap_or(0);
            let stored = table.stored(&chunk, within);
            let unit = stored.and_then(|(offset, len)| unit(header, codec, fork, block, (offset, len)));
            units.push(
                unit.ok_or_else(|| format!("block {block} of {count} lies outside of the resource fork"))?,
            );
        }
        first = first.saturating_add(entries);
    }
    Ok(units)
}

fn unit(
    header: &Header,
    codec: Codec,
    fork: &mut Fork<'_>,
    block: u64,
    (offset, stored): (u64, u64),
) -> Option<PackedUnit> {
    (offset.checked_add(stored)? <= fork.len).then_some(())?;
    let logical_offset = block.checked_mul(BLOCK_BYTES)?;
    let len = header.size.checked_sub(logical_offset)?.min(BLOCK_BYTES);
    let mut unit = PackedUnit {
        logical_offset,
        len,
        stored_offset: offset,
        stored_len: stored,
        skip: 0,
        codec,
        is_whole: true,
    };
    // Only a block that is one byte longer than its content can be one that was not compressed: no need to look at the others.
    let mut first = [0];
    if stored == len.saturating_add(1)
        && (fork.read)(offset, &mut first).is_ok()
        && is_marker(codec, u8_at(&first, 0)?)
    {
        unit.stored_offset = offset.saturating_add(1);
        unit.stored_len = len;
        unit.codec = Codec::Stored;
    }
    Some(unit)
}

/// A table of blocks.
struct Table {
    /// Where it starts in the fork.
    offset: u64,
    /// 8: offset and length of each block. 4: offset of each block, which ends where the next starts.
    entry_bytes: u64,
    /// What the offsets count from.
    base: u64,
}

impl Table {
    /// The table in the one resource of a fork (zlib): a header in big-endian, then, after the length of the resource, the number of blocks.
    fn of_resource(fork: &mut Fork<'_>, count: u64) -> Result<Self, String> {
        let start = u64::from(be_u32(&fork.bytes(0, 16)?, 0).unwrap_or(0));
        let base = start.saturating_add(4);
        let blocks = u64::from(le_u32(&fork.bytes(base, 4)?, 0).unwrap_or(0));
        if blocks < count {
            return Err(format!("a table of {blocks} blocks, {count} expected"));
        }
        Ok(Self {
            offset: base.saturating_add(4),
            entry_bytes: 8,
            base,
        })
    }

    /// The table at the start of a fork (LZVN, LZFSE, none): its first entry, where the first block starts, is also its length.
    fn at_start(fork: &mut Fork<'_>, count: u64) -> Result<Self, String> {
        let len = u64::from(le_u32(&fork.bytes(0, 4)?, 0).unwrap_or(0));
        if len < count.saturating_add(1).saturating_mul(4) {
            return Err(format!("a table of {len} bytes for {count} blocks"));
        }
        Ok(Self {
            offset: 0,
            entry_bytes: 4,
            base: 0,
        })
    }

    /// Offset in the fork and length of the block whose entry is at `at` of the chunk.
    fn stored(&self, chunk: &[u8], at: usize) -> Option<(u64, u64)> {
        let first = u64::from(le_u32(chunk, at)?);
        let second = u64::from(le_u32(chunk, at.checked_add(4)?)?);
        let len = if self.entry_bytes == 8 {
            second
        } else {
            second.checked_sub(first)?
        };
        Some((self.base.checked_add(first)?, len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(kind: u8, size: u8, body: &[u8]) -> Vec<u8> {
        let mut value = b"fpmc".to_vec();
        value.extend_from_slice(&[kind, 0, 0, 0, size, 0, 0, 0, 0, 0, 0, 0]);
        value.extend_from_slice(body);
        value
    }

    fn in_attribute(kind: u8, size: u8, body: &[u8]) -> (Codec, u64, u64) {
        let value = value(kind, size, body);
        let header = Header::parse(&value).expect("a header");
        let Some(Storage::Attribute(codec)) = header.storage() else {
            panic!("in the attribute")
        };
        let units = unit_in_attribute(&header, codec, &value);
        assert_eq!((units[0].logical_offset, units[0].len), (0, u64::from(size)));
        (units[0].codec, units[0].stored_offset, units[0].stored_len)
    }

    #[test]
    fn content_in_the_attribute() {
        assert_eq!(in_attribute(1, 3, b"abc"), (Codec::Stored, 16, 3));
        assert_eq!(in_attribute(3, 9, b"\x78\x5eabc"), (Codec::Zlib, 16, 5));
        assert_eq!(in_attribute(3, 3, b"\xffabc"), (Codec::Stored, 17, 3));
        assert_eq!(in_attribute(7, 3, b"\x06abc"), (Codec::Stored, 17, 3));
        assert_eq!(in_attribute(7, 9, b"\xe3abc"), (Codec::Lzvn, 16, 4));
        assert_eq!(in_attribute(9, 3, b"\xccabc"), (Codec::Stored, 17, 3));
        assert_eq!(in_attribute(11, 9, b"bvx-abc"), (Codec::Lzfse, 16, 7));
        assert_eq!(in_attribute(11, 3, b"\xffabc"), (Codec::Stored, 17, 3));
    }

    #[test]
    fn unknown_types_and_no_header() {
        assert_eq!(Header::parse(b"cmpf0123456789ab"), None);
        assert_eq!(
            Header::parse(&value(99, 1, b"")).expect("a header").storage(),
            None
        );
        assert_eq!(
            Header::parse(&value(5, 1, b"")).expect("a header").storage(),
            Some(Storage::Nowhere)
        );
    }

    fn in_fork(codec: Codec, size: u64, bytes: &[u8]) -> Result<Vec<(u64, u64, Codec)>, String> {
        let header = Header { kind: 0, size };
        let mut read = |at: u64, buffer: &mut [u8]| {
            let start = usize::try_from(at).expect("small");
            let part = bytes.get(start..start + buffer.len()).ok_or("past the end")?;
            buffer.copy_from_slice(part);
            Ok(())
        };
        let mut fork = Fork {
            len: u64::try_from(bytes.len()).expect("small"),
            read: &mut read,
        };
        let units = units_in_fork(&header, codec, &mut fork, 1000)?;
        Ok(units
            .iter()
            .map(|unit| (unit.stored_offset, unit.stored_len, unit.codec))
            .collect())
    }

    #[test]
    fn blocks_by_a_list_of_offsets() {
        let mut bytes = Vec::new();
        for offset in [12_u32, 40, 45] {
            bytes.extend_from_slice(&offset.to_le_bytes());
        }
        bytes.resize(41, 0);
        bytes.extend_from_slice(&[1, 2, 3, 4]);
        bytes[40] = 6;
        let expected = vec![(12, 28, Codec::Lzvn), (41, 4, Codec::Stored)];
        assert_eq!(in_fork(Codec::Lzvn, 65_540, &bytes), Ok(expected));
        assert!(in_fork(Codec::Lzvn, 200_000, &bytes).is_err());
        assert!(in_fork(Codec::Lzvn, u64::MAX, &bytes).is_err());
        assert!(in_fork(Codec::Lzvn, 65_540, &bytes[..44]).is_err());
    }

    #[test]
    fn blocks_in_a_resource() {
        let mut bytes = vec![0; 0x104];
        bytes[2] = 1;
        for word in [2_u32, 20, 30, 50, 10] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.resize(0x104 + 60, 0);
        let expected = vec![(0x104 + 20, 30, Codec::Zlib), (0x104 + 50, 10, Codec::Zlib)];
        assert_eq!(in_fork(Codec::Zlib, 65_550, &bytes), Ok(expected));
        bytes[0x104] = 1;
        assert!(in_fork(Codec::Zlib, 65_550, &bytes).is_err());
    }
}
