//! Scans that did not come to their end (R33, R44).

use std::fs;

use ntt_testkit::corpus::corpus_image;

use crate::environment::Environment;
use crate::losses::{completeness, volumes};

/// R22, R44: a scan whose child had too little memory is no scan: it is made again without being asked for, and the one before stays if that is no better.
#[test]
fn r44_a_scan_that_was_cut_short_is_made_again() {
    let Some(image) = corpus_image("damaged-ext/f_rehash_dir.img.gz") else {
        return;
    };
    let environment = Environment::new();
    fs::copy(image.path(), environment.work().join("disk.img")).expect("a copy");
    let little = [("NTT_SCAN_MEMORY", "1MiB")];
    let with_little = |arguments: [&str; 3]| environment.ntt_with(&little, arguments);
    let summary = with_little(["ingest", "--json", "disk.img"]).summary(3);
    assert_eq!(volumes(&summary)[0]["census"]["paths"], 0, "{summary}");
    assert_eq!(completeness(&environment), "partial");
    let planned = environment
        .ntt(["scan", "--dry-run", "--json", "disk.img"])
        .document(0);
    assert_eq!(planned["scan"], serde_json::json!([1]), "{planned}");
    let first = with_little(["scan", "--json", "disk.img"]).document(3);
    let second = with_little(["scan", "--json", "disk.img"]).document(3);
    assert_eq!(
        first["scans"], second["scans"],
        "a scan that is no better was kept"
    );
    let said = environment.ntt_with(&little, ["scan", "disk.img"]).stderr(3);
    assert!(said.contains("cut short again"), "{said}");

    let summary = environment.ntt(["ingest", "--json", "disk.img"]).summary(0);
    assert_eq!(volumes(&summary)[0]["census"]["stored"]["count"], 82, "{summary}");
    assert_eq!(completeness(&environment), "complete");
    let scanned = environment.ntt(["scan", "disk.img"]).code(0);
    assert!(scanned.contains("scanned already"), "{scanned}");
}

/// R22, R28, R44: a scan that is made again with too little memory does not take the place of a whole one.
#[test]
fn r44_a_scan_that_is_cut_short_leaves_the_whole_one_before() {
    let Some(image) = corpus_image("damaged-ext/f_rehash_dir.img.gz") else {
        return;
    };
    let environment = Environment::new();
    fs::copy(image.path(), environment.work().join("disk.img")).expect("a copy");
    let _ = environment.ntt(["ingest", "disk.img"]).code(0);
    let found = environment.ntt(["find", "--glob", "*"]).code(0);
    let little = [("NTT_SCAN_MEMORY", "1MiB")];
    for command in [["scan", "--again", "disk.img"], ["ingest", "--again", "disk.img"]] {
        let run = environment.ntt_with(&little, command);
        assert_eq!(run.exit(), Some(3), "{}", run.everything());
        let said = run.everything();
        assert!(said.contains("cut short and lists no more"), "{said}");
        assert_eq!(environment.ntt(["find", "--glob", "*"]).code(0), found);
    }
    let _ = environment.ntt(["scan", "--again", "disk.img"]).code(0);
    assert_eq!(environment.ntt(["find", "--glob", "*"]).code(0), found);
    let _ = environment.ntt(["ingest", "disk.img"]).code(0);
    assert_eq!(completeness(&environment), "complete");
}

/// R33, R44: a scan that a better rescue asked for and that was cut short is made by the next ingest.
#[test]
fn r33_a_scan_after_a_better_rescue_that_was_cut_short_is_made_later() {
    let Some(image) = corpus_image("damaged-ext/f_rehash_dir.img.gz") else {
        return;
    };
    let environment = Environment::new();
    let len = fs::copy(image.path(), environment.work().join("disk.img")).expect("a copy");
    let rescued = len - 1024;
    let map = format!("0x0 + 1\n0x0 {rescued:#x} +\n{rescued:#x} 0x400 -\n");
    environment.write("disk.img.map", map.as_bytes());
    let _ = environment.ntt(["ingest", "disk.img"]).code(3);
    let found = environment.ntt(["find", "--glob", "*"]).code(0);
    let whole = format!("0x0 + 1\n0x0 {len:#x} +\n");
    environment.write("disk.img.map", whole.as_bytes());
    let ingest = |memory: &str, code| {
        let run = environment.ntt_with(&[("NTT_SCAN_MEMORY", memory)], ["ingest", "disk.img"]);
        let said = run.everything();
        assert_eq!(run.exit(), Some(code), "{said}");
        said
    };
    for _ in 0..2 {
        let said = ingest("1MiB", 3);
        assert!(said.contains("cut short and lists no more"), "{said}");
        assert_eq!(environment.ntt(["find", "--glob", "*"]).code(0), found, "{said}");
    }
    let scans = |said: &str| said.lines().any(|line| line.starts_with("scan "));
    assert!(scans(&ingest("1GiB", 0)));
    let named = environment.ntt(["find", "--glob", "*"]).code(0);
    assert_ne!(named, found, "what was rescued since names a file");
    assert!(!scans(&ingest("1GiB", 0)));
    assert_eq!(completeness(&environment), "complete");
}
