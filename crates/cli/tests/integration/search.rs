//! The search index through the program: the same answers with it, without it, and with what is left of it. Tables for other programs.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ntt_testkit::corpus::corpus_image;

use crate::environment::Environment;
use crate::images;

/// A tree with many names, some of which are no text.
fn prepared() -> Environment {
    let environment = Environment::new();
    for folder in 0..40 {
        let directory = environment
            .work()
            .join(format!("tree/Letters {folder}/{}", folder % 7));
        fs::create_dir_all(&directory).expect("a new directory");
        for number in 0..12 {
            let mut name = format!(
                "{}_{folder}.{}",
                ["Budget", "note", "image"][number % 3],
                ["TXT", "c", "jpg", "d"][number % 4]
            );
            name.push_str(&number.to_string());
            let mut name = name.into_bytes();
            if number == 5 {
                name.extend_from_slice(b"\xff\n,\"");
            }
            fs::write(directory.join(OsStr::from_bytes(&name)), b"content").expect("a new file");
        }
    }
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    environment
}

fn segment(environment: &Environment) -> PathBuf {
    let folder = environment.archive().join("search");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the search index")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

const SEARCHES: &[&[&str]] = &[
    &["find", "-0", "udget_1"],
    &["find", "-0", "-i", "BUDGET_3"],
    &["find", "-0", "--path", "ters 1/"],
    &["find", "-0", "--path", "5/note"],
    &["find", "-0", "--glob", "*.c1"],
    &["find", "-0", "--path", "--glob", "**/Letters 3*/**/image*"],
    &["find", "-0", "--regex", "(?-u)\\xff"],
    &["find", "-0", "--regex", "age_3.*c5(?-u:\\xff)"],
    &[
        "find",
        "-0",
        "--regex",
        "^note_[0-9]\\.",
        "--kind",
        "file",
        "--max-size",
        "7",
    ],
    &["find", "-0", "no such name"],
    &["find", "-0", "e", "--state", "stored"],
];

fn answers(environment: &Environment) -> Vec<Vec<u8>> {
    SEARCHES
        .iter()
        .map(|search| environment.ntt(*search).bytes(0))
        .collect()
}

#[test]
fn answers_do_not_depend_on_the_index() {
    let environment = prepared();
    let with = answers(&environment);
    assert!(with.iter().filter(|answer| !answer.is_empty()).count() == SEARCHES.len() - 1);
    let path = segment(&environment);
    let whole = fs::read(&path).expect("the segment");
    let _ = environment.ntt(["doctor"]).code(0);

    fs::remove_file(&path).expect("removed");
    assert_eq!(answers(&environment), with, "without");
    let said = environment.ntt(["find", "udget_1"]).stderr(0);
    assert!(
        said.contains("1 scan searched without the search index"),
        "{said}"
    );

    for damage in [0, whole.len() / 3, whole.len() - 40] {
        let mut bytes = whole.clone();
        bytes[damage] ^= 4;
        let _ = fs::remove_file(&path);
        fs::write(&path, &bytes).expect("written");
        assert_eq!(answers(&environment), with, "damaged at {damage}");
    }
    let doctor = environment.ntt(["doctor"]).code(0);
    assert!(doctor.contains("warning  search index"), "{doctor}");
    let plan = environment.ntt(["doctor", "--fix", "--dry-run"]).code(0);
    assert!(plan.contains("would be indexed     scan 1"), "{plan}");
    let fixed = environment.ntt(["doctor", "--fix"]).code(0);
    assert!(fixed.contains("made the search index of 1 scan"), "{fixed}");
    assert!(fs::read(&path).expect("made again") == whole);
    assert_eq!(answers(&environment), with, "made again");
}

#[test]
fn wildcards_in_a_substring_are_told_of() {
    let environment = prepared();
    let told = |arguments: &[&str]| environment.ntt(arguments).stderr(0);
    assert!(told(&["find", "*.c1"]).contains("--glob"));
    for quiet in [
        &["find", "--glob", "*.c1"][..],
        &["find", "no such name"],
        &["-q", "find", "*.c1"],
    ] {
        assert_eq!(told(quiet), "");
    }
}

#[test]
fn a_new_scan_replaces_the_segment_of_the_one_before() {
    let environment = prepared();
    let first = segment(&environment);
    fs::write(environment.work().join("tree/another letter"), b"new").expect("a new file");
    let _ = environment.ntt(["scan", "--again", "tree"]).code(0);
    let second = segment(&environment);
    assert_ne!(first, second);
    assert_eq!(environment.ntt(["find", "another"]).code(0).lines().count(), 1);
}

/// R28, R45: what was gone when a directory was taken in again is on record, and its bytes can be had.
#[test]
fn r28_what_is_gone_from_a_directory_is_found_in_the_scan_before() {
    let environment = Environment::new();
    let _ = environment.write("tree/folder/gone", b"gone");
    let _ = environment.write("tree/kept", b"kept");
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    let id = environment.medium("tree")[..12].to_owned();
    let place = format!("{id}/1/folder/gone");
    let none = environment.ntt(["find", "nothing"]).stderr(0);
    assert_eq!(none, "", "there are no older scans");
    fs::remove_file(environment.work().join("tree/folder/gone")).expect("removed");
    let _ = environment.ntt(["ingest", "--again", "tree"]).code(0);

    let hint = "--all-scans also looks into 1 older scan";
    let said = environment.ntt(["find", "gone"]).stderr(0);
    assert_eq!(said, format!("hint: {hint}\n"));
    assert_eq!(environment.ntt(["-q", "find", "gone"]).stderr(0), "");
    let said = environment.ntt(["where", &place]).stderr(1);
    assert!(said.contains(hint), "{said}");

    let warned = environment.ntt(["find", "--all-scans", "gone"]).stderr(0);
    assert_eq!(warned, "", "nobody makes an index of a superseded scan");
    let found = environment.ntt(["find", "--all-scans", "gone"]).code(0);
    let today = environment
        .ntt(["find", "--all-scans", "--json", "gone"])
        .document(0);
    let day = &today["scanned"].as_str().expect("a time")[..10];
    assert_eq!(found, format!("{place} [scan 1 of {day}, superseded]\n"));
    assert_eq!((&today["scan"], &today["superseded"]), (&1.into(), &true.into()));
    let _ = environment.ntt(["find", "--all-scans", "-0", "gone"]).code(2);
    let kept = environment.ntt(["find", "--json", "kept"]).document(0);
    assert_eq!((&kept["scan"], &kept["superseded"]), (&2.into(), &false.into()));

    let digest = today["content"]["blob"].as_str().expect("a digest").to_owned();
    assert_eq!(environment.ntt(["cat", &digest]).code(0), "gone");
    let now = environment.ntt(["where", &digest]).code(0);
    assert!(
        now.ends_with("  0 places now, 1 in superseded scans: --all-scans shows them\n"),
        "{now}"
    );
    for content in [&digest, &place] {
        let then = environment.ntt(["where", "--all-scans", content]).code(0);
        let line = format!("  {place} [scan 1 of {day}, superseded]  (tree)\n  1 place\n");
        assert!(then.ends_with(&line), "{then}");
    }

    for command in ["cat", "ls", "tree"] {
        let said = environment.ntt([command, &place]).stderr(1);
        assert!(
            said.contains("1 older scan is on record of it: --scan NUMBER"),
            "{said}"
        );
        let said = environment.ntt([command, "--scan", "9", &place]).stderr(1);
        assert!(said.contains("`ntt medium show` tells the numbers"), "{said}");
    }
    let said = environment.ntt(["restore", &place, "none"]).stderr(1);
    assert!(said.contains("no path `folder/gone`"), "{said}");
    for target in [&place, &id] {
        let said = environment
            .ntt(["restore", "--scan", "9", target, "none"])
            .stderr(1);
        assert!(
            said.contains("no such scan of") || said.contains("no scan of"),
            "{said}"
        );
        assert!(said.contains("`ntt medium show` tells the numbers"), "{said}");
    }
    let shown = environment.ntt(["medium", "show", "tree"]).code(0);
    assert!(shown.contains(&format!("  scans 1 of {day}, 2 now\n")), "{shown}");
    let now = environment.ntt(["--json", "where", &digest]).json(0);
    assert_eq!(
        (now.len(), &now[1]["superseded_places"]),
        (2, &1.into()),
        "{now:?}"
    );

    let rows = |arguments: &[&str]| environment.ntt(arguments).code(0).lines().count();
    assert_eq!(rows(&["export"]), 1 + 2);
    assert_eq!(rows(&["export", "--all-scans"]), 1 + 2 + 3);
    let table = environment.ntt(["export", "--all-scans", "gone"]).code(0);
    assert!(
        table.contains(",superseded\r\n") && table.ends_with("Z,true\r\n"),
        "{table}"
    );

    let _ = environment.ntt(["cat", &place]).code(1);
    assert_eq!(environment.ntt(["cat", "--scan", "1", &place]).code(0), "gone");
    let folder = format!("{id}/1/folder");
    assert_eq!(environment.ntt(["ls", &folder]).code(0), "");
    assert_eq!(environment.ntt(["ls", "--scan", "1", &folder]).code(0), "gone\n");
    let drawn = environment.ntt(["tree", "--scan", "1", &id]).code(0);
    assert!(drawn.contains("gone"), "{drawn}");
    let _ = environment.ntt(["ls", "--scan", "7", &folder]).code(1);
    let _ = environment.ntt(["restore", "--scan", "1", &id, "back"]).code(0);
    let back = environment.work().join("back/folder/gone");
    assert_eq!(fs::read(back).expect("restored"), b"gone");
    let said = environment.ntt(["doctor"]).code(0);
    assert!(said.contains("ok       search index"), "{said}");
}

/// R23: what is typed is bytes, and case is that of all letters, for every kind of pattern.
#[test]
fn r23_case_and_bytes_are_the_same_for_all_patterns() {
    let environment = Environment::new();
    let directory = environment.work().join("tree");
    fs::create_dir_all(&directory).expect("a new directory");
    for name in ["\u{e4}.txt".as_bytes(), "\u{212a}elvin".as_bytes(), b"caf\xe9"] {
        fs::write(directory.join(OsStr::from_bytes(name)), b"content").expect("a new file");
    }
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    let _ = environment.write("list", "\u{c4}.TXT\nKELVIN\nCAF\u{c9}\n".as_bytes());
    for without_index in [false, true] {
        if without_index {
            fs::remove_file(segment(&environment)).expect("the segment");
        }
        let found = |arguments: &[&[u8]]| {
            let arguments = arguments.iter().map(|argument| OsStr::from_bytes(argument));
            let told = environment.ntt(
                [OsStr::new("find"), OsStr::new("-0")]
                    .into_iter()
                    .chain(arguments),
            );
            told.bytes(0).iter().filter(|byte| **byte == 0).count()
        };
        assert_eq!(found(&[b"-i", b"k"]), 1);
        assert_eq!(found(&[b"-i", b"--glob", "*\u{c4}.TXT".as_bytes()]), 1);
        assert_eq!(found(&[b"-i", b"--names-from", b"list"]), 2);
        assert_eq!(found(&[b"--glob", b"*\xe9"]), 1);
        assert_eq!(found(&[b"-i", b"--glob", b"CAF\xe9"]), 1);
        assert_eq!(found(&[b"-i", b"--glob", b"CAF\xc9"]), 0);
    }
}

/// What is deleted is never shown as if it were there.
#[test]
fn deleted_names_are_marked_wherever_they_are_shown() {
    let environment = Environment::new();
    environment.write("demo.img", &images::demo());
    let _ = environment.ntt(["ingest", "--deleted", "demo.img"]).code(0);
    for command in [
        &["ls", "-l", "--deleted", "demo.img/1"][..],
        &["tree", "--deleted", "demo.img/1"],
        &["find", "-l", "--deleted"],
    ] {
        let shown = environment.ntt(command).code(0);
        let marked: Vec<&str> = shown.lines().filter(|line| line.contains("[deleted]")).collect();
        assert!(
            marked.len() == 1 && marked[0].contains("_one.txt [deleted]"),
            "{command:?}: {shown}"
        );
    }
    let told = environment.ntt(["--json", "find", "--deleted", "_one"]).code(0);
    assert!(told.contains("\"allocation\":\"deleted\""), "{told}");
}

#[test]
fn many_exact_names_are_found_in_one_pass() {
    let environment = prepared();
    let mut list: Vec<u8> = Vec::new();
    for number in 0..10_000 {
        list.extend_from_slice(format!("no such name {number}\0").as_bytes());
    }
    list.extend_from_slice(b"Budget_7.TXT0\0note_9.d7\0image_3.c5\xff\n,\"\0");
    let _ = environment.write("names", &list);
    let found = environment.ntt(["find", "--names-from", "names"]).code(0);
    assert_eq!(found.lines().count(), 3, "{found}");
    let _ = environment.write("lines", b"Letters 7/0/Budget_7.TXT0\nBudget_7.TXT0\n");
    let found = environment
        .ntt(["find", "--path", "--names-from", "lines"])
        .code(0);
    assert!(
        found.ends_with("/1/Letters 7/0/Budget_7.TXT0\n") && found.lines().count() == 1,
        "{found}"
    );
}

/// Runs Python on a table; `None` if there is no Python.
fn python(program: &str, input: &[u8]) -> Option<String> {
    use std::io::Write;
    let child = Command::new("python3")
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: there is no python3");
        return None;
    };
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input)
        .expect("Python reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).expect("text"))
}

