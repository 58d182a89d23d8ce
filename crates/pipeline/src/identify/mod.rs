//! What is this source, and is it a medium that the archive knows? (R1 to R4)
//!
//! Evidence that two media share only makes them worth comparing. Two images are the same medium when every byte is: the
//! whole-image digest, known since the first ingest verified, decides (R3). An ingest that never got that far is resumed when path, size and time are
//! unchanged, or when size, time and samples are and the file is gone from its path. A directory is the same when its root is the same inode, born at the same time, of the same file system.

mod digest;
mod evidence;
mod files;
mod look;
mod lost_map;
mod map;
mod old_id;
mod recognise;
mod root;
mod source;
mod stated;
mod unread;

use std::path::Path;

use ntt_catalogue::Catalogue;
use ntt_catalogue::rows::{Evidence, Image, MediumKind, MediumRow, NewMedium, Withdrawal};
use ntt_host::{Random, SystemRandom};
use ntt_inspect::live::Place;
use ntt_model::{ByteRange, Device, Finding, MediumId, MediumKey, Severity, Timestamp};
use serde::{Deserialize, Serialize};

pub use look::{Alike, Identification, look};
pub use old_id::OldIds;

pub(crate) use digest::{Digests, digest_image, digest_range};
pub(crate) use evidence::IMAGE_DIGEST;
pub(crate) use files::changed_files;
pub(crate) use lost_map::keep_unread;
pub(crate) use recognise::{has_more_files, is_less_rescued, is_rescued_further};
pub(crate) use root::Root;
pub(crate) use stated::{Outcome as StatedOutcome, StatedDigests};
pub(crate) use unread::{Rescan, note_change};

use crate::image::{Contained, Opener};
use crate::stage::{Running, Subject};
use crate::{Archive, Context, Error, Event, HostPath, Interrupt, RunOutcome, Stage};

/// What sort of source it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// A regular file or block device that holds an image, raw or in containers.
    Image,
    /// A directory tree of this host.
    Directory,
    /// Several images, and what they make together.
    Set,
}

/// A source that can be read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Source {
    /// Absolute path.
    pub path: HostPath,
    /// What it is.
    pub kind: SourceKind,
    /// Length of the image in bytes, without its containers; 0 for a directory.
    pub size_bytes: u64,
    /// When it was last modified.
    pub modified: Option<Timestamp>,
    /// The mapfile beside the image, if there is one (R11).
    pub mapfile: Option<HostPath>,
    /// Ranges of the image that were never rescued; of a raw one only.
    pub unread: Vec<ByteRange>,
    /// The containers that the image lies in; `None` for a raw one and for a directory.
    pub container: Option<Contained>,
    /// The images of a set, in the order of their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Self>,
    /// What was noticed of the files beside the image; the medium's inspection tells it.
    #[serde(skip)]
    pub(crate) notes: Vec<Finding>,
    /// Volumes of the medium that are read as devices, once they are known.
    #[serde(skip)]
    pub(crate) devices: Vec<Device>,
}

/// Whether the archive knows the medium, and why we think so.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "recognition", rename_all = "kebab-case")]
pub enum Recognition {
    /// Never seen.
    New,
    /// Seen, and its ingest is not finished: it goes on.
    Resume {
        /// The medium's key.
        key: MediumKey,
        /// The medium's id.
        medium: MediumId,
        /// Why it is the same.
        why: String,
    },
    /// Seen before: equal to the byte for an image, the same root for a directory.
    Known {
        /// The medium's key.
        key: MediumKey,
        /// The medium's id.
        medium: MediumId,
        /// Why it is the same.
        why: String,
    },
}

impl Recognition {
    /// The medium that the source is, if the archive has it.
    pub(crate) fn key(&self) -> Option<MediumKey> {
        match self {
            Self::New => None,
            Self::Resume { key, .. } | Self::Known { key, .. } => Some(*key),
        }
    }

