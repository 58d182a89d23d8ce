//! btrfs; see `docs/formats/btrfs.md` for what is read and what is not.
//!
//! `superblock` finds a superblock, `chunk` maps logical addresses to this device, `volume` reads nodes and their copies, `tree` and `sweep` walk trees
//! and what is left of them, `roots` knows the subvolumes, `item`, `content` and `gather` make inodes, `scan`, `walk` and `lost` events. `verify` checks
//! content on demand. The log tree is looked at, not replayed.
//!
//! Facts of the format come from the headers of the Linux kernel (`include/uapi/linux/btrfs_tree.h`) and from the documentation of btrfs
//! (`btrfs.readthedocs.io`, "On-disk format"), named where they are used.

mod allocated;
mod checksum;
mod chunk;
mod content;
mod copies;
mod gather;
mod item;
mod key;
mod lost;
mod node;
mod number;
mod roots;
mod scan;
mod superblock;
mod sweep;
mod tree;
mod verify;
mod volume;
mod walk;

use std::collections::BTreeSet;

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::ReadAt;

use self::chunk::ChunkMap;
use self::key::{KeyRange, item as kind, object};
use self::roots::Roots;
use self::superblock::{Located, Root, Superblock, incompat};
use self::tree::{Cursor, Nodes, Step};
use self::volume::{Expected, Volume};
use crate::report::Report;
use crate::uuid::uuid_text;
use crate::{
    Candidate, Error, Facts, Family, FileSystem, ScanOptions, State, TimeZone, Visitor, VolumeSource,
};

/// Recognises the family by a superblock that makes sense, or by a right copy of one.
pub fn probe(source: &dyn ReadAt) -> Option<Candidate> {
    let (offset, superblock) = superblock::probe(source)?;
    let place = if offset == superblock::PLACES[0] {
        "superblock".to_owned()
    } else {
        format!("only a copy of the superblock at {offset:#x}")
    };
    Some(Candidate {
        family: Family::Btrfs,
        type_name: "btrfs".to_owned(),
        evidence: format!(
            "{place}, generation {}, nodes of {} bytes, device {} of {}",
            superblock.generation, superblock.node_bytes, superblock.device, superblock.devices
        ),
        size_bytes: superblock.device_bytes,
    })
}

/// Opens a volume of the family.
///
/// # Errors
///
/// See [`crate::open`]; file systems with the experimental second extent tree are not supported.
pub fn open<'a>(source: VolumeSource<'a>, image_offset: u64) -> Result<Box<dyn FileSystem + 'a>, Error> {
    let located = superblock::locate(&*source, image_offset)?;
    if located.superblock.incompat & incompat::EXTENT_TREE_V2 != 0 {
        return Err(Error::Unsupported("btrfs with a second extent tree".to_owned()));
    }
    Ok(Box::new(Btrfs::new(source, image_offset, located)))
}

/// An opened volume.
struct Btrfs<'a> {
    volume: Volume<'a>,
    roots: Roots,
    facts: Facts,
    /// Made while opening.
    findings: Vec<Finding>,
}

impl<'a> Btrfs<'a> {
    fn new(source: VolumeSource<'a>, image_offset: u64, located: Located) -> Self {
        let mut report = Report::default();
        for finding in located.findings {
            report.push(finding);
        }
        let mut volume = Volume::new(source, image_offset, located.superblock);
        let superblock_at = volume.in_image(located.offset);
        read_chunks(&mut volume, &mut report);
        tell(&volume, superblock_at, &mut report);
        let root = root_tree(&volume, &mut report);
        let mut nodes = Nodes::new(&volume);
        let roots = Roots::read(root, &mut nodes);
        for finding in nodes.report.take() {
            report.push(finding);
        }
        Self {
            facts: facts(&volume, &roots),
            volume,
            roots,
            findings: report.take(),
        }
    }
}

impl FileSystem for Btrfs<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn scan(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Error> {
        let scan = scan::Scan::new(&self.volume, &self.roots, options, visitor);
        let wrong = scan.run(&self.findings)?;
        Ok(verify::tell(&self.volume, &self.roots, options, wrong, visitor)?)
    }

    fn allocated(&self, each: &mut dyn FnMut(ByteRange)) -> Result<(), Error> {
        allocated::runs(&self.volume, &self.roots, each);
        Ok(())
    }
}

/// Adds the chunks of the chunk tree to those of the superblock.
fn read_chunks(volume: &mut Volume<'_>, report: &mut Report) {
    let earlier = volume
        .superblock
        .backups
        .iter()
        .map(|(_, chunk_tree)| *chunk_tree);
    let roots: Vec<Root> = std::iter::once(volume.superblock.chunk_tree)
        .chain(earlier)
        .collect();
    let root = first_right(volume, &roots, "chunk tree", report);
    let (mut chunks, mut refused) = (ChunkMap::new(volume.chunks.device()), Report::default());
    let mut nodes = Nodes::new(volume);
    let mut cursor = Cursor::new(object::CHUNK_TREE, root, KeyRange::ALL);
    while let Some(step) = cursor.next(&mut nodes) {
        let Step::Leaf(leaf, range) = step else { continue };
        let items = leaf.items().filter(|item| range.contains(item.key));
        for item in items.filter(|item| item.key.kind == kind::CHUNK) {
            // Taken at once: items of a node may share their bytes, and copies of those would be without bounds.
            if !chunks.add(item.key.offset, item.data) {
                let detail = format!(
                    "the chunk at logical address {:#x} makes no sense, or is one too many",
                    item.key.offset
                );
                let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Corrupt, detail);
                refused.push(finding.at(volume.in_image(item.offset)));
            }
        }
    }
    for finding in nodes.report.take().into_iter().chain(refused.take()) {
        report.push(finding);
    }
    for finding in refused.closing() {
        report.push(finding);
    }
    let left_out = volume.chunks.append(chunks);
    if left_out > 0 {
        let detail = format!("{left_out} chunks are too many and were left out");
        report.push(Finding::new(
            Severity::Loss,
            Layer::FileSystem,
            FindingCode::Limit,
            detail,
        ));
    }
}

