//! The superblock and its copies.
//!
//! Source: `struct btrfs_super_block` of `btrfs_tree.h`; the copies stand at 64 KiB, 64 MiB and 256 GiB of every device.

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::field::{array, le_u16, le_u32, le_u64, u8_at};
use ntt_source::{ReadAt, ReadError};

use super::checksum::Checksum;
use crate::Error;
use crate::report::{doubtful, unreadable};

/// Where the copies stand.
pub(super) const PLACES: [u64; 3] = [0x1_0000, 0x400_0000, 0x40_0000_0000];
pub(super) const SUPERBLOCK_LEN: usize = 4096;
const MAGIC: &[u8] = b"_BHRfS_M";
const MAGIC_AT: usize = 64;
const LABEL: std::ops::Range<usize> = 0x12b..0x22b;
/// Roots of the last four generations.
const BACKUPS_AT: usize = 0xb2b;
const BACKUP_LEN: usize = 168;
const SYSTEM_CHUNKS_AT: usize = 0x32b;
const SYSTEM_CHUNKS_MAX: usize = 2048;

/// `incompat_flags`.
pub(super) mod incompat {
    pub(in crate::btrfs) const NO_HOLES: u64 = 1 << 9;
    pub(in crate::btrfs) const METADATA_UUID: u64 = 1 << 10;
    /// A new extent tree, for developers only: block groups and checksums lie elsewhere.
    pub(in crate::btrfs) const EXTENT_TREE_V2: u64 = 1 << 13;
    /// What a reader of files need not know: from mixed backrefs to simple quotas, the stripe tree (1 << 14) not among them.
    pub(in crate::btrfs) const KNOWN: u64 = 0x1_1fff;
    pub(in crate::btrfs) const NAMES: [(u64, &str); 15] = [
        (1, "mixed-backref"),
        (1 << 1, "default-subvolume"),
        (1 << 2, "mixed-groups"),
        (1 << 3, "lzo"),
        (1 << 4, "zstd"),
        (1 << 5, "big-metadata"),
        (1 << 6, "extended-refs"),
        (1 << 7, "raid56"),
        (1 << 8, "skinny-metadata"),
        (NO_HOLES, "no-holes"),
        (METADATA_UUID, "metadata-uuid"),
        (1 << 11, "raid1c34"),
        (1 << 12, "zoned"),
        (EXTENT_TREE_V2, "extent-tree-v2"),
        (1 << 14, "stripe-tree"),
    ];
}

/// Where a tree starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Root {
    /// Logical address of the topmost node.
    pub(super) logical: u64,
    pub(super) generation: u64,
    pub(super) level: u8,
}

/// What the reader needs of a superblock.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    pub(super) checksum: Checksum,
    pub(super) uuid: [u8; 16],
    /// The one that nodes carry.
    pub(super) metadata_uuid: [u8; 16],
    pub(super) generation: u64,
    pub(super) root_tree: Root,
    pub(super) chunk_tree: Root,
    /// Address of the log tree; 0 if there is none.
    pub(super) log_root: u64,
    pub(super) total_bytes: u64,
    pub(super) used_bytes: u64,
    pub(super) devices: u64,
    pub(super) sector_bytes: u32,
    pub(super) node_bytes: u32,
    pub(super) incompat: u64,
    /// The device that this superblock stands on.
    pub(super) device: u64,
    pub(super) device_bytes: u64,
    pub(super) label: Vec<u8>,
    /// Chunks of the chunk tree itself, as items.
    pub(super) system_chunks: Vec<u8>,
    /// Roots of the root tree and of the chunk tree in earlier generations, the newest first.
    pub(super) backups: Vec<(Root, Root)>,
    is_right: bool,
}

impl Superblock {
    /// Parses the copy that belongs at `offset`.
    pub(super) fn parse(bytes: &[u8], offset: u64) -> Result<Self, String> {
        if bytes.get(MAGIC_AT..MAGIC_AT.saturating_add(MAGIC.len())) != Some(MAGIC) {
            return Err("there is no magic number".to_owned());
        }
        Self::fields(bytes, offset).unwrap_or_else(|| Err("it is cut".to_owned()))
    }

