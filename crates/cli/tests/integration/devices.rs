//! `ntt ingest DEVICE`, with files in the place of devices: from the medium to the archive.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use ntt_model::ByteRange;
use ntt_testkit::faulty::{Cost, ENXIO, FaultyMedium, Vanishing};
use ntt_testkit::faulty_file::FaultyFile;
use ntt_testkit::loop_device::LoopDevice;
use rustix::process::{Pid, Signal, kill_process};

use crate::environment::Environment;
use crate::images;

const DEMO: &[u8] = include_bytes!("../../../../test_data/demo.img.gz");
const MIB: u64 = 1 << 20;

/// An MBR disk with a FAT volume from 1 MiB on and an ext4 volume from 7 MiB on.
fn demo() -> Vec<u8> {
    let mut image = Vec::new();
    flate2::read::GzDecoder::new(DEMO)
        .read_to_end(&mut image)
        .expect("our image");
    image
}

/// The demo disk in a drive that fails where `bad` says.
fn failing(environment: &Environment, bad: &[ByteRange]) -> Option<FaultyFile> {
    let path = environment.write("demo.img", &demo());
    FaultyFile::mount(medium(&path, bad), true)
}

fn medium(image: &Path, bad: &[ByteRange]) -> FaultyMedium {
    let file = std::fs::File::open(image).expect("the image");
    let size_bytes = file.metadata().expect("a file").len();
    let cost = Cost {
        bytes_per_second: 2_000_000_000,
        per_read: Duration::ZERO,
        per_failure: Duration::from_millis(1),
    };
    let medium = FaultyMedium::new(size_bytes, 1).costing(cost).holding(file);
    bad.iter().fold(medium, |medium, range| medium.bad(*range))
}

fn ingest(environment: &Environment, source: &Path, more: &[&str], code: i32) -> serde_json::Value {
    let mut arguments = vec!["--json", "ingest", "--rescue"];
    arguments.extend(more);
    arguments.push(source.to_str().expect("UTF-8"));
    let lines = environment.ntt(arguments).json(code);
    let summary = lines
        .into_iter()
        .find(|line| line["message_type"] == "ingest-summary");
    summary.expect("a summary")
}

fn media(environment: &Environment) -> Vec<serde_json::Value> {
    let list = environment.ntt(["--json", "medium", "list"]).document(0);
    list["media"].as_array().expect("a list").clone()
}

fn image_of(environment: &Environment, medium: &serde_json::Value) -> std::path::PathBuf {
    let id = medium.as_str().expect("an id");
    environment.archive().join("media").join(id).join("image")
}

/// R2, R3: rescued once, recognised ever after; the image lies in the archive.
#[test]
fn r02_a_device_goes_into_the_archive_once() {
    let environment = Environment::new();
    let source = environment.write("disk", &demo());
    let first = ingest(&environment, &source, &["--label", "Box 7"], 0);
    let medium = &first["media"][0];
    assert_eq!(medium["health"]["verdict"], "complete");
    // Its name has the time behind that of the device, and neither need be typed.
    let shown = environment.ntt(["--json", "medium", "show", "disk"]).document(0);
    assert_eq!(shown["id"], medium["medium"], "{shown}");
    let _ = environment.ntt(["medium", "show", "dis"]).code(1);
    assert_eq!(medium["volumes"].as_array().map(Vec::len), Some(2));
    let image = image_of(&environment, &medium["medium"]);
    assert!(std::fs::read(&image).expect("an image") == demo());
    assert!(image.with_file_name("image.map").is_file() && image.with_file_name("image.log.jsonl").is_file());

    let again = ingest(&environment, &source, &[], 0);
    assert_eq!(again["media"][0]["medium"], medium["medium"]);
    assert_eq!(again["media"][0]["copied"]["stored_streams"], 0);
    let all = media(&environment);
    assert_eq!((all.len(), &all[0]["label"]), (1, &"Box 7".into()));
    // The name says when it was; it is not evidence.
    let name = all[0]["source_name"].as_str().expect("a name");
    assert!(name.starts_with("disk-20") && name.ends_with('Z'), "{name}");

    let found = environment.ntt(["identify", "disk"]).code(0);
    assert!(
        found.contains("old id") && found.contains("every byte is equal"),
        "{found}"
    );
    // The same bytes changed in one place are another medium.
    let mut other = demo();
    other[5 << 20] ^= 1;
    let source = environment.write("disk", &other);
    let third = ingest(&environment, &source, &[], 0);
    assert_ne!(third["media"][0]["medium"], medium["medium"]);
}