/// R23: tables have the exact bytes of every path, and other programs read them.
#[test]
fn r23_tables_have_every_path_in_bytes() {
    let environment = prepared();
    let found = environment.ntt(["find", "-0"]).bytes(0);
    let paths: BTreeSet<String> = found
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| name[15..].iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    let csv = environment.ntt(["export"]).bytes(0);
    let read = "import csv,sys,io\nfor row in csv.DictReader(io.TextIOWrapper(sys.stdin.buffer, newline='')):\n assert len(row) == 24 and None not in row, row\n assert row['kind'] == 'directory' or (row['state'], row['size_bytes'], len(row['blob'])) == ('stored', '7', 64), row\n print(row['path_bytes'])";
    let Some(rows) = python(read, &csv) else {
        return;
    };
    let rows: Vec<String> = rows.lines().map(str::to_owned).collect();
    assert_eq!(rows.len(), paths.len());
    assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), paths);

    let _ = environment
        .ntt([
            "export", "--format", "jsonl", "--output", "table", "--glob", "*.c1",
        ])
        .code(0);
    let table = fs::read(environment.work().join("table")).expect("the table");
    let read = "import json,sys\nrows = [json.loads(line) for line in sys.stdin.buffer]\nassert all(type(row['modified_ns']) is int and row['modified'].endswith('Z') for row in rows)\nprint(len(rows))";
    assert_eq!(python(read, &table).as_deref(), Some("40\n"));
    let _ = environment.ntt(["export", "--output", "table"]).code(2);
}

