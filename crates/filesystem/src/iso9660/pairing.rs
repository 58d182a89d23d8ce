//! Pairing the entries without content of two directories: empty files and subdirectories have no extents to meet by.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// What two trees can agree on of an entry without content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Bare {
    /// Position of its record.
    pub(super) offset: u64,
    /// Its name, folded by [`folded`].
    pub(super) name: Vec<u8>,
    /// Kind, link target and device number, where both trees have them.
    pub(super) nature: Vec<u8>,
    /// Recording date, undecoded.
    pub(super) date: [u8; 7],
}

/// A name as it compares across conventions: ASCII lower case, without version number and trailing dot.
pub(super) fn folded(name: &[u8]) -> Vec<u8> {
    let end = name.iter().rposition(|byte| *byte == b';').unwrap_or(name.len());
    let versioned = name.get(end..).unwrap_or_default();
    let is_version = versioned.iter().skip(1).all(u8::is_ascii_digit);
    let stem = if is_version {
        name.get(..end).unwrap_or(name)
    } else {
        name
    };
    stem.strip_suffix(b".").unwrap_or(stem).to_ascii_lowercase()
}

/// Pairs entries of `main` and `other`: by name first; if `loose` (the trees name by different conventions, so that names
/// were shortened and changed) then by date and beginning, by date, and at last by order if equally many remain.
/// Gives indices into both, then the indices of `other` that remain, then those of `main`.
pub(super) fn pair(main: &[Bare], other: &[Bare], loose: bool) -> Pairs {
    let mut pairs = Pairs {
        pairs: Vec::new(),
        main: (0..main.len()).collect(),
        other: (0..other.len()).collect(),
    };
    pairs.by(main, other, |bare| (bare.name.clone(), bare.nature.clone()));
    if loose {
        pairs.by(main, other, |bare| (bare.date, beginning(&bare.name)));
        pairs.by(main, other, |bare| bare.date);
        if pairs.main.len() == pairs.other.len() {
            pairs.by(main, other, |_| ());
        }
    }
    pairs
}

/// Letters and digits at the start of a name, which shortening keeps.
fn beginning(name: &[u8]) -> Vec<u8> {
    name.iter()
        .filter(|byte| byte.is_ascii_alphanumeric())
        .take(4)
        .copied()
        .collect()
}

/// Indices of entries that belong together, and of those left over.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    /// Index in `main`, index in `other`.
    pub(super) pairs: Vec<(usize, usize)>,
    pub(super) main: Vec<usize>,
    pub(super) other: Vec<usize>,
}

impl Pairs {
    /// Pairs what remains by a key, equal keys in order.
    fn by<K: Hash + Eq>(&mut self, main: &[Bare], other: &[Bare], key: impl Fn(&Bare) -> K) {
        if self.main.is_empty() || self.other.is_empty() {
            return;
        }
        let mut waiting: HashMap<K, VecDeque<usize>> = HashMap::new();
        for index in std::mem::take(&mut self.main) {
            if let Some(bare) = main.get(index) {
                waiting.entry(key(bare)).or_default().push_back(index);
            }
        }
        let pairs = &mut self.pairs;
        self.other.retain(|index| {
            let found = other
                .get(*index)
                .and_then(|bare| waiting.get_mut(&key(bare))?.pop_front());
            pairs.extend(found.map(|main| (main, *index)));
            found.is_none()
        });
        self.main = waiting.into_values().flatten().collect();
        self.main.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(name: &[u8], second: u8) -> Bare {
        Bare {
            offset: 0,
            name: folded(name),
            nature: Vec::new(),
            date: [0, 0, 0, 0, 0, second, 0],
        }
    }

    #[test]
    fn names_are_folded_across_conventions() {
        assert_eq!(folded(b"README.;1"), b"readme");
        assert_eq!(folded(b"A;B"), b"a;b");
        assert_eq!(folded(b"Read Me.txt"), b"read me.txt");
    }

    #[test]
    fn shortened_names_are_paired_by_date_and_beginning_then_by_order() {
        let main = [bare(b"LONG_NAM.TXT;1", 1), bare(b"A.;1", 2), bare(b"B.;1", 3)];
        let other = [bare(b"b", 3), bare(b"long name.txt", 1), bare(b"\xc3\xa4", 9)];
        let pairs = pair(&main, &other, true);
        assert_eq!(pairs.pairs, [(2, 0), (0, 1), (1, 2)]);
        let strict = pair(&main, &other, false);
        assert_eq!(strict.pairs, [(2, 0)]);
        assert_eq!(strict.other, [1, 2]);
        assert_eq!(strict.main, [0, 1]);
    }
}