/// R1: blank media are not taken for each other.
#[test]
fn r01_two_blank_devices_are_two_media() {
    let environment = Environment::new();
    for name in ["one", "two"] {
        let source = environment.write(name, &vec![0xf6; 3 << 20]);
        let summary = ingest(&environment, &source, &[], 0);
        assert_eq!(summary["media"][0]["health"]["verdict"], "complete", "{summary}");
    }
    assert_eq!(media(&environment).len(), 2);
}

/// R7, R11: bytes are missing, but nothing lies in them; and then something does.
#[test]
fn r07_a_hole_in_free_space_costs_no_file() {
    let environment = Environment::new();
    let free = ByteRange::new(5 * MIB, 64 << 10);
    let Some(file) = failing(&environment, &[free]) else {
        return;
    };
    let summary = ingest(&environment, file.path(), &[], 3);
    let health = &summary["media"][0]["health"];
    assert_eq!(health["verdict"], "files-complete", "{summary}");
    assert_eq!(health["missing_bytes"], 64 << 10);
    let id = summary["media"][0]["medium"].as_str().expect("an id");
    let shown = environment.ntt(["medium", "show", id]).code(0);
    assert!(shown.contains("state    files-complete"), "{shown}");
    assert!(
        shown.contains("65,536 bytes are missing in 1 place, and no file"),
        "{shown}"
    );
    let status = environment.ntt(["status"]).code(0);
    assert!(
        status.contains("files-complete, 65,536 bytes are missing"),
        "{status}"
    );
    let record = image_of(&environment, &summary["media"][0]["medium"]).with_file_name("image.health.json");
    assert!(
        std::fs::read_to_string(record)
            .expect("a record")
            .contains("files-complete")
    );
}

#[test]
fn r11_a_hole_in_a_file_is_told() {
    let environment = Environment::new();
    let in_a_file = ByteRange::new(MIB + (130 << 10), 512);
    let Some(file) = failing(&environment, &[in_a_file]) else {
        return;
    };
    let summary = ingest(&environment, file.path(), &[], 3);
    assert_eq!(summary["media"][0]["health"]["verdict"], "partial", "{summary}");
    let id = summary["media"][0]["medium"].as_str().expect("an id");
    let shown = environment.ntt(["medium", "show", id]).code(0);
    assert!(shown.contains("hit      1 content of"), "{shown}");
    // The drive has a better day: the same medium, and nothing is missing any more.
    drop(file);
    let Some(file) = FaultyFile::mount(medium(&environment.work().join("demo.img"), &[]), true) else {
        return;
    };
    let better = ingest(&environment, file.path(), &[], 0);
    assert_eq!(better["media"][0]["medium"].as_str(), Some(id));
    assert_eq!(better["media"][0]["health"]["missing_bytes"], 0, "{better}");
    let damaged = environment.ntt(["find", "--state", "damaged"]).code(0);
    assert_eq!(damaged, "");
}

