//! Whether everything on a medium is safe: one judgement for all who say so (R14, R22, R44).

use std::collections::{BTreeSet, HashSet};

use ntt_catalogue::Catalogue;
use ntt_catalogue::rows::{Census, Evidence, Image, MediumRow};
use ntt_model::space::Address;
use ntt_model::{MediumId, Severity};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::hits::{hits, is_of_unread_image};
use crate::media::{Counted, lost, volumes};
use crate::selector::{all_scans, current_findings_that, lost_sets_of, sets_of};

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
    /// Finished, but something could not be read: a volume, a file, a structure, a part of the image (R14, R22); or what read it is a set that is withdrawn.
    Partial,
    /// No volume has been scanned yet.
    NotScanned,
    /// Nothing of it could ever be read; it is on record as a thing.
    Unreadable,
    /// Contents of it are on record as damaged in the store.
    Damaged,
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
            Self::Damaged => "damaged",
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
    /// Contents that are on record as damaged in the store.
    pub bad: u64,
    /// The set that holds bytes of it and of which no better can be said, if that is why.
    pub by_set: Option<MediumId>,
}

impl Judgement {
    /// As it is, or as that of a set which holds bytes of the medium, if that is worse.
    fn bounded_by(self, set: &MediumRow, of_set: &Self) -> Self {
        if weight(of_set.completeness) <= weight(self.completeness) {
            return self;
        }
        Self {
            completeness: of_set.completeness,
            is_partial: self.is_partial || of_set.is_partial,
            bad: self.bad.max(of_set.bad),
            by_set: Some(set.medium.id),
        }
    }
}

/// How much speaks against letting a medium go, in the order in which [`judge`] asks.
fn weight(completeness: Completeness) -> u8 {
    match completeness {
        Completeness::Complete => 0,
        Completeness::FilesComplete => 1,
        Completeness::Partial => 2,
        Completeness::Unfinished => 3,
        Completeness::NotScanned => 4,
        Completeness::Damaged => 5,
        Completeness::Unreadable => 6,
    }
}

/// Judges a medium by its image, by what became of its volumes, and by the losses on record. A loss is a loss, whether or not it is known to have cost a
/// file: a directory that could not be read hides an unknown number of them. What a set holds of an image is judged with the set: the image is no better.
///
/// # Errors
///
/// What the catalogue says.
pub fn judge(
    catalogue: &dyn Catalogue,
    medium: &MediumRow,
    image: Option<&Image>,
    readings: &[Reading<'_>],
    counted: &dyn Counted,
) -> Result<Judgement, Error> {
    let mut judgement = judge_alone(catalogue, medium, image, readings)?;
    for set in holders(catalogue, medium)? {
        let reports = volumes(catalogue, &set, counted)?;
        let readings: Vec<Reading<'_>> = reports.iter().map(|report| report.reading()).collect();
        let of_set = judge_alone(catalogue, &set, catalogue.image(set.key)?.as_ref(), &readings)?;
        judgement = judgement.bounded_by(&set, &of_set);
    }
    Ok(judgement)
}

/// The sets that hold bytes of an image. One whose images are all in another one of them does not count: that other was made since, of more.
fn holders(catalogue: &dyn Catalogue, medium: &MediumRow) -> Result<Vec<MediumRow>, Error> {
    let mut sets: Vec<(MediumRow, BTreeSet<String>)> = Vec::new();
    for set in sets_of(catalogue, medium)? {
        let mut evidence = catalogue.evidence(set.key)?;
        evidence.retain(|piece| piece.kind == Evidence::MEMBER);
        if holds(catalogue, &set, &evidence, medium)? {
            sets.push((set, evidence.into_iter().map(|piece| piece.value).collect()));
        }
    }
    let images: Vec<BTreeSet<String>> = sets.iter().map(|(_, images)| images.clone()).collect();
    let is_outgrown = |own: &BTreeSet<String>| {
        let mut others = images.iter();
        others.any(|other| other.len() > own.len() && own.is_subset(other))
    };
    sets.retain(|(_, own)| !is_outgrown(own));
    Ok(sets.into_iter().map(|(set, _)| set).collect())
}

/// Whether a volume of the set is one of its volumes' members and lies in this image.
fn holds(
    catalogue: &dyn Catalogue,
    set: &MediumRow,
    members: &[Evidence],
    medium: &MediumRow,
) -> Result<bool, Error> {
    let id = medium.medium.id.to_string();
    let own = members.iter().filter(|piece| piece.value == id);
    let numbers: Vec<u32> = own.filter_map(Evidence::image_number).collect();
    let volumes = catalogue.volumes(set.key)?;
    Ok(volumes.iter().any(|row| {
        let address = Address::of(row.volume.range.offset);
        row.volume.verdict == "table"
            && matches!(address, Address::Member(number, _) if numbers.contains(&number))
    }))
}

fn judge_alone(
    catalogue: &dyn Catalogue,
    medium: &MediumRow,
    image: Option<&Image>,
    readings: &[Reading<'_>],
) -> Result<Judgement, Error> {
    let Some(image) = image else {
        return Ok(Judgement {
            completeness: Completeness::Unreadable,
            is_partial: true,
            bad: 0,
            by_set: None,
        });
    };
    let losses = current_findings_that(catalogue, medium, |finding| finding.severity == Severity::Loss)?;
    // Bytes of the image itself may have held nothing.
    let (of_image, others): (Vec<_>, Vec<_>) =
        losses.iter().partition(|row| is_of_unread_image(&row.finding));
    let lacks_bytes = !image.unread.is_empty() || !of_image.is_empty();
    let has_losses = readings.is_empty()
        || image.expected_bytes > image.size_bytes
        || readings.iter().any(is_unread)
        || !lost_sets_of(catalogue, medium)?.is_empty()
        || !others.is_empty();
    let bad = bad_contents(catalogue, medium)?;
    let completeness = if bad > 0 {
        Completeness::Damaged
    } else if is_untouched(readings) {
        Completeness::NotScanned
    } else if readings.iter().any(waits) {
        Completeness::Unfinished
    } else if has_losses {
        Completeness::Partial
    } else if !lacks_bytes {
        Completeness::Complete
    } else {
        match hits(catalogue, medium, image)?.files_hit {
            Some(false) => Completeness::FilesComplete,
            _ => Completeness::Partial,
        }
    };
    Ok(Judgement {
        completeness,
        is_partial: has_losses || lacks_bytes,
        bad,
        by_set: None,
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
        // What was scanned once may be unread by what a map says now: then nobody knows how much of it is right.
        Some(census) => lost(census).count > 0 || reading.verdict == "unread",
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

/// How many contents of a medium the store does not have right any more, as far as is on record (R44). What only a superseded scan lists is among them: it was on
/// the medium, and nobody may say that all is well while it is lost.
///
/// # Errors
///
/// What the catalogue says.
pub fn bad_contents(catalogue: &dyn Catalogue, medium: &MediumRow) -> Result<u64, Error> {
    let mut bad = HashSet::new();
    // Mostly there are none at all.
    if !catalogue.bad_blobs(None)?.is_empty() {
        for scan in all_scans(catalogue, medium)? {
            bad.extend(catalogue.bad_blobs(Some(scan.id))?);
        }
    }
    Ok(u64::try_from(bad.len()).unwrap_or(u64::MAX))
}
