//! Names of extended attributes on the host.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

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
