//! The shipped demonstration image through every command that looks at it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::images::{self, DEMO_EXT};
use crate::trees;

/// An archive with the demonstration image in it.
fn with_demo() -> (Environment, PathBuf, String) {
    let environment = Environment::new();
    let image = environment.write("demo.img", &images::demo());
    let said = environment.ntt(["ingest", "demo.img"]).code(0);
    (environment, image, said)
}

/// Ids, times and places of one run, which differ in the next, replaced in snapshots.
pub(crate) fn redacted(environment: &Environment) -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    let work = environment.work().display().to_string();
    settings.add_filter(&regex::escape(&work), "[work]");
    settings.add_filter(
        &regex::escape(&environment.archive().display().to_string()),
        "[archive]",
    );
    settings.add_filter(r"\b[0-9a-f]{32}\b", "[medium id]");
    settings.add_filter(r"(?m)^[0-9a-f]{12}\b|\b[0-9a-f]{12}(/|$)", "[medium]$1");
    settings.add_filter(r"medium   [0-9a-f]{12}", "medium   [medium]");
    settings.add_filter(r"20[2-9]\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+Z)?", "[now]");
    settings.add_filter(r" +\d+ (ms)\b| +\d+\.\d s\b", " [time]");
    settings.add_filter(r"[\d.]+ [KMGT]?i?B and [\d,]+ inodes free", "[free]");
    // Each worker has a pack of its own; how many of them found work is up to the system.
    settings.add_filter(r"\b\d+ packs?\b", "[n] packs");
    settings.add_filter(r"\d+(\.\d)? [kMG]?B/s", "[rate]");
    settings.add_filter(r"jobs = \d+", "jobs = [cores]");
    settings.add_filter(r"TOOK +ITEMS", "TOOK ITEMS");
    settings.add_filter(r"RESULT +TOOK", "RESULT TOOK");
    settings.add_filter(r"scan child +(confined|.*)", "scan child [how]");
    settings.bind_to_scope()
}

#[test]
fn an_ingest_says_what_became_of_everything() {
    let (environment, _, said) = with_demo();
    let _guard = redacted(&environment);
    insta::assert_snapshot!("ingest", said);
}

#[test]
fn the_human_output_of_the_commands_that_look() {
    let (environment, _, _) = with_demo();
    let _guard = redacted(&environment);
    let looks: [(&str, &[&str]); 9] = [
        ("medium_list", &["medium", "list"]),
        ("ls_long_fat", &["ls", "-l", "demo.img/1"]),
        ("ls_long_ext", &["ls", "-l", "demo.img/2"]),
        ("ls_alternates", &["ls", "--alternates", "demo.img/1"]),
        ("tree", &["tree", "demo.img/2"]),
        ("find_all", &["find", "--long", ""]),
        ("where_text", &["where", "demo.img/2/old/letters/editor.txt"]),
        ("doctor", &["doctor"]),
        ("config", &["config", "show", "--origin"]),
    ];
    for (name, arguments) in looks {
        insta::assert_snapshot!(name, environment.ntt(arguments).code(0));
    }
    let shown = environment.ntt(["medium", "show", "demo.img"]).code(0);
    let without_history = shown.split("\nWHEN").next().expect("a first part");
    insta::assert_snapshot!("medium_show", without_history);
}

