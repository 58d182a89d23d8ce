//! Statements that the server keeps for a session, so that it plans them once: those of a claim, which takes less time to run than to plan.
//!
//! A pooler may give every transaction another session, in which a statement is not there or was left by somebody else. So its name is made of a digest of its
//! text: whatever has that name is that statement. What is not there is prepared again, and after a few sessions without it is run as any other statement.

use std::cell::RefCell;
use std::collections::VecDeque;

use ntt_model::BlobHash;
use postgres::Row;
use postgres::error::SqlState;

use super::connection::Connection;
use super::value::Value;
use crate::Error;

/// Statements kept by one connection: the plan of each takes memory of the server.
const KEPT_MAX: usize = 16;
/// A statement that is gone is prepared again so often.
const ATTEMPTS: usize = 3;

/// A statement to be kept.
pub(super) struct Statement {
    /// Its text, with `$1`, `$2`... for values.
    pub(super) sql: String,
    /// The SQL types of these.
    pub(super) types: &'static str,
}

impl Statement {
    fn name(&self) -> String {
        let digest = BlobHash::of(format!("{}\0{}", self.types, self.sql).as_bytes()).to_hex();
        format!("ntt_{}", digest.get(..32).unwrap_or(&digest))
    }
}

/// Names of the statements that a connection has prepared, the latest last.
#[derive(Default)]
pub(super) struct Kept(RefCell<VecDeque<String>>);

impl Kept {
    fn holds(&self, name: &str) -> bool {
        self.0.borrow().iter().any(|kept| kept == name)
    }

    fn forget(&self, name: &str) {
        self.0.borrow_mut().retain(|kept| kept != name);
    }

    /// Notes a name; tells the one that has to make room for it.
    fn note(&self, name: &str) -> Option<String> {
        let mut names = self.0.borrow_mut();
        names.push_back(name.to_owned());
        if names.len() > KEPT_MAX {
            names.pop_front()
        } else {
            None
        }
    }
}

/// The rows of a statement. `literals` are its values as SQL, since what has a name there takes them in no other way; `values` are the same ones.
pub(super) fn query(
    connection: &Connection,
    statement: &Statement,
    literals: &str,
    values: &[&dyn Value],
) -> Result<Vec<Row>, Error> {
    let name = statement.name();
    for _ in 0..ATTEMPTS {
        prepare(connection, statement, &name)?;
        match connection.try_query(&format!("EXECUTE {name} ({literals})"), &[]) {
            Ok(rows) => return Ok(rows),
            Err(error) if is(&error, &SqlState::INVALID_SQL_STATEMENT_NAME) => {
                connection.kept().forget(&name);
            }
            Err(error) => return Err(connection.error(error)),
        }
    }
    connection.query(&statement.sql, values)
}

fn prepare(connection: &Connection, statement: &Statement, name: &str) -> Result<(), Error> {
    if connection.kept().holds(name) {
        return Ok(());
    }
    if let Some(oldest) = connection.kept().note(name) {
        run_unless(
            connection,
            &format!("DEALLOCATE {oldest}"),
            &SqlState::INVALID_SQL_STATEMENT_NAME,
        )?;
    }
    let sql = format!("PREPARE {name} ({}) AS {}", statement.types, statement.sql);
    run_unless(connection, &sql, &SqlState::DUPLICATE_PSTATEMENT)
}

/// Runs a statement, which may fail in one way: what it wants is so already.
fn run_unless(connection: &Connection, sql: &str, done: &SqlState) -> Result<(), Error> {
    match connection.try_batch(sql) {
        Err(error) if !is(&error, done) => Err(connection.error(error)),
        _ => Ok(()),
    }
}

fn is(error: &postgres::Error, state: &SqlState) -> bool {
    error.code() == Some(state)
}
