//! The catalogue in a PostgreSQL server: one for many workers on many hosts.
//!
//! Shaped like the embedded one: leaf tables per scan, chunks that hold their members, states that are derived. What differs follows from
//! several processes that write at once: a scan is loaded by one transaction at its seal, only the server's clock counts, rows are guarded by
//! row locks and epochs, and every transaction may be run again when it met another one. `docs/design/catalogue.md` describes tables and columns.
//!
//! Every method takes a connection from a small pool for one transaction. Nothing that is needed in a session outlives a transaction, so that a pooler may
//! stand between.

mod answer;
mod blob;
mod blob_id;
mod census;
mod check;
mod claim;
mod common_name;
mod complete;
mod connection;
mod digest_map;
mod export;
mod find;
mod inodes;
mod kept;
mod label;
mod load;
mod media;
mod owner;
mod paths;
mod place;
mod queue;
mod reopen;
mod restore;
mod result;
mod schema;
mod seal;
mod spool;
mod state;
#[cfg(test)]
mod tests;
mod tls;
mod trait_impl;
mod value;
mod wire;
mod worker;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ntt_host::Clock;
use ntt_model::{ScanId, WorkerId};

use crate::Error;
use claim::{Before, Claim, Claimed, Look};
use connection::{Connection, Moment, TimeSource, is_transient};
use load::Load;
use place::Place;
pub use restore::PostgresRestoration;

/// Idle connections that are kept.
const IDLE_CONNECTIONS: usize = 16;
/// A worker that claims looks this often whether others died; its own life is renewed with it.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// A transaction that meets others is run again this often.
const MOST_ATTEMPTS: u32 = 12;

/// The catalogue in a PostgreSQL database.
pub struct PostgresCatalogue {
    place: Arc<Place>,
    time: TimeSource,
    is_read_only: bool,
    spool_folder: Option<PathBuf>,
    idle: Mutex<Vec<Connection>>,
    /// The one connection is in a transaction that never ends.
    is_snapshot: bool,
    loads: Mutex<HashMap<ScanId, Load>>,
    /// What the last claim told, by scan.
    leased: Mutex<HashMap<ScanId, Before>>,
    /// When workers looked last whether others died.
    looked: Mutex<HashMap<WorkerId, Moment>>,
    /// Scans of which chunks were leased here.
    worked: Mutex<BTreeSet<ScanId>>,
}

impl fmt::Debug for PostgresCatalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresCatalogue")
            .field("place", &self.place)
            .field("writes", &!self.is_read_only)
            .finish_non_exhaustive()
    }
}

/// What a commit survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Durability {
    /// The end of the process, but perhaps not of the server: for what can be done again.
    Process,
    /// The end of the server, as far as it is set up to.
    Power,
}

/// What a reading transaction begins with: all its queries see the same state, and cursors are read to their end.
const BEGIN_READING: &str =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL cursor_tuple_fraction = 1";

impl Durability {
    /// What a short transaction that writes begins with. The server ends one whose client falls silent in its middle as soon as a lease would end:
    /// it holds locks that others wait for, or chunks that they pass over.
    const fn begin(self) -> &'static str {
        match self {
            Self::Process => {
                "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '60s'; SET LOCAL synchronous_commit = off"
            }
            Self::Power => "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '60s'",
        }
    }
}

/// Whether a word names a catalogue in a PostgreSQL server, and not a file.
pub fn is_url(word: &str) -> bool {
    word.starts_with("postgres://") || word.starts_with("postgresql://")
}

/// Creates the catalogue in the database that `url` names, or brings it to the newest schema; tells the version before (0 for an empty database)
/// and now.
///
/// # Errors
///
/// [`Error::Version`] if the database holds something else, or a newer catalogue; else what the server says.
pub fn init(url: &str) -> Result<(i64, i64), Error> {
    let connection = Connection::open(&Arc::new(Place::of(url)?), &TimeSource::Server)?;
    schema::migrate(&connection)
}

impl PostgresCatalogue {
    /// Opens the catalogue that `url` names for reading and writing, beside any number of others. `spool_folder` takes temporary files while a
    /// scan is loaded (the system's folder if `None`).
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if the server is down, refuses or is too old, [`Error::Missing`] if the database is empty, [`Error::Version`]
    /// unless the schema is exactly the one that this program knows (R31), [`Error::Storage`] if the server takes no changes.
    pub fn open(url: &str, spool_folder: Option<PathBuf>) -> Result<Self, Error> {
        Self::open_with(url, TimeSource::Server, false, spool_folder)
    }

