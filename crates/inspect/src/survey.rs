//! What of an image is worth having first, as far as it can be told from the part that is there: for the imager of a dying disk.
//!
//! The readers work on the partial image as on any other. What they ask for and do not get is what is *needed*; what they ask for at all is
//! *structure*; what their allocation tells is *in use*. Called again after the needed ranges were fetched, it gets further.

use std::sync::Mutex;
use std::time::Instant;

use ntt_filesystem::{ScanOptions, Stop};
use ntt_model::mapping::Found;
use ntt_model::{ByteRange, Mapping, ScanEvent};
use ntt_source::{ReadAt, ReadError, SubRange};
use serde::{Deserialize, Serialize};

use crate::layer::{IdentifiedClass, LayerTree, Verdict, VolumeLayer};
use crate::tree;
use crate::tree::step::{Step, StepKind, Watch};

/// Ranges closer to each other than this count as one: a disk reads over such a gap faster than it seeks.
const GAP_BYTES: u64 = 64 << 10;
/// More ranges than this are joined over larger gaps.
const RANGES_MAX: usize = 100_000;
/// Where nothing is recognised, looking for it must not send a dying disk all over itself.
const NEEDED_UNRECOGNISED_MAX: usize = 64;

/// What is worth having first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Survey {
    /// What the readers asked for and was never rescued.
    pub needed: Vec<ByteRange>,
    /// What the readers asked for: tables, superblocks, directories, inodes.
    pub structures: Vec<ByteRange>,
    /// Structures and content, and volumes of which nothing more is known; empty if no file system can be read.
    pub in_use: Vec<ByteRange>,
}

/// Looks at an image until `until`; what is found by then counts.
pub fn survey(source: &dyn ReadAt, until: Instant) -> Survey {
    let recorder = Recorder {
        inner: source,
        notes: Mutex::new(Notes::default()),
    };
    let tree = tree::build_watched(&recorder, &recorder);
    let mut in_use = Ranges::default();
    for volume in &tree.volumes {
        // Of a member whose group was put together, what the volumes of the group use is in use.
        let is_taken_apart = tree.managers.iter().any(|group| {
            group.members.contains(&volume.number) && group.absent.is_empty() && !group.volumes.is_empty()
        });
        if is_taken_apart && volume.verdict != Verdict::Readable {
            continue;
        }
        add_volume(&recorder, volume, until, &mut in_use);
    }
    let notes = recorder.notes.into_inner().unwrap_or_default();
    let mut survey = Survey {
        needed: notes.needed.finish(),
        structures: notes.asked.finish(),
        in_use: in_use.finish(),
    };
    if !has_readable(&tree) {
        survey.needed.truncate(NEEDED_UNRECOGNISED_MAX);
        survey.in_use.clear();
    }
    survey
}

fn has_readable(tree: &LayerTree) -> bool {
    tree.volumes
        .iter()
        .any(|volume| volume.verdict == Verdict::Readable)
}

fn add_volume(recorder: &Recorder<'_>, volume: &VolumeLayer, until: Instant, in_use: &mut Ranges) {
    match &volume.verdict {
        Verdict::Readable => add_file_systems(recorder, volume, until, in_use),
        Verdict::Identified {
            class: IdentifiedClass::Swap,
            ..
        }
        | Verdict::Empty { .. }
        | Verdict::Table
        | Verdict::SameAs { .. } => {}
        _ => match &volume.mapping {
            Some(mapping) => add_mapping(mapping, in_use),
            None => in_use.add(volume.range),
        },
    }
}

/// All of a volume that is in pieces.
fn add_mapping(mapping: &Mapping, in_use: &mut Ranges) {
    let mut position = 0;
    while let Some(run) = mapping.run(position) {
        if let Found::At(at) = run.found {
            in_use.add(ByteRange::new(at, run.len));
        }
        position = position.saturating_add(run.len);
    }
}

fn add_file_systems(recorder: &Recorder<'_>, volume: &VolumeLayer, until: Instant, in_use: &mut Ranges) {
    recorder.listen(true);
    for layer in volume.file_systems.iter().filter(|layer| layer.facts.is_some()) {
        let opened = match &volume.mapping {
            Some(mapping) => ntt_filesystem::open_mapped(layer.family, recorder, mapping, None),
            None => {
                let window = Box::new(SubRange::new(recorder, volume.range));
                ntt_filesystem::open(layer.family, window, volume.range.offset)
            }
        };
        let Ok(file_system) = opened else {
            in_use.add(volume.range);
            continue;
        };
        if file_system.allocated(&mut |range| in_use.add(range)).is_err() {
            in_use.add(volume.range);
        }
        // Only to see what it reads; that it was stopped, or failed, changes nothing.
        let mut look = |_: ScanEvent| if Instant::now() < until { Ok(()) } else { Err(Stop) };
        let _ = file_system.scan(&ScanOptions::default(), &mut look);
    }
    recorder.listen(false);
}

