//! What the map of a rescue says of an image, and what a lost, a later and a better one change (R11, R33).

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::crash::{random, seed};
use crate::environment::Environment;
use crate::images::{self, DEMO_EXT, noise};
use crate::losses::{assert_balance, completeness, volumes};

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
        assert_eq!(completeness(&environment), "complete");
    }
    environment.ntt(["ingest", "disk.img", "old.img"]).code(0);
    fs::remove_file(place("disk.img")).expect("mine");
    let said = environment.ntt(["ingest", "old.img"]).stderr(1);
    assert!(said.contains("an earlier state of the image of medium"), "{said}");
    assert_eq!(completeness(&environment), "complete");
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
    assert_eq!(completeness(&environment), "complete");
    fs::write(place("disk.img.map"), &map).expect("written");
    for _ in 0..2 {
        let said = environment.ntt(["ingest", "disk.img"]).code(3);
        assert_eq!(completeness(&environment), "partial", "{said}");
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
    assert_eq!(completeness(&environment), "complete");
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
    assert_eq!(completeness(&environment), "partial");
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
        assert_eq!(completeness(&environment), "partial", "seed {seed}: {said}");
        let damaged = environment.ntt(["find", "--state", "damaged"]).code(0);
        assert_eq!(damaged.lines().count(), 1, "seed {seed}: {damaged}");

        image.rescue(&environment);
        ingest_killed(2 * step + 1);
        let said = environment.ntt(["ingest", "disk.img"]).code(0);
        assert_eq!(completeness(&environment), "complete", "seed {seed}: {said}");
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
        assert_eq!(completeness(&environment), "partial", "{said}");
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
    assert_eq!(completeness(&environment), "complete", "{said}");
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
    assert_eq!(completeness(&environment), "partial", "{said}");
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
