//! States of streams, derived from results and labels, never stored.

use ntt_model::ScanId;
use ntt_model::entry::StreamKind;
use rusqlite::{Connection, Row, params};

use super::inodes;
use super::inodes::{MORE_STREAMS, hash, stream_kind, time};
use super::media::collect;
use crate::Error;
use crate::lease::History;
use crate::rows::StreamState;
pub(super) use crate::standing::{
    DAMAGED, FAILED, NO_NAME, REOPENED, RETRYABLE, ResultRow, STORED, Standing, StreamRow, derive,
};

/// The streams of an inode from its `bits` and `size` columns.
pub(super) fn streams(
    connection: &Connection,
    scan: ScanId,
    inode: i64,
    bits: i64,
    size: Option<i64>,
) -> Result<Vec<StreamRow>, Error> {
    let own = size.map(|size| StreamRow {
        ordinal: 0,
        kind: StreamKind::Data,
        size: size.cast_unsigned(),
    });
    let mut streams = Vec::from_iter(own);
    if bits & MORE_STREAMS != 0 {
        let sql =
            format!("SELECT stream, kind, name, size FROM stream_{scan} WHERE ino = ?1 ORDER BY stream");
        streams.append(&mut collect(connection, &sql, [inode], |row| {
            Ok(StreamRow {
                ordinal: row.get(0)?,
                kind: stream_kind(row.get(1)?, row.get(2)?),
                size: row.get::<_, i64>(3)?.cast_unsigned(),
            })
        })?);
    }
    Ok(streams)
}

/// The result of a stream, if there is one.
pub(super) fn result(
    connection: &Connection,
    scan: ScanId,
    inode: i64,
    stream: u32,
) -> Result<Option<ResultRow>, Error> {
    let sql = format!(
        "SELECT r.state, r.blob, r.missing, r.attempts, r.strikes, r.class, r.code, r.not_before, r.detail, b.hash \
         FROM result_{scan} r LEFT JOIN blob b ON b.id = r.blob WHERE r.ino = ?1 AND r.stream = ?2"
    );
    Ok(collect(connection, &sql, params![inode, stream], result_row)?
        .into_iter()
        .next())
}

fn result_row(row: &Row<'_>) -> Result<ResultRow, Error> {
    let class: Option<String> = row.get(5)?;
    let class = class.map(|class| class.parse()).transpose();
    let class = class.map_err(|error| Error::Damaged(format!("result: {error}")))?;
    let code: Option<i32> = row.get(6)?;
    Ok(ResultRow {
        state: row.get(0)?,
        blob: row.get(1)?,
        missing: row.get(2)?,
        history: History {
            attempts: row.get(3)?,
            strikes: row.get(4)?,
            last: class.map(|class| (class, code.unwrap_or(0))),
        },
        not_before: time(row, 7)?,
        detail: row.get::<_, Option<String>>(8)?.unwrap_or_default(),
        hash: hash(row, 9)?,
    })
}

/// SQL that tells whether the inode in `column` has an eligible path (R33); one search in a covering index.
pub(super) fn is_eligible(scan: ScanId, column: &str) -> String {
    format!("EXISTS (SELECT 1 FROM path_{scan} e WHERE e.ino = {column} AND e.rule IS NULL AND e.flags < 16)")
}

/// Whether an inode has an eligible path.
pub(super) fn is_wanted(connection: &Connection, scan: ScanId, inode: i64) -> Result<bool, Error> {
    let sql = format!("SELECT {}", is_eligible(scan, "?1"));
    Ok(connection
        .prepare_cached(&sql)?
        .query_row([inode], |row| row.get(0))?)
}

/// The standing of an inode.
pub(super) fn standing(connection: &Connection, scan: ScanId, inode: i64) -> Result<Standing, Error> {
    if is_wanted(connection, scan, inode)? {
        return Ok(Standing::Wanted);
    }
    let sql = format!(
        "SELECT r.name FROM path_{scan} p JOIN rule r ON r.id = p.rule \
         WHERE p.ino = ?1 AND (p.rule IS NOT NULL OR p.flags >= 16) AND p.flags < 16 ORDER BY p.id LIMIT 1"
    );
    let rule = collect(connection, &sql, [inode], |row| Ok(row.get(0)?))?;
    Ok(Standing::Withheld(
        rule.into_iter().next().unwrap_or_else(|| NO_NAME.to_owned()),
    ))
}

/// The states of all streams of an inode.
pub(super) fn of_inode(connection: &Connection, scan: ScanId, inode: u64) -> Result<Vec<StreamState>, Error> {
    let Some(found) = inodes::one(connection, scan, inode)? else {
        return Err(Error::NotFound {
            what: format!("inode {inode} in scan {scan}"),
        });
    };
    let number = inode.cast_signed();
    let standing = standing(connection, scan, number)?;
    let mut states = Vec::with_capacity(found.streams.len());
    for (ordinal, stream) in (0..).zip(found.streams) {
        let result = result(connection, scan, number, ordinal)?;
        states.push(StreamState {
            stream: ordinal,
            kind: stream.kind,
            size_bytes: stream.size_bytes,
            state: derive(result.as_ref(), &standing)?,
        });
    }
    Ok(states)
}
