//! Comparing a tree with the preferred one before it is emitted (R18).
//!
//! Both trees are walked side by side. A file with content is the same file if its first byte and length are; entries without content are
//! paired within directories that were paired. What remains stands only in one tree: it is listed, and reported.

use std::collections::{HashMap, HashSet, VecDeque};

use ntt_model::{ByteRange, Kind, Namespace};

use super::directory::{DirectoryReader, Entry, Item};
use super::disc::Disc;
use super::known::KnownFiles;
use super::number;
use super::pairing::{Bare, folded, pair};
use super::tree::Tree;
use crate::ScanOptions;

/// What comparing a tree with the preferred one found.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Entries without content: inode of the preferred tree by the number the record would have by itself.
    pub(super) pairs: HashMap<u64, u64>,
    /// Numbers of files, and of directories, that stand only in this tree.
    pub(super) only_here: HashSet<u64>,
    /// Directories of this tree that lead to something that stands only here.
    pub(super) leads: HashSet<u64>,
    /// Records without content of the preferred tree that this one lacks.
    pub(super) missing: Vec<u64>,
}

/// A directory of the compared tree and, if it was paired, of the preferred one.
struct Step {
    other: ByteRange,
    main: Option<ByteRange>,
    depth: u32,
}

/// A subdirectory.
struct Child {
    bare: Bare,
    range: ByteRange,
}

/// The entries without content of one directory.
#[derive(Default)]
struct BareEntries {
    files: Vec<Bare>,
    directories: Vec<Child>,
}

pub(super) struct Comparer<'d, 's> {
    disc: &'d Disc<'s>,
    options: &'d ScanOptions,
    main: &'d Tree,
    other: &'d Tree,
    known: &'d mut KnownFiles,
    found: Comparison,
    parents: HashMap<u64, u64>,
    queue: VecDeque<Step>,
}

impl<'d, 's> Comparer<'d, 's> {
    /// Compares `other` with `main`, whose files are in `known`.
    pub(super) fn compare(
        disc: &'d Disc<'s>,
        options: &'d ScanOptions,
        (main, other): (&'d Tree, &'d Tree),
        known: &'d mut KnownFiles,
    ) -> Comparison {
        known.start_comparison();
        let mut comparer = Self {
            disc,
            options,
            main,
            other,
            known,
            found: Comparison::default(),
            parents: HashMap::from([(number::directory(other.root.offset), 0)]),
            queue: VecDeque::from([Step {
                other: other.root,
                main: Some(main.root),
                depth: 0,
            }]),
        };
        while let Some(step) = comparer.queue.pop_front() {
            comparer.step(&step);
        }
        comparer.found
    }

    /// Whether the trees name by the same convention, so that equal things have equal names.
    fn same_convention(&self) -> bool {
        self.main.namespace == self.other.namespace
    }

    fn step(&mut self, step: &Step) {
        let directory = number::directory(step.other.offset);
        let mut lonely = Vec::new();
        let known = &mut *self.known;
        let others = bare_entries(
            self.disc,
            self.options,
            self.other,
            step.other,
            &mut |entry, key| {
                if known.meet(key).is_none() {
                    lonely.push(number::record(entry.offset));
                }
            },
        );
        for number in lonely {
            self.stands_alone(number, directory);
        }
        let mains = match step.main {
            Some(range) if !others.files.is_empty() || !others.directories.is_empty() => {
                bare_entries(self.disc, self.options, self.main, range, &mut |_, _| {})
            }
            _ => BareEntries::default(),
        };
        self.pair_files(&mains, &others, directory);
        self.pair_directories(&mains, others.directories, step);
    }

    /// Notes that something stands only in this tree, and that all directories above lead to it.
    fn stands_alone(&mut self, number: u64, directory: u64) {
        self.found.only_here.insert(number);
        let mut at = directory;
        while at != 0 && self.found.leads.insert(at) {
            at = self.parents.get(&at).copied().unwrap_or(0);
        }
    }

