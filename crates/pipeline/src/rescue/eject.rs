//! Gives a removable medium back.

use std::path::Path;
use std::process::{Command, Stdio};

use ntt_model::Severity;

use crate::{Event, Observer};

/// Ejects the medium with the system's own `eject`, which knows trays, Zip drives and USB sticks alike. That it cannot is told, and no more.
pub(super) fn eject(device: &Path, observer: &dyn Observer) {
    let status = Command::new("eject")
        .arg(device)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let text = match status {
        Ok(status) if status.success() => return,
        Ok(_) => format!("{}: it could not be ejected", device.display()),
        Err(error) => format!("{}: it could not be ejected: {error}", device.display()),
    };
    observer.event(&Event::Message {
        severity: Severity::Warning,
        text,
    });
}
