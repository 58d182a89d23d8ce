//! Sealing a scan, in one transaction: load, prove that all rows are there, label, carry over, build the queue, make it visible.

use ntt_model::entry::ScanCounts;
use ntt_model::{ScanId, Timestamp};

use super::connection::{Connection, Target, get};
use super::inodes::LEAN;
use super::load::{COLUMNS, Load};
use super::media::leaf;
use super::queue::{ChunkCutter, PLACE, place};
use super::wire::Rows;
use super::{inodes, label, schema, state};
use crate::cutting::{Window, Work};
use crate::rows::{ScanRow, SealReport};
use crate::standing::STORED;
use crate::{Error, Labels, facts};

/// What the transaction of a seal begins with: as much memory as sorting some million rows needs, and as much time as it takes.
pub(super) const BEGIN: &str = "BEGIN; SET LOCAL work_mem = '128MB'; SET LOCAL maintenance_work_mem = '256MB'; \
                                SET LOCAL statement_timeout = 0; SET LOCAL cursor_tuple_fraction = 1; \
                                SET LOCAL max_parallel_maintenance_workers = 0; \
                                SET LOCAL idle_in_transaction_session_timeout = '10min'";
/// Inodes looked at in one go.
const PAGE: u32 = 8192;

/// Seals a loaded scan.
pub(super) fn seal(
    connection: &Connection,
    load: &mut Load,
    counts: &ScanCounts,
    labels: &Labels<'_>,
) -> Result<SealReport, Error> {
    let scan = load.scan;
    let row = ScanRow {
        id: scan,
        scan: load.new.clone(),
        counts: *counts,
        begun: load.begun,
        sealed: connection.now()?,
    };
    insert(connection, &row)?;
    fill(connection, load, counts)?;
    let labelled = label::apply(connection, scan, labels)?;
    let carried_streams = carry_over(connection, &row)?;
    let mut report = build_chunks(connection, scan, carried_streams > 0)?;
    report.carried_streams = carried_streams;
    report.excluded_paths = labelled.excluded_paths;
    if report.chunks == 0 {
        schema::index_results(connection, scan)?;
    }
    schema::attach_leaves(connection, scan)?;
    Ok(report)
}

/// Adds the row of a scan.
pub(super) fn insert(connection: &Connection, row: &ScanRow) -> Result<(), Error> {
    connection.execute(
        "INSERT INTO scan (id, volume, reader, root, previous, begun, sealed, directories, inodes, names, findings) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        &[
            &leaf(row.id)?,
            &row.scan.volume.0,
            &row.scan.reader,
            &row.scan.root.cast_signed(),
            &row.scan.previous.map(leaf).transpose()?,
            &row.begun.as_nanos(),
            &row.sealed.as_nanos(),
            &row.counts.directories.cast_signed(),
            &row.counts.inodes.cast_signed(),
            &row.counts.names.cast_signed(),
            &row.counts.findings.cast_signed(),
        ],
    )?;
    Ok(())
}

/// Creates the leaf tables, loads, counts and indexes them. The counts are those that the server gives.
pub(super) fn fill(connection: &Connection, load: &mut Load, counts: &ScanCounts) -> Result<(), Error> {
    let scan = load.scan;
    schema::create_leaves(connection, scan)?;
    let last = load.last_directory()?;
    let into = |leaf: &str, columns: &str| format!("{leaf}_{scan} {columns}");
    let tables = &mut load.tables;
    let dirs = into("dir", COLUMNS.dirs);
    let directories = connection.load(&Target::new_table(&dirs), &mut tables.dirs)?
        + connection.load_rows(&Target::new_table(&dirs), &last)?;
    let names = connection.load(
        &Target::new_table(&into("path", COLUMNS.paths)),
        &mut tables.paths,
    )?;
    let inodes = connection.load(
        &Target::new_table(&into("inode", COLUMNS.inodes)),
        &mut tables.inodes,
    )?;
    connection.load(
        &Target::new_table(&into("stream", COLUMNS.streams)),
        &mut tables.streams,
    )?;
    let findings = format!("finding {}", COLUMNS.findings);
    let rows = ScanCounts {
        directories,
        inodes,
        names,
        findings: connection.load(&Target::table(&findings), &mut tables.findings)?,
    };
    if rows != *counts || load.counts() != counts {
        return Err(Error::Conflict(format!(
            "the scan emitted {counts:?}, {:?} were taken, {rows:?} are in the catalogue",
            load.counts()
        )));
    }
    schema::index_leaves(connection, scan)?;
    tree_problem(connection, scan)?.map_or(Ok(()), |problem| Err(Error::Conflict(problem)))
}

