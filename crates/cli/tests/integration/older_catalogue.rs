//! A catalogue that was put back from an old copy, so that its manifests know more than it does (R28, R37), or that is damaged.

use std::fs;
use std::path::{Path, PathBuf};

use crate::environment::Environment;

fn catalogue(environment: &Environment) -> PathBuf {
    environment.archive().join("catalogue.db")
}

/// Keeps the catalogue as it is now.
fn keep(environment: &Environment) -> PathBuf {
    let kept = environment.work().join("kept.db");
    fs::copy(catalogue(environment), &kept).expect("copied");
    kept
}

fn put_back(environment: &Environment, kept: &Path) {
    for suffix in ["-wal", "-shm"] {
        let mut name = catalogue(environment).into_os_string();
        name.push(suffix);
        fs::remove_file(name).ok();
    }
    fs::copy(kept, catalogue(environment)).expect("copied");
}

fn tree(environment: &Environment, name: &str) {
    environment.write(format!("{name}/{name}.txt"), name.as_bytes());
}

/// The file that is gone from the directory stands in the manifest alone; nothing puts an older state in its place.
#[test]
fn r28_what_only_a_manifest_knows_is_not_written_over() {
    let environment = Environment::new();
    tree(&environment, "s");
    environment.ntt(["ingest", "s"]).code(0);
    let kept = keep(&environment);
    let precious = environment.write("s/precious", b"the only one");
    environment.ntt(["ingest", "s"]).code(0);
    fs::remove_file(precious).expect("removed");
    put_back(&environment, &kept);
    let said = environment.ntt(["doctor"]).code(12);
    assert!(
        said.contains("PROBLEM  manifests") && said.contains("--rebuild-catalogue"),
        "{said}"
    );
    for writing in [
        ["doctor", "--fix"].as_slice(),
        &["ingest", "s"],
        &["copy", "s"],
        &["medium", "label", "s", "other words"],
    ] {
        let said = environment.ntt(writing).stderr(10);
        assert!(
            said.contains("older than the archive") && said.contains("--rebuild-catalogue"),
            "{said}"
        );
    }
    environment.ntt(["doctor", "--rebuild-catalogue"]).code(0);
    let found = environment.ntt(["find", "precious"]).code(0);
    assert!(found.contains("/1/precious"), "{found}");
    environment.ntt(["medium", "label", "s", "other words"]).code(0);
    environment.ntt(["doctor", "--fix"]).code(0);
    environment.ntt(["doctor"]).code(0);
}

/// Programs before this one went on with such a catalogue, which gave the numbers of one medium to another.
#[test]
fn r37_media_with_the_same_numbers_are_all_made_again() {
    let environment = Environment::new();
    tree(&environment, "a");
    environment.ntt(["ingest", "a"]).code(0);
    let kept = keep(&environment);
    // A copy of a volume is known by the number of the other one.
    for name in ["b", "c"] {
        let image = crate::images::demo();
        fs::write(environment.work().join(format!("{name}.img")), &image).expect("written");
        let mut grown = image;
        grown.extend([7; 512]);
        fs::write(environment.work().join(format!("{name}-grown.img")), &grown).expect("written");
    }
    let media = environment.archive().join("media");
    let hidden = environment.work().join("hidden");
    fs::create_dir(&hidden).expect("a folder");
    let before: Vec<_> = fs::read_dir(&media)
        .expect("listed")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    environment.ntt(["ingest", "b.img", "b-grown.img"]).exit();
    for entry in fs::read_dir(&media).expect("listed") {
        let entry = entry.expect("an entry");
        if !before.contains(&entry.file_name()) {
            fs::rename(entry.path(), hidden.join(entry.file_name())).expect("hidden");
        }
    }
    put_back(&environment, &kept);
    environment.ntt(["ingest", "c.img", "c-grown.img"]).exit();
    for entry in fs::read_dir(&hidden).expect("listed") {
        let entry = entry.expect("an entry");
        fs::rename(entry.path(), media.join(entry.file_name())).expect("back");
    }
    let said = environment.ntt(["ingest", "a"]).stderr(10);
    assert!(said.contains("older than the archive"), "{said}");
    let said = environment.ntt(["doctor", "--rebuild-catalogue"]).code(0);
    assert!(said.contains("5 media"), "{said}");
    let listed = |name: &str| {
        environment
            .ntt(["find", "-m", name, "-k", "file"])
            .code(0)
            .lines()
            .count()
    };
    assert_eq!(
        ["b.img", "b-grown.img", "c.img", "c-grown.img"].map(listed),
        [listed("c.img"); 4]
    );
    assert!(listed("b.img") > 5);
    // Manifests are written with the new numbers, and what is made of those is the same.
    environment.ntt(["doctor", "--fix"]).code(0);
    environment.ntt(["verify"]).code(0);
    environment.ntt(["doctor"]).code(0);
    let dumped = environment.ntt(["doctor", "--dump-catalogue"]).bytes(0);
    environment.ntt(["doctor", "--rebuild-catalogue"]).code(0);
    assert!(environment.ntt(["doctor", "--dump-catalogue"]).bytes(0) == dumped);
}

/// R44: whatever page of the catalogue is gone, no question ends with the code of an answer, and the doctor examines all that can be.
#[test]
fn r44_a_damaged_catalogue_is_out_of_reach_and_no_answer() {
    let environment = Environment::new();
    for number in 0..300 {
        environment.write(
            format!("s/{}/{number}", number % 7),
            format!("{number}").as_bytes(),
        );
    }
    environment.ntt(["ingest", "s"]).code(0);
    let whole = fs::read(catalogue(&environment)).expect("read");
    let pages = whole.len() / 4096;
    assert!(pages > 20, "{pages}");
    let mut met = 0;
    for page in (0..pages).step_by(8) {
        let mut bytes = whole.clone();
        bytes[page * 4096..][..4096].fill(0);
        fs::write(catalogue(&environment), bytes).expect("written");
        for question in [
            ["find", "299"].as_slice(),
            &["ls", "s/1/3"],
            &["medium", "list"],
            &["status"],
        ] {
            let run = environment.ntt(question);
            let (exit, said) = (run.exit(), run.everything());
            if said.contains("catalogue") {
                met += 1;
                assert_eq!(exit, Some(10), "page {page}: {said}");
                assert!(said.contains("--rebuild-catalogue"), "page {page}: {said}");
            }
        }
        let run = environment.ntt(["doctor"]);
        let (exit, said) = (run.exit(), run.everything());
        let is_examined = said.contains("ok       space") && matches!(exit, Some(0 | 12));
        let is_closed = exit == Some(10) && said.contains("--rebuild-catalogue");
        assert!(is_examined || is_closed, "page {page}: {said}");
    }
    assert!(met > pages / 16, "{met} of {pages}");
}
