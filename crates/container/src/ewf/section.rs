//! The chain of sections of a segment.

use ntt_model::ByteRange;
use ntt_source::{ReadAt, field};

use super::adler;
use crate::layout::read_upto;

/// Bytes of a section's descriptor.
const DESCRIPTOR_BYTES: u64 = 76;
/// First byte behind the signature of a segment.
const FIRST: u64 = 13;
/// Sections of a segment: EnCase writes one table for about 500 MB.
const SECTIONS_MAX: usize = 1 << 16;
/// How far a lost section is looked for, and how much is read at a time.
const SEARCH_BYTES_MAX: u64 = 4 << 30;
const SEARCH_STEP: u64 = 1 << 20;
/// Lost sections of a segment that are searched behind.
const LOST_MAX: usize = 1024;
const KINDS: [&str; 14] = [
    "header", "header2", "volume", "disk", "data", "sectors", "table", "table2", "hash", "digest", "error2",
    "session", "next", "done",
];

/// One section.
#[derive(Clone, Debug)]
pub(super) struct Section {
    kind: &'static str,
    /// Where its descriptor stands, and how far it goes.
    range: ByteRange,
}

impl Section {
    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }

    /// What is behind the descriptor.
    pub(super) fn data(&self) -> ByteRange {
        ByteRange::new(
            self.range.offset.saturating_add(DESCRIPTOR_BYTES),
            self.range.len.saturating_sub(DESCRIPTOR_BYTES),
        )
    }
}

/// The sections of a segment, and where there should have been one.
#[derive(Default)]
pub(super) struct Found {
    pub(super) sections: Vec<Section>,
    pub(super) lost: Vec<ByteRange>,
    /// Whether the last section says that the segment ends there.
    pub(super) is_ended: bool,
}

/// Follows the chain; searches on where it is broken.
pub(super) fn sections(segment: &dyn ReadAt) -> Found {
    let mut found = Found::default();
    let mut position = FIRST;
    let mut budget = SEARCH_BYTES_MAX;
    while found.sections.len() < SECTIONS_MAX && position < segment.len() {
        let Some((section, next)) = at(segment, position) else {
            let resumed = (found.lost.len() < LOST_MAX)
                .then(|| search(segment, position.saturating_add(1), &mut budget))
                .flatten();
            let end = resumed.unwrap_or(segment.len());
            found
                .lost
                .push(ByteRange::new(position, end.saturating_sub(position)));
            match resumed {
                Some(place) => position = place,
                None => break,
            }
            continue;
        };
        let is_last = matches!(section.kind, "done" | "next");
        found.sections.push(section);
        if is_last || next <= position {
            found.is_ended = is_last;
            break;
        }
        position = next;
    }
    found
}

/// The section at a byte, and where the next one is.
fn at(segment: &dyn ReadAt, position: u64) -> Option<(Section, u64)> {
    let bytes = read_upto(segment, position, DESCRIPTOR_BYTES).ok()?;
    let (kind, next, size) = parse(&bytes)?;
    let left = segment.len().saturating_sub(position);
    // Some writers leave the size of the last sections zero; `next` is what the chain goes by.
    let size = if size < DESCRIPTOR_BYTES {
        next.saturating_sub(position)
    } else {
        size
    };
    // No section reaches into the next one: what all of them hold together is no more than the segment.
    let room = if next > position {
        left.min(next.saturating_sub(position))
    } else {
        left
    };
    let range = ByteRange::new(position, size.min(room));
    Some((Section { kind, range }, next))
}

fn parse(bytes: &[u8]) -> Option<(&'static str, u64, u64)> {
    let name: [u8; 16] = field::array(bytes, 0)?;
    let len = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    let name = name.get(..len)?;
    let kind = KINDS.into_iter().find(|kind| kind.as_bytes() == name);
    let is_right = adler::ends_with_sum(bytes, 72);
    // A section of a kind that is not known here is passed over like any other.
    let known = kind.or_else(|| (is_right && !name.is_empty()).then_some("other"))?;
    is_right.then_some((known, field::le_u64(bytes, 16)?, field::le_u64(bytes, 24)?))
}

