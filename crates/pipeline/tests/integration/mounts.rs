//! File systems mounted in a directory source. Run inside a mount namespace of their own, which an ordinary user may make on most systems; skipped elsewhere.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use ntt_model::FindingCode;
use ntt_pipeline::ingest::{self, IngestRequest, IngestSummary};
use ntt_pipeline::scan::ScanSettings;
use ntt_pipeline::{RunOutcome, copy, scan};

use crate::world::World;

/// Says to the test program started inside the namespace that it is there.
const INSIDE: &str = "NTT_TEST_INSIDE_NAMESPACE";

/// Runs the test `name` of this program again as root of a mount namespace of its own. True if the caller is inside already.
fn inside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let namespace = || {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount"]);
        command
    };
    let tried = namespace()
        .args(["mount", "-t", "tmpfs", "none", "/mnt"])
        .output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        eprintln!("skipped: no user namespaces here");
        return false;
    }
    let program = std::env::current_exe().unwrap();
    let run = namespace()
        .arg(program)
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output();
    let run = run.unwrap();
    assert!(
        run.status.success(),
        "{}{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
    false
}

fn mount(arguments: &[&str], at: &std::path::Path) {
    assert!(
        Command::new("mount")
            .args(arguments)
            .arg(at)
            .status()
            .unwrap()
            .success()
    );
}

/// A tree with one file system in it, another one in that, and a single file of a third place. The first files of both have equal inode
/// numbers and different contents.
fn tree(world: &World) -> PathBuf {
    let root = world.dir.path().join("source");
    let outer = root.join("dir/a mount");
    fs::create_dir_all(&outer).unwrap();
    fs::write(root.join("own"), b"own").unwrap();
    fs::write(root.join("single"), b"hidden").unwrap();
    mount(&["-t", "tmpfs", "none"], &outer);
    fs::write(outer.join("file"), b"outer").unwrap();
    let inner = outer.join("inner");
    fs::create_dir(&inner).unwrap();
    mount(&["-t", "tmpfs", "none"], &inner);
    fs::write(inner.join("file"), b"inner").unwrap();
    root
}

fn ingest(world: &World, source: &std::path::Path, cross_file_systems: bool) -> IngestSummary {
    let request = IngestRequest {
        sources: vec![source.to_owned()],
        scan: ScanSettings {
            cross_file_systems,
            ..ScanSettings::default()
        },
        ..IngestRequest::default()
    };
    let summary = ingest::run(&world.context(), &request).unwrap();
    assert_eq!(summary.failures, []);
    summary
}

fn stored(summary: &IngestSummary) -> Vec<(String, u64, u64)> {
    let volumes = summary.media[0].volumes.iter();
    volumes
        .map(|volume| {
            let stored = volume.census.as_ref().unwrap().stored;
            (volume.label.clone(), stored.count, stored.bytes)
        })
        .collect()
}

/// R24: each mounted file system is a volume of its own, with its place, and equal inode numbers keep both contents.
#[test]
fn r24_mounted_file_systems_become_volumes() {
    if !inside("mounts::r24_mounted_file_systems_become_volumes") {
        return;
    }
    let world = World::new();
    let source = tree(&world);
    let summary = ingest(&world, &source, true);
    assert_eq!(summary.outcome, RunOutcome::Complete);
    let expected = [("", 2, 9), ("dir/a mount", 1, 5), ("dir/a mount/inner", 1, 5)];
    assert_eq!(
        stored(&summary),
        expected.map(|(name, count, bytes)| (name.to_owned(), count, bytes))
    );
    for content in [b"outer", b"inner"] {
        let hash = ntt_model::BlobHash::of(content);
        assert!(world.archive.store().contains(&hash).unwrap());
    }

    let again = ingest(&world, &source, true);
    assert_eq!(stored(&again), stored(&summary), "the same volumes, not new ones");
    assert_eq!(again.media[0].copied.bytes_read, 0);
}

/// R24: what was not asked for is not entered, and is told; asking later adds it.
#[test]
fn r24_mounted_file_systems_are_not_entered_unasked() {
    if !inside("mounts::r24_mounted_file_systems_are_not_entered_unasked") {
        return;
    }
    let world = World::new();
    let source = tree(&world);
    let summary = ingest(&world, &source, false);
    assert_eq!(stored(&summary), [(String::new(), 2, 9)]);
    let medium = world.archive.catalogue().media().unwrap().remove(0);
    let findings = world.archive.catalogue().findings(medium.key).unwrap();
    let codes: Vec<FindingCode> = findings.iter().map(|row| row.finding.code).collect();
    assert_eq!(codes, [FindingCode::OtherFileSystem]);

    assert_eq!(stored(&ingest(&world, &source, true)).len(), 3);
    let queue = copy::plan(&world.archive, &medium).unwrap();
    assert_eq!(queue.pending_streams(), 0);
    let unasked = scan::plan(&world.context(), &medium, None, ScanSettings::default()).unwrap();
    assert_eq!(unasked.skip.len(), 3);
}

/// R22, R24: a mounted file that is no directory is told as not read.
#[test]
fn r22_a_mounted_file_is_a_finding() {
    if !inside("mounts::r22_a_mounted_file_is_a_finding") {
        return;
    }
    let world = World::new();
    let source = tree(&world);
    let other = world.dir.path().join("other");
    fs::write(&other, b"other").unwrap();
    mount(&["--bind", other.to_str().unwrap()], &source.join("single"));
    let summary = ingest(&world, &source, true);
    assert_eq!(summary.outcome, RunOutcome::Losses);
    assert_eq!(stored(&summary).len(), 3);
    assert_eq!(summary.media[0].findings[2], 1);

    // R44: it is a loss as long as it stands there, once.
    assert_eq!(ingest(&world, &source, true).media[0].findings[2], 1);
    let unmounted = Command::new("umount")
        .arg(source.join("single"))
        .status()
        .unwrap();
    assert!(unmounted.success());
    let summary = ingest(&world, &source, true);
    assert_eq!(summary.media[0].findings[2], 0);
    assert_eq!(summary.outcome, RunOutcome::Complete);
}
