//! Making a catalogue again from what was once told of another one.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use ntt_model::{MediumKey, ScanEvent, Timestamp};
use rusqlite::{Connection, params};

use super::codec::put_ranges;
use super::load::Load;
use super::media::collect;
use super::state::{REOPENED, RETRYABLE, is_eligible};
use super::{complete, connection, label, media, queue, schema, seal};
use crate::cutting::WINDOW;
use crate::record::{AttemptRecord, ResultRecord};
use crate::rows::{BlobRow, EventRow, Evidence, FindingRow, Image, MediumRow, ScanRow, VolumeRow};
use crate::standing::code_of_state;
use crate::{Error, Restore};

/// A catalogue in the making: takes rows with the keys and times that they had.
///
/// It fills a file of its own: all is one transaction, and nothing is synced before [`Restore::finish`]. The file can then be renamed to where a
/// catalogue is expected.
pub struct Restoration {
    path: PathBuf,
    connection: Connection,
    scan: Option<(ScanRow, Load)>,
    rules: HashMap<String, i64>,
}

impl fmt::Debug for Restoration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restoration")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Restoration {
    /// Begins a catalogue in the file `path`, which must not exist.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if the file exists; else what the database says.
    pub fn create(path: &Path) -> Result<Self, Error> {
        if path.exists() {
            return Err(Error::Conflict(format!("{} exists already", path.display())));
        }
        let mut connection = connection::open_writer(path)?;
        schema::migrate(&mut connection)?;
        // A volume may name one of a medium that comes later; `finish` looks for names that lead nowhere.
        connection.pragma_update(None, "foreign_keys", false)?;
        connection.pragma_update(None, "synchronous", "off")?;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        Ok(Self {
            path: path.to_owned(),
            connection,
            scan: None,
            rules: HashMap::new(),
        })
    }
}

impl Restore for Restoration {
    fn medium(&mut self, row: &MediumRow, evidence: &[Evidence], image: Option<&Image>) -> Result<(), Error> {
        media::insert(&self.connection, Some(row.key), &row.medium, row.added)?;
        media::add_evidence(&self.connection, row.key, evidence)?;
        image.map_or(Ok(()), |image| media::set_image(&self.connection, row.key, image))
    }

    fn volume(&mut self, row: &VolumeRow) -> Result<(), Error> {
        let key = media::put_volume(&self.connection, row.medium, &row.volume)?;
        self.connection.execute(
            "UPDATE volume SET id = ?2 WHERE id = ?1",
            params![key.0, row.key.0],
        )?;
        Ok(())
    }

    fn finding(&mut self, medium: MediumKey, row: &FindingRow) -> Result<(), Error> {
        media::insert_finding(&self.connection, medium, row.volume, row.scan, &row.finding)
    }

    fn event(&mut self, row: &EventRow) -> Result<(), Error> {
        media::add_event(&self.connection, row, Timestamp::from_nanos(0))
    }

    fn blob(&mut self, row: &BlobRow) -> Result<(), Error> {
        let id = super::blob::Keeper::new(&self.connection)?.keep(
            &row.hash,
            row.size_bytes,
            row.sha256.as_ref(),
            row.content_type.as_deref(),
        )?;
        let sql = "UPDATE blob SET bad = max(bad, ?2), verified = nullif(max(coalesce(verified, ?4), coalesce(?3, ?4)), ?4) \
                   WHERE id = ?1";
        let verified = row.verified.map(|time| time.as_nanos());
        self.connection
            .prepare_cached(sql)?
            .execute(params![id, row.bad, verified, i64::MIN])?;
        Ok(())
    }

