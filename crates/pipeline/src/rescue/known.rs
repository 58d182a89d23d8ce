//! Is the medium in this device one that the archive began, or finished, to rescue? (R1, R2)
//!
//! What the device says of itself makes it worth looking; what counts is that bytes are equal which are not everywhere the same. Two
//! disks with blank heads share every byte there, and are not the same.

use std::fs::File;
use std::os::unix::fs::FileExt;

use ntt_catalogue::rows::{Evidence, MediumRow};
use ntt_mapfile::Mapfile;
use ntt_model::ByteRange;
use ntt_rescue::buffer::Buffer;
use ntt_rescue::device::Device;
use ntt_rescue::sentinel::{self, Sentinel};

use super::paths;
use crate::identify::Recognition;
use crate::{Archive, Error, Interrupt};

/// Places that are compared.
const PLACES: usize = 16;
/// Places that are compared with a device that has no name of its own: a copy of a disk differs from it in little.
const PLACES_UNNAMED: usize = 64;
/// A failing device is not asked more often.
const FAILURES_MAX: u32 = 3;
/// What is read at a time when all is compared.
const BLOCK_BYTES: u64 = 1 << 20;
/// Evidence that names one device among all.
const NAMES: [&str; 2] = ["device-serial", "device-wwn"];

/// What comparing came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Likeness {
    /// So many places that say something are equal.
    Equal(usize),
    /// There is nothing to compare, or nothing that can be read.
    Unknown,
    /// Something differs.
    Differs,
}

/// The image of an earlier rescue.
struct Earlier {
    row: MediumRow,
    image: File,
    map: Mapfile,
    is_whole: bool,
}

/// Who a device is.
pub(super) struct Known {
    pub(super) recognition: Recognition,
    /// What is said of a medium that is like it and has other words on its label.
    pub(super) passed_over: Option<String>,
}

/// Compares the device with every medium that was rescued into the archive and has its size. Places that are equal do not tell a disk from its copy: if the human gives
/// a medium without a name of its own another `label` than one that was begun has, it is not that one (R5).
pub(super) fn recognise(
    archive: &Archive,
    device: &mut dyn Device,
    evidence: &[Evidence],
    (any_size, label): (bool, Option<&str>),
    interrupt: &Interrupt,
) -> Result<Known, Error> {
    let size_bytes = device.geometry().size_bytes;
    let mut passed_over = None;
    for row in archive.catalogue().media()? {
        interrupt.check()?;
        let Some(earlier) = earlier(archive, row, size_bytes, any_size)? else {
            continue;
        };
        let shared = shared_names(archive, &earlier.row, evidence)?;
        let likeness = compare_places(device, &earlier, !shared.is_empty());
        let Some(why) = reason(likeness, &shared) else {
            continue;
        };
        let Some(recognition) = settle(device, &earlier, (why, !shared.is_empty()), interrupt)? else {
            continue;
        };
        let known = earlier.row.medium.label.as_str();
        let is_other = label.is_some_and(|label| !known.is_empty() && label != known);
        match &recognition {
            Recognition::Resume { medium, why, .. } if shared.is_empty() && is_other => {
                passed_over = Some(format!(
                    "{why} to those of medium {medium}, but that one is labelled `{known}`; if it is that one, give `--medium {medium}`"
                ));
            }
            _ => {
                return Ok(Known {
                    recognition,
                    passed_over: None,
                });
            }
        }
    }
    Ok(Known {
        recognition: Recognition::New,
        passed_over,
    })
}

fn earlier(
    archive: &Archive,
    row: MediumRow,
    size_bytes: u64,
    any_size: bool,
) -> Result<Option<Earlier>, Error> {
    let known = archive.catalogue().image(row.key)?;
    if !known.is_some_and(|image| image.imported && (any_size || image.size_bytes == size_bytes)) {
        return Ok(None);
    }
    let paths = paths(archive.root(), row.medium.id);
    // A rescue that was stopped before its first checkpoint has neither.
    let map = ntt_host::read_regular(&paths.map)
        .ok()
        .and_then(|bytes| Mapfile::parse(&bytes).ok());
    let (Some(map), Ok(image)) = (map, File::open(&paths.image)) else {
        return Ok(None);
    };
    let is_whole = map.unread_ranges(size_bytes).is_empty();
    Ok(Some(Earlier {
        row,
        image,
        map,
        is_whole,
    }))
}

