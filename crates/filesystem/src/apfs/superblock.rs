//! Volumes: their superblocks.

use ntt_model::Timestamp;
use ntt_source::field::{array, le_u16, le_u32, le_u64};

use super::object::is_physical;
use crate::uuid::uuid_text;

/// `APFS_FS_UNENCRYPTED`.
const UNENCRYPTED: u64 = 1;
/// `APFS_INCOMPAT_CASE_INSENSITIVE`, `_NORMALIZATION_INSENSITIVE`, `_SEALED_VOLUME`.
const CASE_INSENSITIVE: u64 = 1;
const NORMALIZATION_INSENSITIVE: u64 = 8;
const SEALED: u64 = 0x20;
/// Bits of `apfs_incompatible_features` that are known.
const INCOMPAT: &[(u64, &str)] = &[
    (CASE_INSENSITIVE, "case-insensitive"),
    (2, "dataless snapshots"),
    (4, "encryption changed"),
    (NORMALIZATION_INSENSITIVE, "normalization-insensitive"),
    (0x10, "incomplete restore"),
    (SEALED, "sealed"),
];

/// `apfs_superblock_t`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Superblock {
    incompat: u64,
    flags: u64,
    /// Whether the nodes of the tree are named by their blocks.
    pub(super) is_tree_physical: bool,
    pub(super) object_map: u64,
    pub(super) root_tree: u64,
    pub(super) snapshot_tree: u64,
    /// Tree of file extents; only of sealed volumes.
    pub(super) extent_tree: Option<u64>,
    pub(super) files: u64,
    pub(super) directories: u64,
    pub(super) snapshots: u64,
    pub(super) used_blocks: u64,
    uuid: [u8; 16],
    pub(super) created: Option<Timestamp>,
    pub(super) written: Option<Timestamp>,
    /// Without the zeros behind it.
    pub(super) name: Vec<u8>,
    role: u16,
}

impl Superblock {
    /// The superblock in a block; `None` if there is none.
    pub(super) fn parse(block: &[u8]) -> Option<Self> {
        (block.get(32..36)? == b"APSB").then_some(())?;
        let incompat = le_u64(block, 56)?;
        let name = block.get(704..960)?;
        Some(Self {
            incompat,
            flags: le_u64(block, 264)?,
            is_tree_physical: is_physical(le_u32(block, 116)?),
            object_map: le_u64(block, 128)?,
            root_tree: le_u64(block, 136)?,
            snapshot_tree: le_u64(block, 152)?,
            extent_tree: le_u64(block, 1032).filter(|_| incompat & SEALED != 0),
            files: le_u64(block, 184)?,
            directories: le_u64(block, 192)?,
            snapshots: le_u64(block, 216)?,
            used_blocks: le_u64(block, 88)?,
            uuid: array(block, 240)?,
            created: time(block, 304),
            written: time(block, 256),
            name: until_zero(name).to_vec(),
            role: le_u16(block, 964)?,
        })
    }

    pub(super) const fn is_encrypted(&self) -> bool {
        self.flags & UNENCRYPTED == 0
    }

    /// Features that are not known.
    pub(super) fn unknown_features(&self) -> u64 {
        let known = INCOMPAT.iter().fold(0, |known, (bit, _)| known | bit);
        self.incompat & !known
    }

    /// One line for people.
    pub(super) fn summary(&self) -> String {
        let mut parts = vec![format!("\"{}\"", ntt_model::name::escape(&self.name))];
        parts.extend(role(self.role).map(|role| format!("role {role}")));
        parts.extend(uuid_text(&self.uuid));
        parts.push(format!("{} files, {} directories", self.files, self.directories));
        let features = INCOMPAT.iter().filter(|(bit, _)| self.incompat & bit != 0);
        parts.extend(features.map(|(_, name)| (*name).to_owned()));
        if self.is_encrypted() {
            parts.push("encrypted".to_owned());
        }
        if self.snapshots > 0 {
            parts.push(format!("{} snapshots", self.snapshots));
        }
        parts.join(", ")
    }
}

/// Bytes before the first zero.
pub(super) fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A time: nanoseconds since 1970. 0 is none.
pub(super) fn time(bytes: &[u8], at: usize) -> Option<Timestamp> {
    let nanos = le_u64(bytes, at).filter(|nanos| *nanos != 0)?;
    i64::try_from(nanos).ok().map(Timestamp::from_nanos)
}

/// What a volume is for ("Volume Roles").
fn role(role: u16) -> Option<&'static str> {
    const LOW: [&str; 6] = ["system", "user", "recovery", "vm", "preboot", "installer"];
    const HIGH: [&str; 12] = [
        "data",
        "baseband",
        "update",
        "xart",
        "hardware",
        "backup",
        "reserved",
        "reserved",
        "enterprise",
        "reserved",
        "prelogin",
        "reserved",
    ];
    if role == 0 {
        return None;
    }
    let bit = usize::try_from(role.trailing_zeros()).ok()?;
    let name = if role & 0x3f == 0 {
        let number = usize::from(role.checked_shr(6)?);
        HIGH.get(number.checked_sub(1)?)
    } else {
        LOW.get(bit)
    };
    Some(name.copied().unwrap_or("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_have_names() {
        let names: Vec<_> = [0, 1, 4, 0x10, 0x40, 0x180, 0x2c0, 0x8000]
            .iter()
            .map(|bits| role(*bits).unwrap_or("none"))
            .collect();
        let expected = [
            "none", "system", "recovery", "preboot", "data", "backup", "prelogin", "unknown",
        ];
        assert_eq!(names, expected);
    }
}
