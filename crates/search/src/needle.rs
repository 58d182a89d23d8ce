//! What is looked for without case in many names at once.

use memchr::memmem::Finder;

/// Characters beyond ASCII that are like a letter of ASCII.
const FOREIGN: [(u8, &str); 2] = [(b'k', "\u{212a}"), (b's', "\u{17f}")];

/// Bytes whose letters are those of ASCII.
#[derive(Debug)]
pub(crate) struct Needle {
    folded: Finder<'static>,
    /// What its letters can be beyond ASCII.
    foreign: Vec<Finder<'static>>,
}

impl Needle {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let folded = bytes.to_ascii_lowercase();
        let foreign = FOREIGN.iter().filter(|(letter, _)| folded.contains(letter));
        Self {
            foreign: foreign.map(|(_, like)| Finder::new(like).into_owned()).collect(),
            folded: Finder::new(&folded).into_owned(),
        }
    }

    /// What finds it in texts in which the case of ASCII letters is folded.
    pub(crate) const fn folded(&self) -> &Finder<'static> {
        &self.folded
    }

    /// Whether a letter of it can be one beyond ASCII.
    pub(crate) const fn has_foreign_forms(&self) -> bool {
        !self.foreign.is_empty()
    }

    /// Whether a letter of it may stand in a text as one beyond ASCII, which almost none has: then more has to be looked for.
    pub(crate) fn may_be_foreign_in(&self, text: &[u8]) -> bool {
        self.foreign.iter().any(|like| like.find(text).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::{Element, forms};

    #[test]
    fn no_other_letter_has_forms_beyond_ascii() {
        for letter in 0..=0x7f_u8 {
            let forms = forms(Element::Character(char::from(letter)));
            let foreign = FOREIGN
                .iter()
                .filter(|(like, _)| *like == letter.to_ascii_lowercase());
            let mut known: Vec<Vec<u8>> = foreign.map(|(_, like)| like.as_bytes().to_vec()).collect();
            known.insert(0, vec![letter.to_ascii_lowercase()]);
            assert_eq!(forms, known);
        }
    }
}
