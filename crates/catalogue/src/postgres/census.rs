//! Counting everything of a scan, by the server.

use ntt_model::ScanId;
use postgres::Row;

use super::connection::{Connection, get};
use super::inodes::{DELETED, OWN_STREAM};
use super::media::unsigned;
use super::queue::{as_unsigned, sealed, sum};
use super::state::is_eligible;
use crate::Error;
use crate::rows::{Census, Tally};
use crate::standing::{DAMAGED, FAILED, NO_NAME, RETRYABLE, STORED};
use crate::tally::{Heading, Sums};

/// Counts everything of a scan.
pub(super) fn census(connection: &Connection, scan: ScanId) -> Result<Census, Error> {
    sealed(connection, scan)?;
    let mut sums = Sums::default();
    let sql = format!("SELECT flags >= 16, flags & 8 <> 0, count(*) FROM path_{scan} GROUP BY 1, 2");
    for row in connection.query(&sql, &[])? {
        sums.add_names(get(&row, 0)?, get(&row, 1)?, unsigned(&row, 2)?);
    }
    let sql =
        format!("SELECT (bits & 7)::int8, count(*) FROM inode_{scan} WHERE bits & {DELETED} = 0 GROUP BY 1");
    for row in connection.query(&sql, &[])? {
        sums.add_inodes(get(&row, 0)?, unsigned(&row, 1)?);
    }
    count_streams(connection, scan, &mut sums)?;
    let sql = format!(
        "SELECT count(*), sum({})::text FROM blob \
         WHERE id IN (SELECT blob FROM result_{scan} WHERE state IN ({STORED}, {DAMAGED}))",
        as_unsigned("size")
    );
    if let Some(row) = connection.first(&sql, &[])? {
        sums.census.distinct_blobs = Tally {
            count: unsigned(&row, 0)?,
            bytes: sum(&row, 1)?,
        };
    }
    sums.finish()
}

/// Streams by what became of them. Whether paths ask for an inode is looked at only where no result decides.
fn count_streams(connection: &Connection, scan: ScanId, sums: &mut Sums) -> Result<(), Error> {
    let sql = format!(
        "WITH streams AS (SELECT ino, 0 AS stream, size FROM inode_{scan} \
                 WHERE bits & {DELETED} = 0 AND bits & {OWN_STREAM} <> 0 \
             UNION ALL SELECT s.ino, s.stream, s.size FROM stream_{scan} s JOIN inode_{scan} i ON i.ino = s.ino \
                 WHERE i.bits & {DELETED} = 0), \
         judged AS (SELECT s.size, coalesce(r.state, 0)::int8 AS state, (r.failure).class, \
             CASE WHEN r.state IN ({STORED}, {DAMAGED}, {FAILED}) THEN NULL WHEN {} THEN NULL \
                  ELSE coalesce((SELECT u.name FROM path_{scan} p JOIN label_{scan} l ON l.path = p.id JOIN rule u ON u.id = l.rule \
                                 WHERE p.ino = s.ino AND p.flags < 16 ORDER BY p.id LIMIT 1), '{NO_NAME}') END AS rule \
             FROM streams s LEFT JOIN result_{scan} r ON r.ino = s.ino AND r.stream = s.stream) \
         SELECT state, CASE WHEN state = {FAILED} THEN class END, rule, count(*), sum({})::text FROM judged GROUP BY 1, 2, 3",
        is_eligible(scan, "s.ino"),
        as_unsigned("size")
    );
    for row in connection.query(&sql, &[])? {
        let tally = Tally {
            count: unsigned(&row, 3)?,
            bytes: sum(&row, 4)?,
        };
        sums.add(heading(&row)?, tally);
    }
    Ok(())
}

fn heading(row: &Row) -> Result<Heading, Error> {
    let rule: Option<String> = get(row, 2)?;
    Ok(match (get::<i64>(row, 0)?, rule) {
        (STORED, _) => Heading::Stored,
        (DAMAGED, _) => Heading::Damaged,
        (FAILED, _) => {
            let class: Option<&str> = get(row, 1)?;
            let class = class.unwrap_or_default().parse();
            Heading::Failed(class.map_err(|error| Error::Damaged(format!("result: {error}")))?)
        }
        (_, Some(rule)) => Heading::Excluded(rule),
        (RETRYABLE, None) => Heading::Retryable,
        _ => Heading::Pending,
    })
}
