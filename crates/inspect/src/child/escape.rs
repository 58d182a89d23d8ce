//! Tries to get out of the sandbox, for tests and for `ntt doctor`.

use std::fs::File;
use std::io::{self, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// One attempt to do what the child must not be able to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// What was tried, for people: `open a file`.
    pub what: String,
    /// Whether it worked.
    pub escaped: bool,
    /// What the system said when it did not; empty when it did.
    pub refusal: String,
}

/// Tries everything; harmless where it works.
pub(super) fn attempt_all(source: &File) -> Vec<Attempt> {
    vec![
        attempt("open a file", || File::open("/").map(drop)),
        attempt("open a file of the system", || {
            File::open("/etc/passwd").map(drop)
        }),
        attempt("open its own memory for writing", open_memory),
        attempt("write to the source", || write_nothing(source)),
        attempt("create an internet socket", || {
            UdpSocket::bind("127.0.0.1:0").map(drop)
        }),
        attempt("create a local socket", || UnixDatagram::unbound().map(drop)),
        attempt("start a program", start_program),
        attempt("start a thread", start_thread),
        attempt("signal its parent", signal_parent),
    ]
}

fn attempt(what: &str, act: impl FnOnce() -> io::Result<()>) -> Attempt {
    let result = act();
    Attempt {
        what: what.to_owned(),
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
