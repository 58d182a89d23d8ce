//! HFS+ and HFSX (Mac OS Extended); see `docs/formats/hfsplus.md` for what is read and what is not.
//!
//! `header` finds the volume header, `journal` reads what a dirty journal holds, `attributes` and `inode` make inodes of records. The
//! B-trees and the walk are those of `apple`.

mod attributes;
mod header;
mod inode;
mod journal;

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity, Timestamp};
use ntt_source::ReadAt;

use self::attributes::Attributes;
use self::header::{Fault, HEADER_OFFSET, Located, VolumeHeader, attribute};
use self::inode::Builder;
use crate::apple::allocated;
use crate::apple::catalog::{ROOT, ROOT_PARENT, units};
use crate::apple::claims::{Claims, sweep_catalog};
use crate::apple::fork::{ForkBytes, ForkData};
use crate::apple::guess::read_header;
use crate::apple::key::KeyFormat;
use crate::apple::node::DESCRIPTOR_LEN;
use crate::apple::overflow::Overflow;
use crate::apple::time::time_at;
use crate::apple::tree::read_node;
use crate::apple::volume::Volume;
use crate::apple::walk::{Catalog, Walk};
use crate::name::wtf8_from_utf16;
use crate::report::Report;
use crate::{
    Candidate, Error, Facts, Family, FileSystem, ScanOptions, State, TimeZone, Visitor, VolumeSource,
};

/// Numbers of the volume's own files (TN1150, "Catalog Node IDs").
mod special_file {
    pub(super) const CATALOG: u32 = 4;
    pub(super) const ALLOCATION: u32 = 6;
    pub(super) const ATTRIBUTES: u32 = 8;
}

/// Recognises a volume header, or its copy at the end, in the volume or in an HFS wrapper.
pub fn probe(source: &dyn ReadAt) -> Option<Candidate> {
    let located = header::locate(source).ok()?;
    let header = &located.header;
    let place = match (located.primary_fault.is_some(), located.start > 0) {
        (false, false) => "volume header",
        (false, true) => "volume header in an HFS wrapper",
        (true, false) => "only the copy of the volume header",
        (true, true) => "only the copy of the volume header in an HFS wrapper",
    };
    Some(Candidate {
        family: Family::HfsPlus,
        type_name: header.type_name().to_owned(),
        evidence: format!("{place}, {} blocks of {}", header.block_count, header.block_bytes),
        size_bytes: located.start.saturating_add(header.size_bytes()),
    })
}

/// Opens a volume of the family.
///
/// # Errors
///
/// See [`crate::open`].
pub fn open<'a>(source: VolumeSource<'a>, image_offset: u64) -> Result<Box<dyn FileSystem + 'a>, Error> {
    let structure = "HFS+ volume header";
    match header::locate(&*source) {
        Ok(located) => Ok(Box::new(HfsPlus::new(source, image_offset, located))),
        Err(Fault::Read(source)) => Err(Error::Read { structure, source }),
        Err(Fault::Other(detail)) => Err(Error::Corrupt {
            structure,
            detail,
            image_offset: image_offset.saturating_add(HEADER_OFFSET),
        }),
    }
}

/// An opened volume.
struct HfsPlus<'a> {
    volume: Volume<'a>,
    header: VolumeHeader,
    facts: Facts,
    /// Made while opening.
    findings: Vec<Finding>,
}

impl<'a> HfsPlus<'a> {
    fn new(source: VolumeSource<'a>, image_offset: u64, located: Located) -> Self {
        let mut header = located.header;
        let mut report = Report::default();
        let geometry = (header.block_bytes, header.block_count);
        let mut volume = Volume::new(source, image_offset, geometry, located.start);
        if let Some(fault) = located.primary_fault {
            let detail = format!("the volume header is unusable ({fault}); its copy was used");
            let finding = Finding::new(
                Severity::Warning,
                Layer::FileSystem,
                FindingCode::BackupUsed,
                detail,
            );
            report.push(finding.at(volume.home_in_image(located.offset)));
        }
        tell_size(&volume, &header, &mut report);
        let overlay = journal::overlay(&volume, &header, &mut report);
        let is_dirty = !report.is_empty() && header.is_journaled() && overlay.len() > 0;
        if overlay.len() > 0 {
            volume.set_overlay(overlay);
            header = reread(&volume, located.offset).unwrap_or(header);
        }
        let facts = facts(&volume, &header, is_dirty);
        Self {
            facts,
            volume,
            header,
            findings: report.take(),
        }
    }

