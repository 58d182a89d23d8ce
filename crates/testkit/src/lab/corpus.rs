//! A tree of files with everything that readers get wrong, from a fixed seed, with the truth about it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ntt_host::Random;
use rustix::fs::{AtFlags, CWD, FileType, Timespec, Timestamps, mknodat, utimensat};

use crate::lab::tree::{Entry, Tree};
use crate::sim_disk::SeededRandom;

/// How many files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// About 300 entries, 1 MB: for damage, where every image is read hundreds of times.
    Small,
    /// About 2,100 entries, 16 MB of content and a sparse file of 20 MB (some referees fail on holes that are longer than the image): for comparison.
    Full,
}

/// What the format that the tree is meant for can hold, and which files are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// How many files.
    pub size: Size,
    /// Names may be any bytes (0xE9 0xFF, newline, backslash), as in ext.
    pub byte_names: bool,
    /// Names may hold any Unicode; else printable ASCII only.
    pub unicode_names: bool,
    /// The longest name: bytes of UTF-8, or characters where the tree's longest names are ASCII anyway.
    pub name_max: usize,
    /// Hard links.
    pub hard_links: bool,
    /// Symbolic links.
    pub symlinks: bool,
    /// A named pipe.
    pub fifo: bool,
    /// Files with holes; left out where a hole would be written out as zeros.
    pub sparse: bool,
    /// Names that differ in case only.
    pub case_sensitive: bool,
}

impl Spec {
    /// Everything: ext, XFS, btrfs, UFS and their like.
    pub const fn posix(size: Size) -> Self {
        Self {
            size,
            byte_names: true,
            unicode_names: true,
            name_max: 255,
            hard_links: true,
            symlinks: true,
            fifo: true,
            sparse: true,
            case_sensitive: true,
        }
    }

    /// Plain files and directories with Windows names: FAT, exFAT.
    pub const fn windows(size: Size) -> Self {
        Self {
            size,
            byte_names: false,
            unicode_names: true,
            name_max: 255,
            hard_links: false,
            symlinks: false,
            fifo: false,
            sparse: false,
            case_sensitive: false,
        }
    }
}

/// The time of the first entry: 2001-09-09T01:46:40Z. Every further one is 2 s later, which FAT can keep too.
const FIRST_TIME: i64 = 1_000_000_000;
const SEED: u64 = 0x6e74_7432;

/// Fills an empty folder (of the host, or of a mounted volume) and tells what it then holds.
///
/// On a mounted volume the order of writing and deleting fragments files and leaves deleted neighbours; elsewhere it does no harm.
///
/// # Panics
///
/// If anything cannot be written.
pub fn fill(root: &Path, spec: &Spec) -> Tree {
    let mut maker = Maker {
        root,
        spec,
        random: SeededRandom::new(SEED),
        made: Vec::new(),
    };
    maker.bulk();
    maker.sizes();
    maker.names();
    maker.deep();
    maker.fragmented();
    maker.links();
    maker.date();
    Tree::of_folder(root)
}

struct Maker<'a> {
    root: &'a Path,
    spec: &'a Spec,
    random: SeededRandom,
    /// Everything that has a date of its own, in the order of making.
    made: Vec<PathBuf>,
}

