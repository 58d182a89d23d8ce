//! NTFS with 4 KiB clusters and 1 KiB records, the table in one piece.

use super::put;
use crate::ntfs::{
    CLUSTER, Mapped, RECORD, ROOT, Record, TABLE, boot, entry, file_name, index_block, log_record,
    table_record, utf16, volume_record,
};
use crate::synthetic::Synthetic;

/// First record of a file.
const FIRST: u64 = 24;
/// Entries of an index block: each has 8 digits in its name.
const ENTRIES: u64 = 38;

const RECORD_BYTES: u64 = 1024;
const CLUSTER_BYTES: u64 = 4096;

/// A volume with `files` records from number 24 on and so many clusters behind the table; `root` is the record of the root, given the first of them.
fn volume(
    files: u64,
    clusters: u64,
    root: impl FnOnce(u64) -> Record,
    record: impl Fn(u32) -> Record + Send + Sync + 'static,
) -> (Synthetic, u64) {
    let records = FIRST + files;
    let table = (records * RECORD_BYTES).div_ceil(CLUSTER_BYTES);
    let bitmap = records.div_ceil(8).div_ceil(CLUSTER_BYTES);
    let free = TABLE + table + bitmap;
    let total = free + clusters;
    let at = |number: u64| TABLE * CLUSTER_BYTES + number * RECORD_BYTES;
    let image = Synthetic::new(total * CLUSTER_BYTES + 512)
        .bytes(0, &boot(total))
        .records(
            (TABLE + table) * CLUSTER_BYTES + FIRST / 8,
            1,
            files.div_ceil(8),
            |_, byte| byte[0] = 0xff,
        )
        .bytes(at(0), &table_record(records, TABLE + table, bitmap).build())
        .bytes(CLUSTER_BYTES, &[0xff; CLUSTER])
        .bytes(at(2), &log_record().build())
        .bytes(at(3), &volume_record().build())
        .bytes(at(5), &root(free).build())
        .records(at(FIRST), RECORD_BYTES, files, move |index, bytes| {
            let number = u32::try_from(FIRST + index).expect("32 bits");
            put(bytes, 0, &record(number).build());
        });
    assert_eq!((RECORD, CLUSTER), (1024, 4096), "what the sizes above say");
    (image, free)
}

fn name(index: u64) -> String {
    format!("{index:08}")
}

fn root() -> Record {
    Record::new(5).flags(3).name(ROOT, ".", 3)
}

/// A root directory with so many entries.
pub fn wide(entries: u64) -> Synthetic {
    let blocks = entries.div_ceil(ENTRIES);
    let bitmap = blocks.div_ceil(8).div_ceil(CLUSTER_BYTES);
    let index = |free: u64| {
        root()
            .index(&[])
            .mapped(
                0xa0,
                "$I30",
                &Mapped::plain(&[(blocks, Some(free))], blocks * CLUSTER_BYTES),
            )
            .mapped(
                0xb0,
                "$I30",
                &Mapped::plain(&[(bitmap, Some(free + blocks))], blocks.div_ceil(8)),
            )
    };
    let file = |number: u32| {
        Record::new(number)
            .name(ROOT, &name(u64::from(number) - FIRST), 3)
            .resident(0x80, "", b"")
    };
    let (image, free) = volume(entries, blocks + bitmap, index, file);
    image
        .records(
            (free + blocks) * CLUSTER_BYTES,
            1,
            blocks.div_ceil(8),
            |_, byte| byte[0] = 0xff,
        )
        .records(
            free * CLUSTER_BYTES,
            CLUSTER_BYTES,
            blocks,
            move |block, bytes| {
                let first = block * ENTRIES;
                let own: Vec<Vec<u8>> = (first..entries.min(first + ENTRIES))
                    .map(|index| {
                        let number = u32::try_from(FIRST + index).expect("32 bits");
                        entry(
                            Record::reference(number),
                            &file_name(ROOT, &utf16(&name(index)), 3, false, 0),
                        )
                    })
                    .collect();
                put(bytes, 0, &index_block(block, &own));
            },
        )
}

/// Directories `D` in each other, so many levels.
pub fn deep(levels: u64) -> Synthetic {
    let child = |number: u64, parent: u64| {
        let number = u32::try_from(number).expect("32 bits");
        vec![entry(
            Record::reference(number),
            &file_name(parent, &utf16("D"), 3, true, 0),
        )]
    };
    let directory = move |number: u32| {
        let parent = if u64::from(number) == FIRST {
            ROOT
        } else {
            Record::reference(number - 1)
        };
        let own = u64::from(number) - FIRST;
        let below = if own + 1 < levels {
            child(FIRST + own + 1, Record::reference(number))
        } else {
            Vec::new()
        };
        Record::new(number).flags(3).name(parent, "D", 3).index(&below)
    };
    volume(levels, 0, |_| root().index(&child(FIRST, ROOT)), directory).0
}
