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
    header_is_right: bool,
    entries_are_right: bool,
}

impl Table {
    fn is_right(&self) -> bool {
        self.header_is_right && self.entries_are_right
    }

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
            header_is_right,
            entries_are_right,
        })
    }
}

/// Tables in the order in which their segments have them, and where some are lacking. A table does not say which chunks it lists.
#[derive(Default)]
pub(super) struct Gathered {
    files: Vec<(Arc<dyn ReadAt>, Pages)>,
    tables: Vec<Table>,
    /// How many tables stand before a place where chunks may be lacking, ascending.
    gaps: Vec<usize>,
    /// Whether the copy of the last table is still to come.
    awaits_copy: bool,
    /// The sections of chunks, by file.
    sectors: Vec<(usize, ByteRange)>,
}

/// What became of a table that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Added {
    Table,
    /// It stands in for the one that it is the copy of.
    InPlaceOfFirst,
    /// A copy of a table that is there.
    Copy,
}

impl Gathered {
    pub(super) fn add_file(&mut self, source: Arc<dyn ReadAt>) -> usize {
        self.files.push((source.clone(), Pages::new(source)));
        self.awaits_copy = false;
        self.files.len().saturating_sub(1)
    }

    pub(super) fn note_sectors(&mut self, file: usize, range: ByteRange) {
        self.sectors.push((file, range));
    }

    /// Chunks may be lacking here.
    pub(super) fn note_gap(&mut self) {
        if self.gaps.last() != Some(&self.tables.len()) {
            self.gaps.push(self.tables.len());
        }
        self.awaits_copy = false;
    }

    /// Adds the first table of a pair.
    pub(super) fn add(&mut self, table: Table) {
        self.tables.push(table);
        self.awaits_copy = true;
    }

    /// Adds the second table of a pair, which counts if the first one is wrong or was not found.
    pub(super) fn add_copy(&mut self, table: Table) -> Added {
        let awaits_copy = std::mem::take(&mut self.awaits_copy);
        match self.tables.last_mut().filter(|_| awaits_copy) {
            Some(first) if !first.is_right() && table.is_right() => {
                *first = table;
                Added::InPlaceOfFirst
            }
            Some(_) => Added::Copy,
            None => {
                // What was lacking before it is the first one.
                if self.gaps.last() == Some(&self.tables.len()) {
                    self.gaps.pop();
                }
                self.tables.push(table);
                Added::Table
            }
        }
    }

    /// How many chunks are listed.
    pub(super) fn chunks(&self) -> u64 {
        count(&self.tables)
    }

    /// Gives each table its chunks, `needed` in all if that is known.
    ///
    /// Chunks that are lacking at one place are as many as no table lists; then both what stands before and what stands behind it is known. Of tables between two such places
    /// nobody knows which chunks they list, so they list none: bytes at a wrong place are worse than none (R22).
    pub(super) fn placed(mut self, needed: Option<u64>) -> Placed {
        if needed.is_some_and(|needed| needed != self.chunks()) {
            self.drop_doubtful();
        }
        let lacking = needed.map(|needed| needed.saturating_sub(self.chunks()));
        let end = self.tables.len();
        let (first, last) = match (self.gaps.first(), self.gaps.last()) {
            (Some(first), Some(last)) if lacking != Some(0) => (*first, *last),
            _ => (end, end),
        };
        // Without the number of all, nothing is counted from the end.
        let last = if lacking.is_none() { end } else { last };
        let needed = needed.unwrap_or_else(|| self.chunks());
        let behind = count(self.tables.get(last..).unwrap_or_default());
        let strays = count(self.tables.get(first..last).unwrap_or_default());
        let mut tables = Vec::new();
        let mut next = 0_u64;
        let mut lost = ByteRange::new(0, 0);
        for (at, table) in self.tables.into_iter().enumerate() {
            if at == last {
                let begin = needed.saturating_sub(behind).max(next);
                lost = ByteRange::new(next, begin.saturating_sub(next));
                next = begin;
            }
            if at < first || at >= last {
                let count = table.count;
                tables.push((next, table));
                next = next.saturating_add(count);
            }
        }
        if next < needed {
            lost = ByteRange::new(next, needed.saturating_sub(next));
        }
        let tables = Tables {
            files: self.files,
            tables,
            sectors: self.sectors,
        };
        Placed { tables, lost, strays }
    }

