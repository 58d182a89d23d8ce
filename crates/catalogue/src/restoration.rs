//! Making a catalogue again from what was once told of another one.

use ntt_model::{MediumKey, ScanEvent};

use crate::Error;
use crate::record::{AttemptRecord, ResultRecord};
use crate::rows::{BlobRow, EventRow, Evidence, FindingRow, Image, MediumRow, ScanRow, VolumeRow};

/// A catalogue in the making: takes rows with the keys and times that they had.
///
/// It is worth nothing before [`Restore::finish`]. Rows must come after those that they name: media, their volumes, their findings and events,
/// then each scan with its blobs, entries, results and attempts. A volume may name one that comes later as its original.
pub trait Restore {
    /// Adds a medium.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if its key or id is taken.
    fn medium(&mut self, row: &MediumRow, evidence: &[Evidence], image: Option<&Image>) -> Result<(), Error>;

    /// Adds a volume.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if its key is taken.
    fn volume(&mut self, row: &VolumeRow) -> Result<(), Error>;

    /// Adds a finding; those of scans come with [`Restore::medium`]'s rows, not with the entries.
    ///
    /// # Errors
    ///
    /// Of the database.
    fn finding(&mut self, medium: MediumKey, row: &FindingRow) -> Result<(), Error>;

    /// Adds to the log.
    ///
    /// # Errors
    ///
    /// Of the database.
    fn event(&mut self, row: &EventRow) -> Result<(), Error>;

    /// Adds a blob, or what is not known of it yet; the later verification counts.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if it is known with another length.
    fn blob(&mut self, row: &BlobRow) -> Result<(), Error>;

    /// Begins a scan; what follows belongs to it until [`Restore::end_scan`].
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if its number is taken, or another scan has not ended.
    fn begin_scan(&mut self, row: &ScanRow) -> Result<(), Error>;

    /// Adds directories, names and inodes in the order of the scan, then the labels of names by their ordinals, from 1.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if the order is wrong or no scan has begun.
    fn entries(&mut self, events: &[ScanEvent], labels: &[(i64, String)]) -> Result<(), Error>;

    /// Adds the result of a stream.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if its blob is not known.
    fn result(&mut self, record: &ResultRecord) -> Result<(), Error>;

    /// Adds a failed attempt.
    ///
    /// # Errors
    ///
    /// Of the database.
    fn attempt(&mut self, record: &AttemptRecord) -> Result<(), Error>;

    /// Ends a scan: its rows must be as many as it says; what is still wanted enters the queue.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if the counts differ or a directory comes before its parent.
    fn end_scan(&mut self) -> Result<(), Error>;

    /// Ends the restoration, durably.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if a row names another one that never came.
    fn finish(self: Box<Self>) -> Result<(), Error>;
}