fn shared_names(archive: &Archive, row: &MediumRow, evidence: &[Evidence]) -> Result<Vec<String>, Error> {
    let known = archive.catalogue().evidence(row.key)?;
    let is_shared = |piece: &&Evidence| {
        NAMES.contains(&piece.kind.as_str())
            && known
                .iter()
                .any(|other| (&other.kind, &other.value) == (&piece.kind, &piece.value))
    };
    Ok(evidence
        .iter()
        .filter(is_shared)
        .map(|piece| piece.kind.clone())
        .collect())
}

/// Why it is the same medium, if it is.
fn reason(likeness: Likeness, shared: &[String]) -> Option<String> {
    let names = shared.join(", ");
    match likeness {
        Likeness::Differs => None,
        Likeness::Equal(places) if shared.is_empty() => {
            Some(format!("{places} places of the image that was begun are equal"))
        }
        Likeness::Equal(places) => Some(format!(
            "{places} places of the image that was begun are equal, as is {names}"
        )),
        Likeness::Unknown if shared.is_empty() => None,
        Likeness::Unknown => Some(format!("{names} and size are equal; no byte could be compared")),
    }
}

/// What was begun goes on. What is whole is compared whole: if anything differs now, or less than half can be read of what has no name of its own either, it
/// is a new medium.
fn settle(
    device: &mut dyn Device,
    earlier: &Earlier,
    (why, is_named): (String, bool),
    interrupt: &Interrupt,
) -> Result<Option<Recognition>, Error> {
    let (key, medium) = (earlier.row.key, earlier.row.medium.id);
    if !earlier.is_whole {
        return Ok(Some(Recognition::Resume { key, medium, why }));
    }
    let half = device.geometry().size_bytes / 2;
    let equal_bytes = compare_all(device, earlier, interrupt)?;
    let says_something = equal_bytes.filter(|bytes| is_named || *bytes > half);
    Ok(says_something.map(|bytes| Recognition::Known {
        key,
        medium,
        why: format!("it was rescued whole before, and all {bytes} bytes that were compared are equal"),
    }))
}

fn compare_places(device: &mut dyn Device, earlier: &Earlier, is_named: bool) -> Likeness {
    let (mut equal, mut failures) = (0, 0);
    let count = if is_named { PLACES } else { PLACES_UNNAMED };
    for place in telling_places(earlier, count, device.geometry().size_bytes) {
        match read(device, place.range) {
            Some(read) if read == place.bytes => equal += 1,
            Some(_) => return Likeness::Differs,
            None => failures += 1,
        }
        if failures >= FAILURES_MAX {
            break;
        }
    }
    if equal > 0 {
        Likeness::Equal(equal)
    } else {
        Likeness::Unknown
    }
}

/// Places of the image that say something, spread over all that was rescued and the device has.
fn telling_places(earlier: &Earlier, count: usize, size_bytes: u64) -> Vec<Sentinel> {
    let mut read = |range: ByteRange, bytes: &mut [u8]| earlier.image.read_exact_at(bytes, range.offset);
    let mut places = sentinel::spread(&earlier.map, count, &mut read).unwrap_or_default();
    places.retain(|place| place.range.end() <= size_bytes);
    places
}

/// Compares all that can be read, until too much of it cannot; `None` if anything differs.
fn compare_all(
    device: &mut dyn Device,
    earlier: &Earlier,
    interrupt: &Interrupt,
) -> Result<Option<u64>, Error> {
    let size_bytes = device.geometry().size_bytes;
    let (mut offset, mut failures, mut equal_bytes) = (0, 0, 0);
    while offset < size_bytes && failures < FAILURES_MAX {
        interrupt.check()?;
        let range = ByteRange::new(offset, BLOCK_BYTES.min(size_bytes - offset));
        let mut kept = vec![0; usize::try_from(range.len).unwrap_or(0)];
        if earlier.image.read_exact_at(&mut kept, offset).is_err() {
            return Ok(None);
        }
        match read(device, range) {
            Some(bytes) if bytes != kept => return Ok(None),
            Some(_) => equal_bytes += range.len,
            // It fails now: the archive has what it was.
            None => failures += 1,
        }
        offset = range.end();
    }
    Ok(Some(equal_bytes))
}

fn read(device: &mut dyn Device, range: ByteRange) -> Option<Vec<u8>> {
    let mut buffer = Buffer::default();
    buffer.resize(usize::try_from(range.len).ok()?);
    device.read(range, &mut buffer).ok()?;
    Some(buffer.bytes().to_vec())
}
