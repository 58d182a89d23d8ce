//! Reading one directory: sectors of records become entries, and what is wrong with them becomes findings.

use std::collections::VecDeque;

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};

use super::apple::{self, FinderInfo};
use super::disc::{Disc, SECTOR_BYTES};
use super::record::{FLAG_ASSOCIATED, FLAG_DIRECTORY, FLAG_MORE, Record, Section};
use super::rock_ridge::RockRidge;
use super::susp;

/// Bytes read at a time.
const CHUNK_BYTES: u64 = 64 * 1024;
/// Sectors without a single record after which a directory whose length cannot be right is left.
const BARREN_SECTORS_MAX: u32 = 16;

/// How the records of a tree are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordFormat {
    /// Logical block size.
    pub(super) block_bytes: u64,
    /// Where SUSP entries start in a system use area; `None` if the tree has none.
    pub(super) susp_skip: Option<usize>,
}

/// A run of bytes that holds a directory's records.
pub(super) type DirectoryRange = ByteRange;

/// A file, directory or other thing that a directory names, put together from its records.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Where its first record stands, from the start of the volume.
    pub(super) offset: u64,
    /// The identifier as recorded.
    pub(super) identifier: Vec<u8>,
    pub(super) flags: u8,
    /// The sections of its bytes, in order (ECMA-119 6.5: more than one above 4 GiB).
    pub(super) sections: Vec<Section>,
    /// Recording date, undecoded.
    pub(super) date: [u8; 7],
    pub(super) rock_ridge: RockRidge,
    /// Type and creator of a Macintosh file.
    pub(super) finder_info: Option<FinderInfo>,
    /// The sections of its associated file, a Macintosh resource fork.
    pub(super) fork: Vec<Section>,
    /// The last record says that more follow, but none does.
    pub(super) incomplete: bool,
}

impl Entry {
    pub(super) fn is_directory(&self) -> bool {
        self.flags & FLAG_DIRECTORY != 0
    }

    /// Length of the content.
    pub(super) fn size_bytes(&self) -> u64 {
        total(&self.sections)
    }
}

/// Length of the bytes of a list of sections.
pub(super) fn total(sections: &[Section]) -> u64 {
    sections.iter().map(|section| u64::from(section.len)).sum()
}

/// What reading a directory gives.
#[derive(Debug)]
pub(super) enum Item {
    Entry(Box<Entry>),
    /// The directory's record of itself.
    Itself(Box<Entry>),
    Finding(Finding),
}

/// Reads a directory sector by sector; memory is that of one chunk and the records of one sector.
pub(super) struct DirectoryReader<'d, 's> {
    disc: &'d Disc<'s>,
    format: RecordFormat,
    start: u64,
    end: u64,
    next_sector: u64,
    chunk: Vec<u8>,
    chunk_offset: u64,
    queue: VecDeque<Item>,
    pending: Option<Box<Entry>>,
    fork: Option<Box<Entry>>,
    barren: u32,
    /// Where a run of sectors without a record began.
    empty_from: Option<u64>,
    /// Bytes after the last record of the sector before; 0 if it is not known.
    padding: usize,
    /// Sectors that were not read or held corrupt records: the listing may lack entries.
    damaged: bool,
    /// Continuation areas that were read.
    continuations: Vec<ByteRange>,
}

impl<'d, 's> DirectoryReader<'d, 's> {
    /// Starts reading the directory at `range` (volume offsets), which may pass the end of the image.
    pub(super) fn new(disc: &'d Disc<'s>, format: RecordFormat, range: DirectoryRange) -> Self {
        let mut reader = Self {
            disc,
            format,
            start: range.offset,
            end: range.end().min(disc.len()),
            next_sector: range.offset,
            chunk: Vec::new(),
            chunk_offset: range.offset,
            queue: VecDeque::new(),
            pending: None,
            fork: None,
            barren: 0,
            empty_from: None,
            padding: 0,
            damaged: false,
            continuations: Vec::new(),
        };
        if range.end() > disc.len() {
            let detail = format!("directory of {} bytes passes the end of the image", range.len);
            reader.damage(range.offset, FindingCode::BeyondEnd, detail);
        }
        reader
    }

    /// Whether entries may be missing from what was read so far.
    pub(super) fn damaged(&self) -> bool {
        self.damaged
    }

    /// Reads on until `end` (volume offset), if that is later than what was asked for.
    pub(super) fn extend_to(&mut self, end: u64) {
        self.end = self.end.max(end.min(self.disc.len()));
    }

    /// The continuation areas that were read since the last call.
    pub(super) fn take_continuations(&mut self) -> Vec<ByteRange> {
        std::mem::take(&mut self.continuations)
    }

    fn damage(&mut self, offset: u64, code: FindingCode, detail: impl Into<String>) {
        self.damaged = true;
        let kind = (Severity::Loss, Layer::Directory, code);
        self.queue
            .push_back(Item::Finding(self.disc.finding(kind, offset, detail)));
    }

