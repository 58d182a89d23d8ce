//! R34, R38, R39: what fails while many runs share a catalogue in a server: runs, loaders, the server, the way to it, its disk.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ntt_testkit::postgres::{PostgresServer, url};

use crate::crash::{random, seed};
use crate::images;
use crate::postgres::{Served, served};

/// Runs that work one medium off at the same time.
const RUNS: usize = 4;
/// Runs and servers killed in one test.
const KILLS: u64 = 16;
/// Every fourth kill is the server's.
const SERVER_EVERY: u64 = 4;
/// Nothing here takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(240);

/// Small files, of which 512 are a chunk, every content twice so that runs meet in it, and a few that are stored outside packs.
fn write_tree(served: &Served, small: u64) -> u64 {
    let big = 6;
    for number in 0..small {
        let content = format!("content {}", number / 2);
        let path = format!("tree/{}/{number}", number % 40);
        let _ = served.environment.write(path, content.as_bytes());
    }
    for number in 0..big {
        let content = images::noise(&format!("big {}", number / 2), 300_000);
        let _ = served.environment.write(format!("tree/big{number}"), &content);
    }
    small + big
}

/// Makes the leases of all workers that are alive run out, as a minute of silence would: of those that were killed, and of those that were not,
/// which must then find out by themselves.
fn let_leases_run_out(server: &PostgresServer) {
    server.psql(
        "one",
        "UPDATE worker SET seen = seen - 61000000000 WHERE NOT retired",
    );
}

fn wait(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("it is mine") {
            return status;
        }
        assert!(begun.elapsed() < PATIENCE, "a run does not end");
        sleep(Duration::from_millis(10));
    }
}

/// Everything is stored once, the catalogue agrees with itself and with the store, and what is restored is what was given.
fn assert_whole(served: &Served, server: &PostgresServer, files: u64) {
    served.run(&["doctor"]).code(0);
    served.run(&["verify"]).code(0);
    served.run(&["restore", "tree", "out"]).code(0);
    served.run(&["restore", "--compare", "tree", "out"]).code(0);
    let stored = server.psql(
        "one",
        "SELECT count(*), count(DISTINCT (r.ino, r.stream)) FROM result r JOIN blob b ON b.id = r.blob WHERE r.state = 1",
    );
    assert_eq!(stored, format!("{files}|{files}"));
    assert_eq!(
        server.psql("one", "SELECT count(*) FROM blob"),
        (files / 2).to_string()
    );
    let open = "SELECT count(*) FROM chunk WHERE state <> 2";
    assert_eq!(server.psql("one", open), "0", "every claim came back");
}

#[test]
fn r38_r39_runs_and_the_server_are_killed_in_a_loop_while_four_runs_drain() {
    let Some(mut server) = PostgresServer::start() else {
        return;
    };
    let served = served(&server, "one");
    served.run(&["catalogue", "init"]).code(0);
    let files = write_tree(&served, 6_000);
    served.run(&["ingest", "--no-copy", "tree"]).code(3);
    let (seed, mut killed) = (seed(), 0);
    let start = || served.start(&["copy", "tree", "--workers", "1"]);
    let mut runs: Vec<Child> = (0..RUNS).map(|_| start()).collect();
    for step in 0..KILLS {
        // The moment is the point of the test; nothing is expected to have happened by it.
        sleep(Duration::from_millis(random(seed, step, 400)));
        if step % SERVER_EVERY == SERVER_EVERY - 1 {
            server.kill_9();
            server.restart().expect("a server");
        } else {
            let victim = usize::try_from(random(seed, KILLS + step, 4)).expect("small");
            runs[victim].kill().expect("it is mine");
        }
        let_leases_run_out(&server);
        for run in &mut runs {
            if let Some(status) = run.try_wait().expect("it is mine") {
                // Killed, told that the server went away, or done.
                assert!(
                    matches!(status.code(), None | Some(0 | 3 | 10)),
                    "{status}; seed {seed}"
                );
                killed += u32::from(status.code().is_none());
                *run = start();
            }
        }
    }
    let_leases_run_out(&server);
    for run in &mut runs {
        let status = wait(run);
        killed += u32::from(status.code().is_none());
    }
    assert!(killed > 0, "no run lived long enough to be killed; seed {seed}");
    let_leases_run_out(&server);
    served.run(&["copy", "tree"]).code(0);
    assert_whole(&served, &server, files);
}

