//! What cannot be read is said, counted and never called good (R11, R12, R14, R29, R32, R33).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ntt_testkit::corpus::{corpus_image, have};
use serde_json::Value;

use crate::crash::{random, seed};
use crate::environment::{Environment, Run};
use crate::images::{self, DEMO_EXT, noise};

/// R29: found = stored + damaged + excluded + failed + retryable + pending, in streams and in bytes.
fn assert_balance(census: &Value) {
    for unit in ["count", "bytes"] {
        let one = |name: &str| census[name][unit].as_u64().expect("a number");
        let many = |name: &str| -> u64 {
            let groups = census[name].as_array().expect("groups");
            groups
                .iter()
                .map(|group| group[1][unit].as_u64().expect("a number"))
                .sum()
        };
        let single: u64 = ["stored", "damaged", "retryable", "pending"]
            .map(one)
            .iter()
            .sum();
        assert_eq!(
            one("found"),
            single + many("excluded") + many("failed"),
            "{unit}: {census}"
        );
    }
}

fn volumes(summary: &Value) -> &Vec<Value> {
    summary["media"][0]["volumes"].as_array().expect("volumes")
}

/// Three files on a FAT image `disk.img` of which 1024 bytes in the middle of the second were never rescued.
struct PartlyRescued {
    files: Vec<(&'static str, Vec<u8>)>,
    /// The image as it would be if all were rescued.
    whole: Vec<u8>,
}

impl PartlyRescued {
    /// `None` where the image cannot be made.
    fn new(environment: &Environment) -> Option<Self> {
        let names = ["first.bin", "second.bin", "third.bin"];
        let files: Vec<_> = names.map(|name| (name, noise(name, 100_000))).into();
        let listed: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(name, content)| (*name, &content[..]))
            .collect();
        let path = images::fat(&environment.work().join("disk.img"), 8, &listed)?;
        let whole = fs::read(&path).expect("the image");
        let needle = &files[1].1[40_960..41_472];
        let mut places = whole.windows(512);
        let hole = places
            .position(|window| window == needle)
            .expect("the middle of a file");
        images::put(&path, hole as u64, &[0; 1024]);
        let (after, rest) = (hole + 1024, whole.len() - hole - 1024);
        let map = format!("0x0 + 1\n0x0 {hole:#x} +\n{hole:#x} 0x400 -\n{after:#x} {rest:#x} +\n");
        environment.write("disk.img.map", map.as_bytes());
        Some(Self { files, whole })
    }

    /// A later rescue gets the rest.
    fn rescue(&self, environment: &Environment) {
        environment.write("disk.img", &self.whole);
        let map = format!("0x0 + 1\n0x0 {:#x} +\n", self.whole.len());
        environment.write("disk.img.map", map.as_bytes());
    }
}

/// R11: a file whose bytes the imaging never rescued is damaged, with the ranges; the others are good.
#[test]
fn r11_a_mapfile_beside_the_image_marks_what_was_not_rescued() {
    let environment = Environment::new();
    let Some(PartlyRescued { files: tree, .. }) = PartlyRescued::new(&environment) else {
        return;
    };
    let inspected = environment.ntt(["inspect", "--json", "disk.img"]).document(3);
    assert_eq!(inspected["unread_bytes"], 1024);
    let shown = environment.ntt(["inspect", "disk.img"]).code(3);
    assert!(shown.contains("disk.img.map: 1.0 KiB never rescued"), "{shown}");

    let summary = environment.ntt(["ingest", "--json", "disk.img"]).summary(3);
    assert_eq!(summary["media"][0]["partial"], true);
    let census = &volumes(&summary)[0]["census"];
    assert_eq!(
        (&census["stored"]["count"], &census["damaged"]["count"]),
        (&2.into(), &1.into())
    );
    assert_balance(census);
    let damaged = environment.ntt(["find", "--json", "--state", "damaged"]).json(0);
    assert_eq!(damaged.len(), 1);
    assert_eq!(damaged[0]["path"]["text"], "second.bin");
    let shown = damaged[0]["content"].to_string();
    assert!(
        shown.contains("40960") && (shown.contains("1024") || shown.contains("41984")),
        "{shown}"
    );
    // Its bytes are there but for the hole, and the exit status says so.
    let mut expected = tree[1].1.clone();
    expected[40_960..41_984].fill(0);
    assert!(environment.ntt(["cat", "disk.img/1/second.bin"]).bytes(3) == expected);
    assert!(environment.ntt(["cat", "disk.img/1/third.bin"]).bytes(0) == tree[2].1);
    let said = environment.ntt(["restore", "disk.img", "out"]).code(3);
    assert!(said.contains("second.bin"), "{said}");
}

/// R3, R11, R33: what a better rescue brings completes the medium that is there, whether it is ingested again or retried.
#[test]
fn r33_a_better_rescue_completes_the_medium() {
    for command in [["ingest", "disk.img"], ["retry", "disk.img"]] {
        let environment = Environment::new();
        let Some(image) = PartlyRescued::new(&environment) else {
            return;
        };
        let _ = environment.ntt(["ingest", "disk.img"]).code(3);
        image.rescue(&environment);
        let said = environment.ntt(command).code(0);
        let list = environment.ntt(["medium", "list", "--json"]).document(0);
        let media = list["media"].as_array().expect("media");
        assert_eq!(media.len(), 1, "{command:?}: {said}");
        assert_eq!(media[0]["completeness"], "complete", "{command:?}: {said}");
        for (name, content) in &image.files {
            let path = format!("disk.img/1/{name}");
            assert!(
                environment.ntt(["cat", &path]).bytes(0) == *content,
                "{command:?}: {name}"
            );
        }
    }
}

