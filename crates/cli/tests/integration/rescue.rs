//! `ntt rescue` on files; faults are the business of the crate's own tests.

use std::os::unix::fs::PermissionsExt;

use ntt_testkit::corpus::have;
use ntt_testkit::lab::make;

use crate::environment::{Environment, as_nobody};

const LEN: usize = 3_000_123;

fn content() -> Vec<u8> {
    (0..LEN).map(|at| (at / 7 % 253) as u8).collect()
}

fn read(environment: &Environment, name: &str) -> Vec<u8> {
    std::fs::read(environment.work().join(name)).expect("a file")
}

#[test]
fn a_file_is_rescued_and_the_map_is_ddrescues() {
    let environment = Environment::new();
    let _ = environment.write("source", &content());
    let shown = environment.ntt(["rescue", "source", "--output", "image"]).code(0);
    assert!(shown.starts_with("complete: every byte was read"), "{shown}");
    assert!(
        shown.contains(blake3::hash(&content()).to_hex().as_str()),
        "{shown}"
    );
    assert!(read(&environment, "image") == content());
    let map = String::from_utf8(read(&environment, "image.map")).expect("text");
    assert!(map.ends_with("0x00000000  0x002DC73B  +\n"), "{map}");
    let drawn = environment.ntt(["rescue", "--show", "image.map"]).code(0);
    assert_eq!(drawn.matches('+').count(), 1024 + 1, "all cells, and the legend");
}

/// Bytes that an earlier map calls bad are missing: exit 3, and never a percentage.
#[test]
fn r7_missing_bytes_are_a_loss() {
    let environment = Environment::new();
    let _ = environment.write("source", &content());
    let _ = environment.write("image", &content());
    let map = "0x0 + 1\n0x00000000  0x00100000  +\n0x00100000  0x00000200  -\n0x00100200  0x001DC53B  +\n";
    let _ = environment.write("image.map", map.as_bytes());
    let arguments = ["rescue", "source", "--output", "image", "--phases", "copy"];
    let shown = environment.ntt(arguments).code(3);
    assert!(
        shown.contains("512 bytes are missing in 1 place") && !shown.contains('%'),
        "{shown}"
    );
    // With all phases, the bad sector is tried again, and comes.
    let shown = environment.ntt(["rescue", "source", "--output", "image"]).code(0);
    assert!(shown.starts_with("complete"), "{shown}");
}

/// R1, R8: disks that were partitioned alike begin alike. What is compared lies all over the image, whether there is more to read or not.
#[test]
fn r1_another_medium_that_begins_alike_is_refused() {
    let environment = Environment::new();
    let _ = environment.write("source", &content());
    let rescue = |source: &str| environment.ntt(["rescue", source, "--output", "image"]);
    let shown = rescue("source").code(0);
    assert!(!shown.contains("compared"), "{shown}");
    let shown = rescue("source").code(0);
    assert!(shown.contains("known by 8 places of 4096 bytes"), "{shown}");

    let mut other = content();
    other[LEN / 2..].fill(0);
    let _ = environment.write("other", &other);
    let unfinished = "0x0 + 1\n0x00000000  0x00280000  +\n0x00280000  0x0005C73B  ?\n";
    for map in [read(&environment, "image.map"), unfinished.as_bytes().to_vec()] {
        let _ = environment.write("image.map", &map);
        let told = rescue("other").stderr(1);
        assert!(
            told.contains("this is not the medium that the image is of: the bytes at"),
            "{told}"
        );
        assert!(read(&environment, "image") == content() && read(&environment, "image.map") == map);
    }
}

#[test]
fn what_would_be_overwritten_is_refused() {
    let environment = Environment::new();
    let _ = environment.write("source", &content());
    let _ = environment.write("image", b"mine");
    let told = environment
        .ntt(["rescue", "source", "--output", "image"])
        .stderr(1);
    assert!(told.contains("would be overwritten"), "{told}");
    let told = environment
        .ntt(["rescue", "source", "--output", "source"])
        .stderr(1);
    assert!(told.contains("is the source itself"), "{told}");
    let _ = environment.write("empty", b"");
    let told = environment.ntt(["rescue", "empty", "--output", "new"]).stderr(1);
    assert!(told.contains("it has no bytes"), "{told}");
    let told = environment
        .ntt(["rescue", "source", "image", "--output", "new"])
        .stderr(2);
    assert!(told.contains("one SOURCE"), "{told}");
    assert_eq!(read(&environment, "image"), b"mine");
}