    /// Why the source is a medium that the archive has; `None` for a new one.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::New => None,
            Self::Resume { why, .. } | Self::Known { why, .. } => Some(why),
        }
    }

    pub(crate) fn add_to_why(&mut self, more: &str) {
        if let Self::Resume { why, .. } | Self::Known { why, .. } = self {
            *why = format!("{why}; {more}");
        }
    }
}

/// What identification found; nothing has been written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IdentifyPlan {
    /// The source.
    pub source: Source,
    /// Evidence of its identity.
    pub evidence: Vec<Evidence>,
    /// Whether it is known.
    #[serde(flatten)]
    pub recognition: Recognition,
}

/// An archive does not take itself in: it would grow by itself at every ingest.
fn refuse_archive(archive: &Archive, source: &Source) -> Result<(), Error> {
    let (root, path) = (archive.root(), source.path.as_path());
    if source.kind != SourceKind::Directory {
        return Ok(());
    }
    let place = |path: &Path| Place::of(path).map_err(Error::io("examining", path));
    if place(root)? != place(path)? {
        return Ok(());
    }
    Err(Error::Source {
        path: path.to_owned(),
        reason: "it is the archive itself".to_owned(),
    })
}

/// That a source is a medium which a person has withdrawn, if it is one that the archive knows.
///
/// # Errors
///
/// When the catalogue fails.
pub(crate) fn withdrawal(
    archive: Option<&Archive>,
    recognition: &Recognition,
) -> Result<Option<Withdrawal>, Error> {
    match (archive, recognition.key()) {
        (Some(archive), Some(key)) => Ok(archive.catalogue().medium(key)?.withdrawn),
        _ => Ok(None),
    }
}

/// A medium that is withdrawn is not taken in again: a person has said that it is none, and says so if it is one after all (R5). It is no new medium either, since it would be known
/// twice then (R3).
pub(crate) fn refuse_withdrawn(
    archive: Option<&Archive>,
    path: &Path,
    recognition: &Recognition,
) -> Result<(), Error> {
    let (Recognition::Resume { medium, .. } | Recognition::Known { medium, .. }) = recognition else {
        return Ok(());
    };
    match withdrawal(archive, recognition)? {
        None => Ok(()),
        Some(withdrawal) => Err(Error::Withdrawn {
            path: path.to_owned(),
            medium: *medium,
            withdrawal,
        }),
    }
}

/// Looks at a source and asks the archive (if there is one) whether it knows it. Reads the whole image only when there is a medium
/// with equal evidence to compare it with.
///
/// # Errors
///
/// [`Error::Source`] if it is missing, empty, unreadable, or of a kind that cannot be ingested; nothing is then written (R4).
pub fn plan(archive: Option<&Archive>, source: &Path, opener: &Opener<'_>) -> Result<IdentifyPlan, Error> {
    let interrupt = opener.interrupt;
    let source = Source::open(opener, source)?;
    if let Some(archive) = archive {
        refuse_archive(archive, &source)?;
    }
    let evidence = evidence::gather(&source, interrupt)?;
    let mut plan = IdentifyPlan {
        source,
        evidence,
        recognition: Recognition::New,
    };
    if let Some(archive) = archive {
        let catalogue = archive.catalogue();
        plan.recognition = recognise::recognise(catalogue, &plan.source, &plan.evidence, interrupt)?;
        plan.keep_unread(catalogue, interrupt)?;
    }
    Ok(plan)
}

impl IdentifyPlan {
    /// Whether more of the medium was rescued than the source has: then the medium's own image is the one to go on with. A source that is known as it is has the unread bytes that are on
    /// record otherwise.
    pub(crate) fn is_superseded(&self, catalogue: &dyn Catalogue) -> Result<bool, Error> {
        let (Recognition::Known { key, .. }, SourceKind::Image) = (&self.recognition, self.source.kind)
        else {
            return Ok(false);
        };
        let known = catalogue.image(*key)?;
        Ok(known.is_some_and(|known| known.unread != self.source.unread))
    }