/// What `medium list` says of the only medium.
fn only_state(environment: &Environment) -> String {
    let list = environment.ntt(["medium", "list", "--json"]).document(0);
    let media = list["media"].as_array().expect("media");
    assert_eq!(media.len(), 1, "{list}");
    media[0]["completeness"].as_str().expect("a state").to_owned()
}

/// R3: the image of an earlier rescue is the medium of which more was rescued since, as it is without it. Nothing gets worse by it.
#[test]
fn r3_an_earlier_state_of_an_image_is_known_again() {
    let environment = Environment::new();
    let Some(image) = PartlyRescued::new(&environment) else {
        return;
    };
    let place = |name: &str| environment.work().join(name);
    environment.ntt(["ingest", "disk.img"]).code(3);
    for suffix in ["", ".map"] {
        let (from, to) = (
            place(&format!("disk.img{suffix}")),
            place(&format!("old.img{suffix}")),
        );
        fs::copy(from, to).expect("copied");
    }
    image.rescue(&environment);
    environment.ntt(["ingest", "disk.img"]).code(0);
    for _ in 0..2 {
        let said = environment.ntt(["ingest", "old.img"]).code(0);
        assert!(
            said.contains("before more was rescued") && said.contains("old.img"),
            "{said}"
        );
        assert_eq!(only_state(&environment), "complete");
    }
    environment.ntt(["ingest", "disk.img", "old.img"]).code(0);
    fs::remove_file(place("disk.img")).expect("mine");
    let said = environment.ntt(["ingest", "old.img"]).stderr(1);
    assert!(said.contains("an earlier state of the image of medium"), "{said}");
    assert_eq!(only_state(&environment), "complete");
}

/// R44, R45: what was restored of a damaged medium is equal to what is on record, and that is not called whole.
#[test]
fn r45_a_comparison_tells_what_is_missing_on_record() {
    let environment = Environment::new();
    if PartlyRescued::new(&environment).is_none() {
        return;
    }
    let _ = environment.ntt(["ingest", "disk.img"]).code(3);
    let _ = environment.ntt(["restore", "disk.img", "out"]).code(3);
    let said = environment
        .ntt(["restore", "--compare", "disk.img", "out"])
        .code(3);
    assert!(
        said.contains("1 of them damaged") && !said.contains("equal: "),
        "{said}"
    );
    let summary = environment
        .ntt(["--json", "restore", "--compare", "disk.img", "out"])
        .document(3);
    assert_eq!(
        (&summary["damaged"], &summary["differences"]),
        (&1.into(), &0.into())
    );
    fs::remove_file(environment.work().join("out/second.bin")).expect("mine");
    let _ = environment
        .ntt(["restore", "--compare", "disk.img", "out"])
        .code(12);
}

/// R1, R11: a map that comes to light after the ingest makes no second medium of its image. What was taken for rescued is damaged from then on.
#[test]
fn r11_a_map_that_is_found_later_tells_of_the_medium_that_is_known() {
    let environment = Environment::new();
    let Some(image) = PartlyRescued::new(&environment) else {
        return;
    };
    let place = |name: &str| environment.work().join(name);
    let map = fs::read(place("disk.img.map")).expect("the map");
    fs::remove_file(place("disk.img.map")).expect("mine");
    let _ = environment.ntt(["ingest", "disk.img"]).code(0);
    assert_eq!(only_state(&environment), "complete");
    fs::write(place("disk.img.map"), &map).expect("written");
    for _ in 0..2 {
        let said = environment.ntt(["ingest", "disk.img"]).code(3);
        assert_eq!(only_state(&environment), "partial", "{said}");
        let damaged = environment
            .ntt(["find", "--json", "--state", "damaged"])
            .document(0);
        assert_eq!(damaged["content"]["missing"][0]["len"], 1024, "{damaged}");
        let found = environment.ntt(["find", "--state", "stored"]).code(0);
        assert_eq!(found.lines().count(), 2, "{found}");
    }
    let whole = format!("0x0 + 1\n0x0 {:#x} +\n", image.whole.len());
    fs::write(place("disk.img.map"), whole).expect("written");
    fs::write(place("disk.img"), &image.whole).expect("written");
    let _ = environment.ntt(["ingest", "disk.img"]).code(0);
    assert_eq!(only_state(&environment), "complete");
    fs::write(place("disk.img.map"), &map).expect("written");
    // Whatever opens it before it is ingested again says so, and does nothing with what is not true any more.
    for command in [
        ["scan", "--again", "disk.img"],
        ["verify", "--source", "disk.img"],
    ] {
        let said = environment.ntt(command).stderr(1);
        assert!(said.contains("ingest it again"), "{command:?}: {said}");
    }
    let _ = environment.ntt(["ingest", "disk.img"]).code(3);
    assert_eq!(only_state(&environment), "partial");
}

