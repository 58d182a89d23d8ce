//! What `smartctl` says, if it is installed: asked once, beside the rescue, and not before the first and the last MiB are there, because the
//! question alone has made bridges fall over.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ntt_catalogue::rows::Evidence;
use ntt_rescue::geometry::Class;
use ntt_rescue::monitor::{Monitor, Snapshot};
use ntt_rescue::policy::Phase;
use serde_json::Value;

use super::hardware::is_trivial;

/// A drive that is asked and does not answer must not hold up the rest.
const TIMEOUT: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(50);

/// Waits until a rescue has what matters most of the medium. False if it ended before.
pub(super) fn wait_for_the_edges(monitor: &Monitor, has_ended: impl Fn() -> bool) -> bool {
    while !are_edges_done(&monitor.snapshot()) {
        if has_ended() {
            return false;
        }
        std::thread::sleep(TICK);
    }
    true
}

fn are_edges_done(snapshot: &Snapshot) -> bool {
    snapshot.states.rescued.bytes > 0 && snapshot.phase.is_some_and(|phase| phase != Phase::Edges)
}

/// Asks a disk for its identity and health, and keeps the answer as `smart.json` beside the image. Nothing if it is no disk, if there is no
/// `smartctl`, or if it does not answer in time.
pub(super) fn ask(device: &Path, class: Class, directory: &Path) -> Vec<Evidence> {
    use std::os::unix::fs::FileTypeExt;
    let is_block = std::fs::metadata(device).is_ok_and(|metadata| metadata.file_type().is_block_device());
    if !is_block || class != Class::Disk {
        return Vec::new();
    }
    let path = directory.join("smart.json");
    let answered = answer(device, &path);
    let text = std::fs::read(&path).unwrap_or_default();
    match serde_json::from_slice::<Value>(&text) {
        Ok(answer) if answered => evidence(&answer),
        _ => {
            // Half an answer is none; that it cannot be removed changes nothing.
            let _ = std::fs::remove_file(&path);
            Vec::new()
        }
    }
}

fn answer(device: &Path, into: &Path) -> bool {
    let Ok(file) = std::fs::File::create(into) else {
        return false;
    };
    let child = Command::new("smartctl")
        .args(["-j", "-i", "-H", "-A"])
        .arg(device)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(Stdio::null())
        .spawn();
    child.is_ok_and(|child| ended_in_time(child, TIMEOUT))
}

fn ended_in_time(mut child: Child, timeout: Duration) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < timeout {
        match child.try_wait() {
            Ok(Some(_)) => return true,
            Ok(None) => std::thread::sleep(TICK),
            Err(_) => return false,
        }
    }
    let _ = child.kill();
    // It may hang in the kernel: nobody waits for it but a thread that has nothing else to do, so that it leaves no zombie.
    std::thread::spawn(move || child.wait());
    false
}

/// The identity in an answer (`smartctl -j`, schema 1.0).
fn evidence(answer: &Value) -> Vec<Evidence> {
    let fields = [("device-model", "model_name"), ("device-serial", "serial_number")];
    let texts = fields.into_iter().filter_map(|(kind, field)| {
        let value = answer.get(field)?.as_str()?.trim();
        Some((kind, value.to_owned()))
    });
    let health = answer.pointer("/smart_status/passed").and_then(Value::as_bool);
    let health = health.map(|passed| {
        (
            "smart-health",
            if passed { "passed" } else { "failed" }.to_owned(),
        )
    });
    texts
        .chain(health)
        .filter(|(_, value)| !is_trivial(value))
        .map(|(kind, value)| Evidence {
            kind: kind.to_owned(),
            value,
            origin: "smartctl".to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_gives_identity_and_health() {
        let answer = serde_json::json!({
            "model_name": "WDC WD5000AAKS", "serial_number": "000000000000", "smart_status": { "passed": false }
        });
        let kinds: Vec<(String, String)> = evidence(&answer)
            .into_iter()
            .map(|piece| (piece.kind, piece.value))
            .collect();
        let pair = |kind: &str, value: &str| (kind.to_owned(), value.to_owned());
        assert_eq!(
            kinds,
            [
                pair("device-model", "WDC WD5000AAKS"),
                pair("smart-health", "failed")
            ]
        );
    }

    /// A drive that never gets through its first MiB is asked after the rescue, if it is still there.
    #[test]
    fn nothing_is_asked_before_the_edges_are_there() {
        let mut snapshot = Snapshot::default();
        assert!(!are_edges_done(&snapshot));
        snapshot.phase = Some(Phase::Edges);
        snapshot.states.rescued.bytes = 1 << 20;
        assert!(!are_edges_done(&snapshot));
        snapshot.phase = Some(Phase::Copy);
        assert!(are_edges_done(&snapshot));
        snapshot.states.rescued.bytes = 0;
        assert!(!are_edges_done(&snapshot));
        assert!(!wait_for_the_edges(&Monitor::new(), || true));
    }

    #[test]
    fn who_does_not_answer_is_not_waited_for() {
        let child = Command::new("sleep").arg("60").spawn().expect("a process");
        let process = std::path::PathBuf::from(format!("/proc/{}", child.id()));
        assert!(!ended_in_time(child, Duration::from_millis(100)));
        let begin = Instant::now();
        while process.exists() {
            assert!(begin.elapsed() < TIMEOUT, "it stays as a zombie");
            std::thread::sleep(TICK);
        }
        let child = Command::new("true").spawn().expect("a process");
        assert!(ended_in_time(child, TIMEOUT));
    }
}
