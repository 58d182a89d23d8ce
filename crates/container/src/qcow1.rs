//! qcow, version 1: QEMU's first copy-on-write disks, before 2008.
//!
//! As in [`qcow2`](crate::qcow2), a virtual byte is found through an array of offsets of tables (L1), and the entry of its cluster in one of them (L2): the offset of a cluster, of a
//! compressed one (raw Deflate) with its length in bytes, or nothing, and then the backing file has it.
//!
//! Source: `block/qcow.c` of QEMU, and images that `qemu-img` makes.

use std::sync::Arc;

use ntt_model::{ByteRange, Finding, FindingCode};
use ntt_source::{ReadAt, field};

use crate::backing::{self, Backing};
use crate::census::{Census, Places, unnamed_loss};
use crate::layer::shown;
use crate::layout::{Fault, Layout, Run, image, read_upto};
use crate::open::{Found, OpenError, Subject, warning};
use crate::pages::Pages;
use crate::qcow2::{MAGIC, inflate};

const FORMAT: &str = "qcow v1";
/// Sizes of clusters and of tables that QEMU accepts.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=16;
const L2_BITS: std::ops::RangeInclusive<u32> = 6..=13;
/// Longest name of a backing file.
const NAME_BYTES_MAX: u64 = 1023;
const COMPRESSED: u64 = 1 << 63;
const HEADER_BYTES: u64 = 48;
/// L2 tables that are looked at.
const TABLES_MAX: usize = 1 << 16;

pub(crate) fn matches(head: &[u8]) -> bool {
    head.starts_with(MAGIC) && field::be_u32(head, 4) == Some(1)
}

pub(crate) fn open(subject: &Subject<'_>) -> Result<Found, OpenError> {
    let header = Header::parse(&subject.head)?;
    let mut layer = subject.layer(FORMAT);
    layer.block_bytes = header.cluster_bytes();
    layer.compression = "deflate".to_owned();
    let mut findings = Vec::new();
    let backing = match header.backing_name(subject.source)? {
        None => Backing::None,
        Some(name) => {
            layer.fact("backing file", shown(&name));
            backing::open(subject, &name, false, &mut layer, &mut findings)?
        }
    };
    let layout = Clusters {
        pages: Pages::new(subject.source.clone()),
        source: subject.source.clone(),
        places: counted(subject.source, &header, &mut findings),
        backing,
        header,
    };
    Ok(Found::new(layer, findings, image(layout)))
}

/// Looks at all tables once: clusters that cannot be where they say, and clusters of the file that they do not name.
fn counted(source: &Arc<dyn ReadAt>, header: &Header, findings: &mut Vec<Finding>) -> Places {
    let tables = header.size.div_ceil(header.table_covers().max(1));
    let metadata = vec![
        ByteRange::new(0, HEADER_BYTES),
        ByteRange::new(header.l1_offset, tables.saturating_mul(8)),
    ];
    let mut census = Census::new(Places::new(source.len(), metadata));
    let mut found = Vec::new();
    census.entries(source, header.l1_offset, tables, |census, index, entry| {
        let at = u64::from_be_bytes(entry);
        if at != 0 && found.len() < TABLES_MAX {
            census.add(header.table(at));
            found.push((index, at));
        } else if at != 0 {
            census.stop();
        }
    });
    // A sector of a table without any entry may be one that was struck.
    let mut has_hole = found.is_empty();
    let entries = 1_u64.wrapping_shl(header.l2_bits);
    for (table, at) in found {
        let (mut zeros, first) = (0_u64, table.saturating_mul(entries));
        census.entries(source, at, entries, |census, index, entry| {
            let entry = u64::from_be_bytes(entry);
            if entry != 0 {
                zeros = 0;
                census.add(header.cluster(first.saturating_add(index), entry));
                return;
            }
            zeros = zeros.saturating_add(1);
            has_hole |= index & 63 == 63 && zeros >= 64;
        });
    }
    census.settle(FORMAT, findings);
    if census.is_whole() {
        // There are no reference counts: what a program left behind looks as what was lost.
        match census.unnamed(source, header.cluster_bytes()) {
            0 => {}
            unnamed if has_hole => findings.push(unnamed_loss(FORMAT, unnamed)),
            unnamed => {
                let detail = format!("{unnamed} clusters of the file are in no table");
                findings.push(warning(FORMAT, FindingCode::Contradiction, &detail));
            }
        }
    }
    census.places()
}

struct Header {
    cluster_bits: u32,
    l2_bits: u32,
    size: u64,
    l1_offset: u64,
    backing: (u64, u64),
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, OpenError> {
        let short = || OpenError::corrupt(FORMAT, "the header is cut short");
        let u8_at = |at| field::u8_at(bytes, at).map(u32::from).ok_or_else(short);
        let u32_at = |at| field::be_u32(bytes, at).ok_or_else(short);
        let u64_at = |at| field::be_u64(bytes, at).ok_or_else(short);
        if u32_at(36)? != 0 {
            return Err(OpenError::Refused {
                format: FORMAT,
                code: FindingCode::Encrypted,
                reason: "it is encrypted".to_owned(),
            });
        }
        let header = Self {
            backing: (u64_at(8)?, u64::from(u32_at(16)?)),
            size: u64_at(24)?,
            cluster_bits: u8_at(32)?,
            l2_bits: u8_at(33)?,
            l1_offset: u64_at(40)?,
        };
        if !CLUSTER_BITS.contains(&header.cluster_bits) || !L2_BITS.contains(&header.l2_bits) {
            let (clusters, tables) = (header.cluster_bits, header.l2_bits);
            let reason = format!("clusters of 2^{clusters} bytes in tables of 2^{tables} entries");
            return Err(OpenError::corrupt(FORMAT, reason));
        }
        Ok(header)
    }

