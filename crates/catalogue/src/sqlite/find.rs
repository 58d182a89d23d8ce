//! Searches over all media. Unless asked for, only the latest sealed scan by each reader of a volume is searched: earlier ones are history. A scan stands for its own volume and for
//! those that are copies of it (R3): what it lists is found in each.

use ntt_model::{BlobHash, MediumKey, ScanId, Timestamp};
use rusqlite::{Connection, Row, Rows, Statement, params};

use super::code::{ALTERNATE, DELETED_NAME, KINDS, value_of};
use super::inodes;
use super::media::{self, collect};
use super::paths::{self, Paths};
use super::state::{self, DAMAGED, FAILED, RESULT_COLUMNS, RETRYABLE, STORED};
use crate::Error;
use crate::query::{FindQuery, FoundRow, Scans, SearchedScan, StateFilter};
use crate::rows::{self, Occurrence};

/// The sealed scans of all volumes and of what they are copies of, by medium and volume number; the latest by each reader, or all.
pub(super) fn searched(connection: &Connection, scans: Scans) -> Result<Vec<SearchedScan>, Error> {
    let sql = "SELECT s.id, v.medium, v.number, s.reader, s.directories, s.names, s.begun, s.sealed, \
               EXISTS (SELECT 1 FROM scan n WHERE n.volume = s.volume AND n.reader = s.reader AND n.id > s.id AND n.sealed IS NOT NULL) \
               FROM volume v JOIN scan s ON s.volume = coalesce(v.same_as, v.id) \
               WHERE s.sealed IS NOT NULL ORDER BY v.medium, v.number, s.id";
    let withdrawn = rows::withdrawn(media::all(connection)?);
    let mut searched = collect(connection, sql, params![], |row| {
        let medium = MediumKey(row.get(1)?);
        Ok(SearchedScan {
            scan: ScanId(row.get(0)?),
            medium,
            volume_number: row.get(2)?,
            reader: row.get(3)?,
            directories: row.get::<_, i64>(4)?.cast_unsigned(),
            names: row.get::<_, i64>(5)?.cast_unsigned(),
            begun: Timestamp::from_nanos(row.get(6)?),
            sealed: Timestamp::from_nanos(row.get(7)?),
            superseded: row.get(8)?,
            withdrawn: withdrawn.contains(&medium),
        })
    })?;
    searched.retain(|scan| scans.include(scan));
    Ok(searched)
}

/// Visits every path of a content.
pub(super) fn occurrences(
    connection: &Connection,
    blob: &BlobHash,
    scans: Scans,
    visit: &mut dyn FnMut(&Occurrence) -> Result<(), Error>,
) -> Result<(), Error> {
    let sql = "SELECT id FROM blob WHERE hash = ?1";
    let ids = collect(connection, sql, params![blob.as_bytes()], |row| {
        Ok(row.get::<_, i64>(0)?)
    })?;
    let Some(id) = ids.first() else {
        return Ok(());
    };
    for latest in searched(connection, scans)? {
        occurrences_in(connection, *id, &latest, visit)?;
    }
    Ok(())
}

fn occurrences_in(
    connection: &Connection,
    blob: i64,
    latest: &SearchedScan,
    visit: &mut dyn FnMut(&Occurrence) -> Result<(), Error>,
) -> Result<(), Error> {
    let scan = latest.scan;
    let mut paths = Paths::new(connection, scan)?;
    let mut statement = connection.prepare(&format!(
        "SELECT ino, stream, state FROM result_{scan} WHERE blob = ?1 AND state IN ({STORED}, {DAMAGED}) \
         ORDER BY ino, stream"
    ))?;
    let mut rows = statement.query([blob])?;
    while let Some(row) = rows.next()? {
        let inode = row.get::<_, i64>(0)?.cast_unsigned();
        let stream = stream_kind(connection, scan, inode, row.get(1)?)?;
        for path in paths::of_inode(&mut paths, inode)? {
            visit(&Occurrence {
                medium: latest.medium,
                volume_number: latest.volume_number,
                scan,
                path,
                stream: stream.clone(),
                damaged: row.get::<_, i64>(2)? == DAMAGED,
                withdrawn: latest.withdrawn,
            })?;
        }
    }
    Ok(())
}

