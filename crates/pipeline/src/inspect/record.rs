//! Records what inspection found.

use std::collections::HashMap;

use ntt_catalogue::rows::{Evidence, Image, MediumRow, NewVolume, VolumeRow};
use ntt_catalogue::{Catalogue, NO_NAME};
use ntt_filesystem::Family;
use ntt_inspect::layer::{FileSystemLayer, LayerTree, Verdict, VolumeLayer};
use ntt_model::{ByteRange, Finding, FindingCode, Layer, Mapping, Severity, VolumeKey};
use ntt_source::{Mapped, ReadAt};

use super::{DIRECTORY, contained, directory};
use crate::content::{image_row, open_image};
use crate::identify::{Source, digest_range};
use crate::stage::Running;
use crate::{Context, Error};
use ntt_report::selector::{current_scans, sets_of, standing, standing_media};

/// Verdict of a volume that can be scanned.
pub(super) const READABLE: &str = "readable";

/// Records volumes, evidence and findings of a medium that has no volumes yet, or of which more was rescued since. The volumes come last: while
/// there are none, an interrupted inspection is done again.
pub(crate) fn record(
    context: &Context<'_>,
    medium: &MediumRow,
    source: &Source,
    tree: Option<&LayerTree>,
    stage: &Running<'_>,
) -> Result<(), Error> {
    let catalogue = context.archive.catalogue();
    let Some(tree) = tree else {
        catalogue.put_volume(medium.key, &directory::volume(1, b"")?)?;
        return Ok(());
    };
    let image = image_row(context.archive, medium)?;
    let expected_bytes = tree.expected_bytes.max(image.size_bytes);
    catalogue.set_image(
        medium.key,
        &Image {
            expected_bytes,
            ..image
        },
    )?;
    catalogue.add_evidence(medium.key, &evidence(tree))?;
    let mut findings = tree.findings.clone();
    findings.extend(incomplete(tree));
    add_new_findings(catalogue, medium, &findings)?;
    findings.iter().for_each(|finding| stage.finding(None, finding));
    if let Some(finding) = numbered_otherwise(catalogue, medium, source, tree)? {
        add_new_findings(catalogue, medium, std::slice::from_ref(&finding))?;
        stage.finding(None, &finding);
        return Ok(());
    }
    let bytes = open_image(source)?;
    let known = catalogue.volumes(medium.key)?;
    for layer in &tree.volumes {
        context.interrupt.check()?;
        let known = known.iter().find(|row| row.volume.number == layer.number);
        let volume = new_volume(context, &bytes, source, layer, known)?;
        catalogue.put_volume(medium.key, &volume)?;
        stage.add(1, 0);
    }
    Ok(())
}

/// Makes volumes of the medium stand for themselves that were copies (R3) of volumes which a map says now were not read to their end, or whose medium is withdrawn: this medium has the
/// bytes, and is scanned and copied by itself.
pub(crate) fn part_from_originals(context: &Context<'_>, medium: &MediumRow) -> Result<(), Error> {
    let catalogue = context.archive.catalogue();
    let copies = catalogue.volumes(medium.key)?;
    let mut copies = copies.into_iter().filter(|row| row.volume.digest.is_some());
    let Some(first) = copies.find(|row| row.volume.same_as.is_some()) else {
        return Ok(());
    };
    // What a set holds of an image has other bytes than the image alone.
    if !sets_of(catalogue, medium)?.is_empty() {
        return Ok(());
    }
    let mut digests = HashMap::new();
    for other in standing_media(catalogue)? {
        let volumes = catalogue.volumes(other.key)?.into_iter();
        digests.extend(volumes.map(|row| (row.key, row.volume.digest)));
    }
    for row in std::iter::once(first).chain(copies) {
        let is_other = |key| digests.get(&key) != Some(&row.volume.digest);
        if row.volume.same_as.is_some_and(is_other) {
            let volume = NewVolume {
                same_as: None,
                ..row.volume
            };
            catalogue.put_volume(medium.key, &volume)?;
        }
    }
    Ok(())
}

