//! Plain ISO 9660, without a path table.

use super::put;
use crate::synthetic::Synthetic;

const SECTOR: u64 = 2048;
const ROOT: u64 = 20;
/// Records of a file in one sector: 44 bytes each.
const PER_SECTOR: u64 = 46;
/// Of these behind the two records of the directory itself and its parent.
const IN_FIRST_SECTOR: u64 = 45;

/// Little-endian, then big-endian.
fn both(record: &mut [u8], at: usize, number: u64) {
    let number = u32::try_from(number).expect("32 bits");
    put(record, at, &number.to_le_bytes());
    put(record, at + 4, &number.to_be_bytes());
}

fn volume(sectors: u64, root_len: u64) -> Synthetic {
    let mut primary = vec![0; 2048];
    put(&mut primary, 0, b"\x01CD001\x01");
    put(&mut primary, 8, &[b' '; 64]);
    both(&mut primary, 80, sectors);
    put(&mut primary, 120, &[1, 0, 0, 1, 1, 0, 0, 1, 0, 8, 8, 0]);
    record(&mut primary, 156, &[0], ROOT, root_len, true);
    primary[881] = 1;
    Synthetic::new(sectors * SECTOR)
        .bytes(16 * SECTOR, &primary)
        .bytes(17 * SECTOR, b"\xffCD001\x01")
}

/// Writes a directory record and gives where the next starts.
fn record(bytes: &mut [u8], at: usize, name: &[u8], sector: u64, len: u64, is_directory: bool) -> usize {
    let own = (33 + name.len()).next_multiple_of(2);
    bytes[at] = u8::try_from(own).expect("short");
    both(bytes, at + 2, sector);
    both(bytes, at + 10, len);
    put(
        bytes,
        at + 18,
        &[100, 1, 1, 0, 0, 0, 0, if is_directory { 2 } else { 0 }],
    );
    put(bytes, at + 28, &[1, 0, 0, 1]);
    bytes[at + 32] = u8::try_from(name.len()).expect("short");
    put(bytes, at + 33, name);
    at + own
}

/// A root directory with so many files, up to 90 million.
pub fn wide(entries: u64) -> Synthetic {
    let sectors = 1 + entries.saturating_sub(IN_FIRST_SECTOR).div_ceil(PER_SECTOR);
    let len = sectors * SECTOR;
    volume(ROOT + sectors, len).records(ROOT * SECTOR, SECTOR, sectors, move |index, sector| {
        let before = |index: u64| match index {
            0 => 0,
            index => IN_FIRST_SECTOR + (index - 1) * PER_SECTOR,
        };
        let mut at = 0;
        if index == 0 {
            at = record(sector, at, &[0], ROOT, len, true);
            at = record(sector, at, &[1], ROOT, len, true);
        }
        let files = before(index)..before(index + 1).min(entries);
        files.fold(at, |at, file| {
            record(sector, at, format!("{file:08};1").as_bytes(), 0, 0, false)
        });
    })
}

/// Directories `D` in each other, so many levels.
pub fn deep(levels: u64) -> Synthetic {
    volume(ROOT + levels + 1, SECTOR).records(ROOT * SECTOR, SECTOR, levels + 1, move |level, sector| {
        let own = ROOT + level;
        let at = record(sector, 0, &[0], own, SECTOR, true);
        let at = record(sector, at, &[1], own - u64::from(level > 0), SECTOR, true);
        if level < levels {
            record(sector, at, b"D", own + 1, SECTOR, true);
        }
    })
}
