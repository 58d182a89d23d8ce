//! A way to a server on a Unix socket that can be cut and mended: what is sent meanwhile waits, as behind a network that lost a link.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// How often a cut way is looked at.
const STEP: Duration = Duration::from_millis(5);

/// Stands between clients and a server. Connections end with their peers; no new ones are taken once this is dropped.
#[derive(Debug)]
pub struct Partition {
    folder: TempDir,
    is_cut: Arc<AtomicBool>,
}

impl Partition {
    /// Opens a way to the server that listens on `socket`.
    ///
    /// # Errors
    ///
    /// If no socket can be made.
    pub fn before(socket: &Path) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let is_cut = Arc::new(AtomicBool::new(false));
        let name = socket.file_name().unwrap_or_default();
        let listener = UnixListener::bind(folder.path().join(name))?;
        let (socket, cut) = (socket.to_owned(), Arc::clone(&is_cut));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // A server that is away refuses, and so does the way to it.
                if let Ok(server) = UnixStream::connect(&socket) {
                    join(client, server, &cut);
                }
            }
        });
        Ok(Self { folder, is_cut })
    }

    /// The folder of the socket on this side.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// From now on nothing gets through, in either direction.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
    }

    /// What waited gets through, and everything after it.
    pub fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

fn join(client: UnixStream, server: UnixStream, cut: &Arc<AtomicBool>) {
    let ends = [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))];
    for (from, to) in ends {
        let cut = Arc::clone(cut);
        if let (Ok(from), Ok(to)) = (from, to) {
            thread::spawn(move || pump(from, to, &cut));
        }
    }
}

/// Carries bytes until one end is closed.
fn pump(mut from: UnixStream, mut to: UnixStream, cut: &AtomicBool) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        while cut.load(Ordering::SeqCst) {
            thread::sleep(STEP);
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    // An end that has gone already needs no word.
    let _ = to.shutdown(Shutdown::Both);
}
