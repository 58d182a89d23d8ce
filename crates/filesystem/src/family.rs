//! The families of file systems and their names.

use serde::{Deserialize, Serialize};

/// A family of file systems that this crate can read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Family {
    /// FAT12, FAT16, FAT32.
    Fat,
    /// ext2, ext3, ext4.
    Ext,
    /// ISO 9660 with Joliet and Rock Ridge.
    Iso9660,
    /// NTFS 1.2 to 3.1.
    Ntfs,
    /// UDF 1.02 to 2.60.
    Udf,
    /// HFS+ and HFSX.
    HfsPlus,
    /// HFS, the older one of the Macintosh.
    Hfs,
    /// MFS, the first one of the Macintosh.
    Mfs,
    /// exFAT.
    #[serde(rename = "exfat")]
    ExFat,
    /// JFS of Linux and OS/2.
    Jfs,
    /// The file systems of Minix.
    Minix,
    /// ReiserFS 3.5 and 3.6.
    ReiserFs,
    /// XFS.
    Xfs,
    /// APFS: a container with all its volumes.
    Apfs,
    /// UFS1 and UFS2.
    Ufs,
    /// btrfs, one device of it.
    Btrfs,
    /// squashfs 2 to 4.
    Squashfs,
    /// cramfs.
    Cramfs,
    /// romfs.
    Romfs,
}

impl Family {
    /// The name in JSON, in the catalogue and in manifests.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.names().0
    }

    /// The name as people write it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.names().1
    }

    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Fat => ("fat", "FAT"),
            Self::Ext => ("ext", "ext"),
            Self::Iso9660 => ("iso9660", "ISO 9660"),
            Self::Ntfs => ("ntfs", "NTFS"),
            Self::Udf => ("udf", "UDF"),
            Self::HfsPlus => ("hfsplus", "HFS+"),
            Self::Hfs => ("hfs", "HFS"),
            Self::Mfs => ("mfs", "MFS"),
            Self::ExFat => ("exfat", "exFAT"),
            Self::Jfs => ("jfs", "JFS"),
            Self::Minix => ("minix", "Minix"),
            Self::ReiserFs => ("reiserfs", "ReiserFS"),
            Self::Xfs => ("xfs", "XFS"),
            Self::Apfs => ("apfs", "APFS"),
            Self::Ufs => ("ufs", "UFS"),
            Self::Btrfs => ("btrfs", "btrfs"),
            Self::Squashfs => ("squashfs", "squashfs"),
            Self::Cramfs => ("cramfs", "cramfs"),
            Self::Romfs => ("romfs", "romfs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_that_of_json() {
        let families = [
            Family::Fat,
            Family::Ext,
            Family::Iso9660,
            Family::Ntfs,
            Family::Udf,
            Family::HfsPlus,
            Family::Hfs,
            Family::Mfs,
            Family::ExFat,
            Family::Jfs,
            Family::Minix,
            Family::ReiserFs,
            Family::Xfs,
            Family::Apfs,
            Family::Ufs,
            Family::Btrfs,
            Family::Squashfs,
            Family::Cramfs,
            Family::Romfs,
        ];
        for family in families {
            let json = serde_json::to_string(&family).expect("JSON");
            assert_eq!(json, format!("{:?}", family.name()));
            assert_eq!(
                family
                    .title()
                    .to_lowercase()
                    .replace([' ', '-'], "")
                    .replace("hfs+", "hfsplus"),
                family.name()
            );
        }
    }
}
