//! The bytes of a medium, opened read-only (R21).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ntt_catalogue::rows::{Image, MediumKind, MediumRow};
use ntt_inspect::ImageFiles;
use ntt_inspect::live::LiveTree;
use ntt_model::{Device, Severity};
use ntt_source::{FileSource, Masked, ReadAt, ReadError, Space};

use crate::identify::{self, Rescan, Root, Source, SourceKind};
use crate::image::OpenImage;
use crate::{Archive, Context, Error, Event, inspect, rescue, set};

/// The bytes of an image, or of the images of a set.
pub(crate) struct ImageBytes {
    bytes: Box<dyn ReadAt>,
    /// Whether some of them lie in containers and are read in a child; those of raw images are read here, with the unread ranges masked (R11).
    pub(crate) is_contained: bool,
}

impl ReadAt for ImageBytes {
    fn len(&self) -> u64 {
        self.bytes.len()
    }

    fn end_of(&self, offset: u64) -> u64 {
        self.bytes.end_of(offset)
    }

    fn zeros_until(&self, offset: u64) -> u64 {
        self.bytes.zeros_until(offset)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.bytes.read_exact_at(offset, buffer)
    }
}

/// Opens the image of a source, or its images, with its devices.
pub(crate) fn open_image(source: &Source) -> Result<ImageBytes, Error> {
    if source.kind != SourceKind::Set && source.devices.is_empty() {
        return open_one(source);
    }
    let mut images = Vec::new();
    if source.kind == SourceKind::Set {
        for (number, member) in (1..).zip(&source.members) {
            images.push((set::base(number)?, open_one(member)?));
        }
    } else {
        images.push((0, open_one(source)?));
    }
    Ok(ImageBytes {
        is_contained: images.iter().any(|(_, image)| image.is_contained),
        bytes: Box::new(Space::new(images, source.devices.clone())),
    })
}

fn open_one(source: &Source) -> Result<ImageBytes, Error> {
    Ok(match open_containers(source)? {
        Some(image) => ImageBytes {
            bytes: Box::new(image.bytes()),
            is_contained: true,
        },
        None => ImageBytes {
            bytes: Box::new(Masked::new(open_file(source)?, source.unread.clone())),
            is_contained: false,
        },
    })
}

/// The files of the image of a source, or of its images, as children are given them.
pub(crate) fn image_files(source: &Source) -> Result<ImageFiles, Error> {
    let files = match source.kind {
        SourceKind::Set => {
            let images = source
                .members
                .iter()
                .map(files_of_one)
                .collect::<Result<_, _>>()?;
            ImageFiles::set(images).ok_or_else(|| Error::Refused("a set without images".to_owned()))?
        }
        SourceKind::Image | SourceKind::Directory => files_of_one(source)?,
    };
    Ok(ImageFiles {
        devices: source.devices.clone(),
        ..files
    })
}

fn files_of_one(source: &Source) -> Result<ImageFiles, Error> {
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
/// them was rescued meanwhile, the medium's record is renewed. A set is opened through the media that it is made of.
pub(crate) fn source_of(context: &Context<'_>, medium: &MediumRow) -> Result<Source, Error> {
    let source = match medium.medium.kind {
        MediumKind::Set => set::source(members_of(context, medium)?),
        MediumKind::Image | MediumKind::Directory => source_of_one(context, medium)?,
    };
    let mut devices = Vec::new();
    for row in context.archive.catalogue().volumes(medium.key)? {
        let mapping = inspect::mapping(&row.volume)?;
        devices.extend(mapping.and_then(|mapping| Device::of(row.volume.number, &mapping)));
    }
    devices.sort_unstable_by_key(|device| device.base);
    Ok(Source { devices, ..source })
}

/// The images of a set, opened again.
fn members_of(context: &Context<'_>, set: &MediumRow) -> Result<Vec<Source>, Error> {
    let members = set::members(context.archive.catalogue(), set)?;
    members
        .iter()
        .map(|member| source_of_one(context, member))
        .collect()
}

fn source_of_one(context: &Context<'_>, medium: &MediumRow) -> Result<Source, Error> {
    let image = image_row(context.archive, medium)?;
    let mut source = Source::open(&context.opener(), &place_of(context, medium, &image))?;
    let told = identify::keep_unread(context.archive.catalogue(), medium.key, &image, &mut source)?;
    if let Some(text) = told {
        context.observer.event(&Event::Message {
            severity: Severity::Warning,
            text: format!("{}: {text}", source.path),
        });
    }
    let refuse = |reason: &str| {
        Err(Error::Source {
            path: source.path.as_path().to_owned(),
            reason: reason.to_owned(),
        })
    };
    match (medium.medium.kind, source.kind) {
        (MediumKind::Directory, SourceKind::Directory) => {
            let evidence = context.archive.catalogue().evidence(medium.key)?;
            if identify::can_be_root(&evidence, &Root::at(source.path.as_path())?) {
                return Ok(source);
            }
            Err(another_directory(source.path.as_path()))
        }
        (MediumKind::Image, SourceKind::Image) => {
            // What lies in the archive was rescued further by whoever has it; a map that says less than was known is another matter.
            let is_ours = image.imported && Rescan::of(&image.unread, &source.unread) == Rescan::Carrying;
            if is_ours || identify::is_rescued_further(&image, &source, context.interrupt)? {
                let catalogue = context.archive.catalogue();
                if image.unread != source.unread {
                    identify::note_change(catalogue, medium.key, &image.unread, &source.unread)?;
                }
                catalogue.set_image(medium.key, &identify::rescued_further(&image, &source))?;
            } else if identify::is_less_rescued(&image, &source, context.interrupt)? {
                return refuse("its map says that less of it was rescued than was known; ingest it again");
            } else if let Some(reason) = changed_files(context, medium, &image, &source)? {
                return refuse(&reason);
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

/// Another directory stands where a medium was, or where one is mounted in it.
pub(crate) fn another_directory(path: &Path) -> Error {
    Error::Source {
        path: path.to_owned(),
        reason: "this is not the directory that was taken in, though it has its place: is the file system mounted, and does `path_map` lead to it?".to_owned(),
    }
}

/// What of the files of an image in a container is not as it was, and what to do.
fn changed_files(
    context: &Context<'_>,
    medium: &MediumRow,
    image: &Image,
    source: &Source,
) -> Result<Option<String>, Error> {
    let evidence = context.archive.catalogue().evidence(medium.key)?;
    Ok(identify::changed_files(image, &evidence, source))
}

/// The path of a medium's bytes on this host. An image that lies in the archive goes where the archive goes.
pub(crate) fn place_of(context: &Context<'_>, medium: &MediumRow, image: &Image) -> PathBuf {
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
