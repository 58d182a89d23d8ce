//! Scans, the items of chunks, and the census.

use ntt_model::entry::ScanCounts;
use ntt_model::{ScanId, Timestamp, VolumeKey};
use rusqlite::{Connection, OptionalExtension, params};

use super::inodes;
use super::media::{collect, not_found};
use super::paths::Paths;
use super::queue::asked_of;
use super::state::{self, DAMAGED, FAILED, REOPENED, RETRYABLE, STORED};
use super::sweep;
use crate::Error;
use crate::codec::Member;
use crate::rows::{Census, ChunkItem, DIRECTORY_READER, NewScan, ScanRow, Tally};
use crate::tally::{Heading, Sums};

/// The sealed scans of a volume, oldest first.
pub(super) fn scans(connection: &Connection, volume: VolumeKey) -> Result<Vec<ScanRow>, Error> {
    super::media::medium_of_volume(connection, volume)?;
    let sql = "SELECT id, reader, root, previous, directories, inodes, names, findings, begun, sealed \
               FROM scan WHERE volume = ?1 AND sealed IS NOT NULL ORDER BY id";
    collect(connection, sql, params![volume.0], |row| {
        let count = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        Ok(ScanRow {
            id: ScanId(row.get(0)?),
            scan: NewScan {
                volume,
                reader: row.get(1)?,
                root: count(2)?,
                previous: row.get::<_, Option<i64>>(3)?.map(ScanId),
            },
            counts: ScanCounts {
                directories: count(4)?,
                inodes: count(5)?,
                names: count(6)?,
                findings: count(7)?,
            },
            begun: Timestamp::from_nanos(row.get(8)?),
            sealed: Timestamp::from_nanos(row.get(9)?),
        })
    })
}

/// The volume of a scan.
pub(super) fn volume_of_scan(connection: &Connection, scan: ScanId) -> Result<VolumeKey, Error> {
    connection
        .query_row("SELECT volume FROM scan WHERE id = ?1", [scan.0], |row| {
            row.get(0)
        })
        .optional()?
        .map(VolumeKey)
        .ok_or_else(|| not_found("scan", scan.0))
}

/// The items of a chunk: its members with their streams, which stand beside them or are looked up.
pub(super) fn items(connection: &Connection, scan: ScanId, chunk: i64) -> Result<Vec<ChunkItem>, Error> {
    let (members, mut streams) = asked_of(connection, chunk)?;
    inodes::look_up(connection, scan, &members, &mut streams)?;
    let mut paths = read_paths(connection, scan, &members)?.into_iter();
    let mut items = Vec::with_capacity(members.len());
    for (member, streams) in members.iter().zip(streams) {
        if streams.len() != member.streams.len() {
            return Err(Error::Damaged(format!(
                "chunk {chunk} names a missing inode or stream"
            )));
        }
        items.push(ChunkItem {
            inode: member.inode,
            streams,
            path: paths.next().unwrap_or_default(),
        });
    }
    Ok(items)
}

/// The first eligible path of each inode, if the scan is one whose files are opened by path; else nothing: a path costs as much as
/// the inode itself.
fn read_paths(connection: &Connection, scan: ScanId, members: &[Member]) -> Result<Vec<Vec<u8>>, Error> {
    let mut reader = connection.prepare_cached("SELECT 1 FROM scan WHERE id = ?1 AND reader = ?2")?;
    if !reader.exists(params![scan.0, DIRECTORY_READER])? {
        return Ok(Vec::new());
    }
    let mut found = vec![Vec::new(); members.len()];
    let numbers = members.iter().map(|member| member.inode.cast_signed());
    let wanted = numbers.zip(&mut found).collect();
    let sql = format!(
        "SELECT ino, dir, name FROM path_{scan} INDEXED BY path_{scan}_eligible \
         WHERE ino BETWEEN ?1 AND ?2 AND rule IS NULL AND flags < 16 ORDER BY ino, id"
    );
    let mut paths = Paths::new(connection, scan)?;
    sweep::each_row(connection, &sql, wanted, &mut |row, path| {
        if path.is_empty() {
            **path = paths.join(row.get::<_, i64>(1)?.cast_unsigned(), row.get_ref(2)?.as_blob()?)?;
        }
        Ok(())
    })?;
    Ok(found)
}

