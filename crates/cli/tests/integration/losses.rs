//! What cannot be read is said, counted and never called good (R11, R12, R14, R29, R32, R33).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use ntt_testkit::corpus::have;
use serde_json::Value;

use crate::environment::{Environment, Run};
use crate::images::{self, DEMO_EXT, noise};

/// R29: found = stored + damaged + excluded + failed + retryable + pending, in streams and in bytes.
fn assert_balance(census: &Value) {
    for unit in ["count", "bytes"] {
        let one = |name: &str| census[name][unit].as_u64().expect("a number");
        let many = |name: &str| -> u64 {
            let groups = census[name].as_array().expect("groups");
            groups
                .iter()
                .map(|group| group[1][unit].as_u64().expect("a number"))
                .sum()
        };
        let single: u64 = ["stored", "damaged", "retryable", "pending"]
            .map(one)
            .iter()
            .sum();
        assert_eq!(
            one("found"),
            single + many("excluded") + many("failed"),
            "{unit}: {census}"
        );
    }
}

fn volumes(summary: &Value) -> &Vec<Value> {
    summary["media"][0]["volumes"].as_array().expect("volumes")
}

/// Three files on a FAT image `disk.img` of which 1024 bytes in the middle of the second were never rescued.
struct PartlyRescued {
    files: Vec<(&'static str, Vec<u8>)>,
    /// The image as it would be if all were rescued.
    whole: Vec<u8>,
}

impl PartlyRescued {
    /// `None` where the image cannot be made.
    fn new(environment: &Environment) -> Option<Self> {
        let names = ["first.bin", "second.bin", "third.bin"];
        let files: Vec<_> = names.map(|name| (name, noise(name, 100_000))).into();
        let listed: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(name, content)| (*name, &content[..]))
            .collect();
        let path = images::fat(&environment.work().join("disk.img"), 8, &listed)?;
        let whole = fs::read(&path).expect("the image");
        let needle = &files[1].1[40_960..41_472];
        let mut places = whole.windows(512);
        let hole = places
            .position(|window| window == needle)
            .expect("the middle of a file");
        images::put(&path, hole as u64, &[0; 1024]);
        let (after, rest) = (hole + 1024, whole.len() - hole - 1024);
        let map = format!("0x0 + 1\n0x0 {hole:#x} +\n{hole:#x} 0x400 -\n{after:#x} {rest:#x} +\n");
        environment.write("disk.img.map", map.as_bytes());
        Some(Self { files, whole })
    }

    /// A later rescue gets the rest.
    fn rescue(&self, environment: &Environment) {
        environment.write("disk.img", &self.whole);
        let map = format!("0x0 + 1\n0x0 {:#x} +\n", self.whole.len());
        environment.write("disk.img.map", map.as_bytes());
    }
}

/// R11: a file whose bytes the imaging never rescued is damaged, with the ranges; the others are good.
#[test]
fn r11_a_mapfile_beside_the_image_marks_what_was_not_rescued() {
    let environment = Environment::new();
    let Some(PartlyRescued { files: tree, .. }) = PartlyRescued::new(&environment) else {
        return;
    };
    let inspected = environment.ntt(["inspect", "--json", "disk.img"]).document(3);
    assert_eq!(inspected["unread_bytes"], 1024);
    let shown = environment.ntt(["inspect", "disk.img"]).code(3);
    assert!(shown.contains("disk.img.map: 1.0 KiB never rescued"), "{shown}");

    let summary = environment.ntt(["ingest", "--json", "disk.img"]).summary(3);
    assert_eq!(summary["media"][0]["partial"], true);
    let census = &volumes(&summary)[0]["census"];
    assert_eq!(
        (&census["stored"]["count"], &census["damaged"]["count"]),
        (&2.into(), &1.into())
    );
    assert_balance(census);
    let damaged = environment.ntt(["find", "--json", "--state", "damaged"]).json(0);
    assert_eq!(damaged.len(), 1);
    assert_eq!(damaged[0]["path"]["text"], "second.bin");
    let shown = damaged[0]["content"].to_string();
    assert!(
        shown.contains("40960") && (shown.contains("1024") || shown.contains("41984")),
        "{shown}"
    );
    // Its bytes are there but for the hole, and the exit status says so.
    let mut expected = tree[1].1.clone();
    expected[40_960..41_984].fill(0);
    assert!(environment.ntt(["cat", "disk.img/1/second.bin"]).bytes(3) == expected);
    assert!(environment.ntt(["cat", "disk.img/1/third.bin"]).bytes(0) == tree[2].1);
    let said = environment.ntt(["restore", "disk.img", "out"]).code(3);
    assert!(said.contains("second.bin"), "{said}");
}

