//! The digests by which an image and its volumes will be recognised (R2, R3).

use ntt_catalogue::rows::{Evidence, Image, MediumRow, NewVolume, VolumeRow};

use crate::content::{image_row, len_of, open_image};
use crate::identify::{Digests, Source, SourceKind, digest_image};
use crate::stage::{Running, Subject};
use crate::{Context, Error, RunOutcome, Stage};

/// Digests the image and its readable volumes in one sequential read, once per medium.
pub(super) fn digests(context: &Context<'_>, medium: &MediumRow, source: &Source) -> Result<(), Error> {
    let image = image_row(context.archive, medium)?;
    if source.kind == SourceKind::Directory || image.digest.is_some() {
        return Ok(());
    }
    let catalogue = context.archive.catalogue();
    let mut volumes = catalogue.volumes(medium.key)?;
    volumes.retain(|row| row.volume.digest.is_none() && !row.volume.range.is_empty());
    let bytes = open_image(source)?;
    let subject = Subject::medium(medium);
    let total = Some(len_of(&bytes));
    let stage = Running::start_with(context.observer, Stage::Verify, subject, Some(1), total);
    let ranges: Vec<_> = volumes.iter().map(|row| row.volume.range).collect();
    let result = digest_image(&bytes, &ranges, context.interrupt, &|len| stage.add(0, len))
        .and_then(|digests| record(context, medium, image, volumes, &digests));
    stage.settle(catalogue, Some(medium), result, |()| RunOutcome::Complete)
}

/// The image's digest comes last: with it the medium counts as known.
fn record(
    context: &Context<'_>,
    medium: &MediumRow,
    image: Image,
    volumes: Vec<VolumeRow>,
    digests: &Digests,
) -> Result<(), Error> {
    let catalogue = context.archive.catalogue();
    for (row, digest) in volumes.into_iter().zip(&digests.ranges) {
        if digest.is_some() {
            let volume = NewVolume {
                digest: *digest,
                ..row.volume
            };
            catalogue.put_volume(medium.key, &volume)?;
        }
    }
    let Some(digest) = digests.image else {
        return Ok(());
    };
    let evidence = Evidence {
        kind: "image-digest".to_owned(),
        value: digest.to_hex(),
        origin: "image".to_owned(),
    };
    catalogue.add_evidence(medium.key, &[evidence])?;
    catalogue.set_image(
        medium.key,
        &Image {
            digest: Some(digest),
            ..image
        },
    )?;
    Ok(())
}