    /// What is on record as unread stays so if the mapfile is gone (R11); then evidence is what the rest of the bytes tells.
    fn keep_unread(&mut self, catalogue: &dyn Catalogue, interrupt: &Interrupt) -> Result<(), Error> {
        let Some(key) = self.recognition.key() else {
            return Ok(());
        };
        let Some(known) = catalogue.image(key)? else {
            return Ok(());
        };
        if let Some(told) = lost_map::keep_unread(catalogue, key, &known, &mut self.source)? {
            self.evidence = evidence::gather(&self.source, interrupt)?;
            self.recognition.add_to_why(&told);
        }
        Ok(())
    }
}

/// Adds the medium with its evidence and the place of its bytes, or finds the known one. `label` is the human's words (R5): an
/// earlier label is never replaced by a rerun without one.
///
/// # Errors
///
/// When the catalogue fails.
pub fn run(context: &Context<'_>, plan: &IdentifyPlan, label: Option<&str>) -> Result<MediumRow, Error> {
    let stage = Running::start(context.observer, Stage::Identify, Subject::NOTHING);
    let catalogue = context.archive.catalogue();
    let mut detail = plan.recognition.why().unwrap_or("new medium").to_owned();
    let key = match &plan.recognition {
        Recognition::New => {
            tell_alike(context, plan)?;
            add(context, plan, label)?
        }
        Recognition::Resume { key, .. } | Recognition::Known { key, .. } => {
            // The log is where a second copy of a medium stays visible: a path is no evidence.
            if let Some(elsewhere) = elsewhere(catalogue, plan, *key)? {
                detail = format!("{elsewhere}: {detail}");
            }
            relocate(context, plan, *key)?;
            relabel(context, *key, label)?;
            catalogue.add_evidence(*key, &plan.evidence)?;
            *key
        }
    };
    let medium = catalogue.medium(key)?;
    stage.add(1, plan.source.size_bytes);
    stage.end_logged(catalogue, Some(&medium), RunOutcome::Complete, detail)?;
    Ok(medium)
}

/// Gives a known medium the words of a person, if there are any, and says which it had (R5).
pub(crate) fn relabel(context: &Context<'_>, key: MediumKey, label: Option<&str>) -> Result<(), Error> {
    let catalogue = context.archive.catalogue();
    let medium = catalogue.medium(key)?.medium;
    let Some(label) = label.filter(|label| *label != medium.label) else {
        return Ok(());
    };
    catalogue.set_label(key, label)?;
    if !medium.label.is_empty() {
        let text = format!(
            "medium {} is labelled `{label}` now; it was `{}`",
            medium.id, medium.label
        );
        let severity = Severity::Warning;
        context.observer.event(&Event::Message { severity, text });
    }
    Ok(())
}

/// Tells of a medium that may be the same, but of which too little is known: its ingest was not finished, and the time of its file is another, or the file is still where it was.
fn tell_alike(context: &Context<'_>, plan: &IdentifyPlan) -> Result<(), Error> {
    let catalogue = context.archive.catalogue();
    for (key, shared) in catalogue.media_with_evidence(&plan.evidence)? {
        let known = catalogue.image(key)?;
        let is_unfinished = known.is_some_and(|image| {
            image.digest.is_none() && !image.imported && image.size_bytes == plan.source.size_bytes
        });
        if !is_unfinished || !shared.iter().any(|piece| piece.kind == evidence::SAMPLED) {
            continue;
        }
        let medium = catalogue.medium(key)?;
        let text = format!(
            "{} looks like medium {} ({}), whose ingest was not finished; as too little is known of that, it becomes a medium of its own; what is equal: ntt identify {}",
            plan.source.path,
            medium.medium.id,
            crate::stage::display_name(&medium),
            plan.source.path
        );
        let severity = Severity::Warning;
        context.observer.event(&Event::Message { severity, text });
    }
    Ok(())
}

/// The path of a source that was found in another place than the one on record.
fn elsewhere(
    catalogue: &dyn Catalogue,
    plan: &IdentifyPlan,
    key: MediumKey,
) -> Result<Option<String>, Error> {
    let now = image_row(&plan.source).path;
    let is_other = catalogue.image(key)?.is_some_and(|known| known.path != now);
    Ok((is_other && !now.is_empty()).then(|| ntt_model::name::escape(&now).into_owned()))
}

