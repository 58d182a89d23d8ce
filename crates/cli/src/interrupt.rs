//! Ctrl-C and SIGTERM: the first asks the run to stop at the next safe point, the second ends the process at once.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Signals belong to the process, and so does what is known of them.
static STATE: LazyLock<State> = LazyLock::new(State::default);

#[derive(Default)]
struct State {
    /// A signal came.
    flag: Arc<AtomicBool>,
    /// The next signal ends the process.
    is_armed: Arc<AtomicBool>,
    /// What makes the first signal arm the second.
    arming: Mutex<Vec<SigId>>,
}

/// A flag that becomes true at the first signal. The second signal ends the process with 130: everything durable is resumable.
pub(crate) fn flag() -> io::Result<Arc<AtomicBool>> {
    for signal in SIGNALS {
        // Actions run in the order of their registration: this one does not see what the same signal arms.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&STATE.is_armed))?;
        signal_hook::flag::register(signal, Arc::clone(&STATE.flag))?;
    }
    arm()?;
    Ok(Arc::clone(&STATE.flag))
}

fn arm() -> io::Result<()> {
    let mut arming = STATE.arming.lock().unwrap_or_else(PoisonError::into_inner);
    for signal in SIGNALS {
        arming.push(signal_hook::flag::register(signal, Arc::clone(&STATE.is_armed))?);
    }
    Ok(())
}

fn disarm() -> bool {
    let mut arming = STATE.arming.lock().unwrap_or_else(PoisonError::into_inner);
    let was_arming = !arming.is_empty();
    for id in arming.drain(..) {
        signal_hook::low_level::unregister(id);
    }
    STATE.is_armed.store(false, Ordering::Relaxed);
    was_arming
}

/// While it lives, the second signal does not end the process: its holder sees to that, and has something to give back before.
pub(crate) struct ExitHeld {
    was_arming: bool,
}

impl ExitHeld {
    /// Takes the end of the process into one's own hands.
    pub(crate) fn hold() -> Self {
        Self { was_arming: disarm() }
    }
}

impl Drop for ExitHeld {
    fn drop(&mut self) {
        // Signals are caught already, so that no further action on them is refused.
        if self.was_arming && arm().is_ok() {
            let came = STATE.flag.load(Ordering::Relaxed);
            STATE.is_armed.store(came, Ordering::Relaxed);
        }
    }
}

/// Waits for the flag, at most this long; whether it is up.
pub(crate) fn wait(flag: &AtomicBool, longest: Duration) -> bool {
    let end = Instant::now() + longest;
    while !flag.load(Ordering::Relaxed) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
    flag.load(Ordering::Relaxed)
}
