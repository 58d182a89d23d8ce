//! LVM2 (`lib/format_text/layout.h`, `lib/label/label.h`): labels, metadata areas, and the volumes of the newest text.

mod group;

use std::collections::{BTreeMap, BTreeSet};

use ntt_model::{ByteRange, FindingCode, Severity};
use ntt_source::field::{le_u32, le_u64};
use ntt_source::{ReadAt, SubRange};

use super::text::{Section, parse};
use super::{Assembly, Group, GroupVolume, Member};
use crate::bytes::{padded_text, read, read_vec};
use crate::checksum::lvm2_crc;
use group::GroupReader;

/// Magic of a metadata area.
const AREA_MAGIC: &[u8] = b" LVM2 x[5A%r0N*>";
/// Texts longer than this are refused; those of thousands of volumes are a few MiB.
const TEXT_BYTES_MAX: u64 = 8 << 20;
/// Areas and copies looked at of one member.
const AREAS_MAX: usize = 8;

/// A label with its areas.
struct Label {
    /// 32 characters.
    uuid: String,
    /// Metadata areas, in bytes of the member.
    areas: Vec<ByteRange>,
}

/// A text of a group, as a member has it.
struct Text {
    root: Section,
    sequence: u64,
    group_uuid: String,
    is_whole: bool,
}

/// A member with what it says.
struct Known {
    number: u32,
    range: ByteRange,
    uuid: String,
    text: Option<Text>,
}

fn label(source: &dyn ReadAt) -> Option<Label> {
    [0_u64, 512, 1024, 1536].into_iter().find_map(|at| {
        let sector = read::<512>(source, at).ok()?;
        (sector.starts_with(b"LABELONE") && sector.get(24..32)? == b"LVM2 001").then_some(())?;
        let header = usize::try_from(le_u32(&sector, 20)?).ok()?;
        let uuid = padded_text(sector.get(header..)?.get(..32)?);
        let mut lists = sector.get(header.checked_add(40)?..)?.chunks_exact(16);
        // Data areas, an empty one, metadata areas, an empty one.
        lists.by_ref().find(|area| le_u64(area, 0) == Some(0))?;
        let areas = lists
            .map_while(|area| {
                Some(ByteRange::new(
                    le_u64(area, 0).filter(|at| *at > 0)?,
                    le_u64(area, 8)?,
                ))
            })
            .take(AREAS_MAX)
            .collect();
        Some(Label { uuid, areas })
    })
}

/// The newest text of the member's areas.
fn newest_text(source: &dyn ReadAt, label: &Label, at: u64, assembly: &mut Assembly) -> Option<Text> {
    let mut texts = Vec::new();
    for area in &label.areas {
        match area_text(source, *area) {
            Ok(Some(text)) => texts.push(text),
            Ok(None) => {}
            Err(detail) => {
                let place = at.saturating_add(area.offset);
                assembly.report(Severity::Warning, FindingCode::Corrupt, place, detail);
            }
        }
    }
    texts
        .into_iter()
        .max_by_key(|text| (text.is_whole, text.sequence))
}

/// The text that an area points to; none in an area that was never written.
fn area_text(source: &dyn ReadAt, area: ByteRange) -> Result<Option<Text>, String> {
    let header = read::<512>(source, area.offset).map_err(|error| format!("LVM2 metadata area: {error}"))?;
    let sum = header.get(4..).map(lvm2_crc);
    if header.get(4..20) != Some(AREA_MAGIC) {
        return Err("an LVM2 metadata area does not start with its magic".to_owned());
    }
    let (Some(offset), Some(len), Some(text_sum)) =
        (le_u64(&header, 40), le_u64(&header, 48), le_u32(&header, 56))
    else {
        return Ok(None);
    };
    if offset == 0 || len == 0 {
        return Ok(None);
    }
    let bytes = circular(source, area, offset, len).ok_or("an LVM2 metadata area points to no text")?;
    let holds = sum == le_u32(&header, 0) && lvm2_crc(&bytes) == text_sum;
    let (root, is_parsed) = parse(&bytes);
    let Some((_, group)) = root
        .sections()
        .find(|(_, section)| section.section("physical_volumes").is_some())
    else {
        return Err("an LVM2 metadata area holds no volume group".to_owned());
    };
    Ok(Some(Text {
        sequence: group.number("seqno").unwrap_or(0),
        group_uuid: group.text("id").unwrap_or_default().to_owned(),
        is_whole: holds && is_parsed,
        root,
    }))
}

/// `len` bytes from `offset` of an area, which goes on behind its header when it ends.
fn circular(source: &dyn ReadAt, area: ByteRange, offset: u64, len: u64) -> Option<Vec<u8>> {
    (len <= TEXT_BYTES_MAX && offset < area.len && len <= area.len).then_some(())?;
    let first = len.min(area.len.checked_sub(offset)?);
    let mut bytes = read_vec(
        source,
        area.offset.checked_add(offset)?,
        usize::try_from(first).ok()?,
    )
    .ok()?;
    let rest = usize::try_from(len.checked_sub(first)?).ok()?;
    if rest > 0 {
        bytes.extend(read_vec(source, area.offset.checked_add(512)?, rest).ok()?);
    }
    Some(bytes)
}

