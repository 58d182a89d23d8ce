//! `ntt verify --source`, and files of an image that change behind our back.

use std::fs::{self, File};
use std::path::Path;

use ntt_testkit::corpus::have;
use ntt_testkit::lab::make;

use crate::environment::Environment;
use crate::images;

/// Changes bytes of a file so that its times tell nothing, as a failing disk does.
fn rot(path: &Path, offset: u64, bytes: &[u8]) {
    let before = std::fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .expect("a time");
    images::put(path, offset, bytes);
    let file = File::options().write(true).open(path).expect("a file");
    file.set_modified(before).expect("a time");
}

/// What is right is said, and so is an image that is not what was taken in.
#[test]
fn a_source_is_compared_with_what_was_taken_in() {
    let environment = Environment::new();
    let image = environment.write("demo.img", &images::demo());
    environment.ntt(["ingest", "demo.img"]).code(0);
    let said = environment.ntt(["verify", "--source", "demo.img"]).code(0);
    assert!(
        said.contains("as when it was taken in") && said.contains("0 problems"),
        "{said}"
    );
    rot(&image, 5000, b"x");
    let said = environment.ntt(["verify", "--source", "demo.img"]).code(12);
    assert!(said.contains("the BLAKE3 of the image was"), "{said}");
    let shown = environment
        .ntt(["medium", "show", "--findings", "demo.img"])
        .code(0);
    assert!(shown.contains("the BLAKE3 of the image was"), "{shown}");
    environment.ntt(["verify", "--source"]).stderr(2);
}

/// The digests that a forensic image states are compared again, and a damaged chunk is named with its place.
#[test]
fn a_forensic_image_says_where_it_is_damaged() {
    let environment = Environment::new();
    if images::ewf(&environment, &images::demo()).is_none() {
        return;
    }
    environment.ntt(["ingest", "disk.E01"]).code(0);
    let said = environment.ntt(["verify", "--source", "disk.E01"]).code(0);
    assert!(
        said.contains("MD5 ") && said.contains("SHA-1 ") && said.contains("as EWF (E01) states"),
        "{said}"
    );
    let second = environment.work().join("disk.E02");
    let middle = std::fs::metadata(&second).expect("a file").len() / 2;
    rot(&second, middle, b"rotten");
    let document = environment
        .ntt(["--json", "verify", "--source", "disk.E01"])
        .json(12);
    let check = document
        .iter()
        .find(|line| line["message_type"] == "verify-source-summary")
        .expect("a summary");
    let wrong = check["wrong"].as_array().expect("findings");
    let damage = wrong
        .iter()
        .find(|finding| finding["code"] == "corrupt" && finding["layer"] == "image")
        .expect("damage");
    assert!(
        damage["detail"]
            .as_str()
            .expect("text")
            .contains("of the image in EWF (E01)"),
        "{damage:#}"
    );
    assert!(
        damage["image_offset"].as_u64().expect("a place") > 5_000_000,
        "{damage:#}"
    );
}

/// R38: an image that can never be read whole has no digest, which is found out once.
#[test]
fn r38_a_digest_that_cannot_be_had_is_not_tried_for_again() {
    let environment = Environment::new();
    if images::ewf(&environment, &images::demo()).is_none() {
        return;
    }
    let second = environment.work().join("disk.E02");
    let middle = std::fs::metadata(&second).expect("a file").len() / 2;
    rot(&second, middle, b"rotten");
    let first = environment.ntt(["ingest", "disk.E01"]).exit();
    assert!(environment.stages_since_identify().contains(&"verify".to_owned()));
    assert_eq!(environment.ntt(["ingest", "disk.E01"]).exit(), first);
    assert!(!environment.stages_since_identify().contains(&"verify".to_owned()));
}

/// `disk.img` with the files `whole` and `changed`; tells its place and what is in the latter.
fn btrfs(environment: &Environment, size: u64, options: &[&str]) -> (std::path::PathBuf, Vec<u8>) {
    let folder = environment.work().join("files");
    std::fs::create_dir(&folder).expect("a folder");
    let content = images::noise("content", 300_000);
    std::fs::write(folder.join("whole"), images::noise("other", 100_000)).expect("a file");
    std::fs::write(folder.join("changed"), &content).expect("a file");
    let image = environment.work().join("disk.img");
    images::sparse(&image, size);
    let common = ["-q", "-m", "single", "-r", "files"];
    make::run(
        "mkfs.btrfs",
        &[&common, options, &["disk.img"]].concat(),
        &environment.work(),
    );
    (image, content)
}

/// A byte of a file that rots on btrfs is a finding with the file and the bytes of it that are doubtful.
#[test]
fn r22_rotten_content_on_btrfs_is_named() {
    if !have("mkfs.btrfs") {
        return;
    }
    let environment = Environment::new();
    let (image, content) = btrfs(&environment, 120 << 20, &["-M", "-d", "single"]);
    environment.ntt(["ingest", "disk.img"]).code(0);
    let said = environment.ntt(["verify", "--source", "disk.img"]).code(0);
    assert!(
        said.contains("volume 1: all content that has checksums matches them"),
        "{said}"
    );
    let bytes = std::fs::read(&image).expect("the image");
    let at = bytes
        .windows(64)
        .position(|window| window == &content[200_000..200_064]);
    rot(
        &image,
        u64::try_from(at.expect("the content")).expect("small"),
        b"rot",
    );
    let said = environment.ntt(["verify", "--source", "disk.img"]).code(12);
    // Sectors have 4096 bytes: 200,000 lies in the one from 196,608 on.
    let place = "volume 1, changed: ";
    assert!(
        said.contains(place) && said.contains("bytes 196608 to 200703 of a file"),
        "{said}"
    );
    assert!(!said.contains("whole: "), "{said}");
}