#[test]
fn r28_r38_killed_loaders_and_servers_leave_a_whole_scan_or_none() {
    let Some(mut server) = PostgresServer::start() else {
        return;
    };
    let served = served(&server, "one");
    served.run(&["catalogue", "init"]).code(0);
    served.run(&["ingest", "demo.img"]).code(0);
    let rows =
        "SELECT (SELECT count(*) FROM path), (SELECT count(*) FROM result), (SELECT max(id) FROM scan)";
    let others = server.psql("one", rows);
    write_tree(&served, 4_000);
    let begun = Instant::now();
    let seed = seed();
    for step in 0..8 {
        let mut run = served.start(&["ingest", "--no-copy", "tree"]);
        sleep(Duration::from_millis(random(seed, step, 700)));
        if step % SERVER_EVERY == SERVER_EVERY - 1 {
            server.kill_9();
            wait(&mut run);
            server.restart().expect("a server");
        } else {
            run.kill().expect("it is mine");
            wait(&mut run);
        }
        let scans = server.psql("one", "SELECT count(*) FROM scan");
        let leaves = "SELECT count(*) FROM pg_class WHERE relname ~ '^(dir|path|label|inode|stream|result)_[0-9]+$' AND relkind = 'r'";
        while server.psql("one", leaves) != (6 * scans.parse::<u32>().expect("a number")).to_string() {
            // The server undoes what a killed client began as soon as it notices.
            assert!(begun.elapsed() < PATIENCE, "leaves without a scan; seed {seed}");
            sleep(Duration::from_millis(20));
        }
    }
    served.run(&["ingest", "--no-copy", "tree"]).code(3);
    served.run(&["doctor"]).code(0);
    let now = "SELECT (SELECT count(*) FROM path p JOIN scan s ON s.id = p.scan JOIN volume v ON v.id = s.volume WHERE v.medium = 1)";
    assert_eq!(
        server.psql("one", now),
        others.split('|').next().unwrap_or_default(),
        "R28"
    );
}

/// A run that cannot reach the server for longer than its lease goes on copying, and learns at the end that others did its work.
#[test]
fn r38_the_late_completion_of_a_run_that_was_cut_off_is_refused() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let served = served(&server, "one");
    served.run(&["catalogue", "init"]).code(0);
    let files = write_tree(&served, 4_000);
    served.run(&["ingest", "--no-copy", "tree"]).code(3);
    let way = server.partition();
    let far = url(&way.folder(), "one");
    let copy = ["--json", "copy", "tree", "--workers", "1"];
    let mut command = served.environment.command(copy);
    command.envs([("NTT_CATALOGUE", far.as_str()), ("NTT_LOG", "warn")]);
    let told = served.environment.work().join("told");
    let file = std::fs::File::create(&told).expect("a file");
    command.stdout(file).stderr(Stdio::piped());
    let mut cut_off = command.spawn().expect("a process");
    let begun = Instant::now();
    while server.psql("one", "SELECT count(*) FROM chunk WHERE state = 1") == "0" {
        assert!(begun.elapsed() < PATIENCE, "nothing was leased");
    }
    way.cut();
    let held = server.psql("one", "SELECT count(*) FROM chunk WHERE state = 1");
    let_leases_run_out(&server);
    let summary = served.run(&copy).document(0);
    let counted = "SELECT count(*), sum((failure).attempts) FROM result";
    let before = server.psql("one", counted);
    way.mend();
    let mut said = String::new();
    let mut stderr = cut_off.stderr.take().expect("a pipe");
    stderr.read_to_string(&mut said).expect("text");
    let status = wait(&mut cut_off);
    assert_ne!(held, "0");
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("leases were lost"), "{said}");
    let told = std::fs::read_to_string(&told).expect("text");
    let documents = serde_json::Deserializer::from_str(&told).into_iter::<serde_json::Value>();
    let late = documents.last().expect("a summary").expect("JSON");
    let both = [&summary, &late].map(|summary| summary["stored_streams"].as_u64().expect("a number"));
    assert_eq!(
        both.iter().sum::<u64>(),
        files,
        "R44: of a content only one run says that it stored it, {both:?}"
    );
    assert_eq!(server.psql("one", counted), before, "nothing was recorded twice");
    assert_whole(&served, &server, files);
}

