//! States of streams, derived from results and labels, never stored.

use std::collections::{HashMap, HashSet};

use ntt_model::ScanId;
use postgres::Row;

use super::connection::{Connection, get};
use super::inodes;
use super::media::{digest, small, time};
use super::result::{COUNTS, LAST_FAILURE};
use crate::Error;
use crate::lease::History;
use crate::rows::StreamState;
use crate::standing::{DAMAGED, FAILED, NO_NAME, ResultRow, STORED, Standing, StreamRow, derive};

/// SQL that tells whether the inode in `column` has an eligible path (R33).
pub(super) fn is_eligible(scan: ScanId, column: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM path_{scan} e WHERE e.ino = {column} AND e.flags < 16 \
         AND NOT EXISTS (SELECT 1 FROM label_{scan} l WHERE l.path = e.id))"
    )
}

/// As [`is_eligible`] as long as the scan has no label, which is one look less for each name.
pub(super) fn is_eligible_without_labels(scan: ScanId, column: &str) -> String {
    format!("EXISTS (SELECT 1 FROM path_{scan} e WHERE e.ino = {column} AND e.flags < 16)")
}

/// Those of these inodes that have an eligible path.
pub(super) fn wanted(connection: &Connection, scan: ScanId, inodes: &[i64]) -> Result<HashSet<i64>, Error> {
    if inodes.is_empty() {
        return Ok(HashSet::new());
    }
    let sql = format!(
        "SELECT n.ino FROM unnest($1::int8[]) AS n (ino) WHERE {}",
        is_eligible(scan, "n.ino")
    );
    let found = connection.collect(&sql, &[&inodes], |row| get(row, 0))?;
    Ok(found.into_iter().collect())
}

/// Results by inode and stream.
pub(super) type Results = HashMap<(i64, u32), ResultRow>;

/// The results of inodes.
pub(super) fn results(connection: &Connection, scan: ScanId, inodes: &[i64]) -> Result<Results, Error> {
    let sql = format!(
        "SELECT r.ino, r.stream, r.state, r.blob, r.missing, {COUNTS}, {LAST_FAILURE}, r.not_before, b.hash, b.bad \
         FROM result_{scan} r LEFT JOIN blob b ON b.id = r.blob WHERE r.ino = ANY ($1)"
    );
    let rows = connection.collect(&sql, &[&inodes], |row| {
        Ok(((get(row, 0)?, small(row, 1)?), result_row(row)?))
    })?;
    Ok(rows.into_iter().collect())
}

fn result_row(row: &Row) -> Result<ResultRow, Error> {
    let class: Option<&str> = get(row, 7)?;
    let class = class.map(str::parse).transpose();
    let class = class.map_err(|error| Error::Damaged(format!("result: {error}")))?;
    let code: Option<i32> = get(row, 8)?;
    Ok(ResultRow {
        state: i64::from(get::<i16>(row, 2)?),
        blob: get(row, 3)?,
        missing: get(row, 4)?,
        history: History {
            attempts: small(row, 5)?,
            strikes: small(row, 6)?,
            last: class.map(|class| (class, code.unwrap_or(0))),
        },
        not_before: time(row, 10)?,
        detail: get::<Option<String>>(row, 9)?.unwrap_or_default(),
        hash: digest(row, 11)?,
        bad: get::<Option<bool>>(row, 12)?.unwrap_or_default(),
    })
}

/// The standing of inodes: those that are missing from the answer have nothing but deleted names, or none.
fn standings(connection: &Connection, scan: ScanId, inodes: &[i64]) -> Result<HashMap<i64, Standing>, Error> {
    let wanted = wanted(connection, scan, inodes)?;
    let mut standings: HashMap<i64, Standing> =
        wanted.iter().map(|inode| (*inode, Standing::Wanted)).collect();
    if standings.len() == inodes.len() {
        return Ok(standings);
    }
    let sql = format!(
        "SELECT DISTINCT ON (p.ino) p.ino, r.name FROM path_{scan} p JOIN label_{scan} l ON l.path = p.id \
         JOIN rule r ON r.id = l.rule WHERE p.ino = ANY ($1) AND p.flags < 16 ORDER BY p.ino, p.id"
    );
    for row in connection.query(&sql, &[&inodes])? {
        standings
            .entry(get(&row, 0)?)
            .or_insert(Standing::Withheld(get(&row, 1)?));
    }
    Ok(standings)
}

/// The states of all streams of inodes.
pub(super) fn of_inodes(
    connection: &Connection,
    scan: ScanId,
    inodes: &[i64],
) -> Result<HashMap<i64, Vec<StreamState>>, Error> {
    let streams = inodes::streams(connection, scan, inodes)?;
    let results = results(connection, scan, inodes)?;
    // What paths ask for decides only where no result does.
    let is_settled = |inode: i64, stream: &StreamRow| {
        let result = results.get(&(inode, stream.ordinal));
        result.is_some_and(|row| [STORED, DAMAGED, FAILED].contains(&row.state))
    };
    let open: Vec<i64> = streams
        .iter()
        .filter(|(inode, streams)| !streams.iter().all(|stream| is_settled(**inode, stream)))
        .map(|(inode, _)| *inode)
        .collect();
    let standings = standings(connection, scan, &open)?;
    let nameless = Standing::Withheld(NO_NAME.to_owned());
    let mut states = HashMap::with_capacity(streams.len());
    for (inode, rows) in streams {
        let standing = standings.get(&inode).unwrap_or(&nameless);
        let derived = rows.into_iter().map(|stream| {
            Ok(StreamState {
                stream: stream.ordinal,
                state: derive(results.get(&(inode, stream.ordinal)), standing)?,
                kind: stream.kind,
                size_bytes: stream.size,
            })
        });
        states.insert(inode, derived.collect::<Result<Vec<_>, Error>>()?);
    }
    Ok(states)
}

/// The states of all streams of an inode.
pub(super) fn of_inode(connection: &Connection, scan: ScanId, inode: u64) -> Result<Vec<StreamState>, Error> {
    let number = inode.cast_signed();
    let mut states = of_inodes(connection, scan, &[number])?;
    if let Some(states) = states.remove(&number) {
        return Ok(states);
    }
    let sql = format!("SELECT 1 FROM inode_{scan} WHERE ino = $1");
    let found = connection.first(&sql, &[&number])?;
    found.map(|_| Vec::new()).ok_or_else(|| Error::NotFound {
        what: format!("inode {inode} in scan {scan}"),
    })
}
