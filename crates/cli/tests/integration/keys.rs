//! Keys at a terminal while a medium is rescued.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ntt_model::ByteRange;
use ntt_testkit::faulty::{Cost, FaultyMedium};
use ntt_testkit::faulty_file::FaultyFile;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::environment::Environment;

const MIB: u64 = 1 << 20;
/// Nothing here takes long; a machine that does other things may.
const PATIENCE: Duration = Duration::from_secs(60);

/// Both ends of a pseudo-terminal: ours, and a way to open the other.
struct Terminal {
    ours: File,
    theirs: File,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn open() -> Self {
        let ours: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&ours).expect("granted");
        unlockpt(&ours).expect("unlocked");
        let name = ptsname(&ours, Vec::new()).expect("a name");
        let theirs = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().expect("UTF-8"))
            .expect("the other end");
        let ours = File::from(ours);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, sink) = (ours.try_clone().expect("a descriptor"), Arc::clone(&shown));
        // Ends with the terminal.
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(count) = reader.read(&mut part) {
                let mut shown = sink.lock().unwrap_or_else(PoisonError::into_inner);
                shown.extend_from_slice(&part[..count]);
            }
        });
        Self { ours, theirs, shown }
    }

    fn has_shown(&self, text: &str) -> bool {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&shown).contains(text)
    }

    fn wait_for(&self, text: &str) {
        let begin = Instant::now();
        while !self.has_shown(text) {
            let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            assert!(
                begin.elapsed() < PATIENCE,
                "no {text:?} in {}",
                String::from_utf8_lossy(&shown)
            );
            drop(shown);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn press(&mut self, key: &[u8]) {
        self.ours.write_all(key).expect("a terminal");
    }

    /// Whether lines are edited and echoed, as a shell expects it.
    fn is_as_it_was(&self) -> bool {
        let modes = tcgetattr(&self.ours).expect("a terminal").local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }
}

/// A medium that takes a minute, and `ntt` beginning with it.
fn rescue(environment: &Environment, terminal: &Terminal) -> Option<(FaultyFile, Child)> {
    let cost = Cost {
        bytes_per_second: 1 << 20,
        per_read: Duration::ZERO,
        per_failure: Duration::ZERO,
    };
    let whole = ByteRange::new(0, 64 * MIB);
    let file = FaultyFile::mount(FaultyMedium::new(whole.len, 1).costing(cost).zeros(whole), true)?;
    let source = file.path().to_str().expect("UTF-8").to_owned();
    let end = || terminal.theirs.try_clone().expect("a descriptor");
    let child = environment
        .command(["ingest", "--rescue", &source])
        .env("TERM", "xterm")
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .spawn()
        .expect("ntt");
    Some((file, child))
}

#[test]
fn an_ingest_is_paused_and_stopped_by_keys() {
    let (environment, mut terminal) = (Environment::new(), Terminal::open());
    let Some((_file, mut child)) = rescue(&environment, &terminal) else {
        return;
    };
    terminal.wait_for("p pauses");
    assert!(!terminal.is_as_it_was(), "single keys arrive");
    terminal.press(b"p");
    terminal.wait_for("paused; p goes on");
    terminal.press(b"q");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert!(terminal.is_as_it_was());
}

/// The second signal ends the program at once, and the terminal is given back all the same.
#[test]
fn the_terminal_is_given_back_after_two_signals() {
    let (environment, terminal) = (Environment::new(), Terminal::open());
    let Some((_file, mut child)) = rescue(&environment, &terminal) else {
        return;
    };
    terminal.wait_for("p pauses");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id")).expect("a process");
    kill_process(pid, Signal::INT).expect("it runs");
    kill_process(pid, Signal::TERM).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert!(terminal.is_as_it_was());
}
