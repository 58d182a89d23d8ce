//! The corpus of public images, and programs to compare with. Tests that need either say so and pass when it is absent.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A decompressed copy of a corpus image, removed when dropped.
#[derive(Debug)]
pub struct CorpusImage {
    dir: TempDir,
    path: PathBuf,
}

impl CorpusImage {
    /// Where the copy lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that holds it: a place for files beside it (a mapfile).
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// The folder of public images, from `NTT_CORPUS`. Says on stderr that the test is skipped if there is none.
pub fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("NTT_CORPUS")
        .map(PathBuf::from)
        .filter(|folder| folder.is_dir());
    if folder.is_none() {
        eprintln!("skipped: NTT_CORPUS does not point at the folder of public images");
    }
    folder
}

/// A copy of `relative` (say `disktype/ext2.image.gz`), decompressed by its suffix; `None` without a corpus.
///
/// # Panics
///
/// If the corpus is there but the file or the tool to decompress it is not.
pub fn corpus_image(relative: &str) -> Option<CorpusImage> {
    let source = corpus()?.join(relative);
    Some(decompressed(&source))
}

/// A decompressed copy of `source` under its own name without the suffix.
///
/// # Panics
///
/// If the file cannot be read or the tool to decompress it is not installed.
pub fn decompressed(source: &Path) -> CorpusImage {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (tool, arguments): (&str, &[&str]) = match source.extension().and_then(|suffix| suffix.to_str()) {
        Some("gz" | "tgz") => ("gzip", &["-dc"]),
        Some("xz") => ("xz", &["-dc"]),
        Some("zst") => ("zstd", &["-qdc"]),
        Some("zip") => ("unzip", &["-p"]),
        _ => ("cat", &[]),
    };
    let path = dir.path().join(
        if tool == "cat" {
            source.file_name()
        } else {
            source.file_stem()
        }
        .expect("a name"),
    );
    let mut command = Command::new(tool);
    command.args(arguments).arg(source);
    if tool == "unzip" {
        // The DFTT archives hold documents too; the image is the .dd or .dmg member.
        command.args(["*.dd", "*.dmg"]);
    }
    let output = std::fs::File::create(&path).expect("a new file");
    let status = command.stdout(output).stderr(Stdio::null()).status();
    // unzip ends with 11 when one of the patterns matched nothing.
    let good = status
        .as_ref()
        .is_ok_and(|status| matches!(status.code(), Some(0 | 11)));
    assert!(good, "{tool} cannot decompress {}: {status:?}", source.display());
    CorpusImage { dir, path }
}

/// Whether a program can be run. Says on stderr that the test is skipped if it cannot.
pub fn have(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|folder| folder.join(program).is_file())
    });
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}
