//! Which volumes does a source hold?
//!
//! Looking happens in the scan child. What it found is recorded once per medium: a finding per defect, and a volume per partition, whatever its
//! verdict (R14). A volume whose bytes the archive has from another container is recorded as a copy of that one and not scanned again (R3).

mod contained;
mod directory;
mod record;

use std::path::Path;

use ntt_inspect::layer::{LayerTree, SetTree};
use ntt_inspect::supervisor::{Budgets, Supervisor};

pub(crate) use directory::{DIRECTORY, mount_point, mounted};
pub(crate) use record::{
    add_new_findings, content_range, digest_volume, hold_in_set, make_good, mapping, part_from_originals,
    record, recorded_layer,
};

use crate::content::image_files;
use crate::identify::{Source, SourceKind};
use crate::{Config, Error, Interrupt, set};

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
    match source.kind {
        SourceKind::Directory => return Ok(None),
        SourceKind::Set => {
            return plan_set(source, config, scan_program, interrupt).map(|tree| Some(tree.set));
        }
        SourceKind::Image => {}
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
    tree.findings.extend(source.notes.iter().cloned());
    Ok(Some(tree))
}

/// The set that images make.
///
/// # Errors
///
/// [`Error::Source`] if one of them is given twice.
pub fn set_of(images: Vec<Source>) -> Result<Source, Error> {
    for (at, image) in images.iter().enumerate() {
        if images.iter().take(at).any(|other| other.path == image.path) {
            return Err(Error::Source {
                path: image.path.as_path().to_owned(),
                reason: "was given twice".to_owned(),
            });
        }
    }
    Ok(set::source(images))
}

/// The layers of the images of a set, and of what they make together. Runs in the scan child and writes nothing.
///
/// # Errors
///
/// As [`plan`]; also if what an image lies in cannot be read.
pub fn plan_set(
    source: &Source,
    config: &Config,
    scan_program: &Path,
    interrupt: &Interrupt,
) -> Result<SetTree, Error> {
    for member in &source.members {
        if let Some(contained) = member
            .container
            .as_ref()
            .filter(|contained| !contained.is_readable)
        {
            let reason = contained.findings.last().map(|finding| finding.detail.clone());
            return Err(Error::Source {
                path: member.path.as_path().to_owned(),
                reason: reason.unwrap_or_else(|| "its container cannot be read".to_owned()),
            });
        }
    }
    let files = image_files(source)?;
    let mut trees = supervisor(config, scan_program, interrupt)
        .inspect_set(&files)
        .map_err(|error| scan_error(&error))?;
    for (tree, member) in trees.images.iter_mut().zip(&source.members) {
        if let Some(contained) = &member.container {
            contained::add(tree, contained);
        }
        tree.findings.extend(member.notes.iter().cloned());
    }
    Ok(trees)
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
