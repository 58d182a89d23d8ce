//! The schema: shared tables by numbered migrations, and the leaf tables that every scan gets for itself.

use ntt_model::ScanId;

use super::connection::{Connection, get};
use super::place::Place;
use super::seal;
use crate::Error;

/// The migrations, in order; the schema's version is how many have run. Never edit one that was released: append another.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_shared_tables.sql"),
    include_str!("migrations/0002_views.sql"),
    include_str!("migrations/0003_scan_of_each_reader.sql"),
    include_str!("migrations/0004_sets.sql"),
    include_str!("migrations/0005_lean_rows.sql"),
    include_str!("migrations/0006_failure_in_one_column.sql"),
    include_str!("migrations/0007_archive.sql"),
    include_str!("migrations/0008_bad_blobs.sql"),
    include_str!("migrations/0009_digests_name_rows.sql"),
    include_str!("migrations/0010_corrupt.sql"),
    include_str!("migrations/0011_whole_views.sql"),
    include_str!("migrations/0012_layout.sql"),
    include_str!("migrations/0013_exact_times.sql"),
    include_str!("migrations/0014_withdrawn.sql"),
];
/// The oldest server: 13 and older freeze loaded rows without telling the visibility map.
const OLDEST_SERVER: i32 = 140_000;

const LEAF_TABLES: &str = include_str!("leaf/tables.sql");
const LEAF_INDEXES: &str = include_str!("leaf/indexes.sql");
const LEAF_ATTACH: &str = include_str!("leaf/attach.sql");

/// The version that this program reads and writes.
pub(super) fn newest_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// The version of the catalogue in the database, and whether it is whole; `None` if the database is empty.
fn version(connection: &Connection) -> Result<Option<(i64, bool)>, Error> {
    if is_there(connection)? {
        let row = connection.first("SELECT version::int8, state = 'ready' FROM ntt_schema", &[])?;
        let row = row.ok_or_else(|| Error::Damaged("ntt_schema is empty".to_owned()))?;
        return Ok(Some((get(&row, 0)?, get(&row, 1)?)));
    }
    let sql = "SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')";
    if connection.one::<i64>(sql, &[])? > 0 {
        return Err(Error::Unusable("the database has tables of another program"));
    }
    Ok(None)
}

/// Fails unless the database holds a whole catalogue of exactly the newest version, in a server that is new enough.
pub(super) fn check(connection: &Connection, place: &Place) -> Result<(), Error> {
    check_server(connection, place)?;
    check_encoding(connection)?;
    match version(connection)? {
        None => Err(Error::Missing {
            place: place.shown().to_owned(),
        }),
        Some((found, true)) if found == newest_version() => Ok(()),
        Some((_, false)) => Err(half_filled()),
        Some((found, true)) => Err(Error::Version {
            found,
            known: newest_version(),
        }),
    }
}

fn half_filled() -> Error {
    Error::Unusable("a copy into it did not end; drop the database and copy again")
}

/// Whether the database has a catalogue at all; takes no lock on it.
fn is_there(connection: &Connection) -> Result<bool, Error> {
    connection.one("SELECT to_regclass('ntt_schema') IS NOT NULL", &[])
}

fn check_server(connection: &Connection, place: &Place) -> Result<(), Error> {
    let number: i32 = connection.one("SELECT current_setting('server_version_num')::int4", &[])?;
    let text: String = connection.one("SELECT current_setting('server_version')", &[])?;
    too_old(number, &text).map_or(Ok(()), |reason| Err(place.unreachable(reason)))
}

/// Why a server of this version is not enough, if it is not.
fn too_old(number: i32, text: &str) -> Option<String> {
    (number < OLDEST_SERVER).then(|| {
        let oldest = OLDEST_SERVER / 10_000;
        format!("the server is PostgreSQL {text}; {oldest} or newer is needed")
    })
}

/// Fails if the database keeps text in another encoding: some of what is known of media has no form in it.
fn check_encoding(connection: &Connection) -> Result<(), Error> {
    if connection.one("SELECT getdatabaseencoding() = 'UTF8'", &[])? {
        return Ok(());
    }
    Err(Error::Unusable(
        "the encoding of the database is not UTF8; `createdb -E UTF8 -T template0 NAME` makes one whose is",
    ))
}

