//! What is found out about all grains of an extent together: places that are used twice, and how the two tables differ.

use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::FORMAT;
use super::tables::{Entry, Why};

/// Places that are watched at most: two bits each.
const SLOTS_MAX: u64 = 1 << 27;
/// Grains out of phase that are kept.
const ODD_MAX: usize = 1 << 16;

/// The places of a file that grains take. Nearly all begin a whole number of their lengths from each other, and have a slot each; what is out of phase is kept by itself.
pub(super) struct Slots {
    slot_bytes: u64,
    /// How far into a slot grains begin.
    phase: u64,
    used: Vec<u64>,
    twice: Vec<u64>,
    /// Where grains begin that are out of phase.
    odd: Vec<u64>,
    /// Those of them that lie over others, ascending.
    odd_contested: Vec<u64>,
}

impl Slots {
    /// `None` for a file that has too many.
    pub(super) fn new(len: u64, slot_bytes: u64, phase: u64) -> Option<Self> {
        let count = len.checked_div(slot_bytes)?.checked_add(3)?;
        let words = usize::try_from(count.div_ceil(64)).ok()?;
        (count <= SLOTS_MAX).then(|| Self {
            slot_bytes,
            phase,
            used: vec![0; words],
            twice: vec![0; words],
            odd: Vec::new(),
            odd_contested: Vec::new(),
        })
    }

    pub(super) fn take(&mut self, at: u64) {
        let (slot, is_in_phase) = self.slot(at);
        if is_in_phase {
            self.mark(slot);
        } else if self.odd.len() <= ODD_MAX {
            self.odd.push(at);
        }
    }

    /// Looks for overlaps when every grain has taken its place. `None` if too many are out of phase.
    pub(super) fn settled(mut self) -> Option<Self> {
        if self.odd.len() > ODD_MAX {
            return None;
        }
        self.odd.sort_unstable();
        let is_over = |pair: &[u64]| match pair {
            [one, other] => other.saturating_sub(*one) < self.slot_bytes,
            _ => false,
        };
        let pairs = self.odd.windows(2).filter(|pair| is_over(pair)).flatten();
        let mut contested: Vec<u64> = pairs.copied().collect();
        for at in std::mem::take(&mut self.odd) {
            let (slot, _) = self.slot(at);
            for slot in [slot, slot.saturating_add(1)] {
                if bit(&self.used, slot) {
                    self.mark(slot);
                    contested.push(at);
                }
            }
        }
        contested.sort_unstable();
        contested.dedup();
        self.odd_contested = contested;
        Some(self)
    }

    pub(super) fn is_contested(&self, at: u64) -> bool {
        match self.slot(at) {
            (slot, true) => bit(&self.twice, slot),
            (_, false) => self.odd_contested.binary_search(&at).is_ok(),
        }
    }

    /// Places that more than one grain has, or lies over.
    pub(super) fn contested(&self) -> u64 {
        let odd = u64::try_from(self.odd_contested.len()).unwrap_or(u64::MAX);
        let ones = self.twice.iter().map(|word| u64::from(word.count_ones()));
        ones.fold(odd, u64::saturating_add)
    }

    /// The slot in which a grain begins, and whether it begins with it.
    fn slot(&self, at: u64) -> (u64, bool) {
        let shifted = at.saturating_add(self.slot_bytes).saturating_sub(self.phase);
        let slot = shifted.checked_div(self.slot_bytes).unwrap_or(0);
        (slot, shifted.checked_rem(self.slot_bytes) == Some(0))
    }

    fn mark(&mut self, slot: u64) {
        let (word, mask) = place(slot);
        if let (Some(used), Some(twice)) = (self.used.get_mut(word), self.twice.get_mut(word)) {
            *twice |= *used & mask;
            *used |= mask;
        }
    }
}

/// The word and the mask of a bit.
fn place(slot: u64) -> (usize, u64) {
    (usize::try_from(slot >> 6).unwrap_or(usize::MAX), 1 << (slot & 63))
}

fn bit(words: &[u64], slot: u64) -> bool {
    let (word, mask) = place(slot);
    words.get(word).is_some_and(|word| word & mask != 0)
}

/// How far into a slot most grains begin, by a vote in which each other phase takes one away.
#[derive(Default)]
pub(super) struct Phase {
    pub(super) most: u64,
    lead: u64,
}

impl Phase {
    pub(super) fn add(&mut self, phase: u64) {
        if self.lead == 0 {
            (self.most, self.lead) = (phase, 1);
        } else if phase == self.most {
            self.lead = self.lead.saturating_add(1);
        } else {
            self.lead = self.lead.saturating_sub(1);
        }
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
    pub(super) cut: Count,
    pub(super) unreadable: Count,
    /// Places that more than one grain has.
    pub(super) shared: u64,
}

impl Tally {
    /// Counts a grain whose place cannot be told from its entries.
    pub(super) fn note(&mut self, entry: Entry, grain: u64) {
        match entry {
            Entry::Lost(Why::Unsure) => self.unsure.add(1, grain),
            Entry::Lost(Why::Impossible) => self.impossible.add(1, grain),
            Entry::Lost(Why::Cut) => self.cut.add(1, grain),
            _ => {}
        }
    }

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
                "the grain tables and their copy do not agree about {}: they are lost",
            ),
            (
                &self.impossible,
                (Loss, Corrupt),
                "the grain tables name impossible places for {}: they are lost",
            ),
            (
                &self.cut,
                (Loss, BeyondEnd),
                "the file is cut short: {} are behind its end",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grains_that_overlap_are_found_in_and_out_of_phase() {
        let mut slots = Slots::new(1000, 100, 20).expect("few");
        for at in [20, 120, 120, 320, 450, 600, 700, 780] {
            slots.take(at);
        }
        let slots = slots.settled().expect("few");
        let contested = |at: &u64| slots.is_contested(*at);
        let all = [20, 120, 320, 450, 600, 700, 780];
        let found: Vec<u64> = all.into_iter().filter(contested).collect();
        assert_eq!(found, [120, 700, 780]);
        assert_eq!(slots.contested(), 3);
        let mut slots = Slots::new(1000, 100, 20).expect("few");
        [20, 320, 250, 500].into_iter().for_each(|at| slots.take(at));
        let slots = slots.settled().expect("few");
        let found: Vec<u64> = [20, 250, 320, 500]
            .into_iter()
            .filter(|at| slots.is_contested(*at))
            .collect();
        assert_eq!(found, [250, 320]);
    }

    #[test]
    fn the_phase_of_most_grains_wins() {
        let mut phase = Phase::default();
        [5, 0, 0, 7, 0].into_iter().for_each(|at| phase.add(at));
        assert_eq!(phase.most, 0);
    }
}
