//! The digests by which an image and its volumes will be recognised (R2, R3).

use ntt_catalogue::rows::{EventRow, Evidence, Image, MediumRow, NewVolume, VolumeRow};
use ntt_model::{BlobHash, Finding, FindingCode};
use ntt_source::ReadAt;

use crate::content::{image_row, open_image};
use crate::damage::{self, Recorder};
use crate::identify::{
    Digests, IMAGE_DIGEST, Source, SourceKind, StatedDigests, StatedOutcome, digest_image,
};
use crate::inspect::{add_new_findings, content_range, digest_volume, mapping};
use crate::stage::{Running, Subject};
use crate::{Context, Error, RunOutcome, Stage, health};

/// The word of the log for a medium of which not every digest can be had: its source failed on some of it.
const NO_DIGEST: &str = "the source cannot be read everywhere, and has no digest";

/// Digests the image and its readable volumes in one sequential read, once per medium.
pub(super) fn digests(context: &Context<'_>, medium: &MediumRow, source: &Source) -> Result<(), Error> {
    if source.kind == SourceKind::Set {
        return of_set(context, medium, source);
    }
    let image = image_row(context.archive, medium)?;
    if source.kind == SourceKind::Directory || image.digest.is_some() {
        return Ok(());
    }
    if cannot_be_had(context, medium)? {
        return Ok(());
    }
    let catalogue = context.archive.catalogue();
    let mut volumes = catalogue.volumes(medium.key)?;
    volumes.retain(|row| row.volume.digest.is_none() && !row.volume.range.is_empty());
    // What lies in pieces is read by itself; the others in one go with the image.
    let pieces = take_pieces(&mut volumes)?;
    let bytes = open_image(source)?;
    let subject = Subject::medium(medium);
    let total = Some(bytes.len());
    let stage = Running::start_with(context.observer, Stage::Verify, subject, Some(1), total);
    let ranges = volumes.iter().map(|row| content_range(&row.volume));
    let ranges: Vec<_> = ranges.collect::<Result<_, Error>>()?;
    let mut stated = StatedDigests::of(source);
    let progress = |len| stage.add(0, len);
    let recorder = Recorder::of(&bytes);
    let result =
        digest_image(&recorder, &ranges, &mut stated, context.interrupt, &progress).and_then(|digests| {
            let mut lost = recorder.findings(source, FindingCode::Unread);
            lost.extend(health::changed_since_rescue(source, digests.image));
            compare(context, medium, (stated, lost), &stage)?;
            for row in pieces {
                let digest = digest_volume(context, &bytes, &row.volume)?;
                put_digest(context, medium, row, digest)?;
            }
            record(context, medium, image, volumes, &digests)?;
            Ok(digests.image.is_some())
        });
    settle(context, medium, &stage, result)
}

/// Whether the log says that not every digest can be had, and nothing was rescued, inspected or scanned since.
fn cannot_be_had(context: &Context<'_>, medium: &MediumRow) -> Result<bool, Error> {
    Ok(is_given_up(
        &context.archive.catalogue().events(Some(medium.key))?,
    ))
}

fn is_given_up(log: &[EventRow]) -> bool {
    let renewing = [Stage::Rescue, Stage::Inspect, Stage::Scan].map(Stage::as_str);
    // Contents that could be had now may be those that could not then.
    let is_copied = |event: &EventRow| event.stage == Stage::Copy.as_str() && event.count > 0;
    let last = log.iter().rfind(|event| {
        event.detail == NO_DIGEST || renewing.contains(&event.stage.as_str()) || is_copied(event)
    });
    last.is_some_and(|event| event.detail == NO_DIGEST)
}

/// Ends the stage, and leaves in the log whether there is anything to do the next time. `result` tells whether every digest could be had.
fn settle(
    context: &Context<'_>,
    medium: &MediumRow,
    stage: &Running<'_>,
    result: Result<bool, Error>,
) -> Result<(), Error> {
    let told = |is_whole: &bool| match is_whole {
        true => (RunOutcome::Complete, String::new()),
        false => (RunOutcome::Losses, NO_DIGEST.to_owned()),
    };
    stage
        .settle_told(context.archive.catalogue(), Some(medium), result, told)
        .map(|_| ())
}

