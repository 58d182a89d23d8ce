//! A count of the blocks in the file of a disk: which of them the table of blocks names, which it names twice, and which not at all.
//!
//! A table that was struck by zeros or by a pattern still reads as one: its blocks are holes, or lie where other things do. The rest of the file contradicts it,
//! because a block that was written stays in the file. So the whole table is looked at once when the disk is opened (R13, R22).

use std::sync::Arc;

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::ReadAt;

use crate::layout::read_upto;

/// Entries that are looked at: 2 TiB in blocks of 512 KiB, and 16 or 32 MiB to read. Longer tables are believed.
const ENTRIES_MAX: u64 = 1 << 22;
/// Blocks that are noted, in 16 MiB of memory.
const CLAIMS_MAX: usize = 1 << 20;
/// Bytes that are read to find something in blocks that nothing names: two of the longest blocks there are (VHDX), as a write that did not end leaves one of zeros.
const SEARCHED_BYTES_MAX: u64 = 512 << 20;
/// Bytes read at a time.
const STEP: u64 = 64 << 10;

/// Where blocks may lie, and where those lie that are no use.
pub(crate) struct Places {
    file_bytes: u64,
    /// Headers and tables of the file itself.
    metadata: Vec<ByteRange>,
    /// Starts of blocks that overlap each other, ascending.
    shared: Vec<u64>,
}

impl Places {
    pub(crate) fn new(file_bytes: u64, metadata: Vec<ByteRange>) -> Self {
        Self {
            file_bytes,
            metadata,
            shared: Vec::new(),
        }
    }

    /// Why a block cannot be what its entry says, if it cannot.
    pub(crate) fn refusal(&self, block: ByteRange) -> Option<String> {
        if self.is_misplaced(block) {
            let at = block.offset;
            return Some(format!(
                "their entry names the place {at:#x}, where no block can be"
            ));
        }
        self.shared.binary_search(&block.offset).ok()?;
        Some("another entry names the same place".to_owned())
    }

    fn is_misplaced(&self, block: ByteRange) -> bool {
        block.end() > self.file_bytes
            || self
                .metadata
                .iter()
                .any(|range| range.intersection(&block).is_some())
    }
}

/// Blocks that are being counted.
pub(crate) struct Census {
    places: Places,
    claims: Vec<ByteRange>,
    /// Places that are kept for blocks that read as zeros.
    reserved: Vec<ByteRange>,
    misplaced: u64,
    /// Entries that may be looked at yet.
    left: u64,
    is_whole: bool,
}

impl Census {
    pub(crate) fn new(places: Places) -> Self {
        Self {
            places,
            claims: Vec::new(),
            reserved: Vec::new(),
            misplaced: 0,
            left: ENTRIES_MAX,
            is_whole: true,
        }
    }

    /// Counts a block that an entry names.
    pub(crate) fn add(&mut self, block: ByteRange) {
        if self.places.is_misplaced(block) {
            self.misplaced = self.misplaced.saturating_add(1);
        } else if self.claims.len() < CLAIMS_MAX {
            self.claims.push(block);
        } else {
            self.is_whole = false;
        }
    }

    /// Notes a place that an entry keeps for a block without using it.
    pub(crate) fn reserve(&mut self, block: ByteRange) {
        if self.reserved.len() < CLAIMS_MAX {
            self.reserved.push(block);
        } else {
            self.is_whole = false;
        }
    }

    /// Makes the count one of a part: there is more than can be looked at.
    pub(crate) fn stop(&mut self) {
        self.is_whole = false;
    }

    /// Reads a table of entries of `N` bytes. What cannot be read, or is too much, makes the count one of a part.
    pub(crate) fn entries<const N: usize>(
        &mut self,
        source: &dyn ReadAt,
        table_at: u64,
        count: u64,
        mut each: impl FnMut(&mut Self, u64, [u8; N]),
    ) {
        let entry_bytes = u64::try_from(N).unwrap_or(1);
        let per_step = STEP.checked_div(entry_bytes).unwrap_or(1).max(1);
        self.is_whole &= count <= self.left;
        let count = count.min(self.left);
        self.left = self.left.saturating_sub(count);
        let mut index = 0;
        while index < count {
            let entries = per_step.min(count.saturating_sub(index));
            let at = table_at.saturating_add(index.saturating_mul(entry_bytes));
            let bytes = read_upto(source, at, entries.saturating_mul(entry_bytes)).unwrap_or_default();
            let (found, _) = bytes.as_chunks::<N>();
            self.is_whole &= u64::try_from(found.len()) == Ok(entries);
            for (number, entry) in (index..).zip(found) {
                each(self, number, *entry);
            }
            index = index.saturating_add(entries);
        }
    }

    /// Blocks that entries name, those that cannot be included.
    pub(crate) fn count(&self) -> u64 {
        let claims = u64::try_from(self.claims.len()).unwrap_or(u64::MAX);
        claims.saturating_add(self.misplaced)
    }

