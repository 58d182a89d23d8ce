//! What every match of a pattern contains, so that the index can pass over what cannot match.
//!
//! The walk over a regular expression's parsed form gathers strings of bytes, the case of ASCII letters folded, with the start and the end of the
//! text as characters of their own. It may find less than there is, never more: every match has a literal of each clause.

use regex_syntax::hir::{Class, Hir, HirKind, Look};

use crate::trigram::{BYTES, EDGE};

/// Alternatives of one string that are followed up; more end it.
const ALTERNATIVES_MAX: usize = 16;
/// Alternatives of a clause over several branches.
const BRANCHES_MAX: usize = 64;
/// Longer strings are cut: so many bytes tell enough.
const LITERAL_MAX: usize = 64;
/// Copies of a repeated part that are spelled out.
const REPEATS_MAX: u32 = 8;
/// Nested deeper than any pattern that a person writes; nothing is known of what lies below.
const DEPTH_MAX: u32 = 64;

/// A match holds at least one of these strings.
pub(crate) type Clause = Vec<Vec<u8>>;

/// The start of the text.
const START: u16 = 256;
/// The end of the text.
const END: u16 = 257;

/// Bytes and edges.
type Symbols = Vec<u16>;

/// The clauses of an expression that the index can tell of. An edge of the text is a `/`, as there.
pub(crate) fn clauses(hir: &Hir) -> Vec<Clause> {
    let mut info = look(hir, DEPTH_MAX);
    if let Some(exact) = info.exact.take() {
        info.add(&exact);
    }
    info.clauses.retain(|clause| weight(clause) >= BYTES);
    info.clauses
}

/// What every match ends with: one of these, the case of ASCII letters folded; empty if nothing is known.
pub(crate) fn suffixes(hir: &Hir) -> Vec<Vec<u8>> {
    let HirKind::Concat(parts) = hir.kind() else {
        return Vec::new();
    };
    let mut run: Vec<Symbols> = vec![Vec::new()];
    for part in parts.iter().rev() {
        let strings = look(part, DEPTH_MAX).exact;
        match strings.and_then(|strings| product(&strings, &run)) {
            Some(longer) => run = longer,
            None => break,
        }
    }
    let suffix = |string: &Symbols| {
        let (last, rest) = string.split_last()?;
        let bytes: Option<Vec<u8>> = rest.iter().map(|symbol| u8::try_from(*symbol).ok()).collect();
        bytes.filter(|bytes| *last == END && !bytes.is_empty())
    };
    run.iter().map(suffix).collect::<Option<_>>().unwrap_or_default()
}

/// What is known of an expression.
#[derive(Default)]
struct Info {
    /// All strings that it can match, if they are few.
    exact: Option<Vec<Symbols>>,
    /// What its matches contain, if they are many.
    clauses: Vec<Clause>,
}

impl Info {
    fn exact(strings: Vec<Symbols>) -> Self {
        Self {
            exact: Some(strings),
            clauses: Vec::new(),
        }
    }

    fn add(&mut self, strings: &[Symbols]) {
        let clause: Clause = strings.iter().map(|string| bytes_of(string)).collect();
        if !clause.is_empty() && clause.iter().all(|literal| !literal.is_empty()) {
            self.clauses.push(clause);
        }
    }

    /// The clause that rules out most.
    fn best(mut self) -> Option<Clause> {
        if let Some(exact) = self.exact.take() {
            self.add(&exact);
        }
        self.clauses.into_iter().max_by_key(weight)
    }
}

/// How much a clause rules out: the length of its shortest literal.
pub(crate) fn weight(clause: &Clause) -> usize {
    clause.iter().map(Vec::len).min().unwrap_or(0)
}