/// Notes with an image what a set holds of it, should it have been taken in before its siblings: members hold nothing but what the set reads, and what was
/// made of them alone is a part of the set's volume. `tree` is what the image holds by itself, `set` are the volumes of the set.
pub(crate) fn hold_in_set(
    context: &Context<'_>,
    medium: &MediumRow,
    tree: &LayerTree,
    set: &[VolumeRow],
) -> Result<(), Error> {
    let catalogue = context.archive.catalogue();
    let found_by = |volume: &NewVolume| -> Result<Option<String>, Error> {
        Ok(recorded_layer(volume)?.map(|layer| layer.found_by))
    };
    let set: Vec<(Option<String>, &VolumeRow)> = set
        .iter()
        .map(|row| Ok((found_by(&row.volume)?, row)))
        .collect::<Result<_, Error>>()?;
    for row in catalogue.volumes(medium.key)? {
        let mut layers = tree.volumes.iter();
        let volume = match layers.find(|layer| layer.number == row.volume.number) {
            Some(layer) if layer.verdict == Verdict::Table && row.volume.verdict == "identified" => {
                NewVolume {
                    verdict: verdict_word(&layer.verdict),
                    type_name: type_name(layer),
                    layer_json: serde_json::to_string(layer)
                        .map_err(|error| Error::Scan(error.to_string()))?,
                    ..row.volume
                }
            }
            None if row.volume.same_as.is_none() => {
                let name = found_by(&row.volume)?;
                let same = set.iter().find(|(other, _)| name.is_some() && *other == name);
                let Some((_, same)) = same else {
                    continue;
                };
                NewVolume {
                    verdict: same.volume.verdict.clone(),
                    same_as: Some(same.volume.same_as.unwrap_or(same.key)),
                    ..row.volume
                }
            }
            _ => continue,
        };
        catalogue.put_volume(medium.key, &volume)?;
    }
    Ok(())
}

/// What was scanned keeps its number (R28): should the same number now mean another place, the volumes stay as they were. What is unread is taken for the cause: once it is
/// rescued the finding is history.
fn numbered_otherwise(
    catalogue: &dyn Catalogue,
    medium: &MediumRow,
    source: &Source,
    tree: &LayerTree,
) -> Result<Option<Finding>, Error> {
    for row in catalogue.volumes(medium.key)? {
        let now = tree
            .volumes
            .iter()
            .find(|layer| layer.number == row.volume.number);
        let stays = now.is_some_and(|layer| layer.range.offset == row.volume.range.offset);
        if !stays && (now.is_none() || !catalogue.scans(row.key)?.is_empty()) {
            let detail = format!(
                "other bytes are unread than before, and volume {} would now lie elsewhere or nowhere: the volumes stay as they were found first",
                row.volume.number
            );
            let told = |code| Finding::new(Severity::Loss, Layer::Volume, code, detail);
            return Ok(Some(match source.unread.first() {
                Some(unread) => told(FindingCode::Unread).at(unread.offset),
                None => told(FindingCode::Contradiction),
            }));
        }
    }
    Ok(None)
}

fn new_volume(
    context: &Context<'_>,
    bytes: &dyn ReadAt,
    source: &Source,
    layer: &VolumeLayer,
    known: Option<&VolumeRow>,
) -> Result<NewVolume, Error> {
    let mut volume = NewVolume {
        number: layer.number,
        range: layer.range,
        verdict: verdict_word(&layer.verdict),
        type_name: type_name(layer),
        label: label(layer),
        uuid: uuid(layer),
        digest: None,
        same_as: None,
        layer_json: serde_json::to_string(layer).map_err(|error| Error::Scan(error.to_string()))?,
    };
    // Where the pieces of a volume lie is not asked for each: any loss may be its own.
    let lost = source
        .unread
        .iter()
        .any(|range| layer.mapping.is_some() || range.intersection(&layer.range).is_some());
    // What has a digest was read to its end, and no rescue changes what was read (R3). Should a map say now that it was not, no other volume may be taken for a copy of it.
    if let Some(known) =
        known.filter(|row| row.volume.digest.is_some() && is_same_place(&row.volume, &volume))
    {
        volume.digest = known.volume.digest.filter(|_| !lost);
        volume.same_as = known.volume.same_as;
        return Ok(volume);
    }
    if volume.verdict == READABLE && !lost {
        (volume.digest, volume.same_as) = known_copy(context, bytes, &volume, known)?;
    }
    Ok(volume)
}

/// Whether a volume lies where it lay, with the same file system.
fn is_same_place(known: &NewVolume, now: &NewVolume) -> bool {
    known.range == now.range && known.type_name == now.type_name && known.verdict == now.verdict
}

/// The bytes by which a volume is recognised: those of its file system, where a range of a container that pads its images, or of a generous partition,
/// goes on behind it. Discs are taken whole: what their descriptors say of their length is less than what can belong to their files.
pub(crate) fn content_range(volume: &NewVolume) -> Result<ByteRange, Error> {
    let layer = recorded_layer(volume)?;
    let file_systems = layer.map(|layer| layer.file_systems).unwrap_or_default();
    let size = match file_systems.as_slice() {
        [only] if !matches!(only.family, Family::Iso9660 | Family::Udf) => {
            only.facts.as_ref().map_or(0, |facts| facts.size_bytes)
        }
        _ => 0,
    };
    if size == 0 {
        return Ok(volume.range);
    }
    Ok(ByteRange::new(volume.range.offset, size.min(volume.range.len)))
}