/// Two file systems over one volume number their paths each by itself: the reader tells them apart.
#[test]
fn rows_of_a_hybrid_disc_are_told_apart() {
    let Some(image) = corpus_image("disktype/iso9660-hybrid.image.gz") else {
        return;
    };
    let environment = Environment::new();
    let summary = environment
        .ntt([OsStr::new("ingest"), image.path().as_os_str()])
        .code(0);
    let shown = environment
        .ntt(["medium", "show", "iso9660-hybrid.image"])
        .code(0);
    for reader in ["iso9660", "hfs"] {
        let title = format!("volume 1 as {reader}: iso9660+hfs `Hybrid`");
        assert!(
            summary.contains(&title) && shown.contains(&title),
            "{summary}{shown}"
        );
    }
    let tree = environment.ntt(["tree", "iso9660-hybrid.image/1"]).code(0);
    let list = environment
        .ntt(["ls", "-l", "iso9660-hybrid.image/1/boot"])
        .code(0);
    for reader in ["[iso9660]", "[hfs]"] {
        assert!(tree.contains(&format!("boot/  {reader}\n")), "{tree}");
        assert!(list.contains(&format!("Makefile {reader}\n")), "{list}");
    }
    let table = environment.ntt(["export", "--format", "jsonl"]).bytes(0);
    let keys: Vec<(String, u64)> = table
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let row: serde_json::Value = serde_json::from_slice(line).expect("a row");
            let reader = row["reader"].as_str().expect("a reader").to_owned();
            (reader, row["ordinal"].as_u64().expect("an ordinal"))
        })
        .collect();
    let distinct: BTreeSet<_> = keys.iter().collect();
    let readers: BTreeSet<&str> = keys.iter().map(|(reader, _)| reader.as_str()).collect();
    assert_eq!(distinct.len(), keys.len(), "{keys:?}");
    assert_eq!(readers, BTreeSet::from(["hfs", "iso9660"]));
}

