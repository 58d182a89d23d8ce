//! Placeholder until the reader is written.

use ntt_source::ReadAt;

use crate::{Candidate, Error, FileSystem, VolumeSource};

/// Recognises the family.
pub fn probe(_source: &dyn ReadAt) -> Option<Candidate> {
    None
}

/// Opens a volume of the family.
///
/// # Errors
///
/// See [`crate::open`].
pub fn open<'a>(_source: VolumeSource<'a>, _image_offset: u64) -> Result<Box<dyn FileSystem + 'a>, Error> {
    Err(Error::Unsupported("iso9660".to_owned()))
}
