//! One connection: statements, COPY, transactions, and what errors of the server mean.
//!
//! No statement leaves anything behind in the session that a later one cannot do without, so that a pooler may give every transaction another server.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ntt_host::Clock;
use ntt_model::Timestamp;
use postgres::error::SqlState;
use postgres::types::{FromSql, ToSql, Type};
use postgres::{Client, Row};

use super::kept::Kept;
use super::place::Place;
use super::spool::Spool;
use super::value::Value;
use super::wire::{HEADER, Rows, TRAILER};
use crate::Error;

/// Settings of every session; behind a pooler they may get lost, and nothing depends on them but patience. `jit` never pays here. A client that
/// cannot be reached any more is given up by the server within a minute, and its locks with it.
const SESSION: &str = "SET client_min_messages = 'warning'; SET lock_timeout = '30s'; SET statement_timeout = '10min'; \
                       SET jit = off; SET bytea_output = 'hex'; SET standard_conforming_strings = on; SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; \
                       SET tcp_keepalives_count = 3; SET tcp_user_timeout = '60s'";
/// What a transaction sets that looks for rows by keys only. All of them have an index, and are few beside what the tables hold: a planner that knows a
/// table from when it was small, or takes thousands of keys for most of it, would read all.
pub(super) const KEYED: &str = "SET LOCAL enable_seqscan = off";
/// The server's clock in nanoseconds since 1970, to the microsecond.
const SERVER_CLOCK: &str = "((extract(epoch FROM clock_timestamp()) * 1000000)::int8 * 1000)";

/// Whose clock counts.
#[derive(Clone)]
pub(super) enum TimeSource {
    /// The server's: the only one that all workers share.
    Server,
    /// One that a test sets.
    Given(Arc<dyn Clock>),
}

impl TimeSource {
    /// The present time as an SQL expression.
    pub(super) fn sql(&self) -> String {
        match self {
            Self::Server => SERVER_CLOCK.to_owned(),
            Self::Given(clock) => format!("{}::int8", clock.now().as_nanos()),
        }
    }
}

/// A moment of this process, by its own clock: for what need not be done more often than now and then.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    at: Instant,
    given: Option<Timestamp>,
}

impl Moment {
    /// Now.
    pub(super) fn now(time: &TimeSource) -> Self {
        let given = match time {
            TimeSource::Server => None,
            TimeSource::Given(clock) => Some(clock.now()),
        };
        Self {
            at: Instant::now(),
            given,
        }
    }

    /// Whether less than `span` passed since.
    pub(super) fn is_within(&self, span: Duration, time: &TimeSource) -> bool {
        let nanos = i128::try_from(span.as_nanos()).unwrap_or(i128::MAX);
        let passed = self
            .given
            .zip(Self::now(time).given)
            .map(|(then, now)| i128::from(now.as_nanos()).saturating_sub(i128::from(then.as_nanos())));
        self.at.elapsed() < span && passed.is_none_or(|passed| (0..nanos).contains(&passed))
    }
}

/// Where rows are loaded.
pub(super) struct Target<'t> {
    table: &'t str,
    options: &'static str,
}

impl<'t> Target<'t> {
    /// A table, with its columns if not all are sent.
    pub(super) const fn table(table: &'t str) -> Self {
        Self { table, options: "" }
    }

    /// A table that this transaction has created: nobody else sees it, so that its rows need never be looked at again.
    pub(super) const fn new_table(table: &'t str) -> Self {
        Self {
            table,
            options: ", FREEZE true",
        }
    }
}

/// A connection with what is needed to talk about it.
pub(super) struct Connection {
    client: RefCell<Client>,
    place: Arc<Place>,
    time: TimeSource,
    cursors: Cell<u32>,
    kept: Kept,
}

impl Connection {
    /// Connects.
    pub(super) fn open(place: &Arc<Place>, time: &TimeSource) -> Result<Self, Error> {
        let mut client = place.connect()?;
        client
            .batch_execute(SESSION)
            .map_err(|error| error_of(place, error))?;
        Ok(Self {
            client: RefCell::new(client),
            place: Arc::clone(place),
            time: time.clone(),
            cursors: Cell::new(0),
            kept: Kept::default(),
        })
    }

    /// Whether the connection can be used for another transaction.
    pub(super) fn is_open(&self) -> bool {
        !self.client.borrow().is_closed()
    }

    /// What an error means to the caller.
    pub(super) fn error(&self, error: postgres::Error) -> Error {
        error_of(&self.place, error)
    }

    /// Statements that are kept in this session, as far as it is always the same.
    pub(super) const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Runs statements without values or rows; the server's own error.
    pub(super) fn try_batch(&self, sql: &str) -> Result<(), postgres::Error> {
        self.client.borrow_mut().batch_execute(sql)
    }

