//! Several images as one set: each from end to end, and then what they make together.

use ntt_catalogue::rows::MediumRow;
use ntt_inspect::layer::SetTree;

use super::source::{self, Known};
use super::{IngestRequest, MediumSummary};
use crate::identify::{self, IdentifyPlan, Recognition, Source, SourceKind};
use crate::{Context, Error, HostPath, inspect, set};

/// An image of the set and its medium.
struct Image {
    known: Known,
    medium: MediumRow,
}

/// Takes the images of a set in, hands the summary of each medium to `each` as soon as it is done, and the set's as the last one.
pub(super) fn ingest(
    context: &Context<'_>,
    request: &IngestRequest,
    each: &mut dyn FnMut(MediumSummary),
) -> Result<(), Error> {
    // The human's words are about the set.
    let of_image = IngestRequest {
        label: None,
        ..request.clone()
    };
    let mut images = Vec::new();
    for path in &request.sources {
        let known = source::identify(context, path, &of_image)?;
        is_image(&known.identity.source)?;
        let medium = identify::run(context, &known.identity, None)?;
        images.push(Image { known, medium });
    }
    refuse_twice(&images)?;
    let found = in_order(context, &mut images)?;
    let sources = images.iter().map(|image| image.known.identity.source.clone());
    let whole = set::source(sources.collect());
    let recognition = recognition(found);
    identify::refuse_withdrawn(Some(context.archive), whole.path.as_path(), &recognition)?;
    let trees = inspect::plan_set(&whole, context.config, &context.scan_program, context.interrupt)?;
    for (image, layers) in images.iter().zip(&trees.images) {
        source::inspect_once(context, &image.known, &image.medium, Some(layers))?;
    }
    let made = if trees.set.volumes.is_empty() {
        None
    } else {
        Some(recorded(
            context,
            &images,
            recognition,
            whole.clone(),
            &trees,
            request,
        )?)
    };
    // First, because what the images are said to be depends on what the set holds of them.
    let summary = made
        .map(|(known, medium)| known.finish(context, &medium, None, request))
        .transpose()?;
    for image in images {
        each(image.known.finish(context, &image.medium, None, &of_image)?);
    }
    summary
        .map(each)
        .ok_or_else(|| strangers(&whole, "were taken in"))
}

/// Puts the set on record, with its volumes, and notes with its images what it holds of them.
fn recorded(
    context: &Context<'_>,
    images: &[Image],
    recognition: Recognition,
    whole: Source,
    trees: &SetTree,
    request: &IngestRequest,
) -> Result<(Known, MediumRow), Error> {
    let ids: Vec<_> = images.iter().map(|image| image.medium.medium.id).collect();
    let plan = IdentifyPlan {
        source: whole,
        evidence: set::evidence(&ids),
        recognition,
    };
    let medium = record(context, &plan, request)?;
    let known = Known::set(
        plan,
        images
            .iter()
            .map(|image| image.known.again)
            .max()
            .unwrap_or_default(),
    );
    source::inspect_once(context, &known, &medium, Some(&trees.set))?;
    let volumes = context.archive.catalogue().volumes(medium.key)?;
    for (image, layers) in images.iter().zip(&trees.images) {
        inspect::hold_in_set(context, &image.medium, layers, &volumes)?;
    }
    Ok((known, medium))
}

fn refuse(path: &HostPath, reason: String) -> Error {
    Error::Source {
        path: path.as_path().to_owned(),
        reason,
    }
}

fn is_image(source: &Source) -> Result<(), Error> {
    match source.kind {
        SourceKind::Image => Ok(()),
        _ => Err(refuse(
            &source.path,
            "is no image, and cannot be part of a set".to_owned(),
        )),
    }
}

/// The same image twice is no set, whatever its files are called.
fn refuse_twice(images: &[Image]) -> Result<(), Error> {
    for (at, image) in images.iter().enumerate() {
        let mut others = images.iter().take(at);
        if let Some(first) = others.find(|other| other.medium.key == image.medium.key) {
            let first = &first.known.identity.source.path;
            let reason = format!("is the same medium as {first}, and was given twice");
            return Err(refuse(&image.known.identity.source.path, reason));
        }
    }
    Ok(())
}

/// Nothing spans the images: they `are_taken` in, each by itself.
pub(super) fn strangers(whole: &Source, are_taken: &str) -> Error {
    let reason = format!(
        "no array and no volume group has members in more than one of these images: they are no set, and {are_taken} each by itself"
    );
    refuse(&whole.path, reason)
}

/// Puts the images into the order in which the archive has their set, if it has it.
fn in_order(context: &Context<'_>, images: &mut [Image]) -> Result<Option<MediumRow>, Error> {
    let ids: Vec<_> = images.iter().map(|image| image.medium.medium.id).collect();
    let Some((row, order)) = set::find(context.archive.catalogue(), &ids)? else {
        return Ok(None);
    };
    images.sort_by_key(|image| {
        let id = image.medium.medium.id.to_string();
        order.iter().position(|known| *known == id)
    });
    Ok(Some(row))
}

fn recognition(found: Option<MediumRow>) -> Recognition {
    found.map_or(Recognition::New, |row| Recognition::Known {
        key: row.key,
        medium: row.medium.id,
        why: "the set of the same images".to_owned(),
    })
}

/// The row of the set.
fn record(context: &Context<'_>, plan: &IdentifyPlan, request: &IngestRequest) -> Result<MediumRow, Error> {
    let catalogue = context.archive.catalogue();
    let label = request.label.as_deref();
    let key = match plan.recognition.key() {
        Some(key) => {
            identify::relabel(context, key, label)?;
            catalogue.add_evidence(key, &plan.evidence)?;
            key
        }
        None => identify::add(context, plan, label)?,
    };
    Ok(catalogue.medium(key)?)
}
