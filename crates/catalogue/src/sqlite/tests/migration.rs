//! Catalogues of older versions are brought to the newest, with all that they hold (R31).

use ntt_model::entry::{Allocation, Inode, Xattr};
use ntt_model::time::Times;
use rusqlite::params;

use super::*;
use crate::sqlite::codec::put_times;

/// R31: a catalogue of the first version takes sets once it was opened, and keeps what it has.
#[test]
fn r31_a_catalogue_of_the_first_version_is_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    drop(open(&path));
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch(
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, ', ''set''', '') WHERE name = 'medium';
         PRAGMA writable_schema = RESET;
         ALTER TABLE chunk_members DROP COLUMN layout;
         DROP INDEX blob_bad;
         DROP INDEX event_withdrawal;
         PRAGMA user_version = 1;
         INSERT INTO medium (uuid, kind, label, source_name, added) VALUES (zeroblob(16), 'image', '', 'a', 1);",
    )
    .unwrap();
    let set = "INSERT INTO medium (uuid, kind, label, source_name, added) VALUES (randomblob(16), 'set', '', 'b', 1)";
    assert!(raw.execute(set, []).is_err());
    drop(raw);
    let catalogue = open(&path);
    let new = NewMedium {
        id: MediumId::from_bytes([7; 16]),
        kind: MediumKind::Set,
        label: String::new(),
        source_name: "a + b".to_owned(),
    };
    catalogue.add_medium(&new, None, &[]).unwrap();
    let kinds: Vec<MediumKind> = catalogue
        .media()
        .unwrap()
        .iter()
        .map(|row| row.medium.kind)
        .collect();
    assert_eq!(kinds, [MediumKind::Image, MediumKind::Set]);
}

/// Inodes whose facts differ in all that facts can differ in.
fn inodes() -> Vec<Inode> {
    let bare = Inode {
        mode: None,
        uid: None,
        gid: None,
        times: Times::default(),
        generation: 0,
        flags: 0,
        links: 0,
        ..file(11, 0, 0)
    };
    let full = Inode {
        mode: Some(u32::MAX),
        uid: Some(0),
        gid: Some(u32::MAX),
        generation: u64::MAX,
        flags: u64::MAX,
        links: u32::MAX,
        target: Some(b"to".to_vec()),
        xattrs: vec![Xattr {
            name: b"user.x".to_vec(),
            value: b"y".to_vec(),
        }],
        allocation: Allocation::Deleted,
        ..file(12, 9, 4096)
    };
    vec![file(10, 70_000, 1 << 40), bare, full]
}

/// Makes of a catalogue what version 2 had in its place.
fn downgrade_to_2(path: &Path, scan: ScanId, inodes: &[Inode]) {
    let raw = rusqlite::Connection::open(path).unwrap();
    raw.execute_batch(&format!(
        "ALTER TABLE chunk_members DROP COLUMN layout;
         DROP INDEX blob_bad;
         DROP INDEX event_withdrawal;
         CREATE TABLE old (ino INTEGER PRIMARY KEY, bits INTEGER NOT NULL, size INTEGER, mtime INTEGER,
             generation INTEGER NOT NULL, flags INTEGER NOT NULL, mode INTEGER, uid INTEGER, gid INTEGER,
             links INTEGER NOT NULL, times BLOB, extents BLOB, rare BLOB) STRICT;
         INSERT INTO old SELECT ino, bits, size, mtime, 0, 0, NULL, NULL, NULL, 0, NULL, extents, rare FROM inode_{scan};
         DROP TABLE inode_{scan};
         ALTER TABLE old RENAME TO inode_{scan};
         PRAGMA user_version = 2;"
    ))
    .unwrap();
    let sql = format!(
        "UPDATE inode_{scan} SET generation = ?2, flags = ?3, mode = ?4, uid = ?5, gid = ?6, links = ?7, times = ?8 WHERE ino = ?1"
    );
    for inode in inodes {
        let mut times = Vec::new();
        put_times(&mut times, &inode.times);
        let facts = params![
            inode.number.cast_signed(),
            inode.generation.cast_signed(),
            inode.flags.cast_signed(),
            inode.mode,
            inode.uid,
            inode.gid,
            inode.links,
            (!times.is_empty()).then_some(times)
        ];
        raw.execute(&sql, facts).unwrap();
    }
}

/// R31: facts are packed and nothing changes, and the queue of before is still drained.
#[test]
fn r31_a_catalogue_of_the_second_version_is_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    let dump = |catalogue: &SqliteCatalogue| {
        let mut text = Vec::new();
        crate::dump_exact(catalogue, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    };
    let catalogue = open(&path);
    let scan = sealed_scan(&catalogue, &inodes());
    let before = dump(&catalogue);
    drop(catalogue);
    downgrade_to_2(&path, scan, &inodes());
    let catalogue = open(&path);
    assert_eq!(dump(&catalogue), before);
    let worker = catalogue.register_worker("w").unwrap();
    let chunk = catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    let claimed: Vec<_> = chunk
        .items
        .iter()
        .map(|item| (item.inode, item.streams[0].stream.clone()))
        .collect();
    let wanted = |inode: &Inode| (inode.number, inode.streams[0].clone());
    let [first, bare, _] = &inodes()[..] else {
        panic!("three inodes");
    };
    assert_eq!(claimed, [wanted(bare), wanted(first)]);
}
