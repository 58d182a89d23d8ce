//! The volumes of a group, made from its text: segments of volumes, of members, and of volumes that only make others.

use std::collections::BTreeMap;
use std::rc::Rc;

use ntt_model::mapping::{Place, Segment};
use ntt_model::{ByteRange, FindingCode, Mapping};

use super::Known;
use crate::manager::GroupVolume;
use crate::manager::raid::{Array, COLUMNS_MAX, Level, parity_layout};
use crate::manager::text::{Section, Value};

/// Volumes that make volumes that make volumes.
const DEPTH_MAX: usize = 8;
/// Pieces that all volumes of a group are made of, those that only make others counted wherever they do; a text of 8 MiB that nests nothing has
/// some 50,000.
const PIECES_MAX: usize = 1 << 19;
/// What a volume that needs more than are left costs the others: what is tried in vain is bounded too.
const REFUSED_PIECES: usize = PIECES_MAX >> 6;

/// A member as the text names it.
struct Physical<'a> {
    name: &'a str,
    uuid: String,
    device: &'a str,
    /// Its number, and the byte of the source that its first extent starts at.
    here: Option<(u32, u64)>,
}

/// A group as its newest text says.
pub(super) struct GroupReader<'a> {
    pub(super) extent_bytes: u64,
    physical: Vec<Physical<'a>>,
    /// The byte of the source that the first extent of each member starts at; `None` if it is not here.
    starts: BTreeMap<&'a str, Option<u64>>,
    logical: BTreeMap<&'a str, &'a Section>,
    order: Vec<&'a str>,
    /// What each volume is, once it is made: many segments may lie in one.
    made: BTreeMap<&'a str, Rc<Mapping>>,
    /// The volumes that are being made, each for the one before.
    open: Vec<&'a str>,
    /// Pieces that may still be made.
    left: usize,
}

/// Why a volume cannot be had.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: FindingCode,
    pub(super) reason: String,
}

impl Refusal {
    fn new(code: FindingCode, reason: &str) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
        }
    }
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::new(FindingCode::Unsupported, &reason)
    }
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Self {
        Self::new(FindingCode::Unsupported, reason)
    }
}

impl<'a> GroupReader<'a> {
    pub(super) fn new(group: &'a Section, known: &[Known]) -> Self {
        let extent_bytes = group
            .number("extent_size")
            .and_then(|sectors| sectors.checked_mul(512));
        let physical: Vec<Physical<'_>> = group
            .section("physical_volumes")
            .into_iter()
            .flat_map(Section::sections)
            .map(|(name, section)| Physical::new(name, section, known))
            .collect();
        let logical: Vec<(&str, &Section)> = group
            .section("logical_volumes")
            .into_iter()
            .flat_map(Section::sections)
            .collect();
        Self {
            extent_bytes: extent_bytes.unwrap_or(0),
            // Of two members with one name, the first counts.
            starts: physical
                .iter()
                .rev()
                .map(|physical| (physical.name, physical.here.map(|(_, first)| first)))
                .collect(),
            physical,
            order: logical.iter().map(|(name, _)| *name).collect(),
            logical: logical.into_iter().collect(),
            made: BTreeMap::new(),
            open: Vec::new(),
            left: PIECES_MAX,
        }
    }

    pub(super) fn members(&self) -> Vec<u32> {
        self.physical
            .iter()
            .filter_map(|physical| Some(physical.here?.0))
            .collect()
    }

