//! The extended attributes of something that is restored.

use ntt_catalogue::rows::StreamState;
use ntt_model::entry::{Inode, StreamKind, Xattr};
use ntt_model::name::escape;

use super::Restorer;
use super::content::content_of;
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
            match self.large_value(&state) {
                Ok(value) => xattrs.push(Xattr {
                    name: name.clone(),
                    value,
                }),
                Err(problem) => self.problem(path, format!("attribute {}: {problem}", escape(name))),
            }
        }
        Ok(xattrs)
    }

    fn large_value(&self, state: &StreamState) -> Result<Vec<u8>, String> {
        let blob = content_of(state)?;
        let reader = self.context.archive.store().reader(&blob);
        let reader = reader.map_err(|error| error.to_string())?;
        let len = usize::try_from(reader.len()).unwrap_or(usize::MAX);
        if len > xattr::BYTES_MAX {
            return Err(format!("{len} bytes are too many"));
        }
        let mut value = vec![0; len];
        reader
            .read_exact_at(0, &mut value)
            .map_err(|error| error.to_string())?;
        Ok(value)
    }
}