/// R44: a volume that is not there is no empty answer.
#[test]
fn r44_a_search_in_a_volume_that_is_not_there_is_refused() {
    let environment = Environment::new();
    environment.write("tree/a", b"a");
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    for command in ["find", "export"] {
        let said = environment.ntt([command, "--medium", "tree/9"]).stderr(1);
        assert!(said.starts_with("ntt: no volume `tree/9`\n"), "{said}");
        let _ = environment.ntt([command, "--medium", "tree/1"]).code(0);
    }
}

/// R39: a table that found no room is not left half written.
#[test]
fn r39_half_a_table_is_none() {
    let environment = Environment::new();
    for number in 0..600 {
        environment.write(format!("tree/{number}"), b"content");
    }
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    // The table is longer than that, and what SQLite maps beside the catalogue is not.
    let limited = |script: &str| {
        let ntt = environment.command(["export"]);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", script]).arg(ntt.get_program());
        let set = ntt.get_envs().filter_map(|(name, value)| Some((name, value?)));
        shell.env_clear().envs(set).current_dir(environment.work());
        crate::environment::Run::of(shell)
    };
    let said = limited("trap '' XFSZ; ulimit -f 128; exec \"$0\" export -o table").stderr(1);
    assert!(said.contains("File too large"), "{said}");
    // R38: nor is one that a signal ended in the middle.
    assert_eq!(limited("ulimit -f 128; exec \"$0\" export -o table").exit(), None);
    assert!(!environment.work().join("table").exists());
    let _ = environment.ntt(["export", "-o", "table"]).code(0);
}
