//! ext2, ext3 and ext4.
//!
//! `scan` sweeps the inode tables and `listing` reads directories, for the walk that readers share; everything they read goes
//! through `blocks`, which sees the volume as it is after a replay of its journal. What the format looks like and what is
//! read of it stands in `docs/formats/ext.md`. Facts of the format come from the Linux kernel's headers and its
//! `Documentation/filesystems/ext4`, named where they are used.

mod allocated;
mod attributes;
mod block_map;
mod blocks;
pub(crate) mod checksum;
mod directory;
mod extent_tree;
mod features;
mod group;
mod inode;
mod journal;
mod listing;
mod locate;
mod map;
mod scan;
mod seal;
mod stream;
mod superblock;
mod volume;
mod xattr;

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::ReadAt;

use crate::report::Report;
use crate::{
    Candidate, Error, Facts, Family, FileSystem, ScanOptions, State, TimeZone, Visitor, VolumeSource,
};
use blocks::Blocks;
use features::incompat;
use locate::Located;
use superblock::{SUPERBLOCK_OFFSET, Superblock, moment};
use volume::Volume;

/// `s_state`: put away cleanly.
const STATE_VALID: u16 = 1;
/// `s_state`: the kernel met errors.
const STATE_ERRORS: u16 = 2;

/// Recognises the family by a superblock whose geometry is possible, or by a copy of one in its place.
pub fn probe(source: &dyn ReadAt) -> Option<Candidate> {
    candidate(locate::probe(source)?)
}

/// Recognises the family by a copy of a superblock at an unusual place. Reads some thousand sectors.
pub fn probe_deep(source: &dyn ReadAt) -> Option<Candidate> {
    candidate(locate::sweep(source)?)
}

fn candidate((offset, superblock): (u64, Superblock)) -> Option<Candidate> {
    if superblock.has_incompat(incompat::JOURNAL_DEV) {
        return None;
    }
    let place = if offset == SUPERBLOCK_OFFSET {
        "superblock".to_owned()
    } else {
        format!(
            "only a copy of the superblock, in group {}",
            superblock.block_group
        )
    };
    Some(Candidate {
        family: Family::Ext,
        type_name: superblock.type_name().to_owned(),
        evidence: format!(
            "{place}, {} blocks of {}",
            superblock.blocks_count, superblock.block_bytes
        ),
        size_bytes: superblock.size_bytes(),
    })
}

/// Opens a volume of the family.
///
/// # Errors
///
/// See [`crate::open`].
pub fn open<'a>(source: VolumeSource<'a>, image_offset: u64) -> Result<Box<dyn FileSystem + 'a>, Error> {
    let located = locate::locate(&*source, image_offset)?;
    if located.superblock.has_incompat(incompat::JOURNAL_DEV) {
        return Err(Error::Unsupported("an external journal of ext".to_owned()));
    }
    Ok(Box::new(Ext::new(source, image_offset, located)))
}

/// An opened volume.
struct Ext<'a> {
    volume: Volume<'a>,
    facts: Facts,
    /// Made while opening.
    findings: Vec<Finding>,
}

impl<'a> Ext<'a> {
    fn new(source: VolumeSource<'a>, image_offset: u64, located: Located) -> Self {
        let is_backup = located.is_backup();
        let superblock = located.superblock;
        let state = state(&superblock);
        let mut report = Report::default();
        for finding in located.findings {
            report.push(finding);
        }
        tell(&superblock, source.len(), image_offset, &mut report);
        let blocks = Blocks::new(source, image_offset, superblock.block_bytes);
        let mut groups_report = Report::default();
        let groups = group::read_groups(&blocks, &superblock, &mut groups_report);
        let mut volume = Volume {
            superblock,
            groups,
            blocks,
        };
        let overlay = journal::overlay(&volume, is_backup, &mut report);
        if !overlay.copies.is_empty() {
            volume.blocks.set_overlay(overlay.copies, overlay.magic_block);
            reread(&mut volume, is_backup, &mut groups_report);
        }
        let mut findings = report.take();
        findings.extend(groups_report.take());
        Self {
            facts: facts(&volume.superblock, state),
            volume,
            findings,
        }
    }
}

