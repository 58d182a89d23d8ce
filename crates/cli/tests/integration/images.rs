//! Disk images for the tests: the shipped one, and ones made by the programs that everybody makes them with.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ntt_testkit::corpus::have;

use crate::environment::Environment;

/// The bytes of the demonstration image that the repository ships.
pub(crate) fn demo() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test_data/demo.img.gz");
    let mut bytes = Vec::new();
    let packed = File::open(path).expect("the demonstration image");
    flate2::read::GzDecoder::new(packed)
        .read_to_end(&mut bytes)
        .expect("a gzip file");
    bytes
}

/// Byte ranges of the two partitions of [`demo`].
pub(crate) const DEMO_FAT: std::ops::Range<usize> = 2048 * 512..14336 * 512;
/// The ext4 partition.
pub(crate) const DEMO_EXT: std::ops::Range<usize> = 14336 * 512..30720 * 512;

/// Runs a program of the system (also from `/sbin`) and gives its stdout.
pub(crate) fn run<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Vec<u8> {
    let output = tool(program).args(arguments).output().expect("it can be started");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {}: {told}", output.status);
    output.stdout
}

/// Runs a program with `input` on its stdin.
pub(crate) fn feed<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>, input: &[u8]) {
    let mut child = tool(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it can be started");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input).expect("it reads its input");
    drop(stdin);
    assert!(child.wait().expect("it ends").success(), "{program}");
}

fn tool(program: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let path = std::env::join_paths(folders).expect("folders");
    // The search for the program uses the PATH of the command.
    let mut command = Command::new(program);
    command
        .env("PATH", path)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env("MTOOLS_SKIP_CHECK", "1")
        .stdin(Stdio::null());
    command
}

/// An ext4 image of `mebibytes` with what is in `tree`; `None` if mke2fs is not installed.
pub(crate) fn ext4(path: &Path, mebibytes: u64, tree: &Path) -> Option<PathBuf> {
    if !have("mke2fs") {
        return None;
    }
    sparse(path, mebibytes << 20);
    let options = [
        "-q",
        "-t",
        "ext4",
        "-b",
        "1024",
        "-E",
        "root_owner=0:0",
        "-F",
        "-d",
    ];
    let arguments = options.map(OsStr::new);
    run(
        "mke2fs",
        arguments.into_iter().chain([tree.as_os_str(), path.as_os_str()]),
    );
    Some(path.to_owned())
}

/// A FAT image of `mebibytes` with `files` in its root; `None` if the programs for it are not installed.
pub(crate) fn fat(path: &Path, mebibytes: u64, files: &[(&str, &[u8])]) -> Option<PathBuf> {
    if !have("mkfs.fat") || !have("mcopy") {
        return None;
    }
    sparse(path, mebibytes << 20);
    run("mkfs.fat", [path]);
    for (name, content) in files {
        let target = format!("::{name}");
        let arguments = [
            OsStr::new("-i"),
            path.as_os_str(),
            OsStr::new("-"),
            OsStr::new(&target),
        ];
        feed("mcopy", arguments, content);
    }
    Some(path.to_owned())
}

/// A file of `bytes` with nothing in it.
pub(crate) fn sparse(path: &Path, bytes: u64) {
    let file = File::create(path).expect("a new file");
    file.set_len(bytes).expect("a sparse file");
}

/// Writes `bytes` into a file at `offset`.
pub(crate) fn put(path: &Path, offset: u64, bytes: &[u8]) {
    let mut file = File::options().write(true).open(path).expect("a file");
    file.seek(SeekFrom::Start(offset)).expect("a place");
    file.write_all(bytes).expect("room");
}

/// Writes a partition table with `sfdisk`; false if it is not installed.
pub(crate) fn partition(path: &Path, script: &str) -> bool {
    if !have("sfdisk") {
        return false;
    }
    feed("sfdisk", [OsStr::new("-q"), path.as_os_str()], script.as_bytes());
    true
}

/// Bytes that no compressor shrinks and that are the same in every run.
pub(crate) fn noise(seed: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new_derive_key("ntt tests")
        .update(seed.as_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// A small tree with a bit of everything: contents of all sizes, a link, a hard link, an empty file, a hole.
pub(crate) fn write_tree(root: &Path, files: usize) {
    fs::create_dir_all(root.join("deep/deeper")).expect("directories");
    for number in 0..files {
        let folder = if number % 3 == 0 { "deep" } else { "deep/deeper" };
        let name = root.join(folder).join(format!("file {number}"));
        let len = [13, 900, 5_000, 70_000, 200_000][number % 5];
        fs::write(name, noise(&format!("file {number}"), len)).expect("a file");
    }
    fs::write(root.join("twice"), noise("file 1", 900)).expect("a file");
    fs::write(root.join("empty"), b"").expect("a file");
    fs::hard_link(root.join("twice"), root.join("deep/twice too")).expect("a hard link");
    std::os::unix::fs::symlink("deep/file 0", root.join("link")).expect("a link");
    let hole = root.join("hole");
    sparse(&hole, 8 << 20);
    put(&hole, 5_000_000, b"an island");
}

/// The bytes as a forensic image `disk.E01` of several files, chunk by chunk as they are; `None` where `ewfacquire` is missing.
pub(crate) fn ewf(environment: &Environment, bytes: &[u8]) -> Option<PathBuf> {
    if !have("ewfacquire") {
        return None;
    }
    environment.write("disk.raw", bytes);
    let made = Command::new("ewfacquire")
        .args([
            "-u", "-q", "-c", "none", "-d", "sha1", "-S", "10MiB", "-t", "disk", "disk.raw",
        ])
        .current_dir(environment.work())
        .output()
        .expect("a run");
    assert!(made.status.success(), "{made:?}");
    Some(environment.work().join("disk.E01"))
}
