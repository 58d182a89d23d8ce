//! What the system counts of a copy: bytes that the program and its children read, from sources, archive and everything else.

use std::fs;
use std::process::Command;

use crate::environment::Environment;
use crate::images;

const FILES: usize = 24;
const FILE_BYTES: usize = 1_000_000;

/// Bytes that the system gave to `ntt` with these arguments, and to all that it started.
fn read_bytes(environment: &Environment, arguments: &[&str]) -> u64 {
    let ntt = environment.command(arguments);
    let mut shell = Command::new("sh");
    // A process inherits the counts of the children that it waited for.
    shell
        .args(["-c", "\"$0\" \"$@\" > copied && cat /proc/$$/io"])
        .arg(ntt.get_program())
        .args(ntt.get_args())
        .env_clear()
        .envs(ntt.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(environment.work());
    let output = shell.output().expect("a shell");
    assert!(output.status.success(), "{output:?}");
    let counts = String::from_utf8(output.stdout).expect("text");
    let read = counts.lines().find_map(|line| line.strip_prefix("rchar: "));
    read.expect("a count").parse().expect("a number")
}

/// Copies what a scan of `source` left in the queue, and looks at what was read for it.
fn check_copy(environment: &Environment, source: &str) {
    let _ = environment.ntt(["ingest", "--no-copy", source]).code(3);
    let read = read_bytes(environment, &["-q", "copy", source]);
    let all = (FILES * FILE_BYTES) as u64;
    assert!(read >= all, "{read} of {all} bytes");
    // The catalogue's pages, the program's own libraries and the like: a twentieth of what a second look would cost.
    assert!(read < all + all / 20, "{read} bytes for {all}");
    let verified = read_bytes(environment, &["-q", "verify", source]);
    assert!(verified >= all, "{verified}: what was copied is read back");
}

/// R35: a source is read once, hashed, recognised and stored in that pass. The system counted it.
#[test]
fn r35_every_byte_of_a_source_is_read_once() {
    let environment = Environment::new();
    let tree = environment.work().join("tree");
    fs::create_dir(&tree).expect("a new directory");
    for number in 0..FILES {
        let content = images::noise(&number.to_string(), FILE_BYTES);
        fs::write(tree.join(number.to_string()), content).expect("a new file");
    }
    check_copy(&environment, "tree");
    // Of the disk only the copy is looked at: a scan reads what names and inodes lie in.
    if images::ext4(&environment.work().join("disk.img"), 48, &tree).is_some() {
        let other = Environment::new();
        fs::rename(environment.work().join("disk.img"), other.work().join("disk.img")).expect("moved");
        check_copy(&other, "disk.img");
    }
}
