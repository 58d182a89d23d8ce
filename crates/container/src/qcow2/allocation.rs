//! What the tables of the file name, against what the file says of its clusters (R13, R22).
//!
//! A table that was struck by zeros still reads as one: its clusters are holes. But they have reference counts, and no table names them any more: `qemu-img check` calls
//! them leaked. A crash leaks a few of them too, behind all others as a rule; where a table has a hole that they can have come from, they are a loss.

use ntt_model::{Finding, FindingCode};
use ntt_source::{ReadAt, ReadError};

use super::{COMPRESSED, Entry, FORMAT, Header, OFFSET_MASK, ZERO};
use crate::census::loss;
use crate::layout::read_upto;
use crate::open::warning;

/// Clusters of a file that are looked at: a TiB in clusters of 64 KiB, and 2 MiB of memory for each bit of them.
const CLUSTERS_MAX: u64 = 1 << 24;
/// Entries of an L1 table, and bytes of all other tables, that are looked at.
const L1_MAX: u64 = 1 << 20;
const TABLES_BYTES_MAX: u64 = 128 << 20;
/// Bytes that a disk loses at once.
const SECTOR: usize = 512;
/// Clusters behind all others that may be those of a write that did not end.
const OF_A_CRASH: u64 = 16;
/// The entry is the only one for its cluster (bit 63).
const COPIED: u64 = 1 << 63;
/// Bits of a plain entry that are never set but by damage.
const RESERVED: u64 = 0x3f00_0000_0000_01fe;

/// One bit for each cluster of the file.
#[derive(Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(count: u64) -> Self {
        Self(vec![0; usize::try_from(count.div_ceil(64)).unwrap_or(0)])
    }

    fn place(number: u64) -> (usize, u64) {
        let word = usize::try_from(number >> 6).unwrap_or(usize::MAX);
        (word, 1_u64.rotate_left(u32::try_from(number & 63).unwrap_or(0)))
    }

    fn has(&self, number: u64) -> bool {
        let (word, bit) = Self::place(number);
        self.0.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Sets a bit; whether it was set before.
    fn set(&mut self, number: u64) -> bool {
        let (word, bit) = Self::place(number);
        let Some(bits) = self.0.get_mut(word) else {
            return false;
        };
        let had = *bits & bit != 0;
        *bits |= bit;
        had
    }
}

/// Which clusters can hold what.
pub(super) struct Allocation {
    cluster_bits: u32,
    reserved: u64,
    /// Whether data lies in this file, so that its place can be judged.
    is_inside: bool,
    /// Clusters of header, L1, reference counts and snapshots.
    fixed: Bits,
    /// Clusters of L2 tables.
    tables: Bits,
    /// Clusters that two entries name.
    shared: Bits,
}

impl Allocation {
    /// Where the L2 table of an entry of L1 lies; `None` if there is none.
    ///
    /// # Errors
    ///
    /// Why the entry cannot be right.
    pub(super) fn table(&self, entry: u64) -> Result<Option<u64>, String> {
        let at = entry & OFFSET_MASK;
        if entry == 0 {
            return Ok(None);
        }
        let cluster = at >> self.cluster_bits;
        let is_nonsense = entry & !(OFFSET_MASK | COPIED) != 0 || !self.is_aligned(at) || at == 0;
        if is_nonsense || self.fixed.has(cluster) {
            return Err(format!("the entry of their table, {entry:#x}, cannot be right"));
        }
        if self.shared.has(cluster) {
            return Err(format!("their table, at {at:#x}, is named more than once"));
        }
        Ok(Some(at))
    }

    /// Why an L2 entry of a plain cluster cannot be right, if it cannot; `holds` is whether any of the cluster is read from its place.
    pub(super) fn refusal(&self, entry: u64, holds: bool) -> Option<String> {
        let at = entry & OFFSET_MASK;
        let is_nonsense = entry & self.reserved != 0 || !self.is_aligned(at);
        if is_nonsense || (holds && self.is_inside && self.is_table(at)) {
            return Some(format!("their entry, {entry:#x}, cannot be right"));
        }
        (holds && self.is_inside && self.shared.has(at >> self.cluster_bits))
            .then(|| format!("more than one entry names their place, {at:#x}"))
    }

    fn is_aligned(&self, at: u64) -> bool {
        at.trailing_zeros() >= self.cluster_bits
    }

    fn is_table(&self, at: u64) -> bool {
        let cluster = at >> self.cluster_bits;
        cluster == 0 || self.fixed.has(cluster) || self.tables.has(cluster)
    }
}

