//! Do we know this medium?

use std::collections::BTreeSet;

use ntt_catalogue::Catalogue;
use ntt_catalogue::rows::{Evidence, Image, MediumKind};
use ntt_model::{ByteRange, MediumKey};

use super::digest::is_filler;
use super::evidence::{FILE, IMAGE_DIGEST, SAMPLED, STRONG, TAIL, files, is_covered};
use super::files::gone_part;
use super::lost_map;
use super::stated::StatedDigests;
use super::{Digests, Recognition, Source, SourceKind, digest_image};
use crate::content::open_image;
use crate::{Error, HostPath, Interrupt};

/// Compares the source with every medium that shares evidence with it.
pub(super) fn recognise(
    catalogue: &dyn Catalogue,
    source: &Source,
    evidence: &[Evidence],
    interrupt: &Interrupt,
) -> Result<Recognition, Error> {
    let mut candidates = catalogue.media_with_evidence(evidence)?;
    candidates.sort_by_key(|(key, shared)| (std::cmp::Reverse(strength(shared)), *key));
    match source.kind {
        SourceKind::Directory => directory(catalogue, &candidates),
        SourceKind::Image => image(catalogue, source, &candidates, interrupt),
        // It is known by its images; see `crate::set`.
        SourceKind::Set => Ok(Recognition::New),
    }
}

fn strength(shared: &[Evidence]) -> usize {
    shared
        .iter()
        .filter(|piece| STRONG.contains(&piece.kind.as_str()))
        .count()
}

fn directory(
    catalogue: &dyn Catalogue,
    candidates: &[(MediumKey, Vec<Evidence>)],
) -> Result<Recognition, Error> {
    for (key, _) in candidates.iter().filter(|(_, shared)| strength(shared) > 0) {
        let medium = catalogue.medium(*key)?.medium;
        if medium.kind == MediumKind::Directory {
            let why = "same file system, root inode and birth time".to_owned();
            return Ok(Recognition::Known {
                key: *key,
                medium: medium.id,
                why,
            });
        }
    }
    Ok(Recognition::New)
}

fn image(
    catalogue: &dyn Catalogue,
    source: &Source,
    candidates: &[(MediumKey, Vec<Evidence>)],
    interrupt: &Interrupt,
) -> Result<Recognition, Error> {
    if let Some(recognition) = rescued_here(catalogue, source, candidates)? {
        return Ok(recognition);
    }
    let mut whole = Whole::of(source, interrupt);
    for (key, shared) in candidates {
        let Some(known) = catalogue.image(*key)? else {
            continue;
        };
        if known.size_bytes != source.size_bytes {
            continue;
        }
        let is_likely = strength(shared) > 0 || known.path == source.path.as_bytes();
        if lost_map::is_missing(catalogue, *key, &known, source)? {
            if is_same_without_map(&known, &mut whole, is_likely)? {
                return without_map(catalogue, *key);
            }
            continue;
        }
        if known.unread != source.unread {
            if is_likely && is_rescued_further(&known, source, interrupt)? {
                return rescued_further(catalogue, *key);
            }
            if is_earlier(catalogue, *key, &known, &mut whole)? {
                return earlier(catalogue, *key);
            }
            if is_likely && is_less_rescued(&known, source, interrupt)? {
                return less_rescued(catalogue, *key);
            }
            continue;
        }
        if is_likely && whole.equals(&known, is_likely)? {
            return equal(catalogue, *key, shared);
        }
        if has_more_files(catalogue, *key, &known, source)?
            && (known.path == source.path.as_bytes() || strength(shared) > 0)
        {
            return more_files(catalogue, *key);
        }
        if known.digest.is_none() && is_same_file(&known, source) {
            return resume(catalogue, *key);
        }
        if known.digest.is_none() && has_moved(&known, source, shared) {
            return moved(catalogue, *key, &known);
        }
    }
    refuse_rest_of_parts(catalogue, source, candidates)?;
    Ok(Recognition::New)
}

