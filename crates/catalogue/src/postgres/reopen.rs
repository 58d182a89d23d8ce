//! Reopening what failed, waits, is damaged or was lost.

use std::collections::BTreeSet;

use ntt_model::{BlobHash, FailureClass, ScanId, Timestamp};

use super::blob_id;
use super::connection::{Connection, get};
use super::media::{leaf, small, unsigned};
use super::queue::{self, ChunkCutter, members_of, placed_streams, shrink, work_of};
use super::result::FORGIVEN;
use super::state::is_eligible;
use crate::Error;
use crate::cutting::{Window, Work};
use crate::standing::{DAMAGED, FAILED, REOPENED, RETRYABLE, STORED};

/// Where a stream that may be reopened stands: it failed, waits or is damaged, and is still wanted.
fn is_reopenable(scan: ScanId) -> String {
    format!(
        "r.state IN ({DAMAGED}, {RETRYABLE}, {FAILED}) AND {}",
        is_eligible(scan, "r.ino")
    )
}

/// How many streams of each class [`reopen`] would take.
pub(super) fn reopenable(connection: &Connection, scan: ScanId) -> Result<Vec<(FailureClass, u64)>, Error> {
    queue::sealed(connection, scan)?;
    let sql = format!(
        "SELECT (r.failure).class, count(*) FROM result_{scan} r WHERE {} GROUP BY (r.failure).class ORDER BY (r.failure).class COLLATE \"C\"",
        is_reopenable(scan)
    );
    connection.collect(&sql, &[], |row| {
        let class: &str = get(row, 0)?;
        let class = class
            .parse()
            .map_err(|error| Error::Damaged(format!("result: {error}")))?;
        Ok((class, unsigned(row, 1)?))
    })
}

/// A stream by inode and ordinal.
type Key = (i64, u32);

/// Streams that are looked at in one go.
const PAGE: u32 = 4096;

/// Streams of lost contents that are reopened in one go: without an index by content each go reads all results.
const MANY: u32 = 65_536;

/// Reopens failed, waiting and damaged streams of a class that are still wanted; returns how many. What a worker holds is left to it.
pub(super) fn reopen(
    connection: &Connection,
    scan: ScanId,
    class: Option<FailureClass>,
) -> Result<u64, Error> {
    queue::hold(connection, scan)?;
    let class = class.map_or(String::new(), |class| {
        format!("AND (r.failure).class = '{}'", class.as_str())
    });
    let mut again = Again::new(connection, scan)?;
    take_waiting(connection, scan, &class, &mut again)?;
    let sql = format!(
        "SELECT r.ino, r.stream FROM result_{scan} r WHERE {} AND r.state <> {RETRYABLE} {class} ORDER BY r.ino, r.stream",
        is_reopenable(scan)
    );
    let settled = connection.pages(&sql, PAGE)?;
    loop {
        let rows = settled.next()?;
        if rows.is_empty() {
            break;
        }
        let streams = rows.iter().map(|row| Ok((get(row, 0)?, small(row, 1)?)));
        again.take(work_for(
            connection,
            scan,
            &streams.collect::<Result<_, Error>>()?,
        )?)?;
    }
    settled.close()?;
    again.finish()
}

/// Takes what waits for its time, and would be reopened, out of the free chunks in which it waits.
fn take_waiting(
    connection: &Connection,
    scan: ScanId,
    class: &str,
    again: &mut Again<'_>,
) -> Result<(), Error> {
    let waiting = format!(
        "SELECT r.ino, r.stream FROM result_{scan} r WHERE r.ino = ANY ($1) AND {} AND r.state = {RETRYABLE} {class}",
        is_reopenable(scan)
    );
    let sql = "SELECT id FROM chunk WHERE scan = $1 AND state = 0 AND not_before > 0 ORDER BY id FOR UPDATE";
    for chunk in connection.collect(sql, &[&leaf(scan)?], |row| get::<i64>(row, 0))? {
        let members = members_of(connection, chunk)?;
        let inodes: Vec<i64> = members.iter().map(|member| member.inode.cast_signed()).collect();
        let streams = connection.collect(&waiting, &[&inodes], |row| Ok((get(row, 0)?, small(row, 1)?)))?;
        let streams: BTreeSet<Key> = streams.into_iter().collect();
        let work = work_of(connection, scan, &members)?;
        let (moved, kept): (Vec<Work>, Vec<Work>) = work
            .into_iter()
            .partition(|work| streams.contains(&(work.inode.cast_signed(), work.stream)));
        if !moved.is_empty() {
            shrink(connection, chunk, &kept)?;
            again.take(moved)?;
        }
    }
    Ok(())
}

