//! Opens what the child was given: the one place that knows how an image is kept.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};

use ntt_container::{Opening, Part, Parts};
use ntt_model::Device;
use ntt_model::space::member_base;
use ntt_source::{FileSource, Masked, ReadAt, Space};

use super::outbox::{Outbox, locked};
use super::progress::Progress;
use crate::protocol::{Container, SourceSpec};

/// The files of the images of a source, each with an error where it was never rescued (R11).
pub(super) struct Files {
    /// The images, in order; one but for a set.
    images: Vec<Image>,
    is_set: bool,
    devices: Vec<Device>,
    outbox: Arc<Mutex<Outbox>>,
}

/// The files of one image.
struct Image {
    parts: Parts,
    first: Arc<dyn ReadAt>,
    container: Container,
    stored_bytes: u64,
}

/// Takes the descriptors; reading from them keeps the supervisor informed.
pub(super) fn files(
    file: File,
    more: Vec<File>,
    mut spec: SourceSpec,
    outbox: &Arc<Mutex<Outbox>>,
) -> io::Result<Files> {
    let mut more = more.into_iter();
    let further = std::mem::take(&mut spec.further);
    let (is_set, devices) = (spec.is_set, std::mem::take(&mut spec.devices));
    let mut images = vec![image(file, &mut more, spec, outbox)?];
    for spec in further {
        let file = more.next().ok_or(io::ErrorKind::UnexpectedEof)?;
        images.push(image(file, &mut more, spec, outbox)?);
    }
    let stored = images.iter().map(|image| image.stored_bytes);
    locked(outbox).expect_source(stored.fold(0, u64::saturating_add));
    Ok(Files {
        images,
        is_set,
        devices,
        outbox: outbox.clone(),
    })
}

/// Takes the descriptors of one image.
fn image(
    file: File,
    more: &mut std::vec::IntoIter<File>,
    spec: SourceSpec,
    outbox: &Arc<Mutex<Outbox>>,
) -> io::Result<Image> {
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
    for companion in spec.companions {
        let file = companion.present.then(|| more.next()).flatten();
        let bytes = file.map(|file| watched(file, Vec::new())).transpose()?;
        stored_bytes = stored_bytes.saturating_add(bytes.as_ref().map_or(0, |bytes| bytes.len()));
        parts.push(Part {
            name: companion.name,
            bytes,
        });
    }
    Ok(Image {
        parts: Parts::new(parts, spec.series_given),
        first,
        container: spec.container,
        stored_bytes,
    })
}

impl Files {
    /// What the files of the first image are.
    pub(super) fn look(&self) -> Opening {
        self.images
            .first()
            .map_or(Opening::Plain, |image| ntt_container::open(&image.parts))
    }

    /// The bytes of the medium.
    pub(super) fn open(&self) -> io::Result<Arc<dyn ReadAt>> {
        let mut opened = self.open_each()?;
        if !self.is_set && self.devices.is_empty() {
            return opened.pop().ok_or_else(|| io::ErrorKind::NotFound.into());
        }
        let bases = (1_u32..).map(|number| if self.is_set { member_base(number) } else { Some(0) });
        let images = bases.zip(opened).map(|(base, image)| Some((base?, image)));
        let images: Option<Vec<_>> = images.collect();
        let images = images.ok_or_else(|| io::Error::other("the set has too many images"))?;
        Ok(Arc::new(Space::new(images, self.devices.clone())))
    }

    /// The bytes of each image.
    pub(super) fn open_each(&self) -> io::Result<Vec<Arc<dyn ReadAt>>> {
        let opened: io::Result<Vec<_>> = self.images.iter().map(Image::open).collect();
        let opened = opened?;
        let stored = self.images.iter().map(|image| image.stored_bytes);
        let bytes = stored.chain(opened.iter().map(|image| image.len()));
        locked(&self.outbox).expect_source(bytes.fold(0, u64::saturating_add));
        Ok(opened)
    }
}

impl Image {
    fn open(&self) -> io::Result<Arc<dyn ReadAt>> {
        if self.container == Container::Raw {
            return Ok(self.first.clone());
        }
        match ntt_container::open(&self.parts) {
            Opening::Plain => Ok(self.first.clone()),
            Opening::Open(opened) => Ok(opened.image),
            Opening::Packed(packing, _) => {
                let reason = format!("{} must be unpacked first", packing.name());
                Err(io::Error::other(reason))
            }
            Opening::NotFirst(reason) => Err(io::Error::other(reason)),
            Opening::Wants(_) => Err(io::Error::other("a file of the image was not given")),
            Opening::Refused { finding, .. } => Err(io::Error::other(finding.detail)),
        }
    }
}