    /// Takes away tables whose number of chunks is not sure.
    fn drop_doubtful(&mut self) {
        let (mut kept, mut gaps) = (Vec::new(), Vec::new());
        let mut marks = std::mem::take(&mut self.gaps).into_iter().peekable();
        for (at, table) in std::mem::take(&mut self.tables).into_iter().enumerate() {
            if marks.next_if_eq(&at).is_some() || !table.header_is_right {
                gaps.push(kept.len());
            }
            if table.header_is_right {
                kept.push(table);
            }
        }
        gaps.extend(marks.map(|_| kept.len()));
        gaps.dedup();
        (self.tables, self.gaps) = (kept, gaps);
    }
}

/// Chunks of tables together.
fn count(tables: &[Table]) -> u64 {
    tables
        .iter()
        .map(|table| table.count)
        .fold(0, u64::saturating_add)
}

/// Tables that know their chunks.
pub(super) struct Placed {
    pub(super) tables: Tables,
    /// The chunks that no table lists, by number; none if its length is zero.
    pub(super) lost: ByteRange,
    /// How many of them are listed by tables of which nobody knows which chunks they list.
    pub(super) strays: u64,
}

/// All tables of an image, in the order of the chunks.
#[derive(Default)]
pub(super) struct Tables {
    files: Vec<(Arc<dyn ReadAt>, Pages)>,
    /// The number of the first chunk of each, ascending.
    tables: Vec<(u64, Table)>,
    /// The sections of chunks, by file.
    sectors: Vec<(usize, ByteRange)>,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of so many chunks whose entries begin at its `mark`.
    fn table(mark: u64, count: u64, is_right: bool) -> Table {
        Table {
            file: 0,
            entries_at: mark,
            count,
            base: 0,
            section: ByteRange::new(0, 0),
            header_is_right: is_right,
            entries_are_right: is_right,
        }
    }

    fn marks(placed: &Placed) -> Vec<(u64, u64)> {
        let tables = placed.tables.tables.iter();
        tables.map(|(first, table)| (*first, table.entries_at)).collect()
    }

    #[test]
    fn the_copy_of_a_lost_table_is_no_copy_of_the_one_before() {
        let mut gathered = Gathered::default();
        gathered.add(table(1, 10, true));
        assert_eq!(gathered.add_copy(table(2, 10, true)), Added::Copy);
        gathered.note_gap();
        assert_eq!(gathered.add_copy(table(4, 10, true)), Added::Table);
        gathered.add(table(5, 10, false));
        assert_eq!(gathered.add_copy(table(6, 10, true)), Added::InPlaceOfFirst);
        let placed = gathered.placed(Some(30));
        assert_eq!(marks(&placed), [(0, 1), (10, 4), (20, 6)]);
        assert_eq!((placed.lost.len, placed.strays), (0, 0));
    }

    #[test]
    fn what_stands_behind_one_gap_is_counted_from_the_end() {
        let mut gathered = Gathered::default();
        gathered.add(table(1, 10, true));
        gathered.note_gap();
        gathered.note_gap();
        gathered.add(table(2, 7, true));
        let placed = gathered.placed(Some(30));
        assert_eq!(marks(&placed), [(0, 1), (23, 2)]);
        assert_eq!(placed.lost, ByteRange::new(10, 13));
    }

    #[test]
    fn between_two_gaps_and_without_a_number_of_all_nothing_is_placed() {
        let gathered = || {
            let mut gathered = Gathered::default();
            gathered.add(table(1, 10, true));
            gathered.note_gap();
            gathered.add(table(2, 7, true));
            gathered.note_gap();
            gathered.add(table(3, 5, true));
            gathered
        };
        let placed = gathered().placed(Some(30));
        assert_eq!(marks(&placed), [(0, 1), (25, 3)]);
        assert_eq!((placed.lost, placed.strays), (ByteRange::new(10, 15), 7));
        let placed = gathered().placed(None);
        assert_eq!(marks(&placed), [(0, 1)]);
        assert_eq!((placed.lost, placed.strays), (ByteRange::new(10, 12), 12));
        // Nothing is lacking: what was lost held no table.
        assert_eq!(marks(&gathered().placed(Some(22))), [(0, 1), (10, 2), (17, 3)]);
    }

    /// A header whose checksum is wrong may tell any number.
    #[test]
    fn a_table_whose_number_of_chunks_is_doubtful_moves_nothing() {
        for (told, placed_at) in [(10, vec![(0, 1), (10, 2), (20, 3)]), (200, vec![(0, 1), (20, 3)])] {
            let mut gathered = Gathered::default();
            gathered.add(table(1, 10, true));
            gathered.add(table(2, told, false));
            gathered.add(table(3, 10, true));
            assert_eq!(marks(&gathered.placed(Some(30))), placed_at, "{told}");
        }
    }
}
