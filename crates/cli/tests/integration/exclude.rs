//! R26: exclusion is a label that comes and goes, and never costs what was copied.

use ntt_testkit::lab::make;
use serde_json::Value;

use crate::environment::Environment;
use crate::images::{self, noise};

const RULES: &str = r#"
[[rule]]
name = "caches"
glob = "cache/**"

[[rule]]
name = "temporary"
regex = '(?-u)\.tmp\xff?$'
"#;

/// A medium of six files: two in a cache, one temporary, one whose name is not UTF-8 and temporary, two of worth.
fn with_rules() -> Environment {
    use std::os::unix::ffi::OsStrExt;
    let environment = Environment::new();
    for name in ["cache/a", "cache/deep/b", "letter.txt", "draft.tmp", "photo.raw"] {
        environment.write(format!("tree/{name}"), &noise(name, 1000));
    }
    environment.write(std::ffi::OsStr::from_bytes(b"tree/odd.tmp\xff"), b"odd");
    environment.write("rules.toml", RULES.as_bytes());
    environment.write("none.toml", b"");
    environment
}

fn names(environment: &Environment, arguments: &[&str]) -> Vec<String> {
    let said = environment.ntt(["find"].iter().chain(arguments)).code(0);
    let mut names: Vec<String> = said
        .lines()
        .map(|line| line.splitn(3, '/').nth(2).expect("a path").to_owned())
        .collect();
    names.sort_unstable();
    names
}

const EXCLUDED: [&str; 4] = ["cache/a", "cache/deep/b", "draft.tmp", r"odd.tmp\xff"];

#[test]
fn r26_a_dry_run_counts_and_samples_and_labels_nothing() {
    let environment = with_rules();
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    let said = environment
        .ntt(["exclude", "--dry-run", "tree", "rules.toml"])
        .code(0);
    assert!(
        said.contains("temporary: 2 paths") && said.contains(r"1/odd.tmp\xff"),
        "{said}"
    );
    let plan = environment
        .ntt(["exclude", "--dry-run", "--json", "tree", "rules.toml"])
        .document(0);
    assert_eq!(plan["rules"][0]["rule"], "caches");
    assert!(
        plan["rules"][0]["samples"].to_string().contains("cache/deep/b"),
        "{plan}"
    );
    assert_eq!(names(&environment, &["--state", "excluded"]), [""; 0]);
}

#[test]
fn r26_rules_given_at_ingest_keep_contents_out_and_rows_in() {
    let environment = with_rules();
    let summary = environment
        .ntt(["ingest", "--json", "--rules", "rules.toml", "tree"])
        .summary(0);
    let census = &summary["media"][0]["volumes"][0]["census"];
    assert_eq!(
        (&census["found"]["count"], &census["stored"]["count"]),
        (&6.into(), &2.into()),
        "{census}"
    );
    let by_rule: Vec<(&str, &Value)> = census["excluded"]
        .as_array()
        .expect("rules")
        .iter()
        .map(|rule| (rule[0].as_str().expect("a name"), &rule[1]["count"]))
        .collect();
    assert_eq!(by_rule, [("caches", &2.into()), ("temporary", &2.into())]);
    assert_eq!(names(&environment, &["--state", "excluded"]), EXCLUDED);
    assert_eq!(
        names(&environment, &["--kind", "file", ""]).len(),
        6,
        "every row is still there"
    );
    let listed = environment.ntt(["ls", "-l", "tree"]).code(0);
    let line = listed
        .lines()
        .find(|line| line.contains("draft.tmp"))
        .expect("a row");
    assert!(line.ends_with("[excluded by temporary]"), "{line}");
    let found = environment.ntt(["find", "--long", "letter"]).code(0);
    assert!(!found.contains("excluded"), "{found}");
}

#[test]
fn r26_labels_come_off_again_and_what_was_left_out_is_copied() {
    let environment = with_rules();
    let _ = environment
        .ntt(["ingest", "--rules", "rules.toml", "tree"])
        .code(0);
    let said = environment.ntt(["exclude", "tree", "none.toml"]).code(0);
    assert!(said.contains("4 contents to copy again"), "{said}");
    let copied = environment.ntt(["copy", "--json", "tree"]).document(0);
    assert_eq!(copied["stored_streams"], 4);
    assert_eq!(names(&environment, &["--state", "stored"]).len(), 6);
}

