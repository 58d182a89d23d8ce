//! Known-good bytes of a medium, by which it is known again.

use std::io;

use ntt_mapfile::{Mapfile, Status};
use ntt_model::ByteRange;

/// Bytes of a sentinel, if what was rescued has so many in a row.
pub const SENTINEL_BYTES: usize = 4096;
/// Places that are looked at for each that is wanted, to find one that says something.
const LOOKS: usize = 16;

/// Known-good bytes of the medium.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sentinel {
    /// Where.
    pub range: ByteRange,
    /// What was read there.
    pub bytes: Vec<u8>,
}

impl Sentinel {
    pub(crate) fn of(range: ByteRange, bytes: &[u8]) -> Self {
        let len = bytes.len().min(SENTINEL_BYTES);
        Self {
            range: ByteRange::new(range.offset, range.len.min(SENTINEL_BYTES as u64)),
            bytes: bytes.get(..len).unwrap_or_default().to_vec(),
        }
    }
}

/// Whether bytes are all the same: half of all media have such bytes in the same places.
pub(crate) fn is_filler(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .zip(bytes.iter().skip(1))
        .all(|(one, next)| one == next)
}

/// Reads bytes of an image.
pub type ReadImage<'r> = dyn FnMut(ByteRange, &mut [u8]) -> io::Result<()> + 'r;

/// Sentinels from all that a map says was rescued, at most `count`: of each of as many equal shares the first place found that is not one byte over and
/// over. Two disks that were partitioned alike begin alike, so that the first bytes of what was rescued prove little.
///
/// # Errors
///
/// Those of `read`.
pub fn spread(map: &Mapfile, count: usize, read: &mut ReadImage<'_>) -> io::Result<Vec<Sentinel>> {
    let places = places(map, count.saturating_mul(LOOKS));
    let mut sentinels: Vec<Sentinel> = Vec::new();
    for share in places.chunks(LOOKS) {
        for place in share {
            let known = sentinels.last().is_some_and(|last| last.range == *place);
            let found = if known { None } else { telling(*place, read)? };
            if let Some(sentinel) = found {
                sentinels.push(sentinel);
                break;
            }
        }
    }
    Ok(sentinels)
}

/// The first place that was rescued, whatever it says: enough to know that a device answers.
pub(crate) fn first(map: &Mapfile, read: &mut ReadImage<'_>) -> io::Result<Option<Sentinel>> {
    let Some(place) = places(map, 1).into_iter().next() else {
        return Ok(None);
    };
    let mut bytes = vec![0; usize::try_from(place.len).unwrap_or(0)];
    read(place, &mut bytes)?;
    Ok(Some(Sentinel { range: place, bytes }))
}

fn telling(place: ByteRange, read: &mut ReadImage<'_>) -> io::Result<Option<Sentinel>> {
    let mut bytes = vec![0; usize::try_from(place.len).unwrap_or(0)];
    read(place, &mut bytes)?;
    Ok((!is_filler(&bytes)).then_some(Sentinel { range: place, bytes }))
}

/// So many places, evenly over what was rescued; some of them the same if that is little.
fn places(map: &Mapfile, count: usize) -> Vec<ByteRange> {
    let mut runs = Vec::new();
    let mut before = 0_u64;
    for run in map.runs(Status::Finished) {
        runs.push((before, run));
        before = before.saturating_add(run.len);
    }
    let step = before / u64::try_from(count).unwrap_or(u64::MAX).max(1);
    let positions = (0_u64..).map(|number| number.saturating_mul(step)).take(count);
    positions
        .filter_map(|position| {
            let after = runs.partition_point(|(before, _)| *before <= position);
            let (before, run) = runs.get(after.checked_sub(1)?)?;
            Some(place_in(*run, position - before))
        })
        .collect()
}

/// The place at a multiple of its length, if the run begins before that.
fn place_in(run: ByteRange, skipped: u64) -> ByteRange {
    let len = SENTINEL_BYTES as u64;
    let at = run.offset.saturating_add(skipped);
    let offset = (at / len * len).max(run.offset);
    ByteRange::new(offset, len.min(run.end().saturating_sub(offset)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread_over(map: &Mapfile, image: &[u8]) -> Vec<u64> {
        let mut read = |range: ByteRange, into: &mut [u8]| {
            let at = usize::try_from(range.offset).expect("small");
            into.copy_from_slice(&image[at..at + into.len()]);
            Ok(())
        };
        let sentinels = spread(map, 4, &mut read).expect("in memory");
        sentinels.iter().map(|sentinel| sentinel.range.offset).collect()
    }

    #[test]
    fn r8_sentinels_are_spread_and_say_something() {
        const MIB: usize = 1 << 20;
        let map =
            Mapfile::parse(b"0 +\n0 0x100000 +\n0x100000 0x100000 -\n0x200000 0x200000 +\n").expect("a map");
        let mut image = vec![0; 4 * MIB];
        assert_eq!(spread_over(&map, &image), [0; 0], "nothing says anything");
        image[5] = 1;
        let mut next = 0_u8;
        image[2 * MIB + 65_536..].fill_with(|| {
            next = next.wrapping_add(7);
            next
        });
        let found = spread_over(&map, &image);
        assert_eq!((found[0], found.len()), (0, 4), "{found:?}");
        assert!(found.is_sorted() && found[1] >= 2 * MIB as u64, "{found:?}");
        assert!(found[3] > 3 * MIB as u64, "{found:?}");
    }

    #[test]
    fn what_is_small_has_few_places() {
        let map = Mapfile::parse(b"0 +\n0 512 +\n512 512 -\n").expect("a map");
        let mut image = vec![3; 1024];
        image[7] = 0;
        assert_eq!(spread_over(&map, &image), [0]);
        assert_eq!(spread_over(&Mapfile::untried(1024), &image), [0; 0]);
    }
}
