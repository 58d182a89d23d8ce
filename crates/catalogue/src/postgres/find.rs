//! Searches over all media. Unless asked for, only the latest sealed scan by each reader of a volume is searched: earlier ones are history. A scan stands for its own volume and for
//! those that are copies of it (R3): what it lists is found in each.

use std::collections::HashMap;

use ntt_model::entry::StreamKind;
use ntt_model::{BlobHash, MediumKey, ScanId, Timestamp};
use postgres::Row;

use super::answer::scan_id;
use super::connection::{Connection, get};
use super::inodes::{HAS_MTIME, OWN_STREAM};
use super::media::{self, small, unsigned};
use super::paths::{self, Paths};
use super::{blob, state};
use crate::Error;
use crate::code::{ALTERNATE, DELETED_NAME};
use crate::query::{FindQuery, FoundRow, Scans, SearchedScan};
use crate::rows::{self, Occurrence, PathRow};
use crate::standing::{DAMAGED, STORED, stream_kind};

/// Inodes whose paths are read in one go.
const GROUP: u32 = 1024;

/// The sealed scans of all volumes and of what they are copies of, by medium and volume number; the latest by each reader, or all.
pub(super) fn searched(connection: &Connection, scans: Scans) -> Result<Vec<SearchedScan>, Error> {
    let sql = "SELECT s.id, v.medium, v.number, s.reader, s.directories, s.names, s.begun, s.sealed, \
               s.id NOT IN (SELECT max(id) FROM scan GROUP BY volume, reader) \
               FROM volume v JOIN scan s ON s.volume = coalesce(v.same_as, v.id) ORDER BY v.medium, v.number, s.id";
    let withdrawn = rows::withdrawn(media::all(connection)?);
    let mut searched = connection.collect(sql, &[], |row| {
        let medium = MediumKey(get(row, 1)?);
        Ok(SearchedScan {
            scan: scan_id(get(row, 0)?),
            medium,
            volume_number: u32::try_from(get::<i64>(row, 2)?).unwrap_or(u32::MAX),
            reader: get(row, 3)?,
            directories: unsigned(row, 4)?,
            names: unsigned(row, 5)?,
            begun: Timestamp::from_nanos(get(row, 6)?),
            sealed: Timestamp::from_nanos(get(row, 7)?),
            superseded: get(row, 8)?,
            withdrawn: withdrawn.contains(&medium),
        })
    })?;
    searched.retain(|scan| scans.include(scan));
    Ok(searched)
}

/// A stream that holds the content asked for.
struct Holder {
    /// Which of the searched scans: one stands for several volumes.
    place: usize,
    inode: i64,
    stream: u32,
    damaged: bool,
}

/// Visits every path of a content.
pub(super) fn occurrences(
    connection: &Connection,
    hash: &BlobHash,
    scans: Scans,
    visit: &mut dyn FnMut(&Occurrence) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some(id) = blob::id(connection, hash)? else {
        return Ok(());
    };
    let latest = searched(connection, scans)?;
    let holders = connection.pages(&holders(id, &latest), GROUP)?;
    let mut paths: Option<Paths<'_>> = None;
    loop {
        let rows = holders.next()?;
        if rows.is_empty() {
            return holders.close();
        }
        let held = rows.iter().map(holder).collect::<Result<Vec<_>, _>>()?;
        for group in held.chunk_by(|one, next| one.place == next.place) {
            let Some(latest) = group.first().and_then(|held| latest.get(held.place)) else {
                continue;
            };
            let known = paths.take().filter(|paths| paths.is_of(latest.scan));
            let paths = paths.insert(match known {
                Some(paths) => paths,
                None => Paths::new(connection, latest.scan)?,
            });
            occurrences_in(paths, connection, latest, group, visit)?;
        }
    }
}

/// Who holds a blob, in the latest scans and in their order: one query over the leaves of all. A content may stand in millions of places.
fn holders(blob: i64, latest: &[SearchedScan]) -> String {
    let scans: Vec<String> = latest.iter().map(|latest| latest.scan.to_string()).collect();
    let scans = format!("ARRAY[{}]::int4[]", scans.join(", "));
    format!(
        "SELECT s.place, r.ino, r.stream, r.state FROM unnest({scans}) WITH ORDINALITY s (scan, place) JOIN result r ON r.scan = s.scan \
         WHERE r.blob = {blob} AND r.state IN ({STORED}, {DAMAGED}) AND r.scan = ANY ({scans}) ORDER BY s.place, r.ino, r.stream"
    )
}

fn holder(row: &Row) -> Result<Holder, Error> {
    let place = unsigned(row, 0)?.saturating_sub(1);
    Ok(Holder {
        place: usize::try_from(place).unwrap_or(usize::MAX),
        inode: get(row, 1)?,
        stream: small(row, 2)?,
        damaged: i64::from(get::<i16>(row, 3)?) == DAMAGED,
    })
}