    fn begin_scan(&mut self, row: &ScanRow) -> Result<(), Error> {
        if self.scan.is_some() {
            return Err(Error::Conflict("the scan before has not ended".to_owned()));
        }
        let medium = media::medium_of_volume(&self.connection, row.scan.volume)?;
        self.connection.execute(
            "INSERT INTO scan (id, volume, reader, root, previous, begun, sealed, directories, inodes, names, findings) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                row.id.0,
                row.scan.volume.0,
                row.scan.reader,
                row.scan.root.cast_signed(),
                row.scan.previous.map(|previous| previous.0),
                row.begun.as_nanos(),
                row.sealed.as_nanos(),
                row.counts.directories.cast_signed(),
                row.counts.inodes.cast_signed(),
                row.counts.names.cast_signed(),
                row.counts.findings.cast_signed()
            ],
        )?;
        schema::create_leaves(&self.connection, row.id)?;
        let load = Load::new(row.id, row.scan.volume, medium);
        self.scan = Some((row.clone(), load));
        Ok(())
    }

    fn entries(&mut self, events: &[ScanEvent], labels: &[(i64, String)]) -> Result<(), Error> {
        let (row, load) = self.scan.as_mut().ok_or_else(no_scan)?;
        load.append(&self.connection, events)?;
        let sql = format!("UPDATE path_{} SET rule = ?2 WHERE id = ?1", row.id);
        for (path, rule) in labels {
            let rule = rule_id(&self.connection, &mut self.rules, rule)?;
            self.connection
                .prepare_cached(&sql)?
                .execute(params![path, rule])?;
        }
        Ok(())
    }

    fn result(&mut self, record: &ResultRecord) -> Result<(), Error> {
        let (row, _) = self.scan.as_ref().ok_or_else(no_scan)?;
        let failure = record.failure.as_ref();
        let sql = format!(
            "INSERT INTO result_{} (ino, stream, state, blob, attempts, strikes, code, not_before, class, detail, missing) \
             VALUES (?1, ?2, ?3, (SELECT id FROM blob WHERE hash = ?4), ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            row.id
        );
        self.connection.prepare_cached(&sql)?.execute(params![
            record.inode.cast_signed(),
            record.stream,
            code_of_state(record.result)?,
            record.blob.as_ref().map(ntt_model::BlobHash::as_bytes),
            record.attempts,
            record.strikes,
            failure.map(|failure| failure.code),
            record.not_before.map(|time| time.as_nanos()),
            failure.map(|failure| failure.class.as_str()),
            failure.map(|failure| failure.detail.as_str()),
            record.missing.as_deref().map(put_ranges)
        ])?;
        Ok(())
    }

    fn attempt(&mut self, record: &AttemptRecord) -> Result<(), Error> {
        let (row, _) = self.scan.as_ref().ok_or_else(no_scan)?;
        let sql = "INSERT INTO attempt (scan, ino, stream, n, class, code, at, detail) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        self.connection.prepare_cached(sql)?.execute(params![
            row.id.0,
            record.inode.cast_signed(),
            record.stream,
            record.number,
            record.failure.class.as_str(),
            record.failure.code,
            record.at.as_nanos(),
            record.failure.detail
        ])?;
        Ok(())
    }

    fn end_scan(&mut self) -> Result<(), Error> {
        let (row, mut load) = self.scan.take().ok_or_else(no_scan)?;
        load.finish(&self.connection)?;
        let found = seal::count_rows(&self.connection, row.id)?;
        if found != row.counts {
            let told = row.counts;
            return Err(Error::Conflict(format!("the scan says {told:?}, {found:?} came")));
        }
        if let Some(problem) = seal::tree_problem(&self.connection, row.id)? {
            return Err(Error::Conflict(problem));
        }
        schema::index_leaves(&self.connection, row.id)?;
        seal::build_chunks(&self.connection, row.id, true)?;
        self.queue_again(&row)
    }

    fn finish(self: Box<Self>) -> Result<(), Error> {
        if self.scan.is_some() {
            return Err(Error::Conflict("the last scan has not ended".to_owned()));
        }
        let astray = collect(&self.connection, "PRAGMA foreign_key_check", [], |row| {
            Ok(row.get::<_, String>(0)?)
        })?;
        if let Some(table) = astray.first() {
            return Err(Error::Conflict(format!(
                "a row of the table {table} names a row that never came"
            )));
        }
        self.connection.execute_batch("COMMIT")?;
        // The last connection takes its write-ahead log into the file when it closes.
        self.connection.close().map_err(|(_, error)| Error::from(error))?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        for made in [self.path.as_path(), folder.unwrap_or(Path::new("."))] {
            File::open(made)
                .and_then(|made| made.sync_all())
                .map_err(|error| Error::Storage(Box::new(error)))?;
        }
        Ok(())
    }
}

impl Restoration {
    /// Puts what failed and may be tried again, and what was reopened, into the queue.
    fn queue_again(&self, row: &ScanRow) -> Result<(), Error> {
        let scan = row.id;
        let sql = format!(
            "SELECT r.ino, r.stream, coalesce(r.not_before, 0) FROM result_{scan} r \
             WHERE r.state IN ({REOPENED}, {RETRYABLE}) AND {} ORDER BY 3",
            is_eligible(scan, "r.ino")
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let (mut work, mut due) = (Vec::new(), 0);
        let put = |work: &mut Vec<_>, due| {
            let time = Timestamp::from_nanos(due);
            queue::enqueue(&self.connection, scan, std::mem::take(work), time)
        };
        while let Some(row) = rows.next()? {
            let not_before = row.get(2)?;
            if not_before != due || work.len() >= WINDOW {
                put(&mut work, due)?;
            }
            due = not_before;
            work.extend(complete::work_for(
                &self.connection,
                scan,
                row.get(0)?,
                row.get(1)?,
            )?);
        }
        put(&mut work, due)?;
        Ok(())
    }
}

fn no_scan() -> Error {
    Error::Conflict("no scan has begun".to_owned())
}

fn rule_id(connection: &Connection, rules: &mut HashMap<String, i64>, rule: &str) -> Result<i64, Error> {
    if let Some(id) = rules.get(rule) {
        return Ok(*id);
    }
    let ids = label::rule_ids(connection, &[rule.to_owned()])?;
    let id = ids.first().copied().ok_or_else(no_scan)?;
    rules.insert(rule.to_owned(), id);
    Ok(id)
}
