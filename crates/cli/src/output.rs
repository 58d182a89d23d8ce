//! Stdout: tables and names for people, raw names with `-0`, JSON for programs.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use ntt_model::name::{escape, harmless};
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
    /// Not locked: while a run lasts, its threads tell their progress on stdout too.
    out: BufWriter<Stdout>,
    json: bool,
    flush_lines: bool,
}

impl Output {
    /// Stdout in the form that the arguments ask for.
    pub(crate) fn new(global: &Global) -> Self {
        let stdout = io::stdout();
        let flush_lines = stdout.is_terminal();
        Self {
            out: BufWriter::new(stdout),
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

    /// One line of text. Whatever of a medium got into it, no terminal obeys it (R23).
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        let text = harmless(text.as_ref().trim_end());
        self.out.write_all(text.as_bytes())?;
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

    /// A table: columns as wide as their widest cell, numbers to the right, the last column as it is.
    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
        let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
        let columns: Vec<Column> = (0..head.len()).map(|at| Column::new(&head, rows, at)).collect();
        for row in std::iter::once(&head).chain(rows) {
            let cells = row.iter().zip(&columns).map(|(cell, column)| column.pad(cell));
            self.line(cells.collect::<Vec<_>>().join("  "))?;
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

/// A line on stderr, as harmless as those on stdout. Nobody can be told when it is gone.
pub(crate) fn tell(text: &str) {
    // At once: a line of one process is not torn apart by another's.
    let _ = io::stderr().write_all(format!("{}\n", harmless(text)).as_bytes());
}

/// How a column of a table is set.
struct Column {
    width: usize,
    to_the_right: bool,
}

impl Column {
    fn new(head: &[String], rows: &[Vec<String>], at: usize) -> Self {
        let cells = || rows.iter().filter_map(|row| row.get(at));
        let title = head.get(at).map_or(0, |cell| cell.chars().count());
        let width = cells().map(|cell| cell.chars().count()).fold(title, usize::max);
        let is_last = at + 1 == head.len();
        Self {
            width,
            to_the_right: !is_last && !rows.is_empty() && cells().all(|cell| is_quantity(cell)),
        }
    }

    fn pad(&self, cell: &str) -> String {
        let width = self.width;
        if self.to_the_right {
            format!("{cell:>width$}")
        } else {
            format!("{cell:<width$}")
        }
    }
}

/// `12`, `1,234`, `4.2 KiB`, `850 ms`, `3 h 12 min`.
fn is_quantity(cell: &str) -> bool {
    const UNITS: [&str; 11] = [
        "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ms", "s", "min", "h",
    ];
    cell.starts_with(|first: char| first.is_ascii_digit())
        && cell.split(' ').all(|part| {
            UNITS.contains(&part) || part.chars().all(|letter| matches!(letter, '0'..='9' | ',' | '.'))
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_told_from_names() {
        for cell in ["0", "1,234", "4.2 KiB", "4 min 5 s"] {
            assert!(is_quantity(cell), "{cell}");
        }
        for cell in ["", "-", "2003-04-05 06:07:08", "3 floppies", "9467e667c264"] {
            assert!(!is_quantity(cell), "{cell}");
        }
    }
}
