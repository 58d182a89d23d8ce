//! Finding the MFT by the signatures of its records, when its first record and the mirror are both gone, or when a part of its map is.
//!
//! Records of version 3.1 carry their numbers, so that every fragment is found. Older ones do not: only the fragment where the boot sector puts
//! the start of the table is found then.

use ntt_source::ReadAt;

use super::boot::Geometry;
use super::record::{FILE, Record};
use super::runs::Run;

/// Bytes that are read at once.
const WINDOW_BYTES: u64 = 1 << 20;
/// Records without a signature after which the first fragment is over.
const BLANK_MAX: u64 = 1024;

/// The fragment that starts where the boot sector says.
pub(super) fn near(source: &dyn ReadAt, geometry: &Geometry) -> Vec<Run> {
    let start = geometry.offset_of(geometry.mft_cluster);
    let mut found = Found::new(geometry);
    let mut blank = 0_u64;
    let mut number = 0_u64;
    let mut bytes = vec![0; usize::try_from(geometry.record_bytes).unwrap_or(0)];
    while blank < BLANK_MAX {
        let offset = start.saturating_add(number.saturating_mul(geometry.record_bytes));
        if offset.saturating_add(geometry.record_bytes) > source.len() {
            break;
        }
        let is_record = source.read_exact_at(offset, &mut bytes).is_ok() && is_record_of(&mut bytes, number);
        blank = if is_record { 0 } else { blank.saturating_add(1) };
        if is_record {
            found.add(number, offset);
        }
        number = number.saturating_add(1);
    }
    found.runs()
}

/// All fragments in the first `bytes_max` bytes of the volume, by the numbers in their records.
pub(super) fn everywhere(source: &dyn ReadAt, geometry: &Geometry, bytes_max: u64) -> Vec<Run> {
    let end = source.len().min(geometry.size_bytes).min(bytes_max);
    let mut found = Found::new(geometry);
    let step = usize::try_from(geometry.record_bytes.min(geometry.cluster_bytes)).unwrap_or(512);
    let record_len = usize::try_from(geometry.record_bytes).unwrap_or(1024);
    let mut window = Vec::new();
    let mut at = 0;
    while at < end {
        let want = WINDOW_BYTES.saturating_add(geometry.record_bytes);
        window.resize(usize::try_from(want.min(end.saturating_sub(at))).unwrap_or(0), 0);
        // Windows with a part that cannot be read are looked at record by record.
        let together = source.read_exact_at(at, &mut window).is_ok();
        let last = window.len().min(usize::try_from(WINDOW_BYTES).unwrap_or(0));
        for start in (0..last).step_by(step.max(512)) {
            let offset = at.saturating_add(u64::try_from(start).unwrap_or(0));
            let Some(bytes) = window.get_mut(start..start.saturating_add(record_len)) else {
                continue;
            };
            if !together && source.read_exact_at(offset, bytes).is_err() {
                continue;
            }
            if bytes.get(..4) != Some(FILE) {
                continue;
            }
            let mut copy = bytes.to_vec();
            let number = Record::new(&mut copy, 0)
                .ok()
                .and_then(|record| record.own_number());
            if let Some(number) = number {
                found.add(u64::from(number), offset);
            }
        }
        at = at.saturating_add(WINDOW_BYTES);
    }
    found.runs()
}

/// Runs of `known` with what `found` adds where they have gaps.
pub(super) fn merged(known: &[Run], found: &[Run]) -> Vec<Run> {
    let mut runs = known.to_vec();
    for run in found {
        let mut first = run.first;
        while first < run.end() {
            let index = runs.partition_point(|known| known.end() <= first);
            let next = runs.get(index).map_or(u64::MAX, |known| known.first);
            if next <= first {
                first = runs.get(index).map_or(u64::MAX, Run::end);
                continue;
            }
            let len = run.end().min(next).saturating_sub(first);
            let cluster = run
                .cluster
                .map(|cluster| cluster.saturating_add(first.saturating_sub(run.first)));
            runs.insert(index, Run { first, len, cluster });
            first = first.saturating_add(len);
        }
    }
    runs
}

fn is_record_of(bytes: &mut [u8], number: u64) -> bool {
    let record = Record::new(bytes, 0).ok();
    let own = record.map(|record| record.own_number());
    own.is_some_and(|own| own.is_none_or(|own| u64::from(own) == number))
}

/// Records that were found, as runs of clusters.
struct Found<'g> {
    geometry: &'g Geometry,
    runs: Vec<Run>,
}

impl<'g> Found<'g> {
    const fn new(geometry: &'g Geometry) -> Self {
        Self {
            geometry,
            runs: Vec::new(),
        }
    }

    fn add(&mut self, number: u64, offset: u64) {
        let cluster_bytes = self.geometry.cluster_bytes.max(1);
        let start = number.saturating_mul(self.geometry.record_bytes);
        let within = |value: u64| value.checked_rem(cluster_bytes).unwrap_or(0);
        if within(start) != within(offset) {
            return;
        }
        let first = start.checked_div(cluster_bytes).unwrap_or(0);
        let cluster = offset.checked_div(cluster_bytes).unwrap_or(0);
        let len = self.geometry.record_bytes.div_ceil(cluster_bytes);
        if let Some(last) = self.runs.last_mut()
            && let Some(last_cluster) = last.cluster
            && first >= last.first
            && first <= last.end()
            && cluster.checked_sub(last_cluster) == first.checked_sub(last.first)
        {
            last.len = last.len.max(first.saturating_add(len).saturating_sub(last.first));
            return;
        }
        self.runs.push(Run {
            first,
            len,
            cluster: Some(cluster),
        });
    }

    /// In order and without overlap: long runs are believed before short ones, which may be the mirror or remains of an older table.
    fn runs(mut self) -> Vec<Run> {
        self.runs
            .sort_by_key(|run| (std::cmp::Reverse(run.len), run.cluster));
        // Each insertion costs a move of what lies behind: hostile volumes must not have millions of fragments.
        self.runs.truncate(1 << 16);
        let runs = std::mem::take(&mut self.runs);
        merged(&[], &runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn run(first: u64, len: u64, cluster: u64) -> Run {
        Run {
            first,
            len,
            cluster: Some(cluster),
        }
    }

    #[test]
    fn what_is_found_fills_only_gaps() {
        let known = [run(0, 10, 100), run(20, 10, 200)];
        let merged = merged(&known, &[run(5, 20, 500), run(28, 4, 900)]);
        assert_eq!(
            merged,
            [
                run(0, 10, 100),
                run(10, 10, 505),
                run(20, 10, 200),
                run(30, 2, 902)
            ]
        );
    }
}
