//! VDI, VirtualBox's disks: dynamic and static.
//!
//! A header, a table with a 32-bit block number for each block of the image, the blocks. Source: `VDICore.h` of VirtualBox, as QEMU's `block/vdi.c` documents it.
//! A differencing disk names its parent by UUID only, so it is not read.

use std::sync::Arc;

use ntt_model::{ByteRange, Finding, FindingCode};
use ntt_source::{ReadAt, field};

use crate::census::{Census, Places, loss};
use crate::layer::{hex, shown};
use crate::layout::{Layout, Run, image};
use crate::open::{Found, OpenError, Subject, warning};
use crate::pages::Pages;

const FORMAT: &str = "VDI";
const SIGNATURE: u32 = 0xbeda_107f;
/// Block numbers from here on are marks: not allocated, and zeros.
const MARKS: u32 = 0xffff_fffe;
const BLOCK_BYTES: std::ops::RangeInclusive<u64> = 512..=1 << 30;

pub(crate) fn matches(head: &[u8]) -> bool {
    field::le_u32(head, 64) == Some(SIGNATURE)
}

pub(crate) fn open(subject: &Subject<'_>) -> Result<Found, OpenError> {
    let head = &subject.head;
    let header =
        Header::parse(head).ok_or_else(|| OpenError::corrupt(FORMAT, "the header makes no sense"))?;
    let kind = match header.kind {
        1 => "dynamic",
        2 => "static",
        4 => {
            return Err(OpenError::unsupported(
                FORMAT,
                "a differencing disk, whose parent is known by a UUID only",
            ));
        }
        other => return Err(OpenError::unsupported(FORMAT, format!("image type {other}"))),
    };
    let mut layer = subject.layer(format!("VDI {kind}"));
    layer.block_bytes = header.block_bytes;
    let text = |range: std::ops::Range<usize>| {
        let bytes = head.get(range).unwrap_or_default();
        let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        shown(bytes.get(..len).unwrap_or_default().trim_ascii())
    };
    layer.fact("made by", text(0..64));
    layer.fact("description", text(84..340));
    layer.fact("disk id", hex(head.get(392..408).unwrap_or_default()));
    let mut findings = Vec::new();
    let layout = Blocks {
        pages: Pages::new(subject.source.clone()),
        source: subject.source.clone(),
        places: counted(subject.source, &header, &mut findings),
        header,
    };
    Ok(Found::new(layer, findings, image(layout)))
}

/// Looks at the whole map once: blocks that cannot be where it says, and blocks that the header counts and the map does not name.
fn counted(source: &Arc<dyn ReadAt>, header: &Header, findings: &mut Vec<Finding>) -> Places {
    let map_end = header.map_at.saturating_add(header.blocks.saturating_mul(4));
    let metadata = ByteRange::new(0, header.data_at.max(map_end));
    let mut census = Census::new(Places::new(source.len(), vec![metadata]));
    census.entries(source, header.map_at, header.blocks, |census, block, entry| {
        let number = u32::from_le_bytes(entry);
        if number < MARKS {
            census.add(header.place(block, number));
        }
    });
    census.settle(FORMAT, findings);
    let (named, counted) = (census.count(), header.allocated);
    if !census.is_whole() {
        return census.places();
    }
    if counted > named {
        let detail = format!(
            "{FORMAT}: the header counts {counted} blocks that were written, and the table of blocks names {named}: some of what reads as zeros is not"
        );
        findings.push(loss(FindingCode::Contradiction, detail));
    } else if counted < named {
        let detail =
            format!("the header counts {counted} blocks that were written, and the table names {named}");
        findings.push(warning(FORMAT, FindingCode::Contradiction, &detail));
    } else {
        // Of a write that did not end: the map is what the header says.
        let unnamed = census.unnamed(source, header.stride());
        if unnamed > 0 {
            let detail = format!("{unnamed} blocks of the file are in no entry of its table of blocks");
            findings.push(warning(FORMAT, FindingCode::Contradiction, &detail));
        }
    }
    census.places()
}

struct Header {
    kind: u32,
    map_at: u64,
    data_at: u64,
    size: u64,
    block_bytes: u64,
    /// Bytes before each block.
    extra_bytes: u64,
    blocks: u64,
    /// Blocks that were written.
    allocated: u64,
}

impl Header {
    /// Bytes from one block of the file to the next.
    fn stride(&self) -> u64 {
        self.block_bytes.saturating_add(self.extra_bytes)
    }

    /// Where a block of the image lies with what stands before it, as far as the image goes, if it is that of this number in the file.
    fn place(&self, block: u64, number: u32) -> ByteRange {
        let offset = u64::from(number)
            .saturating_mul(self.stride())
            .saturating_add(self.data_at);
        let rest = self.size.saturating_sub(block.saturating_mul(self.block_bytes));
        let len = self.block_bytes.min(rest).saturating_add(self.extra_bytes);
        ByteRange::new(offset, len)
    }

    fn parse(head: &[u8]) -> Option<Self> {
        let number = |at| field::le_u32(head, at).map(u64::from);
        // Major version 1, of any minor one.
        let is_known = number(68)? >> 16 == 1;
        let header = Self {
            kind: field::le_u32(head, 76)?,
            map_at: number(340)?,
            data_at: number(344)?,
            size: field::le_u64(head, 368)?,
            block_bytes: number(376)?,
            extra_bytes: number(380)?,
            blocks: number(384)?,
            allocated: number(388)?,
        };
        (is_known && BLOCK_BYTES.contains(&header.block_bytes)).then_some(header)
    }
}

struct Blocks {
    source: Arc<dyn ReadAt>,
    pages: Pages,
    places: Places,
    header: Header,
}

impl Layout for Blocks {
    fn len(&self) -> u64 {
        self.header.size
    }

    fn locate(&self, offset: u64) -> Run<'_> {
        let block_bytes = self.header.block_bytes;
        let block = offset.checked_div(block_bytes).unwrap_or(0);
        let within = offset.checked_rem(block_bytes).unwrap_or(0);
        let len = block_bytes.saturating_sub(within);
        let lost = |what: String| Run::Lost { len, what };
        if block >= self.header.blocks {
            return lost("the table of blocks ends before them".to_owned());
        }
        match self
            .pages
            .le_u32(self.header.map_at.saturating_add(block.saturating_mul(4)))
        {
            Err(error) => lost(format!("the table of blocks cannot be read: {error}")),
            Ok(MARKS..) => Run::Zeros(len),
            Ok(number) => {
                let place = self.header.place(block, number);
                if let Some(why) = self.places.refusal(place) {
                    return lost(why);
                }
                let start = place.offset.saturating_add(self.header.extra_bytes);
                Run::Stored {
                    source: &self.source,
                    offset: start.saturating_add(within),
                    len,
                }
            }
        }
    }
}
