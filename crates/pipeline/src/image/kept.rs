//! Images that are open now, so that the stages of a run share them.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ntt_model::ByteRange;

use super::OpenImage;

/// Which file, and as it was when it was opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Key {
    path: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    unread: Vec<ByteRange>,
}

impl Key {
    pub(super) fn of(path: &Path, file: &File, unread: &[ByteRange]) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            unread: unread.to_vec(),
        })
    }
}

/// The open image of a source. Two sources are equal whether they hold one or not: it is a matter of convenience, not of identity.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(pub(crate) Option<Arc<OpenImage>>);

impl PartialEq for Kept {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Kept {}

/// What sources of this process hold open. Each is dropped with the last source that holds it, and its temporary file with it.
static OPEN: Mutex<Vec<(Key, Weak<OpenImage>)>> = Mutex::new(Vec::new());

pub(super) fn find(key: &Key) -> Option<Arc<OpenImage>> {
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.iter()
        .find(|(known, _)| known == key)
        .and_then(|(_, image)| image.upgrade())
}

pub(super) fn keep(key: Key, image: OpenImage) -> Arc<OpenImage> {
    let image = Arc::new(image);
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.retain(|(_, image)| image.strong_count() > 0);
    open.push((key, Arc::downgrade(&image)));
    image
}
