//! States of streams, derived from results and labels, never stored.

use ntt_model::ScanId;
use ntt_model::entry::StreamKind;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::inodes::{MORE_STREAMS, hash, stream_kind, time};
use super::media::collect;
use crate::Error;
use crate::lease::History;
use crate::rows::StreamState;
pub(super) use crate::standing::{
    DAMAGED, FAILED, NO_NAME, REOPENED, RETRYABLE, ResultRow, STORED, Standing, StreamRow, derive,
};

/// Whether a result with this state decides what became of a stream, whatever its paths say.
pub(super) fn is_settled(state: i64) -> bool {
    [STORED, DAMAGED, FAILED].contains(&state)
}

/// The streams of an inode from its `bits` and `size` columns.
pub(super) fn streams(
    connection: &Connection,
    scan: ScanId,
    inode: i64,
    bits: i64,
    size: Option<i64>,
) -> Result<impl Iterator<Item = StreamRow> + use<>, Error> {
    let own = size.map(|size| StreamRow {
        ordinal: 0,
        kind: StreamKind::Data,
        size: size.cast_unsigned(),
    });
    let mut further = Vec::new();
    if bits & MORE_STREAMS != 0 {
        let sql =
            format!("SELECT stream, kind, name, size FROM stream_{scan} WHERE ino = ?1 ORDER BY stream");
        further = collect(connection, &sql, [inode], |row| {
            Ok(StreamRow {
                ordinal: row.get(0)?,
                kind: stream_kind(row.get(1)?, row.get(2)?),
                size: row.get::<_, i64>(3)?.cast_unsigned(),
            })
        })?;
    }
    Ok(own.into_iter().chain(further))
}

/// The result of a stream, if there is one.
pub(super) fn result(
    connection: &Connection,
    scan: ScanId,
    inode: i64,
    stream: u32,
) -> Result<Option<ResultRow>, Error> {
    let sql = format!(
        "SELECT {RESULT_COLUMNS} FROM result_{scan} r LEFT JOIN blob b ON b.id = r.blob \
         WHERE r.ino = ?1 AND r.stream = ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![inode, stream])?;
    Ok(match rows.next()? {
        Some(row) => result_row(row, 0)?,
        None => None,
    })
}

/// Columns of a result `r` and its blob `b`, in the order that [`result_row`] reads.
pub(super) const RESULT_COLUMNS: &str = "r.state, r.blob, r.missing, r.attempts, r.strikes, r.class, r.code, r.not_before, r.detail, b.hash, b.bad";

/// A result from a row in which [`RESULT_COLUMNS`] stand from column `first` on, if there is one.
pub(super) fn result_row(row: &Row<'_>, first: usize) -> Result<Option<ResultRow>, Error> {
    let Some(state) = row.get(first)? else {
        return Ok(None);
    };
    let class: Option<String> = row.get(first + 5)?;
    let class = class.map(|class| class.parse()).transpose();
    let class = class.map_err(|error| Error::Damaged(format!("result: {error}")))?;
    let code: Option<i32> = row.get(first + 6)?;
    Ok(Some(ResultRow {
        state,
        blob: row.get(first + 1)?,
        missing: row.get(first + 2)?,
        history: History {
            attempts: row.get(first + 3)?,
            strikes: row.get(first + 4)?,
            last: class.map(|class| (class, code.unwrap_or(0))),
        },
        not_before: time(row, first + 7)?,
        detail: row.get::<_, Option<String>>(first + 8)?.unwrap_or_default(),
        hash: hash(row, first + 9)?,
        bad: row.get::<_, Option<bool>>(first + 10)?.unwrap_or_default(),
    }))
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
    let number = inode.cast_signed();
    let sql = format!("SELECT bits, size FROM inode_{scan} WHERE ino = ?1");
    let row = connection
        .prepare_cached(&sql)?
        .query_row([number], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((bits, size)) = row else {
        return Err(Error::NotFound {
            what: format!("inode {inode} in scan {scan}"),
        });
    };
    let streams = streams(connection, scan, number, bits, size)?.collect();
    of_streams(connection, scan, number, streams, None)
}

/// The states of these streams of an inode. What paths ask for decides only where no result does. `own` is the result of stream 0, if it was looked up
/// already.
pub(super) fn of_streams(
    connection: &Connection,
    scan: ScanId,
    inode: i64,
    streams: Vec<StreamRow>,
    mut own: Option<Option<ResultRow>>,
) -> Result<Vec<StreamState>, Error> {
    let mut standing: Option<Standing> = None;
    let mut states = Vec::with_capacity(streams.len());
    for stream in streams {
        let result = match own.take_if(|_| stream.ordinal == 0) {
            Some(own) => own,
            None => result(connection, scan, inode, stream.ordinal)?,
        };
        let is_decided = result.as_ref().is_some_and(|result| is_settled(result.state));
        if !is_decided && standing.is_none() {
            standing = Some(self::standing(connection, scan, inode)?);
        }
        states.push(StreamState {
            stream: stream.ordinal,
            kind: stream.kind,
            size_bytes: stream.size,
            state: derive(result.as_ref(), standing.as_ref().unwrap_or(&Standing::Wanted))?,
        });
    }
    Ok(states)
}
