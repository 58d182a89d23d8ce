//! Group descriptors, with their copies (Linux `fs/ext4/ext4.h`, `struct ext4_group_desc`; `Documentation/filesystems/ext4/group_descr.rst`).

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::field::{le_u16, le_u32};

use super::blocks::Blocks;
use super::checksum::{crc16, crc32c};
use super::features::incompat;
use super::superblock::Superblock;
use crate::report::{Report, doubtful, unreadable};

/// Groups that are read at most: 128 TiB of 4 KiB blocks.
const GROUPS_MAX: u64 = 1 << 20;
/// Copies of the descriptors that are consulted.
const COPIES_MAX: usize = 6;
const CHECKSUM_OFFSET: usize = 0x1e;

/// Where the structures of a group are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Group {
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    pub(super) inode_table: u64,
    /// Inodes at the end of the table that were never used.
    pub(super) unused_inodes: u32,
    /// The inode table was never used. Only set when the descriptor can be believed.
    pub(super) inodes_uninit: bool,
    /// The block bitmap was never written. Only set when the descriptor can be believed.
    pub(super) blocks_uninit: bool,
    /// The descriptor makes sense; otherwise only the inode table is a guess, 0 if there is none.
    pub(super) is_sound: bool,
}

/// How far a descriptor can be believed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Trust {
    /// Points nowhere.
    No,
    /// Possible, but its checksum is wrong or it points outside its own group.
    Doubtful,
    /// Nothing speaks against it.
    Yes,
}

/// Reads all descriptors, from copies where the primary ones are bad.
pub(super) fn read_groups(blocks: &Blocks<'_>, superblock: &Superblock, report: &mut Report) -> Vec<Group> {
    let reader = GroupReader { blocks, superblock };
    let mut groups = Vec::new();
    let count = reader.count(report);
    let mut table_block = 0;
    while len(&groups) < count {
        reader.read_block(table_block, count, &mut groups, report);
        table_block = table_block.saturating_add(1);
    }
    groups
}

fn len(groups: &[Group]) -> u64 {
    u64::try_from(groups.len()).unwrap_or(u64::MAX)
}

struct GroupReader<'r, 'a> {
    blocks: &'r Blocks<'a>,
    superblock: &'r Superblock,
}

