//! Exclusion labels (R26): set on path rows, never a deletion, and reversible.

use ntt_model::{ScanId, Timestamp};
use rusqlite::{Connection, params};

use super::codec::{self, Member, members};
use super::media::{collect, not_found};
use super::queue::{ChunkCutter, Work};
use super::state::{self, FAILED, is_eligible};
use super::{inodes, paths};
use crate::cutting::Cutter;
use crate::rows::RelabelReport;
use crate::{Error, Labels};

/// What labelling changed.
#[derive(Debug, Default)]
pub(super) struct Labelled {
    pub(super) excluded_paths: u64,
    has_freed: bool,
}

/// Sets the labels of a scan to what `labels` says.
pub(super) fn apply(connection: &Connection, scan: ScanId, labels: &Labels<'_>) -> Result<Labelled, Error> {
    let mut labelled = Labelled::default();
    if labels.rules.is_empty() {
        let sql = format!("UPDATE path_{scan} SET rule = NULL WHERE rule IS NOT NULL");
        labelled.has_freed = connection.execute(&sql, [])? > 0;
        return Ok(labelled);
    }
    let ids = rule_ids(connection, labels.rules)?;
    let mut update = connection.prepare(&format!(
        "UPDATE path_{scan} SET rule = ?2 WHERE id = ?1 AND rule IS NOT ?2"
    ))?;
    // The rows are visited by id, which an update does not move.
    paths::each(connection, scan, &mut |path| {
        let rule = (labels.rule_of)(path).map(|index| {
            let id = ids.get(index).copied();
            id.ok_or_else(|| Error::Conflict(format!("there is no rule number {index}")))
        });
        let rule = rule.transpose()?;
        if path.rule.is_some() || rule.is_some() {
            update.execute(params![path.id, rule])?;
        }
        labelled.has_freed |= path.rule.is_some() && rule.is_none();
        Ok(())
    })?;
    label_orphaned_alternates(connection, scan)?;
    let sql = format!("SELECT count(*) FROM path_{scan} WHERE rule IS NOT NULL");
    let count: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
    labelled.excluded_paths = count.cast_unsigned();
    Ok(labelled)
}

/// Row ids of rules; new ones are added.
pub(super) fn rule_ids(connection: &Connection, rules: &[String]) -> Result<Vec<i64>, Error> {
    let sql = "INSERT INTO rule (name) VALUES (?1) ON CONFLICT (name) DO UPDATE SET name = name RETURNING id";
    let mut statement = connection.prepare(sql)?;
    let ids = rules
        .iter()
        .map(|rule| statement.query_row([rule], |row| row.get(0)));
    Ok(ids.collect::<Result<_, _>>()?)
}

/// A second name does not keep an inode whose proper names are all excluded: it gets the rule of the first of them.
fn label_orphaned_alternates(connection: &Connection, scan: ScanId) -> Result<(), Error> {
    connection.execute(
        &format!(
            "UPDATE path_{scan} AS a SET rule = (SELECT p.rule FROM path_{scan} p WHERE p.ino = a.ino \
                 AND (p.rule IS NOT NULL OR p.flags >= 16) AND p.flags < 8 ORDER BY p.id LIMIT 1) \
             WHERE a.rule IS NULL AND a.flags < 16 AND a.flags & 8 \
             AND a.ino IN (SELECT ino FROM path_{scan} w WHERE (w.rule IS NOT NULL OR w.flags >= 16) AND w.flags < 8) \
             AND NOT EXISTS (SELECT 1 FROM path_{scan} e WHERE e.ino = a.ino AND e.rule IS NULL AND e.flags < 16 \
                             AND e.flags & 8 = 0)"
        ),
        [],
    )?;
    Ok(())
}

/// Replaces the labels of a sealed scan and mends its queue. Leased chunks are left to their workers.
pub(super) fn relabel(
    connection: &Connection,
    scan: ScanId,
    labels: &Labels<'_>,
) -> Result<RelabelReport, Error> {
    super::queue::sealed(connection, scan)?;
    let labelled = apply(connection, scan, labels)?;
    let withdrawn_streams = withdraw(connection, scan)?;
    let reopened_streams = if labelled.has_freed {
        readmit(connection, scan)?
    } else {
        0
    };
    Ok(RelabelReport {
        excluded_paths: labelled.excluded_paths,
        reopened_streams,
        withdrawn_streams,
    })
}

/// Takes streams without an eligible path out of the free chunks.
fn withdraw(connection: &Connection, scan: ScanId) -> Result<u64, Error> {
    let sql = "SELECT id FROM chunk WHERE scan = ?1 AND state = 0 ORDER BY seq";
    let free = collect(connection, sql, [scan.0], |row| Ok(row.get(0)?))?;
    let mut withdrawn = 0;
    for chunk in free {
        withdrawn += prune(connection, scan, chunk)?;
    }
    Ok(withdrawn)
}

