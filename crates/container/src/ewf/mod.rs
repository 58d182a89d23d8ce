//! Expert Witness format: `E01` (EnCase, FTK Imager, ewfacquire) and SMART's `s01`, over one or several segments.
//!
//! ```text
//! segment: signature 13 | section | section | ...        section: descriptor 76 (type, next, size, Adler-32) | data
//! header   who, what, when (zlib text)     volume   geometry of the chunks
//! sectors  the chunks, one after the other table    32-bit offsets of chunks, bit 31: compressed; table2 the same again
//! hash     MD5    digest  MD5, SHA-1       error2   sectors that could not be read       done | next: the end
//! ```
//!
//! Sources: J. Metz, *Expert Witness Compression Format* (libewf), and images that ewfacquire made. A chunk that is stored as it is ends with its Adler-32; one
//! that is compressed is a zlib stream, which has its own. A section whose descriptor is wrong is looked for further on, so that it costs only itself.

use std::sync::Arc;

use ntt_model::{ByteRange, Codec, Finding, FindingCode, Layer, Severity};
use ntt_source::{ReadAt, field};

use crate::layer::{HashAlgorithm, StoredHash, hex, shown};
use crate::layout::{Fault, Layout, Run, image, read_upto};
use crate::open::{Found, OpenError, Subject};
use crate::parts::{Part, Want};
use section::{Section, sections};
use table::{Added, Gathered, Placed, Table, Tables};

mod adler;
mod section;
mod table;
mod text;

const FORMAT: &str = "EWF";
/// Signature of a segment of an image, and of its successor format and its logical sibling.
const SIGNATURE: &[u8] = b"EVF\x09\x0d\x0a\xff\x00";
const SIGNATURE_2: &[u8] = b"EVF2\x0d\x0a\x81\x00";
const SIGNATURE_LOGICAL_2: &[u8] = b"LEF2\x0d\x0a\x81\x00";
const SIGNATURE_LOGICAL: &[u8] = b"LVF\x09\x0d\x0a\xff\x00";
/// Largest chunk that is believed: EnCase writes 32 KiB, others up to a few MiB.
const CHUNK_BYTES_MAX: u64 = 16 << 20;
/// Bytes of the geometry as all but SMART write it.
const VOLUME_BYTES: u64 = 1052;
const VOLUME_SUM_AT: usize = 1048;
/// Bytes of a text section, compressed.
const TEXT_BYTES_MAX: u64 = 1 << 20;

pub(crate) fn matches(head: &[u8]) -> bool {
    [SIGNATURE, SIGNATURE_2, SIGNATURE_LOGICAL, SIGNATURE_LOGICAL_2]
        .iter()
        .any(|signature| head.starts_with(signature))
}

pub(crate) fn open(subject: &Subject<'_>) -> Result<Found, OpenError> {
    if subject.head.starts_with(SIGNATURE_2) || subject.head.starts_with(SIGNATURE_LOGICAL_2) {
        return Err(OpenError::unsupported(
            FORMAT,
            "Ex01 and Lx01 (version 2) are not read",
        ));
    }
    if subject.head.starts_with(SIGNATURE_LOGICAL) {
        return Err(OpenError::unsupported(
            FORMAT,
            "a logical evidence file (L01) holds files, not an image",
        ));
    }
    let number = field::le_u16(&subject.head, 9).unwrap_or(0);
    if number != 1 {
        let reason = format!("it is segment {number} of an EWF image; give the first one");
        return Err(OpenError::NotFirst(reason));
    }
    let own = Part {
        name: subject.name.to_vec(),
        bytes: Some(subject.source.clone()),
    };
    // One inside of another container has no siblings.
    let is_first = subject.depth == 0;
    let mut segments = vec![own];
    if is_first && crate::series::names(subject.name).next().is_some() {
        let Some(found) = subject.parts.series() else {
            return Err(OpenError::Wants(Want::Following));
        };
        segments = found.into_iter().cloned().collect();
    }
    Reader::default().read(subject, &segments)
}

/// What is gathered from the sections.
#[derive(Default)]
struct Reader {
    layer: crate::ContainerLayer,
    findings: Vec<Finding>,
    geometry: Option<Geometry>,
    tables: Gathered,
    /// What the segments tell of the image: its chunks and sectors, and the identifier of their set.
    set: Option<([u8; 20], [u8; 16])>,
    is_done: bool,
}

/// How the image is cut into chunks.
#[derive(Clone, Copy)]
struct Geometry {
    chunk_bytes: u64,
    sector_bytes: u64,
    image_bytes: u64,
}

