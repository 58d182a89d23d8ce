//! Forks: from extents in allocation blocks to bytes of the volume and extents of the image.

use ntt_model::extent::push_joined;
use ntt_model::{Extent, ExtentKind};
use ntt_source::ReadError;
use ntt_source::field::{be_u16, be_u32, be_u64};

use super::volume::Volume;

/// A run of allocation blocks of a fork.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    /// First block, counted from the start of the fork.
    pub(crate) logical: u32,
    /// First block, counted from the start of the volume's blocks.
    pub(crate) start: u32,
    /// Number of blocks.
    pub(crate) count: u32,
}

/// What a catalogue record, or the volume's header, says of a fork.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ForkData {
    /// Length in bytes.
    pub(crate) size: u64,
    /// The first extents, without empty ones.
    pub(crate) runs: Vec<Run>,
}

impl ForkData {
    /// `HFSPlusForkData` at the start of `bytes` (TN1150, "Fork Data Structure").
    pub(crate) fn plus(bytes: &[u8]) -> Option<Self> {
        let mut fork = Self {
            size: be_u64(bytes, 0)?,
            runs: Vec::new(),
        };
        push_plus(&mut fork.runs, 0, bytes.get(16..80)?);
        Some(fork)
    }

    /// Length in bytes and three extents of HFS (Inside Macintosh: Files, 2-75).
    pub(crate) fn classic(size: u32, extents: &[u8]) -> Option<Self> {
        let mut fork = Self {
            size: u64::from(size),
            runs: Vec::new(),
        };
        push_classic(&mut fork.runs, 0, extents.get(..12)?);
        Some(fork)
    }

    /// Blocks that the extents hold.
    pub(crate) fn blocks(&self) -> u64 {
        self.runs.last().map_or(0, |run| {
            u64::from(run.logical).saturating_add(u64::from(run.count))
        })
    }
}

/// Appends the extents of an HFS+ extent record whose first block is `logical` of the fork.
pub(crate) fn push_plus(runs: &mut Vec<Run>, logical: u32, record: &[u8]) {
    let (pairs, _) = record.as_chunks::<8>();
    let pairs = pairs
        .iter()
        .filter_map(|pair| Some((be_u32(pair, 0)?, be_u32(pair, 4)?)));
    push(runs, logical, pairs);
}

/// Appends the extents of an HFS extent record.
pub(crate) fn push_classic(runs: &mut Vec<Run>, logical: u32, record: &[u8]) {
    let (pairs, _) = record.as_chunks::<4>();
    let pairs = pairs
        .iter()
        .filter_map(|pair| Some((be_u16(pair, 0)?.into(), be_u16(pair, 2)?.into())));
    push(runs, logical, pairs);
}

/// An empty extent ends a record.
fn push(runs: &mut Vec<Run>, mut logical: u32, pairs: impl Iterator<Item = (u32, u32)>) {
    for (start, count) in pairs.take_while(|(_, count)| *count > 0) {
        runs.push(Run {
            logical,
            start,
            count,
        });
        logical = logical.saturating_add(count);
    }
}

/// A run of a fork in bytes of the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ByteRun {
    pub(crate) logical: u64,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// The bytes of a fork, to be read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ForkBytes {
    /// Ascending, not overlapping.
    runs: Vec<ByteRun>,
    /// Length: what the fork says, cut to what is mapped.
    pub(crate) len: u64,
}

impl ForkBytes {
    /// The bytes of `runs`, at most `size` of them.
    pub(crate) fn new(volume: &Volume<'_>, size: u64, runs: &[Run]) -> Self {
        let block = u64::from(volume.block_bytes);
        let mut bytes = Vec::new();
        let mut end = 0;
        for run in runs {
            let logical = u64::from(run.logical).saturating_mul(block);
            let len = u64::from(run.count)
                .saturating_mul(block)
                .min(size.saturating_sub(logical));
            if len == 0 || logical < end {
                continue;
            }
            end = logical.saturating_add(len);
            bytes.push(ByteRun {
                logical,
                offset: volume.block_offset(run.start),
                len,
            });
        }
        Self {
            runs: bytes,
            len: end,
        }
    }

    /// All bytes of the volume from `offset` on, as if they were a fork.
    pub(crate) fn whole(offset: u64, len: u64) -> Self {
        Self {
            runs: vec![ByteRun {
                logical: 0,
                offset,
                len,
            }],
            len,
        }
    }

    /// Where a byte of the fork lies in the volume.
    pub(crate) fn place(&self, logical: u64) -> Option<ByteRun> {
        let after = self.runs.partition_point(|run| run.logical <= logical);
        let run = self.runs.get(after.checked_sub(1)?)?;
        let skipped = logical.saturating_sub(run.logical);
        (skipped < run.len).then(|| ByteRun {
            logical,
            offset: run.offset.saturating_add(skipped),
            len: run.len.saturating_sub(skipped),
        })
    }

