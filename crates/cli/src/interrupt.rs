//! Ctrl-C and SIGTERM: the first asks the run to stop at the next safe point, the second ends the process at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// A flag that becomes true at the first signal. The second signal ends the process with 130: everything durable is resumable.
pub(crate) fn flag() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// Waits for the flag, at most this long; whether it is up.
pub(crate) fn wait(flag: &AtomicBool, longest: Duration) -> bool {
    let end = Instant::now() + longest;
    while !flag.load(Ordering::Relaxed) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
    flag.load(Ordering::Relaxed)
}
