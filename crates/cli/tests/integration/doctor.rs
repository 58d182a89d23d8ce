//! What `ntt doctor` leaves behind: whole events, and manifests that are current.

use std::fs;

use crate::environment::Environment;
use crate::images;

/// R41: a check that ends with an error ends its stage too, so that whoever follows `--json` does not wait for it.
#[test]
fn r41_a_check_that_fails_ends_its_stage() {
    let environment = Environment::new();
    environment.write("tree/file", b"content");
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    let packs = environment.archive().join("packs");
    fs::rename(&packs, environment.archive().join("packs gone")).expect("mine");
    let events = environment.ntt(["doctor", "--json"]).json(10);
    let told: Vec<&str> = events
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    assert_eq!(told, ["stage-started", "stage-ended"], "{events:?}");
    assert_eq!(events[1]["outcome"], "failed");
}

/// R37: after a fix that put lost contents on record, the manifests say so: a catalogue made again from them is the same.
#[test]
fn r37_a_fix_leaves_current_manifests() {
    let environment = Environment::new();
    environment.write("tree/large", &images::noise("large", 300_000));
    let _ = environment
        .ntt(["ingest", "--pack-threshold", "64KiB", "tree"])
        .code(0);
    let blobs = environment.archive().join("blobs");
    fs::remove_dir_all(&blobs).expect("mine");
    fs::create_dir(&blobs).expect("mine");
    let said = environment.ntt(["doctor", "--fix"]).code(0);
    assert!(said.contains("to be fetched again"), "{said}");
    let lost = || environment.ntt(["find", "--state", "corrupt"]).code(0);
    assert!(lost().contains("large"));
    let _ = environment.ntt(["doctor", "--rebuild-catalogue"]).code(0);
    assert!(lost().contains("large"), "the manifest was stale");
}
