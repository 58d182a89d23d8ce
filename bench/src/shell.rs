//! Preparing runs: commands whose cost does not count.

use std::io;
use std::path::Path;
use std::process::Command;

use crate::Setting;

/// Runs a line of shell.
pub(crate) fn run(line: &str) -> io::Result<()> {
    let status = Command::new("sh").args(["-c", line]).status()?;
    if status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("`{line}` ended with {status}")))
}

/// A path as text for a line of shell.
pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

impl Setting {
    /// A directory to work in; removed when dropped.
    pub(crate) fn work_dir(&self) -> io::Result<tempfile::TempDir> {
        match &self.work {
            Some(parent) => tempfile::tempdir_in(parent),
            None => tempfile::tempdir(),
        }
    }

    /// A program that was built.
    pub(crate) fn program(&self, name: &str) -> io::Result<String> {
        Ok(text(&std::path::absolute(self.programs.join(name))?))
    }
}
