//! Making a catalogue again in an empty database.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use ntt_model::{BlobHash, MediumKey, ScanEvent, Timestamp};

use super::blob::NewBlob;
use super::complete::ATTEMPTS;
use super::connection::{Connection, Target, TimeSource, get};
use super::load::Load;
use super::media::{leaf, medium_of_volume, small};
use super::place::Place;
use super::result::{self, NewResult};
use super::spool::Spool;
use super::value::text;
use super::wire::Rows;
use super::{blob, blob_id, label, media, paths, queue, reopen, schema, seal, state};
use crate::codec::put_ranges;
use crate::record::{AttemptRecord, ResultRecord};
use crate::rows::{BlobRow, EventRow, Evidence, FindingRow, Image, MediumRow, ScanRow, VolumeRow};
use crate::standing::{REOPENED, RETRYABLE, code_of_state};
use crate::{Error, Restore};

/// Blobs and results written in one go.
const BATCH: usize = 2048;
/// Tables whose next keys follow those that were restored.
const NUMBERED: [&str; 3] = ["medium", "volume", "scan"];

/// A catalogue in the making in an empty database. Every scan is a transaction; until [`Restore::finish`] nothing else opens the database.
pub struct PostgresRestoration {
    connection: Connection,
    spool_folder: Option<PathBuf>,
    scan: Option<Scan>,
    rules: HashMap<String, i32>,
    blobs: BTreeMap<BlobHash, BlobRow>,
    is_open: bool,
}

/// A scan that is being restored.
struct Scan {
    row: ScanRow,
    load: Load,
    labels: Spool,
    results: Spool,
    attempts: Spool,
    waiting: Vec<ResultRecord>,
}

impl fmt::Debug for PostgresRestoration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresRestoration").finish_non_exhaustive()
    }
}

impl PostgresRestoration {
    /// Begins a catalogue in the database that `url` names, which must hold nothing, or a catalogue without a medium.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if there are media already; else as [`super::init`].
    pub fn create(url: &str, spool_folder: Option<PathBuf>) -> Result<Self, Error> {
        let connection = Connection::open(&Arc::new(Place::of(url)?), &TimeSource::Server)?;
        schema::migrate(&connection)?;
        if connection.one::<bool>("SELECT EXISTS (SELECT 1 FROM medium)", &[])? {
            return Err(Error::Conflict("the database holds media already".to_owned()));
        }
        schema::set_filling(&connection, true)?;
        Ok(Self {
            connection,
            spool_folder,
            scan: None,
            rules: HashMap::new(),
            blobs: BTreeMap::new(),
            is_open: false,
        })
    }

    /// The connection, in a transaction.
    fn open(&mut self) -> Result<&Connection, Error> {
        if !self.is_open {
            self.connection.batch(seal::BEGIN)?;
            self.is_open = true;
        }
        Ok(&self.connection)
    }

    fn commit(&mut self) -> Result<(), Error> {
        if self.is_open {
            self.connection.batch("COMMIT")?;
            self.is_open = false;
        }
        Ok(())
    }

    /// Writes the blobs that wait; what is known of them already is completed, and the later verification counts.
    fn flush_blobs(&mut self) -> Result<(), Error> {
        let blobs = std::mem::take(&mut self.blobs);
        let connection = self.open()?;
        let new: Vec<NewBlob<'_>> = blobs.values().map(NewBlob::from_row).collect();
        let ids = blob::keep(connection, &new)?;
        let (mut marked, mut bad, mut verified) = (Vec::new(), Vec::new(), Vec::new());
        for (hash, row) in blobs.iter().filter(|(_, row)| row.bad || row.verified.is_some()) {
            marked.extend(ids.get(hash).copied());
            bad.push(row.bad);
            verified.push(row.verified.map(|time| time.as_nanos()));
        }
        if marked.is_empty() {
            return Ok(());
        }
        let sql = "UPDATE blob SET bad = blob.bad OR v.bad, verified = greatest(blob.verified, v.verified) \
                   FROM unnest($1::int8[], $2::bool[], $3::int8[]) AS v (id, bad, verified) WHERE blob.id = v.id";
        connection.execute(sql, &[&marked, &bad, &verified]).map(drop)
    }