    /// Whether all of the table was looked at.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Says how many blocks cannot be where their entries say. What is left is known of the places then.
    pub(crate) fn settle(&mut self, format: &str, findings: &mut Vec<Finding>) {
        self.claims.sort_unstable_by_key(|claim| claim.offset);
        self.places.shared = shared(&self.claims);
        let shared = self.places.shared.len();
        if self.misplaced == 0 && shared == 0 {
            return;
        }
        let detail = format!(
            "{format}: the table of blocks is damaged: {} entries name places where no block can be (in the file's own headers and tables, or \
             beyond its end), and {shared} places are named more than once; what should be there is lost",
            self.misplaced
        );
        findings.push(loss(FindingCode::Corrupt, detail));
    }

    /// How many blocks of `stride` bytes lie between those that are named, and hold something. Zeros are no loss, as a hole is zeros.
    pub(crate) fn unnamed(&self, source: &Arc<dyn ReadAt>, stride: u64) -> u64 {
        let mut taken = [&self.claims[..], &self.reserved, &self.places.metadata].concat();
        taken.sort_unstable_by_key(|range| range.offset);
        taken.push(ByteRange::new(self.places.file_bytes, 0));
        let mut left = SEARCHED_BYTES_MAX;
        let (mut at, mut found) = (0_u64, 0_u64);
        for range in taken {
            let gap = range.offset.saturating_sub(at);
            let blocks = gap.checked_div(stride).unwrap_or(0);
            for number in 0..blocks {
                if left == 0 {
                    found = found.saturating_add(blocks.saturating_sub(number));
                    break;
                }
                let block = ByteRange::new(at.saturating_add(number.saturating_mul(stride)), stride);
                let holds = holds_something(source, block, &mut left);
                found = found.saturating_add(u64::from(holds));
            }
            at = at.max(range.end());
        }
        found
    }

    pub(crate) fn places(self) -> Places {
        self.places
    }
}

/// The starts of those that overlap one before or behind them; `claims` are ascending.
fn shared(claims: &[ByteRange]) -> Vec<u64> {
    let mut shared = Vec::new();
    let mut longest: Option<&ByteRange> = None;
    for claim in claims {
        if let Some(before) = longest
            && before.intersection(claim).is_some()
        {
            shared.extend([before.offset, claim.offset]);
        }
        if longest.is_none_or(|before| before.end() < claim.end()) {
            longest = Some(claim);
        }
    }
    shared.sort_unstable();
    shared.dedup();
    shared
}

/// Whether there is a byte that is not zero, or that cannot be read; yes where nobody may look any more.
fn holds_something(source: &Arc<dyn ReadAt>, block: ByteRange, left: &mut u64) -> bool {
    let mut done = 0;
    while done < block.len {
        let len = STEP.min(block.len.saturating_sub(done));
        *left = left.saturating_sub(len);
        if *left == 0 {
            return true;
        }
        let bytes = read_upto(source, block.offset.saturating_add(done), len);
        if bytes.is_ok_and(|bytes| bytes.iter().all(|byte| *byte == 0)) {
            done = done.saturating_add(len);
        } else {
            return true;
        }
    }
    false
}

/// What a table of blocks lost.
pub(crate) fn loss(code: FindingCode, detail: String) -> Finding {
    Finding::new(Severity::Loss, Layer::Image, code, detail)
}

/// What is said of blocks that no entry names.
pub(crate) fn unnamed_loss(format: &str, blocks: u64) -> Finding {
    let detail = format!(
        "{format}: {blocks} blocks of the file are in no entry of its table of blocks: some of what reads as zeros is not"
    );
    loss(FindingCode::Contradiction, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(offset: u64, len: u64) -> ByteRange {
        ByteRange::new(offset, len)
    }

    #[test]
    fn r22_blocks_that_overlap_are_refused_and_others_are_not() {
        let mut census = Census::new(Places::new(1000, vec![range(0, 100)]));
        for at in [100, 200, 300, 350, 600, 600, 950, 50] {
            census.add(range(at, 100));
        }
        assert_eq!(census.count(), 8);
        let mut findings = Vec::new();
        census.settle("X", &mut findings);
        assert!(findings[0].detail.contains("2 entries"), "{findings:?}");
        assert!(findings[0].detail.contains("3 places"), "{findings:?}");
        let places = census.places();
        for (at, is_refused) in [
            (100, false),
            (200, false),
            (300, true),
            (350, true),
            (600, true),
            (950, true),
            (50, true),
            (u64::MAX, true),
        ] {
            assert_eq!(places.refusal(range(at, 100)).is_some(), is_refused, "{at}");
        }
    }

    #[test]
    fn r22_blocks_that_nothing_names_count_if_they_hold_something() {
        let mut file = vec![0; 1000];
        file[450] = 1;
        file[890] = 1;
        let source: Arc<dyn ReadAt> = Arc::new(file);
        let mut census = Census::new(Places::new(1000, vec![range(0, 100)]));
        census.add(range(100, 100));
        census.add(range(550, 100));
        // 200 to 550 has three blocks of 100, the last with something; 650 to 1000 has three, so has the last but one.
        assert_eq!(census.unnamed(&source, 100), 2);
    }
}
