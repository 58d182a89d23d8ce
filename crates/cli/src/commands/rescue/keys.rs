//! Keys and signals of a running rescue.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ntt_rescue::monitor::Monitor;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};

use crate::interrupt::ExitHeld;

/// Flags that signals raise, and the terminal in a state in which single keys arrive.
pub(super) struct Keys {
    stop: Arc<AtomicBool>,
    pause: Arc<AtomicBool>,
    skip: Arc<AtomicBool>,
    /// The terminal as it was; given back in the end.
    terminal: Option<Termios>,
    /// The second signal is ours: the terminal is given back before.
    _exit: ExitHeld,
}

impl Keys {
    /// Begins to listen to signals, and to the keyboard if wanted and there is one.
    pub(super) fn listen(keyboard: bool) -> io::Result<Self> {
        let exit = ExitHeld::hold();
        let [stop, pause, skip] = [(); 3].map(|()| Arc::new(AtomicBool::new(false)));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
        }
        signal_hook::flag::register(SIGUSR1, Arc::clone(&pause))?;
        signal_hook::flag::register(SIGUSR2, Arc::clone(&skip))?;
        let terminal = if keyboard && io::stdin().is_terminal() {
            single_keys().ok()
        } else {
            None
        };
        Ok(Self {
            stop,
            pause,
            skip,
            terminal,
            _exit: exit,
        })
    }

    /// Hands on what was asked for since the last call.
    pub(super) fn obey(&self, monitor: &Monitor) {
        while let Some(key) = self.key() {
            match key.to_ascii_lowercase() {
                b'p' | b' ' => monitor.toggle_pause(),
                b's' => monitor.skip(),
                b'q' => monitor.stop(),
                _ => {}
            }
        }
        if self.stop.swap(false, Ordering::Relaxed) {
            if monitor.is_stopping() {
                self.end_at_once();
            }
            monitor.stop();
        }
        if self.pause.swap(false, Ordering::Relaxed) {
            monitor.toggle_pause();
        }
        if self.skip.swap(false, Ordering::Relaxed) {
            monitor.skip();
        }
    }

    /// The second signal: the map on disk is right, and whatever is lost is a few seconds of work.
    fn end_at_once(&self) {
        self.restore_terminal();
        std::process::exit(130);
    }

    fn restore_terminal(&self) {
        if let Some(terminal) = &self.terminal {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, terminal);
        }
    }

    /// A key that waits, if any.
    fn key(&self) -> Option<u8> {
        self.terminal.as_ref()?;
        let stdin = io::stdin();
        let mut wanted = [PollFd::new(&stdin, PollFlags::IN)];
        let now = Timespec::try_from(Duration::ZERO).ok()?;
        let ready = poll(&mut wanted, Some(&now)).ok()?;
        let mut key = [0];
        (ready > 0 && rustix::io::read(&stdin, &mut key).ok()? == 1).then_some(key[0])
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.restore_terminal();
    }
}

/// Lets keys through one by one, unseen; signals such as Ctrl-C stay. Gives the state before.
fn single_keys() -> io::Result<Termios> {
    let before = tcgetattr(io::stdin())?;
    let mut now = before.clone();
    now.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
    tcsetattr(io::stdin(), OptionalActions::Now, &now)?;
    Ok(before)
}
