//! Everything that the catalogue knows of a medium, as lines.

use ntt_catalogue::rows::{Evidence, Image, MediumRow, PathRow, ScanRow, State, StreamState, VolumeRow};
use ntt_model::entry::Inode;
use ntt_model::{BlobHash, ByteRange, Kind, Timestamp};
use serde::Serialize;

use super::line::{Lines, SCHEMA, Text};
use crate::{Context, Error};

#[derive(Serialize)]
struct MediumLine<'a> {
    schema: u32,
    medium: &'a MediumRow,
    evidence: Vec<Evidence>,
    image: Option<Image>,
}

#[derive(Serialize)]
struct InodeLine<'a> {
    volume: u32,
    scan: i64,
    inode: &'a Inode,
    streams: Vec<StreamState>,
}

/// What a restore script needs of one name; the facts of the inode are repeated, and compress to nothing.
#[derive(Serialize)]
struct PathLine<'a> {
    volume: u32,
    scan: i64,
    id: i64,
    path: Text<'a>,
    inode: u64,
    kind: Option<Kind>,
    size_bytes: u64,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    modified: Option<String>,
    modified_ns: Option<Timestamp>,
    target: Option<Text<'a>>,
    device: Option<(u32, u32)>,
    blob: Option<String>,
    missing: Vec<ByteRange>,
    namespace: ntt_model::Namespace,
    alternate: bool,
    allocation: ntt_model::entry::Allocation,
    rule: Option<&'a str>,
}

/// Writes the lines of a medium.
pub(super) fn medium(context: &Context<'_>, medium: &MediumRow, lines: &mut Lines<'_>) -> Result<(), Error> {
    let catalogue = context.archive.catalogue();
    let head = MediumLine {
        schema: SCHEMA,
        medium,
        evidence: catalogue.evidence(medium.key)?,
        image: catalogue.image(medium.key)?,
    };
    lines.put("medium", &head)?;
    let volumes = catalogue.volumes(medium.key)?;
    for volume in &volumes {
        lines.put("volume", volume)?;
    }
    for volume in &volumes {
        for row in catalogue.scans(volume.key)? {
            scan(context, volume, &row, lines)?;
        }
    }
    for finding in catalogue.findings(medium.key)? {
        lines.put("finding", &finding)?;
    }
    for event in catalogue.events(Some(medium.key))? {
        lines.put("event", &event)?;
    }
    Ok(())
}

fn scan(
    context: &Context<'_>,
    volume: &VolumeRow,
    row: &ScanRow,
    lines: &mut Lines<'_>,
) -> Result<(), Error> {
    let catalogue = context.archive.catalogue();
    let number = volume.volume.number;
    lines.put("scan", row)?;
    each(
        |visit| catalogue.each_path(row.id, visit),
        |path: &PathRow| {
            context.interrupt.check()?;
            path_line(context, number, row, path, lines)
        },
    )?;
    each(
        |visit| catalogue.each_inode(row.id, visit),
        |inode: &Inode| {
            context.interrupt.check()?;
            let streams = catalogue.stream_states(row.id, inode.number)?;
            let line = InodeLine {
                volume: number,
                scan: row.id.0,
                inode,
                streams,
            };
            lines.put("inode", &line)
        },
    )?;
    blobs(context, row, lines)
}

fn blobs(context: &Context<'_>, row: &ScanRow, lines: &mut Lines<'_>) -> Result<(), Error> {
    each(
        |visit| context.archive.catalogue().each_blob(Some(row.id), visit),
        |blob| lines.put("blob", blob),
    )
}

fn path_line(
    context: &Context<'_>,
    volume: u32,
    scan: &ScanRow,
    path: &PathRow,
    lines: &mut Lines<'_>,
) -> Result<(), Error> {
    let catalogue = context.archive.catalogue();
    let inode = catalogue.inode(scan.id, path.inode)?;
    let states = catalogue.stream_states(scan.id, path.inode)?;
    let (blob, missing) = content(&states);
    let facts = inode.as_ref();
    let modified = facts.and_then(|inode| inode.times.modified);
    let line = PathLine {
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
        blob: blob.map(|blob| blob.to_hex()),
        missing,
        namespace: path.namespace,
        alternate: path.alternate,
        allocation: path.allocation,
        rule: path.rule.as_deref(),
    };
    lines.put("path", &line)
}

/// The blob of the data stream and what is missing of it.
fn content(states: &[StreamState]) -> (Option<BlobHash>, Vec<ByteRange>) {
    let data = states
        .iter()
        .find(|state| state.kind == ntt_model::entry::StreamKind::Data);
    match data.map(|state| &state.state) {
        Some(State::Stored { blob }) => (Some(*blob), Vec::new()),
        Some(State::Damaged { blob, missing, .. }) => (Some(*blob), missing.clone()),
        _ => (None, Vec::new()),
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
