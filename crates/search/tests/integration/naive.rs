//! Whatever the index leaves out, a search of all names tells.

use std::collections::HashSet;

use ntt_search::{Pattern, Query};
use proptest::prelude::*;
use proptest::sample::select;

use crate::tree::{Tree, build, found, large, naive, open};

/// Letters whose cases are of different lengths, bytes that are no text among them.
const CASED: &[&[u8]] = &[
    b"k",
    b"K",
    "\u{212a}".as_bytes(),
    b"s",
    "\u{17f}".as_bytes(),
    "\u{e4}".as_bytes(),
    "\u{c4}".as_bytes(),
    b"b",
    b"B",
    b"\xff",
    b"\xe1\x84",
    "\u{3c3}".as_bytes(),
    "\u{3a3}".as_bytes(),
    "\u{3c2}".as_bytes(),
    b".",
];

/// Each letter as what stands for all of its cases; what is no text stays.
fn like(letter: &[u8]) -> &[u8] {
    match std::str::from_utf8(letter) {
        Ok("K" | "\u{212a}") => b"k",
        Ok("\u{17f}") => b"s",
        Ok("\u{c4}") => "\u{e4}".as_bytes(),
        Ok("B") => b"b",
        Ok("\u{3a3}" | "\u{3c2}") => "\u{3c3}".as_bytes(),
        _ => letter,
    }
}

fn cased(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<&'static [u8]>> {
    prop::collection::vec(select(CASED.to_vec()), len)
}

/// Few letters, so that patterns match; bytes that are no text.
const LETTERS: &[u8] = b"aAbk.\xff\x00\n/";

fn bytes(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(select(LETTERS.to_vec()), len)
}

/// Of half of them names hold a `/`, where no file system has one.
fn trees() -> impl Strategy<Value = Tree> {
    let names = |letters: usize| prop::collection::vec(select(LETTERS[..letters].to_vec()), 0..9);
    let tree = move |letters: usize| {
        let directory = (bytes(0..12), prop::collection::vec(names(letters), 1..30));
        prop::collection::vec(directory, 0..30)
    };
    prop_oneof![tree(LETTERS.len() - 1), tree(LETTERS.len())]
}

fn patterns() -> impl Strategy<Value = Pattern> {
    let regexes = [
        "^a",
        "ab+",
        "a.b",
        "(?i)ak",
        "aa|bb",
        "aaa|bbb",
        "^ab/",
        "/b$",
        "a/a",
        "(ab)+a",
        "k{2,}",
        "(?-u)\\xff",
        "^a.*b$",
        "",
        "(?m)^ab",
        "a?b?a?",
        "[ab]{3}",
        "^(aab|bba)",
        "b/[ab]/a",
        "aab/abb",
        "/a",
        "[ab]{2}[k.]$",
        "a[^/]*b",
        "(?s)^.{5}$",
        // Without a machine, and one of too many states to be written out.
        "\\bab",
        "(a|k).{9}b",
    ];
    let globs = [
        "*",
        "a*",
        "*.a",
        "**/*.a",
        "a/**",
        "?b*",
        "{a,b}*",
        "*ab*",
        "a/b*",
        "**/ab",
        "[ab]a*",
        "**/a*/**",
        "**/a*/**/*b",
        "**/a*/*",
        "*/*/*",
        "**/[ab]/**/*.a",
        "a*/**/k*",
    ];
    prop_oneof![
        bytes(0..5).prop_map(Pattern::Substring),
        select(regexes.to_vec()).prop_map(|regex| Pattern::Regex(regex.to_owned())),
        select(globs.to_vec()).prop_map(|glob| Pattern::Glob(glob.as_bytes().to_vec())),
        prop::collection::hash_set(bytes(0..7), 0..5).prop_map(Pattern::Exact),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// R23: any bytes, any pattern: the same answer as a look at every name.
    #[test]
    fn r23_the_index_answers_as_a_look_at_every_name(
        tree in trees(),
        name in prop::option::of(patterns()),
        path in prop::option::of(patterns()),
        ignore_case: bool,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = build(folder.path(), &tree);
        let segment = open(&folder, &tree);
        let compile = |pattern: Option<Pattern>| pattern.map(|one| one.compile(ignore_case).expect("well-formed"));
        let (name, path) = (compile(name), compile(path));
        let query = Query { name: name.as_ref(), path: path.as_ref() };
        prop_assert_eq!(found(&segment, &query), naive(&tree, &query));
    }
}

/// What a pattern means is told by letters that are compared one by one.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Substring,
    Suffix,
    Regex,
    Exact,
}

