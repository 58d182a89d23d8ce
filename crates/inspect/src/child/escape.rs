//! Tries to get out of the sandbox, for tests and for `ntt doctor`.

use std::fs::File;
use std::io::{self, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::sandbox::{Confinement, Guard};

/// One attempt to do what the child must not be able to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// What was tried, for people: `open a file`.
    pub what: String,
    /// What should hold it back; any one suffices.
    pub guards: Vec<Guard>,
    /// Whether it worked.
    pub escaped: bool,
    /// What the system said when it did not; empty when it did.
    pub refusal: String,
}

impl Attempt {
    /// Whether something should have held it back: then it must not have worked.
    pub fn is_guarded(&self, confinement: &Confinement) -> bool {
        self.guards.iter().any(|guard| confinement.holds(*guard))
    }

    /// Whether it worked although something in force should have held it back.
    pub fn broke_out(&self, confinement: &Confinement) -> bool {
        self.escaped && self.is_guarded(confinement)
    }
}

/// Tries everything; harmless where it works.
pub(super) fn attempt_all(source: &File) -> Vec<Attempt> {
    use Guard::{LandlockFiles, LandlockSignals, ReadOnlySource, Seccomp};
    vec![
        attempt("open a file", &[Seccomp, LandlockFiles], || {
            File::open("/").map(drop)
        }),
        attempt("open a file of the system", &[Seccomp, LandlockFiles], || {
            File::open("/etc/passwd").map(drop)
        }),
        attempt(
            "open its own memory for writing",
            &[Seccomp, LandlockFiles],
            open_memory,
        ),
        attempt("write to the source", &[ReadOnlySource], || write_nothing(source)),
        attempt("create an internet socket", &[Seccomp], || {
            UdpSocket::bind("127.0.0.1:0").map(drop)
        }),
        attempt("create a local socket", &[Seccomp], || {
            UnixDatagram::unbound().map(drop)
        }),
        attempt("start a program", &[Seccomp, LandlockFiles], start_program),
        attempt("start a thread", &[Seccomp], start_thread),
        attempt("signal its parent", &[Seccomp, LandlockSignals], signal_parent),
    ]
}

fn attempt(what: &str, guards: &[Guard], act: impl FnOnce() -> io::Result<()>) -> Attempt {
    let result = act();
    Attempt {
        what: what.to_owned(),
        guards: guards.to_vec(),
        escaped: result.is_ok(),
        refusal: result.err().map_or_else(String::new, |error| error.to_string()),
    }
}

fn open_memory() -> io::Result<()> {
    File::options().write(true).open("/proc/self/mem").map(drop)
}

/// A write of no bytes: refused like any other when the descriptor is not open for writing.
fn write_nothing(mut source: &File) -> io::Result<()> {
    source.write(&[]).map(drop)
}

fn start_program() -> io::Result<()> {
    Command::new("/bin/true").status().map(drop)
}

fn start_thread() -> io::Result<()> {
    let thread = std::thread::Builder::new().spawn(|| ())?;
    thread.join().map_err(|_| io::Error::other("the thread panicked"))
}

/// The null signal: tells whether a signal could be sent, and sends none.
fn signal_parent() -> io::Result<()> {
    let parent = rustix::process::getppid().ok_or(io::ErrorKind::NotFound)?;
    rustix::process::test_kill_process(parent).map_err(io::Error::from)
}
