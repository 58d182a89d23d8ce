//! Completing chunks: results, failures and what follows from them, blobs.

use std::collections::{BTreeMap, VecDeque};

use ntt_model::failure::Failure;
use ntt_model::{BlobHash, ChunkId, FailureClass, Outcome, ScanId, Timestamp, WorkerId};
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::codec::Member;
use super::label::{members_of, work_of};
use super::queue::{ChunkCutter, Work, enqueue, lease, sealed, shrink, work_of_row};
use super::state::{self, DAMAGED, FAILED, REOPENED, RETRYABLE, STORED, is_eligible};
use super::{blob, media};
use crate::Error;
use crate::cutting::Window;
use crate::lease::{History, Verdict};
use crate::rows::{ChunkResult, StreamResult};
use crate::settlement::{self, KeptBlob, Settlement};

/// Records the results of chunks; returns those whose lease was lost.
pub(super) fn complete(
    connection: &Connection,
    worker: WorkerId,
    results: &[ChunkResult],
    now: Timestamp,
) -> Result<Vec<ChunkId>, Error> {
    let mut lost = Vec::new();
    let mut retries = BTreeMap::new();
    let mut blobs = blob::Keeper::new(connection)?;
    let mut stored: Option<(ScanId, CachedStatement<'_>)> = None;
    for result in results {
        let (scan, held) = lease(connection, result.chunk)?;
        if !held.accepts(worker, result.epoch) {
            lost.push(result.chunk);
            continue;
        }
        let statement = match stored.take() {
            Some((prepared, statement)) if prepared == scan => statement,
            _ => connection.prepare_cached(&stored_sql(scan))?,
        };
        let mut completion = Completion {
            connection,
            scan,
            now,
            blobs: &mut blobs,
            stored: statement,
        };
        completion.record(result, &mut retries)?;
        stored = Some((scan, completion.stored));
    }
    for ((scan, not_before), work) in retries {
        enqueue(connection, scan, work, not_before)?;
    }
    Ok(lost)
}

/// Work for new chunks by scan and earliest time.
type Retries = BTreeMap<(ScanId, Timestamp), Vec<Work>>;

/// Nearly every result is this one: a stream stored whole, of which nothing was known before.
///
/// DO NOTHING and not DO UPDATE: a statement that may write twice keeps a copy of every page that it changes, to be able to take itself back.
fn stored_sql(scan: ScanId) -> String {
    format!(
        "INSERT INTO result_{scan} (ino, stream, state, blob, attempts, strikes) VALUES (?1, ?2, {STORED}, ?3, 0, 0) \
         ON CONFLICT (ino, stream) DO NOTHING"
    )
}

/// The same for a stream that was tried before: it forgives all strikes, and only remembers how many attempts it took.
fn stored_at_last_sql(scan: ScanId) -> String {
    format!(
        "UPDATE result_{scan} SET state = {STORED}, blob = ?3, strikes = 0, code = NULL, not_before = NULL, class = NULL, \
         detail = NULL, missing = NULL WHERE ino = ?1 AND stream = ?2"
    )
}

struct Completion<'c, 'b> {
    connection: &'c Connection,
    scan: ScanId,
    now: Timestamp,
    blobs: &'b mut blob::Keeper<'c>,
    stored: CachedStatement<'c>,
}

impl Completion<'_, '_> {
    /// Records one chunk. Wanted streams without a result return to the queue, so that a worker may stop in the middle.
    fn record(&mut self, result: &ChunkResult, retries: &mut Retries) -> Result<(), Error> {
        let mut wanted = Wanted::of(&members_of(self.connection, result.chunk.0)?);
        let (mut settled, mut settled_bytes) = (0_i64, 0_u64);
        for stream in &result.streams {
            if !wanted.take(stream.inode, stream.stream) {
                return Err(Error::Conflict(format!(
                    "chunk {} does not want stream {} of inode {} (again)",
                    result.chunk, stream.stream, stream.inode
                )));
            }
            match (self.settle(stream)?, &stream.outcome) {
                (Verdict::Retry { not_before }, _) => {
                    self.try_again((stream.inode, stream.stream), not_before, retries)?;
                    continue;
                }
                (_, Outcome::Stored { size, .. } | Outcome::Damaged { size, .. }) => {
                    settled_bytes = settled_bytes.saturating_add(*size);
                }
                _ => {
                    let work = self.work((stream.inode, stream.stream))?;
                    settled_bytes = settled_bytes.saturating_add(work.bytes);
                }
            }
            settled += 1;
        }
        for stream in wanted.0 {
            self.try_again(stream, Timestamp::from_nanos(0), retries)?;
        }
        self.add_findings(result)?;
        self.close(result.chunk, settled, settled_bytes)
    }

    fn work(&self, (inode, stream): (u64, u32)) -> Result<Work, Error> {
        let work = work_for(self.connection, self.scan, inode.cast_signed(), stream)?;
        work.ok_or_else(|| Error::Damaged(format!("inode {inode} has no stream {stream}")))
    }

    /// Returns a stream to the queue, unless it was excluded while it was leased.
    fn try_again(
        &self,
        stream: (u64, u32),
        not_before: Timestamp,
        retries: &mut Retries,
    ) -> Result<(), Error> {
        if state::is_wanted(self.connection, self.scan, stream.0.cast_signed())? {
            let work = self.work(stream)?;
            retries.entry((self.scan, not_before)).or_default().push(work);
        }
        Ok(())
    }

    fn add_findings(&self, result: &ChunkResult) -> Result<(), Error> {
        if result.findings.is_empty() {
            return Ok(());
        }
        let volume = super::answer::volume_of_scan(self.connection, self.scan)?;
        let medium = media::medium_of_volume(self.connection, volume)?;
        for finding in &result.findings {
            media::insert_finding(self.connection, medium, Some(volume), Some(self.scan), finding)?;
        }
        // The scan's counts are those of its rows.
        self.connection.execute(
            "UPDATE scan SET findings = findings + ?2 WHERE id = ?1",
            params![
                self.scan.0,
                i64::try_from(result.findings.len()).unwrap_or(i64::MAX)
            ],
        )?;
        Ok(())
    }

    fn close(&self, chunk: ChunkId, streams: i64, bytes: u64) -> Result<(), Error> {
        self.connection.execute(
            "UPDATE chunk SET state = 2, owner = NULL, streams = ?2, bytes = ?3 WHERE id = ?1",
            params![chunk.0, streams, bytes.cast_signed()],
        )?;
        self.connection
            .execute("DELETE FROM chunk_members WHERE chunk = ?1", [chunk.0])?;
        Ok(())
    }

    fn settle(&mut self, result: &StreamResult) -> Result<Verdict, Error> {
        let inode = result.inode.cast_signed();
        if let Outcome::Stored { blob, size } = &result.outcome {
            let blob = self.keep_blob(result, blob, *size)?;
            let values = params![inode, result.stream, blob];
            if self.stored.execute(values)? == 0 {
                let sql = stored_at_last_sql(self.scan);
                self.connection.prepare_cached(&sql)?.execute(values)?;
            }
            return Ok(Verdict::Settled);
        }
        let prior = state::result(self.connection, self.scan, inode, result.stream)?;
        let settlement = settlement::settle(&result.outcome, prior, self.now);
        let blob = match settlement.blob {
            KeptBlob::None => None,
            KeptBlob::Earlier(id) => Some(id),
            KeptBlob::New(hash, size) => Some(self.keep_blob(result, &hash, size)?),
        };
        if let Some(failure) = settlement.failure {
            self.add_attempt(result, failure, settlement.history)?;
        }
        self.write(result, blob, &settlement)?;
        Ok(settlement.verdict)
    }

    fn keep_blob(&mut self, result: &StreamResult, hash: &BlobHash, size: u64) -> Result<i64, Error> {
        self.blobs
            .keep(hash, size, result.sha256.as_ref(), result.content_type.as_deref())
    }

    fn add_attempt(&self, result: &StreamResult, failure: &Failure, history: History) -> Result<(), Error> {
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO attempt (scan, ino, stream, n, class, code, at, detail) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        statement.execute(params![
            self.scan.0,
            result.inode.cast_signed(),
            result.stream,
            history.attempts,
            failure.class.as_str(),
            failure.code,
            self.now.as_nanos(),
            failure.detail
        ])?;
        Ok(())
    }

    fn write(
        &self,
        result: &StreamResult,
        blob: Option<i64>,
        settlement: &Settlement<'_>,
    ) -> Result<(), Error> {
        let mut statement = self.connection.prepare_cached(&format!(
            "INSERT OR REPLACE INTO result_{} \
             (ino, stream, state, blob, attempts, strikes, code, not_before, class, detail, missing) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            self.scan
        ))?;
        statement.execute(params![
            result.inode.cast_signed(),
            result.stream,
            settlement.state,
            blob,
            settlement.history.attempts,
            settlement.history.strikes,
            settlement.failure.map(|failure| failure.code),
            settlement.not_before().map(|time| time.as_nanos()),
            settlement.failure.map(|failure| failure.class.as_str()),
            settlement.failure.map(|failure| failure.detail.as_str()),
            settlement.missing
        ])?;
        Ok(())
    }
}

/// The streams that a chunk asks for and that have no result yet, in the order of the chunk.
struct Wanted(VecDeque<(u64, u32)>);

impl Wanted {
    fn of(members: &[Member]) -> Self {
        let streams = members
            .iter()
            .flat_map(|member| member.streams.iter().map(|stream| (member.inode, *stream)));
        Self(streams.collect())
    }

    /// Whether the stream was asked for; it is not any more. Results mostly come in the order of the chunk.
    fn take(&mut self, inode: u64, stream: u32) -> bool {
        let place = self.0.iter().position(|wanted| *wanted == (inode, stream));
        place.is_some_and(|place| self.0.remove(place).is_some())
    }
}

/// Where a stream that may be reopened stands: it failed, waits or is damaged, and is still wanted.
fn is_reopenable(scan: ScanId) -> String {
    format!(
        "r.state IN ({DAMAGED}, {RETRYABLE}, {FAILED}) AND {}",
        is_eligible(scan, "r.ino")
    )
}

/// Streams that are looked at in one go.
const PAGE: u32 = 4096;

/// How many streams of each class [`reopen`] would take.
pub(super) fn reopenable(connection: &Connection, scan: ScanId) -> Result<Vec<(FailureClass, u64)>, Error> {
    sealed(connection, scan)?;
    let sql = format!(
        "SELECT r.class, count(*) FROM result_{scan} r WHERE {} GROUP BY r.class ORDER BY r.class",
        is_reopenable(scan)
    );
    let rows = media::collect(connection, &sql, params![], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?.cast_unsigned()))
    })?;
    let parse = |(class, count): (String, u64)| match class.parse() {
        Ok(class) => Ok((class, count)),
        Err(error) => Err(Error::Damaged(format!("result: {error}"))),
    };
    rows.into_iter().map(parse).collect()
}

