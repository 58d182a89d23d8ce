//! The program that becomes the scan child.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ntt_inspect::Supervisor;
use ntt_inspect::protocol::{Message, write_frame};

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

/// A supervisor whose child says these things whatever it is asked, and then nothing: one that a medium has taken over.
pub(crate) fn taken_over(folder: &Path, says: &[Message]) -> Supervisor {
    let (frames, program) = (folder.join("frames"), folder.join("child"));
    let mut bytes = Vec::new();
    for message in says {
        write_frame(&mut bytes, message).expect("written");
    }
    fs::write(&frames, bytes).expect("written");
    let script = format!(
        "#!/bin/sh\n/bin/cat '{}'\nexec /bin/sleep 600\n",
        frames.display()
    );
    fs::write(&program, script).expect("written");
    fs::set_permissions(&program, Permissions::from_mode(0o700)).expect("made a program");
    Supervisor::new(program)
}