/// R44: what cannot be shown keeps nothing else from being shown, and decides the exit code.
#[test]
fn r44_inspect_shows_what_it_can_of_several_images() {
    let environment = Environment::new();
    environment.write("demo.img", &images::demo());
    environment.write("empty.img", b"");
    let run = environment.ntt(["inspect", "empty.img", "missing.img", "demo.img"]);
    let said = run.everything();
    for words in [
        "volume 2: ext4",
        "empty.img: the source is empty",
        "missing.img: no such file",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(run.exit(), Some(1));
    let run = environment.ntt(["inspect", "demo.img", "."]);
    assert!(run.everything().contains("volume 2: ext4"));
    assert_eq!(run.exit(), Some(2), "as if it were alone");
}

#[test]
fn inspect_needs_no_archive_and_makes_none() {
    let environment = Environment::new();
    environment.write("demo.img", &images::demo());
    let _guard = redacted(&environment);
    insta::assert_snapshot!("inspect", environment.ntt(["inspect", "demo.img"]).code(0));
    assert!(!environment.archive().exists());
}

/// Commands that only look, and what their JSON calls its messages.
const LOOKS: [(&[&str], &str); 13] = [
    (&["inspect", "demo.img"], "layers"),
    (&["medium", "list"], "medium-list"),
    (&["medium", "show", "demo.img"], "medium"),
    (&["ls", "demo.img/2"], "entry"),
    (&["tree", "demo.img/2"], "tree-entry"),
    (&["find", ""], "found"),
    (&["where", "demo.img/2/todo"], "content"),
    (&["status"], "status"),
    (&["doctor"], "doctor"),
    (&["config", "show", "--origin"], "config"),
    (&["verify"], "verify-summary"),
    (&["restore", "--dry-run", "demo.img", "out"], "restore-plan"),
    (&["ingest", "--dry-run", "demo.img"], "ingest-plan"),
];

#[test]
fn every_json_message_has_version_and_type() {
    let (environment, _, _) = with_demo();
    for (arguments, message_type) in LOOKS {
        let lines = environment.ntt(arguments.iter().chain(&["--json"])).json(0);
        for line in &lines {
            assert_eq!(line["schema_version"], 1, "{arguments:?}: {line}");
        }
        let types: Vec<&str> = lines
            .iter()
            .map(|line| line["message_type"].as_str().expect("a type"))
            .collect();
        assert!(types.contains(&message_type), "{arguments:?}: {types:?}");
    }
}

#[test]
fn json_names_media_and_contents_by_hexadecimal_digits() {
    let (environment, _, _) = with_demo();
    let found = environment.ntt(["find", "--json", "todo.txt"]).document(0);
    let content = found["content"]["blob"].as_str().expect("a string");
    assert_eq!(content, blake3::hash(b"buy floppies\n").to_hex().as_str());
    assert_eq!(
        found["medium"].as_str().expect("a string"),
        environment.medium("demo.img")
    );
    let report = environment.ntt(["where", "--json", content]).json(0);
    assert_eq!(report[0]["blob"]["hash"], content);
}

#[test]
fn find_tells_by_name_size_date_kind_and_state() {
    let (environment, _, _) = with_demo();
    let names = |arguments: &[&str]| -> Vec<String> {
        let said = environment.ntt(["find"].iter().chain(arguments)).code(0);
        let name = |line: &str| line.rsplit('/').next().expect("a name").to_owned();
        let mut names: Vec<String> = said.lines().map(name).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names(&["editor"]).len(), 4);
    assert_eq!(names(&["EDITOR"]), [""; 0]);
    assert_eq!(names(&["-i", "EDITOR"]).len(), 4);
    assert_eq!(names(&["--glob", "*.txt"]).len(), 4);
    assert_eq!(names(&["--path", "--glob", "old/**/*.txt"]), ["editor.txt"]);
    assert_eq!(names(&["--regex", r"^todo(\.txt)?$"]), ["todo", "todo.txt"]);
    for regex in [r"(?-u)caf\xe9", r"caf(?-u:\xe9)", r"(?-u:[\x80-\xff])\.raw$"] {
        assert_eq!(names(&["--regex", regex]), [r"caf\xe9.raw"], "{regex}");
    }
    let bytes = OsStr::from_bytes(b"caf\xe9");
    let said = environment
        .ntt([OsStr::new("find"), OsStr::new("--regex"), bytes])
        .stderr(2);
    assert!(said.contains(r"(?-u:\xff)"), "{said}");
    assert_eq!(names(&["--min-size", "64M"]), ["disk.sparse"]);
    assert_eq!(names(&["--max-size", "0", "--kind", "file"]), ["empty"]);
    assert_eq!(names(&["--kind", "symlink"]), ["latest"]);
    assert_eq!(names(&["--kind", "file", "--after", "2003-04-06"]), [""; 0]);
    assert_eq!(
        names(&[
            "--kind",
            "file",
            "--after",
            "2003-04-05",
            "--before",
            "2003-04-06"
        ])
        .len(),
        10
    );
    assert_eq!(names(&["--state", "stored"]).len(), 10);
    assert_eq!(names(&["--state", "damaged,failed,pending,retryable"]), [""; 0]);
    assert_eq!(names(&["--medium", "demo.img/1", "--kind", "file", ""]).len(), 4);
}

#[test]
fn where_answers_for_digest_path_and_file() {
    let (environment, _, _) = with_demo();
    let file = environment.write("mine.txt", b"buy floppies\n");
    let digest = trees::digest(&file);
    for content in [digest.as_str(), "demo.img/1/todo.txt", "./mine.txt"] {
        let said = environment.ntt(["where", content]).code(0);
        assert!(
            said.contains(&digest) && said.contains("/1/todo.txt") && said.contains("/2/todo "),
            "{said}"
        );
    }
    environment.write("new.txt", b"never seen");
    let said = environment.ntt(["where", "./new.txt"]).code(1);
    assert!(said.contains("is not in the archive"));
    for (name, why) in [
        ("./none.txt", "No such file"),
        ("../", "no regular"),
        ("/dev/null", "no regular"),
    ] {
        let said = environment.ntt(["where", name]).stderr(1);
        assert!(said.contains(name) && said.contains(why), "{said}");
    }
    let unknown = environment.ntt(["where", "demo.img/2/nothing"]).stderr(1);
    assert!(unknown.contains("nothing"), "{unknown}");
}

#[test]
fn cat_gives_every_byte_of_fat_and_ext() {
    let (environment, _, _) = with_demo();
    let todo = environment
        .ntt(["cat", "demo.img/1/todo.txt", "demo.img/2/todo"])
        .bytes(0);
    assert_eq!(todo, b"buy floppies\nbuy floppies\n");
    let numbers: String = (1..=30_000).map(|number| format!("{number}\n")).collect();
    assert_eq!(
        environment.ntt(["cat", "demo.img/1/NUMBERS.CSV"]).bytes(0),
        numbers.as_bytes()
    );
    let sparse = environment.ntt(["cat", "demo.img/2/disk.sparse"]).bytes(0);
    assert_eq!(sparse.len(), 64 << 20);
    let island = b"an island in a sea of nothing";
    assert_eq!(&sparse[50_000_000..50_000_000 + island.len()], island);
    assert_eq!(sparse.iter().filter(|byte| **byte != 0).count(), island.len());
    assert_eq!(environment.ntt(["cat", "demo.img/2/empty"]).bytes(0), b"");
}

/// R21: no command changes a byte, the size or the modification time of a source.
#[test]
fn r21_every_command_leaves_image_and_directory_as_they_were() {
    let environment = Environment::new();
    environment.write("sources/demo.img", &images::demo());
    images::write_tree(&environment.work().join("sources/tree"), 6);
    environment.write("none.toml", b"");
    let before = trees::look(&environment.work().join("sources"));
    let commands: [(&[&str], i32); 22] = [
        (&["inspect", "sources/demo.img"], 0),
        (&["ingest", "--dry-run", "sources/demo.img", "sources/tree"], 0),
        (&["ingest", "--no-copy", "sources/demo.img", "sources/tree"], 3),
        (&["scan", "--again", "demo.img"], 0),
        (&["copy", "demo.img"], 0),
        (&["ingest", "sources/demo.img", "sources/tree"], 0),
        (&["ingest", "--again", "sources/tree"], 0),
        (&["verify"], 0),
        (&["retry", "tree"], 0),
        (&["exclude", "tree", "none.toml"], 0),
        (&["medium", "list"], 0),
        (&["medium", "show", "demo.img"], 0),
        (&["medium", "label", "demo.img", "from the drawer"], 0),
        (&["ls", "demo.img/1"], 0),
        (&["tree", "tree"], 0),
        (&["cat", "demo.img/1/todo.txt"], 0),
        (&["find", "todo"], 0),
        (&["where", "sources/tree/twice"], 0),
        (&["status"], 0),
        (&["doctor"], 0),
        (&["restore", "demo.img/1", "out"], 0),
        (&["restore", "--compare", "tree", "sources/tree"], 0),
    ];
    for (arguments, code) in commands {
        let _ = environment.ntt(arguments).code(code);
        assert!(
            trees::look(&environment.work().join("sources")) == before,
            "{arguments:?} changed a source"
        );
    }
}

/// R40: a dry run of everything that writes changes nothing and makes no archive.
#[test]
fn r40_dry_runs_change_nothing() {
    let environment = Environment::new();
    environment.write("demo.img", &images::demo());
    let _ = environment.ntt(["ingest", "--dry-run", "demo.img"]).code(0);
    assert!(!environment.archive().exists());

    let _ = environment.ntt(["ingest", "--no-copy", "demo.img"]).code(3);
    images::write_tree(&environment.work().join("tree"), 3);
    environment.write("rules.toml", b"[[rule]]\nname = \"text\"\nglob = \"*.txt\"\n");
    let commands: [&[&str]; 8] = [
        &["ingest", "--dry-run", "demo.img", "tree"],
        &["scan", "--dry-run", "--again", "demo.img"],
        &["copy", "--dry-run", "demo.img"],
        &["verify", "--dry-run"],
        &["retry", "--dry-run", "demo.img"],
        &["exclude", "--dry-run", "demo.img", "rules.toml"],
        &["medium", "label", "--dry-run", "demo.img", "words"],
        &["restore", "--dry-run", "demo.img", "out"],
    ];
    // SQLite's shared memory for readers and writers on one machine; it holds no data and is made anew when it is not there.
    let look = || {
        let mut seen = trees::look(&environment.archive());
        seen.remove(Path::new("catalogue.db-shm"));
        seen
    };
    let before = look();
    for arguments in commands {
        let _ = environment.ntt(arguments).code(0);
        let after = look();
        let changed: Vec<_> = after
            .iter()
            .filter(|(path, seen)| before.get(*path) != Some(seen))
            .collect();
        assert!(after == before, "{arguments:?} changed {changed:?}");
        assert!(!environment.work().join("out").exists(), "{arguments:?}");
    }
}

/// R2, R3: an image that was only scanned and then moved goes on; one that merely resembles it is a medium of its own, and that is said.
#[test]
fn r3_an_unfinished_image_is_known_where_it_was_moved_to() {
    let environment = Environment::new();
    let first = environment.write("a.img", &images::demo());
    let place = |name: &str| environment.work().join(name);
    let _ = environment.ntt(["ingest", "--no-copy", "a.img"]).code(3);
    let count = || {
        let list = environment.ntt(["medium", "list", "--json"]).document(0);
        list["media"].as_array().expect("media").len()
    };
    std::fs::rename(first, place("b.img")).expect("moved");
    let said = environment.ntt(["ingest", "b.img"]).code(0);
    assert!(
        said.contains("known already: as much is equal as is known of it"),
        "{said}"
    );
    assert_eq!(count(), 1, "{said}");

    let environment = Environment::new();
    let first = environment.write("a.img", &images::demo());
    let _ = environment.ntt(["ingest", "--no-copy", "a.img"]).code(3);
    std::fs::remove_file(first).expect("mine");
    // Another day's image of the same machine: a byte differs where no sample lies.
    let mut other = images::demo();
    other[DEMO_EXT.end - (4 << 20) + 70_000] ^= 1;
    environment.write("b.img", &other);
    let run = environment.ntt(["ingest", "b.img"]);
    let said = run.everything();
    assert!(said.contains("looks like medium"), "{said}");
    let list = environment.ntt(["medium", "list", "--json"]).document(0);
    assert_eq!(list["media"].as_array().expect("media").len(), 2);
}

/// R1, R3: a blank image that is ingested again where it was is the same medium; another blank one is another medium.
#[test]
fn r3_a_blank_image_is_known_again_in_its_place_only() {
    let environment = Environment::new();
    for name in ["blank.img", "other.img"] {
        images::sparse(&environment.work().join(name), 2 << 20);
    }
    let media = || environment.ntt(["medium", "list", "--json"]).document(0)["media"].clone();
    let count = || media().as_array().expect("media").len();
    environment.ntt(["ingest", "blank.img"]).everything();
    let said = environment.ntt(["ingest", "blank.img"]).everything();
    assert!(said.contains("known already: every byte is equal"), "{said}");
    assert_eq!(count(), 1, "{said}");
    environment.ntt(["ingest", "other.img"]).everything();
    assert_eq!(count(), 2);
}

/// R3: the same image, and a copy of it under another name elsewhere, is the same medium; nothing of it is read for contents again.
#[test]
fn r3_an_image_ingested_twice_is_recognised() {
    let (environment, _, _) = with_demo();
    let id = environment.medium("demo.img");
    environment.write("elsewhere/renamed.bin", &images::demo());
    for source in ["demo.img", "elsewhere/renamed.bin"] {
        let summary = environment.ntt(["ingest", "--json", source]).summary(0);
        let medium = &summary["media"][0];
        assert_eq!(medium["medium"], id.as_str());
        assert!(
            medium["recognised"]
                .as_str()
                .is_some_and(|why| why.contains("BLAKE3")),
            "{medium}"
        );
        assert_eq!(medium["copied"]["bytes_read"], 0);
        assert_eq!(medium["copied"]["new_blobs"], 0);
    }
    let media = environment.ntt(["medium", "list", "--json"]).document(0);
    assert_eq!(media["media"].as_array().expect("a list").len(), 1);
}

/// R3: a partition by itself and in its disk is the same volume, in either order.
#[test]
fn r3_a_partition_and_its_disk_hold_the_same_volume() {
    for order in [["disk.img", "partition.img"], ["partition.img", "disk.img"]] {
        let environment = Environment::new();
        let demo = images::demo();
        environment.write("disk.img", &demo);
        environment.write("partition.img", &demo[DEMO_EXT]);
        let _ = environment.ntt(["ingest", order[0]]).code(0);
        let summary = environment.ntt(["ingest", "--json", order[1]]).summary(0);
        let volumes = summary["media"][0]["volumes"].as_array().expect("volumes");
        let ext = volumes
            .iter()
            .find(|volume| volume["type_name"] == "ext4")
            .expect("the volume");
        let first = environment.medium(order[0]);
        let same = ext["same_as"]
            .as_str()
            .unwrap_or_else(|| panic!("{order:?}: not recognised"));
        assert!(same.starts_with(&first), "{same}");
        let read = summary["media"][0]["copied"]["bytes_read"]
            .as_u64()
            .expect("a number");
        // What is left to read is the FAT partition, where there is one.
        assert!(read < 210_000, "{order:?}: {read} bytes read");
    }
}

/// R3, R44: what stands in a copy of a volume is found there by every command, under the name of its own medium.
#[test]
fn r3_every_place_in_a_copy_of_a_volume_is_found() {
    let environment = Environment::new();
    let demo = images::demo();
    environment.write("disk.img", &demo);
    environment.write("partition.img", &demo[DEMO_EXT]);
    let _ = environment.ntt(["ingest", "disk.img", "partition.img"]).code(0);
    let (disk, partition) = (
        environment.medium("disk.img"),
        environment.medium("partition.img"),
    );

    let places = environment
        .ntt(["where", "--json", "partition.img/1/todo"])
        .json(0);
    let places: Vec<_> = places
        .iter()
        .filter(|line| line["message_type"] == "place")
        .collect();
    let stands = |medium: &str, volume: u32| {
        let is_it = |place: &&&serde_json::Value| {
            place["medium"] == medium && place["volume"] == volume && place["path"]["text"] == "todo"
        };
        assert_eq!(places.iter().filter(is_it).count(), 1, "{medium}: {places:?}");
    };
    stands(&disk, 2);
    stands(&partition, 1);
    let said = environment.ntt(["where", "disk.img/2/todo"]).code(0);
    assert!(said.contains(&format!("{}/1/todo", &partition[..12])), "{said}");

    let found = environment.ntt(["find", "--json", "-m", "partition.img"]).json(0);
    let of_disk = environment.ntt(["find", "--json", "-m", "disk.img/2"]).json(0);
    assert_eq!(found.len(), 11, "{found:?}");
    let paths = |rows: &[serde_json::Value]| rows.iter().map(|row| row["path"].clone()).collect::<Vec<_>>();
    assert_eq!(paths(&found), paths(&of_disk));
    assert!(
        found
            .iter()
            .all(|row| row["medium"] == partition.as_str() && row["volume"] == 1)
    );
    let by_name = environment.ntt(["find", "todo", "-m", "partition.img"]).code(0);
    assert_eq!(by_name.trim(), format!("{}/1/todo", &partition[..12]));
    let table = environment.ntt(["export", "-m", "partition.img"]).code(0);
    assert_eq!(table.lines().count(), 12, "{table}");
    let doctor = environment.ntt(["doctor"]).code(0);
    assert!(doctor.contains("one for each of 2 scans"), "{doctor}");
}

/// R4, R6: a source that cannot be used changes nothing and is told; the exit status says so.
#[test]
fn r4_a_source_that_cannot_be_used_leaves_no_trace() {
    let environment = Environment::new();
    environment.write("empty.img", b"");
    for (source, told) in [("empty.img", "0 bytes"), ("missing.img", "no such file")] {
        let said = environment.ntt(["ingest", source]).stderr(1);
        assert!(said.contains(source) && said.contains(told), "{said}");
        assert!(!environment.archive().exists(), "{source} made an archive");
    }
    let error = environment.ntt(["medium", "list"]).stderr(10);
    assert!(error.contains("no archive") && error.contains("hint"), "{error}");
}

#[test]
fn r4_one_bad_source_does_not_stop_the_others() {
    let environment = Environment::new();
    environment.write("demo.img", &images::demo());
    environment.write("empty.img", b"");
    environment.write("tree/file", b"content");
    let sources = ["ingest", "--json", "empty.img", "demo.img", "missing.img", "tree"];
    let summary = environment.ntt(sources).summary(1);
    assert_eq!(summary["media"].as_array().expect("media").len(), 2);
    assert_eq!(summary["failures"].as_array().expect("failures").len(), 2);
    assert_eq!(environment.ntt(["cat", "tree/1/file"]).bytes(0), b"content");
    let media = environment.ntt(["medium", "list", "--json"]).document(0);
    assert_eq!(media["media"].as_array().expect("a list").len(), 2);
}