/// What inspection recorded of a volume; `None` for directories, which have no layers. A record that cannot be read is an error: without it a volume
/// that lies in pieces would be taken for one range (R3).
pub(crate) fn recorded_layer(volume: &NewVolume) -> Result<Option<VolumeLayer>, Error> {
    if volume.type_name == DIRECTORY || volume.layer_json.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(&volume.layer_json)
        .map(Some)
        .map_err(|error| {
            let number = volume.number;
            Error::Scan(format!(
                "the recorded layer of volume {number} cannot be read: {error}"
            ))
        })
}

/// Where the bytes of a volume lie, if they are not one range of the image.
pub(crate) fn mapping(volume: &NewVolume) -> Result<Option<Mapping>, Error> {
    Ok(recorded_layer(volume)?.and_then(|layer| layer.mapping))
}

/// The digest by which a volume is recognised, wherever its bytes lie; `None` if some of them cannot be read.
pub(crate) fn digest_volume(
    context: &Context<'_>,
    bytes: &dyn ReadAt,
    volume: &NewVolume,
) -> Result<Option<ntt_model::BlobHash>, Error> {
    let content = content_range(volume)?;
    match mapping(volume)? {
        Some(mapping) => {
            let range = ByteRange::new(0, content.len);
            digest_range(&Mapped::new(bytes, mapping), range, context.interrupt)
        }
        None => digest_range(bytes, content, context.interrupt),
    }
}

/// Looks for a volume with the same bytes (R3). The digest is computed only when some known volume has the same file system, UUID and length.
fn known_copy(
    context: &Context<'_>,
    bytes: &dyn ReadAt,
    volume: &NewVolume,
    known: Option<&VolumeRow>,
) -> Result<(Option<ntt_model::BlobHash>, Option<VolumeKey>), Error> {
    let mut alike: Vec<VolumeRow> = alike(context.archive.catalogue(), volume)?;
    // No volume is a copy of itself as it was known before, nor of a copy: that has no scan, and what it was a copy of may be damaged by now.
    alike.retain(|row| row.volume.same_as.is_none() && known.is_none_or(|known| known.key != row.key));
    if alike.is_empty() {
        return Ok((None, None));
    }
    let digest = digest_volume(context, bytes, volume)?;
    alike.retain(|row| digest.is_some() && row.volume.digest == digest);
    for row in &alike {
        if !has_exclusions(context.archive.catalogue(), row)? {
            return Ok((digest, Some(row.key)));
        }
    }
    Ok((digest, None))
}