/// Takes streams without an eligible path out of a free chunk; returns how many. The chunk keeps its row, so that a late completion
/// finds that its lease was lost.
pub(super) fn prune(connection: &Connection, scan: ScanId, chunk: i64) -> Result<u64, Error> {
    let mut is_whole = true;
    for member in members_of(connection, chunk)? {
        is_whole &= state::is_wanted(connection, scan, member.inode.cast_signed())?;
    }
    if is_whole {
        return Ok(0);
    }
    let work = work_of(connection, scan, chunk)?;
    let mut kept = Vec::with_capacity(work.len());
    for stream in &work {
        if state::is_wanted(connection, scan, stream.inode.cast_signed())? {
            kept.push(*stream);
        }
    }
    super::queue::shrink(connection, chunk, &kept)?;
    Ok(u64::try_from(work.len() - kept.len()).unwrap_or(u64::MAX))
}

/// The members of a chunk that is not done.
pub(super) fn members_of(connection: &Connection, chunk: i64) -> Result<Vec<Member>, Error> {
    let mut statement = connection.prepare_cached("SELECT members FROM chunk_members WHERE chunk = ?1")?;
    let mut rows = statement.query([chunk])?;
    let row = rows.next()?.ok_or_else(|| not_found("unfinished chunk", chunk))?;
    members(row.get_ref(0)?.as_blob()?)
}

/// The work of a chunk, with sizes and positions.
pub(super) fn work_of(connection: &Connection, scan: ScanId, chunk: i64) -> Result<Vec<Work>, Error> {
    let mut work = Vec::new();
    for member in members_of(connection, chunk)? {
        let inode = inodes::one(connection, scan, member.inode)?;
        let inode = inode.ok_or_else(|| Error::Damaged(format!("chunk {chunk} names a missing inode")))?;
        for ordinal in member.streams {
            let stream = usize::try_from(ordinal)
                .ok()
                .and_then(|index| inode.streams.get(index));
            let stream =
                stream.ok_or_else(|| Error::Damaged(format!("chunk {chunk} names a missing stream")))?;
            work.push(Work {
                position: stream.extents.first().map_or(0, |extent| extent.image_offset),
                inode: member.inode,
                stream: ordinal,
                bytes: stream.size_bytes,
            });
        }
    }
    Ok(work)
}

/// Puts wanted streams that are neither settled nor in a chunk into the queue; returns how many.
fn readmit(connection: &Connection, scan: ScanId) -> Result<u64, Error> {
    connection.execute_batch(
        "CREATE TEMP TABLE IF NOT EXISTS queued (ino INTEGER, stream INTEGER, PRIMARY KEY (ino, stream)) WITHOUT ROWID; \
         DELETE FROM queued;",
    )?;
    list_queued(connection, scan)?;
    let sql = format!(
        "SELECT ino, bits, size, extents FROM inode_{scan} i WHERE bits & 8 = 0 AND {} ORDER BY ino",
        is_eligible(scan, "i.ino")
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut cutter = ChunkCutter::new(connection, scan, Timestamp::from_nanos(0))?;
    let mut readmitted = 0;
    while let Some(row) = rows.next()? {
        let inode = row.get(0)?;
        let extents = row.get_ref(3)?.as_blob_or_null()?.unwrap_or(&[]);
        let position = codec::first_offset(extents)?.unwrap_or(0);
        for stream in state::streams(connection, scan, inode, row.get(1)?, row.get(2)?)? {
            if is_queued_or_settled(connection, scan, inode, stream.ordinal)? {
                continue;
            }
            readmitted += 1;
            cutter.push(Work {
                position,
                inode: inode.cast_unsigned(),
                stream: stream.ordinal,
                bytes: stream.size,
            })?;
        }
    }
    cutter.finish()?;
    Ok(readmitted)
}

fn list_queued(connection: &Connection, scan: ScanId) -> Result<(), Error> {
    let mut chunks = connection.prepare(
        "SELECT m.members FROM chunk c JOIN chunk_members m ON m.chunk = c.id WHERE c.scan = ?1 AND c.state <> 2",
    )?;
    let mut insert = connection.prepare("INSERT OR IGNORE INTO queued (ino, stream) VALUES (?1, ?2)")?;
    let mut rows = chunks.query([scan.0])?;
    while let Some(row) = rows.next()? {
        for member in members(row.get_ref(0)?.as_blob()?)? {
            for stream in member.streams {
                insert.execute(params![member.inode.cast_signed(), stream])?;
            }
        }
    }
    Ok(())
}

fn is_queued_or_settled(
    connection: &Connection,
    scan: ScanId,
    inode: i64,
    stream: u32,
) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM queued WHERE ino = ?1 AND stream = ?2";
    if connection.prepare_cached(sql)?.exists(params![inode, stream])? {
        return Ok(true);
    }
    let result = state::result(connection, scan, inode, stream)?;
    Ok(result.is_some_and(|result| {
        (state::STORED..=state::DAMAGED).contains(&result.state) || result.state == FAILED
    }))
}
