//! Contents that the store does not have right any more: never handed out as good, told everywhere, and stored anew (R37, R42, R43, R44).

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::images;

/// A content in a pack, and one that is a file of its own.
const NAMES: [&str; 2] = ["small", "large"];

fn content(name: &str) -> Vec<u8> {
    match name {
        "small" => b"a content that is small enough for a pack".to_vec(),
        _ => images::noise("large", 300_000),
    }
}

fn digest(name: &str) -> String {
    blake3::hash(&content(name)).to_hex().to_string()
}

/// An archive with both contents, and a third one that stays good.
fn archive() -> Environment {
    let environment = Environment::new();
    for name in NAMES {
        environment.write(format!("tree/{name}"), &content(name));
    }
    environment.write("tree/good", b"this one stays as it is");
    let _ = environment
        .ntt(["ingest", "--pack-threshold", "64KiB", "tree"])
        .code(0);
    environment
}

/// An archive with both contents damaged, and on record as that.
fn known_damage() -> Environment {
    let environment = archive();
    damage(&environment);
    let _ = environment.ntt(["verify"]).code(12);
    environment
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// The file of the store, and the byte in it, at which a content stands.
fn place(environment: &Environment, bytes: &[u8]) -> Option<(PathBuf, usize)> {
    let directories = ["packs", "blobs"].map(|name| environment.archive().join(name));
    let files = directories.iter().flat_map(|directory| files_below(directory));
    files
        .filter_map(|path| {
            let held = fs::read(&path).expect("mine");
            let at = held.windows(bytes.len()).position(|window| window == bytes)?;
            Some((path, at))
        })
        .next()
}

/// Changes one byte of each of both contents; tells where, and what was there.
fn damage(environment: &Environment) -> Vec<(PathBuf, u64, u8)> {
    let damage_one = |name: &&str| {
        let bytes = content(name);
        let (path, at) = place(environment, &bytes).expect("it is stored");
        let at = u64::try_from(at + 7).expect("a short file");
        put_byte(&path, at, bytes[7] ^ 1);
        (path, at, bytes[7])
    };
    NAMES.iter().map(damage_one).collect()
}

fn put_byte(path: &Path, at: u64, byte: u8) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("mine");
    let file = OpenOptions::new().write(true).open(path).expect("mine");
    file.write_all_at(&[byte], at).expect("mine");
}

fn state(environment: &Environment, medium: &str) -> String {
    let shown = environment.ntt(["--json", "medium", "show", medium]).document(0);
    shown["completeness"].as_str().expect("a state").to_owned()
}

/// Everything is right again and says so; nothing of the damaged bytes was deleted.
fn assert_repaired(environment: &Environment, media: &[&str]) {
    for command in [&["verify"][..], &["doctor"], &["copy", "tree"]] {
        let _ = environment.ntt(command).code(0);
    }
    for name in NAMES {
        let path = format!("tree/1/{name}");
        assert_eq!(environment.ntt(["cat", &path]).bytes(0), content(name));
        let _ = environment.ntt(["where", &path]).code(0);
    }
    for medium in media {
        assert_eq!(state(environment, medium), "complete", "{medium}");
    }
    let kept = files_below(&environment.archive().join("quarantine"));
    let mut damaged = content("large");
    damaged[7] ^= 1;
    let is_kept = kept.iter().any(|path| fs::read(path).expect("mine") == damaged);
    assert!(is_kept, "{kept:?}");
}

/// R42, R44: what is on record as damaged is handed out by nothing that does not say so, and everything that is asked tells.
#[test]
fn r44_damage_in_the_store_is_told_by_whatever_meets_it() {
    let environment = known_damage();
    for name in NAMES {
        let path = format!("tree/1/{name}");
        let run = environment.ntt(["cat", &path]);
        assert!(run.everything().contains("damaged in the store"));
        assert_eq!(run.bytes(12), b"", "{name}");
        let said = environment.ntt(["where", &path]).code(12);
        assert!(said.contains("damaged in the store"), "{said}");
    }
    assert_eq!(
        environment.ntt(["cat", "tree/1/good"]).bytes(0),
        b"this one stays as it is"
    );
    let said = environment.ntt(["restore", "tree", "out"]).code(12);
    for name in NAMES {
        assert!(
            said.contains(&format!("1/{name}: damaged in the store")),
            "{said}"
        );
    }
    let said = environment.ntt(["doctor"]).code(12);
    assert!(
        said.contains("damaged contents") && said.contains("doctor --fix"),
        "{said}"
    );
    assert!(NAMES.iter().all(|name| said.contains(&digest(name))), "{said}");
    let said = environment.ntt(["medium", "list"]).code(0);
    assert!(said.contains("damaged") && !said.contains("complete"), "{said}");
    assert_eq!(state(&environment, "tree"), "damaged");
    let said = environment.ntt(["copy", "--dry-run", "tree"]).code(0);
    assert!(
        said.contains("2 contents are damaged in the store, to be read again"),
        "{said}"
    );
    fs::rename(environment.work().join("tree"), environment.work().join("gone")).expect("mine");
    for command in ["copy", "retry"] {
        let said = environment.ntt([command, "tree"]).code(12);
        assert!(said.contains("2 contents are damaged in the store"), "{said}");
    }
}

