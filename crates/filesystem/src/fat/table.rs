//! The file allocation table: which cluster follows which.
//!
//! Source: Microsoft, *FAT: General Overview of On-Disk Format*, sections "FAT Data Structure" and "FAT Type Determination".

use ntt_model::{ByteRange, FindingCode};
use ntt_source::ReadAt;
use ntt_source::field::{le_u16, le_u32};

use super::damage::{self, Lost};
use super::geometry::{Geometry, Variant};

/// Bytes of the table that are read and kept at a time; a multiple of every sector size. A FAT12 table always fits in one block, so
/// that its 12-bit entries never straddle two.
const BLOCK_BYTES: u64 = 64 * 1024;
/// Blocks that are kept per copy: 2 MiB, whatever the size of the table.
const SLOTS: usize = 32;

/// What an entry of the table says about its cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    /// In no chain.
    Free,
    /// Another cluster of the volume follows.
    Next(u32),
    /// The last of its chain.
    End,
    /// Marked as bad.
    Bad,
    /// Reserved, or the number of no cluster.
    Invalid(u32),
    /// The entry could not be read.
    Unread,
}

impl Link {
    /// Whether a chain may hold a cluster with such an entry.
    fn continues(self) -> bool {
        matches!(self, Self::Next(_) | Self::End)
    }

    /// Reads a raw entry; `bits` of it count.
    fn decode(raw: u32, geometry: &Geometry) -> Self {
        let (bad, mask) = match geometry.variant {
            Variant::Fat12 => (0xff7, 0xfff),
            Variant::Fat16 => (0xfff7, 0xffff),
            Variant::Fat32 => (0x0fff_fff7, 0x0fff_ffff),
            Variant::ExFat => (0xffff_fff7, 0xffff_ffff),
        };
        match raw & mask {
            0 => Self::Free,
            next if geometry.cluster_offset(next).is_some() => Self::Next(next),
            value if value == bad => Self::Bad,
            value if value > bad => Self::End,
            value => Self::Invalid(value),
        }
    }
}

/// All copies of the table.
pub(crate) struct Table<'a> {
    geometry: &'a Geometry,
    active: Copy<'a>,
    mirrors: Vec<Copy<'a>>,
    /// Links that were taken from another copy, and where the first of them stands in the volume.
    pub(crate) repaired: u64,
    pub(crate) first_repaired: Option<u64>,
}

impl<'a> Table<'a> {
    /// The tables of a volume; nothing is read yet.
    pub(crate) fn new(source: &'a dyn ReadAt, geometry: &'a Geometry) -> Self {
        let copy = |number| Copy::new(source, geometry, number);
        let others = (0..geometry.table_copies).filter(|number| *number != geometry.active_table);
        Self {
            geometry,
            active: copy(geometry.active_table),
            mirrors: others.filter(|_| geometry.mirrored).map(copy).collect(),
            repaired: 0,
            first_repaired: None,
        }
    }

    /// Length of the volume as it is there.
    pub(crate) fn source_len(&self) -> u64 {
        self.active.source.len()
    }

    /// The entry of `cluster` in the copy to believe first, or in another if that one cannot be read.
    pub(crate) fn link(&mut self, cluster: u32) -> Link {
        match self.active.link(cluster) {
            Link::Unread => self
                .mirrored_link(cluster, |link| link != Link::Unread)
                .unwrap_or(Link::Unread),
            link => link,
        }
    }

    /// The entry of a `cluster` that is known to be part of a chain: where the first copy says what cannot be, another copy
    /// that says what can be is believed.
    pub(crate) fn chain_link(&mut self, cluster: u32) -> Link {
        let link = self.active.link(cluster);
        if link.continues() {
            return link;
        }
        match self.mirrored_link(cluster, Link::continues) {
            Some(better) => better,
            None if link == Link::Unread => self.link(cluster),
            None => link,
        }
    }

    fn mirrored_link(&mut self, cluster: u32, good: impl Fn(Link) -> bool) -> Option<Link> {
        let found = self
            .mirrors
            .iter_mut()
            .map(|copy| copy.link(cluster))
            .find(|link| good(*link))?;
        self.repaired = self.repaired.saturating_add(1);
        self.first_repaired
            .get_or_insert(self.geometry.table_entry_offset(cluster));
        Some(found)
    }
}

