//! The container: its superblock, of which every checkpoint leaves one.
//!
//! ```text
//! | copy of a superblock | checkpoints: a ring of superblocks and maps | ... | data of checkpoints | ...
//!   block 0                from xp_desc_base on
//! ```
//!
//! The superblock of the highest transaction whose checksum is right is the state of the container. Block 0 is written when the container is
//! put away.

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::ReadAt;
use ntt_source::field::{array, le_u32, le_u64};

use super::object::{Header, is_sealed, kind};
use crate::Error;
use crate::report::{doubtful, unreadable};

/// Bytes in which the superblock lies whatever the block size.
const SUPERBLOCK_LEN: usize = 4096;
/// Where block 0 is lost, this many blocks behind it are searched for another superblock.
const SEARCHED_BLOCKS: u64 = 1024;
/// Blocks of the ring that are read; macOS makes some hundreds.
const RING_MAX: u64 = 1 << 16;
/// `NX_MAX_FILE_SYSTEMS`.
const VOLUMES_MAX: usize = 100;
/// `NX_INCOMPAT_FUSION`.
const FUSION: u64 = 0x100;
/// Set in the length of the ring if it is not one run of blocks.
const IN_TREE: u32 = 0x8000_0000;

/// `nx_superblock_t`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Container {
    pub(super) xid: u64,
    pub(super) block_bytes: u32,
    pub(super) block_count: u64,
    incompat: u64,
    pub(super) uuid: [u8; 16],
    ring_blocks: u32,
    pub(super) ring_base: u64,
    ring_index: u32,
    ring_len: u32,
    pub(super) space_manager: u64,
    /// Block of the object map.
    pub(super) object_map: u64,
    /// Number of every volume's superblock, by index.
    pub(super) volumes: Vec<(u32, u64)>,
}

impl Container {
    /// The superblock in a block; why it is none, for people.
    pub(super) fn parse(block: &[u8]) -> Result<Self, String> {
        let header = Header::parse(block).ok_or("too short")?;
        if block.get(32..36) != Some(b"NXSB") || header.kind != kind::CONTAINER {
            return Err("no superblock of a container".to_owned());
        }
        Self::fields(block, header.xid)
            .ok_or("too short".to_owned())?
            .checked()
    }

    fn fields(block: &[u8], xid: u64) -> Option<Self> {
        let slots = (0_u32..).zip(block.get(184..)?.chunks_exact(8)).take(VOLUMES_MAX);
        Some(Self {
            xid,
            block_bytes: le_u32(block, 36)?,
            block_count: le_u64(block, 40)?,
            incompat: le_u64(block, 64)?,
            uuid: array(block, 72)?,
            ring_blocks: le_u32(block, 104)?,
            ring_base: le_u64(block, 112)?,
            ring_index: le_u32(block, 136)?,
            ring_len: le_u32(block, 140)?,
            space_manager: le_u64(block, 152)?,
            object_map: le_u64(block, 160)?,
            volumes: slots
                .filter_map(|(index, slot)| Some((index, le_u64(slot, 0).filter(|oid| *oid != 0)?)))
                .collect(),
        })
    }

    fn checked(self) -> Result<Self, String> {
        if !self.block_bytes.is_power_of_two() || !(4096..=65_536).contains(&self.block_bytes) {
            return Err(format!("blocks of {} bytes", self.block_bytes));
        }
        if self.block_count == 0 || self.size_bytes() == u64::MAX {
            return Err(format!("{} blocks", self.block_count));
        }
        Ok(self)
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.block_count.saturating_mul(self.block_bytes.into())
    }

    pub(super) const fn is_fusion(&self) -> bool {
        self.incompat & FUSION != 0
    }

    /// Blocks of the ring of checkpoints.
    fn ring(&self) -> impl Iterator<Item = u64> + use<> {
        let is_run = self.ring_blocks & IN_TREE == 0;
        let len = if is_run {
            u64::from(self.ring_blocks).min(RING_MAX)
        } else {
            0
        };
        let end = self.ring_base.saturating_add(len).min(self.block_count);
        self.ring_base..end
    }

    /// Blocks of the ring that belong to this checkpoint.
    pub(super) fn checkpoint(&self) -> Vec<u64> {
        let ring: Vec<_> = self.ring().collect();
        let index = usize::try_from(self.ring_index).unwrap_or(0);
        let len = usize::try_from(self.ring_len).unwrap_or(0).min(ring.len());
        ring.iter()
            .cycle()
            .skip(index.min(ring.len()))
            .take(len)
            .copied()
            .collect()
    }
}

/// Whether the bytes of a whole block hold a superblock whose checksum is right.
fn sealed(source: &dyn ReadAt, offset: u64) -> Option<Container> {
    let mut block = vec![0; SUPERBLOCK_LEN];
    source.read_exact_at(offset, &mut block).ok()?;
    let container = Container::parse(&block).ok()?;
    if container.block_bytes > 4096 {
        block.resize(usize::try_from(container.block_bytes).ok()?, 0);
        source.read_exact_at(offset, &mut block).ok()?;
    }
    is_sealed(&block).then_some(container)
}

/// The superblock in block 0, for a probe.
pub(super) fn first(source: &dyn ReadAt) -> Option<Container> {
    let mut block = vec![0; SUPERBLOCK_LEN];
    source.read_exact_at(0, &mut block).ok()?;
    Container::parse(&block).ok()
}

