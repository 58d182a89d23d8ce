//! `ntt rescue` on files; faults are the business of the crate's own tests.

use std::os::unix::fs::PermissionsExt;

use ntt_testkit::corpus::have;
use ntt_testkit::lab::make;

use crate::environment::{Environment, as_nobody};
use crate::images;

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

/// R37: an image that rotted between its rescue and its ingest is not what was read, and the digest beside it says so.
#[test]
fn r37_an_image_that_rotted_since_its_rescue_is_told() {
    let environment = Environment::new();
    let _ = environment.write("source", &images::demo());
    environment.ntt(["rescue", "source", "--output", "image"]).code(0);
    environment.ntt(["--archive", "whole", "ingest", "image"]).code(0);
    let mut rotten = read(&environment, "image");
    rotten[images::DEMO_FAT.end - 10] ^= 1;
    let _ = environment.write("image", &rotten);
    environment
        .ntt(["--archive", "rotten", "ingest", "image"])
        .code(3);
    let findings = ["--archive", "rotten", "medium", "show", "--findings", "image"];
    let shown = environment.ntt(findings).code(0);
    assert!(shown.contains("when it was rescued; it is"), "{shown}");
    let verify = ["--archive", "rotten", "verify", "--source", "image"];
    let told = environment.ntt(verify).code(12);
    assert!(told.contains("when it was rescued; it is"), "{told}");
}

/// R3, R21: a hole is not filled from another medium of the same size, blank as most of both may be; a few sectors in which a drive lied are no other medium.
#[test]
fn r3_images_of_two_media_are_not_merged() {
    let environment = Environment::new();
    let put = |name: &str, image: &[u8], hole: u32| {
        let _ = environment.write(name, image);
        let after = u32::try_from(image.len()).expect("small") - hole - 0x8000;
        let map = format!(
            "0 + 1\n0x0 {hole:#x} +\n{hole:#x} 0x8000 -\n{:#x} {after:#x} +\n",
            hole + 0x8000
        );
        let _ = environment.write(format!("{name}.map"), map.as_bytes());
    };
    let mut one = vec![0; 8 << 20];
    one[..3_000].copy_from_slice(&content()[..3_000]);
    one[0x10_0000..0x20_0000].copy_from_slice(&content()[..0x10_0000]);
    let mut other = one.clone();
    other[39..43].copy_from_slice(b"othr");
    other[0x10_0000..0x20_0000].copy_from_slice(&content()[0x10_0000..0x20_0000]);
    put("one", &one, 0x10_8000);
    put("other", &other, 0x30_0000);
    let merge = ["rescue", "--merge", "one", "other", "--output", "both"];
    let told = environment.ntt(merge).stderr(1);
    assert!(told.contains("one and other are not of one medium"), "{told}");
    assert!(!environment.work().join("both").exists());
    let mut lied = one.clone();
    lied[0x10_0200..0x10_0400].fill(b'?');
    put("other", &lied, 0x30_0000);
    let told = environment.ntt(merge).code(3);
    assert!(told.contains("32,768 bytes from other"), "{told}");
    assert!(read(&environment, "both") == one);
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

/// Of two runs that begin at the same instant one has the image, and the other says so.
#[test]
fn of_two_runs_that_begin_together_one_is_told_of_the_other() {
    let environment = Environment::new();
    let _ = environment.write("source", &content());
    for round in 0..20 {
        let image = format!("image{round}");
        let start = || {
            let mut command = environment.command(["rescue", "source", "--output", &image]);
            command.stdout(std::process::Stdio::null());
            command.stderr(std::process::Stdio::piped());
            command.spawn().expect("it starts")
        };
        let both = [start(), start()];
        for child in both {
            let ended = child.wait_with_output().expect("it ends");
            let said = String::from_utf8_lossy(&ended.stderr);
            assert!(matches!(ended.status.code(), Some(0 | 11)), "{round}: {said}");
        }
        assert!(read(&environment, &image) == content());
    }
}

/// An image that is empty and has no map was made a moment before its run was killed, or by who wanted a name: nothing is lost with it.
#[test]
fn an_empty_image_without_a_map_is_begun() {
    let environment = Environment::new();
    let _ = environment.write("source", &content());
    let _ = environment.write("image", b"");
    let _ = environment.ntt(["rescue", "source", "--output", "image"]).code(0);
    assert!(read(&environment, "image") == content());
}

/// What is no mapfile is called that, and where one would be looked for.
#[test]
fn what_is_no_mapfile_is_not_drawn() {
    let environment = Environment::new();
    let _ = environment.write("image", &content());
    let said = environment.ntt(["rescue", "--show", "image"]).stderr(1);
    assert!(
        said.contains("image is no mapfile")
            && said.contains("its map would be image.map")
            && said.contains("unknown")
            && !said.contains("line 1"),
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
