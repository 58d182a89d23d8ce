//! Which zones hold the content of an inode: seven in the inode, the others in tables of up to three levels.

use ntt_model::entry::StreamKind;
use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::inode::{DIRECT, RawInode};
use super::nodes::Minix;
use crate::report::Report;
use crate::walk::Content;

/// How the zones of one inode are numbered.
pub(super) struct Mapping<'m, 'a> {
    minix: &'m Minix<'a>,
    number: u64,
    size_bytes: u64,
    zone_bytes: u64,
    /// Zones of content that one entry of a table of each level stands for.
    spans: [u64; 3],
}

impl<'m, 'a> Mapping<'m, 'a> {
    pub(super) fn new(minix: &'m Minix<'a>, number: u64, size_bytes: u64) -> Self {
        let per_table = minix.pointers_per_table();
        Self {
            minix,
            number,
            size_bytes,
            zone_bytes: minix.superblock.zone_bytes(),
            spans: [1, per_table, per_table.saturating_mul(per_table)],
        }
    }

    /// The content of an inode.
    pub(super) fn content(&self, raw: &RawInode, extents_max: u64, report: &mut Report) -> Content {
        let mut content = Content::new(self.size_bytes, extents_max);
        let mut first = 0_u64;
        // More than all zones of the volume: tables that lead to each other.
        let mut left = self.minix.zones_on_device();
        for (index, zone) in raw.zones.iter().enumerate() {
            if first.saturating_mul(self.zone_bytes) >= self.size_bytes {
                break;
            }
            let level = index.checked_sub(DIRECT);
            let span = match level {
                None => 1,
                Some(level) => self
                    .spans
                    .get(level)
                    .copied()
                    .unwrap_or(1)
                    .saturating_mul(self.minix.pointers_per_table()),
            };
            let level = level.map_or(0, |level| level.saturating_add(1));
            if !self.add(&mut content, (*zone, level), first, (&mut left, report)) {
                break;
            }
            first = first.saturating_add(span);
        }
        content
    }

    /// Adds a zone of content (level 0), or all that a table names, iteratively; false if no more is wanted.
    fn add(
        &self,
        content: &mut Content,
        top: (u32, usize),
        first: u64,
        (left, report): (&mut u64, &mut Report),
    ) -> bool {
        let mut waiting = vec![(top.0, top.1, first)];
        while let Some((zone, level, first)) = waiting.pop() {
            let start = first.saturating_mul(self.zone_bytes);
            if zone == 0 || start >= self.size_bytes {
                continue;
            }
            let Some(fewer) = left.checked_sub(1) else {
                content.is_missing_some();
                let detail = "the content has more zones than the volume".to_owned();
                report.push(self.finding(FindingCode::Loop, detail));
                return false;
            };
            *left = fewer;
            let Some(offset) = self.minix.zone_offset(zone) else {
                content.is_missing_some();
                report.push(self.finding(
                    FindingCode::BeyondEnd,
                    format!("zone {zone} of the content does not exist"),
                ));
                continue;
            };
            if level == 0 {
                let at = self.minix.device.in_image(offset);
                if !content.data(start, at, self.zone_bytes) {
                    return false;
                }
                continue;
            }
            match self.minix.table(offset) {
                Ok(table) => self.push_table(&mut waiting, &table, level, first),
                Err(finding) => {
                    content.is_missing_some();
                    report.push(finding.on_inode(self.number));
                }
            }
        }
        true
    }

    /// Lets the entries of a table wait, the first of them on top.
    fn push_table(&self, waiting: &mut Vec<(u32, usize, u64)>, table: &[u32], level: usize, first: u64) {
        let below = level.saturating_sub(1);
        let span = self.spans.get(below).copied().unwrap_or(1);
        let starts = (0_u64..).map(|index| first.saturating_add(index.saturating_mul(span)));
        let entries: Vec<_> = table
            .iter()
            .zip(starts)
            .filter(|(zone, _)| **zone != 0)
            .map(|(zone, start)| (*zone, below, start))
            .collect();
        waiting.extend(entries.into_iter().rev());
    }

    fn finding(&self, code: FindingCode, detail: String) -> Finding {
        let finding = Finding::new(Severity::Loss, Layer::Inode, code, detail);
        let offset = self.minix.superblock.inode_offset(self.number).unwrap_or(0);
        finding
            .at(self.minix.device.in_image(offset))
            .on_inode(self.number)
    }
}

/// The data stream of an inode.
pub(super) fn stream(
    minix: &Minix<'_>,
    number: u64,
    raw: &RawInode,
    extents_max: u64,
    report: &mut Report,
) -> ntt_model::entry::Stream {
    let mapping = Mapping::new(minix, number, raw.size_bytes);
    mapping.content(raw, extents_max, report).stream(StreamKind::Data)
}