/// An L1 table: of what the image is now, or of a snapshot.
pub(super) type Root = (u64, u64);

/// Looks at all tables once. `snapshots` has their roots and the bytes of their table; it is `None` if they are not all known, and then nothing is leaked.
pub(super) fn surveyed(
    source: &dyn ReadAt,
    header: &Header,
    snapshots: Option<(&[Root], (u64, u64))>,
    findings: &mut Vec<Finding>,
) -> Allocation {
    let mut survey = Survey::new(source, header);
    survey.is_whole &= snapshots.is_some();
    let (roots, snapshot_table) = snapshots.unwrap_or_default();
    survey.fix(snapshot_table.0, snapshot_table.1);
    survey.fix_all();
    // Of more than can be looked at, nothing is.
    if survey.clusters > CLUSTERS_MAX {
        return survey.allocation;
    }
    let own = survey.root((header.l1_offset, header.l1_entries), true);
    let others: Vec<Vec<u64>> = roots.iter().map(|root| survey.root(*root, false)).collect();
    let of_snapshots = others.iter().map(Vec::len).fold(0, usize::saturating_add);
    if own.is_empty() && of_snapshots > 0 {
        // What it lost is not leaked: the snapshots name it.
        let detail = format!(
            "{FORMAT}: the table of tables is empty, and those of its snapshots name {of_snapshots}: what reads as zeros need not be"
        );
        findings.push(loss(FindingCode::Contradiction, detail));
    }
    for table in own {
        survey.walk(table, true);
    }
    for table in others.into_iter().flatten() {
        survey.walk(table, false);
    }
    survey.report(findings);
    survey.allocation
}

struct Survey<'a> {
    source: &'a dyn ReadAt,
    header: &'a Header,
    allocation: Allocation,
    clusters: u64,
    /// Clusters that any table names.
    named: Bits,
    /// Clusters of plain data of the image as it is now.
    data: Bits,
    /// Blocks of reference counts, in order; 0 for what has none.
    count_blocks: Vec<u64>,
    left: u64,
    is_whole: bool,
    wrong: u64,
    twice: u64,
    /// Whether an L1 table or an L2 table is nothing but zeros, and whether a sector of one is.
    has_empty_table: bool,
    has_empty_sector: bool,
}

impl<'a> Survey<'a> {
    fn new(source: &'a dyn ReadAt, header: &'a Header) -> Self {
        let clusters = source.len().div_ceil(header.cluster_bytes().max(1));
        let is_inside = header.features & super::EXTERNAL_DATA == 0;
        let is_whole = clusters <= CLUSTERS_MAX;
        let bits = || Bits::new(clusters.min(CLUSTERS_MAX));
        let has_zero = header.version >= 3 && !header.is_extended();
        Self {
            source,
            header,
            allocation: Allocation {
                cluster_bits: header.cluster_bits,
                reserved: RESERVED | if has_zero { 0 } else { ZERO },
                is_inside,
                fixed: bits(),
                tables: bits(),
                shared: bits(),
            },
            clusters,
            named: bits(),
            data: bits(),
            count_blocks: Vec::new(),
            left: TABLES_BYTES_MAX,
            is_whole,
            wrong: 0,
            twice: 0,
            has_empty_table: false,
            has_empty_sector: false,
        }
    }

    /// Reads a part of a table, as long as there is leave to.
    fn read(&mut self, at: u64, len: u64) -> Option<Vec<u8>> {
        let read: Option<Result<Vec<u8>, ReadError>> = self.left.checked_sub(len).map(|left| {
            self.left = left;
            read_upto(self.source, at, len)
        });
        let bytes = read.and_then(Result::ok);
        let is_all = bytes
            .as_ref()
            .is_some_and(|bytes| u64::try_from(bytes.len()) == Ok(len));
        self.is_whole &= is_all;
        bytes
    }

    /// Notes clusters that hold tables of the file itself.
    fn fix(&mut self, at: u64, len: u64) {
        if len > 0 {
            for cluster in self.of(at, len) {
                self.allocation.fixed.set(cluster);
            }
        }
    }

    /// Numbers of the clusters that a range touches, as far as the file goes.
    fn of(&self, at: u64, len: u64) -> std::ops::Range<u64> {
        let end = at
            .saturating_add(len)
            .div_ceil(self.header.cluster_bytes().max(1));
        (at >> self.header.cluster_bits)..end.min(self.clusters).min(CLUSTERS_MAX)
    }

