//! All rows of a scan, one pass over each table.

use ntt_model::failure::Failure;
use ntt_model::{FailureClass, ScanId, Timestamp};
use rusqlite::{Connection, Row};

use super::code::{NAMESPACES, value_of};
use super::inodes::{self, hash, time};
use super::paths::Paths;
use super::{codec, state};
use crate::Error;
use crate::record::{AttemptRecord, PathRecord, ResultRecord, ScanRecord};
use crate::rows::DirRow;
use crate::standing::RESULT_STATES;

/// Columns of [`Paths::row`] come first, then those of the inode, then what is stored of its data stream.
const FIRST_INODE_COLUMN: usize = 8;
const BLOB_COLUMN: usize = FIRST_INODE_COLUMN + inodes::COLUMNS.len();
const MISSING_COLUMN: usize = BLOB_COLUMN + 1;

type Visit<'v> = dyn FnMut(&ScanRecord) -> Result<(), Error> + 'v;

/// Visits all rows of a scan in the order of [`ScanRecord`].
pub(super) fn each(connection: &Connection, scan: ScanId, visit: &mut Visit<'_>) -> Result<(), Error> {
    each_directory(connection, scan, visit)?;
    inodes::each(connection, scan, &mut |inode| {
        visit(&ScanRecord::Inode(Box::new(inode.clone())))
    })?;
    each_result(connection, scan, visit)?;
    each_attempt(connection, scan, visit)
}

/// Names have the order of their directories, so that two queries side by side give both.
fn each_directory(connection: &Connection, scan: ScanId, visit: &mut Visit<'_>) -> Result<(), Error> {
    let mut directories = connection.prepare(&format!(
        "SELECT ino, parent, name, namespace, paths FROM dir_{scan} ORDER BY seq"
    ))?;
    let mut names = connection.prepare(&path_sql(scan))?;
    let mut names = names.query([state::DAMAGED])?;
    let mut paths = Paths::new(connection, scan)?;
    let mut directories = directories.query([])?;
    while let Some(row) = directories.next()? {
        visit(&ScanRecord::Directory(directory(row)?))?;
        for _ in 0..row.get::<_, i64>(4)? {
            let name = names
                .next()?
                .ok_or_else(|| Error::Damaged(format!("scan {scan} lacks names")))?;
            visit(&ScanRecord::Path(Box::new(path(
                connection, scan, &mut paths, name,
            )?)))?;
        }
    }
    Ok(())
}

fn path_sql(scan: ScanId) -> String {
    let inode = inodes::COLUMNS.map(|column| format!("i.{column}")).join(", ");
    format!(
        "SELECT p.id, p.dir, p.name, p.ino, p.flags, p.rule, i.bits, i.size, {inode}, b.hash, r.missing \
         FROM path_{scan} p LEFT JOIN inode_{scan} i ON i.ino = p.ino \
         LEFT JOIN result_{scan} r ON r.ino = p.ino AND r.stream = 0 AND i.size IS NOT NULL \
             AND r.state IN (1, ?1) \
         LEFT JOIN blob b ON b.id = r.blob ORDER BY p.id"
    )
}

fn directory(row: &Row<'_>) -> Result<DirRow, Error> {
    Ok(DirRow {
        inode: row.get::<_, i64>(0)?.cast_unsigned(),
        parent: row.get::<_, Option<i64>>(1)?.map(i64::cast_unsigned),
        name: row.get(2)?,
        namespace: value_of(&NAMESPACES, row.get(3)?)?,
    })
}

fn path(
    connection: &Connection,
    scan: ScanId,
    paths: &mut Paths<'_>,
    row: &Row<'_>,
) -> Result<PathRecord, Error> {
    let is_read = row.get_ref(FIRST_INODE_COLUMN)? != rusqlite::types::ValueRef::Null;
    let inode = is_read.then(|| inodes::from_row_at(connection, scan, row, FIRST_INODE_COLUMN));
    let missing = row.get_ref(MISSING_COLUMN)?.as_blob_or_null()?.unwrap_or(&[]);
    Ok(PathRecord {
        path: paths.row(row)?,
        inode: inode.transpose()?,
        blob: hash(row, BLOB_COLUMN)?,
        missing: codec::ranges(missing)?,
    })
}

fn each_result(connection: &Connection, scan: ScanId, visit: &mut Visit<'_>) -> Result<(), Error> {
    let mut statement = connection.prepare(&format!(
        "SELECT r.ino, r.stream, r.state, b.hash, r.missing, r.attempts, r.strikes, r.not_before, \
         r.class, r.code, r.detail FROM result_{scan} r LEFT JOIN blob b ON b.id = r.blob ORDER BY r.ino, r.stream"
    ))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let missing = row.get_ref(4)?.as_blob_or_null()?;
        visit(&ScanRecord::Result(ResultRecord {
            inode: row.get::<_, i64>(0)?.cast_unsigned(),
            stream: row.get(1)?,
            result: value_of(&RESULT_STATES, row.get(2)?)?,
            blob: hash(row, 3)?,
            missing: missing.map(codec::ranges).transpose()?,
            attempts: row.get(5)?,
            strikes: row.get(6)?,
            not_before: time(row, 7)?,
            failure: failure(row, 8)?,
        }))?;
    }
    Ok(())
}

fn each_attempt(connection: &Connection, scan: ScanId, visit: &mut Visit<'_>) -> Result<(), Error> {
    let mut statement = connection.prepare(
        "SELECT ino, stream, n, at, class, code, detail FROM attempt WHERE scan = ?1 ORDER BY ino, stream, id",
    )?;
    let mut rows = statement.query([scan.0])?;
    while let Some(row) = rows.next()? {
        let failure = failure(row, 4)?;
        visit(&ScanRecord::Attempt(AttemptRecord {
            inode: row.get::<_, i64>(0)?.cast_unsigned(),
            stream: row.get(1)?,
            number: row.get(2)?,
            at: Timestamp::from_nanos(row.get(3)?),
            failure: failure.ok_or_else(|| Error::Damaged("an attempt without a class".to_owned()))?,
        }))?;
    }
    Ok(())
}

/// Class, code and detail from three columns in a row.
fn failure(row: &Row<'_>, first: usize) -> Result<Option<Failure>, Error> {
    let Some(class) = row.get::<_, Option<String>>(first)? else {
        return Ok(None);
    };
    let class: FailureClass = class
        .parse()
        .map_err(|error| Error::Damaged(format!("failure: {error}")))?;
    Ok(Some(Failure {
        class,
        code: row.get::<_, Option<i32>>(first + 1)?.unwrap_or(0),
        detail: row.get::<_, Option<String>>(first + 2)?.unwrap_or_default(),
    }))
}