    /// Parses the next sector into the queue; false at the end.
    fn advance(&mut self) -> bool {
        if self.next_sector >= self.end {
            return self.finish();
        }
        let offset = self.next_sector;
        // Records never cross a sector (ECMA-119 6.8.1.1), wherever the directory starts.
        let next = (offset / SECTOR_BYTES)
            .saturating_add(1)
            .saturating_mul(SECTOR_BYTES);
        let sector = ByteRange::new(offset, next.min(self.end).saturating_sub(offset));
        self.next_sector = next;
        if self.load(sector) {
            self.parse(sector);
        }
        if self.barren >= BARREN_SECTORS_MAX {
            let detail = format!(
                "no record in {BARREN_SECTORS_MAX} sectors: the directory's length is wrong; the rest is not read"
            );
            self.damage(offset, FindingCode::Corrupt, detail);
            self.next_sector = self.end;
            self.empty_from = None;
        }
        true
    }

    /// The last record was read: what waits for another one is as complete as it gets.
    fn finish(&mut self) -> bool {
        let waiting = self.pending.is_some() || self.fork.is_some() || self.empty_from.is_some();
        self.end_empty(self.end);
        self.flush_pending();
        if let Some(fork) = self.fork.take() {
            self.queue.push_back(Item::Entry(fork));
        }
        waiting
    }

    /// Makes sure that the chunk holds the sector; after an error only that sector is asked for again.
    fn load(&mut self, sector: ByteRange) -> bool {
        let held = ByteRange::new(self.chunk_offset, u64::try_from(self.chunk.len()).unwrap_or(0));
        if held.contains_range(&sector) {
            return true;
        }
        let chunk = CHUNK_BYTES.min(self.end.saturating_sub(sector.offset));
        if self.read(sector.offset, chunk).is_ok() {
            return true;
        }
        match self.read(sector.offset, sector.len) {
            Ok(()) => true,
            Err(error) => {
                let finding =
                    self.disc
                        .unreadable(Layer::Directory, sector.offset, "a sector of a directory", &error);
                self.damaged = true;
                self.padding = 0;
                self.queue.push_back(Item::Finding(finding));
                false
            }
        }
    }

    fn read(&mut self, offset: u64, len: u64) -> Result<(), ntt_source::ReadError> {
        self.chunk.clear();
        self.chunk
            .resize(usize::try_from(len.min(CHUNK_BYTES)).unwrap_or(0), 0);
        let result = self.disc.fill(offset, &mut self.chunk);
        if result.is_err() {
            self.chunk.clear();
        }
        self.chunk_offset = offset;
        result
    }

    fn parse(&mut self, sector: ByteRange) {
        let from = usize::try_from(sector.offset.saturating_sub(self.chunk_offset)).unwrap_or(usize::MAX);
        let len = usize::try_from(sector.len).unwrap_or(0);
        // The records are parsed from the chunk while entries are queued: it is put back afterwards.
        let chunk = std::mem::take(&mut self.chunk);
        let bytes = from.checked_add(len).and_then(|to| chunk.get(from..to));
        if self.records(bytes.unwrap_or_default(), sector.offset) {
            self.barren = 0;
        } else {
            self.barren = self.barren.saturating_add(1);
            self.empty_from.get_or_insert(sector.offset);
        }
        self.chunk = chunk;
    }

    /// A run of sectors without a record ends here. A directory has as many sectors as its records need (ECMA-119 6.8.1), so that they held some.
    fn end_empty(&mut self, end: u64) {
        if let Some(start) = self.empty_from.take() {
            let len = end.saturating_sub(start);
            let detail = format!("{len} bytes of the directory hold no record: what stood there is lost");
            self.damage(start, FindingCode::Corrupt, detail);
            self.padding = 0;
        }
    }