/// R11, R42: content that was stored from a wrong copy is told of by a later look at the source, and read again by a new scan. What was stored stays.
#[test]
fn r11_content_from_a_wrong_copy_is_read_again_by_a_new_scan() {
    if !have("mkfs.btrfs") {
        return;
    }
    let environment = Environment::new();
    let (image, content) = btrfs(&environment, 400 << 20, &["-d", "dup"]);
    // No copy is right, so that the first one is stored; then the second one is, as if an earlier version had taken the first one for good.
    let needle = &content[200_000..200_064];
    let bytes = std::fs::read(&image).expect("the image");
    let places: Vec<u64> = (0..)
        .step_by(64)
        .zip(bytes.windows(64).step_by(64))
        .filter(|(_, window)| *window == needle)
        .map(|(at, _)| at)
        .collect();
    assert_eq!(places.len(), 2, "two copies");
    for place in &places {
        rot(&image, *place, b"rot");
    }
    let _ = environment.ntt(["ingest", "disk.img"]).code(3);
    rot(&image, places[1], &needle[..3]);
    let wrong = environment.ntt(["cat", "disk.img/1/changed"]).bytes(0);
    assert_ne!(wrong, content);

    let run = environment.ntt(["verify", "--source", "disk.img"]);
    let said = run.stderr(12);
    assert!(
        said.contains("hint: ") && said.contains("ntt scan --again "),
        "{said}"
    );
    let shown = environment
        .ntt(["medium", "show", "--findings", "disk.img"])
        .code(0);
    assert!(shown.contains("the copy at"), "{shown}");
    let said = environment
        .ntt(["--json", "scan", "--again", "disk.img"])
        .everything();
    assert!(said.contains(r#""carried_streams": 1,"#), "{said}");
    let _ = environment.ntt(["copy", "disk.img"]).exit();
    assert_eq!(environment.ntt(["cat", "disk.img/1/changed"]).bytes(0), content);
    let shown = environment
        .ntt(["medium", "show", "--findings", "disk.img"])
        .code(0);
    assert!(shown.contains("the copy at"), "on record: {shown}");
    let earlier = environment
        .ntt(["cat", "--scan", "1", "disk.img/1/changed"])
        .bytes(0);
    assert_eq!(earlier, wrong, "what was stored stays");
}

/// A file of an image in several that vanishes or changes between the stages is named, and nothing is read.
#[test]
fn companions_that_vanish_or_change_are_named() {
    let environment = Environment::new();
    let demo = images::demo();
    environment.write("disk.001", &demo[..10_000_000]);
    let second = environment.write("disk.002", &demo[10_000_000..]);
    environment.ntt(["ingest", "--no-copy", "disk.001"]).code(3);
    let away = environment.work().join("away");
    std::fs::rename(&second, &away).expect("moved");
    let said = environment.ntt(["copy", "disk.001"]).stderr(1);
    assert!(said.contains("disk.002") && said.contains("gone"), "{said}");
    std::fs::rename(&away, &second).expect("moved");
    environment.ntt(["copy", "disk.001"]).code(0);
    images::put(&second, 100, b"changed");
    for command in [
        &["scan", "--again", "disk.001"][..],
        &["verify", "--source", "disk.001"],
    ] {
        let said = environment.ntt(command).stderr(1);
        assert!(said.contains("disk.002 changed since"), "{said}");
    }
}

/// R11, R42: an image of the archive whose map says less than was known is still compared with the digest that it had: a map is no way to pass a change.
#[test]
fn r42_a_map_that_says_less_hides_no_change() {
    let environment = Environment::new();
    environment.write("disk", &images::demo());
    let _ = environment
        .ntt(["ingest", "--rescue", "--label", "disk", "disk"])
        .code(0);
    let image = environment
        .archive()
        .join("media")
        .join(environment.medium("disk"))
        .join("image");
    let map = image.with_extension("map");
    fs::write(
        &map,
        "0x0 + 1\n0x0 0x800000 +\n0x800000 0x200 -\n0x800200 0x7FFE00 +\n",
    )
    .expect("mine");
    let said = environment.ntt(["verify", "--source", "disk"]).stderr(1);
    assert!(said.contains("less of it was rescued than was known"), "{said}");
    let file = fs::OpenOptions::new().write(true).open(&image).expect("mine");
    std::os::unix::fs::FileExt::write_all_at(&file, b"XXXX", 6_000_000).expect("mine");
    let said = environment.ntt(["verify", "--source", "disk"]).code(12);
    assert!(said.contains("when it was taken in; it is"), "{said}");
}
