//! The way back from a damaged index of the store (R37): told by every command that needs it, made again by `doctor --rebuild-index`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::environment::{Environment, restored_code};
use crate::images;
use crate::trees::{self, Seen};

const ADVICE: &str = "ntt doctor --rebuild-index";

/// The demo image in an archive whose index is a segment; it has contents in packs, and files of their own.
fn archive() -> Environment {
    let environment = Environment::new();
    environment.write("demo.img", &images::demo());
    let _ = environment.ntt(["ingest", "demo.img"]).code(0);
    // The next run that writes makes the journal of the last one a segment.
    let _ = environment.ntt(["verify"]).code(0);
    let _ = environment
        .ntt(["restore", "demo.img", "before"])
        .code(restored_code());
    assert!(!trees::look(&environment.archive().join("blobs")).is_empty());
    environment
}

fn segment(environment: &Environment) -> PathBuf {
    let files = fs::read_dir(environment.archive().join("index")).expect("the index");
    let mut paths = files.map(|file| file.expect("an entry").path());
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "seg");
    paths.find(is_segment).expect("a segment")
}

/// Flips a byte and says where: of the first block, or of the fences, which lie before the 64 bytes of the trailer.
fn damage(environment: &Environment, part: Part) -> PathBuf {
    let path = segment(environment);
    let mut bytes = fs::read(&path).expect("mine");
    let at = match part {
        Part::Block => 100,
        Part::Fences => bytes.len() - 70,
    };
    bytes[at] ^= 1;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("mine");
    fs::write(&path, bytes).expect("mine");
    path
}

#[derive(Clone, Copy)]
enum Part {
    Block,
    Fences,
}

/// The archive without SQLite's shared memory, which holds no data.
fn look(environment: &Environment) -> BTreeMap<PathBuf, Seen> {
    let mut seen = trees::look(&environment.archive());
    seen.remove(Path::new("catalogue.db-shm"));
    seen
}

fn assert_advised(environment: &Environment, commands: &[&[&str]]) {
    for arguments in commands {
        let run = environment.ntt(*arguments);
        let said = run.everything();
        assert_eq!(run.exit(), Some(10), "{arguments:?}: {said}");
        assert!(said.contains(ADVICE), "{arguments:?}: {said}");
    }
}

/// The doctor says where the damage is and what to do, and still says everything else.
fn assert_told(environment: &Environment, path: &Path) {
    let said = environment.ntt(["doctor"]).code(12);
    assert!(said.contains("PROBLEM  store index"), "{said}");
    assert!(said.contains(&format!("{} at byte ", path.display())), "{said}");
    assert!(said.contains(ADVICE), "{said}");
    let checks = [
        "ok       space",
        "ok       permission",
        "ok       clock",
        "ok       store ",
        "ok       catalogue",
        "warning  contents",
        "ok       manifests",
        "ok       search index",
        "store and catalogue were not compared",
    ];
    for check in checks {
        assert!(said.contains(check), "no `{check}` in {said}");
    }
    let report = environment.ntt(["doctor", "--json"]).document(12);
    assert!(report["agreement"].is_null(), "{report}");
    assert_eq!(report["outcome"], "damage-found", "{report}");
}

/// Everything that the archive held can be read, and nothing is amiss.
fn assert_healthy(environment: &Environment, contents: u64) {
    let report = environment.ntt(["doctor", "--json"]).document(0);
    let checks = report["checks"].as_array().expect("checks");
    assert!(checks.iter().all(|check| check["status"] == "ok"), "{report}");
    assert_eq!(report["agreement"]["store_blobs"], contents, "{report}");
    assert_eq!(report["agreement"]["missing"], 0, "{report}");
    let verified = environment.ntt(["verify", "--json"]).document(0);
    assert_eq!(verified["good"], contents, "{verified}");
    let _ = environment
        .ntt(["restore", "--compare", "demo.img", "before"])
        .code(0);
    let _ = environment
        .ntt(["restore", "demo.img", "after"])
        .code(restored_code());
    let work = environment.work();
    let restored = |name| trees::contents(&work.join(name));
    assert!(restored("before") == restored("after") && !restored("after").is_empty());
}