/// Reopens failed, waiting and damaged streams of a class that are still wanted; returns how many. What a worker holds is left to it.
pub(super) fn reopen(
    connection: &Connection,
    scan: ScanId,
    class: Option<FailureClass>,
) -> Result<u64, Error> {
    sealed(connection, scan)?;
    let class = class.map(FailureClass::as_str);
    let cutter = ChunkCutter::new(connection, scan, Timestamp::from_nanos(0))?;
    let mut window = Window::new(cutter);
    let mut again = |work: Work| {
        forgive(connection, scan, &work)?;
        window.push(work)
    };
    take_waiting(connection, scan, class, &mut again)?;
    let sql = format!(
        "SELECT r.ino, r.stream FROM result_{scan} r WHERE (r.ino, r.stream) > (?1, ?2) \
         AND (?3 IS NULL OR r.class = ?3) AND r.state <> {RETRYABLE} AND {} ORDER BY r.ino, r.stream LIMIT {PAGE}",
        is_reopenable(scan)
    );
    let mut last = (i64::MIN, 0_u32);
    loop {
        let settled = media::collect(connection, &sql, params![last.0, last.1, class], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        let Some(end) = settled.last() else { break };
        last = *end;
        for (inode, stream) in settled {
            if let Some(work) = work_for(connection, scan, inode, stream)? {
                again(work)?;
            }
        }
    }
    Ok(window.finish()?.0)
}

/// Takes what waits for its time, and would be reopened, out of the free chunks in which it waits.
fn take_waiting(
    connection: &Connection,
    scan: ScanId,
    class: Option<&str>,
    again: &mut dyn FnMut(Work) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut waiting = connection.prepare(&format!(
        "SELECT 1 FROM result_{scan} r WHERE r.ino = ?1 AND r.stream = ?2 AND (?3 IS NULL OR r.class = ?3) \
         AND r.state = {RETRYABLE} AND {}",
        is_reopenable(scan)
    ))?;
    let sql = "SELECT id FROM chunk WHERE scan = ?1 AND state = 0 AND not_before > 0";
    for chunk in media::collect(connection, sql, [scan.0], |row| Ok(row.get(0)?))? {
        let (mut moved, mut kept) = (Vec::new(), Vec::new());
        for work in work_of(connection, scan, members_of(connection, chunk)?)? {
            let is_wanted = waiting.exists(params![work.inode.cast_signed(), work.stream, class])?;
            if is_wanted { &mut moved } else { &mut kept }.push(work);
        }
        if !moved.is_empty() {
            shrink(connection, chunk, &kept)?;
            moved.into_iter().try_for_each(&mut *again)?;
        }
    }
    Ok(())
}

/// Makes a stream pending: its attempts are remembered, its strikes forgiven.
fn forgive(connection: &Connection, scan: ScanId, work: &Work) -> Result<(), Error> {
    let sql = format!(
        "UPDATE result_{scan} SET state = {REOPENED}, strikes = 0, class = NULL, code = NULL, not_before = NULL \
         WHERE ino = ?1 AND stream = ?2"
    );
    connection
        .prepare_cached(&sql)?
        .execute(params![work.inode.cast_signed(), work.stream])?;
    Ok(())
}

/// Makes streams whose content is lost pending again; returns how many. Those that no path asks for keep no result.
pub(super) fn reopen_missing(
    connection: &Connection,
    scan: ScanId,
    blobs: &[BlobHash],
) -> Result<u64, Error> {
    sealed(connection, scan)?;
    let sql = format!(
        "UPDATE result_{scan} SET state = {REOPENED}, blob = NULL, missing = NULL, strikes = 0, class = NULL, code = NULL, \
         not_before = NULL WHERE (ino, stream) IN (SELECT ino, stream FROM result_{scan} \
             WHERE blob = (SELECT id FROM blob WHERE hash = ?1) AND state IN ({STORED}, {DAMAGED}) LIMIT {PAGE}) \
         RETURNING ino, stream, {}",
        is_eligible(scan, "ino")
    );
    let cutter = ChunkCutter::new(connection, scan, Timestamp::from_nanos(0))?;
    let (mut window, mut reopened) = (Window::new(cutter), 0);
    for hash in blobs {
        connection
            .prepare_cached("UPDATE blob SET verified = NULL, bad = 1 WHERE hash = ?1")?
            .execute([hash.as_bytes()])?;
        // A content may stand in millions of places: page by page, and what was reopened holds it no more.
        loop {
            let streams = media::collect(connection, &sql, [hash.as_bytes()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
            if streams.is_empty() {
                break;
            }
            for (inode, stream, is_wanted) in streams {
                reopened += 1;
                if is_wanted && let Some(work) = work_for(connection, scan, inode, stream)? {
                    window.push(work)?;
                }
            }
        }
    }
    window.finish()?;
    Ok(reopened)
}

/// A stream as work, if it is there.
pub(super) fn work_for(
    connection: &Connection,
    scan: ScanId,
    inode: i64,
    stream: u32,
) -> Result<Option<Work>, Error> {
    let sql = format!("SELECT bits, size, extents FROM inode_{scan} WHERE ino = ?1");
    let row = connection
        .prepare_cached(&sql)?
        .query_row([inode], |row| Ok(work_of_row(connection, scan, inode, row, 0)))
        .optional()?;
    Ok(match row {
        Some(work) => work?.find(|work| work.stream == stream),
        None => None,
    })
}
