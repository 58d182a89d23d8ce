//! An archive on a file system that takes no changes is looked at and verified (R42, R44).

use std::process::Command;

use crate::environment::{Environment, Run};

/// Mounts the archive over itself, read-only, and runs a command.
const SCRIPT: &str = r#"mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@""#;

/// Runs `ntt` with the archive on a read-only file system; `None`, and a word on stderr, if nothing can be mounted here.
fn ntt(environment: &Environment, arguments: &[&str]) -> Option<Run> {
    let inner = environment.command(arguments);
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-c", SCRIPT])
        .arg(environment.archive())
        .arg(inner.get_program())
        .args(inner.get_args())
        .env_clear()
        .envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(environment.work());
    let run = Run::of(command);
    if run.everything().contains("unshare") || run.everything().contains("mount:") {
        eprintln!("skipped: nothing can be mounted here");
        return None;
    }
    Some(run)
}

#[test]
fn r42_an_archive_on_a_read_only_disk_is_verified() {
    let environment = Environment::new();
    environment.write("tree/file", b"content");
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    let Some(run) = ntt(&environment, &["verify"]) else {
        return;
    };
    let said = run.everything();
    assert!(said.contains("1 content good, 0 damaged"), "{said}");
    assert!(said.contains("nothing of this is recorded"), "{said}");
    let _ = run.code(0);
    let said = ntt(&environment, &["doctor"]).expect("it was mounted").code(0);
    assert!(
        said.contains("read-only file system") && !said.contains("ownership"),
        "{said}"
    );
    let said = ntt(&environment, &["verify", "--source", "tree"]).expect("it was mounted");
    assert!(said.stderr(1).contains("read-only file system"));

    let packs = std::fs::read_dir(environment.archive().join("packs")).expect("packs");
    for pack in packs {
        let path = pack.expect("a pack").path();
        let mut bytes = std::fs::read(&path).expect("mine");
        bytes[512] ^= 1;
        std::fs::remove_file(&path).expect("mine");
        std::fs::write(&path, bytes).expect("mine");
    }
    let said = ntt(&environment, &["verify"]).expect("it was mounted").code(12);
    assert!(said.contains("tree/1/file"), "{said}");
    let _ = environment.ntt(["where", "tree/1/file"]).code(0);
}
