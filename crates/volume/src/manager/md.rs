//! Linux software RAID (`include/uapi/linux/raid/md_p.h`).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use ntt_model::mapping::{ParityLayout, Place};
use ntt_model::{ByteRange, FindingCode, Mapping, Severity};
use ntt_source::field::{array, be_u32, le_u16, le_u32, le_u64};
use ntt_source::{ReadAt, SubRange};

use super::raid::{Array, COLUMNS_MAX, Level, parity_layout};
use super::{Assembly, Group, GroupVolume, Member};
use crate::bytes::{padded_text, read, read_vec, uuid_text};

const MAGIC: u32 = 0xa92b_4efc;
/// Level number of arrays that put one member behind the other.
const LINEAR: i32 = -1;
/// An array that is being given another shape.
const RESHAPE_ACTIVE: u32 = 4;
/// Roles from here on are those of journals, failed members and spares.
const NO_COLUMN: u16 = 0xfffd;
/// A member that is still being filled.
const RECOVERING: u32 = 2;
/// The place up to which an array is in step, where all of it is (`MaxSector`).
const IN_STEP: u64 = u64::MAX;

/// What a member says of its array and of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Superblock {
    /// `0.90`, `1.0`, `1.1`, `1.2`.
    pub version: &'static str,
    /// UUID of the array.
    pub uuid: String,
    /// Name of the array, escaped for display; empty before 1.0.
    pub name: String,
    /// RAID level; -1 is linear.
    pub level: i32,
    /// Number of members that take part.
    pub raid_disks: u32,
    /// How many changes the member has seen.
    pub events: u64,
    /// Whether the superblock's checksum holds.
    pub sum_holds: bool,
    layout: u32,
    chunk_bytes: u64,
    /// Bytes of each member that are used; 0 where each gives what it has.
    used_bytes: u64,
    /// Where data stands in the member, and how much there is.
    data: ByteRange,
    /// The column that it is; none for spares and failed ones.
    column: Option<u32>,
    /// The columns whose members take part, as far as it knows.
    active: Vec<u32>,
    is_reshaping: bool,
    is_recovering: bool,
    /// Sector of each member up to which mirrors and parity agree with the data, or [`IN_STEP`].
    resynced_to: u64,
}

impl Superblock {
    /// Bytes of each member up to which parity agrees with the data; `None` where it does everywhere.
    fn out_of_step_from(&self) -> Option<u64> {
        let from = self.resynced_to.checked_mul(512)?;
        (from < self.given_bytes()).then_some(from)
    }

    /// Bytes that the member gives to its array.
    fn given_bytes(&self) -> u64 {
        match self.used_bytes {
            0 => self.data.len,
            used => used,
        }
    }

    /// Whether the other one takes part in the array as this one knows it. One whose own place is not in its table has no table to go by.
    fn knows(&self, other: &Self) -> bool {
        let is_active = |column: Option<u32>| column.is_none_or(|column| self.active.contains(&column));
        !self.sum_holds || !is_active(self.column) || is_active(other.column)
    }

    /// How long a member must be to hold what it gives to its array.
    fn end(&self) -> u64 {
        self.data.offset.saturating_add(self.given_bytes())
    }
}

/// How long a member must be, by a superblock whose checksum holds.
pub(super) fn member_end(source: &dyn ReadAt) -> Option<u64> {
    superblock(source)
        .filter(|superblock| superblock.sum_holds)
        .map(|superblock| superblock.end())
}

/// The superblock of a member, wherever it stands.
pub fn superblock(source: &dyn ReadAt) -> Option<Superblock> {
    // 1.0 lies at least 8 KiB before the end, on a 4 KiB boundary.
    let last = (source.len() / 512)
        .checked_sub(16)
        .map(|sector| (sector & !7).saturating_mul(512));
    [(Some(4096), "1.2"), (Some(0), "1.1"), (last, "1.0")]
        .into_iter()
        .find_map(|(at, version)| modern(source, at?, version))
        .or_else(|| old(source))
}