/// R3, R11, R33: what a better rescue brings completes the medium that is there, whether it is ingested again or retried.
#[test]
fn r33_a_better_rescue_completes_the_medium() {
    for command in [["ingest", "disk.img"], ["retry", "disk.img"]] {
        let environment = Environment::new();
        let Some(image) = PartlyRescued::new(&environment) else {
            return;
        };
        let _ = environment.ntt(["ingest", "disk.img"]).code(3);
        image.rescue(&environment);
        let said = environment.ntt(command).code(0);
        let list = environment.ntt(["medium", "list", "--json"]).document(0);
        let media = list["media"].as_array().expect("media");
        assert_eq!(media.len(), 1, "{command:?}: {said}");
        assert_eq!(media[0]["completeness"], "complete", "{command:?}: {said}");
        for (name, content) in &image.files {
            let path = format!("disk.img/1/{name}");
            assert!(
                environment.ntt(["cat", &path]).bytes(0) == *content,
                "{command:?}: {name}"
            );
        }
    }
}

/// R12: an image that ends before its tables do is incomplete; what lies before its end is read.
#[test]
fn r12_a_truncated_image_is_incomplete_and_read_to_its_end() {
    let environment = Environment::new();
    let demo = images::demo();
    environment.write("short.img", &demo[..DEMO_EXT.start + (2 << 20)]);
    let said = environment.ntt(["ingest", "short.img"]).code(3);
    assert!(said.contains("partial"), "{said}");
    let list = environment.ntt(["medium", "list", "--json"]).document(0);
    assert_ne!(list["media"][0]["completeness"], "complete");
    assert_eq!(
        environment.ntt(["cat", "short.img/1/todo.txt"]).bytes(0),
        b"buy floppies\n"
    );
    let shown = environment
        .ntt(["medium", "show", "--json", "short.img"])
        .document(0);
    assert!(shown["image"]["expected_bytes"].as_u64() > shown["image"]["size_bytes"].as_u64());
    for volume in shown["volumes_detail"].as_array().expect("volumes") {
        assert_balance(&volume["census"]);
    }
    let _ = environment.ntt(["inspect", "short.img"]).code(3);
}

/// R14: every partition is listed with its verdict, whatever its neighbours are.
#[test]
fn r14_every_partition_is_listed_whatever_it_holds() {
    let environment = Environment::new();
    let disk = environment.work().join("disk.img");
    images::sparse(&disk, 12 << 20);
    let script = "label: dos\nstart=2048, size=2048, type=82\nstart=4096, size=4096, type=83\nstart=8192, size=2048, type=83\n";
    if !images::partition(&disk, script) {
        return;
    }
    let mut swap = vec![0; 4096];
    swap[1024..1028].copy_from_slice(&1_u32.to_le_bytes());
    swap[1028..1032].copy_from_slice(&255_u32.to_le_bytes());
    swap[4086..].copy_from_slice(b"SWAPSPACE2");
    images::put(&disk, 2048 * 512, &swap);
    let mut luks = b"LUKS\xba\xbe\0\x01aes".to_vec();
    luks.resize(592, 0);
    images::put(&disk, 4096 * 512, &luks);
    images::put(&disk, 8192 * 512, &noise("garbage", 1 << 20));
    // A fourth entry that lies beyond the end: type, first sector and length at their places of the table.
    images::put(&disk, 446 + 3 * 16 + 4, &[0x83]);
    images::put(&disk, 446 + 3 * 16 + 8, &100_000_u32.to_le_bytes());
    images::put(&disk, 446 + 3 * 16 + 12, &2048_u32.to_le_bytes());

    let summary = environment.ntt(["ingest", "--json", "disk.img"]).summary(3);
    let listed: Vec<(&str, &str)> = volumes(&summary)
        .iter()
        .map(|volume| {
            (
                volume["verdict"].as_str().expect("a verdict"),
                volume["type_name"].as_str().expect("a type"),
            )
        })
        .collect();
    assert_eq!(listed.len(), 4, "{listed:?}");
    assert_eq!(listed[0], ("identified", "swap"));
    assert_eq!(listed[1], ("identified", "crypto_LUKS"), "{listed:?}");
    assert_eq!(listed[2].0, "unknown", "{listed:?}");
    assert!(listed[3].0.contains("beyond"), "{listed:?}");
    assert_eq!(summary["media"][0]["partial"], true);
    let _ = environment.ntt(["inspect", "disk.img"]).code(3);
}

