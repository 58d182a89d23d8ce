//! What volume managers make of the volumes that were found: each volume of a group is looked at as a medium of its own, and what it holds is
//! listed behind everything else, counted in the image.

use ntt_model::mapping::Found;
use ntt_model::space::{DEVICES, IMAGE_SLOT};
use ntt_model::{ByteRange, Finding, FindingCode, Layer, Mapping, Severity};
use ntt_source::{Mapped, ReadAt};
use ntt_volume::identify::Identified;
use ntt_volume::manager::{self, Assembly, Group, GroupVolume, Member, md};

use super::Builder;
use super::step::{Step, StepKind, Watch};
use crate::layer::{IdentifiedClass, LayerTree, ManagerLayer, Verdict, VolumeLayer};

/// Volume managers on volumes of volume managers.
const DEPTH_MAX: u32 = 4;
/// Level of an array whose members each hold all of it.
const MIRROR: i32 = 1;

/// Whether something is a member of what this version puts together.
pub(super) fn is_member(known: &Identified) -> bool {
    matches!(
        known.type_name,
        "linux_raid_member" | "LVM2_member" | "LVM1_member"
    )
}

impl Builder<'_> {
    /// Whether the volume is only a part of an array, so that what its first bytes look like is not what it holds.
    pub(super) fn is_part(&self, volume: &VolumeLayer) -> bool {
        volume.member_of == "linux_raid_member"
            && md::superblock(&self.window(volume.range)).is_some_and(|superblock| superblock.level != MIRROR)
    }

    pub(super) fn report_part(&mut self, volume: &VolumeLayer) {
        let detail = format!(
            "{} starts as a file system does, but is one member of an array that needs the others; it is not read by itself",
            volume.found_by
        );
        let finding = Finding::new(Severity::Info, Layer::Volume, FindingCode::MissingMember, detail);
        self.tree.findings.push(finding.at(volume.range.offset));
    }

    /// The volumes that say of themselves that they belong to a group.
    pub(super) fn members(&self) -> Vec<Member> {
        let members = self.tree.volumes.iter().filter(|volume| {
            !volume.member_of.is_empty() && !matches!(volume.verdict, Verdict::SameAs { .. })
        });
        members
            .map(|volume| Member {
                number: volume.number,
                range: volume.range,
            })
            .collect()
    }

    /// Puts the groups together that volumes of this source belong to.
    pub(super) fn assemble(&mut self) {
        let members = self.members();
        self.assemble_of(&members);
    }

    /// Puts the groups together that `members` belong to.
    pub(super) fn assemble_of(&mut self, members: &[Member]) {
        let Some(first) = members.first() else { return };
        if self.depth >= DEPTH_MAX {
            return;
        }
        let assembly: Assembly = self.step(StepKind::Assemble, first.range.offset, || {
            manager::assemble(self.source, members)
        });
        self.tree.findings.extend(assembly.findings);
        for group in assembly.groups {
            self.add_group(group);
        }
    }

    fn add_group(&mut self, group: Group) {
        let inside = group.members.first().copied();
        let source = self.source;
        let is_whole = group.volumes.iter().all(|volume| {
            let mapping = volume.mapping.as_ref();
            mapping.is_ok_and(|mapping| mapping.available_bytes(|at| source.end_of(at)) >= mapping.len())
        });
        if is_whole {
            self.hold_volumes(&group.members);
        }
        let mut volumes = Vec::new();
        for volume in group.volumes {
            volumes.extend(self.add_group_volume(volume, inside));
        }
        self.tree.managers.push(ManagerLayer {
            manager: group.manager,
            name: group.name,
            uuid: group.uuid,
            members: group.members,
            absent: group.absent,
            volumes,
            facts: group.facts,
        });
    }

    /// The members hold what their group makes of them, and nothing else.
    fn hold_volumes(&mut self, members: &[u32]) {
        let volumes = self.tree.volumes.iter_mut();
        for volume in volumes.filter(|volume| members.contains(&volume.number)) {
            if matches!(volume.verdict, Verdict::Identified { .. }) {
                volume.verdict = Verdict::Table;
            }
        }
    }

    /// Lists a volume of a group and what it holds; gives its number. One that cannot be put together is listed all the same.
    fn add_group_volume(&mut self, volume: GroupVolume, inside: Option<u32>) -> Option<u32> {
        // What claims bytes of another image, or of the devices, is nonsense.
        let end_of = |at: u64| {
            if self.is_set {
                (at / IMAGE_SLOT).saturating_add(1).saturating_mul(IMAGE_SLOT)
            } else {
                DEVICES
            }
        };
        let mapping = match volume.mapping {
            Ok(mapping) if mapping.is_within(end_of) => mapping,
            Ok(_) | Err(_) => {
                let mut unread = VolumeLayer::new(volume.found_by, ByteRange::new(0, 0));
                unread.inside = inside;
                unread.verdict = Verdict::Identified {
                    class: IdentifiedClass::VolumeManager,
                    type_name: volume.kind.clone(),
                };
                unread.table_type = volume.kind;
                unread.table_uuid = volume.uuid;
                return self.push(unread);
            }
        };
        let inner = inner_tree(self.source, self.watch, &mapping, self.depth);
        self.add_inner(
            inner,
            &Device {
                mapping,
                found_by: volume.found_by,
                kind: volume.kind,
                uuid: volume.uuid,
                inside,
            },
        )
    }

    /// Lists what a device holds, counted in this source.
    fn add_inner(&mut self, inner: LayerTree, device: &Device) -> Option<u32> {
        let counted = |finding| counted(&device.mapping, finding);
        self.tree.findings.extend(inner.findings.into_iter().map(counted));
        let mut numbers: Vec<(u32, u32)> = Vec::new();
        let is_whole = |volume: &VolumeLayer| volume.found_by == "whole image";
        let mut number = None;
        // A device with a table is itself a volume that holds others.
        if !inner.volumes.iter().any(is_whole) {
            let mut holder = VolumeLayer::new("", ByteRange::new(0, device.mapping.len()));
            holder.verdict = Verdict::Table;
            number = self.add_from(holder, device, true, None, &numbers);
        }
        for volume in inner.volumes {
            let (old, is_whole) = (volume.number, is_whole(&volume));
            let new = self.add_from(volume, device, is_whole, number, &numbers);
            if is_whole {
                number = number.or(new);
            }
            numbers.extend(new.map(|new| (old, new)));
        }
        let renamed = |old: u32| numbers.iter().find(|(from, _)| *from == old).map(|(_, to)| *to);
        for mut table in inner.tables {
            table.image_offset = place(&device.mapping, table.image_offset).unwrap_or(0);
            table.inside = table.inside.and_then(renamed).or(number);
            self.tree.tables.push(table);
        }
        for mut group in inner.managers {
            group.members = group.members.into_iter().filter_map(renamed).collect();
            group.volumes = group.volumes.into_iter().filter_map(renamed).collect();
            self.tree.managers.push(group);
        }
        number
    }

    /// Lists one volume of a device; `whole` is the device itself.
    fn add_from(
        &mut self,
        mut volume: VolumeLayer,
        device: &Device,
        is_whole: bool,
        holder: Option<u32>,
        numbers: &[(u32, u32)],
    ) -> Option<u32> {
        let renamed = |old: u32| numbers.iter().find(|(from, _)| *from == old).map(|(_, to)| *to);
        let inner = match volume.mapping.take() {
            Some(inner) => inner.over(&device.mapping),
            None => device.mapping.part(volume.range),
        };
        // Extents of a set's volumes go through their mapping, so that none passes the end of its image.
        match inner.as_range().filter(|_| !self.is_set) {
            Some(range) => volume.range = range,
            None => {
                volume.range = ByteRange::new(inner.first_byte(), inner.len().max(volume.range.len));
                volume.mapping = Some(inner);
            }
        }
        if is_whole {
            volume.found_by.clone_from(&device.found_by);
            volume.table_type.clone_from(&device.kind);
            volume.table_uuid.clone_from(&device.uuid);
            volume.inside = device.inside;
        } else {
            volume.found_by = format!("{} in {}", volume.found_by, device.found_by);
            volume.inside = volume.inside.and_then(renamed).or(holder).or(device.inside);
        }
        if let Verdict::SameAs { number } = volume.verdict {
            volume.verdict = renamed(number).map_or(Verdict::Unread, |number| Verdict::SameAs { number });
        }
        if volume.mapping.is_none()
            && let Some(number) = self.same_as(volume.range, &volume.file_systems)
        {
            volume.verdict = Verdict::SameAs { number };
            volume.file_systems.clear();
        }
        self.push(volume)
    }
}