/// Work that is put into the queue anew, in the order of the image within windows, as at the seal.
struct Again<'c> {
    connection: &'c Connection,
    scan: ScanId,
    window: Window<ChunkCutter<'c>>,
}

impl<'c> Again<'c> {
    fn new(connection: &'c Connection, scan: ScanId) -> Result<Self, Error> {
        let cutter = ChunkCutter::new(connection, scan, Timestamp::from_nanos(0), false)?;
        Ok(Self {
            connection,
            scan,
            window: Window::new(cutter),
        })
    }

    fn take(&mut self, work: Vec<Work>) -> Result<(), Error> {
        forgive(self.connection, self.scan, &work)?;
        work.into_iter().try_for_each(|work| self.window.push(work))
    }

    fn finish(self) -> Result<u64, Error> {
        Ok(self.window.finish()?.0)
    }
}

/// Makes streams pending: their attempts are remembered, their strikes forgiven.
fn forgive(connection: &Connection, scan: ScanId, work: &[Work]) -> Result<(), Error> {
    let (inodes, streams): (Vec<i64>, Vec<i32>) = work
        .iter()
        .map(|work| (work.inode.cast_signed(), work.stream.cast_signed()))
        .unzip();
    let sql = format!(
        "UPDATE result_{scan} r SET state = {REOPENED}, {FORGIVEN} \
         FROM unnest($1::int8[], $2::int4[]) AS f (ino, stream) WHERE r.ino = f.ino AND r.stream = f.stream"
    );
    connection.execute(&sql, &[&inodes, &streams]).map(drop)
}

/// Makes streams whose content is lost pending again; returns how many. Those that no path asks for keep no result.
pub(super) fn reopen_missing(
    connection: &Connection,
    scan: ScanId,
    blobs: &[BlobHash],
) -> Result<u64, Error> {
    queue::hold(connection, scan)?;
    let mut ids: Vec<i64> = blob_id::ids(connection, blobs)?.into_values().collect();
    ids.sort_unstable();
    let sql = "UPDATE blob SET verified = NULL, bad = true WHERE id = ANY ($1)";
    connection.execute(sql, &[&ids])?;
    let holding = format!("r.blob = ANY ($1) AND r.state IN ({STORED}, {DAMAGED})");
    // A content may stand in millions of places: page by page, and what was reopened holds it no more.
    let sql = format!(
        "UPDATE result_{scan} r SET state = {REOPENED}, blob = NULL, missing = NULL, {FORGIVEN} \
         FROM (SELECT r.ino, r.stream FROM result_{scan} r WHERE {holding} ORDER BY r.ino, r.stream LIMIT {MANY}) h \
         WHERE r.ino = h.ino AND r.stream = h.stream RETURNING r.ino, r.stream, {}",
        is_eligible(scan, "r.ino")
    );
    let cutter = ChunkCutter::new(connection, scan, Timestamp::from_nanos(0), false)?;
    let (mut window, mut reopened) = (Window::new(cutter), 0);
    loop {
        let rows = connection.query(&sql, &[&ids])?;
        if rows.is_empty() {
            break;
        }
        reopened += u64::try_from(rows.len()).unwrap_or(0);
        let mut wanted = BTreeSet::new();
        for row in &rows {
            if get(row, 2)? {
                wanted.insert((get(row, 0)?, small(row, 1)?));
            }
        }
        let work = work_for(connection, scan, &wanted)?;
        work.into_iter().try_for_each(|work| window.push(work))?;
    }
    window.finish()?;
    Ok(reopened)
}

/// Streams as work; those that are not there are left out.
pub(super) fn work_for(
    connection: &Connection,
    scan: ScanId,
    streams: &BTreeSet<Key>,
) -> Result<Vec<Work>, Error> {
    let mut inodes: Vec<i64> = streams.iter().map(|(inode, _)| *inode).collect();
    inodes.dedup();
    let mut work = Vec::with_capacity(inodes.len());
    for group in inodes.chunks(4096) {
        let placed = placed_streams(connection, scan, group)?;
        work.extend(placed.into_iter().filter(|(key, _)| streams.contains(key)));
    }
    Ok(work.into_iter().map(|(_, work)| work).collect())
}
