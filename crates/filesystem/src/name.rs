//! From names as a format stores them to the names that the catalogue keeps (R23).

/// Turns UTF-16 code units into WTF-8: UTF-8 in which a lone surrogate is kept as its own three bytes.
///
/// Lossless for every sequence of code units, valid or not, which is what NTFS, FAT and Joliet may hold.
pub fn wtf8_from_utf16(units: impl IntoIterator<Item = u16>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for unit in char::decode_utf16(units) {
        match unit {
            Ok(character) => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(error) => bytes.extend_from_slice(&surrogate_bytes(error.unpaired_surrogate())),
        }
    }
    bytes
}

/// The generalised UTF-8 encoding of a surrogate: three bytes.
fn surrogate_bytes(surrogate: u16) -> [u8; 3] {
    let low_six = |shift: u32| u8::try_from((surrogate >> shift) & 0x3f).unwrap_or(0);
    [
        0xe0 | u8::try_from(surrogate >> 12).unwrap_or(0),
        0x80 | low_six(6),
        0x80 | low_six(0),
    ]
}

/// A name that can stand in a path, made from one that perhaps cannot.
///
/// `/` and NUL become `%2F` and `%00`; an empty name becomes `%`; `.` and `..` become `%2E` and `%2E%2E`. Everything else is
/// kept byte for byte. Returns whether the name had to be changed: the caller then adds a finding with the true bytes.
pub fn path_safe(raw: &[u8]) -> (Vec<u8>, bool) {
    match raw {
        b"" => return (b"%".to_vec(), true),
        b"." => return (b"%2E".to_vec(), true),
        b".." => return (b"%2E%2E".to_vec(), true),
        _ => {}
    }
    if !raw.iter().any(|byte| matches!(byte, b'/' | 0)) {
        return (raw.to_vec(), false);
    }
    let mut name = Vec::new();
    for byte in raw {
        match byte {
            b'/' => name.extend_from_slice(b"%2F"),
            0 => name.extend_from_slice(b"%00"),
            other => name.push(*other),
        }
    }
    (name, true)
}

/// The name of what has none, or lost it.
pub(crate) fn made_up(number: u64) -> Vec<u8> {
    format!("#{number}").into_bytes()
}

/// A name of a Macintosh volume as Unix shows it, and whether it had to be changed beyond that.
///
/// On the Macintosh `:` separates names and `/` is a character like any other; the Unix side of macOS, and every Unix that reads such volumes,
/// swaps the two. So `10/12/98` becomes `10:12:98`, which is no change worth telling: a `:` cannot stand in such a name. One that does all the
/// same becomes `%3A`; what is left is as in [`path_safe`].
pub fn unix_from_mac(raw: &[u8]) -> (Vec<u8>, bool) {
    let has_colon = raw.contains(&b':');
    let mut swapped = Vec::with_capacity(raw.len());
    for byte in raw {
        match byte {
            b':' => swapped.extend_from_slice(b"%3A"),
            b'/' => swapped.push(b':'),
            other => swapped.push(*other),
        }
    }
    let (name, changed) = path_safe(&swapped);
    (name, changed || has_colon)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_of_the_macintosh_are_colons_of_unix() {
        assert_eq!(unix_from_mac(b"10/12/98"), (b"10:12:98".to_vec(), false));
        assert_eq!(unix_from_mac(b"a:b"), (b"a%3Ab".to_vec(), true));
        assert_eq!(unix_from_mac(b"\0x"), (b"%00x".to_vec(), true));
        assert_eq!(unix_from_mac(b".."), (b"%2E%2E".to_vec(), true));
    }

    #[test]
    fn lone_surrogates_survive_as_wtf8() {
        assert_eq!(wtf8_from_utf16([0x61, 0xd83d, 0xde00]), "a😀".as_bytes());
        assert_eq!(wtf8_from_utf16([0xd800, 0x62]), b"\xed\xa0\x80b");
        assert_eq!(wtf8_from_utf16([0xdfff]), b"\xed\xbf\xbf");
    }

    #[test]
    fn only_names_that_cannot_stand_in_a_path_are_changed() {
        assert_eq!(path_safe(b"a\\nb\x1c#"), (b"a\\nb\x1c#".to_vec(), false));
        assert_eq!(path_safe(b"a/b\0"), (b"a%2Fb%00".to_vec(), true));
        assert_eq!(path_safe(b".."), (b"%2E%2E".to_vec(), true));
        assert_eq!(path_safe(b""), (b"%".to_vec(), true));
    }
}