#[test]
fn two_halves_are_merged() {
    let environment = Environment::new();
    let whole = content();
    for (name, status) in [("one", ["+", "-"]), ("two", ["-", "+"])] {
        let _ = environment.write(name, &whole);
        let map = format!(
            "0 + 1\n0x0  0x00100000  {}\n0x00100000  0x001DC73B  {}\n",
            status[0], status[1]
        );
        let _ = environment.write(format!("{name}.map"), map.as_bytes());
    }
    let shown = environment
        .ntt(["rescue", "--merge", "one", "two", "--output", "both"])
        .code(0);
    assert!(shown.contains("1,048,576 bytes from one"), "{shown}");
    assert!(shown.contains("1,951,547 bytes from two"), "{shown}");
    assert!(read(&environment, "both") == whole);
}

/// R21: no file that a rescue writes beside the image may be the source, by whatever name.
#[test]
fn r21_no_file_of_a_rescue_is_its_source() {
    for suffix in ["map", "map.tmp", "tree", "log.jsonl", "health.json"] {
        let environment = Environment::new();
        let _ = environment.write("source", &content());
        let beside = environment.work().join(format!("image.{suffix}"));
        std::os::unix::fs::symlink("source", beside).expect("a link");
        let told = environment
            .ntt(["rescue", "source", "--output", "image"])
            .stderr(1);
        assert!(told.contains("is the source itself"), "{suffix}: {told}");
        assert!(read(&environment, "source") == content(), "{suffix}");
        assert!(!environment.work().join("image").exists(), "{suffix}");
    }
}

/// What is no mapfile is called that, and where one would be looked for.
#[test]
fn what_is_no_mapfile_is_not_drawn() {
    let environment = Environment::new();
    let _ = environment.write("image", &content());
    let said = environment.ntt(["rescue", "--show", "image"]).stderr(1);
    assert!(
        said.contains("image is no mapfile") && said.contains("its map would be image.map"),
        "{said}"
    );
    let _ = environment.write("image.map", b"no map");
    let said = environment.ntt(["rescue", "--show", "image"]).stderr(1);
    assert!(
        said.contains("image.map is no mapfile") && !said.contains("would be"),
        "{said}"
    );
}

/// The group of devices helps with devices only.
#[test]
fn a_file_that_may_not_be_read_is_no_device() {
    if rustix::process::geteuid().is_root() && !have("setpriv") {
        return;
    }
    let environment = Environment::new();
    environment.open_to_all();
    let path = environment.write("source", &content());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o000)).expect("mine");
    let said = as_nobody(&environment, &["rescue", "source", "--output", "image"]).stderr(1);
    assert!(
        said.contains("Permission denied") && !said.contains("`disk`"),
        "{said}"
    );
}

/// A map that is no regular file is refused before anything is opened: whoever opens a pipe waits for its writer.
#[test]
fn a_map_that_is_no_regular_file_is_refused() {
    let environment = Environment::new();
    make::run("mkfifo", &["pipe", "image.map"], &environment.work());
    for name in ["disk", "image", "other"] {
        environment.write(name, &[1; 4096]);
    }
    for command in [
        &["rescue", "--show", "pipe"][..],
        &["rescue", "--show", "image"],
        &["rescue", "disk", "--output", "copy", "--map", "pipe"],
        &["rescue", "disk", "--output", "image"],
        &["rescue", "--merge", "image", "other", "--output", "merged"],
        &["rescue", "--merge", "other", "disk", "--output", "image"],
    ] {
        let said = environment.ntt(command).stderr(2);
        assert!(said.contains("no regular file"), "{command:?}: {said}");
    }
}
