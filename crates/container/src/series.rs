//! Names of the files that an image is split over.
//!
//! A name decides what may belong together, and the format decides whether it does. Raw parts say nothing of themselves, so only names that programs give to
//! parts count: `x.001`, `x.000`, `x.part00`, `x.aa`; `disk1` and `disk2` are two disks.

/// Names that follow the first of a series; nothing if the name starts none.
pub fn names(first: &[u8]) -> impl Iterator<Item = Vec<u8>> + use<> {
    let series = Series::of(first);
    std::iter::successors(series, Series::next)
        .skip(1)
        .map(|series| series.name())
}

/// Whether a name is that of the first file of a series of raw parts.
pub fn starts_raw(name: &[u8]) -> bool {
    matches!(
        Series::of(name),
        Some(Series {
            counter: Counter::Decimal { .. } | Counter::Letters(_),
            ..
        })
    )
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Series {
    stem: Vec<u8>,
    counter: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Counter {
    /// `001`, with its width.
    Decimal { value: u32, width: usize },
    /// `aa`, `aaa`: GNU split.
    Letters(Vec<u8>),
    /// EnCase: `E01` to `E99`, then `EAA` to `ZZZ`; the case of the letters is that of the first.
    Evidence { letter: u8, number: u32 },
}

/// Segments `E01` to `E99`, then two letters after each of the letters up to Z.
const NUMBERED: u32 = 99;
const LETTERED: u32 = 26 * 26;

impl Series {
    fn of(first: &[u8]) -> Option<Self> {
        Self::evidence(first).or_else(|| Self::raw(first))
    }

    fn evidence(first: &[u8]) -> Option<Self> {
        let (stem, extension) = first.split_last_chunk::<4>()?;
        let [b'.', letter, b'0', b'1'] = extension else {
            return None;
        };
        let known = matches!(letter.to_ascii_lowercase(), b'e' | b's' | b'l');
        let stem = [stem, b"."].concat();
        let counter = Counter::Evidence {
            letter: *letter,
            number: 1,
        };
        known.then_some(Self { stem, counter })
    }

    fn raw(first: &[u8]) -> Option<Self> {
        let is_part = |stem: &[u8]| {
            let lower = stem.to_ascii_lowercase();
            lower.ends_with(b".") || lower.ends_with(b".part") || lower.ends_with(b".part.")
        };
        let digits = first
            .iter()
            .rev()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (stem, tail) = first.split_at(first.len().saturating_sub(digits));
        let value = std::str::from_utf8(tail).ok().and_then(|tail| tail.parse().ok());
        let wide = digits >= 3 || (digits == 2 && !stem.ends_with(b"."));
        if wide && is_part(stem) && matches!(value, Some(0 | 1)) {
            let counter = Counter::Decimal {
                value: value?,
                width: digits,
            };
            return Some(Self {
                stem: stem.to_vec(),
                counter,
            });
        }
        let letters = first.iter().rev().take_while(|byte| **byte == b'a').count();
        let (stem, tail) = first.split_at(first.len().saturating_sub(letters));
        (matches!(letters, 2 | 3) && stem.ends_with(b".")).then(|| Self {
            stem: stem.to_vec(),
            counter: Counter::Letters(tail.to_vec()),
        })
    }

    fn next(&self) -> Option<Self> {
        let counter = match &self.counter {
            Counter::Decimal { value, width } => Counter::Decimal {
                value: value.checked_add(1)?,
                width: *width,
            },
            Counter::Letters(letters) => Counter::Letters(next_letters(letters)?),
            Counter::Evidence { letter, number } => {
                let first = u32::from(letter.to_ascii_lowercase().checked_sub(b'a')?);
                let letters_left = 26_u32.checked_sub(first)?;
                let most = NUMBERED.checked_add(LETTERED.checked_mul(letters_left)?)?;
                let number = number.checked_add(1).filter(|number| *number <= most)?;
                Counter::Evidence {
                    letter: *letter,
                    number,
                }
            }
        };
        Some(Self {
            stem: self.stem.clone(),
            counter,
        })
    }

    fn name(&self) -> Vec<u8> {
        let mut name = self.stem.clone();
        match &self.counter {
            Counter::Decimal { value, width } => name.extend(format!("{value:0width$}").bytes()),
            Counter::Letters(letters) => name.extend(letters),
            Counter::Evidence { letter, number } => name.extend(evidence_extension(*letter, *number)),
        }
        name
    }
}

fn evidence_extension(letter: u8, number: u32) -> Vec<u8> {
    let Some(beyond) = number.checked_sub(NUMBERED.saturating_add(1)) else {
        return format!("{}{number:02}", char::from(letter)).into_bytes();
    };
    let upper = letter.is_ascii_uppercase();
    let of = |base: u8, value: u32| {
        base.saturating_add(u8::try_from(value.checked_rem(26).unwrap_or(0)).unwrap_or(0))
    };
    let base = if upper { b'A' } else { b'a' };
    let first = letter.saturating_add(u8::try_from(beyond.checked_div(LETTERED).unwrap_or(0)).unwrap_or(0));
    let second = of(base, beyond.checked_div(26).unwrap_or(0));
    vec![first, second, of(base, beyond)]
}

/// `ab` after `aa`, `ba` after `az`; nothing after `zz`.
fn next_letters(letters: &[u8]) -> Option<Vec<u8>> {
    let mut next = letters.to_vec();
    for letter in next.iter_mut().rev() {
        if *letter < b'z' {
            *letter = letter.saturating_add(1);
            return Some(next);
        }
        *letter = b'a';
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nth(first: &str, nth: usize) -> Option<String> {
        names(first.as_bytes())
            .nth(nth)
            .map(|name| String::from_utf8(name).expect("ASCII"))
    }

    #[test]
    fn evidence_files_count_to_99_and_go_on_with_letters() {
        let of = |at| nth("case.E01", at);
        assert_eq!(of(0).as_deref(), Some("case.E02"));
        assert_eq!(of(97).as_deref(), Some("case.E99"));
        assert_eq!(of(98).as_deref(), Some("case.EAA"));
        assert_eq!(of(99).as_deref(), Some("case.EAB"));
        assert_eq!(of(98 + 676).as_deref(), Some("case.FAA"));
        assert_eq!(nth("case.e01", 98).as_deref(), Some("case.eaa"));
        assert_eq!(nth("case.s01", 0).as_deref(), Some("case.s02"));
        let last = names(b"x.E01").last().expect("an end");
        assert_eq!(last, b"x.ZZZ");
    }

    #[test]
    fn raw_parts_are_known_by_the_names_that_programs_give() {
        assert_eq!(nth("disk.001", 0).as_deref(), Some("disk.002"));
        assert_eq!(nth("disk.dd.000", 9).as_deref(), Some("disk.dd.010"));
        assert_eq!(nth("disk.part00", 0).as_deref(), Some("disk.part01"));
        assert_eq!(nth("disk.aa", 25).as_deref(), Some("disk.ba"));
        for alone in [
            "disk1",
            "disk01",
            "floppy.01",
            "x.002",
            "disk.img",
            "data",
            "",
            "aa",
            "001",
        ] {
            assert_eq!(nth(alone, 0), None, "{alone}");
        }
        assert!(starts_raw(b"a.001") && !starts_raw(b"a.E01"));
    }
}