/// Counts everything of a scan in one pass over its inodes.
pub(super) fn census(connection: &Connection, scan: ScanId) -> Result<Census, Error> {
    super::queue::sealed(connection, scan)?;
    let mut sums = Sums::default();
    count_names(connection, scan, &mut sums)?;
    let sql = format!(
        "SELECT i.ino, i.bits, i.size, r.state, \
         CASE WHEN r.state IN ({STORED}, {DAMAGED}, {FAILED}) OR i.size IS NULL THEN 0 ELSE {} END FROM inode_{scan} i \
         LEFT JOIN result_{scan} r ON r.ino = i.ino AND r.stream = 0 ORDER BY i.ino",
        state::is_eligible(scan, "i.ino")
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let bits: i64 = row.get(1)?;
        if bits & inodes::DELETED != 0 {
            continue;
        }
        sums.add_inodes(bits & 7, 1);
        let size: Option<i64> = row.get(2)?;
        // Nearly all have the data stream alone, stored whole or wanted.
        let heading = match row.get(3)? {
            Some(STORED) => Some(Heading::Stored),
            Some(DAMAGED) => Some(Heading::Damaged),
            Some(RETRYABLE) if row.get(4)? => Some(Heading::Retryable),
            None | Some(REOPENED) if row.get(4)? => Some(Heading::Pending),
            _ => None,
        };
        match (size, heading) {
            (Some(size), Some(heading)) if bits & inodes::MORE_STREAMS == 0 => {
                sums.add(heading, Tally::one(size.cast_unsigned()));
            }
            _ => count_streams(connection, scan, (row.get(0)?, bits, size), &mut sums)?,
        }
    }
    sums.census.distinct_blobs = distinct_blobs(connection, scan)?;
    sums.finish()
}

/// Counts the streams of an inode, given as number, bits and size.
fn count_streams(
    connection: &Connection,
    scan: ScanId,
    (inode, bits, size): (i64, i64, Option<i64>),
    sums: &mut Sums,
) -> Result<(), Error> {
    let streams: Vec<_> = state::streams(connection, scan, inode, bits, size)?.collect();
    if streams.is_empty() {
        return Ok(());
    }
    for stream in state::of_streams(connection, scan, inode, streams, None)? {
        sums.add(stream.state.into(), Tally::one(stream.size_bytes));
    }
    Ok(())
}

fn count_names(connection: &Connection, scan: ScanId, sums: &mut Sums) -> Result<(), Error> {
    // Without GROUP BY, which would sort all names for its three groups.
    let sql = format!(
        "SELECT count(*) FILTER (WHERE flags >= 16), count(*) FILTER (WHERE flags & 24 = 8), \
         count(*) FILTER (WHERE flags & 24 = 0) FROM path_{scan}"
    );
    let counts: [i64; 3] =
        connection.query_row(&sql, [], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))?;
    let [deleted, alternate, plain] = counts.map(i64::cast_unsigned);
    sums.add_names(true, false, deleted);
    sums.add_names(false, true, alternate);
    sums.add_names(false, false, plain);
    Ok(())
}

fn distinct_blobs(connection: &Connection, scan: ScanId) -> Result<Tally, Error> {
    let sql = format!(
        "SELECT size FROM blob WHERE id IN (SELECT blob FROM result_{scan} WHERE state IN ({STORED}, {DAMAGED}))"
    );
    let mut tally = Tally::default();
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        tally.add(Tally::one(row.get::<_, i64>(0)?.cast_unsigned()));
    }
    Ok(tally)
}
