//! Size and units of a medium, and the read sizes that follow from them.

use serde::{Deserialize, Serialize};

/// The kind of medium, as far as it decides how to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A floppy: every read that is not a whole track costs a rotation.
    Floppy,
    /// Sectors of 2048 bytes; errors come in blocks of the error-correcting code.
    Optical,
    /// Anything else: hard disks, Zip disks, flash, files.
    Disk,
}

/// What a device says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Geometry {
    /// Bytes of the whole device.
    pub size_bytes: u64,
    /// Logical sector: the smallest read that it takes.
    pub sector_bytes: u32,
    /// Physical sector: what goes bad as a whole. A multiple of the logical one.
    pub physical_bytes: u32,
}

/// Capacities of floppies in KiB and their sectors per track (one side): IBM, Atari and Amiga formats with sectors of 512 bytes.
const FLOPPIES: [(u64, u64); 11] = [
    (160, 8),
    (180, 9),
    (320, 8),
    (360, 9),
    (720, 9),
    (800, 10),
    (880, 11),
    (1200, 15),
    (1440, 18),
    (1680, 21),
    (2880, 36),
];

/// No sector of a real device is larger; a larger claim is taken for a lie.
const SECTOR_BYTES_MAX: u32 = 64 << 10;

impl Geometry {
    /// A device with sectors of `sector_bytes`; nonsense (0, no power of two, over 64 KiB) counts as 512.
    pub const fn new(size_bytes: u64, sector_bytes: u32) -> Self {
        Self::with_physical(size_bytes, sector_bytes, sector_bytes)
    }

    /// The same with a physical sector size; smaller than the logical one, or nonsense, counts as the logical one.
    pub const fn with_physical(size_bytes: u64, sector_bytes: u32, physical_bytes: u32) -> Self {
        let sector_bytes = if is_sector(sector_bytes) {
            sector_bytes
        } else {
            512
        };
        let physical_bytes = if is_sector(physical_bytes) && physical_bytes > sector_bytes {
            physical_bytes
        } else {
            sector_bytes
        };
        Self {
            size_bytes,
            sector_bytes,
            physical_bytes,
        }
    }

    /// The kind of medium: by sector size, then by the capacities of floppies.
    pub fn class(&self) -> Class {
        if self.sector_bytes == 2048 {
            Class::Optical
        } else if self.track_bytes().is_some() {
            Class::Floppy
        } else {
            Class::Disk
        }
    }

    fn track_bytes(&self) -> Option<u64> {
        let found = FLOPPIES.iter().find(|(kib, _)| kib << 10 == self.size_bytes)?;
        Some(found.1 * 512)
    }

    /// How large reads are: near damage, ordinarily, and after long runs without any.
    pub fn read_sizes(&self) -> ReadSizes {
        let physical = u64::from(self.physical_bytes);
        match (self.class(), self.track_bytes()) {
            (Class::Floppy, Some(track)) => ReadSizes::new(track, track, track),
            // The error-correcting code of a DVD spans 32 KiB, of a Blu-ray disc 64 KiB; a CD has none of that size.
            (Class::Optical, _) => ReadSizes::new(32 << 10, 64 << 10, 64 << 10),
            _ => ReadSizes::new((16 << 10).max(physical), 128 << 10, 1 << 20),
        }
    }
}

const fn is_sector(bytes: u32) -> bool {
    bytes.is_power_of_two() && bytes >= 512 && bytes <= SECTOR_BYTES_MAX
}

/// Sizes of reads while copying, in bytes; each divides the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadSizes {
    /// Near damage, and at the start.
    pub floor: u64,
    /// After a short run without an error.
    pub usual: u64,
    /// After long runs without an error.
    pub ceiling: u64,
}

impl ReadSizes {
    const fn new(floor: u64, usual: u64, ceiling: u64) -> Self {
        Self {
            floor,
            usual,
            ceiling,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_sector_and_capacity() {
        assert_eq!(Geometry::new(1_474_560, 512).class(), Class::Floppy);
        assert_eq!(Geometry::new(1_474_560, 512).read_sizes().floor, 18 * 512);
        assert_eq!(Geometry::new(700 << 20, 2048).class(), Class::Optical);
        assert_eq!(Geometry::new(100 << 20, 512).class(), Class::Disk);
    }

    #[test]
    fn nonsense_sectors_count_as_512() {
        for sector in [0, 1, 500, 1 << 20] {
            assert_eq!(Geometry::new(1 << 20, sector).sector_bytes, 512);
        }
        assert_eq!(Geometry::with_physical(1 << 20, 512, 4096).physical_bytes, 4096);
        assert_eq!(Geometry::with_physical(1 << 20, 4096, 512).physical_bytes, 4096);
    }
}
