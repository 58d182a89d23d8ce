//! LVM2 (`lib/format_text/layout.h`, `lib/label/label.h`): labels, metadata areas, and the volumes of the newest text.

use std::collections::{BTreeMap, BTreeSet};

use ntt_model::mapping::Place;
use ntt_model::{ByteRange, FindingCode, Mapping, Severity};
use ntt_source::field::{le_u32, le_u64};
use ntt_source::{ReadAt, SubRange};

use super::raid::{Array, COLUMNS_MAX, Level, parity_layout};
use super::text::{Section, Value, parse};
use super::{Assembly, Group, GroupVolume, Member};
use crate::bytes::{padded_text, read, read_vec};
use crate::checksum::lvm2_crc;

/// Magic of a metadata area.
const AREA_MAGIC: &[u8] = b" LVM2 x[5A%r0N*>";
/// Texts longer than this are refused; those of thousands of volumes are a few MiB.
const TEXT_BYTES_MAX: u64 = 8 << 20;
/// Areas and copies looked at of one member.
const AREAS_MAX: usize = 8;
/// Volumes that make volumes that make volumes.
const DEPTH_MAX: u32 = 8;

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

/// A member as the text names it.
struct Physical<'a> {
    name: &'a str,
    uuid: String,
    device: &'a str,
    /// Its number, and the byte of the source that its first extent starts at.
    here: Option<(u32, u64)>,
}

struct GroupReader<'a> {
    extent_bytes: u64,
    physical: Vec<Physical<'a>>,
    logical: BTreeMap<&'a str, &'a Section>,
    order: Vec<&'a str>,
}

impl<'a> GroupReader<'a> {
    fn new(group: &'a Section, known: &[Known]) -> Self {
        let extent_bytes = group
            .number("extent_size")
            .and_then(|sectors| sectors.checked_mul(512));
        let physical = group
            .section("physical_volumes")
            .into_iter()
            .flat_map(Section::sections);
        let logical: Vec<(&str, &Section)> = group
            .section("logical_volumes")
            .into_iter()
            .flat_map(Section::sections)
            .collect();
        Self {
            extent_bytes: extent_bytes.unwrap_or(0),
            physical: physical
                .map(|(name, section)| Physical::new(name, section, known))
                .collect(),
            order: logical.iter().map(|(name, _)| *name).collect(),
            logical: logical.into_iter().collect(),
        }
    }

    fn members(&self) -> Vec<u32> {
        self.physical
            .iter()
            .filter_map(|physical| Some(physical.here?.0))
            .collect()
    }

    fn absent(&self) -> Vec<String> {
        let absent = self.physical.iter().filter(|physical| physical.here.is_none());
        absent
            .map(|physical| {
                format!(
                    "{} {} (last seen as {})",
                    physical.name, physical.uuid, physical.device
                )
            })
            .collect()
    }

    /// The volumes that people see; those that only make others are left out.
    fn volumes(&self, group: &str) -> Vec<GroupVolume> {
        let visible = self.order.iter().filter_map(|name| {
            let section = self.logical.get(name)?;
            is_visible(section).then_some((*name, *section))
        });
        visible
            .map(|(name, section)| GroupVolume {
                found_by: format!("lvm2 {group}/{name}"),
                kind: kind(section),
                uuid: section.text("id").unwrap_or_default().to_owned(),
                mapping: self.volume(section, 0),
            })
            .collect()
    }

    /// The mapping of a volume, segment by segment.
    fn volume(&self, section: &Section, depth: u32) -> Result<Mapping, String> {
        if depth > DEPTH_MAX {
            return Err("its volumes contain each other".to_owned());
        }
        let mut segments: Vec<(u64, &Section)> = section
            .sections()
            .filter_map(|(_, segment)| Some((segment.number("start_extent")?, segment)))
            .collect();
        segments.sort_by_key(|(start, _)| *start);
        let mut mapping = Mapping::default();
        for (start, segment) in segments {
            let offset = self.extents(start)?;
            // What no segment covers, or two do, is a contradiction of the text.
            let gap = offset.checked_sub(mapping.len()).ok_or("its segments overlap")?;
            mapping.push(gap, Place::Absent);
            let len = self.extents(segment.number("extent_count").unwrap_or(0))?;
            mapping.append(self.segment(segment, len, depth)?, len);
        }
        Ok(mapping)
    }

