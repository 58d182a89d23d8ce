//! Mapfiles that were there when a medium was taken in, and are gone (R7, R11).
//!
//! Without its map an image looks whole: what was never rescued reads as zeros. Only a map can say that more was rescued, so what is on record as unread
//! stays unread until one does.

use ntt_catalogue::Catalogue;
use ntt_catalogue::rows::Image;
use ntt_host::RealDisk;
use ntt_model::name::escape;
use ntt_model::{Finding, FindingCode, Layer, MediumKey, Severity};
use ntt_report::hits::is_of_unread_image;
use ntt_rescue::Paths;
use ntt_rescue::record::Record;

use super::{Source, map};
use crate::{Error, HostPath};

/// Whether a map said of the medium that bytes of it were never rescued, and the source comes without one.
pub(super) fn is_missing(
    catalogue: &dyn Catalogue,
    key: MediumKey,
    known: &Image,
    source: &Source,
) -> Result<bool, Error> {
    if source.mapfile.is_some() {
        return Ok(false);
    }
    if source.container.is_none() || known.mapfile.is_none() {
        return Ok(!known.unread.is_empty());
    }
    // A map of a container's file is not on record; that it told of missing bytes is.
    let findings = catalogue.findings(key)?;
    Ok(findings
        .iter()
        .any(|row| row.finding.image_offset.is_none() && is_of_unread_image(&row.finding)))
}

/// Gives a source without a map the unread ranges that are on record of it, and says so to the user; `None` if no map is missing.
///
/// # Errors
///
/// [`Error::Source`] for an image in a container: which bytes of its file were unread nobody else knows.
pub(crate) fn keep_unread(
    catalogue: &dyn Catalogue,
    key: MediumKey,
    known: &Image,
    source: &mut Source,
) -> Result<Option<String>, Error> {
    if !is_missing(catalogue, key, known, source)? {
        return Ok(None);
    }
    let place = source.path.with_suffix(".map");
    let (gone, put) = gone(known, source);
    if source.container.is_some() {
        let reason = format!("{gone}, which says which bytes were never rescued: {put} as {place}");
        return Err(Error::Source {
            path: source.path.as_path().to_owned(),
            reason,
        });
    }
    source.unread.clone_from(&known.unread);
    Ok(Some(format!(
        "{gone}, and what it called unread stays unread: {put}, or one that says what was rescued since, as {place}"
    )))
}

/// That the map is gone, and what to do. If the image was met elsewhere, the map may still be where it was.
fn gone(known: &Image, source: &Source) -> (String, &'static str) {
    let Some(lost) = known.mapfile.as_deref() else {
        return ("its mapfile is missing".to_owned(), "put it back");
    };
    let name = escape(lost);
    if map::places(&source.path)
        .iter()
        .any(|place| place.as_bytes() == lost)
    {
        (format!("its mapfile {name} is missing"), "put it back")
    } else {
        (format!("its mapfile {name} is not beside it"), "put it there")
    }
}

/// What is to be said of an image without a map if the record of its rescue lies beside it and tells of missing bytes.
pub(super) fn told_by_record(image: &HostPath) -> Option<Finding> {
    let paths = Paths::new(image.as_path(), None);
    // A record that cannot be read says no more than none.
    let record = Record::read(&RealDisk, &paths).ok().flatten()?;
    let missing = record.health.missing_bytes;
    let name =
        |path: &std::path::Path| escape(path.file_name().unwrap_or_default().as_encoded_bytes()).into_owned();
    let detail = format!(
        "{missing} bytes were never rescued, as {} says, and the mapfile that tells which is missing: zeros stand for them; put it back as {}",
        name(&paths.health),
        name(&paths.map)
    );
    (missing > 0).then(|| Finding::new(Severity::Loss, Layer::Image, FindingCode::Unread, detail))
}
