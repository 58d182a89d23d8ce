//! The locks of an archive: one run that changes it, or any number that only copy into it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use crate::Error;

/// A lock on the file `lock`, alone or with others of its kind; the system gives it back when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock alone or says who has it.
    pub(crate) fn take(root: &Path) -> Result<Self, Error> {
        let own = format!("process {}", std::process::id());
        Self::take_as(root, File::try_lock, &own)
    }

    /// Takes the lock with other copying runs, of this host or another one, or says who has it alone.
    pub(crate) fn share(root: &Path) -> Result<Self, Error> {
        Self::take_as(root, File::try_lock_shared, "copying runs")
    }

    /// Waits for the lock under which manifests are written, so that copying runs that end together do not write one another's.
    pub(crate) fn manifests(root: &Path) -> Result<Self, Error> {
        let path = root.join("lock-manifests");
        let file = open(&path)?;
        file.lock().map_err(Error::io("locking", &path))?;
        Ok(Self { file })
    }

    fn take_as(
        root: &Path,
        lock: impl FnOnce(&File) -> Result<(), TryLockError>,
        own: &str,
    ) -> Result<Self, Error> {
        let path = root.join("lock");
        let mut file = open(&path)?;
        match lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Held {
                    holder: holder(&mut file),
                });
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("locking", &path)(error)),
        }
        sign(&mut file, own).map_err(Error::io("signing the lock", &path))?;
        Ok(Self { file })
    }
}

impl Drop for Lock {
    /// Closing alone would not do: a child that is just being started holds a copy of the descriptor until it executes its program.
    fn drop(&mut self) {
        // The system unlocks at the latest when the process ends.
        let _ = self.file.unlock();
    }
}

fn open(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(Error::io("opening the lock", path))
}

/// Says in the file who holds it; for people only.
fn sign(file: &mut File, own: &str) -> std::io::Result<()> {
    file.set_len(0)?;
    file.write_all(format!("{own}\n").as_bytes())
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    // What cannot be read is simply not told.
    let _ = file.take(200).read_to_string(&mut text);
    ntt_model::name::escape(text.trim().as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_told_who_holds_the_archive() -> Result<(), Error> {
        let dir = tempfile::tempdir().map_err(Error::io("temporary directory", Path::new("")))?;
        let first = Lock::take(dir.path())?;
        match Lock::take(dir.path()) {
            Err(Error::Held { holder }) => assert_eq!(holder, format!("process {}", std::process::id())),
            other => panic!("expected held, got {other:?}"),
        }
        assert!(Lock::share(dir.path()).is_err());
        drop(first);
        let (one, two) = (Lock::share(dir.path())?, Lock::share(dir.path())?);
        match Lock::take(dir.path()) {
            Err(Error::Held { holder }) => assert_eq!(holder, "copying runs"),
            other => panic!("expected held, got {other:?}"),
        }
        drop((one, two));
        Lock::take(dir.path()).map(drop)
    }
}