/// The rows that a scan really has, counted in the tables.
pub(super) fn count_rows(connection: &Connection, scan: ScanId) -> Result<ScanCounts, Error> {
    let count = |sql: String| -> Result<u64, Error> {
        let count: i64 = connection.one(&sql, &[])?;
        Ok(count.cast_unsigned())
    };
    Ok(ScanCounts {
        directories: count(format!("SELECT count(*) FROM dir_{scan}"))?,
        inodes: count(format!("SELECT count(*) FROM inode_{scan}"))?,
        names: count(format!("SELECT count(*) FROM path_{scan}"))?,
        findings: count(format!("SELECT count(*) FROM finding WHERE scan = {scan}"))?,
    })
}

/// A directory whose parent does not come before it, if there is one: without this, climbing to the root might not end.
pub(super) fn tree_problem(connection: &Connection, scan: ScanId) -> Result<Option<String>, Error> {
    let sql = format!(
        "SELECT d.ino FROM dir_{scan} d LEFT JOIN dir_{scan} p ON p.ino = d.parent \
         WHERE d.parent IS NOT NULL AND (p.seq IS NULL OR p.seq >= d.seq) LIMIT 1"
    );
    let row = connection.first(&sql, &[])?;
    row.map(|row| {
        let directory: i64 = get(&row, 0)?;
        Ok(format!(
            "directory {directory} of scan {scan} does not come after its parent"
        ))
    })
    .transpose()
}

/// Copies results of stored streams from the previous scan where number, size, modification and change time are equal, and where the bytes lie.
///
/// A file that is found in another place of the image is read from there: of two copies the wrong one may have been taken before.
///
/// Only what is stored whole: a damaged or failed stream may do better this time, since the image may have been rescued further. What the store
/// does not have right any more is read again.
fn carry_over(connection: &Connection, row: &ScanRow) -> Result<u64, Error> {
    let Some(previous) = row.scan.previous else {
        return Ok(0);
    };
    let scan = row.id;
    let sql = format!(
        "SELECT r.ino, r.stream, r.blob, a.mtime, b.facts, b.bits, a.facts, a.bits FROM result_{previous} r \
         JOIN inode_{previous} a ON a.ino = r.ino JOIN inode_{scan} b ON b.ino = r.ino \
         LEFT JOIN stream_{previous} x ON x.ino = r.ino AND x.stream = r.stream \
         LEFT JOIN stream_{scan} y ON y.ino = r.ino AND y.stream = r.stream \
         WHERE r.state = {STORED} AND a.mtime = b.mtime AND a.size = b.size AND (a.bits & 768) = (b.bits & 768) \
         AND x.kind IS NOT DISTINCT FROM y.kind AND x.name IS NOT DISTINCT FROM y.name \
         AND x.size IS NOT DISTINCT FROM y.size AND (r.stream <> 0 OR a.extents = b.extents) \
         AND x.extents IS NOT DISTINCT FROM y.extents AND r.blob NOT IN (SELECT id FROM blob WHERE bad)"
    );
    let pages = connection.pages(&sql, PAGE)?;
    let table = format!("result_{scan} (ino, blob, scan, stream, state)");
    let (number, mut carried) = (leaf(scan)?, 0);
    loop {
        let rows = pages.next()?;
        if rows.is_empty() {
            pages.close()?;
            return Ok(carried);
        }
        let mut results = Rows::default();
        for row in &rows {
            let mtime = Some(get(row, 3)?);
            let changed = |column| -> Result<_, Error> {
                let is_lean = get::<i16>(row, column + 1)? & LEAN != 0;
                Ok(facts::decode(get(row, column)?, is_lean, mtime)?.times.changed)
            };
            if changed(4)? == changed(6)? {
                results
                    .row(5)
                    .int8(get(row, 0)?)
                    .int8(get(row, 2)?)
                    .int4(number)
                    .int4(get(row, 1)?)
                    .int2(i16::try_from(STORED).unwrap_or(0));
            }
        }
        carried += connection.load_rows(&Target::table(&table), &results)?;
    }
}

