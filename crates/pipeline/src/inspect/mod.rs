//! Which volumes does a source hold?
//!
//! Looking happens in the scan child. What it found is recorded once per medium: a finding per defect, and a volume per partition, whatever its
//! verdict (R14). A volume whose bytes the archive has from another container is recorded as a copy of that one and not scanned again (R3).

mod contained;
mod directory;
mod record;

use std::path::Path;

use ntt_inspect::layer::LayerTree;
use ntt_inspect::supervisor::{Budgets, Supervisor};

pub(crate) use directory::{DIRECTORY, mount_point, mounted};
pub(crate) use record::{add_new_findings, content_range, digest_volume, mapping, record};

use crate::content::image_files;
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
    if let Some(contained) = source
        .container
        .as_ref()
        .filter(|contained| !contained.is_readable)
    {
        return Ok(Some(contained::unread(contained, source.size_bytes)));
    }
    let files = image_files(source)?;
    let mut tree = supervisor(config, scan_program, interrupt)
        .inspect(&files)
        .map_err(|error| scan_error(&error))?;
    if let Some(contained) = &source.container {
        contained::add(&mut tree, contained);
    }
    Ok(Some(tree))
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
