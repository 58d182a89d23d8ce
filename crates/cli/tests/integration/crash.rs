//! R38, R39: whatever ends a run, the next one goes on, and the archive is what an undisturbed run makes.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::environment::{Contents, Environment};
use crate::{images, trees};

const KILLS: u64 = 12;

/// A directory, and an ext4 image of it where mke2fs is installed.
fn sources(environment: &Environment, files: usize) -> Vec<&'static str> {
    let tree = environment.work().join("tree");
    images::write_tree(&tree, files);
    match images::ext4(&environment.work().join("disk.img"), 64, &tree) {
        Some(_) => vec!["tree", "disk.img"],
        None => vec!["tree"],
    }
}

fn ingest(environment: &Environment, sources: &[&str]) -> std::process::Command {
    let mut command = environment.command(["ingest", "--json"].iter().chain(sources));
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// What an archive holds, in a form that does not depend on when and in what order it came there.
fn state(environment: &Environment, sources: &[&str]) -> Vec<(Contents, serde_json::Value)> {
    sources
        .iter()
        .map(|source| {
            let mut shown = environment.ntt(["medium", "show", "--json", source]).document(0);
            let volumes = shown["volumes_detail"].as_array_mut().expect("volumes");
            let censuses = volumes.iter_mut().map(|volume| volume["census"].take()).collect();
            (environment.contents(source), censuses)
        })
        .collect()
}

fn assert_sound(environment: &Environment) {
    let report = environment.ntt(["doctor", "--json"]).document(0);
    assert_eq!(report["agreement"]["missing"], 0, "{report}");
    assert_eq!(report["agreement"]["orphans"], 0, "{report}");
    let _ = environment.ntt(["verify"]).code(0);
}

/// A seed for the moments of the kills: another in every run, printed, and settable.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("NTT_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        u64::from(now.expect("a clock").subsec_nanos())
    });
    eprintln!("NTT_SEED={seed}");
    seed
}

/// Number `step` of the pseudo-random numbers of a seed, below `end`.
pub(crate) fn random(seed: u64, step: u64, end: u64) -> u64 {
    let hash = blake3::hash(&[seed.to_le_bytes(), step.to_le_bytes()].concat());
    let (first, _) = hash.as_bytes().split_first_chunk().expect("32 bytes");
    u64::from_le_bytes(*first) % end
}

#[test]
fn r38_kill_9_in_a_loop_and_the_archive_converges() {
    let undisturbed = Environment::new();
    let names = sources(&undisturbed, 120);
    let begun = std::time::Instant::now();
    let _ = undisturbed.ntt(["ingest"].iter().chain(&names)).code(0);
    let whole = u64::try_from(begun.elapsed().as_millis()).expect("short");
    let expected = state(&undisturbed, &names);

    let environment = Environment::new();
    assert_eq!(sources(&environment, 120), names);
    let seed = seed();
    let mut killed = 0;
    for step in 0..KILLS {
        let mut child = ingest(&environment, &names)
            .stdout(Stdio::null())
            .spawn()
            .expect("ntt can be started");
        // The moment is the point of the test; nothing is expected to have happened by it.
        std::thread::sleep(Duration::from_millis(random(seed, step, whole)));
        child.kill().expect("it is mine");
        let status = child.wait().expect("it ends");
        killed += u64::from(status.signal() == Some(9));
    }
    assert!(killed > 0, "no run lived long enough to be killed; seed {seed}");
    let _ = environment.ntt(["ingest"].iter().chain(&names)).code(0);
    assert!(state(&environment, &names) == expected, "seed {seed}");
    assert_sound(&environment);
}

/// A run that has said that its copy began, and is still running.
fn start_copying(environment: &Environment, sources: &[&str]) -> Child {
    let mut child = ingest(environment, sources).spawn().expect("ntt can be started");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let begun = lines.find(|line| {
        let line = line.as_ref().expect("text");
        line.contains("stage-started") && line.contains("\"copy\"")
    });
    assert!(begun.is_some(), "the copy never began");
    // Reads the rest, so that the run does not end for want of a reader.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let id = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .expect("a process");
    rustix::process::kill_process(id, signal).expect("it is mine");
}

/// A directory that takes long enough to copy to be met in the middle.
fn long_source(environment: &Environment) -> PathBuf {
    let tree = environment.work().join("tree");
    std::fs::create_dir(&tree).expect("a new directory");
    for number in 0..48 {
        let content = images::noise(&format!("long {number}"), 2 << 20);
        std::fs::write(tree.join(format!("{number}")), content).expect("a new file");
    }
    tree
}

#[test]
fn ctrl_c_leaves_a_state_that_can_be_resumed() {
    let environment = Environment::new();
    let tree = long_source(&environment);
    let mut child = start_copying(&environment, &["tree"]);
    signal(&child, rustix::process::Signal::INT);
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(130));
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    let _ = environment.ntt(["restore", "tree", "out"]).code(0);
    assert!(trees::contents(&environment.work().join("out")) == trees::contents(&tree));
    assert_sound(&environment);
}

