//! The extended attributes of something that is restored.

use ntt_catalogue::rows::StreamState;
use ntt_model::BlobHash;
use ntt_model::entry::{Inode, StreamKind, Xattr};
use ntt_model::name::escape;

use super::Restorer;
use super::content::{DAMAGED, content_of};
use crate::{Error, xattr};

impl Restorer<'_> {
    /// All extended attributes of an inode, also those that are too big to travel with it. What cannot be given is told.
    pub(super) fn xattrs(&mut self, path: &[u8], inode: &Inode) -> Result<Vec<Xattr>, Error> {
        let mut xattrs = inode.xattrs.clone();
        if !xattr::has_large(inode) {
            return Ok(xattrs);
        }
        let catalogue = self.context.archive.catalogue();
        for state in catalogue.stream_states(self.tree.scan, inode.number)? {
            let StreamKind::Xattr(name) = &state.kind else {
                continue;
            };
            match self.large_value(&state)? {
                Ok((value, is_right)) => {
                    if !is_right {
                        self.damage(path, format!("attribute {}: {DAMAGED}", escape(name)));
                    }
                    xattrs.push(Xattr {
                        name: name.clone(),
                        value,
                    });
                }
                Err(problem) => self.problem(path, format!("attribute {}: {problem}", escape(name))),
            }
        }
        Ok(xattrs)
    }

    /// The value, and whether it is what was put into the store; else why there is none.
    fn large_value(&self, state: &StreamState) -> Result<Result<(Vec<u8>, bool), String>, Error> {
        let blob = match content_of(state) {
            Ok(blob) => blob,
            Err(problem) => return Ok(Err(problem)),
        };
        let reader = match self.context.archive.store().reader(&blob) {
            Ok(reader) => reader,
            // No fault of one file.
            Err(error @ ntt_store::Error::DamagedIndex(_)) => return Err(error.into()),
            Err(error) => return Ok(Err(error.to_string())),
        };
        let len = usize::try_from(reader.len()).unwrap_or(usize::MAX);
        if len > xattr::BYTES_MAX {
            return Ok(Err(format!("{len} bytes are too many")));
        }
        let mut value = vec![0; len];
        let read = reader.read_exact_at(0, &mut value);
        let is_right = BlobHash::of(&value) == blob;
        Ok(read
            .map(|()| (value, is_right))
            .map_err(|error| error.to_string()))
    }
}
