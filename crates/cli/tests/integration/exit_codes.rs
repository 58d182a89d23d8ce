//! R44: the exit code of every way in which a command can end.

use std::fs;

use ntt_testkit::corpus::have;

use crate::environment::{Environment, as_nobody};
use crate::images::{self, DEMO_EXT};

/// An archive with a whole directory in it: a content in a pack, and one that is a file of its own.
fn archive() -> Environment {
    let environment = Environment::new();
    environment.write("tree/small", b"small content");
    environment.write("tree/large", &images::noise("large", 300_000));
    let _ = environment
        .ntt(["ingest", "--pack-threshold", "64KiB", "tree"])
        .code(0);
    environment
}

#[test]
fn r44_0_all_was_done() {
    let environment = archive();
    for arguments in [
        &["ingest", "tree"][..],
        &["verify"],
        &["copy", "tree"],
        &["doctor"],
        &["restore", "tree", "out"],
    ] {
        let _ = environment.ntt(arguments).code(0);
    }
}

#[test]
fn r44_1_it_could_not_be_done_or_is_not_there() {
    let environment = archive();
    for arguments in [
        &["ingest", "nowhere"][..],
        &["medium", "show", "nowhere"],
        &["ls", "nowhere"],
        &["cat", "tree/1/nothing"],
        &["where", &"0".repeat(64)],
        &["inspect", "nowhere"],
    ] {
        let run = environment.ntt(arguments);
        assert_eq!(run.exit(), Some(1), "{arguments:?}: {}", run.everything());
        assert!(!run.everything().contains("panicked"));
    }
}

#[test]
fn r44_2_the_arguments_make_no_sense() {
    let environment = archive();
    for arguments in [
        &["ingest"][..],
        &["ingest", "--label", "both", "tree", "tree"],
        &["find", "--regex", "("],
        &["find", "--state", "perfect"],
        &["find", "--after", "yesterday"],
        &["retry", "--class", "bad luck", "tree"],
        &["ingest", "--jobs", "many", "tree"],
        &["exclude", "tree", "nowhere.toml"],
    ] {
        let run = environment.ntt(arguments);
        assert_eq!(run.exit(), Some(2), "{arguments:?}: {}", run.everything());
    }
}

/// The usage that an error tells has nothing in it that need not be given, and a variable that is empty names no archive.
#[test]
fn r44_2_what_the_environment_gives_is_not_asked_for() {
    let environment = Environment::new();
    let said = environment.ntt(["ingest"]).stderr(2);
    assert!(
        said.contains("Usage: ntt ingest") && !said.contains("--archive"),
        "{said}"
    );
    let said = environment
        .ntt_with(&[("NTT_ARCHIVE", "")], ["medium", "list"])
        .stderr(2);
    assert!(said.contains("NTT_ARCHIVE is empty"), "{said}");
}

/// A program that asked for JSON gets it, also for arguments that are none.
#[test]
fn r44_wrong_arguments_are_told_as_json_if_that_is_asked_for() {
    let environment = Environment::new();
    for (arguments, message) in [
        (
            &["ls"][..],
            "the following required arguments were not provided: <TARGET>",
        ),
        (&["find", "--nonsense"], "unexpected argument '--nonsense' found"),
    ] {
        let said = environment.ntt(["--json"].iter().chain(arguments)).stderr(2);
        let error: serde_json::Value = serde_json::from_str(&said).expect("one object");
        assert_eq!(
            (&error["message_type"], &error["message"]),
            (&"error".into(), &message.into())
        );
        assert!(error["hints"].as_array().expect("hints").len() > 1, "{error}");
    }
    assert!(
        environment
            .ntt(["--json", "--help"])
            .code(0)
            .contains("Usage: ntt")
    );
}

#[test]
fn r44_3_finished_with_recorded_losses() {
    let environment = Environment::new();
    environment.write("short.img", &images::demo()[..DEMO_EXT.start + (1 << 20)]);
    for arguments in [
        &["inspect", "short.img"][..],
        &["ingest", "short.img"],
        &["ingest", "short.img"],
        &["copy", "short.img"],
    ] {
        let _ = environment.ntt(arguments).code(3);
    }
    environment.write("noise.img", &images::noise("nothing known", 1 << 20));
    let _ = environment.ntt(["ingest", "noise.img"]).code(3);
}

