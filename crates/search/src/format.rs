//! The bytes of a segment; the layout is drawn in `docs/design/search.md`.

use std::ops::Range;

use crate::varint;

/// First bytes of the trailer, with the version.
pub(crate) const MAGIC: &[u8; 8] = b"NTTSEG\x00\x01";
/// Bytes of a checksum.
pub(crate) const SUM_BYTES: usize = 8;
/// Magic, identity, names, place and length of the list of parts, digest.
pub(crate) const TRAILER_BYTES: usize = 8 + 32 + 8 + 8 + 8 + 8 + 32;
/// Postings of a part tell this many granules apart.
pub(crate) const GRANULES_PER_PART: usize = 4096;
/// A page of postings ends when it has so many bytes.
pub(crate) const PAGE_BYTES: usize = 4096;
/// Longer names and directory paths are not indexed: a scan that has one gets no segment.
pub(crate) const TEXT_BYTES_MAX: usize = 4 << 20;
/// A block ends at the latest when its texts have so many bytes.
pub(crate) const BLOCK_BYTES: usize = 128 << 10;
/// No block unpacks to more: the largest text comes on top of a nearly full block.
pub(crate) const UNPACKED_BYTES_MAX: usize = TEXT_BYTES_MAX + 2 * BLOCK_BYTES;

/// What a part holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PartKind {
    /// Names, in the order of the scan.
    Names,
    /// Paths of directories with how many names each has, in the order in which the scan lists them.
    Directories,
}

impl PartKind {
    /// Texts of a granule: what postings tell apart.
    pub(crate) const fn granule_texts(self) -> usize {
        match self {
            Self::Names => 64,
            Self::Directories => 64,
        }
    }

    /// Granules of a block: what is packed and read as a whole.
    pub(crate) const fn block_granules(self) -> usize {
        match self {
            Self::Names => 8,
            Self::Directories => 1,
        }
    }

    /// Texts of a full block.
    pub(crate) const fn block_texts(self) -> usize {
        self.granule_texts() * self.block_granules()
    }

    /// Blocks of a full part.
    pub(crate) const fn part_blocks(self) -> usize {
        GRANULES_PER_PART / self.block_granules()
    }

    const fn code(self) -> u64 {
        match self {
            Self::Names => 0,
            Self::Directories => 1,
        }
    }
}

/// Guards against bytes that rot, not against people.
pub(crate) fn checksum(bytes: &[u8]) -> [u8; SUM_BYTES] {
    let mut sum = [0; SUM_BYTES];
    sum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..SUM_BYTES]);
    sum
}

/// Takes a checksum off the end; `None` if it is not that of what stands before it.
pub(crate) fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (content, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM_BYTES)?)?;
    (checksum(content) == sum).then_some(content)
}

/// Where a part lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PartPlace {
    pub(crate) kind: PartKind,
    /// Of its footer, with the checksum.
    pub(crate) footer_at: u64,
    pub(crate) footer_len: usize,
    /// Paths before it.
    pub(crate) first_path: u64,
    /// Paths that its names are, or that its directories hold.
    pub(crate) paths: u64,
}

impl PartPlace {
    /// The numbers of its paths.
    pub(crate) const fn numbers(&self) -> Range<u64> {
        self.first_path..self.first_path.saturating_add(self.paths)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let len = u64::try_from(self.footer_len).unwrap_or(u64::MAX);
        for number in [self.kind.code(), self.footer_at, len, self.first_path, self.paths] {
            varint::put(out, number);
        }
    }

    pub(crate) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self {
            kind: match varint::take(bytes)? {
                0 => PartKind::Names,
                1 => PartKind::Directories,
                _ => return None,
            },
            footer_at: varint::take(bytes)?,
            footer_len: varint::take_len(bytes)?,
            first_path: varint::take(bytes)?,
            paths: varint::take(bytes)?,
        })
    }
}

/// Where a block lies, and what it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlockPlace {
    pub(crate) at: u64,
    pub(crate) len: usize,
    pub(crate) texts: usize,
    /// Paths before it.
    pub(crate) first_path: u64,
    /// Paths that its names are, or that its directories hold.
    pub(crate) paths: u64,
}

impl BlockPlace {
    /// Where it ends in the file.
    pub(crate) fn end(&self) -> u64 {
        self.at
            .saturating_add(u64::try_from(self.len).unwrap_or(u64::MAX))
    }

    /// The numbers of its paths.
    pub(crate) const fn numbers(&self) -> Range<u64> {
        self.first_path..self.first_path.saturating_add(self.paths)
    }
}

/// What is known of a part without its blocks and postings.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Footer {
    pub(crate) blocks: Vec<BlockPlace>,
    /// Where the pages of postings begin.
    pub(crate) pages_at: u64,
    /// First trigram and length with checksum of each page.
    pub(crate) fences: Vec<(u32, usize)>,
}