    fn overflow(&self, extents_max: u64, report: &mut Report) -> Overflow {
        Overflow::open(
            &self.volume,
            KeyFormat::ExtentsPlus,
            &self.header.extents,
            extents_max,
            report,
        )
    }

    fn claims(&self) -> Claims {
        let head = self.volume.first_block.saturating_add(HEADER_OFFSET);
        Claims {
            files: u64::from(self.header.file_count),
            folders: u64::from(self.header.folder_count),
            head: "volume header",
            image_offset: self.volume.in_image(head),
        }
    }
}

impl FileSystem for HfsPlus<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn scan(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Error> {
        let mut report = Report::default();
        for finding in &self.findings {
            report.push(finding.clone());
        }
        let mut overflow = self.overflow(options.limits.extents_per_stream, &mut report);
        let claims = self.claims();
        let mut completed = |cnid, fork, report: &mut Report| {
            overflow.completed(&self.volume, cnid, (fork, claims.image_offset), report)
        };
        let catalog = completed(special_file::CATALOG, &self.header.catalog, &mut report);
        let fork = completed(
            special_file::ATTRIBUTES,
            &self.header.attributes_file,
            &mut report,
        );
        let (tree, census) = sweep_catalog(
            &self.volume,
            KeyFormat::CatalogPlus,
            &catalog,
            &claims,
            &mut report,
        );
        let attributes = Attributes::open(&self.volume, &fork, &mut report);
        let bad_blocks = overflow.bad_blocks(&self.volume);
        if bad_blocks > 0 {
            let detail = format!("{bad_blocks} allocation blocks are marked as bad");
            report.push(Finding::new(
                Severity::Info,
                Layer::FileSystem,
                FindingCode::Io,
                detail,
            ));
        }
        let mut builder = Builder::new(
            &self.volume,
            overflow,
            attributes,
            options.limits.extents_per_stream,
        );
        let catalog = Catalog {
            volume: &self.volume,
            tree: &tree,
            census: &census,
        };
        Ok(Walk::new(catalog, options, visitor, &mut builder, report).run()?)
    }

    fn allocated(&self, each: &mut dyn FnMut(ByteRange)) -> Result<(), Error> {
        let mut unsaid = Report::default();
        let mut overflow = self.overflow(u64::MAX, &mut unsaid);
        let fork = (&self.header.allocation, 0);
        let fork = overflow.completed(&self.volume, special_file::ALLOCATION, fork, &mut unsaid);
        let bitmap = ForkBytes::new(&self.volume, fork.size, &fork.runs);
        allocated::allocated(&self.volume, &bitmap, each);
        Ok(())
    }
}

/// The header as the journal has it.
fn reread(volume: &Volume<'_>, offset: u64) -> Option<VolumeHeader> {
    let mut raw = [0; 512];
    volume.read(offset, &mut raw).ok()?;
    let header = VolumeHeader::parse(raw).ok()?;
    let is_same = (header.block_bytes, header.block_count) == (volume.block_bytes, volume.block_count);
    is_same.then_some(header)
}

fn tell_size(volume: &Volume<'_>, header: &VolumeHeader, report: &mut Report) {
    let end = volume.first_block.saturating_add(header.size_bytes());
    if end > volume.len() {
        let detail = format!(
            "the file system ends at {end} bytes, the volume at {}",
            volume.len()
        );
        let finding = Finding::new(Severity::Loss, Layer::Image, FindingCode::BeyondEnd, detail);
        report.push(finding.at(volume.home_in_image(volume.len())));
    }
}

