//! The volumes of a container.

use std::collections::BTreeSet;

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::field::{le_u16, le_u64};

use super::container::Container;
use super::disk::Disk;
use super::object::{Flaw, kind};
use super::omap::ObjectMap;
use super::superblock::{Superblock, time};
use super::sweep::Sweep;
use super::tree::PhysicalTree;
use crate::name::path_safe;
use crate::report::Report;

/// `OBJECT_TYPE_SNAPMETATREE`.
const SNAPSHOT_TREE: u32 = 0x10;
/// Type of a record of a snapshot (`APFS_TYPE_SNAP_METADATA`).
const SNAPSHOT: u64 = 1;
/// Snapshots told one by one.
const SNAPSHOTS_MAX: usize = 200;

/// A volume, if its superblock was found.
pub(super) struct Volume {
    /// Its place in the container's list.
    pub(super) index: u32,
    pub(super) superblock: Option<Superblock>,
    /// Name of its directory.
    pub(super) name: Vec<u8>,
    /// Where the superblock lies in the image.
    pub(super) place: u64,
    /// Names of snapshots.
    pub(super) snapshots: Vec<Vec<u8>>,
}

/// Finds the volumes of a container. What is wrong is told.
pub(super) fn find(
    disk: &Disk<'_>,
    container: &Container,
    sweep: &Sweep,
    report: &mut Report,
) -> Vec<Volume> {
    let name = "the object map of the container";
    let map = ObjectMap::load(disk, container.object_map, container.xid, name, report);
    let mut listed = container.volumes.clone();
    if listed.is_empty() && !map.is_whole {
        listed = (0..).zip(sweep.volumes(disk, report)).take(100).collect();
    }
    let mut volumes: Vec<Volume> = Vec::new();
    let mut opened = BTreeSet::new();
    for (index, oid) in listed {
        if !opened.insert(oid) {
            continue;
        }
        let mut volume = open(disk, &map, sweep, (index, oid), report);
        if volumes.iter().any(|other| other.name == volume.name) {
            volume.name.extend(format!("#{index}").into_bytes());
        }
        volumes.push(volume);
    }
    volumes
}

fn open(
    disk: &Disk<'_>,
    map: &ObjectMap,
    sweep: &Sweep,
    (index, oid): (u32, u64),
    report: &mut Report,
) -> Volume {
    let what = format!("the superblock of volume {index}");
    let read = |block: u64, report: &mut Report| {
        let object = disk.object(block, |header| header.kind == kind::VOLUME && header.oid == oid)?;
        if !object.is_sealed {
            report.push(disk.unsealed(Layer::FileSystem, &what, block));
        }
        Superblock::parse(&object.bytes).ok_or(Flaw::Inconsistent)
    };
    let mapped = map.find(oid).map(|mapping| mapping.block);
    let mut block = mapped.unwrap_or(0);
    let mut superblock = mapped.ok_or(Flaw::Unmapped).and_then(|block| read(block, report));
    if let Err(flaw) = &superblock {
        let mut finding = flaw.finding(Layer::FileSystem, &what, disk.place(block));
        if let Some(found) = sweep.volume(disk, oid, report) {
            let xid = found.xid;
            finding.severity = Severity::Warning;
            finding.code = FindingCode::BackupUsed;
            finding
                .detail
                .push_str(&format!("; that of transaction {xid} was used"));
            block = found.block;
            superblock = read(block, report);
        }
        report.push(finding);
    }
    let superblock = superblock.ok();
    let raw = superblock
        .as_ref()
        .map_or(&b""[..], |superblock| &superblock.name);
    let name = if raw.is_empty() {
        format!("volume {index}").into_bytes()
    } else {
        path_safe(raw).0
    };
    let mut volume = Volume {
        index,
        superblock,
        name,
        place: disk.place(block),
        snapshots: Vec::new(),
    };
    volume.tell(disk, report);
    volume
}

impl Volume {
    /// What its superblock says that people must know.
    fn tell(&mut self, disk: &Disk<'_>, report: &mut Report) {
        let Some(superblock) = &self.superblock else {
            return;
        };
        let name = ntt_model::name::escape(&self.name);
        let unknown = superblock.unknown_features();
        if unknown != 0 {
            let detail = format!("volume {name} has features that this version does not know: {unknown:#x}");
            report.push(finding(Severity::Warning, FindingCode::Unsupported, detail).at(self.place));
        }
        if superblock.snapshots > 0 {
            self.snapshots = snapshots(disk, superblock, &name, report);
        }
    }
}

/// Tells the snapshots of a volume; their names.
fn snapshots(disk: &Disk<'_>, superblock: &Superblock, name: &str, report: &mut Report) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut names = Vec::new();
    let title = format!("the tree of snapshots of volume {name}");
    let tree = PhysicalTree {
        name: &title,
        root: superblock.snapshot_tree,
        subkind: SNAPSHOT_TREE,
    };
    tree.records(disk, report, &mut |record, block| {
        let key = le_u64(record.key, 0).unwrap_or(0);
        if key >> 60 != SNAPSHOT || names.len() >= SNAPSHOTS_MAX {
            return;
        }
        let len = usize::from(le_u16(record.value, 48).unwrap_or(0));
        let snapshot = record
            .value
            .get(50..)
            .and_then(|rest| rest.get(..len.checked_sub(1)?));
        let Some(snapshot) = snapshot else { return };
        let xid = key & 0x0fff_ffff_ffff_ffff;
        let when = time(record.value, 16).map_or(0, |time| time.as_nanos() / 1_000_000_000);
        let shown = ntt_model::name::escape(snapshot);
        let detail = format!(
            "snapshot {shown} of volume {name}, of transaction {xid} ({when} s after 1970), is not listed"
        );
        found.push(finding(Severity::Info, FindingCode::Unsupported, detail).at(disk.place(block)));
        names.push(snapshot.to_vec());
    });
    for finding in found {
        report.push(finding);
    }
    names
}

fn finding(severity: Severity, code: FindingCode, detail: String) -> Finding {
    Finding::new(severity, Layer::FileSystem, code, detail)
}
