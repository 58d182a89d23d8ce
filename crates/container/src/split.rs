//! A raw image in parts: `x.001`, `x.002`...
//!
//! Parts say nothing of themselves. All but the last have the same length in practice, so a part that is missing between two others is known to
//! have that length, and its bytes are lost; what is missing at the end is not known.

use ntt_model::{Finding, FindingCode, Layer, Severity};

use crate::concat::{Concat, Piece};
use crate::layer::shown;
use crate::layout::image;
use crate::open::{Found, OpenError};
use crate::parts::{Part, Parts, Want};
use crate::{ContainerLayer, series};

/// Lengths of floppies: images of them under such names are as many media, not parts of one.
const FLOPPY_BYTES: [u64; 10] = [
    163_840, 184_320, 327_680, 368_640, 409_600, 737_280, 819_200, 1_228_800, 1_474_560, 2_949_120,
];

/// The image over the parts, if the name is that of a first part and there is a second.
pub(crate) fn open(parts: &Parts) -> Result<Option<Found>, OpenError> {
    if !series::starts_raw(parts.first_name()) {
        return Ok(None);
    }
    let is_floppy = parts
        .first()
        .is_some_and(|first| FLOPPY_BYTES.contains(&first.len()));
    if is_floppy {
        return Ok(None);
    }
    let Some(files) = parts.series() else {
        return Err(OpenError::Wants(Want::Following));
    };
    if files.iter().filter(|part| part.bytes.is_some()).count() < 2 {
        return Ok(None);
    }
    Ok(Some(joined(&files)))
}

/// The parts one behind the other; one that is missing counts as long as the first.
fn joined(files: &[&Part]) -> Found {
    let part_bytes = files
        .first()
        .and_then(|part| part.bytes.as_ref())
        .map_or(0, |bytes| bytes.len());
    let mut layer = ContainerLayer {
        format: "split raw".to_owned(),
        block_bytes: part_bytes,
        ..ContainerLayer::default()
    };
    let mut concat = Concat::default();
    let mut findings = Vec::new();
    let mut say = |severity, code, detail: String| {
        findings.push(Finding::new(severity, Layer::Image, code, detail));
    };
    let last = files.len().saturating_sub(1);
    for (at, part) in files.iter().enumerate() {
        let name = shown(&part.name);
        let Some(bytes) = &part.bytes else {
            let detail = format!("part {name} is missing");
            say(Severity::Loss, FindingCode::BeyondEnd, detail.clone());
            layer.missing.push(name);
            concat.push(Piece {
                source: None,
                offset: 0,
                len: part_bytes,
                missing: detail,
            });
            continue;
        };
        if at < last && bytes.len() != part_bytes {
            let detail = format!(
                "part {name} has {} bytes, others {part_bytes}: what follows it may be in the wrong place",
                bytes.len()
            );
            say(Severity::Loss, FindingCode::Contradiction, detail);
        }
        layer.files.push(name);
        layer.stored_bytes = layer.stored_bytes.saturating_add(bytes.len());
        concat.push(Piece {
            source: Some(bytes.clone()),
            offset: 0,
            len: bytes.len(),
            missing: String::new(),
        });
    }
    Found::new(layer, findings, image(concat))
}
