//! Do we know this medium?

use ntt_catalogue::Catalogue;
use ntt_catalogue::rows::{Evidence, Image, MediumKind};
use ntt_model::{BlobHash, MediumKey};

use super::evidence::STRONG;
use super::{Recognition, Source, SourceKind, digest_image};
use crate::content::open_image;
use crate::{Error, Interrupt};

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
    let mut digest = None;
    for (key, shared) in candidates {
        let Some(known) = catalogue.image(*key)? else {
            continue;
        };
        if known.size_bytes != source.size_bytes || known.unread != source.unread {
            continue;
        }
        let same = match known.digest {
            Some(known) if strength(shared) > 0 => {
                whole_digest(source, &mut digest, interrupt)? == Some(known)
            }
            _ => false,
        };
        if same {
            return equal(catalogue, *key, shared);
        }
        if known.digest.is_none() && is_same_file(&known, source) {
            return resume(catalogue, *key);
        }
    }
    Ok(Recognition::New)
}

/// The digest of the whole source, computed once and only when there is something to compare it with.
fn whole_digest(
    source: &Source,
    digest: &mut Option<Option<BlobHash>>,
    interrupt: &Interrupt,
) -> Result<Option<BlobHash>, Error> {
    if let Some(digest) = digest {
        return Ok(*digest);
    }
    let image = open_image(source)?;
    let computed = digest_image(&image, &[], interrupt, &|_| {})?.image;
    *digest = Some(computed);
    Ok(computed)
}

fn is_same_file(known: &Image, source: &Source) -> bool {
    known.path == source.path.as_bytes() && known.modified == source.modified
}

fn equal(catalogue: &dyn Catalogue, key: MediumKey, shared: &[Evidence]) -> Result<Recognition, Error> {
    let kinds: Vec<&str> = shared.iter().map(|piece| piece.kind.as_str()).collect();
    let why = format!(
        "every byte is equal (BLAKE3 of the whole image), as is {}",
        kinds.join(", ")
    );
    let medium = catalogue.medium(key)?.medium.id;
    Ok(Recognition::Known { key, medium, why })
}

fn resume(catalogue: &dyn Catalogue, key: MediumKey) -> Result<Recognition, Error> {
    let why = "same file, size and time as an ingest that was not finished".to_owned();
    let medium = catalogue.medium(key)?.medium.id;
    Ok(Recognition::Resume { key, medium, why })
}
