//! The text of LVM2's metadata (`libdm-config`): sections, numbers, strings and lists, with comments; parsed within bounds.

use std::iter::Peekable;
use std::slice::Iter;

use ntt_model::name::escape;

/// Values of one text.
const VALUES_MAX: usize = 1 << 20;
/// Sections in sections.
const DEPTH_MAX: usize = 8;

/// A value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    Number(i64),
    /// Escaped for display.
    Text(String),
    List(Vec<Value>),
    Section(Section),
}

/// Names and values, in the order of the text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Section(Vec<(String, Value)>);

impl Section {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        match self.get(name)? {
            Value::Number(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn list(&self, name: &str) -> &[Value] {
        match self.get(name) {
            Some(Value::List(list)) => list,
            _ => &[],
        }
    }

    pub(super) fn section(&self, name: &str) -> Option<&Self> {
        match self.get(name)? {
            Value::Section(section) => Some(section),
            _ => None,
        }
    }

    /// The sections in it, with their names.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.0.iter().filter_map(|(name, value)| match value {
            Value::Section(section) => Some((name.as_str(), section)),
            _ => None,
        })
    }
}

/// Parses a text, which may end at a NUL. What cannot be parsed ends it: everything before it counts, and the second value is false.
pub(super) fn parse(bytes: &[u8]) -> (Section, bool) {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut parser = Parser {
        bytes: text.iter().peekable(),
        values: 0,
    };
    // One section a level, the outermost first, with the name under which it goes into the one before.
    let mut open: Vec<(String, Section)> = vec![(String::new(), Section::default())];
    let is_whole = parser.fill(&mut open).is_some() && open.len() == 1;
    while open.len() > 1 {
        close(&mut open);
    }
    let root = open.pop().map(|(_, section)| section).unwrap_or_default();
    (root, is_whole)
}

/// Puts the innermost section into the one around it.
fn close(open: &mut Vec<(String, Section)>) -> Option<()> {
    let (name, section) = open.pop()?;
    let (_, around) = open.last_mut()?;
    around.0.push((name, Value::Section(section)));
    Some(())
}

struct Parser<'a> {
    bytes: Peekable<Iter<'a, u8>>,
    values: usize,
}

impl Parser<'_> {
    /// Reads to the end; `None` if something is wrong.
    fn fill(&mut self, open: &mut Vec<(String, Section)>) -> Option<()> {
        loop {
            self.skip_blanks();
            let Some(byte) = self.bytes.peek().copied() else {
                return Some(());
            };
            if *byte == b'}' {
                self.bytes.next();
                (open.len() > 1).then(|| close(open)).flatten()?;
                continue;
            }
            self.count()?;
            let name = self.word()?;
            self.skip_blanks();
            match self.bytes.next()? {
                b'{' => {
                    (open.len() <= DEPTH_MAX).then_some(())?;
                    open.push((name, Section::default()));
                }
                b'=' => {
                    let value = self.value()?;
                    open.last_mut()?.1.0.push((name, value));
                }
                _ => return None,
            }
        }
    }

    fn count(&mut self) -> Option<()> {
        self.values = self.values.saturating_add(1);
        (self.values <= VALUES_MAX).then_some(())
    }

    fn skip_blanks(&mut self) {
        while let Some(byte) = self.bytes.peek() {
            if **byte == b'#' {
                while self.bytes.next().is_some_and(|byte| *byte != b'\n') {}
            } else if byte.is_ascii_whitespace() || **byte == b',' {
                self.bytes.next();
            } else {
                return;
            }
        }
    }

    /// A name or a number: up to a blank or a sign of the grammar.
    fn word(&mut self) -> Option<String> {
        let mut word = Vec::new();
        while let Some(byte) = self.bytes.peek() {
            if byte.is_ascii_whitespace()
                || matches!(**byte, b'{' | b'}' | b'=' | b'[' | b']' | b',' | b'"' | b'#')
            {
                break;
            }
            word.push(**byte);
            self.bytes.next();
        }
        (!word.is_empty()).then(|| escape(&word).into_owned())
    }

    fn value(&mut self) -> Option<Value> {
        self.skip_blanks();
        if self.bytes.peek().copied() != Some(&b'[') {
            return self.scalar();
        }
        self.bytes.next();
        let mut list = Vec::new();
        loop {
            self.skip_blanks();
            if self.bytes.peek().copied()? == &b']' {
                self.bytes.next();
                return Some(Value::List(list));
            }
            self.count()?;
            list.push(self.scalar()?);
        }
    }

    fn scalar(&mut self) -> Option<Value> {
        if self.bytes.peek().copied()? == &b'"' {
            self.bytes.next();
            return self.string().map(Value::Text);
        }
        let word = self.word()?;
        Some(word.parse().map_or(Value::Text(word), Value::Number))
    }

    fn string(&mut self) -> Option<String> {
        let mut text = Vec::new();
        loop {
            match self.bytes.next()? {
                b'"' => return Some(escape(&text).into_owned()),
                b'\\' => text.push(*self.bytes.next()?),
                byte => text.push(*byte),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sections_lists_and_comments_are_parsed() {
        let text = b"vg0 {\n# a comment\nid = \"a-b\"\nseqno = 3\nstatus = [\"READ\", \"WRITE\"]\nflags = []\npv { dev = \"x\\\"y\" }\n}\n\0junk{";
        let (root, is_whole) = parse(text);
        assert!(is_whole);
        let group = root.section("vg0").expect("a section");
        assert_eq!((group.text("id"), group.number("seqno")), (Some("a-b"), Some(3)));
        assert_eq!(group.list("status").len(), 2);
        assert_eq!(group.section("pv").and_then(|pv| pv.text("dev")), Some("x\"y"));
    }

    #[test]
    fn what_stands_before_an_error_counts() {
        let (root, is_whole) = parse(b"vg0 {\nseqno = 3\nlv {\nid = \"a\"\n");
        assert!(!is_whole);
        let group = root.section("vg0").expect("a section");
        assert_eq!(group.section("lv").and_then(|lv| lv.text("id")), Some("a"));
        assert!(!parse(b"}").1);
        assert!(!parse("a{".repeat(100).as_bytes()).1);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[a-z0-9{}=\\[\\]\",# \n\\\\]{0,200}") {
            parse(text.as_bytes());
        }
    }
}
