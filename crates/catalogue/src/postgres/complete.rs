//! Completing chunks: results, failures and what follows from them, blobs. Few statements for all chunks together, whatever they hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ntt_model::{ChunkId, Outcome, ScanId, Timestamp, WorkerId};

use super::blob::{self, NewBlob};
use super::connection::{Connection, Target, get};
use super::digest_map::DigestMap;
use super::media::{self, leaf, not_found, unsigned};
use super::queue::{enqueue, share, still_wanted, work_of};
use super::result::{self, NewResult};
use super::state::{self, Results};
use super::value::text;
use super::wire::Rows;
use crate::Error;
use crate::codec::{Member, members, ordinal};
use crate::cutting::Work;
use crate::lease::{Lease, Verdict};
use crate::rows::{ChunkResult, StreamResult};
use crate::settlement::{KeptBlob, Settlement, settle};

/// Records the results of chunks; returns those whose lease was lost. With `expects_new`, contents that were new to the store are not looked for.
pub(super) fn complete(
    connection: &Connection,
    worker: WorkerId,
    results: &[ChunkResult],
    expects_new: bool,
) -> Result<Vec<ChunkId>, Error> {
    let chunks = lock(connection, results)?;
    let now = connection.now()?;
    let (mut lost, mut held) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for result in results {
        let chunk = chunks
            .get(&result.chunk.0)
            .ok_or_else(|| not_found("chunk", result.chunk.0))?;
        if chunk.lease.accepts(worker, result.epoch) && seen.insert(result.chunk) {
            held.push((result, chunk));
        } else {
            lost.push(result.chunk);
        }
    }
    if !held.is_empty() {
        let blobs = blob::keep(connection, &new_blobs(&held, expects_new))?;
        Completion::new(connection, &held, now, blobs)?.record(worker, &held)?;
    }
    Ok(lost)
}

/// A chunk that is locked for this transaction.
struct Locked {
    scan: ScanId,
    lease: Lease,
    is_fresh: bool,
    streams: u64,
    bytes: u64,
    members: Vec<Member>,
}

/// Locks the scans, then the chunks. A scan that gets findings is locked alone, since its counts change.
fn lock(connection: &Connection, results: &[ChunkResult]) -> Result<HashMap<i64, Locked>, Error> {
    let ids = |keep: &dyn Fn(&ChunkResult) -> bool| -> Vec<i64> {
        results
            .iter()
            .filter(|result| keep(result))
            .map(|result| result.chunk.0)
            .collect()
    };
    let all = ids(&|_| true);
    let scans_of = |chunks: &Vec<i64>| -> Result<Vec<i32>, Error> {
        let sql = "SELECT DISTINCT scan FROM chunk WHERE id = ANY ($1)";
        connection.collect(sql, &[chunks], |row| get(row, 0))
    };
    let told = ids(&|result| !result.findings.is_empty());
    if told.is_empty() {
        share(connection, &scans_of(&all)?)?;
    } else {
        let sql = "SELECT id FROM scan WHERE id = ANY ($1) ORDER BY id FOR UPDATE";
        connection.query(sql, &[&scans_of(&all)?])?;
    }
    let sql = "SELECT c.id, c.scan, c.state, c.owner, c.epoch, c.not_before, c.is_fresh, c.streams, c.bytes, \
               (SELECT m.members FROM chunk_members m WHERE m.chunk = c.id) \
               FROM chunk c WHERE c.id = ANY ($1) ORDER BY c.id FOR UPDATE OF c";
    let rows = connection.query(sql, &[&all])?;
    rows.iter().map(|row| Ok((get(row, 0)?, locked(row)?))).collect()
}

fn locked(row: &postgres::Row) -> Result<Locked, Error> {
    let lease = match (get::<i16>(row, 2)?, get::<Option<i64>>(row, 3)?) {
        (0, _) => Lease::Free {
            not_before: Timestamp::from_nanos(get(row, 5)?),
        },
        (1, Some(owner)) => Lease::Held {
            owner: WorkerId(owner),
            epoch: get(row, 4)?,
        },
        _ => Lease::Done,
    };
    let asked: Option<&[u8]> = get(row, 9)?;
    Ok(Locked {
        scan: ScanId(i64::from(get::<i32>(row, 1)?)),
        lease,
        is_fresh: get(row, 6)?,
        streams: unsigned(row, 7)?,
        bytes: unsigned(row, 8)?,
        members: members(asked.unwrap_or_default())?,
    })
}

