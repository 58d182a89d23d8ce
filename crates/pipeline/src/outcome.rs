//! How a run ended (R44).

use serde::{Deserialize, Serialize};

/// How a run ended; ordered from best to worst, so that the outcome of several is their maximum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    /// Everything was done and nothing is missing.
    #[default]
    Complete,
    /// Finished; what could not be read is recorded.
    Losses,
    /// A source is a medium that is withdrawn, and was not taken in.
    Withdrawn,
    /// Verification or comparison found content that is not what it should be.
    DamageFound,
    /// Stopped on request; the same command goes on from here.
    Interrupted,
    /// Could not be done.
    Failed,
}

impl RunOutcome {
    /// The exit status of a process that ends with this outcome.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::Failed => 1,
            Self::Losses => 3,
            Self::Withdrawn => 4,
            Self::DamageFound => 12,
            Self::Interrupted => 130,
        }
    }

    /// The outcome of a stage that ended with an error.
    pub fn of_error(error: &crate::Error) -> Self {
        match error.kind() {
            crate::ErrorKind::Interrupted => Self::Interrupted,
            crate::ErrorKind::Withdrawn => Self::Withdrawn,
            _ => Self::Failed,
        }
    }

    /// The word that the event log keeps (R46).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "ok",
            Self::Losses => "losses",
            Self::Withdrawn => "withdrawn",
            Self::DamageFound => "damage",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R44: 0 only if all was done; losses, damage and interruption have codes of their own.
    #[test]
    fn r44_every_outcome_has_its_own_exit_code() {
        use RunOutcome::{Complete, DamageFound, Failed, Interrupted, Losses, Withdrawn};
        let outcomes = [Complete, Losses, Withdrawn, DamageFound, Interrupted, Failed];
        assert_eq!(outcomes.map(RunOutcome::exit_code), [0, 3, 4, 12, 130, 1]);
        assert_eq!(Losses.max(Complete), Losses);
    }
}
