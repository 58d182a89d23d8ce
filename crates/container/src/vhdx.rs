//! VHDX, Hyper-V's disks: fixed, dynamic and differencing.
//!
//! ```text
//! 0 file id | 64 KiB header 1 | 128 KiB header 2 | 192 KiB regions 1 | 256 KiB regions 2 | log, metadata, BAT, blocks
//! ```
//!
//! The header with the higher sequence number counts. The BAT has an entry for each block and, behind each run of them that fills a bitmap, one for the bitmap of
//! which sectors a partial block has itself. A log that is not empty holds writes that never reached their place: they are put over the file in memory.
//!
//! Source: *[MS-VHDX]: Virtual Hard Disk v2 (VHDX) File Format*.

mod header;
mod log;
mod metadata;
mod overlay;

use std::sync::Arc;

use ntt_model::{ByteRange, Finding, FindingCode};
use ntt_source::ReadAt;

use crate::backing::{self, Backing, Made};
use crate::census::{Census, Places, unnamed_loss};
use crate::layer::{hex, shown};
use crate::layout::{Layout, Run, image, read_upto};
use crate::open::{Found, OpenError, Subject, warning};
use crate::pages::Pages;
use crate::text::utf16_le;
use header::{Header, Regions};
use metadata::{Metadata, guid};

pub(super) const FORMAT: &str = "VHDX";
const MAGIC: &[u8] = b"vhdxfile";
/// The fact that changes with what a disk holds.
const DATA_ID: &str = "data id";
const MIB: u64 = 1 << 20;
/// Sectors that the bitmap of a partial block covers: a MiB of bits (2.5.1.2).
const SECTORS_PER_BITMAP: u64 = 1 << 23;
/// States of a block (2.5.1.1).
const FULLY_PRESENT: u64 = 6;
const PARTIALLY_PRESENT: u64 = 7;
const ZERO: u64 = 2;
const ZERO_STATES: [u64; 3] = [1, ZERO, 3];

