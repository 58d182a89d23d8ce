//! Shell globs as regular expressions on bytes.
//!
//! `?` and `*` stand for bytes other than `/`, `**` between slashes for any directories, `{a,b}` for either, `[a-z]` and `[!a-z]` for one of a class or
//! none of it, and `\` takes the meaning from what follows. A class that holds characters beyond ASCII stands for a character, any other for a byte.

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

use crate::Error;
use crate::fold::{Element, elements, with_other_cases};

/// One byte of a name.
const ONE: &str = "(?-u:[^/])";
/// Any bytes.
const ALL: &str = "(?s-u:.)*";
/// `**/` at the beginning.
const PREFIX: &str = "(?:/?|(?s-u:.)*/)";
/// `/**` at the end.
const SUFFIX: &str = "/(?s-u:.)*";
/// `/**/` in between.
const BETWEEN: &str = "(?:/|/(?s-u:.)*/)";

/// An expression for whole texts that match the glob. Where case is to be ignored the expression must be compiled so, too.
pub(crate) fn regex(glob: &[u8], ignore_case: bool) -> Result<String, Error> {
    let mut parser = Parser {
        glob: elements(glob).collect(),
        at: 0,
        ignore_case,
        open: Vec::new(),
        branches: vec![Vec::new()],
    };
    parser.parse()?;
    let pieces = parser.branches.concat();
    Ok(match pieces.as_slice() {
        [piece] if piece == PREFIX => format!("^{ALL}$"),
        pieces => format!("^{}$", pieces.concat()),
    })
}

/// Exactly these bytes.
pub(crate) fn literal(bytes: &[u8]) -> String {
    elements(bytes).map(literal_of).collect()
}

fn literal_of(element: Element) -> String {
    match element {
        Element::Character(character) => regex_syntax::escape(character.encode_utf8(&mut [0; 4])),
        Element::Byte(byte) => format!("(?-u:\\x{byte:02x})"),
    }
}

struct Parser {
    glob: Vec<Element>,
    at: usize,
    ignore_case: bool,
    /// Of each `{` that is open, the number of its first branch.
    open: Vec<usize>,
    /// The whole glob, and the branches of what is open; each as a row of expressions.
    branches: Vec<Vec<String>>,
}

impl Parser {
    fn parse(&mut self) -> Result<(), Error> {
        while let Some(element) = self.next() {
            match element {
                Element::Character('?') => self.push(ONE.to_owned()),
                Element::Character('*') => self.star(),
                Element::Character('[') => {
                    let class = self.class()?;
                    self.push(class);
                }
                Element::Character('{') => {
                    self.open.push(self.branches.len());
                    self.branches.push(Vec::new());
                }
                Element::Character('}') => self.close()?,
                Element::Character(',') if !self.open.is_empty() => self.branches.push(Vec::new()),
                Element::Character('\\') => {
                    let taken = self
                        .next()
                        .ok_or_else(|| malformed("nothing follows the last `\\`"))?;
                    self.push(literal_of(taken));
                }
                element => self.push(literal_of(element)),
            }
        }
        if self.open.is_empty() {
            Ok(())
        } else {
            Err(malformed("a `{` is not closed"))
        }
    }

    fn next(&mut self) -> Option<Element> {
        let next = self.peek();
        self.at += usize::from(next.is_some());
        next
    }

    fn peek(&self) -> Option<Element> {
        self.glob.get(self.at).copied()
    }

    fn take(&mut self, character: char) -> bool {
        let is_there = self.peek() == Some(Element::Character(character));
        self.at += usize::from(is_there);
        is_there
    }

    fn push(&mut self, piece: String) {
        if let Some(branch) = self.branches.last_mut() {
            branch.push(piece);
        }
    }

    /// Either of the branches since the last `{`; empty ones are none.
    fn close(&mut self) -> Result<(), Error> {
        let first = self.open.pop().ok_or_else(|| malformed("a `}` closes nothing"))?;
        let branches = self.branches.drain(first..).map(|branch| branch.concat());
        let branches: Vec<String> = branches.filter(|branch| !branch.is_empty()).collect();
        self.push(if branches.is_empty() {
            String::new()
        } else {
            format!("(?:{})", branches.join("|"))
        });
        Ok(())
    }

