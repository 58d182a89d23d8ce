//! An archive and what belongs to it: its place, its catalogue, the words of people.

use std::fs;

use crate::environment::Environment;

/// A tree that the archive lies in, as a home does.
fn home_with_archive(environment: &Environment) -> std::path::PathBuf {
    let root = environment.archive();
    let home = root.parent().expect("a parent").to_owned();
    fs::write(home.join("work/letter"), "dear diary").expect("a file");
    home
}

/// R38: otherwise every ingest would take in what the one before had stored.
#[test]
fn r38_an_archive_does_not_take_itself_in() {
    let environment = Environment::new();
    let home = home_with_archive(&environment);
    let home = home.to_str().expect("UTF-8");
    environment.ntt(["ingest", home]).code(0);
    let first = environment.ntt(["find", "letter"]).code(0);
    let size = |environment: &Environment| {
        let listed = environment.ntt(["--json", "medium", "list"]).document(0);
        listed["media"][0]["paths"].as_u64().expect("a count")
    };
    let paths = size(&environment);
    environment.ntt(["ingest", home]).code(0);
    assert_eq!(environment.ntt(["find", "letter"]).code(0), first);
    assert_eq!(size(&environment), paths);
    let name = home.rsplit('/').next().expect("a name");
    let findings = environment.ntt(["medium", "show", "--findings", name]).code(0);
    assert!(findings.contains("the archive itself lies here"), "{findings}");
    let archive = environment.archive();
    let said = environment
        .ntt(["ingest", archive.to_str().expect("UTF-8")])
        .stderr(1);
    assert!(said.contains("it is the archive itself"), "{said}");
}

/// R37: an empty catalogue beside the contents and manifests of media would hide them, and keep them from being read again.
#[test]
fn r37_a_lost_catalogue_is_not_replaced_by_an_empty_one() {
    let environment = Environment::new();
    let folder = environment.work().join("folder");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("letter"), "dear diary").expect("a file");
    environment.ntt(["ingest", "folder"]).code(0);
    let catalogue = environment.archive().join("catalogue.db");
    let others = fs::read_dir(environment.archive()).expect("listed");
    let remains = others
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.to_string_lossy().contains("catalogue.db") && !path.to_string_lossy().ends_with("lock")
        });
    let remains: Vec<_> = remains.collect();
    for lose in [true, false] {
        for path in &remains {
            let _ = fs::remove_file(path);
        }
        if !lose {
            fs::write(&catalogue, "").expect("an empty file");
        }
        for arguments in [
            &["find", "letter"][..],
            &["ingest", "folder"],
            &["copy", "folder"],
        ] {
            let said = environment.ntt(arguments).stderr(10);
            assert!(said.contains("--rebuild-catalogue"), "{arguments:?}: {said}");
        }
        environment.ntt(["doctor", "--rebuild-catalogue"]).code(0);
        assert_eq!(environment.ntt(["find", "letter"]).code(0).lines().count(), 1);
    }
    fs::write(
        &catalogue,
        "no database at all, and long enough to be taken for one",
    )
    .expect("written");
    let said = environment.ntt(["find", "letter"]).stderr(10);
    assert!(said.contains("--rebuild-catalogue"), "{said}");
}

/// R37: which version an archive is of, its `FORMAT` alone says: whatever of it is left, none is written in its place without a word.
#[test]
fn r37_a_lost_format_is_not_written_anew() {
    let environment = Environment::new();
    environment.write("folder/letter", b"dear diary");
    environment.ntt(["ingest", "folder"]).code(0);
    let archive = environment.archive();
    let text = fs::read_to_string(archive.join("FORMAT")).expect("read");
    let refused = |arguments: &[&str]| {
        let said = environment.ntt(arguments).stderr(10);
        assert!(
            said.contains("FORMAT is gone") && said.contains("\"ntt store 1\""),
            "{arguments:?}: {said}"
        );
        assert!(!archive.join("FORMAT").exists(), "{arguments:?}");
    };
    fs::remove_file(archive.join("FORMAT")).expect("mine");
    for arguments in [
        &["ingest", "folder"][..],
        &["ingest", "--dry-run", "folder"],
        &["verify"],
        &["find", "letter"],
        &["doctor"],
        &["doctor", "--rebuild-catalogue"],
        &["copy", "folder"],
    ] {
        refused(arguments);
    }
    // Without catalogue and manifests there are still contents.
    let kept = environment.work().join("kept");
    fs::create_dir(&kept).expect("created");
    let rest = ["catalogue.db", "catalogue.db-wal", "catalogue.db-shm", "media"];
    let rest: Vec<_> = rest.iter().filter(|name| archive.join(name).exists()).collect();
    for name in &rest {
        fs::rename(archive.join(name), kept.join(name)).expect("moved");
    }
    refused(&["ingest", "folder"]);
    for name in &rest {
        fs::rename(kept.join(name), archive.join(name)).expect("moved");
    }
    fs::write(archive.join("FORMAT"), text).expect("written");
    environment.ntt(["verify"]).code(0);
}

