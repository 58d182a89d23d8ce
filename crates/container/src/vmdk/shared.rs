//! What is found out about all grains of an extent together: places that are used twice, and how the two tables differ.

use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::FORMAT;

/// Places that are watched at most: two bits each.
const SLOTS_MAX: u64 = 1 << 27;

/// The places of a file that grains take. Two grains of the same length that begin in one slot of that length overlap.
pub(super) struct Slots {
    slot_bytes: u64,
    used: Vec<u64>,
    twice: Vec<u64>,
}

impl Slots {
    /// `None` for a file that has too many.
    pub(super) fn new(len: u64, slot_bytes: u64) -> Option<Self> {
        let count = len.checked_div(slot_bytes)?.checked_add(1)?;
        let words = usize::try_from(count.div_ceil(64)).ok()?;
        (count <= SLOTS_MAX).then(|| Self {
            slot_bytes,
            used: vec![0; words],
            twice: vec![0; words],
        })
    }

    pub(super) fn take(&mut self, at: u64) {
        let Some((word, bit)) = self.bit(at) else { return };
        let (Some(used), Some(twice)) = (self.used.get_mut(word), self.twice.get_mut(word)) else {
            return;
        };
        *twice |= *used & bit;
        *used |= bit;
    }

    pub(super) fn is_contested(&self, at: u64) -> bool {
        let found = self
            .bit(at)
            .and_then(|(word, bit)| Some(self.twice.get(word)? & bit));
        found.is_some_and(|bit| bit != 0)
    }

    /// Slots in which more than one grain begins.
    pub(super) fn contested(&self) -> u64 {
        let ones = self.twice.iter().map(|word| u64::from(word.count_ones()));
        ones.fold(0, u64::saturating_add)
    }

    fn bit(&self, at: u64) -> Option<(usize, u64)> {
        let slot = at.checked_div(self.slot_bytes)?;
        let word = usize::try_from(slot >> 6).ok()?;
        Some((word, 1 << (slot & 63)))
    }
}

/// So many grains, and the first of them.
#[derive(Default)]
pub(super) struct Count {
    grains: u64,
    first: Option<u64>,
}

impl Count {
    pub(super) fn add(&mut self, grains: u64, first: u64) {
        self.grains = self.grains.saturating_add(grains);
        self.first.get_or_insert(first);
    }
}

/// How the two tables of an extent differ, and what is wrong in both.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) copy_used: Count,
    pub(super) copy_wrong: Count,
    pub(super) unsure: Count,
    pub(super) impossible: Count,
    pub(super) unreadable: Count,
    /// Places that more than one grain has.
    pub(super) shared: u64,
}

impl Tally {
    /// Says what there is to say of grains of a length, in an extent that begins at a byte of the image.
    pub(super) fn say(&self, grain_bytes: u64, start: u64, findings: &mut Vec<Finding>) {
        use FindingCode::{BackupUsed, BeyondEnd, Contradiction, Corrupt, Loop};
        use Severity::{Loss, Warning};
        let counts = [
            (
                &self.copy_used,
                (Warning, BackupUsed),
                "the grain tables are wrong for {}, their copy was used",
            ),
            (
                &self.copy_wrong,
                (Warning, Contradiction),
                "the copy of the grain tables is wrong for {}, it was not used",
            ),
            (
                &self.unsure,
                (Loss, Contradiction),
                "the grain tables and their copy name different places for {}: they are lost",
            ),
            (
                &self.impossible,
                (Loss, BeyondEnd),
                "the grain tables name places outside of the file, or in themselves, for {}: they are lost",
            ),
            (
                &self.unreadable,
                (Loss, Corrupt),
                "no grain table can be read for {}: they are lost",
            ),
        ];
        for (count, (severity, code), text) in counts {
            let Some(first) = count.first else { continue };
            let detail = text.replace("{}", &format!("{} grains", count.grains));
            let at = start.saturating_add(first.saturating_mul(grain_bytes));
            let detail = format!("{FORMAT}: {detail}");
            findings.push(Finding::new(severity, Layer::Image, code, detail).at(at));
        }
        if self.shared > 0 {
            let detail = format!(
                "{FORMAT}: {} places in the file are each of more than one grain: these are lost",
                self.shared
            );
            findings.push(Finding::new(Loss, Layer::Image, Loop, detail));
        }
    }
}