/// A superblock among the first blocks behind block 0.
pub(super) fn search(source: &dyn ReadAt) -> Option<Container> {
    let places = (1..SEARCHED_BLOCKS).filter_map(|block| block.checked_mul(4096));
    places
        .take_while(|offset| *offset < source.len())
        .find_map(|offset| sealed(source, offset))
}

/// The state of a container that is read, and what was found on the way to it.
pub(super) struct Located {
    pub(super) container: Container,
    /// The transaction of block 0 is that of the newest checkpoint.
    pub(super) is_put_away: bool,
    pub(super) findings: Vec<Finding>,
}

/// Finds the newest checkpoint that `is_usable`, or else the newest.
pub(super) fn locate(
    source: &dyn ReadAt,
    image_offset: u64,
    is_usable: &dyn Fn(&Container) -> bool,
) -> Result<Located, Error> {
    let mut findings = Vec::new();
    let (zero, hint) = match zero(source, image_offset, &mut findings) {
        Ok((container, is_sealed)) => (Some(container.clone()).filter(|_| is_sealed), container),
        Err(zero) => (None, search(source).ok_or_else(|| lost(zero))?),
    };
    let mut candidates = checkpoints(source, image_offset, &hint, &mut findings);
    if let Some(container) = &zero
        && candidates.iter().all(|candidate| candidate.xid != container.xid)
    {
        candidates.push(container.clone());
    }
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.xid));
    if candidates.is_empty() {
        let detail = "no superblock of the container has a right checksum; the one in block 0 was used";
        findings.push(doubtful(Layer::FileSystem, detail, image_offset));
        candidates.push(hint);
    }
    let newest = candidates.first().map_or(0, |newest| newest.xid);
    let usable = candidates.iter().position(is_usable).unwrap_or(0);
    let container = candidates.into_iter().nth(usable).ok_or_else(no_superblock)?;
    if container.xid != newest {
        let detail = format!(
            "checkpoint {newest} has no object map; that of transaction {} was used",
            container.xid
        );
        findings.push(warning(FindingCode::BackupUsed, detail).at(image_offset));
    }
    let is_put_away = zero.is_some_and(|zero| zero.xid == newest);
    Ok(Located {
        container,
        is_put_away,
        findings,
    })
}

/// Why block 0 does not help.
enum Zero {
    Read(ntt_source::ReadError),
    Corrupt(String, u64),
}

fn lost(zero: Zero) -> Error {
    let structure = "container superblock";
    match zero {
        Zero::Read(source) => Error::Read { structure, source },
        Zero::Corrupt(detail, image_offset) => Error::Corrupt {
            structure,
            detail,
            image_offset,
        },
    }
}

fn no_superblock() -> Error {
    Error::Corrupt {
        structure: "container superblock",
        detail: "there is none".to_owned(),
        image_offset: 0,
    }
}

/// The superblock in block 0, and whether its checksum is right.
fn zero(
    source: &dyn ReadAt,
    image_offset: u64,
    findings: &mut Vec<Finding>,
) -> Result<(Container, bool), Zero> {
    let mut block = vec![0; SUPERBLOCK_LEN];
    if let Err(error) = source.read_exact_at(0, &mut block) {
        let what = "the superblock in block 0";
        findings.push(unreadable(&error, Layer::FileSystem, what, image_offset));
        return Err(Zero::Read(error));
    }
    let container = Container::parse(&block).map_err(|detail| {
        let told = format!("block 0 holds {detail}; a superblock was looked for behind it");
        findings.push(warning(FindingCode::BackupUsed, told).at(image_offset));
        Zero::Corrupt(detail, image_offset)
    })?;
    let is_sealed = sealed(source, 0).is_some();
    if !is_sealed {
        let detail = "the checksum of the superblock in block 0 is wrong".to_owned();
        findings.push(warning(FindingCode::Corrupt, detail).at(image_offset));
    }
    Ok((container, is_sealed))
}

/// The superblocks in the ring whose checksum is right.
fn checkpoints(
    source: &dyn ReadAt,
    image_offset: u64,
    hint: &Container,
    findings: &mut Vec<Finding>,
) -> Vec<Container> {
    let mut found = Vec::new();
    let mut head = vec![0; SUPERBLOCK_LEN];
    for block in hint.ring() {
        let offset = block.saturating_mul(hint.block_bytes.into());
        let at = image_offset.saturating_add(offset);
        if let Err(error) = source.read_exact_at(offset, &mut head) {
            let mut finding = unreadable(&error, Layer::FileSystem, "a block of the checkpoints", at);
            finding.severity = Severity::Warning;
            findings.push(finding);
            if matches!(error, ntt_source::ReadError::BeyondEnd { .. }) {
                break;
            }
            continue;
        }
        match (Container::parse(&head), sealed(source, offset)) {
            (Ok(_), Some(container)) if container.uuid == hint.uuid || hint.uuid == [0; 16] => {
                found.push(container);
            }
            (Ok(_), None) => {
                let detail = "the checksum of the superblock of a checkpoint is wrong".to_owned();
                findings.push(warning(FindingCode::Corrupt, detail).at(at));
            }
            (Ok(_), Some(_)) | (Err(_), _) => {}
        }
    }
    found
}

fn warning(code: FindingCode, detail: String) -> Finding {
    Finding::new(Severity::Warning, Layer::FileSystem, code, detail)
}