/// R1, R5: a copy of a disk that was not rescued whole, with files of its own, must not fill the holes of that disk nor take its label: places that are equal do not tell
/// them apart, the words of the human do.
#[test]
fn r05_a_copy_with_another_label_is_a_medium_of_its_own() {
    let environment = Environment::new();
    let Some(file) = failing(&environment, &[ByteRange::new(MIB + (130 << 10), 512)]) else {
        return;
    };
    let first = ingest(&environment, file.path(), &["--label", "disk 1"], 3);
    drop(file);
    let path = environment.work().join("demo.img");
    let Some(file) = FaultyFile::mount(medium(&path, &[]), true) else {
        return;
    };
    let second = ingest(&environment, file.path(), &["--label", "disk 2"], 0);
    assert_ne!(first["media"][0]["medium"], second["media"][0]["medium"]);
    let id = second["media"][0]["medium"].as_str().expect("an id");
    let shown = environment.ntt(["medium", "show", id]).code(0);
    assert!(shown.contains("labelled `disk 1`"), "{shown}");
    let all = media(&environment);
    let labels: Vec<&str> = all.iter().filter_map(|medium| medium["label"].as_str()).collect();
    assert_eq!(
        (labels, all[0]["completeness"].as_str()),
        (vec!["disk 1", "disk 2"], Some("partial"))
    );
    // The same words again, or none: it is the one that was begun.
    let again = ingest(&environment, file.path(), &["--label", "disk 1"], 0);
    assert_eq!(again["media"][0]["medium"], first["media"][0]["medium"]);
}

/// R24: a directory whose file system has inode numbers of 64 bits is taken in like any other.
#[test]
fn r24_a_directory_with_numbers_of_64_bits_is_taken_in() {
    let environment = Environment::new();
    let Some(file) = FaultyFile::mount(medium(&environment.write("demo.img", &demo()), &[]), false) else {
        return;
    };
    let number = std::fs::metadata(file.path()).expect("it is there").ino();
    assert!(number > 1 << 63, "{number}");
    let folder = file.path().parent().expect("the mount");
    let source = folder.to_str().expect("UTF-8");
    environment.ntt(["ingest", source]).code(0);
    let listed = environment.ntt(["find", "disk"]).code(0);
    assert_eq!(listed.lines().count(), 1, "{listed}");
    let back = environment.work().join("back");
    let name = folder.file_name().and_then(|name| name.to_str()).expect("UTF-8");
    let volume = format!("{name}/1");
    environment
        .ntt(["restore", &volume, back.to_str().expect("UTF-8")])
        .code(0);
    assert!(std::fs::read(back.join("disk")).expect("restored") == demo());
}

/// R8, R38: what was interrupted is on record, with the human's words, and goes on.
#[test]
fn r38_an_interrupted_rescue_is_on_record_and_goes_on() {
    let environment = Environment::new();
    let image = environment.write("demo.img", &demo());
    let slow = medium(&image, &[]).slow(ByteRange::new(2 * MIB, 14 * MIB), 4_000_000);
    let Some(file) = FaultyFile::mount(slow, true) else {
        return;
    };
    let source = file.path().to_str().expect("UTF-8");
    let mut child = environment
        .command([
            "--quiet",
            "ingest",
            "--rescue",
            "--label",
            "from the attic",
            source,
        ])
        .spawn()
        .expect("ntt");
    let begin = Instant::now();
    while file.medium().log().len() < 40 && begin.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id")).expect("a process");
    kill_process(pid, Signal::INT).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let before = media(&environment);
    assert_eq!((before.len(), &before[0]["label"]), (1, &"from the attic".into()));
    drop(file);

    let Some(file) = FaultyFile::mount(medium(&image, &[]), true) else {
        return;
    };
    let summary = ingest(&environment, file.path(), &[], 0);
    assert_eq!(summary["media"][0]["medium"], before[0]["id"]);
    let log = file.medium();
    let reads: u64 = log.log().iter().map(|record| record.range.len).sum();
    assert!(reads < 16 * MIB, "{reads} bytes read again");
    let after = media(&environment);
    assert_eq!((after.len(), &after[0]["label"]), (1, &"from the attic".into()));
}

/// R38, R39: for what there is no room nothing goes on record; else each attempt would leave one more medium.
#[test]
fn r38_a_rescue_without_room_leaves_no_medium() {
    let environment = Environment::new();
    let source = environment.work().join("huge.img");
    images::sparse(&source, 8 << 40);
    for _ in 0..2 {
        let said = environment
            .ntt(["ingest", "--rescue", "--label", "Box 9", "huge.img"])
            .stderr(10);
        assert!(said.contains("bytes free, "), "{said}");
        assert_eq!(media(&environment), Vec::<serde_json::Value>::new());
    }
    let folders = std::fs::read_dir(environment.archive().join("media"));
    assert_eq!(folders.map_or(0, Iterator::count), 0);
}