/// What is left of a split image in its place is no new medium: the part that is gone is to be put back.
fn refuse_rest_of_parts(
    catalogue: &dyn Catalogue,
    source: &Source,
    candidates: &[(MediumKey, Vec<Evidence>)],
) -> Result<(), Error> {
    for (key, _) in candidates.iter().filter(|(_, shared)| strength(shared) > 0) {
        let is_its_place = |known: Image| known.path == source.path.as_bytes();
        if !catalogue.image(*key)?.is_some_and(is_its_place) {
            continue;
        }
        if let Some(gone) = gone_part(&catalogue.evidence(*key)?, source) {
            return Err(Error::Source {
                path: source.path.as_path().to_owned(),
                reason: format!("{gone}, or give what is another image now another name"),
            });
        }
    }
    Ok(())
}

/// The medium whose rescue wrote this very image into the archive.
fn rescued_here(
    catalogue: &dyn Catalogue,
    source: &Source,
    candidates: &[(MediumKey, Vec<Evidence>)],
) -> Result<Option<Recognition>, Error> {
    for (key, _) in candidates {
        let medium = catalogue.medium(*key)?.medium.id;
        // The archive may have moved.
        let is_its_place = source.path.as_path().ends_with(format!("media/{medium}/image"));
        if is_its_place && catalogue.image(*key)?.is_some_and(|image| image.imported) {
            return Ok(Some(Recognition::Resume {
                key: *key,
                medium,
                why: "its image lies in the archive".to_owned(),
            }));
        }
    }
    Ok(None)
}

/// The whole source, read once and only when there is something to compare it with.
struct Whole<'a> {
    source: &'a Source,
    interrupt: &'a Interrupt,
    digests: Option<Digests>,
}

impl<'a> Whole<'a> {
    fn of(source: &'a Source, interrupt: &'a Interrupt) -> Self {
        Self {
            source,
            interrupt,
            digests: None,
        }
    }

    fn digests(&mut self) -> Result<&Digests, Error> {
        let digests = match self.digests.take() {
            Some(digests) => digests,
            None => digests_of(self.source, self.interrupt)?,
        };
        Ok(self.digests.insert(digests))
    }

    /// Whether every byte is equal to those of an earlier image, zeros for what was unread included. `is_telling` says whether something else is equal
    /// too that only this medium has: two blank ones share every byte, and are not the same (R1).
    fn equals(&mut self, known: &Image, is_telling: bool) -> Result<bool, Error> {
        if known.digest.is_none() {
            return Ok(false);
        }
        let digests = self.digests()?;
        Ok(digests.image == known.digest && (is_telling || !digests.is_blank))
    }
}

fn digests_of(source: &Source, interrupt: &Interrupt) -> Result<Digests, Error> {
    let image = open_image(source)?;
    digest_image(&image, &[], &mut StatedDigests::default(), interrupt, &|_| {})
}

/// Whether the source is what the medium's image became by more rescuing: nothing that was read is unread now, and all that was read is equal.
/// The image's digest was taken with zeros for what was unread, so the same zeros in the source give the same digest.
pub(crate) fn is_rescued_further(
    known: &Image,
    source: &Source,
    interrupt: &Interrupt,
) -> Result<bool, Error> {
    let is_more = known.unread != source.unread && covers(&known.unread, &source.unread);
    if !is_more || known.size_bytes != source.size_bytes {
        return Ok(false);
    }
    // Only the map was written to.
    if is_same_file(known, source) {
        return Ok(true);
    }
    is_equal_as_known(known, source, interrupt)
}

/// Whether the source is another file than the medium's image and equal to what that was before more of it was rescued, zeros for what was unread included.
fn is_earlier(
    catalogue: &dyn Catalogue,
    key: MediumKey,
    known: &Image,
    whole: &mut Whole<'_>,
) -> Result<bool, Error> {
    if !covers(&whole.source.unread, &known.unread) || is_same_file(known, whole.source) {
        return Ok(false);
    }
    let evidence = catalogue.evidence(key)?;
    let digests = evidence.iter().filter(|piece| piece.kind == IMAGE_DIGEST);
    let mut earlier =
        digests.filter(|piece| Some(piece.value.as_str()) != known.digest.map(|now| now.to_hex()).as_deref());
    let Some(first) = earlier.next() else {
        return Ok(false);
    };
    let digests = whole.digests()?;
    // Two that hold nothing share every byte, and are not the same (R1).
    let Some(now) = digests
        .image
        .filter(|_| !digests.is_blank)
        .map(|digest| digest.to_hex())
    else {
        return Ok(false);
    };
    Ok(first.value == now || earlier.any(|piece| piece.value == now))
}