/// A volume of a group, as a device.
struct Device {
    mapping: Mapping,
    found_by: String,
    kind: String,
    uuid: String,
    inside: Option<u32>,
}

/// Looks at a volume as at a medium.
fn inner_tree(source: &dyn ReadAt, watch: &dyn Watch, mapping: &Mapping, depth: u32) -> LayerTree {
    let volume = Mapped::new(source, mapping.clone());
    let watch = Through { watch, mapping };
    let mut builder = Builder::new(&volume, &watch, depth.saturating_add(1));
    builder.build(ByteRange::new(0, volume.len()));
    builder.tree
}

/// A finding of the volume as one of the source. What was unread there because a member is not here is not lacking where a set has that.
fn counted(mapping: &Mapping, finding: Finding) -> Finding {
    let image_offset = finding.image_offset.and_then(|offset| place(mapping, offset));
    let is_absent = finding.image_offset.is_some() && image_offset.is_none();
    let code = match finding.code {
        FindingCode::Unread if is_absent => FindingCode::MissingMember,
        code => code,
    };
    Finding {
        image_offset,
        code,
        ..finding
    }
}

/// Where a byte of the volume lies in the source.
fn place(mapping: &Mapping, offset: u64) -> Option<u64> {
    match mapping.run(offset)?.found {
        Found::At(at) => Some(at),
        _ => None,
    }
}

/// Tells of steps over a volume at the place in the image where it starts.
struct Through<'a> {
    watch: &'a dyn Watch,
    mapping: &'a Mapping,
}

impl Watch for Through<'_> {
    fn begin(&self, step: Step) -> bool {
        let image_offset =
            place(self.mapping, step.image_offset).unwrap_or_else(|| self.mapping.first_byte());
        self.watch.begin(Step { image_offset, ..step })
    }

    fn end(&self) {
        self.watch.end();
    }
}
