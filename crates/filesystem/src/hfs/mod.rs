//! HFS (Mac OS Standard), the file system of Macintosh disks from 1985 on; see `docs/formats/hfs.md`.
//!
//! `mdb` finds the master directory block, `inode` makes inodes of records. The B-trees and the walk are those of `apple`.

mod inode;
mod mdb;

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::ReadAt;

use self::inode::Builder;
use self::mdb::{Fault, Located, MDB_OFFSET, Mdb, attribute};
use crate::apple::allocated;
use crate::apple::catalog::ROOT;
use crate::apple::claims::{Claims, sweep_catalog};
use crate::apple::fork::ForkBytes;
use crate::apple::key::KeyFormat;
use crate::apple::overflow::Overflow;
use crate::apple::time::time_at;
use crate::apple::volume::Volume;
use crate::apple::walk::{Catalog, Walk};
use crate::report::Report;
use crate::{
    Candidate, Error, Facts, Family, FileSystem, ScanOptions, State, TimeZone, Visitor, VolumeSource,
};

/// Number of the catalogue.
const CATALOG: u32 = 4;

/// Recognises a master directory block, or its copy at the end.
pub fn probe(source: &dyn ReadAt) -> Option<Candidate> {
    let located = mdb::locate(source).ok()?;
    let place = if located.primary_fault.is_none() {
        "master directory block"
    } else {
        "only the copy of the master directory block"
    };
    let mdb = &located.mdb;
    Some(Candidate {
        family: Family::Hfs,
        type_name: "hfs".to_owned(),
        evidence: format!("{place}, {} blocks of {}", mdb.block_count, mdb.block_bytes),
        size_bytes: mdb.size_bytes(),
    })
}

/// Opens a volume of the family.
///
/// # Errors
///
/// See [`crate::open`].
pub fn open<'a>(source: VolumeSource<'a>, image_offset: u64) -> Result<Box<dyn FileSystem + 'a>, Error> {
    let structure = "HFS master directory block";
    match mdb::locate(&*source) {
        Ok(located) => Ok(Box::new(Hfs::new(source, image_offset, located))),
        Err(Fault::Read(source)) => Err(Error::Read { structure, source }),
        Err(Fault::Other(detail)) => Err(Error::Corrupt {
            structure,
            detail,
            image_offset: image_offset.saturating_add(MDB_OFFSET),
        }),
    }
}

/// An opened volume.
struct Hfs<'a> {
    volume: Volume<'a>,
    mdb: Mdb,
    facts: Facts,
    /// Made while opening.
    findings: Vec<Finding>,
}

impl<'a> Hfs<'a> {
    fn new(source: VolumeSource<'a>, image_offset: u64, located: Located) -> Self {
        let mdb = located.mdb;
        let geometry = (mdb.block_bytes, u32::from(mdb.block_count));
        let volume = Volume::new(source, image_offset, geometry, mdb.first_block);
        let mut findings = Vec::new();
        if let Some(fault) = located.primary_fault {
            let detail = format!("the master directory block is unusable ({fault}); its copy was used");
            let finding = Finding::new(
                Severity::Warning,
                Layer::FileSystem,
                FindingCode::BackupUsed,
                detail,
            );
            findings.push(finding.at(volume.home_in_image(located.offset)));
        }
        let (end, len) = (volume.block_offset(volume.block_count), volume.len());
        if end > len {
            let detail = format!(
                "the file system ends at {} bytes, the volume at {len}",
                mdb.size_bytes()
            );
            let finding = Finding::new(Severity::Loss, Layer::Image, FindingCode::BeyondEnd, detail);
            findings.push(finding.at(volume.home_in_image(len)));
        }
        Self {
            facts: facts(&mdb),
            volume,
            mdb,
            findings,
        }
    }

    fn claims(&self) -> Claims {
        Claims {
            files: u64::from(self.mdb.file_count),
            folders: u64::from(self.mdb.folder_count),
            head: "master directory block",
            image_offset: self.volume.home_in_image(MDB_OFFSET),
        }
    }

    /// Says what the bad-block file covers; in a wrapper it covers the HFS+ volume.
    fn tell_bad_blocks(&self, overflow: &mut Overflow, report: &mut Report) {
        let embedded = self.mdb.embedded_blocks.map_or(0, u64::from);
        let bad = overflow.bad_blocks(&self.volume).saturating_sub(embedded);
        if bad > 0 {
            let detail = format!("{bad} allocation blocks are marked as bad");
            report.push(Finding::new(
                Severity::Info,
                Layer::FileSystem,
                FindingCode::Io,
                detail,
            ));
        }
    }
}

impl FileSystem for Hfs<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn scan(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Error> {
        let mut report = Report::default();
        for finding in &self.findings {
            report.push(finding.clone());
        }
        let extents_max = options.limits.extents_per_stream;
        let format = KeyFormat::ExtentsClassic;
        let mut overflow = Overflow::open(&self.volume, format, &self.mdb.extents, extents_max, &mut report);
        let claims = self.claims();
        let fork = (&self.mdb.catalog, claims.image_offset);
        let fork = overflow.completed(&self.volume, CATALOG, fork, &mut report);
        let (tree, census) = sweep_catalog(
            &self.volume,
            KeyFormat::CatalogClassic,
            &fork,
            &claims,
            &mut report,
        );
        self.tell_bad_blocks(&mut overflow, &mut report);
        let mut builder = Builder {
            volume: &self.volume,
            overflow,
            extents_max,
        };
        let catalog = Catalog {
            volume: &self.volume,
            tree: &tree,
            census: &census,
        };
        Ok(Walk::new(catalog, options, visitor, &mut builder, report).run()?)
    }

    fn allocated(&self, each: &mut dyn FnMut(ByteRange)) -> Result<(), Error> {
        let bytes = u64::from(self.mdb.block_count).div_ceil(8);
        let bitmap = ForkBytes::whole(self.mdb.bitmap, bytes);
        allocated::allocated(&self.volume, &bitmap, each);
        Ok(())
    }
}

fn facts(mdb: &Mdb) -> Facts {
    let used = mdb.block_count.saturating_sub(mdb.free_blocks);
    let mut details = vec![
        ("files".to_owned(), mdb.file_count.to_string()),
        ("directories".to_owned(), mdb.folder_count.to_string()),
    ];
    if mdb.embedded_blocks.is_some() {
        details.push(("wrapper of".to_owned(), "an HFS+ volume".to_owned()));
    }
    Facts {
        type_name: "hfs".to_owned(),
        label: mdb.label.clone(),
        uuid: None,
        block_size_bytes: mdb.block_bytes,
        size_bytes: mdb.size_bytes(),
        used_bytes: u64::from(used).checked_mul(u64::from(mdb.block_bytes)),
        created: time_at(mdb.raw(), 2),
        written: time_at(mdb.raw(), 6),
        state: if mdb.attributes & attribute::UNMOUNTED != 0 {
            State::Clean
        } else {
            State::Dirty
        },
        time_resolution_ns: 1_000_000_000,
        time_zone: TimeZone::UnknownLocal,
        root: u64::from(ROOT),
        details,
    }
}
