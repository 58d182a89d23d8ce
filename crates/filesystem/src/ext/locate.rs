//! Finds a superblock that can be used: the primary one, or a copy at the start of a group.

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::{ReadAt, ReadError};

use super::superblock::{SUPERBLOCK_LEN, SUPERBLOCK_OFFSET, Superblock};
use crate::Error;
use crate::report::unreadable;

/// Groups that have a copy with and without `sparse_super`.
const BACKUP_GROUPS: [u64; 12] = [1, 3, 5, 7, 9, 2, 25, 27, 49, 81, 125, 243];
/// Those that a probe looks at.
const PROBED_GROUPS: usize = 3;
/// Blocks per bit of a bitmap: plain, and the usual ratio of `bigalloc`.
const CLUSTER_RATIOS: [u64; 2] = [1, 16];

/// The superblock to work with.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) superblock: Superblock,
    /// Where it starts in the volume.
    pub(super) offset: u64,
    pub(super) findings: Vec<Finding>,
}

impl Located {
    /// Whether it is a copy.
    pub(super) fn is_backup(&self) -> bool {
        self.offset != SUPERBLOCK_OFFSET
    }
}

/// Why no superblock stands at a place.
enum Refusal {
    Unreadable(ReadError),
    Corrupt(String),
}

/// Finds the superblock of a volume.
///
/// # Errors
///
/// [`Error::Read`] or [`Error::Corrupt`] about the primary superblock, if no copy can be used either.
pub(super) fn locate(source: &dyn ReadAt, image_offset: u64) -> Result<Located, Error> {
    let at = image_offset.saturating_add(SUPERBLOCK_OFFSET);
    match read(source, SUPERBLOCK_OFFSET) {
        Ok(superblock) if superblock.checksum_right == Some(false) => Ok(doubtful(source, superblock, at)),
        Ok(superblock) => Ok(Located {
            superblock,
            offset: SUPERBLOCK_OFFSET,
            findings: Vec::new(),
        }),
        Err(refusal) => match find_backup(source, BACKUP_GROUPS.len()).or_else(|| sweep(source)) {
            Some((offset, superblock)) => Ok(from_backup(&refusal, offset, superblock, at)),
            None => Err(refusal.into_error(at)),
        },
    }
}

/// A superblock whose evidence is enough for a probe, and where it starts.
pub(super) fn probe(source: &dyn ReadAt) -> Option<(u64, Superblock)> {
    match read(source, SUPERBLOCK_OFFSET) {
        Ok(superblock) => Some((SUPERBLOCK_OFFSET, superblock)),
        Err(_) => find_backup(source, PROBED_GROUPS),
    }
}

fn read(source: &dyn ReadAt, offset: u64) -> Result<Superblock, Refusal> {
    let mut bytes = [0; SUPERBLOCK_LEN];
    source
        .read_exact_at(offset, &mut bytes)
        .map_err(Refusal::Unreadable)?;
    Superblock::parse(&bytes).map_err(Refusal::Corrupt)
}

/// The first copy whose place is the one that its own fields say.
fn find_backup(source: &dyn ReadAt, groups: usize) -> Option<(u64, Superblock)> {
    let groups = BACKUP_GROUPS.iter().take(groups);
    let standard = groups.flat_map(|group| block_sizes().map(move |block| (*group, block)));
    let candidates = standard.chain(last_groups(source.len()));
    candidates
        .flat_map(|(group, block)| CLUSTER_RATIOS.map(|ratio| place(group, block, ratio)))
        .filter(|(_, offset)| *offset < source.len())
        .find_map(|(group, offset)| {
            let superblock = read(source, offset).ok()?;
            let is_sound = superblock.checksum_right != Some(false);
            (is_sound && stands_at(&superblock, group, offset)).then_some((offset, superblock))
        })
}

/// A copy in a file system with groups of an unusual length (`mke2fs -g`, and what resized or embedded ones have): group 1 starts within as many
/// blocks as a bitmap has bits, and the number of blocks of a group is a multiple of 8. Block sizes above 4 KiB are left out: their groups are
/// spread too far.
pub(super) fn sweep(source: &dyn ReadAt) -> Option<(u64, Superblock)> {
    block_sizes().take(3).find_map(|block| {
        let first = u64::from(block == 1024);
        let offsets =
            (1..=block).map(|step| step.saturating_mul(8).saturating_add(first).saturating_mul(block));
        offsets
            .take_while(|offset| *offset < source.len())
            .find_map(|offset| {
                let superblock = read(source, offset).ok()?;
                let group = u64::from(superblock.block_group);
                let is_sound = superblock.checksum_right != Some(false);
                (is_sound && stands_at(&superblock, group, offset)).then_some((offset, superblock))
            })
    })
}

/// Block sizes that Linux can mount and those that it cannot.
fn block_sizes() -> impl Iterator<Item = u64> {
    (0..7_u32).map(|log| 1024_u64.wrapping_shl(log))
}

/// `sparse_super2` keeps its second copy in the last group.
fn last_groups(len: u64) -> impl Iterator<Item = (u64, u64)> {
    block_sizes().map(move |block| {
        let group_bytes = block.saturating_mul(block).saturating_mul(8);
        (len.saturating_sub(1).checked_div(group_bytes).unwrap_or(0), block)
    })
}

