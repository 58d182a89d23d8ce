//! The step to version 3 of the schema: of each inode, what nothing searches for becomes one value.

use ntt_model::entry::{Allocation, Inode};
use ntt_model::{Kind, ScanId};
use rusqlite::{Connection, Row, params};

use super::codec;
use super::media::collect;
use crate::{Error, facts};

/// Packs the inodes of all sealed scans. Those that were never sealed are dropped with their tables when the catalogue is opened.
pub(super) fn repack_inodes(connection: &Connection) -> Result<(), Error> {
    let sql = "SELECT id FROM scan WHERE sealed IS NOT NULL";
    for scan in collect(connection, sql, params![], |row| Ok(ScanId(row.get(0)?)))? {
        repack(connection, scan)?;
    }
    Ok(())
}

fn repack(connection: &Connection, scan: ScanId) -> Result<(), Error> {
    connection.execute_batch(
        "CREATE TABLE repacked (ino INTEGER PRIMARY KEY, bits INTEGER NOT NULL, size INTEGER, mtime INTEGER, \
         extents BLOB, facts BLOB NOT NULL, rare BLOB) STRICT",
    )?;
    let mut insert = connection.prepare(&format!(
        "INSERT INTO repacked (ino, bits, size, mtime, extents, facts, rare) \
         SELECT ino, bits, size, mtime, extents, ?2, rare FROM inode_{scan} WHERE ino = ?1"
    ))?;
    let mut old = connection.prepare(&format!(
        "SELECT ino, mtime, generation, flags, mode, uid, gid, links, times FROM inode_{scan} ORDER BY ino"
    ))?;
    let mut rows = old.query([])?;
    let mut packed = Vec::new();
    while let Some(row) = rows.next()? {
        packed.clear();
        facts::encode(&mut packed, &inode_with_facts(row)?);
        insert.execute(params![row.get::<_, i64>(0)?, packed])?;
    }
    drop(rows);
    drop((insert, old));
    connection.execute_batch(&format!(
        "DROP TABLE inode_{scan}; ALTER TABLE repacked RENAME TO inode_{scan}"
    ))?;
    Ok(())
}

/// An inode of which only the facts are set.
fn inode_with_facts(row: &Row<'_>) -> Result<Inode, Error> {
    Ok(Inode {
        number: 0,
        generation: row.get::<_, i64>(2)?.cast_unsigned(),
        kind: Kind::File,
        mode: row.get(4)?,
        uid: row.get(5)?,
        gid: row.get(6)?,
        links: row.get(7)?,
        times: codec::times(row.get(1)?, row.get_ref(8)?.as_blob_or_null()?.unwrap_or(&[]))?,
        target: None,
        device: None,
        flags: row.get::<_, i64>(3)?.cast_unsigned(),
        streams: Vec::new(),
        xattrs: Vec::new(),
        allocation: Allocation::Allocated,
    })
}
