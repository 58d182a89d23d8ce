//! The queue of copy work: chunks, their leases, and the workers that hold them.
//!
//! Locks are taken in one order: rows of `scan`, then rows of `chunk` by id. What rebuilds a scan's queue locks its row alone; what adds to it or gives back to
//! it shares that lock; a claim takes no lock but that of the chunk that it leases.

use std::collections::BTreeMap;

use ntt_model::{ChunkId, ScanId, Timestamp, WorkerId};
use postgres::Row;

use super::connection::{Connection, Target, get};
use super::media::{leaf, not_found, unsigned};
use super::value::text;
use super::wire::Rows;
use super::{label, state};
use crate::Error;
use crate::codec::{Member, members, put_members};
use crate::cutting::{Cut, Cutting, Work};
use crate::lease::{LEASE_NANOS, QueuedChunks};
use crate::rows::{Progress, WorkerRow, WorkerWish};

/// Chunks written in one go.
const BATCH: usize = 512;

/// Cuts work, in the order in which it comes, into chunks.
pub(super) struct Cutter<'c> {
    connection: &'c Connection,
    scan: ScanId,
    not_before: Timestamp,
    is_fresh: bool,
    seq: i64,
    cutting: Cutting,
    cuts: Vec<Cut>,
    pub(super) chunks: u64,
}

impl<'c> Cutter<'c> {
    /// New chunks stand behind those that the scan has. `is_fresh` promises that nothing in them has a result.
    pub(super) fn new(
        connection: &'c Connection,
        scan: ScanId,
        not_before: Timestamp,
        is_fresh: bool,
    ) -> Result<Self, Error> {
        let sql = "SELECT coalesce(max(seq), 0) FROM chunk WHERE scan = $1";
        Ok(Self {
            connection,
            scan,
            not_before,
            is_fresh,
            seq: connection.one(sql, &[&leaf(scan)?])?,
            cutting: Cutting::default(),
            cuts: Vec::new(),
            chunks: 0,
        })
    }

    /// Adds one stream. Streams of one inode come one after the other.
    pub(super) fn push(&mut self, work: Work) -> Result<(), Error> {
        if let Some(full) = self.cutting.push(work) {
            self.cuts.push(full);
        }
        if self.cuts.len() >= BATCH {
            self.write()
        } else {
            Ok(())
        }
    }

    /// Writes all chunks begun.
    pub(super) fn finish(mut self) -> Result<u64, Error> {
        self.cuts.extend(self.cutting.finish());
        self.write()?;
        Ok(self.chunks)
    }

    fn write(&mut self) -> Result<(), Error> {
        let count = i64::try_from(self.cuts.len()).unwrap_or(i64::MAX);
        let sql = "SELECT nextval(pg_get_serial_sequence('chunk', 'id')) FROM generate_series(1, $1)";
        let ids: Vec<i64> = self.connection.collect(sql, &[&count], |row| get(row, 0))?;
        let (mut chunks, mut members) = (Rows::default(), Rows::default());
        for (id, cut) in ids.into_iter().zip(self.cuts.drain(..)) {
            self.seq += 1;
            self.chunks += 1;
            chunks
                .row(7)
                .int8(id)
                .int8(self.seq)
                .int8(self.not_before.as_nanos())
                .int8(cut.streams.cast_signed())
                .int8(cut.bytes.cast_signed())
                .int4(leaf(self.scan)?)
                .boolean(self.is_fresh);
            members.row(2).int8(id).field(&put_members(&cut.members));
        }
        let columns = "chunk (id, seq, not_before, streams, bytes, scan, is_fresh)";
        self.connection.load_rows(&Target::table(columns), &chunks)?;
        self.connection
            .load_rows(&Target::table("chunk_members (chunk, members)"), &members)?;
        Ok(())
    }
}

/// Puts work into new chunks, in the order of the image. Returns how many streams.
pub(super) fn enqueue(
    connection: &Connection,
    scan: ScanId,
    mut work: Vec<Work>,
    not_before: Timestamp,
) -> Result<u64, Error> {
    if work.is_empty() {
        return Ok(0);
    }
    work.sort_unstable();
    let mut cutter = Cutter::new(connection, scan, not_before, false)?;
    for stream in &work {
        cutter.push(*stream)?;
    }
    cutter.finish()?;
    Ok(u64::try_from(work.len()).unwrap_or(u64::MAX))
}

