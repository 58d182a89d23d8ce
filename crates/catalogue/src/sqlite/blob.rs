//! Rows of blobs.

use ntt_model::{BlobHash, ScanId, Sha256, Timestamp};
use rusqlite::{CachedStatement, Connection, Row, params};

use super::inodes::time;
use super::media::collect;
use crate::Error;
use crate::rows::BlobRow;

/// Adds blobs, or completes what is known of them.
pub(super) struct Keeper<'c> {
    connection: &'c Connection,
    find: CachedStatement<'c>,
    insert: CachedStatement<'c>,
    complete: CachedStatement<'c>,
}

impl<'c> Keeper<'c> {
    pub(super) fn new(connection: &'c Connection) -> Result<Self, Error> {
        // Most contents are known, and nothing new is said of them: a row that is not written costs no page of the log.
        let find = "SELECT id, size, (sha256 IS NULL AND ?2 IS NOT NULL) OR (content_type IS NULL AND ?3 IS NOT NULL) \
                    FROM blob WHERE hash = ?1";
        let insert = "INSERT INTO blob (hash, size, sha256, content_type) VALUES (?1, ?2, ?3, ?4)";
        let complete = "UPDATE blob SET sha256 = coalesce(sha256, ?2), content_type = coalesce(content_type, ?3) WHERE id = ?1";
        Ok(Self {
            connection,
            find: connection.prepare_cached(find)?,
            insert: connection.prepare_cached(insert)?,
            complete: connection.prepare_cached(complete)?,
        })
    }

    /// Adds a blob, or completes what is known of it; returns its row id.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if the name is known with another length.
    pub(super) fn keep(
        &mut self,
        hash: &BlobHash,
        size: u64,
        sha256: Option<&Sha256>,
        content_type: Option<&str>,
    ) -> Result<i64, Error> {
        let sha256 = sha256.map(Sha256::as_bytes);
        let mut rows = self.find.query(params![hash.as_bytes(), sha256, content_type])?;
        let known = match rows.next()? {
            Some(row) => Some((row.get(0)?, row.get::<_, i64>(1)?, row.get(2)?)),
            None => None,
        };
        drop(rows);
        match known {
            None => {
                let values = params![hash.as_bytes(), size.cast_signed(), sha256, content_type];
                self.insert.execute(values)?;
                Ok(self.connection.last_insert_rowid())
            }
            Some((_, known, _)) if known.cast_unsigned() != size => Err(Error::Conflict(format!(
                "blob {hash} has {} bytes, not {size}",
                known.cast_unsigned()
            ))),
            Some((id, _, is_news)) => {
                if is_news {
                    self.complete.execute(params![id, sha256, content_type])?;
                }
                Ok(id)
            }
        }
    }
}

const BLOB: &str = "SELECT hash, size, sha256, content_type, verified, bad FROM blob";

fn blob_row(row: &Row<'_>) -> Result<BlobRow, Error> {
    Ok(BlobRow {
        hash: BlobHash::from_bytes(row.get(0)?),
        size_bytes: row.get::<_, i64>(1)?.cast_unsigned(),
        sha256: row.get::<_, Option<[u8; 32]>>(2)?.map(Sha256::from_bytes),
        content_type: row.get(3)?,
        verified: time(row, 4)?,
        bad: row.get(5)?,
    })
}

/// One blob.
pub(super) fn one(connection: &Connection, hash: &BlobHash) -> Result<Option<BlobRow>, Error> {
    let sql = format!("{BLOB} WHERE hash = ?1");
    Ok(collect(connection, &sql, params![hash.as_bytes()], blob_row)?
        .into_iter()
        .next())
}

/// Visits blobs in ascending order of hash.
pub(super) fn each(
    connection: &Connection,
    scan: Option<ScanId>,
    visit: &mut dyn FnMut(&BlobRow) -> Result<(), Error>,
) -> Result<(), Error> {
    let sql = match scan {
        Some(scan) => format!("{BLOB} WHERE id IN (SELECT blob FROM result_{scan}) ORDER BY hash"),
        None => format!("{BLOB} ORDER BY hash"),
    };
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        visit(&blob_row(row)?)?;
    }
    Ok(())
}

/// Blobs on record as not matching, ascending by hash. They are few: the partial index has them all.
pub(super) fn bad(connection: &Connection, scan: Option<ScanId>) -> Result<Vec<BlobHash>, Error> {
    let used = scan.map_or(String::new(), |scan| {
        format!("AND EXISTS (SELECT 1 FROM result_{scan} r WHERE r.blob = b.id)")
    });
    let sql = format!("SELECT hash FROM blob b INDEXED BY blob_bad WHERE bad = 1 {used} ORDER BY hash");
    collect(connection, &sql, [], |row| Ok(BlobHash::from_bytes(row.get(0)?)))
}

/// Number of blobs.
pub(super) fn count(connection: &Connection) -> Result<u64, Error> {
    let count: i64 = connection.query_row("SELECT count(*) FROM blob", [], |row| row.get(0))?;
    Ok(count.cast_unsigned())
}

/// Records re-reads. A match also clears an earlier mismatch.
pub(super) fn record_verified(
    connection: &Connection,
    verified: &[(BlobHash, bool)],
    now: Timestamp,
) -> Result<(), Error> {
    let sql =
        "UPDATE blob SET bad = NOT ?2, verified = CASE WHEN ?2 THEN ?3 ELSE verified END WHERE hash = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    for (hash, matched) in verified {
        if statement.execute(params![hash.as_bytes(), matched, now.as_nanos()])? == 0 {
            return Err(Error::NotFound {
                what: format!("blob {hash}"),
            });
        }
    }
    Ok(())
}
