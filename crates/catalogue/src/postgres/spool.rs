//! Rows that wait for the transaction that loads them: in memory, and in an unnamed temporary file when they become many.
//!
//! A scan may take hours and the transaction that loads it must not: it would hold back the cleaning of every table.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use super::wire::Rows;
use crate::Error;

/// Rows of one table are kept in memory up to this many bytes.
const MEMORY_BYTES: usize = 4 << 20;
/// The file is read in pieces of this size.
const PIECE_BYTES: usize = 1 << 18;

/// Encoded rows of one table.
#[derive(Debug, Default)]
pub(super) struct Spool {
    folder: Option<PathBuf>,
    memory: Vec<u8>,
    file: Option<File>,
    rows: u64,
}

fn failed(error: std::io::Error) -> Error {
    Error::Storage(Box::new(error))
}

impl Spool {
    /// An empty spool whose file, if it needs one, lies in `folder` (the system's folder for temporary files if `None`).
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self {
            folder,
            ..Self::default()
        }
    }

    /// Adds rows.
    pub(super) fn append(&mut self, rows: &Rows) -> Result<(), Error> {
        if self.memory.len() + rows.bytes().len() > MEMORY_BYTES {
            self.spill().map_err(failed)?;
        }
        self.memory.extend_from_slice(rows.bytes());
        self.rows += rows.count();
        Ok(())
    }

    fn spill(&mut self) -> std::io::Result<()> {
        if self.file.is_none() {
            self.file = Some(match &self.folder {
                Some(folder) => tempfile::tempfile_in(folder)?,
                None => tempfile::tempfile()?,
            });
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.memory)?;
            self.memory.clear();
        }
        Ok(())
    }

    /// How many rows.
    pub(super) const fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes all rows to `out`; may be repeated.
    pub(super) fn replay(&mut self, out: &mut dyn Write) -> std::io::Result<()> {
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(0))?;
            let mut piece = vec![0; PIECE_BYTES];
            loop {
                let read = file.read(&mut piece)?;
                let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else {
                    break;
                };
                out.write_all(bytes)?;
            }
        }
        self.memory
            .chunks(PIECE_BYTES)
            .try_for_each(|piece| out.write_all(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_appended_is_replayed_twice_in_order_from_memory_and_file() {
        let mut spool = Spool::new(None);
        let mut wanted = Vec::new();
        for number in 0..40_i64 {
            let mut rows = Rows::default();
            rows.row(1).field(&[u8::try_from(number).unwrap(); 300_000]);
            spool.append(&rows).unwrap();
            wanted.extend_from_slice(rows.bytes());
        }
        assert!(spool.file.is_some());
        for _ in 0..2 {
            let mut replayed = Vec::new();
            spool.replay(&mut replayed).unwrap();
            assert!(replayed == wanted);
        }
        assert_eq!(spool.rows(), 40);
    }
}
