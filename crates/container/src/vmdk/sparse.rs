//! A sparse extent.

use std::sync::Arc;

use ntt_model::{Codec, Finding, FindingCode, Layer, Severity};
use ntt_source::{ReadAt, ReadError, field};

use super::{FORMAT, SECTOR};
use crate::backing::Backing;
use crate::layout::{Fault, Layout, Run, read_upto};
use crate::open::OpenError;
use crate::pages::Pages;

const MAGIC: &[u8] = b"KDMV";
const HEADER_BYTES: u64 = 512;
/// Where the header that counts stands from the end, if the first one says that it is not itself.
const FOOTER_FROM_END: u64 = 1024;
const AT_END: u64 = u64::MAX;
/// Flags: an entry of 1 means zeros; grains are compressed; grains have markers.
const ZEROED_GRAINS: u32 = 1 << 2;
const COMPRESSED: u32 = 1 << 16;
const MARKERS: u32 = 1 << 17;
const GRAIN_BYTES: std::ops::RangeInclusive<u64> = 512..=64 << 20;
const DESCRIPTOR_BYTES_MAX: u64 = 1 << 20;

pub(super) fn matches(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// A sparse extent and what lies below it.
pub(super) struct Sparse {
    source: Arc<dyn ReadAt>,
    pages: Pages,
    header: Header,
    parent: Arc<Backing>,
    /// Where the extent begins in the disk.
    start: u64,
}

#[derive(Debug)]
struct Header {
    flags: u32,
    capacity: u64,
    grain_bytes: u64,
    descriptor: (u64, u64),
    entries_per_table: u64,
    directory: u64,
    copy_of_directory: u64,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let sectors = |at| field::le_u64(bytes, at).map(|sectors| sectors.saturating_mul(SECTOR));
        let compression = field::le_u16(bytes, 77)?;
        let header = Self {
            flags: field::le_u32(bytes, 8)?,
            capacity: sectors(12)?,
            grain_bytes: sectors(20)?,
            descriptor: (sectors(28)?, sectors(36)?),
            entries_per_table: u64::from(field::le_u32(bytes, 44)?),
            copy_of_directory: sectors(48)?,
            directory: sectors(56)?,
        };
        let is_sane = matches(bytes)
            && GRAIN_BYTES.contains(&header.grain_bytes)
            && (1..=1 << 20).contains(&header.entries_per_table)
            && compression <= 1;
        is_sane.then_some(header)
    }
}

impl Sparse {
    pub(super) fn open(source: Arc<dyn ReadAt>, findings: &mut Vec<Finding>) -> Result<Self, OpenError> {
        let read = |offset| {
            read_upto(&source, offset, HEADER_BYTES)
                .map_err(|error| OpenError::unreadable(FORMAT, "the header of a sparse extent", &error))
        };
        let nonsense = || OpenError::corrupt(FORMAT, "the header of a sparse extent makes no sense");
        let first = Header::parse(&read(0)?).ok_or_else(nonsense)?;
        let mut header = first;
        if header.directory == AT_END {
            let at = source.len().saturating_sub(FOOTER_FROM_END);
            let footer = Header::parse(&read(at)?);
            let reason = "the footer of a stream-optimised extent is missing: it is cut short";
            let descriptor = header.descriptor;
            header = footer.ok_or_else(|| OpenError::corrupt(FORMAT, reason))?;
            header.descriptor = descriptor;
        }
        let is_lost = |at: u64| at == 0 || at >= source.len();
        if is_lost(header.directory) && !is_lost(header.copy_of_directory) {
            let detail = format!("{FORMAT}: the grain directory is missing, its copy was used");
            findings.push(Finding::new(
                Severity::Warning,
                Layer::Image,
                FindingCode::BackupUsed,
                detail,
            ));
            header.directory = header.copy_of_directory;
        }
        Ok(Self {
            pages: Pages::new(source.clone()),
            source,
            header,
            parent: Arc::new(Backing::None),
            start: 0,
        })
    }

    /// The descriptor inside of the extent; empty if there is none.
    pub(super) fn descriptor(&self) -> Vec<u8> {
        let (offset, len) = self.header.descriptor;
        if offset == 0 {
            return Vec::new();
        }
        read_upto(&self.source, offset, len.min(DESCRIPTOR_BYTES_MAX)).unwrap_or_default()
    }

