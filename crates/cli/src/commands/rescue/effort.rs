//! How much effort a rescue makes: the arguments that `rescue` and `ingest` share.

use std::time::Duration;

use clap::{Args, ValueEnum};
use ntt_model::ByteRange;
use ntt_rescue::policy::{Patience, Policy};

use crate::units;

/// How long a device that went away is waited for.
const WAIT_SECONDS: u64 = 60;

/// The effort of a rescue.
#[derive(Debug, Args)]
pub(crate) struct EffortFlags {
    /// How long to fight for what does not come at once [default: minutes].
    #[arg(long, value_enum)]
    patience: Option<PatienceArg>,
    /// Read this range first: OFFSET:LENGTH, as in 1MiB:64KiB. May be given more than once.
    #[arg(long, value_name = "RANGE", value_parser = parse_range)]
    pub(crate) priority: Vec<ByteRange>,
    /// Read what files need before the rest from the start on; without it, once a read fails or is slow.
    #[arg(long)]
    pub(crate) files_first: bool,
    /// Wait so many seconds for a device that went away [default: 60].
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    /// Go on although the mapfile speaks of another size: the same disc in another drive.
    #[arg(long)]
    pub(crate) accept_size: bool,
    /// Begin although the target has less room than the medium may need.
    #[arg(long)]
    pub(crate) accept_space: bool,
}

impl EffortFlags {
    /// The limits that follow.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            wait_for_device: Duration::from_secs(self.wait.unwrap_or(WAIT_SECONDS)),
            ..Policy::of(self.patience().into())
        }
    }

    /// How long to fight.
    pub(crate) fn patience(&self) -> PatienceArg {
        self.patience.unwrap_or(PatienceArg::Minutes)
    }

    /// One of these arguments that was given, if any was.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let given = [
            ("--patience", self.patience.is_some()),
            ("--priority", !self.priority.is_empty()),
            ("--files-first", self.files_first),
            ("--wait", self.wait.is_some()),
            ("--accept-size", self.accept_size),
            ("--accept-space", self.accept_space),
        ];
        given
            .into_iter()
            .find_map(|(name, is_given)| is_given.then_some(name))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum PatienceArg {
    /// At most 20 minutes beyond the copy; dead zones are delimited and left.
    Minutes,
    /// At most 3 hours; dead zones are read sector by sector, small ones first.
    Hours,
    /// At most 10 hours; the same, with ten rounds of retries.
    Night,
    /// Without limit.
    Days,
}

impl From<PatienceArg> for Patience {
    fn from(patience: PatienceArg) -> Self {
        match patience {
            PatienceArg::Minutes => Self::Minutes,
            PatienceArg::Hours => Self::Hours,
            PatienceArg::Night => Self::Night,
            PatienceArg::Days => Self::Days,
        }
    }
}

fn parse_range(text: &str) -> Result<ByteRange, String> {
    let (offset, len) = text
        .split_once(':')
        .ok_or_else(|| format!("`{text}` is not OFFSET:LENGTH"))?;
    Ok(ByteRange::new(
        units::parse_bytes(offset)?,
        units::parse_bytes(len)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parsed_or_refused() {
        assert_eq!(parse_range("1MiB:512"), Ok(ByteRange::new(1 << 20, 512)));
        assert!(parse_range("12").is_err());
    }
}