fn modern(source: &dyn ReadAt, at: u64, version: &'static str) -> Option<Superblock> {
    let block = read::<256>(source, at).ok()?;
    (le_u32(&block, 0)? == MAGIC && le_u32(&block, 4)? == 1).then_some(())?;
    let sectors = |offset: usize| le_u64(&block, offset)?.checked_mul(512);
    (le_u64(&block, 144)?.checked_mul(512)? == at).then_some(())?;
    let roles_count = usize::try_from(le_u32(&block, 220)?)
        .ok()
        .filter(|count| *count <= 4096)?;
    let roles = read_vec(source, at.checked_add(256)?, roles_count.checked_mul(2)?).ok()?;
    let device = usize::try_from(le_u32(&block, 160)?).ok()?;
    let role = device
        .checked_mul(2)
        .and_then(|at| le_u16(&roles, at))
        .unwrap_or(u16::MAX);
    let features = le_u32(&block, 8)?;
    Some(Superblock {
        version,
        uuid: uuid_text(array(&block, 16)?),
        name: padded_text(block.get(32..64)?),
        level: i32::from_le_bytes(array(&block, 72)?),
        raid_disks: le_u32(&block, 92)?,
        events: le_u64(&block, 200)?,
        sum_holds: modern_sum(&block, &roles) == le_u32(&block, 216),
        layout: le_u32(&block, 76)?,
        chunk_bytes: u64::from(le_u32(&block, 88)?).checked_mul(512)?,
        used_bytes: sectors(80)?,
        data: ByteRange::new(sectors(128)?, sectors(136)?),
        column: (role < NO_COLUMN).then(|| role.into()),
        active: roles
            .chunks_exact(2)
            .filter_map(|role| le_u16(role, 0))
            .filter(|role| *role < NO_COLUMN)
            .map(u32::from)
            .collect(),
        is_reshaping: features & RESHAPE_ACTIVE != 0,
        is_recovering: features & RECOVERING != 0,
        resynced_to: le_u64(&block, 208)?,
    })
}

/// The words of superblock and roles, the sum left out, folded.
fn modern_sum(block: &[u8; 256], roles: &[u8]) -> Option<u32> {
    let mut bytes = block.to_vec();
    bytes.get_mut(216..220)?.fill(0);
    bytes.extend_from_slice(roles);
    let words = bytes.chunks_exact(4);
    let odd = le_u16(words.remainder(), 0).unwrap_or(0);
    let sum = words
        .filter_map(|word| word.try_into().ok())
        .fold(u64::from(odd), |sum: u64, word| {
            sum.saturating_add(u32::from_le_bytes(word).into())
        });
    Some(folded(sum))
}

fn folded(sum: u64) -> u32 {
    let low = u32::try_from(sum & 0xffff_ffff).unwrap_or(0);
    let high = u32::try_from(sum >> 32).unwrap_or(0);
    low.wrapping_add(high)
}

