//! Images of ext made on the fly, without root, and what referees say of them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ntt_filesystem::{Family, FileSystem, ScanOptions};
use ntt_testkit::corpus::have;
use ntt_testkit::listing::Listing;
use tempfile::TempDir;

/// An image in a temporary directory, and the tree that it was made from.
pub(crate) struct Image {
    dir: TempDir,
}

impl Image {
    /// Makes an image of `tree()` with `mke2fs` and these arguments; `None` if the tool is not installed.
    pub(crate) fn new(arguments: &[&str], size: &str, fill: impl FnOnce(&Path)) -> Option<Self> {
        (have("mke2fs") && have("debugfs")).then_some(())?;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let image = Self { dir };
        fs::create_dir(image.tree()).expect("a new directory");
        fill(&image.tree());
        let made = Command::new("mke2fs")
            .env("PATH", tool_path())
            .args([
                "-q",
                "-F",
                "-U",
                "0d1f2a3b-4c5d-4e6f-8a9b-0c1d2e3f4a5b",
                "-L",
                "corpus",
                "-d",
            ])
            .arg(image.tree())
            .args(arguments)
            .arg(image.path())
            .arg(size)
            .output()
            .expect("mke2fs runs");
        assert!(
            made.status.success(),
            "mke2fs: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        Some(image)
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    /// Runs `debugfs` commands that change the image.
    pub(crate) fn change(&self, commands: &str) {
        let script = self.dir.path().join("commands");
        fs::write(&script, commands).expect("a new file");
        let output = Command::new("debugfs")
            .env("PATH", tool_path())
            .arg("-w")
            .arg("-f")
            .arg(&script)
            .arg(self.path())
            .output()
            .expect("debugfs runs");
        assert!(output.status.success());
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).expect("the image")
    }
}

pub(crate) fn tool_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// A tree with what readers get wrong: odd names, links, holes, depth, long targets, many names.
pub(crate) fn odd_tree(tree: &Path) {
    let names: [&[u8]; 7] = [
        b"plain.txt",
        b"new\nline",
        b"back\\slash",
        b"\xe9\xff latin",
        "e\u{301} \u{e9} 日本 😀".as_bytes(),
        &[b'n'; 255],
        b" ",
    ];
    for (index, name) in names.iter().enumerate() {
        fs::write(tree.join(OsStr::from_bytes(name)), vec![b'a'; index * 1777]).expect("a file");
    }
    fs::hard_link(tree.join("plain.txt"), tree.join("second name")).expect("a link");
    symlink("short", tree.join("fast link")).expect("a link");
    symlink("l/".repeat(120), tree.join("slow link")).expect("a link");
    let deep = (0..40).fold(tree.to_owned(), |path, level| path.join(format!("level {level}")));
    fs::create_dir_all(&deep).expect("directories");
    fs::write(deep.join("bottom"), b"deep").expect("a file");
    fs::create_dir(tree.join("many")).expect("a directory");
    for index in 0..700 {
        fs::write(
            tree.join(format!("many/file number {index:05}")),
            format!("{index}"),
        )
        .expect("a file");
    }
    let big: Vec<u8> = (0..3_000_000_u32)
        .flat_map(|word| word.to_le_bytes())
        .take(9_000_000)
        .collect();
    fs::write(tree.join("big"), big).expect("a file");
    sparse(&tree.join("sparse"), 200 << 20);
}

/// A file of holes with three islands.
pub(crate) fn sparse(path: &Path, len: u64) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::create(path).expect("a file");
    file.set_len(len).expect("a length");
    for at in [0, len / 3, len - 5000] {
        file.write_all_at(&[b's'; 5000], at).expect("an island");
    }
}

/// Opens and scans bytes.
pub(crate) fn scan(bytes: Vec<u8>) -> (Listing, ntt_filesystem::Facts) {
    let file_system = open(bytes);
    (
        Listing::of(&*file_system, &ScanOptions::default()),
        file_system.facts().clone(),
    )
}

pub(crate) fn open(bytes: Vec<u8>) -> Box<dyn FileSystem> {
    ntt_filesystem::open(Family::Ext, Box::new(bytes), 0).expect("opens")
}

/// Allocated names that `fls -r -p` lists, raw.
pub(crate) fn fls(path: &Path) -> Option<BTreeSet<Vec<u8>>> {
    have("fls").then_some(())?;
    let output = Command::new("timeout")
        .args(["60", "fls", "-r", "-p", "-u", "-f", "ext4"])
        .arg(path)
        .stderr(Stdio::null())
        .output()
        .expect("fls runs");
    let lines = output.stdout.split(|byte| *byte == b'\n');
    Some(lines.filter_map(fls_name).collect())
}

/// `r/r 12:\tname`, but none of the referee's own entries.
fn fls_name(line: &[u8]) -> Option<Vec<u8>> {
    let tab = line.iter().position(|byte| *byte == b'\t')?;
    let (head, name) = (&line[..tab], &line[tab + 1..]);
    (!head.starts_with(b"V/") && !name.starts_with(b"$OrphanFiles") && !head.contains(&b'*'))
        .then(|| name.to_vec())
}
