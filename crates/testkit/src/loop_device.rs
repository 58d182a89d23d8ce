//! A true block device over a file, where the tests run as root.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A loop device; taken down when dropped.
#[derive(Debug)]
pub struct LoopDevice(PathBuf);

impl LoopDevice {
    /// Sets one up, read-only; `None`, with a message, where this user may not.
    pub fn over(file: &Path, sector_bytes: u32) -> Option<Self> {
        let output = Command::new("losetup")
            .args(["--find", "--show", "--read-only", "--sector-size"])
            .arg(sector_bytes.to_string())
            .arg(file)
            .output();
        match output {
            Ok(output) if output.status.success() => Some(Self(PathBuf::from(
                String::from_utf8_lossy(&output.stdout).trim(),
            ))),
            _ => {
                eprintln!("skipped: no loop devices here (they need root)");
                None
            }
        }
    }

    /// The device.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // A device that is still in use stays; the test has failed anyway.
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}