pub(crate) fn matches(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

pub(crate) fn open(subject: &Subject<'_>) -> Result<Found, OpenError> {
    let mut findings = Vec::new();
    let header = Header::read(subject.source, &mut findings)?;
    let source = log::replayed(subject.source, &header, &mut findings);
    let regions = Regions::read(&source, &mut findings)?;
    let metadata = Metadata::read(&source, regions.metadata)?;
    let kind = match (metadata.has_parent, metadata.is_fixed) {
        (true, _) => "differencing",
        (false, true) => "fixed",
        (false, false) => "dynamic",
    };
    let mut layer = subject.layer(format!("VHDX {kind}"));
    layer.block_bytes = metadata.block_bytes;
    let creator = read_upto(subject.source, 8, 512).unwrap_or_default();
    let creator = shown(&utf16_le(&creator));
    let is_zero_default = creator.starts_with("QEMU");
    layer.fact("made by", creator);
    layer.fact("sector size", format!("{} bytes", metadata.sector_bytes));
    layer.fact("disk id", hex(&metadata.id));
    layer.fact(DATA_ID, guid(header.data_id));
    let parent = if metadata.has_parent {
        let Some(name) = metadata.parents.first() else {
            return Err(OpenError::corrupt(FORMAT, "it does not name its parent"));
        };
        layer.fact("parent", shown(name));
        let made = Made {
            fact: DATA_ID,
            over: metadata.linkages.clone(),
        };
        backing::open_known(subject, name, &made, &mut layer, &mut findings)?
    } else {
        Backing::None
    };
    let fixed = [(0, MIB), header.log, regions.bat, regions.metadata];
    let fixed = fixed.into_iter().filter(|(_, len)| *len > 0);
    let fixed = fixed.map(|(at, len)| ByteRange::new(at, len)).collect();
    let mut layout = Blocks {
        pages: Pages::new(source.clone()),
        places: Places::new(source.len(), Vec::new()),
        source,
        bat: regions.bat,
        metadata,
        parent,
        is_zero_default,
    };
    layout.count(Places::new(layout.source.len(), fixed), &mut findings);
    Ok(Found::new(layer, findings, image(layout)))
}

struct Blocks {
    source: Arc<dyn ReadAt>,
    pages: Pages,
    places: Places,
    /// Where the BAT stands, and its length.
    bat: (u64, u64),
    metadata: Metadata,
    parent: Backing,
    /// Whether blocks that were never written are in the state [`ZERO`]: QEMU makes them so, Hyper-V those of which the place was given back.
    is_zero_default: bool,
}

impl Blocks {
    /// Looks at the whole BAT once: blocks that cannot be where it says, and blocks of the file that it does not name.
    ///
    /// Such a block is a loss if an entry of zeros is there that it can have come from, and if there are more of them than of blocks that were given back: Hyper-V
    /// unmaps blocks, and may use their place later or never.
    fn count(&mut self, places: Places, findings: &mut Vec<Finding>) {
        let mut census = Census::new(places);
        let needed = self.entries();
        let present = self.source.len().saturating_sub(self.bat.0);
        let held = self.bat.1.checked_div(8).unwrap_or(0);
        let held = held.min(needed.max(present.checked_div(8).unwrap_or(0)));
        let stride = self.ratio().saturating_add(1);
        // Entries that may have lost their place, and those of blocks whose place may have been given back.
        let (mut empty, mut given_back) = (0_u64, 0_u64);
        census.entries(&self.source, self.bat.0, held, |census, index, entry| {
            let (state, at) = split(u64::from_le_bytes(entry));
            let chunk = index.checked_div(stride).unwrap_or(0);
            let is_bitmap = index.checked_rem(stride) == Some(self.ratio());
            let block = self.place(index.saturating_sub(chunk), at);
            match state {
                // Of a disk that was made smaller.
                _ if index >= needed => {
                    if at > 0 {
                        census.reserve(ByteRange::new(at, self.metadata.block_bytes));
                    }
                }
                FULLY_PRESENT if is_bitmap => census.add(ByteRange::new(at, MIB)),
                FULLY_PRESENT | PARTIALLY_PRESENT => census.add(block),
                _ if at > 0 => census.reserve(block),
                0 => empty = empty.saturating_add(u64::from(!is_bitmap)),
                ZERO if self.is_zero_default => {}
                _ => given_back = given_back.saturating_add(1),
            }
        });
        census.settle(FORMAT, findings);
        if census.is_whole() {
            match census.unnamed(&self.source, self.metadata.block_bytes) {
                0 => {}
                unnamed if empty > 0 && unnamed > given_back => findings.push(unnamed_loss(FORMAT, unnamed)),
                unnamed => {
                    let detail =
                        format!("{unnamed} blocks of the file are in no entry of its table of blocks");
                    findings.push(warning(FORMAT, FindingCode::Contradiction, &detail));
                }
            }
        }
        self.places = census.places();
    }

    /// Entries of the BAT that the disk needs.
    fn entries(&self) -> u64 {
        let blocks = self.metadata.size.div_ceil(self.metadata.block_bytes.max(1));
        let bitmaps = if self.metadata.has_parent {
            blocks.div_ceil(self.ratio())
        } else {
            blocks.saturating_sub(1).checked_div(self.ratio()).unwrap_or(0)
        };
        blocks.saturating_add(bitmaps)
    }

    /// Where a block of the image lies, as far as the image goes, if it begins there.
    fn place(&self, block: u64, at: u64) -> ByteRange {
        let block_bytes = self.metadata.block_bytes;
        let rest = self
            .metadata
            .size
            .saturating_sub(block.saturating_mul(block_bytes));
        ByteRange::new(at, block_bytes.min(rest))
    }

    /// Blocks that share a bitmap.
    fn ratio(&self) -> u64 {
        let bytes = SECTORS_PER_BITMAP.saturating_mul(self.metadata.sector_bytes);
        bytes.checked_div(self.metadata.block_bytes).unwrap_or(1).max(1)
    }

    fn entry(&self, index: u64) -> Result<(u64, u64), String> {
        let distance = index.saturating_mul(8);
        if distance.saturating_add(8) > self.bat.1 {
            return Err("the table of blocks ends before them".to_owned());
        }
        let entry = self
            .pages
            .array(self.bat.0.saturating_add(distance))
            .map(u64::from_le_bytes);
        let entry = entry.map_err(|error| format!("the table of blocks cannot be read: {error}"))?;
        Ok(split(entry))
    }

    /// A sector of a block of which some are in the parent.
    fn partial(&self, offset: u64, block: u64, data_at: u64, within: u64) -> Run<'_> {
        let sector_bytes = self.metadata.sector_bytes;
        let len = sector_bytes.saturating_sub(within.checked_rem(sector_bytes).unwrap_or(0));
        let chunk = block.checked_div(self.ratio()).unwrap_or(0);
        let stride = self.ratio().saturating_add(1);
        let bitmap = self.entry(chunk.saturating_mul(stride).saturating_add(self.ratio()));
        let bitmap_at = match bitmap {
            Ok((FULLY_PRESENT, at)) => match self.places.refusal(ByteRange::new(at, MIB)) {
                Some(_) => {
                    return lost(
                        len,
                        "the bitmap of the block is not where it should be".to_owned(),
                    );
                }
                None => at,
            },
            Ok(_) => return lost(len, "the bitmap of the block is missing".to_owned()),
            Err(what) => return lost(len, what),
        };
        let in_chunk = offset
            .checked_div(sector_bytes)
            .unwrap_or(0)
            .checked_rem(SECTORS_PER_BITMAP)
            .unwrap_or(0);
        let byte = self
            .pages
            .array::<1>(bitmap_at.saturating_add(in_chunk.checked_div(8).unwrap_or(0)));
        match byte {
            Err(error) => lost(len, format!("the bitmap of the block cannot be read: {error}")),
            Ok([bits]) => {
                let shift = u32::try_from(in_chunk & 7).unwrap_or(0);
                if bits.checked_shr(shift).unwrap_or(0) & 1 == 1 {
                    self.stored(data_at.saturating_add(within), len)
                } else {
                    self.parent.run(offset, len)
                }
            }
        }
    }

    fn stored(&self, offset: u64, len: u64) -> Run<'_> {
        Run::Stored {
            source: &self.source,
            offset,
            len,
        }
    }
}

