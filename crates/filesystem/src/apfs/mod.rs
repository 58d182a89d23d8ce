//! APFS; see `docs/formats/apfs.md` for what is read and what is not.
//!
//! `container` finds the newest checkpoint, `volume` the volumes. `omap`, `node`, `tree` and `nodes` get at B-trees by block or by number, `index` keeps the
//! leaves of a volume's tree in order, `sweep` searches all blocks for what no map leads to. `record` reads what leaves hold, `inode` and `content`
//! make inodes of it, `files`, `scan`, `walk` and `lost` events. `space` tells what is in use.

mod container;
mod content;
mod disk;
mod files;
mod id_set;
mod index;
mod inode;
mod lost;
mod node;
mod nodes;
mod number;
mod object;
mod omap;
mod record;
mod scan;
mod space;
mod superblock;
mod sweep;
mod tree;
mod volume;
mod walk;

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::ReadAt;

use self::container::{Container, Located};
use self::disk::Disk;
use self::omap::ObjectMap;
use self::space::Space;
use self::sweep::Sweep;
use self::volume::Volume;
use crate::report::Report;
use crate::uuid::uuid_text;
use crate::{
    Candidate, Error, Facts, Family, FileSystem, ScanOptions, State, TimeZone, Visitor, VolumeSource,
};

/// Recognises the family by a superblock of a container in block 0.
pub fn probe(source: &dyn ReadAt) -> Option<Candidate> {
    container::first(source).map(|container| candidate(&container, "superblock of a container"))
}

/// Recognises the family by a superblock among the first blocks.
pub fn probe_deep(source: &dyn ReadAt) -> Option<Candidate> {
    if container::first(source).is_some() {
        return None;
    }
    container::search(source).map(|container| candidate(&container, "only a checkpoint of a container"))
}

fn candidate(container: &Container, what: &str) -> Candidate {
    let (blocks, bytes, volumes) = (
        container.block_count,
        container.block_bytes,
        container.volumes.len(),
    );
    Candidate {
        family: Family::Apfs,
        type_name: "apfs".to_owned(),
        evidence: format!("{what}, {blocks} blocks of {bytes}, {volumes} volumes"),
        size_bytes: container.size_bytes(),
    }
}

/// Opens a container; all its volumes are read as one file system whose root has a directory for each.
///
/// # Errors
///
/// See [`crate::open`].
pub fn open<'a>(source: VolumeSource<'a>, image_offset: u64) -> Result<Box<dyn FileSystem + 'a>, Error> {
    let located = container::locate(&*source, image_offset, &|container| {
        has_object_map(&*source, container)
    })?;
    Ok(Box::new(Apfs::new(source, image_offset, located)))
}

fn has_object_map(source: &dyn ReadAt, container: &Container) -> bool {
    let disk = Disk::new(Box::new(source), 0, container.block_bytes, container.block_count);
    ObjectMap::is_at(&disk, container.object_map)
}

/// An opened container.
pub(super) struct Apfs<'a> {
    disk: Disk<'a>,
    container: Container,
    volumes: Vec<Volume>,
    sweep: Sweep,
    space: Option<Space>,
    facts: Facts,
    /// Made while opening.
    findings: Vec<Finding>,
}

impl<'a> Apfs<'a> {
    fn new(source: VolumeSource<'a>, image_offset: u64, located: Located) -> Self {
        let container = located.container;
        let disk = Disk::new(source, image_offset, container.block_bytes, container.block_count);
        let mut report = Report::default();
        for finding in located.findings {
            report.push(finding);
        }
        tell(&disk, &container, &mut report);
        let sweep = Sweep::new(container.xid);
        let volumes = volume::find(&disk, &container, &sweep, &mut report);
        let space = Space::find(&disk, &container);
        if space.is_none() {
            report.push(space::not_found(&disk));
        }
        Self {
            facts: facts(&container, &volumes, space.as_ref(), located.is_put_away),
            disk,
            container,
            volumes,
            sweep,
            space,
            findings: report.take(),
        }
    }
}

impl FileSystem for Apfs<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn scan(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Error> {
        Ok(scan::Scan::new(options, visitor).run(self)?)
    }

    fn allocated(&self, each: &mut dyn FnMut(ByteRange)) -> Result<(), Error> {
        match &self.space {
            Some(space) => space.used(&self.disk, each),
            None => each(ByteRange::new(self.disk.place(0), self.container.size_bytes())),
        }
        Ok(())
    }
}

/// Findings that follow from the superblock alone.
fn tell(disk: &Disk<'_>, container: &Container, report: &mut Report) {
    let mut add = |severity, code, at: u64, detail: String| {
        let finding = Finding::new(severity, Layer::FileSystem, code, detail);
        report.push(finding.at(disk.in_image(at)));
    };
    let (size, len) = (container.size_bytes(), disk.source_len());
    if size > len && !container.is_fusion() {
        let detail = format!("the container has {size} bytes, the volume {len}");
        add(Severity::Loss, FindingCode::BeyondEnd, len, detail);
    }
    if container.is_fusion() {
        let detail =
            "the container spans two devices (Fusion); what lies on the other one is missing".to_owned();
        add(Severity::Loss, FindingCode::Unsupported, 0, detail);
    }
}

fn facts(container: &Container, volumes: &[Volume], space: Option<&Space>, is_put_away: bool) -> Facts {
    let superblocks = || volumes.iter().filter_map(|volume| volume.superblock.as_ref());
    let label = match volumes {
        [only] => only.superblock.as_ref().map(|superblock| superblock.name.clone()),
        _ => None,
    };
    let used = space.and_then(|space| container.block_count.checked_sub(space.free));
    Facts {
        type_name: "apfs".to_owned(),
        label: label.unwrap_or_default(),
        uuid: uuid_text(&container.uuid),
        block_size_bytes: container.block_bytes,
        size_bytes: container.size_bytes(),
        used_bytes: used.and_then(|blocks| blocks.checked_mul(container.block_bytes.into())),
        created: superblocks().filter_map(|superblock| superblock.created).min(),
        written: superblocks().filter_map(|superblock| superblock.written).max(),
        state: if is_put_away { State::Clean } else { State::Dirty },
        time_resolution_ns: 1,
        time_zone: TimeZone::Utc,
        root: number::CONTAINER_ROOT,
        details: details(container, volumes),
    }
}

fn details(container: &Container, volumes: &[Volume]) -> Vec<(String, String)> {
    let mut details = vec![
        ("transaction".to_owned(), container.xid.to_string()),
        ("volumes".to_owned(), volumes.len().to_string()),
    ];
    for volume in volumes {
        let summary = volume.superblock.as_ref().map(superblock::Superblock::summary);
        let summary = summary.unwrap_or_else(|| "its superblock is lost".to_owned());
        details.push((format!("volume {}", volume.index), summary));
        let names = volume.snapshots.iter().take(20);
        let names: Vec<_> = names
            .map(|name| ntt_model::name::escape(name).to_string())
            .collect();
        if !names.is_empty() {
            details.push((format!("snapshots of volume {}", volume.index), names.join(", ")));
        }
    }
    details
}