/// R38: what a map says is not forgotten by whoever is killed after it was read, be it less or more than was known.
#[test]
fn r38_kill_9_forgets_nothing_of_what_a_map_says() {
    let environment = Environment::new();
    let Some(image) = PartlyRescued::new(&environment) else {
        return;
    };
    let place = environment.work().join("disk.img.map");
    let map = fs::read(&place).expect("the map");
    fs::remove_file(&place).expect("mine");
    let begun = Instant::now();
    let _ = environment.ntt(["ingest", "disk.img"]).code(0);
    let whole = u64::try_from(begun.elapsed().as_millis()).expect("short");
    let seed = seed();
    let ingest_killed = |step| {
        let mut child = environment
            .command(["ingest", "disk.img"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ntt can be started");
        // The moment is the point of the test; nothing is expected to have happened by it.
        std::thread::sleep(Duration::from_millis(random(seed, step, whole)));
        child.kill().expect("it is mine");
        let _ = child.wait().expect("it ends");
    };
    for step in 0..8 {
        fs::write(&place, &map).expect("written");
        ingest_killed(2 * step);
        let said = environment.ntt(["ingest", "disk.img"]).code(3);
        assert_eq!(only_state(&environment), "partial", "seed {seed}: {said}");
        let damaged = environment.ntt(["find", "--state", "damaged"]).code(0);
        assert_eq!(damaged.lines().count(), 1, "seed {seed}: {damaged}");

        image.rescue(&environment);
        ingest_killed(2 * step + 1);
        let said = environment.ntt(["ingest", "disk.img"]).code(0);
        assert_eq!(only_state(&environment), "complete", "seed {seed}: {said}");
        let stored = environment.ntt(["find", "--state", "stored"]).code(0);
        assert_eq!(stored.lines().count(), 3, "seed {seed}: {stored}");
    }
}

/// R7, R11: without its map an image looks whole, and says nothing of what was rescued: what was unread stays so, whatever command opens it again.
#[test]
fn r11_a_lost_mapfile_turns_nothing_into_rescued_zeros() {
    let environment = Environment::new();
    let Some(image) = PartlyRescued::new(&environment) else {
        return;
    };
    let place = |name: &str| environment.work().join(name);
    let map = fs::read(place("disk.img.map")).expect("the map");
    let _ = environment.ntt(["ingest", "disk.img"]).code(3);
    fs::remove_file(place("disk.img.map")).expect("mine");
    // R7: the record knows how much that is, and whether it hit anything.
    let said = environment.ntt(["ingest", "disk.img"]).code(3);
    let last = said.lines().last().unwrap_or_default();
    assert!(
        last.contains("partial: ")
            && last.contains(" bytes are missing in 1 place, as the mapfile said that is gone"),
        "{said}"
    );
    let shown = environment.ntt(["medium", "show", "disk.img"]).code(0);
    assert!(
        shown.contains("unknown: ") && shown.contains(" bytes are missing in 1 place, as the"),
        "{shown}"
    );
    let still_damaged = |said: &str| {
        assert_eq!(only_state(&environment), "partial", "{said}");
        let damaged = environment.ntt(["find", "--json", "--state", "damaged"]).json(0);
        assert_eq!(damaged.len(), 1, "{said}");
        let _ = environment.ntt(["cat", "disk.img/1/second.bin"]).bytes(3);
    };
    let commands: [(&[&str], i32); 5] = [
        (&["ingest", "disk.img"], 3),
        (&["retry", "disk.img"], 3),
        (&["copy", "disk.img"], 3),
        (&["scan", "--again", "disk.img"], 0),
        (&["copy", "disk.img"], 3),
    ];
    for (command, code) in commands {
        let run = environment.ntt(command);
        let said = run.everything();
        assert_eq!(run.exit(), Some(code), "{command:?}: {said}");
        if command[0] != "copy" {
            assert!(said.contains("disk.img.map is missing"), "{command:?}: {said}");
        }
        if command[0] != "scan" {
            still_damaged(&said);
        }
    }
    let _ = environment.ntt(["verify", "--source", "disk.img"]).code(0);
    // Elsewhere, without its map; and changed there, as by a program that keeps none.
    fs::create_dir(place("other")).expect("created");
    fs::rename(place("disk.img"), place("other/disk.img")).expect("moved");
    let said = environment.ntt(["ingest", "other/disk.img"]).code(3);
    assert!(said.contains("other/disk.img.map"), "{said}");
    still_damaged(&said);
    fs::write(place("other/disk.img"), &image.whole).expect("written");
    still_damaged(&environment.ntt(["ingest", "other/disk.img"]).code(3));
    // Only a map says that more was rescued.
    fs::write(place("other/disk.img.map"), &map).expect("written");
    still_damaged(&environment.ntt(["ingest", "other/disk.img"]).code(3));
    let whole = format!("0x0 + 1\n0x0 {:#x} +\n", image.whole.len());
    fs::write(place("other/disk.img.map"), whole).expect("written");
    let said = environment.ntt(["ingest", "other/disk.img"]).code(0);
    assert_eq!(only_state(&environment), "complete", "{said}");
}

/// R3, R5, R11: an image that has bytes where the known one was never rescued is not that one without its map, but a better image of the same disk: a medium of its own.
#[test]
fn r11_a_better_image_without_a_map_is_a_medium_of_its_own() {
    let environment = Environment::new();
    // Behind the first MiB, by which the image is thought of at all.
    let unread = [0x11_9800..0x12_9800, 0x89_a000..0x89_a400];
    let whole = images::demo();
    let holed = |filler: u8| {
        let mut bytes = whole.clone();
        for range in &unread {
            bytes[range.clone()].fill(filler);
        }
        bytes
    };
    environment.write("disk.img", &holed(0));
    let map = "0x0 + 1\n0x0 0x119800 +\n0x119800 0x10000 -\n0x129800 0x770800 +\n0x89a000 0x400 -\n";
    let rest = format!("0x89a400 {:#x} +\n", whole.len() - 0x89_a400);
    environment.write("disk.img.map", format!("{map}{rest}").as_bytes());
    let media = || -> Vec<(String, String)> {
        let list = environment.ntt(["medium", "list", "--json"]).document(0);
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let listed = list["media"].as_array().expect("media").iter();
        listed
            .map(|medium| (text(&medium["label"]), text(&medium["completeness"])))
            .collect()
    };
    let pair = |label: &str, state: &str| (label.to_owned(), state.to_owned());
    let _ = environment
        .ntt(["ingest", "disk.img", "--label", "disc 1"])
        .code(3);
    environment.write("good.img", &whole);
    for _ in 0..2 {
        let said = environment
            .ntt(["ingest", "good.img", "--label", "disc 2"])
            .code(0);
        assert_eq!(
            media(),
            [pair("disc 1", "partial"), pair("disc 2", "complete")],
            "{said}"
        );
    }
    let damaged = environment.ntt(["find", "--state", "damaged"]).code(0);
    assert_eq!(damaged.lines().count(), 2, "{damaged}");

    // Where nothing stands in the unread bytes, it is the known image without its map, which lies where it lay.
    environment.write("copy.img", &holed(0));
    environment.write("filler.img", &holed(0xf6));
    for name in ["copy.img", "filler.img"] {
        let said = environment.ntt(["ingest", name]).code(3);
        assert!(said.contains("disk.img.map is not beside it"), "{said}");
        assert!(said.contains(&format!("{name}.map")), "{said}");
        assert_eq!(media().len(), 2, "{said}");
    }
}

/// R7, R11: what a rescue wrote of an image beside it tells of missing bytes although the map is gone.
#[test]
fn r07_the_record_of_a_rescue_tells_of_a_lost_mapfile() {
    let environment = Environment::new();
    let Some(image) = PartlyRescued::new(&environment) else {
        return;
    };
    environment.write("source.img", &image.whole);
    let _ = environment
        .ntt(["rescue", "source.img", "--output", "new.img"])
        .code(0);
    let record = environment.work().join("new.img.health.json");
    let mut told: Value = serde_json::from_slice(&fs::read(&record).expect("a record")).expect("JSON");
    told["health"]["missing_bytes"] = 1024.into();
    fs::write(&record, told.to_string()).expect("written");
    fs::remove_file(environment.work().join("new.img.map")).expect("mine");

    let said = environment.ntt(["ingest", "new.img"]).code(3);
    let shown = environment
        .ntt(["medium", "show", "--findings", "new.img"])
        .code(0);
    assert!(shown.contains("1024 bytes were never rescued"), "{shown}");
    assert_eq!(only_state(&environment), "partial", "{said}");
}

/// R14, R44: a chunk of a forensic image whose checksum is wrong is a loss, whether a file lies in it or not, as it is if a mapfile tells of it.
#[test]
fn r14_a_damaged_chunk_outside_any_file_is_a_loss() {
    let environment = Environment::new();
    let Some(image) = images::ewf(&environment, &images::demo()) else {
        return;
    };
    let whole = fs::metadata(&image).expect("a file").len();
    // Free space at the end of the last file system: it lies before the digests that end the image.
    images::put(&image, whole - 100_000, b"rotten");
    let summary = environment.ntt(["ingest", "--json", "disk.E01"]).summary(3);
    assert_eq!(summary["media"][0]["partial"], true, "{summary}");
    assert_eq!(summary["media"][0]["findings"][2], 1, "{summary}");
    let said = environment
        .ntt(["medium", "show", "--findings", "disk.E01"])
        .code(0);
    assert!(said.contains("of the image in EWF (E01): "), "{said}");
    assert_eq!(only_state(&environment), "files-complete", "{said}");
    let _ = environment.ntt(["ingest", "disk.E01"]).code(3);
    assert_eq!(only_state(&environment), "files-complete");
}

/// R12: an image that ends before its tables do is incomplete; what lies before its end is read.
#[test]
fn r12_a_truncated_image_is_incomplete_and_read_to_its_end() {
    let environment = Environment::new();
    let demo = images::demo();
    environment.write("short.img", &demo[..DEMO_EXT.start + (2 << 20)]);
    let said = environment.ntt(["ingest", "short.img"]).code(3);
    assert!(said.contains("partial"), "{said}");
    let list = environment.ntt(["medium", "list", "--json"]).document(0);
    assert_ne!(list["media"][0]["completeness"], "complete");
    assert_eq!(
        environment.ntt(["cat", "short.img/1/todo.txt"]).bytes(0),
        b"buy floppies\n"
    );
    let shown = environment
        .ntt(["medium", "show", "--json", "short.img"])
        .document(0);
    assert!(shown["image"]["expected_bytes"].as_u64() > shown["image"]["size_bytes"].as_u64());
    for volume in shown["volumes_detail"].as_array().expect("volumes") {
        assert_balance(&volume["census"]);
    }
    let _ = environment.ntt(["inspect", "short.img"]).code(3);
}

/// R12: what says how long it is can be cut short although nothing here reads it.
#[test]
fn r12_a_truncated_image_of_what_is_not_read_is_incomplete() {
    let environment = Environment::new();
    let mut swap = vec![0; 600 << 10];
    swap[1024..1028].copy_from_slice(&1_u32.to_le_bytes());
    swap[1028..1032].copy_from_slice(&255_u32.to_le_bytes());
    swap[4086..4096].copy_from_slice(b"SWAPSPACE2");
    environment.write("swap.img", &swap);
    let mut lvm = vec![0; 600 << 10];
    lvm[..4].copy_from_slice(b"HM\x01\0");
    lvm[444..448].copy_from_slice(&2048_u32.to_le_bytes());
    environment.write("lvm1.img", &lvm);
    for name in ["swap.img", "lvm1.img"] {
        let said = environment.ntt(["inspect", name]).code(3);
        assert!(
            said.contains("the image has 614400 bytes") && said.contains("need 1048576"),
            "{said}"
        );
        let summary = environment.ntt(["ingest", "--json", name]).summary(3);
        assert_eq!(summary["media"][0]["completeness"], "partial", "{summary}");
    }
    swap.resize(1 << 20, 0);
    environment.write("whole.img", &swap);
    environment.ntt(["inspect", "whole.img"]).code(0);
}

/// R12: the last sector of NTFS is the copy of the first.
#[test]
fn r12_ntfs_without_its_last_sector_is_incomplete() {
    let Some(image) = ntt_testkit::corpus::corpus_image("retro/test_ntfs.img.zst") else {
        return;
    };
    let environment = Environment::new();
    let whole = fs::read(image.path()).expect("read");
    environment.write("whole.img", &whole);
    environment.ntt(["inspect", "whole.img"]).code(0);
    environment.write("short.img", &whole[..whole.len() - 512]);
    let said = environment.ntt(["inspect", "short.img"]).code(3);
    let needed = format!("need {}", whole.len());
    assert!(said.contains(&needed), "{said}");
    environment.ntt(["ingest", "short.img"]).code(3);
    assert_eq!(only_state(&environment), "partial");
}

/// R14: every partition is listed with its verdict, whatever its neighbours are.
#[test]
fn r14_every_partition_is_listed_whatever_it_holds() {
    let environment = Environment::new();
    let disk = environment.work().join("disk.img");
    images::sparse(&disk, 12 << 20);
    let script = "label: dos\nstart=2048, size=2048, type=82\nstart=4096, size=4096, type=83\nstart=8192, size=2048, type=83\n";
    if !images::partition(&disk, script) {
        return;
    }
    let mut swap = vec![0; 4096];
    swap[1024..1028].copy_from_slice(&1_u32.to_le_bytes());
    swap[1028..1032].copy_from_slice(&255_u32.to_le_bytes());
    swap[4086..].copy_from_slice(b"SWAPSPACE2");
    images::put(&disk, 2048 * 512, &swap);
    let mut luks = b"LUKS\xba\xbe\0\x01aes".to_vec();
    luks.resize(592, 0);
    images::put(&disk, 4096 * 512, &luks);
    images::put(&disk, 8192 * 512, &noise("garbage", 1 << 20));
    // A fourth entry that lies beyond the end: type, first sector and length at their places of the table.
    images::put(&disk, 446 + 3 * 16 + 4, &[0x83]);
    images::put(&disk, 446 + 3 * 16 + 8, &100_000_u32.to_le_bytes());
    images::put(&disk, 446 + 3 * 16 + 12, &2048_u32.to_le_bytes());

    let summary = environment.ntt(["ingest", "--json", "disk.img"]).summary(3);
    let listed: Vec<(&str, &str)> = volumes(&summary)
        .iter()
        .map(|volume| {
            (
                volume["verdict"].as_str().expect("a verdict"),
                volume["type_name"].as_str().expect("a type"),
            )
        })
        .collect();
    assert_eq!(listed.len(), 4, "{listed:?}");
    assert_eq!(listed[0], ("identified", "swap"));
    assert_eq!(listed[1], ("identified", "crypto_LUKS"), "{listed:?}");
    assert_eq!(listed[2].0, "unknown", "{listed:?}");
    assert!(listed[3].0.contains("beyond"), "{listed:?}");
    assert_eq!(summary["media"][0]["partial"], true);
    let _ = environment.ntt(["inspect", "disk.img"]).code(3);
}

/// Runs `ntt` as a user whom permissions bind.
pub(crate) fn as_nobody(environment: &Environment, arguments: &[&str]) -> Run {
    let inner = environment.command(arguments);
    if !rustix::process::geteuid().is_root() {
        return Run::of(inner);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    command.arg(inner.get_program()).args(inner.get_args());
    command
        .env_clear()
        .envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    command
        .current_dir(environment.work())
        .stdin(std::process::Stdio::null());
    Run::of(command)
}

/// R32, R33: a file that may not be read is given up after equal failures and not touched again, until a person says so.
#[test]
fn r33_an_unreadable_file_is_given_up_and_taken_on_a_retry() {
    if rustix::process::geteuid().is_root() && !have("setpriv") {
        return;
    }
    let environment = Environment::new();
    environment.open_to_all();
    environment.write("tree/open", b"for all");
    let locked = environment.write("tree/locked", b"for some");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).expect("mine");

    let summary = as_nobody(&environment, &["ingest", "--json", "tree"]).summary(3);
    let census = &volumes(&summary)[0]["census"];
    assert_eq!(census["stored"]["count"], 1);
    assert_eq!(census["failed"][0][0], "permission", "{census}");
    assert_balance(census);
    let failed = as_nobody(&environment, &["find", "--json", "--state", "failed"]).json(0);
    let attempts = failed[0]["content"]["attempts"].as_u64();
    assert_eq!(attempts, Some(3), "{failed:?}");
    let _ = as_nobody(&environment, &["copy", "--json", "tree"]).document(3);
    let again = as_nobody(&environment, &["find", "--json", "--state", "failed"]).json(0);
    assert_eq!(again[0]["content"]["attempts"].as_u64(), attempts, "not touched");

    fs::set_permissions(&locked, fs::Permissions::from_mode(0o644)).expect("mine");
    let planned = as_nobody(&environment, &["retry", "--dry-run", "tree"]).code(0);
    assert!(planned.contains("permission: 1 content"), "{planned}");
    let other = as_nobody(&environment, &["retry", "--class", "io", "tree"]).code(0);
    assert!(other.contains("nothing"), "{other}");
    let _ = as_nobody(&environment, &["retry", "tree"]).code(0);
    assert_eq!(
        as_nobody(&environment, &["cat", "tree/1/locked"]).bytes(0),
        b"for some"
    );
}

/// R33: what lies beyond the end of an image settles at once, and its attempts are counted over runs.
#[test]
fn r33_a_permanent_failure_settles_at_once_and_its_attempts_are_kept() {
    let environment = Environment::new();
    let content = noise("long", 3 << 20);
    let files: [(&str, &[u8]); 2] = [("a.bin", b"short"), ("long.bin", &content)];
    let Some(path) = images::fat(&environment.work().join("disk.img"), 8, &files) else {
        return;
    };
    let image = fs::read(&path).expect("the image");
    fs::write(&path, &image[..2 << 20]).expect("a shorter image");
    let summary = environment.ntt(["ingest", "--json", "disk.img"]).summary(3);
    assert_balance(&volumes(&summary)[0]["census"]);
    let rows = environment
        .ntt(["find", "--json", "--state", "failed,damaged"])
        .json(0);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["path"]["text"], "long.bin");
    if rows[0]["content"]["state"] == "failed" {
        assert_eq!(rows[0]["content"]["attempts"], 1);
        let _ = environment.ntt(["copy", "disk.img"]).code(3);
        let _ = environment.ntt(["retry", "disk.img"]).code(3);
        let rows = environment.ntt(["find", "--json", "--state", "failed"]).json(0);
        assert_eq!(rows[0]["content"]["attempts"], 2);
    }
}

/// A file that changes between scan and copy is told, and never stored under the old size.
#[test]
fn a_file_that_changes_underneath_is_a_finding() {
    let environment = Environment::new();
    let file = environment.write("tree/log", b"one line\n");
    environment.write("tree/gone", b"soon");
    environment.write("tree/quiet", b"the same");
    let _ = environment.ntt(["ingest", "--no-copy", "tree"]).code(3);
    fs::write(&file, b"one line\nand another\n").expect("mine");
    fs::remove_file(environment.work().join("tree/gone")).expect("mine");
    let _ = environment.ntt(["copy", "tree"]).code(3);
    let stored = environment.ntt(["find", "--json", "--state", "stored"]).json(0);
    assert_eq!(stored.len(), 1, "{stored:?}");
    assert_eq!(stored[0]["path"]["text"], "quiet");
    // A new scan sees what is there now.
    let _ = environment.ntt(["scan", "--again", "tree"]).code(0);
    let _ = environment.ntt(["copy", "tree"]).code(0);
    assert_eq!(
        environment.ntt(["cat", "tree/1/log"]).bytes(0),
        b"one line\nand another\n"
    );
    // What the superseded scan met is history, and no loss of today.
    let summary = environment.ntt(["ingest", "--json", "tree"]).summary(0);
    assert_eq!(summary["media"][0]["findings"][2], 0, "{summary}");
}

/// What `medium list` calls the only medium.
fn completeness(environment: &Environment) -> String {
    let list = environment.ntt(["medium", "list", "--json"]).document(0);
    let media = list["media"].as_array().expect("media");
    assert_eq!(media.len(), 1, "{list}");
    let name = media[0]["id"].as_str().expect("an id");
    let shown = environment.ntt(["medium", "show", "--json", name]).document(0);
    assert_eq!(shown["completeness"], media[0]["completeness"]);
    media[0]["completeness"].as_str().expect("a word").to_owned()
}

/// R14, R22, R44: nobody knows what a directory holds that could not be read; the medium is not complete until it was.
#[test]
fn r22_a_directory_that_cannot_be_read_keeps_a_medium_from_being_complete() {
    if rustix::process::geteuid().is_root() && !have("setpriv") {
        return;
    }
    let environment = Environment::new();
    environment.open_to_all();
    environment.write("tree/yes/b", b"b");
    environment.write("tree/no/x", b"a");
    let locked = environment.work().join("tree/no");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o700)).expect("mine");
    if !rustix::process::geteuid().is_root() {
        fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).expect("mine");
    }
    for _ in 0..2 {
        let summary = as_nobody(&environment, &["ingest", "--json", "tree"]).summary(3);
        assert_eq!(summary["media"][0]["partial"], true, "{summary}");
        assert_eq!(summary["media"][0]["findings"][2], 1, "{summary}");
        assert_eq!(completeness(&environment), "partial");
    }
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).expect("mine");
    let summary = as_nobody(&environment, &["ingest", "--json", "tree"]).summary(0);
    assert_eq!(summary["media"][0]["partial"], false, "{summary}");
    assert_eq!(completeness(&environment), "complete");
}

