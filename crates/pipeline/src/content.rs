//! The bytes of a medium, opened read-only (R21).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use ntt_catalogue::rows::{Image, MediumKind, MediumRow};
use ntt_inspect::ImageFiles;
use ntt_inspect::live::LiveTree;
use ntt_inspect::supervisor::ChildImage;
use ntt_source::{FileSource, Masked, ReadAt, ReadError};

use crate::identify::{self, Source, SourceKind};
use crate::image::OpenImage;
use crate::{Archive, Context, Error, rescue};

/// The bytes of an image.
pub(crate) enum ImageBytes {
    /// Of a raw one, with its unread ranges masked (R11): read here.
    Raw(Masked<FileSource>),
    /// Of one in containers: read in a child.
    Contained(Box<ChildImage>),
}

impl ReadAt for ImageBytes {
    fn len(&self) -> u64 {
        match self {
            Self::Raw(image) => image.len(),
            Self::Contained(image) => image.len(),
        }
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        match self {
            Self::Raw(image) => image.read_exact_at(offset, buffer),
            Self::Contained(image) => image.read_exact_at(offset, buffer),
        }
    }
}

/// Opens the image of a source.
pub(crate) fn open_image(source: &Source) -> Result<ImageBytes, Error> {
    match open_containers(source)? {
        Some(image) => Ok(ImageBytes::Contained(Box::new(image.bytes()))),
        None => Ok(ImageBytes::Raw(Masked::new(
            open_file(source)?,
            source.unread.clone(),
        ))),
    }
}

/// The files of the image of a source, as children are given them.
pub(crate) fn image_files(source: &Source) -> Result<ImageFiles, Error> {
    if let Some(image) = open_containers(source)? {
        return Ok(image.files().clone());
    }
    let file = open_file(source)?.as_file().try_clone();
    let file = file.map_err(Error::io("opening the image", source.path.as_path()))?;
    Ok(ImageFiles::raw(Arc::new(file), source.unread.clone()))
}

/// The open containers of a source; `None` if it is raw.
fn open_containers(source: &Source) -> Result<Option<Arc<OpenImage>>, Error> {
    let Some(contained) = &source.container else {
        return Ok(None);
    };
    let reason = || Error::Source {
        path: source.path.as_path().to_owned(),
        reason: "its containers are not open".to_owned(),
    };
    contained.kept.0.clone().ok_or_else(reason).map(Some)
}

fn open_file(source: &Source) -> Result<FileSource, Error> {
    let path = source.path.as_path();
    FileSource::open(path).map_err(|error| Error::Source {
        path: path.to_owned(),
        reason: error.to_string(),
    })
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
    let source = Source::open(&context.opener(), &place_of(context, medium, &image))?;
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
