//! The Apple Partition Map (Inside Macintosh: Devices, chapter 3).
//!
//! Block 0 may be a driver descriptor (`ER`) that names the block size; the map's entries (`PM`) fill the blocks from 1 on. Discs carry maps of
//! 512-byte blocks, of 2048-byte blocks, or both.

use ntt_model::{FindingCode, Severity};
use ntt_source::ReadAt;
use ntt_source::field::{be_u16, be_u32};

use super::{Found, Place, Scheme, Slot, Table};
use crate::bytes::{padded_text, read};

/// Entries of a map; real ones have fewer than 64.
const ENTRIES_MAX: u32 = 256;

struct Entry {
    number: u32,
    start: u64,
    count: u64,
    name: String,
    kind: String,
}

struct Map {
    block_bytes: u64,
    claimed: u32,
    entries: Vec<Entry>,
}

/// Adds the map, if there is one.
pub(super) fn find(place: Place<'_>, found: &mut Found) {
    let mut best: Option<Map> = None;
    for block_bytes in block_sizes(place.source) {
        let map = read_map(place.source, block_bytes);
        // Of two maps the longer is better; of equals, that of the driver descriptor's block size, which comes first.
        if map.entries.len() > best.as_ref().map_or(0, |best| best.entries.len()) {
            best = Some(map);
        }
    }
    if let Some(map) = best {
        add(place, map, found);
    }
}

fn block_sizes(source: &dyn ReadAt) -> impl Iterator<Item = u64> {
    let descriptor = read::<512>(source, 0)
        .ok()
        .filter(|block| block.starts_with(b"ER"));
    let named = descriptor
        .and_then(|block| be_u16(&block, 2))
        .map(u64::from)
        .filter(|bytes| matches!(bytes, 512 | 1024 | 2048 | 4096));
    named.into_iter().chain([512, 2048])
}

fn read_map(source: &dyn ReadAt, block_bytes: u64) -> Map {
    let mut map = Map {
        block_bytes,
        claimed: 1,
        entries: Vec::new(),
    };
    let mut number = 1;
    while number <= map.claimed.min(ENTRIES_MAX) {
        let Some((claimed, entry)) = read_entry(source, block_bytes, number) else {
            break;
        };
        if number == 1 {
            map.claimed = claimed;
        }
        map.entries.push(entry);
        number = number.saturating_add(1);
    }
    map
}

fn read_entry(source: &dyn ReadAt, block_bytes: u64, number: u32) -> Option<(u32, Entry)> {
    let block = read::<512>(source, u64::from(number).checked_mul(block_bytes)?).ok()?;
    if !block.starts_with(b"PM") {
        return None;
    }
    let entry = Entry {
        number,
        start: be_u32(&block, 8)?.into(),
        count: be_u32(&block, 12)?.into(),
        name: padded_text(block.get(16..48)?),
        kind: padded_text(block.get(48..80)?),
    };
    Some((be_u32(&block, 4)?, entry))
}

fn add(place: Place<'_>, map: Map, found: &mut Found) {
    let at = place.image(map.block_bytes);
    if u32::try_from(map.entries.len()) != Ok(map.claimed) {
        report_unreadable(place, &map, found);
    }
    let slots = map.entries.into_iter().filter(holds_content).filter_map(|entry| {
        Some(Slot {
            found_by: format!("apm {}", entry.number),
            range: place.sectors(entry.start, entry.count, map.block_bytes)?,
            type_code: entry.kind,
            name: entry.name,
            uuid: String::new(),
            is_container: false,
        })
    });
    found.tables.push(Table {
        scheme: Scheme::Apm,
        image_offset: at,
        id: String::new(),
        sector_size_bytes: u32::try_from(map.block_bytes).unwrap_or(0),
        slots: slots.collect(),
    });
}