    fn cluster_bytes(&self) -> u64 {
        1_u64.wrapping_shl(self.cluster_bits)
    }

    /// Bytes of the image that an L2 table has entries for.
    fn table_covers(&self) -> u64 {
        self.cluster_bytes().checked_shl(self.l2_bits).unwrap_or(u64::MAX)
    }

    /// Where the L2 table of an entry of L1 lies.
    fn table(&self, at: u64) -> ByteRange {
        ByteRange::new(at, 8_u64.wrapping_shl(self.l2_bits))
    }

    /// Where a cluster lies, as far as the image goes, by its entry.
    fn cluster(&self, number: u64, entry: u64) -> ByteRange {
        if entry & COMPRESSED != 0 {
            return self.compressed(entry);
        }
        let rest = self
            .size
            .saturating_sub(number.saturating_mul(self.cluster_bytes()));
        ByteRange::new(entry, self.cluster_bytes().min(rest))
    }

    fn compressed(&self, entry: u64) -> ByteRange {
        let split = 63_u32.saturating_sub(self.cluster_bits);
        let offset = entry & 1_u64.wrapping_shl(split).saturating_sub(1);
        ByteRange::new(offset, (entry & !COMPRESSED).wrapping_shr(split))
    }

    fn backing_name(&self, source: &dyn ReadAt) -> Result<Option<Vec<u8>>, OpenError> {
        let (offset, len) = self.backing;
        if offset == 0 || len == 0 {
            return Ok(None);
        }
        if len > NAME_BYTES_MAX {
            let reason = format!("the name of the backing file has {len} bytes");
            return Err(OpenError::corrupt(FORMAT, reason));
        }
        let mut name = vec![0; usize::try_from(len).unwrap_or(0)];
        source
            .read_exact_at(offset, &mut name)
            .map_err(|error| OpenError::unreadable(FORMAT, "the name of the backing file", &error))?;
        Ok(Some(name))
    }
}

/// The image, cluster by cluster.
struct Clusters {
    header: Header,
    source: Arc<dyn ReadAt>,
    pages: Pages,
    places: Places,
    backing: Backing,
}

impl Clusters {
    /// The entry of a cluster; 0 if it has none.
    fn entry(&self, cluster: u64) -> Result<u64, Fault> {
        let table = cluster.wrapping_shr(self.header.l2_bits);
        let index = cluster & 1_u64.wrapping_shl(self.header.l2_bits).saturating_sub(1);
        let be_u64 = |at: u64| self.pages.array(at).map(u64::from_be_bytes);
        match be_u64(self.header.l1_offset.saturating_add(table.saturating_mul(8)))? {
            0 => Ok(0),
            table_at => match self.places.refusal(self.header.table(table_at)) {
                Some(why) => Err(Fault::Corrupt(format!("the table of the cluster: {why}"))),
                None => Ok(be_u64(table_at.saturating_add(index.saturating_mul(8)))?),
            },
        }
    }
}

impl Layout for Clusters {
    fn len(&self) -> u64 {
        self.header.size
    }

    fn locate(&self, offset: u64) -> Run<'_> {
        let cluster_bytes = self.header.cluster_bytes();
        let cluster = offset.wrapping_shr(self.header.cluster_bits);
        let within = offset & cluster_bytes.saturating_sub(1);
        let len = cluster_bytes.saturating_sub(within);
        match self.entry(cluster) {
            Err(Fault::Corrupt(what)) => Run::Lost { len, what },
            Err(Fault::Read(error)) => Run::Lost {
                len,
                what: format!("the table of the cluster cannot be read: {error}"),
            },
            Ok(0) => self.backing.run(offset, len),
            Ok(entry) if entry & COMPRESSED != 0 => Run::Block {
                number: cluster,
                skip: within,
                len,
            },
            Ok(entry) if let Some(what) = self.places.refusal(self.header.cluster(cluster, entry)) => {
                Run::Lost { len, what }
            }
            Ok(entry) => Run::Stored {
                source: &self.source,
                offset: entry.saturating_add(within),
                len,
            },
        }
    }

    fn decode(&self, cluster: u64) -> Result<Vec<u8>, Fault> {
        let entry = self.entry(cluster)?;
        let place = self.header.compressed(entry);
        if let Some(why) = self.places.refusal(place) {
            return Err(Fault::Corrupt(why));
        }
        let offset = place.offset;
        let stored = read_upto(&self.source, offset, place.len)?;
        let len = usize::try_from(self.header.cluster_bytes()).unwrap_or(0);
        inflate(&stored, len, false)
            .ok_or_else(|| Fault::Corrupt(format!("the compressed cluster at {offset:#x} cannot be decoded")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Vec<u8> {
        let mut bytes = vec![0; 48];
        bytes[..8].copy_from_slice(b"QFI\xfb\0\0\0\x01");
        (bytes[32], bytes[33]) = (12, 9);
        bytes
    }

    /// One byte of the header is changed at a time.
    #[test]
    fn headers_that_cannot_be_are_refused_with_the_reason() {
        assert!(matches(&header()) && Header::parse(&header()).is_ok());
        for (at, value, code) in [
            (39, 1, FindingCode::Encrypted),
            (32, 8, FindingCode::Corrupt),
            (32, 64, FindingCode::Corrupt),
            (33, 14, FindingCode::Corrupt),
        ] {
            let mut bytes = header();
            bytes[at] = value;
            let refused = Header::parse(&bytes).err();
            assert!(
                matches!(refused, Some(OpenError::Refused { code: said, .. }) if said == code),
                "{at}"
            );
        }
        assert!(Header::parse(&header()[..40]).is_err());
    }
}