    /// As [`PostgresCatalogue::open`], for questions only; what would change something fails with [`Error::Conflict`].
    ///
    /// # Errors
    ///
    /// As [`PostgresCatalogue::open`].
    pub fn open_read_only(url: &str) -> Result<Self, Error> {
        Self::open_with(url, TimeSource::Server, true, None)
    }

    /// As [`PostgresCatalogue::open_read_only`], and all questions are answered from the state of this moment, whatever is written meanwhile. One is
    /// answered at a time, and the first one that fails ends it.
    ///
    /// # Errors
    ///
    /// As [`PostgresCatalogue::open`].
    pub fn open_snapshot(url: &str) -> Result<Self, Error> {
        let mut snapshot = Self::open_read_only(url)?;
        let connection = snapshot.connection()?;
        connection.batch(BEGIN_READING)?;
        // The first statement settles what is seen. Between two of them a server may not lose patience.
        connection.batch("SET LOCAL idle_in_transaction_session_timeout = 0; SELECT count(*) FROM medium")?;
        snapshot.give_back(connection);
        snapshot.is_snapshot = true;
        Ok(snapshot)
    }

    /// As [`PostgresCatalogue::open`], with a clock of one's own; for tests.
    ///
    /// # Errors
    ///
    /// As [`PostgresCatalogue::open`].
    pub fn open_with_clock(url: &str, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        Self::open_with(url, TimeSource::Given(clock), false, None)
    }

    fn open_with(
        url: &str,
        time: TimeSource,
        is_read_only: bool,
        spool_folder: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let place = Arc::new(Place::of(url)?);
        let connection = Connection::open(&place, &time)?;
        schema::check(&connection, &place)?;
        if !is_read_only {
            schema::check_writable(&connection)?;
        }
        Ok(Self {
            place,
            time,
            is_read_only,
            spool_folder,
            idle: Mutex::new(vec![connection]),
            is_snapshot: false,
            loads: Mutex::default(),
            leased: Mutex::default(),
            looked: Mutex::default(),
            worked: Mutex::default(),
        })
    }