/// R8, R39, R44: a device that goes away for good costs neither the summary of those before it nor the one behind it, and can be gone on with.
#[test]
fn r08_a_lost_device_is_a_failure_of_its_own() {
    let environment = Environment::new();
    let image = environment.write("demo.img", &demo());
    // Of other sizes, so that they are not compared with the one that goes away.
    let longer = |by: u64| [demo(), vec![0; usize::try_from(by * MIB).expect("small")]].concat();
    let first = environment.write("first", &longer(1));
    let last = environment.write("last", &longer(2));
    let vanishing = Vanishing {
        after_reads: Some(60),
        errno: ENXIO,
        ..Vanishing::default()
    };
    let Some(file) = FaultyFile::mount(medium(&image, &[]).vanishing(vanishing), true) else {
        return;
    };
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (first, lost, last) = (path(&first), path(file.path()), path(&last));
    let lines = environment
        .ntt([
            "--json", "ingest", "--rescue", "--wait", "0", &first, &lost, &last,
        ])
        .json(130);
    let summary = lines
        .iter()
        .find(|line| line["message_type"] == "ingest-summary")
        .expect("a summary");
    let sources = summary["media"].as_array().expect("media");
    let sources: Vec<_> = sources
        .iter()
        .filter_map(|medium| medium["source"].as_str())
        .collect();
    assert_eq!(sources, [&first, &last], "{summary}");
    let failures = summary["failures"].as_array().expect("failures");
    assert_eq!(
        (failures.len(), failures[0]["path"].as_str()),
        (1, Some(lost.as_str()))
    );
    assert!(
        failures[0]["error"]
            .as_str()
            .is_some_and(|error| error.contains("went away")),
        "{summary}"
    );
    drop(file);
    let Some(file) = FaultyFile::mount(medium(&image, &[]), true) else {
        return;
    };
    let summary = ingest(&environment, file.path(), &[], 0);
    assert_eq!(summary["media"][0]["health"]["verdict"], "complete");
}

/// R2: a device that goes away while it is compared with a medium that looks alike is not that medium.
#[test]
fn r02_a_device_that_gives_nothing_is_not_known_by_it() {
    let environment = Environment::new();
    let image = environment.write("demo.img", &demo());
    let mut other = demo();
    other[5 << 20] ^= 1;
    let known = environment.write("known", &other);
    ingest(&environment, &known, &[], 0);
    let vanishing = Vanishing {
        after_reads: Some(8),
        errno: ENXIO,
        ..Vanishing::default()
    };
    let Some(file) = FaultyFile::mount(medium(&image, &[]).vanishing(vanishing), true) else {
        return;
    };
    let lost = file.path().to_str().expect("UTF-8");
    let run = environment.ntt(["ingest", "--rescue", "--wait", "0", lost]);
    assert!(matches!(run.exit(), Some(1 | 130)), "{}", run.everything());
    assert_eq!(media(&environment).len(), 2);
}

/// R4, R5: a drive that never spins up is a medium too; a source that is none leaves nothing.
#[test]
fn r05_what_cannot_be_read_is_on_record_with_its_words() {
    let environment = Environment::new();
    let added = environment
        .ntt([
            "medium",
            "add",
            "--unreadable",
            "Maxtor",
            "--label",
            "clicks\n",
            "--serial",
            "L80",
        ])
        .code(0);
    assert!(added.contains("as unreadable"), "{added}");
    let all = media(&environment);
    assert_eq!(all[0]["completeness"], "unreadable");
    assert_eq!(all[0]["label"], "clicks\n");
    let id = all[0]["id"].as_str().expect("an id");
    let shown = environment.ntt(["medium", "show", id]).code(0);
    assert!(shown.contains("printed-serial L80 (label)"), "{shown}");
    // It spins up after all.
    let source = environment.write("disk", &demo());
    let summary = ingest(&environment, &source, &["--medium", id], 0);
    assert_eq!(summary["media"][0]["medium"].as_str(), Some(id));
    let _ = environment.ntt(["ingest", "--rescue", "nothing"]).stderr(1);
    assert_eq!(media(&environment).len(), 1);
}