    fn pair_files(&mut self, mains: &BareEntries, others: &BareEntries, directory: u64) {
        let emitted = |bare: &Bare| self.known.empty_inode(number::record(bare.offset)).is_some();
        let candidates: Vec<Bare> = mains.files.iter().filter(|bare| emitted(bare)).cloned().collect();
        let natured = self.same_convention() && self.main.namespace == Namespace::RockRidge;
        let strip = |bares: &[Bare]| {
            bares
                .iter()
                .cloned()
                .map(|bare| without_nature(bare, natured))
                .collect()
        };
        let (main_files, other_files): (Vec<Bare>, Vec<Bare>) = (strip(&candidates), strip(&others.files));
        let pairs = pair(&main_files, &other_files, !self.same_convention());
        for (main, other) in &pairs.pairs {
            if let (Some(main), Some(other)) = (main_files.get(*main), other_files.get(*other))
                && let Some(inode) = self.known.empty_inode(number::record(main.offset))
            {
                self.found.pairs.insert(number::record(other.offset), inode);
            }
        }
        for bare in pairs.other.iter().filter_map(|index| other_files.get(*index)) {
            self.stands_alone(number::record(bare.offset), directory);
        }
        // Links, pipes and devices have no place in a tree without Rock Ridge: only plain files can be missing from it.
        let missing = pairs.main.iter().filter_map(|index| candidates.get(*index));
        let plain = missing.filter(|bare| bare.nature == nature_of_plain_file());
        self.found
            .missing
            .extend(plain.map(|bare| number::record(bare.offset)));
    }

    fn pair_directories(&mut self, mains: &BareEntries, others: Vec<Child>, step: &Step) {
        let bares = |children: &[Child]| children.iter().map(|child| child.bare.clone()).collect();
        let (main_bares, other_bares): (Vec<Bare>, Vec<Bare>) = (bares(&mains.directories), bares(&others));
        let pairs = pair(&main_bares, &other_bares, !self.same_convention());
        let paired: HashMap<usize, usize> = pairs.pairs.iter().map(|(main, other)| (*other, *main)).collect();
        let parent = number::directory(step.other.offset);
        for (index, child) in others.into_iter().enumerate() {
            let directory = number::directory(child.range.offset);
            if self.parents.contains_key(&directory) {
                continue;
            }
            self.parents.insert(directory, parent);
            let main = paired.get(&index).and_then(|main| mains.directories.get(*main));
            if main.is_none() {
                self.stands_alone(directory, parent);
                self.found.leads.insert(directory);
            }
            if step.depth < self.options.limits.depth {
                self.queue.push_back(Step {
                    other: child.range,
                    main: main.map(|main| main.range),
                    depth: step.depth.saturating_add(1),
                });
            }
        }
    }
}

fn without_nature(bare: Bare, keep: bool) -> Bare {
    Bare {
        nature: if keep { bare.nature } else { Vec::new() },
        ..bare
    }
}

fn nature_of_plain_file() -> Vec<u8> {
    format!("{:?}", (Kind::File, None::<Vec<u8>>, None::<(u32, u32)>)).into_bytes()
}

/// Reads one directory: entries without content are returned, files with content handed to `file`. Findings are left to the
/// walk that emits the tree. Stops where that walk stops.
fn bare_entries(
    disc: &Disc<'_>,
    options: &ScanOptions,
    tree: &Tree,
    range: ByteRange,
    file: &mut dyn FnMut(&Entry, (u64, u64)),
) -> BareEntries {
    let mut bare = BareEntries::default();
    let leave = options.leave_after.get(&number::directory(range.offset)).copied();
    let mut left = leave
        .unwrap_or(u64::MAX)
        .min(options.limits.entries_per_directory);
    for item in DirectoryReader::new(disc, tree.format, range) {
        let Item::Entry(entry) = item else {
            continue;
        };
        if left == 0 {
            break;
        }
        left = left.saturating_sub(1);
        if entry.rock_ridge.relocated {
            continue;
        }
        if let Some(range) = tree.directory_of(disc, &entry) {
            let bare_entry = bare_of(tree, &entry);
            bare.directories.push(Child {
                bare: bare_entry,
                range,
            });
        } else if let Some(key) = content_key(tree, &entry) {
            file(&entry, key);
        } else {
            bare.files.push(bare_of(tree, &entry));
        }
    }
    bare
}

/// Where the content starts and how long it is; `None` without content.
pub(super) fn content_key(tree: &Tree, entry: &Entry) -> Option<(u64, u64)> {
    let size = entry.size_bytes();
    let first = entry.sections.first().filter(|_| size > 0)?;
    Some((first.data_offset(tree.format.block_bytes), size))
}

fn bare_of(tree: &Tree, entry: &Entry) -> Bare {
    let rock_ridge = &entry.rock_ridge;
    let kind = rock_ridge.kind().unwrap_or(Kind::File);
    Bare {
        offset: entry.offset,
        name: folded(&tree.names(entry).preferred.1),
        nature: if entry.is_directory() || rock_ridge.child.is_some() {
            Vec::new()
        } else {
            format!("{:?}", (kind, &rock_ridge.target, rock_ridge.device)).into_bytes()
        },
        date: entry.date,
    }
}
