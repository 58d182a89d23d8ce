//! The master directory block (Inside Macintosh: Files, 2-60 to 2-64).

use ntt_source::field::{be_u16, be_u32, u8_at};
use ntt_source::{ReadAt, ReadError};

use crate::apple::fork::ForkData;

/// Where the block stands in the volume; its copy is the last block but one.
pub(super) const MDB_OFFSET: u64 = 1024;
const SECTOR: u64 = 512;
const MDB_LEN: usize = 512;
/// Bits of `drAtrb`.
pub(super) mod attribute {
    /// Put away cleanly.
    pub(crate) const UNMOUNTED: u16 = 1 << 8;
}

/// A master directory block that can be believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mdb {
    pub(super) attributes: u16,
    pub(super) block_bytes: u32,
    pub(super) block_count: u16,
    pub(super) free_blocks: u16,
    /// Where block 0 starts.
    pub(super) first_block: u64,
    /// Where the bitmap of blocks starts.
    pub(super) bitmap: u64,
    /// MacRoman, or whatever script the system had.
    pub(super) label: Vec<u8>,
    pub(super) file_count: u32,
    pub(super) folder_count: u32,
    /// Blocks that hold an HFS+ volume, if this is its wrapper.
    pub(super) embedded_blocks: Option<u16>,
    pub(super) extents: ForkData,
    pub(super) catalog: ForkData,
    raw: [u8; MDB_LEN],
}

impl Mdb {
    /// The block in `raw`; what is wrong if it is none.
    pub(super) fn parse(raw: [u8; MDB_LEN]) -> Result<Self, String> {
        if !raw.starts_with(b"BD") {
            return Err(format!("signature {:#06x}", be_u16(&raw, 0).unwrap_or(0)));
        }
        let half = |offset| be_u16(&raw, offset).unwrap_or(0);
        let word = |offset| be_u32(&raw, offset).unwrap_or(0);
        let sectors = |offset| u64::from(half(offset)).saturating_mul(SECTOR);
        let extents = |offset: usize| raw.get(offset..).unwrap_or_default();
        let label_len = usize::from(u8_at(&raw, 36).unwrap_or(0));
        let label = raw.get(37..label_len.saturating_add(37)).unwrap_or_default();
        let is_wrapper = matches!(half(124), 0x482b | 0x4858);
        let mdb = Self {
            attributes: half(10),
            block_bytes: word(20),
            block_count: half(18),
            free_blocks: half(34),
            first_block: sectors(28),
            bitmap: sectors(14),
            label: label.to_vec(),
            file_count: word(84),
            folder_count: word(88),
            embedded_blocks: is_wrapper.then(|| half(128)),
            extents: ForkData::classic(word(130), extents(134)).unwrap_or_default(),
            catalog: ForkData::classic(word(146), extents(150)).unwrap_or_default(),
            raw,
        };
        if mdb.block_bytes == 0 || !mdb.block_bytes.is_multiple_of(512) {
            return Err(format!("allocation blocks of {} bytes", mdb.block_bytes));
        }
        if mdb.block_count == 0 || mdb.free_blocks > mdb.block_count {
            return Err(format!(
                "{} blocks, {} of them free",
                mdb.block_count, mdb.free_blocks
            ));
        }
        if label_len > 27 || mdb.first_block < MDB_OFFSET || mdb.bitmap < MDB_OFFSET {
            return Err("a name, bitmap or first block that cannot be".to_owned());
        }
        Ok(mdb)
    }

    /// Length of the volume: blocks, the copy of this block, and one more.
    pub(super) fn size_bytes(&self) -> u64 {
        u64::from(self.block_bytes)
            .saturating_mul(u64::from(self.block_count))
            .saturating_add(self.first_block)
            .saturating_add(2 * SECTOR)
    }

    /// The block's bytes, for its times.
    pub(super) fn raw(&self) -> &[u8] {
        &self.raw
    }
}

/// A block, and where it was found.
pub(super) struct Located {
    pub(super) mdb: Mdb,
    pub(super) offset: u64,
    /// What is wrong with the first one, if this is the copy.
    pub(super) primary_fault: Option<String>,
}

/// Why there is no block.
#[derive(Debug)]
pub(super) enum Fault {
    /// Its place cannot be read.
    Read(ReadError),
    /// It holds something else.
    Other(String),
}

/// Finds the block, or its copy at the end. What stands before it does not matter: boot blocks may look like anything.
pub(super) fn locate(source: &dyn ReadAt) -> Result<Located, Fault> {
    let fault = match read(source, MDB_OFFSET) {
        Ok(mdb) => {
            return Ok(Located {
                mdb,
                offset: MDB_OFFSET,
                primary_fault: None,
            });
        }
        Err(fault) => fault,
    };
    let copy = source.len().checked_sub(2 * SECTOR).and_then(|offset| {
        let mdb = read(source, offset).ok()?;
        // The copy must be that of a volume which ends here.
        let slack = u64::from(mdb.block_bytes).max(4096);
        (mdb.size_bytes().abs_diff(source.len()) < slack).then_some((mdb, offset))
    });
    match copy {
        Some((mdb, offset)) => Ok(Located {
            mdb,
            offset,
            primary_fault: Some(match fault {
                Fault::Read(error) => error.to_string(),
                Fault::Other(detail) => detail,
            }),
        }),
        None => Err(fault),
    }
}

fn read(source: &dyn ReadAt, offset: u64) -> Result<Mdb, Fault> {
    let mut raw = [0; MDB_LEN];
    source.read_exact_at(offset, &mut raw).map_err(Fault::Read)?;
    Mdb::parse(raw).map_err(Fault::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw_mdb() -> [u8; MDB_LEN] {
        let mut raw = [0; MDB_LEN];
        raw[..2].copy_from_slice(b"BD");
        raw[15] = 3;
        raw[18..20].copy_from_slice(&[3, 0x20]);
        raw[22] = 2;
        raw[29] = 4;
        raw[36..40].copy_from_slice(b"\x03abc");
        raw
    }

    fn fault(change: impl Fn(&mut [u8])) -> Option<String> {
        let mut raw = raw_mdb();
        change(&mut raw);
        Mdb::parse(raw).err()
    }

    #[test]
    fn a_block_must_be_possible() {
        assert_eq!(fault(|_| {}), None);
        assert_eq!(fault(|raw| raw[1] = 0).as_deref(), Some("signature 0x4200"));
        assert_eq!(
            fault(|raw| raw[22] = 3).as_deref(),
            Some("allocation blocks of 768 bytes")
        );
        assert_eq!(
            fault(|raw| raw[34] = 9).as_deref(),
            Some("800 blocks, 2304 of them free")
        );
        assert!(fault(|raw| raw[36] = 28).is_some());
    }

    #[test]
    fn r22_the_copy_at_the_end_serves() {
        let mut image = vec![0; 2048 + 800 * 512 + 1024];
        let at = image.len() - 1024;
        image[at..at + MDB_LEN].copy_from_slice(&raw_mdb());
        let located = locate(&image).expect("the copy");
        assert_eq!(located.mdb.label, b"abc");
        assert_eq!(located.primary_fault.as_deref(), Some("signature 0x0000"));
        image.extend_from_slice(&[0; 8192]);
        assert!(locate(&image).is_err());
    }
}
