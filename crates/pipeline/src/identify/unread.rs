//! What was called unread of an image and is not, or the other way round (R7, R11): its scans are to be made again.
//!
//! The log says so, before anything else does: a run that is killed between the two leaves its successor what tells that.

use ntt_catalogue::Catalogue;
use ntt_catalogue::rows::EventRow;
use ntt_model::{ByteRange, MediumKey};

use super::recognise::covers;
use crate::{Error, RunOutcome, Stage};

/// How the scans of a medium are to be made again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) enum Rescan {
    /// They are not.
    #[default]
    Not,
    /// What did not change keeps its results.
    Carrying,
    /// Nothing keeps its results: contents were taken for whole that are not.
    Afresh,
    /// The same, because files are here that were missing; what was found wanting of the image for that is made good.
    Files,
}

impl Rescan {
    /// What a change of the bytes that are unread asks for.
    pub(crate) fn of(before: &[ByteRange], now: &[ByteRange]) -> Self {
        match (before == now, covers(before, now)) {
            (true, _) => Self::Not,
            (false, true) => Self::Carrying,
            (false, false) => Self::Afresh,
        }
    }

    /// What an event of the log asks for.
    pub(crate) fn told_by(event: &EventRow) -> Self {
        let told = [Self::Carrying, Self::Afresh, Self::Files].into_iter();
        let mut told = told.filter(|rescan| rescan.detail() == event.detail);
        told.next().unwrap_or_default()
    }

    /// The words of the log.
    const fn detail(self) -> &'static str {
        match self {
            Self::Not => "",
            Self::Carrying => "more of it was rescued: its scans are to be made again",
            Self::Afresh => {
                "less of it was rescued than was known: its scans are to be made again, and its contents read again"
            }
            Self::Files => {
                "files of it are here that were missing: its scans are to be made again, and its contents read again"
            }
        }
    }
}

/// Notes that other bytes of a medium's image are unread than before; to be called before the image's row says so.
///
/// # Errors
///
/// When the catalogue fails.
pub(crate) fn note_change(
    catalogue: &dyn Catalogue,
    medium: MediumKey,
    before: &[ByteRange],
    now: &[ByteRange],
) -> Result<(), Error> {
    let unread_bytes = now.iter().map(|range| range.len).fold(0, u64::saturating_add);
    note(catalogue, medium, unread_bytes, Rescan::of(before, now).detail())
}

/// Notes that files of a medium's image are here that were not; as [`note_change`].
///
/// # Errors
///
/// When the catalogue fails.
pub(super) fn note_more_files(catalogue: &dyn Catalogue, medium: MediumKey) -> Result<(), Error> {
    note(catalogue, medium, 0, Rescan::Files.detail())
}

fn note(catalogue: &dyn Catalogue, medium: MediumKey, bytes: u64, detail: &str) -> Result<(), Error> {
    let event = EventRow {
        at: None,
        medium: Some(medium),
        stage: Stage::Identify.as_str().to_owned(),
        result: RunOutcome::Complete.as_str().to_owned(),
        elapsed_ms: 0,
        count: 0,
        bytes,
        detail: detail.to_owned(),
    };
    Ok(catalogue.add_event(&event)?)
}
