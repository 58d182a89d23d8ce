//! A sparse extent.

use std::sync::Arc;

use ntt_model::{Codec, Finding, FindingCode, Layer, Severity};
use ntt_source::{ReadAt, field};

use super::tables::{Entry, Tables};
use super::{FORMAT, SECTOR};
use crate::backing::Backing;
use crate::layout::{Fault, Layout, Run, read_upto};
use crate::open::OpenError;

const MAGIC: &[u8] = b"KDMV";
const HEADER_BYTES: u64 = 512;
/// Where the header that counts stands from the end, if the first one says that it is not itself.
const FOOTER_FROM_END: u64 = 1024;
const AT_END: u64 = u64::MAX;
/// Flags: there is a copy of the directory and of its tables; an entry of 1 means zeros; grains are compressed; grains have markers.
const HAS_COPY: u32 = 1 << 1;
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
    tables: Tables,
    header: Header,
    parent: Arc<Backing>,
    /// Where the extent begins in the disk.
    start: u64,
}

/// The header of an extent, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    flags: u32,
    pub(super) capacity: u64,
    pub(super) grain_bytes: u64,
    descriptor: (u64, u64),
    pub(super) entries_per_table: u64,
    pub(super) directory: u64,
    copy_of_directory: u64,
    /// Where the grains begin.
    pub(super) overhead: u64,
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
            overhead: sectors(64)?,
        };
        // Both are powers of two, so that a bit that is wrong in one of them shows.
        let is_sane = matches(bytes)
            && GRAIN_BYTES.contains(&header.grain_bytes)
            && header.grain_bytes.is_power_of_two()
            && (1..=1 << 20).contains(&header.entries_per_table)
            && header.entries_per_table.is_power_of_two()
            && compression <= 1;
        is_sane.then_some(header)
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.flags & COMPRESSED != 0
    }

    pub(super) fn has_markers(&self) -> bool {
        self.is_compressed() && self.flags & MARKERS != 0
    }

    pub(super) fn has_zeroed_grains(&self) -> bool {
        self.flags & ZEROED_GRAINS != 0
    }

    /// Where the copy of the directory is, if there is one.
    pub(super) fn copy(&self) -> Option<u64> {
        let has_copy = self.flags & HAS_COPY != 0 && !matches!(self.copy_of_directory, 0 | AT_END);
        (has_copy && self.copy_of_directory != self.directory).then_some(self.copy_of_directory)
    }

    /// Most bytes that a compressed grain takes.
    pub(super) fn packed_bytes_max(&self) -> u64 {
        self.grain_bytes.saturating_mul(2).saturating_add(4096)
    }
}

impl Sparse {
    /// Opens an extent that begins at a byte of the image.
    pub(super) fn open(
        source: Arc<dyn ReadAt>,
        start: u64,
        findings: &mut Vec<Finding>,
    ) -> Result<Self, OpenError> {
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
            header = Header {
                descriptor: first.descriptor,
                overhead: first.overhead,
                ..footer.ok_or_else(|| OpenError::corrupt(FORMAT, reason))?
            };
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
            tables: Tables::open(&source, header, start, findings)?,
            source,
            header,
            parent: Arc::new(Backing::None),
            start,
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

    /// Whether the extent says that it has a descriptor, and is of a kind that may have a parent.
    pub(super) fn may_name_a_parent(&self) -> bool {
        self.header.descriptor.0 != 0 && !self.is_compressed()
    }

    pub(super) fn set_parent(&mut self, parent: Arc<Backing>) {
        self.parent = parent;
    }

    pub(super) fn grain_bytes(&self) -> u64 {
        self.header.grain_bytes
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.header.is_compressed()
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
        match self.tables.entry(grain) {
            Entry::Hole => self.parent.run(self.start.saturating_add(offset), len),
            Entry::Zeros => Run::Zeros(len),
            Entry::At(_) if self.is_compressed() => Run::Block {
                number: grain,
                skip: within,
                len,
            },
            Entry::At(at) => Run::Stored {
                source: &self.source,
                offset: at.saturating_add(within),
                len,
            },
            Entry::Lost(why) => Run::Lost {
                len,
                what: why.text().to_owned(),
            },
        }
    }

    fn decode(&self, grain: u64) -> Result<Vec<u8>, Fault> {
        let Entry::At(at) = self.tables.entry(grain) else {
            return Err(Fault::Corrupt(format!("grain {grain} is not stored")));
        };
        let has_marker = self.header.has_markers();
        let head_bytes: u64 = if has_marker { 12 } else { 4 };
        let head = read_upto(&self.source, at, head_bytes)?;
        let size_at = if has_marker { 8 } else { 0 };
        let corrupt = |what: &str| Fault::Corrupt(format!("the grain at {at:#x} {what}"));
        let size = field::le_u32(&head, size_at).ok_or_else(|| corrupt("is cut short"))?;
        let expected = grain.saturating_mul(self.header.grain_bytes).checked_div(SECTOR);
        if has_marker && field::le_u64(&head, 0) != expected {
            return Err(corrupt("says that it is another one"));
        }
        let size_max = self.header.packed_bytes_max();
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
