//! Images of many files, and files of an image that are somewhere else.

use std::fs;

use ntt_testkit::corpus::have;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::environment::Environment;
use crate::images::{demo, run};

/// Lets programs that this test starts open so many files, and raise that to `hard`.
fn limit_open_files(soft: u64, hard: Option<u64>) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(soft);
    limit.maximum = hard.or(limit.maximum);
    setrlimit(Resource::Nofile, limit).expect("less is allowed");
}

/// A disk of 2 TB in parts of 2 GB has a thousand; the usual limit is 1,024 open files.
#[test]
fn r12_an_image_of_a_thousand_parts_is_read_whole_or_not_at_all() {
    let environment = Environment::new();
    let bytes = demo();
    let part_bytes = bytes.len() / 1100 + 1;
    for (number, part) in bytes.chunks(part_bytes).enumerate() {
        let name = format!("disk.{:04}", number + 1);
        fs::write(environment.work().join(name), part).expect("written");
    }
    limit_open_files(256, None);
    let summary = environment.ntt(["ingest", "--json", "disk.0001"]).summary(0);
    assert_eq!(summary["media"][0]["completeness"], "complete", "{summary}");
    limit_open_files(256, Some(256));
    let said = environment.ntt(["inspect", "disk.0001"]).stderr(1);
    assert!(
        said.contains("disk.0") && said.contains("Too many open files"),
        "{said}"
    );
}

/// A file that an image names elsewhere is opened if that is allowed, also later, and said if it is not.
#[test]
fn what_is_not_beside_the_image_is_told_how_to_allow() {
    if !have("qemu-img") {
        return;
    }
    let environment = Environment::new();
    let base = environment.work().join("bases");
    fs::create_dir(&base).expect("a folder");
    fs::write(base.join("base.img"), demo()).expect("written");
    let at = |name: &str| environment.work().join(name).display().to_string();
    let image = at("top.qcow2");
    run(
        "qemu-img",
        [
            "create",
            "-q",
            "-f",
            "qcow2",
            "-b",
            "bases/base.img",
            "-F",
            "raw",
            &image,
        ],
    );
    environment.ntt(["ingest", "top.qcow2"]).exit();
    let said = environment
        .ntt(["medium", "show", "--findings", "top.qcow2"])
        .code(0);
    assert!(
        said.contains("bases/base.img") && said.contains("--allow-backing"),
        "{said}"
    );
    let allowed = ["ingest", "--allow-backing", "bases", "top.qcow2"];
    environment.ntt(allowed).code(0);
}

/// R12, R22: what a missing part cost is fetched when the part is found, one after the other; nothing of what it cost stands any more then.
#[test]
fn r22_a_part_that_is_found_later_makes_the_medium_whole() {
    let environment = Environment::new();
    let bytes = demo();
    let part = |number: usize| environment.work().join(format!("disk.{number:03}"));
    for (at, content) in bytes.chunks(bytes.len() / 20 + 1).enumerate() {
        fs::write(part(at + 1), content).expect("written");
    }
    let lost = environment.work().join("lost");
    fs::create_dir(&lost).expect("a folder");
    for number in [9, 13] {
        fs::rename(part(number), lost.join(number.to_string())).expect("moved away");
    }
    let first = environment.ntt(["ingest", "disk.001"]).code(3);
    assert!(first.contains("partial: "), "{first}");
    for (number, code) in [(9, 3), (13, 0)] {
        // The time of the file stays, as it does when it is moved or copied with its attributes.
        fs::rename(lost.join(number.to_string()), part(number)).expect("moved back");
        let said = environment.ntt(["ingest", "disk.001"]).code(code);
        assert!(said.contains("files of it are here that were missing"), "{said}");
    }
    let shown = environment
        .ntt(["medium", "show", "--findings", "disk.001"])
        .code(0);
    assert!(
        !shown.contains("missing, at") && !shown.contains("corrupt"),
        "{shown}"
    );
    fs::write(environment.work().join("whole.img"), &bytes).expect("written");
    let whole = environment.ntt(["ingest", "--json", "whole.img"]).summary(0);
    assert_eq!(whole["media"][0]["name"], "disk.001", "the same medium: {whole}");
    let again = environment.ntt(["ingest", "disk.001"]).code(0);
    assert!(
        again.contains("every byte is equal") && again.contains("nothing was left to copy"),
        "{again}"
    );
    let before = environment.ntt(["doctor", "--dump-catalogue"]).bytes(0);
    environment.ntt(["doctor", "--rebuild-catalogue"]).code(0);
    assert!(environment.ntt(["doctor", "--dump-catalogue"]).bytes(0) == before);
    environment.ntt(["verify"]).code(0);
    environment.ntt(["doctor"]).code(0);
}

/// R12, R22: what has a later number belongs to the image however many are missing before it; where more are missing than were found, it is said.
#[test]
fn r22_a_long_gap_between_parts_is_no_end() {
    let environment = Environment::new();
    let bytes = demo();
    let part_bytes = bytes.len() / 80 + 1;
    let part = |number: usize| environment.work().join(format!("disk.{number:03}"));
    for (at, content) in bytes.chunks(part_bytes).enumerate() {
        fs::write(part(at + 1), content).expect("written");
    }
    for number in 30..50 {
        fs::remove_file(part(number)).expect("removed");
    }
    let said = environment.ntt(["--json", "ingest", "disk.001"]).summary(3);
    assert_eq!(said["media"][0]["completeness"], "partial", "{said}");
    let read = environment
        .ntt(["medium", "show", "--findings", "disk.001"])
        .code(0);
    assert!(read.contains("part disk.049 is missing"), "{read}");
    assert!(!read.contains("part disk.050 is missing"), "{read}");
    for number in 5..30 {
        fs::remove_file(part(number)).expect("removed");
    }
    let said = environment.ntt(["inspect", "disk.001"]).code(3);
    assert!(said.contains("disk.050 was not taken for a part"), "{said}");
}

/// Sheets and descriptors of systems that do not tell letters apart; one that names what is not there says so.
#[test]
fn names_in_other_letters_are_found_if_there_is_one_of_them() {
    let environment = Environment::new();
    environment.write("data.bin", &demo());
    environment.write(
        "disc.cue",
        b"FILE \"DATA.BIN\" BINARY\n  TRACK 01 MODE1/2048\n    INDEX 01 00:00:00\n",
    );
    let said = environment.ntt(["inspect", "disc.cue"]).everything();
    assert!(said.contains("fat16") && said.contains("ext4"), "{said}");
    environment.write("Data.Bin", b"another one");
    let said = environment.ntt(["inspect", "disc.cue"]).stderr(1);
    assert!(
        said.contains("the file that holds its image is missing: DATA.BIN"),
        "{said}"
    );
}
