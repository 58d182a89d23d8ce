//! Extended attributes, of whatever has them.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use ntt_model::BlobHash;
use ntt_model::entry::{Inode, StreamKind};
use ntt_model::name::escape;
use rustix::io::Errno;

use super::Comparer;
use crate::{Error, xattr};

/// Longest value that is shown.
const SHOWN_BYTES_MAX: usize = 100;

impl Comparer<'_> {
    /// Compares every attribute that the catalogue knows; the host may have others (labels of its security module, say).
    pub(super) fn xattrs(
        &mut self,
        directory: &OwnedFd,
        name: &OsStr,
        path: &[u8],
        inode: &Inode,
    ) -> Result<(), Error> {
        let place = xattr::place(directory, name);
        for xattr in &inode.xattrs {
            let actual = read(&place, &xattr.name);
            if actual.as_ref() != Ok(&xattr.value) {
                let expected = format!("{}={}", escape(&xattr.name), shown(&xattr.value));
                let actual = actual.map_or_else(absent, |value| shown(&value));
                self.differ(path, "xattr", expected, actual);
            }
        }
        if xattr::has_large(inode) {
            self.large_xattrs(&place, path, inode)?;
        }
        Ok(())
    }

    /// Those whose values are contents of their own.
    fn large_xattrs(&mut self, place: &Path, path: &[u8], inode: &Inode) -> Result<(), Error> {
        let catalogue = self.context.archive.catalogue();
        for state in catalogue.stream_states(self.tree.scan, inode.number)? {
            let StreamKind::Xattr(name) = &state.kind else {
                continue;
            };
            let expected = state.state.blob().copied();
            let actual = read(place, name).map(|value| BlobHash::of(&value));
            if actual.ok() != expected || expected.is_none() {
                let expected = expected.map_or("not in the archive".to_owned(), |blob| blob.to_hex());
                let actual = actual.map_or_else(absent, |blob| blob.to_hex());
                self.differ(path, "xattr", format!("{}={expected}", escape(name)), actual);
            }
        }
        Ok(())
    }
}

fn read(place: &Path, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; xattr::BYTES_MAX];
    let len = rustix::fs::lgetxattr(place, &*xattr::host_name(name), &mut value[..])?;
    value.truncate(len);
    Ok(value)
}

/// A value for people: as it is, or by its length and digest.
fn shown(value: &[u8]) -> String {
    match value.len() {
        ..=SHOWN_BYTES_MAX => escape(value).into_owned(),
        len => format!("{len} bytes with BLAKE3 {}", BlobHash::of(value).to_hex()),
    }
}

fn absent(errno: Errno) -> String {
    match errno {
        Errno::NODATA => "absent".to_owned(),
        errno => errno.to_string(),
    }
}
