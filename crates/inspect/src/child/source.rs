//! Opens what the child was given: the one place that knows how an image is kept.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};

use ntt_container::{Opening, Part, Parts};
use ntt_source::{FileSource, Masked, ReadAt};

use super::outbox::{Outbox, locked};
use super::progress::Progress;
use crate::protocol::{Container, SourceSpec};

/// The files of an image, each with an error where it was never rescued (R11).
pub(super) struct Files {
    parts: Parts,
    first: Arc<dyn ReadAt>,
    container: Container,
    stored_bytes: u64,
    outbox: Arc<Mutex<Outbox>>,
}

/// Takes the descriptors; reading from them keeps the supervisor informed.
pub(super) fn files(
    file: File,
    companions: Vec<File>,
    spec: SourceSpec,
    outbox: &Arc<Mutex<Outbox>>,
) -> io::Result<Files> {
    let watched = |file: File, unread| -> io::Result<Arc<dyn ReadAt>> {
        let masked = Masked::new(FileSource::from_file(file)?, unread);
        Ok(Arc::new(Progress::new(masked, outbox.clone())))
    };
    let first = watched(file, spec.unread)?;
    let mut stored_bytes = first.len();
    let mut parts = vec![Part {
        name: spec.name,
        bytes: Some(first.clone()),
    }];
    let mut companions = companions.into_iter();
    for companion in spec.companions {
        let file = companion.present.then(|| companions.next()).flatten();
        let bytes = file.map(|file| watched(file, Vec::new())).transpose()?;
        stored_bytes = stored_bytes.saturating_add(bytes.as_ref().map_or(0, |bytes| bytes.len()));
        parts.push(Part {
            name: companion.name,
            bytes,
        });
    }
    locked(outbox).expect_source(stored_bytes);
    Ok(Files {
        parts: Parts::new(parts, spec.series_given),
        first,
        container: spec.container,
        stored_bytes,
        outbox: outbox.clone(),
    })
}

impl Files {
    /// What the files are.
    pub(super) fn look(&self) -> Opening {
        ntt_container::open(&self.parts)
    }

    /// The bytes of the image.
    pub(super) fn open(&self) -> io::Result<Arc<dyn ReadAt>> {
        if self.container == Container::Raw {
            return Ok(self.first.clone());
        }
        let image = match self.look() {
            Opening::Plain => self.first.clone(),
            Opening::Open(opened) => opened.image,
            Opening::Packed(packing, _) => {
                return Err(io::Error::other(format!(
                    "{} must be unpacked first",
                    packing.name()
                )));
            }
            Opening::NotFirst(reason) => return Err(io::Error::other(reason)),
            Opening::Wants(_) => return Err(io::Error::other("a file of the image was not given")),
            Opening::Refused { finding, .. } => return Err(io::Error::other(finding.detail)),
        };
        let bytes = image.len().saturating_add(self.stored_bytes);
        locked(&self.outbox).expect_source(bytes);
        Ok(image)
    }
}
