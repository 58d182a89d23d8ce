//! Everything that the catalogue knows of a medium, as lines.

use ntt_catalogue::record::{PathRecord, ScanRecord};
use ntt_catalogue::rows::{LastChanges, MediumRow, ScanRow, VolumeRow};
use ntt_report::media::volume_name;

use super::line::{Line, Lines, MediumLine, PathLine, Text, VolumeLine, schema_of};
use crate::{Context, Error};

/// Writes the lines of a medium.
pub(super) fn medium(
    context: &Context<'_>,
    medium: &MediumRow,
    changes: &LastChanges,
    lines: &mut Lines<'_>,
) -> Result<(), Error> {
    let catalogue = context.archive.catalogue();
    lines.put(&Line::Medium(Box::new(MediumLine {
        schema: schema_of(medium),
        as_of: changes.of(medium.key),
        changed: changes.of_itself(medium.key),
        medium: medium.clone(),
        id: medium.medium.id.to_string(),
        evidence: catalogue.evidence(medium.key)?,
        image: catalogue.image(medium.key)?,
    })))?;
    let volumes = catalogue.volumes(medium.key)?;
    for volume in &volumes {
        let copy_of = volume.volume.same_as;
        lines.put(&Line::Volume(Box::new(VolumeLine {
            row: volume.clone(),
            copy_of: copy_of.map(|key| volume_name(catalogue, key)).transpose()?,
        })))?;
    }
    for finding in catalogue.findings(medium.key)? {
        lines.put(&Line::Finding(finding))?;
    }
    for event in catalogue.events(Some(medium.key))? {
        lines.put(&Line::Event(event))?;
    }
    for volume in &volumes {
        for row in catalogue.scans(volume.key)? {
            scan(context, volume, &row, lines)?;
        }
    }
    lines.put(&Line::End { lines: lines.count() })
}

/// One scan. The blobs come before the results that name them.
fn scan(
    context: &Context<'_>,
    volume: &VolumeRow,
    row: &ScanRow,
    lines: &mut Lines<'_>,
) -> Result<(), Error> {
    let catalogue = context.archive.catalogue();
    lines.put(&Line::Scan(Box::new(row.clone())))?;
    each(
        |visit| catalogue.each_blob(Some(row.id), visit),
        |blob| lines.put(&Line::Blob(blob.into())),
    )?;
    each(
        |visit| catalogue.each_record(row.id, visit),
        |record| {
            context.interrupt.check()?;
            lines.put(&line_of(volume.volume.number, row, record))
        },
    )?;
    lines.put(&Line::ScanEnd)
}

fn line_of(volume: u32, scan: &ScanRow, record: &ScanRecord) -> Line {
    match record {
        ScanRecord::Directory(directory) => Line::Directory(directory.into()),
        ScanRecord::Path(path) => Line::Path(Box::new(path_line(volume, scan, path))),
        ScanRecord::Inode(inode) => Line::Inode(inode.clone()),
        ScanRecord::Result(result) => Line::Result(result.clone()),
        ScanRecord::Attempt(attempt) => Line::Attempt(attempt.clone()),
    }
}

fn path_line(volume: u32, scan: &ScanRow, record: &PathRecord) -> PathLine {
    let (path, facts) = (&record.path, record.inode.as_ref());
    let modified = facts.and_then(|inode| inode.times.modified);
    PathLine {
        volume,
        scan: scan.id.0,
        id: path.id,
        path: Text::of(&path.path),
        inode: path.inode,
        kind: path.kind,
        size_bytes: path.size_bytes,
        mode: facts.and_then(|inode| inode.mode),
        uid: facts.and_then(|inode| inode.uid),
        gid: facts.and_then(|inode| inode.gid),
        modified: modified.map(|time| time.to_string()),
        modified_ns: modified,
        target: facts.and_then(|inode| inode.target.as_deref()).map(Text::of),
        device: facts.and_then(|inode| inode.device),
        blob: record.blob.map(|blob| blob.to_hex()),
        missing: record.missing.clone(),
        namespace: path.namespace,
        alternate: path.alternate,
        allocation: path.allocation,
        rule: path.rule.clone(),
    }
}

/// Runs a visitor of the catalogue whose work may fail in other ways than the catalogue.
fn each<T>(
    visit: impl FnOnce(&mut dyn FnMut(&T) -> Result<(), ntt_catalogue::Error>) -> Result<(), ntt_catalogue::Error>,
    mut work: impl FnMut(&T) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut failed = None;
    let visited = visit(&mut |row| {
        work(row).map_err(|error| {
            failed = Some(error);
            ntt_catalogue::Error::Stopped
        })
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(visited?),
    }
}