/// `ntt copy` in a mount namespace of its own, in which the archive and the tree stand in other places than for everybody else.
fn on_a_host_of_its_own(served: &Served, host: &str) -> Option<Command> {
    let here = served.environment.work().join(host);
    let script = "mount --bind \"$1\" \"$3\" && mount --bind \"$2\" \"$4\" && mount -t tmpfs hidden \"$1\" && mount -t tmpfs hidden \"$2\" && \
                  shift 4 && exec \"$@\"";
    let unshare = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "--propagation", "private"]);
        command.args(arguments).stdout(Stdio::null());
        command
    };
    let possible = unshare(&["mount", "-t", "tmpfs", "try", "/mnt"])
        .stderr(Stdio::null())
        .status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this machine makes no mount namespaces");
        return None;
    }
    let (archive, tree) = (here.join("archive"), here.join("tree"));
    for folder in [&archive, &tree] {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    let work = served.environment.work();
    let ntt = served.environment.command(["copy", "tree", "--workers", "1"]);
    let mut command = unshare(&["sh", "-c", script, "sh"]);
    command
        .args([&served.environment.archive(), &work.join("tree"), &archive, &tree])
        .arg(ntt.get_program())
        .args(ntt.get_args())
        .env_clear()
        .envs(ntt.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("NTT_CATALOGUE", &served.url)
        .env("NTT_ARCHIVE", &archive)
        .env(
            "NTT_PATH_MAP",
            format!("{}={}", work.join("tree").display(), tree.display()),
        )
        .current_dir("/");
    Some(command)
}

#[test]
fn r36_two_hosts_with_mounts_of_their_own_store_the_same_contents_at_once() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let served = served(&server, "one");
    let hosts = ["host1", "host2"].map(|host| on_a_host_of_its_own(&served, host));
    let [Some(first), Some(second)] = hosts else {
        return;
    };
    served.run(&["catalogue", "init"]).code(0);
    let files = write_tree(&served, 3_000);
    served.run(&["ingest", "--no-copy", "tree"]).code(3);
    let mut runs = [first, second].map(|mut host| host.spawn().expect("a process"));
    for run in &mut runs {
        assert_eq!(wait(run).code(), Some(0));
    }
    let workers = server.psql("one", "SELECT count(*) FROM worker WHERE done_streams > 0");
    assert_eq!(workers, "2", "both had a part in it");
    assert_whole(&served, &server, files);
}

/// A folder with room for little, as the place of a database.
struct FullDisk<'p>(&'p Path);

impl Drop for FullDisk<'_> {
    fn drop(&mut self) {
        // What is left mounted shows in the next line of the test that fails.
        let _ = Command::new("umount").args(["-l"]).arg(self.0).status();
    }
}

#[test]
fn r39_a_server_whose_disk_is_full_is_told_and_the_run_goes_on_when_there_is_room() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make a small file system");
        return;
    }
    let place = server.folder().join("small");
    std::fs::create_dir(&place).expect("a folder");
    let mounted = Command::new("mount")
        .args([
            "-t",
            "tmpfs",
            "-o",
            "size=32m,mode=0700,uid=65534,gid=65534",
            "ntt-test",
        ])
        .arg(&place)
        .stderr(Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this machine does not let root mount a file system");
        return;
    }
    // The server goes first: what it has open keeps the place busy.
    let (server, _disk) = (server, FullDisk(&place));
    server.psql(
        "postgres",
        &format!("CREATE TABLESPACE small LOCATION '{}'", place.display()),
    );
    server.psql("postgres", "CREATE DATABASE one TABLESPACE small");
    let served = served_at(&server);
    served.run(&["catalogue", "init"]).code(0);
    let files = write_tree(&served, 1_000);
    let ballast = place.join("ballast");
    let free = rustix::fs::statvfs(&place).expect("a file system");
    let bytes = free
        .f_bavail
        .saturating_mul(free.f_bsize)
        .saturating_sub(256 << 10);
    std::fs::write(&ballast, vec![0; usize::try_from(bytes).expect("small")]).expect("room");
    let said = served.run(&["ingest", "tree"]).stderr(10);
    assert!(said.contains("No space left on device"), "{said}");
    std::fs::remove_file(&ballast).expect("it is mine");
    served.run(&["ingest", "tree"]).code(0);
    assert_whole(&served, &server, files);
}

/// In the database `one`, which is there.
fn served_at(server: &PostgresServer) -> Served {
    Served {
        environment: crate::postgres::prepared(),
        url: server.url("one"),
    }
}

/// A pooler gives every transaction another connection: nothing may live in a session.
#[test]
fn runs_behind_a_pooler_do_the_same() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let Some(pooler) = server.pooler() else { return };
    let _ = server.create_database("one", None);
    let served = Served {
        environment: crate::postgres::prepared(),
        url: pooler.url("one"),
    };
    served.run(&["catalogue", "init"]).code(0);
    served.run(&["ingest", "demo.img"]).code(0);
    let others: u64 = server
        .psql("one", "SELECT count(*) FROM blob")
        .parse()
        .expect("a number");
    let files = write_tree(&served, 3_000);
    served.run(&["ingest", "--no-copy", "tree"]).code(3);
    let mut runs: Vec<Child> = (0..RUNS)
        .map(|_| served.start(&["copy", "tree", "--workers", "2"]))
        .collect();
    for run in &mut runs {
        assert_eq!(wait(run).code(), Some(0));
    }
    served.run(&["doctor"]).code(0);
    served.run(&["verify"]).code(0);
    served.run(&["restore", "tree", "out"]).code(0);
    served.run(&["restore", "--compare", "tree", "out"]).code(0);
    let blobs = server.psql("one", "SELECT count(*) FROM blob");
    assert_eq!(blobs, (files / 2 + others).to_string());
}
