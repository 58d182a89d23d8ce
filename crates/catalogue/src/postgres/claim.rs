//! Leasing a chunk.

use ntt_model::{ChunkId, ScanId, WorkerId};
use postgres::Row;

use super::connection::{Connection, get};
use super::kept::{self, Statement};
use super::media::leaf;
use super::queue::no_scan;
use super::value::Value;
use super::worker::dead;
use crate::Error;
use crate::codec::{Member, members};
use crate::layout;
use crate::lease::LEASE_NANOS;
use crate::rows::WantedStream;

/// A lease, as it was taken.
pub(super) struct Claimed {
    pub(super) chunk: ChunkId,
    pub(super) seq: i64,
    pub(super) epoch: i64,
    pub(super) reader: String,
    pub(super) members: Vec<Member>,
    /// Of each member the streams that stand beside it; none if they are to be looked up.
    pub(super) streams: Vec<Vec<WantedStream>>,
}

impl Look {
    /// The first claimable chunk of scan `$1`, locked, as a query; one that another worker is about to lease is passed over.
    fn first(self, now: &str) -> String {
        let due = match self {
            Self::Behind(seq) => format!("not_before = 0 AND seq > {seq}"),
            Self::Everywhere => format!("not_before <= {now}"),
        };
        first_where(&due)
    }
}

fn first_where(due: &str) -> String {
    format!(
        "SELECT id FROM chunk WHERE state = 0 AND scan = $1 AND {due} \
         ORDER BY not_before, seq LIMIT 1 FOR UPDATE SKIP LOCKED"
    )
}

/// What an earlier claim of a scan told, for the next one.
#[derive(Clone)]
pub(super) struct Before {
    /// The ordinal of the chunk: what comes before was leased already, and a long look at rows that are gone is spared, which another session's old
    /// snapshot keeps from being cleaned away.
    pub(super) seq: i64,
    /// What read the scan.
    pub(super) reader: String,
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
    /// Behind the fresh chunk with this ordinal, as [`Before`] tells.
    Behind(i64),
    /// Everywhere.
    Everywhere,
}

/// Leases the first claimable chunk of a scan that chunks were leased of before, if the worker lives: a claim as most are, which needs a third of the time
/// that the whole question of [`claim`] takes. Whether others died is asked by that one, now and then.
pub(super) fn claim_next(
    connection: &Connection,
    scan: ScanId,
    worker: WorkerId,
    look: Look,
    reader: &str,
) -> Result<Option<Claimed>, Error> {
    let number = leaf(scan).map_err(|_| no_scan(scan))?;
    let statement = |first: &str, types| Statement {
        sql: format!(
            "UPDATE chunk c SET state = 1, owner = $2, epoch = epoch + 1 WHERE id = \
                 ({first}) AND EXISTS (SELECT 1 FROM worker WHERE id = $2 AND NOT retired) \
             RETURNING id, seq, epoch, (SELECT m.members FROM chunk_members m WHERE m.chunk = c.id), \
                 (SELECT m.layout FROM chunk_members m WHERE m.chunk = c.id), set_config('synchronous_commit', 'off', true)"
        ),
        types,
    };
    let rows = match look {
        Look::Behind(seq) => {
            let first = first_where("not_before = 0 AND seq > $3");
            let literals = format!("{number}, {}, {seq}", worker.0);
            let values: [&dyn Value; 3] = [&number, &worker.0, &seq];
            kept::query(
                connection,
                &statement(&first, "int4, int8, int8"),
                &literals,
                &values,
            )?
        }
        Look::Everywhere => {
            let first = look.first(&format!("(SELECT {})", connection.now_sql()));
            let literals = format!("{number}, {}", worker.0);
            let values: [&dyn Value; 2] = [&number, &worker.0];
            kept::query(connection, &statement(&first, "int4, int8"), &literals, &values)?
        }
    };
    let row = rows.first();
    row.map(|row| claimed(row, 0, reader.to_owned())).transpose()
}

/// A lease from the columns `id`, `seq`, `epoch`, `members` and `layout`, which begin at `first`.
fn claimed(row: &Row, first: usize, reader: String) -> Result<Claimed, Error> {
    let chunk = get(row, first)?;
    let asked: Option<&[u8]> = get(row, first + 3)?;
    let asked = asked.ok_or_else(|| Error::Damaged(format!("chunk {chunk} has no members")))?;
    let members = members(asked)?;
    let layout: Option<&[u8]> = get(row, first + 4)?;
    Ok(Claimed {
        chunk: ChunkId(chunk),
        seq: get(row, first + 1)?,
        epoch: get(row, first + 2)?,
        reader,
        streams: layout::known(layout.unwrap_or_default(), members.len())?,
        members,
    })
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
    let first = look.first("(SELECT now FROM clock)");
    let sql = format!(
        "WITH clock AS MATERIALIZED (SELECT {} AS now), \
         alive AS MATERIALIZED (SELECT id FROM worker WHERE id = $2 AND NOT retired), \
         touched AS (UPDATE worker SET seen = (SELECT now FROM clock) \
             WHERE id = $2 AND NOT retired AND seen <= (SELECT now FROM clock) - 1000000000), \
         dead AS MATERIALIZED (SELECT w.id FROM worker w \
             WHERE NOT w.retired AND w.id <> $2 AND w.seen < (SELECT now FROM clock) - {LEASE_NANOS} \
             AND EXISTS (SELECT 1 FROM chunk c WHERE c.state = 1 AND c.owner = w.id) LIMIT 1), \
         leased AS (UPDATE chunk SET state = 1, owner = $2, epoch = epoch + 1 WHERE id = \
             ({first}) AND EXISTS (SELECT 1 FROM alive) AND NOT EXISTS (SELECT 1 FROM dead) RETURNING id, seq, epoch) \
         SELECT set_config('synchronous_commit', 'off', true), EXISTS (SELECT 1 FROM alive), \
             (SELECT reader FROM scan WHERE id = $1), EXISTS (SELECT 1 FROM dead), l.id, l.seq, l.epoch, m.members, m.layout \
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
    if get::<Option<i64>>(&row, 4)?.is_none() {
        return Ok(Claim::Nothing);
    }
    claimed(&row, 4, reader).map(Claim::Leased)
}