/// R42: damage that no verification has met is found by whoever reads it.
#[test]
fn r42_damage_that_nobody_knows_is_met_when_it_is_read() {
    let environment = archive();
    damage(&environment);
    for name in NAMES {
        let run = environment.ntt(["cat", &format!("tree/1/{name}")]);
        assert_eq!(run.exit(), Some(12), "{}", run.everything());
        assert!(run.everything().contains("damaged in the store"));
    }
    let said = environment.ntt(["restore", "tree", "out"]).code(12);
    assert!(said.contains("1/large: damaged in the store"), "{said}");
    assert!(said.contains("1/small: damaged in the store"), "{said}");
}

/// R37, R43: whoever ingests the right bytes of a damaged content stores them anew, and all media that have it are whole again.
#[test]
fn r37_right_bytes_from_another_medium_are_stored_anew() {
    let environment = known_damage();
    for name in NAMES {
        environment.write(format!("other/copy of {name}"), &content(name));
    }
    let _ = environment.ntt(["ingest", "other"]).code(0);
    assert_repaired(&environment, &["tree", "other"]);
}

/// R37: so does a copy alone, which reads back what it stored anew; nothing is left that only a verification would clear.
#[test]
fn r37_a_copy_alone_clears_the_record() {
    let environment = known_damage();
    for name in NAMES {
        environment.write(format!("other/{name}"), &content(name));
    }
    let _ = environment.ntt(["ingest", "--no-copy", "other"]).code(3);
    let _ = environment.ntt(["copy", "other"]).code(0);
    let _ = environment.ntt(["where", "tree/1/large"]).code(0);
    assert_eq!(state(&environment, "tree"), "complete");
    let _ = environment.ntt(["ingest", "other"]).code(0);
    assert_repaired(&environment, &["tree", "other"]);
}

/// R37: a directory that is ingested again is read where the archive does not have it right.
#[test]
fn r37_the_same_directory_is_read_again_where_it_is_damaged() {
    let environment = known_damage();
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    assert_repaired(&environment, &["tree"]);
}

/// R37, R44: an image whose content is damaged in the store is read again where it is; without it, it is said that it is.
#[test]
fn r37_an_image_is_read_again_where_it_is_damaged() {
    for command in ["ingest", "copy", "retry"] {
        let environment = Environment::new();
        environment.write("demo.img", &images::demo());
        let _ = environment.ntt(["ingest", "demo.img"]).code(0);
        let bytes = environment.ntt(["cat", "demo.img/1/todo.txt"]).bytes(0);
        let (path, at) = place(&environment, &bytes).expect("it is stored");
        put_byte(&path, u64::try_from(at).expect("a short file"), bytes[0] ^ 1);
        let _ = environment.ntt(["verify"]).code(12);
        let _ = environment.ntt([command, "demo.img"]).code(0);
        for command in ["verify", "doctor"] {
            let _ = environment.ntt([command]).code(0);
        }
        assert_eq!(state(&environment, "demo.img"), "complete");
    }
}

/// R37: what the doctor set aside is still known by its digest: any other medium that has it mends it, though its own is gone for good.
#[test]
fn r37_another_medium_mends_what_was_set_aside() {
    let environment = known_damage();
    fs::rename(environment.work().join("tree"), environment.work().join("gone")).expect("mine");
    let _ = environment.ntt(["doctor", "--fix"]).code(12);
    let run = environment.ntt(["cat", "tree/1/large"]);
    assert_eq!(run.bytes(12), b"");
    let listed = environment.ntt(["find", "--state", "corrupt"]).code(0);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    for name in NAMES {
        environment.write(format!("other/{name}"), &content(name));
    }
    let _ = environment.ntt(["ingest", "other"]).code(0);
    assert_repaired(&environment, &["tree", "other"]);
}

