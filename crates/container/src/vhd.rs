//! VHD, as Virtual PC and Hyper-V made it: fixed, dynamic and differencing.
//!
//! A footer of 512 bytes ends every image (and begins one that is not fixed). A dynamic one has a table of sectors: where each block lies, with a bitmap of its
//! sectors before it. In a differencing one a clear bit means that the parent has the sector.
//!
//! Source: *Virtual Hard Disk Image Format Specification*, version 1.0 (Microsoft).

use std::sync::Arc;

use ntt_model::{ByteRange, Finding, FindingCode};
use ntt_source::{ReadAt, field};

use crate::backing::{self, Backing, Made};
use crate::census::{Census, Places, loss, unnamed_loss};
use crate::layer::{hex, shown};
use crate::layout::{Layout, Run, bytes_of, image, read_upto};
use crate::open::{Found, OpenError, Subject, warning};
use crate::pages::Pages;
use crate::text::{seconds, utf16_be, utf16_le};

const FORMAT: &str = "VHD";
const FOOTER_MAGIC: &[u8] = b"conectix";
const HEADER_MAGIC: &[u8] = b"cxsparse";
const HEADER_BYTES: u64 = 1024;
const SECTOR: u64 = 512;
/// The fact that tells a disk from others.
const DISK_ID: &str = "disk id";
/// A block that is not there.
const ABSENT: u32 = u32::MAX;
const BLOCK_BYTES_MAX: u64 = 1 << 30;
/// Seconds from the epoch of Unix to that of VHD, 2000-01-01.
const EPOCH: i64 = 946_684_800;

pub(crate) fn matches(head: &[u8], tail: &[u8]) -> bool {
    head.starts_with(FOOTER_MAGIC) || footer_of(tail).is_some()
}

/// The footer at the end of a file; the oldest version wrote 511 bytes.
fn footer_of(tail: &[u8]) -> Option<&[u8]> {
    [512, 511].into_iter().find_map(|len| {
        let footer = tail.get(tail.len().checked_sub(len)?..)?;
        footer.starts_with(FOOTER_MAGIC).then_some(footer)
    })
}

struct Footer {
    data_offset: u64,
    size: u64,
    disk_type: u32,
    is_right: bool,
    made_by: String,
    made_at: i64,
    id: [u8; 16],
}

impl Footer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let id = field::array(bytes, 68)?;
        let creator: [u8; 4] = field::array(bytes, 28)?;
        Some(Self {
            data_offset: field::be_u64(bytes, 16)?,
            size: field::be_u64(bytes, 48)?,
            disk_type: field::be_u32(bytes, 60)?,
            is_right: is_sum_right(bytes, 64),
            made_by: shown(creator.trim_ascii()),
            made_at: EPOCH.saturating_add(i64::from(field::be_u32(bytes, 24)?)),
            id,
        })
    }
}

/// Whether the complement of the sum of all other bytes stands at `at`.
fn is_sum_right(bytes: &[u8], at: usize) -> bool {
    let end = at.saturating_add(4);
    let others = bytes
        .iter()
        .enumerate()
        .filter(|(place, _)| !(at..end).contains(place));
    let sum = others.fold(0_u32, |sum, (_, byte)| sum.wrapping_add(u32::from(*byte)));
    field::be_u32(bytes, at) == Some(!sum)
}

pub(crate) fn open(subject: &Subject<'_>) -> Result<Found, OpenError> {
    let mut findings = Vec::new();
    let footer = footer(subject, &mut findings)?;
    let kind = match footer.disk_type {
        2 => "fixed",
        3 => "dynamic",
        4 => "differencing",
        other => return Err(OpenError::corrupt(FORMAT, format!("disk type {other}"))),
    };
    let mut layer = subject.layer(format!("VHD {kind}"));
    layer.fact("made by", footer.made_by.clone());
    layer.fact("made at", seconds(footer.made_at));
    layer.fact(DISK_ID, hex(&footer.id));
    if footer.disk_type == 2 {
        let layout = Fixed {
            source: subject.source.clone(),
            len: footer.size.min(subject.source.len()),
        };
        return Ok(Found::new(layer, findings, image(layout)));
    }
    let header = Header::read(subject.source, footer.data_offset)?;
    if !header.is_right {
        let detail = "the checksum of the header of the blocks is wrong";
        findings.push(warning(FORMAT, FindingCode::Corrupt, detail));
    }
    layer.block_bytes = header.block_bytes;
    let parent = if footer.disk_type == 4 {
        let name = header.parent_name(subject)?;
        layer.fact("parent", shown(&name));
        layer.fact("parent id", hex(&header.parent_id));
        let is_said = header.parent_id != [0; 16];
        let made = Made {
            fact: DISK_ID,
            over: is_said.then(|| hex(&header.parent_id)).into_iter().collect(),
        };
        backing::open_known(subject, &name, &made, &mut layer, &mut findings)?
    } else {
        Backing::None
    };
    let layout = Blocks {
        source: subject.source.clone(),
        pages: Pages::new(subject.source.clone()),
        places: counted(subject, &header, footer.size, &mut findings),
        header,
        size: footer.size,
        is_differencing: footer.disk_type == 4,
        parent,
    };
    Ok(Found::new(layer, findings, image(layout)))
}

