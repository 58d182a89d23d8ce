//! Which scans of a volume a command looks at.

use clap::Args;
use ntt_catalogue::query::Scans;
use ntt_model::{ScanId, Timestamp};
use ntt_report::find::ScanMark;
use ntt_report::selector::ScanChoice;

use crate::args::Global;
use crate::output::tell;
use crate::units;

/// For searches.
#[derive(Debug, Args)]
pub(crate) struct AllScans {
    /// In superseded scans too: what was there once and was gone, or changed, when its medium was scanned again.
    #[arg(long)]
    pub(crate) all_scans: bool,
}

impl AllScans {
    /// The scans to search.
    pub(crate) const fn scans(&self) -> Scans {
        if self.all_scans {
            Scans::All
        } else {
            Scans::Current
        }
    }

    /// The scans in which a path is looked for.
    pub(crate) const fn choice(&self) -> ScanChoice {
        if self.all_scans {
            ScanChoice::All
        } else {
            ScanChoice::Current
        }
    }
}

/// For commands that take one place.
#[derive(Debug, Args)]
pub(crate) struct OneScan {
    /// As it was at the scan of this number, superseded or not; `ntt find --all-scans` tells it.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) scan: Option<i64>,
}

impl OneScan {
    /// The scans in which the place is looked for.
    pub(crate) fn choice(&self) -> ScanChoice {
        self.scan
            .map_or(ScanChoice::Current, |scan| ScanChoice::One(ScanId(scan)))
    }
}

/// ` [scan 3 of 2026-11-20, superseded]` behind what only a superseded scan is known to list; else nothing.
pub(crate) fn scan_note(mark: &ScanMark) -> String {
    if mark.superseded {
        format!(" [scan {} of {}, superseded]", mark.scan, date(mark.scanned))
    } else {
        String::new()
    }
}

fn date(time: Timestamp) -> String {
    units::time(Some(time)).chars().take(10).collect()
}

/// What to do when nothing was found and older scans were not searched; `None` if there are none.
pub(crate) fn older_hint(older: u64) -> Option<String> {
    let scans = units::counted(older, "older scan", "older scans");
    (older > 0).then(|| format!("--all-scans also looks into {scans}"))
}

/// Says on stderr, where a search found nothing, that there are older scans.
pub(crate) fn tell_older(global: &Global, older: u64) {
    if global.quiet || global.json {
        return;
    }
    if let Some(hint) = older_hint(older) {
        tell(&format!("hint: {hint}"));
    }
}
