//! Media that were made by mistake: taken out of the answers, and taken back.

use std::fs;

use ntt_testkit::managers::{MdMember, md_members, raid0};
use ntt_testkit::postgres::PostgresServer;
use serde_json::Value;

use crate::environment::Environment;
use crate::images::{self, DEMO_FAT};
use crate::ingest_images::redacted;
use crate::postgres::served;

/// Two directories, `kept` and `wrong`: one content of its own each, and one that both have. The second one is withdrawn.
fn withdrawn() -> Environment {
    let environment = Environment::new();
    for name in ["kept", "wrong"] {
        environment.write(format!("{name}/{name}.txt"), name.as_bytes());
        environment.write(format!("{name}/both"), b"on both");
    }
    environment.ntt(["ingest", "kept", "wrong"]).code(0);
    environment.ntt(withdraw("wrong")).code(0);
    environment
}

fn withdraw(medium: &str) -> [&str; 5] {
    ["medium", "withdraw", medium, "--reason", "the wrong folder"]
}

fn list(environment: &Environment, arguments: &[&str]) -> Value {
    let command = ["--json", "medium", "list"];
    environment.ntt(command.iter().chain(arguments)).document(0)
}

/// The names of the media that are listed.
fn names(list: &Value) -> Vec<&str> {
    let media = list["media"].as_array().expect("media").iter();
    media
        .map(|medium| medium["source_name"].as_str().expect("a name"))
        .collect()
}

/// R5: a withdrawn medium is not listed, and shown if it is asked for, with the words of whoever withdrew it; both events stay in its log.
#[test]
fn r5_a_withdrawn_medium_is_marked_and_its_history_stays() {
    let environment = withdrawn();
    let short = list(&environment, &[]);
    assert_eq!((names(&short), &short["withdrawn"]), (vec!["kept"], &1.into()));
    assert_eq!(short["media"][0]["withdrawn"], Value::Null);
    let all = list(&environment, &["--all"]);
    assert_eq!(names(&all), ["kept", "wrong"]);
    assert_eq!(all["media"][1]["withdrawn"]["reason"], "the wrong folder");
    {
        let _guard = redacted(&environment);
        insta::assert_snapshot!("list", environment.ntt(["medium", "list"]).code(0));
        insta::assert_snapshot!("list_all", environment.ntt(["medium", "list", "--all"]).code(0));
    }
    let shown = environment.ntt(["medium", "show", "wrong"]).code(0);
    assert!(
        shown.contains("withdrawn since 20") && shown.contains(": the wrong folder\n"),
        "{shown}"
    );
    let told = environment.ntt(["medium", "reinstate", "wrong"]).code(0);
    assert!(
        told.contains("reinstated") && told.contains("(was withdrawn: `the wrong folder`)"),
        "{told}"
    );
    assert_eq!(names(&list(&environment, &[])), ["kept", "wrong"]);
    let listed = environment.ntt(["medium", "list"]).code(0);
    assert!(!listed.contains("withdrawn"), "{listed}");
    let shown = environment.ntt(["--json", "medium", "show", "wrong"]).document(0);
    assert_eq!(shown["withdrawn"], Value::Null);
    let events = shown["events"].as_array().expect("events").iter();
    let said: Vec<_> = events
        .rev()
        .take(2)
        .map(|event| (event["stage"].clone(), event["detail"].clone()))
        .collect();
    let expected = [("reinstate", ""), ("withdraw", "the wrong folder")];
    assert_eq!(
        said,
        expected.map(|(stage, detail)| (stage.into(), detail.into()))
    );
}

