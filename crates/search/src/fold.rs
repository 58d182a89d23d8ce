//! What it means to ignore case: the simple case folding of Unicode, on what is UTF-8. Bytes that are none are only like themselves.

use std::collections::HashMap;
use std::sync::OnceLock;

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

/// A character of a name or a pattern, or a byte that belongs to none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Element {
    Character(char),
    Byte(u8),
}

/// What a name or a pattern consists of.
pub(crate) fn elements(bytes: &[u8]) -> impl Iterator<Item = Element> {
    bytes.utf8_chunks().flat_map(|chunk| {
        let characters = chunk.valid().chars().map(Element::Character);
        characters.chain(chunk.invalid().iter().copied().map(Element::Byte))
    })
}

/// All characters that are like one of these where case is ignored.
pub(crate) fn with_other_cases(ranges: impl IntoIterator<Item = ClassUnicodeRange>) -> ClassUnicode {
    let mut class = ClassUnicode::new(ranges);
    // It fails only in a build without the tables; then no character has another case.
    let _ = class.try_case_fold_simple();
    class
}

/// The forms of a character or a byte where case is ignored, as the index has them: the case of ASCII letters folded.
pub(crate) fn forms(element: Element) -> Vec<Vec<u8>> {
    let character = match element {
        Element::Byte(byte) => return vec![vec![byte]],
        Element::Character(character) => character,
    };
    let class = with_other_cases([ClassUnicodeRange::new(character, character)]);
    let each = class
        .ranges()
        .iter()
        .flat_map(|range| range.start()..=range.end());
    let mut forms: Vec<Vec<u8>> = each
        .map(|character| character.to_ascii_lowercase().to_string().into_bytes())
        .collect();
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// A name such that two of them are equal if they differ in case alone.
pub(crate) fn folded(name: &[u8]) -> Vec<u8> {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    let table = table();
    let mut folded = Vec::with_capacity(name.len());
    for element in elements(name) {
        match element {
            Element::Byte(byte) => folded.push(byte),
            Element::Character(character) => {
                let character = table.get(&character).copied().unwrap_or(character);
                folded.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
    folded
}

/// For every character with several cases the one that stands for all of them: the small letter if they hold one of ASCII.
fn table() -> &'static HashMap<char, char> {
    static TABLE: OnceLock<HashMap<char, char>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = HashMap::new();
        for character in cased() {
            let class = with_other_cases([ClassUnicodeRange::new(character, character)]);
            let mut like = class
                .ranges()
                .iter()
                .flat_map(|range| range.start()..=range.end());
            // They are ascending, and ASCII is the least.
            if let Some(first) = like.next() {
                table.insert(character, first.to_ascii_lowercase());
                table.extend(like.map(|other| (other, first.to_ascii_lowercase())));
                table.insert(first, first.to_ascii_lowercase());
            }
        }
        table
    })
}

/// At least one of all characters that are like each other.
fn cased() -> impl Iterator<Item = char> {
    let parsed = ParserBuilder::new().build().parse(r"\p{Cased}");
    let ranges = match parsed.as_ref().map(|hir| hir.kind()) {
        Ok(HirKind::Class(Class::Unicode(class))) => class.ranges().to_vec(),
        _ => Vec::new(),
    };
    ranges.into_iter().flat_map(|range| range.start()..=range.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_is_folded_as_in_expressions() {
        for character in '\0'..=char::MAX {
            let class = with_other_cases([ClassUnicodeRange::new(character, character)]);
            let first = class.ranges()[0].start().to_ascii_lowercase();
            let mut bytes = [0; 4];
            let name = character.encode_utf8(&mut bytes).as_bytes();
            assert_eq!(folded(name), first.to_string().as_bytes(), "{character:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_stay_as_they_are() {
        let name = b"\xff\xc3\x89A\xc3\xe2\x84K".as_slice();
        assert_eq!(folded(name), b"\xff\xc3\x89a\xc3\xe2\x84k");
        assert_eq!(folded("\u{e9}".as_bytes()), folded("\u{c9}".as_bytes()));
        assert_eq!(folded("\u{212a}\u{17f}".as_bytes()), b"ks");
    }

    #[test]
    fn forms_are_those_of_the_index() {
        assert_eq!(forms(Element::Character('K')), [b"k".to_vec(), "\u{212a}".into()]);
        assert_eq!(forms(Element::Character('b')), [b"b"]);
        assert_eq!(forms(Element::Byte(0xff)), [[0xff]]);
    }
}