fn place(group: u64, block: u64, ratio: u64) -> (u64, u64) {
    let per_group = block.saturating_mul(8).saturating_mul(ratio);
    let first = u64::from(block == 1024 && ratio == 1);
    let blocks = group.saturating_mul(per_group).saturating_add(first);
    (group, blocks.saturating_mul(block))
}

/// Guards against the copies of a file system image that is a file of another one.
fn stands_at(superblock: &Superblock, group: u64, offset: u64) -> bool {
    let block_bytes = u64::from(superblock.block_bytes);
    let own = superblock.group_first_block(group).saturating_mul(block_bytes);
    group > 0
        && own == offset
        && u64::from(superblock.block_group) == group
        && superblock.group_has_superblock(group)
}

/// The primary superblock is possible but its checksum is wrong: a copy decides whether its geometry can be believed.
fn doubtful(source: &dyn ReadAt, primary: Superblock, image_offset: u64) -> Located {
    let refusal = Refusal::Corrupt("checksum is wrong".to_owned());
    match find_backup(source, BACKUP_GROUPS.len()) {
        Some((offset, backup)) if backup.geometry() != primary.geometry() => {
            from_backup(&refusal, offset, backup, image_offset)
        }
        copy => {
            // With no copy to agree with it, all that is read depends on it.
            let severity = if copy.is_some() {
                Severity::Warning
            } else {
                Severity::Loss
            };
            Located {
                superblock: primary,
                offset: SUPERBLOCK_OFFSET,
                findings: vec![refusal.to_finding(severity, image_offset)],
            }
        }
    }
}

fn from_backup(refusal: &Refusal, offset: u64, superblock: Superblock, image_offset: u64) -> Located {
    let group = superblock.block_group;
    let detail = format!("the copy of the superblock in group {group} was used");
    let at = image_offset
        .saturating_sub(SUPERBLOCK_OFFSET)
        .saturating_add(offset);
    let used = Finding::new(
        Severity::Warning,
        Layer::FileSystem,
        FindingCode::BackupUsed,
        detail,
    )
    .at(at);
    Located {
        superblock,
        offset,
        findings: vec![refusal.to_finding(Severity::Warning, image_offset), used],
    }
}

impl Refusal {
    fn to_finding(&self, severity: Severity, image_offset: u64) -> Finding {
        let mut finding = match self {
            Self::Unreadable(error) => {
                unreadable(error, Layer::FileSystem, "the primary superblock", image_offset)
            }
            Self::Corrupt(detail) => {
                let detail = format!("primary superblock: {detail}");
                Finding::new(severity, Layer::FileSystem, FindingCode::Corrupt, detail).at(image_offset)
            }
        };
        finding.severity = severity;
        finding
    }

    fn into_error(self, image_offset: u64) -> Error {
        let structure = "superblock";
        match self {
            Self::Unreadable(source) => Error::Read { structure, source },
            Self::Corrupt(detail) => Error::Corrupt {
                structure,
                detail,
                image_offset,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::superblock::tests::sample;
    use super::*;

    /// A volume of three groups of 1 KiB blocks with a copy in group 1.
    fn volume() -> Vec<u8> {
        let mut volume = vec![0; 20 << 20];
        let mut superblock = sample();
        superblock[0x4..0x8].copy_from_slice(&20_480_u32.to_le_bytes());
        volume[1024..2048].copy_from_slice(&superblock);
        superblock[0x5a] = 1;
        volume[8193 * 1024..8194 * 1024].copy_from_slice(&superblock);
        volume
    }

    #[test]
    fn r22_a_copy_serves_when_the_primary_is_wiped() {
        let mut volume = volume();
        assert!(!locate(&volume, 0).expect("primary").is_backup());
        volume[1024..2048].fill(0);
        let located = locate(&volume, 4096).expect("copy");
        assert_eq!(located.offset, 8193 * 1024);
        assert_eq!(located.findings[1].code, FindingCode::BackupUsed);
        assert_eq!(located.findings[1].image_offset, Some(4096 + 8193 * 1024));
        assert_eq!(probe(&volume).expect("probed").0, 8193 * 1024);
    }

    /// Groups of 4,096 blocks, as `mke2fs -g 4096` makes them.
    #[test]
    fn r22_a_copy_at_an_unusual_place_is_found() {
        let mut volume = vec![0; 20 << 20];
        let mut superblock = sample();
        superblock[0x4..0x8].copy_from_slice(&20_480_u32.to_le_bytes());
        superblock[0x20..0x24].copy_from_slice(&4096_u32.to_le_bytes());
        superblock[0x5a] = 1;
        volume[4097 * 1024..4098 * 1024].copy_from_slice(&superblock);
        assert_eq!(locate(&volume, 0).expect("copy").offset, 4097 * 1024);
        assert!(probe(&volume).is_none());
        volume[4097 * 1024 + 0x5a] = 2;
        assert!(locate(&volume, 0).is_err());
    }

    #[test]
    fn a_copy_that_says_it_stands_elsewhere_is_not_taken() {
        let mut volume = volume();
        volume[1024..2048].fill(0);
        volume[8193 * 1024 + 0x5a] = 3;
        assert!(matches!(locate(&volume, 0), Err(Error::Corrupt { .. })));
        assert!(probe(&volume).is_none());
    }
}
