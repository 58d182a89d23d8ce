//! A raw image in parts: `x.001`, `x.002`...
//!
//! Parts say nothing of themselves. All but the last have the same length in practice, so a part that is missing between two others is known to
//! have that length, and its bytes are lost; what is missing at the end is not known.

use std::collections::BTreeMap;

use ntt_model::{Finding, FindingCode, Severity};

use crate::concat::{Concat, Piece};
use crate::layer::shown;
use crate::layout::{Layout, image};
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

/// The parts one behind the other. One that is missing or shorter than the others between first and last counts as long as they are.
fn joined(files: &[&Part]) -> Found {
    let usual = Usual::of(files);
    let part_bytes = usual.len;
    let mut layer = ContainerLayer {
        format: "split raw".to_owned(),
        block_bytes: part_bytes,
        ..ContainerLayer::default()
    };
    let mut concat = Concat::default();
    let mut findings = Vec::new();
    let mut say = |place: u64, code, detail: String| {
        findings.push(Finding::new(Severity::Loss, ntt_model::Layer::Image, code, detail).at(place));
    };
    let last = files.len().saturating_sub(1);
    for (at, part) in files.iter().enumerate() {
        let name = shown(&part.name);
        let len = part.bytes.as_ref().map_or(0, |bytes| bytes.len());
        let mut lacks = String::new();
        let place = concat.len();
        match &part.bytes {
            None => {
                lacks = format!("part {name} is missing");
                layer.missing.push(name);
            }
            Some(bytes) => {
                if at < last && len < part_bytes && usual.is_sure {
                    lacks = format!(
                        "part {name} has {len} bytes, the others {part_bytes}: the rest of it is missing"
                    );
                } else if at < last && len != part_bytes || len > part_bytes {
                    let detail = format!(
                        "part {name} has {len} bytes, others {part_bytes}: what follows a part that is too short or too long is in the wrong place"
                    );
                    say(place, FindingCode::Contradiction, detail);
                }
                layer.files.push(name);
                layer.stored_bytes = layer.stored_bytes.saturating_add(len);
                concat.push(Piece {
                    source: Some(bytes.clone()),
                    offset: 0,
                    len,
                    missing: String::new(),
                });
            }
        }
        if !lacks.is_empty() {
            say(place.saturating_add(len), FindingCode::BeyondEnd, lacks.clone());
            concat.push(Piece {
                source: None,
                offset: 0,
                len: part_bytes.saturating_sub(len),
                missing: lacks,
            });
        }
    }
    Found::new(layer, findings, image(concat))
}

/// How long parts are before the last one.
struct Usual {
    len: u64,
    /// Whether more than half of them have that length.
    is_sure: bool,
}

impl Usual {
    fn of(files: &[&Part]) -> Self {
        let before = files.len().saturating_sub(1);
        let lens: Vec<u64> = files
            .iter()
            .take(before)
            .filter_map(|part| Some(part.bytes.as_ref()?.len()))
            .collect();
        let mut counts = BTreeMap::<u64, usize>::new();
        for len in &lens {
            let count = counts.entry(*len).or_default();
            *count = count.saturating_add(1);
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        let (len, count) = most.unwrap_or_default();
        let first = lens.first().copied().unwrap_or(0);
        let is_sure = count.saturating_mul(2) > lens.len();
        Self {
            len: if is_sure { len } else { first },
            is_sure,
        }
    }
}