/// Takes out the volumes that do not lie in one range of the image.
fn take_pieces(volumes: &mut Vec<VolumeRow>) -> Result<Vec<VolumeRow>, Error> {
    let (mut pieces, mut whole) = (Vec::new(), Vec::new());
    for row in volumes.drain(..) {
        match mapping(&row.volume)? {
            Some(_) => pieces.push(row),
            None => whole.push(row),
        }
    }
    *volumes = whole;
    Ok(pieces)
}

/// Digests the volumes of a set; its images have digests of their own.
fn of_set(context: &Context<'_>, medium: &MediumRow, source: &Source) -> Result<(), Error> {
    let catalogue = context.archive.catalogue();
    let mut volumes = catalogue.volumes(medium.key)?;
    volumes.retain(|row| row.volume.digest.is_none());
    let volumes = take_pieces(&mut volumes)?;
    if volumes.is_empty() || cannot_be_had(context, medium)? {
        return Ok(());
    }
    let bytes = open_image(source)?;
    let total = volumes.iter().map(|row| row.volume.range.len).sum();
    let subject = Subject::medium(medium);
    let stage = Running::start_with(context.observer, Stage::Verify, subject, None, Some(total));
    let result = volumes.into_iter().try_fold(true, |is_whole, row| {
        let len = row.volume.range.len;
        let digest = digest_volume(context, &bytes, &row.volume)?;
        put_digest(context, medium, row, digest)?;
        stage.add(0, len);
        Ok(is_whole && digest.is_some())
    });
    settle(context, medium, &stage, result)
}

/// What the containers state of the image against what was read of it: a finding where they differ or cannot be compared, evidence where all is well.
/// What could not be read goes on record with it.
fn compare(
    context: &Context<'_>,
    medium: &MediumRow,
    (stated, lost): (StatedDigests, Vec<Finding>),
    stage: &Running<'_>,
) -> Result<(), Error> {
    let catalogue = context.archive.catalogue();
    let mut findings = lost;
    for outcome in stated.finish() {
        match outcome {
            StatedOutcome::Equal(value, origin) => {
                let evidence = Evidence {
                    kind: "stated-digest-confirmed".to_owned(),
                    value,
                    origin,
                };
                catalogue.add_evidence(medium.key, &[evidence])?;
            }
            StatedOutcome::Wrong(finding) => findings.push(finding),
        }
    }
    findings.iter().for_each(|finding| stage.finding(None, finding));
    damage::make_good(catalogue, medium.key, &findings)?;
    add_new_findings(catalogue, medium, &findings)
}

fn put_digest(
    context: &Context<'_>,
    medium: &MediumRow,
    row: VolumeRow,
    digest: Option<BlobHash>,
) -> Result<(), Error> {
    if digest.is_some() {
        let volume = NewVolume { digest, ..row.volume };
        context.archive.catalogue().put_volume(medium.key, &volume)?;
    }
    Ok(())
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
        put_digest(context, medium, row, *digest)?;
    }
    let Some(digest) = digests.image else {
        return Ok(());
    };
    let evidence = Evidence {
        kind: IMAGE_DIGEST.to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn event(stage: Stage, detail: &str) -> EventRow {
        EventRow {
            at: None,
            medium: None,
            stage: stage.as_str().to_owned(),
            result: RunOutcome::Losses.as_str().to_owned(),
            elapsed_ms: 0,
            count: 0,
            bytes: 0,
            detail: detail.to_owned(),
        }
    }

    /// A digest that could not be had is tried for again once there may be more of the source.
    #[test]
    fn a_digest_is_given_up_until_more_is_read() {
        let scan = || event(Stage::Scan, "");
        let none = || event(Stage::Verify, NO_DIGEST);
        assert!(!is_given_up(&[]));
        assert!(!is_given_up(&[scan(), event(Stage::Verify, "")]));
        assert!(is_given_up(&[scan(), none(), event(Stage::Verify, "")]));
        for stage in [Stage::Rescue, Stage::Inspect, Stage::Scan] {
            assert!(!is_given_up(&[scan(), none(), event(stage, "")]));
        }
        let copied = |count| EventRow {
            count,
            ..event(Stage::Copy, "")
        };
        assert!(is_given_up(&[none(), copied(0)]));
        assert!(!is_given_up(&[none(), copied(2)]));
    }
}