impl Geometry {
    /// The data of a `volume`, `disk` or `data` section.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let number = |at| field::le_u32(bytes, at).map(u64::from);
        let (chunks, per_chunk, sector_bytes) = (number(4)?, number(8)?, number(12)?);
        // SMART counts sectors in 32 bits; the rest of that field is zero there.
        let sectors = field::le_u64(bytes, 16)?;
        let chunk_bytes = per_chunk.checked_mul(sector_bytes)?;
        let image_bytes = sectors.checked_mul(sector_bytes)?;
        let fits = image_bytes.div_ceil(chunk_bytes.max(1)) <= chunks;
        let is_sane = (1..=CHUNK_BYTES_MAX).contains(&chunk_bytes) && (128..=65_536).contains(&sector_bytes);
        (is_sane && (fits || chunks == 0)).then_some(Self {
            chunk_bytes,
            sector_bytes,
            image_bytes,
        })
    }
}

impl Reader {
    fn read(mut self, subject: &Subject<'_>, segments: &[Part]) -> Result<Found, OpenError> {
        self.layer.format = format_name(subject.name);
        self.layer.compression = "deflate".to_owned();
        for (at, part) in segments.iter().enumerate() {
            match &part.bytes {
                Some(bytes) => self.segment(at, part, bytes),
                None => self.lacks(&part.name),
            }
        }
        let Some(geometry) = self.geometry else {
            return Err(OpenError::corrupt(
                FORMAT,
                "no segment says how the image is cut into chunks",
            ));
        };
        if !self.is_done {
            self.say(
                Severity::Loss,
                FindingCode::BeyondEnd,
                "the last segment is missing or cut: no section says that the image ends",
            );
            self.tables.note_gap();
        }
        let (image_bytes, needed) = match geometry.image_bytes {
            0 => (self.tables.chunks().saturating_mul(geometry.chunk_bytes), None),
            bytes => (bytes, Some(bytes.div_ceil(geometry.chunk_bytes))),
        };
        let placed = std::mem::take(&mut self.tables).placed(needed);
        self.tell_lost(&placed, geometry.chunk_bytes, image_bytes);
        self.layer.block_bytes = geometry.chunk_bytes;
        self.layer
            .fact("sector size", format!("{} bytes", geometry.sector_bytes));
        for hash in &mut self.layer.hashes {
            hash.range = ByteRange::new(0, image_bytes);
        }
        let layout = Chunks {
            tables: placed.tables,
            chunk_bytes: geometry.chunk_bytes,
            image_bytes,
        };
        Ok(Found::new(self.layer, self.findings, image(layout)))
    }

    fn say(&mut self, severity: Severity, code: FindingCode, detail: &str) {
        let detail = format!("{FORMAT}: {detail}");
        self.findings
            .push(Finding::new(severity, Layer::Image, code, detail));
    }

    fn lacks(&mut self, name: &[u8]) {
        let name = shown(name);
        self.say(
            Severity::Loss,
            FindingCode::BeyondEnd,
            &format!("segment {name} is missing"),
        );
        self.layer.missing.push(name);
        self.tables.note_gap();
    }

    /// What no table lists, and where it is.
    fn tell_lost(&mut self, placed: &Placed, chunk_bytes: u64, image_bytes: u64) {
        let Placed { lost, strays, .. } = placed;
        if lost.len == 0 {
            return;
        }
        let begin = lost.offset.saturating_mul(chunk_bytes);
        let end = lost.end().saturating_mul(chunk_bytes).min(image_bytes);
        let needed = image_bytes.div_ceil(chunk_bytes);
        let mut detail = format!(
            "{} of {needed} chunks are in no table: {begin:#x} to {end:#x} of the image",
            lost.len
        );
        if *strays > 0 {
            detail += &format!(
                "; {strays} of them are here, but not known by their place, because chunks are lacking before and behind them"
            );
        }
        self.say(Severity::Loss, FindingCode::BeyondEnd, &detail);
        if let Some(finding) = self.findings.pop() {
            self.findings.push(finding.at(begin));
        }
    }

