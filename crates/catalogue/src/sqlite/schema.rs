//! The schema: shared tables by numbered migrations, and the leaf tables that every scan gets for itself.

use ntt_model::ScanId;
use rusqlite::Connection;

use super::repack::repack_inodes;
use crate::Error;

/// `NTTC` in ASCII: marks the file as a catalogue.
pub(super) const APPLICATION_ID: i64 = 0x4e54_5443;

/// A step from one version of the schema to the next: statements, then what statements cannot do.
struct Migration {
    sql: &'static str,
    rewrite: fn(&Connection) -> Result<(), Error>,
}

impl Migration {
    const fn of(sql: &'static str) -> Self {
        Self {
            sql,
            rewrite: |_| Ok(()),
        }
    }
}

/// The migrations, in order; the schema's version is how many have run. Never edit one that was released: append another.
const MIGRATIONS: &[Migration] = &[
    Migration::of(include_str!("migrations/0001_shared_tables.sql")),
    Migration::of(include_str!("migrations/0002_sets.sql")),
    Migration {
        sql: include_str!("migrations/0003_facts_and_layout.sql"),
        rewrite: repack_inodes,
    },
    Migration::of(include_str!("migrations/0004_bad_blobs.sql")),
    Migration::of(include_str!("migrations/0005_withdrawn.sql")),
];

/// The last version that this program knows.
pub(super) fn newest_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Checks that the database is a catalogue of a version that this program knows, and returns the version; 0 if it is empty (R31).
pub(super) fn check_version(connection: &Connection) -> Result<i64, Error> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let is_new = application == 0 && version == 0 && objects == 0;
    let is_known = application == APPLICATION_ID && (1..=newest_version()).contains(&version);
    if is_new || is_known {
        return Ok(version);
    }
    if application != APPLICATION_ID {
        return Err(Error::Unusable("the file is a database of another program"));
    }
    Err(Error::Version {
        found: version,
        known: newest_version(),
    })
}

/// Brings the database to the newest version, in one transaction.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Error> {
    let version = check_version(connection)?;
    if version == newest_version() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let done = usize::try_from(version).unwrap_or(0);
    for migration in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(migration.sql)?;
        (migration.rewrite)(&transaction)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", newest_version())?;
    transaction.commit()?;
    Ok(())
}

/// The leaf tables of a scan, without their indexes.
const LEAF_TABLES: &str = include_str!("leaf/tables.sql");
/// The indexes on the leaf tables, made when the scan is sealed.
const LEAF_INDEXES: &str = include_str!("leaf/indexes.sql");
/// First parts of the names of a scan's leaf tables.
const LEAVES: [&str; 5] = ["dir", "path", "inode", "stream", "result"];

/// Replaces `{n}` by the scan's number.
pub(super) fn for_scan(sql: &str, scan: ScanId) -> String {
    sql.replace("{n}", &scan.to_string())
}

/// Creates the leaf tables of a scan.
pub(super) fn create_leaves(connection: &Connection, scan: ScanId) -> Result<(), Error> {
    Ok(connection.execute_batch(&for_scan(LEAF_TABLES, scan))?)
}

/// Creates the indexes on the leaf tables of a loaded scan.
pub(super) fn index_leaves(connection: &Connection, scan: ScanId) -> Result<(), Error> {
    Ok(connection.execute_batch(&for_scan(LEAF_INDEXES, scan))?)
}

/// Drops the leaf tables of a scan.
pub(super) fn drop_leaves(connection: &Connection, scan: ScanId) -> Result<(), Error> {
    for leaf in LEAVES {
        connection.execute_batch(&format!("DROP TABLE IF EXISTS {leaf}_{scan}"))?;
    }
    Ok(())
}