/// Whether rules keep contents of a volume out of the archive: they are those of its medium, and of no other that has the same bytes (R26).
fn has_exclusions(catalogue: &dyn Catalogue, volume: &VolumeRow) -> Result<bool, Error> {
    for scan in current_scans(catalogue, volume)? {
        let excluded = catalogue.census(scan.id)?.excluded;
        if excluded.iter().any(|(rule, _)| rule != NO_NAME) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn alike(catalogue: &dyn Catalogue, volume: &NewVolume) -> Result<Vec<VolumeRow>, Error> {
    let len = content_range(volume)?.len;
    let mut alike = Vec::new();
    for medium in standing_media(catalogue)? {
        for row in catalogue.volumes(medium.key)? {
            let known = &row.volume;
            let is_alike =
                known.digest.is_some() && known.type_name == volume.type_name && known.uuid == volume.uuid;
            if is_alike && content_range(known)?.len == len {
                alike.push(row);
            }
        }
    }
    Ok(alike)
}

/// The image is shorter than its tables or file systems say (R12).
fn incomplete(tree: &LayerTree) -> Option<Finding> {
    let missing = tree
        .expected_bytes
        .checked_sub(tree.image_bytes)
        .filter(|missing| *missing > 0)?;
    let detail = format!(
        "the image is incomplete: expected {} bytes, found {}, {missing} are missing",
        tree.expected_bytes, tree.image_bytes
    );
    Some(Finding::new(Severity::Loss, Layer::Image, FindingCode::BeyondEnd, detail).at(tree.image_bytes))
}

/// Says of what was found of the medium itself that it holds no longer, unless an inspection of more of it finds it still. What only reading shows is found again by reading.
pub(crate) fn make_good(
    catalogue: &dyn Catalogue,
    medium: &MediumRow,
    tree: &LayerTree,
) -> Result<(), Error> {
    let earlier = standing(catalogue.findings(medium.key)?).into_iter();
    let gone = earlier.filter(|row| row.scan.is_none() && !tree.findings.contains(&row.finding));
    let good: Vec<Finding> = gone.map(|row| row.finding.made_good()).collect();
    Ok(catalogue.add_findings(medium.key, None, &good)?)
}

/// Adds findings that the medium does not have yet: an inspection may be done again after an interruption.
pub(crate) fn add_new_findings(
    catalogue: &dyn Catalogue,
    medium: &MediumRow,
    findings: &[Finding],
) -> Result<(), Error> {
    let known = standing(catalogue.findings(medium.key)?);
    let new: Vec<Finding> = findings
        .iter()
        .filter(|finding| known.iter().all(|row| row.finding != **finding))
        .cloned()
        .collect();
    Ok(catalogue.add_findings(medium.key, None, &new)?)
}

fn evidence(tree: &LayerTree) -> Vec<Evidence> {
    let mut evidence = Vec::new();
    let mut add = |kind: &str, value: String, origin: String| {
        if !value.is_empty() {
            evidence.push(Evidence {
                kind: kind.to_owned(),
                value,
                origin,
            });
        }
    };
    for layer in &tree.containers {
        let origin = layer.files.first().cloned().unwrap_or_default();
        add("container", contained::description(layer), origin);
        let whole = layer
            .hashes
            .iter()
            .filter(|hash| hash.range == ByteRange::new(0, layer.image_bytes));
        for hash in whole {
            add(
                "stated-digest",
                format!("{} {}", hash.algorithm, hash.hex),
                layer.format.clone(),
            );
        }
        for (name, value) in &layer.facts {
            add("container-fact", format!("{name}: {value}"), layer.format.clone());
        }
    }
    for table in &tree.tables {
        add("table-id", table.id.clone(), table.scheme.clone());
    }
    for volume in &tree.volumes {
        let origin = format!("volume {}", volume.number);
        add("fs-uuid", uuid(volume), origin.clone());
        add("fs-label", label(volume), origin.clone());
        add("table-uuid", volume.table_uuid.clone(), origin);
    }
    evidence
}

/// The word that serialisation tags a verdict with.
fn verdict_word(verdict: &Verdict) -> String {
    let word = match verdict {
        Verdict::Readable => READABLE,
        Verdict::Empty { .. } => "empty",
        Verdict::Identified { .. } => "identified",
        Verdict::Table => "table",
        Verdict::Unknown { .. } => "unknown",
        Verdict::BeyondEnd => "beyond-end",
        Verdict::Unread => "unread",
        Verdict::SameAs { .. } => "same-as",
        _ => "other",
    };
    word.to_owned()
}

fn type_name(layer: &VolumeLayer) -> String {
    if let Verdict::Identified { type_name, .. } = &layer.verdict {
        return type_name.clone();
    }
    let name = |file_system: &FileSystemLayer| match &file_system.facts {
        Some(facts) => facts.type_name.clone(),
        None => format!("{:?}", file_system.family).to_lowercase(),
    };
    let names: Vec<String> = layer.file_systems.iter().map(name).collect();
    names.join("+")
}

fn label(layer: &VolumeLayer) -> String {
    let from_facts = layer
        .file_systems
        .iter()
        .filter_map(|file_system| file_system.facts.as_ref());
    let label = from_facts
        .map(|facts| facts.label.as_slice())
        .find(|label| !label.is_empty());
    match label {
        Some(label) => ntt_model::name::escape(label).into_owned(),
        None => layer.label.clone(),
    }
}

fn uuid(layer: &VolumeLayer) -> String {
    let from_facts = layer
        .file_systems
        .iter()
        .filter_map(|file_system| file_system.facts.as_ref());
    let uuid = from_facts.filter_map(|facts| facts.uuid.clone()).next();
    uuid.unwrap_or_else(|| layer.uuid.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R3: a volume in pieces whose record is damaged must not be recognised by the bytes of one range.
    #[test]
    fn r3_a_recorded_layer_that_cannot_be_read_is_an_error() {
        let volume = NewVolume {
            number: 7,
            range: ByteRange::new(0, 512),
            verdict: READABLE.to_owned(),
            type_name: "ext4".to_owned(),
            label: String::new(),
            uuid: String::new(),
            digest: None,
            same_as: None,
            layer_json: "{\"number\":".to_owned(),
        };
        let told = mapping(&volume).expect_err("it cannot be read").to_string();
        assert!(
            told.contains("the recorded layer of volume 7 cannot be read"),
            "{told}"
        );
        assert!(content_range(&volume).is_err());
        let folder = directory::volume(1, b"mnt").expect("a row");
        assert_eq!(content_range(&folder).expect("it has no layer"), folder.range);
    }
}
