//! XFS of versions 4 and 5, and of IRIX with directories of the second format; see `docs/formats/xfs.md` for what is read and what is not.
//!
//! `locate` finds the superblock, `volume` knows where blocks and inodes lie, `group` and `tree` find inodes and free space, `fork` turns
//! forks into extents, `directory` and `attribute` read what stands in them, `scan` and `listing` give all of it to the walk that readers share. The log is looked at (`log`),
//! not replayed.
//!
//! Facts of the format come from *XFS Algorithms & Data Structures* and from the headers of the Linux kernel, named where they are used.

mod allocated;
mod attribute;
mod build;
mod crc;
mod directory;
mod fork;
mod group;
mod inode;
mod listing;
mod locate;
mod log;
mod scan;
mod superblock;
mod tree;
mod volume;

use ntt_model::entry::Inode;
use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::ReadAt;
use ntt_source::field::be_u32;

use self::locate::Located;
use self::log::LogState;
use self::superblock::{Superblock, incompat};
use self::volume::Volume;
use crate::report::{Report, unreadable};
use crate::uuid::uuid_text;
use crate::{
    Candidate, Error, Facts, Family, FileSystem, ScanOptions, State, TimeZone, Visitor, VolumeSource,
};

/// Recognises the family by a superblock that makes sense, or by a copy of one where groups usually start.
pub fn probe(source: &dyn ReadAt) -> Option<Candidate> {
    locate::probe(source).map(candidate)
}

/// Recognises the family by a copy of a superblock anywhere in the first GiB.
pub fn probe_deep(source: &dyn ReadAt) -> Option<Candidate> {
    locate::sweep(source).map(candidate)
}

fn candidate((offset, superblock): (u64, Superblock)) -> Candidate {
    let place = if offset == 0 {
        "superblock".to_owned()
    } else {
        format!("only a copy of the superblock at {offset:#x}")
    };
    Candidate {
        family: Family::Xfs,
        type_name: "xfs".to_owned(),
        evidence: format!(
            "{place}, version {}, {} blocks of {} in {} groups",
            superblock.version, superblock.blocks, superblock.block_bytes, superblock.group_count
        ),
        size_bytes: superblock.size_bytes(),
    }
}

/// Opens a volume of the family.
///
/// # Errors
///
/// See [`crate::open`]; directories of the first format (IRIX before 6.5) are not supported.
pub fn open<'a>(source: VolumeSource<'a>, image_offset: u64) -> Result<Box<dyn FileSystem + 'a>, Error> {
    let located = locate::locate(&*source, image_offset)?;
    if !located.superblock.has_dir2() {
        return Err(Error::Unsupported(
            "XFS with directories of the first format".to_owned(),
        ));
    }
    Ok(Box::new(Xfs::new(source, image_offset, located)))
}

/// An opened volume.
struct Xfs<'a> {
    volume: Volume<'a>,
    root: u64,
    facts: Facts,
    /// Made while opening.
    findings: Vec<Finding>,
}

impl<'a> Xfs<'a> {
    fn new(source: VolumeSource<'a>, image_offset: u64, located: Located) -> Self {
        let mut report = Report::default();
        for finding in located.findings {
            report.push(finding);
        }
        let mut volume = Volume::new(source, image_offset, located.superblock);
        tell(&volume, &mut report);
        check_copies(&volume, located.offset, &mut report);
        let root = root(&volume, &mut report);
        if located.offset > 0 {
            // A copy may be older than they are: bitmap and summary of the real-time device, which are made right after the root.
            volume
                .superblock
                .special
                .extend((1..=2).map(|next| root.saturating_add(next)));
        }
        let state = log_state(&volume, &mut report);
        Self {
            facts: facts(&volume, root, state),
            root,
            volume,
            findings: report.take(),
        }
    }
}

impl FileSystem for Xfs<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn scan(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Error> {
        let nodes = scan::Scan::new(&self.volume, self.root, &options.limits);
        Ok(crate::walk::run(&nodes, &self.findings, options, visitor)?)
    }

    fn allocated(&self, each: &mut dyn FnMut(ByteRange)) -> Result<(), Error> {
        allocated::runs(&self.volume, each);
        Ok(())
    }
}

/// Findings that follow from the superblock alone.
fn tell(volume: &Volume<'_>, report: &mut Report) {
    let superblock = &volume.superblock;
    let mut add = |severity, code, at: u64, detail: String| {
        let finding = Finding::new(severity, Layer::FileSystem, code, detail);
        report.push(finding.at(volume.in_image(at)));
    };
    let unknown = superblock.incompat & !incompat::KNOWN;
    if unknown != 0 {
        let detail = format!("features that this version does not know: {unknown:#x}");
        add(Severity::Warning, FindingCode::Unsupported, 0, detail);
    }
    if superblock.has_incompat(incompat::NEEDS_REPAIR) {
        let detail = "the file system is marked as in need of repair".to_owned();
        add(Severity::Warning, FindingCode::Corrupt, 0, detail);
    }
    let (size, len) = (superblock.size_bytes(), volume.source_len());
    if size > len {
        let detail = format!("the file system has {size} bytes, the volume {len}");
        add(Severity::Loss, FindingCode::BeyondEnd, len, detail);
    }
    if superblock.realtime_blocks > 0 {
        let blocks = superblock.realtime_blocks;
        let detail =
            format!("there is a real-time device of {blocks} blocks, which is another one and not read");
        add(Severity::Warning, FindingCode::Unsupported, 0, detail);
    }
}