/// A device that answers nothing: the medium is on record, and the exit code says that nothing was done.
#[test]
fn r08_a_dead_device_is_on_record() {
    let environment = Environment::new();
    let Some(file) = failing(&environment, &[ByteRange::new(0, 16 * MIB)]) else {
        return;
    };
    let source = file.path().to_str().expect("UTF-8");
    let told = environment
        .ntt(["ingest", "--rescue", "--label", "dead", source])
        .stderr(1);
    assert!(told.contains("on record as medium"), "{told}");
    assert_eq!(media(&environment)[0]["label"], "dead");
    assert!(environment.ntt(["doctor"]).code(0).contains("manifests"));
}

/// R9: a block device is rescued without being asked for, with its own sectors: five of a disc cost 10,240 bytes.
#[test]
fn r09_five_bad_sectors_of_a_disc_cost_10240_bytes() {
    let environment = Environment::new();
    let image = environment.write("demo.img", &demo());
    let whole = ByteRange::new(0, 16 * MIB);
    let faulty = medium(&image, &[]).lone_bad_sectors(5, whole, 2048, 8);
    let Some(file) = FaultyFile::mount(faulty, true) else {
        return;
    };
    let Some(device) = LoopDevice::over(file.path(), 2048) else {
        return;
    };
    let source = device.path().to_str().expect("UTF-8");
    let lines = environment.ntt(["--json", "ingest", source]).json(3);
    let summary = lines.last().expect("a summary");
    assert_eq!(
        summary["media"][0]["health"]["missing_bytes"], 10_240,
        "{summary}"
    );
    let id = summary["media"][0]["medium"].as_str().expect("an id");
    let shown = environment.ntt(["medium", "show", id]).code(0);
    assert!(shown.contains("sector-size    2048 (device)"), "{shown}");
}

/// R5: a drive that may die is asked early; what it said is on record however the rescue ends.
#[test]
fn r05_a_drive_is_asked_while_it_lives() {
    let environment = Environment::new();
    let image = environment.write("demo.img", &demo());
    let slow = medium(&image, &[]).slow(ByteRange::new(2 * MIB, 13 * MIB), 1_000_000);
    let Some(file) = FaultyFile::mount(slow, true) else {
        return;
    };
    let Some(device) = LoopDevice::over(file.path(), 512) else {
        return;
    };
    let programs = environment.work().join("bin");
    std::fs::create_dir(&programs).expect("a directory");
    let answer = r#"echo '{"serial_number": "WD-1234567", "smart_status": {"passed": false}}'"#;
    let program = programs.join("smartctl");
    std::fs::write(&program, format!("#!/bin/sh\n{answer}\n")).expect("written");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("set");
    let path = format!(
        "{}:{}",
        programs.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut child = environment
        .command(["--quiet", "ingest", device.path().to_str().expect("UTF-8")])
        .env("PATH", path)
        .spawn()
        .expect("ntt");
    let begin = Instant::now();
    let answer_of_drive = || {
        let media = std::fs::read_dir(environment.archive().join("media")).ok()?;
        let text = std::fs::read(media.flatten().next()?.path().join("smart.json")).ok()?;
        (text.ends_with(b"\n")).then_some(())
    };
    while answer_of_drive().is_none() && begin.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let edges = [ByteRange::new(0, MIB), ByteRange::new(15 * MIB, MIB)];
    let read: u64 = file
        .medium()
        .log()
        .iter()
        .map(|record| {
            edges
                .iter()
                .filter_map(|edge| edge.intersection(&record.range))
                .map(|part| part.len)
                .sum::<u64>()
        })
        .sum();
    assert!(read >= 2 * MIB, "asked after {read} bytes of the edges");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id")).expect("a process");
    kill_process(pid, Signal::INT).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let shown = environment
        .ntt([
            "medium",
            "show",
            media(&environment)[0]["id"].as_str().expect("an id"),
        ])
        .code(0);
    for piece in ["device-serial", "WD-1234567 (smartctl)", "failed (smartctl)"] {
        assert!(shown.contains(piece), "{shown}");
    }
}

/// R4: a device in use is refused, and nothing is written.
#[test]
fn r04_a_mounted_device_is_refused() {
    let environment = Environment::new();
    let volume = environment.write("volume", &demo()[7 << 20..15 << 20]);
    let Some(device) = LoopDevice::over(&volume, 512) else {
        return;
    };
    let place = environment.work().join("mnt");
    std::fs::create_dir(&place).expect("a directory");
    let mounted = std::process::Command::new("mount")
        .args(["-o", "ro,noload"])
        .args([device.path(), &place])
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: nothing can be mounted here");
        return;
    }
    let source = device.path().to_str().expect("UTF-8");
    let told = environment.ntt(["ingest", source]).stderr(1);
    let unmounted = std::process::Command::new("umount").arg(&place).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    assert!(told.contains("it is mounted at"), "{told}");
    assert!(!environment.archive().exists());
}

