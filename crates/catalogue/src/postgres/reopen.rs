//! Reopening what failed, waits, is damaged or was lost.

use std::collections::BTreeSet;

use ntt_model::{BlobHash, FailureClass, ScanId, Timestamp};

use super::connection::{Connection, get};
use super::media::{leaf, small, unsigned};
use super::queue::{self, enqueue, members_of, placed_streams, shrink, work_of};
use super::state::is_eligible;
use crate::Error;
use crate::cutting::Work;
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
        "SELECT r.class, count(*) FROM result_{scan} r WHERE {} GROUP BY r.class ORDER BY r.class COLLATE \"C\"",
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

/// Reopens failed, waiting and damaged streams of a class that are still wanted; returns how many. What a worker holds is left to it.
pub(super) fn reopen(
    connection: &Connection,
    scan: ScanId,
    class: Option<FailureClass>,
) -> Result<u64, Error> {
    queue::hold(connection, scan)?;
    let sql = format!(
        "SELECT r.ino, r.stream, r.state = {RETRYABLE} FROM result_{scan} r WHERE ($1 IS NULL OR r.class = $1) AND {}",
        is_reopenable(scan)
    );
    let (mut settled, mut waiting) = (BTreeSet::new(), BTreeSet::new());
    for row in connection.query(&sql, &[&class.map(FailureClass::as_str)])? {
        let group = if get(&row, 2)? { &mut waiting } else { &mut settled };
        group.insert((get::<i64>(&row, 0)?, small(&row, 1)?));
    }
    let mut work = take_waiting(connection, scan, &waiting)?;
    work.append(&mut work_for(connection, scan, &settled)?);
    forgive(connection, scan, &work)?;
    enqueue(connection, scan, work, Timestamp::from_nanos(0))
}

/// Takes `streams` out of the free chunks in which they wait.
fn take_waiting(connection: &Connection, scan: ScanId, streams: &BTreeSet<Key>) -> Result<Vec<Work>, Error> {
    let mut taken = Vec::new();
    if streams.is_empty() {
        return Ok(taken);
    }
    let sql = "SELECT id FROM chunk WHERE scan = $1 AND state = 0 AND not_before > 0 ORDER BY id FOR UPDATE";
    for chunk in connection.collect(sql, &[&leaf(scan)?], |row| get::<i64>(row, 0))? {
        let work = work_of(connection, scan, &members_of(connection, chunk)?)?;
        let (mut moved, kept): (Vec<Work>, Vec<Work>) = work
            .into_iter()
            .partition(|work| streams.contains(&(work.inode.cast_signed(), work.stream)));
        if !moved.is_empty() {
            shrink(connection, chunk, &kept)?;
            taken.append(&mut moved);
        }
    }
    Ok(taken)
}

/// Makes streams pending: their attempts are remembered, their strikes forgiven.
fn forgive(connection: &Connection, scan: ScanId, work: &[Work]) -> Result<(), Error> {
    let (inodes, streams): (Vec<i64>, Vec<i32>) = work
        .iter()
        .map(|work| (work.inode.cast_signed(), work.stream.cast_signed()))
        .unzip();
    let sql = format!(
        "UPDATE result_{scan} r SET state = {REOPENED}, strikes = 0, class = NULL, code = NULL, not_before = NULL \
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
    let mut hashes: Vec<&[u8]> = blobs.iter().map(|hash| hash.as_bytes().as_slice()).collect();
    hashes.sort_unstable();
    let sql = "UPDATE blob SET verified = NULL, bad = false WHERE hash = ANY ($1) RETURNING id";
    let ids: Vec<i64> = connection.collect(sql, &[&hashes], |row| get(row, 0))?;
    let sql = format!(
        "UPDATE result_{scan} r SET state = {REOPENED}, blob = NULL, missing = NULL, strikes = 0, class = NULL, code = NULL, \
         not_before = NULL WHERE r.blob = ANY ($1) AND r.state IN ({STORED}, {DAMAGED}) RETURNING r.ino, r.stream, {}",
        is_eligible(scan, "r.ino")
    );
    let mut wanted = BTreeSet::new();
    let rows = connection.query(&sql, &[&ids])?;
    for row in &rows {
        if get(row, 2)? {
            wanted.insert((get(row, 0)?, small(row, 1)?));
        }
    }
    let work = work_for(connection, scan, &wanted)?;
    enqueue(connection, scan, work, Timestamp::from_nanos(0))?;
    Ok(u64::try_from(rows.len()).unwrap_or(u64::MAX))
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