impl Footer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let len = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        varint::put(&mut out, len(self.blocks.len()));
        let mut end = 0;
        for block in &self.blocks {
            for number in [block.at - end, len(block.len), len(block.texts), block.paths] {
                varint::put(&mut out, number);
            }
            end = block.at + len(block.len);
        }
        varint::put(&mut out, self.pages_at);
        varint::put(&mut out, len(self.fences.len()));
        let mut before = 0;
        for (trigram, bytes) in &self.fences {
            varint::put(&mut out, u64::from(trigram - before));
            varint::put(&mut out, len(*bytes));
            before = *trigram;
        }
        let sum = checksum(&out);
        out.extend_from_slice(&sum);
        out
    }

    /// Reads what stands before the checksum.
    pub(crate) fn decode(mut bytes: &[u8], place: &PartPlace) -> Option<Self> {
        let bytes = &mut bytes;
        let count = varint::take_len(bytes)?;
        // Every block and every fence takes at least two bytes: no memory for what is not there.
        let mut blocks = Vec::with_capacity(count.min(bytes.len()));
        let (mut end, mut path) = (0_u64, place.first_path);
        for _ in 0..count {
            let block = BlockPlace {
                at: end.checked_add(varint::take(bytes)?)?,
                len: varint::take_len(bytes)?,
                texts: varint::take_len(bytes)?,
                first_path: path,
                paths: varint::take(bytes)?,
            };
            end = block.at.checked_add(u64::try_from(block.len).ok()?)?;
            path = path.checked_add(block.paths)?;
            let texts = u64::try_from(block.texts).ok()?;
            let is_sound = block.len <= UNPACKED_BYTES_MAX * 2
                && (1..=place.kind.block_texts()).contains(&block.texts)
                && (place.kind == PartKind::Directories || block.paths == texts);
            if !is_sound {
                return None;
            }
            blocks.push(block);
        }
        if path != place.first_path.checked_add(place.paths)? || count > place.kind.part_blocks() {
            return None;
        }
        let pages_at = varint::take(bytes)?;
        let fences = decode_fences(bytes)?;
        bytes.is_empty().then_some(Self {
            blocks,
            pages_at,
            fences,
        })
    }
}

fn decode_fences(bytes: &mut &[u8]) -> Option<Vec<(u32, usize)>> {
    let count = varint::take_len(bytes)?;
    let mut fences = Vec::with_capacity(count.min(bytes.len()));
    let mut trigram = 0_u64;
    for _ in 0..count {
        trigram = trigram.checked_add(varint::take(bytes)?)?;
        let len = varint::take_len(bytes)?;
        // The longest list has a bit for each granule.
        if len > 2 * PAGE_BYTES {
            return None;
        }
        fences.push((u32::try_from(trigram).ok()?, len));
    }
    Some(fences)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer() -> (PartPlace, Footer) {
        let block = |at, first_path| BlockPlace {
            at,
            len: 50,
            texts: 3,
            first_path,
            paths: 3,
        };
        let footer = Footer {
            blocks: vec![block(100, 7), block(200, 10)],
            pages_at: 250,
            fences: vec![(5, 30), (900, 40)],
        };
        let place = PartPlace {
            kind: PartKind::Names,
            footer_at: 320,
            footer_len: 0,
            first_path: 7,
            paths: 6,
        };
        (place, footer)
    }

    #[test]
    fn footers_come_back() {
        let (place, footer) = footer();
        let bytes = footer.encode();
        let content = checked(&bytes).expect("the checksum is right");
        assert_eq!(Footer::decode(content, &place), Some(footer));
        assert_eq!(Footer::decode(&content[..content.len() - 1], &place), None);
        assert_eq!(Footer::decode(content, &PartPlace { paths: 7, ..place }), None);
        assert_eq!(checked(&bytes[1..]), None);
    }

    #[test]
    fn a_block_has_as_many_paths_as_names() {
        let (place, mut footer) = footer();
        footer.blocks[0].texts = 2;
        let bytes = footer.encode();
        let content = checked(&bytes).expect("the checksum is right");
        assert_eq!(Footer::decode(content, &place), None);
        let place = PartPlace {
            kind: PartKind::Directories,
            ..place
        };
        assert_eq!(Footer::decode(content, &place), Some(footer));
    }

    #[test]
    fn a_footer_that_promises_more_than_it_has_takes_no_memory() {
        let mut bytes = Vec::new();
        varint::put(&mut bytes, u64::MAX >> 1);
        let (place, _) = footer();
        assert_eq!(Footer::decode(&bytes, &place), None);
    }
}