/// Compares the superblocks of all groups with the one that is used.
fn check_copies(volume: &Volume<'_>, used: u64, report: &mut Report) {
    let superblock = &volume.superblock;
    let mut sector = vec![0; usize::from(superblock.sector_bytes)];
    for number in 1..superblock.group_count {
        let offset = volume.group_offset(number);
        if offset == used {
            continue;
        }
        if offset >= volume.source_len() {
            break;
        }
        let what = format!("the superblock of group {number}");
        let at = volume.in_image(offset);
        if let Err(error) = volume.read(offset, &mut sector) {
            let mut finding = unreadable(&error, Layer::FileSystem, &what, at);
            finding.severity = Severity::Warning;
            report.push(finding);
            continue;
        }
        let complaint = match Superblock::parse(&sector) {
            Err(detail) => Some(format!("{what}: {detail}")),
            Ok(copy) if copy.geometry() != superblock.geometry() => {
                Some(format!("{what} has another layout"))
            }
            Ok(copy) => copy.crc.complaint(&what),
        };
        if let Some(complaint) = complaint {
            let finding = Finding::new(
                Severity::Warning,
                Layer::FileSystem,
                FindingCode::Contradiction,
                complaint,
            );
            report.push(finding.at(at));
        }
    }
}

/// The root: copies of the superblock may be older than it. It is the first inode that a formatter makes.
fn root(volume: &Volume<'_>, report: &mut Report) -> u64 {
    if let Some(root) = volume
        .superblock
        .root
        .filter(|root| *root < Inode::NUMBERS && volume.inode_offset(*root).is_some())
    {
        return root;
    }
    let mut first = None;
    let mut unsaid = Report::default();
    if let Some(tree) = group::inodes(volume, 0, &mut unsaid) {
        tree.records(volume, &mut unsaid, &mut |record, _| {
            first = first.or(be_u32(record, 0));
        });
    }
    let root = volume.inode_number(0, first.unwrap_or(64));
    let detail = format!("the superblock does not name the root; inode {root}, the first one, was taken");
    let finding = Finding::new(Severity::Warning, Layer::FileSystem, FindingCode::Corrupt, detail);
    report.push(finding.at(volume.in_image(0)));
    root
}

fn log_state(volume: &Volume<'_>, report: &mut Report) -> State {
    let at = volume.block_offset(volume.superblock.log_start).unwrap_or(0);
    let mut add = |severity, code, detail: &str| {
        let finding = Finding::new(severity, Layer::FileSystem, code, detail);
        report.push(finding.at(volume.in_image(at)));
    };
    match log::state(volume) {
        LogState::Clean => State::Clean,
        LogState::Dirty => {
            let detail = "the log holds changes that were not written to their places; it was not replayed";
            add(Severity::Loss, FindingCode::DirtyJournal, detail);
            State::Dirty
        }
        LogState::External => {
            let detail = "the log lies on another device, which was not looked at";
            add(Severity::Info, FindingCode::Unsupported, detail);
            State::Unknown
        }
        LogState::Odd => {
            add(Severity::Warning, FindingCode::Corrupt, "the log holds no record");
            State::Unknown
        }
        LogState::Unread(error, offset) => {
            let mut finding = unreadable(&error, Layer::FileSystem, "the log", volume.in_image(offset));
            finding.severity = Severity::Warning;
            report.push(finding);
            State::Unknown
        }
    }
}

fn facts(volume: &Volume<'_>, root: u64, state: State) -> Facts {
    let superblock = &volume.superblock;
    let used = superblock.blocks.checked_sub(superblock.free_blocks);
    Facts {
        type_name: "xfs".to_owned(),
        label: superblock.label().to_vec(),
        uuid: uuid_text(&superblock.uuid),
        block_size_bytes: superblock.block_bytes,
        size_bytes: superblock.size_bytes(),
        used_bytes: used
            .filter(|_| state == State::Clean)
            .and_then(|blocks| blocks.checked_mul(volume.block_bytes())),
        created: None,
        written: None,
        state,
        time_resolution_ns: 1,
        time_zone: TimeZone::Utc,
        root,
        details: details(superblock),
    }
}

fn details(superblock: &Superblock) -> Vec<(String, String)> {
    let used = superblock.inodes.saturating_sub(superblock.free_inodes);
    let directory_block = superblock
        .block_bytes
        .checked_shl(superblock.directory_log.into());
    let pairs = [
        ("version", superblock.version.to_string()),
        ("features", superblock.features()),
        ("groups", superblock.group_count.to_string()),
        ("inodes used", used.to_string()),
        ("inode size", superblock.inode_bytes.to_string()),
        ("sector size", superblock.sector_bytes.to_string()),
        ("directory block", directory_block.unwrap_or(0).to_string()),
    ];
    let filled = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    filled.map(|(label, value)| (label.to_owned(), value)).collect()
}