fn occurrences_in(
    paths: &mut Paths<'_>,
    connection: &Connection,
    latest: &SearchedScan,
    held: &[Holder],
    visit: &mut dyn FnMut(&Occurrence) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut inodes: Vec<i64> = held.iter().map(|holder| holder.inode).collect();
    inodes.dedup();
    let kinds = kinds(connection, latest.scan, &inodes)?;
    let mut names: HashMap<u64, Vec<PathRow>> = HashMap::new();
    for path in paths::of_inodes(paths, &inodes)? {
        names.entry(path.inode).or_default().push(path);
    }
    for holder in held {
        let kind = kinds.get(&(holder.inode, holder.stream));
        for path in names.get(&holder.inode.cast_unsigned()).into_iter().flatten() {
            visit(&Occurrence {
                medium: latest.medium,
                volume_number: latest.volume_number,
                scan: latest.scan,
                path: path.clone(),
                stream: kind.cloned().unwrap_or(StreamKind::Data),
                damaged: holder.damaged,
                withdrawn: latest.withdrawn,
            })?;
        }
    }
    Ok(())
}

/// Kinds of the streams that do not lie in their inodes' own rows.
fn kinds(
    connection: &Connection,
    scan: ScanId,
    inodes: &[i64],
) -> Result<HashMap<(i64, u32), StreamKind>, Error> {
    let sql = format!("SELECT ino, stream, kind, name FROM stream_{scan} WHERE ino = ANY ($1)");
    let kinds = connection.collect(&sql, &[&inodes], |row| {
        let kind = stream_kind(i64::from(get::<i16>(row, 2)?), get(row, 3)?);
        Ok(((get(row, 0)?, small(row, 1)?), kind))
    })?;
    Ok(kinds.into_iter().collect())
}

/// Visits what a query finds, volume by volume, in the order of each scan.
pub(super) fn find(
    connection: &Connection,
    query: &FindQuery<'_>,
    visit: &mut dyn FnMut(&FoundRow) -> Result<(), Error>,
) -> Result<(), Error> {
    for latest in searched(connection, query.scans)? {
        if query.wants(&latest) {
            search(connection, query, &latest, visit)?;
        }
    }
    Ok(())
}

/// Searches one scan. The cheapest tests come first: name, then path, then the inode's facts, then the states.
fn search(
    connection: &Connection,
    query: &FindQuery<'_>,
    latest: &SearchedScan,
    visit: &mut dyn FnMut(&FoundRow) -> Result<(), Error>,
) -> Result<(), Error> {
    let scan = latest.scan;
    let hidden = if query.deleted { 0 } else { DELETED_NAME } | if query.alternates { 0 } else { ALTERNATE };
    let mut all = Paths::new(connection, scan)?;
    let condition = format!("AND p.flags & {hidden} = 0");
    let tables = paths::from(scan);
    let mut examine = |rows: &[Row]| -> Result<(), Error> {
        let candidates = candidates(query, rows)?;
        if candidates.is_empty() {
            return Ok(());
        }
        all.prepare(rows, 1)?;
        let mut found = Vec::with_capacity(candidates.len());
        for row in candidates {
            let path = all.row(row)?;
            if query.path.is_none_or(|test| test(&path.path)) {
                found.push((path, modified(row)?));
            }
        }
        tell(connection, query, latest, found, visit)
    };
    let mut indexed = 0;
    if let Some(index) = query.index {
        indexed = index.candidates(latest, &mut |ids| {
            paths::of_ids(connection, paths::COLUMNS, &tables, &condition, ids, &mut examine)
        })?;
    }
    let first = indexed.saturating_add(1);
    paths::pages_from(
        connection,
        (scan, first),
        paths::COLUMNS,
        &tables,
        &condition,
        &mut examine,
    )
}

/// The rows that pass the tests of name and facts.
fn candidates<'r>(query: &FindQuery<'_>, rows: &'r [Row]) -> Result<Vec<&'r Row>, Error> {
    let mut candidates = Vec::new();
    for row in rows {
        let name: &[u8] = get(row, 2)?;
        if query.name.is_some_and(|test| !test(name)) {
            continue;
        }
        let bits: Option<i16> = get(row, 6)?;
        let kind = bits.map(|bits| crate::code::value_of(&crate::code::KINDS, i64::from(bits & 7)));
        let has_size = bits.is_some_and(|bits| bits & OWN_STREAM != 0);
        let size = has_size.then(|| unsigned(row, 7)).transpose()?;
        if query.passes_facts(kind.transpose()?, size, modified(row)?) {
            candidates.push(row);
        }
    }
    Ok(candidates)
}

fn modified(row: &Row) -> Result<Option<Timestamp>, Error> {
    let bits: Option<i16> = get(row, 6)?;
    let is_known = bits.is_some_and(|bits| bits & HAS_MTIME != 0);
    is_known
        .then(|| get(row, 8).map(Timestamp::from_nanos))
        .transpose()
}

/// Visits those paths whose streams are in the states asked for.
fn tell(
    connection: &Connection,
    query: &FindQuery<'_>,
    latest: &SearchedScan,
    found: Vec<(PathRow, Option<Timestamp>)>,
    visit: &mut dyn FnMut(&FoundRow) -> Result<(), Error>,
) -> Result<(), Error> {
    let inodes: Vec<i64> = found
        .iter()
        .filter(|(path, _)| path.kind.is_some())
        .map(|(path, _)| path.inode.cast_signed())
        .collect();
    let states = state::of_inodes(connection, latest.scan, &inodes)?;
    for (path, modified) in found {
        let states = states
            .get(&path.inode.cast_signed())
            .map_or(&[][..], Vec::as_slice);
        if !query.passes_states(states) {
            continue;
        }
        visit(&FoundRow {
            medium: latest.medium,
            volume_number: latest.volume_number,
            scan: latest.scan,
            path,
            modified,
            streams: states.to_vec(),
        })?;
    }
    Ok(())
}
