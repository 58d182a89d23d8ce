//! Tables that partitions depend on: sparing tables, virtual allocation tables, and the metadata file (UDF 2.2.10 to 2.2.13).

use ntt_model::{ByteRange, ExtentKind, Finding, FindingCode, Layer, Severity};
use ntt_source::field::{le_u16, le_u32};

use super::address::Address;
use super::allocation::{Content, content};
use super::content::{Part, read};
use super::descriptor::TableHeader;
use super::icb::{Entry, Fault, file_type, load};
use super::space::{Ground, Map, MetadataRun, Space, UNUSED};
use super::tag::Tag;
use super::text::entity;
use crate::disc::Disc;

/// Extents of a table or of the metadata file.
const EXTENTS_MAX: u64 = 1 << 20;
/// Longest sparing table that is read.
const SPARING_BYTES_MAX: u32 = 1 << 20;
/// Longest virtual allocation table that is read: of eight million blocks.
const TABLE_BYTES_MAX: u64 = 32 << 20;
/// How far from the end a virtual allocation table is looked for: more than a CD holds.
const SEARCH_BYTES: u64 = 1 << 30;
/// Bytes read at a time while searching.
const STEP_BYTES: u64 = 1 << 20;
/// What ends a table of UDF 1.50: an entity identifier and the place of the table before it.
const TAIL_BYTES: u64 = 36;

/// The moved packets of a sparable partition, from the newest table that can be read; `None` if none can.
pub(super) fn spared(
    disc: &Disc<'_>,
    sector_bytes: u32,
    (tables, table_bytes): (&[u32], u32),
) -> Option<Vec<(u32, u64)>> {
    let parsed = tables.iter().filter_map(|sector| {
        let offset = u64::from(*sector).checked_mul(sector_bytes.into())?;
        let room = disc.len().saturating_sub(offset);
        let len = u64::from(table_bytes.clamp(sector_bytes, SPARING_BYTES_MAX)).min(room);
        let bytes = disc.bytes(offset, usize::try_from(len).ok()?).ok()?;
        sparing_table(&bytes, sector_bytes)
    });
    parsed
        .max_by_key(|(sequence, _)| *sequence)
        .map(|(_, moved)| moved)
}

/// Sequence number and moved packets of a sparing table (UDF 2.2.12).
fn sparing_table(bytes: &[u8], sector_bytes: u32) -> Option<(u32, Vec<(u32, u64)>)> {
    if entity(bytes.get(16..48)?) != b"*UDF Sparing Table" {
        return None;
    }
    let count = usize::from(le_u16(bytes, 48)?);
    let sequence = le_u32(bytes, 52)?;
    let entries = bytes.get(56..)?.chunks_exact(8).take(count);
    let mut moved: Vec<(u32, u64)> = entries
        .filter_map(|entry| Some((le_u32(entry, 0)?, le_u32(entry, 4)?)))
        // From 0xfffffff0 on, entries are free or themselves defective.
        .filter(|(original, _)| *original < 0xffff_fff0)
        .map(|(original, mapped)| (original, u64::from(mapped).saturating_mul(sector_bytes.into())))
        .collect();
    moved.sort_unstable();
    moved.dedup_by_key(|(original, _)| *original);
    Some((sequence, moved))
}

/// A virtual allocation table that was found.
pub(super) struct Virtual {
    pub(super) table: Vec<u32>,
    pub(super) header: TableHeader,
    /// Its file entry, in the volume.
    pub(super) offset: u64,
    /// Entries that could not be read.
    pub(super) lost: u64,
}

/// Looks for the last virtual allocation table, from the end of the image backwards: it should be in the last block that was written, but
/// the end of the image may have moved since (UDF 2.2.11, 6.10.1). `lower` reads the partition as it is on the medium.
pub(super) fn find_virtual(
    disc: &Disc<'_>,
    lower: &Space,
    reference: u16,
    ground: Ground,
) -> Option<Virtual> {
    let size = lower.block_bytes;
    let blocks = disc.len().saturating_sub(ground.offset).checked_div(size)?;
    let first = blocks.saturating_sub(SEARCH_BYTES.checked_div(size)?);
    let step = STEP_BYTES.checked_div(size)?.max(1);
    let mut end = blocks;
    while end > first {
        let start = end.saturating_sub(step).max(first);
        let found = candidates(disc, (ground, size), start, end)
            .into_iter()
            .rev()
            .find_map(|block| virtual_at(disc, lower, Address { reference, block }));
        if found.is_some() {
            return found;
        }
        end = start;
    }
    None
}