    fn fix_all(&mut self) {
        let header = self.header;
        let cluster_bytes = header.cluster_bytes();
        self.fix(0, cluster_bytes);
        self.fix(header.l1_offset, header.l1_entries.saturating_mul(8));
        let (at, clusters) = header.counts;
        let bytes = clusters.saturating_mul(cluster_bytes);
        self.fix(at, bytes);
        let needed = self
            .clusters
            .div_ceil(self.counts_per_block().max(1))
            .saturating_mul(8);
        let table = self.read(at, bytes.min(needed)).unwrap_or_default();
        for entry in table.as_chunks::<8>().0 {
            let block = u64::from_be_bytes(*entry);
            if self.allocation.is_aligned(block) {
                self.fix(block, if block == 0 { 0 } else { cluster_bytes });
                self.count_blocks.push(block);
            } else {
                self.is_whole = false;
                self.count_blocks.push(0);
            }
        }
    }

    fn counts_per_block(&self) -> u64 {
        self.header
            .cluster_bytes()
            .saturating_mul(8)
            .checked_shr(self.header.count_order)
            .unwrap_or(0)
    }

    /// The L2 tables that an L1 table names and that were not named before.
    fn root(&mut self, (at, entries): Root, is_own: bool) -> Vec<u64> {
        self.is_whole &= entries <= L1_MAX;
        if !is_own && entries <= L1_MAX {
            self.fix(at, entries.saturating_mul(8));
        }
        let bytes = self
            .read(at, entries.min(L1_MAX).saturating_mul(8))
            .unwrap_or_default();
        if is_own {
            self.look_for_holes(&bytes);
        }
        let mut found = Vec::new();
        for entry in bytes.as_chunks::<8>().0 {
            let table = self.allocation.table(u64::from_be_bytes(*entry));
            let at = match table {
                Ok(None) => continue,
                Ok(Some(at)) if at < self.source.len() => at,
                _ => {
                    self.wrong = self.wrong.saturating_add(u64::from(is_own));
                    continue;
                }
            };
            let cluster = at >> self.header.cluster_bits;
            if !self.allocation.tables.set(cluster) {
                self.named.set(cluster);
                found.push(at);
            } else if is_own && !self.allocation.shared.set(cluster) {
                self.twice = self.twice.saturating_add(1);
            }
        }
        found
    }

    fn look_for_holes(&mut self, table: &[u8]) {
        let is_empty = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        self.has_empty_table |= is_empty(table);
        self.has_empty_sector |= table.chunks(SECTOR).any(is_empty);
    }

    /// Notes all clusters that an L2 table names.
    fn walk(&mut self, at: u64, is_own: bool) {
        let Some(bytes) = self.read(at, self.header.cluster_bytes()) else {
            return;
        };
        if is_own {
            self.look_for_holes(&bytes);
        }
        let step = if self.header.is_extended() { 16 } else { 8 };
        for entry in bytes.chunks_exact(step) {
            let word = |at| ntt_source::field::be_u64(entry, at);
            if let Some(l2) = word(0) {
                self.note(l2, word(8).filter(|_| step == 16), is_own);
            }
        }
    }

    fn note(&mut self, l2: u64, subclusters: Option<u64>, is_own: bool) {
        if l2 & COMPRESSED != 0 {
            let (at, len) = self.header.compressed(l2);
            for cluster in self.of(at, len) {
                self.named.set(cluster);
            }
            return;
        }
        let at = l2 & OFFSET_MASK;
        let holds = Entry { l2, subclusters }.holds();
        let cluster = at >> self.header.cluster_bits;
        // The clusters of another file are not counted in this one.
        if at > 0 && self.allocation.is_inside {
            self.named.set(cluster);
        }
        if !is_own {
            return;
        }
        let is_beyond = holds && self.allocation.is_inside && at >= self.source.len();
        if is_beyond
            || self
                .allocation
                .refusal(l2, holds)
                .is_some_and(|_| !self.allocation.shared.has(cluster))
        {
            self.wrong = self.wrong.saturating_add(1);
        } else if holds
            && self.allocation.is_inside
            && self.data.set(cluster)
            && !self.allocation.shared.set(cluster)
        {
            self.twice = self.twice.saturating_add(1);
        }
    }