/// Runs `ntt` as a user whom permissions bind.
pub(crate) fn as_nobody(environment: &Environment, arguments: &[&str]) -> Run {
    let inner = environment.command(arguments);
    if !rustix::process::geteuid().is_root() {
        return Run::of(inner);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    command.arg(inner.get_program()).args(inner.get_args());
    command
        .env_clear()
        .envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    command
        .current_dir(environment.work())
        .stdin(std::process::Stdio::null());
    Run::of(command)
}

/// R32, R33: a file that may not be read is given up after equal failures and not touched again, until a person says so.
#[test]
fn r33_an_unreadable_file_is_given_up_and_taken_on_a_retry() {
    if rustix::process::geteuid().is_root() && !have("setpriv") {
        return;
    }
    let environment = Environment::new();
    environment.open_to_all();
    environment.write("tree/open", b"for all");
    let locked = environment.write("tree/locked", b"for some");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).expect("mine");

    let summary = as_nobody(&environment, &["ingest", "--json", "tree"]).summary(3);
    let census = &volumes(&summary)[0]["census"];
    assert_eq!(census["stored"]["count"], 1);
    assert_eq!(census["failed"][0][0], "permission", "{census}");
    assert_balance(census);
    let failed = as_nobody(&environment, &["find", "--json", "--state", "failed"]).json(0);
    let attempts = failed[0]["content"]["attempts"].as_u64();
    assert_eq!(attempts, Some(3), "{failed:?}");
    let _ = as_nobody(&environment, &["copy", "--json", "tree"]).document(3);
    let again = as_nobody(&environment, &["find", "--json", "--state", "failed"]).json(0);
    assert_eq!(again[0]["content"]["attempts"].as_u64(), attempts, "not touched");

    fs::set_permissions(&locked, fs::Permissions::from_mode(0o644)).expect("mine");
    let planned = as_nobody(&environment, &["retry", "--dry-run", "tree"]).code(0);
    assert!(planned.contains("permission: 1 content"), "{planned}");
    let other = as_nobody(&environment, &["retry", "--class", "io", "tree"]).code(0);
    assert!(other.contains("nothing"), "{other}");
    let _ = as_nobody(&environment, &["retry", "tree"]).code(0);
    assert_eq!(
        as_nobody(&environment, &["cat", "tree/1/locked"]).bytes(0),
        b"for some"
    );
}

/// R33: what lies beyond the end of an image settles at once, and its attempts are counted over runs.
#[test]
fn r33_a_permanent_failure_settles_at_once_and_its_attempts_are_kept() {
    let environment = Environment::new();
    let content = noise("long", 3 << 20);
    let files: [(&str, &[u8]); 2] = [("a.bin", b"short"), ("long.bin", &content)];
    let Some(path) = images::fat(&environment.work().join("disk.img"), 8, &files) else {
        return;
    };
    let image = fs::read(&path).expect("the image");
    fs::write(&path, &image[..2 << 20]).expect("a shorter image");
    let summary = environment.ntt(["ingest", "--json", "disk.img"]).summary(3);
    assert_balance(&volumes(&summary)[0]["census"]);
    let rows = environment
        .ntt(["find", "--json", "--state", "failed,damaged"])
        .json(0);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["path"]["text"], "long.bin");
    if rows[0]["content"]["state"] == "failed" {
        assert_eq!(rows[0]["content"]["attempts"], 1);
        let _ = environment.ntt(["copy", "disk.img"]).code(3);
        let _ = environment.ntt(["retry", "disk.img"]).code(3);
        let rows = environment.ntt(["find", "--json", "--state", "failed"]).json(0);
        assert_eq!(rows[0]["content"]["attempts"], 2);
    }
}

/// A file that changes between scan and copy is told, and never stored under the old size.
#[test]
fn a_file_that_changes_underneath_is_a_finding() {
    let environment = Environment::new();
    let file = environment.write("tree/log", b"one line\n");
    environment.write("tree/gone", b"soon");
    environment.write("tree/quiet", b"the same");
    let _ = environment.ntt(["ingest", "--no-copy", "tree"]).code(3);
    fs::write(&file, b"one line\nand another\n").expect("mine");
    fs::remove_file(environment.work().join("tree/gone")).expect("mine");
    let _ = environment.ntt(["copy", "tree"]).code(3);
    let stored = environment.ntt(["find", "--json", "--state", "stored"]).json(0);
    assert_eq!(stored.len(), 1, "{stored:?}");
    assert_eq!(stored[0]["path"]["text"], "quiet");
    // A new scan sees what is there now.
    let _ = environment.ntt(["scan", "--again", "tree"]).code(0);
    let _ = environment.ntt(["copy", "tree"]).code(0);
    assert_eq!(
        environment.ntt(["cat", "tree/1/log"]).bytes(0),
        b"one line\nand another\n"
    );
    // What the superseded scan met is history, and no loss of today.
    let summary = environment.ntt(["ingest", "--json", "tree"]).summary(0);
    assert_eq!(summary["media"][0]["findings"][2], 0, "{summary}");
}
