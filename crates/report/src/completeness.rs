//! Whether everything on a medium is safe: one judgement for all who say so (R14, R22, R44).

use ntt_catalogue::Catalogue;
use ntt_catalogue::rows::{Census, Image, MediumRow};
use ntt_model::Severity;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::hits::hits;
use crate::media::lost;
use crate::selector::current_findings_that;

/// Whether everything on a medium is safe.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Completeness {
    /// Every volume was read without a loss, and every content is stored or deliberately excluded.
    Complete,
    /// Copy work is waiting or was interrupted.
    Unfinished,
    /// Every content is stored, and the places of the medium that could not be read hold no file and no structure.
    FilesComplete,
    /// Finished, but something could not be read: a volume, a file, a structure, a part of the image (R14, R22).
    Partial,
    /// No volume has been scanned yet.
    NotScanned,
    /// Nothing of it could ever be read; it is on record as a thing.
    Unreadable,
}

impl Completeness {
    /// One word for tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Unfinished => "unfinished",
            Self::Partial => "partial",
            Self::NotScanned => "not-scanned",
            Self::FilesComplete => "files-complete",
            Self::Unreadable => "unreadable",
        }
    }
}

/// A volume as one reader saw it, as far as the judgement asks.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// Verdict of the inspection.
    pub verdict: &'a str,
    /// File system type.
    pub type_name: &'a str,
    /// What was found; `None` if it was not scanned.
    pub census: Option<&'a Census>,
}

/// What is to be said of a medium.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Judgement {
    /// In one word.
    pub completeness: Completeness,
    /// Whether something could not be read, be the rest finished or not.
    pub is_partial: bool,
}

/// Judges a medium by its image, by what became of its volumes, and by the losses on record. A loss is a loss, whether or not it is known to have cost a
/// file: a directory that could not be read hides an unknown number of them.
///
/// # Errors
///
/// What the catalogue says.
pub fn judge(
    catalogue: &dyn Catalogue,
    medium: &MediumRow,
    image: Option<&Image>,
    readings: &[Reading<'_>],
) -> Result<Judgement, Error> {
    let Some(image) = image else {
        return Ok(Judgement {
            completeness: Completeness::Unreadable,
            is_partial: true,
        });
    };
    let has_losses = readings.is_empty()
        || image.expected_bytes > image.size_bytes
        || readings.iter().any(is_unread)
        || has_loss_on_record(catalogue, medium)?;
    let completeness = if is_untouched(readings) {
        Completeness::NotScanned
    } else if readings.iter().any(waits) {
        Completeness::Unfinished
    } else if has_losses {
        Completeness::Partial
    } else if image.unread.is_empty() {
        Completeness::Complete
    } else {
        match hits(catalogue, medium, image)?.files_hit {
            Some(false) => Completeness::FilesComplete,
            _ => Completeness::Partial,
        }
    };
    Ok(Judgement {
        completeness,
        is_partial: has_losses || !image.unread.is_empty(),
    })
}

/// Whether a volume holds no files by what it is: nobody need scan it (R14).
pub(crate) fn holds_no_files(verdict: &str, type_name: &str) -> bool {
    match verdict {
        "empty" | "table" | "same-as" => true,
        "identified" => matches!(type_name, "swap" | "swsuspend"),
        _ => false,
    }
}

/// Whether something of a volume is, or may be, missing: it was not scanned and may hold files, or not all content could be read.
fn is_unread(reading: &Reading<'_>) -> bool {
    match reading.census {
        Some(census) => lost(census).count > 0,
        None => !holds_no_files(reading.verdict, reading.type_name),
    }
}

/// Whether nothing was scanned yet, although everything can be.
fn is_untouched(readings: &[Reading<'_>]) -> bool {
    readings
        .iter()
        .all(|reading| reading.census.is_none() && reading.verdict == "readable")
}

/// Whether contents wait to be copied.
fn waits(reading: &Reading<'_>) -> bool {
    reading
        .census
        .is_some_and(|census| census.pending.count + census.retryable.count > 0)
}

fn has_loss_on_record(catalogue: &dyn Catalogue, medium: &MediumRow) -> Result<bool, Error> {
    let losses = current_findings_that(catalogue, medium, |finding| finding.severity == Severity::Loss)?;
    Ok(!losses.is_empty())
}
