//! How much memory something took.

use std::fs;

/// Peak memory of this process from a moment on. Tests that run in one process at once disturb each other: nextest runs each in its own.
#[derive(Debug)]
pub struct Peak {
    before_bytes: Option<u64>,
}

impl Peak {
    /// Forgets the peak so far (proc(5): 5 written to `clear_refs`); without that file nothing is measured.
    pub fn start() -> Self {
        let reset = fs::write("/proc/self/clear_refs", "5").is_ok();
        if !reset {
            eprintln!("skipped: peak memory cannot be measured here");
        }
        Self {
            before_bytes: status("VmRSS:").filter(|_| reset),
        }
    }

    /// How much memory was added at the most.
    pub fn added_bytes(&self) -> Option<u64> {
        Some(status("VmHWM:")?.saturating_sub(self.before_bytes?))
    }

    /// Checks that.
    ///
    /// # Panics
    ///
    /// If it is more than `bytes`.
    pub fn check(&self, bytes: u64) {
        let added = self.added_bytes().unwrap_or(0);
        assert!(added <= bytes, "{added} bytes of memory, more than {bytes}");
    }
}

/// A size of `/proc/self/status`.
fn status(field: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.split_whitespace().next())?;
    Some(value.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The canary: memory that is touched shows.
    #[test]
    fn touched_memory_is_seen() {
        let peak = Peak::start();
        let bytes = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(peak.added_bytes().is_none_or(|added| added > 60 << 20));
        drop(bytes);
    }
}