    /// The rows of a query; the server's own error.
    pub(super) fn try_query(&self, sql: &str, values: &[&dyn Value]) -> Result<Vec<Row>, postgres::Error> {
        self.client.borrow_mut().query_typed(sql, &with_types(values))
    }

    /// Runs statements without values or rows.
    pub(super) fn batch(&self, sql: &str) -> Result<(), Error> {
        self.try_batch(sql).map_err(|error| self.error(error))
    }

    /// The rows of a query.
    pub(super) fn query(&self, sql: &str, values: &[&dyn Value]) -> Result<Vec<Row>, Error> {
        self.try_query(sql, values).map_err(|error| self.error(error))
    }

    /// The first row of a query, if there is one.
    pub(super) fn first(&self, sql: &str, values: &[&dyn Value]) -> Result<Option<Row>, Error> {
        Ok(self.query(sql, values)?.into_iter().next())
    }

    /// The one value of a query that has one.
    pub(super) fn one<T>(&self, sql: &str, values: &[&dyn Value]) -> Result<T, Error>
    where
        T: for<'a> FromSql<'a>,
    {
        let row = self.first(sql, values)?;
        get(
            &row.ok_or_else(|| Error::Damaged("a count without a row".to_owned()))?,
            0,
        )
    }

    /// Turns the rows of a query.
    pub(super) fn collect<T>(
        &self,
        sql: &str,
        values: &[&dyn Value],
        turn: impl FnMut(&Row) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        self.query(sql, values)?.iter().map(turn).collect()
    }

    /// Runs a statement; returns how many rows it touched.
    pub(super) fn execute(&self, sql: &str, values: &[&dyn Value]) -> Result<u64, Error> {
        self.client
            .borrow_mut()
            .execute_typed(sql, &with_types(values))
            .map_err(|error| self.error(error))
    }

    /// Loads the rows of a spool.
    pub(super) fn load(&self, target: &Target<'_>, spool: &mut Spool) -> Result<u64, Error> {
        if spool.rows() == 0 {
            return Ok(0);
        }
        self.copy(target, |out| spool.replay(out))
    }

    /// Loads rows.
    pub(super) fn load_rows(&self, target: &Target<'_>, rows: &Rows) -> Result<u64, Error> {
        if rows.count() == 0 {
            return Ok(0);
        }
        self.copy(target, |out| out.write_all(rows.bytes()))
    }

    /// COPY needs a named statement for a moment. Behind a pooler a statement of that name may be left from another client.
    fn copy(
        &self,
        target: &Target<'_>,
        write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<u64, Error> {
        self.drop_left_statements()?;
        let mut client = self.client.borrow_mut();
        let sql = format!(
            "COPY {} FROM STDIN (FORMAT binary{})",
            target.table, target.options
        );
        let mut out = client.copy_in(&sql).map_err(|error| self.error(error))?;
        let written = out
            .write_all(HEADER)
            .and_then(|()| write(&mut out))
            .and_then(|()| out.write_all(TRAILER));
        match written {
            Ok(()) => out.finish().map_err(|error| self.error(error)),
            Err(error) => Err(self.io_error(error)),
        }
    }

    /// Drops statements with a name such as the client library gives (`s7`).
    fn drop_left_statements(&self) -> Result<(), Error> {
        let sql = "SELECT name FROM pg_prepared_statements WHERE name ~ '^s[0-9]+$'";
        for name in self.collect(sql, &[], |row| get::<String>(row, 0))? {
            self.batch(&format!("DEALLOCATE {name}"))?;
        }
        Ok(())
    }

    /// An error while rows are sent: the server's own words lie inside it.
    fn io_error(&self, error: std::io::Error) -> Error {
        match error.downcast::<postgres::Error>() {
            Ok(error) => self.error(error),
            Err(error) => Error::Storage(Box::new(error)),
        }
    }

    /// Fresh ids for `count` rows of a table, ascending.
    pub(super) fn new_ids(&self, table: &str, count: usize) -> Result<Vec<i64>, Error> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        // The sequence is looked up once, not for every row.
        let sql = format!(
            "SELECT nextval((SELECT pg_get_serial_sequence('{table}', 'id'))::regclass) FROM generate_series(1, $1)"
        );
        self.collect(&sql, &[&count], |row| get(row, 0))
    }

    /// The present time.
    pub(super) fn now(&self) -> Result<Timestamp, Error> {
        match &self.time {
            TimeSource::Given(clock) => Ok(clock.now()),
            TimeSource::Server => self
                .one(&format!("SELECT {SERVER_CLOCK}"), &[])
                .map(Timestamp::from_nanos),
        }
    }

    /// The present time as an SQL expression.
    pub(super) fn now_sql(&self) -> String {
        self.time.sql()
    }

