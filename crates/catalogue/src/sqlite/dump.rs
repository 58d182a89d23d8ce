//! A canonical text of all logical rows, to compare two catalogues.

use std::io::Write;

use ntt_model::entry::ScanCounts;
use ntt_model::{MediumKey, ScanId, VolumeKey};
use rusqlite::{Connection, params};
use serde::Serialize;

use super::media::{self, collect};
use super::{answer, blob, export, inodes, paths, state};
use crate::Error;
use crate::record::ScanRecord;
use crate::rows::{NewMedium, NewScan};

/// Writes the dump.
pub(super) fn dump(connection: &Connection, out: &mut dyn Write) -> Result<(), Error> {
    let mut lines = Lines { out };
    for medium in media::all(connection)? {
        dump_medium(connection, medium.key, &medium.medium, &mut lines)?;
    }
    blob::each(connection, None, &mut |blob| {
        lines.put(
            "blob",
            &(blob.hash, blob.size_bytes, &blob.sha256, &blob.content_type),
        )
    })
}

/// Writes the dump that also tells times, attempts and events.
pub(super) fn dump_exact(connection: &Connection, out: &mut dyn Write) -> Result<(), Error> {
    dump(connection, out)?;
    let mut lines = Lines { out };
    for medium in media::all(connection)? {
        lines.put("medium-added", &medium)?;
        for volume in media::volumes(connection, medium.key)? {
            for scan in answer::scans(connection, volume.key)? {
                lines.put("scan-times", &scan)?;
                dump_history(connection, scan.id, &mut lines)?;
            }
        }
        for event in media::events(connection, Some(medium.key))? {
            lines.put("event", &event)?;
        }
    }
    blob::each(connection, None, &mut |blob| {
        lines.put("blob-verified", &(blob.hash, &blob.verified, blob.bad))
    })
}

fn dump_history(connection: &Connection, scan: ScanId, lines: &mut Lines<'_>) -> Result<(), Error> {
    export::each(connection, scan, &mut |record| match record {
        ScanRecord::Result(result) => lines.put("result", result),
        ScanRecord::Attempt(attempt) => lines.put("attempt", attempt),
        _ => Ok(()),
    })
}

struct Lines<'o> {
    out: &'o mut dyn Write,
}

impl Lines<'_> {
    fn put(&mut self, table: &str, row: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string(row).map_err(|error| Error::Storage(Box::new(error)))?;
        writeln!(self.out, "{table} {text}").map_err(|error| Error::Storage(Box::new(error)))
    }
}

fn dump_medium(
    connection: &Connection,
    key: MediumKey,
    medium: &NewMedium,
    lines: &mut Lines<'_>,
) -> Result<(), Error> {
    lines.put("medium", medium)?;
    let mut evidence = media::evidence(connection, key)?;
    evidence.sort();
    for piece in evidence {
        lines.put("evidence", &piece)?;
    }
    lines.put("image", &media::image(connection, key)?)?;
    for volume in media::volumes(connection, key)? {
        lines.put("volume", &volume)?;
        for scan in answer::scans(connection, volume.key)? {
            dump_scan(connection, scan.id, &scan.scan, &scan.counts, lines)?;
        }
    }
    for finding in media::findings(connection, key)? {
        lines.put("finding", &finding)?;
    }
    Ok(())
}

#[derive(Serialize)]
struct ScanLine<'s> {
    volume: VolumeKey,
    reader: &'s str,
    root: u64,
    counts: &'s ScanCounts,
}

fn dump_scan(
    connection: &Connection,
    id: ScanId,
    scan: &NewScan,
    counts: &ScanCounts,
    lines: &mut Lines<'_>,
) -> Result<(), Error> {
    let line = ScanLine {
        volume: scan.volume,
        reader: &scan.reader,
        root: scan.root,
        counts,
    };
    lines.put("scan", &line)?;
    dump_directories(connection, id, lines)?;
    paths::each(connection, id, &mut |path| {
        lines.put(
            "path",
            &(ntt_model::name::escape(&path.path), path.inode, path.namespace),
        )?;
        lines.put("path-facts", &(path.alternate, path.allocation, &path.rule))
    })?;
    inodes::each(connection, id, &mut |inode| {
        lines.put("inode", inode)?;
        for stream in state::of_inode(connection, id, inode.number)? {
            lines.put("stream", &settled(stream.state))?;
        }
        Ok(())
    })
}

fn dump_directories(connection: &Connection, scan: ScanId, lines: &mut Lines<'_>) -> Result<(), Error> {
    let sql = format!("SELECT ino, parent, name, namespace, first_path, paths FROM dir_{scan} ORDER BY seq");
    let rows = collect(connection, &sql, params![], |row| {
        let name: Vec<u8> = row.get(2)?;
        Ok((
            row.get::<_, i64>(0)?,
            row.get::<_, Option<i64>>(1)?,
            ntt_model::name::escape(&name).into_owned(),
            row.get::<_, i64>(3)?,
            row.get::<_, i64>(4)?,
            row.get::<_, i64>(5)?,
        ))
    })?;
    rows.iter().try_for_each(|row| lines.put("directory", row))
}

/// A state without what depends on when and how often something was tried.
fn settled(state: crate::rows::State) -> crate::rows::State {
    use crate::rows::State;
    match state {
        State::Retryable { .. } => State::Pending,
        State::Failed { failure, .. } => State::Failed { failure, attempts: 0 },
        other => other,
    }
}