    /// Encodes the results that wait, now that their blobs have row ids.
    fn flush_results(&mut self) -> Result<(), Error> {
        self.flush_blobs()?;
        let scan = self.scan.as_mut().ok_or_else(no_scan)?;
        let waiting = std::mem::take(&mut scan.waiting);
        let hashes = waiting.iter().filter_map(|record| record.blob.as_ref());
        let ids = blob_id::ids(&self.connection, hashes)?;
        let mut rows = Rows::default();
        for record in &waiting {
            let blob = record.blob.map(|hash| {
                let id = ids.get(&hash).copied();
                id.ok_or_else(|| Error::Conflict(format!("a result names blob {hash}, which never came")))
            });
            put_result(&mut rows, leaf(scan.row.id)?, record, blob.transpose()?)?;
        }
        scan.results.append(&rows)
    }

    /// Puts what failed and may be tried again, and what was reopened, into the queue.
    fn queue_again(connection: &Connection, row: &ScanRow) -> Result<(), Error> {
        let scan = row.id;
        let sql = format!(
            "SELECT coalesce(r.not_before, 0), r.ino, r.stream FROM result_{scan} r \
             WHERE r.state IN ({REOPENED}, {RETRYABLE}) AND {} ORDER BY 1, 2, 3",
            state::is_eligible(scan, "r.ino")
        );
        let pages = connection.pages(&sql, 65_536)?;
        loop {
            let rows = pages.next()?;
            if rows.is_empty() {
                return pages.close();
            }
            let mut groups: BTreeMap<i64, BTreeSet<(i64, u32)>> = BTreeMap::new();
            for row in &rows {
                let stream = (get(row, 1)?, small(row, 2)?);
                groups.entry(get(row, 0)?).or_default().insert(stream);
            }
            for (not_before, streams) in groups {
                let work = reopen::work_for(connection, scan, &streams)?;
                queue::enqueue(connection, scan, work, Timestamp::from_nanos(not_before))?;
            }
        }
    }
}

impl<'b> NewBlob<'b> {
    fn from_row(row: &'b BlobRow) -> Self {
        Self {
            hash: row.hash,
            size: row.size_bytes,
            sha256: row.sha256.as_ref(),
            content_type: row.content_type.as_deref(),
            is_expected: false,
        }
    }
}

fn no_scan() -> Error {
    Error::Conflict("no scan has begun".to_owned())
}

fn put_result(rows: &mut Rows, scan: i32, record: &ResultRecord, blob: Option<i64>) -> Result<(), Error> {
    let missing = record.missing.as_deref().map(put_ranges);
    result::put(
        rows,
        &NewResult {
            scan,
            inode: record.inode,
            stream: record.stream,
            state: code_of_state(record.result)?,
            blob,
            not_before: record.not_before,
            attempts: record.attempts,
            strikes: record.strikes,
            failure: record.failure.as_ref(),
            missing: missing.as_deref(),
        },
    );
    Ok(())
}

impl Restore for PostgresRestoration {
    fn medium(&mut self, row: &MediumRow, evidence: &[Evidence], image: Option<&Image>) -> Result<(), Error> {
        let connection = self.open()?;
        media::add(connection, Some(row.key), &row.medium, row.added)?;
        media::add_evidence(connection, row.key, evidence)?;
        image.map_or(Ok(()), |image| media::set_image(connection, row.key, image))
    }

    fn volume(&mut self, row: &VolumeRow) -> Result<(), Error> {
        media::put_volume(self.open()?, Some(row.key), row.medium, &row.volume).map(drop)
    }

    fn finding(&mut self, medium: MediumKey, row: &FindingRow) -> Result<(), Error> {
        media::insert_finding(self.open()?, medium, row.volume, row.scan, &row.finding)
    }

    fn event(&mut self, row: &EventRow) -> Result<(), Error> {
        media::add_event(self.open()?, row, Timestamp::from_nanos(0))
    }

    fn blob(&mut self, row: &BlobRow) -> Result<(), Error> {
        let known = self.blobs.entry(row.hash).or_insert_with(|| row.clone());
        if known.size_bytes != row.size_bytes {
            return Err(Error::Conflict(format!(
                "blob {} has {} bytes, not {}",
                row.hash, known.size_bytes, row.size_bytes
            )));
        }
        known.sha256 = known.sha256.or(row.sha256);
        known.content_type = known.content_type.take().or_else(|| row.content_type.clone());
        known.bad |= row.bad;
        known.verified = known.verified.max(row.verified);
        if self.blobs.len() >= BATCH {
            self.flush_blobs()
        } else {
            Ok(())
        }
    }

