//! What a dirty journal holds, as a map from blocks of the volume to their newer copies (Linux `fs/jbd2/recovery.c`, `include/linux/jbd2.h`).
//!
//! Nothing is written: the copies are read where they lie. All numbers of the journal are big-endian.

use std::collections::BTreeMap;

use ntt_model::{Finding, FindingCode, Kind, Layer, Severity};
use ntt_source::field::{array, be_u16, be_u32, be_u64, le_u16, le_u32};

use super::blocks::{Copy, JOURNAL_MAGIC};
use super::checksum::crc32c;
use super::features::{compat, incompat};
use super::inode::RawInode;
use super::map::{MapContext, MapRoot, Run, map};
use super::volume::Volume;
use crate::report::Report;

/// Copies that are remembered at most; about 100 MB.
const COPIES_MAX: usize = 1 << 20;
/// Revoked blocks that are remembered at most; about 50 MB.
const REVOKED_MAX: usize = 1 << 21;
const HEADER_LEN: usize = 12;
const UUID_LEN: usize = 16;
const FAST_COMMIT_HEAD: u16 = 9;
const FAST_COMMIT_HEAD_LEN: u16 = 8;

mod block_type {
    pub(super) const DESCRIPTOR: u32 = 1;
    pub(super) const COMMIT: u32 = 2;
    pub(super) const SUPERBLOCK_V1: u32 = 3;
    pub(super) const SUPERBLOCK_V2: u32 = 4;
    pub(super) const REVOKE: u32 = 5;
}

mod feature {
    pub(super) const SIXTY_FOUR_BIT: u32 = 0x2;
    pub(super) const CHECKSUM_V2: u32 = 0x8;
    pub(super) const CHECKSUM_V3: u32 = 0x10;
    pub(super) const FAST_COMMIT: u32 = 0x20;
    pub(super) const KNOWN: u32 = 0x3f;
}

mod tag_flag {
    pub(super) const ESCAPED: u32 = 1;
    pub(super) const SAME_UUID: u32 = 2;
    pub(super) const LAST: u32 = 8;
}

/// Reads the journal if it has to be replayed. The finding says what became of it (R17).
pub(super) fn overlay(volume: &Volume<'_>, from_backup: bool, report: &mut Report) -> Overlay {
    let superblock = &volume.superblock;
    let is_dirty = superblock.has_incompat(incompat::RECOVER);
    if superblock.compat & compat::HAS_JOURNAL == 0 || !(is_dirty || from_backup) {
        return Overlay::default();
    }
    match Journal::open(volume, report)
        .and_then(|journal| journal.map(|journal| journal.replay()).transpose())
    {
        Ok(Some(replayed)) => {
            report.push(replayed.finding(volume));
            Overlay {
                copies: replayed.overlay,
                magic_block: replayed.magic_block,
            }
        }
        Ok(None) => Overlay::default(),
        Err(why) => {
            let detail = format!("the journal was not replayed: {why}");
            let finding = Finding::new(
                Severity::Loss,
                Layer::FileSystem,
                FindingCode::DirtyJournal,
                detail,
            );
            report.push(finding.at(volume.blocks.volume_offset()));
            Overlay::default()
        }
    }
}

/// What a replay gives.
#[derive(Default)]
pub(super) struct Overlay {
    /// Block of the volume -> its newest copy.
    pub(super) copies: BTreeMap<u64, Copy>,
    /// The journal's superblock.
    pub(super) magic_block: u64,
}

struct Replayed {
    magic_block: u64,
    overlay: BTreeMap<u64, Copy>,
    transactions: u64,
    wrong_checksums: u64,
    /// Why and at which block of the volume the log could not be read, after which nothing was replayed.
    unread: Option<(String, u64)>,
    /// Fast commits stand after the last transaction and were not replayed.
    fast_commits: bool,
}

impl Replayed {
    fn finding(&self, volume: &Volume<'_>) -> Finding {
        let mut detail = format!(
            "the journal was replayed in memory: {} transactions, {} blocks",
            self.transactions,
            self.overlay.len()
        );
        let mut severity = Severity::Info;
        if self.wrong_checksums > 0 {
            severity = Severity::Loss;
            detail.push_str(&format!(
                "; {} blocks left out for wrong checksums",
                self.wrong_checksums
            ));
        }
        let mut place = (FindingCode::DirtyJournal, volume.blocks.volume_offset());
        if let Some((why, block)) = &self.unread {
            severity = Severity::Loss;
            detail.push_str(&format!("; what follows was not: {why}"));
            place = (FindingCode::Unread, volume.blocks.image_offset(*block));
        }
        if self.fast_commits {
            severity = Severity::Loss;
            detail.push_str("; the fast commits after them were not");
        }
        let (code, at) = place;
        Finding::new(severity, Layer::FileSystem, code, detail).at(at)
    }
}

