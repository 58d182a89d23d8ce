//! A catalogue in the making, and what becomes of it when the making ends early.
//!
//! A file is filled beside its place and put there when it is whole, so that the rest of one that was killed passes for nothing, and is in nobody's way. A database has no such
//! place: it is marked while it is filled, and whoever opens it refuses it.

use std::fs::File;
use std::path::{Path, PathBuf};

use ntt_catalogue::Restore;
use ntt_catalogue::postgres::PostgresRestoration;
use ntt_catalogue::sqlite::Restoration;

use crate::{Error, HostPath};

/// The database and what stands beside it while it is open, or after a crash.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// Fills a new file beside `place`; [`put_in_place`] then ends the making. The caller sees to it that no other run makes the same one.
pub(crate) fn fill_beside<T>(
    place: &Path,
    fill: impl FnOnce(Box<dyn Restore>) -> Result<T, Error>,
) -> Result<T, Error> {
    let new = unfinished(place);
    remove(&new)?;
    let filled = Restoration::create(&new)
        .map_err(Error::from)
        .and_then(|restoration| fill(Box::new(restoration)));
    if filled.is_err() {
        // The first error matters more; the next run removes what is left.
        let _ = remove(&new);
    }
    filled
}

/// Gives the file that was filled beside `place` its name, durably.
pub(crate) fn put_in_place(place: &Path) -> Result<(), Error> {
    std::fs::rename(unfinished(place), place).map_err(Error::io("putting in place", place))?;
    let folder = match place.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let synced = File::open(folder).and_then(|directory| directory.sync_all());
    synced.map_err(Error::io("syncing", folder))
}

/// Fills the empty database that `url` names.
pub(crate) fn fill_database<T>(
    url: &str,
    spool_folder: Option<PathBuf>,
    fill: impl FnOnce(Box<dyn Restore>) -> Result<T, Error>,
) -> Result<T, Error> {
    let restoration = PostgresRestoration::create(url, spool_folder)?;
    fill(Box::new(restoration)).map_err(|error| match error {
        // That the same command goes on is not true of this one.
        Error::Interrupted => Error::HalfFilled(None),
        other => Error::HalfFilled(Some(Box::new(other))),
    })
}

/// Moves a database and what belongs to it.
pub(crate) fn set_aside(present: &Path, kept: &Path) -> Result<(), Error> {
    for (from, to) in files(present).into_iter().zip(files(kept)) {
        if from.exists() {
            std::fs::rename(&from, &to).map_err(Error::io("keeping the earlier catalogue", &from))?;
        }
    }
    Ok(())
}

fn remove(database: &Path) -> Result<(), Error> {
    for path in files(database) {
        if path.exists() {
            std::fs::remove_file(&path).map_err(Error::io("removing an unfinished catalogue", &path))?;
        }
    }
    Ok(())
}

fn unfinished(place: &Path) -> PathBuf {
    with_suffix(place, ".new")
}

fn files(database: &Path) -> [PathBuf; 3] {
    SUFFIXES.map(|suffix| with_suffix(database, suffix))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let path = HostPath::from(path).with_suffix(suffix);
    path.as_path().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R38: a process that is killed while it fills a file leaves nothing under the file's name, and the same command then works.
    #[test]
    fn r38_half_a_catalogue_has_no_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("catalogue.db");
        fill_beside(&place, |restoration| {
            std::mem::forget(restoration);
            Ok(())
        })
        .expect("what a killed process did");
        assert!(!place.exists() && unfinished(&place).exists());
        let stopped = fill_beside(&place, |_| Err::<(), _>(Error::Interrupted));
        assert!(stopped.is_err() && !unfinished(&place).exists());
        fill_beside(&place, |restoration| Ok(restoration.finish()?)).expect("a file");
        assert!(!place.exists());
        put_in_place(&place).expect("its name");
        assert!(place.exists());
    }

    /// R38, R44: nobody is told that the same command goes on with a database that has to be dropped first.
    #[test]
    fn r38_half_a_database_is_told() {
        let Some(server) = ntt_testkit::postgres::PostgresServer::start() else {
            return;
        };
        let url = server.create_database("half", None);
        let stopped = fill_database(&url, None, |_| Err::<(), _>(Error::Interrupted));
        let error = stopped.expect_err("it was stopped");
        assert_eq!(error.kind(), crate::ErrorKind::Failed);
        assert_eq!(
            crate::causes(&error),
            ["interrupted: the database is not whole; drop it, make it again, and give the same command"]
        );
        let again = fill_database(&url, None, |restoration| Ok(restoration.finish()?));
        assert!(again.is_err_and(|error| error.to_string().contains("drop the database")));
    }
}
