//! The queue of copy work: chunks and how they change hands.
//!
//! Locks are taken in one order: rows of `scan`, then rows of `chunk` by id. What rebuilds a scan's queue locks its row alone; what adds to it or gives back to
//! it shares that lock; a claim takes no lock but that of the chunk that it leases.

use std::collections::BTreeMap;

use ntt_model::{ChunkId, ScanId, Timestamp, WorkerId};
use postgres::Row;

use super::connection::{Connection, Target, get};
use super::inodes::OWN_STREAM;
use super::media::{leaf, not_found, unsigned};
use super::wire::Rows;
use super::{label, state};
use crate::Error;
use crate::codec::{Member, first_offset, members, put_members};
use crate::cutting::{Cut, Cutter, Cutting, Window, Work};
use crate::layout::{SHORT, ShortMap, put_layout};
use crate::lease::{LEASE_NANOS, QueuedChunks};
use crate::rows::Progress;

/// Chunks written in one go.
const BATCH: usize = 512;

/// Cuts work, in the order in which it comes, into chunks.
pub(super) struct ChunkCutter<'c> {
    connection: &'c Connection,
    scan: ScanId,
    not_before: Timestamp,
    is_fresh: bool,
    seq: i64,
    cutting: Cutting,
    cuts: Vec<Cut>,
    chunks: u64,
}

impl<'c> ChunkCutter<'c> {
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

    fn write(&mut self) -> Result<(), Error> {
        let ids = self.connection.new_ids("chunk", self.cuts.len())?;
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
            members
                .row(3)
                .int8(id)
                .field(&put_members(&cut.members))
                .field(&put_layout(&cut.places)?);
        }
        let columns = "chunk (id, seq, not_before, streams, bytes, scan, is_fresh)";
        self.connection.load_rows(&Target::table(columns), &chunks)?;
        self.connection
            .load_rows(&Target::table("chunk_members (chunk, members, layout)"), &members)?;
        Ok(())
    }
}

impl Cutter for ChunkCutter<'_> {
    fn push(&mut self, work: Work) -> Result<(), Error> {
        if let Some(full) = self.cutting.push(work) {
            self.cuts.push(full);
        }
        if self.cuts.len() >= BATCH {
            self.write()
        } else {
            Ok(())
        }
    }

    fn finish(mut self) -> Result<u64, Error> {
        self.cuts.extend(self.cutting.finish());
        self.write()?;
        Ok(self.chunks)
    }
}

/// Puts work into new chunks, in the order of the image. Returns how many streams.
pub(super) fn enqueue(
    connection: &Connection,
    scan: ScanId,
    work: Vec<Work>,
    not_before: Timestamp,
) -> Result<u64, Error> {
    if work.is_empty() {
        return Ok(0);
    }
    let mut window = Window::new(ChunkCutter::new(connection, scan, not_before, false)?);
    work.into_iter().try_for_each(|work| window.push(work))?;
    Ok(window.finish()?.0)
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
        let sql = "UPDATE chunk_members SET members = $2, layout = $3 WHERE chunk = $1";
        let (members, layout) = (put_members(&cut.members), put_layout(&cut.places)?);
        connection.execute(sql, &[&chunk, &members, &layout])?;
    }
    Ok(())
}

/// The members of a chunk that is not done.
pub(super) fn members_of(connection: &Connection, chunk: i64) -> Result<Vec<Member>, Error> {
    let row = connection.first("SELECT members FROM chunk_members WHERE chunk = $1", &[&chunk])?;
    let row = row.ok_or_else(|| not_found("unfinished chunk", chunk))?;
    members(get(&row, 0)?)
}

/// Frees leased chunks. Labels leave leased chunks to their workers: what was excluded meanwhile leaves them here (R33). A chunk that
/// somebody works on at this moment (its completion, another sweep) is passed over. Tells how many.
pub(super) fn free(connection: &Connection, which: &str) -> Result<usize, Error> {
    let sql = format!("SELECT DISTINCT c.scan FROM chunk c WHERE c.state = 1 AND {which}");
    let scans: Vec<i32> = connection.collect(&sql, &[], |row| get(row, 0))?;
    if scans.is_empty() {
        return Ok(0);
    }
    share(connection, &scans)?;
    // Behind all others, where claims look first: those before are leased or done, and as long as another session holds an old snapshot a look at their old
    // versions takes the longer the more there are.
    let sql = format!(
        "UPDATE chunk SET state = 0, owner = NULL, seq = f.seq FROM (SELECT h.id, row_number() OVER (PARTITION BY h.scan ORDER BY h.seq) \
             + (SELECT max(o.seq) FROM chunk o WHERE o.scan = h.scan) AS seq \
             FROM (SELECT c.id, c.scan, c.seq FROM chunk c WHERE c.state = 1 AND c.scan = ANY ($1) AND {which} \
                 ORDER BY c.id FOR UPDATE SKIP LOCKED) h) f \
         WHERE chunk.id = f.id RETURNING chunk.scan, chunk.id"
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

/// The error for a scan that is not there.
pub(super) fn no_scan(scan: ScanId) -> Error {
    not_found("sealed scan", scan.0)
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
        for stream in &*member.streams {
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
    let sql = format!("SELECT ino, {PLACE} FROM inode_{scan} i WHERE ino = ANY ($1)");
    let mut found = BTreeMap::new();
    for row in connection.query(&sql, &[&inodes])? {
        let inode: i64 = get(&row, 0)?;
        let (position, map) = place(&row, 1)?;
        for stream in streams.get(&inode).into_iter().flatten() {
            let work = Work {
                position,
                inode: inode.cast_unsigned(),
                stream: stream.ordinal,
                bytes: stream.size,
                map: map.for_stream(stream.ordinal),
            };
            found.insert((inode, stream.ordinal), work);
        }
    }
    Ok(found)
}

/// Columns of the inode `i` that tell where its data stream lies: its bits, and so much of the encoded extents as tells whether they are short.
pub(super) const PLACE: &str = "i.bits, substring(i.extents FROM 1 FOR 16)";
const _: () = assert!(SHORT + 1 == 16, "one byte more than a short map has");

/// Image offset of the first extent (0 if there is none) and map of stream 0, from [`PLACE`] in the columns from `first` on.
pub(super) fn place(row: &Row, first: usize) -> Result<(u64, ShortMap), Error> {
    let bits: i16 = get(row, first)?;
    let extents: &[u8] = get(row, first + 1)?;
    let map = if bits & OWN_STREAM == 0 {
        ShortMap::default()
    } else {
        ShortMap::of_row(i64::from(bits), extents)
    };
    Ok((first_offset(extents)?.unwrap_or(0), map))
}

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