/// R38: what the first steps of making an archive leave is no archive yet, and becomes one; so does an empty folder.
#[test]
fn r38_an_archive_that_was_hardly_begun_is_made() {
    for begun in [
        &[][..],
        &["lock"],
        &[
            "blobs/",
            "packs/",
            "index/",
            "journal/",
            "tmp/",
            "quarantine/",
            "lock",
        ],
        &[
            "blobs/",
            "packs/",
            "index/lock",
            "journal/",
            "tmp/create.FORMAT",
            "README.txt",
            "lock",
        ],
    ] {
        let environment = Environment::new();
        environment.write("folder/letter", b"dear diary");
        fs::create_dir(environment.archive()).expect("created");
        for name in begun {
            let path = environment.archive().join(name);
            match name.ends_with('/') {
                true => fs::create_dir_all(path).expect("created"),
                false => {
                    fs::create_dir_all(path.parent().expect("a parent")).expect("created");
                    fs::write(path, "").expect("written");
                }
            }
        }
        environment.ntt(["ingest", "folder"]).code(0);
        environment.ntt(["verify"]).code(0);
    }
}

/// R23: whoever labels a medium, no terminal obeys the label.
#[test]
fn r23_labels_are_shown_harmlessly() {
    let environment = Environment::new();
    let folder = environment.work().join("folder");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("letter"), "dear diary").expect("a file");
    environment.ntt(["ingest", "folder"]).code(0);
    let label = "x\u{1b}[31m\ny";
    let said = environment.ntt(["medium", "label", "folder", label]).code(0);
    let listed = environment.ntt(["medium", "list"]).code(0);
    let shown = environment.ntt(["medium", "show", label]).code(0);
    let found = environment.ntt(["where", "folder/1/letter"]).code(0);
    for text in [said, listed, shown, found] {
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(text.contains("x\\x1b[31m\\ny"), "{text}");
    }
}

/// R5, R39: a label may hold slashes, and why a source could not be used is told to the end.
#[test]
fn labels_with_slashes_name_places_and_failures_have_causes() {
    let environment = Environment::new();
    let folder = environment.work().join("folder");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("letter"), "dear diary").expect("a file");
    environment
        .ntt(["ingest", "--label", "Box 7/slides", "folder"])
        .code(0);
    let read = environment.ntt(["cat", "Box 7/slides/1/letter"]).code(0);
    assert_eq!(read, "dear diary");
    environment.ntt(["ls", "Box 7/slides/1"]).code(0);
    environment.ntt(["find", "-m", "Box 7/slides", "letter"]).code(0);
    let said = environment.ntt(["cat", "folder/letter"]).stderr(2);
    assert!(said.contains("a path follows the volume"), "{said}");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &vec![7; 4 << 20]).expect("packed");
    environment.write("zeros.img.gz", &packed.finish().expect("packed"));
    let limit = [("NTT_UNPACK_LIMIT", "1MiB")];
    let said = environment.ntt_with(&limit, ["ingest", "zeros.img.gz"]).stderr(1);
    assert!(said.contains("unpack_limit"), "{said}");
}

/// Modes of all files of an archive that was made under a umask.
fn modes_under(umask: &str) -> Vec<(std::path::PathBuf, u32)> {
    use std::os::unix::fs::PermissionsExt;
    let environment = Environment::new();
    environment.write("tree/small", b"in a pack");
    environment.write("tree/large", &vec![7; 2 << 20]);
    let ntt = environment.command(["ingest", "tree"]);
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", &format!("umask {umask}; \"$0\" \"$@\"")])
        .arg(ntt.get_program())
        .args(ntt.get_args())
        .envs(ntt.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(environment.work());
    assert!(shell.output().expect("a shell").status.success());
    let (mut waiting, mut modes) = (vec![environment.archive()], Vec::new());
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).expect("listed") {
            let entry = entry.expect("an entry");
            let metadata = entry.metadata().expect("there");
            match metadata.is_dir() {
                true => waiting.push(entry.path()),
                false => modes.push((entry.path(), metadata.permissions().mode() & 0o777)),
            }
        }
    }
    modes
}

