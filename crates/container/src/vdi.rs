//! VDI, VirtualBox's disks: dynamic and static.
//!
//! A header, a table with a 32-bit block number for each block of the image, the blocks. Source: `VDICore.h` of VirtualBox, as QEMU's `block/vdi.c` documents it.
//! A differencing disk names its parent by UUID only, so it is not read.

use std::sync::Arc;

use ntt_source::{ReadAt, field};

use crate::layer::{hex, shown};
use crate::layout::{Layout, Run, image};
use crate::open::{Found, OpenError, Subject};
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
    let layout = Blocks {
        pages: Pages::new(subject.source.clone()),
        source: subject.source.clone(),
        header,
    };
    Ok(Found::new(layer, Vec::new(), image(layout)))
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
}

impl Header {
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
        };
        (is_known && BLOCK_BYTES.contains(&header.block_bytes)).then_some(header)
    }
}

struct Blocks {
    source: Arc<dyn ReadAt>,
    pages: Pages,
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
                let stride = block_bytes.saturating_add(self.header.extra_bytes);
                let start = u64::from(number)
                    .saturating_mul(stride)
                    .saturating_add(self.header.data_at)
                    .saturating_add(self.header.extra_bytes);
                Run::Stored {
                    source: &self.source,
                    offset: start.saturating_add(within),
                    len,
                }
            }
        }
    }
}