/// A journal whose superblock was checked.
struct Journal<'j, 'a> {
    volume: &'j Volume<'a>,
    runs: Vec<Run>,
    first: u64,
    /// The first block after the circular log.
    end: u64,
    start: u64,
    sequence: u32,
    features: u32,
    checksum_seed: u32,
}

/// A block that a transaction holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tag {
    block: u64,
    escaped: bool,
    checksum: u32,
}

/// What the log holds so far.
#[derive(Default)]
struct Log {
    /// Block, its copy, and the transaction.
    copies: Vec<(u64, Copy, u64)>,
    /// The last transaction that revoked a block.
    revoked: BTreeMap<u64, u64>,
    transactions: u64,
    wrong_checksums: u64,
    /// Why it ended, and at which block of the volume, if that could not be read: nobody knows what it held.
    unread: Option<(String, u64)>,
}

impl<'j, 'a> Journal<'j, 'a> {
    /// The journal; `None` if it is empty.
    fn open(volume: &'j Volume<'a>, report: &mut Report) -> Result<Option<Self>, String> {
        let runs = journal_runs(volume, report)?;
        let mut journal = Self {
            volume,
            runs,
            first: 0,
            end: 0,
            start: 0,
            sequence: 0,
            features: 0,
            checksum_seed: 0,
        };
        let head = journal.read(0)?;
        journal.check_superblock(&head)?;
        Ok((journal.start != 0).then_some(journal))
    }

    fn check_superblock(&mut self, head: &[u8]) -> Result<(), String> {
        let word = |offset| be_u32(head, offset).unwrap_or(0);
        let kind = word(4);
        let is_superblock = matches!(kind, block_type::SUPERBLOCK_V1 | block_type::SUPERBLOCK_V2);
        if head.get(..4) != Some(&JOURNAL_MAGIC[..]) || !is_superblock {
            return Err("it has no superblock".to_owned());
        }
        if u64::from(word(12)) != self.volume.blocks.block_bytes() {
            return Err(format!("its block size is {}", word(12)));
        }
        if kind == block_type::SUPERBLOCK_V2 {
            self.features = word(40);
            self.checksum_seed = crc32c(!0, &array::<UUID_LEN>(head, 48).unwrap_or_default());
        }
        if self.features & !feature::KNOWN != 0 {
            return Err(format!("unknown features {:#x}", self.features & !feature::KNOWN));
        }
        let fast = match (self.has(feature::FAST_COMMIT), word(0x54)) {
            (false, _) => 0,
            (true, 0) => 256,
            (true, blocks) => blocks,
        };
        self.first = u64::from(word(20));
        self.end = u64::from(word(16).saturating_sub(fast));
        self.sequence = word(24);
        self.start = u64::from(word(28));
        let mapped = self
            .runs
            .last()
            .map_or(0, |run| run.logical.saturating_add(run.len));
        if self.first == 0 || self.first >= self.end || u64::from(word(16)) > mapped {
            return Err(format!(
                "its log of blocks {} to {} does not fit {mapped} blocks",
                self.first, self.end
            ));
        }
        if self.start != 0 && !(self.first..self.end).contains(&self.start) {
            return Err(format!("its log starts at block {}", self.start));
        }
        Ok(())
    }

    fn has(&self, feature: u32) -> bool {
        self.features & feature != 0
    }

    fn has_checksums(&self) -> bool {
        self.has(feature::CHECKSUM_V2 | feature::CHECKSUM_V3)
    }

    /// The block of the volume that holds a block of the journal.
    fn home(&self, logical: u64) -> Option<u64> {
        let after = self.runs.partition_point(|run| run.logical <= logical);
        let run = self.runs.get(after.checked_sub(1)?)?;
        let within = logical.checked_sub(run.logical)?;
        (within < run.len).then(|| run.physical.saturating_add(within))
    }

    fn read(&self, logical: u64) -> Result<Vec<u8>, String> {
        let home = self
            .home(logical)
            .ok_or_else(|| format!("its block {logical} is not mapped"))?;
        let mut bytes = vec![0; self.volume.blocks.block_len()];
        let read = self.volume.blocks.read(home, &mut bytes);
        read.map(|()| bytes)
            .map_err(|error| format!("its block {logical}: {error}"))
    }