#[test]
fn r26_labels_put_on_later_lose_nothing_that_was_copied() {
    let environment = with_rules();
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    for _ in 0..2 {
        let _ = environment.ntt(["exclude", "tree", "rules.toml"]).code(0);
        let labelled = environment.ntt(["find", "--long", ""]).code(0);
        // The four files and the directory `cache/deep`.
        assert_eq!(
            labelled.matches("[excluded by ").count(),
            EXCLUDED.len() + 1,
            "{labelled}"
        );
        assert_eq!(
            environment.ntt(["cat", "tree/1/cache/a"]).bytes(0),
            noise("cache/a", 1000)
        );
    }
    let _ = environment.ntt(["exclude", "tree", "none.toml"]).code(0);
    assert!(
        !environment
            .ntt(["find", "--long", ""])
            .code(0)
            .contains("excluded")
    );
    assert_eq!(names(&environment, &["--state", "stored"]).len(), 6);
    let copied = environment.ntt(["copy", "--json", "tree"]).document(0);
    assert_eq!(
        (&copied["stored_streams"], &copied["bytes_read"]),
        (&0.into(), &0.into())
    );
}

#[test]
fn a_wrong_rules_file_is_refused_with_the_rule_that_is_wrong() {
    let environment = with_rules();
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    environment.write("wrong.toml", b"[[rule]]\nname = \"broken\"\nregex = \"(\"\n");
    let error = environment.ntt(["exclude", "tree", "wrong.toml"]).stderr(2);
    assert!(error.contains("broken"), "{error}");
}

/// R26: who scans a medium again labels it by the rules that it has, whoever gave them: what was excluded does not come back unasked.
#[test]
fn r26_a_medium_that_is_scanned_again_keeps_its_rules() {
    let environment = Environment::new();
    environment.write("tree/a.bak", b"not wanted");
    environment.write("tree/b.txt", b"wanted");
    environment.write("rules.toml", b"[[rule]]\nname = \"backups\"\nglob = \"*.bak\"\n");
    environment.write("none.toml", b"");
    let stored = || -> Vec<String> {
        let listed = environment.ntt(["find", "--state", "stored"]).code(0);
        let name = |line: &str| line.rsplit('/').next().unwrap_or_default().to_owned();
        listed.lines().map(name).collect()
    };
    let _ = environment
        .ntt(["ingest", "--rules", "rules.toml", "tree"])
        .code(0);
    assert_eq!(stored(), ["b.txt"]);
    environment.write("tree/c.bak", b"not wanted either");
    environment.write("tree/d.txt", b"wanted too");
    for again in [
        &["ingest", "tree"][..],
        &["ingest", "--again", "tree"],
        &["scan", "--again", "tree"],
        &["copy", "tree"],
    ] {
        let _ = environment.ntt(again).code(0);
        assert_eq!(stored(), ["b.txt", "d.txt"], "{again:?}");
    }
    let _ = environment.ntt(["exclude", "tree", "none.toml"]).code(0);
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    assert_eq!(stored().len(), 4, "an empty file takes the rules off for good");
}

/// R26: rules that are given for a medium that is known label it, and are looked at whether it is known or not.
#[test]
fn r26_rules_given_for_a_known_medium_label_it() {
    let environment = Environment::new();
    environment.write("disk.img", &images::demo());
    environment.write("rules.toml", b"[[rule]]\nname = \"texts\"\nglob = \"*.txt\"\n");
    environment.write("none.toml", b"");
    environment.write("wrong.toml", b"[[rule");
    let labelled = || {
        let found = environment.ntt(["find", "--long", ""]).code(0);
        found.matches("[excluded by texts]").count()
    };
    let _ = environment.ntt(["ingest", "disk.img"]).code(0);
    assert_eq!(labelled(), 0);
    for rules in ["wrong.toml", "absent.toml"] {
        let run = environment.ntt(["ingest", "--rules", rules, "disk.img"]);
        assert_ne!(run.exit(), Some(0), "{rules}");
    }
    let _ = environment
        .ntt(["ingest", "--rules", "rules.toml", "disk.img"])
        .code(0);
    let number = labelled();
    assert!(number > 1);
    let _ = environment.ntt(["ingest", "disk.img"]).code(0);
    assert_eq!(labelled(), number, "they stay");
    let _ = environment
        .ntt(["scan", "--rules", "none.toml", "disk.img"])
        .code(0);
    assert_eq!(labelled(), 0);
}

