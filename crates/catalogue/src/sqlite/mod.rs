//! The embedded catalogue: one SQLite file.
//!
//! One connection writes, behind a mutex and a lock file; readers have connections of their own and see the last commit (write-ahead log).
//! A mutex and not a thread with a channel: batches, and the callback that labels, are borrowed from the caller and need not be copied.
//! Every scan has leaf tables of its own (`path_7`, `inode_7`...), loaded without indexes and indexed at the seal, so that loading neither
//! touches other rows (R28) nor slows down as the catalogue grows (R30). `docs/design/catalogue.md` describes tables and columns.

mod answer;
mod blob;
mod check;
mod complete;
mod connection;
mod export;
mod find;
mod inodes;
mod label;
mod load;
mod media;
mod paths;
mod queue;
mod repack;
mod restore;
mod schema;
mod seal;
mod state;
mod sweep;
#[cfg(test)]
mod tests;
mod trait_impl;

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ntt_host::Clock;
use ntt_model::ScanId;
use rusqlite::{Connection, TransactionBehavior};

pub use crate::standing::NO_NAME;
use crate::{Error, code, codec};
pub use connection::lock_for_writing;
use load::Load;
pub use restore::Restoration;

/// The catalogue in one SQLite file.
///
/// Dropping it releases the lock. Nothing is lost when it is not dropped: commits are durable as [`crate::Catalogue`] says.
pub struct SqliteCatalogue {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    writer: Option<Mutex<Writer>>,
    readers: Mutex<Vec<Connection>>,
    /// The one reader is in a transaction that never ends.
    is_snapshot: bool,
}

struct Writer {
    connection: Connection,
    durability: Option<Durability>,
    loads: HashMap<ScanId, Load>,
    _lock: File,
}

/// What a commit survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Durability {
    /// The end of the process, and a power cut up to some last transactions: for what can be done again.
    Process,
    /// A power cut.
    Power,
}

impl Durability {
    const fn pragma(self) -> &'static str {
        match self {
            Self::Process => "normal",
            Self::Power => "full",
        }
    }
}

/// Brings the write-ahead log into the file, so that what was committed does not hang on the log (which one flipped byte can cut short). The
/// emptied log stays: without it, whoever only reads would have to make one.
impl Drop for SqliteCatalogue {
    fn drop(&mut self) {
        let Some(Ok(writer)) = self.writer.as_mut().map(Mutex::get_mut) else {
            return;
        };
        // A reader that stays open keeps SQLite from removing the log. What fails here is made good by the next open, which replays the log.
        let reader = connection::open_reader(&self.path);
        let _ = writer
            .connection
            .pragma(None, "wal_checkpoint", "truncate", |_| Ok(()));
        let readers = self.readers.get_mut().unwrap_or_else(PoisonError::into_inner);
        readers.extend(reader);
    }
}

impl fmt::Debug for SqliteCatalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteCatalogue")
            .field("path", &self.path)
            .field("writes", &self.writer.is_some())
            .finish_non_exhaustive()
    }
}

impl SqliteCatalogue {
    /// Opens the catalogue at `path` for reading and writing; creates it, or migrates it to the newest schema. Scans that a crashed run
    /// left unsealed are dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] if another process (or another value in this one) has it open for writing, [`Error::Version`] if the file is
    /// no catalogue or of a newer version (it is then not changed), [`Error::Unreachable`] if it cannot be opened.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let lock = connection::lock_for_writing(path)?;
        let mut connection = connection::open_writer(path)?;
        schema::migrate(&mut connection)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        load::drop_all_unsealed(&transaction)?;
        transaction.commit()?;
        let writer = Writer {
            connection,
            durability: None,
            loads: HashMap::new(),
            _lock: lock,
        };
        Ok(Self {
            path: path.to_owned(),
            clock,
            writer: Some(Mutex::new(writer)),
            readers: Mutex::default(),
            is_snapshot: false,
        })
    }

    /// Brings the catalogue at `path` to the newest schema; tells the versions before and after. Every opening for writing does that too.
    ///
    /// # Errors
    ///
    /// As [`SqliteCatalogue::open`]; [`Error::Unreachable`] if there is none.
    pub fn migrate(path: &Path, clock: Arc<dyn Clock>) -> Result<(i64, i64), Error> {
        let found = schema::check_version(&connection::open_reader(path)?)?;
        Self::open(path, clock)?;
        Ok((found, schema::newest_version()))
    }

    /// Opens the catalogue at `path` for queries, also while another process writes to it. Changes nothing; what would, fails with
    /// [`Error::Conflict`].
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if there is none, [`Error::Version`] if it is not of exactly the version that this program writes.
    pub fn open_read_only(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let connection = connection::open_reader(path)?;
        let found = schema::check_version(&connection)?;
        if found != schema::newest_version() {
            return Err(Error::Version {
                found,
                known: schema::newest_version(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            clock,
            writer: None,
            readers: Mutex::new(vec![connection]),
            is_snapshot: false,
        })
    }

    /// As [`SqliteCatalogue::open_read_only`], and all questions are answered from the state of this moment, whatever is written meanwhile. One is
    /// answered at a time. As long as it is open the write-ahead log of a writer only grows.
    ///
    /// # Errors
    ///
    /// As [`SqliteCatalogue::open_read_only`].
    pub fn open_snapshot(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let mut snapshot = Self::open_read_only(path, clock)?;
        for connection in snapshot.readers().iter() {
            connection.execute_batch("BEGIN; SELECT count(*) FROM medium")?;
        }
        snapshot.is_snapshot = true;
        Ok(snapshot)
    }

    fn writer(&self) -> Result<MutexGuard<'_, Writer>, Error> {
        let writer = self.writer.as_ref();
        let writer =
            writer.ok_or_else(|| Error::Conflict("the catalogue is open for reading only".to_owned()))?;
        Ok(writer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `work` in a transaction that writes.
    fn write<T>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut writer = self.writer()?;
        writer.transact(durability, work)
    }

    /// Runs `work` in a transaction that reads, so that all its queries see the same state.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        let mut connection = self.take_reader()?;
        if self.is_snapshot {
            let answer = work(&connection);
            self.readers().push(connection);
            return answer;
        }
        let transaction = connection.transaction()?;
        let answer = work(&transaction);
        drop(transaction);
        self.readers().push(connection);
        answer
    }

    /// A reader that is idle, or a new one: there are never more than queries at the same time.
    fn take_reader(&self) -> Result<Connection, Error> {
        let idle = self.readers().pop();
        if self.is_snapshot {
            return idle
                .ok_or_else(|| Error::Conflict("a snapshot answers one question at a time".to_owned()));
        }
        idle.map_or_else(|| connection::open_reader(&self.path), Ok)
    }

    fn readers(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    fn transact<T>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.durability != Some(durability) {
            self.connection
                .pragma_update(None, "synchronous", durability.pragma())?;
            self.durability = Some(durability);
        }
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let answer = work(&transaction)?;
        transaction.commit()?;
        Ok(answer)
    }
}
