//! The same medium through both back ends, by the program itself.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Stdio};

use ntt_testkit::postgres::PostgresServer;
use rustix::fs::{Mode, OFlags};

use crate::environment::{Environment, restored_code};
use crate::volumes::with_same_second_volume;

const DEMO: &[u8] = include_bytes!("../../../../test_data/demo.img.gz");

/// A place to run `ntt` in, with the demo image.
pub(crate) fn prepared() -> Environment {
    let environment = Environment::new();
    let mut demo = Vec::new();
    flate2::read::GzDecoder::new(DEMO)
        .read_to_end(&mut demo)
        .expect("the demo image");
    let _ = environment.write("demo.img", &demo);
    environment
}

/// Runs `ntt` with a catalogue in a database.
pub(crate) struct Served {
    pub(crate) environment: Environment,
    pub(crate) url: String,
}

impl Served {
    pub(crate) fn run(&self, arguments: &[&str]) -> crate::environment::Run {
        self.environment
            .ntt_with(&[("NTT_CATALOGUE", self.url.as_str())], arguments)
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.environment.command(arguments);
        command.env("NTT_CATALOGUE", &self.url);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("a process")
    }

    fn dump(&self) -> String {
        self.run(&["doctor", "--dump-catalogue"]).code(0)
    }
}

pub(crate) fn served(server: &PostgresServer, database: &str) -> Served {
    Served {
        environment: prepared(),
        url: server.create_database(database, None),
    }
}

#[test]
fn both_back_ends_answer_alike_and_copy_into_each_other() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let served = served(&server, "one");
    let said = served.run(&["ingest", "demo.img"]).stderr(10);
    assert!(said.contains("ntt catalogue init"), "{said}");
    assert!(!served.environment.archive().exists(), "R4: nothing was made");
    assert!(
        served
            .run(&["catalogue", "init"])
            .code(0)
            .contains("made the catalogue")
    );
    served.run(&["ingest", "demo.img"]).code(0);

    let embedded = prepared();
    embedded.ntt(["ingest", "demo.img"]).code(0);
    let id = |run: crate::environment::Run| run.document(0)["id"].as_str().expect("an id").to_owned();
    let show = ["--json", "medium", "show", "demo.img"];
    let ids = (id(served.run(&show)), id(embedded.ntt(show)));
    for arguments in [
        &["ls", "demo.img/1", "--alternates"][..],
        &["tree", "demo.img/2"],
        &["find", "--state", "stored"],
        &["cat", "demo.img/1/todo.txt"],
    ] {
        let here = served.run(arguments).code(0);
        let there = embedded.ntt(arguments).code(0);
        let known = |text: &str, id: &str| text.replace(&id[..12], "<medium>");
        assert_eq!(known(&here, &ids.0), known(&there, &ids.1), "{arguments:?}");
    }
    let _ = served
        .environment
        .write("rules.toml", b"[[rule]]\nname = \"text\"\nglob = \"*.txt\"\n");
    served.run(&["exclude", "demo.img", "rules.toml"]).code(0);
    served.run(&["retry", "demo.img"]).code(0);
    served.run(&["restore", "demo.img", "out"]).code(restored_code());
    served.run(&["restore", "--compare", "demo.img", "out"]).code(0);
    served.run(&["doctor"]).code(0);

    let wanted = served.dump();
    let file = served.environment.work().join("copy.db");
    let file = file.to_str().expect("a text");
    served.run(&["catalogue", "copy", &served.url, file]).code(0);
    let second = server.create_database("two", None);
    served.run(&["catalogue", "copy", file, &second]).code(0);
    let rebuilt = server.create_database("three", None);
    let through =
        |url: &str, arguments: &[&str]| served.environment.ntt_with(&[("NTT_CATALOGUE", url)], arguments);
    through(&rebuilt, &["doctor", "--rebuild-catalogue"]).code(0);
    for url in [&second, &rebuilt] {
        assert!(
            through(url, &["doctor", "--dump-catalogue"]).code(0) == wanted,
            "{url}"
        );
        through(url, &["doctor"]).code(0);
    }
    let said = through(&second, &["catalogue", "copy", file, &second]).stderr(1);
    assert!(said.contains("holds media already"), "{said}");
}