/// Leaves only `kept` of a free chunk; a chunk with nothing left is done.
pub(super) fn shrink(connection: &Connection, chunk: i64, kept: &[Work]) -> Result<(), Error> {
    let cut = Cut::of(kept);
    let state = if kept.is_empty() { 2_i16 } else { 0 };
    connection.execute(
        "UPDATE chunk SET state = $2, streams = $3, bytes = $4 WHERE id = $1",
        &[
            &chunk,
            &state,
            &cut.streams.cast_signed(),
            &cut.bytes.cast_signed(),
        ],
    )?;
    if kept.is_empty() {
        connection.execute("DELETE FROM chunk_members WHERE chunk = $1", &[&chunk])?;
    } else {
        let sql = "UPDATE chunk_members SET members = $2 WHERE chunk = $1";
        connection.execute(sql, &[&chunk, &put_members(&cut.members)])?;
    }
    Ok(())
}

/// The members of a chunk that is not done.
pub(super) fn members_of(connection: &Connection, chunk: i64) -> Result<Vec<Member>, Error> {
    let row = connection.first("SELECT members FROM chunk_members WHERE chunk = $1", &[&chunk])?;
    let row = row.ok_or_else(|| not_found("unfinished chunk", chunk))?;
    members(get(&row, 0)?)
}

/// Registers a worker.
pub(super) fn register(connection: &Connection, name: &str) -> Result<WorkerId, Error> {
    let sql = format!(
        "INSERT INTO worker (name, begun, seen) SELECT $1, t.now, t.now FROM (SELECT {} AS now) t RETURNING id",
        connection.now_sql()
    );
    connection.one(&sql, &[&text(name)]).map(WorkerId)
}

/// Keeps a worker alive, and tells what a person wishes of it. A retired one stays retired.
pub(super) fn heartbeat(connection: &Connection, worker: WorkerId) -> Result<WorkerWish, Error> {
    let sql = format!(
        "UPDATE worker SET seen = {} WHERE id = $1 AND NOT retired \
         RETURNING wish, set_config('synchronous_commit', 'off', true)",
        connection.now_sql()
    );
    let row = connection.first(&sql, &[&worker.0])?;
    wish(get(&row.ok_or_else(|| dead(worker))?, 0)?)
}

fn dead(worker: WorkerId) -> Error {
    not_found("living worker", worker.0)
}

fn wish(word: &str) -> Result<WorkerWish, Error> {
    crate::code::from_word(word.to_owned())
}

/// Asks something of a worker; it answers with its next heartbeat.
pub(super) fn ask(connection: &Connection, worker: WorkerId, wish: WorkerWish) -> Result<(), Error> {
    let sql = "UPDATE worker SET wish = $2 WHERE id = $1 AND NOT retired";
    match connection.execute(sql, &[&worker.0, &crate::code::word_of(&wish)?])? {
        0 => Err(dead(worker)),
        _ => Ok(()),
    }
}

/// Ends a worker and frees what it holds.
pub(super) fn retire(connection: &Connection, worker: WorkerId) -> Result<(), Error> {
    free(connection, &format!("c.owner = {}", worker.0))?;
    let sql = "UPDATE worker SET retired = true WHERE id = $1";
    match connection.execute(sql, &[&worker.0])? {
        0 => Err(not_found("worker", worker.0)),
        _ => Ok(()),
    }
}