/// 0.90: in the last 64 KiB block that is wholly inside, in the byte order of the machine.
fn old(source: &dyn ReadAt) -> Option<Superblock> {
    let at = (source.len() & !0xffff).checked_sub(0x1_0000)?;
    let block = read_vec(source, at, 4096).ok()?;
    let is_little = le_u32(&block, 0)? == MAGIC;
    let word = |index: usize| {
        let at = index.checked_mul(4)?;
        if is_little {
            le_u32(&block, at)
        } else {
            be_u32(&block, at)
        }
    };
    (word(0)? == MAGIC && word(1)? == 0).then_some(())?;
    let mut uuid = [0; 16];
    uuid.get_mut(..4)?.copy_from_slice(block.get(20..24)?);
    uuid.get_mut(4..)?.copy_from_slice(block.get(52..64)?);
    let (low, high) = if is_little {
        (word(39)?, word(40)?)
    } else {
        (word(40)?, word(39)?)
    };
    let sum = (0..1024_usize)
        .filter(|index| *index != 38)
        .filter_map(word)
        .fold(0_u64, |sum, word| sum.saturating_add(word.into()));
    let column = word(995)?;
    // The place counts only for the state in which it was noted; without one, nothing was resynced.
    let is_clean = word(33)? & 1 != 0;
    let is_place_current = (word(39)?, word(40)?) == (word(41)?, word(42)?);
    let resynced_to = match (is_clean, is_place_current) {
        (true, _) => IN_STEP,
        (false, true) => word(43)?.into(),
        (false, false) => 0,
    };
    // Active and in sync; failed ones are marked 1.
    let is_active = |state: u32| state & 0b111 == 0b110;
    let member = |index: usize| {
        let at = index.checked_mul(32)?.checked_add(128)?;
        is_active(word(at.checked_add(4)?)?).then(|| word(at.saturating_add(3)))?
    };
    Some(Superblock {
        version: "0.90",
        uuid: uuid_text(uuid),
        name: String::new(),
        level: i32::from_ne_bytes(word(7)?.to_ne_bytes()),
        raid_disks: word(10)?,
        events: u64::from(high) << 32 | u64::from(low),
        sum_holds: folded(sum) == word(38)?,
        layout: word(64)?,
        chunk_bytes: word(65)?.into(),
        used_bytes: u64::from(word(8)?).checked_mul(1024)?,
        data: ByteRange::new(0, at),
        column: is_active(word(996)?).then_some(column),
        active: (0..27).filter_map(member).collect(),
        // Minor version 91 is 0.90 in the middle of a reshape.
        is_reshaping: word(2)? == 91,
        is_recovering: false,
        resynced_to,
    })
}

/// The UUID of the array that a member belongs to.
pub(super) fn key(source: &dyn ReadAt) -> Option<String> {
    superblock(source).map(|superblock| superblock.uuid)
}

/// A member with what it says.
struct Known {
    number: u32,
    range: ByteRange,
    superblock: Superblock,
}

impl Known {
    /// Where its data lies in the source.
    fn data(&self) -> Option<ByteRange> {
        let offset = self.range.offset.checked_add(self.superblock.data.offset)?;
        Some(ByteRange::new(offset, self.superblock.data.len))
    }
}

/// Adds the arrays that the members belong to.
pub(super) fn assemble(source: &dyn ReadAt, members: &[Member], assembly: &mut Assembly) {
    let mut order: Vec<String> = Vec::new();
    let mut arrays: BTreeMap<String, Vec<Known>> = BTreeMap::new();
    for member in members {
        let Some(superblock) = superblock(&SubRange::new(source, member.range)) else {
            continue;
        };
        if !order.contains(&superblock.uuid) {
            order.push(superblock.uuid.clone());
        }
        arrays.entry(superblock.uuid.clone()).or_default().push(Known {
            number: member.number,
            range: member.range,
            superblock,
        });
    }
    for uuid in order {
        let states = states(arrays.remove(&uuid).unwrap_or_default());
        report_states(&states, assembly);
        for (number, state) in states.into_iter().enumerate() {
            add_array(state, number > 0, assembly);
        }
    }
}

/// The states of an array, the one with the most changes first. A member to which none of the others takes part was in use without them since, and holds a state of its
/// own: each has what the other has not, and nobody can say which is right (R16).
fn states(mut known: Vec<Known>) -> Vec<Vec<Known>> {
    known.sort_by_key(|known| Reverse(known.superblock.events));
    let mut states: Vec<Vec<Known>> = Vec::new();
    for known in known {
        let knows_any = |state: &&mut Vec<Known>| {
            let mut members = state.iter();
            members.any(|member| known.superblock.knows(&member.superblock))
        };
        match states.iter_mut().find(knows_any) {
            Some(state) => state.push(known),
            None => states.push(vec![known]),
        }
    }
    for state in &mut states {
        state.sort_by_key(|known| known.number);
    }
    states
}