/// R22, R44: a directory block of noise costs its names, and every ingest says so.
#[test]
fn r22_a_damaged_directory_keeps_a_medium_from_being_complete() {
    let environment = Environment::new();
    let tree = environment.work().join("tree");
    images::write_tree(&tree, 40);
    environment.write("tree/needle in a directory", b"found by its name");
    let Some(path) = images::ext4(&environment.work().join("disk.img"), 16, &tree) else {
        return;
    };
    let image = fs::read(&path).expect("the image");
    let mut places = image.windows(21);
    let name = places.position(|window| window == b"needle in a directory");
    let block = name.expect("the name") / 1024 * 1024;
    images::put(&path, block as u64, &noise("damage", 1024));
    for _ in 0..2 {
        let summary = environment.ntt(["ingest", "--json", "disk.img"]).summary(3);
        assert_eq!(summary["media"][0]["partial"], true, "{summary}");
        assert_eq!(completeness(&environment), "partial");
    }
    // R3: a copy has lost what its original has lost.
    let mut copy = fs::read(&path).expect("the image");
    copy.extend_from_slice(&[0; 1024]);
    environment.write("copy.img", &copy);
    let summary = environment.ntt(["ingest", "--json", "copy.img"]).summary(3);
    assert!(volumes(&summary)[0]["same_as"].is_string(), "{summary}");
    let shown = environment
        .ntt(["medium", "show", "--json", "copy.img"])
        .document(0);
    assert_eq!(shown["completeness"], "partial", "{shown}");
    assert_eq!(shown["findings"]["loss"], summary["media"][0]["findings"][2]);
}

