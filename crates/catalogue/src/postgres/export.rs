//! All rows of a scan, one pass over each table.

use ntt_model::failure::Failure;
use ntt_model::{FailureClass, ScanId, Timestamp};
use postgres::Row;

use super::connection::{Connection, get};
use super::inodes;
use super::media::{digest, small, time, unsigned};
use super::paths::{self, Paths};
use super::result::{COUNTS, LAST_FAILURE};
use crate::code::value_of;
use crate::record::{AttemptRecord, PathRecord, ResultRecord, ScanRecord};
use crate::standing::{DAMAGED, RESULT_STATES, STORED};
use crate::{Error, codec};

/// Rows read in one go.
const PAGE: u32 = 2048;

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
    let mut directories = Directories::new(connection, scan)?;
    let mut paths = Paths::new(connection, scan)?;
    let first_inode_column = paths::COLUMN_COUNT;
    let blob_column = first_inode_column + inodes::COLUMNS.len();
    let columns = format!("{}, {}, b.hash, r.missing", paths::COLUMNS, inodes::columns("i"));
    let tables = format!(
        "{} LEFT JOIN result_{scan} r ON r.ino = p.ino AND r.stream = 0 AND i.bits & {} <> 0 AND r.state IN ({STORED}, {DAMAGED}) \
         LEFT JOIN blob b ON b.id = r.blob",
        paths::from(scan),
        inodes::OWN_STREAM
    );
    paths::pages(connection, scan, &columns, &tables, "", &mut |rows| {
        let found = inodes::from_rows(connection, scan, rows, first_inode_column)?;
        let mut inodes = found.into_iter().peekable();
        for (place, (row, path)) in rows.iter().zip(paths.rows(rows)?).enumerate() {
            directories.visit_up_to(get(row, 1)?, visit)?;
            let inode = inodes
                .next_if(|(found, _)| *found == place)
                .map(|(_, inode)| inode);
            let missing: Option<&[u8]> = get(row, blob_column + 1)?;
            visit(&ScanRecord::Path(Box::new(PathRecord {
                path,
                inode,
                blob: digest(row, blob_column)?,
                missing: codec::ranges(missing.unwrap_or_default())?,
            })))?;
        }
        Ok(())
    })?;
    directories.visit_up_to(i32::MAX, visit)
}

/// The directories of a scan in their order, read ahead.
struct Directories<'c> {
    connection: &'c Connection,
    sql: String,
    ahead: std::vec::IntoIter<Row>,
    next: Option<Row>,
    last: i32,
}

impl<'c> Directories<'c> {
    fn new(connection: &'c Connection, scan: ScanId) -> Result<Self, Error> {
        let sql = format!(
            "SELECT ino, parent, name, namespace, seq FROM dir_{scan} WHERE seq > $1 ORDER BY seq LIMIT {PAGE}"
        );
        let mut directories = Self {
            connection,
            sql,
            ahead: Vec::new().into_iter(),
            next: None,
            last: 0,
        };
        directories.advance()?;
        Ok(directories)
    }

    fn advance(&mut self) -> Result<(), Error> {
        self.next = self.ahead.next();
        if self.next.is_none() {
            self.ahead = self.connection.query(&self.sql, &[&self.last])?.into_iter();
            self.next = self.ahead.next();
        }
        if let Some(row) = &self.next {
            self.last = get(row, 4)?;
        }
        Ok(())
    }

    /// Visits the directories that come before or at `seq` and were not visited yet.
    fn visit_up_to(&mut self, seq: i32, visit: &mut Visit<'_>) -> Result<(), Error> {
        while let Some(row) = &self.next {
            if get::<i32>(row, 4)? > seq {
                break;
            }
            visit(&ScanRecord::Directory(paths::dir_row(row)?))?;
            self.advance()?;
        }
        Ok(())
    }
}

fn each_result(connection: &Connection, scan: ScanId, visit: &mut Visit<'_>) -> Result<(), Error> {
    let sql = format!(
        "SELECT r.ino, r.stream, r.state, b.hash, r.missing, {COUNTS}, r.not_before, \
         {LAST_FAILURE} FROM result_{scan} r LEFT JOIN blob b ON b.id = r.blob ORDER BY r.ino, r.stream"
    );
    each_row(connection, &sql, &mut |row| {
        let missing: Option<&[u8]> = get(row, 4)?;
        visit(&ScanRecord::Result(ResultRecord {
            inode: unsigned(row, 0)?,
            stream: small(row, 1)?,
            result: value_of(&RESULT_STATES, i64::from(get::<i16>(row, 2)?))?,
            blob: digest(row, 3)?,
            missing: missing.map(codec::ranges).transpose()?,
            attempts: small(row, 5)?,
            strikes: small(row, 6)?,
            not_before: time(row, 7)?,
            failure: failure(row, 8)?,
        }))
    })
}

fn each_attempt(connection: &Connection, scan: ScanId, visit: &mut Visit<'_>) -> Result<(), Error> {
    let sql = format!(
        "SELECT ino, stream, n, at, class, code, detail FROM attempt WHERE scan = {scan} ORDER BY ino, stream, id"
    );
    each_row(connection, &sql, &mut |row| {
        let failure = failure(row, 4)?;
        visit(&ScanRecord::Attempt(AttemptRecord {
            inode: unsigned(row, 0)?,
            stream: small(row, 1)?,
            number: small(row, 2)?,
            at: Timestamp::from_nanos(get(row, 3)?),
            failure: failure.ok_or_else(|| Error::Damaged("an attempt without a class".to_owned()))?,
        }))
    })
}

fn each_row(
    connection: &Connection,
    sql: &str,
    visit: &mut dyn FnMut(&Row) -> Result<(), Error>,
) -> Result<(), Error> {
    let pages = connection.pages(sql, PAGE)?;
    loop {
        let rows = pages.next()?;
        if rows.is_empty() {
            return pages.close();
        }
        rows.iter().try_for_each(&mut *visit)?;
    }
}

/// Class, code and detail from three columns in a row.
fn failure(row: &Row, first: usize) -> Result<Option<Failure>, Error> {
    let Some(class) = get::<Option<&str>>(row, first)? else {
        return Ok(None);
    };
    let class: FailureClass = class
        .parse()
        .map_err(|error| Error::Damaged(format!("failure: {error}")))?;
    Ok(Some(Failure {
        class,
        code: get::<Option<i32>>(row, first + 1)?.unwrap_or(0),
        detail: get::<Option<String>>(row, first + 2)?.unwrap_or_default(),
    }))
}
