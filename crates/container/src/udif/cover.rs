//! How the block tables cover the image: together they tell of every sector, once. What they do not cover is lost, not zeros.

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};

use super::table::{Chunk, Storage, Table};
use super::{FORMAT, SECTOR};
use crate::layer::StoredHash;

/// Gaps that are told of one by one.
const GAPS_TOLD: usize = 16;

/// The tables of an image, and what is wrong with them.
#[derive(Default)]
pub(super) struct Cover {
    /// Tables with their names.
    pub(super) tables: Vec<(String, Table)>,
    has_unreadable: bool,
    findings: Vec<Finding>,
}

impl Cover {
    pub(super) fn say(&mut self, code: FindingCode, detail: &str) {
        let detail = format!("{FORMAT}: {detail}");
        self.findings
            .push(Finding::new(Severity::Loss, Layer::Image, code, detail));
    }

    fn say_at(&mut self, range: ByteRange, code: FindingCode, detail: &str) {
        self.say(code, detail);
        if let Some(last) = self.findings.pop() {
            self.findings.push(last.at(range.offset));
        }
    }

    /// Notes a table that cannot be read.
    pub(super) fn unreadable(&mut self, name: &str) {
        self.has_unreadable = true;
        let detail = format!("the block table of `{name}` cannot be read");
        self.say(FindingCode::Corrupt, &detail);
    }

    /// Compares the checksum over the checksums of all tables, if the trailer has it.
    pub(super) fn compare_master(&mut self, stated: Option<u32>) {
        let Some(stated) = stated.filter(|_| !self.has_unreadable) else {
            return;
        };
        let mut crc = flate2::Crc::new();
        for sum in self.tables.iter().filter_map(|(_, table)| table.crc32) {
            crc.update(&sum.to_be_bytes());
        }
        if crc.sum() != stated {
            let detail = format!(
                "the checksum over the checksums of all block tables is {:08x}, the trailer says {stated:08x}",
                crc.sum()
            );
            self.say(FindingCode::Contradiction, &detail);
        }
    }

    /// Length of the image: what the trailer says, unless the tables follow each other beyond that.
    pub(super) fn size(&mut self, stated: u64) -> u64 {
        let ranges: Vec<ByteRange> = self.tables.iter().map(|(_, table)| table.range()).collect();
        if stated == 0 {
            return ranges.iter().map(ByteRange::end).max().unwrap_or(0);
        }
        let mut end = 0;
        let follows = |end: u64| ranges.iter().find(|range| range.offset == end && range.len > 0);
        while let Some(range) = follows(end) {
            // A range that saturates has no end.
            if range.end() <= end {
                break;
            }
            end = range.end();
        }
        if end > stated {
            let detail = format!("the trailer says that the image has {stated} bytes, its tables have {end}");
            self.say(FindingCode::Contradiction, &detail);
        }
        end.max(stated)
    }

    /// Takes out tables that lie outside of the image, or over others: of two the one that fits less to those around it, or both.
    pub(super) fn refuse_tables(&mut self, size: u64) {
        let ranges: Vec<ByteRange> = self.tables.iter().map(|(_, table)| table.range()).collect();
        let fit = |range: &ByteRange| {
            let begins = range.offset == 0 || ranges.iter().any(|other| other.end() == range.offset);
            let ends = range.end() == size || ranges.iter().any(|other| other.offset == range.end());
            u8::from(begins).saturating_add(u8::from(ends))
        };
        let is_refused = |(at, range): (usize, &ByteRange)| {
            let is_over = |other: &ByteRange| range.intersection(other).is_some_and(|both| both.len > 0);
            let mut others = ranges.iter().enumerate().filter(|(other, _)| *other != at);
            range.end() > size || others.any(|(_, other)| is_over(other) && fit(range) <= fit(other))
        };
        let refused: Vec<bool> = ranges.iter().enumerate().map(is_refused).collect();
        let tables = std::mem::take(&mut self.tables);
        for ((name, table), is_refused) in tables.into_iter().zip(refused) {
            if is_refused {
                let detail = format!("the block table of `{name}` claims sectors that cannot be its own");
                self.say_at(table.range(), FindingCode::Contradiction, &detail);
            } else {
                self.tables.push((name, table));
            }
        }
    }

    /// The checksums of the partitions.
    pub(super) fn hashes(&self) -> impl Iterator<Item = StoredHash> {
        self.tables.iter().filter_map(|(_, table)| table.stored_hash())
    }