/// R3: what is inspected again because more was rescued is no copy of itself.
#[test]
fn r3_a_better_rescue_makes_no_volume_a_copy_of_itself() {
    let environment = Environment::new();
    let demo = images::demo();
    let (len, hole) = (demo.len(), DEMO_EXT.start - (1 << 20));
    environment.write("disk.img", &demo);
    let (after, rest) = (hole + 1024, len - hole - 1024);
    let map = format!("0x0 + 1\n0x0 {hole:#x} +\n{hole:#x} 0x400 -\n{after:#x} {rest:#x} +\n");
    environment.write("disk.img.map", map.as_bytes());
    let _ = environment.ntt(["ingest", "disk.img"]).code(3);
    environment.write("disk.img.map", format!("0x0 + 1\n0x0 {len:#x} +\n").as_bytes());
    let summary = environment.ntt(["ingest", "--json", "disk.img"]).summary(0);
    for volume in volumes(&summary) {
        assert!(volume["same_as"].is_null(), "{volume}");
    }
    assert_eq!(completeness(&environment), "complete");
}

/// R28, R44: volumes that a map hides keep their numbers, and what was said of that is history as soon as they are rescued.
#[test]
fn r28_volumes_that_a_map_hid_are_whole_again_after_a_better_one() {
    let environment = Environment::new();
    let demo = images::demo();
    environment.write("disk.img", &demo);
    let before = environment.ntt(["ingest", "--json", "disk.img"]).summary(0);
    let len = demo.len();
    // Without the table the volumes are found by themselves; without anything they neither are found nor open.
    for (hidden, code) in [(0x200, 3), (len, 1)] {
        let rest = len - hidden;
        let mut map = format!("0x0 + 1\n0x0 {hidden:#x} -\n");
        if rest > 0 {
            map.push_str(&format!("{hidden:#x} {rest:#x} +\n"));
        }
        environment.write("disk.img.map", map.as_bytes());
        let said = environment.ntt(["ingest", "disk.img"]).stderr(code);
        let is_hidden = said.contains("the volumes stay as they were found first");
        assert_eq!(is_hidden, hidden == len, "{said}");
        assert_eq!(completeness(&environment), "partial");
        environment.write("disk.img.map", format!("0x0 + 1\n0x0 {len:#x} +\n").as_bytes());
        let summary = environment.ntt(["ingest", "--json", "disk.img"]).summary(0);
        assert_eq!(volumes(&summary).len(), volumes(&before).len());
        assert_eq!(completeness(&environment), "complete");
    }
}