/// Looks at the whole table once: blocks that cannot be where it says, and blocks of the file that it does not name.
fn counted(subject: &Subject<'_>, header: &Header, size: u64, findings: &mut Vec<Finding>) -> Places {
    let source = subject.source;
    let mut census = Census::new(Places::new(source.len(), header.metadata(subject)));
    census.entries(source, header.table_at, header.entries, |census, block, entry| {
        let sector = u32::from_be_bytes(entry);
        if sector != ABSENT {
            census.add(header.place(block, sector, size));
        }
    });
    census.settle(FORMAT, findings);
    let needed = size.checked_div(header.block_bytes).unwrap_or(0);
    if header.entries < needed {
        let detail = format!("{FORMAT}: the table has {} blocks of {needed}", header.entries);
        findings.push(loss(FindingCode::Contradiction, detail));
    }
    if census.is_whole() {
        // Blocks are put one after the other, and never given back.
        let unnamed = census.unnamed(source, header.stride());
        if unnamed > 0 {
            findings.push(unnamed_loss(FORMAT, unnamed));
        }
    }
    census.places()
}

/// The footer at the end, or its copy at the start where that is the better one.
fn footer(subject: &Subject<'_>, findings: &mut Vec<Finding>) -> Result<Footer, OpenError> {
    let at_end = footer_of(&subject.tail).and_then(Footer::parse);
    let at_start = subject
        .head
        .get(..512)
        .filter(|head| head.starts_with(FOOTER_MAGIC))
        .and_then(Footer::parse);
    let (footer, is_copy) = match (at_end, at_start) {
        (Some(footer), _) if footer.is_right => (footer, false),
        (end, Some(copy)) if copy.is_right || end.is_none() => (copy, true),
        (Some(footer), _) => (footer, false),
        (None, _) => return Err(OpenError::corrupt(FORMAT, "there is no whole footer")),
    };
    if is_copy {
        let detail = "the footer at the end is missing or wrong, its copy at the start was used";
        findings.push(warning(FORMAT, FindingCode::BackupUsed, detail));
    } else if !footer.is_right {
        findings.push(warning(
            FORMAT,
            FindingCode::Corrupt,
            "the checksum of the footer is wrong",
        ));
    }
    Ok(footer)
}

struct Fixed {
    source: Arc<dyn ReadAt>,
    len: u64,
}

impl Layout for Fixed {
    fn len(&self) -> u64 {
        self.len
    }

    fn locate(&self, offset: u64) -> Run<'_> {
        Run::Stored {
            source: &self.source,
            offset,
            len: self.len.saturating_sub(offset),
        }
    }
}

/// The header of a dynamic image.
struct Header {
    at: u64,
    table_at: u64,
    entries: u64,
    block_bytes: u64,
    is_right: bool,
    parent_id: [u8; 16],
    parent_name: Vec<u8>,
    /// Platform, length and place of each parent locator.
    locators: Vec<([u8; 4], u64, u64)>,
}

impl Header {
    fn read(source: &dyn ReadAt, offset: u64) -> Result<Self, OpenError> {
        let bytes = read_upto(source, offset, HEADER_BYTES)
            .map_err(|error| OpenError::unreadable(FORMAT, "the header of the blocks", &error))?;
        Self::parse(&bytes, offset)
            .ok_or_else(|| OpenError::corrupt(FORMAT, "the header of the blocks makes no sense"))
    }

    fn parse(bytes: &[u8], at: u64) -> Option<Self> {
        let block_bytes = u64::from(field::be_u32(bytes, 32)?);
        let is_sane = (SECTOR..=BLOCK_BYTES_MAX).contains(&block_bytes) && block_bytes.is_power_of_two();
        if !bytes.starts_with(HEADER_MAGIC) || !is_sane {
            return None;
        }
        let locators = bytes.get(576..768)?.chunks_exact(24).filter_map(|locator| {
            let len = u64::from(field::be_u32(locator, 8)?);
            Some((field::array(locator, 0)?, len, field::be_u64(locator, 16)?))
        });
        Some(Self {
            at,
            table_at: field::be_u64(bytes, 16)?,
            entries: u64::from(field::be_u32(bytes, 28)?),
            block_bytes,
            is_right: is_sum_right(bytes, 36),
            parent_id: field::array(bytes, 40)?,
            parent_name: utf16_be(bytes.get(64..576)?),
            locators: locators.collect(),
        })
    }