/// Blocks that hold an entry of the right type which names its own block.
fn candidates(disc: &Disc<'_>, (ground, size): (Ground, u64), start: u64, end: u64) -> Vec<u32> {
    let offset_of = |block: u64| ground.offset.saturating_add(block.saturating_mul(size));
    let block_len = usize::try_from(size).unwrap_or(0);
    let len = usize::try_from(end.saturating_sub(start).saturating_mul(size)).unwrap_or(0);
    let is_one = |block: u64, bytes: &[u8]| {
        let tag =
            Tag::parse(bytes).filter(|tag| u64::from(tag.location) == block && matches!(tag.id, 261 | 266));
        let kind = bytes.get(27).copied();
        tag.is_some() && matches!(kind, Some(file_type::UNSPECIFIED | file_type::TABLE))
    };
    let blocks = start..end;
    let found: Vec<u64> = match disc.bytes(offset_of(start), len) {
        Ok(bytes) => blocks
            .zip(bytes.chunks(block_len.max(1)))
            .filter(|(block, bytes)| is_one(*block, bytes))
            .map(|(block, _)| block)
            .collect(),
        Err(_) => blocks
            .filter(|block| {
                disc.bytes(offset_of(*block), block_len)
                    .is_ok_and(|bytes| is_one(*block, &bytes))
            })
            .collect(),
    };
    found
        .into_iter()
        .filter_map(|block| u32::try_from(block).ok())
        .collect()
}

fn virtual_at(disc: &Disc<'_>, lower: &Space, at: Address) -> Option<Virtual> {
    let entry = load(disc, lower, at).ok().filter(|entry| entry.doubt.is_none())?;
    let content = content(disc, lower, &entry, EXTENTS_MAX);
    if content.size_bytes > TABLE_BYTES_MAX {
        return None;
    }
    let (bytes, lost) = bytes_with_gaps(disc, &content);
    let (header, entries) = if entry.file_type() == file_type::TABLE {
        let header = TableHeader::parse(&bytes)?;
        let entries = bytes.get(usize::try_from(header.len_bytes).ok()?..)?;
        (header, entries)
    } else {
        let len = content.size_bytes.checked_sub(TAIL_BYTES)?;
        let (entries, tail) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
        (entity(tail) == b"*UDF Virtual Alloc Tbl").then_some((TableHeader::default(), entries))?
    };
    Some(Virtual {
        table: entries.chunks_exact(4).filter_map(|raw| le_u32(raw, 0)).collect(),
        header,
        offset: entry.offset,
        lost: lost / 4,
    })
}

/// The content with `0xff` where bytes cannot be had, and how many those are: in a table that is an unused entry.
fn bytes_with_gaps(disc: &Disc<'_>, content: &Content) -> (Vec<u8>, u64) {
    let (mut bytes, mut lost) = (Vec::new(), 0_u64);
    read(disc, content, &mut |part| {
        match part {
            Part::Bytes(_, part) => bytes.extend_from_slice(part),
            Part::Lost(_, len, _) | Part::Hole(len) => {
                lost = lost.saturating_add(len);
                let len = usize::try_from(len.min(TABLE_BYTES_MAX)).unwrap_or(0);
                bytes.resize(bytes.len().saturating_add(len), 0xff);
            }
        }
        u64::try_from(bytes.len()).is_ok_and(|len| len <= TABLE_BYTES_MAX)
    });
    let short = content
        .size_bytes
        .saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    (bytes, lost.saturating_add(short))
}

/// The metadata partition and, if it can be had too, the same by the mirror.
pub(super) struct Metadata {
    pub(super) map: Map,
    pub(super) mirror: Option<Map>,
    pub(super) findings: Vec<Finding>,
}