/// R3, R26: volumes that are one to the archive have one set of labels, and whoever labels them is told.
#[test]
fn r26_labels_of_a_copy_are_those_of_the_original() {
    let environment = Environment::new();
    environment.write("a.img", &images::demo());
    environment.write(
        "b.img",
        &images::demo()[images::DEMO_EXT.start..images::DEMO_EXT.end],
    );
    environment.write("rules.toml", b"[[rule]]\nname = \"texts\"\nglob = \"*.txt\"\n");
    let _ = environment.ntt(["ingest", "a.img", "b.img"]).code(0);
    let original = environment.medium("a.img");
    let told = format!("volume 1 is a copy of {original}/2: its paths are labelled there");
    for flags in [&["exclude"][..], &["exclude", "--dry-run"]] {
        let command = [flags, &["b.img", "rules.toml"]].concat();
        let said = environment.ntt(command).stderr(1);
        assert!(said.contains(&told), "{said}");
    }
    let said = environment
        .ntt(["ingest", "--rules", "rules.toml", "b.img"])
        .stderr(0);
    assert!(said.contains(&told), "{said}");
    let told = "what is labelled in volume 2 is in b.img/1 too, which is a copy of it";
    let plan = environment
        .ntt(["exclude", "--dry-run", "a.img", "rules.toml"])
        .code(0);
    assert!(plan.contains(told), "{plan}");
    let said = environment.ntt(["exclude", "a.img", "rules.toml"]).stderr(0);
    assert!(said.contains(told), "{said}");
}

/// R26: rules that rotted are found before somebody scans again, and can be replaced.
#[test]
fn r26_rules_that_cannot_be_read_are_told() {
    let environment = with_rules();
    let _ = environment
        .ntt(["ingest", "--rules", "rules.toml", "tree"])
        .code(0);
    let medium = environment
        .archive()
        .join("media")
        .join(environment.medium("tree"));
    std::fs::write(medium.join("rules.toml"), b"[[rule]]\nname = 3\n").expect("mine");
    let said = environment.ntt(["doctor"]).code(12);
    assert!(said.contains("PROBLEM  rules"), "{said}");
    assert!(said.contains("rules.toml: line 2: invalid type"), "{said}");
    let said = environment.ntt(["ingest", "--again", "tree"]).stderr(1);
    assert!(said.contains("rules.toml: line 2: invalid type"), "{said}");
    let _ = environment.ntt(["exclude", "tree", "rules.toml"]).code(0);
    let _ = environment.ntt(["doctor"]).code(0);
}

/// R26, R44: what is wrong with the rules is told before a source is read or anything written, by every command that takes them and wherever they are named.
#[test]
fn r26_wrong_rules_are_refused_before_anything_is_read() {
    let environment = Environment::new();
    environment.write("disk.img", &images::demo());
    environment.write("wrong.toml", b"[[rule]]\nname = \"x\"\nglobb = \"*\"\n");
    let refused = |command: &[&str], rules: &str| {
        let error = environment
            .ntt([command, &["--rules", rules, "disk.img"]].concat())
            .stderr(2);
        assert!(error.contains(rules), "{command:?}: {error}");
    };
    for rules in ["wrong.toml", "absent.toml"] {
        for command in [&["ingest"][..], &["ingest", "--rescue"], &["ingest", "--dry-run"]] {
            refused(command, rules);
            assert!(!environment.archive().exists(), "{command:?} with {rules}");
        }
    }
    let _ = environment.ntt(["ingest", "disk.img"]).code(0);
    for rules in ["wrong.toml", "absent.toml"] {
        for command in [&["ingest", "--rescue"][..], &["scan"], &["scan", "--dry-run"]] {
            refused(command, rules);
        }
        let _ = environment.ntt(["exclude", "disk.img", rules]).stderr(2);
    }
    std::fs::write(
        environment.archive().join("ntt.toml"),
        b"rules = \"absent.toml\"\n",
    )
    .expect("mine");
    let error = environment.ntt(["ingest", "--rescue", "disk.img"]).stderr(2);
    assert!(error.contains("absent.toml"), "{error}");
    assert_eq!(
        environment.ntt(["medium", "list"]).code(0).lines().count(),
        2,
        "a head and one medium"
    );
}