fn report_states(states: &[Vec<Known>], assembly: &mut Assembly) {
    let firsts: Vec<&Known> = states.iter().filter_map(|state| state.first()).collect();
    let [first, _, ..] = firsts.as_slice() else {
        return;
    };
    let numbers: Vec<String> = firsts.iter().map(|known| known.number.to_string()).collect();
    let detail = format!(
        "the array {} is here in {} states, of volumes {}: each went on without the others, and is taken for an array of its own",
        display_name(&first.superblock),
        firsts.len(),
        numbers.join(", ")
    );
    let at = first.range.offset;
    assembly.report(Severity::Warning, FindingCode::Contradiction, at, detail);
}

/// Adds one array; `is_later` if it is not the first state of it.
fn add_array(known: Vec<Known>, is_later: bool, assembly: &mut Assembly) {
    let current = current(known, assembly);
    let Some(first) = current.first() else { return };
    let superblock = first.superblock.clone();
    let at = first.range.offset;
    let (columns, doubles) = columns(&current, &superblock, assembly);
    let mapping = mapping(&superblock, &columns);
    let absent: Vec<String> = (0_u32..)
        .zip(&columns)
        .filter(|(_, column)| column.is_none())
        .map(|(number, _)| format!("member {number}"))
        .collect();
    if !absent.is_empty() {
        let here = columns.len().saturating_sub(absent.len());
        let detail = format!(
            "the array {} ({}) has {} members, {here} of them here: {} missing",
            display_name(&superblock),
            level_text(&superblock),
            columns.len(),
            absent.join(", ")
        );
        let severity = severity_of_absence(&superblock, &mapping);
        assembly.report(severity, FindingCode::MissingMember, at, detail);
    }
    if mapping.is_ok() {
        report_stale_parity(&current, &columns, assembly);
    }
    if let Err(reason) = &mapping {
        let detail = format!(
            "the array {} cannot be put together: {reason}",
            display_name(&superblock)
        );
        assembly.report(Severity::Loss, FindingCode::Unsupported, at, detail);
    }
    let manager = format!("md {}", level_name(superblock.level));
    let mut found_by = format!("{manager} {}", display_name(&superblock));
    if is_later {
        let _ = write!(found_by, " as of volume {}", first.number);
    }
    assembly.groups.push(Group {
        volumes: vec![GroupVolume {
            found_by,
            kind: level_name(superblock.level),
            uuid: String::new(),
            mapping,
        }],
        manager,
        name: superblock.name.clone(),
        uuid: superblock.uuid.clone(),
        members: current
            .iter()
            .map(|known| known.number)
            .filter(|number| !doubles.contains(number))
            .collect(),
        absent,
        facts: facts(&superblock),
    });
}

/// A mirror is whole as long as one member is here; parity makes up for as many as there are columns of it.
fn severity_of_absence(superblock: &Superblock, mapping: &Result<Mapping, String>) -> Severity {
    let is_whole = |mapping: &Mapping| mapping.available_bytes(|_| u64::MAX) >= mapping.len();
    match mapping {
        Ok(_) if superblock.level == 1 => Severity::Info,
        Ok(mapping) if is_whole(mapping) => Severity::Warning,
        _ => Severity::Loss,
    }
}