fn stream_kind(
    connection: &Connection,
    scan: ScanId,
    inode: u64,
    ordinal: u32,
) -> Result<ntt_model::entry::StreamKind, Error> {
    let sql = format!("SELECT kind, name FROM stream_{scan} WHERE ino = ?1 AND stream = ?2");
    let found = collect(connection, &sql, params![inode.cast_signed(), ordinal], |row| {
        Ok(inodes::stream_kind(row.get(0)?, row.get(1)?))
    })?;
    Ok(found
        .into_iter()
        .next()
        .unwrap_or(ntt_model::entry::StreamKind::Data))
}

/// Visits what a query finds, volume by volume, in the order of each scan.
pub(super) fn find(
    connection: &Connection,
    query: &FindQuery<'_>,
    visit: &mut dyn FnMut(&FoundRow) -> Result<(), Error>,
) -> Result<(), Error> {
    for latest in searched(connection, query.scans)? {
        if query.wants(&latest) {
            Search::new(connection, query, &latest)?.run(visit)?;
        }
    }
    Ok(())
}

/// A search in one scan. The cheapest tests come first: name, then path, then the inode's facts, then the states.
struct Search<'s> {
    connection: &'s Connection,
    query: &'s FindQuery<'s>,
    latest: &'s SearchedScan,
    paths: Paths<'s>,
}

impl<'s> Search<'s> {
    fn new(
        connection: &'s Connection,
        query: &'s FindQuery<'s>,
        latest: &'s SearchedScan,
    ) -> Result<Self, Error> {
        Ok(Self {
            connection,
            query,
            latest,
            paths: Paths::new(connection, latest.scan)?,
        })
    }

    fn run(&mut self, visit: &mut dyn FnMut(&FoundRow) -> Result<(), Error>) -> Result<(), Error> {
        let (connection, scan) = (self.connection, self.latest.scan);
        let hidden = if self.query.deleted { 0 } else { DELETED_NAME }
            | if self.query.alternates { 0 } else { ALTERNATE };
        let condition = format!("p.flags & {hidden} = 0 {}", has_result(scan, &self.query.states));
        let full = format!(
            "SELECT p.id, p.dir, p.name, p.ino, p.flags, p.rule, i.bits, i.size, i.mtime, {RESULT_COLUMNS} \
             FROM path_{scan} p LEFT JOIN inode_{scan} i ON i.ino = p.ino \
             LEFT JOIN result_{scan} r ON r.ino = p.ino AND r.stream = 0 LEFT JOIN blob b ON b.id = r.blob WHERE"
        );
        if self.query.name.is_none() && self.query.path.is_none() && self.query.index.is_none() {
            // Every name passes: its facts come along.
            let mut all = connection.prepare(&format!("{full} {condition} ORDER BY p.id"))?;
            let mut rows = all.query([])?;
            while let Some(row) = rows.next()? {
                self.tell(row, visit)?;
            }
            return Ok(());
        }
        let select = format!("SELECT p.id, p.dir, p.name FROM path_{scan} p WHERE {condition}");
        let mut full = connection.prepare(&format!("{full} p.id = ?1"))?;
        let mut indexed = 0;
        if let Some(index) = self.query.index {
            let mut one = connection.prepare(&format!("{select} AND p.id = ?1"))?;
            indexed = index.candidates(self.latest, &mut |ids| {
                ids.iter()
                    .try_for_each(|id| self.examine(one.query([id])?, &mut full, visit))
            })?;
        }
        let mut rest = connection.prepare(&format!("{select} AND p.id > ?1 ORDER BY p.id"))?;
        self.examine(rest.query([indexed])?, &mut full, visit)
    }

