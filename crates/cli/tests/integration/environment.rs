//! A hermetic place to run `ntt` in: its own home, archive and working directory, and no settings of the machine.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A place to run `ntt` in; removed when dropped.
pub(crate) struct Environment {
    dir: TempDir,
}

/// What a run said.
#[must_use = "assert its exit code"]
pub(crate) struct Run {
    output: Output,
    command: String,
}

impl Environment {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for name in ["home", "work"] {
            std::fs::create_dir(dir.path().join(name)).expect("a new directory");
        }
        Self { dir }
    }

    /// The directory that `ntt` runs in.
    pub(crate) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// The archive.
    pub(crate) fn archive(&self) -> PathBuf {
        self.dir.path().join("archive")
    }

    /// `ntt` with these arguments, not started yet.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ntt"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path().join("home"))
            .env("NTT_ARCHIVE", self.archive())
            .env("COLUMNS", "100")
            .current_dir(self.work())
            .stdin(Stdio::null());
        command
    }

    /// Runs `ntt` to its end.
    pub(crate) fn ntt<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Run {
        let mut command = self.command(arguments);
        let output = command.output().expect("ntt can be started");
        Run {
            output,
            command: format!("{command:?}"),
        }
    }

    /// A file in the working directory.
    pub(crate) fn write(&self, name: impl AsRef<Path>, content: &[u8]) -> PathBuf {
        let path = self.work().join(name);
        std::fs::create_dir_all(path.parent().expect("below the working directory")).expect("a directory");
        std::fs::write(&path, content).expect("a written file");
        path
    }
}

impl Run {
    /// Asserts the exit code and gives stdout as text.
    pub(crate) fn code(self, expected: i32) -> String {
        assert_eq!(
            self.output.status.code(),
            Some(expected),
            "{}\n{}",
            self.command,
            self.both()
        );
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    /// Asserts the exit code and gives stdout as bytes.
    pub(crate) fn bytes(self, expected: i32) -> Vec<u8> {
        assert_eq!(
            self.output.status.code(),
            Some(expected),
            "{}\n{}",
            self.command,
            self.both()
        );
        self.output.stdout
    }

    /// Asserts the exit code and gives stderr as text.
    pub(crate) fn stderr(self, expected: i32) -> String {
        assert_eq!(
            self.output.status.code(),
            Some(expected),
            "{}\n{}",
            self.command,
            self.both()
        );
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Asserts the exit code and gives the JSON lines (or the one document) on stdout.
    pub(crate) fn json(self, expected: i32) -> Vec<serde_json::Value> {
        let text = self.code(expected);
        let values = serde_json::Deserializer::from_str(&text).into_iter();
        values
            .map(|value| value.unwrap_or_else(|error| panic!("{error} in {text}")))
            .collect()
    }

    fn both(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        format!(
            "stdout:\n{}\nstderr:\n{}",
            text(&self.output.stdout),
            text(&self.output.stderr)
        )
    }
}