/// R40, R43: the doctor says what it would set aside and changes nothing; then it sets it aside, and the next copy fetches it.
#[test]
fn r43_the_doctor_sets_damage_aside_and_the_next_copy_fetches_it() {
    let environment = known_damage();
    let said = environment.ntt(["doctor", "--fix", "--dry-run"]).code(0);
    for name in NAMES {
        assert!(
            said.contains(&format!("would be set aside   {}", digest(name))),
            "{said}"
        );
    }
    assert_eq!(state(&environment, "tree"), "damaged", "a plan changes nothing");
    let fixed = environment.ntt(["doctor", "--fix", "--json"]).document(12);
    assert_eq!(
        (&fixed["set_aside"], &fixed["good"]),
        (&2.into(), &0.into()),
        "{fixed}"
    );
    assert_eq!(fixed["refetch"][0]["contents"], 2, "{fixed}");
    assert_eq!(state(&environment, "tree"), "damaged", "until it is fetched");
    let _ = environment.ntt(["copy", "tree"]).code(0);
    assert_repaired(&environment, &["tree"]);
}

/// R43: what is on record as damaged and is not is left where it is, and the record is put right.
#[test]
fn r43_the_doctor_sets_nothing_aside_that_is_good() {
    let environment = archive();
    let damaged = damage(&environment);
    let _ = environment.ntt(["verify"]).code(12);
    for (path, at, byte) in &damaged {
        put_byte(path, *at, *byte);
    }
    assert_eq!(
        environment.ntt(["cat", "tree/1/large"]).bytes(0),
        content("large")
    );
    let fixed = environment.ntt(["doctor", "--fix", "--json"]).document(0);
    assert_eq!(
        (&fixed["set_aside"], &fixed["good"]),
        (&0.into(), &2.into()),
        "{fixed}"
    );
    assert!(files_below(&environment.archive().join("quarantine")).is_empty());
    assert_eq!(state(&environment, "tree"), "complete");
    let _ = environment.ntt(["doctor"]).code(0);
}

/// An archive with a directory that was ingested twice: the content `past` was there only the first time. It is damaged in the store, and nobody knows yet.
fn damaged_past() -> Environment {
    let environment = Environment::new();
    environment.write("tree/kept", b"this one stays as it is");
    environment.write("tree/past", &content("large"));
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    fs::remove_file(environment.work().join("tree/past")).expect("mine");
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    let (path, at) = place(&environment, &content("large")).expect("it is stored");
    put_byte(
        &path,
        u64::try_from(at).expect("a short file"),
        content("large")[0] ^ 1,
    );
    environment
}

/// R42, R44: a content that only a superseded scan lists is no less evidence: its damage is found, and told by all that tell of damage.
#[test]
fn r42_damage_to_what_only_superseded_scans_list_is_found_and_told() {
    let environment = damaged_past();
    let said = environment.ntt(["verify", "tree"]).code(12);
    assert!(said.contains("tree/1/past [superseded scan]"), "{said}");
    assert_eq!(state(&environment, "tree"), "damaged");
    for command in ["copy", "retry", "ingest"] {
        let said = environment.ntt([command, "tree"]).code(12);
        assert!(said.contains("1 content is damaged in the store"), "{said}");
    }
    let said = environment.ntt(["ls", "-l", "--scan", "1", "tree"]).code(0);
    assert!(
        said.contains("corrupt   past") && said.contains("stored    kept"),
        "{said}"
    );
    for command in [&["find", "-l"][..], &["export"]] {
        let filter = ["--state", "corrupt", "--all-scans"];
        let said = environment.ntt([command, &filter].concat()).code(0);
        assert!(said.contains("past") && !said.contains("kept"), "{said}");
    }
    let run = environment.ntt(["cat", "--scan", "1", "tree/1/past"]);
    assert_eq!(run.bytes(12), b"");
}

/// R37: what no copy can fetch is not said to be mended; whoever ingests it from elsewhere mends it.
#[test]
fn r37_the_doctor_says_what_no_copy_fetches() {
    let environment = damaged_past();
    let _ = environment.ntt(["verify"]).code(12);
    for _ in 0..2 {
        let fixed = environment.ntt(["--json", "doctor", "--fix"]).document(12);
        assert_eq!(fixed["lost"], serde_json::json!([digest("large")]), "{fixed}");
        assert_eq!(fixed["refetch"], serde_json::json!([]), "{fixed}");
        let said = environment.ntt(["doctor"]).code(12);
        assert!(said.contains("1 missing") && said.contains("replica"), "{said}");
        assert_eq!(state(&environment, "tree"), "damaged");
        let run = environment.ntt(["cat", "--scan", "1", "tree/1/past"]);
        assert_eq!(run.bytes(12), b"");
        let said = environment.ntt(["ls", "-l", "--scan", "1", "tree"]).code(0);
        assert!(said.contains("corrupt   past"), "{said}");
    }
    environment.write("replica/elsewhere", &content("large"));
    let _ = environment.ntt(["ingest", "replica"]).code(0);
    let run = environment.ntt(["cat", "--scan", "1", "tree/1/past"]);
    assert_eq!(run.bytes(0), content("large"));
    for command in ["verify", "doctor"] {
        let _ = environment.ntt([command]).code(0);
    }
    assert_eq!(state(&environment, "tree"), "complete");
}