/// The streams of a chunk that no result was taken for, ascending.
struct Wanted {
    streams: Vec<((u64, u32), bool)>,
}

impl Wanted {
    fn of(members: &[Member]) -> Self {
        let streams = members.iter().flat_map(|member| {
            let stream = |stream: &u32| ((member.inode, *stream), true);
            member.streams.iter().map(stream)
        });
        let mut streams: Vec<_> = streams.collect();
        streams.sort_unstable();
        streams.dedup();
        Self { streams }
    }

    /// Takes a stream out; tells whether it was there.
    fn take(&mut self, stream: (u64, u32)) -> bool {
        let found = self.streams.binary_search_by_key(&stream, |(wanted, _)| *wanted);
        let wanted = found.ok().and_then(|index| self.streams.get_mut(index));
        wanted.is_some_and(|(_, is_wanted)| std::mem::take(is_wanted))
    }

    /// What was not taken.
    fn rest(self) -> impl Iterator<Item = (u64, u32)> {
        let wanted = |(stream, is_wanted): ((u64, u32), bool)| is_wanted.then_some(stream);
        self.streams.into_iter().filter_map(wanted)
    }
}

type Held<'h> = [(&'h ChunkResult, &'h Locked)];

/// What one completion writes, put together before it is written.
struct Completion<'c> {
    connection: &'c Connection,
    now: Timestamp,
    blobs: DigestMap<i64>,
    priors: BTreeMap<ScanId, Results>,
    rows: BTreeMap<ScanId, Rows>,
    attempts: Rows,
    retries: BTreeMap<(ScanId, Timestamp), Vec<Work>>,
    done: Done,
}

/// Columns of the update that closes chunks.
#[derive(Default)]
struct Done {
    ids: Vec<i64>,
    streams: Vec<i64>,
    bytes: Vec<i64>,
}

impl<'c> Completion<'c> {
    fn new(
        connection: &'c Connection,
        held: &Held<'_>,
        now: Timestamp,
        blobs: DigestMap<i64>,
    ) -> Result<Self, Error> {
        Ok(Self {
            connection,
            now,
            blobs,
            priors: priors(connection, held)?,
            rows: BTreeMap::new(),
            attempts: Rows::default(),
            retries: BTreeMap::new(),
            done: Done::default(),
        })
    }

    fn record(mut self, worker: WorkerId, held: &Held<'_>) -> Result<(), Error> {
        for (result, chunk) in held {
            self.chunk(result, chunk)?;
        }
        self.write_results()?;
        self.close(worker)?;
        self.add_findings(held)?;
        for ((scan, not_before), work) in std::mem::take(&mut self.retries) {
            let wanted = still_wanted(self.connection, scan, work)?;
            enqueue(self.connection, scan, wanted, not_before)?;
        }
        Ok(())
    }

    /// Takes one chunk. Wanted streams without a result return to the queue, so that a worker may stop in the middle.
    fn chunk(&mut self, result: &ChunkResult, chunk: &Locked) -> Result<(), Error> {
        let mut wanted = Wanted::of(&chunk.members);
        let mut again = Vec::new();
        for stream in &result.streams {
            if !wanted.take((stream.inode, stream.stream)) {
                return Err(Error::Conflict(format!(
                    "chunk {} does not want stream {} of inode {} (again)",
                    result.chunk, stream.stream, stream.inode
                )));
            }
            if let Verdict::Retry { not_before } = self.stream(chunk, stream)? {
                again.push((stream.inode, stream.stream, not_before));
            }
        }
        again.extend(
            wanted
                .rest()
                .map(|(inode, stream)| (inode, stream, Timestamp::from_nanos(0))),
        );
        let returned = self.try_again(chunk.scan, &again)?;
        let unsettled = u64::try_from(again.len()).unwrap_or(u64::MAX);
        self.done.ids.push(result.chunk.0);
        self.done
            .streams
            .push(chunk.streams.saturating_sub(unsettled).cast_signed());
        self.done
            .bytes
            .push(chunk.bytes.saturating_sub(returned).cast_signed());
        Ok(())
    }

