//! MFS, the file system of the first Macintosh: flat, 400 KB floppies; see `docs/formats/mfs.md`.
//!
//! Source: Apple, *Inside Macintosh*, volume II, "The File Manager", "Data Organization on Volumes".

mod entry;
mod volume;

use ntt_model::entry::{Allocation, Directory, Encoding, Inode, Name, Namespace, Stream, StreamKind};
use ntt_model::time::Times;
use ntt_model::{ByteRange, Finding, FindingCode, Kind, Layer, ScanEvent, Severity};
use ntt_source::ReadAt;

use self::entry::{Entry, entries};
use self::volume::{MDB_OFFSET, Map, Mdb};
use crate::apple::cnid_set::CnidSet;
use crate::apple::finder::finder_info;
use crate::apple::time::time_at;
use crate::name::unix_from_mac;
use crate::report::{Report, unreadable};
use crate::{
    Candidate, Error, Facts, Family, FileSystem, ScanOptions, State, Stop, TimeZone, Visitor, VolumeSource,
};

/// Bytes of the directory that are read at once.
const CHUNK_BYTES: u64 = 32 * 1024;

/// Number of the only directory: file numbers have 32 bits.
pub const ROOT_INODE: u64 = 1 << 32;

/// Recognises the master directory block.
pub fn probe(source: &dyn ReadAt) -> Option<Candidate> {
    let mdb = Mdb::read(source).ok()?.ok()?;
    Some(Candidate {
        family: Family::Mfs,
        type_name: "mfs".to_owned(),
        evidence: format!(
            "master directory block, {} blocks of {}",
            mdb.block_count, mdb.block_bytes
        ),
        size_bytes: mdb.size_bytes(),
    })
}

/// Opens a volume of the family.
///
/// # Errors
///
/// See [`crate::open`].
pub fn open<'a>(source: VolumeSource<'a>, image_offset: u64) -> Result<Box<dyn FileSystem + 'a>, Error> {
    let structure = "MFS master directory block";
    let mdb = Mdb::read(&*source).map_err(|source| Error::Read { structure, source })?;
    let mdb = mdb.map_err(|detail| Error::Corrupt {
        structure,
        detail,
        image_offset: image_offset.saturating_add(MDB_OFFSET),
    })?;
    Ok(Box::new(Mfs {
        map: Map::read(&*source, &mdb),
        facts: facts(&mdb),
        source,
        image_offset,
        mdb,
    }))
}

/// An opened volume.
struct Mfs<'a> {
    source: VolumeSource<'a>,
    image_offset: u64,
    mdb: Mdb,
    map: Map,
    facts: Facts,
}

impl FileSystem for Mfs<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn scan(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Error> {
        let scan = Scan {
            volume: self,
            visitor,
            report: Report::default(),
            numbers: CnidSet::default(),
            names: 0,
            names_max: options
                .leave_after
                .get(&ROOT_INODE)
                .copied()
                .unwrap_or(options.limits.entries_per_directory),
        };
        Ok(scan.run()?)
    }

    fn allocated(&self, each: &mut dyn FnMut(ByteRange)) -> Result<(), Error> {
        let len = self.source.len();
        let mut current = 0..self.mdb.first_block;
        let mut flush = |run: &std::ops::Range<u64>| {
            let (start, end) = (run.start.min(len), run.end.min(len));
            if start < end {
                each(ByteRange::new(
                    self.image_offset.saturating_add(start),
                    end.saturating_sub(start),
                ));
            }
        };
        let block_bytes = u64::from(self.mdb.block_bytes);
        let blocks = (2..=u16::MAX).map_while(|block| Some((block, self.mdb.block_offset(block)?)));
        let is_known = self.map.unread.is_empty();
        let used = blocks.filter(|(block, _)| !is_known || self.map.is_used(*block));
        let tail = (self.mdb.size_bytes(), len.saturating_sub(self.mdb.size_bytes()));
        for (offset, run_len) in used.map(|(_, offset)| (offset, block_bytes)).chain([tail]) {
            if offset != current.end {
                flush(&current);
                current = offset..offset;
            }
            current.end = offset.saturating_add(run_len);
        }
        flush(&current);
        Ok(())
    }
}

