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

/// R37: manifests are what is left when the catalogue is lost: one that rotted behind its beginning is found, also on a copy that is only read, and
/// written again.
#[test]
fn r37_a_manifest_that_rotted_is_found_and_written_again() {
    let environment = Environment::new();
    for number in 0..2000 {
        environment.write(format!("tree/file {number}"), number.to_string().as_bytes());
    }
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    let media = fs::read_dir(environment.archive().join("media")).expect("media");
    let medium = media.flatten().next().expect("one").path();
    let manifest = medium.join("manifest.jsonl.zst");
    let mut bytes = fs::read(&manifest).expect("a manifest");
    let place = bytes.len() - 100;
    bytes[place] ^= 0x10;
    fs::write(&manifest, &bytes).expect("mine");
    let said = environment.ntt(["doctor"]).code(12);
    assert!(said.contains("PROBLEM  manifests"), "{said}");
    let plan = environment.ntt(["doctor", "--fix", "--dry-run"]).code(0);
    assert!(
        plan.contains("would be written again") && plan.contains("manifest.jsonl.zst"),
        "{plan}"
    );
    assert_eq!(fs::read(&manifest).expect("a manifest"), bytes, "a dry run wrote");
    let said = environment.ntt(["doctor", "--fix"]).code(0);
    assert!(said.contains("wrote 1 manifest again"), "{said}");
    let _ = environment.ntt(["doctor"]).code(0);
    let _ = environment.ntt(["doctor", "--rebuild-catalogue"]).code(0);
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
    let said = environment.ntt(["doctor", "--fix"]).code(12);
    assert!(said.contains("to be fetched again"), "{said}");
    let lost = || environment.ntt(["find", "--state", "corrupt"]).code(0);
    assert!(lost().contains("large"));
    let _ = environment.ntt(["doctor", "--rebuild-catalogue"]).code(0);
    assert!(lost().contains("large"), "the manifest was stale");
}

/// R37: a copy of an archive may lack the folders that were empty.
#[test]
fn r37_folders_that_a_copy_left_out_are_no_loss() {
    let environment = Environment::new();
    let _ = environment.write("tree/file", b"content");
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    for name in ["blobs", "tmp", "quarantine"] {
        fs::remove_dir(environment.archive().join(name)).expect("it is empty");
    }
    for command in [
        &["doctor"][..],
        &["verify"],
        &["restore", "tree", "out"],
        &["ingest", "tree"],
    ] {
        let _ = environment.ntt(command).code(0);
    }
    assert!(environment.archive().join("blobs").is_dir());
}

/// R36, R37: one flipped bit in a header of a pack hides a content from common tools: it is stored elsewhere, and the doctor is content again.
#[test]
fn r37_a_damaged_header_of_a_pack_is_mended() {
    let environment = Environment::new();
    let _ = environment.write("tree/one", b"content");
    let _ = environment.write("tree/two", b"another");
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    let packs = fs::read_dir(environment.archive().join("packs")).expect("packs");
    let pack = packs.flatten().next().expect("one").path();
    let mut bytes = fs::read(&pack).expect("a pack");
    bytes[1] ^= 0x10;
    fs::write(&pack, bytes).expect("mine");
    let said = environment.ntt(["doctor"]).code(12);
    assert!(said.contains("are no member"), "{said}");
    let plan = environment.ntt(["doctor", "--fix", "--dry-run"]).code(0);
    assert!(plan.contains("would be stored elsewhere"), "{plan}");
    let said = environment.ntt(["doctor", "--fix"]).code(0);
    assert!(said.contains("stored 1 content elsewhere"), "{said}");
    let said = environment.ntt(["doctor"]).code(0);
    assert!(said.contains("warning  remains"), "{said}");
    let _ = environment.ntt(["verify"]).code(0);
}

/// R37: what other programs leave in the archive is told and passed over; nothing restores into it.
#[test]
fn r37_strange_files_in_the_store_stop_nothing() {
    let environment = Environment::new();
    environment.write("tree/a", b"a");
    environment.write("tree/large", &vec![7; 2 << 20]);
    environment.ntt(["ingest", "tree"]).code(0);
    let archive = environment.archive();
    for place in ["tmp/out", "blobs/out", "new"] {
        let destination = archive.join(place).display().to_string();
        let said = environment.ntt(["restore", "tree", &destination]).stderr(1);
        assert!(said.contains("lies in the archive"), "{said}");
    }
    let folder = fs::read_dir(archive.join("blobs"))
        .expect("listed")
        .next()
        .expect("one")
        .expect("an entry");
    let strangers = [
        archive.join("blobs/.DS_Store"),
        folder.path().join(".DS_Store"),
        archive.join("blobs/lost+found/#12"),
        archive.join("tmp/folder/file"),
    ];
    for stranger in &strangers {
        fs::create_dir_all(stranger.parent().expect("a folder")).expect("made");
        fs::write(stranger, "x").expect("written");
    }
    let said = environment.ntt(["doctor"]).code(0);
    assert!(
        said.contains("warning  strange files") && said.contains("4: "),
        "{said}"
    );
    for command in [
        ["ingest", "tree"].as_slice(),
        &["verify"],
        &["doctor", "--fix"],
        &["doctor", "--rebuild-index"],
        &["doctor"],
    ] {
        environment.ntt(command).code(0);
    }
    assert!(
        strangers.iter().all(|stranger| stranger.exists()),
        "nothing of others is removed"
    );
}

/// R36: the list of a pack says what the pack has; damaged, it is made again from it.
#[test]
fn r36_a_damaged_list_of_a_pack_is_made_again() {
    let environment = Environment::new();
    for number in 0..40_u8 {
        environment.write(format!("tree/{number}"), &vec![number; 60_000]);
    }
    environment
        .ntt(["ingest", "--pack-threshold", "64KiB", "tree"])
        .code(0);
    let packs = fs::read_dir(environment.archive().join("packs")).expect("listed");
    let mut lists = packs.map(|entry| entry.expect("an entry").path());
    let list = lists
        .find(|path| path.extension().is_some_and(|extension| extension == "idx"))
        .expect("a sealed pack");
    let right = fs::read(&list).expect("read");
    let mut wrong = right.clone();
    wrong[10] ^= 1;
    fs::remove_file(&list).expect("mine");
    fs::write(&list, &wrong).expect("written");
    let said = environment.ntt(["doctor"]).code(12);
    assert!(said.contains("makes the lists of packs"), "{said}");
    let said = environment.ntt(["doctor", "--fix", "--dry-run"]).code(0);
    assert!(said.contains("would be listed again"), "{said}");
    let said = environment.ntt(["doctor", "--fix"]).code(0);
    assert!(said.contains("made 1 list of a pack again"), "{said}");
    assert!(fs::read(&list).expect("read") == right);
    environment.ntt(["doctor"]).code(0);
}