/// R22, R44: what a container lost is lost to the medium.
#[test]
fn r22_a_damaged_container_keeps_a_medium_from_being_complete() {
    if !have("gzip") {
        return;
    }
    let environment = Environment::new();
    environment.write("disk.img", &images::demo());
    images::run("gzip", [environment.work().join("disk.img")]);
    let packed = environment.work().join("disk.img.gz");
    let mut bytes = fs::read(&packed).expect("the container");
    let crc = bytes.len() - 8;
    bytes[crc] ^= 1;
    fs::write(&packed, bytes).expect("mine");
    for _ in 0..2 {
        let summary = environment.ntt(["ingest", "--json", "disk.img.gz"]).summary(3);
        assert_eq!(summary["media"][0]["partial"], true, "{summary}");
        assert_eq!(completeness(&environment), "partial");
    }
}

/// R22, R44: a scan whose child had too little memory is no scan: it is made again without being asked for, and the one before stays if that is no better.
#[test]
fn r44_a_scan_that_was_cut_short_is_made_again() {
    let Some(image) = corpus_image("damaged-ext/f_rehash_dir.img.gz") else {
        return;
    };
    let environment = Environment::new();
    fs::copy(image.path(), environment.work().join("disk.img")).expect("a copy");
    let little = [("NTT_SCAN_MEMORY", "1MiB")];
    let with_little = |arguments: [&str; 3]| environment.ntt_with(&little, arguments);
    let summary = with_little(["ingest", "--json", "disk.img"]).summary(3);
    assert_eq!(volumes(&summary)[0]["census"]["paths"], 0, "{summary}");
    assert_eq!(completeness(&environment), "partial");
    let planned = environment
        .ntt(["scan", "--dry-run", "--json", "disk.img"])
        .document(0);
    assert_eq!(planned["scan"], serde_json::json!([1]), "{planned}");
    let first = with_little(["scan", "--json", "disk.img"]).document(3);
    let second = with_little(["scan", "--json", "disk.img"]).document(3);
    assert_eq!(
        first["scans"], second["scans"],
        "a scan that is no better was kept"
    );
    let said = environment.ntt_with(&little, ["scan", "disk.img"]).stderr(3);
    assert!(said.contains("cut short again"), "{said}");

    let summary = environment.ntt(["ingest", "--json", "disk.img"]).summary(0);
    assert_eq!(volumes(&summary)[0]["census"]["stored"]["count"], 82, "{summary}");
    assert_eq!(completeness(&environment), "complete");
    let scanned = environment.ntt(["scan", "disk.img"]).code(0);
    assert!(scanned.contains("scanned already"), "{scanned}");
}

