//! Memory and size do not depend on how much is indexed.

use crate::tree::{build, identity, large};

#[test]
fn a_name_takes_less_than_25_bytes() {
    let tree = large(20_000, 10);
    let root = tempfile::tempdir().expect("a folder");
    let folder = build(root.path(), &tree);
    let bytes = std::fs::metadata(folder.path_of(7)).expect("the segment").len();
    assert!(bytes / identity(&tree).names < 25, "{bytes}");
}