    /// The records of one sector. A length of 0 ends them: the rest is padding (ECMA-119 6.8.1.1), unless a record stands behind it.
    fn records(&mut self, bytes: &[u8], sector_offset: u64) -> bool {
        let mut found = false;
        let mut at = 0_usize;
        let mut is_whole = true;
        let blocks = self.disc.len().checked_div(self.format.block_bytes).unwrap_or(0);
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let offset = sector_offset.saturating_add(u64::try_from(at).unwrap_or(0));
            if rest.first() == Some(&0) {
                let Some(zeros) = next_record(rest, blocks) else {
                    break;
                };
                self.end_empty(sector_offset);
                let detail = format!("{zeros} bytes of zeros before a record: what stood there is lost");
                self.damage(offset, FindingCode::Corrupt, detail);
                (found, at) = (true, at.saturating_add(zeros));
                continue;
            }
            let Some(record) = Record::parse(rest).filter(|record| record.is_plausible(blocks)) else {
                self.end_empty(sector_offset);
                let detail = "not a directory record; the rest of the sector is not read";
                self.damage(offset, FindingCode::Corrupt, detail);
                is_whole = false;
                break;
            };
            if !found {
                self.end_empty(sector_offset);
                self.check_padding(record, offset);
            }
            self.check(record, offset);
            found = true;
            self.take(record, offset, blocks);
            at = at.saturating_add(record.len());
        }
        self.padding = if is_whole {
            bytes.len().saturating_sub(at)
        } else {
            0
        };
        found || !is_whole
    }

    /// Writers go to the next sector where a record does not fit into the rest of one (ECMA-119 6.8.1.1), genisoimage also where it just fits. If there was more room, others stood there.
    fn check_padding(&mut self, record: Record<'_>, offset: u64) {
        if self.padding > record.len() {
            let padding = u64::try_from(self.padding).unwrap_or(0);
            let detail = format!(
                "{padding} bytes without a record at the end of a sector, where the next one had room: what stood there is lost"
            );
            self.damage(offset.saturating_sub(padding), FindingCode::Corrupt, detail);
        }
    }

    /// A directory starts with the record of itself (ECMA-119 6.8.2.2), and no name ends with zeros.
    fn check(&mut self, record: Record<'_>, offset: u64) {
        if offset == self.start && !record.is_self() {
            let detail = "the directory does not start with the record of itself: what stood there is lost";
            self.damage(offset, FindingCode::Corrupt, detail);
        }
        if record.identifier().ends_with(&[0, 0]) {
            let detail = "a name ends with zeros: part of it is lost";
            self.damage(offset, FindingCode::Corrupt, detail);
        }
    }

    fn take(&mut self, record: Record<'_>, offset: u64, blocks: u64) {
        if !record.agrees() {
            let detail = "location or length of a directory record differ between their two byte orders";
            let kind = (Severity::Warning, Layer::Directory, FindingCode::Contradiction);
            self.queue
                .push_back(Item::Finding(self.disc.finding(kind, offset, detail)));
        }
        if record.is_parent() {
            return;
        }
        let entry = self.entry(record, offset, blocks);
        if record.is_self() && offset == self.start {
            self.queue.push_back(Item::Itself(entry));
            return;
        }
        self.fold(entry);
    }

    fn entry(&mut self, record: Record<'_>, offset: u64, blocks: u64) -> Box<Entry> {
        Box::new(Entry {
            offset,
            identifier: record.identifier().to_vec(),
            flags: record.flags(),
            sections: vec![record.section(blocks)],
            date: record.date(),
            rock_ridge: self.rock_ridge(record, offset),
            finder_info: apple::finder_info(record.system_use()),
            fork: Vec::new(),
            incomplete: false,
        })
    }

    fn rock_ridge(&mut self, record: Record<'_>, offset: u64) -> RockRidge {
        let mut rock_ridge = RockRidge::default();
        let area = self
            .format
            .susp_skip
            .and_then(|skip| record.system_use().get(skip..));
        if let Some(area) = area {
            let mut findings = Vec::new();
            let mut each = |entry: susp::SystemUseEntry<'_>| rock_ridge.add(entry);
            let read = susp::walk(
                self.disc,
                self.format.block_bytes,
                (offset, area),
                &mut each,
                &mut findings,
            );
            self.continuations.extend(read);
            self.queue.extend(findings.into_iter().map(Item::Finding));
        }
        rock_ridge
    }

    /// Joins the records of a file of several sections (ECMA-119 9.1.6, bit 7), then an associated file with the file
    /// of the same identifier that follows it (ECMA-119 9.3).
    fn fold(&mut self, entry: Box<Entry>) {
        let more = entry.flags & FLAG_MORE != 0;
        let entry = match self.pending.take() {
            Some(mut first) if first.identifier == entry.identifier => {
                first.sections.extend(entry.sections);
                first
            }
            other => {
                self.pending = other;
                self.flush_pending();
                entry
            }
        };
        if more && !entry.is_directory() {
            self.pending = Some(entry);
        } else {
            self.associate(entry);
        }
    }

    /// A file whose last section never came.
    fn flush_pending(&mut self) {
        if let Some(mut entry) = self.pending.take() {
            entry.incomplete = true;
            let detail = "the last section of a file of several sections is missing";
            self.damage(entry.offset, FindingCode::Corrupt, detail);
            self.associate(entry);
        }
    }

    fn associate(&mut self, mut entry: Box<Entry>) {
        let fork = self.fork.take();
        if entry.flags & (FLAG_ASSOCIATED | FLAG_DIRECTORY) == FLAG_ASSOCIATED {
            self.queue.extend(fork.map(Item::Entry));
            self.fork = Some(entry);
            return;
        }
        match fork {
            Some(fork) if fork.identifier == entry.identifier && !entry.is_directory() => {
                entry.fork = fork.sections;
            }
            other => self.queue.extend(other.map(Item::Entry)),
        }
        self.queue.push_back(Item::Entry(entry));
    }
}

/// Where behind zeros the next record begins, if there is one. Records begin at even bytes (ECMA-119 9.1.13); both of its byte orders must agree, as bytes that
/// are none at all may stand there.
fn next_record(bytes: &[u8], blocks: u64) -> Option<usize> {
    (2..bytes.len()).step_by(2).find(|at| {
        let record = bytes.get(*at..).and_then(Record::parse);
        record.is_some_and(|record| record.agrees() && record.is_plausible(blocks) && !record.is_empty())
    })
}

impl Iterator for DirectoryReader<'_, '_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.queue.pop_front() {
                return Some(item);
            }
            if !self.advance() && self.queue.is_empty() {
                return None;
            }
        }
    }
}
