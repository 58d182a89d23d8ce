//! qcow2, versions 2 and 3: QEMU's copy-on-write disks.
//!
//! A virtual byte is found through two tables: L1, an array of offsets of L2 tables, each a cluster of entries. An entry names a cluster of the file,
//! a compressed one (raw Deflate or a Zstandard frame, its length in units of 512 bytes), zeros, or nothing: then the backing file has the bytes.
//! With extended L2 entries each cluster is 32 subclusters with a bit each for "allocated" and "zero".
//!
//! Source: `docs/interop/qcow2.rst` of QEMU. Snapshots are listed, not read; of
//! reference counts a reader needs to know only whether the tables name all that is counted (`allocation`).

mod allocation;

use std::sync::Arc;

use ntt_model::FindingCode;
use ntt_source::{ReadAt, ReadError, field};

use crate::ContainerLayer;
use crate::backing::{self, Backing};
use crate::census::loss;
use crate::layer::shown;
use crate::layout::{Fault, Layout, Run, image, read_upto};
use crate::open::{Found, OpenError, Subject, warning};
use crate::pages::Pages;
use allocation::Allocation;

const FORMAT: &str = "qcow2";
/// Magic of all versions.
pub(crate) const MAGIC: &[u8] = b"QFI\xfb";
/// Sizes of clusters that QEMU accepts.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// Longest name of a backing file (`docs/interop/qcow2.rst`).
const NAME_BYTES_MAX: u64 = 1023;
/// Snapshots that are listed.
const SNAPSHOTS_MAX: u32 = 256;
/// Incompatible features (header, bytes 72-79).
const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
const KNOWN_FEATURES: u64 = 0x1f;
/// Where tables and clusters stand: bits 9 to 55 of an entry.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;
/// Header extensions.
const BACKING_FORMAT: u32 = 0xe279_2aca;
const DATA_FILE: u32 = 0x4441_5441;
const BITMAPS: u32 = 0x2385_2875;
/// Subclusters of a cluster with extended entries.
const SUBCLUSTERS: u64 = 32;

