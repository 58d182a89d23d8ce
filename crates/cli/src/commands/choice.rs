//! Which scans of a volume a command looks at.

use clap::Args;
use ntt_catalogue::Catalogue;
use ntt_catalogue::query::Scans;
use ntt_model::ScanId;
use ntt_report::Error;
use ntt_report::find::{self, ScanMark};
use ntt_report::selector::{ScanChoice, Selector};

use crate::args::Global;
use crate::exit::Failure;
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
        format!(
            " [scan {} of {}, superseded]",
            mark.scan,
            units::date(mark.scanned)
        )
    } else {
        String::new()
    }
}

/// What did not find a place, with what is known of other scans of the volume in which it may stand.
pub(crate) fn not_found(
    catalogue: &dyn Catalogue,
    selector: &Selector,
    choice: ScanChoice,
    error: Error,
) -> Failure {
    let is_absent = matches!(error, Error::NotFound { .. });
    let failure = Failure::from(error);
    if !is_absent {
        return failure;
    }
    // Without a volume there is nothing to add to what was said.
    let older = older_scans(catalogue, selector).unwrap_or_default();
    let hint = match (choice, older) {
        (_, 0) | (ScanChoice::All, _) => return failure,
        (ScanChoice::One(_), _) => {
            "`ntt medium show` tells the numbers of the scans of each volume".to_owned()
        }
        (ScanChoice::Current, older) => format!(
            "{} of it: --scan NUMBER looks into one; `ntt medium show` tells their numbers, `ntt find --all-scans` what they list",
            units::counted(older, "older scan is on record", "older scans are on record")
        ),
    };
    failure.hint(hint)
}

/// How many superseded scans there are of the volume in which something was looked for.
pub(crate) fn older_scans(catalogue: &dyn Catalogue, selector: &Selector) -> Result<u64, Failure> {
    let medium = selector.find_medium(catalogue)?;
    let volume = selector.find_volume(catalogue, &medium)?;
    let number = Some(volume.volume.number);
    Ok(find::superseded_scans(catalogue, &[medium.key], number)?)
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