/// R22, R28, R44: a scan that is made again with too little memory does not take the place of a whole one.
#[test]
fn r44_a_scan_that_is_cut_short_leaves_the_whole_one_before() {
    let Some(image) = corpus_image("damaged-ext/f_rehash_dir.img.gz") else {
        return;
    };
    let environment = Environment::new();
    fs::copy(image.path(), environment.work().join("disk.img")).expect("a copy");
    let _ = environment.ntt(["ingest", "disk.img"]).code(0);
    let found = environment.ntt(["find", "--glob", "*"]).code(0);
    let little = [("NTT_SCAN_MEMORY", "1MiB")];
    for command in [["scan", "--again", "disk.img"], ["ingest", "--again", "disk.img"]] {
        let run = environment.ntt_with(&little, command);
        assert_eq!(run.exit(), Some(3), "{}", run.everything());
        let said = run.everything();
        assert!(said.contains("cut short and lists no more"), "{said}");
        assert_eq!(environment.ntt(["find", "--glob", "*"]).code(0), found);
    }
    let _ = environment.ntt(["scan", "--again", "disk.img"]).code(0);
    assert_eq!(environment.ntt(["find", "--glob", "*"]).code(0), found);
    let _ = environment.ntt(["ingest", "disk.img"]).code(0);
    assert_eq!(completeness(&environment), "complete");
}

