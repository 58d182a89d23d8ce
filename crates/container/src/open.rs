//! Finds out what an image is kept in, and opens it.

use std::sync::Arc;

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::{ReadAt, ReadError};

use crate::layer::{ContainerLayer, shown};
use crate::layout::read_upto;
use crate::parts::{Parts, Want};
use crate::unpack::Packing;
use crate::{
    DEPTH_MAX, cd, diskcopy, ewf, foreign, qcow1, qcow2, series, sparseimage, split, udif, vdi, vhd, vhdx,
    vmdk,
};

/// Bytes of the start of a file in which formats have their magic.
pub const HEAD_BYTES: u64 = 1024;
/// Bytes of the end of a file in which formats have their magic.
pub const TAIL_BYTES: u64 = 1024;

/// Longest image that is believed: the longest disk that any of these programs makes (VHDX). A header of a few bytes could make everybody who reads
/// an image through read zeros for years.
const IMAGE_BYTES_MAX: u64 = 64 << 40;

/// What came of looking at the files of an image.
pub enum Opening {
    /// No container: the bytes of the file are the image.
    Plain,
    /// Containers, and the image in them.
    Open(Opened),
    /// What is innermost is compressed as a whole: it must be unpacked before it can be looked into.
    Packed(Packing, Opened),
    /// Further files are needed first.
    Wants(Want),
    /// A later file of an image of several, and why that is known: the first one is to be given.
    NotFirst(String),
    /// A known container that cannot be read: its bytes are not an image.
    Refused {
        /// The containers, the outermost first; the last is the one that cannot be read.
        layers: Vec<ContainerLayer>,
        /// Why.
        finding: Finding,
    },
}

/// An image and the containers that it was found in.
pub struct Opened {
    /// The containers, the outermost first.
    pub layers: Vec<ContainerLayer>,
    /// What is wrong or remarkable with them.
    pub findings: Vec<Finding>,
    /// The image.
    pub image: Arc<dyn ReadAt>,
}

/// One container and what is in it.
pub(crate) struct Found {
    pub(crate) layer: ContainerLayer,
    pub(crate) findings: Vec<Finding>,
    pub(crate) image: Arc<dyn ReadAt>,
}

impl Found {
    pub(crate) fn new(mut layer: ContainerLayer, findings: Vec<Finding>, image: Arc<dyn ReadAt>) -> Self {
        layer.image_bytes = image.len();
        Self {
            layer,
            findings,
            image,
        }
    }
}

/// Why a container could not be opened now.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// A file is needed first.
    Wants(Want),
    /// It is a later file of an image of several.
    NotFirst(String),
    /// It cannot be read at all.
    Refused {
        format: &'static str,
        code: FindingCode,
        reason: String,
    },
}

impl OpenError {
    /// Structures contradict the format.
    pub(crate) fn corrupt(format: &'static str, reason: impl Into<String>) -> Self {
        Self::Refused {
            format,
            code: FindingCode::Corrupt,
            reason: reason.into(),
        }
    }

    /// A variant that is not read.
    pub(crate) fn unsupported(format: &'static str, reason: impl Into<String>) -> Self {
        Self::Refused {
            format,
            code: FindingCode::Unsupported,
            reason: reason.into(),
        }
    }

    /// What matters of it cannot be read from its file.
    pub(crate) fn unreadable(format: &'static str, what: &str, error: &ReadError) -> Self {
        let code = match error {
            ReadError::Unread { .. } => FindingCode::Unread,
            ReadError::BeyondEnd { .. } => FindingCode::BeyondEnd,
            ReadError::Corrupt { .. } => FindingCode::Corrupt,
            _ => FindingCode::Io,
        };
        Self::Refused {
            format,
            code,
            reason: format!("{what} cannot be read: {error}"),
        }
    }
}

/// What is wrong with a container that can be read all the same.
pub(crate) fn warning(format: &'static str, code: FindingCode, detail: &str) -> Finding {
    Finding::new(
        Severity::Warning,
        Layer::Image,
        code,
        format!("{format}: {detail}"),
    )
}

/// A file to look at, with its name and whether it is the image's own.
pub(crate) struct Subject<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) name: &'a [u8],
    pub(crate) source: &'a Arc<dyn ReadAt>,
    pub(crate) head: Vec<u8>,
    pub(crate) tail: Vec<u8>,
    /// Containers around it.
    pub(crate) depth: usize,
    /// Images that it lies under, as backing file or parent.
    pub(crate) chain: usize,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(parts: &'a Parts, name: &'a [u8], source: &'a Arc<dyn ReadAt>, depth: usize) -> Self {
        let tail_at = source.len().saturating_sub(TAIL_BYTES);
        Self {
            parts,
            name,
            source,
            head: read_upto(source, 0, HEAD_BYTES).unwrap_or_default(),
            tail: read_upto(source, tail_at, TAIL_BYTES).unwrap_or_default(),
            depth,
            chain: 0,
        }
    }

    /// The file that lies under `above`: it has no series, and goes by its own name.
    pub(crate) fn below(above: &Subject<'a>, name: &'a [u8], source: &'a Arc<dyn ReadAt>) -> Self {
        Self {
            chain: above.chain.saturating_add(1),
            ..Self::new(above.parts, name, source, above.depth.max(1))
        }
    }

    /// A layer of this one file.
    pub(crate) fn layer(&self, format: impl Into<String>) -> ContainerLayer {
        ContainerLayer {
            format: format.into(),
            files: vec![shown(self.name)],
            stored_bytes: self.source.len(),
            ..ContainerLayer::default()
        }
    }
}

