//! Sets: media that several images make together, each of which is a medium of its own.
//!
//! A set has no bytes of its own. It names its images by their ids, in an order that never changes: the addresses of its volumes count on it (see
//! [`ntt_model::space`]).

use ntt_catalogue::Catalogue;
use ntt_catalogue::rows::{Evidence, MediumKind, MediumRow};
use ntt_model::MediumId;
use ntt_model::space::member_base;

use crate::identify::{Source, SourceKind};
use crate::{Error, HostPath};

/// The address of the first byte of image `number` of a set.
pub(crate) fn base(number: u32) -> Result<u64, Error> {
    member_base(number).ok_or_else(|| Error::Refused(format!("a set cannot have {number} images")))
}

/// The source that several images make.
pub(crate) fn source(members: Vec<Source>) -> Source {
    let names = members.iter().map(|member| {
        let name = member.path.as_path().file_name().unwrap_or_default();
        name.as_encoded_bytes().to_vec()
    });
    let name = names.collect::<Vec<_>>().join(b" + ".as_slice());
    let sizes = members.iter().map(|member| member.size_bytes);
    Source {
        path: HostPath::from_bytes(&name),
        kind: SourceKind::Set,
        size_bytes: sizes.fold(0, u64::saturating_add),
        modified: None,
        mapfile: None,
        unread: Vec::new(),
        container: None,
        members,
        notes: Vec::new(),
        devices: Vec::new(),
    }
}

/// The images of a set, in the order of their numbers.
pub(crate) fn members(catalogue: &dyn Catalogue, set: &MediumRow) -> Result<Vec<MediumRow>, Error> {
    let ids = member_ids(&catalogue.evidence(set.key)?);
    let media = catalogue.media()?;
    let members = ids.iter().map(|id| {
        let row = media.iter().find(|row| row.medium.id.to_string() == *id);
        row.cloned().ok_or_else(|| {
            Error::Refused(format!(
                "the set {} has the image {id}, which the archive does not know",
                set.medium.id
            ))
        })
    });
    members.collect()
}

/// The ids of the images in the evidence of a set, in the order of their numbers.
fn member_ids(evidence: &[Evidence]) -> Vec<String> {
    let numbered = |piece: &Evidence| Some((piece.image_number()?, piece.value.clone()));
    let mut numbered: Vec<(u32, String)> = evidence.iter().filter_map(numbered).collect();
    numbered.sort();
    numbered.into_iter().map(|(_, id)| id).collect()
}

/// The set of exactly these images, if the archive has it, with their ids in its order.
pub(crate) fn find(
    catalogue: &dyn Catalogue,
    images: &[MediumId],
) -> Result<Option<(MediumRow, Vec<String>)>, Error> {
    let wanted = evidence(images);
    for (key, shared) in catalogue.media_with_evidence(&wanted)? {
        let row = catalogue.medium(key)?;
        if row.medium.kind != MediumKind::Set || shared.len() != images.len() {
            continue;
        }
        let ids = member_ids(&catalogue.evidence(key)?);
        if ids.len() == images.len() {
            return Ok(Some((row, ids)));
        }
    }
    Ok(None)
}

/// The evidence that names the images of a set.
pub(crate) fn evidence(images: &[MediumId]) -> Vec<Evidence> {
    (1..)
        .zip(images)
        .map(|(number, id)| Evidence::member(number, *id))
        .collect()
}