/// Says what parity gives in the place of a column, and cannot be believed: it was never made to agree with the data, or not since a write that
/// was under way. Linux starts no such array; here it is the best that can be had.
fn report_stale_parity(current: &[Known], columns: &[Option<ByteRange>], assembly: &mut Assembly) {
    let Some(first) = current.first() else { return };
    let superblock = &first.superblock;
    let Some(Level::Parity(layout, parities)) = level(superblock) else {
        return;
    };
    let from = current
        .iter()
        .filter_map(|known| known.superblock.out_of_step_from())
        .min();
    let Some(from) = from else { return };
    let is_cut = |known: &Known| known.superblock.end() > known.range.len;
    if !is_data_absent(columns, layout, parities) && !current.iter().any(is_cut) {
        return;
    }
    let detail = format!(
        "the array {} was not in step when it was used last: parity agrees with the data up to byte {from} of each member, and behind it what \
         parity gives in the place of the missing member is doubtful",
        display_name(superblock)
    );
    let at = first.range.offset;
    assembly.report(Severity::Loss, FindingCode::Contradiction, at, detail);
}

/// Whether a column with data is missing, so that parity stands in for it.
fn is_data_absent(columns: &[Option<ByteRange>], layout: ParityLayout, parities: usize) -> bool {
    let data = columns.len().saturating_sub(parities);
    let with_data = match layout {
        ParityLayout::First => columns.get(parities..),
        ParityLayout::Last => columns.get(..data),
        _ => Some(columns),
    };
    with_data.unwrap_or_default().iter().any(Option::is_none)
}

/// The members that have seen the most changes; the others are named and left out (R16).
fn current(known: Vec<Known>, assembly: &mut Assembly) -> Vec<Known> {
    let newest = known
        .iter()
        .map(|known| known.superblock.events)
        .max()
        .unwrap_or(0);
    let newest_ones: Vec<Superblock> = known
        .iter()
        .filter(|known| known.superblock.events == newest)
        .map(|known| known.superblock.clone())
        .collect();
    let (current, stale): (Vec<Known>, Vec<Known>) = known.into_iter().partition(|known| {
        let mut others = newest_ones.iter();
        known.superblock.events == newest && others.all(|other| other.knows(&known.superblock))
    });
    for old in stale {
        let why = match old.superblock.events {
            events if events == newest => "its siblings have gone on without it".to_owned(),
            events => format!("it has seen {events} changes, its siblings {newest}"),
        };
        let detail = format!(
            "volume {} is a stale member of the array {}: {why}; it is left out",
            old.number,
            display_name(&old.superblock),
        );
        assembly.report(
            Severity::Warning,
            FindingCode::MissingMember,
            old.range.offset,
            detail,
        );
    }
    for known in &current {
        let lacking = known.superblock.end().saturating_sub(known.range.len);
        if lacking > 0 && known.superblock.sum_holds {
            let detail = format!(
                "volume {} is cut short: {lacking} bytes of what it gives to the array {} are not here",
                known.number,
                display_name(&known.superblock)
            );
            let at = known.range.offset;
            assembly.report(Severity::Warning, FindingCode::MissingMember, at, detail);
        }
        if !known.superblock.sum_holds {
            let detail = format!(
                "the checksum of the md superblock of volume {} does not hold",
                known.number
            );
            assembly.report(
                Severity::Warning,
                FindingCode::Corrupt,
                known.range.offset,
                detail,
            );
        }
    }
    current
}

/// Where the data of each column lies; a second member for a column is left out, and what it holds of its own is not read.
fn columns(
    current: &[Known],
    superblock: &Superblock,
    assembly: &mut Assembly,
) -> (Vec<Option<ByteRange>>, Vec<u32>) {
    let count = usize::try_from(superblock.raid_disks)
        .unwrap_or(0)
        .min(COLUMNS_MAX);
    let (mut columns, mut doubles) = (vec![None; count], Vec::new());
    for known in current {
        let column = known
            .superblock
            .column
            .and_then(|column| usize::try_from(column).ok());
        // One that is being filled holds what it should only in part.
        let column = column.filter(|_| !known.superblock.is_recovering);
        let Some(slot) = column.and_then(|column| columns.get_mut(column)) else {
            let detail = format!(
                "volume {} is a spare, failed or unfinished member of its array",
                known.number
            );
            assembly.report(
                Severity::Info,
                FindingCode::MissingMember,
                known.range.offset,
                detail,
            );
            continue;
        };
        if slot.is_some() {
            let detail = format!(
                "volume {} says that it is a member that another volume is too; it is left out",
                known.number
            );
            doubles.push(known.number);
            assembly.report(
                Severity::Loss,
                FindingCode::Contradiction,
                known.range.offset,
                detail,
            );
            continue;
        }
        *slot = known.data();
    }
    (columns, doubles)
}

