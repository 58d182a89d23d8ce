//! Where chunks lie.

use std::sync::Arc;

use ntt_model::ByteRange;
use ntt_source::{ReadAt, ReadError, field};

use super::adler;
use super::section::Section;
use crate::layout::read_upto;
use crate::pages::Pages;

/// Bytes of a table before its entries.
const HEADER_BYTES: u64 = 24;
const ENTRY_BYTES: u64 = 4;
/// Set in the entry of a chunk that is compressed.
const COMPRESSED: u32 = 1 << 31;
/// Entries whose checksum is verified when the table is found; more than any program writes into one.
const CHECKED_MAX: u64 = 1 << 20;

/// A table of chunks that follow each other.
#[derive(Clone, Debug)]
pub(super) struct Table {
    file: usize,
    entries_at: u64,
    count: u64,
    base: u64,
    /// Where the section of the table begins: the chunks of EnCase lie before it, those of SMART behind its entries.
    section: ByteRange,
    is_right: bool,
}

impl Table {
    /// `None` if its header makes no sense.
    pub(super) fn parse(segment: &Arc<dyn ReadAt>, file: usize, section: &Section) -> Option<Self> {
        let data = section.data();
        let header = read_upto(segment, data.offset, HEADER_BYTES).ok()?;
        let count = u64::from(field::le_u32(&header, 0)?);
        let entries_at = data.offset.checked_add(HEADER_BYTES)?;
        let len = count.checked_mul(ENTRY_BYTES)?;
        if count == 0 || len > data.len {
            return None;
        }
        let header_is_right = adler::ends_with_sum(&header, 20);
        let entries_are_right = count <= CHECKED_MAX
            && read_upto(segment, entries_at, len.saturating_add(ENTRY_BYTES)).is_ok_and(|entries| {
                let has_sum = data.len >= HEADER_BYTES.saturating_add(len).saturating_add(ENTRY_BYTES);
                !has_sum || adler::ends_with_sum(&entries, usize::try_from(len).unwrap_or(0))
            });
        Some(Self {
            file,
            entries_at,
            count,
            base: field::le_u64(&header, 8)?,
            section: data,
            is_right: header_is_right && entries_are_right,
        })
    }
}

/// All tables of an image, in the order of the chunks.
#[derive(Default)]
pub(super) struct Tables {
    files: Vec<(Arc<dyn ReadAt>, Pages)>,
    /// The number of the first chunk of each, ascending.
    tables: Vec<(u64, Table)>,
    /// The sections of chunks, by file.
    sectors: Vec<(usize, ByteRange)>,
    chunks: u64,
}

/// Where one chunk lies.
pub(super) struct Chunk<'a> {
    pub(super) source: &'a dyn ReadAt,
    pub(super) offset: u64,
    /// Bytes up to whatever follows; more than the chunk where that is not known.
    pub(super) len: u64,
    pub(super) is_compressed: bool,
}

impl Tables {
    pub(super) fn add_file(&mut self, source: Arc<dyn ReadAt>) -> usize {
        self.files.push((source.clone(), Pages::new(source)));
        self.files.len().saturating_sub(1)
    }

    pub(super) fn note_sectors(&mut self, file: usize, range: ByteRange) {
        self.sectors.push((file, range));
    }

    /// How many chunks are listed.
    pub(super) fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Adds a table, or puts it in the place of the one that it is the copy of, if that is wrong; tells whether it did that.
    pub(super) fn add(&mut self, table: Table, is_second: bool) -> bool {
        if is_second
            && let Some((_, first)) = self.tables.last_mut()
            && first.file == table.file
            && first.count == table.count
        {
            let replaces = !first.is_right && table.is_right;
            if replaces {
                *first = table;
            }
            return replaces;
        }
        let is_stray_copy = is_second
            && self
                .tables
                .last()
                .is_some_and(|(_, first)| first.file == table.file && first.is_right);
        if is_stray_copy {
            return false;
        }
        let count = table.count;
        self.tables.push((self.chunks, table));
        self.chunks = self.chunks.saturating_add(count);
        false
    }

    /// Where a chunk lies; `None` if no table lists it.
    pub(super) fn find(&self, number: u64) -> Result<Option<Chunk<'_>>, ReadError> {
        let after = self.tables.partition_point(|(first, _)| *first <= number);
        let Some((first, table)) = after.checked_sub(1).and_then(|at| self.tables.get(at)) else {
            return Ok(None);
        };
        let index = number.saturating_sub(*first);
        let Some((source, pages)) = self.files.get(table.file).filter(|_| index < table.count) else {
            return Ok(None);
        };
        let entry =
            |index: u64| pages.le_u32(table.entries_at.saturating_add(index.saturating_mul(ENTRY_BYTES)));
        let raw = entry(index)?;
        let offset = |raw: u32| table.base.saturating_add(u64::from(raw & !COMPRESSED));
        let start = offset(raw);
        let next = index.saturating_add(1);
        let end = if next < table.count {
            offset(entry(next)?)
        } else {
            self.end_of(table, start)
        };
        Ok(Some(Chunk {
            source,
            offset: start,
            len: end.saturating_sub(start),
            is_compressed: raw & COMPRESSED != 0,
        }))
    }

    /// The end of the section in which the last chunk of a table lies.
    fn end_of(&self, table: &Table, start: u64) -> u64 {
        let mut sections = self.sectors.iter().filter(|(file, _)| *file == table.file);
        let holds = |range: &ByteRange| range.offset <= start && start < range.end();
        let section = sections.find(|(_, range)| holds(range)).map(|(_, range)| *range);
        section
            .or_else(|| holds(&table.section).then_some(table.section))
            .map_or(u64::MAX, |range| range.end())
    }
}
