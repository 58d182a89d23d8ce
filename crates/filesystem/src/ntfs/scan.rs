//! One scan: all records of the MFT in order, then all directories from the root, then what has no name.
//!
//! The sweep emits every file and remembers, in eight bytes a name, which record has a name in which directory ([`Links`]). The walk then takes the
//! names from the indexes, which lie together, and those that an index lacks from the records. So a broken index costs nothing, and a
//! broken record only its content: its name, size and times are in the index.

use std::collections::{BTreeMap, BTreeSet};

use ntt_model::entry::Allocation;
use ntt_model::{Finding, FindingCode, Layer, ScanEvent, Severity};
use ntt_source::field::u8_at;

use super::attribute::{Attributes, kind};
use super::file_name::FileName;
use super::gather::Gathered;
use super::inode::Builder;
use super::links::{Link, Links};
use super::record::{FILE, Record};
use super::security::Owners;
use super::system;
use super::volume::Volume;
use super::walk::Pending;
use crate::report::{Report, unreadable};
use crate::seen::{Mark, Seen};
use crate::{ScanOptions, Stop, Visitor};

/// Bytes of the MFT that are read at once.
const CHUNK_BYTES: u64 = 256 << 10;
/// Record of the root directory.
pub(super) const ROOT: u32 = 5;
/// Records below this one are the file system's own, but for the root.
pub(super) const SYSTEM_END: u32 = 12;
/// Records below this one are reserved; without a name they hold nothing.
const RESERVED_END: u32 = 24;
/// Damaged records that are remembered one by one.
const DAMAGED_MAX: usize = 1 << 20;

/// What is done with a record and its names.
type EachNamed<'f, 's, 'a> =
    dyn FnMut(&mut Scan<'s, 'a>, Record<'_>, &[FileName<'_>]) -> Result<(), Stop> + 'f;

/// The state of a scan.
pub(super) struct Scan<'s, 'a> {
    pub(super) volume: &'s Volume<'a>,
    pub(super) options: &'s ScanOptions,
    visitor: &'s mut dyn Visitor,
    pub(super) report: Report,
    pub(super) seen: Seen,
    /// Names of files in use.
    pub(super) links: Links,
    /// Names of deleted files, if they are asked for.
    pub(super) deleted_links: Links,
    pub(super) pending: Pending,
    /// Names whose directory is another one by now: directory, record, whether deleted.
    pub(super) misplaced: Vec<(u32, u32, bool)>,
    /// Files of which something is broken, perhaps a name.
    pub(super) damaged: BTreeSet<u32>,
    /// Blocks of indexes that may still be read.
    pub(super) index_budget: u64,
    builder: Builder<'s, 'a>,
    /// Directories of the file system's own files; they and what they hold are not listed.
    pub(super) system: BTreeSet<u32>,
    /// Records that continue others: base, record.
    extensions: Vec<(u32, u32)>,
    /// Files whose records could not all be found by their attribute list.
    deferred: Vec<u32>,
    /// For those, the records that say themselves that they continue them.
    continued: BTreeMap<u32, Vec<u32>>,
}

impl<'s, 'a> Scan<'s, 'a> {
    /// A scan of `volume` into `visitor`.
    pub(super) fn new(
        volume: &'s Volume<'a>,
        options: &'s ScanOptions,
        visitor: &'s mut dyn Visitor,
    ) -> Self {
        volume.refill();
        // Indexes may name records that a damaged map lost.
        let possible = volume
            .source
            .len()
            .checked_div(volume.geometry.record_bytes)
            .unwrap_or(0);
        let last = possible.max(u64::from(RESERVED_END));
        // Every cluster of the source may hold a block of an index; twice that is generous.
        let index_budget = (volume.source.len() / 512).saturating_add(1024);
        Self {
            volume,
            options,
            visitor,
            report: Report::default(),
            seen: Seen::up_to(last.min(u32::MAX.into())),
            links: Links::default(),
            deleted_links: Links::default(),
            pending: Pending::default(),
            misplaced: Vec::new(),
            damaged: BTreeSet::new(),
            index_budget,
            builder: Builder::new(volume, Owners::default(), options.limits.extents_per_stream),
            system: BTreeSet::new(),
            extensions: Vec::new(),
            deferred: Vec::new(),
            continued: BTreeMap::new(),
        }
    }

    /// Runs it. `found` are the findings made when the volume was opened.
    pub(super) fn run(mut self, found: &[Finding]) -> Result<(), Stop> {
        for finding in found {
            self.report.push(finding.clone());
        }
        let owners = system::owners(self.volume);
        self.builder = Builder::new(self.volume, owners, self.options.limits.extents_per_stream);
        system::bad_clusters(self.volume, &mut self.report);
        self.flush()?;
        self.sweep()?;
        self.finish_deferred()?;
        self.links.sort();
        self.deleted_links.sort();
        self.walk_root()?;
        self.lost()?;
        for finding in self.report.closing() {
            self.visitor.visit(ScanEvent::Finding(finding))?;
        }
        Ok(())
    }