/// One copy, seen through a small direct-mapped cache.
struct Copy<'a> {
    source: &'a dyn ReadAt,
    geometry: &'a Geometry,
    offset: u64,
    slots: Vec<Option<Block>>,
}

struct Block {
    number: u64,
    bytes: Vec<u8>,
    lost: Vec<Lost>,
}

impl<'a> Copy<'a> {
    fn new(source: &'a dyn ReadAt, geometry: &'a Geometry, number: u8) -> Self {
        Self {
            source,
            geometry,
            offset: geometry.table_copy_offset(number),
            slots: (0..SLOTS).map(|_| None).collect(),
        }
    }

    fn link(&mut self, cluster: u32) -> Link {
        let position = u64::from(cluster).saturating_mul(self.geometry.variant.entry_bits()) / 8;
        let (start, geometry) = (self.offset, self.geometry);
        let Some(block) = self.block(position / BLOCK_BYTES) else {
            return Link::Unread;
        };
        let within = position % BLOCK_BYTES;
        let len = if geometry.variant.entry_bits() == 32 { 4 } else { 2 };
        let entry = ByteRange::new(start.saturating_add(position), len);
        if block
            .lost
            .iter()
            .any(|lost| lost.range.intersection(&entry).is_some())
        {
            return Link::Unread;
        }
        match usize::try_from(within)
            .ok()
            .and_then(|at| raw_entry(&block.bytes, at, cluster, geometry.variant))
        {
            Some(raw) => Link::decode(raw, geometry),
            None => Link::Unread,
        }
    }

    fn block(&mut self, number: u64) -> Option<&Block> {
        let slots = u64::try_from(self.slots.len()).ok()?;
        let slot = usize::try_from(number.checked_rem(slots)?).ok()?;
        if self
            .slots
            .get(slot)?
            .as_ref()
            .is_none_or(|block| block.number != number)
        {
            let block = self.load(number)?;
            *self.slots.get_mut(slot)? = Some(block);
        }
        self.slots.get(slot)?.as_ref()
    }

    fn load(&self, number: u64) -> Option<Block> {
        let start = number.checked_mul(BLOCK_BYTES)?;
        let len = self.geometry.table_bytes.checked_sub(start)?.min(BLOCK_BYTES);
        let mut bytes = vec![0; usize::try_from(len).ok()?];
        let lost = damage::read(self.source, self.offset.checked_add(start)?, &mut bytes);
        Some(Block { number, bytes, lost })
    }
}

/// The entry as stored, without its neighbour's bits.
fn raw_entry(bytes: &[u8], at: usize, cluster: u32, variant: Variant) -> Option<u32> {
    match variant {
        Variant::Fat12 if cluster % 2 == 1 => le_u16(bytes, at).map(|pair| u32::from(pair >> 4)),
        Variant::Fat12 => le_u16(bytes, at).map(|pair| u32::from(pair & 0xfff)),
        Variant::Fat16 => le_u16(bytes, at).map(u32::from),
        Variant::Fat32 | Variant::ExFat => le_u32(bytes, at),
    }
}

/// How two copies of the table differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Comparison {
    /// 512-byte steps that both copies have but that differ.
    pub(crate) different: u64,
    /// Where the first difference lies in the first copy, in the volume.
    pub(crate) first_different: Option<u64>,
}

/// What could not be read of a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Gap {
    /// Number of the copy, from 0.
    pub(crate) copy: u8,
    /// Bytes that are missing, in all.
    pub(crate) bytes: u64,
    /// The first of them.
    pub(crate) first: Lost,
}

/// Reads all copies side by side, in constant memory. Where all of them are beyond the end of the image, the rest of each is one gap.
pub(crate) fn compare(source: &dyn ReadAt, geometry: &Geometry) -> (Comparison, Vec<Gap>) {
    let mut comparison = Comparison::default();
    let mut gaps: Vec<Gap> = Vec::new();
    let first = copies_to_compare(geometry)
        .map(|copy| geometry.table_copy_offset(copy))
        .min();
    let present = source.len().saturating_sub(first.unwrap_or(0));
    let mut start = 0;
    while start < geometry.table_bytes.min(present) {
        let len = geometry.table_bytes.saturating_sub(start).min(BLOCK_BYTES);
        compare_block(
            source,
            geometry,
            ByteRange::new(start, len),
            &mut comparison,
            &mut gaps,
        );
        start = start.saturating_add(len);
    }
    let absent = geometry.table_bytes.saturating_sub(start);
    for copy in copies_to_compare(geometry).filter(|_| absent > 0) {
        let offset = geometry.table_copy_offset(copy).saturating_add(start);
        let lost = Lost {
            range: ByteRange::new(offset, absent),
            code: FindingCode::BeyondEnd,
        };
        add_gap(&mut gaps, copy, lost);
    }
    (comparison, gaps)
}

