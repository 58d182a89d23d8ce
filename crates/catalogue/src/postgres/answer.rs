//! Scans, and the items of chunks.

use std::collections::HashMap;

use ntt_model::entry::ScanCounts;
use ntt_model::{ScanId, Timestamp, VolumeKey};

use super::claim::Claimed;
use super::connection::{Connection, get};
use super::inodes;
use super::media::{leaf, medium_of_volume, not_found, unsigned};
use super::paths::Paths;
use crate::Error;
use crate::codec::Member;
use crate::rows::{ChunkItem, DIRECTORY_READER, NewScan, ScanRow, WantedStream};

/// The sealed scans of a volume, oldest first.
pub(super) fn scans(connection: &Connection, volume: VolumeKey) -> Result<Vec<ScanRow>, Error> {
    medium_of_volume(connection, volume)?;
    let sql = "SELECT id, reader, root, previous, directories, inodes, names, findings, begun, sealed \
               FROM scan WHERE volume = $1 ORDER BY id";
    connection.collect(sql, &[&volume.0], |row| {
        Ok(ScanRow {
            id: scan_id(get(row, 0)?),
            scan: NewScan {
                volume,
                reader: get(row, 1)?,
                root: unsigned(row, 2)?,
                previous: get::<Option<i32>>(row, 3)?.map(scan_id),
            },
            counts: ScanCounts {
                directories: unsigned(row, 4)?,
                inodes: unsigned(row, 5)?,
                names: unsigned(row, 6)?,
                findings: unsigned(row, 7)?,
            },
            begun: Timestamp::from_nanos(get(row, 8)?),
            sealed: Timestamp::from_nanos(get(row, 9)?),
        })
    })
}

/// The number of a scan from a column.
pub(super) fn scan_id(number: i32) -> ScanId {
    ScanId(i64::from(number))
}

/// The volume of a scan.
pub(super) fn volume_of_scan(connection: &Connection, scan: ScanId) -> Result<VolumeKey, Error> {
    let row = connection.first("SELECT volume FROM scan WHERE id = $1", &[&leaf(scan)?])?;
    let row = row.ok_or_else(|| not_found("scan", scan.0))?;
    get(&row, 0).map(VolumeKey)
}

/// What does not stand beside the members of a chunk.
pub(super) struct Found {
    streams: HashMap<u64, Vec<WantedStream>>,
    paths: HashMap<i64, Vec<u8>>,
}

/// Looks up what the items of a leased chunk lack.
pub(super) fn look_up(connection: &Connection, scan: ScanId, claimed: &Claimed) -> Result<Found, Error> {
    let members = || claimed.members.iter().map(|member| member.inode.cast_signed());
    let unknown = members().zip(&claimed.streams);
    let unknown: Vec<i64> = unknown
        .filter_map(|(inode, known)| known.is_empty().then_some(inode))
        .collect();
    let paths = if claimed.reader == DIRECTORY_READER {
        first_paths(connection, scan, &members().collect::<Vec<_>>())?
    } else {
        HashMap::new()
    };
    Ok(Found {
        streams: inodes::streams_with_extents(connection, scan, &unknown)?,
        paths,
    })
}

/// The items of a leased chunk: its members with their streams, which stand beside them or were looked up.
pub(super) fn items(claimed: Claimed, mut found: Found) -> Result<Vec<ChunkItem>, Error> {
    let item = |(member, mut streams): (Member, Vec<WantedStream>)| {
        let inode = member.inode;
        if streams.is_empty() {
            streams = found.streams.remove(&inode).unwrap_or_default();
            streams.retain(|stream| member.streams.contains(&stream.ordinal));
        }
        if streams.len() != member.streams.len() {
            let text = format!("a chunk names a stream of inode {inode} that is not there");
            return Err(Error::Damaged(text));
        }
        Ok(ChunkItem {
            inode,
            streams,
            path: found.paths.remove(&inode.cast_signed()).unwrap_or_default(),
        })
    };
    claimed
        .members
        .into_iter()
        .zip(claimed.streams)
        .map(item)
        .collect()
}

/// The first eligible path of each inode.
fn first_paths(
    connection: &Connection,
    scan: ScanId,
    inodes: &[i64],
) -> Result<HashMap<i64, Vec<u8>>, Error> {
    let sql = format!(
        "SELECT DISTINCT ON (p.ino) p.ino, p.dir, p.name FROM path_{scan} p WHERE p.ino = ANY ($1) AND p.flags < 16 \
         AND NOT EXISTS (SELECT 1 FROM label_{scan} l WHERE l.path = p.id) ORDER BY p.ino, p.id"
    );
    let rows = connection.query(&sql, &[&inodes])?;
    let mut paths = Paths::new(connection, scan)?;
    paths.prepare(&rows, 1)?;
    rows.iter()
        .map(|row| Ok((get(row, 0)?, paths.join(get(row, 1)?, get(row, 2)?)?)))
        .collect()
}