fn mapping(superblock: &Superblock, columns: &[Option<ByteRange>]) -> Result<Mapping, String> {
    if superblock.is_reshaping {
        return Err("it is being given another shape".to_owned());
    }
    if columns.iter().all(Option::is_none) {
        return Err("none of its members holds data".to_owned());
    }
    if superblock.level == LINEAR {
        return linear(superblock, columns);
    }
    let level = level(superblock).ok_or_else(|| format!("{} is not supported", level_text(superblock)))?;
    let sizes = columns.iter().flatten().map(|column| column.len);
    let (smallest, largest) = (sizes.clone().min().unwrap_or(0), sizes.max().unwrap_or(0));
    let column_bytes = match superblock.used_bytes {
        0 => smallest,
        used => used,
    };
    let chunk = superblock.chunk_bytes.max(512);
    if level == Level::Stripes && largest.checked_div(chunk) != smallest.checked_div(chunk) {
        return zones(superblock, columns);
    }
    let array = Array {
        level,
        chunk_bytes: superblock.chunk_bytes,
        column_bytes,
        columns: columns
            .iter()
            .map(|column| column.map(|column| column.offset))
            .collect(),
    };
    array.mapping().ok_or_else(|| "its numbers cannot be".to_owned())
}

fn level(superblock: &Superblock) -> Option<Level> {
    Some(match superblock.level {
        0 => Level::Stripes,
        1 => Level::Mirror,
        4 => Level::Parity(ParityLayout::Last, 1),
        5 => Level::Parity(parity_layout(superblock.layout)?, 1),
        6 => Level::Parity(parity_layout(superblock.layout)?, 2),
        // Near copies in the low byte, far copies in the next: one of those is none.
        10 if superblock.layout >> 8 == 1 => Level::Near(usize::try_from(superblock.layout & 0xff).ok()?),
        _ => return None,
    })
}

/// Stripes over members of different sizes: what the longer ones have more is striped over those alone.
fn zones(superblock: &Superblock, columns: &[Option<ByteRange>]) -> Result<Mapping, String> {
    if columns.iter().any(Option::is_none) {
        return Err("its members differ in size and not all are here".to_owned());
    }
    if superblock.layout == 1 {
        return Err("its members differ in size and are laid out as before Linux 3.14".to_owned());
    }
    let chunk_bytes = superblock.chunk_bytes;
    if chunk_bytes < 512 {
        return Err("its numbers cannot be".to_owned());
    }
    let rows = |column: &ByteRange| column.len.checked_div(chunk_bytes).unwrap_or(0);
    let mut mapping = Mapping::default();
    let mut done = 0;
    for _ in 0..columns.len() {
        let longer: Vec<ByteRange> = columns
            .iter()
            .flatten()
            .copied()
            .filter(|column| rows(column) > done)
            .collect();
        let Some(next) = longer.iter().map(rows).min() else {
            break;
        };
        let from = done.saturating_mul(chunk_bytes);
        let count = u64::try_from(longer.len()).unwrap_or(0);
        let len = next
            .saturating_sub(done)
            .saturating_mul(chunk_bytes)
            .saturating_mul(count);
        let columns = longer
            .iter()
            .map(|column| column.offset.checked_add(from))
            .collect();
        mapping.push(
            len,
            Place::Striped {
                chunk_bytes,
                columns,
                copies: 1,
            },
        );
        done = next;
    }
    Ok(mapping)
}

