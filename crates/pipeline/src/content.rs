//! The bytes of a medium, opened read-only (R21).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use ntt_catalogue::rows::{Image, MediumKind, MediumRow};
use ntt_inspect::live::LiveTree;
use ntt_source::{FileSource, Masked, ReadAt};

use crate::identify::{self, Source, SourceKind};
use crate::{Archive, Context, Error, rescue};

/// An image with its unread ranges masked (R11).
pub(crate) type MaskedImage = Masked<FileSource>;

/// Opens the image of a source.
pub(crate) fn open_image(source: &Source) -> Result<MaskedImage, Error> {
    let path = source.path.as_path();
    let file = FileSource::open(path).map_err(|error| Error::Source {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(Masked::new(file, source.unread.clone()))
}

/// Opens the tree of a directory source, or the one that is mounted in it at `mount_point`.
pub(crate) fn open_tree(source: &Source, mount_point: &[u8]) -> Result<LiveTree, Error> {
    let path = source.path.as_path();
    let opened = LiveTree::open(path).and_then(|tree| match mount_point {
        [] => Ok(tree),
        below => tree.subtree(below),
    });
    opened.map_err(|error| {
        Error::io(
            "opening the directory",
            &path.join(OsStr::from_bytes(mount_point)),
        )(error)
    })
}

/// Opens the source of a medium again where it was last seen (as this host has it), and makes sure that it is still the same bytes. If more of
/// them was rescued meanwhile, the medium's record is renewed.
pub(crate) fn source_of(context: &Context<'_>, medium: &MediumRow) -> Result<Source, Error> {
    let image = image_row(context.archive, medium)?;
    let source = Source::open(&place_of(context, medium, &image))?;
    let refuse = |reason: &str| {
        Err(Error::Source {
            path: source.path.as_path().to_owned(),
            reason: reason.to_owned(),
        })
    };
    match (medium.medium.kind, source.kind) {
        (MediumKind::Directory, SourceKind::Directory) => Ok(source),
        (MediumKind::Image, SourceKind::Image) => {
            let is_ours = image.imported && image.unread != source.unread;
            if is_ours || identify::is_rescued_further(&image, &source, context.interrupt)? {
                let image = identify::rescued_further(&image, &source);
                context.archive.catalogue().set_image(medium.key, &image)?;
            } else if source.size_bytes != image.size_bytes
                || (source.modified != image.modified && !image.imported)
            {
                return refuse("changed since it was identified; ingest it again");
            }
            Ok(source)
        }
        _ => refuse("is not what it was when the medium was identified"),
    }
}

/// The path of a medium's bytes on this host. An image that lies in the archive goes where the archive goes.
fn place_of(context: &Context<'_>, medium: &MediumRow, image: &Image) -> PathBuf {
    let archive = context.archive;
    if image.imported {
        rescue::paths(archive.root(), medium.medium.id).image
    } else {
        context.config.path_map.value.local(&image.path)
    }
}

/// Where the bytes of a medium lie.
pub(crate) fn image_row(archive: &Archive, medium: &MediumRow) -> Result<Image, Error> {
    archive.catalogue().image(medium.key)?.ok_or_else(|| {
        Error::Refused(format!(
            "nothing is recorded of where medium {} lies",
            medium.medium.id
        ))
    })
}

/// Length of a source as the progress of a sequential read counts it.
pub(crate) fn len_of(image: &MaskedImage) -> u64 {
    ReadAt::len(image)
}