struct Scan<'s, 'a> {
    volume: &'s Mfs<'a>,
    visitor: &'s mut dyn Visitor,
    report: Report,
    /// File numbers that were met.
    numbers: CnidSet,
    names: u64,
    names_max: u64,
}

impl Scan<'_, '_> {
    fn run(mut self) -> Result<(), Stop> {
        self.tell_volume();
        self.emit(ScanEvent::Directory(Directory {
            inode: ROOT_INODE,
            parent: None,
            name: Vec::new(),
            namespace: Namespace::Native,
        }))?;
        self.emit(ScanEvent::Inode(Box::new(Inode::bare(
            ROOT_INODE,
            Kind::Directory,
        ))))?;
        let end = self.volume.mdb.directory_end(self.volume.source.len());
        let mut at = self.volume.mdb.directory;
        while at < end && self.sectors(at, CHUNK_BYTES.min(end.saturating_sub(at)))? {
            at = at.saturating_add(CHUNK_BYTES);
        }
        self.tell_count();
        self.flush()?;
        for finding in self.report.closing() {
            self.visitor.visit(ScanEvent::Finding(finding))?;
        }
        Ok(())
    }

    /// Reads sectors of the directory together, one by one where that fails; whether to go on.
    fn sectors(&mut self, start: u64, len: u64) -> Result<bool, Stop> {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let is_whole = self.volume.source.read_exact_at(start, &mut bytes).is_ok();
        let (sectors, _) = bytes.as_chunks_mut::<512>();
        for (at, sector) in (start..).step_by(512).zip(sectors) {
            let read = if is_whole {
                Ok(())
            } else {
                self.volume.source.read_exact_at(at, sector)
            };
            if let Err(error) = read {
                let finding = unreadable(
                    &error,
                    Layer::Directory,
                    "a sector of the directory",
                    self.in_image(at),
                );
                self.report.push(finding.on_inode(ROOT_INODE));
            } else if !self.sector(sector, at)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn in_image(&self, offset: u64) -> u64 {
        self.volume.image_offset.saturating_add(offset)
    }

    fn emit(&mut self, event: ScanEvent) -> Result<(), Stop> {
        self.flush()?;
        self.visitor.visit(event)
    }

    fn flush(&mut self) -> Result<(), Stop> {
        for finding in self.report.take() {
            self.visitor.visit(ScanEvent::Finding(finding))?;
        }
        Ok(())
    }

    fn tell_volume(&mut self) {
        for (at, error) in &self.volume.map.unread {
            let finding = unreadable(
                error,
                Layer::FileSystem,
                "a sector of the block map",
                self.volume.image_offset.saturating_add(*at),
            );
            self.report.push(finding);
        }
        let (size, len) = (self.volume.mdb.size_bytes(), self.volume.source.len());
        if size > len {
            let detail = format!("the file system ends at {size} bytes, the volume at {len}");
            let finding = Finding::new(Severity::Loss, Layer::Image, FindingCode::BeyondEnd, detail);
            self.report.push(finding.at(self.in_image(len)));
        }
    }

    /// Lists the entries of a sector; whether to go on.
    fn sector(&mut self, sector: &[u8; 512], at: u64) -> Result<bool, Stop> {
        let found = entries(sector);
        for (within, entry) in found.entries {
            if self.names >= self.names_max {
                let detail = format!("the directory was left after {} names", self.names);
                let finding = Finding::new(Severity::Loss, Layer::Scanner, FindingCode::Limit, detail);
                self.report.push(finding.on_inode(ROOT_INODE));
                return Ok(false);
            }
            self.names = self.names.saturating_add(1);
            self.entry(&entry, at.saturating_add(within))?;
        }
        if let Some(within) = found.broken_at {
            let place = self.in_image(at.saturating_add(within));
            let detail = "an entry passes the end of its sector; what follows in the sector is lost";
            let finding = Finding::new(Severity::Loss, Layer::Directory, FindingCode::Corrupt, detail);
            self.report.push(finding.at(place).on_inode(ROOT_INODE));
        }
        Ok(true)
    }

    fn entry(&mut self, entry: &Entry<'_>, offset: u64) -> Result<(), Stop> {
        let place = self.in_image(offset);
        let number = if self.numbers.insert(entry.number) {
            u64::from(entry.number)
        } else {
            let number = ROOT_INODE.saturating_add(offset);
            let detail = format!(
                "file number {} is used twice; the second has the number {number} here",
                entry.number
            );
            let finding = Finding::new(
                Severity::Warning,
                Layer::Directory,
                FindingCode::Contradiction,
                detail,
            );
            self.report.push(finding.at(place).on_inode(number));
            number
        };
        let inode = self.inode(entry, number, place);
        self.emit(ScanEvent::Inode(Box::new(inode)))?;
        let (mut name, changed) = unix_from_mac(entry.name);
        if changed {
            let bytes = ntt_model::blob::hex(entry.name);
            let detail = format!("a name that cannot stand in a path; its bytes are {bytes}");
            let finding = Finding::new(Severity::Info, Layer::Directory, FindingCode::OutOfRange, detail);
            self.report.push(finding.at(place).on_inode(number));
        }
        // Files of one name may differ in their version number, which no system but the first used.
        if entry.version != 0 {
            name.extend_from_slice(format!(";{}", entry.version).as_bytes());
        }
        self.emit(ScanEvent::Name(Name {
            directory: ROOT_INODE,
            name,
            inode: number,
            namespace: Namespace::Native,
            alternate: false,
            allocation: Allocation::Allocated,
        }))
    }

    fn inode(&mut self, entry: &Entry<'_>, number: u64, place: u64) -> Inode {
        let mut streams = Vec::new();
        for (kind, (first, size)) in [
            (StreamKind::Data, entry.data),
            (StreamKind::resource_fork(), entry.resource),
        ] {
            if size == 0 && kind != StreamKind::Data {
                continue;
            }
            let volume = self.volume;
            let (extents, extents_incomplete) =
                volume.map.extents(&volume.mdb, first, size, volume.image_offset);
            if extents_incomplete {
                let detail = format!("the chain of blocks from {first} on ends before {size} bytes");
                let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Corrupt, detail);
                self.report.push(finding.at(place).on_inode(number));
            }
            streams.push(Stream {
                kind,
                size_bytes: u64::from(size),
                extents,
                encoding: Encoding::Plain,
                extents_incomplete,
            });
        }
        Inode {
            number,
            generation: u64::from(entry.version),
            kind: Kind::File,
            times: Times {
                created: entry.created,
                modified: entry.modified,
                ..Times::default()
            },
            flags: u64::from(entry.flags),
            streams,
            xattrs: finder_info(entry.finder, &[]).into_iter().collect(),
            ..Inode::bare(ROOT_INODE, Kind::Directory)
        }
    }

    fn tell_count(&mut self) {
        let claimed = u64::from(self.volume.mdb.file_count);
        if self.names != claimed {
            let detail = format!(
                "{} files were found, the master directory block claims {claimed}",
                self.names
            );
            let severity = if self.names < claimed {
                Severity::Loss
            } else {
                Severity::Warning
            };
            let finding = Finding::new(severity, Layer::FileSystem, FindingCode::Contradiction, detail);
            self.report.push(finding.at(self.in_image(MDB_OFFSET)));
        }
    }
}

fn facts(mdb: &Mdb) -> Facts {
    let used = mdb.block_count.saturating_sub(mdb.free_blocks);
    Facts {
        type_name: "mfs".to_owned(),
        label: mdb.label.clone(),
        uuid: None,
        block_size_bytes: mdb.block_bytes,
        size_bytes: mdb.size_bytes(),
        used_bytes: u64::from(used).checked_mul(u64::from(mdb.block_bytes)),
        created: time_at(&mdb.raw, 2),
        written: time_at(&mdb.raw, 6),
        state: State::Unknown,
        time_resolution_ns: 1_000_000_000,
        time_zone: TimeZone::UnknownLocal,
        root: ROOT_INODE,
        details: vec![("files".to_owned(), mdb.file_count.to_string())],
    }
}