/// R40, R38: a dry run changes nothing, and what is said already is not said again.
#[test]
fn r40_a_dry_run_withdraws_and_reinstates_nothing() {
    let environment = withdrawn();
    let events = || {
        let shown = environment.ntt(["--json", "medium", "show", "wrong"]).document(0);
        shown["events"].as_array().expect("events").len()
    };
    let before = events();
    let dry = ["medium", "withdraw", "kept", "--reason", "no", "--dry-run"];
    assert!(environment.ntt(dry).code(0).contains("would withdraw"));
    let dry = ["medium", "reinstate", "wrong", "--dry-run"];
    assert!(environment.ntt(dry).code(0).contains("would reinstate"));
    environment.ntt(withdraw("wrong")).code(0);
    assert_eq!(names(&list(&environment, &[])), ["kept"]);
    assert_eq!(events(), before);
    let again = environment
        .ntt(["medium", "withdraw", "wrong", "--reason", "a test"])
        .code(0);
    assert!(
        again.contains("(was withdrawn before: `the wrong folder`)"),
        "{again}"
    );
    assert_eq!(events(), before + 1);
    let told = environment.ntt(["medium", "reinstate", "kept"]).code(0);
    assert!(told.contains("(kept) is not withdrawn"), "{told}");
    for reason in [&[][..], &["--reason", ""]] {
        let arguments = ["medium", "withdraw", "kept"];
        environment.ntt(arguments.iter().chain(reason)).code(2);
    }
}

/// R37: what stands on a withdrawn medium counts nowhere; above all, a file that is on no other is not archived for whoever asks before he lets go of a disk.
#[test]
fn r37_no_answer_about_all_media_counts_a_withdrawn_one() {
    let environment = withdrawn();
    let (kept, wrong) = (environment.medium("kept"), environment.medium("wrong"));
    let places = environment.ntt(["where", "./kept/both"]).code(0);
    assert!(
        places.contains("1 place; on media that are withdrawn 1, which do not count"),
        "{places}"
    );
    assert!(!places.contains(&wrong[..12]), "{places}");
    let places = environment.ntt(["where", "./wrong/wrong.txt"]).code(1);
    assert!(
        places.contains("0 places; on media that are withdrawn 1"),
        "{places}"
    );
    let told = environment.ntt(["--json", "where", "./wrong/wrong.txt"]).json(1);
    assert_eq!(
        (&told[0]["archived"], &told[0]["in_store"]),
        (&false.into(), &true.into())
    );
    assert_eq!(told[1]["withdrawn_places"], 1, "{told:?}");
    let told = environment
        .ntt(["--json", "where", "--all-scans", "./kept/kept.txt"])
        .json(0);
    assert_eq!(told[0]["archived"], true);
    assert_eq!(told.len(), 2, "{told:?}");

    for arguments in [&["find", ""][..], &["find", "--all-scans", ""], &["export"]] {
        let found = environment.ntt(arguments).code(0);
        assert!(
            found.contains("kept.txt") && !found.contains("wrong"),
            "{arguments:?}: {found}"
        );
    }
    let status = environment.ntt(["--json", "status"]).document(0);
    assert_eq!((&status["media"], &status["withdrawn"]), (&1.into(), &1.into()));
    let said = environment.ntt(["status"]).code(0);
    assert!(
        said.starts_with("1 medium and 1 withdrawn, 3 distinct contents"),
        "{said}"
    );

    // Nothing is deleted, and nothing an orphan.
    environment.ntt(["doctor"]).code(0);
    let verified = environment.ntt(["verify"]).code(0);
    assert!(verified.contains("3 contents good"), "{verified}");
    environment.ntt(["medium", "reinstate", "wrong"]).code(0);
    let places = environment.ntt(["where", "./wrong/both"]).code(0);
    assert!(
        places.contains("2 places\n") && places.contains(&wrong[..12]) && places.contains(&kept[..12]),
        "{places}"
    );
}

