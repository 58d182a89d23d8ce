//! FAT volumes made by `mkfs.fat` and mtools, and how tests run programs.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use ntt_filesystem::{FileSystem, ScanOptions, fat};
use ntt_model::BlobHash;
use ntt_testkit::corpus::have;
use tempfile::TempDir;

pub(crate) const FAT12: &[&str] = &["-F", "12", "1440"];
pub(crate) const FAT16: &[&str] = &["-F", "16", "-s", "1", "8192"];
pub(crate) const FAT32: &[&str] = &["-F", "32", "-s", "1", "40960"];

pub(crate) fn open(image: &[u8]) -> Box<dyn FileSystem + '_> {
    fat::open(Box::new(image.to_vec()), 0).expect("a FAT volume")
}

pub(crate) fn run(program: &str, arguments: &[&str], directory: &Path) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .env("MTOOLS_SKIP_CHECK", "1")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

pub(crate) fn deleted() -> ScanOptions {
    ScanOptions {
        deleted: true,
        ..ScanOptions::default()
    }
}

/// Bytes that differ from file to file and from place to place.
pub(crate) fn content(seed: u32, len: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    (0..len).map(|_| random(&mut state).to_le_bytes()[3]).collect()
}

pub(crate) fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// An image made by `mkfs.fat` and filled by mtools, with the content that every path must have.
pub(crate) struct Made {
    directory: TempDir,
    pub(crate) files: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Made {
    /// 24 files of which every third is deleted again, then two files that have to use the gaps; odd names; a deep folder.
    pub(crate) fn new(mkfs: &[&str]) -> Option<Self> {
        if !["mkfs.fat", "mcopy", "mmd", "mdel"]
            .iter()
            .all(|program| have(program))
        {
            return None;
        }
        let mut made = Self {
            directory: tempfile::tempdir().expect("a folder"),
            files: BTreeMap::new(),
        };
        run(
            "mkfs.fat",
            &[&["-n", "NTT TEST", "-i", "12ab34cd", "-C", "image"], mkfs].concat(),
            made.path(),
        );
        (0..24).for_each(|number| {
            made.put(
                &format!("FILE{number}.BIN"),
                &content(number, 700 * (1 + number as usize % 9)),
            );
        });
        for number in (0..24).step_by(3) {
            let name = format!("FILE{number}.BIN");
            run("mdel", &["-i", "image", &format!("::{name}")], made.path());
            made.files.remove(name.as_bytes());
        }
        made.search_from_the_start();
        made.put("fragmented one.bin", &content(100, 9000));
        made.put("Fragmented Two.bin", &content(101, 7001));
        made.put("EMPTY", b"");
        made.put("zażółć gęślą jaźń 日本.txt", b"unicode");
        made.put(&format!("{}.txt", "n".repeat(251)), b"long");
        made.put("trailing blank .a.b.c", b"dots");
        let mut folder = String::new();
        for name in ["Outer Folder", "INNER", "third level"] {
            folder = format!("{folder}{name}");
            run("mmd", &["-i", "image", &format!("::{folder}")], made.path());
            made.put(&format!("{folder}/file in {name}"), &content(7, 3000));
            folder.push('/');
        }
        Some(made)
    }

    /// Makes the next file go to the first free clusters: FAT32 remembers in FSInfo where it stopped.
    pub(crate) fn search_from_the_start(&self) {
        let mut image = self.image();
        if image[512..516] == *b"RRaA" {
            image[512 + 492..512 + 496].copy_from_slice(&2_u32.to_le_bytes());
            std::fs::write(self.path().join("image"), image).expect("written");
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn put(&mut self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path().join("staged"), bytes).expect("written");
        run(
            "mcopy",
            &["-i", "image", "staged", &format!("::{name}")],
            self.path(),
        );
        self.files.insert(name.as_bytes().to_vec(), bytes.to_vec());
    }

    pub(crate) fn image(&self) -> Vec<u8> {
        std::fs::read(self.path().join("image")).expect("read")
    }

    pub(crate) fn expected(&self) -> BTreeMap<Vec<u8>, BlobHash> {
        self.files
            .iter()
            .map(|(path, bytes)| (path.clone(), BlobHash::of(bytes)))
            .collect()
    }
}
