//! Sealing a scan: prove that all rows are there, label, carry over, build the queue, make it visible.

use ntt_model::entry::ScanCounts;
use ntt_model::{ScanId, Timestamp};
use rusqlite::{Connection, params};

use super::inodes::DELETED;
use super::load::Load;
use super::queue::{ChunkCutter, work_of_row};
use super::{label, schema, state};
use crate::cutting::Window;
use crate::rows::SealReport;
use crate::{Error, Labels, facts};

/// Seals a loaded scan.
pub(super) fn seal(
    connection: &Connection,
    mut load: Load,
    counts: &ScanCounts,
    labels: &Labels<'_>,
    now: Timestamp,
) -> Result<SealReport, Error> {
    load.finish(connection)?;
    let scan = load.scan;
    verify(connection, &load, counts)?;
    schema::index_leaves(connection, scan)?;
    let labelled = label::apply(connection, scan, labels)?;
    let carried_streams = carry_over(connection, scan)?;
    let mut report = build_chunks(connection, scan, carried_streams > 0)?;
    report.carried_streams = carried_streams;
    report.excluded_paths = labelled.excluded_paths;
    connection.execute(
        "UPDATE scan SET sealed = ?2, directories = ?3, inodes = ?4, names = ?5, findings = ?6 WHERE id = ?1",
        params![
            scan.0,
            now.as_nanos(),
            counts.directories.cast_signed(),
            counts.inodes.cast_signed(),
            counts.names.cast_signed(),
            counts.findings.cast_signed()
        ],
    )?;
    Ok(report)
}

/// The rows that a scan really has, counted in the tables.
pub(super) fn count_rows(connection: &Connection, scan: ScanId) -> Result<ScanCounts, Error> {
    let count = |sql: String| -> Result<u64, Error> {
        let count: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
        Ok(count.cast_unsigned())
    };
    Ok(ScanCounts {
        directories: count(format!("SELECT count(*) FROM dir_{scan}"))?,
        inodes: count(format!("SELECT count(*) FROM inode_{scan}"))?,
        names: count(format!("SELECT count(*) FROM path_{scan}"))?,
        findings: count(format!("SELECT count(*) FROM finding WHERE scan = {scan}"))?,
    })
}

fn verify(connection: &Connection, load: &Load, counts: &ScanCounts) -> Result<(), Error> {
    let rows = count_rows(connection, load.scan)?;
    if rows != *counts || load.counts != *counts {
        return Err(Error::Conflict(format!(
            "the scan emitted {counts:?}, {:?} were taken, {rows:?} are in the catalogue",
            load.counts
        )));
    }
    if let Some(problem) = tree_problem(connection, load.scan)? {
        return Err(Error::Conflict(problem));
    }
    Ok(())
}

/// A directory whose parent does not come before it, if there is one: without this, climbing to the root might not end.
pub(super) fn tree_problem(connection: &Connection, scan: ScanId) -> Result<Option<String>, Error> {
    let sql = format!(
        "SELECT d.ino FROM dir_{scan} d LEFT JOIN dir_{scan} p ON p.ino = d.parent \
         WHERE d.parent IS NOT NULL AND (p.seq IS NULL OR p.seq >= d.seq) LIMIT 1"
    );
    let found = super::media::collect(connection, &sql, params![], |row| Ok(row.get::<_, i64>(0)?))?;
    Ok(found
        .first()
        .map(|ino| format!("directory {ino} of scan {scan} does not come after its parent")))
}

/// Copies results of stored streams from the previous scan where number, size, modification and change time are equal, and where the bytes lie.
///
/// A file that is found in another place of the image is read from there: of two copies the wrong one may have been taken before.
///
/// Only what is stored whole: a damaged or failed stream may do better this time, since the image may have been rescued further. What the store
/// does not have right any more is read again.
fn carry_over(connection: &Connection, scan: ScanId) -> Result<u64, Error> {
    let sql = "SELECT previous FROM scan WHERE id = ?1";
    let Some(previous) = connection.query_row(sql, [scan.0], |row| row.get::<_, Option<i64>>(0))? else {
        return Ok(0);
    };
    let sql = format!(
        "SELECT r.ino, r.stream, r.blob, b.mtime, b.facts, a.facts FROM result_{previous} r \
         JOIN inode_{previous} a ON a.ino = r.ino JOIN inode_{scan} b ON b.ino = r.ino \
         LEFT JOIN stream_{previous} x ON x.ino = r.ino AND x.stream = r.stream \
         LEFT JOIN stream_{scan} y ON y.ino = r.ino AND y.stream = r.stream \
         WHERE r.state = {} AND a.mtime IS b.mtime AND a.size IS b.size \
         AND x.kind IS y.kind AND x.name IS y.name AND x.size IS y.size \
         AND (r.stream <> 0 OR a.extents IS b.extents) AND x.extents IS y.extents \
         AND r.blob NOT IN (SELECT id FROM blob WHERE bad = 1)",
        state::STORED
    );
    let mut carried = 0;
    let mut statement = connection.prepare(&sql)?;
    let mut insert = connection.prepare(&format!(
        "INSERT INTO result_{scan} (ino, stream, state, blob, attempts, strikes) VALUES (?1, ?2, {}, ?3, 0, 0)",
        state::STORED
    ))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mtime = row.get(3)?;
        let changed = |column| -> Result<_, Error> {
            Ok(facts::decode(row.get_ref(column)?.as_blob()?, true, mtime)?
                .times
                .changed)
        };
        if changed(4)? == changed(5)? {
            insert.execute(params![
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, i64>(2)?
            ])?;
            carried += 1;
        }
    }
    Ok(carried)
}

/// Cuts everything that is wanted and has no result into chunks. Windows are taken in the order of inode numbers, which follows the order of
/// the medium in all formats.
pub(super) fn build_chunks(
    connection: &Connection,
    scan: ScanId,
    has_results: bool,
) -> Result<SealReport, Error> {
    let mut report = SealReport::default();
    let mut window = Window::new(ChunkCutter::new(connection, scan, Timestamp::from_nanos(0))?);
    // Walks along the index of eligible names, which is in the order of inode numbers; the table of inodes is then read in its own order, while a
    // search in the index for each inode would descend from its root every time. INDEXED BY keeps the order, which ORDER BY would make by a sort:
    // SQLite does not see that the inner query has it.
    let sql = format!(
        "SELECT i.ino, i.bits, i.size, i.extents \
         FROM (SELECT DISTINCT ino FROM path_{scan} INDEXED BY path_{scan}_eligible WHERE rule IS NULL AND flags < 16) e \
         CROSS JOIN inode_{scan} i ON i.ino = e.ino WHERE i.bits & {DELETED} = 0"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let inode: i64 = row.get(0)?;
        for work in work_of_row(connection, scan, inode, row, 1)? {
            if has_results && state::result(connection, scan, inode, work.stream)?.is_some() {
                continue;
            }
            report.pending_bytes = report.pending_bytes.saturating_add(work.bytes);
            window.push(work)?;
        }
    }
    (report.pending_streams, report.chunks) = window.finish()?;
    Ok(report)
}