/// R37: what waits on a withdrawn medium, or could not be read of it, is nobody's work.
#[test]
fn r37_status_tells_nothing_of_what_waits_on_a_withdrawn_medium() {
    let environment = Environment::new();
    environment.write("tree/file", b"content");
    environment.ntt(["ingest", "--no-copy", "tree"]).code(3);
    let waits = || {
        let status = environment.ntt(["--json", "status"]).document(0);
        status["queues"].as_array().expect("queues").len()
    };
    assert_eq!(waits(), 1);
    environment.ntt(withdraw("tree")).code(0);
    assert_eq!(waits(), 0);
    // Whoever names it may work on it all the same.
    let hint = environment.ntt(["copy", "tree"]).stderr(0);
    assert!(hint.contains("was withdrawn on"), "{hint}");
    let hint = environment.ntt(["retry", "tree"]).stderr(0);
    assert!(hint.contains("was withdrawn on"), "{hint}");
}

/// Whoever names the medium is answered as before, and told.
#[test]
fn a_withdrawn_medium_answers_to_its_name() {
    let environment = withdrawn();
    for (arguments, words) in [
        (&["find", "--medium", "wrong", "txt"][..], "/1/wrong.txt"),
        (&["export", "--medium", "wrong"], "wrong.txt"),
        (&["ls", "wrong/1"], "wrong.txt"),
        (&["tree", "wrong/1"], "wrong.txt"),
        (&["cat", "wrong/1/wrong.txt"], "wrong"),
        (&["where", "wrong/1/both"], "1 place;"),
        (&["restore", "wrong", "out"], ""),
        (&["verify", "wrong"], "2 contents good"),
    ] {
        let said = environment.ntt(arguments).everything();
        let hint = "was withdrawn on";
        assert!(
            said.contains(words) && said.contains(hint) && said.contains(": the wrong folder; "),
            "{arguments:?}: {said}"
        );
        let quiet = environment.ntt(["--quiet"].iter().chain(arguments)).everything();
        assert!(!quiet.contains(hint), "{arguments:?}: {quiet}");
    }
    let restored = fs::read(environment.work().join("out/wrong.txt"));
    assert_eq!(restored.expect("a file"), b"wrong");
}

/// R3, R4, R44: the same source is known as what it is. It is taken in only when a person has said that it is a medium after all.
#[test]
fn r3_a_withdrawn_medium_is_recognised_and_not_taken_in_again() {
    let environment = withdrawn();
    let wrong = environment.medium("wrong");
    environment.write("wrong/new", b"new");
    environment.write("other/file", b"of another one");
    for arguments in [&["ingest", "wrong"][..], &["ingest", "--dry-run", "wrong"]] {
        let said = environment.ntt(arguments).stderr(4);
        let advice = format!("`ntt medium reinstate {wrong}`");
        assert!(
            said.contains(&advice) && said.contains(": the wrong folder; "),
            "{said}"
        );
    }
    // It keeps no other one from it.
    environment.ntt(["ingest", "wrong", "other"]).code(4);
    assert_eq!(names(&list(&environment, &["--all"])), ["kept", "wrong", "other"]);
    let known = environment.ntt(["identify", "wrong"]).code(0);
    assert!(
        known.contains(&wrong) && known.contains("withdrawn since"),
        "{known}"
    );
    let known = environment.ntt(["--json", "identify", "wrong"]).document(0);
    assert_eq!(known["withdrawn"]["reason"], "the wrong folder");

    environment.ntt(["medium", "reinstate", "wrong"]).code(0);
    environment.ntt(["ingest", "wrong"]).code(0);
    assert_eq!(environment.ntt(["cat", "wrong/1/new"]).code(0), "new");
    assert_eq!(environment.medium("wrong"), wrong);
}

/// R2, R3: nothing of a device is read for a medium that is none.
#[test]
fn r2_a_device_whose_medium_is_withdrawn_is_not_rescued() {
    let environment = Environment::new();
    environment.write("device", &images::demo());
    environment.ntt(["ingest", "--rescue", "device"]).code(0);
    environment.ntt(withdraw("device")).code(0);
    for arguments in [
        &["ingest", "--rescue", "device"][..],
        &["ingest", "--rescue", "--dry-run", "device"],
        &["ingest", "--rescue", "--medium", "device", "device"],
        &["ingest", "device"],
    ] {
        let said = environment.ntt(arguments).stderr(4);
        assert!(said.contains("`ntt medium reinstate "), "{arguments:?}: {said}");
    }
}