fn rebuilt_after(part: Part, needing: &[&[&str]]) {
    let environment = archive();
    let report = environment.ntt(["doctor", "--json"]).document(0);
    let contents = report["agreement"]["store_blobs"].as_u64().expect("a number");
    let path = damage(&environment, part);
    environment.write("tree/new", b"a content that no medium had");
    assert_advised(&environment, needing);
    let before = look(&environment);
    assert_told(&environment, &path);
    let plan = environment
        .ntt(["doctor", "--rebuild-index", "--dry-run"])
        .code(0);
    assert!(plan.contains("would hash the contents of "), "{plan}");
    assert!(plan.contains(&format!("would keep {}", path.display())), "{plan}");
    assert!(
        look(&environment) == before,
        "looking and planning changed something"
    );

    let said = environment.ntt(["doctor", "--rebuild-index"]).code(0);
    let counted = format!("made the index again: {contents} contents");
    assert!(said.contains(&counted) && said.contains("refused 0"), "{said}");
    let status = environment.ntt(["status", "--json"]).document(0);
    let logged = &status["recent"][0];
    assert_eq!(
        (&logged["stage"], &logged["result"]),
        (&"reindex".into(), &"ok".into()),
        "{logged}"
    );
    let media = |seen: &BTreeMap<PathBuf, Seen>| -> Vec<(PathBuf, Seen)> {
        let of_media = |(path, _): &(&PathBuf, &Seen)| path.starts_with("media");
        let found = seen.iter().filter(of_media);
        found.map(|(path, seen)| (path.clone(), seen.clone())).collect()
    };
    let (old, new) = (media(&before), media(&look(&environment)));
    assert!(old != new, "an event of no medium outdates all manifests");
    let kept = fs::read_dir(environment.archive().join("quarantine")).expect("a folder");
    assert_eq!(kept.count(), 1, "the damaged segment is kept");
    assert_healthy(&environment, contents);
    let _ = environment.ntt(["ingest", "tree"]).code(0);
}

/// R37, R40, R43: a block of a segment; what needs the index says how to make it again, and nothing is lost.
#[test]
fn r37_a_damaged_block_of_the_index_has_a_way_back() {
    rebuilt_after(
        Part::Block,
        &[
            &["verify"],
            &["cat", "demo.img/1/todo.txt"],
            &["restore", "demo.img", "out"],
            &["doctor", "--fix"],
            &["doctor", "--fix", "--dry-run"],
        ],
    );
}

/// R37, R40, R43: the fences of a segment, without which the archive cannot be opened at all.
#[test]
fn r37_damaged_fences_of_the_index_have_a_way_back() {
    rebuilt_after(
        Part::Fences,
        &[
            &["medium", "list"],
            &["verify"],
            &["cat", "demo.img/1/todo.txt"],
            &["restore", "demo.img", "out"],
            &["ingest", "tree"],
            &["doctor", "--fix"],
            &["doctor", "--fix", "--dry-run"],
        ],
    );
}

/// R37: a copy that meets the damage stops and says what to do; no file is recorded as failed for it.
#[test]
fn r37_a_copy_that_meets_a_damaged_block_stops() {
    let environment = archive();
    damage(&environment, Part::Block);
    environment.write("tree/new", b"a content that no medium had");
    assert_advised(&environment, &[&["ingest", "tree"]]);
    let _ = environment.ntt(["doctor", "--rebuild-index"]).code(0);
    let summary = environment.ntt(["ingest", "--json", "tree"]).summary(0);
    assert_eq!(summary["media"][0]["copied"]["failed_streams"], 0, "{summary}");
    let _ = environment.ntt(["doctor"]).code(0);
}

/// R44: bytes that are not what their name says stay out of the index, and the exit code says that there is damage.
#[test]
fn r44_12_a_rebuild_refuses_what_is_damaged() {
    let environment = archive();
    let blobs = environment.archive().join("blobs");
    let mut files = trees::look(&blobs).into_keys().map(|path| blobs.join(path));
    let blob = files.find(|path| path.is_file()).expect("a content");
    let mut content = fs::read(&blob).expect("mine");
    content[1000] ^= 1;
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o644)).expect("mine");
    fs::write(&blob, content).expect("mine");
    let summary = environment
        .ntt(["doctor", "--rebuild-index", "--json"])
        .document(12);
    assert_eq!(summary["message_type"], "index-rebuild-summary");
    assert_eq!(summary["refused"], 1, "{summary}");
    assert!(blob.is_file(), "R43: it stays where it is");
    let report = environment.ntt(["doctor", "--json"]).document(12);
    assert_eq!(report["agreement"]["missing"], 1, "{report}");
}

#[test]
fn r44_11_and_2_a_rebuild_is_alone_and_asked_for_alone() {
    let environment = archive();
    let lock = File::open(environment.archive().join("lock")).expect("the lock");
    lock.lock().expect("it is free");
    let _ = environment.ntt(["doctor", "--rebuild-index"]).code(11);
    let _ = environment
        .ntt(["doctor", "--rebuild-index", "--dry-run"])
        .code(0);
    drop(lock);
    let _ = environment.ntt(["doctor", "--rebuild-index", "--fix"]).code(2);
    let _ = environment
        .ntt(["doctor", "--rebuild-index", "--rebuild-catalogue"])
        .code(2);
    let _ = environment.ntt(["doctor", "--dry-run"]).code(2);
    let nowhere = Environment::new();
    let _ = nowhere.ntt(["doctor", "--rebuild-index"]).code(10);
    assert!(!nowhere.archive().exists());
}
