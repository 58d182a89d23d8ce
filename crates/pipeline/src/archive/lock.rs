//! The lock of an archive: one writing run at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use crate::Error;

/// An exclusive lock on the file `lock`; the system gives it back when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock or says who has it.
    pub(crate) fn take(root: &Path) -> Result<Self, Error> {
        let path = root.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io("opening the lock", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Held {
                    holder: holder(&mut file),
                });
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("locking", &path)(error)),
        }
        sign(&mut file).map_err(Error::io("signing the lock", &path))?;
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

/// Says in the file who holds it; for people only.
fn sign(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.write_all(format!("process {}\n", std::process::id()).as_bytes())
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
        drop(first);
        Lock::take(dir.path()).map(drop)
    }
}
