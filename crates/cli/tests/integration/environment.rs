//! A hermetic place to run `ntt` in: its own home, archive and working directory, and no settings of the machine.

use std::collections::BTreeMap;
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
        Run::of(self.command(arguments))
    }

    /// Runs `ntt` to its end with some variables more.
    pub(crate) fn ntt_with<A: AsRef<OsStr>>(
        &self,
        variables: &[(&str, &str)],
        arguments: impl IntoIterator<Item = A>,
    ) -> Run {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        Run::of(command)
    }

    /// Id of a medium that is known by this source name.
    pub(crate) fn medium(&self, name: &str) -> String {
        let shown = self.ntt(["--json", "medium", "show", name]).document(0);
        shown["id"].as_str().expect("an id").to_owned()
    }

    /// The stages of the log behind the last identification, latest first.
    pub(crate) fn stages_since_identify(&self) -> Vec<String> {
        let status = self.ntt(["--json", "status"]).document(0);
        let recent = status["recent"].as_array().expect("a log").iter();
        let stages = recent.map(|event| event["stage"].as_str().expect("a stage").to_owned());
        stages.take_while(|stage| stage != "identify").collect()
    }

    /// BLAKE3 (or `None` if it is not stored) of every regular file of a medium, by volume and path.
    pub(crate) fn contents(&self, medium: &str) -> Contents {
        let found = self
            .ntt(["--json", "find", "--kind", "file", "--medium", medium])
            .json(0);
        let mut contents = BTreeMap::new();
        for line in &found {
            let volume = u32::try_from(line["volume"].as_u64().expect("a volume")).expect("a small number");
            let blob = line["content"]["blob"].as_str().map(str::to_owned);
            let reader = line["reader"].as_str().expect("a reader").to_owned();
            contents.insert((volume, reader, bytes_of(&line["path"])), blob);
        }
        contents
    }

    /// Lets every user work in this place.
    pub(crate) fn open_to_all(&self) {
        use std::os::unix::fs::PermissionsExt;
        let all = std::fs::Permissions::from_mode(0o777);
        for folder in [
            self.dir.path().to_owned(),
            self.work(),
            self.dir.path().join("home"),
        ] {
            std::fs::set_permissions(folder, all.clone()).expect("mine");
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

/// Exit code of a restore in which nothing is missing but owners, which only root can set (R44).
pub(crate) fn restored_code() -> i32 {
    match rustix::process::geteuid().is_root() {
        true => 0,
        false => 3,
    }
}

/// BLAKE3 of files by volume and path.
pub(crate) type Contents = BTreeMap<(u32, String, Vec<u8>), Option<String>>;

/// The exact bytes of a name or path in JSON.
pub(crate) fn bytes_of(text: &serde_json::Value) -> Vec<u8> {
    use base64::Engine;
    match text["base64"].as_str() {
        Some(base64) => base64::engine::general_purpose::STANDARD
            .decode(base64)
            .expect("base64"),
        None => text["text"].as_str().expect("a text").as_bytes().to_vec(),
    }
}

impl Run {
    /// Runs a command to its end.
    pub(crate) fn of(mut command: Command) -> Self {
        let output = command.output().expect("ntt can be started");
        Self {
            output,
            command: format!("{command:?}"),
        }
    }

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

    /// Asserts the exit code and gives the summary of an ingest.
    pub(crate) fn summary(self, expected: i32) -> serde_json::Value {
        let lines = self.json(expected);
        let summary = lines
            .into_iter()
            .find(|line| line["message_type"] == "ingest-summary");
        summary.expect("a summary")
    }

    /// Asserts the exit code and gives the last JSON document on stdout: the answer, after progress.
    pub(crate) fn document(self, expected: i32) -> serde_json::Value {
        self.json(expected).pop().expect("a document")
    }

    /// The exit code, for a run that may end in more than one way.
    pub(crate) fn exit(&self) -> Option<i32> {
        self.output.status.code()
    }

    /// Stdout and stderr.
    pub(crate) fn everything(&self) -> String {
        self.both()
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
