//! How a scan child ended before its work was done.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use ntt_model::failure::Failure;
use ntt_model::{FailureClass, Finding, FindingCode, Layer, Severity};
use rustix::process::Signal;

/// What the standard library says, on standard error, before it aborts for want of memory.
const OUT_OF_MEMORY: &str = "memory allocation of";

/// Why a child ended early.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// No word from it for this long.
    Hung(Duration),
    /// It asked for more memory than its budget.
    Memory,
    /// Its processor time ran out.
    Cpu,
    /// The time for the whole call ran out.
    Wall(Duration),
    /// The reader panicked.
    Panicked,
    /// It was ended by this signal.
    Signal(i32),
    /// It exited with this status without finishing.
    Exited(i32),
    /// It sent something that cannot be understood.
    Babble,
    /// It does not end although it was killed: it hangs in the kernel, most likely in the device.
    Unkillable,
}

/// A child that ended early, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Death {
    /// Why.
    pub cause: Cause,
    /// The last line that it wrote to standard error, or the message of its panic; empty if there is none.
    pub last_words: String,
}

impl Death {
    /// Reads the cause from how the process ended.
    pub(super) fn of_status(status: ExitStatus, last_words: String) -> Self {
        let cause = match (status.signal(), status.code()) {
            (Some(signal), _) if signal == Signal::XCPU.as_raw() => Cause::Cpu,
            (Some(_), _) if last_words.contains(OUT_OF_MEMORY) => Cause::Memory,
            (Some(signal), _) => Cause::Signal(signal),
            (None, code) => Cause::Exited(code.unwrap_or_default()),
        };
        Self { cause, last_words }
    }

    /// Whether a budget ran out, rather than the program being broken.
    pub fn is_limit(&self) -> bool {
        matches!(self.cause, Cause::Memory | Cause::Cpu | Cause::Wall(_))
    }

    /// Whether the process ended by itself or was ended by others: no budget of time ran out, and it did not speak nonsense.
    pub(super) fn is_of_process(&self) -> bool {
        matches!(
            self.cause,
            Cause::Memory | Cause::Cpu | Cause::Panicked | Cause::Signal(_) | Cause::Exited(_)
        )
    }

    /// The finding for a death that cost something.
    pub(super) fn finding(&self, consequence: &str) -> Finding {
        let detail = format!("{}{self}; {consequence}", Finding::SCAN_CHILD);
        Finding::new(Severity::Loss, Layer::Scanner, self.code(), detail)
    }

    /// The finding for a death that cost a stream.
    pub fn stream_finding(&self) -> Finding {
        let detail = format!("the read child {self}; the stream is given up");
        Finding::new(Severity::Loss, Layer::Content, self.code(), detail)
    }

    /// The failure of the stream that it cost. What ran out of time may have had bad luck, and what a signal ended too: they are tried again.
    pub fn failure(&self) -> Failure {
        let (class, code) = match &self.cause {
            Cause::Hung(_) => (FailureClass::Timeout, 10),
            Cause::Cpu => (FailureClass::Timeout, 11),
            Cause::Wall(_) => (FailureClass::Timeout, 12),
            Cause::Unkillable => (FailureClass::Timeout, 13),
            Cause::Memory => (FailureClass::Corrupt, 14),
            Cause::Panicked => (FailureClass::Corrupt, 15),
            Cause::Babble => (FailureClass::Corrupt, 16),
            Cause::Signal(signal) => (FailureClass::Unknown, *signal),
            Cause::Exited(status) => (FailureClass::Unknown, *status),
        };
        Failure {
            class,
            code,
            detail: format!("the read child {self}"),
        }
    }

    fn code(&self) -> FindingCode {
        if self.is_limit() {
            FindingCode::Limit
        } else {
            FindingCode::Killed
        }
    }

    /// The finding for a death that did not come back.
    pub(super) fn healed(&self) -> Finding {
        let detail = format!(
            "{}{self}; started again, it went on without loss",
            Finding::SCAN_CHILD
        );
        Finding::new(Severity::Info, Layer::Scanner, FindingCode::Killed, detail)
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Hung(time) => write!(f, "made no progress for {} s", time.as_secs_f32()),
            Cause::Memory => f.write_str("needed more memory than its budget"),
            Cause::Cpu => f.write_str("used up its processor time"),
            Cause::Wall(time) => write!(f, "was not done after {} s", time.as_secs_f32()),
            Cause::Panicked => f.write_str("panicked"),
            Cause::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Cause::Exited(status) => write!(f, "exited early with status {status}"),
            Cause::Babble => f.write_str("sent what cannot be understood"),
            Cause::Unkillable => f.write_str("hangs in the kernel and cannot be killed"),
        }?;
        match self.last_words.as_str() {
            "" => Ok(()),
            words => write!(f, " (`{words}`)"),
        }
    }
}