    /// Returns streams to the queue; tells their bytes.
    fn try_again(&mut self, scan: ScanId, again: &[(u64, u32, Timestamp)]) -> Result<u64, Error> {
        if again.is_empty() {
            return Ok(0);
        }
        let members: Vec<Member> = again
            .iter()
            .map(|(inode, stream, _)| Member {
                inode: *inode,
                streams: ordinal(*stream),
            })
            .collect();
        let mut bytes = 0_u64;
        for (work, (_, _, not_before)) in work_of(self.connection, scan, &members)?.into_iter().zip(again) {
            bytes = bytes.saturating_add(work.bytes);
            self.retries.entry((scan, *not_before)).or_default().push(work);
        }
        Ok(bytes)
    }

    fn stream(&mut self, chunk: &Locked, result: &StreamResult) -> Result<Verdict, Error> {
        let key = (result.inode.cast_signed(), result.stream);
        let prior = self
            .priors
            .get_mut(&chunk.scan)
            .and_then(|priors| priors.remove(&key));
        let settlement = settle(&result.outcome, prior, self.now);
        let blob = match settlement.blob {
            KeptBlob::None => None,
            KeptBlob::Earlier(id) => Some(id),
            KeptBlob::New(hash, _) => Some(
                *self
                    .blobs
                    .get(&hash)
                    .ok_or_else(|| Error::Damaged(format!("blob {hash} was added and is not there")))?,
            ),
        };
        let rows = self.rows.entry(chunk.scan).or_default();
        result::put(
            rows,
            &NewResult {
                scan: leaf(chunk.scan)?,
                inode: result.inode,
                stream: result.stream,
                state: settlement.state,
                blob,
                not_before: settlement.not_before(),
                attempts: settlement.history.attempts,
                strikes: settlement.history.strikes,
                failure: settlement.failure,
                missing: settlement.missing.as_deref(),
            },
        );
        if settlement.failure.is_some() {
            put_attempt(&mut self.attempts, chunk.scan, key, &settlement, self.now)?;
        }
        Ok(settlement.verdict)
    }

    fn write_results(&self) -> Result<(), Error> {
        for (scan, rows) in &self.rows {
            let table = format!("result_{scan} {}", result::COLUMNS);
            self.connection.load_rows(&Target::table(&table), rows)?;
        }
        self.connection
            .load_rows(&Target::table(ATTEMPTS), &self.attempts)?;
        Ok(())
    }

    fn close(&self, worker: WorkerId) -> Result<(), Error> {
        let Done { ids, streams, bytes } = &self.done;
        self.connection.execute(
            "UPDATE chunk SET state = 2, owner = NULL, streams = d.streams, bytes = d.bytes \
             FROM unnest($1::int8[], $2::int8[], $3::int8[]) AS d (id, streams, bytes) WHERE chunk.id = d.id",
            &[ids, streams, bytes],
        )?;
        let sql = "DELETE FROM chunk_members WHERE chunk = ANY ($1)";
        self.connection.execute(sql, &[ids])?;
        let sum = |values: &[i64]| {
            let add = |sum: u64, value: &i64| sum.saturating_add(value.cast_unsigned());
            i64::try_from(values.iter().fold(0, add)).unwrap_or(i64::MAX)
        };
        // What one worker did is for people to look at; it must not overflow for the absurd sizes of a damaged medium.
        self.connection.execute(
            "UPDATE worker SET done_streams = done_streams + $2, \
             done_bytes = least(done_bytes::numeric + $3, 9223372036854775807)::int8 WHERE id = $1",
            &[&worker.0, &sum(streams), &sum(bytes)],
        )?;
        Ok(())
    }