/// A source that notes what is asked of it.
struct Recorder<'a> {
    inner: &'a dyn ReadAt,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    listens: bool,
    asked: Ranges,
    needed: Ranges,
}

impl Recorder<'_> {
    fn listen(&self, listens: bool) {
        if let Ok(mut notes) = self.notes.lock() {
            notes.listens = listens;
        }
    }
}

impl ReadAt for Recorder<'_> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let result = self.inner.read_exact_at(offset, buffer);
        let len = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        let range = ByteRange::new(offset, len.min(self.inner.len().saturating_sub(offset)));
        if let Ok(mut notes) = self.notes.lock()
            && notes.listens
        {
            notes.asked.add(range);
            if matches!(result, Err(ReadError::Unread { .. })) {
                notes.needed.add(range);
            }
        }
        result
    }
}

impl Watch for Recorder<'_> {
    /// Whether a volume is empty is of no interest, and to find out would need all of it.
    fn begin(&self, step: Step) -> bool {
        let is_wanted = !matches!(step.what, StepKind::Fill);
        self.listen(is_wanted && !matches!(step.what, StepKind::Identify));
        is_wanted
    }

    fn end(&self) {
        self.listen(false);
    }
}

/// A bounded set of ranges.
#[derive(Debug)]
struct Ranges {
    ranges: Vec<ByteRange>,
    gap_bytes: u64,
    limit: usize,
}

impl Default for Ranges {
    fn default() -> Self {
        Self {
            ranges: Vec::new(),
            gap_bytes: GAP_BYTES,
            limit: RANGES_MAX,
        }
    }
}

impl Ranges {
    fn add(&mut self, range: ByteRange) {
        if range.is_empty() {
            return;
        }
        match self.ranges.last_mut() {
            Some(last) if touches(last, &range, self.gap_bytes) => *last = joined(last, &range),
            _ => self.ranges.push(range),
        }
        if self.ranges.len() > self.limit {
            self.join();
            // Wider gaps until there is room to grow again.
            while self.ranges.len() > self.limit / 2 {
                self.gap_bytes = self.gap_bytes.saturating_mul(2);
                self.join();
            }
        }
    }

    fn join(&mut self) {
        self.ranges.sort_unstable_by_key(|range| range.offset);
        let gap_bytes = self.gap_bytes;
        self.ranges.dedup_by(|next, kept| {
            let touches = touches(kept, next, gap_bytes);
            if touches {
                *kept = joined(kept, next);
            }
            touches
        });
    }

    /// Ascending, not overlapping.
    fn finish(mut self) -> Vec<ByteRange> {
        self.join();
        self.ranges
    }
}

/// Whether two ranges overlap or lie next to each other, give or take a gap.
fn touches(one: &ByteRange, other: &ByteRange, gap_bytes: u64) -> bool {
    other.offset <= one.end().saturating_add(gap_bytes) && one.offset <= other.end().saturating_add(gap_bytes)
}

fn joined(one: &ByteRange, other: &ByteRange) -> ByteRange {
    let offset = one.offset.min(other.offset);
    ByteRange::new(offset, one.end().max(other.end()).saturating_sub(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_over_small_gaps_and_stay_few() {
        let mut ranges = Ranges {
            limit: 8,
            ..Ranges::default()
        };
        for at in [5_u64, 1, 9, 3, 7, 11, 2, 20, 30, 40] {
            ranges.add(ByteRange::new(at * (1 << 20), 4096));
        }
        ranges.add(ByteRange::new((40 << 20) + 8192, 4096));
        let joined = ranges.finish();
        assert!(joined.len() <= 8, "{joined:?}");
        assert!(joined.windows(2).all(|pair| pair[0].end() < pair[1].offset));
        assert_eq!(joined.last().map(ByteRange::end), Some((40 << 20) + 8192 + 4096));
    }

    #[test]
    fn an_image_of_nothing_needs_little_and_uses_nothing() {
        let source = ntt_source::Masked::new(vec![0_u8; 4 << 20], vec![ByteRange::new(0, 4 << 20)]);
        let survey = survey(&source, Instant::now());
        assert!(survey.in_use.is_empty());
        assert!(!survey.needed.is_empty() && survey.needed.len() <= NEEDED_UNRECOGNISED_MAX);
    }
}