#[test]
fn r44_4_a_source_is_a_medium_that_is_withdrawn() {
    let environment = archive();
    let withdraw = ["medium", "withdraw", "tree", "--reason", "a test"];
    let _ = environment.ntt(withdraw).code(0);
    let _ = environment.ntt(["ingest", "tree"]).code(4);
    // What cannot be read at all is worse.
    let _ = environment.ntt(["ingest", "tree", "nowhere"]).code(1);
}

#[test]
fn r44_10_there_is_no_archive() {
    let environment = Environment::new();
    for arguments in [
        &["medium", "list"][..],
        &["verify"],
        &["status"],
        &["find", ""],
        &["doctor"],
        &["copy", "x"],
    ] {
        let run = environment.ntt(arguments);
        assert_eq!(run.exit(), Some(10), "{arguments:?}: {}", run.everything());
        assert!(!environment.archive().exists(), "{arguments:?}");
    }
}

/// R42: verification reads contents back; a single changed bit is damage, and the sound contents are still good.
#[test]
fn r44_12_verification_finds_damage() {
    let environment = archive();
    let digest = blake3::hash(&images::noise("large", 300_000))
        .to_hex()
        .to_string();
    let blob = environment
        .archive()
        .join("blobs")
        .join(&digest[..2])
        .join(&digest[2..4])
        .join(&digest);
    let mut content = fs::read(&blob).expect("a content of its own");
    content[150_000] ^= 1;
    fs::remove_file(&blob).expect("mine");
    fs::write(&blob, content).expect("mine");
    let said = environment.ntt(["verify"]).code(12);
    assert!(said.contains("1 damaged"), "{said}");
    fs::remove_file(&blob).expect("mine");
    let said = environment.ntt(["doctor"]).code(12);
    assert!(said.contains(&format!("1 missing: {digest}")), "{said}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let environment = archive();
    for number in 0..2000 {
        environment.write(format!("many/{number}"), b"");
    }
    let _ = environment.ntt(["ingest", "many"]).code(0);
    let mut command = environment.command(["find", "--json", ""]);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("ntt can be started");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// R44: an archive that this user may not enter is out of reach, and no settings file is to blame.
#[test]
fn r44_10_an_archive_that_is_closed_to_the_user() {
    use std::os::unix::fs::PermissionsExt;
    if rustix::process::geteuid().is_root() && !have("setpriv") {
        return;
    }
    let environment = archive();
    environment.open_to_all();
    std::fs::set_permissions(environment.archive(), std::fs::Permissions::from_mode(0o000)).expect("mine");
    for arguments in [
        &["medium", "list"][..],
        &["find", ""],
        &["ingest", "tree"],
        &["config", "show"],
    ] {
        let said = as_nobody(&environment, arguments).stderr(10);
        assert!(
            said.contains("archive cannot be entered") && !said.contains("ntt.toml"),
            "{arguments:?}: {said}"
        );
    }
    std::fs::set_permissions(environment.archive(), std::fs::Permissions::from_mode(0o700)).expect("mine");
}

/// R44: what speaks of a rescue is refused where nothing is rescued, and not passed over.
#[test]
fn r44_2_flags_of_a_rescue_without_one() {
    let environment = Environment::new();
    environment.write("disk.img", &images::demo());
    for flags in [
        &["--medium", "nope"][..],
        &["--eject"],
        &["--patience", "night"],
        &["--priority", "0:512"],
        &["--files-first"],
        &["--wait", "1"],
        &["--accept-size"],
        &["--accept-space"],
    ] {
        let said = environment
            .ntt([&["ingest", "disk.img"], flags].concat())
            .stderr(2);
        assert!(
            said.contains(&format!("{} speaks of a rescue", flags[0])) && said.contains("--rescue"),
            "{said}"
        );
        assert!(!environment.archive().exists(), "{flags:?}");
    }
    let _ = environment
        .ntt([
            "ingest",
            "--rescue",
            "--patience",
            "minutes",
            "--accept-space",
            "disk.img",
        ])
        .code(0);
    let said = environment.ntt(["ingest", "--eject", "absent.img"]).stderr(1);
    assert!(
        said.contains("absent.img") && !said.contains("speaks of"),
        "{said}"
    );
}

/// R44: a mistyped file is not found, whether a folder is named with it or not.
#[test]
fn r44_1_where_is_what_is_nowhere() {
    let environment = archive();
    for name in ["nofile", "dir/nofile"] {
        let said = environment.ntt(["where", name]).stderr(1);
        assert!(
            said.contains(&format!("{name} is no file of this machine either")),
            "{said}"
        );
    }
    let _ = environment.ntt(["where", "tree/nofile"]).stderr(2);
}
