//! The catalogue's check of itself: what foreign keys would enforce, and what they could not.

use ntt_model::ScanId;
use ntt_model::entry::ScanCounts;

use super::answer::scan_id;
use super::connection::{Connection, get};
use super::media::unsigned;
use super::{census, seal};
use crate::Error;

/// The tables that all scans share, and those of which theirs are parts.
const TABLES: [&str; 19] = [
    "medium",
    "evidence",
    "image",
    "volume",
    "scan",
    "rule",
    "worker",
    "chunk",
    "chunk_members",
    "attempt",
    "blob",
    "finding",
    "event",
    "dir",
    "path",
    "label",
    "inode",
    "stream",
    "result",
];

/// Relations that no constraint guards: what to count, and what it means if it is not zero.
const SHARED: [(&str, &str); 4] = [
    (
        "SELECT count(*) FROM scan s WHERE NOT EXISTS (SELECT 1 FROM volume v WHERE v.id = s.volume)",
        "scans belong to no volume",
    ),
    (
        "SELECT count(*) FROM volume v WHERE NOT EXISTS (SELECT 1 FROM medium m WHERE m.id = v.medium)",
        "volumes belong to no medium",
    ),
    (
        "SELECT count(*) FROM chunk c WHERE c.state <> 2 AND NOT EXISTS (SELECT 1 FROM chunk_members m WHERE m.chunk = c.id)",
        "unfinished chunks have no members",
    ),
    (
        "SELECT count(*) FROM chunk c WHERE NOT EXISTS (SELECT 1 FROM scan s WHERE s.id = c.scan)",
        "chunks belong to no scan",
    ),
];

/// Relations within the leaves of scan `{n}`: what to count, of what, and what it means.
const LEAVES: [(&str, &str, &str); 3] = [
    (
        "SELECT count(*) FROM result_{n} r LEFT JOIN blob b ON b.id = r.blob WHERE r.blob IS NOT NULL AND b.id IS NULL",
        "results",
        "name a blob that has no row",
    ),
    (
        "SELECT count(*) FROM result_{n} r LEFT JOIN inode_{n} i ON i.ino = r.ino WHERE i.ino IS NULL",
        "results",
        "name an inode that has no row",
    ),
    (
        "SELECT count(*) FROM label_{n} l LEFT JOIN rule r ON r.id = l.rule WHERE r.id IS NULL",
        "labels",
        "name a rule that has no row",
    ),
];

/// Everything that contradicts itself, one sentence each.
pub(super) fn check(connection: &Connection) -> Result<Vec<String>, Error> {
    let sql = "SELECT 'table ' || name || ' is missing' FROM unnest($1::text[]) AS t (name) WHERE to_regclass(name) IS NULL";
    let mut problems: Vec<String> =
        connection.collect(sql, &[&TABLES.map(Some).to_vec()], |row| get(row, 0))?;
    if !problems.is_empty() {
        return Ok(problems);
    }
    for (sql, meaning) in SHARED {
        let count: i64 = connection.one(sql, &[])?;
        if count > 0 {
            problems.push(format!("{count} {meaning}"));
        }
    }
    let sql = "SELECT id, directories, inodes, names, findings FROM scan ORDER BY id";
    let scans = connection.collect(sql, &[], |row| {
        let counts = ScanCounts {
            directories: unsigned(row, 1)?,
            inodes: unsigned(row, 2)?,
            names: unsigned(row, 3)?,
            findings: unsigned(row, 4)?,
        };
        Ok((scan_id(get(row, 0)?), counts))
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
    for (sql, rows, meaning) in LEAVES {
        let count: i64 = connection.one(&sql.replace("{n}", &scan.to_string()), &[])?;
        if count > 0 {
            problems.push(format!("{count} {rows} of scan {scan} {meaning}"));
        }
    }
    check_queue(connection, scan, problems)
}

/// What is pending or to be tried again must be exactly what the chunks hold; a leased chunk may hold more (its paths were
/// excluded after it was leased).
fn check_queue(connection: &Connection, scan: ScanId, problems: &mut Vec<String>) -> Result<(), Error> {
    let census = census::census(connection, scan)?;
    let open = census.pending.count + census.retryable.count;
    let sum = |condition: &str| -> Result<u64, Error> {
        let sql =
            format!("SELECT coalesce(sum(streams), 0)::int8 FROM chunk WHERE scan = {scan} AND {condition}");
        Ok(connection.one::<i64>(&sql, &[])?.cast_unsigned())
    };
    let (free, leased) = (sum("state = 0")?, sum("state = 1")?);
    if !(free..=free.saturating_add(leased)).contains(&open) {
        problems.push(format!(
            "scan {scan} has {open} open streams, but its chunks hold {free} free and {leased} leased ones"
        ));
    }
    Ok(())
}
