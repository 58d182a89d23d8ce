//! Programs that read the same image by other code: each an adapter of a few lines, absent ones are skipped.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use ntt_model::Kind;

use crate::corpus::have;
use crate::lab::compare::Aspect;
use crate::lab::tree::{Entry, Tree};

/// Reads an image; the second path is an empty folder to work in.
type Read = Box<dyn Fn(&Path, &Path) -> Tree + Send + Sync>;

/// A program to compare with.
pub struct Referee {
    /// Its name in the table.
    pub name: &'static str,
    /// What it is believed in. Without [`Aspect::Names`] its contents are compared as a set.
    pub judges: Vec<Aspect>,
    programs: Vec<&'static str>,
    read: Read,
}

impl fmt::Debug for Referee {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Referee({})", self.name)
    }
}

impl Referee {
    /// A referee of any kind: `read` gets the image and an empty folder.
    pub fn new(
        name: &'static str,
        programs: &[&'static str],
        judges: &[Aspect],
        read: impl Fn(&Path, &Path) -> Tree + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            judges: judges.to_vec(),
            programs: programs.to_vec(),
            read: Box::new(read),
        }
    }

    /// A program that takes everything out of an image into a folder; `{image}` and `{out}` stand for their paths in its arguments.
    pub fn extracts(
        name: &'static str,
        program: &'static str,
        arguments: &'static [&'static str],
        judges: &[Aspect],
    ) -> Self {
        Self::new(name, &[program], judges, move |image, out| {
            let place = |argument: &&str| {
                let text = |path: &Path| path.to_str().expect("a temporary path").to_owned();
                argument
                    .replace("{image}", &text(image))
                    .replace("{out}", &text(out))
            };
            let arguments: Vec<String> = arguments.iter().map(place).collect();
            output(program, &arguments, out);
            Tree::of_folder(out)
        })
    }

    /// Whether its programs are installed. Says so on stderr if not.
    pub fn is_here(&self) -> bool {
        self.programs.iter().all(|program| have(program))
    }

    /// What it reads from an image.
    ///
    /// # Panics
    ///
    /// If no folder to work in can be made.
    pub fn read(&self, image: &Path) -> Tree {
        let out = tempfile::tempdir().expect("a temporary folder");
        let tree = (self.read)(image, out.path());
        // Some tools restore modes that forbid to enter a folder.
        output("chmod", &["-R".into(), "u+rwX".into(), ".".into()], out.path());
        tree
    }
}

/// Standard output of a program, whatever its exit status: damage makes most of them fail after they told what they found. It is killed after
/// a minute, reads times as UTC and names as UTF-8.
///
/// # Panics
///
/// If it cannot be started.
pub fn output(program: &str, arguments: &[String], directory: &Path) -> Vec<u8> {
    let output = Command::new("timeout")
        .args(["60", program])
        .args(arguments)
        .current_dir(directory)
        .env("PATH", tool_path())
        .env("TZ", "UTC")
        .env("LC_ALL", "C.UTF-8")
        .env("MTOOLS_SKIP_CHECK", "1")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    output.expect("timeout runs").stdout
}

/// `PATH` with the folders of system tools.
pub fn tool_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// The Sleuth Kit's list of names, kinds, sizes and times; `kind` as `fls -f` wants it.
pub fn fls(kind: &'static str) -> Referee {
    let judges = [Aspect::Names, Aspect::Kinds, Aspect::Sizes, Aspect::Times];
    Referee::new("fls", &["fls"], &judges, move |image, out| {
        let mut arguments = ["-r", "-p", "-u", "-m", "", "-f", kind]
            .map(String::from)
            .to_vec();
        arguments.push(image.to_str().expect("a temporary path").to_owned());
        let listed = output("fls", &arguments, out);
        let entries = listed.split(|byte| *byte == b'\n').filter_map(body_line);
        Tree {
            entries: entries.collect(),
        }
    })
}

/// A line of a body file: `MD5|name|inode|mode|UID|GID|size|atime|mtime|ctime|crtime`; the name may hold any sign, so it is cut from both ends.
fn body_line(line: &[u8]) -> Option<Entry> {
    let after_sum = line.strip_prefix(b"0|")?;
    let fields: Vec<&[u8]> = after_sum.rsplitn(10, |byte| *byte == b'|').collect();
    let [_, _, modified, _, size, _, _, mode, _, name] = fields[..] else {
        return None;
    };
    let name = name.strip_prefix(b"/").unwrap_or(name);
    let cut = find(name, b" -> ")
        .filter(|_| mode.starts_with(b"l"))
        .unwrap_or(name.len());
    let path = name[..cut].to_vec();
    let kind = [
        (b'r', Kind::File),
        (b'd', Kind::Directory),
        (b'l', Kind::Symlink),
        (b'p', Kind::Fifo),
    ]
    .into_iter()
    .find(|(letter, _)| mode.first() == Some(letter))
    .map(|(_, kind)| kind);
    let number = |digits: &[u8]| String::from_utf8_lossy(digits).parse::<i64>().ok();
    // NTFS: the times of a name have a line of their own.
    let is_own = path.starts_with(b"$") || mode.starts_with(b"V") || path.ends_with(b" ($FILE_NAME)");
    (!is_own).then(|| Entry {
        path,
        kind,
        size_bytes: number(size)
            .filter(|_| kind == Some(Kind::File))
            .and_then(|size| size.try_into().ok()),
        modified: number(modified),
        ..Entry::default()
    })
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// The Sleuth Kit's contents of allocated files; it changes names when it writes them.
pub fn tsk_recover(arguments: &'static [&'static str]) -> Referee {
    Referee::extracts("tsk_recover", "tsk_recover", arguments, &[Aspect::Contents])
}

/// 7-Zip; `arguments` like `["x", "-y", "-tExt", "-o{out}", "{image}"]`.
pub fn seven_zip(arguments: &'static [&'static str], judges: &[Aspect]) -> Referee {
    Referee::extracts("7z", "7z", arguments, judges)
}

/// debugfs of e2fsprogs. It keeps no times of directories.
pub fn debugfs() -> Referee {
    let judges = [
        Aspect::Names,
        Aspect::Kinds,
        Aspect::Sizes,
        Aspect::Targets,
        Aspect::Contents,
    ];
    Referee::extracts(
        "debugfs",
        "debugfs",
        &["-c", "-R", "rdump / {out}", "{image}"],
        &judges,
    )
}

/// mtools.
pub fn mcopy() -> Referee {
    let judges = [
        Aspect::Names,
        Aspect::Kinds,
        Aspect::Sizes,
        Aspect::Times,
        Aspect::Contents,
    ];
    Referee::extracts(
        "mcopy",
        "mcopy",
        &["-s", "-n", "-m", "-i", "{image}", "::/", "{out}"],
        &judges,
    )
}

/// libarchive.
pub fn bsdtar(judges: &[Aspect]) -> Referee {
    Referee::extracts("bsdtar", "bsdtar", &["-xpf", "{image}", "-C", "{out}"], judges)
}

/// libisofs.
pub fn xorriso(judges: &[Aspect]) -> Referee {
    let arguments = &["-osirrox", "on", "-indev", "{image}", "-extract", "/", "{out}"];
    Referee::extracts("xorriso", "xorriso", arguments, judges)
}
