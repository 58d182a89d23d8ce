//! What every part of the reader needs: the superblock, the bytes, where things lie; and how the superblock is found.

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::{ReadAt, ReadError};

use super::superblock::{LEN, Superblock, parse};
use crate::report::unreadable;
use crate::{Error, VolumeSource};

/// Where a superblock may stand (`SBLOCKSEARCH`).
const PLACES: [u64; 4] = [65_536, 8192, 0, 262_144];
/// Copies stand in every group; this many bytes are searched for the first.
const SEARCHED_BYTES: u64 = 256 << 20;
/// Copies stand at multiples of this.
const STEP: usize = 512;
const CHUNK: u64 = 1 << 20;
/// `CG_MAGIC`.
pub(super) const GROUP_MAGIC: u32 = 0x0009_0255;

/// A volume whose superblock was read.
pub(super) struct Volume<'a> {
    source: VolumeSource<'a>,
    image_offset: u64,
    pub(super) superblock: Superblock,
}

impl<'a> Volume<'a> {
    pub(super) fn new(source: VolumeSource<'a>, image_offset: u64, superblock: Superblock) -> Self {
        Self {
            source,
            image_offset,
            superblock,
        }
    }

    pub(super) fn source_len(&self) -> u64 {
        self.source.len()
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.source.read_exact_at(offset, buffer)
    }

    pub(super) fn in_image(&self, offset: u64) -> u64 {
        self.image_offset.saturating_add(offset)
    }

    /// First byte of a fragment.
    pub(super) fn offset(&self, fragment: u64) -> u64 {
        fragment.saturating_mul(self.superblock.fragment_bytes.into())
    }

    /// First byte of fragments that hold `len` bytes; `None` if they do not all exist.
    pub(super) fn run(&self, fragment: u64, len: u64) -> Option<u64> {
        let fragments = len.div_ceil(u64::from(self.superblock.fragment_bytes).max(1));
        let end = fragment.checked_add(fragments)?;
        (end <= self.superblock.size).then(|| self.offset(fragment))
    }

    /// First byte of a group's header.
    pub(super) fn group_offset(&self, group: u32) -> u64 {
        let start = self.superblock.group_start(group);
        self.offset(start.saturating_add(self.superblock.group_at.into()))
    }

    /// First byte of an inode; `None` if there is no such inode.
    pub(super) fn inode_offset(&self, inode: u32) -> Option<u64> {
        (inode < self.superblock.inodes()).then_some(())?;
        let group = inode.checked_div(self.superblock.inodes_per_group)?;
        let within = u64::from(inode.checked_rem(self.superblock.inodes_per_group)?);
        let start = self.superblock.group_start(group);
        let table = self.offset(start.saturating_add(self.superblock.inodes_at.into()));
        let offset = table.checked_add(within.checked_mul(self.superblock.inode_len())?)?;
        (offset < self.superblock.size_bytes()).then_some(offset)
    }
}

/// A superblock and how it was found.
pub(super) struct Located {
    pub(super) superblock: Superblock,
    /// Where it stands, if it is a copy.
    pub(super) copy: Option<u64>,
    pub(super) findings: Vec<Finding>,
}

fn at(source: &dyn ReadAt, offset: u64) -> Result<Result<Superblock, String>, ReadError> {
    let mut bytes = [0; LEN];
    source.read_exact_at(offset, &mut bytes)?;
    Ok(parse(&bytes))
}

/// The first superblock at its usual places.
pub(super) fn usual(source: &dyn ReadAt) -> Option<Superblock> {
    PLACES.into_iter().find_map(|place| {
        let superblock = at(source, place).ok()?.ok()?;
        superblock.is_first_at(place).then_some(superblock)
    })
}

/// A copy whose group says that it belongs to this volume.
pub(super) fn search(source: &dyn ReadAt) -> Option<(u64, Superblock)> {
    let len = usize::try_from(CHUNK).ok()?;
    let mut chunk = vec![0; len.saturating_add(LEN)];
    let mut start = 0_u64;
    while start < source.len().min(SEARCHED_BYTES) {
        let rest = usize::try_from(source.len().saturating_sub(start)).unwrap_or(usize::MAX);
        let wanted = chunk.len().min(rest);
        let bytes = chunk.get_mut(..wanted)?;
        if source.read_exact_at(start, bytes).is_err() {
            fill_by_sectors(source, start, bytes);
        }
        for (offset, within) in (start..).step_by(STEP).zip((0..len.min(wanted)).step_by(STEP)) {
            let Ok(superblock) = parse(bytes.get(within..).unwrap_or_default()) else {
                continue;
            };
            if is_copy(source, offset, &superblock) {
                return Some((offset, superblock));
            }
        }
        start = start.saturating_add(CHUNK);
    }
    None
}

fn fill_by_sectors(source: &dyn ReadAt, start: u64, bytes: &mut [u8]) {
    for (offset, sector) in (start..).step_by(STEP).zip(bytes.chunks_mut(STEP)) {
        if source.read_exact_at(offset, sector).is_err() {
            sector.fill(0);
        }
    }
}

/// Whether the header of a group that stands where a copy in that group would want it says so.
fn is_copy(source: &dyn ReadAt, offset: u64, superblock: &Superblock) -> bool {
    let fragments = superblock.group_at.saturating_sub(superblock.superblock_at);
    let distance = u64::from(fragments).saturating_mul(superblock.fragment_bytes.into());
    let mut head = [0; 16];
    if source
        .read_exact_at(offset.saturating_add(distance), &mut head)
        .is_err()
    {
        return false;
    }
    let order = superblock.order;
    let Some(group) = order.word(&head, 12).filter(|group| *group < superblock.groups) else {
        return false;
    };
    let start = superblock
        .group_start(group)
        .saturating_add(superblock.superblock_at.into());
    order.word(&head, 4) == Some(GROUP_MAGIC)
        && start.saturating_mul(superblock.fragment_bytes.into()) == offset
}

/// Finds the superblock, or a copy of it.
pub(super) fn locate(source: &dyn ReadAt, image_offset: u64) -> Result<Located, Error> {
    if let Some(superblock) = usual(source) {
        return Ok(Located {
            superblock,
            copy: None,
            findings: Vec::new(),
        });
    }
    let mut findings = Vec::new();
    let mut detail = "there is none".to_owned();
    for place in PLACES {
        match at(source, place) {
            Err(error) => {
                let what = "a place of the superblock";
                findings.push(unreadable(
                    &error,
                    Layer::FileSystem,
                    what,
                    image_offset.saturating_add(place),
                ));
            }
            Ok(Err(why)) if why != "no magic number" => detail = why,
            Ok(_) => {}
        }
    }
    let Some((copy, superblock)) = search(source) else {
        return Err(Error::Corrupt {
            structure: "superblock",
            detail,
            image_offset,
        });
    };
    let told = format!("the superblock is lost ({detail}); a copy of it was used");
    let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::BackupUsed, told);
    findings.push(finding.at(image_offset.saturating_add(copy)));
    Ok(Located {
        superblock,
        copy: Some(copy),
        findings,
    })
}
