//! Where blocks of partitions lie: plain, spared, virtual and metadata partitions (UDF 2.2.8 to 2.2.10).

use ntt_model::ByteRange;

use super::address::Address;

/// A partition of the medium.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ground {
    /// Volume offset of its block 0.
    pub(super) offset: u64,
    /// Number of blocks.
    pub(super) blocks: u32,
}

/// A run of blocks of a metadata partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MetadataRun {
    pub(super) first: u32,
    /// The bytes in the volume.
    pub(super) range: ByteRange,
}

/// How a partition map leads from blocks to bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Map {
    /// Blocks stand one after the other.
    Plain(Ground),
    /// Packets with defects stand elsewhere (UDF 2.2.9, 2.2.12): first block of the packet, ascending, and volume offset of its replacement.
    Spared {
        ground: Ground,
        packet_blocks: u32,
        moved: Vec<(u32, u64)>,
    },
    /// Every block is looked up in a table (UDF 2.2.8, 2.2.11); `UNUSED` where there is none.
    Virtual { ground: Ground, table: Vec<u32> },
    /// Blocks are those of a file (UDF 2.2.10, 2.2.13), ascending.
    Metadata {
        ground: Ground,
        runs: Vec<MetadataRun>,
        bitmap: Vec<ByteRange>,
    },
    /// It cannot be used; why was said.
    Broken,
}

/// An entry of a virtual allocation table that stands for no block.
pub(super) const UNUSED: u32 = u32::MAX;

/// The partitions of a logical volume, in the order of its maps.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Space {
    pub(super) block_bytes: u64,
    pub(super) maps: Vec<Map>,
}

impl Space {
    /// The bytes of a block and of what follows it without a gap, in the volume.
    pub(super) fn run(&self, at: Address) -> Option<ByteRange> {
        let size = self.block_bytes;
        match self.maps.get(usize::from(at.reference))? {
            Map::Plain(ground) => ground.run(at.block, size),
            Map::Spared {
                ground,
                packet_blocks,
                moved,
            } => spared(*ground, (*packet_blocks, moved), at.block, size),
            Map::Virtual { ground, table } => {
                let block = table.get(usize::try_from(at.block).ok()?)?;
                let run = ground.run(*block, size).filter(|_| *block != UNUSED)?;
                Some(ByteRange::new(run.offset, size))
            }
            Map::Metadata { runs, .. } => {
                let after = runs.partition_point(|run| run.first <= at.block);
                let run = runs.get(after.checked_sub(1)?)?;
                let skipped = u64::from(at.block.checked_sub(run.first)?).checked_mul(size)?;
                let left = run.range.len.checked_sub(skipped).filter(|left| *left > 0)?;
                Some(ByteRange::new(run.range.offset.checked_add(skipped)?, left))
            }
            Map::Broken => None,
        }
    }

    /// Volume offset of a block.
    pub(super) fn offset(&self, at: Address) -> Option<u64> {
        self.run(at).map(|run| run.offset)
    }

    /// The next block after `at` that may lie somewhere where it does not: maps of metadata claim holes of any length.
    pub(super) fn next(&self, at: Address) -> Option<u32> {
        match self.maps.get(usize::from(at.reference))? {
            Map::Metadata { runs, .. } => {
                let after = runs.partition_point(|run| run.first <= at.block);
                runs.get(after).map(|run| run.first)
            }
            _ => at.block.checked_add(1),
        }
    }

    /// Calls `each` for the runs of `len` bytes from a block: bytes from the start, and where they lie. False if some lie nowhere.
    pub(super) fn runs(&self, at: Address, len: u64, each: &mut dyn FnMut(u64, ByteRange)) -> bool {
        let mut done = 0;
        while done < len {
            let block = u32::try_from(done.checked_div(self.block_bytes).unwrap_or(u64::MAX));
            let block = block.ok().and_then(|block| at.block.checked_add(block));
            let run = block.and_then(|block| self.run(Address { block, ..at }));
            let Some(run) = run.filter(|run| !run.is_empty()) else {
                return false;
            };
            let step = run.len.min(len.saturating_sub(done));
            each(done, ByteRange::new(run.offset, step));
            done = done.saturating_add(step);
        }
        true
    }
}

impl Ground {
    /// A block and all that follow. Blocks after the recorded end are taken too: only the end of the image is sure.
    fn run(&self, block: u32, block_bytes: u64) -> Option<ByteRange> {
        let from_start = u64::from(block).checked_mul(block_bytes)?;
        let offset = self.offset.checked_add(from_start)?;
        let left = u64::from(self.blocks)
            .saturating_mul(block_bytes)
            .saturating_sub(from_start);
        Some(ByteRange::new(offset, left.max(block_bytes)))
    }