    /// The block after `block` in the circular log.
    fn after(&self, block: u64) -> u64 {
        let next = block.saturating_add(1);
        if next >= self.end { self.first } else { next }
    }

    /// Reads transactions until the log ends, and builds the map from those that were committed.
    fn replay(&self) -> Result<Replayed, String> {
        let mut log = Log::default();
        let mut at = self.start;
        let mut left = self.end.saturating_sub(self.first);
        while let Some((next, used)) = self.transaction(at, left, &mut log)? {
            at = next;
            left = left.saturating_sub(used);
        }
        let revoked = &log.revoked;
        let valid = log
            .copies
            .iter()
            .filter(|(block, _, transaction)| revoked.get(block).is_none_or(|revoke| revoke < transaction));
        Ok(Replayed {
            magic_block: self.home(0).unwrap_or(0),
            overlay: valid.map(|(block, copy, _)| (*block, *copy)).collect(),
            transactions: log.transactions,
            wrong_checksums: log.wrong_checksums,
            unread: log.unread,
            fast_commits: self.has_fast_commits(log.transactions),
        })
    }

    /// Whether the area behind the log starts with a fast commit of the transaction that is still missing (Linux
    /// `fs/ext4/fast_commit.h`: tag, length, then in a head the features and the transaction, all little-endian). It begins one block behind the end of the log
    /// (`j_fc_first = j_last + 1` in `fs/jbd2/journal.c`).
    fn has_fast_commits(&self, transactions: u64) -> bool {
        let sequence = self
            .sequence
            .wrapping_add(u32::try_from(transactions).unwrap_or(0));
        let area = self
            .has(feature::FAST_COMMIT)
            .then(|| self.read(self.end.saturating_add(1)));
        let Some(Ok(block)) = area else { return false };
        let head = (le_u16(&block, 0), le_u16(&block, 2), le_u32(&block, 8));
        head == (Some(FAST_COMMIT_HEAD), Some(FAST_COMMIT_HEAD_LEN), Some(sequence))
    }

