//! The program that becomes the scan child.

use std::path::PathBuf;

use ntt_inspect::Supervisor;

/// The example `scan_child`, which `cargo test` and `cargo nextest` build beside the tests: `target/PROFILE/deps/this` ->
/// `target/PROFILE/examples/scan_child`.
pub(crate) fn supervisor() -> Supervisor {
    let mut path: PathBuf = std::env::current_exe().expect("the test has a path");
    path.pop();
    path.pop();
    path.push("examples/scan_child");
    assert!(path.is_file(), "{} is built with the tests", path.display());
    Supervisor::new(path)
}
