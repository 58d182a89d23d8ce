//! `ntt export`.

mod csv;
#[cfg(feature = "parquet")]
mod parquet;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ntt_model::name::escape;
use ntt_report::export::{self, ExportRow};

use crate::args::Global;
use crate::commands::filter::{FilterArgs, tell_unindexed};
use crate::exit::{CommandResult, Exit, Failure, FailureKind};
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
    /// Apache Parquet, packed by zstd.
    #[cfg(feature = "parquet")]
    Parquet,
}

pub(crate) fn run(global: &Global, args: &ExportArgs) -> CommandResult {
    let archive = session::look(global)?;
    let options = args.filter.options(archive.catalogue())?;
    let out = open(args)?;
    let index = archive.search();
    let written = table(args.format, out).and_then(|mut table| {
        let unindexed = export::export(archive.catalogue(), Some(&index), &options, &mut |row| {
            Ok(table.put(row)?)
        })?;
        table.finish()?;
        Ok(unindexed)
    });
    if let (Err(_), Some(path)) = (&written, &args.output) {
        // It was made here. Half a table would pass for a whole one, and be in the way of the next try.
        let _ = std::fs::remove_file(path);
    }
    tell_unindexed(global, &written?);
    Ok(Exit::Done)
}

fn table(format: Format, out: Box<dyn Write + Send>) -> Result<Box<dyn Table>, Failure> {
    Ok(match format {
        Format::Csv => Box::new(csv::Csv::begin(out)?),
        Format::Jsonl => Box::new(Lines(out)),
        #[cfg(feature = "parquet")]
        Format::Parquet => Box::new(parquet::Parquet::begin(out)?),
    })
}

fn open(args: &ExportArgs) -> Result<Box<dyn Write + Send>, Failure> {
    let Some(path) = &args.output else {
        return Ok(Box::new(BufWriter::new(std::io::stdout())));
    };
    let file = File::create_new(path).map_err(|error| {
        let kind = match error.kind() {
            io::ErrorKind::AlreadyExists => FailureKind::Usage,
            _ => FailureKind::Failed,
        };
        Failure::new(kind, format!("{}: {error}", escape(path.as_os_str().as_bytes())))
    })?;
    Ok(Box::new(BufWriter::new(file)))
}

/// Takes rows one after the other.
trait Table {
    /// Adds a row.
    fn put(&mut self, row: &ExportRow) -> io::Result<()>;
    /// Ends the table: without this a file is not whole.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// A JSON object a line.
struct Lines(Box<dyn Write>);

impl Table for Lines {
    fn put(&mut self, row: &ExportRow) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, row)?;
        self.0.write_all(b"\n")
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.0.flush()
    }
}