pub(crate) fn matches(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

pub(crate) fn open(subject: &Subject<'_>) -> Result<Found, OpenError> {
    let header = Header::parse(&subject.head)?;
    let mut layer = subject.layer(format!("qcow2 v{}", header.version));
    layer.block_bytes = header.cluster_bytes();
    layer.compression = if header.is_zstd { "zstd" } else { "deflate" }.to_owned();
    let mut findings = Vec::new();
    if header.features & CORRUPT != 0 {
        let detail = "it is marked as corrupt by who wrote it last";
        findings.push(warning(FORMAT, FindingCode::Corrupt, detail));
    }
    let snapshots = Snapshots::read(subject.source, &header);
    if !snapshots.names.is_empty() {
        let detail = format!("{} snapshots are listed and not read", snapshots.names.len());
        findings.push(warning(FORMAT, FindingCode::Unsupported, &detail));
    }
    for snapshot in &snapshots.names {
        layer.fact("snapshot", snapshot.clone());
    }
    let extensions = extensions(subject.source, &header);
    layer.fact(
        "backing format",
        extensions
            .backing_format
            .as_deref()
            .map(shown)
            .unwrap_or_default(),
    );
    let data = if header.features & EXTERNAL_DATA == 0 {
        subject.source.clone()
    } else {
        external_data(subject, extensions.data_file.as_deref(), &mut layer)?
    };
    let backing = match backing_name(subject.source, &header)? {
        None => Backing::None,
        Some(name) => {
            layer.fact("backing file", shown(&name));
            let is_raw = extensions.backing_format.as_deref() == Some(b"raw");
            backing::open(subject, &name, is_raw, &mut layer, &mut findings)?
        }
    };
    // Bitmaps have clusters of their own, which are not looked for.
    let roots = (!extensions.has_bitmaps && snapshots.are_all_known)
        .then_some((snapshots.roots.as_slice(), snapshots.table));
    let allocation = allocation::surveyed(subject.source, &header, roots, &mut findings);
    if header.l1_entries < header.tables() {
        let (has, needed) = (header.l1_entries, header.tables());
        let detail = format!("{FORMAT}: the table of tables has {has} entries of {needed}");
        findings.push(loss(FindingCode::Contradiction, detail));
    }
    let layout = Clusters {
        pages: Pages::new(subject.source.clone()),
        source: subject.source.clone(),
        allocation,
        data,
        backing,
        header,
    };
    Ok(Found::new(layer, findings, image(layout)))
}

/// The file that the data of an image lies in, if not in its own.
fn external_data(
    subject: &Subject<'_>,
    name: Option<&[u8]>,
    layer: &mut ContainerLayer,
) -> Result<Arc<dyn ReadAt>, OpenError> {
    let Some(name) = name else {
        return Err(OpenError::unsupported(
            FORMAT,
            "its data lies in another file, which it does not name",
        ));
    };
    layer.fact("data file", shown(name));
    backing::plain_file(subject, name)?.ok_or_else(|| {
        let reason = format!("its data lies in {}, which is not beside it", shown(name));
        OpenError::unsupported(FORMAT, reason)
    })
}

struct Header {
    version: u32,
    cluster_bits: u32,
    size: u64,
    l1_entries: u64,
    l1_offset: u64,
    backing: (u64, u64),
    snapshots: (u32, u64),
    /// Where the table of blocks of reference counts stands, and its clusters.
    counts: (u64, u64),
    /// A reference count has two to the power of this many bits.
    count_order: u32,
    features: u64,
    header_bytes: u64,
    is_zstd: bool,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, OpenError> {
        let short = || OpenError::corrupt(FORMAT, "the header is cut short");
        let u32_at = |at| field::be_u32(bytes, at).ok_or_else(short);
        let u64_at = |at| field::be_u64(bytes, at).ok_or_else(short);
        let version = u32_at(4)?;
        if !matches!(version, 2 | 3) {
            return Err(OpenError::unsupported(
                FORMAT,
                format!("version {version} is not read"),
            ));
        }
        if u32_at(32)? != 0 {
            return Err(OpenError::Refused {
                format: FORMAT,
                code: FindingCode::Encrypted,
                reason: "it is encrypted".to_owned(),
            });
        }
        let cluster_bits = u32_at(20)?;
        if !CLUSTER_BITS.contains(&cluster_bits) {
            return Err(OpenError::corrupt(
                FORMAT,
                format!("clusters of 2^{cluster_bits} bytes"),
            ));
        }
        let is_3 = version >= 3;
        let features = if is_3 { u64_at(72)? } else { 0 };
        if features & !KNOWN_FEATURES != 0 {
            let reason = format!("features {:#x} are not known here", features & !KNOWN_FEATURES);
            return Err(OpenError::unsupported(FORMAT, reason));
        }
        let method = if features & COMPRESSION_TYPE != 0 {
            field::u8_at(bytes, 104).unwrap_or(0)
        } else {
            0
        };
        if method > 1 {
            return Err(OpenError::unsupported(
                FORMAT,
                format!("compression {method} is not known here"),
            ));
        }
        Ok(Self {
            version,
            cluster_bits,
            size: u64_at(24)?,
            l1_entries: u64::from(u32_at(36)?),
            l1_offset: u64_at(40)?,
            backing: (u64_at(8)?, u64::from(u32_at(16)?)),
            snapshots: (u32_at(60)?, u64_at(64)?),
            counts: (u64_at(48)?, u64::from(u32_at(56)?)),
            count_order: if is_3 { u32_at(96)? } else { 4 },
            features,
            header_bytes: if is_3 { u64::from(u32_at(100)?) } else { 72 },
            is_zstd: method == 1,
        })
    }

    fn cluster_bytes(&self) -> u64 {
        1_u64.wrapping_shl(self.cluster_bits)
    }

    fn is_extended(&self) -> bool {
        self.features & EXTENDED_L2 != 0
    }

    fn entry_bytes(&self) -> u64 {
        if self.is_extended() { 16 } else { 8 }
    }

    /// Entries of an L2 table.
    fn per_table(&self) -> u64 {
        self.cluster_bytes().checked_div(self.entry_bytes()).unwrap_or(1)
    }

    /// Entries of L1 that an image of this size needs.
    fn tables(&self) -> u64 {
        self.size
            .div_ceil(self.cluster_bytes().max(1))
            .div_ceil(self.per_table().max(1))
    }

    /// Where the stored bytes of a compressed cluster lie, and at most how many there are.
    fn compressed(&self, entry: u64) -> (u64, u64) {
        let split = 62_u32.saturating_sub(self.cluster_bits.saturating_sub(8));
        let low = 1_u64
            .checked_shl(split)
            .map_or(u64::MAX, |bit| bit.saturating_sub(1));
        let offset = entry & low;
        let sectors = (entry & (COMPRESSED.saturating_sub(1)))
            .checked_shr(split)
            .unwrap_or(0);
        let stored_bytes = sectors
            .saturating_add(1)
            .saturating_mul(512)
            .saturating_sub(offset & 511);
        (offset, stored_bytes)
    }
}

#[derive(Default)]
struct Extensions {
    has_bitmaps: bool,
    backing_format: Option<Vec<u8>>,
    data_file: Option<Vec<u8>>,
}

fn extensions(source: &dyn ReadAt, header: &Header) -> Extensions {
    let mut found = Extensions::default();
    let end = if header.backing.0 > 0 {
        header.backing.0.min(header.cluster_bytes())
    } else {
        header.cluster_bytes()
    };
    let bytes = read_upto(source, 0, end.min(64 * 1024)).unwrap_or_default();
    let mut at = usize::try_from(header.header_bytes).unwrap_or(usize::MAX);
    while let (Some(kind), Some(len)) = (
        field::be_u32(&bytes, at),
        field::be_u32(&bytes, at.saturating_add(4)),
    ) {
        let start = at.saturating_add(8);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let Some(value) = bytes.get(start..start.saturating_add(len)).filter(|_| kind != 0) else {
            break;
        };
        match kind {
            BACKING_FORMAT => found.backing_format = Some(value.to_vec()),
            DATA_FILE => found.data_file = Some(value.to_vec()),
            BITMAPS => found.has_bitmaps = true,
            _ => {}
        }
        at = start.saturating_add(len.div_ceil(8).saturating_mul(8));
    }
    found
}

fn backing_name(source: &dyn ReadAt, header: &Header) -> Result<Option<Vec<u8>>, OpenError> {
    let (offset, len) = header.backing;
    if offset == 0 || len == 0 {
        return Ok(None);
    }
    if len > NAME_BYTES_MAX {
        return Err(OpenError::corrupt(
            FORMAT,
            format!("the name of the backing file has {len} bytes"),
        ));
    }
    let mut name = vec![0; usize::try_from(len).unwrap_or(0)];
    source
        .read_exact_at(offset, &mut name)
        .map_err(|error| OpenError::unreadable(FORMAT, "the name of the backing file", &error))?;
    Ok(Some(name))
}

/// The snapshots, as far as they can be read.
struct Snapshots {
    /// Ids and names.
    names: Vec<String>,
    /// Where their L1 tables stand, and how many entries each has.
    roots: Vec<(u64, u64)>,
    /// Where they are listed, and in how many bytes.
    table: (u64, u64),
    are_all_known: bool,
}

impl Snapshots {
    fn read(source: &dyn ReadAt, header: &Header) -> Self {
        let (count, start) = header.snapshots;
        let mut found = Self {
            names: Vec::new(),
            roots: Vec::new(),
            table: (start, 0),
            are_all_known: count <= SNAPSHOTS_MAX,
        };
        for _ in 0..count.min(SNAPSHOTS_MAX) {
            let at = start.saturating_add(found.table.1);
            let bytes = read_upto(source, at, 40 + 64 * 1024).unwrap_or_default();
            if found.add(&bytes).is_none() {
                found.are_all_known = false;
                break;
            }
        }
        found
    }

    fn add(&mut self, bytes: &[u8]) -> Option<()> {
        let size = |at| field::be_u16(bytes, at).map(usize::from);
        let extra = usize::try_from(field::be_u32(bytes, 36)?).ok()?;
        let start = extra.saturating_add(40);
        let (id, end) = (
            size(12)?,
            start.saturating_add(size(12)?).saturating_add(size(14)?),
        );
        let (id, name) = bytes.get(start..end)?.split_at_checked(id)?;
        self.names.push(format!("{} {}", shown(id), shown(name)));
        let entries = u64::from(field::be_u32(bytes, 8)?);
        self.roots.push((field::be_u64(bytes, 0)?, entries));
        let len = u64::try_from(end.div_ceil(8).saturating_mul(8)).ok()?;
        self.table.1 = self.table.1.saturating_add(len);
        Some(())
    }
}

/// The image, cluster by cluster.
struct Clusters {
    header: Header,
    source: Arc<dyn ReadAt>,
    /// Where clusters lie that are not compressed: another file for images with external data.
    data: Arc<dyn ReadAt>,
    pages: Pages,
    allocation: Allocation,
    backing: Backing,
}

/// What the tables say of a cluster.
struct Entry {
    l2: u64,
    /// Bits of the subclusters that are allocated (low half) and zero (high half); `None` without extended entries.
    subclusters: Option<u64>,
}

impl Entry {
    /// Whether any of a plain cluster is read from the place that it names.
    fn holds(&self) -> bool {
        match self.subclusters {
            Some(bits) => bits & 0xffff_ffff != 0,
            None => self.l2 != 0 && self.l2 & ZERO == 0,
        }
    }
}

impl Clusters {
    /// The entry of a cluster; `None` if no table has one.
    fn entry(&self, cluster: u64) -> Result<Option<Entry>, Fault> {
        let (entry_bytes, per_table) = (self.header.entry_bytes(), self.header.per_table());
        let table = cluster.checked_div(per_table).unwrap_or(u64::MAX);
        if table >= self.header.l1_entries {
            return Err(Fault::Corrupt("the table of tables ends before them".to_owned()));
        }
        let l1 = self.be_u64(self.header.l1_offset.saturating_add(table.saturating_mul(8)))?;
        let Some(table_at) = self.allocation.table(l1).map_err(Fault::Corrupt)? else {
            return Ok(None);
        };
        let index = cluster.checked_rem(per_table).unwrap_or(0);
        let at = table_at.saturating_add(index.saturating_mul(entry_bytes));
        let l2 = self.be_u64(at)?;
        let subclusters = self
            .header
            .is_extended()
            .then(|| self.be_u64(at.saturating_add(8)));
        Ok(Some(Entry {
            l2,
            subclusters: subclusters.transpose()?,
        }))
    }

    fn be_u64(&self, offset: u64) -> Result<u64, ReadError> {
        self.pages.array(offset).map(u64::from_be_bytes)
    }

    fn plain(&self, entry: &Entry, offset: u64, within: u64) -> Run<'_> {
        let cluster_bytes = self.header.cluster_bytes();
        let at = entry.l2 & OFFSET_MASK;
        if let Some(what) = self.allocation.refusal(entry.l2, entry.holds()) {
            let len = cluster_bytes.saturating_sub(within);
            return Run::Lost { len, what };
        }
        let Some(bits) = entry.subclusters else {
            let len = cluster_bytes.saturating_sub(within);
            return match (entry.l2 & ZERO != 0 && self.header.version >= 3, at) {
                (true, _) => Run::Zeros(len),
                (false, 0) if self.header.features & EXTERNAL_DATA == 0 => self.backing.run(offset, len),
                (false, 0) if entry.l2 == 0 => self.backing.run(offset, len),
                (false, at) => stored(&self.data, at.saturating_add(within), len),
            };
        };
        let unit = cluster_bytes.checked_div(SUBCLUSTERS).unwrap_or(1).max(1);
        let number = within.checked_div(unit).unwrap_or(0);
        let len = unit.saturating_sub(within.checked_rem(unit).unwrap_or(0));
        let bit = |shift: u64| {
            let shift = u32::try_from(shift).unwrap_or(63);
            bits.checked_shr(shift).unwrap_or(0) & 1 == 1
        };
        if bit(number.saturating_add(SUBCLUSTERS)) {
            Run::Zeros(len)
        } else if bit(number) {
            stored(&self.data, at.saturating_add(within), len)
        } else {
            self.backing.run(offset, len)
        }
    }
}