/// R33, R44: a scan that a better rescue asked for and that was cut short is made by the next ingest.
#[test]
fn r33_a_scan_after_a_better_rescue_that_was_cut_short_is_made_later() {
    let Some(image) = corpus_image("damaged-ext/f_rehash_dir.img.gz") else {
        return;
    };
    let environment = Environment::new();
    let len = fs::copy(image.path(), environment.work().join("disk.img")).expect("a copy");
    let rescued = len - 1024;
    let map = format!("0x0 + 1\n0x0 {rescued:#x} +\n{rescued:#x} 0x400 -\n");
    environment.write("disk.img.map", map.as_bytes());
    let _ = environment.ntt(["ingest", "disk.img"]).code(3);
    let found = environment.ntt(["find", "--glob", "*"]).code(0);
    let whole = format!("0x0 + 1\n0x0 {len:#x} +\n");
    environment.write("disk.img.map", whole.as_bytes());
    let ingest = |memory: &str, code| {
        let run = environment.ntt_with(&[("NTT_SCAN_MEMORY", memory)], ["ingest", "disk.img"]);
        let said = run.everything();
        assert_eq!(run.exit(), Some(code), "{said}");
        said
    };
    for _ in 0..2 {
        let said = ingest("1MiB", 3);
        assert!(said.contains("cut short and lists no more"), "{said}");
        assert_eq!(environment.ntt(["find", "--glob", "*"]).code(0), found, "{said}");
    }
    let scans = |said: &str| said.lines().any(|line| line.starts_with("scan "));
    assert!(scans(&ingest("1GiB", 0)));
    let named = environment.ntt(["find", "--glob", "*"]).code(0);
    assert_ne!(named, found, "what was rescued since names a file");
    assert!(!scans(&ingest("1GiB", 0)));
    assert_eq!(only_state(&environment), "complete");
}

/// R14, R44: swap holds no files, and a disk with nothing else that was not read is complete; a file system that cannot be read is not.
#[test]
fn r14_what_holds_no_files_does_not_keep_a_medium_from_being_complete() {
    let environment = Environment::new();
    let mut swap = vec![0; 1 << 20];
    swap[1024..1028].copy_from_slice(&1_u32.to_le_bytes());
    swap[1028..1032].copy_from_slice(&255_u32.to_le_bytes());
    swap[4086..4096].copy_from_slice(b"SWAPSPACE2");
    environment.write("swap.img", &swap);
    let summary = environment.ntt(["ingest", "--json", "swap.img"]).summary(0);
    assert_eq!(volumes(&summary)[0]["type_name"], "swap", "{summary}");
    assert_eq!(completeness(&environment), "complete");

    let environment = Environment::new();
    let mut luks = b"LUKS\xba\xbe\0\x01aes".to_vec();
    luks.resize(1 << 20, 0);
    environment.write("luks.img", &luks);
    let summary = environment.ntt(["ingest", "--json", "luks.img"]).summary(3);
    assert_eq!(summary["media"][0]["partial"], true, "{summary}");
    assert_eq!(completeness(&environment), "partial");
    let said = environment.ntt(["ingest", "luks.img"]).code(3);
    assert!(said.contains("not scanned (identified)"), "{said}");
}

/// R12, R44: a part of a split image that lacks its end costs that, whatever can be listed.
#[test]
fn r12_a_short_part_of_a_split_image_is_a_loss() {
    let environment = Environment::new();
    for (number, part) in (1..).zip(images::demo().chunks(4 << 20)) {
        let len = if number == 3 {
            part.len() - (1 << 20)
        } else {
            part.len()
        };
        environment.write(format!("disk.{number:03}"), &part[..len]);
    }
    let said = environment.ntt(["ingest", "disk.001"]).code(3);
    assert!(said.contains("partial"), "{said}");
    let shown = environment
        .ntt(["medium", "show", "--findings", "disk.001"])
        .code(0);
    let told = shown
        .lines()
        .find(|line| line.contains("the rest of it is missing"));
    assert!(told.is_some_and(|line| line.starts_with("loss")), "{shown}");
}

/// R3, R44: a part of a split image that is gone is to be put back; what is left is no medium of its own.
#[test]
fn r03_a_split_image_whose_part_is_gone_is_no_new_medium() {
    let environment = Environment::new();
    for (number, part) in (1..).zip(images::demo().chunks(6 << 20)) {
        environment.write(format!("disk.{number:03}"), part);
    }
    let place = |name: &str| environment.work().join(name);
    let _ = environment.ntt(["ingest", "disk.001"]).code(0);
    let parts = ["disk.002", "disk.003"];
    let gone: [&[&str]; 3] = [&parts[..1], &parts[1..], &parts];
    for gone in gone {
        for name in gone {
            fs::rename(place(name), place("kept").with_extension(name)).expect("moved");
        }
        for command in [
            ["verify", "--source", "disk.001"],
            ["scan", "--again", "disk.001"],
            ["ingest", "disk.001", "--label=again"],
        ] {
            let said = environment.ntt(command).stderr(1);
            assert!(said.contains(&format!("`{}`", gone[0])), "{command:?}: {said}");
            assert!(said.contains("put it back"), "{command:?}: {said}");
            assert!(!said.contains("ingest it again"), "{command:?}: {said}");
        }
        for name in gone {
            fs::rename(place("kept").with_extension(name), place(name)).expect("moved");
        }
    }
    let _ = environment.ntt(["verify", "--source", "disk.001"]).code(0);
    let _ = environment.ntt(["ingest", "disk.001"]).code(0);
    assert_eq!(only_state(&environment), "complete");
    // The parts may be joined in the place of the first.
    fs::write(place("disk.001"), images::demo()).expect("written");
    for name in parts {
        fs::remove_file(place(name)).expect("mine");
    }
    let _ = environment.ntt(["ingest", "disk.001"]).code(0);
    assert_eq!(only_state(&environment), "complete");
}
