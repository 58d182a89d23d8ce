//! Opens what the child was given: the one place that knows how an image is kept.

use std::fs::File;
use std::io;

use ntt_source::{FileSource, Masked, ReadAt};

use crate::protocol::{Container, SourceSpec};

/// The bytes of the image, with an error where they were never rescued (R11).
pub(super) fn open(file: File, spec: SourceSpec) -> io::Result<Box<dyn ReadAt>> {
    let Container::Raw = spec.container;
    Ok(Box::new(Masked::new(FileSource::from_file(file)?, spec.unread)))
}
