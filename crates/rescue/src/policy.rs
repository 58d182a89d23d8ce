//! How much effort a rescue makes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A kind of work, in the order in which it is done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The first and the last MiB, where tables and superblocks stand.
    Edges,
    /// Large reads over everything, jumping over what fails or is slow; then back from the far edges; then samples inside dead zones.
    Copy,
    /// The edges of failed reads, sector by sector, to the first bad one.
    Trim,
    /// The insides of failed reads, sector by sector, smallest runs first.
    Scrape,
    /// Bad sectors once more, while that yields anything.
    Retry,
}

impl Phase {
    /// All, in order.
    pub const ALL: [Self; 5] = [Self::Edges, Self::Copy, Self::Trim, Self::Scrape, Self::Retry];

    /// The word that options, logs and JSON use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edges => "edges",
            Self::Copy => "copy",
            Self::Trim => "trim",
            Self::Scrape => "scrape",
            Self::Retry => "retry",
        }
    }
}

/// How long to fight for what does not come at once, named after what it may cost beyond the copy itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Patience {
    /// At most 20 minutes. Dead zones are delimited and left.
    #[default]
    Minutes,
    /// At most 3 hours. Dead zones are read sector by sector, small ones first.
    Hours,
    /// At most 10 hours. The same, and ten rounds of retries.
    Night,
    /// No limit of time, and a hundred rounds of retries.
    Days,
}

/// Limits of the effort.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Which kinds of work are done.
    pub phases: Vec<Phase>,
    /// Time for trimming, scraping and retrying together; `None` is no limit.
    pub effort_max: Option<Duration>,
    /// Runs longer than this, in bytes, are left unscraped: they are dead zones.
    pub scrape_run_bytes_max: u64,
    /// Rounds over the bad sectors.
    pub retry_rounds_max: u32,
    /// Bad sectors tried before retrying is given up, when nothing so far hinted that a second attempt helps.
    pub retry_sample: u32,
    /// How long to wait for a device that went away.
    pub wait_for_device: Duration,
}

impl Policy {
    /// The limits of a patience.
    pub fn of(patience: Patience) -> Self {
        let hour = Duration::from_secs(3600);
        let (effort_max, scrape_run_bytes_max, retry_rounds_max, retry_sample) = match patience {
            Patience::Minutes => (Some(hour / 3), 64 << 10, 5, 4),
            Patience::Hours => (Some(hour * 3), u64::MAX, 5, 16),
            Patience::Night => (Some(hour * 10), u64::MAX, 10, 256),
            Patience::Days => (None, u64::MAX, 100, u32::MAX),
        };
        Self {
            phases: Phase::ALL.to_vec(),
            effort_max,
            scrape_run_bytes_max,
            retry_rounds_max,
            retry_sample,
            wait_for_device: Duration::from_secs(60),
        }
    }

    /// Whether a kind of work is done.
    pub fn has(&self, phase: Phase) -> bool {
        self.phases.contains(&phase)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::of(Patience::default())
    }
}