/// Cuts everything that is wanted and has no result into chunks. Windows are taken in the order of inode numbers, which follows the order of the
/// medium in all formats.
pub(super) fn build_chunks(
    connection: &Connection,
    scan: ScanId,
    has_results: bool,
) -> Result<SealReport, Error> {
    let mut report = SealReport::default();
    let mut window = Window::new(ChunkCutter::new(
        connection,
        scan,
        Timestamp::from_nanos(0),
        true,
    )?);
    let streams = inodes::OWN_STREAM | inodes::MORE_STREAMS;
    let has_labels: bool = connection.one(&format!("SELECT EXISTS (SELECT 1 FROM label_{scan})"), &[])?;
    let eligible = if has_labels {
        state::is_eligible(scan, "i.ino")
    } else {
        state::is_eligible_without_labels(scan, "i.ino")
    };
    let sql = format!(
        "SELECT i.ino, i.size, {PLACE} FROM inode_{scan} i WHERE i.bits & {} = 0 AND i.bits & {streams} <> 0 AND {eligible} \
         ORDER BY i.ino",
        inodes::DELETED,
    );
    // The server guesses that few inodes pass and would search each one's names from the root of the index: four times the work of walking down
    // both indexes side by side.
    connection.batch(
        "SET LOCAL enable_nestloop = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_sort = off",
    )?;
    let pages = connection.pages(&sql, PAGE)?;
    connection.batch("SET LOCAL enable_nestloop TO DEFAULT; SET LOCAL enable_hashjoin TO DEFAULT; SET LOCAL enable_sort TO DEFAULT")?;
    loop {
        let rows = pages.next()?;
        if rows.is_empty() {
            break;
        }
        for work in page_work(connection, scan, &rows, has_results)? {
            report.pending_bytes = report.pending_bytes.saturating_add(work.bytes);
            window.push(work)?;
        }
    }
    pages.close()?;
    (report.pending_streams, report.chunks) = window.finish()?;
    Ok(report)
}

/// The work in a page of inodes (number, size, place), without what has a result.
fn page_work(
    connection: &Connection,
    scan: ScanId,
    rows: &[postgres::Row],
    has_results: bool,
) -> Result<Vec<Work>, Error> {
    let numbers = |wanted: &dyn Fn(i16) -> bool| -> Result<Vec<i64>, Error> {
        let mut numbers = Vec::new();
        for row in rows {
            if wanted(get(row, 2)?) {
                numbers.push(get(row, 0)?);
            }
        }
        Ok(numbers)
    };
    let further = numbers(&|bits| bits & inodes::MORE_STREAMS != 0)?;
    let further = if further.is_empty() {
        std::collections::BTreeMap::new()
    } else {
        super::queue::placed_streams(connection, scan, &further)?
    };
    let results = if has_results {
        state::results(connection, scan, &numbers(&|_| true)?)?
    } else {
        state::Results::new()
    };
    let mut work = Vec::with_capacity(rows.len());
    for row in rows {
        let inode: i64 = get(row, 0)?;
        if get::<i16>(row, 2)? & inodes::MORE_STREAMS != 0 {
            work.extend(
                further
                    .range((inode, 0)..=(inode, u32::MAX))
                    .map(|(_, work)| *work),
            );
            continue;
        }
        let (position, map) = place(row, 2)?;
        work.push(Work {
            position,
            inode: inode.cast_unsigned(),
            stream: 0,
            bytes: get::<i64>(row, 1)?.cast_unsigned(),
            map,
        });
    }
    if has_results {
        work.retain(|work| !results.contains_key(&(work.inode.cast_signed(), work.stream)));
    }
    Ok(work)
}