/// R26: what is excluded and not stored is not said to be restored, and is no difference to what was.
#[test]
fn r26_what_is_excluded_is_not_restored_and_not_missed() {
    let environment = with_rules();
    let _ = environment
        .ntt(["ingest", "--rules", "rules.toml", "tree"])
        .code(0);
    let plan = environment
        .ntt(["--json", "restore", "--dry-run", "tree", "out"])
        .document(0);
    let said = environment.ntt(["restore", "tree", "out"]).code(3);
    assert!(
        said.contains(&format!("restored {} paths", plan["paths"])),
        "{plan} {said}"
    );
    let said = environment.ntt(["restore", "--compare", "tree", "out"]).code(3);
    assert!(said.contains("4 of them not stored"), "{said}");
}

/// R26: a dry run tells the numbers of the run, second names included in neither.
#[test]
fn r26_a_dry_run_counts_what_the_run_counts() {
    let environment = Environment::new();
    environment.write("disk.img", &images::demo());
    environment.write("all.toml", b"[[rule]]\nname = \"all\"\nglob = \"*\"\n");
    let _ = environment.ntt(["ingest", "disk.img"]).code(0);
    let plan = environment
        .ntt(["--json", "exclude", "--dry-run", "disk.img", "all.toml"])
        .document(0);
    let done = environment
        .ntt(["--json", "exclude", "disk.img", "all.toml"])
        .document(0);
    let volumes = done["volumes"].as_array().expect("volumes");
    let excluded = volumes
        .iter()
        .filter_map(|volume| volume[1]["excluded_paths"].as_u64());
    assert_eq!(plan["rules"][0]["paths"], excluded.sum::<u64>(), "{done}");
}

/// A pattern that is written as for a shell matches nothing: whoever gave it is told, and what matches something is not spoken of.
#[test]
fn a_rule_that_labels_nothing_is_told() {
    let environment = with_rules();
    let rules = "[[rule]]\nname = \"temporary\"\nglob = \"*.tmp\"\n[[rule]]\nname = \"rooted\"\nglob = \"/letter.txt\"\n\
                 [[rule]]\nname = \"folder\"\nglob = \"cache/\"\n";
    environment.write("idle.toml", rules.as_bytes());
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    let run = environment.ntt(["exclude", "tree", "idle.toml"]);
    let said = run.everything();
    for name in ["rooted", "folder"] {
        assert!(
            said.contains(&format!("the rule `{name}` labels no path")),
            "{said}"
        );
    }
    assert!(!said.contains("the rule `temporary`"), "{said}");
    let _ = run.code(0);
    let run = environment.ntt(["exclude", "tree", "rules.toml"]);
    assert!(!run.everything().contains("labels no path"));
    let _ = run.code(0);
}

/// Rules that are no regular file are refused before anything is opened: whoever opens a pipe waits for its writer.
#[test]
fn rules_that_are_no_regular_file_are_refused() {
    let environment = with_rules();
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    make::run("mkfifo", &["pipe"], &environment.work());
    for rules in ["pipe", "/dev/zero", "."] {
        for command in [
            &["exclude", "tree", rules][..],
            &["ingest", "--rules", rules, "tree"],
            &["scan", "--rules", rules, "tree"],
        ] {
            let said = environment.ntt(command).stderr(2);
            assert!(said.contains("no regular file"), "{command:?}: {said}");
        }
    }
}
