//! One child process and the conversation with it.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::{Cause, Death, Error, Supervisor, launcher};
use crate::child::{ARGUMENT, DESCRIPTORS_MAX};
use crate::container::ImageFiles;
use crate::protocol::{HEADER_BYTES, Message, ReadRequest, Request, Work, frame_len, write_frame};

/// How often the supervisor looks at the clock and the cancel flag while the child is silent.
const TICK: Duration = Duration::from_millis(50);
/// How long a killed child may take to go.
const REAP: Duration = Duration::from_secs(5);
/// How much is read from the socket at a time.
const READ_BYTES: usize = 256 * 1024;
/// How much of the end of standard error is kept.
const LAST_WORDS_BYTES: usize = 4096;

/// What comes next.
pub(super) enum Next {
    /// A message.
    Message(Message),
    /// The child is gone, by itself or because a budget ran out.
    Ended(Death),
}

/// A running child; dropping it kills it.
#[derive(Debug)]
pub(super) struct Session {
    supervisor: Supervisor,
    child: Child,
    last_words: Option<JoinHandle<String>>,
    socket: UnixStream,
    received: Vec<u8>,
    buffer: Vec<u8>,
    /// When the whole call must be over.
    deadline: Option<Instant>,
}

impl Session {
    /// Starts a child and sends it its request.
    pub(super) fn start(supervisor: &Supervisor, source: &ImageFiles, work: Work) -> Result<Self, Error> {
        let start_error = |source| Error::Start {
            program: supervisor.program.clone(),
            source,
        };
        for file in [source.file.as_ref()].into_iter().chain(source.present()) {
            is_read_only(file)
                .map_err(start_error)?
                .then_some(())
                .ok_or(Error::Writable)?;
        }
        let request = supervisor.request(source, work);
        Self::spawn(supervisor, source, &request).map_err(start_error)
    }