/// The next byte at which a whole descriptor stands. Every read counts against the budget, also one that finds it.
fn search(segment: &dyn ReadAt, from: u64, budget: &mut u64) -> Option<u64> {
    let mut position = from;
    while position < segment.len() && *budget > 0 {
        *budget = budget.saturating_sub(SEARCH_STEP);
        let window =
            read_upto(segment, position, SEARCH_STEP.saturating_add(DESCRIPTOR_BYTES)).unwrap_or_default();
        for (distance, start) in (0..SEARCH_STEP).zip(window.windows(76)) {
            let begins_kind = matches!(
                start.first(),
                Some(b'h' | b'v' | b'd' | b's' | b't' | b'e' | b'n')
            );
            // All kinds fill 16 bytes with zeros, and most of the descriptor is zero.
            if begins_kind
                && start.get(8..16) == Some(&[0; 8])
                && parse(start).is_some_and(|(kind, ..)| kind != "other")
            {
                return position.checked_add(distance);
            }
        }
        position = position.saturating_add(SEARCH_STEP);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A descriptor of a section of this kind, whose chain goes on at `next`.
    fn descriptor(kind: &str, next: u64) -> Vec<u8> {
        let mut bytes = vec![0; 72];
        bytes[..kind.len()].copy_from_slice(kind.as_bytes());
        bytes[16..24].copy_from_slice(&next.to_le_bytes());
        bytes[24..32].copy_from_slice(&DESCRIPTOR_BYTES.to_le_bytes());
        let sum = adler::sum(&bytes).to_le_bytes();
        bytes.extend(sum);
        bytes
    }

    /// Each claims the whole segment: thousands of them would have been read, and decoded, a million bytes each.
    #[test]
    fn r22_sections_do_not_reach_into_the_next_one() {
        let mut segment = vec![0; 13];
        for _ in 0..100 {
            let next = u64::try_from(segment.len()).expect("small") + DESCRIPTOR_BYTES;
            let mut bytes = descriptor("header", next);
            bytes[24..32].copy_from_slice(&u64::MAX.to_le_bytes());
            let sum = adler::sum(&bytes[..72]).to_le_bytes();
            bytes[72..].copy_from_slice(&sum);
            segment.extend(bytes);
        }
        let found = sections(&segment);
        assert_eq!(found.sections.len(), 100);
        let total: u64 = found.sections.iter().map(|section| section.range.len).sum();
        assert_eq!(total, ReadAt::len(&segment) - FIRST);
    }

    /// A segment whose chain is broken behind each section: it points into the gap before the next one.
    fn broken(count: usize) -> Vec<u8> {
        let mut segment = vec![0; 13];
        for _ in 0..count {
            let next = u64::try_from(segment.len()).expect("small") + DESCRIPTOR_BYTES;
            segment.extend(descriptor("sectors", next));
            segment.extend([0xff; 24]);
        }
        segment
    }

    #[test]
    fn a_lost_section_is_searched_behind() {
        let found = sections(&broken(3));
        assert_eq!(found.sections.len(), 3);
        let lost = [
            ByteRange::new(89, 24),
            ByteRange::new(189, 24),
            ByteRange::new(289, 24),
        ];
        assert_eq!(found.lost, lost);
    }

    #[test]
    fn a_search_counts_against_its_budget_even_if_it_finds() {
        let segment = broken(2);
        let mut budget = 2 * SEARCH_STEP;
        assert_eq!(search(&segment, 90, &mut budget), Some(113));
        assert_eq!(budget, SEARCH_STEP);
    }

    #[test]
    fn a_chain_that_is_broken_everywhere_is_given_up() {
        let segment = broken(3 * LOST_MAX);
        let found = sections(&segment);
        assert_eq!(found.lost.len(), LOST_MAX + 1);
        assert_eq!(found.sections.len(), LOST_MAX + 1);
        let end = found.lost.last().map(ByteRange::end);
        assert_eq!(end, Some(ReadAt::len(&segment)));
    }
}
