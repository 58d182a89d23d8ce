//! The files beside the first one that an image lies in, as they were and as they are.

use std::collections::BTreeSet;

use ntt_catalogue::rows::{Evidence, Image};

use super::Source;
use super::evidence::{FILE, files};
use crate::HostPath;

/// The format of an image whose parts say nothing of each other: what is left of them looks whole.
const SPLIT: &str = "split raw";

/// Why the files of an image are not those that it was identified with, if they are not, and what to do; `earlier` and `evidence` are what is on record.
pub(crate) fn changed_files(earlier: &Image, evidence: &[Evidence], now: &Source) -> Option<String> {
    let files = files(now);
    let mut known = evidence.iter().filter(|piece| piece.kind == FILE);
    let other = known.find(|known| files.iter().all(|file| file.value != known.value));
    if let Some(name) = other.map(name_of) {
        if files.iter().all(|file| name_of(file) != name) {
            return Some(gone(name));
        }
        return Some(format!(
            "`{name}`, a file that it lies in, has another length than when it was identified; ingest it again"
        ));
    }
    let companions = now.container.iter().flat_map(|contained| &contained.companions);
    let newer = |path: &&HostPath| {
        let time = std::fs::metadata(path.as_path()).and_then(|metadata| metadata.modified());
        let recorded = earlier.modified.map(|time| time.as_nanos());
        let since = time
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        since.and_then(|since| i64::try_from(since.as_nanos()).ok()) > recorded
    };
    let changed = companions
        .filter(newer)
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    (!changed.is_empty()).then(|| {
        format!(
            "{} changed since it was identified; ingest it again",
            changed.join(", ")
        )
    })
}

/// That a part is gone which a split image had, if nothing but parts of it are left; `evidence` is what is on record of the medium that has its place.
pub(super) fn gone_part(evidence: &[Evidence], now: &Source) -> Option<String> {
    let files = files(now);
    let left: BTreeSet<&str> = files.iter().map(name_of).collect();
    let mut parts = evidence
        .iter()
        .filter(|piece| piece.kind == FILE && piece.origin == SPLIT);
    let lost = parts.find(|piece| !left.contains(name_of(piece)))?;
    Some(gone(name_of(lost)))
}

fn gone(name: &str) -> String {
    format!(
        "`{name}`, a file that it lies in, is gone that was there when it was identified; put it back in its place"
    )
}

/// The name in a piece of evidence that tells of a file.
fn name_of(piece: &Evidence) -> &str {
    piece.value.split_once(" bytes ").map_or("", |(_, name)| name)
}
