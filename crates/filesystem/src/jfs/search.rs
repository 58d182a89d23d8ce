//! Inodes that are looked for block by block, where the map of inodes is damaged.

use std::collections::{BTreeMap, BTreeSet};

use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::group::GROUP_INODES;
use super::inode::{EXTENT_INODES, INODE_BYTES, INODE_LEN, RawInode};
use super::nodes::{Jfs, RESERVED};
use super::superblock::Run;
use crate::walk::{EachFound, Found};
use crate::{Limits, Stop};

/// Bytes that a search reads at once.
const SEARCH_BYTES: u64 = 262_144;

/// Groups whose page is of no use.
pub(super) enum Damaged {
    Some(BTreeSet<u64>),
    All,
}

impl Damaged {
    fn has(&self, group: u64) -> bool {
        match self {
            Self::Some(groups) => groups.contains(&group),
            Self::All => true,
        }
    }
}

impl Jfs<'_, '_> {
    /// Looks for the inodes of damaged groups block by block: each says which one it is and where its extent starts.
    pub(super) fn search(
        &self,
        damaged: &Damaged,
        limits: &Limits,
        each: &mut EachFound<'_>,
    ) -> Result<(), Stop> {
        let detail = "inodes were looked for block by block, because their map is damaged";
        let finding = Finding::new(Severity::Warning, Layer::FileSystem, FindingCode::Corrupt, detail);
        each(Found::note(finding.at(self.volume.device.in_image(0))))?;
        let extents = self.extents_of(damaged);
        self.searched
            .borrow_mut()
            .extend(extents.iter().map(|(first, (run, _))| (*first, *run)));
        let stamp = most_frequent(extents.values().map(|(_, stamp)| *stamp));
        for (index, (run, _)) in extents
            .iter()
            .filter(|(_, (_, it))| Some(*it) == stamp)
            .map(|(index, it)| (*index, *it))
        {
            let Some(offset) = self.volume.run_offset(run) else {
                continue;
            };
            for within in 0..EXTENT_INODES {
                let number = index.saturating_mul(EXTENT_INODES).saturating_add(within);
                let at = offset.saturating_add(within.saturating_mul(INODE_BYTES));
                let Ok(slot) = self.slot(at) else {
                    continue;
                };
                let raw = RawInode::new(&slot, at);
                let raw =
                    raw.filter(|raw| raw.is_used() && raw.is_at_home(number, self.volume.block_bytes()));
                if let Some(raw) = raw.filter(|_| !RESERVED.contains(&number)) {
                    each(self.build(&raw, limits))?;
                }
            }
        }
        Ok(())
    }

    /// Extents of inodes of damaged groups, by their number, with where they lie and the stamp of their file set.
    fn extents_of(&self, damaged: &Damaged) -> BTreeMap<u64, (Run, u32)> {
        let mut extents = BTreeMap::new();
        let mut buffer = vec![0; usize::try_from(SEARCH_BYTES).unwrap_or(INODE_LEN)];
        let mut start = 0_u64;
        while start < self.volume.device.len() {
            let left = self.volume.device.len().saturating_sub(start).min(SEARCH_BYTES);
            let part = usize::try_from(left).unwrap_or(0);
            let chunk = buffer.get_mut(..part).unwrap_or_default();
            if self.volume.device.read(start, chunk).is_err() {
                for (at, slot) in (start..)
                    .step_by(INODE_LEN)
                    .zip(chunk.chunks_exact_mut(INODE_LEN))
                {
                    if self.volume.device.read(at, slot).is_err() {
                        slot.fill(0);
                    }
                }
            }
            for (at, slot) in (start..).step_by(INODE_LEN).zip(chunk.chunks_exact(INODE_LEN)) {
                let Some(raw) = RawInode::new(slot, at) else {
                    continue;
                };
                let number = u64::from(raw.number());
                let is_one = raw.is_used() && raw.is_at_home(number, self.volume.block_bytes());
                if is_one && damaged.has(number / GROUP_INODES) {
                    extents
                        .entry(number / EXTENT_INODES)
                        .or_insert((raw.home(), raw.stamp()));
                }
            }
            start = start.saturating_add(SEARCH_BYTES);
        }
        extents
    }
}

/// The value that most have; of several the smallest.
fn most_frequent(values: impl Iterator<Item = u32>) -> Option<u32> {
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    for value in values {
        let count = counts.entry(value).or_default();
        *count = count.saturating_add(1);
    }
    let most = counts.values().copied().max()?;
    counts
        .into_iter()
        .find(|(_, count)| *count == most)
        .map(|(value, _)| value)
}
