//! squashfs of versions 2, 3 (little-endian) and 4; see `docs/formats/squashfs.md` for what is read and what is not.
//!
//! `superblock` knows the versions, `volume` reads metadata, `inode`, `directory` and `tables` what stands in it, `content` makes streams, `scan` events.

mod content;
mod directory;
mod inode;
mod known;
mod scan;
mod superblock;
mod tables;
mod volume;

use ntt_model::time::Timestamp;
use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::ReadAt;

use self::superblock::{SUPERBLOCK_LEN, Superblock};
use self::volume::Volume;
use crate::{
    Candidate, Error, Facts, Family, FileSystem, ScanOptions, State, TimeZone, Visitor, VolumeSource,
};

fn superblock(source: &dyn ReadAt) -> Result<Superblock, Error> {
    let mut bytes = vec![0; SUPERBLOCK_LEN];
    let structure = "squashfs superblock";
    source
        .read_exact_at(0, &mut bytes)
        .map_err(|source| Error::Read { structure, source })?;
    Superblock::parse(&bytes).map_err(|detail| {
        if detail.ends_with("not supported") {
            Error::Unsupported(detail)
        } else {
            Error::Corrupt {
                structure,
                detail,
                image_offset: 0,
            }
        }
    })
}

/// Recognises the family by its superblock.
pub fn probe(source: &dyn ReadAt) -> Option<Candidate> {
    let superblock = superblock(source).ok()?;
    Some(Candidate {
        family: Family::Squashfs,
        type_name: superblock.type_name().to_owned(),
        evidence: format!(
            "superblock, version {}, {} inodes, blocks of {} bytes, {}",
            superblock.version_text(),
            superblock.inodes,
            superblock.block_bytes,
            superblock.codec.name()
        ),
        size_bytes: superblock.used_bytes,
    })
}

/// Opens a volume of the family.
///
/// # Errors
///
/// See [`crate::open`]; version 1 and big-endian images are not supported.
pub fn open<'a>(source: VolumeSource<'a>, image_offset: u64) -> Result<Box<dyn FileSystem + 'a>, Error> {
    let superblock = superblock(&*source).map_err(|error| error.lying_at(image_offset))?;
    let volume = Volume::new(source, image_offset, superblock);
    Ok(Box::new(Squashfs {
        facts: facts(&volume),
        findings: findings(&volume),
        volume,
    }))
}

/// An opened volume.
struct Squashfs<'a> {
    volume: Volume<'a>,
    facts: Facts,
    findings: Vec<Finding>,
}

impl FileSystem for Squashfs<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn scan(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Error> {
        Ok(scan::Scan::new(&self.volume, options, visitor).run(&self.findings)?)
    }

    /// All of it: the format has no free space.
    fn allocated(&self, each: &mut dyn FnMut(ByteRange)) -> Result<(), Error> {
        let len = self.volume.superblock.used_bytes.min(self.volume.source_len());
        each(ByteRange::new(self.volume.in_image(0), len));
        Ok(())
    }
}

fn findings(volume: &Volume<'_>) -> Vec<Finding> {
    let (size, len) = (volume.superblock.used_bytes, volume.source_len());
    if size <= len {
        return Vec::new();
    }
    let detail = format!("the file system has {size} bytes, the volume {len}");
    let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::BeyondEnd, detail);
    vec![finding.at(volume.in_image(len))]
}

fn facts(volume: &Volume<'_>) -> Facts {
    let superblock = &volume.superblock;
    let details = [
        ("version", superblock.version_text()),
        ("compression", superblock.codec.name().to_owned()),
        ("inodes", superblock.inodes.to_string()),
        ("fragments", superblock.fragments.to_string()),
        ("flags", format!("{:#x}", superblock.flags)),
    ];
    let made = Timestamp::from_parts(superblock.made.into(), 0).filter(|_| superblock.made != 0);
    Facts {
        type_name: superblock.type_name().to_owned(),
        label: Vec::new(),
        uuid: None,
        block_size_bytes: superblock.block_bytes,
        size_bytes: superblock.used_bytes,
        used_bytes: Some(superblock.used_bytes),
        created: made,
        written: made,
        state: State::Clean,
        time_resolution_ns: 1_000_000_000,
        time_zone: TimeZone::Utc,
        root: scan::root_number(volume),
        details: details.map(|(label, value)| (label.to_owned(), value)).to_vec(),
    }
}
