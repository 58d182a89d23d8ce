//! The volume header (TN1150, "Volume Header"), and where it is: in the volume, at its end, or in an HFS wrapper.

use ntt_source::field::{array, be_u16, be_u32};
use ntt_source::{ReadAt, ReadError};

use crate::apple::fork::ForkData;

/// Where the header stands in the volume; its copy stands as far from the end of the volume as the header's end from its start.
pub(super) const HEADER_OFFSET: u64 = 1024;
const HEADER_LEN: usize = 512;

/// Bits of the header's `attributes`.
pub(super) mod attribute {
    /// `kHFSVolumeUnmountedBit`.
    pub(crate) const UNMOUNTED: u32 = 1 << 8;
    /// `kHFSBootVolumeInconsistentBit`.
    pub(crate) const INCONSISTENT: u32 = 1 << 11;
    /// `kHFSVolumeJournaledBit`.
    pub(crate) const JOURNALED: u32 = 1 << 13;
}

/// A header that can be believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct VolumeHeader {
    /// HFSX, which may compare names with case.
    pub(super) is_hfsx: bool,
    pub(super) attributes: u32,
    /// Who wrote the volume last: `10.0`, `HFSJ`, `8.10`, `fsck`.
    pub(super) last_mounted: [u8; 4],
    /// Block of the journal info block; 0 without a journal.
    pub(super) journal_info_block: u32,
    pub(super) file_count: u32,
    pub(super) folder_count: u32,
    pub(super) block_bytes: u32,
    pub(super) block_count: u32,
    pub(super) free_blocks: u32,
    /// Identifies the volume; zeros if it was never given.
    pub(super) id: [u8; 8],
    pub(super) allocation: ForkData,
    pub(super) extents: ForkData,
    pub(super) catalog: ForkData,
    pub(super) attributes_file: ForkData,
    raw: [u8; HEADER_LEN],
}

impl VolumeHeader {
    /// The header in `raw`; what is wrong if it is none.
    pub(super) fn parse(raw: [u8; HEADER_LEN]) -> Result<Self, String> {
        let signature = be_u16(&raw, 0).unwrap_or(0);
        let version = be_u16(&raw, 2).unwrap_or(0);
        let is_hfsx = match (signature, version) {
            (0x482b, 4) => false,
            (0x4858, 5) => true,
            _ => return Err(format!("signature {signature:#06x}, version {version}")),
        };
        let word = |offset| be_u32(&raw, offset).unwrap_or(0);
        let fork = |offset: usize| raw.get(offset..).and_then(ForkData::plus).unwrap_or_default();
        let header = Self {
            is_hfsx,
            attributes: word(4),
            last_mounted: array(&raw, 8).unwrap_or_default(),
            journal_info_block: word(12),
            file_count: word(32),
            folder_count: word(36),
            block_bytes: word(40),
            block_count: word(44),
            free_blocks: word(48),
            id: array(&raw, 104).unwrap_or_default(),
            allocation: fork(112),
            extents: fork(192),
            catalog: fork(272),
            attributes_file: fork(352),
            raw,
        };
        let size = header.block_bytes;
        if !size.is_power_of_two() || !(512..=1 << 24).contains(&size) {
            return Err(format!("allocation blocks of {size} bytes"));
        }
        if header.block_count == 0 || header.free_blocks > header.block_count {
            return Err(format!(
                "{} blocks, {} of them free",
                header.block_count, header.free_blocks
            ));
        }
        Ok(header)
    }

    /// Length of the volume as the header says.
    pub(super) fn size_bytes(&self) -> u64 {
        u64::from(self.block_bytes).saturating_mul(u64::from(self.block_count))
    }

    /// The header's bytes, for its times.
    pub(super) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The type as people call it.
    pub(super) fn type_name(&self) -> &'static str {
        if self.is_hfsx { "hfsx" } else { "hfsplus" }
    }

    /// Whether a journal is kept.
    pub(super) fn is_journaled(&self) -> bool {
        self.attributes & attribute::JOURNALED != 0 && self.journal_info_block != 0
    }
}

/// A header, and where it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Located {
    pub(super) header: VolumeHeader,
    /// Where the HFS+ volume starts in the source: not at 0 in a wrapper.
    pub(super) start: u64,
    /// Where the header stands in the source.
    pub(super) offset: u64,
    /// What is wrong with the first header, if this is the copy.
    pub(super) primary_fault: Option<String>,
}

/// Why there is no header.
#[derive(Debug)]
pub(super) enum Fault {
    /// The place of the first header cannot be read.
    Read(ReadError),
    /// It holds something else.
    Other(String),
}

