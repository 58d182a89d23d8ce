//! Words of commands that a user is told to type: what is pasted must mean what it says.

use ntt_model::name::harmless;

/// A word as a shell takes it, quoted where it must be. Bytes that no terminal should be given, and those that are no text, are written as escapes
/// between `$'` and `'`, which bash, zsh and ksh know.
pub(crate) fn quote(word: &[u8]) -> String {
    match std::str::from_utf8(word) {
        Ok(text) if !text.is_empty() && text.chars().all(is_plain) => text.to_owned(),
        Ok(text) if harmless(text) == text => format!("'{}'", text.replace('\'', r"'\''")),
        _ => format!("$'{}'", word.iter().copied().map(escaped).collect::<String>()),
    }
}

const fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric()
        || matches!(letter, '_' | '@' | '%' | '+' | '=' | ':' | ',' | '.' | '/' | '-')
}

fn escaped(byte: u8) -> String {
    match byte {
        b'\'' | b'\\' => format!("\\{}", char::from(byte)),
        b' '..=b'~' => char::from(byte).to_string(),
        // Always three digits, so that one that follows is no part of it.
        _ => format!("\\{byte:03o}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r45_words_of_hints_can_be_pasted() {
        for (word, quoted) in [
            (&b"demo.img/2"[..], "demo.img/2"),
            (b"", "''"),
            (b"the demo disk/2", "'the demo disk/2'"),
            (b"it's", r"'it'\''s'"),
            (b"$HOME;`x`", "'$HOME;`x`'"),
            (b"back\\slash", r"'back\slash'"),
            ("\u{fc}ber".as_bytes(), "'\u{fc}ber'"),
            (b"line\nbreak's", r"$'line\012break\'s'"),
            (b"\xff0\\", r"$'\3770\\'"),
            (b"\x1b[31m", r"$'\033[31m'"),
        ] {
            assert_eq!(quote(word), quoted);
        }
    }

    #[test]
    fn r45_bash_reads_back_what_was_quoted() {
        let every: Vec<u8> = (1..=255).collect();
        for word in [&every[..], b"plain words", b"it's", b"a\\b"] {
            let script = format!("printf %s {}", quote(word));
            let Ok(output) = std::process::Command::new("bash").args(["-c", &script]).output() else {
                return;
            };
            assert_eq!(output.stdout, word);
        }
    }
}