    fn segment(&mut self, at: usize, part: &Part, bytes: &Arc<dyn ReadAt>) {
        let head = read_upto(bytes, 0, 13).unwrap_or_default();
        let number = field::le_u16(&head, 9).map_or(0, usize::from);
        let name = shown(&part.name);
        if !head.starts_with(SIGNATURE) || number != at.saturating_add(1) {
            let detail = format!("{name} is not segment {}", at.saturating_add(1));
            self.refuse(name, &detail);
            return;
        }
        let found = sections(bytes);
        if !self.is_of_set(&found.sections, bytes) {
            let detail = format!(
                "{name} is segment {number} of another image: it tells another size or another identifier"
            );
            self.refuse(name, &detail);
            return;
        }
        self.layer.stored_bytes = self.layer.stored_bytes.saturating_add(bytes.len());
        for lost in &found.lost {
            let detail = format!(
                "{name}: no section at {:#x}, looked for the next one up to {:#x}",
                lost.offset,
                lost.end()
            );
            self.say(Severity::Loss, FindingCode::Corrupt, &detail);
        }
        let file = self.tables.add_file(bytes.clone());
        let mut lost = found.lost.iter().peekable();
        for section in &found.sections {
            if lost.next_if(|lost| lost.offset < section.data().offset).is_some() {
                self.tables.note_gap();
            }
            self.section(section, bytes, file, &name);
        }
        if !found.is_ended {
            self.tables.note_gap();
        }
        self.layer.files.push(name);
    }

    /// Does without a segment that is here.
    fn refuse(&mut self, name: String, detail: &str) {
        self.say(Severity::Loss, FindingCode::Contradiction, detail);
        self.layer.missing.push(name);
        self.tables.note_gap();
    }

    /// Whether a segment tells the same of its image as those before it. Of images of one size only the identifier of the set tells, which not all programs write.
    fn is_of_set(&mut self, sections: &[Section], bytes: &Arc<dyn ReadAt>) -> bool {
        let of = |section: &Section| {
            let data = section.data();
            let read = read_upto(bytes, data.offset, data.len.min(VOLUME_BYTES)).ok()?;
            let is_whole = data.len >= VOLUME_BYTES && adler::ends_with_sum(&read, VOLUME_SUM_AT);
            let chunks: [u8; 20] = field::array(&read, 4)?;
            let identifier: [u8; 16] = field::array(&read, 64)?;
            (is_whole && chunks != [0; 20]).then_some((chunks, identifier))
        };
        let mut volumes = sections
            .iter()
            .filter(|section| matches!(section.kind(), "volume" | "disk" | "data"));
        let Some(set) = volumes.find_map(of) else {
            return true;
        };
        *self.set.get_or_insert(set) == set
    }

    fn section(&mut self, section: &Section, bytes: &Arc<dyn ReadAt>, file: usize, name: &str) {
        let data = section.data();
        let read = |len: u64| read_upto(bytes, data.offset, data.len.min(len)).unwrap_or_default();
        match section.kind() {
            "volume" | "disk" | "data" => self.volume(&read(VOLUME_BYTES)),
            "header" | "header2" => self.header(&read(TEXT_BYTES_MAX)),
            "table" | "table2" => {
                let table = Table::parse(bytes, file, section);
                self.table(table, section.kind() == "table2", name);
            }
            "sectors" => self.tables.note_sectors(file, data),
            "hash" => self.hashes(&read(36), false),
            "digest" => self.hashes(&read(80), true),
            "error2" => self.errors(&read(1 << 20)),
            "done" => self.is_done = true,
            _ => {}
        }
    }

    fn volume(&mut self, bytes: &[u8]) {
        let Some(geometry) = Geometry::parse(bytes) else {
            return;
        };
        let checked = if bytes.len() > VOLUME_SUM_AT {
            VOLUME_SUM_AT
        } else {
            90
        };
        let is_right = adler::ends_with_sum(bytes, checked);
        if self.geometry.is_some() && !is_right {
            return;
        }
        if !is_right {
            self.say(
                Severity::Warning,
                FindingCode::Corrupt,
                "the checksum of the geometry of the chunks is wrong",
            );
        }
        self.geometry.get_or_insert(geometry);
    }

    fn header(&mut self, bytes: &[u8]) {
        let mut text = Vec::new();
        let len_max = usize::try_from(TEXT_BYTES_MAX).unwrap_or(0);
        // What can be decoded of a damaged text, or of one that is too long, is worth having.
        ntt_codec::decode(Codec::Zlib, bytes, &mut text, len_max).ok();
        for (name, value) in text::facts(&text) {
            if self.layer.facts.iter().all(|(known, _)| known != name) {
                self.layer.fact(name, value);
            }
        }
    }

    /// The second of a pair of tables is used where the first one is wrong.
    fn table(&mut self, table: Option<Table>, is_second: bool, name: &str) {
        match table {
            Some(table) if is_second => {
                let used = self.tables.add_copy(table) != Added::Copy;
                let detail = format!("{name}: a table of chunks is wrong, its copy was used");
                used.then(|| self.say(Severity::Warning, FindingCode::BackupUsed, &detail));
            }
            Some(table) => self.tables.add(table),
            None if !is_second => {
                let detail = format!("{name}: a table of chunks cannot be read");
                self.say(Severity::Warning, FindingCode::Corrupt, &detail);
                self.tables.note_gap();
            }
            None => {}
        }
    }

