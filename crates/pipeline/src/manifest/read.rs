//! Reading a manifest back, line by line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::line::{Line, MediumLine, SCHEMA};
use crate::Error;

/// A longer line is damage: nothing that is written comes near it, and no memory is given to it.
const LINE_BYTES_MAX: u64 = 1 << 30;

/// The lines of one manifest.
pub(crate) struct Manifest {
    path: PathBuf,
    input: BufReader<zstd::Decoder<'static, BufReader<File>>>,
    number: u64,
    buffer: Vec<u8>,
    is_ended: bool,
}

impl Manifest {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::io("opening the manifest", path))?;
        let decoder = zstd::Decoder::new(file).map_err(Error::io("opening the manifest", path))?;
        Ok(Self {
            path: path.to_owned(),
            input: BufReader::new(decoder),
            number: 0,
            buffer: Vec::new(),
            is_ended: false,
        })
    }

    /// The first line, which says which medium it is about.
    pub(crate) fn head(&mut self) -> Result<MediumLine, Error> {
        match self.next()? {
            Some(Line::Medium(head)) if (1..=SCHEMA).contains(&head.schema) => Ok(*head),
            Some(Line::Medium(head)) => Err(self.error(format!(
                "it has schema {}; this program knows {SCHEMA}",
                head.schema
            ))),
            _ => Err(self.error("the first line tells of no medium")),
        }
    }

    /// The next line; `None` after the one that ends the manifest.
    pub(crate) fn next(&mut self) -> Result<Option<Line>, Error> {
        self.number += 1;
        self.buffer.clear();
        let mut limited = (&mut self.input).take(LINE_BYTES_MAX);
        let taken = limited.read_until(b'\n', &mut self.buffer);
        taken.map_err(|error| self.error(error.to_string()))?;
        if self.is_ended {
            return match self.buffer.is_empty() {
                true => Ok(None),
                false => Err(self.error("there is more after the last line")),
            };
        }
        if self.buffer.last() != Some(&b'\n') {
            return Err(self.error("the manifest is cut short here"));
        }
        let line: Line =
            serde_json::from_slice(&self.buffer).map_err(|error| self.error(error.to_string()))?;
        if let Line::End { lines } = line {
            self.is_ended = true;
            if lines + 1 != self.number {
                return Err(self.error(format!("{lines} lines were written, {} came", self.number - 1)));
            }
            return self.next();
        }
        Ok(Some(line))
    }

    /// Reads the rest to its end, so that its checksums are compared; the lines are not looked at.
    pub(crate) fn check_rest(&mut self) -> Result<(), Error> {
        match std::io::copy(&mut self.input, &mut std::io::sink()) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.error(error.to_string())),
        }
    }

    /// Lines read so far.
    pub(crate) const fn lines(&self) -> u64 {
        self.number
    }

    /// An error at the line read last.
    pub(crate) fn error(&self, reason: impl Into<String>) -> Error {
        Error::Manifest {
            path: self.path.clone(),
            line: self.number,
            reason: reason.into(),
        }
    }
}
