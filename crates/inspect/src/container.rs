//! What an image is kept in, and the files of it.

use std::fs::File;
use std::sync::Arc;

use ntt_container::Opening;
pub use ntt_container::{
    ContainerLayer, FILES_MAX, HEAD_BYTES, HashAlgorithm, Packing, StoredHash, TAIL_BYTES, Want,
    looks_like_container, series,
};
use ntt_model::{ByteRange, Device, Finding};
use serde::{Deserialize, Serialize};

use crate::protocol::{Companion, Container, SourceSpec};

/// What a child found an image to be kept in.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Packaging {
    /// What is to be done with it.
    pub answer: Answer,
    /// The containers, the outermost first.
    pub layers: Vec<ContainerLayer>,
    /// What is wrong or remarkable with them.
    pub findings: Vec<Finding>,
    /// Length of the image in them; 0 if it is not known yet.
    pub image_bytes: u64,
}

/// How to go on with the files of an image.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The file is the image.
    Plain,
    /// The image can be read through its containers.
    Open,
    /// The innermost is compressed as a whole and must be unpacked; see [`Supervisor::unpack`](crate::Supervisor::unpack).
    Packed(Packing),
    /// Further files are needed, then it is to be looked at again.
    Wants(Want),
    /// A later file of an image of several, and why that is known.
    NotFirst(String),
    /// A known container that cannot be read.
    Refused,
}

impl Packaging {
    pub(crate) fn of(opening: Opening) -> Self {
        let blank = |answer| Self {
            answer,
            layers: Vec::new(),
            findings: Vec::new(),
            image_bytes: 0,
        };
        match opening {
            Opening::Plain => blank(Answer::Plain),
            Opening::Wants(want) => blank(Answer::Wants(want)),
            Opening::NotFirst(reason) => blank(Answer::NotFirst(reason)),
            Opening::Open(opened) => Self {
                image_bytes: opened.image.len(),
                layers: opened.layers,
                findings: opened.findings,
                answer: Answer::Open,
            },
            Opening::Packed(packing, opened) => Self {
                layers: opened.layers,
                findings: opened.findings,
                ..blank(Answer::Packed(packing))
            },
            Opening::Refused { layers, finding } => Self {
                layers,
                findings: vec![finding],
                ..blank(Answer::Refused)
            },
        }
    }
}

/// The open files of an image, as children are given them. All are open for reading only (R21).
#[derive(Clone, Debug)]
pub struct ImageFiles {
    /// The image's own file.
    pub file: Arc<File>,
    /// Its name without directories.
    pub name: Vec<u8>,
    /// The files that were asked for besides, by the name under which they were; `None` for one that there is not or that is not allowed.
    pub companions: Vec<(Vec<u8>, Option<Arc<File>>)>,
    /// Whether the files that follow the first one by name are among them.
    pub series_given: bool,
    /// Bytes of the image's own file that were never rescued (R11), ascending, not overlapping.
    pub unread: Vec<ByteRange>,
    /// Whether the image lies in a container.
    pub container: Container,
    /// The other images of a set, in the order of their numbers from 2.
    pub further: Vec<Self>,
    /// Whether this is the first image of a set.
    pub is_set: bool,
    /// Volumes that are read as devices, in the order of their addresses.
    pub devices: Vec<Device>,
}

impl From<File> for ImageFiles {
    /// One file whose bytes are the image, all of them.
    fn from(file: File) -> Self {
        Self::raw(Arc::new(file), Vec::new())
    }
}

impl ImageFiles {
    /// One file whose bytes are the image.
    pub fn raw(file: Arc<File>, unread: Vec<ByteRange>) -> Self {
        Self {
            file,
            name: Vec::new(),
            companions: Vec::new(),
            series_given: false,
            unread,
            container: Container::Raw,
            further: Vec::new(),
            is_set: false,
            devices: Vec::new(),
        }
    }

    /// The files of the images of a set, in the order of their numbers; `None` if there are none.
    pub fn set(images: Vec<Self>) -> Option<Self> {
        let mut images = images.into_iter();
        let first = images.next()?;
        Some(Self {
            further: images.collect(),
            is_set: true,
            ..first
        })
    }

    /// One file that may be, or be part of, a container.
    pub fn contained(file: Arc<File>, name: Vec<u8>, unread: Vec<ByteRange>) -> Self {
        Self {
            name,
            container: Container::Contained,
            ..Self::raw(file, unread)
        }
    }

    pub(crate) fn spec(&self) -> SourceSpec {
        let companion = |(name, file): &(Vec<u8>, Option<Arc<File>>)| Companion {
            name: name.clone(),
            present: file.is_some(),
        };
        SourceSpec {
            container: self.container,
            unread: self.unread.clone(),
            name: self.name.clone(),
            companions: self.companions.iter().map(companion).collect(),
            series_given: self.series_given,
            further: self.further.iter().map(Self::spec).collect(),
            devices: self.devices.clone(),
            is_set: self.is_set,
        }
    }

    /// The descriptors beside the first, in the order in which they are sent: [`SourceSpec::companions`], then those of each image of
    /// [`SourceSpec::further`].
    pub(crate) fn present(&self) -> Vec<&File> {
        let mut present: Vec<&File> = self.present_companions().collect();
        for image in &self.further {
            present.push(&image.file);
            present.extend(image.present_companions());
        }
        present
    }

    fn present_companions(&self) -> impl Iterator<Item = &File> {
        self.companions.iter().filter_map(|(_, file)| file.as_deref())
    }
}