impl GroupReader<'_, '_> {
    /// Groups worth reading: no more than have a descriptor in the source, or inodes.
    fn count(&self, report: &mut Report) -> u64 {
        let claimed = self.superblock.group_count();
        let described = self
            .blocks
            .source_len()
            .checked_div(self.desc_bytes())
            .unwrap_or(0);
        let populated = u64::from(u32::MAX)
            .checked_div(u64::from(self.superblock.inodes_per_group))
            .unwrap_or(0);
        let count = claimed
            .min(described)
            .min(populated.saturating_add(1))
            .min(GROUPS_MAX);
        if count < claimed {
            let detail = format!("{claimed} groups are claimed, {count} are read");
            let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Limit, detail);
            report.push(finding.at(self.blocks.volume_offset()));
        }
        count
    }

    fn desc_bytes(&self) -> u64 {
        u64::from(self.superblock.desc_bytes)
    }

    fn per_block(&self) -> u64 {
        self.blocks
            .block_bytes()
            .checked_div(self.desc_bytes())
            .unwrap_or(1)
    }

    /// Reads one block of descriptors, and where one of them is bad the copies of that block.
    fn read_block(&self, table_block: u64, count: u64, groups: &mut Vec<Group>, report: &mut Report) {
        let places = self.places(table_block);
        let mut copies = places.iter().map(|place| (*place, self.load(*place)));
        let mut loaded = Vec::new();
        loaded.extend(copies.next());
        if let Some((place, Err(error))) = loaded.first() {
            let at = self.blocks.home_offset(*place);
            let what = format!("block {table_block} of the group descriptors");
            report.push(unreadable(error, Layer::FileSystem, &what, at));
        }
        let first = table_block.saturating_mul(self.per_block());
        for group in first..first.saturating_add(self.per_block()).min(count) {
            let offset = usize::try_from(group.saturating_sub(first))
                .unwrap_or(0)
                .saturating_mul(usize::from(self.superblock.desc_bytes));
            let mut chosen = self.best(group, offset, &loaded);
            if chosen.trust != Trust::Yes {
                loaded.extend(copies.by_ref());
                chosen = self.best(group, offset, &loaded);
                self.tell(group, &chosen, places.first().copied(), offset, report);
            }
            groups.push(chosen.group);
        }
    }

    fn load(&self, place: u64) -> Result<Vec<u8>, ntt_source::ReadError> {
        let mut bytes = vec![0; self.blocks.block_len()];
        self.blocks.read(place, &mut bytes).map(|()| bytes)
    }

    /// The first of the best versions of a descriptor.
    fn best(
        &self,
        group: u64,
        offset: usize,
        loaded: &[(u64, Result<Vec<u8>, ntt_source::ReadError>)],
    ) -> Chosen {
        let mut best = Chosen::none();
        for (copy, (_, bytes)) in loaded.iter().enumerate() {
            let end = offset.saturating_add(usize::from(self.superblock.desc_bytes));
            let Some(bytes) = bytes.as_ref().ok().and_then(|bytes| bytes.get(offset..end)) else {
                continue;
            };
            let (parsed, trust) = self.parse(group, bytes);
            if trust > best.trust {
                best = Chosen {
                    group: parsed,
                    trust,
                    copy,
                };
            }
        }
        if best.trust == Trust::No {
            best.group.inode_table = self.guess_inode_table(group);
        }
        best
    }

    fn tell(&self, group: u64, chosen: &Chosen, place: Option<u64>, offset: usize, report: &mut Report) {
        if chosen.trust == Trust::No && self.is_beyond_end(group) {
            // That the image ends before the file system is told once, not for every group.
            return;
        }
        let offset = u64::try_from(offset).unwrap_or(0);
        let at = place
            .map_or(0, |place| self.blocks.home_offset(place))
            .saturating_add(offset);
        let (severity, code, detail) = match (chosen.trust, chosen.copy) {
            (Trust::No, _) => (
                Severity::Loss,
                FindingCode::Corrupt,
                "is unusable and so are its copies",
            ),
            (Trust::Yes, 1..) => (
                Severity::Warning,
                FindingCode::BackupUsed,
                "is bad; a copy was used",
            ),
            _ => {
                let detail =
                    format!("the descriptor of group {group} has a wrong checksum or place, but was used");
                return report.push(doubtful(Layer::FileSystem, detail, at));
            }
        };
        let detail = format!("the descriptor of group {group} {detail}");
        report.push(Finding::new(severity, Layer::FileSystem, code, detail).at(at));
    }

    fn is_beyond_end(&self, group: u64) -> bool {
        let first = self.superblock.group_first_block(group);
        first.saturating_mul(self.blocks.block_bytes()) >= self.blocks.source_len()
    }

    /// Where block `table_block` of the descriptors and its copies lie (Linux `descriptor_loc`, e2fsprogs `ext2fs_descriptor_block_loc2`).
    fn places(&self, table_block: u64) -> Vec<u64> {
        let superblock = self.superblock;
        let by_meta_group =
            superblock.has_incompat(incompat::META_BG) && table_block >= u64::from(superblock.first_meta_bg);
        if by_meta_group {
            let first = table_block.saturating_mul(self.per_block());
            let last = first.saturating_add(self.per_block()).saturating_sub(1);
            let groups = [first, first.saturating_add(1), last];
            return groups.map(|group| self.after_superblock(group)).to_vec();
        }
        let groups = [0, 1, 2, 3, 4, 5, 7, 9, 25, 27, 49, 81].into_iter();
        let backups = superblock.backup_groups.iter().map(|group| u64::from(*group));
        let groups = groups.chain(backups.filter(|group| *group > 9));
        let own = groups
            .filter(|group| *group < superblock.group_count() && superblock.group_has_superblock(*group));
        own.take(COPIES_MAX)
            .map(|group| self.after_superblock(group).saturating_add(table_block))
            .collect()
    }

    /// The first block of a group that its superblock, if it has one, leaves free.
    fn after_superblock(&self, group: u64) -> u64 {
        let first = self.superblock.group_first_block(group);
        let shared_boot_block = group == 0 && self.superblock.block_bytes == 1024 && first == 0;
        let taken = u64::from(self.superblock.group_has_superblock(group));
        first
            .saturating_add(taken)
            .saturating_add(u64::from(shared_boot_block))
    }

    fn parse(&self, group: u64, bytes: &[u8]) -> (Group, Trust) {
        let is_wide = bytes.len() >= 64;
        let block = |low, high| {
            let high = if is_wide { le_u32(bytes, high) } else { None };
            u64::from(le_u32(bytes, low).unwrap_or(0)) | (u64::from(high.unwrap_or(0)) << 32)
        };
        let half = |offset| le_u16(bytes, offset).unwrap_or(0);
        let unused_high = if is_wide { half(0x32) } else { 0 };
        let mut parsed = Group {
            block_bitmap: block(0x0, 0x20),
            inode_bitmap: block(0x4, 0x24),
            inode_table: block(0x8, 0x28),
            unused_inodes: u32::from(half(0x1c)) | (u32::from(unused_high) << 16),
            ..Group::default()
        };
        let trust = self.trust(group, &parsed, bytes);
        parsed.is_sound = trust != Trust::No;
        let believed = trust == Trust::Yes && self.superblock.has_group_checksums();
        parsed.inodes_uninit = believed && half(0x12) & 1 != 0;
        parsed.blocks_uninit = believed && half(0x12) & 2 != 0;
        if !believed || parsed.unused_inodes > self.superblock.inodes_per_group {
            parsed.unused_inodes = 0;
        }
        (parsed, trust)
    }

    fn trust(&self, group: u64, parsed: &Group, bytes: &[u8]) -> Trust {
        let superblock = self.superblock;
        let places = [parsed.block_bitmap, parsed.inode_bitmap, parsed.inode_table];
        if places
            .iter()
            .any(|block| *block <= superblock.first_data_block || *block >= superblock.blocks_count)
        {
            return Trust::No;
        }
        let start = superblock.group_first_block(group);
        let end = start.saturating_add(superblock.blocks_per_group);
        let at_home = places.iter().all(|block| (start..end).contains(block));
        let may_roam = superblock.has_incompat(incompat::FLEX_BG | incompat::META_BG);
        if self.checksum_right(group, bytes) && (at_home || may_roam) {
            Trust::Yes
        } else {
            Trust::Doubtful
        }
    }

    fn checksum_right(&self, group: u64, bytes: &[u8]) -> bool {
        if !self.superblock.has_group_checksums() {
            return true;
        }
        let number = u32::try_from(group).unwrap_or(u32::MAX).to_le_bytes();
        let head = bytes.get(..CHECKSUM_OFFSET).unwrap_or_default();
        let tail = bytes.get(CHECKSUM_OFFSET.saturating_add(2)..).unwrap_or_default();
        let computed = if self.superblock.has_metadata_checksums() {
            let seed = crc32c(self.superblock.checksum_seed, &number);
            let [low, high, ..] = crc32c(crc32c(crc32c(seed, head), &[0; 2]), tail).to_le_bytes();
            u16::from_le_bytes([low, high])
        } else {
            crc16(
                crc16(crc16(crc16(!0, &self.superblock.uuid), &number), head),
                tail,
            )
        };
        le_u16(bytes, CHECKSUM_OFFSET) == Some(computed)
    }

    /// Where mke2fs puts the inode table of a group, if what stands there looks like one; else 0.
    fn guess_inode_table(&self, group: u64) -> u64 {
        let block = self.usual_inode_table(group);
        let is_table = block.filter(|block| {
            let mut bytes = vec![0; self.blocks.block_len()];
            let read = self.blocks.read(*block, &mut bytes);
            read.is_ok() && holds_inodes(&bytes, usize::from(self.superblock.inode_bytes))
        });
        is_table.unwrap_or(0)
    }

    /// After superblock, descriptors and two bitmaps; with `flex_bg` after those of the first group of its set, where bitmaps and tables of the
    /// whole set follow (e2fsprogs `lib/ext2fs/alloc_tables.c`).
    fn usual_inode_table(&self, group: u64) -> Option<u64> {
        let superblock = self.superblock;
        if superblock.has_incompat(incompat::META_BG) {
            return None;
        }
        let set = if superblock.has_incompat(incompat::FLEX_BG) {
            superblock.flex_groups
        } else {
            1
        };
        let within = group.checked_rem(set)?;
        let first = group.checked_sub(within)?;
        let mut block = superblock.group_first_block(first);
        if superblock.group_has_superblock(first) {
            let descriptors = superblock.group_count().div_ceil(self.per_block().max(1));
            let fixed = descriptors.checked_add(u64::from(superblock.reserved_gdt_blocks))?;
            block = self.after_superblock(first).checked_add(fixed)?;
        }
        let table_bytes =
            u64::from(superblock.inodes_per_group).checked_mul(superblock.inode_bytes.into())?;
        let table_blocks = table_bytes.div_ceil(self.blocks.block_bytes().max(1));
        block
            .checked_add(set.checked_mul(2)?)?
            .checked_add(within.checked_mul(table_blocks)?)
    }
}

/// Whether every inode of a block has a type that exists, or is all zeros.
fn holds_inodes(bytes: &[u8], inode_bytes: usize) -> bool {
    let inodes = bytes.chunks_exact(inode_bytes.max(1));
    let is_possible = |inode: &[u8]| {
        let is_type = |mode: u16| matches!(mode >> 12, 0 | 1 | 2 | 4 | 6 | 8 | 10 | 12);
        le_u16(inode, 0).is_some_and(is_type) && (le_u16(inode, 0) != Some(0) || le_u16(inode, 26) == Some(0))
    };
    inodes.into_iter().all(is_possible)
}

struct Chosen {
    group: Group,
    trust: Trust,
    copy: usize,
}

impl Chosen {
    fn none() -> Self {
        Self {
            group: Group::default(),
            trust: Trust::No,
            copy: 0,
        }
    }
}
