//! The superblock, at 32 KiB, and its copy. Source: `struct jfs_superblock` of Linux (`fs/jfs/jfs_superblock.h`), `jfs_filsys.h`.

use ntt_source::ReadAt;
use ntt_source::field::{array, le_u16, le_u32, le_u64};

use crate::State;

/// `SUPER1_OFF` and `SUPER2_OFF`.
pub(super) const PLACES: [u64; 2] = [0x8000, 0xf000];
pub(super) const SUPERBLOCK_LEN: usize = 184;
/// `AITBL_OFF`: the first inodes of the aggregate.
const TABLE_AT: u64 = 0xb000;

/// `s_flag`.
const FLAG_OS2: u32 = 0x4000_0000;
const FLAG_DIRECTORY_INDEX: u32 = 0x0020_0000;

/// A run of blocks (`pxd_t`): 24 bits of length, 40 of address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Run {
    pub(super) block: u64,
    pub(super) len: u64,
}

impl Run {
    pub(super) fn parse(bytes: &[u8], at: usize) -> Option<Self> {
        let first = le_u32(bytes, at)?;
        let low = le_u32(bytes, at.checked_add(4)?)?;
        Some(Self {
            block: (u64::from(first >> 24) << 32) | u64::from(low),
            len: u64::from(first & 0x00ff_ffff),
        })
    }
}

/// What the superblock says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Superblock {
    pub(super) version: u32,
    /// In sectors.
    sectors: u64,
    sector_bytes: u32,
    pub(super) block_bytes: u32,
    pub(super) group_blocks: u32,
    flags: u32,
    state: u32,
    /// The second copy of the first inodes of the aggregate.
    table_copy: Run,
    pub(super) log: Run,
    pub(super) log_device: u32,
    /// Work space of `fsck`, which lies behind the blocks that are counted.
    fsck: Run,
    pub(super) made: (u32, u32),
    pub(super) uuid: [u8; 16],
    label: [u8; 16],
    pack: [u8; 11],
}