/// Whether the source is the medium's image with a map that calls more of it unread than was known, as one does that comes to light after the image was taken in: all that was
/// read is equal, zeros included that are none.
pub(crate) fn is_less_rescued(known: &Image, source: &Source, interrupt: &Interrupt) -> Result<bool, Error> {
    let is_less = known.unread != source.unread && covers(&source.unread, &known.unread);
    if !is_less || source.mapfile.is_none() || known.size_bytes != source.size_bytes {
        return Ok(false);
    }
    Ok(is_same_file(known, source) || is_equal_as_known(known, source, interrupt)?)
}

/// Whether every byte of the source is equal that was read before.
fn is_equal_as_known(known: &Image, source: &Source, interrupt: &Interrupt) -> Result<bool, Error> {
    let Some(digest) = known.digest else {
        return Ok(false);
    };
    let as_before = Source {
        unread: known.unread.clone(),
        ..source.clone()
    };
    Ok(digests_of(&as_before, interrupt)?.image == Some(digest))
}

/// Whether a source that comes without the map that it had is the medium: the same file, or every byte is equal, zeros included. Otherwise what was read must be
/// equal, and must be enough to tell media apart that only begin alike. Elsewhere nothing may stand where it was unread: another image of the same disk has its bytes there, and
/// taken for this one they would be lost (R3, R11). In the medium's own place they stay unread until a map says more.
fn is_same_without_map(known: &Image, whole: &mut Whole<'_>, is_likely: bool) -> Result<bool, Error> {
    if is_same_file(known, whole.source) || whole.equals(known, is_likely)? {
        return Ok(true);
    }
    let unread_bytes: u64 = known.unread.iter().map(|range| range.len).sum();
    let is_its_place = known.path == whole.source.path.as_bytes();
    let is_enough = is_its_place || unread_bytes < known.size_bytes / 2;
    if !is_likely || !is_enough || !is_equal_as_known(known, whole.source, whole.interrupt)? {
        return Ok(false);
    }
    Ok(is_its_place || is_filler(&open_image(whole.source)?, &known.unread, whole.interrupt)?)
}

fn without_map(catalogue: &dyn Catalogue, key: MediumKey) -> Result<Recognition, Error> {
    let why = "every byte that was known before is equal".to_owned();
    let medium = catalogue.medium(key)?.medium.id;
    Ok(Recognition::Resume { key, medium, why })
}

/// Whether every byte of `inner` lies in `outer`; both ascending and without neighbours that touch.
pub(super) fn covers(outer: &[ByteRange], inner: &[ByteRange]) -> bool {
    inner.iter().all(|range| {
        let at = outer.partition_point(|outer| outer.end() <= range.offset);
        outer.get(at).and_then(|outer| outer.intersection(range)) == Some(*range)
    })
}

fn rescued_further(catalogue: &dyn Catalogue, key: MediumKey) -> Result<Recognition, Error> {
    let why = "more of it was rescued; every byte that was known before is equal".to_owned();
    let medium = catalogue.medium(key)?.medium.id;
    Ok(Recognition::Resume { key, medium, why })
}

fn less_rescued(catalogue: &dyn Catalogue, key: MediumKey) -> Result<Recognition, Error> {
    let why = "every byte is equal, and its map says that less of it was rescued than was known".to_owned();
    let medium = catalogue.medium(key)?.medium.id;
    Ok(Recognition::Resume { key, medium, why })
}

