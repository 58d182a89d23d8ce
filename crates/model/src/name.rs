//! Names and paths as bytes (R23). Text exists only at the moment of display.

use std::borrow::Cow;

/// Escapes a name or path for people: printable UTF-8 stays, everything else becomes `\xNN`, `\n`, `\r`, `\t` or `\\`.
///
/// The result never holds a control character, so it can be shown on a terminal, and [`unescape`] gives the bytes back.
/// Unicode's invisible and direction-changing characters are escaped too, byte by byte.
pub fn escape(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.chars().any(needs_escape)
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            push_escaped(&mut out, character);
        }
        for byte in chunk.invalid() {
            push_byte(&mut out, *byte);
        }
    }
    Cow::Owned(out)
}

/// Text for people in which names are escaped already: escapes what a terminal would obey, and leaves backslashes as they are. For what words of a medium
/// may have got into by another way than [`escape`].
pub fn harmless(text: &str) -> Cow<'_, str> {
    let is_harmful = |character: char| character != '\\' && needs_escape(character);
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match is_harmful(character) {
            true => push_escaped(&mut out, character),
            false => out.push(character),
        }
    }
    Cow::Owned(out)
}

/// Turns the output of [`escape`] (or a name typed by a person with the same escapes) back into bytes.
///
/// A backslash that starts no known escape stands for itself.
pub fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let (byte, used) = if first == b'\\' {
            unescape_one(tail)
        } else {
            (first, 0)
        };
        bytes.push(byte);
        rest = &tail[used..];
    }
    bytes
}

/// Splits a path at `/` into its non-empty names.
pub fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

/// Whether a name can stand in a path and means the entry itself there: not empty, not `.` or `..`, without `/` and NUL.
///
/// The rule of [`Name::name`](crate::entry::Name::name). Readers keep it; whoever takes names from a less trusted side checks it.
pub fn can_stand_in_path(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

fn unescape_one(tail: &[u8]) -> (u8, usize) {
    match tail {
        [b'\\', ..] => (b'\\', 1),
        [b'n', ..] => (b'\n', 1),
        [b'r', ..] => (b'\r', 1),
        [b't', ..] => (b'\t', 1),
        [b'x', high, low, ..] => match (char::from(*high).to_digit(16), char::from(*low).to_digit(16)) {
            (Some(high), Some(low)) => (u8::try_from(high * 16 + low).unwrap_or(b'\\'), 3),
            _ => (b'\\', 0),
        },
        _ => (b'\\', 0),
    }
}

fn needs_escape(character: char) -> bool {
    character == '\\' || character.is_control() || is_deceptive(character)
}

/// Characters that show as nothing or reorder their neighbours on a terminal.
fn is_deceptive(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn push_escaped(out: &mut String, character: char) {
    match character {
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        _ if needs_escape(character) => {
            let mut buffer = [0; 4];
            for byte in character.encode_utf8(&mut buffer).as_bytes() {
                push_byte(out, *byte);
            }
        }
        _ => out.push(character),
    }
}

fn push_byte(out: &mut String, byte: u8) {
    out.push_str("\\x");
    out.push_str(&crate::blob::hex(&[byte]));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// R23: the pairs backslash-n and backslash-r in a name are not newlines.
    #[test]
    fn r23_a_literal_backslash_n_stays_apart_from_a_newline() {
        assert_eq!(escape(b"a\\nb"), "a\\\\nb");
        assert_eq!(escape(b"a\nb"), "a\\nb");
        assert_eq!(unescape(b"a\\\\nb"), b"a\\nb");
    }

    #[test]
    fn terminal_control_and_reordering_characters_are_escaped() {
        assert_eq!(escape(b"\x1b[31m"), "\\x1b[31m");
        assert_eq!(escape("\u{202e}txt.exe".as_bytes()), "\\xe2\\x80\\xaetxt.exe");
        assert_eq!(escape("żółw 日本".as_bytes()), "żółw 日本");
    }

    #[test]
    fn text_is_made_harmless_once() {
        assert_eq!(
            harmless("C:\\a \u{1b}[2J\n\u{202e}"),
            "C:\\a \\x1b[2J\\n\\xe2\\x80\\xae"
        );
        assert_eq!(harmless(&escape(b"a\\\x1b")), "a\\\\\\x1b");
    }

    #[test]
    fn only_names_that_mean_an_entry_can_stand_in_a_path() {
        for name in ["a", "...", ".a", "a..", "\\", " ", "\u{1}"] {
            assert!(can_stand_in_path(name.as_bytes()), "{name}");
        }
        for name in ["", ".", "..", "/", "a/b", "a/..", "/a", "a\0"] {
            assert!(!can_stand_in_path(name.as_bytes()), "{name}");
        }
    }

    proptest! {
        /// R23: every byte string survives display and back.
        #[test]
        fn r23_escape_round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let shown = escape(&bytes);
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert_eq!(unescape(shown.as_bytes()), bytes);
        }
    }
}