/// R33, R34, R38: a host on which the medium is not mounted takes part in nothing, and loses nothing for the others; one that has it at another path copies it.
#[test]
fn r34_a_host_without_the_medium_gives_nothing_up() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let served = served(&server, "one");
    served.run(&["catalogue", "init"]).code(0);
    let work = served.environment.work();
    for name in ["mnt/medium/a", "mnt/medium/b/c"] {
        let _ = served.environment.write(name, name.as_bytes());
    }
    std::fs::create_dir_all(work.join("empty/medium")).expect("a folder");
    std::os::unix::fs::symlink(work.join("mnt"), work.join("elsewhere")).expect("a link");
    served.run(&["ingest", "--no-copy", "mnt/medium"]).code(3);
    let on_host = |folder: &str| {
        let map = format!("{}={}", work.join("mnt").display(), work.join(folder).display());
        let settings = [
            ("NTT_CATALOGUE", served.url.as_str()),
            ("NTT_PATH_MAP", map.as_str()),
        ];
        served.environment.ntt_with(&settings, ["copy", "medium"])
    };
    let said = on_host("empty").stderr(1);
    assert!(said.contains("not the directory that was taken in"), "{said}");
    let queue = served.run(&["--json", "find", "--state", "pending"]).json(0);
    let waiting = queue.iter().filter(|row| row["content"]["state"] == "pending");
    assert_eq!(waiting.count(), 2, "{queue:?}");
    on_host("elsewhere").code(0);
}

/// A file whose path is longer than the system takes in one call.
fn write_deep(root: &Path) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut directory = rustix::fs::open(root, flags, Mode::empty()).expect("a folder");
    for _ in 0..20 {
        let name = "d".repeat(250);
        rustix::fs::mkdirat(&directory, &name, Mode::RWXU).expect("a new folder");
        directory = rustix::fs::openat(&directory, &name, flags, Mode::empty()).expect("a folder");
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    rustix::fs::openat(&directory, "deep", flags, Mode::RUSR).expect("a new file");
}

#[test]
fn r23_any_name_and_long_paths_go_through_both_back_ends_and_back() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let served = served(&server, "one");
    let embedded = Environment::new();
    for environment in [&served.environment, &embedded] {
        let tree = environment.work().join("tree");
        crate::names::write_awkward(&tree);
        write_deep(&tree);
    }
    served.run(&["catalogue", "init"]).code(0);
    served.run(&["ingest", "tree"]).code(0);
    embedded.ntt(["ingest", "tree"]).code(0);
    let found = |run: crate::environment::Run| -> BTreeSet<Vec<u8>> {
        let found = run.bytes(0);
        // Each begins with an id of twelve digits and the volume.
        found
            .split(|byte| *byte == 0)
            .map(|path| path.get(13..).unwrap_or_default().to_vec())
            .collect()
    };
    let paths = found(embedded.ntt(["find", "-0"]));
    assert_eq!(found(served.run(&["find", "-0"])), paths);
    assert!(paths.iter().any(|path| path.len() > 5000));
    served.run(&["restore", "tree", "out"]).code(0);
    served.run(&["restore", "--compare", "tree", "out"]).code(0);

    let through = |url: &str, arguments: &[&str]| embedded.ntt_with(&[("NTT_CATALOGUE", url)], arguments);
    let wanted = embedded.ntt(["doctor", "--dump-catalogue"]).code(0);
    let (there, back) = (
        server.create_database("two", None),
        embedded.work().join("back.db"),
    );
    let (archive, back) = (
        embedded.archive().join("catalogue.db"),
        back.to_str().expect("a text"),
    );
    let archive = archive.to_str().expect("a text");
    embedded.ntt(["catalogue", "copy", archive, &there]).code(0);
    embedded.ntt(["catalogue", "copy", &there, back]).code(0);
    assert!(
        through(&there, &["doctor", "--dump-catalogue"]).code(0) == wanted,
        "in the server"
    );
    std::fs::copy(back, archive).expect("a catalogue");
    assert!(
        embedded.ntt(["doctor", "--dump-catalogue"]).code(0) == wanted,
        "and back"
    );
}