/// Says that entries are missing; they are lost if the image ends before them (R12).
fn report_unreadable(place: Place<'_>, map: &Map, found: &mut Found) {
    let readable = u64::try_from(map.entries.len()).unwrap_or(u64::MAX);
    let end = |entries: u64| entries.saturating_add(1).saturating_mul(map.block_bytes);
    let is_cut = map.claimed <= ENTRIES_MAX && end(readable.saturating_add(1)) > place.source.len();
    let (severity, code) = if is_cut {
        found.require(end(map.claimed.into()));
        (Severity::Loss, FindingCode::BeyondEnd)
    } else {
        (Severity::Warning, FindingCode::Corrupt)
    };
    let detail = format!(
        "the Apple partition map claims {} entries, {readable} are readable",
        map.claimed
    );
    found.report(severity, code, place.image(map.block_bytes), detail);
}

/// The map describes itself and the free space between partitions too.
fn holds_content(entry: &Entry) -> bool {
    let kind = entry.kind.to_ascii_lowercase();
    entry.count > 0
        && !matches!(
            kind.as_str(),
            "apple_partition_map" | "apple_free" | "apple_void" | "apple_scratch"
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::find;

    fn put_entry(
        disk: &mut [u8],
        block: usize,
        number: usize,
        count: u32,
        start: u32,
        len: u32,
        kind: &[u8],
    ) {
        let at = block * number;
        disk[at..at + 2].copy_from_slice(b"PM");
        disk[at + 4..at + 8].copy_from_slice(&count.to_be_bytes());
        disk[at + 8..at + 12].copy_from_slice(&start.to_be_bytes());
        disk[at + 12..at + 16].copy_from_slice(&len.to_be_bytes());
        disk[at + 16..at + 20].copy_from_slice(b"Disk");
        disk[at + 48..at + 48 + kind.len()].copy_from_slice(kind);
    }

    fn disk(block: usize, descriptor: bool) -> Vec<u8> {
        let mut disk = vec![0; 512 * 1024];
        if descriptor {
            disk[..4].copy_from_slice(&[b'E', b'R', u8::try_from(block >> 8).expect("small"), 0]);
        }
        put_entry(&mut disk, block, 1, 3, 1, 3, b"Apple_partition_map");
        put_entry(&mut disk, block, 2, 3, 16, 100, b"Apple_HFS");
        put_entry(&mut disk, block, 3, 3, 116, 10, b"Apple_Free");
        disk
    }

    /// R15: Apple maps of 512- and of 2048-byte blocks, with and without a driver descriptor.
    #[test]
    fn r15_apple_maps_of_both_block_sizes_are_read() {
        for block in [512, 2048] {
            for descriptor in [true, false] {
                let found = find(&disk(block, descriptor), 0);
                let slots: Vec<&Slot> = found.slots().collect();
                assert_eq!(slots.len(), 1, "block size {block}");
                assert_eq!(slots[0].range.offset, 16 * u64::try_from(block).expect("small"));
                assert_eq!(
                    (slots[0].found_by.as_str(), slots[0].type_code.as_str()),
                    ("apm 2", "Apple_HFS")
                );
                assert_eq!(found.findings, []);
            }
        }
    }

    /// R12: an image that ends within the map has lost the rest of it.
    #[test]
    fn r12_a_map_that_the_image_ends_in_is_a_loss() {
        for (block, bytes) in [(512, 1536), (512, 2047), (2048, 6144)] {
            let mut disk = disk(block, true);
            disk.truncate(bytes);
            let found = find(&disk, 0);
            assert_eq!(found.findings[0].code, FindingCode::BeyondEnd, "{bytes} bytes");
            assert_eq!(found.findings[0].severity, Severity::Loss);
            assert!(found.expected_bytes >= u64::try_from(4 * block).expect("small"));
        }
    }

    #[test]
    fn a_map_that_breaks_off_is_reported() {
        let mut bytes = disk(512, true);
        bytes[3 * 512] = 0;
        let found = find(&bytes, 0);
        assert_eq!(found.slots().count(), 1);
        assert_eq!(found.findings[0].code, FindingCode::Corrupt);
    }

    #[test]
    fn an_absurd_count_is_bounded() {
        let mut bytes = disk(512, true);
        bytes[512 + 4..512 + 8].fill(0xff);
        assert_eq!(find(&bytes, 0).slots().count(), 1);
    }
}
