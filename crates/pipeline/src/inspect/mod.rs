//! Which volumes does a source hold?
//!
//! Looking happens in the scan child. What it found is recorded once per medium: a finding per defect, and a volume per partition, whatever its
//! verdict (R14). A volume whose bytes the archive has from another container is recorded as a copy of that one and not scanned again (R3).

mod directory;
mod record;

use std::path::Path;

use ntt_inspect::layer::LayerTree;
use ntt_inspect::supervisor::{Budgets, Supervisor};
use ntt_source::FileSource;

pub(crate) use directory::{DIRECTORY, mount_point, mounted};
pub(crate) use record::record;

use crate::identify::{Source, SourceKind};
use crate::{Config, Error, Interrupt};

/// The layers of an image, or `None` for a directory, which has none. Runs in the scan child and writes nothing.
///
/// # Errors
///
/// [`Error::Source`] if the image cannot be opened, [`Error::Scan`] when the child cannot be started or dies.
pub fn plan(
    source: &Source,
    config: &Config,
    scan_program: &Path,
    interrupt: &Interrupt,
) -> Result<Option<LayerTree>, Error> {
    if source.kind == SourceKind::Directory {
        return Ok(None);
    }
    let file = open(source)?;
    supervisor(config, scan_program, interrupt)
        .inspect(file.as_file(), &source.unread)
        .map(Some)
        .map_err(|error| scan_error(&error))
}

/// Opens the image as the child wants it: for reading only.
pub(crate) fn open(source: &Source) -> Result<FileSource, Error> {
    FileSource::open(source.path.as_path()).map_err(|error| Error::Source {
        path: source.path.as_path().to_owned(),
        reason: error.to_string(),
    })
}

/// A supervisor with the configured budgets, cancelled by the interrupt.
pub(crate) fn supervisor(config: &Config, scan_program: &Path, interrupt: &Interrupt) -> Supervisor {
    let wall = config.scan_time.value;
    Supervisor {
        program: scan_program.to_owned(),
        budgets: Budgets {
            memory_bytes: config.scan_memory_bytes.value,
            cpu_seconds: wall.as_secs().max(1),
            wall: Some(wall),
            no_progress: config.scan_stall.value,
            ..Budgets::default()
        },
        cancel: interrupt.flag(),
    }
}

/// An error of the supervisor with its causes in one sentence.
pub(crate) fn scan_error(error: &ntt_inspect::supervisor::Error) -> Error {
    use ntt_inspect::supervisor::Error as Scan;
    match error {
        Scan::Cancelled | Scan::Stopped => Error::Interrupted,
        Scan::Start { source, .. } => Error::Scan(format!("{error}: {source}")),
        _ => Error::Scan(error.to_string()),
    }
}
