//! FAT32 with 512-byte clusters and one table.

use super::{half, put, word};
use crate::synthetic::Synthetic;

const SECTOR: u64 = 512;
const ENTRY: u64 = 32;
const RESERVED: u64 = 32;
const DIRECTORY: u8 = 0x10;
const FILE: u8 = 0x20;
const END: u64 = 0x0fff_ffff;

/// A volume with `clusters` clusters; `link` says what follows each from number 2 on.
fn volume(clusters: u64, link: impl Fn(u64) -> u64 + Send + Sync + 'static) -> Synthetic {
    let table_sectors = ((clusters + 2) * 4).div_ceil(SECTOR);
    let sectors = RESERVED + table_sectors + clusters;
    let mut boot = vec![0; 512];
    put(&mut boot, 0, &[0xeb, 0x58, 0x90]);
    put(&mut boot, 11, &half(SECTOR));
    put(&mut boot, 13, &[1]);
    put(&mut boot, 14, &half(RESERVED));
    put(&mut boot, 16, &[1]);
    put(&mut boot, 21, &[0xf8]);
    put(&mut boot, 32, &word(sectors));
    put(&mut boot, 36, &word(table_sectors));
    put(&mut boot, 44, &word(2));
    put(&mut boot, 510, &[0x55, 0xaa]);
    Synthetic::new(sectors * SECTOR).bytes(0, &boot).records(
        RESERVED * SECTOR,
        4,
        clusters + 2,
        move |index, record| {
            put(
                record,
                0,
                &word(if index < 2 {
                    0x0fff_fff8 | index
                } else {
                    link(index)
                }),
            );
        },
    )
}

/// Where cluster 2 starts.
fn data(clusters: u64) -> u64 {
    (RESERVED + ((clusters + 2) * 4).div_ceil(SECTOR)) * SECTOR
}

fn entry(record: &mut [u8], name: &str, attributes: u8, first: u64, size: u64) {
    record[..11].fill(b' ');
    put(record, 0, name.as_bytes());
    record[11] = attributes;
    let first = word(first);
    put(record, 20, &first[2..]);
    put(record, 26, &first[..2]);
    put(record, 28, &word(size));
}

/// A root directory with so many entries.
pub fn wide(entries: u64) -> Synthetic {
    let clusters = (entries * ENTRY).div_ceil(SECTOR) + 1;
    let last = clusters + 1;
    volume(
        clusters,
        move |cluster| if cluster == last { END } else { cluster + 1 },
    )
    .records(data(clusters), ENTRY, entries, |index, record| {
        entry(record, &format!("{index:08}"), FILE, 0, 0);
    })
}

/// Directories `D` in each other, so many levels.
pub fn deep(levels: u64) -> Synthetic {
    let clusters = levels + 1;
    volume(clusters, |_| END).records(data(clusters), SECTOR, clusters, move |level, cluster| {
        let own = level + 2;
        let mut slots = cluster.chunks_exact_mut(32);
        let mut add = |name: &str, first: u64| {
            entry(slots.next().expect("room"), name, DIRECTORY, first, 0);
        };
        if level > 0 {
            add(".", own);
            add("..", if level == 1 { 0 } else { own - 1 });
        }
        if level < levels {
            add("D", own + 1);
        }
    })
}

/// One file in so many pieces: every other cluster belongs to it.
pub fn fragmented(pieces: u64) -> Synthetic {
    let clusters = 2 * pieces + 2;
    let last = 2 + 2 * pieces;
    let link = move |cluster: u64| match cluster {
        2 => END,
        _ if cluster == last => END,
        _ if cluster.is_multiple_of(2) => cluster + 2,
        _ => 0,
    };
    volume(clusters, link).records(data(clusters), ENTRY, 1, move |_, record| {
        entry(record, "FILE", FILE, 4, pieces * SECTOR);
    })
}
