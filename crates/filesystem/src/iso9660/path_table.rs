//! Path tables (ECMA-119 9.4): a second list of all directories, used where directory sectors are lost.

use std::collections::HashMap;

use ntt_model::ByteRange;
use ntt_source::ReadError;
use ntt_source::field::{be_u16, be_u32, le_u16, le_u32, u8_at};

use super::descriptor::Descriptor;
use super::disc::Disc;

/// Longest table that is read: 65,535 directories, beyond which parent numbers are ambiguous, of the longest record.
const TABLE_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// Parent numbers have 16 bits (ECMA-119 9.4.4).
const DIRECTORIES_MAX: usize = 65_535;

/// One directory of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PathTableEntry {
    /// Where the directory starts, from the start of the volume.
    pub(super) offset: u64,
    /// Index of its parent in the table; the root is its own.
    pub(super) parent: usize,
    /// Its identifier as recorded.
    pub(super) identifier: Vec<u8>,
}

/// The first of a volume's path tables that could be read.
#[derive(Debug, Default)]
pub(super) struct PathTable {
    pub(super) directories: Vec<PathTableEntry>,
    children: HashMap<u64, Vec<usize>>,
}

impl PathTable {
    /// Reads the first usable of the four recordings: L, optional L, M, optional M. Calls `unread` with the place of each before it that cannot
    /// be read.
    pub(super) fn read(
        disc: &Disc<'_>,
        descriptor: &Descriptor,
        mut unread: impl FnMut(u64, &ReadError),
    ) -> Option<Self> {
        ranges(descriptor).into_iter().find_map(|(range, big)| {
            let bytes = disc.bytes(range.offset, usize::try_from(range.len).ok()?);
            let bytes = bytes.inspect_err(|error| unread(range.offset, error)).ok()?;
            let directories = parse(&bytes, big, descriptor.block_bytes())?;
            let good = directories.first()?.offset == descriptor.root_offset();
            good.then(|| Self::new(directories))
        })
    }

    fn new(directories: Vec<PathTableEntry>) -> Self {
        let mut children: HashMap<u64, Vec<usize>> = HashMap::new();
        for (index, entry) in directories.iter().enumerate().skip(1) {
            if let Some(parent) = directories.get(entry.parent) {
                children.entry(parent.offset).or_default().push(index);
            }
        }
        Self {
            directories,
            children,
        }
    }

    /// The directories whose parent starts at `offset`.
    pub(super) fn children(&self, offset: u64) -> impl Iterator<Item = &PathTableEntry> {
        let indices = self.children.get(&offset).map(Vec::as_slice).unwrap_or_default();
        indices.iter().filter_map(|index| self.directories.get(*index))
    }
}

/// Where the tables stand, each with whether it is the big-endian type M.
pub(super) fn ranges(descriptor: &Descriptor) -> Vec<(ByteRange, bool)> {
    let small = |len: u32| len <= TABLE_BYTES_MAX;
    let len = descriptor.path_table_bytes.choose(small);
    let blocks = descriptor.path_tables.iter().zip([false, false, true, true]);
    blocks
        .filter(|(block, _)| **block != 0 && small(len))
        .map(|(block, big)| {
            let offset = u64::from(*block).saturating_mul(descriptor.block_bytes());
            (ByteRange::new(offset, u64::from(len)), big)
        })
        .collect()
}

/// The records of a table; `None` if one contradicts the format or there are more than parent numbers can tell apart.
fn parse(bytes: &[u8], big: bool, block_bytes: u64) -> Option<Vec<PathTableEntry>> {
    let mut directories = Vec::new();
    let mut at = 0_usize;
    while let Some(name_len) = u8_at(bytes, at).filter(|len| *len != 0) {
        let name_len = usize::from(name_len);
        let (location, parent) = (at.checked_add(2)?, at.checked_add(6)?);
        let (block, parent) = if big {
            (be_u32(bytes, location)?, be_u16(bytes, parent)?)
        } else {
            (le_u32(bytes, location)?, le_u16(bytes, parent)?)
        };
        let name = at.checked_add(8)?;
        let end = name.checked_add(name_len)?;
        let attributes = u64::from(u8_at(bytes, at.checked_add(1)?)?);
        directories.push(PathTableEntry {
            offset: u64::from(block)
                .checked_add(attributes)?
                .checked_mul(block_bytes)?,
            parent: usize::from(parent).checked_sub(1)?,
            identifier: bytes.get(name..end)?.to_vec(),
        });
        at = end.checked_add(name_len % 2)?;
        if directories.len() > DIRECTORIES_MAX {
            return None;
        }
    }
    Some(directories)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_in_both_byte_orders() {
        let little = b"\x01\0\x14\0\0\0\x01\0\0\0\x02\0\x15\0\0\0\x01\0AB\x01\0\x16\0\0\0\x02\0C\0";
        let big = b"\x01\0\0\0\0\x14\0\x01\0\0\x02\0\0\0\0\x15\0\x01AB\x01\0\0\0\0\x16\0\x02C\0";
        let directories = parse(little, false, 2048).unwrap();
        assert_eq!(directories, parse(big, true, 2048).unwrap());
        assert_eq!(directories.len(), 3);
        let table = PathTable::new(directories);
        let children: Vec<&[u8]> = table
            .children(20 * 2048)
            .map(|entry| &entry.identifier[..])
            .collect();
        assert_eq!(children, [b"AB"]);
        assert_eq!(table.children(21 * 2048).count(), 1);
    }

    #[test]
    fn a_record_that_passes_the_end_spoils_the_table() {
        assert_eq!(parse(b"\x09\0\x14\0\0\0\x01\0AB", false, 2048), None);
        assert_eq!(parse(b"\x01\0\x14\0\0\0\0\0\0\0", false, 2048), None);
    }
}
