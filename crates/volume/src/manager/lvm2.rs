//! LVM2 (`lib/format_text/layout.h`, `lib/label/label.h`): labels, metadata areas, and the volumes of the newest text.

mod group;

use std::collections::{BTreeMap, BTreeSet};

use ntt_model::{ByteRange, FindingCode, Severity};
use ntt_source::field::{le_u32, le_u64};
use ntt_source::{ReadAt, SubRange};

use super::text::{Section, parse};
use super::{Assembly, Group, GroupVolume, Member, VOLUMES_MAX};
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
    /// How long the member is.
    device_bytes: u64,
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
        let device_bytes = le_u64(&sector, header.checked_add(32)?)?;
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
        Some(Label {
            uuid,
            device_bytes,
            areas,
        })
    })
}

/// How long the member is, as its label says.
pub(super) fn member_end(source: &dyn ReadAt) -> Option<u64> {
    label(source).map(|label| label.device_bytes)
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
    report_texts(texts, (holder, text), assembly);
    let group = text
        .root
        .sections()
        .find(|(_, section)| section.section("physical_volumes").is_some());
    let Some((name, section)) = group else { return };
    let mut reader = GroupReader::new(section, known);
    let (volumes, refusals) = reader.volumes(name);
    let absent = reader.absent();
    let at = holder.range.offset;
    report_absent(name, &absent, &volumes, at, assembly);
    // More volumes than these are not listed.
    for refusal in refusals.into_iter().take(VOLUMES_MAX) {
        assembly.report(Severity::Loss, refusal.code, at, refusal.reason);
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

/// Says which members have an older text than the newest, and that the newest is damaged.
fn report_texts<'k>(
    texts: impl Iterator<Item = (&'k Known, &'k Text)>,
    (holder, newest): (&Known, &Text),
    assembly: &mut Assembly,
) {
    for (member, old) in texts.filter(|(_, old)| old.sequence != newest.sequence) {
        let detail = format!(
            "volume {} has text {} of its volume group, the newest here is {}",
            member.number, old.sequence, newest.sequence
        );
        let at = member.range.offset;
        assembly.report(Severity::Warning, FindingCode::MissingMember, at, detail);
    }
    if !newest.is_whole {
        let detail =
            "no text of the LVM2 volume group has a checksum that holds; what can be parsed of one is used";
        assembly.report(Severity::Loss, FindingCode::Corrupt, holder.range.offset, detail);
    }
}

/// Says which members the text names that are not here. It is a loss only where a volume has bytes on them.
fn report_absent(group: &str, absent: &[String], volumes: &[GroupVolume], at: u64, assembly: &mut Assembly) {
    if absent.is_empty() {
        return;
    }
    let detail = format!(
        "members of the volume group {group} are not here: {}",
        absent.join(", ")
    );
    let severity = if volumes.iter().all(is_whole) {
        Severity::Warning
    } else {
        Severity::Loss
    };
    assembly.report(severity, FindingCode::MissingMember, at, detail);
}

/// Whether every byte of the volume is here, or can be rebuilt.
fn is_whole(volume: &GroupVolume) -> bool {
    let mapping = volume.mapping.as_ref();
    mapping.is_ok_and(|mapping| mapping.available_bytes(|_| u64::MAX) >= mapping.len())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use ntt_testkit::managers::MdMember;

    use super::*;
    use crate::manager::assemble;

    const AREA: usize = 4096;
    const EXTENT: u64 = 4096;
    /// 256 extents from the first MiB on.
    const FIRST: u64 = 1 << 20;
    const UUID: &str = "aaaaaabbbbccccddddeeeeffffgggggg";

    fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
        bytes[at..at + value.len()].copy_from_slice(value);
    }

    /// A member whose text has these volumes.
    fn member(volumes: &str) -> Vec<u8> {
        let text = format!(
            "vg {{ id = \"group\" seqno = 1 extent_size = 8 physical_volumes {{ pv0 {{ id = \"{UUID}\" pe_start = 2048 }} }}
             logical_volumes {{ {volumes} }} }}\0"
        );
        let mut bytes = vec![0; 2 << 20];
        let label = 512;
        put(&mut bytes, label, b"LABELONE");
        put(&mut bytes, label + 20, &32_u32.to_le_bytes());
        put(&mut bytes, label + 24, b"LVM2 001");
        put(&mut bytes, label + 32, UUID.as_bytes());
        put(&mut bytes, label + 72, &FIRST.to_le_bytes());
        let area_bytes = FIRST - 4096;
        put(&mut bytes, label + 104, &4096_u64.to_le_bytes());
        put(&mut bytes, label + 112, &area_bytes.to_le_bytes());
        put(&mut bytes, AREA + 4, AREA_MAGIC);
        put(&mut bytes, AREA + 40, &512_u64.to_le_bytes());
        let len = u64::try_from(text.len()).expect("small");
        put(&mut bytes, AREA + 48, &len.to_le_bytes());
        put(&mut bytes, AREA + 56, &lvm2_crc(text.as_bytes()).to_le_bytes());
        let sum = lvm2_crc(&bytes[AREA + 4..AREA + 512]);
        put(&mut bytes, AREA, &sum.to_le_bytes());
        put(&mut bytes, AREA + 512, text.as_bytes());
        bytes
    }

    /// A volume of `count` segments of `extents` extents each, all the first ones of `inner`.
    fn volume(name: &str, count: u64, extents: u64, inner: &str) -> String {
        let mut text = format!("{name} {{ id = \"{name}\" status = [\"READ\", \"VISIBLE\"]\n");
        for segment in 0..count {
            writeln!(
                text,
                "segment{segment} {{ start_extent = {} extent_count = {extents} type = \"striped\" stripe_count = 1 stripes = [\"{inner}\", 0] }}",
                segment * extents
            )
            .expect("memory");
        }
        text + "}\n"
    }

    fn assembled(volumes: &str) -> Assembly {
        let bytes = member(volumes);
        let range = ByteRange::new(0, 2 << 20);
        assemble(&bytes, &[Member { number: 1, range }])
    }

    fn codes(assembly: &Assembly) -> Vec<FindingCode> {
        assembly.findings.iter().map(|finding| finding.code).collect()
    }

    /// Nine volumes of sixty segments, each in the next: made once each, not 60^8 times.
    #[test]
    fn a_volume_in_many_segments_is_made_once() {
        let mut text = String::new();
        for number in 0..8 {
            text += &volume(&format!("lv{number}"), 60, 1, &format!("lv{}", number + 1));
        }
        text += &volume("lv8", 60, 1, "pv0");
        let assembly = assembled(&text);
        assert_eq!(codes(&assembly), []);
        let volumes = &assembly.groups[0].volumes;
        assert_eq!(volumes.len(), 9);
        for volume in volumes {
            let mapping = volume.mapping.as_ref().expect("made");
            assert_eq!(mapping.len(), 60 * EXTENT, "{}", volume.found_by);
            assert!(
                mapping
                    .segments
                    .iter()
                    .all(|segment| segment.place == ntt_model::mapping::Place::Linear(FIRST))
            );
        }
    }

    /// Where each volume has all of the next sixty times, the pieces are bounded, and what is within the bound is read.
    #[test]
    fn volumes_of_too_many_pieces_are_refused() {
        let mut text = volume("lv4", 60, 1, "pv0");
        for (number, extents) in [(3, 60), (2, 3600), (1, 216_000), (0, 12_960_000)] {
            let inner = format!("lv{}", number + 1);
            text += &volume(&format!("lv{number}"), 60, extents, &inner);
        }
        let assembly = assembled(&text);
        let is_read = |volume: &GroupVolume| volume.mapping.is_ok();
        let read: Vec<bool> = assembly.groups[0].volumes.iter().map(is_read).collect();
        assert_eq!(read, [true, true, true, false, false]);
        assert_eq!(codes(&assembly), [FindingCode::Limit; 2]);
        assert_eq!(assembly.findings[0].image_offset, Some(0));
        assert!(assembly.findings[0].detail.contains("lvm2 vg/lv1 (linear)"));
    }

    #[test]
    fn volumes_that_contain_each_other_are_a_loop_and_cost_no_others() {
        let text = volume("a", 2, 1, "b") + &volume("b", 2, 1, "a") + &volume("c", 1, 1, "pv0");
        let assembly = assembled(&(text + &volume("d", 60, 1, "d")));
        assert_eq!(codes(&assembly), [FindingCode::Loop; 3]);
        let is_read = |volume: &GroupVolume| volume.mapping.is_ok();
        let read: Vec<bool> = assembly.groups[0].volumes.iter().map(is_read).collect();
        assert_eq!(read, [false, false, true, false]);
    }

    /// What one group costs is its own: an array in the same image is put together.
    #[test]
    fn a_group_that_is_refused_costs_no_other() {
        let array = MdMember {
            level: 1,
            layout: 0,
            chunk_sectors: 0,
            raid_disks: 1,
            role: 0,
            events: 7,
        };
        let array = array.version_1_2(&[1; 65_536]);
        let mut bytes = member(&volume("a", 60, 1, "a"));
        let first = ByteRange::new(0, 2 << 20);
        let second = ByteRange::new(2 << 20, u64::try_from(array.len()).expect("small"));
        bytes.extend(array);
        let members: Vec<Member> = (1..)
            .zip([first, second])
            .map(|(number, range)| Member { number, range })
            .collect();
        let assembly = assemble(&bytes, &members);
        let sound = |group: &&Group| group.volumes.iter().all(|volume| volume.mapping.is_ok());
        let sound: Vec<&str> = assembly
            .groups
            .iter()
            .filter(sound)
            .map(|group| group.manager.as_str())
            .collect();
        assert_eq!(sound, ["md raid1"]);
        assert!(codes(&assembly).contains(&FindingCode::Loop));
    }

    #[test]
    fn volumes_in_volumes_too_deep_are_refused() {
        let mut text = volume("lv20", 1, 1, "pv0");
        for number in 0..20 {
            text += &volume(&format!("lv{number}"), 1, 1, &format!("lv{}", number + 1));
        }
        let assembly = assembled(&text);
        assert!(codes(&assembly).iter().all(|code| *code == FindingCode::Limit));
        let deepest = &assembly.groups[0].volumes[1];
        assert_eq!(deepest.found_by, "lvm2 vg/lv0");
        assert!(deepest.mapping.is_err());
        let nested = assembly.groups[0].volumes.last().expect("one");
        assert!(nested.mapping.is_ok());
    }
}
