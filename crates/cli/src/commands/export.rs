//! `ntt export`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ntt_report::export::{self, ExportRow};
use serde_json::Value;

use crate::args::Global;
use crate::commands::filter::{FilterArgs, tell_unindexed};
use crate::exit::{CommandResult, Exit, Failure};
use crate::session;

/// Write paths with all that is known of them as a table for other programs: DuckDB, Spark, Trino, a spreadsheet.
///
/// Without conditions it is every path of every medium. Rows come one at a time and are never held, however many they are.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Form of the table.
    #[arg(long, short, value_enum, default_value_t = Format::Csv)]
    format: Format,
    /// Write to this file, which must not exist, instead of stdout.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// RFC 4180, with a line of column names.
    Csv,
    /// A JSON object a line.
    Jsonl,
}

pub(crate) fn run(global: &Global, args: &ExportArgs) -> CommandResult {
    let archive = session::look(global)?;
    let options = args.filter.options(archive.catalogue())?;
    let mut table = Table {
        out: open(args)?,
        format: args.format,
        has_head: false,
    };
    let index = archive.search();
    let unindexed = export::export(archive.catalogue(), Some(&index), &options, &mut |row| {
        Ok(table.put(row)?)
    })?;
    table.finish()?;
    tell_unindexed(global, &unindexed);
    Ok(Exit::Done)
}

fn open(args: &ExportArgs) -> Result<Box<dyn Write>, Failure> {
    let Some(path) = &args.output else {
        return Ok(Box::new(BufWriter::new(std::io::stdout())));
    };
    let file =
        File::create_new(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    Ok(Box::new(BufWriter::new(file)))
}

/// The columns, in order: the fields of a row.
const COLUMNS: [&str; 20] = [
    "medium",
    "medium_name",
    "volume",
    "reader",
    "ordinal",
    "path",
    "path_bytes",
    "inode",
    "kind",
    "namespace",
    "alternate",
    "allocation",
    "size_bytes",
    "modified",
    "modified_ns",
    "state",
    "blob",
    "missing_bytes",
    "failure",
    "rule",
];

struct Table {
    out: Box<dyn Write>,
    format: Format,
    has_head: bool,
}

impl Table {
    fn put(&mut self, row: &ExportRow) -> std::io::Result<()> {
        match self.format {
            Format::Jsonl => {
                serde_json::to_writer(&mut self.out, row)?;
                self.out.write_all(b"\n")
            }
            Format::Csv => {
                self.put_head()?;
                let row = serde_json::to_value(row)?;
                let fields = COLUMNS.map(|column| field(&row[column]));
                write!(self.out, "{}\r\n", fields.join(","))
            }
        }
    }

    fn put_head(&mut self) -> std::io::Result<()> {
        if self.has_head {
            return Ok(());
        }
        self.has_head = true;
        write!(self.out, "{}\r\n", COLUMNS.join(","))
    }

    /// A table without rows has its head all the same.
    fn finish(&mut self) -> std::io::Result<()> {
        if self.format == Format::Csv {
            self.put_head()?;
        }
        self.out.flush()
    }
}

/// A field of RFC 4180: text that could be taken for something else is quoted; what is not known is empty.
fn field(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.is_empty() || text.contains(['"', ',', '\r', '\n', ' ']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(field(&Value::Null), "");
        assert_eq!(field(&Value::from("")), "\"\"");
        assert_eq!(field(&Value::from("a\"b,c")), "\"a\"\"b,c\"");
        assert_eq!(field(&Value::from(7)), "7");
        assert_eq!(field(&Value::from("plain.txt")), "plain.txt");
    }
}