fn compare_block(
    source: &dyn ReadAt,
    geometry: &Geometry,
    block: ByteRange,
    comparison: &mut Comparison,
    gaps: &mut Vec<Gap>,
) {
    let copies: Vec<(u64, Block)> = copies_to_compare(geometry)
        .map(|copy| {
            let offset = geometry.table_copy_offset(copy).saturating_add(block.offset);
            let mut bytes = vec![0; usize::try_from(block.len).unwrap_or(0)];
            let lost = damage::read(source, offset, &mut bytes);
            lost.iter().for_each(|lost| add_gap(gaps, copy, *lost));
            (
                offset,
                Block {
                    number: 0,
                    bytes,
                    lost,
                },
            )
        })
        .collect();
    if let Some(((offset, first), others)) = copies.split_first() {
        for (other_offset, other) in others {
            compare_pair((*offset, first), (*other_offset, other), comparison);
        }
    }
}

/// The copy to believe first, then the others if they are kept equal.
fn copies_to_compare(geometry: &Geometry) -> impl Iterator<Item = u8> {
    let (active, mirrored) = (geometry.active_table, geometry.mirrored);
    let others = (0..geometry.table_copies).filter(move |copy| mirrored && *copy != active);
    std::iter::once(active).chain(others)
}

fn compare_pair(first: (u64, &Block), second: (u64, &Block), comparison: &mut Comparison) {
    if first.1.bytes == second.1.bytes && first.1.lost.is_empty() && second.1.lost.is_empty() {
        return;
    }
    let steps = first
        .1
        .bytes
        .chunks(damage::STEP_BYTES)
        .zip(second.1.bytes.chunks(damage::STEP_BYTES));
    let mut at: u64 = 0;
    for (left, right) in steps {
        let have = |side: (u64, &Block)| {
            let step = ByteRange::new(side.0.saturating_add(at), damage::length(left));
            !side
                .1
                .lost
                .iter()
                .any(|lost| lost.range.intersection(&step).is_some())
        };
        if left != right && have(first) && have(second) {
            comparison.different = comparison.different.saturating_add(1);
            comparison
                .first_different
                .get_or_insert(first.0.saturating_add(at));
        }
        at = at.saturating_add(damage::length(left));
    }
}

fn add_gap(gaps: &mut Vec<Gap>, copy: u8, lost: Lost) {
    match gaps.iter_mut().find(|gap| gap.copy == copy) {
        Some(gap) => gap.bytes = gap.bytes.saturating_add(lost.range.len),
        None => gaps.push(Gap {
            copy,
            bytes: lost.range.len,
            first: lost,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tables of 4 TiB that are only claimed were asked for sector by sector.
    #[test]
    fn r22_what_is_missing_of_a_table_is_one_gap() {
        let mut sector = vec![0; 512];
        let fields: [(usize, &[u8]); 6] = [
            (11, &[0, 16]),
            (13, &[1]),
            (14, &[1, 0]),
            (16, &[2]),
            (32, &[0xff; 4]),
            (36, &[0, 0, 0, 0x40]),
        ];
        for (at, bytes) in fields {
            sector[at..at + bytes.len()].copy_from_slice(bytes);
        }
        let geometry = Geometry::parse(&sector).expect("a volume");
        // The first block of the first table, and a sector of the second.
        let source = vec![0; 4096 + 65_536 + 512];
        let (comparison, gaps) = compare(&source, &geometry);
        assert_eq!(comparison, Comparison::default());
        let told: Vec<_> = gaps.iter().map(|gap| (gap.copy, gap.bytes)).collect();
        assert_eq!(told, [(1, 1 << 42), (0, (1 << 42) - 65_536 - 512)]);
        let is_beyond = |gap: &Gap| gap.first.code == FindingCode::BeyondEnd;
        assert!(gaps.iter().all(is_beyond), "{gaps:?}");
    }
}
