//! Looking at a source before anything is decided.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use ntt_model::Timestamp;
use ntt_source::{FileSource, ReadAt};

use super::{Source, SourceKind, map};
use crate::image::{self, Contained, Opener};
use crate::{Error, HostPath};

/// Why there is no image in a container that is one.
fn nothing_in(contained: &Contained) -> String {
    let missing: Vec<&str> = contained
        .layers
        .iter()
        .flat_map(|layer| layer.missing.iter().map(String::as_str))
        .collect();
    match missing.first() {
        Some(first) if missing.len() == 1 => format!("the file that holds its image is missing: {first}"),
        Some(first) => format!(
            "{} files that hold its image are missing, the first {first}",
            missing.len()
        ),
        None => "the image in its container is empty (0 bytes)".to_owned(),
    }
}

impl Source {
    /// Looks at the source: kind, length, time, mapfile, and the containers of an image, with their files. Reads no content, unless it is compressed as a
    /// whole: then it is unpacked to a temporary file.
    ///
    /// # Errors
    ///
    /// [`Error::Source`] if it is missing, empty, unreadable or of another kind, or if its containers need what cannot be had.
    pub fn open(opener: &Opener<'_>, path: &Path) -> Result<Self, Error> {
        let mut source = look(path)?;
        if source.kind == SourceKind::Image {
            source.container = image::open(opener, source.path.as_path(), &source.unread)?;
        }
        if let Some(contained) = &source.container
            && let Some(len) = contained.kept.0.as_ref().map(|image| image.len())
        {
            if len == 0 {
                return Err(Error::Source {
                    path: path.to_owned(),
                    reason: nothing_in(contained),
                });
            }
            source.size_bytes = len;
            source.modified = newest(&source);
            // They are bytes of the container's file, and known to whoever reads from it.
            source.unread = Vec::new();
        }
        Ok(source)
    }

    /// As [`Source::open`] without its containers: kind, length, time and mapfile of the file.
    ///
    /// # Errors
    ///
    /// [`Error::Source`] if it is missing, empty, unreadable or of another kind.
    pub fn look(path: &Path) -> Result<Self, Error> {
        look(path)
    }
}

fn look(path: &Path) -> Result<Source, Error> {
    let refuse = |reason: &str| Error::Source {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let absolute = std::fs::canonicalize(path).map_err(|error| refuse(&plain(&error)))?;
    let metadata = std::fs::metadata(&absolute).map_err(|error| refuse(&plain(&error)))?;
    let file_type = metadata.file_type();
    if file_type.is_dir() {
        std::fs::read_dir(&absolute).map_err(|error| refuse(&plain(&error)))?;
        Ok(directory(&absolute, &metadata))
    } else if file_type.is_file() || file_type.is_block_device() {
        image_file(&absolute, &metadata, &refuse)
    } else {
        Err(refuse("neither an image, nor a block device, nor a directory"))
    }
}

fn directory(path: &Path, metadata: &Metadata) -> Source {
    Source {
        path: path.into(),
        kind: SourceKind::Directory,
        size_bytes: 0,
        modified: modified(metadata),
        mapfile: None,
        unread: Vec::new(),
        container: None,
        members: Vec::new(),
        notes: Vec::new(),
        devices: Vec::new(),
    }
}

fn image_file(path: &Path, metadata: &Metadata, refuse: &dyn Fn(&str) -> Error) -> Result<Source, Error> {
    let file = FileSource::open(path).map_err(|error| refuse(&plain(&error)))?;
    if file.is_empty() {
        return Err(refuse("the source is empty (0 bytes)"));
    }
    let mut byte = [0];
    file.read_exact_at(0, &mut byte)
        .or_else(|_| file.read_exact_at(file.len() - 1, &mut byte))
        .map_err(|error| refuse(&format!("cannot be read: {error}")))?;
    let path = HostPath::from(path);
    let map = map::beside(&path, file.len())?;
    Ok(Source {
        path,
        kind: SourceKind::Image,
        size_bytes: file.len(),
        modified: modified(metadata),
        mapfile: map.path,
        unread: map.unread,
        container: None,
        members: Vec::new(),
        notes: map.notes,
        devices: Vec::new(),
    })
}

/// When the newest of the files was modified that the image lies in: with any of them, the image changes.
fn newest(source: &Source) -> Option<Timestamp> {
    let companions = source
        .container
        .iter()
        .flat_map(|contained| &contained.companions);
    let times = companions.filter_map(|path| modified(&std::fs::metadata(path.as_path()).ok()?));
    times.chain(source.modified).max()
}

fn modified(metadata: &Metadata) -> Option<Timestamp> {
    Timestamp::from_parts(metadata.mtime(), u32::try_from(metadata.mtime_nsec()).ok()?)
}

/// The system's message without the number.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