/// Finds a header: the first one, or the copy at the end of the source, of the volume or of the one in the wrapper.
pub(super) fn locate(source: &dyn ReadAt) -> Result<Located, Fault> {
    let (start, len) = embedded(source).unwrap_or((0, source.len()));
    let fault = match read(source, start.saturating_add(HEADER_OFFSET)) {
        Ok(header) => {
            return Ok(Located {
                header,
                start,
                offset: start.saturating_add(HEADER_OFFSET),
                primary_fault: None,
            });
        }
        Err(fault) => fault,
    };
    let ends = [start.saturating_add(len), source.len()];
    let copy = ends.iter().find_map(|end| {
        let offset = end.checked_sub(HEADER_OFFSET).filter(|offset| *offset > start)?;
        let header = read(source, offset).ok()?;
        // The copy tells how long the volume is: it must end where this one does.
        let end = start.checked_add(header.size_bytes())?;
        let is_at_end =
            end.abs_diff(offset.saturating_add(HEADER_OFFSET)) < u64::from(header.block_bytes).max(4096);
        is_at_end.then_some((header, offset))
    });
    match copy {
        Some((header, offset)) => Ok(Located {
            header,
            start,
            offset,
            primary_fault: Some(match fault {
                Fault::Read(error) => error.to_string(),
                Fault::Other(detail) => detail,
            }),
        }),
        None => Err(fault),
    }
}

fn read(source: &dyn ReadAt, offset: u64) -> Result<VolumeHeader, Fault> {
    let mut raw = [0; HEADER_LEN];
    source.read_exact_at(offset, &mut raw).map_err(Fault::Read)?;
    VolumeHeader::parse(raw).map_err(Fault::Other)
}

/// Start and length of the HFS+ volume in an HFS wrapper, by the wrapper's master directory block or its copy (TN1150, "HFS Wrapper").
pub(super) fn embedded(source: &dyn ReadAt) -> Option<(u64, u64)> {
    let places = [Some(HEADER_OFFSET), source.len().checked_sub(HEADER_OFFSET)];
    places.into_iter().flatten().find_map(|place| {
        let mut block = [0; HEADER_LEN];
        source.read_exact_at(place, &mut block).ok()?;
        let is_wrapper = block.starts_with(b"BD") && matches!(be_u16(&block, 124)?, 0x482b | 0x4858);
        let block_bytes = u64::from(be_u32(&block, 20)?);
        let first_block = u64::from(be_u16(&block, 28)?).checked_mul(512)?;
        let in_blocks = |offset| block_bytes.checked_mul(u64::from(be_u16(&block, offset)?));
        let start = first_block.checked_add(in_blocks(126)?)?;
        is_wrapper.then_some((start, in_blocks(128)?))
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A header of 100 blocks of 4096 bytes.
    pub(crate) fn raw_header() -> [u8; HEADER_LEN] {
        let mut raw = [0; HEADER_LEN];
        raw[..4].copy_from_slice(&[0x48, 0x2b, 0, 4]);
        raw[42] = 0x10;
        raw[47] = 100;
        raw
    }

    fn fault(change: impl Fn(&mut [u8])) -> Option<String> {
        let mut raw = raw_header();
        change(&mut raw);
        VolumeHeader::parse(raw).err()
    }

    #[test]
    fn a_header_must_be_possible() {
        assert_eq!(fault(|_| {}), None);
        assert_eq!(
            fault(|raw| raw[3] = 5).as_deref(),
            Some("signature 0x482b, version 5")
        );
        assert_eq!(
            fault(|raw| raw[43] = 1).as_deref(),
            Some("allocation blocks of 4097 bytes")
        );
        assert_eq!(
            fault(|raw| raw[51] = 101).as_deref(),
            Some("100 blocks, 101 of them free")
        );
    }

    #[test]
    fn r22_the_copy_at_the_end_serves() {
        let mut image = vec![0; 409_600];
        image[408_576..408_576 + HEADER_LEN].copy_from_slice(&raw_header());
        let located = locate(&image).expect("the copy");
        assert_eq!((located.start, located.offset), (0, 408_576));
        assert!(located.primary_fault.is_some());
        image.insert(0, 0);
        assert!(matches!(locate(&image[..300_000].to_vec()), Err(Fault::Other(_))));
    }

    #[test]
    fn a_volume_in_a_wrapper() {
        let mut image = vec![0; 600_000];
        image[1024..1026].copy_from_slice(b"BD");
        image[1024 + 22] = 2;
        image[1024 + 29] = 4;
        image[1024 + 124..1024 + 130].copy_from_slice(&[0x48, 0x2b, 0, 10, 3, 0x20]);
        let start = 4 * 512 + 10 * 512;
        image[start + 1024..start + 1536].copy_from_slice(&raw_header());
        let located = locate(&image).expect("wrapped");
        assert_eq!(located.start, u64::try_from(start).expect("small"));
    }
}