    fn fields(bytes: &[u8], offset: u64) -> Option<Result<Self, String>> {
        let code = le_u16(bytes, 0xc4)?;
        let Some(checksum) = Checksum::from_code(code) else {
            return Some(Err(format!("checksums of the kind {code} are not known")));
        };
        let (sector_bytes, node_bytes) = (le_u32(bytes, 0x90)?, le_u32(bytes, 0x94)?);
        let is_size = |size: u32, least: u32| size.is_power_of_two() && (least..=65_536).contains(&size);
        if !is_size(sector_bytes, 512) || !is_size(node_bytes, 1024) {
            return Some(Err(format!(
                "sectors of {sector_bytes} bytes, nodes of {node_bytes}"
            )));
        }
        let place = le_u64(bytes, 0x30)?;
        if place != offset {
            return Some(Err(format!("it belongs at {place:#x}")));
        }
        let generation = le_u64(bytes, 0x48)?;
        let incompat = le_u64(bytes, 0xbc)?;
        let uuid = array(bytes, 0x20)?;
        let metadata_uuid = if incompat & incompat::METADATA_UUID == 0 {
            uuid
        } else {
            array(bytes, 0x23b)?
        };
        let system_len = usize::try_from(le_u32(bytes, 0xa0)?).unwrap_or(usize::MAX);
        let system_end = SYSTEM_CHUNKS_AT.saturating_add(system_len.min(SYSTEM_CHUNKS_MAX));
        let label = bytes.get(LABEL)?;
        let label_len = label.iter().position(|byte| *byte == 0).unwrap_or(label.len());
        Some(Ok(Self {
            checksum,
            uuid,
            metadata_uuid,
            generation,
            root_tree: Root {
                logical: le_u64(bytes, 0x50)?,
                generation,
                level: u8_at(bytes, 0xc6)?,
            },
            chunk_tree: Root {
                logical: le_u64(bytes, 0x58)?,
                generation: le_u64(bytes, 0xa4)?,
                level: u8_at(bytes, 0xc7)?,
            },
            log_root: le_u64(bytes, 0x60)?,
            total_bytes: le_u64(bytes, 0x70)?,
            used_bytes: le_u64(bytes, 0x78)?,
            devices: le_u64(bytes, 0x88)?,
            sector_bytes,
            node_bytes,
            incompat,
            device: le_u64(bytes, 0xc9)?,
            device_bytes: le_u64(bytes, 0xd1)?,
            label: label.get(..label_len)?.to_vec(),
            system_chunks: bytes.get(SYSTEM_CHUNKS_AT..system_end)?.to_vec(),
            backups: backups(bytes),
            is_right: checksum.is_right(bytes),
        }))
    }

    /// Names of the features.
    pub(super) fn features(&self) -> String {
        let names = incompat::NAMES.iter().filter(|(bit, _)| self.incompat & bit != 0);
        names.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    }
}

/// `super_roots`: a ring of four, in which the last commit is one.
fn backups(bytes: &[u8]) -> Vec<(Root, Root)> {
    let entries = bytes
        .get(BACKUPS_AT..)
        .unwrap_or_default()
        .chunks_exact(BACKUP_LEN)
        .take(4);
    let root = |entry: &[u8], at: usize, level_at: usize| {
        let root = Root {
            logical: le_u64(entry, at)?,
            generation: le_u64(entry, at.checked_add(8)?)?,
            level: u8_at(entry, level_at)?,
        };
        (root.logical != 0).then_some(root)
    };
    let mut roots: Vec<_> = entries
        .filter_map(|entry| Some((root(entry, 0, 152)?, root(entry, 16, 153)?)))
        .collect();
    roots.sort_by_key(|(root, _)| std::cmp::Reverse(root.generation));
    roots
}