/// Adds a new medium with its evidence and the place of its bytes.
pub(crate) fn add(
    context: &Context<'_>,
    plan: &IdentifyPlan,
    label: Option<&str>,
) -> Result<MediumKey, Error> {
    let mut id = [0; 16];
    SystemRandom
        .fill(&mut id)
        .map_err(Error::io("asking for randomness", plan.source.path.as_path()))?;
    let name = plan.source.path.as_path().file_name().unwrap_or_default();
    let medium = NewMedium {
        id: MediumId::from_bytes(id),
        kind: match plan.source.kind {
            SourceKind::Image => MediumKind::Image,
            SourceKind::Directory => MediumKind::Directory,
            SourceKind::Set => MediumKind::Set,
        },
        label: label.unwrap_or_default().to_owned(),
        source_name: ntt_model::name::escape(name.as_encoded_bytes()).into_owned(),
    };
    let (catalogue, image) = (context.archive.catalogue(), image_row(&plan.source));
    Ok(catalogue.add_medium(&medium, Some(&image), &plan.evidence)?)
}

fn image_row(source: &Source) -> Image {
    let path = match source.kind {
        SourceKind::Image | SourceKind::Directory => source.path.as_bytes(),
        SourceKind::Set => b"",
    };
    Image {
        path: path.to_vec(),
        imported: false,
        size_bytes: source.size_bytes,
        modified: source.modified,
        digest: None,
        mapfile: source.mapfile.as_ref().map(|path| path.as_bytes().to_vec()),
        unread: source.unread.clone(),
        expected_bytes: source.size_bytes,
    }
}

/// The image's row after more of it was rescued.
pub(crate) fn rescued_further(earlier: &Image, source: &Source) -> Image {
    Image {
        imported: earlier.imported,
        expected_bytes: earlier.expected_bytes,
        ..image_row(source)
    }
}

/// Whether the directory that was found at the place of a medium can be the one that was taken in; `evidence` is what is on record.
pub(crate) fn can_be_root(evidence: &[Evidence], now: &Root) -> bool {
    let mut known = evidence
        .iter()
        .filter(|piece| piece.kind == evidence::ROOT)
        .peekable();
    known.peek().is_none() || known.any(|piece| now.can_be(&piece.value))
}

/// Notes where the bytes lie now if they are not where they were. What is known of them stays, unless more of them was rescued: then the
/// digest is to be taken again.
fn relocate(context: &Context<'_>, plan: &IdentifyPlan, key: MediumKey) -> Result<(), Error> {
    let catalogue = context.archive.catalogue();
    let now = image_row(&plan.source);
    let Some(earlier) = catalogue.image(key)? else {
        return Ok(catalogue.set_image(key, &now)?);
    };
    if earlier.unread != now.unread {
        unread::note_change(catalogue, key, &earlier.unread, &now.unread)?;
        return Ok(catalogue.set_image(key, &rescued_further(&earlier, &plan.source))?);
    }
    if has_more_files(catalogue, key, &earlier, &plan.source)? {
        unread::note_more_files(catalogue, key)?;
        return Ok(catalogue.set_image(key, &rescued_further(&earlier, &plan.source))?);
    }
    // Its containers need not be opened for that.
    let still_there = Source::look(&context.config.path_map.value.local(&earlier.path))
        .is_ok_and(|source| source.modified == earlier.modified);
    let moved = earlier.path != now.path && !still_there;
    let touched = earlier.path == now.path && earlier.modified != now.modified;
    if moved || touched {
        catalogue.set_image(
            key,
            &Image {
                path: now.path,
                modified: now.modified,
                // One that is gone stays on record: its image is not one that never had a map.
                mapfile: now.mapfile.or(earlier.mapfile.clone()),
                ..earlier
            },
        )?;
    }
    Ok(())
}
