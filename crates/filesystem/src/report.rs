//! Findings on their way to the visitor, with a bound on how many of one kind a scan may give.

use std::collections::BTreeMap;

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::ReadError;

/// Findings of one code beyond this many are counted, not listed.
const FINDINGS_PER_CODE_MAX: u64 = 5_000;

/// Collects findings between two events of a scan.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pending: Vec<Finding>,
    counts: BTreeMap<FindingCode, u64>,
}

impl Report {
    /// Adds a finding, unless there were too many of its code.
    pub(crate) fn push(&mut self, finding: Finding) {
        let count = self.counts.entry(finding.code).or_default();
        *count = count.saturating_add(1);
        if *count <= FINDINGS_PER_CODE_MAX {
            self.pending.push(finding);
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// What was added since the last call.
    pub(crate) fn take(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.pending)
    }

    /// Drops what was added since the last [`Report::take`].
    pub(crate) fn forget(&mut self) {
        for finding in std::mem::take(&mut self.pending) {
            if let Some(count) = self.counts.get_mut(&finding.code) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// One finding per code whose findings were too many to list.
    pub(crate) fn closing(&self) -> Vec<Finding> {
        self.counts
            .iter()
            .filter(|(_, count)| **count > FINDINGS_PER_CODE_MAX)
            .map(|(code, count)| {
                let more = count.saturating_sub(FINDINGS_PER_CODE_MAX);
                let detail = format!("{more} more findings of the kind {code:?} were not listed");
                Finding::new(Severity::Warning, Layer::FileSystem, FindingCode::Limit, detail)
            })
            .collect()
    }
}

/// The finding for a directory that is left before its end.
pub(crate) fn left(directory: u64, names: u64, is_poisonous: bool) -> Finding {
    let (code, why) = if is_poisonous {
        (FindingCode::Killed, "the scan was killed in it before")
    } else {
        (FindingCode::Limit, "it holds too many")
    };
    let detail = format!("the directory was left after {names} names: {why}");
    Finding::new(Severity::Loss, Layer::Scanner, code, detail).on_inode(directory)
}

/// The finding for a name that had to be changed.
pub(crate) fn odd_name(raw: &[u8]) -> Finding {
    let bytes = ntt_model::blob::hex(raw);
    let detail = format!("a name that cannot stand in a path; its bytes are {bytes}");
    Finding::new(Severity::Warning, Layer::Directory, FindingCode::Corrupt, detail)
}

/// The finding for a structure that is used as it stands although its own checksum, or the place that it names, contradicts it. This is the one place
/// that says how much that matters: names or contents depend on the structure, and nothing else vouches for them, so that it is a loss. Where
/// nothing listed or read depends on it, or a right copy serves, the reader warns instead.
pub(crate) fn doubtful(layer: Layer, detail: impl Into<String>, image_offset: u64) -> Finding {
    Finding::new(Severity::Loss, layer, FindingCode::Corrupt, detail).at(image_offset)
}

/// The finding for a structure that could not be read.
pub(crate) fn unreadable(error: &ReadError, layer: Layer, what: &str, image_offset: u64) -> Finding {
    let (code, why) = match error {
        ReadError::Unread { .. } => (FindingCode::Unread, "was never rescued"),
        ReadError::BeyondEnd { .. } => (FindingCode::BeyondEnd, "lies beyond the end of the image"),
        ReadError::Corrupt { .. } => (FindingCode::Corrupt, "is damaged in the image's container"),
        _ => (FindingCode::Io, "cannot be read"),
    };
    Finding::new(Severity::Loss, layer, code, format!("{what} {why}")).at(image_offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_without_end_are_counted_not_kept() {
        let mut report = Report::default();
        for _ in 0..FINDINGS_PER_CODE_MAX + 7 {
            report.push(Finding::new(
                Severity::Loss,
                Layer::Inode,
                FindingCode::Loop,
                "again",
            ));
        }
        assert_eq!(report.take().len(), 5_000);
        assert!(report.is_empty());
        assert_eq!(report.closing().len(), 1);
        assert!(report.closing()[0].detail.starts_with("7 more"));
    }
}
