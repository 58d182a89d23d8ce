//! The workers: who lives, what they hold, and what is wished of them.

use ntt_model::{Timestamp, WorkerId};

use super::connection::{Connection, get};
use super::media::{not_found, unsigned};
use super::queue::free;
use super::value::text;
use crate::Error;
use crate::lease::LEASE_NANOS;
use crate::rows::{WorkerRow, WorkerWish};

/// Registers a worker.
pub(super) fn register(connection: &Connection, name: &str) -> Result<WorkerId, Error> {
    let sql = format!(
        "INSERT INTO worker (name, begun, seen) SELECT $1, t.now, t.now FROM (SELECT {} AS now) t RETURNING id",
        connection.now_sql()
    );
    connection.one(&sql, &[&text(name)]).map(WorkerId)
}

/// Keeps a worker alive, and tells what a person wishes of it. A retired one stays retired.
pub(super) fn heartbeat(connection: &Connection, worker: WorkerId) -> Result<WorkerWish, Error> {
    let sql = format!(
        "UPDATE worker SET seen = {} WHERE id = $1 AND NOT retired \
         RETURNING wish, set_config('synchronous_commit', 'off', true)",
        connection.now_sql()
    );
    let row = connection.first(&sql, &[&worker.0])?;
    wish(get(&row.ok_or_else(|| dead(worker))?, 0)?)
}

/// The error for a worker that has ended or never was.
pub(super) fn dead(worker: WorkerId) -> Error {
    not_found("living worker", worker.0)
}

fn wish(word: &str) -> Result<WorkerWish, Error> {
    crate::code::from_word(word.to_owned())
}

/// Asks something of a worker; it answers with its next heartbeat.
pub(super) fn ask(connection: &Connection, worker: WorkerId, wish: WorkerWish) -> Result<(), Error> {
    let sql = "UPDATE worker SET wish = $2 WHERE id = $1 AND NOT retired";
    match connection.execute(sql, &[&worker.0, &crate::code::word_of(&wish)?])? {
        0 => Err(dead(worker)),
        _ => Ok(()),
    }
}

/// Ends a worker and frees what it holds.
pub(super) fn retire(connection: &Connection, worker: WorkerId) -> Result<(), Error> {
    free(connection, &format!("c.owner = {}", worker.0))?;
    let sql = "UPDATE worker SET retired = true WHERE id = $1";
    match connection.execute(sql, &[&worker.0])? {
        0 => Err(not_found("worker", worker.0)),
        _ => Ok(()),
    }
}

/// The workers, newest first.
pub(super) fn workers(connection: &Connection) -> Result<Vec<WorkerRow>, Error> {
    let sql = "SELECT id, name, seen, retired, (SELECT count(*) FROM chunk c WHERE c.state = 1 AND c.owner = w.id), \
               begun, done_streams, done_bytes, wish FROM worker w ORDER BY id DESC";
    connection.collect(sql, &[], |row| {
        Ok(WorkerRow {
            id: WorkerId(get(row, 0)?),
            name: get(row, 1)?,
            seen: Timestamp::from_nanos(get(row, 2)?),
            retired: get(row, 3)?,
            leased_chunks: unsigned(row, 4)?,
            begun: Some(Timestamp::from_nanos(get(row, 5)?)),
            done_streams: Some(unsigned(row, 6)?),
            done_bytes: Some(unsigned(row, 7)?),
            wish: wish(get(row, 8)?)?,
        })
    })
}

/// Takes back the leases of workers that are dead or have ended; tells how many.
pub(super) fn sweep(connection: &Connection) -> Result<usize, Error> {
    let which = format!(
        "c.owner IN (SELECT w.id FROM worker w WHERE w.retired OR w.seen < {} - {LEASE_NANOS})",
        connection.now_sql()
    );
    free(connection, &which)
}