/// State and place of an entry.
fn split(entry: u64) -> (u64, u64) {
    (entry & 7, (entry >> 20).saturating_mul(MIB))
}

fn lost(len: u64, what: String) -> Run<'static> {
    Run::Lost { len, what }
}

impl Layout for Blocks {
    fn len(&self) -> u64 {
        self.metadata.size
    }

    fn locate(&self, offset: u64) -> Run<'_> {
        let block_bytes = self.metadata.block_bytes;
        let block = offset.checked_div(block_bytes).unwrap_or(0);
        let within = offset.checked_rem(block_bytes).unwrap_or(0);
        let len = block_bytes.saturating_sub(within);
        let bitmaps_before = block.checked_div(self.ratio()).unwrap_or(0);
        match self.entry(block.saturating_add(bitmaps_before)) {
            Err(what) => lost(len, what),
            Ok((FULLY_PRESENT | PARTIALLY_PRESENT, at))
                if let Some(why) = self.places.refusal(self.place(block, at)) =>
            {
                lost(len, why)
            }
            Ok((FULLY_PRESENT, at)) => self.stored(at.saturating_add(within), len),
            Ok((PARTIALLY_PRESENT, at)) => self.partial(offset, block, at, within),
            Ok((state, _)) if ZERO_STATES.contains(&state) => Run::Zeros(len),
            Ok((0, _)) => self.parent.run(offset, len),
            Ok((state, _)) => lost(len, format!("the block is in state {state}, which there is not")),
        }
    }
}
