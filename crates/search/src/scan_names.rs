//! Searching the names of one part.

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

/// Where more of the blocks than one in so many are wanted, the file is read in a row.
pub(crate) const IN_A_ROW: usize = 4;

/// The numbers of all names of a part that match.
pub(crate) fn search(segment: &Segment, part: &PartPlace, matcher: &Matcher) -> Result<Vec<i64>, Error> {
    let footer = segment.footer(part)?;
    let granules = candidates::of_clauses(segment, &footer, &matcher.clauses)?;
    let mut found = Vec::new();
    if granules.is_empty() {
        return Ok(found);
    }
    let in_a_row = is_dense(&granules, footer.blocks.len());
    let mut reader = BlockReader::new(segment)?;
    let mut names = Names::default();
    let mut states = matcher.run();
    for (index, place) in footer.blocks.iter().enumerate() {
        if !has_block(&granules, index) {
            continue;
        }
        let block = reader.unpack(place, in_a_row)?;
        names
            .parse(block, place.texts)
            .ok_or_else(|| segment.damaged(place.at, "a block of names is malformed"))?;
        match &matcher.how {
            How::Substring(finder) => find_substring(finder, block, &names, place, &mut found),
            _ => {
                for text in texts_of(&granules, index, place.texts) {
                    let name = names.get(block, text);
                    if matcher.can_end(name) && matches(matcher, states.as_mut(), name) {
                        found.push(number_in(place, text));
                    }
                }
            }
        }
    }
    Ok(found)
}

/// Whether a name matches; the thread's own run of an expression is quicker than the expression itself.
fn matches(matcher: &Matcher, states: Option<&mut Run<'_>>, name: &[u8]) -> bool {
    let told = states.and_then(|states| {
        let end = states.over(states.begin(), name);
        states.ends(end)
    });
    told.unwrap_or_else(|| matcher.matches(name))
}

/// The names of a block that stand in granules of the set.
fn texts_of(granules: &Granules, block: usize, texts: usize) -> impl Iterator<Item = usize> {
    let (in_block, in_granule) = (PartKind::Names.block_granules(), PartKind::Names.granule_texts());
    (0..in_block)
        .filter(move |granule| granules.contains(block * in_block + granule))
        .flat_map(move |granule| granule * in_granule..texts.min((granule + 1) * in_granule))
}

/// Whether any granule of a block of names is in the set.
pub(crate) fn has_block(granules: &Granules, block: usize) -> bool {
    let count = PartKind::Names.block_granules();
    granules.any(block.saturating_mul(count), count)
}

/// Whether so many blocks are wanted that reading them all in a row is cheaper.
pub(crate) fn is_dense(granules: &Granules, blocks: usize) -> bool {
    let wanted = (0..blocks).filter(|block| has_block(granules, *block)).count();
    wanted.saturating_mul(IN_A_ROW) > blocks
}

/// The number of a name of a block.
pub(crate) fn number_in(place: &BlockPlace, index: usize) -> i64 {
    number(
        place
            .first_path
            .saturating_add(u64::try_from(index).unwrap_or(u64::MAX)),
    )
}

/// All names in one pass: most blocks of a broad search hold no match, and then no name is looked at on its own.
fn find_substring(
    finder: &Finder<'_>,
    block: &[u8],
    names: &Names,
    place: &BlockPlace,
    found: &mut Vec<i64>,
) {
    let needle = finder.needle().len();
    if needle == 0 {
        found.extend((0..place.texts).map(|index| number_in(place, index)));
        return;
    }
    let texts = names.texts(block);
    let mut from = 0;
    while let Some(at) = texts.get(from..).and_then(|rest| finder.find(rest)) {
        let start = from + at;
        let index = names.ends.partition_point(|end| *end <= start);
        let range = names.range(index);
        from = if start + needle <= range.end {
            found.push(number_in(place, index));
            range.end
        } else {
            start + 1
        };
    }
}
