//! An archive on a file system that takes no changes, or of which this user may only read, is looked at and verified (R42, R44).

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use ntt_testkit::corpus::have;

use crate::environment::{Environment, Run, as_nobody};
use crate::images;

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
    assert!(
        said.contains("nothing of this is recorded") && said.contains("Read-only file system"),
        "{said}"
    );
    let _ = run.code(0);
    let said = ntt(&environment, &["doctor"]).expect("it was mounted").code(0);
    assert!(
        said.contains("read-only file system") && !said.contains("ownership"),
        "{said}"
    );

    damage_packs(&environment.archive());
    let said = ntt(&environment, &["verify"]).expect("it was mounted").code(12);
    assert!(said.contains("tree/1/file"), "{said}");
    let _ = environment.ntt(["where", "tree/1/file"]).code(0);
}

/// Changes the first content of every pack that has one.
pub(crate) fn damage_packs(archive: &Path) {
    for pack in std::fs::read_dir(archive.join("packs")).expect("packs") {
        let path = pack.expect("a pack").path();
        let mut bytes = std::fs::read(&path).expect("mine");
        let Some(first) = bytes.get_mut(512) else {
            continue;
        };
        *first ^= 1;
        std::fs::remove_file(&path).expect("mine");
        std::fs::write(&path, bytes).expect("mine");
    }
}

/// R42: who may only read an archive verifies it, and is told what it is and that nothing is recorded.
#[test]
fn r42_an_archive_that_this_user_may_only_read_is_verified_and_looked_at() {
    if rustix::process::geteuid().is_root() && !have("setpriv") {
        return;
    }
    let environment = Environment::new();
    environment.open_to_all();
    environment.write("tree/file", b"content");
    environment.write("disk.img", &images::demo());
    let _ = environment.ntt(["ingest", "tree", "disk.img"]).code(0);
    let close = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(environment.archive(), permissions).expect("mine");
    };
    // Of root's files others may only read anyway; who is not root shuts out himself.
    close(0o555);
    let run = as_nobody(&environment, &["verify"]);
    let said = run.everything();
    assert!(
        said.contains("contents good, 0 damaged") && said.contains("nothing of this is recorded"),
        "{said}"
    );
    let _ = run.code(0);
    let summary = as_nobody(&environment, &["verify", "--json", "tree"]).document(0);
    assert!(
        summary["unrecorded"].to_string().contains("Permission denied"),
        "{summary}"
    );
    let said = as_nobody(&environment, &["verify", "--source", "disk.img"]).code(0);
    assert!(said.contains("BLAKE3"), "{said}");
    let looks: [&[&str]; 8] = [
        &["doctor"],
        &["medium", "list"],
        &["medium", "show", "tree"],
        &["find", "file"],
        &["where", "tree/1/file"],
        &["cat", "tree/1/file"],
        &["export"],
        &["status"],
    ];
    for look in looks {
        let _ = as_nobody(&environment, look).code(0);
    }
    let said = as_nobody(&environment, &["restore", "tree", "out"]).everything();
    assert!(said.contains("restored"), "{said}");

    close(0o755);
    damage_packs(&environment.archive());
    close(0o555);
    let run = as_nobody(&environment, &["verify"]);
    let said = run.everything();
    assert!(
        said.contains("tree/1/file") && said.contains("nothing of this is recorded"),
        "{said}"
    );
    let _ = run.code(12);
    close(0o755);
    let said = environment.ntt(["where", "tree/1/file"]).code(0);
    assert!(!said.contains("damaged"), "{said}");
}
