//! Extended attributes on the host: their names, their limits, and where those of links are.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use ntt_model::entry::{Inode, StreamKind};

/// The namespaces that Linux has (xattr(7)); a name outside of them is refused.
const NAMESPACES: [&[u8]; 4] = [b"user.", b"trusted.", b"security.", b"system."];

/// The name under which an attribute of a medium stands on the host: a name without a namespace, as those of Apple's file systems are, goes
/// into `user.`, where other programs look for it too.
pub(crate) fn host_name(name: &[u8]) -> Cow<'_, OsStr> {
    if NAMESPACES.iter().any(|namespace| name.starts_with(namespace)) {
        return Cow::Borrowed(OsStr::from_bytes(name));
    }
    Cow::Owned(OsString::from_vec([b"user.", name].concat()))
}

/// Largest value that Linux takes.
pub(crate) const BYTES_MAX: usize = 64 * 1024;

/// Whether an inode has attributes that are too big to travel with it; their values are streams.
pub(crate) fn has_large(inode: &Inode) -> bool {
    inode
        .streams
        .iter()
        .any(|stream| matches!(stream.kind, StreamKind::Xattr(_)))
}

/// A path by which the attributes of an entry can be reached that cannot be opened, such as a link. It leads through the open directory, so that
/// nobody can put another one there.
pub(crate) fn place(directory: &OwnedFd, name: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd")
        .join(directory.as_raw_fd().to_string())
        .join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_a_namespace_become_user_attributes() {
        assert_eq!(&*host_name(b"com.apple.FinderInfo"), "user.com.apple.FinderInfo");
        assert_eq!(&*host_name(b"user.note"), "user.note");
        assert_eq!(&*host_name(b"security.capability"), "security.capability");
        assert_eq!(&*host_name(b"userdata"), "user.userdata");
    }
}