#[test]
fn several_runs_copy_one_medium_into_one_archive() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let served = served(&server, "one");
    served.run(&["catalogue", "init"]).code(0);
    // Every content twice, so that two runs bring the same ones.
    for number in 0..1500_u32 {
        let content = format!("content {}", number / 2).repeat(200);
        let _ = served
            .environment
            .write(format!("tree/{number}"), content.as_bytes());
    }
    let big = vec![7; 300_000];
    for number in 0..4 {
        let _ = served.environment.write(format!("tree/big{number}"), &big);
    }
    served.run(&["ingest", "--no-copy", "tree"]).code(3);
    let runs: Vec<Child> = (0..3)
        .map(|_| served.start(&["copy", "tree", "--workers", "1"]))
        .collect();
    for mut run in runs {
        assert_eq!(run.wait().expect("an end").code(), Some(0));
    }
    served.run(&["doctor"]).code(0);
    served.run(&["verify"]).code(0);
    served.run(&["restore", "tree", "out"]).code(0);
    served.run(&["restore", "--compare", "tree", "out"]).code(0);
    let contents = server.psql(
        "one",
        "SELECT count(*), count(DISTINCT r.ino) FROM result r WHERE r.state = 1",
    );
    assert_eq!(contents, "1504|1504");
    assert_eq!(server.psql("one", "SELECT count(*) FROM blob"), "751");
    let listed = served.run(&["worker", "list"]).code(0);
    assert_eq!(listed.lines().count(), 1, "all have ended: {listed}");
    let alone = prepared();
    alone.ntt(["ingest", "demo.img"]).code(0);
    alone.ntt(["worker", "stop", "1"]).code(1);
}

#[test]
fn a_host_finds_images_where_it_has_them() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let served = served(&server, "one");
    served.run(&["catalogue", "init"]).code(0);
    served.run(&["ingest", "--no-copy", "demo.img"]).code(3);
    let work = served.environment.work();
    let elsewhere = work.join("mounted");
    std::fs::create_dir(&elsewhere).expect("a folder");
    std::fs::rename(work.join("demo.img"), elsewhere.join("demo.img")).expect("moved");
    served.run(&["copy", "demo.img"]).code(1);
    let map = format!("{}={}", work.display(), elsewhere.display());
    let variables = [
        ("NTT_CATALOGUE", served.url.as_str()),
        ("NTT_PATH_MAP", map.as_str()),
    ];
    served
        .environment
        .ntt_with(&variables, ["copy", "demo.img"])
        .code(0);
    let image = served.run(&["--json", "medium", "show", "demo.img"]).code(0);
    assert!(!image.contains("mounted"), "the record stays as it was: {image}");
}

/// R37: what a catalogue calls stored lies in the store of its archive, and in no other.
#[test]
fn r37_a_catalogue_belongs_to_one_archive() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let first = served(&server, "one");
    first.run(&["catalogue", "init"]).code(0);
    first.run(&["ingest", "demo.img"]).code(0);
    let new = Served {
        environment: prepared(),
        url: first.url.clone(),
    };
    let said = new.run(&["ingest", "demo.img"]).stderr(10);
    assert!(said.contains("belongs to another"), "{said}");
    assert!(!new.environment.archive().exists(), "nothing was made");
    // One that has an archive, and names the wrong catalogue.
    new.environment.ntt(["ingest", "demo.img"]).code(0);
    for arguments in [
        &["ingest", "demo.img"][..],
        &["copy", "demo.img"],
        &["medium", "list"],
    ] {
        let said = new.run(arguments).stderr(10);
        assert!(
            said.contains("belongs to another archive"),
            "{arguments:?}: {said}"
        );
    }
    first.run(&["medium", "list"]).code(0);
    first.run(&["ingest", "demo.img"]).code(0);
}