/// Adds the groups that the members belong to.
pub(super) fn assemble(source: &dyn ReadAt, members: &[Member], assembly: &mut Assembly) {
    let mut known = Vec::new();
    for member in members {
        let window = SubRange::new(source, member.range);
        let Some(label) = label(&window) else { continue };
        let text = newest_text(&window, &label, member.range.offset, assembly);
        known.push(Known {
            number: member.number,
            range: member.range,
            uuid: label.uuid,
            text,
        });
    }
    leave_out_copies(&mut known, assembly);
    let mut done = BTreeSet::new();
    for member in &known {
        let Some(text) = &member.text else { continue };
        if done.insert(text.group_uuid.clone()) {
            add_group(&text.group_uuid, &known, assembly);
        }
    }
    report_unclaimed(&known, assembly);
}

/// The UUID of the group that a member belongs to; empty for one that holds no text that tells.
pub(super) fn key(source: &dyn ReadAt) -> Option<String> {
    let label = label(source)?;
    let text = newest_text(source, &label, 0, &mut Assembly::default());
    Some(text.map(|text| text.group_uuid).unwrap_or_default())
}

/// Members that are copies of another are named, and left out.
fn leave_out_copies(known: &mut Vec<Known>, assembly: &mut Assembly) {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    known.retain(|member| {
        let first = *seen.entry(member.uuid.clone()).or_insert(member.number);
        if first != member.number {
            let detail = format!(
                "volume {} says that it is the member that volume {first} is (PV {}); it is left out",
                member.number, member.uuid
            );
            let at = member.range.offset;
            assembly.report(Severity::Warning, FindingCode::Contradiction, at, detail);
        }
        first == member.number
    });
}

/// A member may keep no text of its own; if no sibling that does is here, it is alone.
fn report_unclaimed(known: &[Known], assembly: &mut Assembly) {
    for member in known.iter().filter(|member| member.text.is_none()) {
        let is_claimed = assembly
            .groups
            .iter()
            .any(|group| group.members.contains(&member.number));
        if !is_claimed {
            let detail = format!(
                "volume {} (PV {}) holds no readable text of its volume group, and no member that does is here",
                member.number, member.uuid
            );
            assembly.report(
                Severity::Loss,
                FindingCode::MissingMember,
                member.range.offset,
                detail,
            );
        }
    }
}

fn add_group(uuid: &str, known: &[Known], assembly: &mut Assembly) {
    let texts = known
        .iter()
        .filter_map(|member| Some((member, member.text.as_ref()?)))
        .filter(|(_, text)| text.group_uuid == uuid);
    let Some((holder, text)) = texts
        .clone()
        .max_by_key(|(_, text)| (text.is_whole, text.sequence))
    else {
        return;
    };
    for (member, old) in texts.filter(|(_, old)| old.sequence != text.sequence) {
        let detail = format!(
            "volume {} has text {} of its volume group, the newest here is {}",
            member.number, old.sequence, text.sequence
        );
        assembly.report(
            Severity::Warning,
            FindingCode::MissingMember,
            member.range.offset,
            detail,
        );
    }
    if !text.is_whole {
        let detail =
            "no text of the LVM2 volume group has a checksum that holds; what can be parsed of one is used";
        assembly.report(Severity::Loss, FindingCode::Corrupt, holder.range.offset, detail);
    }
    let group = text
        .root
        .sections()
        .find(|(_, section)| section.section("physical_volumes").is_some());
    let Some((name, section)) = group else { return };
    let reader = GroupReader::new(section, known);
    let absent = reader.absent();
    let volumes = reader.volumes(name);
    if !absent.is_empty() {
        let detail = format!(
            "members of the volume group {name} are not here: {}",
            absent.join(", ")
        );
        let severity = if volumes.iter().all(is_whole) {
            Severity::Warning
        } else {
            Severity::Loss
        };
        assembly.report(severity, FindingCode::MissingMember, holder.range.offset, detail);
    }
    for volume in &volumes {
        if let Err(reason) = &volume.mapping {
            let detail = format!("{} ({}) is not read: {reason}", volume.found_by, volume.kind);
            assembly.report(
                Severity::Loss,
                FindingCode::Unsupported,
                holder.range.offset,
                detail,
            );
        }
    }
    assembly.groups.push(Group {
        manager: "lvm2".to_owned(),
        name: name.to_owned(),
        uuid: uuid.to_owned(),
        members: reader.members(),
        absent,
        facts: vec![
            ("extent".to_owned(), format!("{} bytes", reader.extent_bytes)),
            ("text".to_owned(), format!("{}", text.sequence)),
        ],
        volumes,
    });
}

/// Whether every byte of the volume is here, or can be rebuilt.
fn is_whole(volume: &GroupVolume) -> bool {
    let mapping = volume.mapping.as_ref();
    mapping.is_ok_and(|mapping| mapping.available_bytes(|_| u64::MAX) >= mapping.len())
}