    /// Emits an event, after the findings that wait.
    pub(super) fn emit(&mut self, event: ScanEvent) -> Result<(), Stop> {
        if !self.report.is_empty() {
            self.flush()?;
        }
        self.visitor.visit(event)
    }

    /// Emits the findings that wait.
    pub(super) fn flush(&mut self) -> Result<(), Stop> {
        for finding in self.report.take() {
            self.visitor.visit(ScanEvent::Finding(finding))?;
        }
        Ok(())
    }

    /// Goes through all records in order.
    fn sweep(&mut self) -> Result<(), Stop> {
        let bitmap = system::record_bitmap(self.volume);
        if bitmap.is_none() {
            let detail =
                "the bitmap of the MFT cannot be read; records that lost their signature count as free";
            let finding = Finding::new(Severity::Warning, Layer::FileSystem, FindingCode::Corrupt, detail);
            self.report.push(finding.at(self.volume.record_in_image(0)));
        }
        let bitmap = bitmap.unwrap_or_default();
        let record_bytes = self.volume.geometry.record_bytes.max(1);
        let step = CHUNK_BYTES.checked_div(record_bytes).unwrap_or(1).max(1);
        let mut chunk = Vec::new();
        let mut first = 0;
        while first < self.volume.mft.records {
            let count = step.min(self.volume.mft.records.saturating_sub(first));
            chunk.resize(
                usize::try_from(count.saturating_mul(record_bytes)).unwrap_or(0),
                0,
            );
            let offset = first.saturating_mul(record_bytes);
            let together = self
                .volume
                .read_runs(&self.volume.mft.runs, offset, &mut chunk)
                .is_ok();
            let record_len = usize::try_from(record_bytes).unwrap_or(1);
            for (index, bytes) in (0..count).zip(chunk.chunks_exact_mut(record_len)) {
                let number = first.saturating_add(index);
                let Ok(number) = u32::try_from(number) else { break };
                let is_used = bit(&bitmap, number);
                if together || self.read_one(number, bytes, is_used) {
                    self.swept(number, bytes, is_used)?;
                }
            }
            self.flush()?;
            first = first.saturating_add(count);
        }
        Ok(())
    }

    /// Reads a record by itself; false after a finding.
    fn read_one(&mut self, number: u32, bytes: &mut [u8], is_used: bool) -> bool {
        let offset = u64::from(number).saturating_mul(self.volume.geometry.record_bytes);
        let Err(error) = self.volume.read_runs(&self.volume.mft.runs, offset, bytes) else {
            return true;
        };
        let at = self.volume.record_in_image(number);
        let what = format!("record {number} of the MFT");
        let mut finding = unreadable(&error, Layer::Inode, &what, at);
        if !is_used {
            finding.severity = Severity::Warning;
        }
        self.report.push(finding.on_inode(u64::from(number)));
        false
    }

    fn swept(&mut self, number: u32, bytes: &mut [u8], is_used: bool) -> Result<(), Stop> {
        let is_blank = bytes.get(..4) != Some(FILE) && !is_used;
        match Record::new(bytes, number) {
            Ok(record) => self.record(record),
            Err(_) if is_blank => Ok(()),
            Err(fault) => {
                let is_own = number < SYSTEM_END && number != ROOT;
                if is_own || is_used && number >= RESERVED_END || number == ROOT {
                    let severity = if is_own { Severity::Warning } else { Severity::Loss };
                    let detail = format!("record {number} of the MFT is lost: {fault}");
                    let finding = Finding::new(severity, Layer::Inode, FindingCode::Corrupt, detail);
                    let at = self.volume.record_in_image(number);
                    self.report.push(finding.at(at).on_inode(u64::from(number)));
                }
                Ok(())
            }
        }
    }

    fn record(&mut self, record: Record<'_>) -> Result<(), Stop> {
        let number = record.number;
        // Records that were never used carry no number yet.
        if record.is_in_use() && record.own_number().is_some_and(|own| own != number) {
            let detail = format!(
                "record {number} says that it is {}",
                record.own_number().unwrap_or(0)
            );
            let finding = Finding::new(
                Severity::Warning,
                Layer::Inode,
                FindingCode::Contradiction,
                detail,
            );
            let at = self.volume.record_in_image(number);
            self.report.push(finding.at(at).on_inode(u64::from(number)));
        }
        if let Some(base) = record.base() {
            if let (true, Ok(base)) = (record.is_in_use(), u32::try_from(base.record)) {
                self.extensions.push((base, number));
            }
            return Ok(());
        }
        if record.is_in_use() {
            return if self.is_system(&record) {
                Ok(())
            } else {
                self.file(record, &[])
            };
        }
        if self.options.deleted && number >= RESERVED_END {
            return self.deleted(record);
        }
        Ok(())
    }

    /// Whether a record is one of the file system's own.
    fn is_system(&mut self, record: &Record<'_>) -> bool {
        let number = record.number;
        if number < SYSTEM_END {
            if number != ROOT && record.is_directory() {
                self.system.insert(number);
            }
            return number != ROOT;
        }
        let mut names = names(record).peekable();
        if names.peek().is_none() {
            return number < RESERVED_END;
        }
        let inside = names.all(|name| {
            let parent = u32::try_from(name.parent.record).unwrap_or(0);
            self.system.contains(&parent)
        });
        if inside && record.is_directory() {
            self.system.insert(number);
        }
        inside
    }

