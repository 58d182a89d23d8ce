//! Two trees compared, aspect by aspect, and differences that are explained.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::lab::tree::{Entry, Sum, Tree};

/// What is compared of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// That the path is there, byte for byte.
    Names,
    /// File, directory, link, pipe, device.
    Kinds,
    /// Length in bytes.
    Sizes,
    /// Modification time, to the second.
    Times,
    /// Target of a symbolic link.
    Targets,
    /// SHA-256 of the content, read through the extents.
    Contents,
}

impl Aspect {
    /// All of them, in the order of the table's columns.
    pub const ALL: [Self; 6] = [
        Self::Names,
        Self::Kinds,
        Self::Sizes,
        Self::Times,
        Self::Targets,
        Self::Contents,
    ];
}

impl fmt::Display for Aspect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Names => "names",
            Self::Kinds => "kinds",
            Self::Sizes => "sizes",
            Self::Times => "times",
            Self::Targets => "targets",
            Self::Contents => "contents",
        })
    }
}

/// Something on which the reader and a judge do not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Who says otherwise: `truth` or a referee.
    pub judge: &'static str,
    /// In what.
    pub aspect: Aspect,
    /// The path; empty for a content compared without its name.
    pub path: Vec<u8>,
    /// What each side says.
    pub detail: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.escape_ascii();
        write!(
            formatter,
            "{}: {} of \"{path}\": {}",
            self.judge, self.aspect, self.detail
        )
    }
}

/// A difference in which we can show the judge wrong, or in which both are right.
#[derive(Debug, Clone, Copy)]
pub struct Explained {
    /// Who says otherwise.
    pub judge: &'static str,
    /// In what.
    pub aspect: Aspect,
    /// Which of these differences it explains.
    pub holds: fn(&Difference) -> bool,
    /// The explanation, for the table.
    pub why: &'static str,
}

impl Explained {
    /// Whether it explains a difference.
    pub fn explains(&self, difference: &Difference) -> bool {
        (self.judge, self.aspect) == (difference.judge, difference.aspect) && (self.holds)(difference)
    }
}

/// The outcome of a comparison.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    /// How many were compared of each aspect.
    pub compared: BTreeMap<Aspect, usize>,
    /// Where they differ.
    pub differences: Vec<Difference>,
}

impl Comparison {
    /// How many agreed in an aspect.
    pub fn agreed(&self, aspect: Aspect) -> usize {
        let compared = self.compared.get(&aspect).copied().unwrap_or(0);
        let different = self
            .differences
            .iter()
            .filter(|difference| difference.aspect == aspect);
        compared.saturating_sub(different.count())
    }
}

/// Compares what we list with what a judge says, in the aspects in which it is believed.
pub fn compare(ours: &Tree, theirs: &Tree, judge: &'static str, aspects: &[Aspect]) -> Comparison {
    let mut comparer = Comparer {
        judge,
        outcome: Comparison::default(),
    };
    if aspects.contains(&Aspect::Names) {
        comparer.by_path(ours, theirs, aspects);
    } else {
        comparer.contents_only(ours, theirs);
    }
    comparer.outcome
}

struct Comparer {
    judge: &'static str,
    outcome: Comparison,
}

impl Comparer {
    fn by_path(&mut self, ours: &Tree, theirs: &Tree, aspects: &[Aspect]) {
        let tells_streams = theirs.entries.iter().any(|entry| entry.stream.is_some());
        let mut ours = ours.by_path();
        ours.retain(|(_, stream), _| tells_streams || stream.is_none());
        let theirs = theirs.by_path();
        let paths: BTreeSet<_> = ours.keys().chain(theirs.keys()).copied().collect();
        for key in paths {
            *self.outcome.compared.entry(Aspect::Names).or_default() += 1;
            match (ours.get(&key), theirs.get(&key)) {
                (Some(our), Some(their)) => self.entry(our, their, aspects),
                (our, _) => {
                    let only = if our.is_some() { "only ours" } else { "missing" };
                    let path = [key.0, key.1.map_or(&b""[..], |_| b":"), key.1.unwrap_or_default()].concat();
                    self.differ(Aspect::Names, &path, only.to_owned());
                }
            }
        }
    }

