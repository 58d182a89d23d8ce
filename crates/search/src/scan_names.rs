//! Searching the names of one part.

use std::ops::Range;

use memchr::memmem::Finder;

use crate::blocks::{BlockReader, Names};
use crate::candidates;
use crate::error::Error;
use crate::format::{BlockPlace, PartKind, PartPlace};
use crate::machine::Run;
use crate::pattern::{How, Matcher};
use crate::postings::Granules;
use crate::read::Segment;
use crate::run::number;

/// The numbers of all names of a part that match.
pub(crate) fn search(segment: &Segment, part: &PartPlace, matcher: &Matcher) -> Result<Vec<i64>, Error> {
    let footer = segment.footer(part)?;
    let granules = candidates::of_clauses(segment, &footer, &matcher.clauses)?;
    let mut found = Vec::new();
    if granules.is_empty() {
        return Ok(found);
    }
    let mut reader = BlockReader::new(segment)?;
    let mut names = Names::default();
    let mut states = match matcher.how {
        How::Regex(_) => matcher.run(),
        How::Substring(_) | How::Folded(..) | How::Exact(_) => None,
    };
    let (slashes, mut folded) = (segment.has_slashes(), Vec::new());
    for (index, place) in footer.blocks.iter().enumerate() {
        if !has_block(&granules, index) {
            continue;
        }
        let block = reader.unpack(place)?;
        names
            .parse(block, place.texts)
            .ok_or_else(|| segment.damaged(place.at, "a block of names is malformed"))?;
        match &matcher.how {
            How::Substring(finder) => find_substring(finder, names.texts(block), &names, place, &mut found),
            How::Folded(needle, _) if !needle.may_be_foreign_in(names.texts(block)) => {
                folded.clear();
                folded.extend_from_slice(names.texts(block));
                folded.make_ascii_lowercase();
                find_substring(needle.folded(), &folded, &names, place, &mut found);
            }
            _ => {
                for texts in texts_of(&granules, index) {
                    for (text, name) in names.each(block, texts) {
                        if matches(matcher, states.as_mut(), name, slashes) {
                            found.push(number_in(place, text));
                        }
                    }
                }
            }
        }
    }
    Ok(found)
}

/// Whether a name matches; the thread's own run of an expression is quicker than the expression itself.
#[inline]
fn matches(matcher: &Matcher, states: Option<&mut Run<'_>>, name: &[u8], slashes: bool) -> bool {
    let told = states.and_then(|states| {
        if !states.can_end(name) {
            return Some(false);
        }
        let end = states.over_name(states.begin(), name, slashes);
        states.ends(end)
    });
    told.unwrap_or_else(|| matcher.matches(name))
}

/// The names of a block that stand in granules of the set, as far as there are any.
fn texts_of(granules: &Granules, block: usize) -> impl Iterator<Item = Range<usize>> {
    let (in_block, in_granule) = (PartKind::Names.block_granules(), PartKind::Names.granule_texts());
    (0..in_block)
        .filter(move |granule| granules.contains(block * in_block + granule))
        .map(move |granule| granule * in_granule..(granule + 1) * in_granule)
}

/// Whether any granule of a block of names is in the set.
fn has_block(granules: &Granules, block: usize) -> bool {
    let count = PartKind::Names.block_granules();
    granules.any(block.saturating_mul(count), count)
}

/// The number of a name of a block.
fn number_in(place: &BlockPlace, index: usize) -> i64 {
    number(
        place
            .first_path
            .saturating_add(u64::try_from(index).unwrap_or(u64::MAX)),
    )
}

/// All names in one pass: most blocks of a broad search hold no match, and then no name is looked at on its own.
fn find_substring(
    finder: &Finder<'_>,
    texts: &[u8],
    names: &Names,
    place: &BlockPlace,
    found: &mut Vec<i64>,
) {
    let needle = finder.needle();
    if needle.is_empty() {
        found.extend((0..place.texts).map(|index| number_in(place, index)));
        return;
    }
    let find = |rest| match needle {
        // Looked for alone, a byte is found sooner.
        [byte] => memchr::memchr(*byte, rest),
        _ => finder.find(rest),
    };
    let (mut from, mut index) = (0, 0);
    while let Some(at) = texts.get(from..).and_then(find) {
        let start = from + at;
        index = names.index_at(start, index);
        let range = names.range(index);
        from = if start + needle.len() <= range.end {
            found.push(number_in(place, index));
            range.end
        } else {
            start + 1
        };
    }
}
