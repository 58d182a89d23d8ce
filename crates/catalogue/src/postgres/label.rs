//! Exclusion labels (R26): rows of `label_{n}`, never a change of a path, and reversible.

use ntt_model::{ScanId, Timestamp};

use super::connection::{Connection, Target, get};
use super::media::leaf;
use super::queue::{self, ChunkCutter, PLACE, members_of, place, work_of};
use super::state::{self, is_eligible};
use super::wire::Rows;
use super::{inodes, paths};
use crate::cutting::{Cutter, Window, Work};
use crate::queued::{self, Queued};
use crate::rows::RelabelReport;
use crate::standing::{DAMAGED, FAILED, STORED};
use crate::{Error, Labels, codec};

/// Inodes looked at in one go.
const PAGE: u32 = 4096;

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
        labelled.has_freed = connection.execute(&format!("DELETE FROM label_{scan}"), &[])? > 0;
        return Ok(labelled);
    }
    let ids = rule_ids(connection, labels.rules)?;
    let mut all = paths::Paths::new(connection, scan)?;
    paths::pages(
        connection,
        scan,
        paths::COLUMNS,
        &paths::from(scan),
        "",
        &mut |rows| {
            let mut changes = Changes::default();
            for (path, row) in all.rows(rows)?.iter().zip(rows) {
                let rule = match (labels.rule_of)(path) {
                    Some(index) => Some(*ids.get(index).ok_or_else(|| no_rule(index))?),
                    None => None,
                };
                changes.set(get(row, 0)?, get(row, 5)?, rule, leaf(scan)?);
            }
            labelled.has_freed |= changes.has_freed;
            changes.write(connection, scan)
        },
    )?;
    label_orphaned_alternates(connection, scan)?;
    let count: i64 = connection.one(&format!("SELECT count(*) FROM label_{scan}"), &[])?;
    labelled.excluded_paths = count.cast_unsigned();
    Ok(labelled)
}

fn no_rule(index: usize) -> Error {
    Error::Conflict(format!("there is no rule number {index}"))
}

/// Labels of one page that differ from what is there.
#[derive(Default)]
struct Changes {
    removed: Vec<i32>,
    added: Rows,
    has_freed: bool,
}

impl Changes {
    fn set(&mut self, path: i32, before: Option<i32>, after: Option<i32>, scan: i32) {
        if before == after {
            return;
        }
        if before.is_some() {
            self.removed.push(path);
        }
        match after {
            Some(rule) => {
                self.added.row(3).int4(scan).int4(path).int4(rule);
            }
            None => self.has_freed = true,
        }
    }

    fn write(&self, connection: &Connection, scan: ScanId) -> Result<(), Error> {
        if !self.removed.is_empty() {
            let sql = format!("DELETE FROM label_{scan} WHERE path = ANY ($1)");
            connection.execute(&sql, &[&self.removed])?;
        }
        let table = format!("label_{scan} (scan, path, rule)");
        connection.load_rows(&Target::table(&table), &self.added)?;
        Ok(())
    }
}

/// Row ids of rules; new ones are added.
pub(super) fn rule_ids(connection: &Connection, rules: &[String]) -> Result<Vec<i32>, Error> {
    let sql = "INSERT INTO rule (name) VALUES ($1) ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id";
    rules
        .iter()
        .map(|rule| connection.one(sql, &[&super::value::text(rule)]))
        .collect()
}

/// A second name does not keep an inode whose proper names are all excluded: it gets the rule of the first of them.
fn label_orphaned_alternates(connection: &Connection, scan: ScanId) -> Result<(), Error> {
    connection.batch(&format!(
        "INSERT INTO label_{scan} (scan, path, rule) \
         SELECT {scan}, a.id, (SELECT l.rule FROM path_{scan} p JOIN label_{scan} l ON l.path = p.id \
             WHERE p.ino = a.ino AND p.flags < 8 ORDER BY p.id LIMIT 1) \
         FROM path_{scan} a WHERE a.flags < 16 AND a.flags & 8 <> 0 \
         AND NOT EXISTS (SELECT 1 FROM label_{scan} l WHERE l.path = a.id) \
         AND EXISTS (SELECT 1 FROM path_{scan} p JOIN label_{scan} l ON l.path = p.id WHERE p.ino = a.ino AND p.flags < 8) \
         AND NOT EXISTS (SELECT 1 FROM path_{scan} e WHERE e.ino = a.ino AND e.flags < 8 \
             AND NOT EXISTS (SELECT 1 FROM label_{scan} l WHERE l.path = e.id))"
    ))
}

