//! Stdout: tables and names for people, raw names with `-0`, JSON for programs.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use ntt_model::name::escape;
use serde::Serialize;
use serde_json::Value;

use crate::args::Global;

/// Version of the JSON that all commands print. Fields are added, never changed or removed, under one version.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// How names go to stdout when it is not JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Names {
    /// Escaped, one line each: on a terminal, and elsewhere unless `-0` is given.
    Escaped,
    /// Raw bytes, each ended by a NUL.
    Null,
}

/// Stdout with the choice of form made.
pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
    flush_lines: bool,
}

impl Output {
    /// Stdout in the form that the arguments ask for.
    pub(crate) fn new(global: &Global) -> Self {
        let stdout = io::stdout();
        let flush_lines = stdout.is_terminal();
        Self {
            out: BufWriter::new(stdout.lock()),
            json: global.json,
            flush_lines,
        }
    }

    /// Whether JSON was asked for.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// One JSON document for a whole answer: `{"schema_version": 1, "message_type": ..., ...value}`.
    pub(crate) fn document(&mut self, message_type: &str, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.out, &envelope(message_type, value)?)?;
        writeln!(self.out)?;
        self.out.flush()
    }

    /// One JSON line of many.
    pub(crate) fn json_line(&mut self, message_type: &str, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, &envelope(message_type, value)?)?;
        self.end_line(b'\n')
    }

    /// One line of text.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        self.out.write_all(text.as_ref().trim_end().as_bytes())?;
        self.end_line(b'\n')
    }

    /// A name or path on a line of its own.
    pub(crate) fn name(&mut self, names: Names, bytes: &[u8]) -> io::Result<()> {
        match names {
            Names::Escaped => {
                self.out.write_all(escape(bytes).as_bytes())?;
                self.end_line(b'\n')
            }
            Names::Null => {
                self.out.write_all(bytes)?;
                self.end_line(0)
            }
        }
    }

    /// A table: columns as wide as their widest cell, the last one as it is.
    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
        let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
        for row in std::iter::once(&head).chain(rows) {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| pad(cell, *width))
                .collect();
            self.line(cells.join("  "))?;
        }
        self.out.flush()
    }

    /// The raw stream, for content.
    pub(crate) fn raw(&mut self) -> &mut impl Write {
        &mut self.out
    }

    /// Hands everything to the system.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn end_line(&mut self, end: u8) -> io::Result<()> {
        self.out.write_all(&[end])?;
        if self.flush_lines {
            self.out.flush()
        } else {
            Ok(())
        }
    }
}

/// Numbers to the right, text to the left.
fn pad(cell: &str, width: usize) -> String {
    let is_number = cell.starts_with(|first: char| first.is_ascii_digit())
        && cell.ends_with(|last: char| last.is_ascii_digit() || last == 'B')
        && !cell.contains(['-', '/', ':']);
    if is_number {
        format!("{cell:>width$}")
    } else {
        format!("{cell:<width$}")
    }
}

/// Adds version and type to a value; a value that is no object goes under `value`.
fn envelope(message_type: &str, value: &impl Serialize) -> io::Result<Value> {
    let mut object = serde_json::Map::new();
    object.insert("schema_version".to_owned(), SCHEMA_VERSION.into());
    object.insert("message_type".to_owned(), message_type.into());
    match serde_json::to_value(value)? {
        Value::Object(fields) => object.extend(fields),
        other => {
            object.insert("value".to_owned(), other);
        }
    }
    Ok(Value::Object(object))
}