/// What ntt writes is as open to others as whoever runs it wants: no file less, and none more. Contents alone end as 0444, below folders that obey.
#[test]
fn every_file_of_an_archive_obeys_the_umask() {
    for (umask, wanted) in [("022", 0o644), ("027", 0o640), ("077", 0o600)] {
        let modes = modes_under(umask);
        assert!(modes.len() > 10, "{modes:?}");
        for (path, mode) in modes {
            let is_content = ["blobs", "packs"]
                .iter()
                .any(|part| path.iter().any(|name| name == *part));
            let is_right = mode == wanted || (is_content && mode == 0o444);
            assert!(is_right, "{umask}: {} has {mode:o}", path.display());
        }
    }
}

/// R5: the words of a person are not replaced in silence.
#[test]
fn r5_another_label_is_told_with_the_one_before() {
    let environment = Environment::new();
    environment.write("tree/a", b"a");
    let ingest = |label: &str| environment.ntt(["ingest", "--label", label, "tree"]).stderr(0);
    assert!(!ingest("box 7").contains("labelled"));
    assert!(!ingest("box 7").contains("labelled"), "the same words");
    let said = ingest("box 8");
    assert!(said.contains("is labelled `box 8` now; it was `box 7`"), "{said}");
    let log = environment.ntt(["medium", "show", "box 8"]).code(0);
    assert!(log.contains("box 7"), "{log}");
}

/// R29, R44: an ingest that goes on with an earlier one looks at the directory once more before it says that all of it is here.
#[test]
fn r44_a_directory_that_changed_before_its_ingest_went_on_is_taken_in_as_it_is() {
    let environment = Environment::new();
    environment.write("tree/kept", b"kept");
    environment.write("tree/changed", b"before");
    environment.write("tree/gone", b"gone");
    let _ = environment.ntt(["ingest", "--no-copy", "tree"]).code(3);
    environment.write("tree/changed", b"after, and longer");
    environment.write("tree/late", b"late");
    fs::remove_file(environment.work().join("tree/gone")).expect("it was there");

    let medium = &environment.ntt(["--json", "ingest", "tree"]).summary(0)["media"][0];
    assert_eq!(medium["copied"]["failed_streams"], 0, "{medium}");
    for path in ["kept", "changed", "late"] {
        let place = format!("tree/1/{path}");
        let content = fs::read(environment.work().join("tree").join(path)).expect("a file");
        assert_eq!(environment.ntt(["cat", &place]).bytes(0), content);
    }
    let _ = environment.ntt(["restore", "--compare", "tree", "tree"]).code(0);
    assert_eq!(
        environment.ntt(["find", "--glob", "gone"]).code(0),
        "",
        "it is gone"
    );
}

/// R44: a list of media counts nothing that was counted before, and believes no count of what has changed since.
#[test]
fn r44_what_was_counted_is_believed_until_something_changes() {
    let environment = Environment::new();
    for name in ["a", "b.tmp"] {
        environment.write(format!("tree/{name}"), name.as_bytes());
    }
    environment.write(
        "rules.toml",
        b"[[rule]]\nname = \"temporary\"\nglob = \"*.tmp\"\n",
    );
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    let file = environment
        .archive()
        .join("media")
        .join(environment.medium("tree"))
        .join("census.json");
    let listed = || -> (serde_json::Value, serde_json::Value) {
        let list = environment.ntt(["--json", "medium", "list"]).document(0);
        let medium = &list["media"][0];
        (medium["paths"].clone(), medium["stored"]["count"].clone())
    };
    let right = listed();
    assert_eq!(right, (2.into(), 2.into()));
    // Nobody else would write another number there: it shows whether it was read.
    let falsify = || {
        let counted = fs::read_to_string(&file).expect("it was counted");
        assert!(counted.contains("\"paths\":2"), "{counted}");
        fs::write(&file, counted.replace("\"paths\":2", "\"paths\":7")).expect("mine");
    };
    falsify();
    assert_eq!(listed(), (7.into(), 2.into()));
    let _ = environment.ntt(["exclude", "tree", "rules.toml"]).code(0);
    assert_eq!(listed(), right, "counted again");

    falsify();
    environment.write("tree/c", b"c");
    let _ = environment.ntt(["ingest", "--no-copy", "tree"]).code(3);
    assert_eq!(
        listed(),
        (3.into(), 2.into()),
        "another scan, and work that waits"
    );
    let _ = environment.ntt(["copy", "tree"]).code(0);
    assert_eq!(listed(), (3.into(), 3.into()));
    fs::write(&file, b"{ torn").expect("mine");
    assert_eq!(listed(), (3.into(), 3.into()));
    fs::remove_file(&file).expect("mine");
    assert_eq!(listed(), (3.into(), 3.into()));
}