/// A superblock, and what was wrong with the others.
pub(super) struct Located {
    pub(super) superblock: Superblock,
    /// Where it stands in the volume.
    pub(super) offset: u64,
    pub(super) findings: Vec<Finding>,
}

fn at(source: &dyn ReadAt, offset: u64) -> Result<Result<Superblock, String>, ReadError> {
    let mut bytes = vec![0; SUPERBLOCK_LEN];
    source.read_exact_at(offset, &mut bytes)?;
    Ok(Superblock::parse(&bytes, offset))
}

/// The superblock for a probe: the first one, or else a right copy.
pub(super) fn probe(source: &dyn ReadAt) -> Option<(u64, Superblock)> {
    let mut found = PLACES
        .iter()
        .filter_map(|place| Some((*place, at(source, *place).ok()?.ok()?)));
    let first = found.next()?;
    if first.0 == PLACES[0] || first.1.is_right {
        return Some(first);
    }
    found.find(|(_, copy)| copy.is_right)
}

/// What stands at the places of superblocks.
#[derive(Default)]
struct Copies {
    found: Vec<(u64, Superblock)>,
    /// What is wrong with some of them.
    findings: Vec<Finding>,
    /// Why the first that is none is none.
    first_error: Option<Error>,
}

fn copies(source: &dyn ReadAt, image_offset: u64) -> Copies {
    let mut copies = Copies::default();
    for place in PLACES {
        if place > PLACES[0] && place.saturating_add(4096) > source.len() {
            break;
        }
        let image = image_offset.saturating_add(place);
        let detail = match at(source, place) {
            Ok(Ok(superblock)) => {
                let detail = (!superblock.is_right).then(|| "its checksum is wrong".to_owned());
                copies.found.push((place, superblock));
                detail
            }
            Ok(Err(detail)) => {
                copies.first_error.get_or_insert(Error::Corrupt {
                    structure: "btrfs superblock",
                    detail: detail.clone(),
                    image_offset: image,
                });
                Some(detail)
            }
            Err(error) => {
                let mut finding = unreadable(&error, Layer::FileSystem, "a superblock", image);
                finding.severity = Severity::Warning;
                copies.findings.push(finding);
                copies.first_error.get_or_insert(Error::Read {
                    structure: "btrfs superblock",
                    source: error,
                });
                None
            }
        };
        if let Some(detail) = detail {
            let detail = format!("the superblock at {place:#x} is unusable: {detail}");
            let finding = Finding::new(Severity::Warning, Layer::FileSystem, FindingCode::Corrupt, detail);
            copies.findings.push(finding.at(image));
        }
    }
    copies
}

/// The right superblock of the newest generation; one with a wrong checksum only if there is no other.
///
/// # Errors
///
/// When there is none at any of the places.
pub(super) fn locate(source: &dyn ReadAt, image_offset: u64) -> Result<Located, Error> {
    let Copies {
        found,
        mut findings,
        first_error,
    } = copies(source, image_offset);
    let best = found
        .into_iter()
        .max_by_key(|(place, copy)| (copy.is_right, copy.generation, std::cmp::Reverse(*place)));
    let Some((offset, superblock)) = best else {
        return Err(
            first_error.unwrap_or_else(|| Error::Unsupported("btrfs without a superblock".to_owned()))
        );
    };
    if !superblock.is_right {
        let detail = format!("no superblock has a right checksum; the one at {offset:#x} was used");
        let at = image_offset.saturating_add(offset);
        findings.push(doubtful(Layer::FileSystem, detail, at));
    }
    if offset != PLACES[0] {
        let detail = format!("the superblock at {offset:#x} was used");
        let finding = Finding::new(
            Severity::Warning,
            Layer::FileSystem,
            FindingCode::BackupUsed,
            detail,
        );
        findings.push(finding.at(image_offset.saturating_add(offset)));
    }
    Ok(Located {
        superblock,
        offset,
        findings,
    })
}
