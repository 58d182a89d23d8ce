//! Whether two images can be of one medium, before the holes of one are filled from the other.

use std::io;

use ntt_mapfile::Status;

use super::Input;
use crate::Error;
use crate::sentinel::{is_filler, spread};

/// Places that each image gives to be looked for in the other.
const PLACES: usize = 256;
/// Bytes of a sector.
const SECTOR: usize = 512;

/// Fails if what both images have read in some places differs in every fourth sector that says something, or more. Drives that lie do so in few.
///
/// # Errors
///
/// [`Error::Refused`] with the numbers; an image that cannot be read.
pub(super) fn check(first: &Input, second: &Input) -> Result<(), Error> {
    let (there, back) = (compare(first, second)?, compare(second, first)?);
    let (compared, differing) = (there.0 + back.0, there.1 + back.1);
    if differing == 0 || differing * 4 < compared {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "{} and {} are not of one medium: {differing} of {compared} sectors that were compared differ",
        first.path.display(),
        second.path.display()
    )))
}

/// How many sectors in places of one image the other has read too, and how many of them it has with other bytes. Sectors of one byte over and over are like those of half of all
/// media.
fn compare(of: &Input, with: &Input) -> Result<(u32, u32), Error> {
    let (mut compared, mut differing) = (0, 0);
    let sentinels = spread(&of.map, PLACES, &mut |range, bytes| {
        of.image.read_exact_at(range.offset, bytes)
    });
    for sentinel in sentinels.map_err(unreadable(of))? {
        let place = sentinel.range;
        if !with
            .map
            .runs_within(Status::Finished, place)
            .any(|run| run == place)
        {
            continue;
        }
        let mut bytes = vec![0; sentinel.bytes.len()];
        let read = with.image.read_exact_at(place.offset, &mut bytes);
        read.map_err(unreadable(with))?;
        for (one, other) in sentinel.bytes.chunks(SECTOR).zip(bytes.chunks(SECTOR)) {
            let differs = one != other;
            compared += u32::from(differs || !is_filler(one));
            differing += u32::from(differs);
        }
    }
    Ok((compared, differing))
}

fn unreadable(input: &Input) -> impl FnOnce(io::Error) -> Error {
    Error::target("reading", &input.path)
}