    /// The rows of a query page by page, inside a transaction.
    pub(super) fn pages(&self, sql: &str, rows: u32) -> Result<Pages<'_>, Error> {
        self.cursors.set(self.cursors.get().wrapping_add(1));
        let name = format!("c{}", self.cursors.get());
        self.batch(&format!("DECLARE {name} NO SCROLL CURSOR FOR {sql}"))?;
        Ok(Pages {
            connection: self,
            name,
            rows,
        })
    }

    /// Runs `work` in a transaction.
    pub(super) fn transact<T>(
        &self,
        begin: &str,
        work: impl FnOnce(&Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.batch(begin)?;
        self.commit_after(work)
    }

    /// Runs `work` in the transaction that has begun, and ends it.
    pub(super) fn commit_after<T>(&self, work: impl FnOnce(&Self) -> Result<T, Error>) -> Result<T, Error> {
        match work(self).and_then(|answer| self.batch("COMMIT").map(|()| answer)) {
            Ok(answer) => Ok(answer),
            Err(error) => {
                // The first error matters; a connection that cannot roll back is closed, and the server rolls back by itself.
                let _ = self.batch("ROLLBACK");
                Err(error)
            }
        }
    }
}

/// Rows of a query, page by page.
pub(super) struct Pages<'c> {
    connection: &'c Connection,
    name: String,
    rows: u32,
}

impl Pages<'_> {
    /// The next page; empty at the end.
    pub(super) fn next(&self) -> Result<Vec<Row>, Error> {
        self.connection
            .query(&format!("FETCH FORWARD {} FROM {}", self.rows, self.name), &[])
    }

    /// Ends the query.
    pub(super) fn close(self) -> Result<(), Error> {
        self.connection.batch(&format!("CLOSE {}", self.name))
    }
}

fn with_types<'v>(values: &[&'v dyn Value]) -> Vec<(&'v (dyn ToSql + Sync), Type)> {
    values
        .iter()
        .map(|value| -> (&(dyn ToSql + Sync), Type) { (*value, value.sql_type()) })
        .collect()
}

/// A column of a row.
pub(super) fn get<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> Result<T, Error> {
    row.try_get(column)
        .map_err(|error| Error::Damaged(format!("column {column}: {error}")))
}

/// What an error means to the caller.
pub(super) fn error_of(place: &Place, error: postgres::Error) -> Error {
    let Some(state) = error.code() else {
        return place.unreachable(error);
    };
    let class = state.code().get(..2).unwrap_or_default();
    match class {
        _ if is_full_or_read_only(state) => Error::Storage(Box::new(error)),
        _ if *state == SqlState::LOCK_NOT_AVAILABLE => Error::Held,
        _ if *state == SqlState::TOO_MANY_CONNECTIONS => place.unreachable(error),
        // The leaf tables of a scan are there as soon as it is sealed; all others always are.
        _ if *state == SqlState::UNDEFINED_TABLE && !is_of_a_scan(&told(&error)) => {
            Error::Damaged(told(&error))
        }
        _ if *state == SqlState::UNDEFINED_TABLE => Error::NotFound {
            what: "sealed scan".to_owned(),
        },
        // Another transaction brought the same content a moment ago.
        _ if is_twice(&error, "blob_pkey") => Error::Database(Box::new(error)),
        "08" | "28" | "3D" => place.unreachable(error),
        "57" if *state != SqlState::QUERY_CANCELED => place.unreachable(error),
        "23" => Error::Conflict(told(&error)),
        "XX" => Error::Damaged(told(&error)),
        _ => Error::Database(Box::new(error)),
    }
}

fn is_full_or_read_only(state: &SqlState) -> bool {
    [
        SqlState::DISK_FULL,
        SqlState::OUT_OF_MEMORY,
        SqlState::IO_ERROR,
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ]
    .contains(state)
}

/// Whether a server's sentence names the table of a scan: `relation "path_12" does not exist`.
fn is_of_a_scan(told: &str) -> bool {
    let name = told.split('"').nth(1).unwrap_or_default();
    let number = name.rsplit('_').next().filter(|number| number.len() < name.len());
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

fn is_twice(error: &postgres::Error, index: &str) -> bool {
    error.code() == Some(&SqlState::UNIQUE_VIOLATION)
        && error.as_db_error().and_then(postgres::error::DbError::constraint) == Some(index)
}

fn told(error: &postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), |told| told.message().to_owned())
}

/// Whether the same transaction may succeed when it is run again: it met another one (also one that brought the same row), or this process was asleep in its middle and the server gave it
/// up.
pub(super) fn is_transient(error: &Error) -> bool {
    let Error::Database(source) = error else {
        return false;
    };
    source
        .downcast_ref::<postgres::Error>()
        .and_then(postgres::Error::code)
        .is_some_and(|state| {
            [
                SqlState::T_R_SERIALIZATION_FAILURE,
                SqlState::T_R_DEADLOCK_DETECTED,
                SqlState::UNIQUE_VIOLATION,
                SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            ]
            .contains(state)
        })
}
