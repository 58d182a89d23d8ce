//! Evidence of identity (R2): what stays with the medium wherever its bytes are found. A path is never evidence.

use ntt_catalogue::rows::Evidence;
use ntt_source::ReadAt;

use super::{Root, Source, SourceKind};
use crate::content::open_image;
use crate::image::Contained;
use crate::{Error, Interrupt};

/// Length of head and tail that are digested.
const EDGE_BYTES: u64 = 1 << 20;
/// Samples taken evenly over the image, and the length of one.
const SAMPLES: u64 = 64;
const SAMPLE_BYTES: u64 = 64 * 1024;

/// The kind of evidence that tells of the end of an image.
pub(super) const TAIL: &str = "tail-digest";
/// The kind of evidence that tells of samples taken over the whole image.
pub(super) const SAMPLED: &str = "sampled-digest";

/// The kind of evidence that is the digest of a whole image, with zeros for what was unread; a medium of which more was rescued has several.
pub(crate) const IMAGE_DIGEST: &str = "image-digest";

/// The kind of evidence that is the root of a directory: [`Root`] as text.
pub(super) const ROOT: &str = "directory-root";

/// Kinds of evidence that alone make a medium worth comparing byte by byte.
pub(super) const STRONG: [&str; 4] = ["head-digest", TAIL, SAMPLED, ROOT];

/// Gathers the evidence of a source.
pub(super) fn gather(source: &Source, interrupt: &Interrupt) -> Result<Vec<Evidence>, Error> {
    match source.kind {
        SourceKind::Image => of_image(source, interrupt),
        SourceKind::Directory => of_directory(source),
        SourceKind::Set => Ok(Vec::new()),
    }
}

fn of_image(source: &Source, interrupt: &Interrupt) -> Result<Vec<Evidence>, Error> {
    let image = open_image(source)?;
    let len = image.len();
    let edge = EDGE_BYTES.min(len);
    let mut evidence = vec![piece("size", len.to_string(), "image")];
    let mut add = |kind, ranges: &[(u64, u64)]| -> Result<(), Error> {
        interrupt.check()?;
        evidence.extend(digest(&image, ranges).map(|value| piece(kind, value, "image")));
        Ok(())
    };
    add("head-digest", &[(0, edge)])?;
    add(TAIL, &[(len - edge, edge)])?;
    add(SAMPLED, &samples(len))?;
    evidence.extend(files(source));
    Ok(evidence)
}

/// The kind of evidence that names a file of an image beside its first one: its name and length.
pub(super) const FILE: &str = "container-file";

/// The files beside an image's own that it lies in.
pub(super) fn files(source: &Source) -> Vec<Evidence> {
    let contained = source.container.iter();
    let origin = |contained: &Contained| {
        let layer = contained.layers.first();
        layer.map_or_else(String::new, |layer| layer.format.clone())
    };
    contained
        .flat_map(|contained| {
            contained
                .companions
                .iter()
                .map(move |path| (path, origin(contained)))
        })
        .map(|(path, origin)| {
            let name = path.as_path().file_name().unwrap_or_default();
            let name = ntt_model::name::escape(name.as_encoded_bytes()).into_owned();
            let bytes = std::fs::metadata(path.as_path()).map_or(0, |metadata| metadata.len());
            piece(FILE, format!("{bytes} bytes {name}"), &origin)
        })
        .collect()
}

/// Where the samples lie: evenly from the first to the last byte.
fn samples(len: u64) -> Vec<(u64, u64)> {
    let size = SAMPLE_BYTES.min(len);
    let step = (len - size) / (SAMPLES - 1);
    let mut offsets: Vec<u64> = (0..SAMPLES).map(|index| index * step).collect();
    offsets.dedup();
    offsets.into_iter().map(|offset| (offset, size)).collect()
}

/// Whether the samples, with the tail if that was digested, leave nothing of an image out.
pub(super) fn is_covered(len: u64, has_tail: bool) -> bool {
    let samples = samples(len);
    let goes_on = |pair: &[(u64, u64)]| matches!(pair, [before, next] if before.0 + before.1 >= next.0);
    let end = samples.last().map_or(0, |(offset, size)| offset + size);
    samples.windows(2).all(goes_on) && (end == len || has_tail)
}

/// Digest of the ranges, or `None` if any of it cannot be read or all of it is one filler byte (R1).
fn digest(image: &dyn ReadAt, ranges: &[(u64, u64)]) -> Option<String> {
    let mut hasher = blake3::Hasher::new();
    let mut filler = None;
    let mut varied = false;
    let mut buffer = Vec::new();
    for (offset, len) in ranges {
        buffer.resize(usize::try_from(*len).ok()?, 0);
        image.read_exact_at(*offset, &mut buffer).ok()?;
        hasher.update(&buffer);
        let first = *filler.get_or_insert(*buffer.first()?);
        varied |= buffer.iter().any(|byte| *byte != first);
    }
    varied.then(|| hasher.finalize().to_hex().to_string())
}

/// A directory is known by the file system that holds it, its inode and its birth.
fn of_directory(source: &Source) -> Result<Vec<Evidence>, Error> {
    let root = Root::at(source.path.as_path())?;
    Ok(vec![piece(ROOT, root.to_string(), "statx")])
}

fn piece(kind: &str, value: String, origin: &str) -> Evidence {
    Evidence {
        kind: kind.to_owned(),
        value,
        origin: origin.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R1: filler identifies nothing, whatever byte it is.
    #[test]
    fn r01_filler_gives_no_digest() {
        for filler in [0_u8, 0xf6, 0xff] {
            assert_eq!(digest(&vec![filler; 4096], &[(0, 4096)]), None);
        }
        let mut image = vec![0xf6_u8; 4096];
        image[4095] = 1;
        assert!(digest(&image, &[(0, 4096)]).is_some());
        assert_eq!(digest(&image, &[(0, 4097)]), None, "not fully read");
    }

    #[test]
    fn samples_reach_both_ends_and_stay_inside() {
        for len in [1, 5, SAMPLE_BYTES, SAMPLE_BYTES + 1, 10 << 20, 1 << 40] {
            let samples = samples(len);
            assert_eq!(samples.first().map(|sample| sample.0), Some(0));
            assert!(
                samples
                    .iter()
                    .all(|(offset, size)| offset + size <= len && *size > 0)
            );
            assert!(samples.len() <= 64);
            assert_eq!(is_covered(len, true), len <= SAMPLES * SAMPLE_BYTES);
            assert_eq!(is_covered(len, false), len <= SAMPLE_BYTES);
        }
    }
}
