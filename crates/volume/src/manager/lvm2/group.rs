//! The volumes of a group, made from its text: segments of volumes, of members, and of volumes that only make others.

use std::collections::BTreeMap;

use ntt_model::mapping::Place;
use ntt_model::{ByteRange, Mapping};

use super::Known;
use crate::manager::GroupVolume;
use crate::manager::raid::{Array, COLUMNS_MAX, Level, parity_layout};
use crate::manager::text::{Section, Value};

/// Volumes that make volumes that make volumes.
const DEPTH_MAX: u32 = 8;

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
    logical: BTreeMap<&'a str, &'a Section>,
    order: Vec<&'a str>,
}

impl<'a> GroupReader<'a> {
    pub(super) fn new(group: &'a Section, known: &[Known]) -> Self {
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

    /// The volumes that people see; those that only make others are left out.
    pub(super) fn volumes(&self, group: &str) -> Vec<GroupVolume> {
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