impl Superblock {
    /// Reads it, or says what is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        if !bytes.starts_with(b"JFS1") {
            return Err("no magic number of JFS".to_owned());
        }
        let superblock = Self::read(bytes).ok_or_else(|| "it is too short".to_owned())?;
        let block_bytes = superblock.block_bytes;
        let can_be = block_bytes.is_power_of_two() && (512..=4096).contains(&block_bytes);
        if !can_be || !(1..=2).contains(&superblock.version) {
            let version = superblock.version;
            return Err(format!("version {version} with blocks of {block_bytes} bytes"));
        }
        if superblock.size_bytes() < PLACES[1] {
            return Err("a size that is too small".to_owned());
        }
        Ok(superblock)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            version: le_u32(bytes, 4)?,
            sectors: le_u64(bytes, 8)?,
            block_bytes: le_u32(bytes, 16)?,
            sector_bytes: match le_u16(bytes, 28)? {
                shift @ 9..=12 => 1_u32.rotate_left(shift.into()),
                _ => 512,
            },
            group_blocks: le_u32(bytes, 32)?,
            flags: le_u32(bytes, 36)?,
            state: le_u32(bytes, 40)?,
            table_copy: Run::parse(bytes, 48)?,
            log_device: le_u32(bytes, 64)?,
            log: Run::parse(bytes, 72)?,
            fsck: Run::parse(bytes, 80)?,
            made: (le_u32(bytes, 88)?, le_u32(bytes, 92)?),
            pack: array(bytes, 101)?,
            uuid: array(bytes, 136)?,
            label: array(bytes, 152)?,
        })
    }

    /// The first that can be read, and which one it is.
    pub(super) fn find(source: &dyn ReadAt) -> Option<(Self, u64)> {
        PLACES.into_iter().find_map(|offset| {
            let mut bytes = [0; SUPERBLOCK_LEN];
            source.read_exact_at(offset, &mut bytes).ok()?;
            Some((Self::parse(&bytes).ok()?, offset))
        })
    }

    pub(super) const fn is_of_os2(&self) -> bool {
        self.flags & FLAG_OS2 != 0
    }

    /// Whether entries of directories have a number for `readdir`, in the place of two characters.
    pub(super) const fn has_directory_index(&self) -> bool {
        self.flags & FLAG_DIRECTORY_INDEX != 0
    }

    pub(super) const fn state(&self) -> State {
        match self.state {
            0 => State::Clean,
            _ => State::Dirty,
        }
    }

    /// The label; the first version had a shorter one.
    pub(super) fn label(&self) -> Vec<u8> {
        let label: &[u8] = if self.version == 1 {
            &self.pack
        } else {
            &self.label
        };
        let end = label.iter().position(|byte| *byte == 0).unwrap_or(label.len());
        label.get(..end).unwrap_or_default().trim_ascii_end().to_vec()
    }

    /// Bytes of the aggregate, with log and work space.
    pub(super) fn size_bytes(&self) -> u64 {
        let counted = self.sectors.saturating_mul(self.sector_bytes.into());
        let ends = [self.log, self.fsck].map(|run| run.block.saturating_add(run.len));
        ends.into_iter()
            .map(|end| end.saturating_mul(self.block_bytes.into()))
            .fold(counted, u64::max)
    }

    /// Blocks that content can lie in.
    pub(super) fn blocks(&self) -> u64 {
        self.size_bytes()
            .checked_div(self.block_bytes.into())
            .unwrap_or(0)
    }

    /// Where the first inodes of the aggregate lie, and where their copy.
    pub(super) fn tables(&self) -> [u64; 2] {
        let copy = self.table_copy.block.saturating_mul(self.block_bytes.into());
        [TABLE_AT, copy]
    }

    /// What the copy must share with the first one.
    pub(super) const fn geometry(&self) -> (u32, u64, u32, [u8; 16]) {
        (self.version, self.sectors, self.block_bytes, self.uuid)
    }
}

#[cfg(test)]
impl Superblock {
    /// Version 2, 16 MiB in blocks of 4 KiB, and no log.
    pub(super) fn bare() -> Self {
        let mut bytes = vec![0; SUPERBLOCK_LEN];
        bytes[..5].copy_from_slice(b"JFS1\x02");
        bytes[8..12].copy_from_slice(&32_768_u32.to_le_bytes());
        bytes[16..20].copy_from_slice(&4096_u32.to_le_bytes());
        bytes[28] = 9;
        Self::parse(&bytes).expect("a superblock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> Vec<u8> {
        let mut bytes = vec![0; SUPERBLOCK_LEN];
        bytes[..5].copy_from_slice(b"JFS1\x02");
        bytes[8..12].copy_from_slice(&32_768_u32.to_le_bytes());
        bytes[16..20].copy_from_slice(&4096_u32.to_le_bytes());
        bytes[28] = 9;
        bytes
    }

    #[test]
    fn sizes_count_log_and_work_space() {
        let mut bytes = bytes();
        assert_eq!(Superblock::parse(&bytes).expect("one").size_bytes(), 16 << 20);
        bytes[72..80].copy_from_slice(&[8, 0, 0, 0, 0, 0x10, 0, 0]);
        assert_eq!(
            Superblock::parse(&bytes).expect("one").size_bytes(),
            (4096 + 8) * 4096
        );
    }

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        for (at, value) in [(0, 0), (4, 3), (17, 3), (10, 0)] {
            let mut bytes = bytes();
            bytes[at] = value;
            if at == 10 {
                bytes[9] = 0;
            }
            assert!(Superblock::parse(&bytes).is_err(), "{at}");
        }
    }

    #[test]
    fn runs_have_40_bits_of_address() {
        let run = Run::parse(&[3, 0, 0, 7, 1, 0, 0, 0], 0).expect("8 bytes");
        assert_eq!((run.block, run.len), (7 << 32 | 1, 3));
    }
}
