//! The file of a hash tree: a header, then 48 bytes a group, in place. See `docs/design/rescue.md`.
//!
//! A record is believed only if its check matches and it speaks of as many rescued bytes as the map does: so it may be written at any
//! time, in any order with the map, and a torn or outdated one costs nothing but hashing that MiB again.

use ntt_mapfile::{Mapfile, Status};

use crate::tree::{Fill, GROUP_BYTES, Group, HashTree};

/// Bytes of the header and of a record.
pub(crate) const HEADER_BYTES: u64 = 32;
pub(crate) const RECORD_BYTES: u64 = 48;
/// In place of a record that is void.
pub(crate) const NO_RECORD: [u8; RECORD_BYTES as usize] = [0; RECORD_BYTES as usize];
const MAGIC: &[u8; 16] = b"ntt image tree 1";
const MIXED: u16 = 0x100;
const NOTHING: u16 = 0x1ff;

/// The header of an image of `size_bytes`: magic, size, bytes per group, all little-endian.
pub(crate) fn header(size_bytes: u64) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&size_bytes.to_le_bytes());
    header.extend_from_slice(&GROUP_BYTES.to_le_bytes());
    header
}

/// Where the record of a group stands.
pub(crate) fn position(group: usize) -> u64 {
    HEADER_BYTES + (group as u64).saturating_mul(RECORD_BYTES)
}

/// The record of a group.
pub(crate) fn record(number: usize, group: &Group) -> Vec<u8> {
    let mut record = group.value.to_vec();
    let rescued = u32::try_from(group.rescued_bytes).unwrap_or(u32::MAX);
    record.extend_from_slice(&rescued.to_le_bytes());
    let fill = match group.fill {
        Fill::Nothing => NOTHING,
        Fill::Byte(byte) => u16::from(byte),
        Fill::Mixed => MIXED,
    };
    record.extend_from_slice(&fill.to_le_bytes());
    record.extend_from_slice(&[0; 2]);
    record.extend_from_slice(&check(number, &record));
    record
}

/// The first 8 bytes of BLAKE3 of the group's number and the record before them.
fn check(number: usize, record: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(number as u64).to_le_bytes()).update(record);
    let mut check = [0; 8];
    hasher.finalize_xof().fill(&mut check);
    check
}

fn parse(number: usize, record: &[u8]) -> Option<Group> {
    let (body, found) = record.split_at_checked(40)?;
    if check(number, body) != found {
        return None;
    }
    let (value, rest) = body.split_first_chunk::<32>()?;
    let (rescued, rest) = rest.split_first_chunk::<4>()?;
    let (fill, _) = rest.split_first_chunk::<2>()?;
    Some(Group {
        value: *value,
        rescued_bytes: u64::from(u32::from_le_bytes(*rescued)),
        fill: match u16::from_le_bytes(*fill) {
            NOTHING => Fill::Nothing,
            byte => u8::try_from(byte).map_or(Fill::Mixed, Fill::Byte),
        },
    })
}

/// The tree of a file, as far as it agrees with the map. Groups of which the map has something, but the file nothing, count as unknown;
/// another size or another format is no tree at all.
pub(crate) fn load(bytes: &[u8], size_bytes: u64, map: &Mapfile) -> HashTree {
    let mut tree = HashTree::new(size_bytes);
    let records = bytes
        .strip_prefix(header(size_bytes).as_slice())
        .unwrap_or_default();
    for number in 0..tree.groups() {
        let range = tree.range(number);
        let rescued = map.bytes_within(Status::Finished, range);
        if rescued == 0 {
            continue;
        }
        let start = number.saturating_mul(RECORD_BYTES as usize);
        let record = records.get(start..start.saturating_add(RECORD_BYTES as usize));
        match record.and_then(|record| parse(number, record)) {
            Some(group) if group.rescued_bytes == rescued => tree.set(number, group),
            _ => {
                tree.forget(range);
            }
        }
    }
    tree
}

#[cfg(test)]
mod tests {
    use ntt_model::ByteRange;

    use super::*;

    #[test]
    fn a_record_is_believed_only_if_it_agrees_with_the_map() {
        let group = Group {
            value: [7; 32],
            rescued_bytes: GROUP_BYTES,
            fill: Fill::Byte(0xf6),
        };
        let mut file = header(GROUP_BYTES * 2);
        file.extend(record(0, &group));
        file.extend(record(1, &group));
        let mut map = Mapfile::untried(GROUP_BYTES * 2);
        map.set(ByteRange::new(0, GROUP_BYTES), Status::Finished)
            .expect("few blocks");
        map.set(ByteRange::new(GROUP_BYTES, 512), Status::Finished)
            .expect("few blocks");
        let tree = load(&file, GROUP_BYTES * 2, &map);
        assert_eq!((tree.known(0), tree.known(1)), (Some(&group), None));
        file[40] ^= 1;
        assert_eq!(load(&file, GROUP_BYTES * 2, &map).known(0), None);
        assert_eq!(load(&file, GROUP_BYTES * 3, &map).known(0), None);
    }
}