/// A name means the medium that is one; the other is still known by its id.
#[test]
fn a_withdrawn_medium_does_not_keep_its_name() {
    let environment = Environment::new();
    environment.write("a/disk/first", b"1");
    environment.write("b/disk/second", b"2");
    environment.ntt(["ingest", "a/disk"]).code(0);
    let first = environment.medium("disk");
    environment.ntt(withdraw("disk")).code(0);
    environment.ntt(["ingest", "b/disk"]).code(0);
    assert_eq!(environment.ntt(["ls", "disk/1"]).code(0), "second\n");
    let by_id = format!("{}/1", &first[..8]);
    assert_eq!(environment.ntt(["ls", &by_id]).code(0), "first\n");
    environment.ntt(["medium", "reinstate", &first]).code(0);
    let said = environment.ntt(["ls", "disk/1"]).stderr(1);
    assert!(said.contains("give more digits"), "{said}");
}

/// R3: a copy of a volume of a withdrawn medium has every answer by itself, and is scanned and copied by itself when it is ingested again; no later copy leans on it.
#[test]
fn r3_a_copy_of_a_withdrawn_volume_stands_by_itself() {
    let environment = Environment::new();
    let mut grown = images::demo();
    environment.write("demo.img", &grown);
    grown.extend([7; 512]);
    environment.write("copy.img", &grown);
    grown.extend([7; 512]);
    environment.write("third.img", &grown);
    let image = |name: &str| {
        let shown = environment.ntt(["--json", "medium", "show", name]).document(0);
        let volumes = shown["volumes_detail"].as_array().expect("volumes").iter();
        let originals = volumes.map(|volume| volume["same_as"].is_null());
        let state = shown["completeness"].as_str().expect("a state").to_owned();
        (originals.collect::<Vec<bool>>(), state)
    };
    environment.ntt(["ingest", "demo.img", "copy.img"]).exit();
    let (stands, state) = image("copy.img");
    assert_eq!(stands, [false, false]);
    environment.ntt(withdraw("demo.img")).code(0);
    assert_eq!(image("copy.img").1, state);
    let found = environment.ntt(["find", "todo.txt"]).code(0);
    let copy = environment.medium("copy.img");
    assert_eq!(found.trim(), format!("{}/1/todo.txt", &copy[..12]));
    let places = environment.ntt(["where", "copy.img/1/todo.txt"]).code(0);
    assert!(
        places.contains("2 places; on media that are withdrawn 2"),
        "{places}"
    );

    environment.ntt(["ingest", "copy.img"]).exit();
    assert_eq!(image("copy.img"), (vec![true, true], state));
    environment.ntt(["ingest", "third.img"]).exit();
    assert_eq!(image("third.img").0, [false, false]);
    let third = environment.ntt(["medium", "show", "third.img"]).code(0);
    assert!(!third.contains(&environment.medium("demo.img")), "{third}");
    environment.ntt(["doctor"]).code(0);
}