    /// How many bytes from `logical` on no run maps; 0 if one does.
    pub(crate) fn gap_at(&self, logical: u64) -> u64 {
        if self.place(logical).is_some() {
            return 0;
        }
        let after = self.runs.partition_point(|run| run.logical <= logical);
        let end = self.runs.get(after).map_or(self.len, |run| run.logical);
        end.saturating_sub(logical)
    }

    /// Fills `buffer` from byte `logical` of the fork.
    ///
    /// # Errors
    ///
    /// As [`Volume::read`]; [`ReadError::BeyondEnd`] where nothing is mapped.
    pub(crate) fn read(&self, volume: &Volume<'_>, logical: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let (mut at, mut rest) = (logical, buffer);
        while !rest.is_empty() {
            let wanted = u64::try_from(rest.len()).unwrap_or(u64::MAX);
            let place = self
                .place(at)
                .ok_or_else(|| ReadError::beyond_end(at, wanted, self.len))?;
            let len = usize::try_from(place.len)
                .unwrap_or(rest.len())
                .clamp(1, rest.len());
            let (now, later) = rest.split_at_mut(len);
            volume.read(place.offset, now)?;
            at = at.saturating_add(place.len);
            rest = later;
        }
        Ok(())
    }
}

/// The extents of a stream of `size` bytes in `runs`, and whether some of it is not mapped.
pub(crate) fn extents(volume: &Volume<'_>, size: u64, runs: &[Run], extents_max: u64) -> (Vec<Extent>, bool) {
    let block = u64::from(volume.block_bytes);
    let (mut extents, mut covered) = (Vec::new(), 0_u64);
    for run in runs {
        let logical = u64::from(run.logical).saturating_mul(block);
        if logical >= size || u64::try_from(extents.len()).unwrap_or(u64::MAX) >= extents_max {
            break;
        }
        let len = u64::from(run.count)
            .saturating_mul(block)
            .min(size.saturating_sub(logical));
        covered = covered.saturating_add(len);
        let extent = Extent {
            logical_offset: logical,
            image_offset: volume.home_in_image(volume.block_offset(run.start)),
            len,
            kind: ExtentKind::Data,
        };
        push_joined(&mut extents, extent);
    }
    (extents, covered < size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume() -> Volume<'static> {
        Volume::new(Box::new((0..=255).collect::<Vec<u8>>()), 1000, (16, 14), 8)
    }

    /// Found by fuzzing: billions of nodes in a gap between two extents were looked for one by one.
    #[test]
    fn r22_a_gap_between_runs_is_known_as_a_whole() {
        let runs = [run(0, 1, 2), run(1 << 20, 3, 1)];
        let bytes = ForkBytes::new(&volume(), u64::MAX, &runs);
        let gaps = [0, 31, 32, 100, 16 << 20, 17 << 20].map(|at| bytes.gap_at(at));
        assert_eq!(gaps, [0, 0, (16 << 20) - 32, (16 << 20) - 100, 0, 0]);
    }

    fn run(logical: u32, start: u32, count: u32) -> Run {
        Run {
            logical,
            start,
            count,
        }
    }

    #[test]
    fn extents_are_in_image_offsets_and_end_with_the_stream() {
        let runs = [run(0, 2, 1), run(1, 3, 1), run(2, 9, 2)];
        let (extents, incomplete) = extents(&volume(), 50, &runs, 100);
        let shape: Vec<_> = extents
            .iter()
            .map(|extent| (extent.image_offset, extent.len))
            .collect();
        assert_eq!((shape, incomplete), (vec![(1040, 32), (1152, 18)], false));
    }

    #[test]
    fn what_is_not_mapped_is_incomplete() {
        let (mapped, incomplete) = extents(&volume(), 50, &[run(1, 3, 1)], 100);
        assert_eq!((mapped[0].logical_offset, incomplete), (16, true));
    }

    #[test]
    fn a_fork_is_read_across_its_runs() {
        let fork = ForkBytes::new(&volume(), 40, &[run(0, 2, 1), run(1, 9, 2)]);
        let mut buffer = [0; 4];
        fork.read(&volume(), 14, &mut buffer).expect("mapped");
        assert_eq!(buffer, [54, 55, 152, 153]);
        assert_eq!(fork.len, 40);
        assert!(fork.read(&volume(), 38, &mut buffer).is_err());
    }

    #[test]
    fn an_empty_extent_ends_a_record() {
        let mut bytes = [0; 80];
        bytes[7] = 9;
        bytes[16 + 3..16 + 8].copy_from_slice(&[5, 0, 0, 0, 2]);
        bytes[32 + 3..32 + 8].copy_from_slice(&[7, 0, 0, 0, 2]);
        let fork = ForkData::plus(&bytes).expect("80 bytes");
        assert_eq!(
            (fork.size, fork.runs.clone(), fork.blocks()),
            (9, vec![run(0, 5, 2)], 2)
        );
    }
}
