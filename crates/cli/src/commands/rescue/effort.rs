//! How much effort a rescue makes: the arguments that `rescue` and `ingest` share.

use std::time::Duration;

use clap::{Args, ValueEnum};
use ntt_model::ByteRange;
use ntt_rescue::policy::{Patience, Policy};

use crate::units;

/// The effort of a rescue.
#[derive(Debug, Args)]
pub(crate) struct EffortFlags {
    /// How long to fight for what does not come at once.
    #[arg(long, value_enum, default_value_t = PatienceArg::Minutes)]
    pub(crate) patience: PatienceArg,
    /// Read this range first: OFFSET:LENGTH, as in 1MiB:64KiB. May be given more than once.
    #[arg(long, value_name = "RANGE", value_parser = parse_range)]
    pub(crate) priority: Vec<ByteRange>,
    /// Read what files need before the rest from the start on; without it, once a read fails or is slow.
    #[arg(long)]
    pub(crate) files_first: bool,
    /// Wait so many seconds for a device that went away.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) wait: u64,
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
            wait_for_device: Duration::from_secs(self.wait),
            ..Policy::of(self.patience.into())
        }
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
