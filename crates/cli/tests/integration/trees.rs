//! What stands on a disk, in a form that two looks can be compared by.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a look at one entry says. Access times are left out: reading changes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    mode: u32,
    size: u64,
    modified: (i64, i64),
    /// BLAKE3 of a file's bytes, of a link's target.
    content: Option<String>,
}

/// Everything at and below `root`, by path relative to it. Nothing if `root` is not there.
pub(crate) fn look(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory that can be read");
            waiting.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
        let relative = path.strip_prefix(root).expect("below the root").to_owned();
        seen.insert(relative, see(&path, &metadata));
    }
    seen
}

/// Asserts that what stands below two directories is equal in names, contents, modes, sizes and times to the nanosecond.
pub(crate) fn assert_equal(expected: &Path, actual: &Path) {
    let (expected, actual) = (look(expected), look(actual));
    let paths = expected
        .keys()
        .chain(actual.keys())
        .filter(|path| !path.as_os_str().is_empty());
    let differences: Vec<String> = paths
        .filter(|path| expected.get(*path) != actual.get(*path))
        .map(|path| {
            format!(
                "{}: {:?} is {:?}",
                path.display(),
                expected.get(path),
                actual.get(path)
            )
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn see(path: &Path, metadata: &fs::Metadata) -> Seen {
    let content = if metadata.is_file() {
        Some(digest(path))
    } else if metadata.is_symlink() {
        let target = fs::read_link(path).expect("a link");
        Some(blake3::hash(target.as_os_str().as_bytes()).to_hex().to_string())
    } else {
        None
    };
    Seen {
        mode: metadata.mode(),
        size: if metadata.is_file() { metadata.len() } else { 0 },
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        content,
    }
}

/// BLAKE3 of a file, in hexadecimal.
pub(crate) fn digest(path: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    let file = fs::File::open(path).expect("a file");
    hasher.update_reader(file).expect("a file that can be read");
    hasher.finalize().to_hex().to_string()
}

/// Bytes that the files below `root` take on the disk.
pub(crate) fn allocated(root: &Path) -> u64 {
    let mut sum = 0;
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path).expect("an entry");
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory that can be read");
            waiting.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else {
            sum += metadata.blocks() * 512;
        }
    }
    sum
}

/// BLAKE3 of every regular file below `root`, by the bytes of its relative path.
pub(crate) fn contents(root: &Path) -> BTreeMap<Vec<u8>, String> {
    look(root)
        .into_iter()
        .filter(|(_, seen)| seen.mode & 0o170_000 == 0o100_000)
        .map(|(path, seen)| {
            (
                path.as_os_str().as_bytes().to_vec(),
                seen.content.expect("of a file"),
            )
        })
        .collect()
}