/// R37, R28: an archive has one catalogue. A new one beside it would know a part of it only, and neither would tell of the other.
#[test]
fn r37_one_archive_is_not_split_between_two_catalogues() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let environment = prepared();
    environment.write("more/file", b"a second medium");
    environment.ntt(["ingest", "demo.img"]).code(0);
    let [new, moved] = ["new", "moved"].map(|name| server.create_database(name, None));
    let through = |url: &str, arguments: &[&str]| environment.ntt_with(&[("NTT_CATALOGUE", url)], arguments);
    through(&new, &["catalogue", "init"]).code(0);
    let commands = [
        &["ingest", "more"][..],
        &["copy", "demo.img"],
        &["medium", "list"],
    ];
    for arguments in commands {
        let said = through(&new, arguments).stderr(10);
        assert!(said.contains("knows none of the media"), "{arguments:?}: {said}");
    }

    let embedded = environment.archive().join("catalogue.db");
    let file = embedded.to_str().expect("a text");
    environment.ntt(["catalogue", "copy", file, &moved]).code(0);
    through(&moved, &["ingest", "more"]).code(0);
    let refuse_without_name = || {
        for arguments in commands
            .into_iter()
            .chain([&["doctor", "--rebuild-catalogue"][..]])
        {
            let said = environment.ntt(arguments).stderr(10);
            assert!(
                said.contains("in a PostgreSQL server, and none is named"),
                "{arguments:?}: {said}"
            );
        }
    };
    refuse_without_name();
    std::fs::remove_file(&embedded).expect("mine");
    refuse_without_name();

    environment.ntt(["catalogue", "copy", &moved, file]).code(0);
    refuse_without_name();
    std::fs::remove_file(environment.archive().join("archive-id")).expect("mine");
    let listed = environment.ntt(["medium", "list"]).code(0);
    assert!(listed.contains("demo.img") && listed.contains("more"), "{listed}");
    environment.ntt(["doctor"]).code(0);
}

#[test]
fn r39_a_server_that_is_away_is_told_and_the_run_goes_on_when_it_is_back() {
    let Some(mut server) = PostgresServer::start() else {
        return;
    };
    let served = served(&server, "one");
    served.run(&["catalogue", "init"]).code(0);
    served.run(&["ingest", "--no-copy", "demo.img"]).code(3);
    server.kill_9();
    let said = served.run(&["copy", "demo.img"]).stderr(10);
    assert!(said.contains("cannot be opened"), "{said}");
    server.restart().expect("a server");
    served.run(&["copy", "demo.img"]).code(0);
    served.run(&["doctor"]).code(0);
}

/// R3, R26, R42: psql answers as the program does, of copies of volumes, of what is excluded or deleted, and of what the store has lost.
#[test]
fn r42_views_say_what_the_program_says() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let served = served(&server, "one");
    served.run(&["catalogue", "init"]).code(0);
    let environment = &served.environment;
    environment.write("copy.img", &with_same_second_volume());
    environment.write("rules.toml", b"[[rule]]\nname = \"texts\"\nglob = \"*.txt\"\n");
    environment.write("tree/large", &crate::images::noise("large", 2_000_000));
    environment.write("tree/note.txt", b"excluded");
    environment.write("tree/kept", b"kept");
    let ingest = ["ingest", "--deleted", "demo.img", "copy.img"];
    served.run(&ingest).code(0);
    let ingest = [
        "ingest",
        "--rules",
        "rules.toml",
        "--pack-threshold",
        "64KiB",
        "tree",
    ];
    served.run(&ingest).code(0);
    let blobs = environment.archive().join("blobs");
    std::fs::remove_dir_all(&blobs).expect("mine");
    std::fs::create_dir(&blobs).expect("mine");
    served.run(&["verify"]).code(12);

    let exported = served.run(&["export", "--format", "jsonl", "--deleted", "--alternates"]);
    let mut exported: Vec<String> = exported
        .code(0)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|row: &serde_json::Value| row["stream"] == "")
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            let words = ["medium_name", "path", "state", "rule", "blob"].map(text);
            words.join("|")
        })
        .collect();
    let sql = "SELECT medium_name, path, result, excluded_by, blob FROM paths";
    let mut shown: Vec<String> = server.psql("one", sql).lines().map(str::to_owned).collect();
    exported.sort();
    shown.sort();
    assert_eq!(shown, exported);
    for wanted in ["copy.img|", "tree|note.txt|excluded|texts", "tree|large|corrupt|"] {
        assert!(
            shown.iter().any(|row| row.starts_with(wanted)),
            "{wanted}: {shown:#?}"
        );
    }
    let sql = "SELECT medium_name, corrupt_streams, waiting_streams FROM completeness ORDER BY 1";
    assert_eq!(server.psql("one", sql), "copy.img|1|0\ndemo.img|1|0\ntree|1|0");
    let sql = "SELECT medium_name, path FROM occurrences WHERE is_corrupt ORDER BY 1";
    assert_eq!(
        server.psql("one", sql),
        "copy.img|disk.sparse\ndemo.img|disk.sparse\ntree|large"
    );
}