/// Frees leased chunks. Labels leave leased chunks to their workers: what was excluded meanwhile leaves them here (R33). A chunk that
/// somebody works on at this moment (its completion, another sweep) is passed over. Tells how many.
fn free(connection: &Connection, which: &str) -> Result<usize, Error> {
    let sql = format!("SELECT DISTINCT c.scan FROM chunk c WHERE c.state = 1 AND {which}");
    let scans: Vec<i32> = connection.collect(&sql, &[], |row| get(row, 0))?;
    if scans.is_empty() {
        return Ok(0);
    }
    share(connection, &scans)?;
    let sql = format!(
        "UPDATE chunk SET state = 0, owner = NULL WHERE id IN (SELECT c.id FROM chunk c \
         WHERE c.state = 1 AND c.scan = ANY ($1) AND {which} ORDER BY c.id FOR UPDATE SKIP LOCKED) RETURNING scan, id"
    );
    let freed: Vec<(i32, i64)> =
        connection.collect(&sql, &[&scans], |row| Ok((get(row, 0)?, get(row, 1)?)))?;
    for (scan, chunk) in &freed {
        label::prune(connection, ScanId(i64::from(*scan)), *chunk)?;
    }
    Ok(freed.len())
}

/// Keeps the queues of scans from being rebuilt until the transaction ends.
pub(super) fn share(connection: &Connection, scans: &[i32]) -> Result<(), Error> {
    let sql = "SELECT id FROM scan WHERE id = ANY ($1) ORDER BY id FOR SHARE";
    connection.query(sql, &[&scans]).map(drop)
}

/// Keeps everything else that adds to or gives back to the queue of a scan waiting until the transaction ends. Fails unless there is such a scan.
pub(super) fn hold(connection: &Connection, scan: ScanId) -> Result<(), Error> {
    let sql = "SELECT id FROM scan WHERE id = $1 FOR UPDATE";
    connection
        .first(sql, &[&leaf(scan).map_err(|_| no_scan(scan))?])?
        .map(drop)
        .ok_or_else(|| no_scan(scan))
}

fn no_scan(scan: ScanId) -> Error {
    not_found("sealed scan", scan.0)
}

/// The workers, newest first.
pub(super) fn workers(connection: &Connection) -> Result<Vec<WorkerRow>, Error> {
    let sql = "SELECT id, name, seen, retired, (SELECT count(*) FROM chunk c WHERE c.state = 1 AND c.owner = w.id), \
               begun, done_streams, done_bytes, wish FROM worker w ORDER BY id DESC";
    connection.collect(sql, &[], |row| {
        Ok(WorkerRow {
            id: WorkerId(get(row, 0)?),
            name: get(row, 1)?,
            seen: Timestamp::from_nanos(get(row, 2)?),
            retired: get(row, 3)?,
            leased_chunks: unsigned(row, 4)?,
            begun: Some(Timestamp::from_nanos(get(row, 5)?)),
            done_streams: Some(unsigned(row, 6)?),
            done_bytes: Some(unsigned(row, 7)?),
            wish: wish(get(row, 8)?)?,
        })
    })
}

/// Takes back the leases of workers that are dead or have ended; tells how many.
pub(super) fn sweep(connection: &Connection) -> Result<usize, Error> {
    let which = format!(
        "c.owner IN (SELECT w.id FROM worker w WHERE w.retired OR w.seen < {} - {LEASE_NANOS})",
        connection.now_sql()
    );
    free(connection, &which)
}

/// A lease, as it was taken.
pub(super) struct Claimed {
    pub(super) chunk: ChunkId,
    pub(super) seq: i64,
    pub(super) epoch: i64,
    pub(super) reader: String,
    pub(super) members: Vec<Member>,
}

/// What a claim meets.
pub(super) enum Claim {
    /// A chunk was leased.
    Leased(Claimed),
    /// There is none to be had now.
    Nothing,
    /// Dead workers hold leases, which must be taken back first.
    Sweep,
}

/// Where a claim looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Look {
    /// Behind the fresh chunk with this ordinal: what comes before was leased already, and a long look at rows that are gone is spared, which
    /// another session's old snapshot keeps from being cleaned away.
    Behind(i64),
    /// Everywhere.
    Everywhere,
}