    /// The parent as the relative locator has it, else the absolute one, else the name in the header.
    fn parent_name(&self, subject: &Subject<'_>) -> Result<Vec<u8>, OpenError> {
        for wanted in [b"W2ru", b"W2ku"] {
            let found = self.locators.iter().find(|(platform, ..)| platform == wanted);
            let Some((_, len, offset)) = found else { continue };
            let bytes = read_upto(subject.source, *offset, (*len).min(4096)).unwrap_or_default();
            let name = utf16_le(&bytes);
            if !name.is_empty() {
                return Ok(name);
            }
        }
        if self.parent_name.is_empty() {
            return Err(OpenError::corrupt(FORMAT, "it does not name its parent"));
        }
        Ok(self.parent_name.clone())
    }

    /// Where footers, header, table and names of the parent stand.
    fn metadata(&self, subject: &Subject<'_>) -> Vec<ByteRange> {
        let table_bytes = self.entries.saturating_mul(4).next_multiple_of(SECTOR);
        let footer = footer_of(&subject.tail).unwrap_or_default();
        let footer_bytes = bytes_of(footer);
        let mut ranges = vec![
            ByteRange::new(0, SECTOR),
            ByteRange::new(self.at, HEADER_BYTES),
            ByteRange::new(self.table_at, table_bytes),
            ByteRange::new(subject.source.len().saturating_sub(footer_bytes), footer_bytes),
        ];
        let locators = self.locators.iter().filter(|(platform, ..)| *platform != [0; 4]);
        ranges.extend(locators.map(|(_, len, offset)| ByteRange::new(*offset, *len)));
        ranges.retain(|range| range.len > 0);
        ranges
    }

    /// Bytes from one block of the file to the next.
    fn stride(&self) -> u64 {
        self.block_bytes.saturating_add(self.bitmap_bytes())
    }

    /// Where a block of the image lies with its bitmap, as far as the image goes, if it begins with this sector of the file.
    fn place(&self, block: u64, sector: u32, size: u64) -> ByteRange {
        let rest = size.saturating_sub(block.saturating_mul(self.block_bytes));
        let len = self.block_bytes.min(rest).saturating_add(self.bitmap_bytes());
        ByteRange::new(u64::from(sector).saturating_mul(SECTOR), len)
    }

    /// Bytes of the bitmap before a block: whole sectors.
    fn bitmap_bytes(&self) -> u64 {
        let sectors = self.block_bytes.checked_div(SECTOR).unwrap_or(0);
        sectors.div_ceil(8).div_ceil(SECTOR).saturating_mul(SECTOR)
    }
}

struct Blocks {
    source: Arc<dyn ReadAt>,
    pages: Pages,
    places: Places,
    header: Header,
    size: u64,
    is_differencing: bool,
    parent: Backing,
}

impl Layout for Blocks {
    fn len(&self) -> u64 {
        self.size
    }

    fn locate(&self, offset: u64) -> Run<'_> {
        let block_bytes = self.header.block_bytes;
        let block = offset.checked_div(block_bytes).unwrap_or(0);
        let within = offset.checked_rem(block_bytes).unwrap_or(0);
        let rest = block_bytes.saturating_sub(within);
        let lost = |what: String, len| Run::Lost { len, what };
        if block >= self.header.entries {
            // There are programs that count whole blocks only.
            if self.size.saturating_sub(offset) < rest {
                return self.parent.run(offset, rest);
            }
            return lost("the table of blocks ends before them".to_owned(), rest);
        }
        let entry_at = self.header.table_at.saturating_add(block.saturating_mul(4));
        let start = match self.pages.array(entry_at).map(u32::from_be_bytes) {
            Ok(ABSENT) => return self.parent.run(offset, rest),
            Ok(sector) => {
                let place = self.header.place(block, sector, self.size);
                if let Some(why) = self.places.refusal(place) {
                    return lost(why, rest);
                }
                place.offset
            }
            Err(error) => return lost(format!("the table of blocks cannot be read: {error}"), rest),
        };
        let data_at = start.saturating_add(self.header.bitmap_bytes());
        if !self.is_differencing {
            return Run::Stored {
                source: &self.source,
                offset: data_at.saturating_add(within),
                len: rest,
            };
        }
        let sector = within.checked_div(SECTOR).unwrap_or(0);
        let len = SECTOR.saturating_sub(within.checked_rem(SECTOR).unwrap_or(0));
        let byte_at = start.saturating_add(sector.checked_div(8).unwrap_or(0));
        match self.pages.array::<1>(byte_at) {
            Err(error) => lost(format!("the bitmap of the block cannot be read: {error}"), len),
            Ok([bits]) => {
                let shift = u32::try_from(sector & 7).unwrap_or(0);
                let is_here = bits & 0x80_u8.checked_shr(shift).unwrap_or(0) != 0;
                if is_here {
                    Run::Stored {
                        source: &self.source,
                        offset: data_at.saturating_add(within),
                        len,
                    }
                } else {
                    self.parent.run(offset, len)
                }
            }
        }
    }
}
