//! The catalogue's check of itself.

use ntt_model::ScanId;
use ntt_model::entry::ScanCounts;
use rusqlite::{Connection, params};

use super::media::collect;
use super::{answer, seal};
use crate::Error;

/// Everything that contradicts itself, one sentence each.
pub(super) fn check(connection: &Connection) -> Result<Vec<String>, Error> {
    let mut problems = collect(connection, "PRAGMA quick_check(10)", params![], |row| {
        Ok(row.get::<_, String>(0)?)
    })?;
    problems.retain(|line| line != "ok");
    let sql =
        "SELECT id, directories, inodes, names, findings FROM scan WHERE sealed IS NOT NULL ORDER BY id";
    let scans = collect(connection, sql, params![], |row| {
        let count = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        let counts = ScanCounts {
            directories: count(1)?,
            inodes: count(2)?,
            names: count(3)?,
            findings: count(4)?,
        };
        Ok((ScanId(row.get(0)?), counts))
    })?;
    for (scan, counts) in scans {
        check_scan(connection, scan, &counts, &mut problems)?;
    }
    Ok(problems)
}

fn check_scan(
    connection: &Connection,
    scan: ScanId,
    counts: &ScanCounts,
    problems: &mut Vec<String>,
) -> Result<(), Error> {
    let rows = seal::count_rows(connection, scan)?;
    if rows != *counts {
        problems.push(format!("scan {scan} was sealed with {counts:?} but has {rows:?}"));
    }
    problems.extend(seal::tree_problem(connection, scan)?);
    let lost = count(
        connection,
        &format!(
            "SELECT count(*) FROM result_{scan} r LEFT JOIN blob b ON b.id = r.blob \
             WHERE r.blob IS NOT NULL AND b.id IS NULL"
        ),
    )?;
    if lost > 0 {
        problems.push(format!(
            "{lost} results of scan {scan} name a blob that has no row"
        ));
    }
    let strangers = count(
        connection,
        &format!(
            "SELECT count(*) FROM result_{scan} r LEFT JOIN inode_{scan} i ON i.ino = r.ino WHERE i.ino IS NULL"
        ),
    )?;
    if strangers > 0 {
        problems.push(format!(
            "{strangers} results of scan {scan} name an inode that has no row"
        ));
    }
    check_queue(connection, scan, problems)
}

/// What is pending or to be tried again must be exactly what the chunks hold; a leased chunk may hold more (its paths were
/// excluded after it was leased).
fn check_queue(connection: &Connection, scan: ScanId, problems: &mut Vec<String>) -> Result<(), Error> {
    let census = answer::census(connection, scan)?;
    let open = census.pending.count + census.retryable.count;
    let sum = |condition: &str| {
        let sql = format!("SELECT coalesce(sum(streams), 0) FROM chunk WHERE scan = {scan} AND {condition}");
        count(connection, &sql)
    };
    let (free, leased) = (sum("state = 0")?, sum("state = 1")?);
    if !(free..=free.saturating_add(leased)).contains(&open) {
        problems.push(format!(
            "scan {scan} has {open} open streams, but its chunks hold {free} free and {leased} leased ones"
        ));
    }
    Ok(())
}

fn count(connection: &Connection, sql: &str) -> Result<u64, Error> {
    let count: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    Ok(count.cast_unsigned())
}