/// Leases the first claimable chunk: fresh ones in the order of the image, then retries by when they are due. One statement, one transaction, no
/// wait: a row that another worker is about to lease is passed over. A lease need not survive the end of the server: then it was never given.
///
/// The worker's own row is written once a second at most: its old versions pile up as long as an old snapshot is held.
pub(super) fn claim(
    connection: &Connection,
    scan: ScanId,
    worker: WorkerId,
    look: Look,
) -> Result<Claim, Error> {
    let number = leaf(scan).map_err(|_| no_scan(scan))?;
    let due = match look {
        Look::Behind(seq) => format!("not_before = 0 AND seq > {seq}"),
        Look::Everywhere => "not_before <= (SELECT now FROM clock)".to_owned(),
    };
    let sql = format!(
        "WITH clock AS MATERIALIZED (SELECT {} AS now), \
         alive AS MATERIALIZED (SELECT id FROM worker WHERE id = $2 AND NOT retired), \
         touched AS (UPDATE worker SET seen = (SELECT now FROM clock) \
             WHERE id = $2 AND NOT retired AND seen <= (SELECT now FROM clock) - 1000000000), \
         dead AS MATERIALIZED (SELECT w.id FROM worker w \
             WHERE NOT w.retired AND w.id <> $2 AND w.seen < (SELECT now FROM clock) - {LEASE_NANOS} \
             AND EXISTS (SELECT 1 FROM chunk c WHERE c.state = 1 AND c.owner = w.id) LIMIT 1), \
         leased AS (UPDATE chunk SET state = 1, owner = $2, epoch = epoch + 1 WHERE id = \
             (SELECT id FROM chunk WHERE state = 0 AND scan = $1 AND {due} \
              ORDER BY not_before, seq LIMIT 1 FOR UPDATE SKIP LOCKED) \
             AND EXISTS (SELECT 1 FROM alive) AND NOT EXISTS (SELECT 1 FROM dead) RETURNING id, seq, epoch) \
         SELECT set_config('synchronous_commit', 'off', true), EXISTS (SELECT 1 FROM alive), \
             (SELECT reader FROM scan WHERE id = $1), EXISTS (SELECT 1 FROM dead), l.id, l.seq, l.epoch, m.members \
         FROM (SELECT 1) one LEFT JOIN leased l ON true LEFT JOIN chunk_members m ON m.chunk = l.id",
        connection.now_sql()
    );
    let row = connection.first(&sql, &[&number, &worker.0])?;
    let row = row.ok_or_else(|| Error::Damaged("no answer to a claim".to_owned()))?;
    let reader: Option<String> = get(&row, 2)?;
    let reader = reader.ok_or_else(|| no_scan(scan))?;
    if !get::<bool>(&row, 1)? {
        return Err(dead(worker));
    }
    if get(&row, 3)? {
        return Ok(Claim::Sweep);
    }
    let Some(chunk) = get::<Option<i64>>(&row, 4)? else {
        return Ok(Claim::Nothing);
    };
    let asked: Option<&[u8]> = get(&row, 7)?;
    let asked = asked.ok_or_else(|| Error::Damaged(format!("chunk {chunk} has no members")))?;
    Ok(Claim::Leased(Claimed {
        chunk: ChunkId(chunk),
        seq: get(&row, 5)?,
        epoch: get(&row, 6)?,
        reader,
        members: members(asked)?,
    }))
}

/// Gives a chunk back; without effect if the lease was lost.
pub(super) fn release(
    connection: &Connection,
    worker: WorkerId,
    chunk: ChunkId,
    epoch: i64,
) -> Result<(), Error> {
    let held = format!(
        "c.id = {} AND c.owner = {} AND c.epoch = {epoch}",
        chunk.0, worker.0
    );
    free(connection, &held).map(drop)
}

/// Fails unless the scan is sealed.
pub(super) fn sealed(connection: &Connection, scan: ScanId) -> Result<(), Error> {
    let number = leaf(scan).map_err(|_| no_scan(scan))?;
    connection
        .first("SELECT 1 FROM scan WHERE id = $1", &[&number])?
        .map(drop)
        .ok_or_else(|| no_scan(scan))
}

/// Whether all chunks of a scan are done.
pub(super) fn is_worked_off(connection: &Connection, scan: ScanId) -> Result<bool, Error> {
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM chunk WHERE scan = $1 AND state = 0) \
               AND NOT EXISTS (SELECT 1 FROM chunk WHERE scan = $1 AND state = 1)";
    connection.one(sql, &[&leaf(scan)?])
}

