//! Opening connections, the lock that keeps a second writer out, and what errors of SQLite mean.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::Error;

/// Statements kept prepared on each connection.
const STATEMENTS: usize = 64;
/// Page size: bigger than the default, since nearly all tables are written and read in order.
const PAGE_BYTES: i64 = 8192;
/// Page cache of the writer in KiB (negative: SQLite's notation for KiB).
const WRITER_CACHE: i64 = -65_536;
/// Pages of the write-ahead log after which it is brought into the file: the indexes by digest are written all over, and a page that
/// many transactions change is copied once.
const CHECKPOINT_PAGES: i64 = 8192;
/// Page cache of each reader.
const READER_CACHE: i64 = -16_384;

/// How connections that read are opened.
const READING: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Held,
            Some(
                ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::CannotOpen,
            ) => Self::Storage(Box::new(error)),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error.to_string()),
            Some(ErrorCode::ConstraintViolation) => Self::Conflict(error.to_string()),
            None if is_of_a_value(&error) => Self::Damaged(error.to_string()),
            _ => Self::Database(Box::new(error)),
        }
    }
}

/// Whether a row holds what no row can hold that this program wrote.
fn is_of_a_value(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as Cause;
    matches!(
        error,
        Cause::FromSqlConversionFailure(..)
            | Cause::IntegralValueOutOfRange(..)
            | Cause::Utf8Error(..)
            | Cause::InvalidColumnType(..)
            | Cause::QueryReturnedNoRows
    )
}

/// A file that is no sound database is damaged, and all else is out of reach.
fn not_opened(path: &Path, error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        // SQLite opens a directory, and then tells of a fault of the disk.
        _ if path.is_dir() => unreachable(path, "it is a directory"),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::from(error),
        _ => unreachable(path, error),
    }
}

fn unreachable(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Unreachable {
        place: path.display().to_string(),
        source: source.into(),
    }
}

/// Takes the lock of the catalogue at `path` for this process; it falls with the file handle, also after kill -9.
///
/// A lock of its own, since SQLite's are held for the length of a transaction only. Whoever makes the file that is to be there takes it too.
///
/// # Errors
///
/// [`Error::Held`] if another process, or another handle of this one, has it; [`Error::Unreachable`] if there is no place for it.
pub fn lock_for_writing(path: &Path) -> Result<File, Error> {
    let mut name = OsString::from(path);
    name.push("-lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(PathBuf::from(name))
        .map_err(|error| unreachable(path, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::Held),
        Err(TryLockError::Error(error)) => Err(unreachable(path, error)),
    }
}

/// Opens the connection that writes; creates the file if there is none.
pub(super) fn open_writer(path: &Path) -> Result<Connection, Error> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| not_opened(path, error))?;
    super::schema::check_version(&connection)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "cache_size", WRITER_CACHE)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "file")?;
    keep_statements(&connection)?;
    Ok(connection)
}

/// Opens a connection that reads beside the writer.
///
/// Where the file and its directory cannot be written to (an archive on read-only media), the shared-memory file of the write-ahead log
/// cannot be made; the file is then opened as one that nobody changes. So it is on a full disk, if the log holds nothing.
pub(super) fn open_reader(path: &Path) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(path, READING)
        .and_then(probe)
        .or_else(|error| match error.sqlite_error_code() {
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) if path.exists() => open_immutable(path),
            Some(ErrorCode::SystemIoFailure | ErrorCode::DiskFull) if has_empty_log(path) => {
                open_immutable(path)
            }
            _ => Err(error),
        })
        .map_err(|error| not_opened(path, error))?;
    connection.pragma_update(None, "cache_size", READER_CACHE)?;
    keep_statements(&connection)?;
    Ok(connection)
}

fn open_immutable(path: &Path) -> rusqlite::Result<Connection> {
    let flags = READING | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(immutable_uri(path), flags).and_then(probe)
}

/// Whether all that was committed is in the file itself.
fn has_empty_log(path: &Path) -> bool {
    let mut name = OsString::from(path);
    name.push("-wal");
    match std::fs::metadata(name) {
        Ok(log) => log.len() == 0,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Keeps statements prepared, and their plans whatever is bound to them: without this guarantee SQLite plans a search by inode anew for
/// every number, because the partial indexes make it look at the value.
fn keep_statements(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn probe(connection: Connection) -> rusqlite::Result<Connection> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

fn immutable_uri(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri + "?immutable=1"
}

impl From<rusqlite::types::FromSqlError> for Error {
    fn from(error: rusqlite::types::FromSqlError) -> Self {
        Self::Damaged(error.to_string())
    }
}
