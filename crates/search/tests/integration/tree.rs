//! Trees to index.

use std::path::Path;
use std::sync::Arc;

use ntt_host::{Disk, RealDisk};
use ntt_search::{Error, Identity, Query, SearchFolder, Segment};

/// Directories with their names, in the order of a scan.
pub(crate) type Tree = Vec<(Vec<u8>, Vec<Vec<u8>>)>;

pub(crate) fn identity(tree: &Tree) -> Identity {
    let names: usize = tree.iter().map(|(_, names)| names.len()).sum();
    Identity {
        scan: 7,
        begun: 1,
        sealed: 2,
        directories: 3,
        names: names as u64,
    }
}

pub(crate) fn build_on(disk: Arc<dyn Disk>, root: &Path, tree: &Tree) -> Result<SearchFolder, Error> {
    let folder = SearchFolder::of_archive(disk, root);
    folder.build(&identity(tree), &mut |visit| {
        tree.iter()
            .try_for_each(|(directory, names)| names.iter().try_for_each(|name| visit(directory, name)))
    })?;
    Ok(folder)
}

pub(crate) fn build(root: &Path, tree: &Tree) -> SearchFolder {
    build_on(Arc::new(RealDisk), root, tree).expect("the segment is written")
}

pub(crate) fn open(folder: &SearchFolder, tree: &Tree) -> Segment {
    folder.open(&identity(tree)).expect("whole").expect("there")
}

/// All that a search tells.
pub(crate) fn found(segment: &Segment, query: &Query<'_>) -> Vec<i64> {
    let mut all = Vec::new();
    let answer = segment.search(query, &mut |found| {
        all.extend_from_slice(found);
        true
    });
    assert!(answer.problem.is_none(), "{:?}", answer.problem);
    assert_eq!(answer.searched, segment.names());
    all
}

/// The same without an index.
pub(crate) fn naive(tree: &Tree, query: &Query<'_>) -> Vec<i64> {
    let mut number = 0;
    let mut all = Vec::new();
    for (directory, names) in tree {
        for name in names {
            number += 1;
            let path = if directory.is_empty() {
                name.clone()
            } else {
                [directory.as_slice(), b"/", name].concat()
            };
            if query.name.is_none_or(|matcher| matcher.matches(name))
                && query.path.is_none_or(|matcher| matcher.matches(&path))
            {
                all.push(number);
            }
        }
    }
    all
}

/// A tree of so many directories with so many names each, with what old media hold.
pub(crate) fn large(directories: usize, names: usize) -> Tree {
    const WORDS: [&str; 12] = [
        "Budget",
        "letter",
        "IMG",
        "photo",
        "holiday",
        "Résumé",
        "backup",
        "notes",
        "KIOSK",
        "draft",
        "a",
        "x\u{212a}",
    ];
    const ENDS: [&str; 7] = [".jpg", ".TXT", ".c", ".tar.gz", "", ".doc", "~"];
    let word = |seed: usize| WORDS[seed.wrapping_mul(0x9e37_79b9) / 7 % WORDS.len()];
    let mut tree = vec![(Vec::new(), vec![b"top".to_vec()])];
    for directory in 0..directories {
        let path = format!(
            "{}/{} {}/{}",
            word(directory / 50),
            word(directory / 7),
            directory / 7,
            word(directory + 3)
        );
        let name = |number: usize| {
            let seed = directory * 31 + number;
            let mut name = format!("{}_{seed:04}{}", word(seed), ENDS[seed % ENDS.len()]).into_bytes();
            if seed.is_multiple_of(97) {
                name.extend_from_slice(b"\xff\xfe\n");
            }
            name
        };
        tree.push((path.into_bytes(), (0..names).map(name).collect()));
    }
    tree
}