/// The bytes of a string: edges at its ends are a `/`. An edge in the middle means that it never matches: then what stands before it is enough.
fn bytes_of(string: &[u16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(string.len());
    let (mut seen_byte, mut ended) = (false, false);
    for symbol in string {
        match u8::try_from(*symbol) {
            Ok(_) if ended => break,
            Ok(byte) => {
                bytes.push(byte);
                seen_byte = true;
            }
            Err(_) if *symbol == START && seen_byte => break,
            Err(_) if *symbol == START => bytes = vec![EDGE],
            Err(_) if !ended => {
                bytes.push(EDGE);
                ended = true;
            }
            Err(_) => {}
        }
    }
    bytes
}

fn look(hir: &Hir, depth: u32) -> Info {
    let Some(depth) = depth.checked_sub(1) else {
        return Info::default();
    };
    match hir.kind() {
        HirKind::Empty => Info::exact(vec![Vec::new()]),
        HirKind::Look(Look::Start) => Info::exact(vec![vec![START]]),
        HirKind::Look(Look::End) => Info::exact(vec![vec![END]]),
        HirKind::Look(_) => Info::exact(vec![Vec::new()]),
        HirKind::Literal(literal) => Info::exact(vec![folded(&literal.0)]),
        HirKind::Class(class) => class_strings(class).map_or_else(Info::default, Info::exact),
        HirKind::Capture(capture) => look(&capture.sub, depth),
        HirKind::Repetition(repetition) => {
            repeated(look(&repetition.sub, depth), repetition.min, repetition.max)
        }
        HirKind::Concat(parts) => concatenated(parts.iter().map(|part| look(part, depth))),
        HirKind::Alternation(branches) => either(branches.iter().map(|branch| look(branch, depth))),
    }
}

fn folded(bytes: &[u8]) -> Symbols {
    bytes
        .iter()
        .map(|byte| u16::from(byte.to_ascii_lowercase()))
        .collect()
}

/// The strings of a class, if they are few.
fn class_strings(class: &Class) -> Option<Vec<Symbols>> {
    let mut strings: Vec<Symbols> = Vec::new();
    match class {
        Class::Unicode(class) => {
            for range in class.ranges() {
                for character in (range.start()..=range.end()).take(ALTERNATIVES_MAX + 1) {
                    strings.push(folded(character.encode_utf8(&mut [0; 4]).as_bytes()));
                }
                if strings.len() > ALTERNATIVES_MAX {
                    return None;
                }
            }
        }
        Class::Bytes(class) => {
            for range in class.ranges() {
                strings.extend((range.start()..=range.end()).map(|byte| folded(&[byte])));
            }
        }
    }
    strings.sort_unstable();
    strings.dedup();
    (strings.len() <= ALTERNATIVES_MAX).then_some(strings)
}

fn repeated(info: Info, min: u32, max: Option<u32>) -> Info {
    match (info.exact, min, max) {
        (Some(strings), 0, Some(1)) => Info::exact([vec![Vec::new()], strings].concat()),
        (_, 0, _) => Info::default(),
        (Some(strings), 1, Some(1)) => Info::exact(strings),
        (Some(strings), min, max) if strings.len() == 1 => {
            let copies = min.min(REPEATS_MAX);
            let string = vec![strings.concat().repeat(usize::try_from(copies).unwrap_or(1))];
            if max == Some(copies) {
                return Info::exact(string);
            }
            let mut info = Info::default();
            info.add(&string);
            info
        }
        (Some(strings), ..) => {
            let mut info = Info::default();
            info.add(&strings);
            info
        }
        (None, ..) => Info {
            exact: None,
            clauses: info.clauses,
        },
    }
}

fn concatenated(parts: impl Iterator<Item = Info>) -> Info {
    let mut whole = Info::default();
    let mut run: Vec<Symbols> = vec![Vec::new()];
    let mut is_exact = true;
    for mut part in parts {
        let joined = part.exact.as_deref().and_then(|strings| product(&run, strings));
        if let Some(joined) = joined {
            run = joined;
            continue;
        }
        is_exact = false;
        whole.add(&run);
        whole.clauses.append(&mut part.clauses);
        run = part.exact.unwrap_or_else(|| vec![Vec::new()]);
    }
    if is_exact {
        return Info::exact(run);
    }
    whole.add(&run);
    whole
}

/// Every one of `left` followed by every one of `right`, if they are few and short.
fn product(left: &[Symbols], right: &[Symbols]) -> Option<Vec<Symbols>> {
    if left.len().checked_mul(right.len())? > ALTERNATIVES_MAX {
        return None;
    }
    let mut all = Vec::new();
    for left in left {
        for right in right {
            if left.len() + right.len() > LITERAL_MAX {
                return None;
            }
            all.push([left.as_slice(), right].concat());
        }
    }
    Some(all)
}

fn either(branches: impl Iterator<Item = Info>) -> Info {
    let branches: Vec<Info> = branches.collect();
    let exact: Option<Vec<&[Symbols]>> = branches.iter().map(|branch| branch.exact.as_deref()).collect();
    if let Some(exact) = exact {
        let all = exact.concat();
        if all.len() <= ALTERNATIVES_MAX {
            return Info::exact(all);
        }
    }
    let mut clause = Clause::new();
    for branch in branches {
        match branch.best() {
            Some(mut alternatives) => clause.append(&mut alternatives),
            None => return Info::default(),
        }
    }
    let clauses = if clause.len() <= BRANCHES_MAX {
        vec![clause]
    } else {
        Vec::new()
    };
    Info { exact: None, clauses }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(regex: &str) -> Vec<Vec<String>> {
        let mut parser = regex_syntax::ParserBuilder::new().utf8(false).build();
        let hir = parser.parse(regex).expect("well-formed");
        let text = |literal: &Vec<u8>| String::from_utf8_lossy(literal).into_owned();
        let clauses = clauses(&hir);
        clauses
            .iter()
            .map(|clause| clause.iter().map(text).collect())
            .collect()
    }

    #[test]
    fn literals_are_found_between_what_varies() {
        assert_eq!(of("IMG_[0-9]+\\.jpe?g"), [vec!["img_"], vec![".jpg", ".jpeg"]]);
        assert_eq!(of("^report.*\\.pdf$"), [["/report"], [".pdf/"]]);
        assert_eq!(of("(one|two).three"), vec![vec!["one", "two"], vec!["three"]]);
        assert_eq!(of("(ab){3}x"), [["abababx"]]);
        assert_eq!(of("(abc)+x"), [["abc"]]);
    }

    #[test]
    fn what_may_be_absent_is_not_wanted() {
        for regex in ["(abc)*", ".*", "abc|.*", "(abc)?", "[^a]"] {
            assert_eq!(of(regex), Vec::<Vec<String>>::new(), "{regex}");
        }
    }

    #[test]
    fn what_ends_the_text_is_a_suffix() {
        let of = |regex: &str| {
            let mut parser = regex_syntax::ParserBuilder::new().utf8(false).build();
            suffixes(&parser.parse(regex).expect("well-formed"))
        };
        assert_eq!(of("^a.*\\.JPE?G$"), [b".jpg".to_vec(), b".jpeg".to_vec()]);
        for regex in ["a.*\\.jpg", "a.*(\\.jpg$|b)", "a.*$", "a.*b$$", "(?m)a.*b$"] {
            assert!(of(regex).is_empty(), "{regex}");
        }
    }

    #[test]
    fn folding_keeps_the_letters_that_fold_to_others() {
        // U+212A, the Kelvin sign, folds to k.
        assert_eq!(of("(?i)make"), [["make", "ma\u{212a}e"]]);
        assert_eq!(of("(?i)BUD"), [["bud"]]);
    }

    #[test]
    fn edges_are_slashes_once() {
        assert_eq!(of("^(^ab$)$"), [["/ab/"]]);
        assert_eq!(of("(^|x)ab"), [["/ab", "xab"]]);
        assert_eq!(of("(?m)^abc"), [["abc"]]);
        assert_eq!(of("abc^d"), [["abc"]]);
    }
}