    fn begin_scan(&mut self, row: &ScanRow) -> Result<(), Error> {
        if self.scan.is_some() {
            return Err(Error::Conflict("the scan before has not ended".to_owned()));
        }
        let folder = self.spool_folder.clone();
        let connection = self.open()?;
        let medium = medium_of_volume(connection, row.scan.volume)?;
        seal::insert(connection, row)?;
        let spool = || Spool::new(folder.clone());
        self.scan = Some(Scan {
            row: row.clone(),
            load: Load::new(row.id, row.scan.clone(), medium, row.begun, folder.as_deref()),
            labels: spool(),
            results: spool(),
            attempts: spool(),
            waiting: Vec::new(),
        });
        Ok(())
    }

    fn entries(&mut self, events: &[ScanEvent], labels: &[(i64, String)]) -> Result<(), Error> {
        let mut rows = Rows::default();
        for (path, rule) in labels {
            if !self.rules.contains_key(rule) {
                let ids = label::rule_ids(self.open()?, std::slice::from_ref(rule))?;
                self.rules.extend(ids.first().map(|id| (rule.clone(), *id)));
            }
            let scan = self.scan.as_ref().ok_or_else(no_scan)?;
            let rule = self.rules.get(rule).copied().ok_or_else(no_scan)?;
            rows.row(3)
                .int4(leaf(scan.row.id)?)
                .int4(paths::ordinal(*path)?)
                .int4(rule);
        }
        let scan = self.scan.as_mut().ok_or_else(no_scan)?;
        scan.labels.append(&rows)?;
        scan.load.append(events)
    }

    fn result(&mut self, record: &ResultRecord) -> Result<(), Error> {
        let scan = self.scan.as_mut().ok_or_else(no_scan)?;
        scan.waiting.push(record.clone());
        if scan.waiting.len() >= BATCH {
            self.flush_results()
        } else {
            Ok(())
        }
    }

    fn attempt(&mut self, record: &AttemptRecord) -> Result<(), Error> {
        let scan = self.scan.as_mut().ok_or_else(no_scan)?;
        let mut rows = Rows::default();
        rows.row(8)
            .int8(record.inode.cast_signed())
            .int8(record.at.as_nanos())
            .int4(leaf(scan.row.id)?)
            .int4(record.stream.cast_signed())
            .int4(record.number.cast_signed())
            .int4(record.failure.code)
            .field(record.failure.class.as_str().as_bytes())
            .field(text(&record.failure.detail).as_bytes());
        scan.attempts.append(&rows)
    }

    fn end_scan(&mut self) -> Result<(), Error> {
        self.flush_results()?;
        let mut scan = self.scan.take().ok_or_else(no_scan)?;
        let (id, connection) = (scan.row.id, self.open()?);
        // The findings of the scan came before it.
        let mut counts = scan.row.counts;
        counts.findings = scan.load.counts().findings;
        seal::fill(connection, &mut scan.load, &counts)?;
        let found = seal::count_rows(connection, id)?;
        if found != scan.row.counts {
            let told = scan.row.counts;
            return Err(Error::Conflict(format!("the scan says {told:?}, {found:?} came")));
        }
        let into = |leaf: &str, columns: &str| format!("{leaf}_{id} {columns}");
        connection.load(
            &Target::table(&into("label", "(scan, path, rule)")),
            &mut scan.labels,
        )?;
        connection.load(
            &Target::table(&into("result", result::COLUMNS)),
            &mut scan.results,
        )?;
        connection.load(&Target::table(ATTEMPTS), &mut scan.attempts)?;
        schema::index_results(connection, id)?;
        seal::build_chunks(connection, id, true)?;
        Self::queue_again(connection, &scan.row)?;
        schema::attach_leaves(connection, id)?;
        self.commit()
    }

    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        if self.scan.is_some() {
            return Err(Error::Conflict("the last scan has not ended".to_owned()));
        }
        self.flush_blobs()?;
        let connection = self.open()?;
        let astray = "SELECT count(*) FROM volume v WHERE v.same_as IS NOT NULL \
                      AND NOT EXISTS (SELECT 1 FROM volume o WHERE o.id = v.same_as)";
        if connection.one::<i64>(astray, &[])? > 0 {
            return Err(Error::Conflict(
                "a volume names an original that never came".to_owned(),
            ));
        }
        for table in NUMBERED {
            connection.batch(&format!(
                "SELECT setval(pg_get_serial_sequence('{table}', 'id'), coalesce(max(id), 0) + 1, false) FROM {table}"
            ))?;
        }
        schema::set_filling(connection, false)?;
        self.commit()
    }
}