    fn add_findings(&self, held: &Held<'_>) -> Result<(), Error> {
        for (result, chunk) in held.iter().filter(|(result, _)| !result.findings.is_empty()) {
            let volume = super::answer::volume_of_scan(self.connection, chunk.scan)?;
            let medium = media::medium_of_volume(self.connection, volume)?;
            for finding in &result.findings {
                media::insert_finding(self.connection, medium, Some(volume), Some(chunk.scan), finding)?;
            }
            // The scan's counts are those of its rows.
            self.connection.execute(
                "UPDATE scan SET findings = findings + $2 WHERE id = $1",
                &[
                    &leaf(chunk.scan)?,
                    &i64::try_from(result.findings.len()).unwrap_or(i64::MAX),
                ],
            )?;
        }
        Ok(())
    }
}

/// The blobs that results name, each once, in the order of their hashes.
fn new_blobs<'h>(held: &Held<'h>, expects_new: bool) -> Vec<NewBlob<'h>> {
    let streams = held.iter().flat_map(|(result, _)| &result.streams);
    let mut blobs: Vec<NewBlob<'h>> = streams
        .filter_map(|stream| match &stream.outcome {
            Outcome::Stored { blob, size } | Outcome::Damaged { blob, size, .. } => Some(NewBlob {
                hash: *blob,
                size: *size,
                sha256: stream.sha256.as_ref(),
                content_type: stream.content_type.as_deref(),
                is_expected: expects_new && stream.is_new,
            }),
            Outcome::Failed { .. } => None,
        })
        .collect();
    // Of one content the first that was told counts.
    blobs.sort_by_key(|blob| blob.hash);
    blobs.dedup_by(|later, first| {
        let is_same = later.hash == first.hash;
        if is_same {
            first.sha256 = first.sha256.or(later.sha256);
            first.content_type = first.content_type.or(later.content_type);
            first.is_expected |= later.is_expected;
        }
        is_same
    });
    blobs
}

/// Results that the streams of chunks have already; taken out of the tables, because new ones take their place. Fresh chunks have none.
fn priors(connection: &Connection, held: &Held<'_>) -> Result<BTreeMap<ScanId, Results>, Error> {
    let mut numbers: BTreeMap<ScanId, Vec<(i64, u32)>> = BTreeMap::new();
    for (result, chunk) in held.iter().filter(|(_, chunk)| !chunk.is_fresh) {
        let keys = result
            .streams
            .iter()
            .map(|stream| (stream.inode.cast_signed(), stream.stream));
        numbers.entry(chunk.scan).or_default().extend(keys);
    }
    let mut priors = BTreeMap::new();
    for (scan, keys) in numbers {
        let inodes: Vec<i64> = keys.iter().map(|(inode, _)| *inode).collect();
        let mut found = state::results(connection, scan, &inodes)?;
        let keys: BTreeSet<(i64, u32)> = keys.into_iter().collect();
        found.retain(|key, _| keys.contains(key));
        let (inodes, streams): (Vec<i64>, Vec<i32>) = found
            .keys()
            .map(|(inode, stream)| (*inode, stream.cast_signed()))
            .unzip();
        let sql = format!(
            "DELETE FROM result_{scan} r USING unnest($1::int8[], $2::int4[]) AS d (ino, stream) \
             WHERE r.ino = d.ino AND r.stream = d.stream"
        );
        connection.execute(&sql, &[&inodes, &streams])?;
        priors.insert(scan, found);
    }
    Ok(priors)
}

/// The table of attempts with its columns in the order of [`put_attempt`].
pub(super) const ATTEMPTS: &str = "attempt (ino, at, scan, stream, n, code, class, detail)";

fn put_attempt(
    rows: &mut Rows,
    scan: ScanId,
    (inode, stream): (i64, u32),
    settlement: &Settlement<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    let Some(failure) = settlement.failure else {
        return Ok(());
    };
    rows.row(8)
        .int8(inode)
        .int8(now.as_nanos())
        .int4(leaf(scan)?)
        .int4(stream.cast_signed())
        .int4(settlement.history.attempts.cast_signed())
        .int4(failure.code)
        .field(failure.class.as_str().as_bytes())
        .field(text(&failure.detail).as_bytes());
    Ok(())
}