impl Maker<'_> {
    fn directory(&mut self, path: &str) {
        fs::create_dir(self.root.join(path)).expect("a new folder");
        self.made.push(self.root.join(path));
    }

    fn file(&mut self, path: impl AsRef<Path>, content: &[u8]) {
        let path = self.root.join(path);
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.made.push(path);
    }

    /// Content that no other file has. Every third one can be compressed.
    fn content(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.random.fill(&mut bytes).expect("always");
        if self.random.below(3) == 0 {
            let text = format!(
                "{:016x} the quick brown fox jumps over the lazy dog\n",
                self.random.next()
            );
            let repeated = text.bytes().cycle();
            bytes
                .iter_mut()
                .zip(repeated)
                .for_each(|(byte, letter)| *byte = letter);
        }
        bytes
    }

    /// A length of any magnitude up to `max`, small ones as often as great ones.
    fn log_size(&self, max: usize) -> usize {
        let bits = self
            .random
            .below(usize::try_from(max.ilog2()).expect("small") + 1);
        1 + self.random.below(1 << bits)
    }

    /// Many files of all lengths in 41 directories, and 500 in one.
    fn bulk(&mut self) {
        let (files, directories, many, max) = match self.spec.size {
            Size::Small => (120, 10, 100, 1 << 14),
            Size::Full => (1500, 40, 500, 1 << 17),
        };
        self.directory("bulk");
        (0..directories).for_each(|number| self.directory(&format!("bulk/directory {number}")));
        for number in 0..files {
            let content = self.content(self.log_size(max));
            self.file(
                format!("bulk/directory {}/file {number}.dat", number % directories),
                &content,
            );
        }
        self.directory("many");
        for number in 0..many {
            let content = self.content(20 + number % 90);
            self.file(
                format!("many/a file with a longer name {number:04}.txt"),
                &content,
            );
        }
    }

    fn sizes(&mut self) {
        self.directory("sizes");
        let large = match self.spec.size {
            Size::Small => 150_000,
            Size::Full => 8 << 20,
        };
        for len in [0, 1, 511, 512, 513, 4095, 4096, 4097, 65_536, large] {
            let content = self.content(len);
            self.file(format!("sizes/{len}"), &content);
        }
        self.directory("sizes/empty directory");
        if self.spec.sparse {
            self.sparse();
        }
    }

    /// A file of holes with three islands.
    fn sparse(&mut self) {
        let len = match self.spec.size {
            Size::Small => 2 << 20,
            Size::Full => 20 << 20,
        };
        let path = self.root.join("sizes/sparse");
        let file = File::create(&path).expect("a new file");
        file.set_len(len).expect("a length");
        for at in [0, len / 3 + 77, len - 5000] {
            let island = self.content(5000);
            file.write_all_at(&island, at).expect("an island");
        }
        self.made.push(path);
    }

    fn names(&mut self) {
        self.directory("names");
        let mut names: Vec<Vec<u8>> = vec![
            b"plain.txt".to_vec(),
            b"UPPER.TXT".to_vec(),
            b"two  blanks.a.b.c".to_vec(),
        ];
        names.extend([180, 200, 254, 255].map(|len| vec![b'n'; len]));
        if self.spec.unicode_names {
            let unicode = [
                "\u{e9}t\u{e9} NFC",
                "e\u{301}te\u{301} NFD",
                "日本語の名前.txt",
                "zażółć gęślą jaźń",
                "Ελληνικά",
            ];
            names.extend(unicode.map(|name| name.as_bytes().to_vec()));
        }
        if self.spec.byte_names {
            let odd: [&[u8]; 8] = [
                b"new\nline",
                b"back\\slash",
                b"\xe9\xff latin",
                b" ",
                b"tab\tbell\x07",
                b"-rf",
                b"trailing.",
                b"a:b*c?d|e\"<f>",
            ];
            names.extend(odd.map(<[u8]>::to_vec));
            names.push("emoji 😀🎉".as_bytes().to_vec());
        }
        if self.spec.case_sensitive {
            names.extend([b"case".to_vec(), b"CASE".to_vec(), b"Case".to_vec()]);
        }
        for name in names.into_iter().filter(|name| name.len() <= self.spec.name_max) {
            let content = self.content(name.len() * 17);
            self.file(Path::new("names").join(OsStr::from_bytes(&name)), &content);
        }
    }

    fn deep(&mut self) {
        let mut path = String::from("deep");
        self.directory(&path);
        for level in 1..12 {
            path = format!("{path}/level {level}");
            self.directory(&path);
        }
        let content = self.content(3000);
        self.file(format!("{path}/bottom"), &content);
    }

    /// Small files of which every other one is deleted, then four that grow in turns.
    fn fragmented(&mut self) {
        let (neighbours, rounds) = match self.spec.size {
            Size::Small => (20, 6),
            Size::Full => (80, 40),
        };
        self.directory("fragmented");
        let name = |number| format!("fragmented/neighbour {number}");
        (0..neighbours).for_each(|number| {
            let content = self.content(4000);
            self.file(name(number), &content);
        });
        self.settle();
        for number in (0..neighbours).step_by(2) {
            let path = self.root.join(name(number));
            fs::remove_file(&path).expect("removed");
            self.made.retain(|made| *made != path);
        }
        self.settle();
        let paths: Vec<_> = (0..4)
            .map(|writer| self.root.join(format!("fragmented/writer {writer}")))
            .collect();
        let mut writers: Vec<_> = paths
            .iter()
            .map(|path| File::create(path).expect("a new file"))
            .collect();
        for _ in 0..rounds {
            for writer in &mut writers {
                writer.write_all(&self.content(4096)).expect("written");
                writer.sync_data().expect("synced");
            }
        }
        self.made.extend(paths);
    }

    /// Makes a mounted volume allocate what was written.
    fn settle(&self) {
        let root = File::open(self.root).expect("the root");
        rustix::fs::syncfs(&root).expect("synced");
    }

    fn links(&mut self) {
        self.directory("links");
        let at = |name: &str| self.root.join("links").join(name);
        if self.spec.hard_links {
            for number in 0..10 {
                fs::hard_link(self.root.join("sizes/4097"), at(&format!("hard {number}"))).expect("a link");
            }
        }
        if self.spec.symlinks {
            let long = format!("{}end", "long/".repeat(40));
            let targets = [
                ("relative", "../sizes/1"),
                ("absolute", "/no such/file"),
                ("long", &long),
                ("to a directory", "../deep"),
            ];
            for (name, target) in targets {
                std::os::unix::fs::symlink(target, at(name)).expect("a link");
                self.made.push(at(name));
            }
        }
        if self.spec.fifo {
            mknodat(CWD, at("fifo"), FileType::Fifo, 0o644.into(), 0).expect("a pipe");
            self.made.push(at("fifo"));
        }
    }

    /// Gives everything its date: directories last, as what is made in them changes theirs.
    fn date(&self) {
        let (directories, files): (Vec<_>, Vec<_>) = self
            .made
            .iter()
            .partition(|path| path.is_dir() && !path.is_symlink());
        for (number, path) in (0..).zip(files.into_iter().chain(directories.into_iter().rev())) {
            let time = Timespec {
                tv_sec: FIRST_TIME + 2 * number,
                tv_nsec: 0,
            };
            let times = Timestamps {
                last_access: time,
                last_modification: time,
            };
            utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("dated");
        }
    }
}

/// Forgets the times of directories: most makers do not keep them.
pub fn forget_directory_times(entry: &mut Entry) {
    if entry.kind == Some(ntt_model::Kind::Directory) {
        entry.modified = None;
    }
}