impl Kind {
    fn pattern(self, typed: &[&[u8]]) -> Pattern {
        let bytes = typed.concat();
        match self {
            Self::Substring => Pattern::Substring(bytes),
            Self::Suffix => Pattern::Glob([b"**/*", bytes.as_slice()].concat()),
            Self::Exact => Pattern::Exact(HashSet::from([bytes, b"no such name".to_vec()])),
            Self::Regex => {
                let one = |letter: &&[u8]| match std::str::from_utf8(letter) {
                    Ok(text) => text.replace('.', "\\."),
                    Err(_) => letter.iter().map(|byte| format!("(?-u:\\x{byte:02x})")).collect(),
                };
                Pattern::Regex(typed.iter().map(one).collect())
            }
        }
    }

    fn is_match(self, typed: &[&[u8]], name: &[&[u8]]) -> bool {
        let fold = |letters: &[&[u8]]| -> Vec<Vec<u8>> {
            letters.iter().map(|letter| like(letter).to_vec()).collect()
        };
        let (typed, name) = (fold(typed), fold(name));
        match self {
            Self::Substring | Self::Regex => {
                typed.is_empty() || name.windows(typed.len()).any(|part| part == typed)
            }
            Self::Suffix => name.ends_with(&typed),
            Self::Exact => name == typed,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// R23: case is ignored alike in every kind of pattern, by the index and without it.
    #[test]
    fn r23_case_is_ignored_letter_by_letter(
        names in prop::collection::vec(cased(1..7), 1..200),
        typed in cased(1..6),
        kind in select(vec![Kind::Substring, Kind::Suffix, Kind::Regex, Kind::Exact]),
        of_path: bool,
    ) {
        let tree: Tree = vec![(Vec::new(), names.iter().map(|name| name.concat()).collect())];
        let folder = tempfile::tempdir().expect("a folder");
        let folder = build(folder.path(), &tree);
        let segment = open(&folder, &tree);
        let matcher = kind.pattern(&typed).compile(true).expect("well-formed");
        let query = if of_path {
            Query { name: None, path: Some(&matcher) }
        } else {
            Query { name: Some(&matcher), path: None }
        };
        let wanted: Vec<i64> = (1..)
            .zip(&names)
            .filter(|(_, name)| kind.is_match(&typed, name))
            .map(|(number, _)| number)
            .collect();
        prop_assert_eq!(&found(&segment, &query), &wanted, "index");
        prop_assert_eq!(&naive(&tree, &query), &wanted, "names");
    }
}

#[test]
fn many_blocks_and_parts_answer_as_a_look_at_every_name() {
    let tree = large(7000, 5);
    let root = tempfile::tempdir().expect("a folder");
    let folder = build(root.path(), &tree);
    let segment = open(&folder, &tree);
    segment.verify().expect("whole");
    let texts = [
        "budget_10",
        "KIOSK",
        ".c",
        "holiday 99",
        "s/IMG",
        "9/",
        "Résumé",
        "x\u{212a}_",
        "zzzz",
        "a",
        "",
    ];
    let mut patterns: Vec<Pattern> = texts
        .iter()
        .map(|text| Pattern::Substring(text.as_bytes().to_vec()))
        .collect();
    for glob in [
        "*.c",
        "IMG_00*",
        "**/kiosk*.tar.gz",
        "Budget/**",
        "top",
        "*_1000.*",
        "{letter,notes}_2*",
        "**/budget*/**/*",
        "**/budget 1*/**/*.c",
        "**/kiosk/*.doc",
        "*/*/*/*/*",
        "**/* 99/**/*.c",
    ] {
        patterns.push(Pattern::Glob(glob.as_bytes().to_vec()));
    }
    for regex in [
        "_0[0-9]{2}7\\.jpg$",
        "(?-u)\\xff",
        "^top$",
        "[Bb]udget [0-9]+/",
        "kiosk|draft_1.*gz",
        "[0-9]7[^.]*c$",
        "(a|e)[^/]*x",
        "\\bnotes 4",
    ] {
        patterns.push(Pattern::Regex(regex.to_owned()));
    }
    for pattern in &patterns {
        for ignore_case in [false, true] {
            let matcher = pattern.compile(ignore_case).expect("well-formed");
            for query in [
                Query {
                    name: Some(&matcher),
                    path: None,
                },
                Query {
                    name: None,
                    path: Some(&matcher),
                },
            ] {
                let found = found(&segment, &query);
                assert_eq!(found, naive(&tree, &query), "{pattern:?} {ignore_case}");
            }
        }
    }
}

/// The names of a directory, and a block of directories, can lie in two parts.
#[test]
fn directories_across_parts_are_searched_in_both() {
    let name = |number: usize| format!("{number}.{}", if number % 100 == 7 { "c" } else { "o" }).into_bytes();
    let directory = |number: usize| {
        let path = format!(
            "{}/{number}",
            if number.is_multiple_of(3) {
                "budget"
            } else {
                "notes"
            }
        );
        (path.into_bytes(), (0..1000).map(name).collect())
    };
    let tree: Tree = (0..270).map(directory).collect();
    let root = tempfile::tempdir().expect("a folder");
    let segment = open(&build(root.path(), &tree), &tree);
    for pattern in [
        Pattern::Glob(b"budget/**".to_vec()),
        Pattern::Glob(b"budget/**/*.c".to_vec()),
        Pattern::Substring(b"t/261/".to_vec()),
        Pattern::Substring(b"999.o".to_vec()),
        Pattern::Exact(HashSet::from([
            b"notes/262/143.o".to_vec(),
            b"notes/262/144.o".to_vec(),
        ])),
    ] {
        let matcher = pattern.compile(false).expect("well-formed");
        let query = Query {
            name: None,
            path: Some(&matcher),
        };
        let found = found(&segment, &query);
        assert!(!found.is_empty());
        assert_eq!(found, naive(&tree, &query), "{pattern:?}");
    }
}

#[test]
fn ten_thousand_names_and_paths_are_found_in_one_pass() {
    let tree = large(3000, 5);
    let root = tempfile::tempdir().expect("a folder");
    let segment = open(&build(root.path(), &tree), &tree);
    let mut names: HashSet<Vec<u8>> = (0..9000)
        .map(|number| format!("none of these {number}").into_bytes())
        .collect();
    let mut paths = names.clone();
    for (directory, here) in tree.iter().step_by(3) {
        names.extend(here.iter().cloned());
        paths.extend(
            here.iter()
                .map(|name| [directory.as_slice(), b"/", name].concat()),
        );
    }
    for (pattern, of_paths) in [(Pattern::Exact(names), false), (Pattern::Exact(paths), true)] {
        let matcher = pattern.compile(false).expect("well-formed");
        let query = if of_paths {
            Query {
                name: None,
                path: Some(&matcher),
            }
        } else {
            Query {
                name: Some(&matcher),
                path: None,
            }
        };
        let found = found(&segment, &query);
        assert!(found.len() > 4000);
        assert_eq!(found, naive(&tree, &query));
    }
}

#[test]
fn nothing_is_told_after_the_caller_has_enough() {
    let tree = large(10, 5);
    let root = tempfile::tempdir().expect("a folder");
    let segment = open(&build(root.path(), &tree), &tree);
    let mut calls = 0;
    segment.search(&Query::default(), &mut |_| {
        calls += 1;
        false
    });
    assert_eq!(calls, 1);
}