    /// The runs that can be believed, ascending, and everything that was found. What is stored lies before `stored_end`, and not in the property list.
    pub(super) fn chunks(
        mut self,
        size: u64,
        stored_end: u64,
        plist: (u64, u64),
    ) -> (Vec<Chunk>, Vec<Finding>) {
        let mut chunks = Vec::new();
        for (name, table) in std::mem::take(&mut self.tables) {
            if !table.is_sound {
                let detail = format!("the block table of `{name}` contradicts itself");
                self.say_at(table.range(), FindingCode::Contradiction, &detail);
            }
            chunks.extend(table.chunks);
        }
        let plist = ByteRange::new(plist.0, plist.1);
        let mut is_good: Vec<bool> = chunks
            .iter()
            .map(|chunk| {
                let stored = ByteRange::new(chunk.stored.0, chunk.stored.1);
                let is_inside = stored.end() <= stored_end && stored.intersection(&plist).is_none();
                // Of what is compressed the decoder tells.
                chunk.storage != Storage::Raw || is_inside
            })
            .collect();
        refuse_overlaps(&chunks, &mut is_good, |chunk| {
            ByteRange::new(chunk.start, chunk.len)
        });
        refuse_overlaps(&chunks, &mut is_good, |chunk| match chunk.storage {
            Storage::Raw => ByteRange::new(chunk.stored.0, chunk.stored.1),
            _ => ByteRange::new(0, 0),
        });
        let all = chunks.len();
        let mut good: Vec<Chunk> = chunks
            .into_iter()
            .zip(is_good)
            .filter_map(|(chunk, is_good)| is_good.then_some(chunk))
            .collect();
        good.sort_by_key(|chunk| chunk.start);
        if good.len() < all {
            let detail = format!(
                "{} runs lie over others, or outside of what is stored",
                all.saturating_sub(good.len())
            );
            self.say(FindingCode::Contradiction, &detail);
        }
        let is_unknown = |chunk: &&Chunk| matches!(chunk.storage, Storage::Unknown(_));
        let unknown = good.iter().filter(is_unknown).count();
        if unknown > 0 {
            let detail = format!("{unknown} runs are stored in a way that is not known: they are lost");
            self.say(FindingCode::Unsupported, &detail);
        }
        self.say_gaps(&good, size);
        (good, self.findings)
    }

    /// Tells of what no run covers.
    fn say_gaps(&mut self, chunks: &[Chunk], size: u64) {
        let ends = [0].into_iter().chain(chunks.iter().map(Chunk::end));
        let starts = chunks.iter().map(|chunk| chunk.start).chain([size]);
        let gaps: Vec<ByteRange> = ends
            .zip(starts)
            .filter(|(end, start)| end < start)
            .map(|(end, start)| ByteRange::new(end, start.saturating_sub(end)))
            .collect();
        for gap in gaps.iter().take(GAPS_TOLD) {
            let sectors = gap.len.div_euclid(SECTOR);
            let detail = format!("no block table says where {sectors} sectors are: they are lost");
            self.say_at(*gap, FindingCode::Corrupt, &detail);
        }
        let more = gaps.len().saturating_sub(GAPS_TOLD);
        if more > 0 {
            self.say(
                FindingCode::Corrupt,
                &format!("so are sectors in {more} more places"),
            );
        }
    }
}

/// Takes out runs whose ranges overlap: either may be wrong.
fn refuse_overlaps(chunks: &[Chunk], is_good: &mut [bool], range: impl Fn(&Chunk) -> ByteRange) {
    let mut order: Vec<(ByteRange, usize)> = chunks
        .iter()
        .map(range)
        .zip(0..)
        .filter(|(range, _)| range.len > 0)
        .collect();
    order.sort_by_key(|(range, _)| range.offset);
    let mut last: Option<(u64, usize)> = None;
    for (range, at) in order {
        if let Some((_, other)) = last.filter(|(end, _)| range.offset < *end) {
            for wrong in [at, other] {
                if let Some(good) = is_good.get_mut(wrong) {
                    *good = false;
                }
            }
        }
        if last.is_none_or(|(end, _)| range.end() > end) {
            last = Some((range.end(), at));
        }
    }
}

impl Table {
    /// What it covers, in bytes of the image.
    fn range(&self) -> ByteRange {
        ByteRange::new(
            self.first_sector.saturating_mul(SECTOR),
            self.sectors.saturating_mul(SECTOR),
        )
    }
}