/// A `bigint` that stands for an unsigned one, as an SQL number that sums cannot overflow.
pub(super) fn as_unsigned(column: &str) -> String {
    format!("(CASE WHEN {column} < 0 THEN {column} + 18446744073709551616 ELSE {column}::numeric END)")
}

/// A sum from its text; one that is too big is the biggest.
pub(super) fn sum(row: &Row, column: usize) -> Result<u64, Error> {
    let digits: Option<&str> = get(row, column)?;
    Ok(digits.map_or(0, |digits| digits.parse().unwrap_or(u64::MAX)))
}

/// The queue of a scan, summed by the server.
pub(super) fn progress(connection: &Connection, scan: ScanId) -> Result<Progress, Error> {
    sealed(connection, scan)?;
    let now = connection.now()?;
    let sql = format!(
        "SELECT c.state, coalesce(w.retired OR w.seen < $2 - {LEASE_NANOS}, false) AS orphan, c.not_before <= $2 AS due, \
         min(c.not_before), count(*), sum(c.streams)::text, sum({})::text FROM chunk c \
         LEFT JOIN worker w ON w.id = c.owner WHERE c.scan = $1 GROUP BY 1, 2, 3",
        as_unsigned("c.bytes")
    );
    let mut progress = Progress::default();
    for row in connection.query(&sql, &[&leaf(scan)?, &now.as_nanos()])? {
        let chunks = QueuedChunks {
            chunks: unsigned(&row, 4)?,
            state: i64::from(get::<i16>(&row, 0)?),
            not_before: Timestamp::from_nanos(get(&row, 3)?),
            streams: sum(&row, 5)?,
            bytes: sum(&row, 6)?,
            is_orphan: get(&row, 1)?,
        };
        progress.count(&chunks, now);
    }
    Ok(progress)
}

/// The work behind members of chunks, with sizes and positions.
pub(super) fn work_of(connection: &Connection, scan: ScanId, members: &[Member]) -> Result<Vec<Work>, Error> {
    let numbers: Vec<i64> = members.iter().map(|member| member.inode.cast_signed()).collect();
    let found = placed_streams(connection, scan, &numbers)?;
    let mut work = Vec::with_capacity(members.len());
    for member in members {
        for stream in &member.streams {
            let found = found.get(&(member.inode.cast_signed(), *stream));
            work.push(*found.ok_or_else(|| {
                Error::Damaged(format!(
                    "a chunk names a missing stream of inode {}",
                    member.inode
                ))
            })?);
        }
    }
    Ok(work)
}

/// All streams of inodes as work.
pub(super) fn placed_streams(
    connection: &Connection,
    scan: ScanId,
    inodes: &[i64],
) -> Result<BTreeMap<(i64, u32), Work>, Error> {
    let streams = super::inodes::streams(connection, scan, inodes)?;
    let sql = format!("SELECT ino, {FIRST_EXTENT} FROM inode_{scan} WHERE ino = ANY ($1)");
    let mut found = BTreeMap::new();
    for row in connection.query(&sql, &[&inodes])? {
        let inode: i64 = get(&row, 0)?;
        let position = crate::codec::first_offset(get(&row, 1)?)?.unwrap_or(0);
        for stream in streams.get(&inode).into_iter().flatten() {
            let work = Work {
                position,
                inode: inode.cast_unsigned(),
                stream: stream.ordinal,
                bytes: stream.size,
            };
            found.insert((inode, stream.ordinal), work);
        }
    }
    Ok(found)
}

/// The beginning of the encoded extents, which holds the first offset.
pub(super) const FIRST_EXTENT: &str = "substring(extents FROM 1 FOR 10)";

/// Those of some work that paths still ask for.
pub(super) fn still_wanted(
    connection: &Connection,
    scan: ScanId,
    work: Vec<Work>,
) -> Result<Vec<Work>, Error> {
    let numbers: Vec<i64> = work.iter().map(|work| work.inode.cast_signed()).collect();
    let wanted = state::wanted(connection, scan, &numbers)?;
    Ok(work
        .into_iter()
        .filter(|work| wanted.contains(&work.inode.cast_signed()))
        .collect())
}