/// Where the sector begins in which these bytes first stand.
fn sector_of(image: &[u8], bytes: &[u8]) -> ByteRange {
    let at = image.windows(bytes.len()).position(|window| window == bytes);
    let at = u64::try_from(at.expect("they are there")).expect("small");
    ByteRange::new(at / 512 * 512, 512)
}

/// R22: a cable, a drive or a server may be what is wrong. What could not be read of an image is read by the next run, directories included, and nothing of it stands against the medium then.
#[test]
fn r22_errors_that_go_away_leave_nothing_behind() {
    let image = demo();
    let directory = sector_of(&image, b".          \x10");
    let content = sector_of(&image, b"buy floppies");
    for (bad, tries) in [
        (vec![content], 1),
        (vec![directory], 1),
        (vec![directory, content], 2),
    ] {
        let environment = Environment::new();
        let Some(file) = failing(&environment, &bad) else {
            return;
        };
        let source = file.path().to_str().expect("UTF-8");
        for _ in 0..tries {
            environment.ntt(["ingest", source]).code(3);
        }
        if bad.contains(&directory) {
            let said = environment.ntt(["restore", "disk/1", "short"]).code(3);
            assert!(said.contains("when it was listed"), "{said}");
        }
        *file.medium() = medium(&environment.work().join("demo.img"), &[]);
        environment.ntt(["retry", "disk"]).code(0);
        environment.ntt(["ingest", source]).code(0);
        let list = environment.ntt(["--json", "medium", "list"]).document(0);
        assert_eq!(list["media"][0]["completeness"], "complete", "{bad:?}: {list}");
        environment.ntt(["verify", "--source", "disk"]).code(0);
        let files = environment.ntt(["find", "-m", "disk", "-k", "file"]).code(0);
        assert!(
            files.contains("/1/Letters/A letter") && !files.contains('#'),
            "{bad:?}: {files}"
        );
    }
}

/// R42, R43: what the source was found to be and is not any more stands no longer.
#[test]
fn r42_a_source_that_is_as_it_was_again_is_complete_again() {
    let environment = Environment::new();
    let source = environment.write("demo.img", &demo());
    environment.ntt(["ingest", "demo.img"]).code(0);
    let modified = std::fs::metadata(&source)
        .and_then(|file| file.modified())
        .expect("a time");
    let write = |bytes: &[u8]| {
        std::fs::write(&source, bytes).expect("written");
        let file = std::fs::File::options()
            .write(true)
            .open(&source)
            .expect("opened");
        file.set_modified(modified).expect("its time");
    };
    let mut rotten = demo();
    rotten[5_000_000] ^= 1;
    write(&rotten);
    environment.ntt(["verify", "--source", "demo.img"]).code(12);
    let state =
        || environment.ntt(["--json", "medium", "list"]).document(0)["media"][0]["completeness"].clone();
    assert_eq!(state(), "partial");
    write(&demo());
    environment.ntt(["verify", "--source", "demo.img"]).code(0);
    assert_eq!(state(), "complete");
    write(&rotten);
    environment.ntt(["verify", "--source", "demo.img"]).code(12);
    assert_eq!(state(), "partial", "what comes back stands again");
}
