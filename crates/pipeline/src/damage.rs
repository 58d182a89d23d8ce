//! Where an image cannot be read although it is there: a container with a wrong checksum, a disk that gives nothing.

use std::sync::{Mutex, PoisonError};

use ntt_catalogue::Catalogue;
use ntt_model::{ByteRange, Finding, FindingCode, Layer, MediumKey, Severity};
use ntt_report::selector::standing;
use ntt_source::{ReadAt, ReadError};

use crate::Error;
use crate::identify::Source;

/// Damaged ranges of an image that are told one by one.
const RANGES_MAX: usize = 1000;

/// How a finding begins that says of an image that it has another digest than it had.
pub(crate) const OTHER_DIGEST: &str = "the BLAKE3 of the image was ";

/// Whether a finding is one of those that reading an image from start to end leaves: what could not be read, and what is not as it is stated or was.
fn is_of_reading(finding: &Finding) -> bool {
    let says = |begin: &str, within: &str| {
        let detail = &finding.detail;
        detail.starts_with(begin) && detail.contains(within)
    };
    finding.layer == Layer::Image
        && (says("bytes ", " of the image")
            || says("more than ", " places of the image")
            || says(OTHER_DIGEST, "")
            || says("the ", " cannot be compared with what ")
            || says("the ", " states "))
}

/// Says of what earlier readings of the whole image left that it holds no longer, unless the latest one, which `found` this, left it too: a cable, a drive or a server may have been what
/// was wrong.
pub(crate) fn make_good(
    catalogue: &dyn Catalogue,
    medium: MediumKey,
    found: &[Finding],
) -> Result<(), Error> {
    let earlier = standing(catalogue.findings(medium)?).into_iter();
    let gone = earlier.filter(|row| {
        row.scan.is_none()
            && row.volume.is_none()
            && is_of_reading(&row.finding)
            && !found.contains(&row.finding)
    });
    let good: Vec<Finding> = gone.map(|row| row.finding.made_good()).collect();
    Ok(catalogue.add_findings(medium, None, &good)?)
}

/// Notes where an image cannot be read although it is there.
pub(crate) struct Recorder<'a> {
    inner: &'a dyn ReadAt,
    damage: Mutex<Damage>,
}

#[derive(Default)]
struct Damage {
    ranges: Vec<(ByteRange, String)>,
    /// Whether there is more than was noted.
    is_more: bool,
}

impl<'a> Recorder<'a> {
    pub(crate) fn of(inner: &'a dyn ReadAt) -> Self {
        Self {
            inner,
            damage: Mutex::default(),
        }
    }

    /// The damage as losses of the image, with their places.
    pub(crate) fn findings(self, source: &Source, code: FindingCode) -> Vec<Finding> {
        let layers = source.container.iter().flat_map(|contained| &contained.layers);
        let formats: String = layers.map(|layer| format!(" in {}", layer.format)).collect();
        let damage = self.found();
        let lost = |code, detail| Finding::new(Severity::Loss, Layer::Image, code, detail);
        let of_range = |(range, what): &(ByteRange, String)| {
            lost(code, format!("bytes {range} of the image{formats}: {what}")).at(range.offset)
        };
        let mut findings: Vec<Finding> = damage.ranges.iter().map(of_range).collect();
        if damage.is_more {
            let detail =
                format!("more than {RANGES_MAX} places of the image are damaged; the others are not listed");
            findings.push(lost(FindingCode::Limit, detail));
        }
        findings
    }

    /// The damage, ascending, each range once; what goes on in the next range is one with it.
    fn found(self) -> Damage {
        let mut found = self.damage.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.ranges.sort();
        found.ranges.dedup_by(|next, before| {
            let goes_on = next.0.offset <= before.0.end() && next.1 == before.1;
            if goes_on {
                let end = before.0.end().max(next.0.end());
                before.0.len = end.saturating_sub(before.0.offset);
            }
            goes_on
        });
        found
    }

    /// Looks behind the first damage of a read for more of it.
    fn note_all(&self, wanted: ByteRange, first: (ByteRange, String)) {
        let mut next = Some(first);
        let mut buffer = Vec::new();
        while let Some((range, what)) = next.take() {
            let mut damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
            if damage.ranges.len() >= RANGES_MAX {
                damage.is_more = true;
                return;
            }
            damage.ranges.push((range, what));
            drop(damage);
            let end = range.end();
            if end <= wanted.offset || end >= wanted.end() {
                return;
            }
            let rest = ByteRange::new(end, wanted.end() - end);
            buffer.resize(usize::try_from(rest.len).unwrap_or(0), 0);
            let read = self.inner.read_exact_at(rest.offset, &mut buffer);
            next = read.err().and_then(|error| damage_of(&error, rest));
        }
    }
}

/// What of the bytes that were wanted is damaged, and how; `None` if they are only not there.
fn damage_of(error: &ReadError, wanted: ByteRange) -> Option<(ByteRange, String)> {
    match error {
        ReadError::Corrupt { range, what } => Some((*range, what.clone())),
        ReadError::Io { source, .. } => Some((wanted, source.to_string())),
        ReadError::Unread { .. } | ReadError::BeyondEnd { .. } => None,
        other => Some((wanted, other.to_string())),
    }
}

impl ReadAt for Recorder<'_> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let read = self.inner.read_exact_at(offset, buffer);
        let wanted = ByteRange::new(offset, u64::try_from(buffer.len()).unwrap_or(u64::MAX));
        if let Some(first) = read.as_ref().err().and_then(|error| damage_of(error, wanted)) {
            self.note_all(wanted, first);
        }
        read
    }
}