/// R14: an image whose files a set alone can read is not complete when that set is none.
#[test]
fn r14_a_withdrawn_set_holds_nothing_of_its_images() {
    let environment = Environment::new();
    let like = MdMember {
        level: 0,
        layout: 0,
        chunk_sectors: 128,
        raid_disks: 0,
        role: 0,
        events: 7,
    };
    let members = md_members(like, &raid0(&images::demo()[DEMO_FAT], 65_536, 2));
    for (name, member) in ["a.img", "b.img"].iter().zip(&members) {
        environment.write(name, member);
    }
    environment.ntt(["ingest", "--set", "a.img", "b.img"]).code(0);
    let state = |name: &str| {
        let shown = environment.ntt(["--json", "medium", "show", name]).document(0);
        (shown["completeness"].clone(), shown["sets"].is_null())
    };
    assert_eq!(state("a.img"), ("complete".into(), false));
    environment.ntt(withdraw("a.img + b.img")).code(0);
    assert_eq!(state("a.img"), ("partial".into(), true));
    let shown = environment.ntt(["medium", "show", "a.img"]).code(0);
    assert!(shown.contains(", which is withdrawn: what it holds"), "{shown}");
    environment.ntt(["ingest", "a.img"]).code(3);
    let said = environment.ntt(["ingest", "--set", "a.img", "b.img"]).stderr(4);
    assert!(said.contains("`ntt medium reinstate "), "{said}");
    environment.ntt(["medium", "reinstate", "a.img + b.img"]).code(0);
    environment.ntt(["ingest", "--set", "b.img", "a.img"]).code(0);
    assert_eq!(state("a.img"), ("complete".into(), false));
}

/// R37, R38: a catalogue that is made again from the manifests has it, and one that was put back from before is found out.
#[test]
fn r37_a_rebuilt_catalogue_knows_what_is_withdrawn() {
    let environment = withdrawn();
    let dump = || environment.ntt(["doctor", "--dump-catalogue"]).code(0);
    let (before, catalogue) = (dump(), environment.archive().join("catalogue.db"));
    let all = list(&environment, &["--all"]);
    fs::remove_file(&catalogue).expect("mine");
    environment.ntt(["doctor", "--rebuild-catalogue"]).code(0);
    assert_eq!(dump(), before);
    assert_eq!(list(&environment, &["--all"]), all);
    let kept = fs::read(&catalogue).expect("a catalogue");
    environment.ntt(["medium", "reinstate", "wrong"]).code(0);
    let reinstated = list(&environment, &[]);
    fs::write(&catalogue, kept).expect("written");
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(environment.archive().join(format!("catalogue.db{suffix}"))).ok();
    }
    let said = environment.ntt(withdraw("kept")).stderr(10);
    assert!(said.contains("older than the archive"), "{said}");
    environment.ntt(["doctor", "--rebuild-catalogue"]).code(0);
    assert_eq!(list(&environment, &[]), reinstated);
    environment.ntt(["doctor"]).code(0);
}

/// R37: copies of the catalogue have it, of either kind.
#[test]
fn r37_a_copied_catalogue_knows_what_is_withdrawn() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let environment = withdrawn();
    let file = environment.archive().join("catalogue.db");
    let file = file.to_str().expect("a text");
    let all = list(&environment, &["--all"]);
    let served = served(&server, "one");
    let through = |arguments: &[&str]| {
        let variables = [("NTT_CATALOGUE", served.url.as_str())];
        environment.ntt_with(&variables, arguments)
    };
    environment.ntt(["catalogue", "copy", file, &served.url]).code(0);
    let listed = ["--json", "medium", "list", "--all"];
    assert_eq!(through(&listed).document(0), all);
    assert_eq!(names(&through(&listed[..3]).document(0)), ["kept"]);
    through(&["where", "./wrong/wrong.txt"]).code(1);
    let found = through(&["find", "txt"]).code(0);
    assert!(
        found.ends_with("/1/kept.txt\n") && found.lines().count() == 1,
        "{found}"
    );
    let paths = server.psql("one", "SELECT DISTINCT medium_name FROM paths");
    assert_eq!(paths, "kept");
    let reasons = server.psql("one", "SELECT medium_name, reason FROM withdrawn_media");
    assert_eq!(reasons, "wrong|the wrong folder");
    let back = environment.work().join("back.db");
    let back = back.to_str().expect("a text");
    environment.ntt(["catalogue", "copy", &served.url, back]).code(0);
    fs::copy(back, file).expect("copied");
    assert_eq!(list(&environment, &["--all"]), all);
}