    /// Runs `work` in a transaction that writes, again if it met another one: at any isolation level (40001, 40P01).
    fn write<T>(
        &self,
        durability: Durability,
        work: impl Fn(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.write_with(durability.begin(), work)
    }

    fn write_with<T>(
        &self,
        begin: &str,
        mut work: impl FnMut(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.is_read_only {
            return Err(Error::Conflict(
                "the catalogue is open for reading only".to_owned(),
            ));
        }
        let mut attempt = 0;
        loop {
            let result = self.transact(begin, &mut work);
            attempt += 1;
            match result {
                Err(error) if is_transient(&error) && attempt < MOST_ATTEMPTS => pause(attempt),
                result => return result,
            }
        }
    }

    /// Runs `work` in a transaction that reads.
    fn read<T>(&self, mut work: impl FnMut(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        if self.is_snapshot {
            return self.in_snapshot(&mut work);
        }
        self.transact(BEGIN_READING, work)
    }

    fn transact<T>(
        &self,
        begin: &str,
        work: impl FnMut(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut connection = self.connection()?;
        // A connection that was idle while the server restarted fails at the first statement, when nothing is done yet.
        match connection.batch(begin) {
            Err(Error::Unreachable { .. }) => {
                connection = Connection::open(&self.place, &self.time)?;
                connection.batch(begin)?;
            }
            begun => begun?,
        }
        let result = connection.commit_after(work);
        self.give_back(connection);
        result
    }

    /// Runs statements that are transactions by themselves and may be run again: a lease, a heartbeat, or questions about rows that do not change
    /// together. Three round trips less than a transaction of their own.
    fn at_once<T>(&self, work: impl Fn(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        if self.is_snapshot {
            return self.in_snapshot(work);
        }
        let mut attempt = 0;
        loop {
            let connection = self.connection()?;
            let result = work(&connection);
            self.give_back(connection);
            attempt += 1;
            match result {
                Err(Error::Unreachable { .. }) if attempt == 1 => {}
                Err(error) if is_transient(&error) && attempt < MOST_ATTEMPTS => pause(attempt),
                result => return result,
            }
        }
    }

    /// Runs `work` in the transaction of a snapshot.
    fn in_snapshot<T>(&self, mut work: impl FnMut(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        // Another connection would see another state.
        let connection = self.idle().pop();
        let connection = connection
            .ok_or_else(|| Error::Conflict("a snapshot answers one question at a time".to_owned()))?;
        let result = work(&connection);
        self.give_back(connection);
        result
    }

    /// Leases a chunk: first behind the last one that was leased here, then anywhere.
    fn lease(&self, scan: ScanId, worker: WorkerId) -> Result<Option<Claimed>, Error> {
        let before = self.leased().get(&scan).cloned();
        let mut look = match &before {
            Some(before) if self.looked_lately(worker) => {
                if let Some(claimed) = self.lease_next(scan, worker, before)? {
                    return Ok(Some(self.leasing(scan, claimed)));
                }
                Look::Everywhere
            }
            Some(before) => Look::Behind(before.seq),
            None => Look::Everywhere,
        };
        loop {
            let claim = self.at_once(|connection| claim::claim(connection, scan, worker, look))?;
            self.looked().insert(worker, Moment::now(&self.time));
            match claim {
                Claim::Sweep => {
                    self.write(Durability::Process, worker::sweep)?;
                }
                // Nothing is free: what the sweep of another worker passed over may be.
                Claim::Nothing if look == Look::Everywhere => {
                    if self.write(Durability::Process, worker::sweep)? == 0 {
                        return Ok(None);
                    }
                }
                Claim::Nothing => {
                    self.leased().remove(&scan);
                    look = Look::Everywhere;
                }
                Claim::Leased(claimed) => return Ok(Some(self.leasing(scan, claimed))),
            }
        }
    }

    /// As [`PostgresCatalogue::lease`], without a look at the other workers.
    fn lease_next(&self, scan: ScanId, worker: WorkerId, before: &Before) -> Result<Option<Claimed>, Error> {
        for look in [Look::Behind(before.seq), Look::Everywhere] {
            let next = |connection: &_| claim::claim_next(connection, scan, worker, look, &before.reader);
            if let Some(claimed) = self.at_once(next)? {
                return Ok(Some(claimed));
            }
        }
        Ok(None)
    }

    /// Remembers a lease: for the next claim, and for the end of the work on the scan.
    fn leasing(&self, scan: ScanId, claimed: Claimed) -> Claimed {
        let before = Before {
            seq: claimed.seq,
            reader: claimed.reader.clone(),
        };
        self.leased().insert(scan, before);
        self.worked().insert(scan);
        claimed
    }

    fn looked_lately(&self, worker: WorkerId) -> bool {
        let looked = self.looked().get(&worker).copied();
        looked.is_some_and(|moment| moment.is_within(LOOK_AFTER, &self.time))
    }

    /// Gives the results of scans that were worked off here an index by content, once nothing of them waits: it costs a tenth to build it then of what it
    /// costs to keep it meanwhile. Until there is one, a search for a content reads the results.
    fn index_results(&self) -> Result<(), Error> {
        let scans = std::mem::take(&mut *self.worked());
        for scan in scans {
            let is_done = self.at_once(|connection| queue::is_worked_off(connection, scan))?;
            if is_done {
                self.write_with(schema::BEGIN_INDEX, |connection| {
                    // Workers end together: the first builds it, the others wait and find it.
                    queue::hold(connection, scan)?;
                    schema::index_results(connection, scan)
                })?;
            }
        }
        Ok(())
    }

    fn worked(&self) -> MutexGuard<'_, BTreeSet<ScanId>> {
        self.worked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leased(&self) -> MutexGuard<'_, HashMap<ScanId, Before>> {
        self.leased.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn looked(&self) -> MutexGuard<'_, HashMap<WorkerId, Moment>> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle connection, or a new one.
    fn connection(&self) -> Result<Connection, Error> {
        let idle = self.idle().pop();
        match idle.filter(Connection::is_open) {
            Some(connection) => Ok(connection),
            None => Connection::open(&self.place, &self.time),
        }
    }

    fn give_back(&self, connection: Connection) {
        let mut idle = self.idle();
        if connection.is_open() && idle.len() < IDLE_CONNECTIONS {
            idle.push(connection);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn loads(&self) -> MutexGuard<'_, HashMap<ScanId, Load>> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits before a transaction is run again, longer each time, and not as long as others that met it.
fn pause(attempt: u32) {
    static WAITS: AtomicU32 = AtomicU32::new(0);
    // Other processes, and other threads of this one.
    let mixed = std::process::id().wrapping_add(WAITS.fetch_add(1, Ordering::Relaxed));
    let spread = u64::from(mixed.wrapping_mul(0x9e37_79b9) >> 24);
    let millis = (1_u64 << attempt.min(8)) + spread % (1 << attempt.min(6));
    std::thread::sleep(Duration::from_millis(millis));
}