/// R37: what a current scan lists too is fetched again from there, and is whole for the superseded scan as well.
#[test]
fn r37_a_copy_mends_what_superseded_scans_list_too() {
    let environment = archive();
    environment.write("tree/more", b"makes a second scan");
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    damage(&environment);
    let _ = environment.ntt(["verify"]).code(12);
    let fixed = environment.ntt(["--json", "doctor", "--fix"]).document(12);
    assert_eq!(fixed["lost"], serde_json::json!([]), "{fixed}");
    let _ = environment.ntt(["copy", "tree"]).code(0);
    assert_repaired(&environment, &["tree"]);
}

/// R42, R44: a new medium with a content that is damaged in the store, which nobody knew: its ingest finds it, and says what is wrong.
#[test]
fn r44_an_ingest_says_what_its_verification_found() {
    let environment = archive();
    damage(&environment);
    environment.write("other/the same", &content("large"));
    let said = environment.ntt(["ingest", "other"]).code(12);
    assert!(said.contains("1 content is damaged in the store"), "{said}");
    let _ = environment.ntt(["ingest", "other"]).code(0);
    assert_eq!(state(&environment, "other"), "complete");
}

/// R37: who mends while another run maintains the store waits for that, and leaves a true record.
#[test]
fn r37_a_copy_that_mends_beside_another_run_leaves_a_true_record() {
    let environment = known_damage();
    let lock = fs::File::open(environment.archive().join("index/lock")).expect("the lock");
    lock.lock().expect("nobody has it");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(1500));
            drop(lock);
        });
        let said = environment.ntt(["copy", "tree"]).code(0);
        assert!(said.contains("2 were new to the archive"), "{said}");
    });
    assert_eq!(environment.ntt(["find", "--state", "corrupt"]).code(0), "");
    let _ = environment.ntt(["verify"]).code(0);
}

/// R37: the store decides what is there. A content whose file was taken away is not called archived, though nothing has told the catalogue.
#[test]
fn r37_where_looks_whether_the_file_is_there() {
    let environment = archive();
    for name in NAMES {
        let (file, _) = place(&environment, &content(name)).expect("it is stored");
        let here = environment.work().join("tree").join(name);
        let asked = || environment.ntt(["where".as_ref(), here.as_os_str()]);
        assert!(!asked().code(0).contains("gone from the store"));
        let aside = file.with_extension("aside");
        fs::rename(&file, &aside).expect("moved");
        assert!(asked().code(12).contains("gone from the store"), "{name}");
        let json = environment.ntt(["--json".as_ref(), "where".as_ref(), here.as_os_str()]);
        assert!(json.code(12).contains("\"in_store\":false"), "{name}");
        fs::rename(&aside, &file).expect("moved back");
    }
}

/// R44: a content whose file is gone is damage of the store, told with the path that was asked for, and keeps no other from being written.
#[test]
fn r44_cat_tells_of_contents_whose_files_are_gone_and_goes_on() {
    let environment = archive();
    for name in NAMES {
        let (path, _) = place(&environment, &content(name)).expect("it is stored");
        let aside = path.with_extension("aside");
        fs::rename(&path, &aside).expect("mine");
        let target = format!("tree/1/{name}");
        let run = environment.ntt(["cat", &target]);
        let said = run.everything();
        assert!(
            said.contains(&target) && said.contains("gone from the store"),
            "{said}"
        );
        assert_eq!(run.bytes(12), b"", "{name}");
        fs::rename(&aside, &path).expect("mine");
    }
    let (path, _) = place(&environment, &content("large")).expect("it is stored");
    fs::remove_file(path).expect("mine");
    let wanted = [
        "cat",
        "tree/1/small",
        "tree/1/large",
        "tree/1/absent",
        "tree/1/good",
    ];
    let written = [content("small"), b"this one stays as it is".to_vec()].concat();
    let run = environment.ntt(wanted);
    assert!(run.everything().contains("absent"));
    assert_eq!(run.bytes(12), written);
    let run = environment.ntt(["cat", "tree/1/absent", "tree/1/good"]);
    assert_eq!(run.bytes(1), b"this one stays as it is");
}
