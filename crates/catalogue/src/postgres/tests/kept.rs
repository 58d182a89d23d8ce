//! Statements that the server keeps for a session, whatever becomes of the session.

use std::sync::Arc;

use ntt_testkit::postgres::PostgresServer;

use super::super::connection::{Connection, Target, TimeSource, get};
use super::super::kept::{self, Statement};
use super::super::place::Place;
use super::super::wire::Rows;

fn connect(url: &str) -> Connection {
    Connection::open(&Arc::new(Place::of(url).unwrap()), &TimeSource::Server).unwrap()
}

fn statement(number: i64) -> Statement {
    Statement {
        sql: format!("SELECT $1 + {number}"),
        types: "int8",
    }
}

/// What the statement of a number makes of a value.
fn run(connection: &Connection, number: i64, value: i64) -> i64 {
    let rows = kept::query(connection, &statement(number), &value.to_string(), &[&value]).unwrap();
    get(&rows[0], 0).unwrap()
}

fn kept_on_the_server(connection: &Connection) -> i64 {
    let sql = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'ntt\\_%'";
    connection.one(sql, &[]).unwrap()
}

#[test]
fn a_statement_is_planned_once_and_few_are_kept() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let connection = connect(&server.create_database("kept", None));
    assert_eq!([run(&connection, 1, 2), run(&connection, 1, -9)], [3, -8]);
    assert_eq!(kept_on_the_server(&connection), 1);
    for number in 0..40 {
        assert_eq!(run(&connection, number, 100), 100 + number);
    }
    assert_eq!(kept_on_the_server(&connection), 16);
}

#[test]
fn a_session_that_lost_a_statement_or_has_it_from_another_gets_it() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let connection = connect(&server.create_database("lost", None));
    assert_eq!(run(&connection, 1, 2), 3);
    connection.batch("DEALLOCATE ALL").unwrap();
    assert_eq!(run(&connection, 1, 3), 4);
    let sql = "SELECT 'PREPARE ' || name || '(int8) AS SELECT $1 + 5' FROM pg_prepared_statements";
    let prepare: String = connection.one(sql, &[]).unwrap();
    connection.batch(&format!("DEALLOCATE ALL; {prepare}")).unwrap();
    // Whatever has this name is this statement, to whoever prepared it.
    assert_eq!(run(&connection, 1, 3), 8);
}

/// COPY needs a name for a moment, which another client may have left behind a pooler.
#[test]
fn names_that_are_left_are_taken_away_and_kept_statements_stay() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let connection = connect(&server.create_database("left", None));
    connection.batch("CREATE TABLE numbers (number int8)").unwrap();
    assert_eq!(run(&connection, 1, 2), 3);
    for number in 0..200 {
        connection
            .batch(&format!("PREPARE s{number} AS SELECT 1"))
            .unwrap();
    }
    let mut rows = Rows::default();
    rows.row(1).int8(7);
    assert_eq!(connection.load_rows(&Target::table("numbers"), &rows).unwrap(), 1);
    let names: i64 = connection
        .one("SELECT count(*) FROM pg_prepared_statements", &[])
        .unwrap();
    assert_eq!((names, kept_on_the_server(&connection)), (1, 1));
}

/// Two clients of a pooler, each statement of which may meet any session.
#[test]
fn behind_a_pooler_every_session_answers_the_same() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let Some(pooler) = server.pooler() else { return };
    let _ = server.create_database("pooled", None);
    let clients: Vec<Connection> = (0..6).map(|_| connect(&pooler.url("pooled"))).collect();
    for round in 0..30 {
        // One in a transaction holds a session, so that the others meet another one each time.
        let holder = &clients[round % clients.len()];
        holder.batch("BEGIN; SELECT 1").unwrap();
        for (number, client) in clients.iter().enumerate() {
            if !std::ptr::eq(client, holder) {
                let number = i64::try_from(number % 3).unwrap();
                assert_eq!(run(client, number, 10), 10 + number);
            }
        }
        holder.batch("COMMIT").unwrap();
    }
}