#[test]
fn ctrl_c_says_how_to_go_on() {
    let environment = Environment::new();
    long_source(&environment);
    let mut command = environment.command(["ingest", "tree"]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ntt can be started");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let scanned = lines.find(|line| line.as_ref().expect("text").starts_with("scan"));
    assert!(scanned.is_some(), "the scan never ended");
    signal(&child, rustix::process::Signal::INT);
    let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{rest:?}");
    assert!(
        rest.iter()
            .any(|line| line.contains("run the same command again")),
        "{rest:?}"
    );
}

#[test]
fn a_second_run_is_told_that_the_archive_is_held() {
    let environment = Environment::new();
    long_source(&environment);
    let mut child = start_copying(&environment, &["tree"]);
    signal(&child, rustix::process::Signal::STOP);
    let error = environment.ntt(["ingest", "tree"]).stderr(11);
    assert!(error.contains("hint"), "{error}");
    // Looking goes on beside it.
    let _ = environment.ntt(["status"]).code(0);
    let _ = environment.ntt(["medium", "list"]).code(0);
    signal(&child, rustix::process::Signal::CONT);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

/// A file system of a few MiB mounted for a test, unmounted when dropped.
struct Small(PathBuf);

impl Small {
    fn mount(environment: &Environment, mebibytes: u32) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can make a small file system");
            return None;
        }
        let place = environment.work().join("small");
        std::fs::create_dir(&place).expect("a new directory");
        let size = format!("size={mebibytes}m");
        let mut mount = std::process::Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &size, "ntt-test"])
            .arg(&place)
            .stderr(Stdio::null());
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Self(place));
        }
        eprintln!("skipped: this machine does not let root mount a file system");
        None
    }

    fn grow(&self, mebibytes: u32) {
        let option = format!("remount,size={mebibytes}m");
        images::run("mount", ["-o".as_ref(), option.as_ref(), self.0.as_os_str()]);
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // What is left mounted shows in the next line of the test that fails.
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

/// R39: a full disk stops the run cleanly; with room again it goes on, and nothing half-written stands under a real name.
#[test]
fn r39_a_full_disk_stops_the_run_and_room_lets_it_go_on() {
    let environment = Environment::new();
    let Some(small) = Small::mount(&environment, 24) else {
        return;
    };
    let tree = long_source(&environment);
    let archive = small.0.join("archive");
    let ntt = |arguments: &[&str]| {
        let place = archive.to_str().expect("a plain path");
        environment.ntt_with(&[("NTT_ARCHIVE", place)], arguments)
    };
    let full = ntt(&["ingest", "tree"]);
    let said = full.everything();
    assert!(matches!(full.exit(), Some(1 | 10)), "{said}");
    assert!(
        said.to_lowercase().contains("no space left") || said.to_lowercase().contains("full"),
        "{said}"
    );
    assert!(!said.contains("panicked"), "{said}");
    small.grow(256);
    let _ = ntt(&["verify"]).code(0);
    let _ = ntt(&["ingest", "tree"]).code(0);
    let _ = ntt(&["verify"]).code(0);
    let report = ntt(&["doctor", "--json"]).document(0);
    assert_eq!(report["agreement"]["orphans"], 0, "{report}");
    let out = environment.work().join("out");
    let _ = ntt(&["restore", "tree", "out"]).code(0);
    assert!(trees::contents(&out) == trees::contents(&tree));
}

/// R39, R42: what an archive holds is verified and told although its disk has no room for a word about it.
#[test]
fn r39_an_archive_on_a_full_disk_is_verified() {
    let environment = Environment::new();
    let Some(small) = Small::mount(&environment, 24) else {
        return;
    };
    images::write_tree(&environment.work().join("tree"), 200);
    let archive = small.0.join("archive");
    let place = archive.to_str().expect("a plain path").to_owned();
    let ntt = |arguments: &[&str]| environment.ntt_with(&[("NTT_ARCHIVE", &place)], arguments);
    let _ = ntt(&["ingest", "tree"]).code(0);
    let filler = small.0.join("filler");
    let fill = || {
        let mut file = std::fs::File::create(&filler).expect("a file");
        let error = std::io::copy(&mut std::io::repeat(7), &mut file).expect_err("it is full");
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    };
    // What comes back by itself where there is room.
    for name in ["catalogue.db-wal", "catalogue.db-shm"] {
        std::fs::remove_file(archive.join(name)).expect("mine");
    }
    fill();
    let run = ntt(&["verify"]);
    let said = run.everything();
    assert!(said.contains("contents good, 0 damaged"), "{said}");
    assert!(
        said.contains("of this is recorded") && said.contains("No space left"),
        "{said}"
    );
    let _ = run.code(10);
    let lines = ntt(&["verify", "--json"]).json(10);
    let summary = lines.iter().find(|line| line["message_type"] == "verify-summary");
    let summary = summary.expect("a summary");
    assert!(summary["unrecorded"].is_string(), "{summary}");
    for look in [&["doctor"][..], &["medium", "list"], &["find", ""], &["export"]] {
        let _ = ntt(look).code(0);
    }

    std::fs::remove_file(&filler).expect("mine");
    crate::read_only_disk::damage_packs(&archive);
    fill();
    let run = ntt(&["verify"]);
    let said = run.everything();
    assert!(
        said.contains("tree/1/") && said.contains("of this is recorded"),
        "{said}"
    );
    let _ = run.code(12);

    std::fs::remove_file(&filler).expect("mine");
    let run = ntt(&["verify"]);
    assert!(!run.everything().contains("of this is recorded"));
    let _ = run.code(12);
}
