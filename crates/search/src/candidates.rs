//! Which granules of a part can hold a match.

use crate::error::Error;
use crate::format::Footer;
use crate::literal::Clause;
use crate::postings::Granules;
use crate::read::Segment;
use crate::trigram;

/// Of longer literals so many trigrams, evenly taken, tell enough.
const TRIGRAMS_MAX: usize = 16;

/// Granules of a part in which all clauses can hold.
pub(crate) fn of_clauses(segment: &Segment, footer: &Footer, clauses: &[Clause]) -> Result<Granules, Error> {
    let mut granules = Granules::ALL;
    for clause in clauses {
        if granules.is_empty() {
            break;
        }
        granules.keep(&of_clause(segment, footer, clause)?);
    }
    Ok(granules)
}

/// Granules that can hold one of several literals.
pub(crate) fn of_clause(segment: &Segment, footer: &Footer, clause: &[Vec<u8>]) -> Result<Granules, Error> {
    let mut granules = Granules::NONE;
    for literal in clause {
        granules.add(&of_literal(segment, footer, literal)?);
        if granules == Granules::ALL {
            break;
        }
    }
    Ok(granules)
}

/// Granules that can hold a literal: those that have all of its trigrams, or all if it has none.
fn of_literal(segment: &Segment, footer: &Footer, literal: &[u8]) -> Result<Granules, Error> {
    let trigrams = trigram::of_literal(literal);
    let step = trigrams.len().div_ceil(TRIGRAMS_MAX).max(1);
    let mut granules = Granules::ALL;
    // Those with bytes beyond ASCII, which are the rarest, come last.
    for trigram in trigrams.into_iter().rev().step_by(step) {
        granules.keep(&segment.postings(footer, trigram)?);
        if granules.is_empty() {
            break;
        }
    }
    Ok(granules)
}
