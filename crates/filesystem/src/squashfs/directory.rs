//! Listings of directories: runs of entries whose inodes lie in one block, each run with a head.

use ntt_source::field::{le_u16, le_u32, u8_at};

use super::superblock::Version;
use super::volume::{Fault, Metadata, Place, Volume};

/// From version 3 on the length of a listing counts three bytes that are not there, for `.` and `..`.
const EXTRA_BYTES: u32 = 3;
/// Entries of a run.
const RUN_MAX: u32 = 256;

/// An entry of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    /// Where its inode lies in the table.
    pub(super) inode: Place,
}

/// The entries of a directory.
pub(super) struct Entries<'v, 'a> {
    metadata: Metadata<'v, 'a>,
    version: Version,
    left: u32,
    run_left: u32,
    run_block: u64,
}

impl<'v, 'a> Entries<'v, 'a> {
    /// The listing of `len` bytes at `place`.
    pub(super) fn new(volume: &'v Volume<'a>, place: Place, len: u32) -> Self {
        Self {
            metadata: volume.metadata(volume.superblock.directory_table, place),
            version: volume.superblock.version,
            left: match volume.superblock.version {
                Version::V2 => len,
                Version::V3 | Version::V4 => len.saturating_sub(EXTRA_BYTES),
            },
            run_left: 0,
            run_block: 0,
        }
    }

    /// Where the block that is read from lies in the volume.
    pub(super) const fn position(&self) -> u64 {
        self.metadata.position()
    }

    /// The next entry; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        if self.run_left == 0 {
            self.head()?;
        }
        self.run_left = self.run_left.saturating_sub(1);
        self.entry().map(Some)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.spend(u32::try_from(N).unwrap_or(u32::MAX))?;
        self.metadata.array()
    }

    fn spend(&mut self, len: u32) -> Result<(), Fault> {
        let Some(left) = self.left.checked_sub(len) else {
            let detail = "an entry does not fit into its directory".to_owned();
            return Err(Fault::Corrupt(detail, self.metadata.position()));
        };
        self.left = left;
        Ok(())
    }

    fn head(&mut self) -> Result<(), Fault> {
        let (count, block) = match self.version {
            Version::V4 => {
                let head: [u8; 12] = self.take()?;
                (le_u32(&head, 0).unwrap_or(0), le_u32(&head, 4).unwrap_or(0))
            }
            Version::V3 => {
                let head: [u8; 9] = self.take()?;
                (
                    u8_at(&head, 0).map_or(0, u32::from),
                    le_u32(&head, 1).unwrap_or(0),
                )
            }
            Version::V2 => {
                let [count, b0, b1, b2] = self.take()?;
                (count.into(), u32::from_le_bytes([b0, b1, b2, 0]))
            }
        };
        if count >= RUN_MAX {
            let detail = format!("a run of {count} entries");
            return Err(Fault::Corrupt(detail, self.metadata.position()));
        }
        self.run_left = count.saturating_add(1);
        self.run_block = block.into();
        Ok(())
    }

    fn entry(&mut self) -> Result<Entry, Fault> {
        let (offset, len) = match self.version {
            Version::V4 => {
                let entry: [u8; 8] = self.take()?;
                (le_u16(&entry, 0).unwrap_or(0), le_u16(&entry, 6).unwrap_or(0))
            }
            Version::V3 => {
                let entry: [u8; 5] = self.take()?;
                (
                    le_u16(&entry, 0).unwrap_or(0) & 0x1fff,
                    u8_at(&entry, 2).unwrap_or(0).into(),
                )
            }
            Version::V2 => {
                let [low, high, len] = self.take()?;
                (u16::from_le_bytes([low, high]) & 0x1fff, len.into())
            }
        };
        let len = len.saturating_add(1);
        if len > 256 {
            let detail = format!("a name of {len} bytes");
            return Err(Fault::Corrupt(detail, self.metadata.position()));
        }
        self.spend(len.into())?;
        Ok(Entry {
            name: self.metadata.bytes(len)?,
            inode: Place {
                block: self.run_block,
                offset: offset.into(),
            },
        })
    }
}
