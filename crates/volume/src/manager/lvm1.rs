//! LVM1 (`pv_disk_t` and `lv_disk_t` of the kernel's `lvm.h`): each member has a table that says which extent of which volume each of its
//! extents is.

use std::collections::{BTreeMap, BTreeSet};

use ntt_model::mapping::Place;
use ntt_model::{ByteRange, FindingCode, Mapping, Severity};
use ntt_source::field::{le_u16, le_u32};
use ntt_source::{ReadAt, SubRange};

use super::{Assembly, Group, GroupVolume, Member};
use crate::bytes::{padded_text, read, read_vec};

/// Extents of one member; LVM1 has at most 65,534 a volume.
const EXTENTS_MAX: u32 = 1 << 20;
/// Volumes of a group.
const VOLUMES_MAX: usize = 256;
/// Bytes of a volume's structure.
const VOLUME_BYTES: usize = 328;

/// A member with what it says.
struct Known {
    number: u32,
    range: ByteRange,
    group: String,
    extent_bytes: u64,
    first: u64,
    /// Number of the volume from 1, and of its extent from 0, for each extent of the member.
    extents: Vec<(u16, u16)>,
    volumes: Vec<Logical>,
}

#[derive(Clone)]
struct Logical {
    /// From 1.
    number: u16,
    name: String,
    bytes: u64,
    extents: u32,
    stripes: u32,
}

/// The head of a member, and the version of its format.
fn head(source: &dyn ReadAt) -> Option<([u8; 512], u16)> {
    let head = read::<512>(source, 0).ok()?;
    let version = le_u16(&head, 2)?;
    (head.starts_with(b"HM") && matches!(version, 1 | 2)).then_some((head, version))
}

/// Where a member says that it ends.
pub(super) fn member_end(source: &dyn ReadAt) -> Option<u64> {
    u64::from(le_u32(&head(source)?.0, 444)?).checked_mul(512)
}

fn known(source: &dyn ReadAt, member: Member) -> Option<Known> {
    let window = SubRange::new(source, member.range);
    let (head, version) = head(&window)?;
    let extent_bytes = u64::from(le_u32(&head, 452)?)
        .checked_mul(512)
        .filter(|bytes| *bytes > 0)?;
    let (table, table_bytes) = (u64::from(le_u32(&head, 36)?), u64::from(le_u32(&head, 40)?));
    // The first version says only where the table of extents ends.
    let first = if version == 2 {
        u64::from(le_u32(&head, 464)?).checked_mul(512)?
    } else {
        table.checked_add(table_bytes)?
    };
    let count = usize::try_from(le_u32(&head, 456)?.min(EXTENTS_MAX)).ok()?;
    let raw = read_vec(&window, table, count.checked_mul(4)?).ok()?;
    let extents = raw
        .chunks_exact(4)
        .filter_map(|entry| Some((le_u16(entry, 0)?, le_u16(entry, 2)?)));
    Some(Known {
        number: member.number,
        range: member.range,
        group: padded_text(head.get(172..300)?),
        extent_bytes,
        first,
        extents: extents.collect(),
        volumes: volumes(&window, le_u32(&head, 28)?.into()),
    })
}

/// The name of the group that a member belongs to.
pub(super) fn key(source: &dyn ReadAt) -> Option<String> {
    let range = ByteRange::new(0, source.len());
    known(source, Member { number: 0, range }).map(|known| known.group)
}

fn volumes(source: &dyn ReadAt, at: u64) -> Vec<Logical> {
    let step = u64::try_from(VOLUME_BYTES).unwrap_or(0);
    (0..u64::try_from(VOLUMES_MAX).unwrap_or(0))
        .map_while(|index| read_vec(source, at.checked_add(index.checked_mul(step)?)?, VOLUME_BYTES).ok())
        .filter_map(|raw| {
            let name = padded_text(raw.get(..128)?);
            (!name.is_empty()).then_some(())?;
            Some(Logical {
                number: u16::try_from(le_u32(&raw, 272)?).ok()?.checked_add(1)?,
                name,
                bytes: u64::from(le_u32(&raw, 288)?).checked_mul(512)?,
                extents: le_u32(&raw, 300)?,
                stripes: le_u32(&raw, 304)?,
            })
        })
        .collect()
}

/// Adds the groups that the members belong to.
pub(super) fn assemble(source: &dyn ReadAt, members: &[Member], assembly: &mut Assembly) {
    let known: Vec<Known> = members
        .iter()
        .filter_map(|member| known(source, *member))
        .collect();
    let groups: BTreeSet<&str> = known.iter().map(|known| known.group.as_str()).collect();
    for group in groups {
        let members: Vec<&Known> = known.iter().filter(|known| known.group == group).collect();
        add_group(group, &members, assembly);
    }
}

fn add_group(name: &str, members: &[&Known], assembly: &mut Assembly) {
    let Some(first) = members.first() else { return };
    let at = first.range.offset;
    let volumes: Vec<GroupVolume> = first
        .volumes
        .iter()
        .map(|logical| GroupVolume {
            found_by: format!(
                "lvm1 {name}/{}",
                logical.name.rsplit('/').next().unwrap_or_default()
            ),
            kind: if logical.stripes > 1 { "striped" } else { "linear" }.to_owned(),
            uuid: String::new(),
            mapping: mapping(logical, members),
        })
        .collect();
    for volume in &volumes {
        match &volume.mapping {
            Err(reason) => {
                let detail = format!("{} is not read: {reason}", volume.found_by);
                assembly.report(Severity::Loss, FindingCode::Unsupported, at, detail);
            }
            Ok(mapping) if mapping.available_bytes(|_| u64::MAX) < mapping.len() => {
                let missing = mapping
                    .len()
                    .saturating_sub(mapping.available_bytes(|_| u64::MAX));
                let detail = format!(
                    "{}: {missing} bytes lie on members that are not here",
                    volume.found_by
                );
                assembly.report(Severity::Loss, FindingCode::MissingMember, at, detail);
            }
            Ok(_) => {}
        }
    }
    assembly.groups.push(Group {
        manager: "lvm1".to_owned(),
        name: name.to_owned(),
        uuid: String::new(),
        members: members.iter().map(|member| member.number).collect(),
        absent: Vec::new(),
        facts: vec![("extent".to_owned(), format!("{} bytes", first.extent_bytes))],
        volumes,
    });
}

fn mapping(logical: &Logical, members: &[&Known]) -> Result<Mapping, String> {
    if logical.stripes > 1 {
        return Err("stripes of LVM1 are not supported".to_owned());
    }
    let mut places = BTreeMap::new();
    for member in members {
        for (physical, (volume, extent)) in (0_u64..).zip(&member.extents) {
            let at = physical
                .checked_mul(member.extent_bytes)
                .and_then(|at| at.checked_add(member.first)?.checked_add(member.range.offset));
            if let Some(at) = at.filter(|_| *volume == logical.number) {
                places.insert(u32::from(*extent), (at, member.extent_bytes));
            }
        }
    }
    let bytes = members.first().map_or(0, |member| member.extent_bytes);
    let mut mapping = Mapping::default();
    for extent in 0..logical.extents.min(EXTENTS_MAX) {
        match places.get(&extent) {
            Some((at, len)) => mapping.push(*len, Place::Linear(*at)),
            None => mapping.push(bytes, Place::Absent),
        }
    }
    Ok(mapping.part(ByteRange::new(0, logical.bytes)))
}