    /// One star, or two: those stand for directories where slashes, or ends, are on both sides.
    fn star(&mut self) {
        let follows_slash = self.at >= 2 && self.glob.get(self.at - 2) == Some(&Element::Character('/'));
        if !self.take('*') {
            return self.push(format!("{ONE}*"));
        }
        let is_first = self.branches.last().is_none_or(Vec::is_empty);
        let ends = match self.peek() {
            None => true,
            Some(Element::Character(',' | '}')) => !is_first && !self.open.is_empty(),
            _ => false,
        };
        let is_directories = (is_first || follows_slash) && (ends || self.take('/'));
        if !is_directories {
            return self.push(format!("{ONE}*"));
        }
        if is_first {
            return self.push(PREFIX.to_owned());
        }
        // It stands for the slash before it, too.
        let before = self.branches.last_mut().and_then(Vec::pop);
        self.push(match before {
            Some(before) if before == PREFIX || before == SUFFIX => before,
            _ if ends => SUFFIX.to_owned(),
            _ => BETWEEN.to_owned(),
        });
    }

    /// What stands in brackets.
    fn class(&mut self) -> Result<String, Error> {
        let negated = self.take('!') || self.take('^');
        let mut members = Members::default();
        let mut is_first = true;
        loop {
            let from = self.next().ok_or_else(|| malformed("a `[` is not closed"))?;
            if from == Element::Character(']') && !is_first {
                break;
            }
            is_first = false;
            let is_range = self.peek() == Some(Element::Character('-'))
                && self
                    .glob
                    .get(self.at + 1)
                    .is_some_and(|to| *to != Element::Character(']'));
            let to = if is_range {
                self.at += 1;
                self.next().unwrap_or(from)
            } else {
                from
            };
            members.add(from, to)?;
        }
        Ok(members.regex(negated, self.ignore_case))
    }
}

/// What a class holds.
#[derive(Default)]
struct Members {
    characters: Vec<ClassUnicodeRange>,
    bytes: Vec<(u8, u8)>,
}

impl Members {
    fn add(&mut self, from: Element, to: Element) -> Result<(), Error> {
        match (from, to) {
            (Element::Character(from), Element::Character(to)) if from <= to => {
                self.characters.push(ClassUnicodeRange::new(from, to));
            }
            (Element::Byte(from), Element::Byte(to)) if from <= to => self.bytes.push((from, to)),
            _ => return Err(malformed("a range in `[` ends before it begins")),
        }
        Ok(())
    }

    fn regex(self, negated: bool, ignore_case: bool) -> String {
        let characters = if ignore_case {
            with_other_cases(self.characters)
        } else {
            ClassUnicode::new(self.characters)
        };
        let is_ascii = characters.ranges().iter().all(|range| range.end().is_ascii());
        let text = of_characters(&characters);
        match (negated, is_ascii && self.bytes.is_empty()) {
            (true, true) => format!("(?-u:[^{text}])"),
            (false, true) => format!("(?-u:[{text}])"),
            (true, false) => {
                let mut rest = characters.clone();
                rest.negate();
                either(&rest, &others(&characters, &self.bytes))
            }
            (false, false) => either(&characters, &self.bytes),
        }
    }
}

/// A character of a class, or one of some bytes.
fn either(characters: &ClassUnicode, bytes: &[(u8, u8)]) -> String {
    let mut parts = Vec::new();
    if !characters.ranges().is_empty() {
        parts.push(format!("[{}]", of_characters(characters)));
    }
    if !bytes.is_empty() {
        let ranges = bytes
            .iter()
            .map(|(from, to)| format!("\\x{from:02x}-\\x{to:02x}"));
        parts.push(format!("(?-u:[{}])", ranges.collect::<String>()));
    }
    format!("(?:{})", parts.join("|"))
}