/// Opens a metadata partition by the files that hold it, or either of them.
pub(super) fn metadata(
    disc: &Disc<'_>,
    lower: &Space,
    (reference, ground): (u16, Ground),
    [main, mirror, bitmap]: [u32; 3],
) -> Metadata {
    let file = |block| metadata_file(disc, lower, Address { reference, block });
    let space_bitmap = file(bitmap).map(|(runs, _)| runs.into_iter().map(|run| run.range).collect());
    let bitmap: Vec<ByteRange> = if bitmap == UNUSED {
        Vec::new()
    } else {
        space_bitmap.unwrap_or_default()
    };
    let as_map = |runs| Map::Metadata {
        ground,
        runs,
        bitmap: bitmap.clone(),
    };
    let mut findings = Vec::new();
    let mut note = |severity, code, what: &str, fault: &Fault| {
        let detail = format!("{what}: {}", fault.detail());
        findings
            .push(Finding::new(severity, Layer::FileSystem, code, detail).at(disc.in_image(ground.offset)));
    };
    let (map, mirror) = better(file(main), file(mirror), &mut note);
    Metadata {
        mirror: mirror.filter(|runs| *runs != map).map(as_map),
        map: as_map(map),
        findings,
    }
}

type Runs = (Vec<MetadataRun>, Option<Fault>);
/// Takes what is to be said of a file, and why.
type Note<'n> = dyn FnMut(Severity, FindingCode, &str, &Fault) + 'n;

/// The runs of the metadata file or of its mirror, whichever has more, and those of the other one if it can be had too.
fn better(
    main: Result<Runs, Fault>,
    mirror: Result<Runs, Fault>,
    note: &mut Note<'_>,
) -> (Vec<MetadataRun>, Option<Vec<MetadataRun>>) {
    if let Err(fault) | Ok((_, Some(fault))) = &mirror {
        let what = "the mirror of the metadata file is damaged";
        note(Severity::Warning, fault.code(), what, fault);
    }
    let serves = "the mirror of the metadata file serves";
    match (main, mirror) {
        (Ok((main, None)), mirror) => (main, mirror.ok().map(|(runs, _)| runs)),
        (Ok((main, Some(fault))), Ok((mirror, None))) => {
            note(Severity::Warning, FindingCode::BackupUsed, serves, &fault);
            (mirror, Some(main))
        }
        (Ok((main, Some(fault))), mirror) => {
            let what = "the metadata file is incomplete";
            note(Severity::Loss, fault.code(), what, &fault);
            (main, mirror.ok().map(|(runs, _)| runs))
        }
        (Err(fault), Ok((mirror, _))) => {
            note(Severity::Warning, FindingCode::BackupUsed, serves, &fault);
            (mirror, None)
        }
        (Err(fault), Err(_)) => {
            let what = "the metadata file and its mirror are lost";
            note(Severity::Loss, fault.code(), what, &fault);
            (Vec::new(), None)
        }
    }
}

/// The runs of one of the three files, and why they are not all.
fn metadata_file(disc: &Disc<'_>, lower: &Space, at: Address) -> Result<Runs, Fault> {
    let entry: Entry = load(disc, lower, at)?;
    let content = content(disc, lower, &entry, EXTENTS_MAX);
    let base = disc.in_image(0);
    let runs = content
        .extents
        .iter()
        .filter(|extent| extent.kind == ExtentKind::Data);
    let runs = runs.filter_map(|extent| {
        Some(MetadataRun {
            first: u32::try_from(extent.logical_offset.checked_div(lower.block_bytes)?).ok()?,
            range: ByteRange::new(extent.image_offset.saturating_sub(base), extent.len),
        })
    });
    Ok((runs.collect(), content.fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moved_packets_are_sorted_and_free_entries_left_out() {
        let mut bytes = vec![0; 17];
        bytes.extend(b"*UDF Sparing Table");
        bytes.resize(48, 0);
        bytes.extend([4, 0, 0, 0, 9, 0, 0, 0]);
        for (original, mapped) in [(64_u32, 7_u32), (32, 9), (u32::MAX, 1), (0xffff_fff0, 1)] {
            bytes.extend(original.to_le_bytes());
            bytes.extend(mapped.to_le_bytes());
        }
        let table = sparing_table(&bytes, 2048);
        assert_eq!(table, Some((9, vec![(32, 9 * 2048), (64, 7 * 2048)])));
        bytes[20] = b'x';
        assert_eq!(sparing_table(&bytes, 2048), None);
    }
}
