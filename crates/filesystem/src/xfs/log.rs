//! Whether the log holds changes that were not written to their places. It is not replayed.
//!
//! Source: *XFS Algorithms & Data Structures*, chapter "Journaling Log"; `xfs_log_format.h`. The log is a ring of sectors of 512 bytes, each of
//! which starts with the number of its round, or is a record's head. A log that was put away cleanly ends with a record that says so.

use ntt_source::ReadError;
use ntt_source::field::{be_u32, u8_at};

use super::volume::Volume;

const SECTOR_BYTES: u64 = 512;
const SECTOR_LEN: usize = 512;
const MAGIC: u32 = 0xfeed_babe;
/// Record heads of version 2 describe this many bytes of log each.
const BYTES_PER_HEAD: u32 = 32_768;
/// `oh_flags`: the file system was unmounted.
const UNMOUNT: u8 = 0x20;
/// Sectors of the largest record with its heads, twice.
const LOOK_BACK: u64 = 2 * (512 + 8);

/// What the log says.
#[derive(Debug)]
pub(super) enum LogState {
    Clean,
    Dirty,
    /// On another device.
    External,
    Unread(ReadError, u64),
    /// It has no record.
    Odd,
}

struct Ring<'v, 'a> {
    volume: &'v Volume<'a>,
    offset: u64,
    sectors: u64,
}

/// Looks at the end of the log.
pub(super) fn state(volume: &Volume<'_>) -> LogState {
    let superblock = &volume.superblock;
    if superblock.log_start == 0 {
        return LogState::External;
    }
    let bytes = u64::from(superblock.log_blocks).saturating_mul(volume.block_bytes());
    let Some(offset) = volume.block_offset(superblock.log_start) else {
        return LogState::Odd;
    };
    let ring = Ring {
        volume,
        offset,
        sectors: bytes / SECTOR_BYTES,
    };
    ring.state()
        .unwrap_or_else(|error| LogState::Unread(error, offset))
}

impl Ring<'_, '_> {
    fn state(&self) -> Result<LogState, ReadError> {
        let head = self.head()?;
        for back in 1..=LOOK_BACK.min(self.sectors) {
            // The ring goes on before its start.
            let sector = if back <= head {
                head.saturating_sub(back)
            } else {
                self.sectors.saturating_add(head).saturating_sub(back)
            };
            let record = self.sector(sector)?;
            if be_u32(&record, 0) == Some(MAGIC) {
                return Ok(if self.is_unmount(&record, sector)? {
                    LogState::Clean
                } else {
                    LogState::Dirty
                });
            }
        }
        Ok(LogState::Odd)
    }

    fn sector(&self, number: u64) -> Result<[u8; SECTOR_LEN], ReadError> {
        let within = number.checked_rem(self.sectors).unwrap_or(0);
        let mut sector = [0; SECTOR_LEN];
        let offset = self.offset.saturating_add(within.saturating_mul(SECTOR_BYTES));
        self.volume.read(offset, &mut sector)?;
        Ok(sector)
    }

    /// The round in which a sector was written.
    fn round(&self, number: u64) -> Result<u32, ReadError> {
        let sector = self.sector(number)?;
        let first = be_u32(&sector, 0).unwrap_or(0);
        Ok(if first == MAGIC {
            be_u32(&sector, 4).unwrap_or(0)
        } else {
            first
        })
    }

    /// The first sector that is not of the latest round: the next record will stand there (Linux `xlog_find_head`).
    fn head(&self) -> Result<u64, ReadError> {
        let first = self.round(0)?;
        let last = self.sectors.saturating_sub(1);
        if self.round(last)? == first {
            return Ok(self.sectors);
        }
        let (mut low, mut high) = (0, last);
        while high.saturating_sub(low) > 1 {
            let middle = low.midpoint(high);
            if self.round(middle)? == first {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(high)
    }

    /// Whether a record is the one that unmounting writes: a single operation, which says so.
    fn is_unmount(&self, record: &[u8], sector: u64) -> Result<bool, ReadError> {
        if be_u32(record, 40) != Some(1) {
            return Ok(false);
        }
        // Version 2 says how long records may be; long ones have several heads.
        let size = be_u32(record, 320)
            .filter(|_| be_u32(record, 8) == Some(2))
            .unwrap_or(0);
        let heads = u64::from(size.div_ceil(BYTES_PER_HEAD).clamp(1, 8));
        let operation = self.sector(sector.saturating_add(heads))?;
        Ok(u8_at(&operation, 9).is_some_and(|flags| flags & UNMOUNT != 0))
    }
}