    /// Visits those of the candidates that pass all tests.
    fn examine(
        &mut self,
        mut candidates: Rows<'_>,
        full: &mut Statement<'_>,
        visit: &mut dyn FnMut(&FoundRow) -> Result<(), Error>,
    ) -> Result<(), Error> {
        while let Some(candidate) = candidates.next()? {
            if !self.passes_names(candidate)? {
                continue;
            }
            let mut row = full.query([candidate.get::<_, i64>(0)?])?;
            if let Some(row) = row.next()? {
                self.tell(row, visit)?;
            }
        }
        Ok(())
    }

    /// Visits a row if its facts and states are those asked for.
    fn tell(
        &mut self,
        row: &Row<'_>,
        visit: &mut dyn FnMut(&FoundRow) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.passes_facts(row)?
            && let Some(found) = self.found(row)?
        {
            visit(&found)?;
        }
        Ok(())
    }

    fn passes_names(&mut self, row: &Row<'_>) -> Result<bool, Error> {
        let name = row.get_ref(2)?.as_blob()?;
        if self.query.name.is_some_and(|test| !test(name)) {
            return Ok(false);
        }
        let Some(test) = self.query.path else {
            return Ok(true);
        };
        let path = self.paths.join(row.get::<_, i64>(1)?.cast_unsigned(), name)?;
        Ok(test(&path))
    }

    fn passes_facts(&self, row: &Row<'_>) -> Result<bool, Error> {
        let bits: Option<i64> = row.get(6)?;
        let kind = bits.map(|bits| value_of(&KINDS, bits & 7)).transpose()?;
        let size = row.get::<_, Option<i64>>(7)?.map(i64::cast_unsigned);
        let modified = inodes::time(row, 8)?;
        Ok(self.query.passes_facts(kind, size, modified))
    }

    fn found(&mut self, row: &Row<'_>) -> Result<Option<FoundRow>, Error> {
        let path = self.paths.row(row)?;
        let states = match row.get(6)? {
            Some(bits) => {
                let (connection, scan, inode) = (self.connection, self.latest.scan, row.get(3)?);
                let streams = state::streams(connection, scan, inode, bits, row.get(7)?)?.collect();
                let own = state::result_row(row, 9)?;
                state::of_streams(connection, scan, inode, streams, Some(own))?
            }
            None => Vec::new(),
        };
        let passes = self.query.passes_states(&states);
        if !passes {
            return Ok(None);
        }
        Ok(Some(FoundRow {
            medium: self.latest.medium,
            volume_number: self.latest.volume_number,
            scan: self.latest.scan,
            path,
            modified: row.get::<_, Option<i64>>(8)?.map(Timestamp::from_nanos),
            streams: states,
        }))
    }
}

/// A condition that paths must pass to be in one of these states: one search in the results, where telling the whole state takes several.
/// Empty if a stream without a result can be in one of them.
fn has_result(scan: ScanId, states: &[StateFilter]) -> String {
    let codes = |filter: &StateFilter| -> Option<&'static [i64]> {
        match filter {
            StateFilter::Stored => Some(&[STORED]),
            StateFilter::Damaged => Some(&[DAMAGED]),
            StateFilter::Corrupt => Some(&[STORED, DAMAGED]),
            StateFilter::Retryable => Some(&[RETRYABLE]),
            StateFilter::Failed(_) => Some(&[FAILED]),
            StateFilter::Pending | StateFilter::Excluded => None,
        }
    };
    match states.iter().map(codes).collect::<Option<Vec<_>>>() {
        Some(codes) if !codes.is_empty() => {
            let codes: Vec<String> = codes.concat().iter().map(i64::to_string).collect();
            let codes = codes.join(", ");
            format!("AND EXISTS (SELECT 1 FROM result_{scan} r WHERE r.ino = p.ino AND r.state IN ({codes}))")
        }
        _ => String::new(),
    }
}