    fn spawn(supervisor: &Supervisor, source: &ImageFiles, request: &Request) -> io::Result<Self> {
        let (mut socket, childs_end) = UnixStream::pair()?;
        socket.set_read_timeout(Some(TICK))?;
        socket.set_write_timeout(Some(REAP))?;
        let mut command = Command::new(&supervisor.program);
        command
            .arg(ARGUMENT)
            .env_clear()
            .current_dir("/")
            .stdin(source.file.try_clone()?)
            .stdout(OwnedFd::from(childs_end))
            .stderr(Stdio::piped());
        let mut child = launcher::spawn(command)?;
        let last_words = child
            .stderr
            .take()
            .map(|errors| std::thread::spawn(|| tail(errors)));
        let session = Self {
            supervisor: supervisor.clone(),
            child,
            last_words,
            socket: socket.try_clone()?,
            received: Vec::new(),
            buffer: vec![0; READ_BYTES],
            deadline: supervisor.budgets.wall.map(|wall| Instant::now() + wall),
        };
        // A child that dies at once shows when its answer is read, with its last words.
        match write_frame(&mut socket, request).and_then(|()| send_companions(&socket, source)) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
            _ => Ok(session),
        }
    }

    /// The deadline of a call that began earlier.
    pub(super) fn until(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the moment from which the child counts as too slow.
    pub(super) fn expect_by(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// Sends a further request.
    ///
    /// # Errors
    ///
    /// Those of the socket: the child is gone, or reads nothing any more.
    pub(super) fn send(&mut self, request: &ReadRequest) -> io::Result<()> {
        write_frame(&mut self.socket, request)
    }

    /// Waits for the next message or the end of the child.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`].
    pub(super) fn next(&mut self) -> Result<Next, Error> {
        // The caller may have taken its time with the last message: only silence from here on counts.
        let mut last_word = Instant::now();
        loop {
            if let Some(next) = self.complete_frame() {
                return Ok(next);
            }
            if self.supervisor.cancel.load(Ordering::Relaxed) {
                self.kill();
                return Err(Error::Cancelled);
            }
            if let Some(cause) = self.exhausted() {
                return Ok(Next::Ended(self.end(cause)));
            }
            match self.socket.read(&mut self.buffer) {
                Ok(0) => return Ok(Next::Ended(self.bury())),
                Ok(len) => {
                    self.received.extend_from_slice(&self.buffer[..len]);
                    last_word = Instant::now();
                }
                Err(error) if is_timeout(&error) => {
                    let silence = self.supervisor.budgets.no_progress;
                    if last_word.elapsed() >= silence {
                        return Ok(Next::Ended(self.end(Cause::Hung(silence))));
                    }
                }
                Err(_) => return Ok(Next::Ended(self.bury())),
            }
        }
    }

    /// The next message, if all of it has arrived.
    fn complete_frame(&mut self) -> Option<Next> {
        let header = self.received.first_chunk::<HEADER_BYTES>()?;
        let Ok(len) = frame_len(*header) else {
            return Some(Next::Ended(self.end(Cause::Babble)));
        };
        let payload = self.received.get(HEADER_BYTES..HEADER_BYTES + len)?;
        let message = postcard::from_bytes(payload);
        self.received.drain(..HEADER_BYTES + len);
        Some(match message {
            Ok(message) => Next::Message(message),
            Err(_) => Next::Ended(self.end(Cause::Babble)),
        })
    }

    fn exhausted(&self) -> Option<Cause> {
        let wall = self.supervisor.budgets.wall?;
        (Instant::now() >= self.deadline?).then_some(Cause::Wall(wall))
    }

    /// Kills the child for a cause.
    pub(super) fn end(&mut self, cause: Cause) -> Death {
        match self.kill() {
            Some(_) => Death {
                cause,
                last_words: self.last_words(),
            },
            None => Death {
                cause: Cause::Unkillable,
                last_words: String::new(),
            },
        }
    }

    /// Learns how a child ended that closed its socket.
    fn bury(&mut self) -> Death {
        // Its socket is closed as part of its exit; should it have closed it by itself, it is killed.
        match self.reap().or_else(|| self.kill()) {
            Some(status) => Death::of_status(status, self.last_words()),
            None => self.end(Cause::Unkillable),
        }
    }

    /// The death of a child that said that its reader panicked.
    pub(super) fn panicked(&mut self, message: String) -> Death {
        self.reap();
        Death {
            cause: Cause::Panicked,
            last_words: message,
        }
    }

    fn kill(&mut self) -> Option<ExitStatus> {
        // An error means that it is gone already, which is what is wanted.
        self.child.kill().ok();
        self.reap()
    }

    /// Waits for the child to go, but not for ever: a process that waits for a broken device cannot be killed.
    fn reap(&mut self) -> Option<ExitStatus> {
        let since = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if since.elapsed() < REAP => std::thread::sleep(Duration::from_millis(1)),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// The last line that the child wrote to standard error; only for a child that is gone.
    fn last_words(&mut self) -> String {
        self.last_words
            .take()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// Whether a source is open for reading only (R21).
fn is_read_only(source: &File) -> io::Result<bool> {
    let flags = rustix::fs::fcntl_getfl(source)?;
    Ok(flags & OFlags::RWMODE == OFlags::RDONLY)
}

/// Sends the descriptors beside the source, some with each byte.
fn send_companions(socket: &UnixStream, source: &ImageFiles) -> io::Result<()> {
    let descriptors: Vec<BorrowedFd<'_>> = source.present().into_iter().map(AsFd::as_fd).collect();
    for some in descriptors.chunks(DESCRIPTORS_MAX) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(some)) {
            return Err(io::Error::other("the descriptors do not fit into a message"));
        }
        sendmsg(socket, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// Reads to the end and keeps the last line, at most [`LAST_WORDS_BYTES`] of it.
fn tail(mut errors: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(len) = errors.read(&mut buffer) {
        if len == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..len]);
        let surplus = kept.len().saturating_sub(LAST_WORDS_BYTES);
        kept.drain(..surplus);
    }
    let text = String::from_utf8_lossy(&kept);
    text.lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with("note:"))
        .unwrap_or_default()
        .to_owned()
}