/// Whether a file may be more than a raw image, by its magic or its name: a comparison of fixed bytes, nothing is parsed. `head` and `tail` are up to
/// [`HEAD_BYTES`] and [`TAIL_BYTES`] of it; `len` is its length.
pub fn looks_like_container(name: &[u8], head: &[u8], tail: &[u8], len: u64) -> bool {
    let by_name = series::names(name).next().is_some();
    by_name
        || Packing::of(head).is_some()
        || FORMATS
            .iter()
            .any(|format| (format.matches)(name, head, tail, len))
}

/// A format: how it is known, and how it is opened.
struct Format {
    matches: fn(name: &[u8], head: &[u8], tail: &[u8], len: u64) -> bool,
    open: fn(&Subject<'_>) -> Result<Found, OpenError>,
}

/// In the order in which they are tried.
const FORMATS: [Format; 12] = [
    Format {
        matches: |_, head, _, _| ewf::matches(head),
        open: ewf::open,
    },
    Format {
        matches: |_, head, _, _| qcow1::matches(head),
        open: qcow1::open,
    },
    Format {
        matches: |_, head, _, _| qcow2::matches(head),
        open: qcow2::open,
    },
    Format {
        matches: |_, head, _, _| vhdx::matches(head),
        open: vhdx::open,
    },
    Format {
        matches: |_, head, _, _| vmdk::matches(head),
        open: vmdk::open,
    },
    Format {
        matches: |_, head, _, _| vdi::matches(head),
        open: vdi::open,
    },
    Format {
        matches: |_, head, tail, _| vhd::matches(head, tail),
        open: vhd::open,
    },
    Format {
        matches: |_, head, tail, _| udif::matches(head, tail),
        open: udif::open,
    },
    Format {
        matches: |_, head, _, _| sparseimage::matches(head),
        open: sparseimage::open,
    },
    Format {
        matches: |_, head, _, len| diskcopy::matches(head, len),
        open: diskcopy::open,
    },
    Format {
        matches: |name, head, tail, _| cd::matches(name, head, tail),
        open: cd::open,
    },
    Format {
        matches: |name, head, tail, _| foreign::matches(name, head, tail),
        open: foreign::refuse,
    },
];

/// Opens the image that lies in `parts`, through all containers around it.
///
/// Reads headers and the tables that describe the containers, not the image. What cannot be believed is a finding or a refusal.
pub fn open(parts: &Parts) -> Opening {
    let Some(mut image) = parts.first() else {
        return Opening::Plain;
    };
    let mut layers = Vec::new();
    let mut findings = Vec::new();
    loop {
        let name = inner_name(parts.first_name(), &layers);
        let subject = Subject::new(parts, &name, &image, layers.len());
        let packing = Packing::of(&subject.head);
        let found = match open_one(&subject) {
            Ok(found) => found,
            Err(OpenError::Wants(want)) => return Opening::Wants(want),
            Err(OpenError::NotFirst(reason)) => return Opening::NotFirst(reason),
            Err(OpenError::Refused { format, code, reason }) => {
                layers.push(subject.layer(format));
                let finding = Finding::new(Severity::Loss, Layer::Image, code, format!("{format}: {reason}"));
                return Opening::Refused { layers, finding };
            }
        };
        match (found, packing) {
            (Some(found), _) if found.image.len() > IMAGE_BYTES_MAX => {
                let detail = format!("{} bytes of image are not believed", found.image.len());
                let finding = Finding::new(Severity::Loss, Layer::Image, FindingCode::Limit, detail);
                layers.push(found.layer);
                return Opening::Refused { layers, finding };
            }
            (Some(found), _) => {
                layers.push(found.layer);
                findings.extend(found.findings);
                image = found.image;
                if layers.len() >= DEPTH_MAX {
                    return opened(layers, findings, image);
                }
            }
            (None, Some(packing)) => {
                let layer = subject.layer(packing.name());
                layers.push(layer);
                let opened = Opened {
                    layers,
                    findings,
                    image,
                };
                return Opening::Packed(packing, opened);
            }
            (None, None) => return opened(layers, findings, image),
        }
    }
}

fn opened(layers: Vec<ContainerLayer>, findings: Vec<Finding>, image: Arc<dyn ReadAt>) -> Opening {
    if layers.is_empty() {
        return Opening::Plain;
    }
    Opening::Open(Opened {
        layers,
        findings,
        image,
    })
}

/// One container around the subject, if there is one that is not a compression of the whole.
pub(crate) fn open_one(subject: &Subject<'_>) -> Result<Option<Found>, OpenError> {
    let len = subject.source.len();
    let format = FORMATS
        .iter()
        .find(|format| (format.matches)(subject.name, &subject.head, &subject.tail, len));
    if let Some(format) = format {
        return (format.open)(subject).map(Some);
    }
    if subject.depth == 0 {
        return split::open(subject.parts);
    }
    Ok(None)
}

/// The name of what is inside of containers around a file: without the extension that each of them added.
fn inner_name(first: &[u8], layers: &[ContainerLayer]) -> Vec<u8> {
    let mut name = first.to_vec();
    for _ in layers {
        if let Some(dot) = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0) {
            name.truncate(dot);
        }
    }
    name
}
