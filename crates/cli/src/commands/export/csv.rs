//! The table as RFC 4180.

use std::io::{self, Write};

use ntt_model::blob::hex;
use ntt_report::export::{COLUMNS, Cell, ExportRow};

use super::Table;

/// Writes the line of column names, then a line for each row.
pub(super) struct Csv {
    out: Box<dyn Write>,
}

impl Csv {
    /// A table without rows has its head all the same.
    pub(super) fn begin(mut out: Box<dyn Write>) -> io::Result<Self> {
        write!(out, "{}\r\n", COLUMNS.map(|column| column.name).join(","))?;
        Ok(Self { out })
    }
}

impl Table for Csv {
    fn put(&mut self, row: &ExportRow) -> io::Result<()> {
        let fields = COLUMNS.map(|column| field((column.cell)(row)));
        write!(self.out, "{}\r\n", fields.join(","))
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.out.flush()
    }
}

/// A field: text that could be taken for something else is quoted; what is not known is empty.
fn field(cell: Option<Cell<'_>>) -> String {
    match cell {
        None => String::new(),
        Some(Cell::Text(text)) => quoted(&text),
        Some(Cell::Bytes(bytes)) => quoted(&hex(bytes)),
        Some(Cell::Unsigned(number)) => number.to_string(),
        Some(Cell::Signed(number)) => number.to_string(),
        Some(Cell::Time(time)) => quoted(&time.to_string()),
        Some(Cell::Flag(flag)) => flag.to_string(),
    }
}

fn quoted(text: &str) -> String {
    if text.is_empty() || text.contains(['"', ',', '\r', '\n', ' ']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let text = |text: &'static str| field(Some(Cell::Text(text.into())));
        assert_eq!(field(None), "");
        assert_eq!(text(""), "\"\"");
        assert_eq!(text("a\"b,c"), "\"a\"\"b,c\"");
        assert_eq!(text("plain.txt"), "plain.txt");
        assert_eq!(field(Some(Cell::Unsigned(7))), "7");
        assert_eq!(field(Some(Cell::Bytes(b"\xff0"))), "ff30");
    }
}
