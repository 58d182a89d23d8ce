//! Joliet (Joliet Specification, Microsoft 1995): a supplementary tree whose names are UCS-2.

use ntt_source::field::array;

use crate::name::wtf8_from_utf16;

/// The level, 1 to 3, that the escape sequences of a supplementary descriptor name (Joliet, "Escape Sequences").
pub(super) fn level(escapes: &[u8]) -> Option<u8> {
    match array::<3>(escapes, 0)? {
        [0x25, 0x2f, 0x40] => Some(1),
        [0x25, 0x2f, 0x43] => Some(2),
        [0x25, 0x2f, 0x45] => Some(3),
        _ => None,
    }
}

/// Big-endian UCS-2 (in practice UTF-16) as WTF-8. A last odd byte is kept as a code unit of its own.
pub(super) fn text(bytes: &[u8]) -> Vec<u8> {
    wtf8_from_utf16(bytes.chunks(2).map(|pair| match *pair {
        [high, low] => u16::from_be_bytes([high, low]),
        [high] => u16::from(high),
        _ => 0,
    }))
}

/// A file identifier as people see it: without the version number `;1` that every file has, as all systems show it.
/// Other version numbers are kept.
pub(super) fn name(identifier: &[u8]) -> Vec<u8> {
    let mut name = text(identifier);
    if name.ends_with(b";1") && name.len() > 2 {
        name.truncate(name.len().saturating_sub(2));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_name_the_level() {
        assert_eq!(level(b"%/@\0"), Some(1));
        assert_eq!(level(b"%/C\0"), Some(2));
        assert_eq!(level(b"%/E\0"), Some(3));
        assert_eq!(level(b"\0\0\0"), None);
    }

    #[test]
    fn only_the_version_number_one_is_taken_off() {
        assert_eq!(name(b"\0a\0;\x001"), b"a");
        assert_eq!(name(b"\0a\0;\x002"), b"a;2");
        assert_eq!(name(b"\0;\x001"), b";1");
        assert_eq!(name(b"\x01\x7c\xd8\x00"), b"\xc5\xbc\xed\xa0\x80");
    }
}
