//! Time left: a range, or nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::health::States;
use crate::stats::millis;

/// Time left, from a good case to a bad one, in ms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Eta {
    /// If what is left reads like the best so far and nothing else fails.
    pub shortest_ms: u64,
    /// If it reads like the average and every failed area costs as much again as it did.
    pub longest_ms: u64,
}

/// What an estimate rests on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Basis {
    pub(crate) states: States,
    /// Bytes per second: lately, and on average.
    pub(crate) rate_bytes: u64,
    pub(crate) average_rate_bytes: u64,
    /// Mean time of a failed read.
    pub(crate) failed_cost: Duration,
    /// The most that trimming, scraping and retrying may take.
    pub(crate) effort_left: Option<Duration>,
}

/// Failed reads that an untrimmed area costs: one at either end, and what lies between.
const FAILURES_PER_AREA: u64 = 3;

/// An estimate; `None` while nothing was rescued that could be extrapolated.
pub(crate) fn estimate(basis: &Basis) -> Option<Eta> {
    let untried = basis.states.untried.bytes;
    let best = basis.rate_bytes.max(basis.average_rate_bytes);
    let worst = basis.rate_bytes.min(basis.average_rate_bytes).max(1);
    if untried > 0 && best == 0 {
        return None;
    }
    let copy = |rate: u64| untried.saturating_mul(1000) / rate.max(1);
    let areas = basis.states.untrimmed.areas + basis.states.unscraped.areas;
    let per_area = millis(basis.failed_cost).saturating_mul(FAILURES_PER_AREA);
    let effort = areas.saturating_mul(per_area);
    let most = basis.effort_left.map_or(u64::MAX, millis);
    Some(Eta {
        shortest_ms: copy(best).saturating_add((effort / FAILURES_PER_AREA).min(most)),
        longest_ms: copy(worst).saturating_add(effort.min(most)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::StateTotal;

    fn basis(untried: u64, rate: u64) -> Basis {
        let total = |bytes, areas| StateTotal { bytes, areas };
        Basis {
            states: States {
                untried: total(untried, 1),
                untrimmed: total(1 << 20, 10),
                ..States::default()
            },
            rate_bytes: rate,
            average_rate_bytes: rate / 2,
            failed_cost: Duration::from_millis(100),
            effort_left: None,
        }
    }

    #[test]
    fn nothing_rescued_gives_no_estimate() {
        assert_eq!(estimate(&basis(1000, 0)), None);
    }

    #[test]
    fn the_range_spans_the_rates() {
        let eta = estimate(&basis(10_000_000, 1_000_000)).expect("an estimate");
        assert_eq!((eta.shortest_ms, eta.longest_ms), (11_000, 23_000));
    }
}
