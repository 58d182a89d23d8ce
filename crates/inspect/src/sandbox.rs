//! What the scan child gives up before it touches hostile bytes.
//!
//! Every step is tried on its own, and [`Confinement`] tells which are in force: a kernel without Landlock or seccomp makes the child less
//! confined, never unusable. What each step holds back is in `docs/design/scan-child.md`.

use std::fmt;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope,
};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};

use crate::protocol::ProcessLimits;

mod descriptors;
mod filter;

/// Open files that the child may have besides companions of its source: the three standard streams, its own copies of two of them, and one spare.
const OPEN_FILES_MAX: u64 = 8;
/// Seconds between the signal that ends a child whose processor time ran out and the one that it cannot catch.
const CPU_GRACE_SECONDS: u64 = 2;

/// Which parts of the confinement are in force.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Confinement {
    /// Nothing is open but the source, the socket to the supervisor and the pipe for error text.
    pub descriptors: bool,
    /// No program that it could start would gain rights (`PR_SET_NO_NEW_PRIVS`).
    pub no_new_privileges: bool,
    /// The kernel kills the child when its supervisor dies (`PR_SET_PDEATHSIG`): the thread that starts children, which ends with its process.
    pub dies_with_parent: bool,
    /// Memory, processor time, core dumps and open files are limited.
    pub limits: bool,
    /// How much of the file system, network and signal ban Landlock enforces.
    pub landlock: Grade,
    /// Only the system calls that a scan needs are allowed.
    pub seccomp: bool,
}

/// How much of what was asked for is enforced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Grade {
    /// Everything.
    Full,
    /// What this kernel knows of it.
    Partial,
    /// Nothing.
    #[default]
    None,
}

/// A part of the confinement that holds a given attempt back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Guard {
    /// The source's descriptor is open for reading only; the supervisor hands over no other.
    ReadOnlySource,
    /// The filter of system calls.
    Seccomp,
    /// Landlock's ban on files by name, which every version of it has.
    LandlockFiles,
    /// Landlock's ban on signals to others, from ABI 6 on.
    LandlockSignals,
}

impl Confinement {
    /// Whether a guard is in force.
    pub fn holds(&self, guard: Guard) -> bool {
        match guard {
            Guard::ReadOnlySource => true,
            Guard::Seccomp => self.seccomp,
            Guard::LandlockFiles => self.landlock != Grade::None,
            Guard::LandlockSignals => self.landlock == Grade::Full,
        }
    }

    /// The parts in force, by the names that people know them by.
    pub fn in_force(&self) -> Vec<&'static str> {
        self.parts_that_are(true)
    }

    /// The parts that are missing, by the names that people know them by.
    pub fn missing(&self) -> Vec<&'static str> {
        self.parts_that_are(false)
    }

    fn parts_that_are(&self, wanted: bool) -> Vec<&'static str> {
        let parts = [
            (self.descriptors, "close_range"),
            (self.no_new_privileges, "no_new_privs"),
            (self.dies_with_parent, "parent death signal"),
            (self.limits, "resource limits"),
            (self.landlock != Grade::None, "landlock"),
            (self.seccomp, "seccomp"),
        ];
        parts
            .into_iter()
            .filter(|(held, _)| *held == wanted)
            .map(|(_, name)| name)
            .collect()
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = self.missing();
        if missing.is_empty() {
            f.write_str("confined")
        } else {
            write!(f, "confined without {}", missing.join(", "))
        }
    }
}

/// Closes what was inherited by accident and ties the child to its parent; the first thing that the child does.
///
/// Nothing above the three standard streams may be in use by the process yet.
pub fn cut_loose() -> Confinement {
    Confinement {
        descriptors: descriptors::close_all_but_standard(),
        no_new_privileges: rustix::thread::set_no_new_privs(true).is_ok(),
        dies_with_parent: die_with_parent(),
        ..Confinement::default()
    }
}

/// Limits the process and locks it up; the calling thread must be its only one. `companions` descriptors came with the source.
pub fn confine(limits: ProcessLimits, companions: u64, confinement: &Confinement) -> Confinement {
    Confinement {
        limits: limit(limits, OPEN_FILES_MAX.saturating_add(companions)),
        landlock: lock_file_system(),
        seccomp: filter::install().is_ok(),
        ..confinement.clone()
    }
}

fn die_with_parent() -> bool {
    let parent = rustix::process::getppid();
    let set = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
    // A parent that died before the call sends no signal: the child would have a new parent by now.
    set && parent.is_some() && parent == rustix::process::getppid() && parent != Some(Pid::INIT)
}

fn limit(limits: ProcessLimits, open_files: u64) -> bool {
    let set = |resource, soft: u64, hard: u64| {
        let limit = Rlimit {
            current: Some(soft),
            maximum: Some(hard),
        };
        rustix::process::setrlimit(resource, limit).is_ok()
    };
    let cpu_hard = limits.cpu_seconds.saturating_add(CPU_GRACE_SECONDS);
    [
        set(Resource::Core, 0, 0),
        set(Resource::Nofile, open_files, open_files),
        set(Resource::Cpu, limits.cpu_seconds, cpu_hard),
        set(Resource::As, limits.memory_bytes, limits.memory_bytes),
    ]
    .into_iter()
    .all(|done| done)
}

/// Bans every access to files by name, every TCP port, and signals and abstract sockets outside of the process.
fn lock_file_system() -> Grade {
    let restricted = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V6))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(ABI::V6)))
        .and_then(|rules| rules.scope(Scope::from_all(ABI::V6)))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.restrict_self());
    match restricted.map(|status| status.ruleset) {
        Ok(RulesetStatus::FullyEnforced) => Grade::Full,
        Ok(RulesetStatus::PartiallyEnforced) => Grade::Partial,
        Ok(_) | Err(_) => Grade::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let confinement = Confinement {
            descriptors: true,
            no_new_privileges: true,
            dies_with_parent: true,
            limits: true,
            landlock: Grade::None,
            seccomp: true,
        };
        assert_eq!(confinement.missing(), ["landlock"]);
        assert_eq!(confinement.in_force().len(), 5);
        assert!(confinement.holds(Guard::Seccomp) && !confinement.holds(Guard::LandlockFiles));
        assert_eq!(confinement.to_string(), "confined without landlock");
    }
}