/// Bytes beyond ASCII that are none of these, and begin none of the characters.
fn others(characters: &ClassUnicode, bytes: &[(u8, u8)]) -> Vec<(u8, u8)> {
    let first = |character: char| character.encode_utf8(&mut [0; 4]).as_bytes().first().copied();
    let begins = |byte: u8, range: &ClassUnicodeRange| {
        first(range.start()) <= Some(byte) && Some(byte) <= first(range.end())
    };
    (0x80..=u8::MAX)
        .filter(|byte| !characters.ranges().iter().any(|range| begins(*byte, range)))
        .filter(|byte| !bytes.iter().any(|(from, to)| (from..=to).contains(&byte)))
        .map(|byte| (byte, byte))
        .collect()
}

/// The members of a class of characters.
fn of_characters(class: &ClassUnicode) -> String {
    let mut text = String::new();
    for range in class.ranges() {
        let (from, to) = (u32::from(range.start()), u32::from(range.end()));
        text.push_str(&format!("\\x{{{from:x}}}-\\x{{{to:x}}}"));
    }
    text
}

fn malformed(what: &str) -> Error {
    Error::Pattern(what.to_owned())
}

#[cfg(test)]
mod tests {
    use globset::GlobBuilder;
    use proptest::prelude::*;
    use regex::bytes::{Regex, RegexBuilder};

    use super::*;

    fn compiled(glob: &[u8], ignore_case: bool) -> Regex {
        let regex = regex(glob, ignore_case).expect("well-formed");
        let built = RegexBuilder::new(&regex).case_insensitive(ignore_case).build();
        built.expect("well-formed")
    }

    fn matches(glob: &str, name: &str) -> bool {
        compiled(glob.as_bytes(), false).is_match(name.as_bytes())
    }

    /// R23: names are bytes, and so is what is typed.
    #[test]
    fn r23_globs_are_bytes() {
        let glob = compiled(b"*\xe9[\xf0-\xff]?", false);
        assert!(glob.is_match(b"caf\xe9\xf8e") && !glob.is_match("café\u{f8}e".as_bytes()));
        let glob = compiled(b"[!\xff]a", false);
        assert!(glob.is_match(b"\xfea") && glob.is_match(b"ba") && !glob.is_match(b"\xffa"));
    }

    #[test]
    fn classes_beyond_ascii_hold_characters() {
        assert!(matches("[äö]x", "öx") && !matches("[äö]x", "ox"));
        assert!(matches("[!äö]x", "üx") && matches("[!äö]x", "ax"));
        assert!(!matches("[!äö]*", "öx") && compiled("[!ä]x".as_bytes(), false).is_match(b"\xffx"));
        assert!(matches("[α-ω]", "λ") && !matches("[α-ω]", "Λ"));
    }

    #[test]
    fn case_is_that_of_all_letters() {
        let matches = |glob: &str, name: &str| compiled(glob.as_bytes(), true).is_match(name.as_bytes());
        assert!(matches("*Ä.TXT", "ä.txt") && matches("{É,x}?", "éa"));
        assert!(matches("\u{212a}[k]", "k\u{212a}") && matches("[a-t]", "\u{17f}"));
        assert!(!matches("[!K]*", "\u{212a}") && matches("[!k]", "a") && matches("[!k]", "ä"));
        assert!(matches("[α-ω]", "Λ"));
    }

    #[test]
    fn what_is_malformed_is_said() {
        for glob in ["[", "[a", "[b-a]", "{a", "a}", "a\\", "[!]", "{a{b}"] {
            assert!(
                matches!(regex(glob.as_bytes(), false), Err(Error::Pattern(_))),
                "{glob}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        /// On ASCII globs are those of the crate globset, which the lists of exclusions use.
        #[test]
        fn ascii_is_as_another_reads_it(
            glob in "([ab*?{},/]|\\*\\*|\\[!?[ab]-?[ab]?\\]|/\\*\\*/){0,8}",
            names in prop::collection::vec("[ab/,]{0,6}", 0..20),
        ) {
            let other = GlobBuilder::new(&glob).literal_separator(true).backslash_escape(true).build();
            let Ok(other) = other else {
                prop_assert!(regex(glob.as_bytes(), false).is_err(), "{}", glob);
                return Ok(());
            };
            let (own, other) = (compiled(glob.as_bytes(), false), other.compile_matcher());
            for name in names {
                prop_assert_eq!(own.is_match(name.as_bytes()), other.is_match(&name), "{} {}", glob, name);
            }
        }
    }
}