/// Whether an image that was never read to its end consists of more files now than when it was identified: a segment that was missing was found, or a file beside it is allowed now.
/// All that it had must be there with the same name and length; of one that had none, the place must be the same.
pub(crate) fn has_more_files(
    catalogue: &dyn Catalogue,
    key: MediumKey,
    known: &Image,
    source: &Source,
) -> Result<bool, Error> {
    if known.digest.is_some() || source.container.is_none() || known.size_bytes != source.size_bytes {
        return Ok(false);
    }
    let value = |piece: &Evidence| piece.value.clone();
    let evidence = catalogue.evidence(key)?;
    let recorded: BTreeSet<String> = evidence
        .iter()
        .filter(|piece| piece.kind == FILE)
        .map(value)
        .collect();
    let now: BTreeSet<String> = files(source).iter().map(value).collect();
    let is_known = !recorded.is_empty() || known.path == source.path.as_bytes();
    Ok(is_known && recorded.len() < now.len() && recorded.is_subset(&now))
}

fn more_files(catalogue: &dyn Catalogue, key: MediumKey) -> Result<Recognition, Error> {
    let why = "files of it are here that were missing when it was read".to_owned();
    let medium = catalogue.medium(key)?.medium.id;
    Ok(Recognition::Resume { key, medium, why })
}

fn earlier(catalogue: &dyn Catalogue, key: MediumKey) -> Result<Recognition, Error> {
    let why = "every byte is equal to what was known of it before more was rescued".to_owned();
    let medium = catalogue.medium(key)?.medium.id;
    Ok(Recognition::Known { key, medium, why })
}

fn is_same_file(known: &Image, source: &Source) -> bool {
    known.path == source.path.as_bytes() && known.modified == source.modified
}

/// Whether a source is an image that was never read to its end, and whose file is not any more where it was. Two images can share head, tail and
/// samples, as those of one machine on two days do, and taking one for the other would lose its files. So its time must be the very same too, which
/// moving keeps and writing does not; unless the digests leave nothing of it out.
fn has_moved(known: &Image, source: &Source, shared: &[Evidence]) -> bool {
    let is_shared = |kind| shared.iter().any(|piece| piece.kind == kind);
    if known.imported || !is_shared(SAMPLED) {
        return false;
    }
    let is_same_time = known.modified.is_some() && known.modified == source.modified;
    is_covered(known.size_bytes, is_shared(TAIL)) || (is_same_time && !is_there(known))
}

/// Whether the image's own file lies where it did, as it was.
fn is_there(known: &Image) -> bool {
    Source::look(HostPath::from_bytes(&known.path).as_path())
        .is_ok_and(|source| source.modified == known.modified)
}

fn moved(catalogue: &dyn Catalogue, key: MediumKey, known: &Image) -> Result<Recognition, Error> {
    let why = format!(
        "as much is equal as is known of it: size, head, tail and samples; it was not read to its end, at {}",
        ntt_model::name::escape(&known.path)
    );
    let medium = catalogue.medium(key)?.medium.id;
    Ok(Recognition::Resume { key, medium, why })
}

fn equal(catalogue: &dyn Catalogue, key: MediumKey, shared: &[Evidence]) -> Result<Recognition, Error> {
    let mut kinds: Vec<&str> = shared.iter().map(|piece| piece.kind.as_str()).collect();
    // An image has one piece for each of its files.
    kinds.dedup();
    let why = format!(
        "every byte is equal (BLAKE3 of the whole image), as is {}",
        kinds.join(", ")
    );
    let medium = catalogue.medium(key)?.medium.id;
    Ok(Recognition::Known { key, medium, why })
}

fn resume(catalogue: &dyn Catalogue, key: MediumKey) -> Result<Recognition, Error> {
    let why = "same file, size and time as a medium that was not read to its end".to_owned();
    let medium = catalogue.medium(key)?.medium.id;
    Ok(Recognition::Resume { key, medium, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_better_rescue_leaves_unread_only_what_was() {
        let range = ByteRange::new;
        let before = [range(100, 50), range(200, 50)];
        assert!(covers(&before, &[]));
        assert!(covers(&before, &before));
        assert!(covers(&before, &[range(110, 10), range(130, 20), range(249, 1)]));
        assert!(!covers(&before, &[range(90, 20)]));
        assert!(!covers(&before, &[range(140, 70)]));
        assert!(!covers(&before, &[range(300, 1)]));
    }
}