    fn entry(&mut self, our: &Entry, their: &Entry, aspects: &[Aspect]) {
        let target = |entry: &Entry| {
            entry
                .target
                .as_ref()
                .map(|target| target.escape_ascii().to_string())
        };
        let content = |entry: &Entry| entry.content.map(hexadecimal);
        for aspect in aspects {
            match aspect {
                Aspect::Names => {}
                Aspect::Kinds => self.values(*aspect, our, [&our.kind, &their.kind]),
                Aspect::Sizes => self.values(*aspect, our, [&our.size_bytes, &their.size_bytes]),
                Aspect::Times => self.values(*aspect, our, [&our.modified, &their.modified]),
                Aspect::Targets => self.values(*aspect, our, [&target(our), &target(their)]),
                Aspect::Contents => self.values(*aspect, our, [&content(our), &content(their)]),
            }
        }
    }

    /// Values are compared where the judge tells one.
    fn values<T: PartialEq + fmt::Debug>(
        &mut self,
        aspect: Aspect,
        our: &Entry,
        [ours, theirs]: [&Option<T>; 2],
    ) {
        if theirs.is_none() {
            return;
        }
        *self.outcome.compared.entry(aspect).or_default() += 1;
        if ours != theirs {
            self.differ(aspect, &our.path, format!("{ours:?}, theirs {theirs:?}"));
        }
    }

    fn contents_only(&mut self, ours: &Tree, theirs: &Tree) {
        let (our, their) = (ours.contents(), theirs.contents());
        self.outcome
            .compared
            .insert(Aspect::Contents, our.union(&their).count());
        for entry in &ours.entries {
            let is_ours = entry
                .content
                .is_some_and(|sum| our.contains(&sum) && !their.contains(&sum));
            if is_ours {
                self.differ(Aspect::Contents, &entry.path, "only ours".to_owned());
            }
        }
        for entry in &theirs.entries {
            if entry
                .content
                .is_some_and(|sum| their.contains(&sum) && !our.contains(&sum))
            {
                self.differ(Aspect::Contents, &entry.path, "missing".to_owned());
            }
        }
    }

    fn differ(&mut self, aspect: Aspect, path: &[u8], detail: String) {
        self.outcome.differences.push(Difference {
            judge: self.judge,
            aspect,
            path: path.to_vec(),
            detail,
        });
    }
}

fn hexadecimal(sum: Sum) -> String {
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, u64)]) -> Tree {
        let entry = |(path, size): &(&str, u64)| Entry {
            path: path.as_bytes().to_vec(),
            size_bytes: Some(*size),
            content: Some([u8::try_from(*size).expect("small"); 32]),
            ..Entry::default()
        };
        Tree {
            entries: entries.iter().map(entry).collect(),
        }
    }

    #[test]
    fn every_kind_of_difference_is_told() {
        let (ours, theirs) = (
            tree(&[("a", 1), ("b", 2), ("c", 3)]),
            tree(&[("a", 1), ("b", 4), ("d", 3)]),
        );
        let outcome = compare(&ours, &theirs, "judge", &[Aspect::Names, Aspect::Sizes]);
        let told: Vec<_> = outcome.differences.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "judge: sizes of \"b\": Some(2), theirs Some(4)",
                "judge: names of \"c\": only ours",
                "judge: names of \"d\": missing"
            ]
        );
        assert_eq!(
            outcome.compared,
            BTreeMap::from([(Aspect::Names, 4), (Aspect::Sizes, 2)])
        );
        let by_content = compare(&ours, &theirs, "judge", &[Aspect::Contents]);
        let told: Vec<_> = by_content
            .differences
            .iter()
            .map(|difference| &difference.detail[..])
            .collect();
        assert_eq!(told, ["only ours", "missing"]);
    }
}