    pub(super) fn set_parent(&mut self, parent: Backing, start: u64) {
        self.set_shared_parent(Arc::new(parent), start);
    }

    pub(super) fn set_shared_parent(&mut self, parent: Arc<Backing>, start: u64) {
        self.parent = parent;
        self.start = start;
    }

    pub(super) fn grain_bytes(&self) -> u64 {
        self.header.grain_bytes
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.header.flags & COMPRESSED != 0
    }

    /// The table entry of a grain: the sector where it is, 0 for nowhere.
    fn entry(&self, grain: u64) -> Result<u32, ReadError> {
        let per_table = self.header.entries_per_table;
        let table = grain.checked_div(per_table).unwrap_or(0);
        let index = grain.checked_rem(per_table).unwrap_or(0);
        let look = |directory: u64| -> Result<u32, ReadError> {
            let table_at = self
                .pages
                .le_u32(directory.saturating_add(table.saturating_mul(4)))?;
            if table_at == 0 {
                return Ok(0);
            }
            let at = u64::from(table_at).saturating_mul(SECTOR);
            self.pages.le_u32(at.saturating_add(index.saturating_mul(4)))
        };
        let found = look(self.header.directory);
        // Programs write a second directory with tables of its own.
        if found.is_err() && self.header.copy_of_directory != 0 {
            return look(self.header.copy_of_directory);
        }
        found
    }
}

impl Layout for Sparse {
    fn len(&self) -> u64 {
        self.header.capacity
    }

    fn locate(&self, offset: u64) -> Run<'_> {
        let grain_bytes = self.header.grain_bytes;
        let grain = offset.checked_div(grain_bytes).unwrap_or(0);
        let within = offset.checked_rem(grain_bytes).unwrap_or(0);
        let len = grain_bytes.saturating_sub(within);
        match self.entry(grain) {
            Err(error) => Run::Lost {
                len,
                what: format!("the table of the grain cannot be read: {error}"),
            },
            Ok(0) => self.parent.run(self.start.saturating_add(offset), len),
            Ok(1) if self.header.flags & ZEROED_GRAINS != 0 => Run::Zeros(len),
            Ok(_) if self.is_compressed() => Run::Block {
                number: grain,
                skip: within,
                len,
            },
            Ok(sector) => Run::Stored {
                source: &self.source,
                offset: u64::from(sector).saturating_mul(SECTOR).saturating_add(within),
                len,
            },
        }
    }

    fn decode(&self, grain: u64) -> Result<Vec<u8>, Fault> {
        let at = u64::from(self.entry(grain)?).saturating_mul(SECTOR);
        let has_marker = self.header.flags & MARKERS != 0;
        let head_bytes: u64 = if has_marker { 12 } else { 4 };
        let head = read_upto(&self.source, at, head_bytes)?;
        let size_at = if has_marker { 8 } else { 0 };
        let corrupt = |what: &str| Fault::Corrupt(format!("the grain at {at:#x} {what}"));
        let size = field::le_u32(&head, size_at).ok_or_else(|| corrupt("is cut short"))?;
        let expected = grain.saturating_mul(self.header.grain_bytes).checked_div(SECTOR);
        if has_marker && field::le_u64(&head, 0) != expected {
            return Err(corrupt("says that it is another one"));
        }
        let size_max = self.header.grain_bytes.saturating_mul(2).saturating_add(4096);
        let stored = read_upto(
            &self.source,
            at.saturating_add(head_bytes),
            u64::from(size).min(size_max),
        )?;
        let len = self.header.grain_bytes.min(
            self.header
                .capacity
                .saturating_sub(grain.saturating_mul(self.header.grain_bytes)),
        );
        let (len, whole) = (
            usize::try_from(len).unwrap_or(0),
            usize::try_from(self.header.grain_bytes).unwrap_or(0),
        );
        let mut bytes = Vec::new();
        // The last one may be padded to a whole grain.
        ntt_codec::decode(Codec::Zlib, &stored, &mut bytes, whole)
            .map_err(|error| corrupt(&format!("cannot be decoded: {error}")))?;
        if bytes.len() < len {
            return Err(corrupt("is too short"));
        }
        Ok(bytes)
    }
}
