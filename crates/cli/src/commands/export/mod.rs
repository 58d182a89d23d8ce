//! `ntt export`.

mod csv;
#[cfg(feature = "parquet")]
mod parquet;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use ntt_model::name::escape;
use ntt_pipeline::{HostPath, Interrupt};
use ntt_report::export::{self, ExportRow};

use crate::args::Global;
use crate::commands::filter::{FilterArgs, tell_unindexed};
use crate::exit::{CommandResult, Exit, Failure, FailureKind};
use crate::interrupt;
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
    let options = args.filter.options(global, archive.catalogue())?;
    let interrupt = Interrupt::from_flag(interrupt::flag()?);
    let output = args.output.as_deref().map(Output::create).transpose()?;
    let out: Box<dyn Write + Send> = match &output {
        Some(output) => Box::new(BufWriter::new(output.file.try_clone()?)),
        None => Box::new(BufWriter::new(std::io::stdout())),
    };
    let index = archive.search();
    let written = table(args.format, out).and_then(|mut table| {
        let visited = export::export(archive.catalogue(), Some(&index), &options, &mut |row| {
            if interrupt.is_raised() {
                return Err(ntt_catalogue::Error::Stopped.into());
            }
            Ok(table.put(row)?)
        });
        interrupt.check()?;
        let unindexed = visited?;
        table.finish()?;
        Ok(unindexed)
    });
    let unindexed = match output {
        Some(output) => output.settle(written)?,
        None => written?,
    };
    tell_unindexed(global, &unindexed);
    Ok(Exit::Done)
}

/// A file that gets its name only when it is whole: half a table would pass for a whole one, and be in the way of the next try.
struct Output {
    file: File,
    unfinished: PathBuf,
    path: PathBuf,
}

impl Output {
    /// Begins the file that is to be at `path`, where nothing may be. What a run left beside it that was killed is written over.
    fn create(path: &Path) -> Result<Self, Failure> {
        let unfinished = HostPath::from(path)
            .with_suffix(".unfinished")
            .as_path()
            .to_owned();
        if path.symlink_metadata().is_ok() {
            return Err(Self::failure(path, &io::ErrorKind::AlreadyExists.into()));
        }
        let failure = |error: io::Error| Self::failure(&unfinished, &error);
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&unfinished);
        let file = file.map_err(failure)?;
        if file.try_lock().is_err() {
            return Err(Self::failure(&unfinished, &io::ErrorKind::ResourceBusy.into()));
        }
        file.set_len(0).map_err(failure)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            unfinished,
        })
    }

    fn settle<T>(self, written: Result<T, Failure>) -> Result<T, Failure> {
        let named = written.and_then(|written| {
            let renamed = std::fs::rename(&self.unfinished, &self.path);
            renamed.map_err(|error| Self::failure(&self.path, &error))?;
            Ok(written)
        });
        if named.is_err() {
            // What ended the table matters more.
            let _ = std::fs::remove_file(&self.unfinished);
        }
        named
    }

    fn failure(path: &Path, error: &io::Error) -> Failure {
        let kind = match error.kind() {
            io::ErrorKind::AlreadyExists => FailureKind::Usage,
            _ => FailureKind::Failed,
        };
        Failure::new(kind, format!("{}: {error}", escape(path.as_os_str().as_bytes())))
    }
}

fn table(format: Format, out: Box<dyn Write + Send>) -> Result<Box<dyn Table>, Failure> {
    Ok(match format {
        Format::Csv => Box::new(csv::Csv::begin(out)?),
        Format::Jsonl => Box::new(Lines(out)),
        #[cfg(feature = "parquet")]
        Format::Parquet => Box::new(parquet::Parquet::begin(out)?),
    })
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
