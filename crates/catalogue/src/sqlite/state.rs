//! States of streams, derived from results and labels, never stored.

use ntt_model::entry::StreamKind;
use ntt_model::failure::Failure;
use ntt_model::{ScanId, Timestamp};
use rusqlite::{Connection, Row, params};

use super::inodes::{MORE_STREAMS, hash, stream_kind, time};
use super::media::collect;
use super::{codec, inodes};
use crate::Error;
use crate::lease::History;
use crate::rows::{State, StreamState};

/// What stands in `Excluded` for an inode that has no name, or only deleted ones: not wanted, but counted (R29).
pub const NO_NAME: &str = "(no allocated name)";

/// Codes of `result.state`.
pub(super) const REOPENED: i64 = 0;
pub(super) const STORED: i64 = 1;
pub(super) const DAMAGED: i64 = 2;
pub(super) const RETRYABLE: i64 = 3;
pub(super) const FAILED: i64 = 4;

/// A stream by ordinal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct StreamRow {
    pub(super) ordinal: u32,
    pub(super) kind: StreamKind,
    pub(super) size: u64,
}

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

/// A row of `result_{n}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ResultRow {
    pub(super) state: i64,
    pub(super) blob: Option<i64>,
    pub(super) missing: Option<Vec<u8>>,
    pub(super) history: History,
    pub(super) not_before: Option<Timestamp>,
    detail: String,
    hash: Option<ntt_model::BlobHash>,
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

impl ResultRow {
    fn failure(&self) -> Result<Failure, Error> {
        let (class, code) = self
            .history
            .last
            .ok_or_else(|| Error::Damaged("a failure without a class".to_owned()))?;
        Ok(Failure {
            class,
            code,
            detail: self.detail.clone(),
        })
    }

    fn blob(&self) -> Result<ntt_model::BlobHash, Error> {
        self.hash
            .ok_or_else(|| Error::Damaged("a stored stream without its blob".to_owned()))
    }
}

/// Whether the paths of an inode ask for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// At least one path does.
    Wanted,
    /// None does; the rule of the first path, or [`NO_NAME`].
    Withheld(String),
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

/// The state that follows from the result and the standing.
pub(super) fn derive(result: Option<&ResultRow>, standing: &Standing) -> Result<State, Error> {
    match result {
        Some(row) if row.state == STORED => return Ok(State::Stored { blob: row.blob()? }),
        Some(row) if row.state == DAMAGED => {
            return Ok(State::Damaged {
                blob: row.blob()?,
                missing: codec::ranges(row.missing.as_deref().unwrap_or(&[]))?,
                failure: row.failure()?,
            });
        }
        Some(row) if row.state == FAILED => {
            return Ok(State::Failed {
                failure: row.failure()?,
                attempts: row.history.attempts,
            });
        }
        _ => {}
    }
    match (standing, result) {
        (Standing::Withheld(rule), _) => Ok(State::Excluded { rule: rule.clone() }),
        (Standing::Wanted, Some(row)) if row.state == RETRYABLE => Ok(State::Retryable {
            failure: row.failure()?,
            attempts: row.history.attempts,
            not_before: row.not_before.unwrap_or(Timestamp::from_nanos(0)),
        }),
        (Standing::Wanted, _) => Ok(State::Pending),
    }
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