    /// Emits a file in use. `known` are records that are known to continue it.
    fn file(&mut self, record: Record<'_>, known: &[u32]) -> Result<(), Stop> {
        let gathered = Gathered::of(self.volume, record, known);
        if gathered.is_curable && known.is_empty() {
            self.deferred.push(record.number);
            return Ok(());
        }
        let built = self
            .builder
            .build(&gathered, Allocation::Allocated, &mut self.report);
        if !built.is_whole && self.damaged.len() < DAMAGED_MAX {
            self.damaged.insert(record.number);
        }
        self.seen.set_kind(record.number, built.inode.kind);
        for (parent, link) in preferred_links(record.number, &built.names) {
            self.seen.mark(record.number, Mark::Claimed);
            self.links.add(parent, link);
        }
        self.emit(ScanEvent::Inode(Box::new(built.inode)))
    }

    /// Emits a file that was deleted; what is wrong with it is no finding.
    fn deleted(&mut self, record: Record<'_>) -> Result<(), Stop> {
        let gathered = Gathered::of(self.volume, record, &[]);
        let mut unheard = Report::default();
        let built = self.builder.build(&gathered, Allocation::Deleted, &mut unheard);
        for (parent, link) in preferred_links(record.number, &built.names) {
            self.deleted_links.add(parent, link);
        }
        let is_blank =
            built.names.is_empty() && built.inode.streams.iter().all(|stream| stream.size_bytes == 0);
        if is_blank {
            return Ok(());
        }
        self.emit(ScanEvent::Inode(Box::new(built.inode)))
    }

    /// Files whose attribute list failed, with the records that say themselves that they continue them.
    fn finish_deferred(&mut self) -> Result<(), Stop> {
        self.extensions.sort_unstable();
        let mut links = std::mem::take(&mut self.links);
        for number in std::mem::take(&mut self.deferred) {
            let start = self.extensions.partition_point(|(base, _)| *base < number);
            let own = self.extensions.get(start..).unwrap_or_default().iter();
            let mut known: Vec<u32> = own
                .take_while(|(base, _)| *base == number)
                .map(|(_, own)| *own)
                .collect();
            // The base itself stands for "no more to be found" where there is none.
            known.push(number);
            let mut buffer = Vec::new();
            if let Ok(record) = self.volume.read_record(number, &mut buffer) {
                self.file(record, &known)?;
            }
            self.continued.insert(number, known);
        }
        // Names were added out of order: they are few, and form chunks of their own.
        std::mem::swap(&mut links, &mut self.links);
        self.links.append(links);
        self.extensions = Vec::new();
        self.flush()
    }

    /// Reads a file again, for its names.
    pub(super) fn with_names(&mut self, number: u32, each: &mut EachNamed<'_, 's, 'a>) -> Result<(), Stop> {
        let mut buffer = Vec::new();
        let record = match self.volume.read_record(number, &mut buffer) {
            Ok(record) => record,
            Err(_) => return Ok(()),
        };
        let known = self.continued.get(&number).map_or(&[][..], Vec::as_slice);
        let gathered = Gathered::of(self.volume, record, known);
        let (held, _) = gathered.attributes();
        let names: Vec<FileName<'_>> = held
            .iter()
            .filter(|held| held.attribute.kind == kind::FILE_NAME)
            .filter_map(|held| FileName::parse(held.attribute.resident()?))
            .collect();
        each(self, record, &names)
    }
}

/// Names in the base record itself.
fn names<'b>(record: &Record<'b>) -> impl Iterator<Item = FileName<'b>> {
    Attributes::of(record)
        .map_while(Result::ok)
        .filter(|attribute| attribute.kind == kind::FILE_NAME)
        .filter_map(|attribute| FileName::parse(attribute.resident()?))
}

/// The names of a file that people expect to see: not those of DOS, unless there is no other in the directory.
fn preferred_links<'n>(child: u32, names: &'n [FileName<'_>]) -> impl Iterator<Item = (u32, Link)> + 'n {
    names.iter().filter_map(move |name| {
        let parent = u32::try_from(name.parent.record).ok()?;
        let is_root = child == ROOT && parent == ROOT;
        let hash = name.hash();
        (!is_root && !is_alternate(name, names)).then_some((parent, Link { child, hash }))
    })
}

/// Whether a name is the 8.3 name beside a long one.
pub(super) fn is_alternate(name: &FileName<'_>, names: &[FileName<'_>]) -> bool {
    name.is_dos()
        && names
            .iter()
            .any(|other| !other.is_dos() && other.parent.record == name.parent.record)
}

fn bit(bitmap: &[u8], number: u32) -> bool {
    let byte = usize::try_from(number / 8)
        .ok()
        .and_then(|at| u8_at(bitmap, at))
        .unwrap_or(0);
    byte & 1_u8.wrapping_shl(number % 8) != 0
}