    fn hashes(&mut self, bytes: &[u8], with_sha1: bool) {
        let checked = if with_sha1 { 76 } else { 32 };
        if !adler::ends_with_sum(bytes, checked) {
            self.say(
                Severity::Warning,
                FindingCode::Corrupt,
                "the checksum of the stored digests is wrong; they are not used",
            );
            return;
        }
        let mut add = |algorithm, range: std::ops::Range<usize>| {
            let value = bytes.get(range).unwrap_or_default();
            let is_set = value.iter().any(|byte| *byte != 0);
            let hash = StoredHash {
                algorithm,
                hex: hex(value),
                range: ByteRange::new(0, 0),
                leaves_out: Vec::new(),
            };
            if is_set && !self.layer.hashes.contains(&hash) {
                self.layer.hashes.push(hash);
            }
        };
        add(HashAlgorithm::Md5, 0..16);
        if with_sha1 {
            add(HashAlgorithm::Sha1, 16..36);
        }
    }

    /// Sectors that whoever made the image could not read; they hold zeros.
    fn errors(&mut self, bytes: &[u8]) {
        let count = field::le_u32(bytes, 0).unwrap_or(0);
        let entries = bytes.get(520..).unwrap_or_default().chunks_exact(8);
        let sectors: u64 = entries
            .take(usize::try_from(count).unwrap_or(usize::MAX))
            .filter_map(|entry| field::le_u32(entry, 4))
            .map(u64::from)
            .fold(0, u64::saturating_add);
        if count > 0 {
            let detail = format!(
                "{sectors} sectors in {count} runs could not be read when the image was made; they are zeros in it"
            );
            self.say(Severity::Loss, FindingCode::Unread, &detail);
        }
    }
}

fn format_name(name: &[u8]) -> String {
    let is_smart = name.to_ascii_lowercase().ends_with(b".s01");
    if is_smart { "EWF (SMART)" } else { "EWF (E01)" }.to_owned()
}

/// The image, chunk by chunk.
struct Chunks {
    tables: Tables,
    chunk_bytes: u64,
    image_bytes: u64,
}

impl Layout for Chunks {
    fn len(&self) -> u64 {
        self.image_bytes
    }

    fn locate(&self, offset: u64) -> Run<'_> {
        let number = offset.checked_div(self.chunk_bytes).unwrap_or(0);
        let skip = offset.checked_rem(self.chunk_bytes).unwrap_or(0);
        Run::Block {
            number,
            skip,
            len: self.chunk_bytes.saturating_sub(skip),
        }
    }

    fn decode(&self, number: u64) -> Result<Vec<u8>, Fault> {
        let Some(chunk) = self.tables.find(number)? else {
            return Err(Fault::Corrupt(format!("chunk {number} is in no table")));
        };
        let start = number.saturating_mul(self.chunk_bytes);
        let len = self.chunk_bytes.min(self.image_bytes.saturating_sub(start));
        let len = usize::try_from(len).unwrap_or(0);
        // Nothing that a compressor makes is much longer than what it was made of.
        let stored_max = self.chunk_bytes.saturating_mul(2).saturating_add(4096);
        let stored = read_upto(chunk.source, chunk.offset, chunk.len.min(stored_max))?;
        if chunk.is_compressed {
            inflate(
                number,
                &stored,
                len,
                usize::try_from(self.chunk_bytes).unwrap_or(0),
            )
        } else {
            plain(number, stored, len)
        }
    }
}

fn inflate(number: u64, stored: &[u8], len: usize, chunk_len: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    // The last one may be padded to a whole chunk.
    let decoded = ntt_codec::decode(Codec::Zlib, stored, &mut bytes, chunk_len);
    if let Err(error) = decoded {
        return Err(Fault::Corrupt(format!("chunk {number}: {error}")));
    }
    if bytes.len() < len {
        return Err(Fault::Corrupt(format!(
            "chunk {number} has {} bytes, not {len}",
            bytes.len()
        )));
    }
    Ok(bytes)
}

/// A chunk that is stored as it is, with its checksum behind it.
fn plain(number: u64, mut stored: Vec<u8>, len: usize) -> Result<Vec<u8>, Fault> {
    let Some(sum) = field::le_u32(&stored, len) else {
        return Err(Fault::Corrupt(format!("chunk {number} is cut short")));
    };
    stored.truncate(len);
    if adler::sum(&stored) != sum {
        return Err(Fault::Corrupt(format!("chunk {number}: its checksum is wrong")));
    }
    Ok(stored)
}
