//! The superblock that is used: the first one if it is right, else one of the copies at the start of every group.

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::{ReadAt, ReadError};

use super::superblock::{MAGIC, SUPERBLOCK_LEN, Superblock};
use crate::Error;
use crate::report::{doubtful, unreadable};

/// The largest sector, all of which the checksum covers.
const SECTOR_MAX: usize = 32_768;
/// Groups that `mkfs.xfs` makes by itself on a small or middling device, whose start is looked at.
const USUAL_GROUPS: [u64; 6] = [4, 1, 2, 8, 16, 32];
/// Blocks around the computed start of the second group at which a copy is looked for.
const AROUND_BLOCKS: u64 = 16;
/// Bytes from the start in which a sweep looks for copies.
const SWEEP_BYTES: u64 = 1 << 30;
const SWEEP_STEP: usize = 1 << 20;

/// A superblock, and how it was found.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) superblock: Superblock,
    /// Where it stands in the volume.
    pub(super) offset: u64,
    pub(super) findings: Vec<Finding>,
}

/// What stands at `offset`, if it is a superblock.
fn at(source: &dyn ReadAt, offset: u64) -> Result<Result<Superblock, String>, ReadError> {
    let mut bytes = vec![0; SUPERBLOCK_LEN];
    source.read_exact_at(offset, &mut bytes)?;
    let parsed = Superblock::parse(&bytes);
    // A sector is longer than the fields: the checksum needs all of it.
    if let Ok(superblock) = &parsed
        && superblock.is_v5()
        && usize::from(superblock.sector_bytes) > SUPERBLOCK_LEN
    {
        bytes.resize(usize::from(superblock.sector_bytes).min(SECTOR_MAX), 0);
        source.read_exact_at(offset, &mut bytes)?;
        return Ok(Superblock::parse(&bytes));
    }
    Ok(parsed)
}

/// A copy that is right and stands where one of its groups starts.
fn copy_at(source: &dyn ReadAt, offset: u64) -> Option<Superblock> {
    let copy = at(source, offset).ok()?.ok()?;
    let group_bytes = u64::from(copy.group_blocks).checked_mul(copy.block_bytes.into())?;
    let is_start = offset.checked_rem(group_bytes) == Some(0) && offset < copy.size_bytes();
    (is_start && !copy.crc.is_wrong()).then_some(copy)
}

/// A copy at the start of the second group, where groups have the usual sizes.
fn usual_copy(source: &dyn ReadAt) -> Option<(u64, Superblock)> {
    [4096_u64, 1024, 512, 2048].into_iter().find_map(|block_bytes| {
        let blocks = source.len().checked_div(block_bytes)?;
        USUAL_GROUPS.into_iter().find_map(|groups| {
            let near = blocks.checked_div(groups)?;
            let last = near.saturating_add(AROUND_BLOCKS);
            (near.saturating_sub(AROUND_BLOCKS)..=last)
                .filter_map(|block| block.checked_mul(block_bytes).filter(|offset| *offset > 0))
                .find_map(|offset| Some((offset, copy_at(source, offset)?)))
        })
    })
}

/// A copy anywhere in the first GiB.
pub(super) fn sweep(source: &dyn ReadAt) -> Option<(u64, Superblock)> {
    let end = source.len().min(SWEEP_BYTES);
    let mut chunk = vec![0; SWEEP_STEP];
    let mut start = 0;
    while start < end {
        let len = usize::try_from(end.saturating_sub(start))
            .unwrap_or(SWEEP_STEP)
            .min(SWEEP_STEP);
        let bytes = chunk.get_mut(..len)?;
        if source.read_exact_at(start, bytes).is_ok() {
            let starts = (start..).step_by(512).zip(bytes.chunks(512));
            let found = starts
                .filter(|(_, sector)| sector.starts_with(MAGIC))
                .find_map(|(offset, _)| Some((offset, copy_at(source, offset)?)));
            if found.is_some() {
                return found;
            }
        }
        start = start.saturating_add(u64::try_from(len).ok()?);
    }
    None
}

/// The superblock for a probe: cheap.
pub(super) fn probe(source: &dyn ReadAt) -> Option<(u64, Superblock)> {
    match at(source, 0) {
        Ok(Ok(superblock)) if !superblock.crc.is_wrong() => Some((0, superblock)),
        first => usual_copy(source).or(match first {
            Ok(Ok(superblock)) => Some((0, superblock)),
            _ => None,
        }),
    }
}

/// The superblock to use.
///
/// # Errors
///
/// When there is none, nor a copy.
pub(super) fn locate(source: &dyn ReadAt, image_offset: u64) -> Result<Located, Error> {
    let structure = "XFS superblock";
    let first = at(source, 0);
    let fault = match &first {
        Ok(Ok(superblock)) => superblock.crc.complaint("the superblock"),
        Ok(Err(detail)) => Some(detail.clone()),
        Err(error) => Some(error.to_string()),
    };
    let mut findings = Vec::new();
    if let Err(error @ ReadError::Unread { .. }) = &first {
        let mut finding = unreadable(error, Layer::FileSystem, "the superblock", image_offset);
        finding.severity = Severity::Warning;
        findings.push(finding);
    }
    let Some(fault) = fault else {
        if let Ok(Ok(superblock)) = first {
            return Ok(Located {
                superblock,
                offset: 0,
                findings,
            });
        }
        return Err(Error::Unsupported(structure.to_owned()));
    };
    let mut tell = |code, detail| {
        let finding = Finding::new(Severity::Warning, Layer::FileSystem, code, detail);
        findings.push(finding.at(image_offset));
    };
    let copy = usual_copy(source).or_else(|| match &first {
        Ok(Ok(superblock)) => second(source, superblock),
        _ => sweep(source),
    });
    match (copy, first) {
        (Some((offset, superblock)), _) => {
            tell(
                FindingCode::BackupUsed,
                format!("the superblock is unusable ({fault}); its copy at {offset:#x} was used"),
            );
            Ok(Located {
                superblock,
                offset,
                findings,
            })
        }
        (None, Ok(Ok(superblock))) => {
            findings.push(doubtful(Layer::FileSystem, fault, image_offset));
            Ok(Located {
                superblock,
                offset: 0,
                findings,
            })
        }
        (None, Ok(Err(detail))) => Err(Error::Corrupt {
            structure,
            detail,
            image_offset,
        }),
        (None, Err(source)) => Err(Error::Read { structure, source }),
    }
}

/// The copy in the second group, as the first superblock has it.
fn second(source: &dyn ReadAt, superblock: &Superblock) -> Option<(u64, Superblock)> {
    let offset = u64::from(superblock.group_blocks).checked_mul(superblock.block_bytes.into())?;
    Some((offset, copy_at(source, offset)?))
}
