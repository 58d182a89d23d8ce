//! Which volumes does a source hold?

use std::path::Path;

use ntt_inspect::layer::LayerTree;

use crate::identify::Source;
use crate::{Config, Error, Interrupt};

/// The layers of an image, or `None` for a directory, which has none. Runs in the scan child and writes nothing.
///
/// # Errors
///
/// [`Error::Source`] if the image or its mapfile cannot be opened, and when the child cannot be started.
pub fn plan(
    source: &Source,
    config: &Config,
    scan_program: &Path,
    interrupt: &Interrupt,
) -> Result<Option<LayerTree>, Error> {
    let _ = (source, config, scan_program, interrupt);
    unimplemented!()
}
