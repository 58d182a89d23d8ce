//! The queue of copy work: chunks, their leases, and the workers that hold them.

use ntt_model::{ChunkId, ScanId, Timestamp, WorkerId};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::codec::{Member, first_offset, members, put_members};
use super::label::prune;
use super::media::{collect, not_found};
use super::state;
use crate::Error;
pub(super) use crate::cutting::Work;
use crate::cutting::{Cut, Cutter, Cutting, Window};
use crate::layout::{self, ShortMap, put_layout};
use crate::lease::{Lease, QueuedChunks, dead_before};
use crate::rows::{Progress, WantedStream, WorkerRow, WorkerWish};

/// Cuts work, in the order in which it comes, into chunks.
pub(super) struct ChunkCutter<'c> {
    connection: &'c Connection,
    scan: ScanId,
    not_before: Timestamp,
    seq: i64,
    cutting: Cutting,
    chunks: u64,
}

impl<'c> ChunkCutter<'c> {
    /// New chunks stand behind those that the scan has.
    pub(super) fn new(
        connection: &'c Connection,
        scan: ScanId,
        not_before: Timestamp,
    ) -> Result<Self, Error> {
        let sql = "SELECT coalesce(max(seq), 0) FROM chunk WHERE scan = ?1";
        Ok(Self {
            connection,
            scan,
            not_before,
            seq: connection.query_row(sql, [scan.0], |row| row.get(0))?,
            cutting: Cutting::default(),
            chunks: 0,
        })
    }

    fn write(&mut self, cut: &Cut) -> Result<(), Error> {
        self.seq += 1;
        self.chunks += 1;
        let mut chunk = self.connection.prepare_cached(
            "INSERT INTO chunk (scan, seq, not_before, streams, bytes) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        chunk.execute(params![
            self.scan.0,
            self.seq,
            self.not_before.as_nanos(),
            cut.streams.cast_signed(),
            cut.bytes.cast_signed()
        ])?;
        let mut members = self
            .connection
            .prepare_cached("INSERT INTO chunk_members (chunk, members, layout) VALUES (?1, ?2, ?3)")?;
        members.execute(params![
            self.connection.last_insert_rowid(),
            put_members(&cut.members),
            put_layout(&cut.places)?
        ])?;
        Ok(())
    }
}

impl Cutter for ChunkCutter<'_> {
    fn push(&mut self, work: Work) -> Result<(), Error> {
        match self.cutting.push(work) {
            Some(full) => self.write(&full),
            None => Ok(()),
        }
    }

    fn finish(mut self) -> Result<u64, Error> {
        if let Some(last) = self.cutting.finish() {
            self.write(&last)?;
        }
        Ok(self.chunks)
    }
}

/// The members of a chunk that is not done, with those streams that stand beside them; no streams for a member that is to be looked up.
pub(super) fn asked_of(
    connection: &Connection,
    chunk: i64,
) -> Result<(Vec<Member>, Vec<Vec<WantedStream>>), Error> {
    let mut statement =
        connection.prepare_cached("SELECT members, layout FROM chunk_members WHERE chunk = ?1")?;
    let mut rows = statement.query([chunk])?;
    let row = rows.next()?.ok_or_else(|| not_found("unfinished chunk", chunk))?;
    let members = members(row.get_ref(0)?.as_blob()?)?;
    let layout = row.get_ref(1)?.as_blob_or_null()?.unwrap_or(&[]);
    let streams = layout::known(layout, members.len())?;
    Ok((members, streams))
}

/// The streams of an inode as work, from a row with its columns `bits`, `size` and `extents` from `first` on.
pub(super) fn work_of_row(
    connection: &Connection,
    scan: ScanId,
    inode: i64,
    row: &Row<'_>,
    first: usize,
) -> Result<impl Iterator<Item = Work> + use<>, Error> {
    let (bits, size): (i64, Option<i64>) = (row.get(first)?, row.get(first + 1)?);
    let extents = row.get_ref(first + 2)?.as_blob_or_null()?.unwrap_or(&[]);
    let position = first_offset(extents)?.unwrap_or(0);
    let map = size.map_or_else(ShortMap::default, |_| ShortMap::of_row(bits, extents));
    let streams = state::streams(connection, scan, inode, bits, size)?;
    Ok(streams.map(move |stream| Work {
        position,
        inode: inode.cast_unsigned(),
        stream: stream.ordinal,
        bytes: stream.size,
        map: map.for_stream(stream.ordinal),
    }))
}

