//! One space of inode numbers for all volumes of a container.
//!
//! ```text
//! | index of the volume + 1 | system half | number |
//!   bits 56 to 62             bit 55        bits 0 to 54
//! ```
//!
//! Numbers of APFS have 60 bits, of which volumes use the lower ones. Those of the system volume of a volume group start at
//! `UNIFIED_ID_SPACE_MARK`; bit 55 stands for it. What fits in neither half is refused.

/// The directory that holds one directory for every volume.
pub(super) const CONTAINER_ROOT: u64 = 1;
/// The made-up directory of what has no name.
pub(super) const LOST: u64 = 0;
/// Inode of a volume's root directory (`ROOT_DIR_INO_NUM`).
pub(super) const ROOT: u64 = 2;
/// Inode of the directory of files in removal (`PRIV_DIR_INO_NUM`).
pub(super) const PRIVATE: u64 = 3;
/// The directory that holds the two (`ROOT_DIR_PARENT`); it has no inode.
pub(super) const ROOT_PARENT: u64 = 1;

const SYSTEM_MARK: u64 = 0x0800_0000_0000_0000;
const SYSTEM_BIT: u64 = 1 << 55;
const VOLUME_SHIFT: u32 = 56;

/// The inode number of an object of a volume; `None` if it is too large.
pub(super) fn pack(volume: u32, id: u64) -> Option<u64> {
    let (id, half) = match id.checked_sub(SYSTEM_MARK) {
        Some(rest) => (rest, SYSTEM_BIT),
        None => (id, 0),
    };
    let volume = u64::from(volume).checked_add(1).filter(|volume| *volume < 128)?;
    (id < SYSTEM_BIT).then_some((volume << VOLUME_SHIFT) | half | id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_volumes_and_halves_are_apart() {
        let packed =
            [(0, 2), (99, 2), (3, SYSTEM_MARK), (3, SYSTEM_MARK | 77)].map(|(volume, id)| pack(volume, id));
        let system = (4 << 56) | (1 << 55);
        assert_eq!(
            packed,
            [(1 << 56) | 2, (100 << 56) | 2, system, system | 77].map(Some)
        );
        assert_eq!(pack(0, 1 << 55), None);
        assert_eq!(pack(0, 0x0fff_ffff_0000_0000), None);
        assert_eq!(pack(127, 2), None);
    }
}
