//! The superblock of versions 2 to 4.
//!
//! Source: `squashfs_fs.h` and `squashfs_compat.h` of squashfs-tools; `Documentation/filesystems/squashfs.rst` of the Linux kernel for version 4. Versions
//! 2 and 3 pack their fields without gaps.

use ntt_model::Codec;
use ntt_source::field::{le_u16, le_u32, le_u64, u8_at};

pub(super) const SUPERBLOCK_LEN: usize = 128;
/// Largest block of content (`SQUASHFS_FILE_MAX_SIZE`).
const BLOCK_BYTES_MAX: u32 = 1 << 20;
/// A table that does not exist.
const NO_TABLE: u64 = u64::MAX;

/// Layout of inodes, directories and tables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Version {
    V2,
    V3,
    V4,
}

#[derive(Clone, Debug)]
pub(super) struct Superblock {
    pub(super) version: Version,
    pub(super) minor: u16,
    pub(super) codec: Codec,
    pub(super) inodes: u32,
    /// Seconds since 1970.
    pub(super) made: u32,
    pub(super) block_bytes: u32,
    pub(super) fragments: u32,
    pub(super) flags: u16,
    pub(super) ids: u16,
    /// Groups of versions 2 and 3.
    pub(super) groups: u16,
    pub(super) root: u64,
    pub(super) used_bytes: u64,
    pub(super) id_table: u64,
    pub(super) group_table: u64,
    pub(super) xattr_table: Option<u64>,
    pub(super) inode_table: u64,
    pub(super) directory_table: u64,
    pub(super) fragment_table: Option<u64>,
    pub(super) export_table: Option<u64>,
}

impl Superblock {
    /// Parses it; the text says why it is none, or none that can be read.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        match bytes.get(..4) {
            Some(b"hsqs") => {}
            Some(b"sqsh") => return Err("squashfs in big-endian order is not supported".to_owned()),
            _ => return Err("there is no magic number".to_owned()),
        }
        let major = le_u16(bytes, 28).unwrap_or(0);
        let parsed = match major {
            4 => Self::version_4(bytes),
            2 | 3 => Self::version_2_or_3(bytes, major == 3),
            _ => return Err(format!("squashfs of version {major} is not supported")),
        };
        let superblock = parsed.ok_or("a codec or a field makes no sense")?;
        superblock.check()
    }

    fn version_4(bytes: &[u8]) -> Option<Self> {
        let table = |at: usize| Some(Some(le_u64(bytes, at)?).filter(|table| *table != NO_TABLE));
        Some(Self {
            version: Version::V4,
            minor: le_u16(bytes, 30)?,
            codec: codec(le_u16(bytes, 20)?)?,
            inodes: le_u32(bytes, 4)?,
            made: le_u32(bytes, 8)?,
            block_bytes: le_u32(bytes, 12)?,
            fragments: le_u32(bytes, 16)?,
            flags: le_u16(bytes, 24)?,
            ids: le_u16(bytes, 26)?,
            groups: 0,
            root: le_u64(bytes, 32)?,
            used_bytes: le_u64(bytes, 40)?,
            id_table: le_u64(bytes, 48)?,
            group_table: 0,
            xattr_table: table(56)?,
            inode_table: le_u64(bytes, 64)?,
            directory_table: le_u64(bytes, 72)?,
            fragment_table: table(80)?,
            export_table: table(88)?,
        })
    }

    fn version_2_or_3(bytes: &[u8], is_3: bool) -> Option<Self> {
        let place = |long: usize, short: usize| {
            if is_3 {
                le_u64(bytes, long)
            } else {
                le_u32(bytes, short).map(u64::from)
            }
        };
        let export_table = is_3.then(|| le_u64(bytes, 111)).flatten();
        Some(Self {
            version: if is_3 { Version::V3 } else { Version::V2 },
            minor: le_u16(bytes, 30)?,
            codec: Codec::Zlib,
            inodes: le_u32(bytes, 4)?,
            made: le_u32(bytes, 39)?,
            block_bytes: le_u32(bytes, 51)?,
            fragments: le_u32(bytes, 55)?,
            flags: u8_at(bytes, 36)?.into(),
            ids: u8_at(bytes, 37)?.into(),
            groups: u8_at(bytes, 38)?.into(),
            root: le_u64(bytes, 43)?,
            used_bytes: place(63, 8)?,
            id_table: place(71, 12)?,
            group_table: place(79, 16)?,
            xattr_table: None,
            inode_table: place(87, 20)?,
            directory_table: place(95, 24)?,
            fragment_table: place(103, 59).filter(|table| *table != NO_TABLE),
            export_table: export_table.filter(|table| !matches!(*table, 0 | NO_TABLE)),
        })
    }

    fn check(self) -> Result<Self, String> {
        let is_size =
            self.block_bytes.is_power_of_two() && (4096..=BLOCK_BYTES_MAX).contains(&self.block_bytes);
        if !is_size {
            return Err(format!("blocks of {} bytes", self.block_bytes));
        }
        let is_ordered = self.inode_table < self.directory_table && self.directory_table <= self.used_bytes;
        if !is_ordered {
            return Err("its tables do not follow each other".to_owned());
        }
        Ok(self)
    }

    /// Type as people call it.
    pub(super) fn type_name(&self) -> &'static str {
        if self.version == Version::V4 {
            "squashfs"
        } else {
            "squashfs3"
        }
    }

    /// Version as text.
    pub(super) fn version_text(&self) -> String {
        let major = match self.version {
            Version::V2 => 2,
            Version::V3 => 3,
            Version::V4 => 4,
        };
        format!("{major}.{}", self.minor)
    }
}

fn codec(code: u16) -> Option<Codec> {
    Some(match code {
        1 => Codec::Zlib,
        2 => Codec::Lzma,
        3 => Codec::Lzo,
        4 => Codec::Xz,
        5 => Codec::Lz4,
        6 => Codec::Zstd,
        _ => return None,
    })
}

#[cfg(test)]
impl Superblock {
    /// Version 4, blocks of 4 KiB, and no table but that of extended attributes.
    pub(super) fn bare(xattr_table: u64) -> Self {
        let mut bytes = [0xff; SUPERBLOCK_LEN];
        bytes[..4].copy_from_slice(b"hsqs");
        bytes[12..16].copy_from_slice(&4096_u32.to_le_bytes());
        bytes[20..22].copy_from_slice(&1_u16.to_le_bytes());
        bytes[28..30].copy_from_slice(&4_u16.to_le_bytes());
        bytes[56..64].copy_from_slice(&xattr_table.to_le_bytes());
        bytes[64..72].fill(0);
        Self::parse(&bytes).expect("a superblock")
    }
}