fn stored(source: &Arc<dyn ReadAt>, offset: u64, len: u64) -> Run<'_> {
    Run::Stored { source, offset, len }
}

impl Layout for Clusters {
    fn len(&self) -> u64 {
        self.header.size
    }

    fn locate(&self, offset: u64) -> Run<'_> {
        let cluster_bytes = self.header.cluster_bytes();
        let cluster = offset.checked_div(cluster_bytes).unwrap_or(0);
        let within = offset.checked_rem(cluster_bytes).unwrap_or(0);
        let len = cluster_bytes.saturating_sub(within);
        match self.entry(cluster) {
            Err(Fault::Corrupt(what)) => Run::Lost { len, what },
            Err(Fault::Read(error)) => Run::Lost {
                len,
                what: format!("the table of the cluster cannot be read: {error}"),
            },
            Ok(None) => self.backing.run(offset, len),
            Ok(Some(entry)) if entry.l2 & COMPRESSED != 0 => Run::Block {
                number: cluster,
                skip: within,
                len,
            },
            Ok(Some(entry)) => self.plain(&entry, offset, within),
        }
    }

    fn decode(&self, cluster: u64) -> Result<Vec<u8>, Fault> {
        let Some(entry) = self.entry(cluster)? else {
            return Err(Fault::Corrupt("a compressed cluster has gone".to_owned()));
        };
        let (offset, stored_bytes) = self.header.compressed(entry.l2);
        // The last one may end before its sectors do.
        let stored = read_upto(&self.source, offset, stored_bytes)?;
        let len = usize::try_from(self.header.cluster_bytes()).unwrap_or(0);
        inflate(&stored, len, self.header.is_zstd)
            .ok_or_else(|| Fault::Corrupt(format!("the compressed cluster at {offset:#x} cannot be decoded")))
    }
}

/// What `stored` holds in raw Deflate or Zstandard, which must be `len` bytes. Sectors behind the end of the stream may be of the next one; the stream itself must
/// end where the cluster does: Deflate has no checksum that would tell of damage.
pub(crate) fn inflate(stored: &[u8], len: usize, is_zstd: bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let decoded = if is_zstd {
        ntt_codec::decode(ntt_model::Codec::Zstd, stored, &mut bytes, len)
    } else {
        ntt_codec::decode_deflate(stored, &mut bytes, len)
    };
    decoded.ok().filter(|()| bytes.len() == len)?;
    Some(bytes)
}