    /// All its bytes, in the volume.
    pub(super) fn range(&self, block_bytes: u64) -> ByteRange {
        ByteRange::new(self.offset, u64::from(self.blocks).saturating_mul(block_bytes))
    }
}

fn spared(
    ground: Ground,
    (packet_blocks, moved): (u32, &[(u32, u64)]),
    block: u32,
    block_bytes: u64,
) -> Option<ByteRange> {
    let within = block.checked_rem(packet_blocks)?;
    let packet = block.checked_sub(within)?;
    let bytes = |blocks: u32| u64::from(blocks).saturating_mul(block_bytes);
    let index = moved.partition_point(|(first, _)| *first < packet);
    match moved.get(index) {
        Some((first, offset)) if *first == packet => Some(ByteRange::new(
            offset.checked_add(bytes(within))?,
            bytes(packet_blocks.saturating_sub(within)),
        )),
        next => {
            let run = ground.run(block, block_bytes)?;
            let to_next = next.map_or(u64::MAX, |(first, _)| bytes(first.saturating_sub(block)));
            Some(ByteRange::new(run.offset, run.len.min(to_next)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUND: Ground = Ground {
        offset: 10_000,
        blocks: 100,
    };

    fn space(map: Map) -> Space {
        Space {
            block_bytes: 10,
            maps: vec![Map::Broken, map],
        }
    }

    fn run(space: &Space, block: u32) -> Option<(u64, u64)> {
        let run = space.run(Address { reference: 1, block })?;
        Some((run.offset, run.len))
    }

    #[test]
    fn plain_blocks_follow_each_other() {
        let space = space(Map::Plain(GROUND));
        assert_eq!(run(&space, 90), Some((10_900, 100)));
        assert_eq!(run(&space, 200), Some((12_000, 10)), "beyond the recorded end");
        assert_eq!(
            space.run(Address {
                reference: 0,
                block: 0
            }),
            None
        );
        assert_eq!(
            space.run(Address {
                reference: 9,
                block: 0
            }),
            None
        );
    }

    #[test]
    fn moved_packets_interrupt_a_run() {
        let space = space(Map::Spared {
            ground: GROUND,
            packet_blocks: 4,
            moved: vec![(8, 50_000), (16, 60_000)],
        });
        assert_eq!(run(&space, 5), Some((10_050, 30)));
        assert_eq!(run(&space, 9), Some((50_010, 30)));
        assert_eq!(run(&space, 12), Some((10_120, 40)));
        assert_eq!(run(&space, 20), Some((10_200, 800)));
        let mut runs = Vec::new();
        assert!(space.runs(
            Address {
                reference: 1,
                block: 6
            },
            75,
            &mut |at, range| {
                runs.push((at, range.offset, range.len));
            }
        ));
        assert_eq!(runs, [(0, 10_060, 20), (20, 50_000, 40), (60, 10_120, 15)]);
    }

    #[test]
    fn virtual_blocks_are_looked_up() {
        let space = space(Map::Virtual {
            ground: GROUND,
            table: vec![7, UNUSED],
        });
        assert_eq!(run(&space, 0), Some((10_070, 10)));
        assert_eq!(run(&space, 1), None);
        assert_eq!(run(&space, 2), None);
    }

    #[test]
    fn metadata_blocks_are_those_of_the_file() {
        let runs = vec![
            MetadataRun {
                first: 0,
                range: ByteRange::new(500, 20),
            },
            MetadataRun {
                first: 2,
                range: ByteRange::new(900, 30),
            },
        ];
        let space = space(Map::Metadata {
            ground: GROUND,
            runs,
            bitmap: Vec::new(),
        });
        assert_eq!(run(&space, 1), Some((510, 10)));
        assert_eq!(run(&space, 3), Some((910, 20)));
        assert_eq!(run(&space, 5), None);
        let next = |block| space.next(Address { reference: 1, block });
        assert_eq!((next(0), next(2)), (Some(2), None));
        assert!(!space.runs(
            Address {
                reference: 1,
                block: 4
            },
            20,
            &mut |_, _| {}
        ));
    }

    /// A hole of 2^32 blocks was gone through block by block.
    #[test]
    fn r22_holes_of_metadata_are_stepped_over_at_once() {
        let runs = [0, u32::MAX - 1].map(|first| MetadataRun {
            first,
            range: ByteRange::new(500, 10),
        });
        let space = space(Map::Metadata {
            ground: GROUND,
            runs: runs.to_vec(),
            bitmap: Vec::new(),
        });
        let at = Address {
            reference: 1,
            block: 1,
        };
        assert_eq!(space.run(at), None);
        assert_eq!(space.next(at), Some(u32::MAX - 1));
    }
}
