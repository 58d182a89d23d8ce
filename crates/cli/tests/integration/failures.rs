//! Files and directories that the system does not give, and files that change (R22, R33).

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ntt_testkit::corpus::have;

use crate::environment::{Environment, as_nobody};
use crate::images::{self, noise};
use crate::losses::{assert_balance, completeness, volumes};

/// R32, R33: a file that may not be read is given up after equal failures and not touched again, until a person says so.
#[test]
fn r33_an_unreadable_file_is_given_up_and_taken_on_a_retry() {
    if rustix::process::geteuid().is_root() && !have("setpriv") {
        return;
    }
    let environment = Environment::new();
    environment.open_to_all();
    environment.write("tree/open", b"for all");
    let locked = environment.write("tree/locked", b"for some");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).expect("mine");

    let summary = as_nobody(&environment, &["ingest", "--json", "tree"]).summary(3);
    let census = &volumes(&summary)[0]["census"];
    assert_eq!(census["stored"]["count"], 1);
    assert_eq!(census["failed"][0][0], "permission", "{census}");
    assert_balance(census);
    let failed = as_nobody(&environment, &["find", "--json", "--state", "failed"]).json(0);
    let attempts = failed[0]["content"]["attempts"].as_u64();
    assert_eq!(attempts, Some(3), "{failed:?}");
    let _ = as_nobody(&environment, &["copy", "--json", "tree"]).document(3);
    let again = as_nobody(&environment, &["find", "--json", "--state", "failed"]).json(0);
    assert_eq!(again[0]["content"]["attempts"].as_u64(), attempts, "not touched");

    fs::set_permissions(&locked, fs::Permissions::from_mode(0o644)).expect("mine");
    let planned = as_nobody(&environment, &["retry", "--dry-run", "tree"]).code(0);
    assert!(planned.contains("permission: 1 content"), "{planned}");
    let other = as_nobody(&environment, &["retry", "--class", "io", "tree"]).code(0);
    assert!(other.contains("nothing"), "{other}");
    let _ = as_nobody(&environment, &["retry", "tree"]).code(0);
    assert_eq!(
        as_nobody(&environment, &["cat", "tree/1/locked"]).bytes(0),
        b"for some"
    );
}

/// R33: what lies beyond the end of an image settles at once, and its attempts are counted over runs.
#[test]
fn r33_a_permanent_failure_settles_at_once_and_its_attempts_are_kept() {
    let environment = Environment::new();
    let content = noise("long", 3 << 20);
    let files: [(&str, &[u8]); 2] = [("a.bin", b"short"), ("long.bin", &content)];
    let Some(path) = images::fat(&environment.work().join("disk.img"), 8, &files) else {
        return;
    };
    let image = fs::read(&path).expect("the image");
    fs::write(&path, &image[..2 << 20]).expect("a shorter image");
    let summary = environment.ntt(["ingest", "--json", "disk.img"]).summary(3);
    assert_balance(&volumes(&summary)[0]["census"]);
    let rows = environment
        .ntt(["find", "--json", "--state", "failed,damaged"])
        .json(0);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["path"]["text"], "long.bin");
    if rows[0]["content"]["state"] == "failed" {
        assert_eq!(rows[0]["content"]["attempts"], 1);
        let _ = environment.ntt(["copy", "disk.img"]).code(3);
        let _ = environment.ntt(["retry", "disk.img"]).code(3);
        let rows = environment.ntt(["find", "--json", "--state", "failed"]).json(0);
        assert_eq!(rows[0]["content"]["attempts"], 2);
    }
}

/// A file that changes between scan and copy is told, and never stored under the old size.
#[test]
fn a_file_that_changes_underneath_is_a_finding() {
    let environment = Environment::new();
    let file = environment.write("tree/log", b"one line\n");
    environment.write("tree/gone", b"soon");
    environment.write("tree/quiet", b"the same");
    let _ = environment.ntt(["ingest", "--no-copy", "tree"]).code(3);
    fs::write(&file, b"one line\nand another\n").expect("mine");
    fs::remove_file(environment.work().join("tree/gone")).expect("mine");
    let _ = environment.ntt(["copy", "tree"]).code(3);
    let stored = environment.ntt(["find", "--json", "--state", "stored"]).json(0);
    assert_eq!(stored.len(), 1, "{stored:?}");
    assert_eq!(stored[0]["path"]["text"], "quiet");
    // A new scan sees what is there now.
    let _ = environment.ntt(["scan", "--again", "tree"]).code(0);
    let _ = environment.ntt(["copy", "tree"]).code(0);
    assert_eq!(
        environment.ntt(["cat", "tree/1/log"]).bytes(0),
        b"one line\nand another\n"
    );
    // What the superseded scan met is history, and no loss of today.
    let summary = environment.ntt(["ingest", "--json", "tree"]).summary(0);
    assert_eq!(summary["media"][0]["findings"][2], 0, "{summary}");
}

/// R14, R22, R44: nobody knows what a directory holds that could not be read; the medium is not complete until it was.
#[test]
fn r22_a_directory_that_cannot_be_read_keeps_a_medium_from_being_complete() {
    if rustix::process::geteuid().is_root() && !have("setpriv") {
        return;
    }
    let environment = Environment::new();
    environment.open_to_all();
    environment.write("tree/yes/b", b"b");
    environment.write("tree/no/x", b"a");
    let locked = environment.work().join("tree/no");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o700)).expect("mine");
    if !rustix::process::geteuid().is_root() {
        fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).expect("mine");
    }
    for _ in 0..2 {
        let summary = as_nobody(&environment, &["ingest", "--json", "tree"]).summary(3);
        assert_eq!(summary["media"][0]["partial"], true, "{summary}");
        assert_eq!(summary["media"][0]["findings"][2], 1, "{summary}");
        assert_eq!(completeness(&environment), "partial");
    }
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).expect("mine");
    let summary = as_nobody(&environment, &["ingest", "--json", "tree"]).summary(0);
    assert_eq!(summary["media"][0]["partial"], false, "{summary}");
    assert_eq!(completeness(&environment), "complete");
}