/// After a replay: superblock and descriptors as the journal has them.
fn reread(volume: &mut Volume<'_>, is_backup: bool, report: &mut Report) {
    let block = volume.blocks.whole_blocks(SUPERBLOCK_OFFSET);
    let mut bytes = vec![0; volume.blocks.block_len()];
    let start = if block == 0 { superblock::SUPERBLOCK_LEN } else { 0 };
    let newer = volume.blocks.read(block, &mut bytes).ok().and_then(|()| {
        let bytes = ntt_source::field::array(&bytes, start)?;
        Superblock::parse(&bytes).ok()
    });
    if let Some(newer) = newer.filter(|newer| !is_backup && newer.geometry() == volume.superblock.geometry())
    {
        volume.superblock = newer;
    }
    *report = Report::default();
    volume.groups = group::read_groups(&volume.blocks, &volume.superblock, report);
}

impl FileSystem for Ext<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn scan(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Error> {
        let nodes = scan::Scan::new(&self.volume, options);
        Ok(crate::walk::run(&nodes, &self.findings, options, visitor)?)
    }

    fn allocated(&self, each: &mut dyn FnMut(ByteRange)) -> Result<(), Error> {
        allocated::allocated(&self.volume, each);
        Ok(())
    }
}

/// Findings that follow from the superblock alone.
fn tell(superblock: &Superblock, source_len: u64, image_offset: u64, report: &mut Report) {
    let at = image_offset.saturating_add(SUPERBLOCK_OFFSET);
    let unknown = superblock.incompat & !incompat::KNOWN;
    if unknown != 0 {
        let detail = format!(
            "features that this version does not know: {}",
            features::incompat_names(unknown)
        );
        let finding = Finding::new(
            Severity::Warning,
            Layer::FileSystem,
            FindingCode::Unsupported,
            detail,
        );
        report.push(finding.at(at));
    }
    let size = superblock.size_bytes();
    if size > source_len {
        let detail = format!("the file system has {size} bytes, the volume {source_len}");
        let finding = Finding::new(Severity::Loss, Layer::Image, FindingCode::BeyondEnd, detail);
        report.push(finding.at(image_offset.saturating_add(source_len)));
    }
    let inodes = superblock
        .group_count()
        .saturating_mul(u64::from(superblock.inodes_per_group));
    if inodes != u64::from(superblock.inodes_count) {
        let detail = format!(
            "{} inodes are claimed, the groups have {inodes}",
            superblock.inodes_count
        );
        let finding = Finding::new(
            Severity::Warning,
            Layer::FileSystem,
            FindingCode::Contradiction,
            detail,
        );
        report.push(finding.at(at));
    }
}

fn state(superblock: &Superblock) -> State {
    let is_valid = superblock.state & (STATE_VALID | STATE_ERRORS) == STATE_VALID;
    if is_valid && !superblock.has_incompat(incompat::RECOVER) {
        State::Clean
    } else {
        State::Dirty
    }
}

fn facts(superblock: &Superblock, state: State) -> Facts {
    let used = superblock.blocks_count.checked_sub(superblock.free_blocks);
    Facts {
        type_name: superblock.type_name().to_owned(),
        label: superblock.label().to_vec(),
        uuid: superblock.uuid_text(),
        block_size_bytes: superblock.block_bytes,
        size_bytes: superblock.size_bytes(),
        used_bytes: used.and_then(|blocks| blocks.checked_mul(u64::from(superblock.block_bytes))),
        created: moment(superblock.created),
        written: moment(superblock.written),
        state,
        time_resolution_ns: if superblock.inode_bytes > 128 {
            1
        } else {
            1_000_000_000
        },
        time_zone: TimeZone::Utc,
        root: u64::from(scan::ROOT),
        details: details(superblock),
    }
}

fn details(superblock: &Superblock) -> Vec<(String, String)> {
    let features = features::names(superblock.compat, superblock.incompat, superblock.ro_compat);
    let inodes_used = superblock.inodes_count.saturating_sub(superblock.free_inodes);
    let mut details = vec![
        ("features", features),
        ("revision", superblock.revision.to_string()),
        ("inodes", superblock.inodes_count.to_string()),
        ("inodes used", inodes_used.to_string()),
        ("inode size", superblock.inode_bytes.to_string()),
        ("groups", superblock.group_count().to_string()),
    ];
    if !superblock.last_mounted.is_empty() {
        let path = ntt_model::name::escape(&superblock.last_mounted).into_owned();
        details.push(("last mounted on", path));
    }
    if let Some(time) = moment(superblock.mounted) {
        details.push(("last mounted", time.to_string()));
    }
    details
        .into_iter()
        .map(|(label, value)| (label.to_owned(), value))
        .collect()
}
