//! What every part of the reader needs: the superblock, and blocks as they are once the journal is replayed.

use std::collections::BTreeMap;

use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::superblock::Superblock;
use crate::walk::Device;

/// A volume whose superblock was read.
pub(super) struct Volume<'a> {
    pub(super) device: Device<'a>,
    pub(super) superblock: Superblock,
    /// Blocks that the journal holds in a newer state, and where.
    pub(super) replayed: BTreeMap<u32, u32>,
}

impl Volume<'_> {
    pub(super) fn block_bytes(&self) -> u64 {
        self.superblock.block_bytes.into()
    }

    pub(super) fn block_len(&self) -> usize {
        usize::try_from(self.superblock.block_bytes).unwrap_or(4096)
    }

    /// First byte of a block of content; `None` if there is no such block.
    pub(super) fn content_offset(&self, block: u32) -> Option<u64> {
        let exists = block > 0 && block < self.superblock.blocks;
        exists.then(|| u64::from(block).saturating_mul(self.block_bytes()))
    }

    /// First byte of a block of metadata, which may lie in the journal.
    pub(super) fn offset(&self, block: u32) -> Option<u64> {
        self.content_offset(self.replayed.get(&block).copied().unwrap_or(block))
    }

    /// A block of metadata with where it lies in the image.
    pub(super) fn read(&self, block: u32, layer: Layer, what: &str) -> Result<(Vec<u8>, u64), Finding> {
        let Some(offset) = self.offset(block) else {
            let detail = format!("{what} would be block {block}, which does not exist");
            return Err(Finding::new(
                Severity::Loss,
                layer,
                FindingCode::BeyondEnd,
                detail,
            ));
        };
        let bytes = self.device.read_vec(offset, self.block_len(), (layer, what))?;
        Ok((bytes, self.device.in_image(offset)))
    }

    /// Calls `each` with every block and whether it is in use. Those whose part of the bitmap cannot be read are; the findings tell of them.
    pub(super) fn each_block(&self, each: &mut dyn FnMut(u32, bool)) -> Vec<Finding> {
        let bits = self.superblock.block_bytes.saturating_mul(8);
        let mut findings = Vec::new();
        let mut first = 0_u32;
        let mut index = 0_u32;
        while first < self.superblock.blocks {
            let what = "a block of the bitmap";
            let bitmap = self.read(self.superblock.bitmap(index), Layer::FileSystem, what);
            let bitmap = bitmap.map(|(bytes, _)| bytes).unwrap_or_else(|mut finding| {
                finding.severity = Severity::Warning;
                findings.push(finding);
                vec![0xff; self.block_len()]
            });
            let end = first.saturating_add(bits).min(self.superblock.blocks);
            let states = bitmap
                .iter()
                .flat_map(|byte| (0..8_u32).map(move |bit| byte.rotate_right(bit) & 1 == 1));
            (first..end)
                .zip(states)
                .for_each(|(block, is_used)| each(block, is_used));
            if u64::from(end).saturating_mul(self.block_bytes()) > self.device.len() {
                break;
            }
            first = end;
            index = index.saturating_add(1);
        }
        findings
    }
}
