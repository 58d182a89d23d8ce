//! What lies under an image that holds only changes: a backing file, a parent.

use std::sync::Arc;

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::ReadAt;

use crate::ContainerLayer;
use crate::layer::shown;
use crate::layout::Run;
use crate::open::{OpenError, Subject, open_one};
use crate::parts::{Want, Wish};

/// Images that lie under each other at most; a loop of names ends there too.
const CHAIN_MAX: usize = 16;

/// Where the bytes are that an image does not have itself.
pub(crate) enum Backing {
    /// Nowhere: they are zeros.
    None,
    /// In this image; what it does not have any more is zeros.
    Image(Arc<dyn ReadAt>),
    /// In a file that there is not.
    Missing(String),
}

impl Backing {
    /// A run of the bytes below; it may be shorter than `len`.
    pub(crate) fn run(&self, offset: u64, len: u64) -> Run<'_> {
        match self {
            Self::None => Run::Zeros(len),
            Self::Missing(name) => Run::Lost {
                len,
                what: format!("they lie in {name}, which is missing"),
            },
            Self::Image(image) => match image.len().checked_sub(offset) {
                None | Some(0) => Run::Zeros(len),
                Some(left) => Run::Stored {
                    source: image,
                    offset,
                    len: len.min(left),
                },
            },
        }
    }
}

/// The file of a name as it is; `None` if there is none or it is not allowed.
pub(crate) fn plain_file(subject: &Subject<'_>, name: &[u8]) -> Result<Option<Arc<dyn ReadAt>>, OpenError> {
    match subject.parts.named(name) {
        Wish::Had(file) => Ok(Some(file)),
        Wish::Denied => Ok(None),
        Wish::Open => Err(OpenError::Wants(Want::Named(name.to_vec()))),
    }
}

/// What an image says of the state of the one below that it was made over.
pub(crate) struct Made<'a> {
    /// The fact of the layer below that tells its state.
    pub(crate) fact: &'a str,
    /// What it must be: one of these. Empty where the image does not say.
    pub(crate) over: Vec<String>,
}

/// Opens the image under `subject`, in whatever container it is unless it is known to be raw.
pub(crate) fn open(
    subject: &Subject<'_>,
    name: &[u8],
    is_raw: bool,
    layer: &mut ContainerLayer,
    findings: &mut Vec<Finding>,
) -> Result<Backing, OpenError> {
    open_below(subject, name, is_raw, None, layer, findings)
}

/// As [`open`], of an image that knows the one below: over another one, or over that one after a change, its bytes are of no time (R22).
pub(crate) fn open_known(
    subject: &Subject<'_>,
    name: &[u8],
    made: &Made<'_>,
    layer: &mut ContainerLayer,
    findings: &mut Vec<Finding>,
) -> Result<Backing, OpenError> {
    open_below(subject, name, false, Some(made), layer, findings)
}

fn open_below(
    subject: &Subject<'_>,
    name: &[u8],
    is_raw: bool,
    made: Option<&Made<'_>>,
    layer: &mut ContainerLayer,
    findings: &mut Vec<Finding>,
) -> Result<Backing, OpenError> {
    let mut say = |code, detail: String| {
        findings.push(Finding::new(Severity::Loss, Layer::Image, code, detail));
    };
    let Some(file) = plain_file(subject, name)? else {
        say(
            FindingCode::BeyondEnd,
            format!(
                "{}: the image below, {}, is missing: its bytes are lost",
                layer.format,
                shown(name)
            ),
        );
        layer.missing.push(shown(name));
        return Ok(Backing::Missing(shown(name)));
    };
    layer.files.push(shown(name));
    layer.stored_bytes = layer.stored_bytes.saturating_add(file.len());
    let below = Subject::below(subject, name, &file);
    if below.chain > CHAIN_MAX {
        say(
            FindingCode::Loop,
            format!("more than {CHAIN_MAX} images lie under each other, or one under itself"),
        );
        return Ok(Backing::Missing(shown(name)));
    }
    if is_raw {
        return Ok(Backing::Image(file.clone()));
    }
    match open_one(&below) {
        Ok(None) => Ok(Backing::Image(file.clone())),
        Ok(Some(found)) => {
            let contradiction = made.and_then(|made| made.contradiction(&found.layer, layer, name));
            findings.extend(found.findings.into_iter().chain(contradiction));
            add_below(layer, found.layer, found.image.len());
            Ok(Backing::Image(found.image))
        }
        Err(OpenError::Refused { reason, code, .. }) => {
            let detail = format!(
                "{}: the image below, {}, cannot be read: {reason}",
                layer.format,
                shown(name)
            );
            say(code, detail);
            Ok(Backing::Missing(shown(name)))
        }
        Err(wants) => Err(wants),
    }
}

impl Made<'_> {
    /// What is said where the image below is not what it was, as far as both say what they know.
    fn contradiction(&self, below: &ContainerLayer, above: &ContainerLayer, name: &[u8]) -> Option<Finding> {
        let found = below.facts.iter().find(|(fact, _)| fact == self.fact);
        let (_, found) = found.filter(|_| !self.over.is_empty())?;
        if self.over.contains(found) {
            return None;
        }
        let detail = format!(
            "{}: it was made over an image with the {} {}, and {} has {found}: that is another one, or was changed since; bytes that come from it \
             may not be those of the image",
            above.format,
            self.fact,
            self.over.join(" or "),
            shown(name)
        );
        let code = FindingCode::Contradiction;
        Some(Finding::new(Severity::Loss, Layer::Image, code, detail))
    }
}

/// Adds what is known of the image below to the layer that lies on it.
fn add_below(layer: &mut ContainerLayer, below: ContainerLayer, image_bytes: u64) {
    for file in below.files {
        if !layer.files.contains(&file) {
            layer.files.push(file);
        }
    }
    layer.missing.extend(below.missing);
    layer.fact("image below", format!("{} of {image_bytes} bytes", below.format));
}
