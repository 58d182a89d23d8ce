//! A canonical text of all logical rows, to compare two catalogues of any back end.

use std::io::Write;

use ntt_model::entry::ScanCounts;
use ntt_model::{ScanId, VolumeKey};
use serde::Serialize;

use crate::record::ScanRecord;
use crate::rows::{DirRow, MediumRow, NewScan, State};
use crate::{Catalogue, Error, code};

/// Writes all logical rows as text, one JSON value a line, in a canonical order: two catalogues hold the same if their dumps are
/// equal. Left out is what a rebuilt catalogue cannot share: times of the tool's own doing, workers, chunks, attempts and events.
///
/// # Errors
///
/// Of the catalogue; [`Error::Storage`] if `out` cannot be written.
pub fn dump(catalogue: &dyn Catalogue, out: &mut dyn Write) -> Result<(), Error> {
    let mut lines = Lines { out };
    for medium in catalogue.media()? {
        dump_medium(catalogue, &medium, &mut lines)?;
    }
    catalogue.each_blob(None, &mut |blob| {
        lines.put(
            "blob",
            &(blob.hash, blob.size_bytes, &blob.sha256, &blob.content_type),
        )
    })
}

/// As [`dump`], with all that a catalogue made again from manifests must share with the one before: also times, attempts,
/// what results remember of failures, and the events of media. Left out are the queue (chunks and workers) and events of no medium.
///
/// # Errors
///
/// As [`dump`].
pub fn dump_exact(catalogue: &dyn Catalogue, out: &mut dyn Write) -> Result<(), Error> {
    dump(catalogue, out)?;
    let mut lines = Lines { out };
    for medium in catalogue.media()? {
        lines.put("medium-added", &medium)?;
        for volume in catalogue.volumes(medium.key)? {
            for scan in catalogue.scans(volume.key)? {
                lines.put("scan-times", &scan)?;
                dump_history(catalogue, scan.id, &mut lines)?;
            }
        }
        for event in catalogue.events(Some(medium.key))? {
            lines.put("event", &event)?;
        }
    }
    catalogue.each_blob(None, &mut |blob| {
        lines.put("blob-verified", &(blob.hash, &blob.verified, blob.bad))
    })
}

fn dump_history(catalogue: &dyn Catalogue, scan: ScanId, lines: &mut Lines<'_>) -> Result<(), Error> {
    catalogue.each_record(scan, &mut |record| match record {
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

fn dump_medium(catalogue: &dyn Catalogue, medium: &MediumRow, lines: &mut Lines<'_>) -> Result<(), Error> {
    lines.put("medium", &medium.medium)?;
    let mut evidence = catalogue.evidence(medium.key)?;
    evidence.sort();
    for piece in evidence {
        lines.put("evidence", &piece)?;
    }
    lines.put("image", &catalogue.image(medium.key)?)?;
    for volume in catalogue.volumes(medium.key)? {
        lines.put("volume", &volume)?;
        for scan in catalogue.scans(volume.key)? {
            dump_scan(catalogue, scan.id, &scan.scan, &scan.counts, lines)?;
        }
    }
    for finding in catalogue.findings(medium.key)? {
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
    catalogue: &dyn Catalogue,
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
    dump_tree(catalogue, id, lines)?;
    let mut numbers = Vec::new();
    catalogue.each_inode(id, &mut |inode| {
        numbers.push(inode.number);
        lines.put("inode", inode)
    })?;
    for inode in numbers {
        for stream in catalogue.stream_states(id, inode)? {
            lines.put("stream", &(inode, settled(stream.state)))?;
        }
    }
    Ok(())
}

/// Directories with where their names lie, and names with their paths.
fn dump_tree(catalogue: &dyn Catalogue, scan: ScanId, lines: &mut Lines<'_>) -> Result<(), Error> {
    let mut open: Option<(DirRow, i64)> = None;
    let mut names = 0;
    catalogue.each_record(scan, &mut |record| {
        match record {
            ScanRecord::Directory(row) => {
                put_directory(open.replace((row.clone(), names)), names, lines)?;
            }
            ScanRecord::Path(record) => {
                names += 1;
                let path = &record.path;
                let text = ntt_model::name::escape(&path.path);
                lines.put("path", &(path.id, text, path.inode, path.namespace))?;
                lines.put("path-facts", &(path.alternate, path.allocation, &path.rule))?;
            }
            _ => {}
        }
        Ok(())
    })?;
    put_directory(open.take(), names, lines)
}

fn put_directory(open: Option<(DirRow, i64)>, names: i64, lines: &mut Lines<'_>) -> Result<(), Error> {
    let Some((row, before)) = open else {
        return Ok(());
    };
    let namespace = code::code_of(&code::NAMESPACES, &row.namespace)?;
    let name = ntt_model::name::escape(&row.name);
    let place = (before + 1, names - before);
    lines.put("directory", &(row.inode, row.parent, name, namespace, place))
}

/// A state without what depends on when and how often something was tried.
fn settled(state: State) -> State {
    match state {
        State::Retryable { .. } => State::Pending,
        State::Failed { failure, .. } => State::Failed { failure, attempts: 0 },
        other => other,
    }
}