fn linear(superblock: &Superblock, columns: &[Option<ByteRange>]) -> Result<Mapping, String> {
    let mut mapping = Mapping::default();
    for column in columns {
        // How long an absent one is, nobody here knows: what follows it cannot be placed.
        let Some(column) = column else {
            return if mapping.is_empty() {
                Err("its first member is not here, and no other says how long it is".to_owned())
            } else {
                Ok(mapping)
            };
        };
        let chunk = superblock.chunk_bytes.max(512);
        let len = column
            .len
            .saturating_sub(column.len.checked_rem(chunk).unwrap_or(0));
        mapping.push(len, Place::Linear(column.offset));
    }
    Ok(mapping)
}

fn display_name(superblock: &Superblock) -> String {
    if superblock.name.is_empty() {
        superblock.uuid.clone()
    } else {
        superblock.name.clone()
    }
}

fn level_name(level: i32) -> String {
    match level {
        LINEAR => "linear".to_owned(),
        level @ 0..=10 => format!("raid{level}"),
        -4 => "multipath".to_owned(),
        -5 => "faulty".to_owned(),
        -11 => "container".to_owned(),
        level => format!("level {level}"),
    }
}

fn level_text(superblock: &Superblock) -> String {
    let level = level_name(superblock.level);
    match (superblock.level, parity_layout(superblock.layout)) {
        (5 | 6, Some(layout)) => format!("{level}, {}", layout_name(layout)),
        (10, _) => format!("{level}, layout {:#x}", superblock.layout),
        _ => level,
    }
}

fn layout_name(layout: ParityLayout) -> &'static str {
    match layout {
        ParityLayout::LeftAsymmetric => "left-asymmetric",
        ParityLayout::RightAsymmetric => "right-asymmetric",
        ParityLayout::LeftSymmetric => "left-symmetric",
        ParityLayout::RightSymmetric => "right-symmetric",
        ParityLayout::First => "parity first",
        ParityLayout::Last => "parity last",
    }
}

fn facts(superblock: &Superblock) -> Vec<(String, String)> {
    let mut facts = vec![
        ("level".to_owned(), level_text(superblock)),
        ("members".to_owned(), superblock.raid_disks.to_string()),
        ("superblock".to_owned(), superblock.version.to_owned()),
        ("events".to_owned(), superblock.events.to_string()),
    ];
    if superblock.chunk_bytes > 0 && superblock.level != 1 {
        facts.push(("chunk".to_owned(), format!("{} bytes", superblock.chunk_bytes)));
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A member of 0.90 of 64 KiB, with words of its superblock set.
    fn old_member(words: &[(usize, u32)]) -> Vec<u8> {
        let mut member = vec![0; 0x2_0000];
        let known = [(0, MAGIC), (8, 64), (39, 7), (995, 0), (996, 0b110)];
        for (index, value) in known.iter().chain(words) {
            member[0x1_0000 + index * 4..][..4].copy_from_slice(&value.to_le_bytes());
        }
        member
    }

    /// R22: the place of a resync counts only where the state is not clean, and from the start where it was noted for other events (`super_90_validate`).
    #[test]
    fn r22_members_of_0_90_say_how_far_they_are_in_step() {
        let from = |words: &[(usize, u32)]| {
            let found = superblock(&old_member(words)).expect("a superblock");
            assert_eq!(found.version, "0.90");
            found.out_of_step_from()
        };
        assert_eq!(from(&[(33, 1), (43, 16)]), None);
        assert_eq!(from(&[(33, 0), (43, 16)]), Some(0));
        assert_eq!(from(&[(33, 0), (41, 7), (43, 16)]), Some(16 * 512));
        assert_eq!(
            from(&[(33, 0), (41, 7), (43, 128)]),
            None,
            "the end of the member"
        );
    }
}