    fn report(&mut self, findings: &mut Vec<Finding>) {
        if self.wrong > 0 || self.twice > 0 {
            let detail = format!(
                "{FORMAT}: the tables of clusters are damaged: {} entries name places where nothing of the kind can be, and {} places are named more \
                 than once; what should be there is lost",
                self.wrong, self.twice
            );
            findings.push(loss(FindingCode::Corrupt, detail));
        }
        let Leaked {
            all,
            at_end,
            uncounted,
        } = self.leaked();
        if !self.is_whole {
            return;
        }
        let is_of_a_crash = all == at_end && all <= OF_A_CRASH && !self.has_empty_table;
        if all > 0 && self.has_empty_sector && !is_of_a_crash {
            let detail = format!(
                "{FORMAT}: {all} clusters of the file are in use, and no table names them; a table has a hole that they can have come from: some \
                 of what reads as zeros or comes from below is not that"
            );
            findings.push(loss(FindingCode::Contradiction, detail));
        } else if all > 0 {
            let detail = format!(
                "{all} clusters of the file are in use, and no table names them: of writes that did not end, as it seems"
            );
            findings.push(warning(FORMAT, FindingCode::Contradiction, &detail));
        }
        if uncounted > 0 && self.header.features & super::DIRTY == 0 {
            let detail =
                format!("{uncounted} clusters that tables name are not in use, by their reference counts");
            findings.push(warning(FORMAT, FindingCode::Contradiction, &detail));
        }
    }

    fn leaked(&mut self) -> Leaked {
        let mut leaked = Leaked::default();
        let per_block = self.counts_per_block();
        let blocks = std::mem::take(&mut self.count_blocks);
        for (number, block) in (0_u64..).zip(blocks) {
            let first = number.saturating_mul(per_block);
            let last = first.saturating_add(per_block).min(self.clusters);
            if !self.is_whole {
                return leaked;
            }
            let bytes = if block == 0 {
                Vec::new()
            } else {
                self.read(block, self.header.cluster_bytes()).unwrap_or_default()
            };
            for cluster in first..last {
                let is_used = is_counted(&bytes, cluster.saturating_sub(first), self.header.count_order);
                let is_named = self.named.has(cluster);
                if is_used && !is_named && !self.allocation.fixed.has(cluster) {
                    leaked.all = leaked.all.saturating_add(1);
                    leaked.at_end = leaked.at_end.saturating_add(1);
                } else if is_named {
                    leaked.at_end = 0;
                    leaked.uncounted = leaked.uncounted.saturating_add(u64::from(!is_used));
                }
            }
        }
        leaked
    }
}

/// Clusters by what counts and tables say of them.
#[derive(Default)]
struct Leaked {
    /// In use, and in no table.
    all: u64,
    /// Those of them that lie behind all that tables name.
    at_end: u64,
    /// In a table, and not in use.
    uncounted: u64,
}

/// Whether the reference count of this number in a block, of 2^`order` bits, is not 0.
fn is_counted(block: &[u8], number: u64, order: u32) -> bool {
    let bits = 1_u64.checked_shl(order).unwrap_or(64);
    let bit = number.saturating_mul(bits);
    let at = usize::try_from(bit >> 3).unwrap_or(usize::MAX);
    if bits < 8 {
        let shift = u32::try_from(bit & 7).unwrap_or(0);
        let mask = 1_u8
            .checked_shl(u32::try_from(bits).unwrap_or(0))
            .unwrap_or(0)
            .wrapping_sub(1);
        return block
            .get(at)
            .is_some_and(|byte| byte.checked_shr(shift).unwrap_or(0) & mask != 0);
    }
    let len = usize::try_from(bits >> 3).unwrap_or(0);
    block
        .get(at..at.saturating_add(len))
        .is_some_and(|count| count.iter().any(|byte| *byte != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_every_width_are_read() {
        // Narrow ones begin with the least significant bits of a byte.
        let block = [0b0000_0010, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        for (order, counted) in [
            (0, vec![1, 120]),
            (1, vec![0, 60]),
            (2, vec![0, 30]),
            (3, vec![0, 15]),
        ] {
            let found: Vec<u64> = (0..128)
                .filter(|number| is_counted(&block, *number, order))
                .collect();
            assert_eq!(found, counted, "{order}");
        }
        for (order, counted) in [(4, vec![0, 7]), (5, vec![0, 3]), (6, vec![0, 1])] {
            let found: Vec<u64> = (0..128)
                .filter(|number| is_counted(&block, *number, order))
                .collect();
            assert_eq!(found, counted, "{order}");
        }
    }
}