/// The root of the root tree that is used.
fn root_tree(volume: &Volume<'_>, report: &mut Report) -> Root {
    let earlier = volume.superblock.backups.iter().map(|(root_tree, _)| *root_tree);
    let roots: Vec<Root> = std::iter::once(volume.superblock.root_tree)
        .chain(earlier)
        .collect();
    first_right(volume, &roots, "root tree", report)
}

/// The first root whose node is right: that of the superblock, or else those of earlier generations that it keeps. The first one if none is.
fn first_right(volume: &Volume<'_>, roots: &[Root], what: &str, report: &mut Report) -> Root {
    let is_right = |root: &Root| {
        let expected = Expected {
            logical: root.logical,
            generation: root.generation,
            level: root.level,
        };
        let node = volume.node(expected, &mut Report::default());
        node.is_some_and(|node| node.is_right)
    };
    let Some(first) = roots.first().copied() else {
        return volume.superblock.root_tree;
    };
    let Some(used) = roots.iter().find(|root| is_right(root)) else {
        return first;
    };
    if *used != first {
        let detail = format!(
            "the root of the {what} is unusable; that of generation {} was used, generation {} would be the latest",
            used.generation, first.generation
        );
        report.push(Finding::new(
            Severity::Loss,
            Layer::FileSystem,
            FindingCode::BackupUsed,
            detail,
        ));
    }
    *used
}

/// Findings that follow from superblock and chunks.
fn tell(volume: &Volume<'_>, at: u64, report: &mut Report) {
    let superblock = &volume.superblock;
    let mut add = |severity, code, at: u64, detail: String| {
        report.push(Finding::new(severity, Layer::FileSystem, code, detail).at(at));
    };
    let unknown = superblock.incompat & !incompat::KNOWN;
    if unknown != 0 {
        let detail = format!("features that this version does not know: {unknown:#x}");
        add(Severity::Warning, FindingCode::Unsupported, at, detail);
    }
    if superblock.log_root != 0 {
        let detail =
            "the log tree holds changes that are not in the other trees; it was not replayed".to_owned();
        add(Severity::Loss, FindingCode::DirtyJournal, at, detail);
    }
    let (size, len) = (superblock.device_bytes, volume.source_len());
    if size > len {
        let detail = format!("the device has {size} bytes, the volume {len}");
        add(
            Severity::Loss,
            FindingCode::BeyondEnd,
            volume.in_image(len),
            detail,
        );
    }
    if superblock.devices > 1 {
        let device = superblock.device;
        let absent = volume
            .chunks
            .iter()
            .filter(|(logical, chunk)| {
                chunk.is_partly_absent(device)
                    && volume
                        .chunks
                        .map(*logical)
                        .is_none_or(|mapped| mapped.len < chunk.len || mapped.places.is_empty())
            })
            .count();
        let detail = format!(
            "this is device {device} of {}; {absent} chunks lie wholly or partly on others, and what is there is missing",
            superblock.devices
        );
        let severity = if absent > 0 {
            Severity::Loss
        } else {
            Severity::Info
        };
        add(severity, FindingCode::Unsupported, at, detail);
    }
}

fn facts(volume: &Volume<'_>, roots: &Roots) -> Facts {
    let superblock = &volume.superblock;
    let is_alone = superblock.devices <= 1;
    Facts {
        type_name: "btrfs".to_owned(),
        label: superblock.label.clone(),
        uuid: uuid_text(&superblock.uuid),
        block_size_bytes: superblock.sector_bytes,
        size_bytes: superblock.device_bytes,
        used_bytes: is_alone.then_some(superblock.used_bytes),
        created: None,
        written: None,
        state: if superblock.log_root == 0 {
            State::Clean
        } else {
            State::Dirty
        },
        time_resolution_ns: 1,
        time_zone: TimeZone::Utc,
        root: object::FIRST_FREE,
        details: details(volume, superblock, roots),
    }
}

fn details(volume: &Volume<'_>, superblock: &Superblock, roots: &Roots) -> Vec<(String, String)> {
    let profiles: BTreeSet<&str> = volume
        .chunks
        .iter()
        .map(|(_, chunk)| chunk.profile_name())
        .collect();
    let profiles: Vec<&str> = profiles.into_iter().collect();
    let others = roots
        .subvolumes
        .values()
        .filter(|subvolume| subvolume.place.is_some());
    let read_only = others.clone().filter(|subvolume| subvolume.is_read_only).count();
    let default = roots.default.filter(|default| *default != object::FS_TREE);
    let total = (superblock.devices > 1).then(|| superblock.total_bytes.to_string());
    let pairs = [
        ("generation", superblock.generation.to_string()),
        ("node size", superblock.node_bytes.to_string()),
        ("checksum", superblock.checksum.name().to_owned()),
        ("features", superblock.features()),
        ("chunk profiles", profiles.join(", ")),
        (
            "device",
            format!("{} of {}", superblock.device, superblock.devices),
        ),
        ("size of all devices", total.unwrap_or_default()),
        ("subvolumes", others.count().to_string()),
        ("of them read-only", read_only.to_string()),
        (
            "default subvolume",
            default.map(|default| default.to_string()).unwrap_or_default(),
        ),
    ];
    let filled = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    filled.map(|(label, value)| (label.to_owned(), value)).collect()
}
