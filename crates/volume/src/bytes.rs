//! Small reads and the text forms of on-disk identifiers.

use ntt_source::{ReadAt, ReadError};

/// `N` bytes at `offset`.
pub(crate) fn read<const N: usize>(source: &dyn ReadAt, offset: u64) -> Result<[u8; N], ReadError> {
    let mut buffer = [0; N];
    source.read_exact_at(offset, &mut buffer)?;
    Ok(buffer)
}

/// `len` bytes at `offset`; the caller bounds `len` by a constant.
pub(crate) fn read_vec(source: &dyn ReadAt, offset: u64, len: usize) -> Result<Vec<u8>, ReadError> {
    let mut buffer = vec![0; len];
    source.read_exact_at(offset, &mut buffer)?;
    Ok(buffer)
}

/// A GUID as EFI stores it, its first three fields little-endian (UEFI 2.10, appendix A), in lower case.
pub(crate) fn guid_text(raw: [u8; 16]) -> String {
    let [a, b, c, d, e, f, g, h, rest @ ..] = raw;
    let mut ordered = [d, c, b, a, f, e, h, g, 0, 0, 0, 0, 0, 0, 0, 0];
    for (to, from) in ordered.iter_mut().skip(8).zip(rest) {
        *to = from;
    }
    uuid_text(ordered)
}

/// A UUID stored in big-endian order, in lower case.
pub(crate) fn uuid_text(raw: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in raw.into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// Text up to its first NUL, without padding blanks at its end, escaped for display.
pub(crate) fn padded_text(raw: &[u8]) -> String {
    let text = raw.split(|byte| *byte == 0).next().unwrap_or_default();
    ntt_model::name::escape(text.trim_ascii_end()).into_owned()
}

/// Little-endian UTF-16 up to its first NUL, escaped for display; a lone surrogate shows as `\u{d800}`.
pub(crate) fn utf16_text(raw: &[u8]) -> String {
    let units = raw
        .chunks_exact(2)
        .filter_map(|pair| pair.try_into().ok())
        .map(u16::from_le_bytes)
        .take_while(|unit| *unit != 0);
    let mut text = String::new();
    for unit in char::decode_utf16(units) {
        match unit {
            Ok(character) => {
                let mut buffer = [0; 4];
                let bytes = character.encode_utf8(&mut buffer).as_bytes();
                text.push_str(&ntt_model::name::escape(bytes));
            }
            Err(error) => text.push_str(&format!("\\u{{{:x}}}", error.unpaired_surrogate())),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_are_shown_in_the_order_of_efi() {
        let raw = [
            0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
        ];
        assert_eq!(guid_text(raw), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    }

    /// R23: no partition name is refused or changed beyond recognition.
    #[test]
    fn r23_lone_surrogates_and_controls_in_names_are_escaped() {
        assert_eq!(
            utf16_text(&[0x61, 0, 0, 0xd8, 0x1b, 0, 0, 0, 0x62, 0]),
            "a\\u{d800}\\x1b"
        );
        assert_eq!(padded_text(b"LABEL  \0junk"), "LABEL");
    }
}