/// Fails if the server takes no changes: a standby, or one that was set so because its disk is full.
pub(super) fn check_writable(connection: &Connection) -> Result<(), Error> {
    let sql = "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on'";
    let row = connection.first(sql, &[])?;
    let row = row.ok_or_else(|| Error::Damaged("no answer".to_owned()))?;
    let reason = match (get(&row, 0)?, get(&row, 1)?) {
        (true, _) => "the server is a standby and takes no changes",
        (_, true) => "the server or the database is set to read only",
        _ => return Ok(()),
    };
    Err(Error::Storage(reason.into()))
}

/// Creates the catalogue or brings it to the newest version, in one transaction, however long that takes; tells the versions before and after. Of two
/// that try at once the later one waits, and finds it done.
pub(super) fn migrate(connection: &Connection) -> Result<(i64, i64), Error> {
    check_encoding(connection)?;
    connection.transact(seal::BEGIN, |connection| {
        // Before it is read: two that have read it and then want to change it wait for each other.
        if is_there(connection)? {
            connection.batch("LOCK TABLE ntt_schema IN EXCLUSIVE MODE")?;
        }
        let found = version(connection)?;
        let (done, is_ready) = found.unwrap_or((0, true));
        let newest = newest_version();
        if !is_ready {
            return Err(half_filled());
        }
        if done > newest {
            return Err(Error::Version {
                found: done,
                known: newest,
            });
        }
        for migration in MIGRATIONS.iter().skip(usize::try_from(done).unwrap_or(0)) {
            connection.batch(migration)?;
        }
        connection.batch(&format!(
            "INSERT INTO ntt_schema (version, state) VALUES ({newest}, 'ready') \
             ON CONFLICT (only_row) DO UPDATE SET version = excluded.version"
        ))?;
        Ok((done, newest))
    })
}

/// Says whether a copy into the database is under way; nothing else opens it meanwhile.
pub(super) fn set_filling(connection: &Connection, is_filling: bool) -> Result<(), Error> {
    let state = if is_filling { "filling" } else { "ready" };
    connection.batch(&format!("UPDATE ntt_schema SET state = '{state}'"))
}

/// Replaces `{n}` by the scan's number.
fn for_scan(sql: &str, scan: ScanId) -> String {
    sql.replace("{n}", &scan.to_string())
}

/// Creates the leaf tables of a scan; nobody sees them before [`attach_leaves`].
pub(super) fn create_leaves(connection: &Connection, scan: ScanId) -> Result<(), Error> {
    connection.batch(&for_scan(LEAF_TABLES, scan))
}

/// Creates the indexes on the leaf tables of a loaded scan, and their statistics.
pub(super) fn index_leaves(connection: &Connection, scan: ScanId) -> Result<(), Error> {
    connection.batch(&for_scan(LEAF_INDEXES, scan))
}

/// What a transaction begins with that gives results their index by content and does nothing else: nobody works on the scan any more, so that the server
/// may take a second process even for few results.
pub(super) const BEGIN_INDEX: &str = "BEGIN; SET LOCAL maintenance_work_mem = '256MB'; SET LOCAL statement_timeout = 0; \
                                      SET LOCAL max_parallel_maintenance_workers = 2; SET LOCAL min_parallel_table_scan_size = '4MB'; \
                                      SET LOCAL idle_in_transaction_session_timeout = '10min'";

/// Gives the results of a scan an index by content and statistics, if they have none.
pub(super) fn index_results(connection: &Connection, scan: ScanId) -> Result<(), Error> {
    let is_there = format!("SELECT to_regclass('result_{scan}_blob') IS NOT NULL");
    if connection.one(&is_there, &[])? {
        return Ok(());
    }
    connection.batch(&format!(
        "CREATE INDEX result_{scan}_blob ON result_{scan} (blob) WITH (fillfactor = 100); ANALYZE result_{scan} (ino, blob, state)"
    ))
}

/// Makes the leaf tables part of the tables of all scans. Cheap: their checks prove what the server would otherwise look up row by row. Comes
/// last, since loaders wait for each other from here to the commit.
pub(super) fn attach_leaves(connection: &Connection, scan: ScanId) -> Result<(), Error> {
    connection.batch(&for_scan(LEAF_ATTACH, scan))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r39_an_old_server_is_told_by_its_version() {
        let reason = too_old(130_014, "13.14 (Debian 13.14-1)").expect("it is old");
        assert_eq!(
            reason,
            "the server is PostgreSQL 13.14 (Debian 13.14-1); 14 or newer is needed"
        );
        assert_eq!(too_old(140_000, "14.0"), None);
    }
}