    pub(super) fn absent(&self) -> Vec<String> {
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

    /// The volumes that people see, those that only make others left out; and why some of them cannot be had.
    pub(super) fn volumes(&mut self, group: &str) -> (Vec<GroupVolume>, Vec<Refusal>) {
        let visible: Vec<(&str, &Section)> = self
            .order
            .iter()
            .filter_map(|name| Some((*name, *self.logical.get(name)?)))
            .filter(|(_, section)| is_visible(section))
            .collect();
        let mut refusals = Vec::new();
        let mut volumes = Vec::new();
        for (name, section) in visible {
            let found_by = format!("lvm2 {group}/{name}");
            let kind = kind(section);
            let made = self.volume(name);
            self.open.clear();
            let mapping = made.map(|mapping| mapping.as_ref().clone()).map_err(|refusal| {
                let reason = format!("{found_by} ({kind}) is not read: {}", refusal.reason);
                refusals.push(Refusal {
                    reason,
                    code: refusal.code,
                });
                refusal.reason
            });
            volumes.push(GroupVolume {
                found_by,
                kind,
                uuid: section.text("id").unwrap_or_default().to_owned(),
                mapping,
            });
        }
        (volumes, refusals)
    }

    /// A volume, made when it is first asked for. After a refusal, what is open stays so: the volume that is asked for is refused with it.
    fn volume(&mut self, name: &'a str) -> Result<Rc<Mapping>, Refusal> {
        if let Some(mapping) = self.made.get(name) {
            return Ok(mapping.clone());
        }
        if self.open.contains(&name) {
            return Err(Refusal::new(FindingCode::Loop, "its volumes contain each other"));
        }
        if self.open.len() > DEPTH_MAX {
            return Err(Refusal::new(
                FindingCode::Limit,
                "volumes lie in volumes too deep",
            ));
        }
        let section = self
            .logical
            .get(name)
            .copied()
            .ok_or_else(|| format!("`{name}` is no member and no volume"))?;
        self.open.push(name);
        let mapping = Rc::new(self.segments(section)?);
        self.open.pop();
        self.made.insert(name, mapping.clone());
        Ok(mapping)
    }

    /// The mapping of a volume, segment by segment.
    fn segments(&mut self, section: &'a Section) -> Result<Mapping, Refusal> {
        let mut segments: Vec<(u64, &Section)> = section
            .sections()
            .filter_map(|(_, segment)| Some((segment.number("start_extent")?, segment)))
            .collect();
        segments.sort_by_key(|(start, _)| *start);
        let mut mapping = Mapping::default();
        self.charge(&mapping)?;
        for (start, segment) in segments {
            let offset = self.extents(start)?;
            // What no segment covers, or two do, is a contradiction of the text.
            let gap = offset.checked_sub(mapping.len()).ok_or("its segments overlap")?;
            mapping.push(gap, Place::Absent);
            let len = self.extents(segment.number("extent_count").unwrap_or(0))?;
            let part = self.segment(segment, len)?;
            self.charge(&part)?;
            mapping.append(part, len);
        }
        Ok(mapping)
    }

    /// Counts pieces that were made; refuses what makes too many of them.
    fn charge(&mut self, made: &Mapping) -> Result<(), Refusal> {
        let pieces = made.segments.iter().map(weight).fold(1, usize::saturating_add);
        if let Some(left) = self.left.checked_sub(pieces) {
            self.left = left;
            return Ok(());
        }
        self.left = self.left.saturating_sub(REFUSED_PIECES);
        let reason = format!("the volumes of its group are made of more than {PIECES_MAX} pieces");
        Err(Refusal::new(FindingCode::Limit, &reason))
    }

    fn extents(&self, count: u64) -> Result<u64, Refusal> {
        let bytes = count.checked_mul(self.extent_bytes);
        bytes.ok_or_else(|| "its numbers cannot be".into())
    }

    fn segment(&mut self, segment: &'a Section, len: u64) -> Result<Mapping, Refusal> {
        let kind = segment.text("type").unwrap_or_default();
        match kind {
            "striped" | "linear" => self.striped(segment, len),
            "mirror" => self.first_of(segment.list("mirrors"), 2),
            "raid1" => self.first_of(raid_images(segment).get(1..).unwrap_or_default(), 2),
            "zero" | "error" => Ok(absent(len)),
            kind if kind.starts_with("raid") => self.raid(kind, segment),
            kind => Err(format!("segments of type `{kind}` are not supported").into()),
        }
    }

    fn striped(&mut self, segment: &'a Section, len: u64) -> Result<Mapping, Refusal> {
        let stripes = segment.list("stripes").chunks_exact(2);
        if stripes.len() == 0 || stripes.len() > COLUMNS_MAX {
            return Err("a segment has no stripes".into());
        }
        if stripes.len() == 1 {
            let column = stripes.flatten().collect::<Vec<_>>();
            return self.run(&column, len);
        }
        let count = u64::try_from(stripes.len()).unwrap_or(1);
        let column_bytes = len.checked_div(count).unwrap_or(0);
        let chunk_bytes = segment
            .number("stripe_size")
            .and_then(|sectors| sectors.checked_mul(512))
            .unwrap_or(0);
        let columns: Result<Vec<Option<u64>>, Refusal> = stripes
            .map(|stripe| {
                let run = self.run(&stripe.iter().collect::<Vec<_>>(), column_bytes)?;
                self.charge(&run)?;
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
            .ok_or_else(|| "the numbers of its stripes cannot be".into())
    }

    /// `len` bytes from an extent of a member or of another volume.
    fn run(&mut self, stripe: &[&'a Value], len: u64) -> Result<Mapping, Refusal> {
        let [Value::Text(name), Value::Number(extent)] = stripe else {
            return Err("a stripe is no name and number".into());
        };
        let offset = self.extents(u64::try_from(*extent).map_err(|_| "an extent cannot be")?)?;
        if let Some(start) = self.starts.get(name.as_str()) {
            let at = start.and_then(|first| first.checked_add(offset));
            return Ok(at.map_or_else(|| absent(len), |at| Mapping::linear(ByteRange::new(at, len))));
        }
        Ok(self.volume(name)?.part(ByteRange::new(offset, len)))
    }

    /// The legs of a mirror that lie in one row each stand in for each other; else it is the leg of which most is here.
    fn first_of(&mut self, legs: &'a [Value], step: usize) -> Result<Mapping, Refusal> {
        let mut found = Vec::new();
        for leg in legs.iter().step_by(step).take(COLUMNS_MAX) {
            let Value::Text(name) = leg else { continue };
            if self.logical.contains_key(name.as_str()) {
                let leg = self.volume(name)?;
                self.charge(&leg)?;
                found.push(leg);
            }
        }
        let rows: Vec<ByteRange> = found.iter().filter_map(|leg| leg.as_range()).collect();
        if let Some(shortest) = rows.iter().map(|row| row.len).min().filter(|_| rows.len() > 1) {
            let array = Array {
                level: Level::Mirror,
                chunk_bytes: 0,
                column_bytes: shortest,
                columns: rows.iter().map(|row| Some(row.offset)).collect(),
            };
            return array
                .mapping()
                .ok_or_else(|| "the numbers of a mirror cannot be".into());
        }
        let here = |mapping: &Rc<Mapping>| mapping.available_bytes(|_| u64::MAX);
        let most = found.iter().map(here).max();
        let best = found.iter().find(|mapping| Some(here(mapping)) == most);
        let best = best.ok_or("a mirror has no legs")?;
        Ok(best.as_ref().clone())
    }

    /// RAID of device-mapper: each image is a volume of its own.
    fn raid(&mut self, kind: &str, segment: &'a Section) -> Result<Mapping, Refusal> {
        let level = raid_level(kind).ok_or_else(|| format!("segments of type `{kind}` are not supported"))?;
        let names = if kind.starts_with("raid0") && segment.list("raid0_lvs").len() > 1 {
            segment.list("raid0_lvs")
        } else {
            raid_images(segment)
        };
        let mut columns = Vec::new();
        let mut column_bytes = u64::MAX;
        for name in images_of(kind, names) {
            let image = self.volume(name)?;
            self.charge(&image)?;
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
            .ok_or_else(|| "the numbers of its stripes cannot be".into())
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

/// What a segment counts as: it has a number for each of its columns.
fn weight(segment: &Segment) -> usize {
    match &segment.place {
        Place::Striped { columns, .. } | Place::Parity { columns, .. } => columns.len(),
        _ => 1,
    }
}

fn absent(len: u64) -> Mapping {
    let mut mapping = Mapping::default();
    mapping.push(len, Place::Absent);
    mapping
}

/// Where a column starts, if it lies in a row; `None` if it is not here.
fn column(mapping: &Mapping) -> Result<Option<u64>, Refusal> {
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
        Err("a stripe is itself in pieces, which is not supported".into())
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