/// Replaces the labels of a sealed scan and mends its queue. Leased chunks are left to their workers.
pub(super) fn relabel(
    connection: &Connection,
    scan: ScanId,
    labels: &Labels<'_>,
) -> Result<RelabelReport, Error> {
    queue::hold(connection, scan)?;
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

/// Takes streams without an eligible path out of the free chunks. Chunks that became sparse are cut anew: a lease costs the same
/// whatever it holds.
fn withdraw(connection: &Connection, scan: ScanId) -> Result<u64, Error> {
    let sql = "SELECT id FROM chunk WHERE scan = $1 AND state = 0 ORDER BY id FOR UPDATE";
    let free: Vec<i64> = connection.collect(sql, &[&leaf(scan)?], |row| get(row, 0))?;
    let mut withdrawn = 0;
    for chunk in free {
        withdrawn += prune(connection, scan, chunk)?;
    }
    if withdrawn > 0 {
        gather(connection, scan)?;
    }
    Ok(withdrawn)
}

/// Cuts the free chunks that are due at once anew if they are mostly empty. The old rows stay, done, so that late completions find their
/// leases lost.
fn gather(connection: &Connection, scan: ScanId) -> Result<(), Error> {
    let sql = "SELECT c.id, c.streams, c.is_fresh FROM chunk c \
               WHERE c.scan = $1 AND c.state = 0 AND c.not_before = 0 AND c.streams < 128 AND c.bytes BETWEEN 0 AND 16777216";
    let sparse: Vec<(i64, i64, bool)> = connection.collect(sql, &[&leaf(scan)?], |row| {
        Ok((get(row, 0)?, get(row, 1)?, get(row, 2)?))
    })?;
    if sparse.len() < 4 {
        return Ok(());
    }
    for is_fresh in [true, false] {
        let cutter = ChunkCutter::new(connection, scan, Timestamp::from_nanos(0), is_fresh)?;
        let mut window = Window::new(cutter);
        for (chunk, _, _) in sparse.iter().filter(|chunk| chunk.2 == is_fresh) {
            let work = work_of(connection, scan, &members_of(connection, *chunk)?)?;
            queue::shrink(connection, *chunk, &[])?;
            work.into_iter().try_for_each(|work| window.push(work))?;
        }
        window.finish()?;
    }
    Ok(())
}

/// Takes streams without an eligible path out of a free chunk; returns how many. The chunk keeps its row, so that a late completion
/// finds that its lease was lost.
pub(super) fn prune(connection: &Connection, scan: ScanId, chunk: i64) -> Result<u64, Error> {
    let members = members_of(connection, chunk)?;
    let numbers: Vec<i64> = members.iter().map(|member| member.inode.cast_signed()).collect();
    let wanted = state::wanted(connection, scan, &numbers)?;
    if numbers.iter().all(|inode| wanted.contains(inode)) {
        return Ok(0);
    }
    let work = work_of(connection, scan, &members)?;
    let kept: Vec<Work> = work
        .iter()
        .filter(|work| wanted.contains(&work.inode.cast_signed()))
        .copied()
        .collect();
    queue::shrink(connection, chunk, &kept)?;
    Ok(u64::try_from(work.len() - kept.len()).unwrap_or(u64::MAX))
}

/// Puts wanted streams that are neither settled nor in a chunk into the queue; returns how many.
fn readmit(connection: &Connection, scan: ScanId) -> Result<u64, Error> {
    let mut queued = queued(connection, scan)?;
    let sql = format!(
        "SELECT i.ino, {PLACE} FROM inode_{scan} i WHERE i.bits & {} = 0 AND {} \
         AND (i.bits & {} <> 0 OR NOT EXISTS (SELECT 1 FROM result_{scan} r WHERE r.ino = i.ino AND r.stream = 0 \
              AND r.state IN ({STORED}, {DAMAGED}, {FAILED}))) ORDER BY i.ino",
        inodes::DELETED,
        is_eligible(scan, "i.ino"),
        inodes::MORE_STREAMS
    );
    let pages = connection.pages(&sql, PAGE)?;
    let mut cutter = ChunkCutter::new(connection, scan, Timestamp::from_nanos(0), false)?;
    let mut readmitted = 0;
    loop {
        let rows = pages.next()?;
        if rows.is_empty() {
            break;
        }
        if let [first, .., last] | [first @ last] = rows.as_slice() {
            queued.stand_at(get(first, 0)?, get(last, 0)?, &mut |chunks| {
                members_of_all(connection, chunks)
            })?;
        }
        for work in open_work(connection, scan, &rows)? {
            if !queued.contains(&work) {
                readmitted += 1;
                cutter.push(work)?;
            }
        }
    }
    pages.close()?;
    cutter.finish()?;
    Ok(readmitted)
}

/// The streams of a page of inodes (number, place) that are not settled.
fn open_work(connection: &Connection, scan: ScanId, rows: &[postgres::Row]) -> Result<Vec<Work>, Error> {
    let numbers: Vec<i64> = rows.iter().map(|row| get(row, 0)).collect::<Result<_, _>>()?;
    let streams = inodes::streams(connection, scan, &numbers)?;
    let results = state::results(connection, scan, &numbers)?;
    let mut work = Vec::new();
    for row in rows {
        let inode: i64 = get(row, 0)?;
        let (position, map) = place(row, 1)?;
        for stream in streams.get(&inode).into_iter().flatten() {
            let result = results.get(&(inode, stream.ordinal));
            if result.is_some_and(|row| [STORED, DAMAGED, FAILED].contains(&row.state)) {
                continue;
            }
            work.push(Work {
                position,
                inode: inode.cast_unsigned(),
                stream: stream.ordinal,
                bytes: stream.size,
                map: map.for_stream(stream.ordinal),
            });
        }
    }
    Ok(work)
}

/// The streams in chunks that are not done.
fn queued(connection: &Connection, scan: ScanId) -> Result<Queued, Error> {
    let sql = format!(
        "SELECT c.id, m.members FROM chunk c JOIN chunk_members m ON m.chunk = c.id WHERE c.scan = {scan} AND c.state <> 2"
    );
    let pages = connection.pages(&sql, u32::try_from(queued::PAGE).unwrap_or(1))?;
    let mut queued = Queued::default();
    loop {
        let rows = pages.next()?;
        if rows.is_empty() {
            pages.close()?;
            return Ok(queued);
        }
        for row in &rows {
            queued.add(get(row, 0)?, &codec::members(get(row, 1)?)?);
        }
    }
}

fn members_of_all(connection: &Connection, chunks: &[i64]) -> Result<Vec<codec::Member>, Error> {
    let mut members = Vec::new();
    let sql = "SELECT members FROM chunk_members WHERE chunk = ANY ($1)";
    for row in connection.query(sql, &[&chunks])? {
        members.append(&mut codec::members(get(&row, 0)?)?);
    }
    Ok(members)
}
