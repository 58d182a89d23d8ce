//! The journal, replayed in memory: which block of it holds what should stand elsewhere.
//!
//! Source: `fs/reiserfs/journal.c` (`journal_read`, `journal_read_transaction`). A transaction is a block of description, the blocks themselves, and a
//! block of commitment; where they should go stands in the first and, if there are many, in the last.

use std::collections::BTreeMap;

use ntt_source::field::le_u32;

use super::superblock::Superblock;
use crate::walk::Device;

const MAGIC: &[u8] = b"ReIsErLB";
/// The magic stands this far before the end of a block.
const MAGIC_BEFORE_END: usize = 12;
/// `JOURNAL_MAX_BATCH` and the like never make a transaction longer.
const TRANSACTION_MAX: u32 = 65_536;

/// What replaying gave.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// Block of the volume -> block of the journal that holds it.
    pub(super) blocks: BTreeMap<u32, u32>,
    pub(super) transactions: u32,
    /// Why there is no more of it.
    pub(super) problem: Option<String>,
}

struct Ring<'d, 'a> {
    device: &'d Device<'a>,
    block_bytes: u64,
    len: usize,
    first: u32,
    blocks: u32,
    transaction_max: u32,
}

/// Finds the transactions that were committed, but whose blocks may not have been written to their places.
pub(super) fn replay(device: &Device<'_>, superblock: &Superblock) -> Replay {
    let place = superblock.journal;
    let mut replay = Replay::default();
    if place.device != 0 {
        replay.problem = Some("it lies on another device, which was not looked at".to_owned());
        return replay;
    }
    let end = place.first.checked_add(place.blocks);
    if place.blocks == 0 || end.is_none_or(|end| end >= superblock.blocks) {
        replay.problem = Some("the superblock gives it a place that cannot be".to_owned());
        return replay;
    }
    let ring = Ring {
        device,
        block_bytes: superblock.block_bytes.into(),
        len: usize::try_from(superblock.block_bytes).unwrap_or(4096),
        first: place.first,
        blocks: place.blocks,
        transaction_max: match place.transaction_max {
            0 => TRANSACTION_MAX,
            max => max.min(TRANSACTION_MAX),
        },
    };
    ring.run(&mut replay);
    replay
}

impl Ring<'_, '_> {
    fn block(&self, number: u32) -> Option<Vec<u8>> {
        let mut block = vec![0; self.len];
        let offset = u64::from(number).checked_mul(self.block_bytes)?;
        self.device.read(offset, &mut block).ok()?;
        Some(block)
    }

    /// The block of the volume that is the `index`th of the ring.
    fn number(&self, index: u32) -> u32 {
        self.first
            .saturating_add(index.checked_rem(self.blocks).unwrap_or(0))
    }

    fn run(&self, replay: &mut Replay) {
        let Some(header) = self.block(self.first.saturating_add(self.blocks)) else {
            replay.problem = Some("its header cannot be read".to_owned());
            return;
        };
        let word = |at: usize| le_u32(&header, at).unwrap_or(0);
        let (mut id, mut index, mount) = (word(0).wrapping_add(1), word(4), word(8));
        let mut done = 0_u32;
        // A volume that was never mounted has an empty header.
        while word(0) > 0 && index < self.blocks && done < self.blocks {
            let Some(len) = self.transaction(index, id, mount, replay) else {
                break;
            };
            replay.transactions = replay.transactions.saturating_add(1);
            id = id.wrapping_add(1);
            done = done.saturating_add(len);
            index = index.saturating_add(len).checked_rem(self.blocks).unwrap_or(0);
        }
    }

    /// Adds a transaction if it is there and committed; how many blocks of the ring it takes.
    fn transaction(&self, index: u32, id: u32, mount: u32, replay: &mut Replay) -> Option<u32> {
        let description = self.block(self.number(index))?;
        let magic_at = self.len.checked_sub(MAGIC_BEFORE_END)?;
        let is_one = description.get(magic_at..)?.starts_with(MAGIC);
        let len = le_u32(&description, 4)?;
        let is_mine = is_one && le_u32(&description, 0)? == id && le_u32(&description, 8)? >= mount;
        if !is_mine || len == 0 || len > self.transaction_max || len >= self.blocks {
            return None;
        }
        let total = len.checked_add(2)?;
        let commit = self.block(self.number(index.checked_add(len)?.checked_add(1)?))?;
        if le_u32(&commit, 0)? != id || le_u32(&commit, 4)? != len {
            replay.problem = Some(format!("transaction {id} was not committed and is left out"));
            return None;
        }
        let places = description.get(12..magic_at)?.chunks_exact(4);
        let more = commit.get(8..magic_at)?.chunks_exact(4);
        let targets = places.chain(more).filter_map(|word| le_u32(word, 0));
        for (target, from) in targets.zip(1..=len) {
            let from = self.number(index.saturating_add(from));
            replay.blocks.insert(target, from);
        }
        Some(total)
    }
}
