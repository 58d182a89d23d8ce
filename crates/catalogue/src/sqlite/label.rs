//! Exclusion labels (R26): set on path rows, never a deletion, and reversible.

use ntt_model::{ScanId, Timestamp};
use rusqlite::{Connection, params};

use super::codec::{Member, members};
use super::inodes::DELETED;
use super::media::{collect, not_found};
use super::paths;
use super::queue::{ChunkCutter, Work, work_of_row};
use super::state::{self, is_eligible, is_settled};
use crate::cutting::Cutter;
use crate::queued::Queued;
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
    let mut eligible = connection.prepare_cached(&format!("SELECT {}", is_eligible(scan, "?1")))?;
    let (mut kept, mut dropped) = (Vec::new(), 0);
    for member in members_of(connection, chunk)? {
        if eligible.query_row([member.inode.cast_signed()], |row| row.get(0))? {
            kept.push(member);
        } else {
            dropped += u64::try_from(member.streams.len()).unwrap_or(u64::MAX);
        }
    }
    if dropped > 0 {
        super::queue::shrink(connection, chunk, &work_of(connection, scan, kept)?)?;
    }
    Ok(dropped)
}

/// The members of a chunk that is not done.
pub(super) fn members_of(connection: &Connection, chunk: i64) -> Result<Vec<Member>, Error> {
    let mut statement = connection.prepare_cached("SELECT members FROM chunk_members WHERE chunk = ?1")?;
    let mut rows = statement.query([chunk])?;
    let row = rows.next()?.ok_or_else(|| not_found("unfinished chunk", chunk))?;
    members(row.get_ref(0)?.as_blob()?)
}

/// The work behind members of chunks, with sizes and positions.
pub(super) fn work_of(
    connection: &Connection,
    scan: ScanId,
    members: Vec<Member>,
) -> Result<Vec<Work>, Error> {
    let sql = format!("SELECT bits, size, extents FROM inode_{scan} WHERE ino = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut work = Vec::with_capacity(members.len());
    for member in members {
        let inode = member.inode.cast_signed();
        let missing = || Error::Damaged(format!("a chunk names a missing stream of inode {inode}"));
        let mut rows = statement.query([inode])?;
        let row = rows.next()?.ok_or_else(missing)?;
        let streams: Vec<Work> = work_of_row(connection, scan, inode, row, 0)?.collect();
        for &ordinal in &*member.streams {
            let wanted = streams.iter().find(|work| work.stream == ordinal);
            work.push(*wanted.ok_or_else(missing)?);
        }
    }
    Ok(work)
}

/// Puts wanted streams that are neither settled nor in a chunk into the queue; returns how many.
fn readmit(connection: &Connection, scan: ScanId) -> Result<u64, Error> {
    let mut queued = queued(connection, scan)?;
    let sql = format!(
        "SELECT i.ino, i.bits, i.size, i.extents, r.state FROM inode_{scan} i \
         LEFT JOIN result_{scan} r ON r.ino = i.ino AND r.stream = 0 WHERE i.bits & {DELETED} = 0 AND {} ORDER BY i.ino",
        is_eligible(scan, "i.ino")
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut cutter = ChunkCutter::new(connection, scan, Timestamp::from_nanos(0))?;
    let mut readmitted = 0;
    while let Some(row) = rows.next()? {
        let inode: i64 = row.get(0)?;
        queued.stand_at(inode, inode, &mut |chunks| members_of_all(connection, chunks))?;
        for work in work_of_row(connection, scan, inode, row, 1)? {
            let state = match work.stream {
                0 => row.get(4)?,
                ordinal => state::result(connection, scan, inode, ordinal)?.map(|result| result.state),
            };
            if !state.is_some_and(is_settled) && !queued.contains(&work) {
                readmitted += 1;
                cutter.push(work)?;
            }
        }
    }
    cutter.finish()?;
    Ok(readmitted)
}

/// The streams in chunks that are not done.
fn queued(connection: &Connection, scan: ScanId) -> Result<Queued, Error> {
    let mut chunks = connection.prepare(
        "SELECT c.id, m.members FROM chunk c JOIN chunk_members m ON m.chunk = c.id WHERE c.scan = ?1 AND c.state <> 2",
    )?;
    let mut rows = chunks.query([scan.0])?;
    let mut queued = Queued::default();
    while let Some(row) = rows.next()? {
        queued.add(row.get(0)?, &members(row.get_ref(1)?.as_blob()?)?);
    }
    Ok(queued)
}

fn members_of_all(connection: &Connection, chunks: &[i64]) -> Result<Vec<Member>, Error> {
    let mut all = Vec::new();
    for chunk in chunks {
        all.append(&mut members_of(connection, *chunk)?);
    }
    Ok(all)
}