    /// Reads the transaction that starts at `at`; `None` if none was committed there, else where the next one starts and how
    /// many blocks this one took.
    fn transaction(&self, mut at: u64, left: u64, log: &mut Log) -> Result<Option<(u64, u64)>, String> {
        let number = log.transactions;
        let sequence = self.sequence.wrapping_add(u32::try_from(number).unwrap_or(0));
        let (mut copies, mut revoked, mut used) = (Vec::new(), Vec::new(), 0_u64);
        let mut wrong = 0_u64;
        while used < left {
            let block = match self.read(at) {
                Ok(block) => block,
                Err(why) => {
                    log.unread = Some((why, self.home(at).unwrap_or(0)));
                    return Ok(None);
                }
            };
            if block.get(..4) != Some(&JOURNAL_MAGIC[..]) || be_u32(&block, 8) != Some(sequence) {
                return Ok(None);
            }
            at = self.after(at);
            used = used.saturating_add(1);
            match be_u32(&block, 4) {
                Some(block_type::DESCRIPTOR) if self.tail_right(&block) => {
                    for tag in self.tags(&block) {
                        match self.copy(&tag, at, sequence) {
                            Some(copy) => copies.push((tag.block, copy, number)),
                            None => wrong = wrong.saturating_add(1),
                        }
                        at = self.after(at);
                        used = used.saturating_add(1);
                    }
                    // Not only once it is committed: blocks of the journal may all lie in one place, so that a long one costs nothing.
                    within(copies.len(), COPIES_MAX, "blocks")?;
                }
                Some(block_type::REVOKE) if self.tail_right(&block) => {
                    revoked.extend(self.revocations(&block));
                    within(revoked.len(), REVOKED_MAX, "revoked blocks")?;
                }
                Some(block_type::COMMIT) if self.commit_right(&block) => {
                    log.wrong_checksums = log.wrong_checksums.saturating_add(wrong);
                    return log.commit(copies, &revoked).map(|()| Some((at, used)));
                }
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Where the copy of a tag's block is; `None` if its checksum is wrong or its block does not exist.
    fn copy(&self, tag: &Tag, at: u64, sequence: u32) -> Option<Copy> {
        if tag.block >= self.volume.superblock.blocks_count {
            return None;
        }
        let copy = Copy {
            block: self.home(at)?,
            escaped: tag.escaped,
        };
        if !self.has_checksums() {
            return Some(copy);
        }
        let bytes = self.read(at).ok()?;
        let computed = crc32c(crc32c(self.checksum_seed, &sequence.to_be_bytes()), &bytes);
        let mask = if self.has(feature::CHECKSUM_V3) {
            !0
        } else {
            0xffff
        };
        (computed & mask == tag.checksum).then_some(copy)
    }

    fn tag_len(&self) -> usize {
        match (
            self.has(feature::CHECKSUM_V3),
            self.has(feature::CHECKSUM_V2),
            self.has(feature::SIXTY_FOUR_BIT),
        ) {
            (true, _, _) => 16,
            (false, true, true) => 14,
            (false, true, false) => 10,
            (false, false, true) => 12,
            (false, false, false) => 8,
        }
    }

    fn tags(&self, block: &[u8]) -> Vec<Tag> {
        let mut tags = Vec::new();
        let mut offset = HEADER_LEN;
        let tail = if self.has_checksums() { 4 } else { 0 };
        let end = block.len().saturating_sub(tail);
        while offset.saturating_add(self.tag_len()) <= end {
            let (tag, flags) = self.tag(block, offset);
            tags.push(tag);
            offset = offset.saturating_add(self.tag_len());
            if flags & tag_flag::SAME_UUID == 0 {
                offset = offset.saturating_add(UUID_LEN);
            }
            if flags & tag_flag::LAST != 0 {
                break;
            }
        }
        tags
    }

    fn tag(&self, block: &[u8], offset: usize) -> (Tag, u32) {
        let word = |field: usize| be_u32(block, offset.saturating_add(field)).unwrap_or(0);
        let half = |field: usize| u32::from(be_u16(block, offset.saturating_add(field)).unwrap_or(0));
        let (flags, checksum) = if self.has(feature::CHECKSUM_V3) {
            (word(4), word(12))
        } else {
            (half(6), half(4))
        };
        let high = if self.has(feature::SIXTY_FOUR_BIT) {
            word(8)
        } else {
            0
        };
        let tag = Tag {
            block: u64::from(word(0)) | (u64::from(high) << 32),
            escaped: flags & tag_flag::ESCAPED != 0,
            checksum,
        };
        (tag, flags)
    }

    fn revocations(&self, block: &[u8]) -> Vec<u64> {
        let count = usize::try_from(be_u32(block, HEADER_LEN).unwrap_or(0)).unwrap_or(0);
        let entries = block
            .get(HEADER_LEN.saturating_add(4)..count.min(block.len()))
            .unwrap_or_default();
        if self.has(feature::SIXTY_FOUR_BIT) {
            let (entries, _) = entries.as_chunks::<8>();
            return entries.iter().filter_map(|entry| be_u64(entry, 0)).collect();
        }
        let (entries, _) = entries.as_chunks::<4>();
        entries
            .iter()
            .filter_map(|entry| be_u32(entry, 0).map(u64::from))
            .collect()
    }

    /// Whether the checksum in the last four bytes is right, if there is one.
    fn tail_right(&self, block: &[u8]) -> bool {
        let Some(start) = block.len().checked_sub(4) else {
            return false;
        };
        !self.has_checksums() || self.checksum_at(block, start)
    }

    fn commit_right(&self, block: &[u8]) -> bool {
        !self.has_checksums() || self.checksum_at(block, 16)
    }

    /// Compares the four bytes at `offset` with the checksum of the block with zeros in their place.
    fn checksum_at(&self, block: &[u8], offset: usize) -> bool {
        let head = block.get(..offset).unwrap_or_default();
        let tail = block.get(offset.saturating_add(4)..).unwrap_or_default();
        let computed = crc32c(crc32c(crc32c(self.checksum_seed, head), &[0; 4]), tail);
        be_u32(block, offset) == Some(computed)
    }
}

impl Log {
    fn commit(&mut self, copies: Vec<(u64, Copy, u64)>, revoked: &[u64]) -> Result<(), String> {
        within(
            self.copies.len().saturating_add(copies.len()),
            COPIES_MAX,
            "blocks",
        )?;
        self.copies.extend(copies);
        for block in revoked {
            self.revoked.insert(*block, self.transactions);
            within(self.revoked.len(), REVOKED_MAX, "revoked blocks")?;
        }
        self.transactions = self.transactions.saturating_add(1);
        Ok(())
    }
}

/// Refuses a journal that holds too much.
fn within(count: usize, most: usize, what: &str) -> Result<(), String> {
    if count > most {
        return Err(format!("it holds more than {most} {what}"));
    }
    Ok(())
}

/// The blocks of the journal: of its inode, or of the copy of its map in the superblock.
fn journal_runs(volume: &Volume<'_>, report: &mut Report) -> Result<Vec<Run>, String> {
    let place = volume.superblock.journal;
    if place.inode == 0 {
        return Err(format!("it is external, on device {:#x}", place.device));
    }
    let root = journal_root(volume, place.inode).or_else(|| backup_root(volume));
    let root = root.ok_or_else(|| "its inode cannot be read".to_owned())?;
    let mut runs = Vec::new();
    let mut budget = volume.superblock.blocks_count.min(1 << 20);
    let mut context = MapContext {
        volume,
        report,
        budget: &mut budget,
    };
    map(&mut context, &root, &mut |run| {
        runs.push(run);
        runs.len() < COPIES_MAX
    });
    Ok(runs)
}

fn journal_root(volume: &Volume<'_>, number: u32) -> Option<MapRoot> {
    let mut buffer = Vec::new();
    let inode_place = volume.read_inode_block(number, &mut buffer).ok()?;
    let bytes = buffer.get(inode_place.within..)?;
    let inode = RawInode::new(bytes, number, volume.inode_image_offset(inode_place))?;
    let size = inode.size(&volume.superblock);
    let end = size.div_ceil(volume.blocks.block_bytes().max(1));
    (inode.kind() == Kind::File && inode.links() > 0 && end > 0)
        .then(|| MapRoot::of(&inode, &volume.superblock, end))
}

fn backup_root(volume: &Volume<'_>) -> Option<MapRoot> {
    let place = volume.superblock.journal;
    let bytes = place.backup_map?;
    Some(MapRoot {
        bytes,
        is_extents: bytes.starts_with(&[0x0a, 0xf3]),
        inode: place.inode,
        generation: None,
        image_offset: volume.blocks.volume_offset().saturating_add(1024 + 0x10c),
        end: place.backup_size.div_ceil(volume.blocks.block_bytes().max(1)),
        claimed_bytes: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::blocks::Blocks;
    use super::super::superblock::Superblock;
    use super::super::superblock::tests::sample;
    use super::*;

    /// What is wrong with a journal of which every `len` blocks lie where block 3 of the volume and those behind it do. That block has the head of
    /// its kind, and otherwise `filler`.
    fn refused(kind: u8, filler: [u8; 8], (count, len): (u64, u64)) -> Option<String> {
        let mut bytes = vec![0; 4096];
        let block = &mut bytes[3072..];
        block[16..]
            .chunks_exact_mut(8)
            .for_each(|part| part.copy_from_slice(&filler));
        block[..4].copy_from_slice(&JOURNAL_MAGIC);
        block[7] = kind;
        block[12..16].copy_from_slice(&1024_u32.to_be_bytes());
        let volume = Volume {
            superblock: Superblock::parse(&sample()).expect("a superblock"),
            groups: Vec::new(),
            blocks: Blocks::new(Box::new(bytes), 0, 1024),
        };
        let runs = (0..count).map(|index| Run {
            logical: index * len,
            physical: 3,
            len,
            unwritten: false,
        });
        let journal = Journal {
            volume: &volume,
            runs: runs.collect(),
            first: 0,
            end: u64::MAX,
            start: 0,
            sequence: 0,
            features: 0,
            checksum_seed: 0,
        };
        journal.transaction(0, u64::MAX, &mut Log::default()).err()
    }

    /// One block of the volume served as any number of blocks of the journal, and what they hold was bounded only once it was committed.
    #[test]
    fn r22_a_journal_of_one_block_over_and_over_is_given_up() {
        let blocks = refused(1, [0, 0, 0, 2, 0, 0, 0, 5], (9000, 127));
        assert_eq!(blocks.as_deref(), Some("it holds more than 1048576 blocks"));
        let revoked = refused(5, [0; 8], (9000, 1));
        assert_eq!(
            revoked.as_deref(),
            Some("it holds more than 2097152 revoked blocks")
        );
    }

    /// What all transactions revoke is bounded too.
    #[test]
    fn r22_revoked_blocks_of_all_transactions_are_bounded() {
        let most = u64::try_from(REVOKED_MAX).expect("small");
        let mut log = Log {
            revoked: (0..most).map(|block| (block, 0)).collect(),
            ..Log::default()
        };
        assert_eq!(log.commit(Vec::new(), &[0, 1]), Ok(()));
        assert!(log.commit(Vec::new(), &[most]).is_err());
    }
}