/// Leaves only `kept` of a free chunk; a chunk with nothing left is done.
pub(super) fn shrink(connection: &Connection, chunk: i64, kept: &[Work]) -> Result<(), Error> {
    let cut = Cut::of(kept);
    let state = if kept.is_empty() { 2 } else { 0 };
    connection.execute(
        "UPDATE chunk SET state = ?2, streams = ?3, bytes = ?4 WHERE id = ?1",
        params![chunk, state, cut.streams.cast_signed(), cut.bytes.cast_signed()],
    )?;
    if kept.is_empty() {
        connection.execute("DELETE FROM chunk_members WHERE chunk = ?1", [chunk])?;
    } else {
        let sql = "UPDATE chunk_members SET members = ?2, layout = ?3 WHERE chunk = ?1";
        connection.execute(
            sql,
            params![chunk, put_members(&cut.members), put_layout(&cut.places)?],
        )?;
    }
    Ok(())
}

/// Puts work into new chunks, in the order of the image. Returns how many streams.
pub(super) fn enqueue(
    connection: &Connection,
    scan: ScanId,
    work: Vec<Work>,
    not_before: Timestamp,
) -> Result<u64, Error> {
    let mut window = Window::new(ChunkCutter::new(connection, scan, not_before)?);
    work.into_iter().try_for_each(|work| window.push(work))?;
    Ok(window.finish()?.0)
}

/// Registers a worker.
pub(super) fn register(connection: &Connection, name: &str, now: Timestamp) -> Result<WorkerId, Error> {
    connection.execute(
        "INSERT INTO worker (name, seen) VALUES (?1, ?2)",
        params![name, now.as_nanos()],
    )?;
    Ok(WorkerId(connection.last_insert_rowid()))
}

/// Keeps a worker alive. A retired one stays retired.
pub(super) fn heartbeat(connection: &Connection, worker: WorkerId, now: Timestamp) -> Result<(), Error> {
    let mut statement =
        connection.prepare_cached("UPDATE worker SET seen = ?2 WHERE id = ?1 AND NOT retired")?;
    match statement.execute(params![worker.0, now.as_nanos()])? {
        0 => Err(not_found("living worker", worker.0)),
        _ => Ok(()),
    }
}

/// Ends a worker and frees what it holds.
pub(super) fn retire(connection: &Connection, worker: WorkerId) -> Result<(), Error> {
    let sql = "UPDATE worker SET retired = 1 WHERE id = ?1";
    if connection.execute(sql, [worker.0])? == 0 {
        return Err(not_found("worker", worker.0));
    }
    free(connection, "owner = ?1", worker.0)
}

/// Frees leased chunks. Labels leave leased chunks to their workers: what was excluded meanwhile leaves them here (R33).
fn free(connection: &Connection, which: &str, parameter: i64) -> Result<(), Error> {
    let sql =
        format!("UPDATE chunk SET state = 0, owner = NULL WHERE state = 1 AND {which} RETURNING scan, id");
    let freed = collect(connection, &sql, [parameter], |row| {
        Ok((ScanId(row.get(0)?), row.get(1)?))
    })?;
    for (scan, chunk) in freed {
        prune(connection, scan, chunk)?;
    }
    Ok(())
}

/// The workers, newest first.
pub(super) fn workers(connection: &Connection) -> Result<Vec<WorkerRow>, Error> {
    let sql = "SELECT id, name, seen, retired, (SELECT count(*) FROM chunk WHERE state = 1 AND owner = worker.id) \
               FROM worker ORDER BY id DESC";
    collect(connection, sql, params![], |row| {
        Ok(WorkerRow {
            id: WorkerId(row.get(0)?),
            name: row.get(1)?,
            seen: Timestamp::from_nanos(row.get(2)?),
            retired: row.get(3)?,
            leased_chunks: row.get::<_, i64>(4)?.cast_unsigned(),
            begun: None,
            done_streams: None,
            done_bytes: None,
            wish: WorkerWish::Work,
        })
    })
}

