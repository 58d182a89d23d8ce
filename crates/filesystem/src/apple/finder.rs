//! What the Finder keeps of a file or directory: type, creator, flags, position.

use ntt_model::entry::Xattr;

/// The name under which macOS shows it.
pub(crate) const FINDER_INFO: &[u8] = b"com.apple.FinderInfo";

/// Both halves of the Finder's information, 16 bytes each, as the attribute that macOS makes of them; `None` if all is zero.
pub(crate) fn finder_info(own: &[u8], extended: &[u8]) -> Option<Xattr> {
    let mut value = own.to_vec();
    value.extend_from_slice(extended);
    value.resize(32, 0);
    value.iter().any(|byte| *byte != 0).then(|| Xattr {
        name: FINDER_INFO.to_vec(),
        value,
    })
}