    fn extents(&self, count: u64) -> Result<u64, String> {
        count
            .checked_mul(self.extent_bytes)
            .ok_or_else(|| "its numbers cannot be".to_owned())
    }

    fn segment(&self, segment: &Section, len: u64, depth: u32) -> Result<Mapping, String> {
        let kind = segment.text("type").unwrap_or_default();
        match kind {
            "striped" | "linear" => self.striped(segment, len, depth),
            "mirror" => self.first_of(segment.list("mirrors"), 2, depth),
            "raid1" => self.first_of(raid_images(segment).get(1..).unwrap_or_default(), 2, depth),
            "zero" | "error" => Ok(absent(len)),
            kind if kind.starts_with("raid") => self.raid(kind, segment, depth),
            kind => Err(format!("segments of type `{kind}` are not supported")),
        }
    }

    fn striped(&self, segment: &Section, len: u64, depth: u32) -> Result<Mapping, String> {
        let stripes = segment.list("stripes").chunks_exact(2);
        if stripes.len() == 0 || stripes.len() > COLUMNS_MAX {
            return Err("a segment has no stripes".to_owned());
        }
        if stripes.len() == 1 {
            let column = stripes.flatten().collect::<Vec<_>>();
            return self.run(&column, len, depth);
        }
        let count = u64::try_from(stripes.len()).unwrap_or(1);
        let column_bytes = len.checked_div(count).unwrap_or(0);
        let chunk_bytes = segment
            .number("stripe_size")
            .and_then(|sectors| sectors.checked_mul(512))
            .unwrap_or(0);
        let columns: Result<Vec<Option<u64>>, String> = stripes
            .map(|stripe| {
                let run = self.run(&stripe.iter().collect::<Vec<_>>(), column_bytes, depth)?;
                column(&run)
            })
            .collect();
        let array = Array {
            level: Level::Stripes,
            chunk_bytes,
            column_bytes,
            columns: columns?,
        };
        array
            .mapping()
            .ok_or_else(|| "the numbers of its stripes cannot be".to_owned())
    }

    /// `len` bytes from an extent of a member or of another volume.
    fn run(&self, stripe: &[&Value], len: u64, depth: u32) -> Result<Mapping, String> {
        let [Value::Text(name), Value::Number(extent)] = stripe else {
            return Err("a stripe is no name and number".to_owned());
        };
        let offset = self.extents(u64::try_from(*extent).map_err(|_| "an extent cannot be")?)?;
        if let Some(physical) = self.physical.iter().find(|physical| physical.name == name) {
            let at = physical.here.and_then(|(_, first)| first.checked_add(offset));
            return Ok(at.map_or_else(|| absent(len), |at| Mapping::linear(ByteRange::new(at, len))));
        }
        let section = self
            .logical
            .get(name.as_str())
            .ok_or_else(|| format!("`{name}` is no member and no volume"))?;
        let inner = self.volume(section, depth.saturating_add(1))?;
        Ok(inner.part(ByteRange::new(offset, len)))
    }

    /// The legs of a mirror that lie in one row each stand in for each other; else it is the leg of which most is here.
    fn first_of(&self, legs: &[Value], step: usize, depth: u32) -> Result<Mapping, String> {
        let mut found = Vec::new();
        for leg in legs.iter().step_by(step).take(COLUMNS_MAX) {
            let Value::Text(name) = leg else { continue };
            if let Some(section) = self.logical.get(name.as_str()) {
                found.push(self.volume(section, depth.saturating_add(1))?);
            }
        }
        let rows: Vec<ByteRange> = found.iter().filter_map(Mapping::as_range).collect();
        if let Some(shortest) = rows.iter().map(|row| row.len).min().filter(|_| rows.len() > 1) {
            let array = Array {
                level: Level::Mirror,
                chunk_bytes: 0,
                column_bytes: shortest,
                columns: rows.iter().map(|row| Some(row.offset)).collect(),
            };
            return array
                .mapping()
                .ok_or_else(|| "the numbers of a mirror cannot be".to_owned());
        }
        let here = |mapping: &Mapping| mapping.available_bytes(|_| u64::MAX);
        let most = found.iter().map(here).max();
        let best = found.into_iter().find(|mapping| Some(here(mapping)) == most);
        best.ok_or_else(|| "a mirror has no legs".to_owned())
    }