/// Takes back the leases of workers that are dead at `now`. Asks first whether there are any, since there hardly ever are, and RETURNING makes
/// a table for its answer.
fn sweep(connection: &Connection, now: Timestamp) -> Result<(), Error> {
    let dead_before = dead_before(now).as_nanos();
    let mut orphans = connection.prepare_cached(
        "SELECT 1 FROM worker w CROSS JOIN chunk c ON c.owner = w.id WHERE NOT w.retired AND w.seen < ?1 AND c.state = 1",
    )?;
    if !orphans.exists([dead_before])? {
        return Ok(());
    }
    let dead = "owner IN (SELECT id FROM worker WHERE NOT retired AND seen < ?1)";
    free(connection, dead, dead_before)
}

/// Leases the first claimable chunk: fresh ones in the order of the image, then retries by when they are due.
pub(super) fn claim(
    connection: &Connection,
    scan: ScanId,
    worker: WorkerId,
    now: Timestamp,
) -> Result<Option<(ChunkId, i64)>, Error> {
    sealed(connection, scan)?;
    heartbeat(connection, worker, now)?;
    sweep(connection, now)?;
    let mut first = connection.prepare_cached(
        "SELECT id, epoch FROM chunk WHERE state = 0 AND scan = ?1 AND not_before <= ?2 \
         ORDER BY not_before, seq LIMIT 1",
    )?;
    let claimable: Option<(i64, i64)> = first
        .query_row(params![scan.0, now.as_nanos()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((id, epoch)) = claimable else {
        return Ok(None);
    };
    let epoch = epoch + 1;
    let mut lease =
        connection.prepare_cached("UPDATE chunk SET state = 1, owner = ?2, epoch = ?3 WHERE id = ?1")?;
    lease.execute(params![id, worker.0, epoch])?;
    Ok(Some((ChunkId(id), epoch)))
}

/// The scan of a chunk and who holds it.
pub(super) fn lease(connection: &Connection, chunk: ChunkId) -> Result<(ScanId, Lease), Error> {
    let mut statement =
        connection.prepare_cached("SELECT scan, state, owner, epoch, not_before FROM chunk WHERE id = ?1")?;
    let mut rows = statement.query([chunk.0])?;
    let row = rows.next()?.ok_or_else(|| not_found("chunk", chunk.0))?;
    let lease = match (row.get(1)?, row.get::<_, Option<i64>>(2)?) {
        (0, _) => Lease::Free {
            not_before: Timestamp::from_nanos(row.get(4)?),
        },
        (1, Some(owner)) => Lease::Held {
            owner: WorkerId(owner),
            epoch: row.get(3)?,
        },
        _ => Lease::Done,
    };
    Ok((ScanId(row.get(0)?), lease))
}

/// Gives a chunk back; without effect if the lease was lost.
pub(super) fn release(
    connection: &Connection,
    worker: WorkerId,
    chunk: ChunkId,
    epoch: i64,
) -> Result<(), Error> {
    if lease(connection, chunk)?.1.accepts(worker, epoch) {
        free(connection, "id = ?1", chunk.0)?;
    }
    Ok(())
}

/// Fails unless the scan is sealed.
pub(super) fn sealed(connection: &Connection, scan: ScanId) -> Result<(), Error> {
    let mut statement =
        connection.prepare_cached("SELECT 1 FROM scan WHERE id = ?1 AND sealed IS NOT NULL")?;
    if statement.exists([scan.0])? {
        return Ok(());
    }
    Err(not_found("sealed scan", scan.0))
}

/// The queue of a scan. Sums in Rust: sizes on damaged media are absurd and SQL's sum would overflow.
pub(super) fn progress(connection: &Connection, scan: ScanId, now: Timestamp) -> Result<Progress, Error> {
    sealed(connection, scan)?;
    let mut progress = Progress::default();
    let mut statement = connection.prepare_cached(
        "SELECT c.state, c.not_before, c.streams, c.bytes, w.retired OR w.seen < ?2 FROM chunk c \
         LEFT JOIN worker w ON w.id = c.owner WHERE c.scan = ?1",
    )?;
    let mut rows = statement.query(params![scan.0, dead_before(now).as_nanos()])?;
    while let Some(row) = rows.next()? {
        let chunk = QueuedChunks {
            chunks: 1,
            state: row.get(0)?,
            not_before: Timestamp::from_nanos(row.get(1)?),
            streams: row.get::<_, i64>(2)?.cast_unsigned(),
            bytes: row.get::<_, i64>(3)?.cast_unsigned(),
            is_orphan: row.get::<_, Option<bool>>(4)?.unwrap_or(false),
        };
        progress.count(&chunk, now);
    }
    Ok(progress)
}