fn facts(volume: &Volume<'_>, header: &VolumeHeader, is_dirty: bool) -> Facts {
    let is_clean =
        header.attributes & (attribute::UNMOUNTED | attribute::INCONSISTENT) == attribute::UNMOUNTED;
    let used = header.block_count.checked_sub(header.free_blocks);
    let (label, made) = root_record(volume, &header.catalog).unwrap_or_default();
    Facts {
        type_name: header.type_name().to_owned(),
        label,
        uuid: uuid(header.id),
        block_size_bytes: header.block_bytes,
        size_bytes: volume.first_block.saturating_add(header.size_bytes()),
        used_bytes: used.map(|blocks| u64::from(blocks).saturating_mul(u64::from(header.block_bytes))),
        // The header has the time of making in local time, the root directory in UTC.
        created: made,
        written: time_at(header.raw(), 20),
        state: if is_clean && !is_dirty {
            State::Clean
        } else {
            State::Dirty
        },
        time_resolution_ns: 1_000_000_000,
        time_zone: TimeZone::Utc,
        root: u64::from(ROOT),
        details: details(volume, header),
    }
}

fn details(volume: &Volume<'_>, header: &VolumeHeader) -> Vec<(String, String)> {
    let writer = String::from_utf8_lossy(&header.last_mounted);
    let mut details = vec![
        ("files", header.file_count.to_string()),
        ("directories", header.folder_count.to_string()),
        (
            "last written by",
            ntt_model::name::escape(writer.as_bytes()).into_owned(),
        ),
        (
            "journal",
            if header.is_journaled() { "yes" } else { "no" }.to_owned(),
        ),
    ];
    if volume.first_block > 0 {
        details.push((
            "in an HFS wrapper, at",
            format!("{:#x}", volume.home_in_image(volume.first_block)),
        ));
    }
    details
        .into_iter()
        .map(|(label, value)| (label.to_owned(), value))
        .collect()
}

/// The name of the root directory and when it was made: the first record of the first leaf, since its parent has the lowest number.
fn root_record(volume: &Volume<'_>, catalog: &ForkData) -> Option<(Vec<u8>, Option<Timestamp>)> {
    let format = KeyFormat::CatalogPlus;
    let file = ForkBytes::new(volume, catalog.size, &catalog.runs);
    let header = read_header(volume, &file, format)?;
    let mut node = vec![0; usize::try_from(header.node_bytes).ok()?];
    let start = u64::from(header.first_leaf).checked_mul(u64::from(header.node_bytes))?;
    let _hole = read_node(volume, &file, start, &mut node);
    let record = format.record(node.get(DESCRIPTOR_LEN..)?)?;
    let label = wtf8_from_utf16(units(format.raw_name(&record)));
    (record.major == ROOT_PARENT).then(|| (label, time_at(record.data, 12)))
}

/// The UUID that macOS and `blkid` make of the volume's id: version 3, of the name space of HFS.
fn uuid(id: [u8; 8]) -> Option<String> {
    use md5::{Digest, Md5};

    const NAME_SPACE: [u8; 16] = [
        0xb3, 0xe2, 0x0f, 0x39, 0xf2, 0x92, 0x11, 0xd6, 0x97, 0xa4, 0x00, 0x30, 0x65, 0x43, 0xec, 0xac,
    ];
    if id == [0; 8] {
        return None;
    }
    let digest: [u8; 16] = Md5::new()
        .chain_update(NAME_SPACE)
        .chain_update(id)
        .finalize()
        .into();
    let number = u128::from_be_bytes(digest);
    let number = number & !(0xf << 76) | (3 << 76);
    let number = number & !(0x3 << 62) | (2 << 62);
    let hex = format!("{number:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    Some(
        parts
            .map(|part| hex.get(part).unwrap_or_default().to_owned())
            .join("-"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uuid_is_that_of_blkid() {
        assert_eq!(uuid([0; 8]), None);
        let id = [0xc7, 0xad, 0x25, 0xcb, 0x22, 0xff, 0x87, 0x91];
        let uuid = uuid(id).expect("a UUID");
        assert_eq!(uuid, "aa87cdc6-8430-343d-a2a3-4cf46521e8f8");
    }
}