    /// RAID of device-mapper: each image is a volume of its own.
    fn raid(&self, kind: &str, segment: &Section, depth: u32) -> Result<Mapping, String> {
        let level = raid_level(kind).ok_or_else(|| format!("segments of type `{kind}` are not supported"))?;
        let names = if kind.starts_with("raid0") && segment.list("raid0_lvs").len() > 1 {
            segment.list("raid0_lvs")
        } else {
            raid_images(segment)
        };
        let mut columns = Vec::new();
        let mut column_bytes = u64::MAX;
        for name in images_of(kind, names) {
            let section = self
                .logical
                .get(name)
                .ok_or_else(|| format!("`{name}` is no volume"))?;
            let image = self.volume(section, depth.saturating_add(1))?;
            column_bytes = column_bytes.min(image.len());
            columns.push(column(&image)?);
        }
        let array = Array {
            level,
            chunk_bytes: segment
                .number("stripe_size")
                .and_then(|sectors| sectors.checked_mul(512))
                .unwrap_or(0),
            column_bytes,
            columns,
        };
        array
            .mapping()
            .ok_or_else(|| "the numbers of its stripes cannot be".to_owned())
    }
}

impl<'a> Physical<'a> {
    fn new(name: &'a str, section: &'a Section, known: &[Known]) -> Self {
        let uuid = section.text("id").unwrap_or_default();
        let plain: String = uuid.chars().filter(|character| *character != '-').collect();
        let first = section
            .number("pe_start")
            .and_then(|sectors| sectors.checked_mul(512))
            .unwrap_or(0);
        let here = known.iter().find(|member| member.uuid == plain);
        Self {
            name,
            uuid: uuid.to_owned(),
            device: section.text("device").unwrap_or("an unknown device"),
            here: here.and_then(|member| Some((member.number, member.range.offset.checked_add(first)?))),
        }
    }
}

fn absent(len: u64) -> Mapping {
    let mut mapping = Mapping::default();
    mapping.push(len, Place::Absent);
    mapping
}

/// Where a column starts, if it lies in a row; `None` if it is not here.
fn column(mapping: &Mapping) -> Result<Option<u64>, String> {
    if let Some(range) = mapping.as_range() {
        return Ok(Some(range.offset));
    }
    let is_absent = mapping
        .segments
        .iter()
        .all(|segment| segment.place == Place::Absent);
    if is_absent {
        Ok(None)
    } else {
        Err("a stripe is itself in pieces, which is not supported".to_owned())
    }
}

fn raid_images(segment: &Section) -> &[Value] {
    segment.list("raids")
}

/// The images among names; metadata volumes stand before each but in RAID 0 without them.
fn images_of<'v>(kind: &str, names: &'v [Value]) -> impl Iterator<Item = &'v str> {
    let (first, step) = if kind == "raid0" { (0, 1) } else { (1, 2) };
    names
        .iter()
        .skip(first)
        .step_by(step)
        .filter_map(|value| match value {
            Value::Text(name) => Some(name.as_str()),
            _ => None,
        })
}

fn raid_level(kind: &str) -> Option<Level> {
    let parity = |number, parities| parity_layout(number).map(|layout| Level::Parity(layout, parities));
    match kind {
        "raid0" | "raid0_meta" => Some(Level::Stripes),
        "raid4" => parity(5, 1),
        "raid5" | "raid5_ls" => parity(2, 1),
        "raid5_la" => parity(0, 1),
        "raid5_ra" => parity(1, 1),
        "raid5_rs" => parity(3, 1),
        "raid5_n" => parity(5, 1),
        "raid10" | "raid10_near" => Some(Level::Near(2)),
        _ => None,
    }
}

fn is_visible(section: &Section) -> bool {
    section
        .list("status")
        .iter()
        .any(|value| *value == Value::Text("VISIBLE".to_owned()))
}

/// What the first segment is.
fn kind(section: &Section) -> String {
    let first = section
        .sections()
        .map(|(_, segment)| segment)
        .find(|segment| segment.get("type").is_some());
    let Some(segment) = first else {
        return String::new();
    };
    match (
        segment.text("type").unwrap_or_default(),
        segment.number("stripe_count"),
    ) {
        ("striped", Some(1)) => "linear".to_owned(),
        (kind, _) => kind.to_owned(),
    }
}
