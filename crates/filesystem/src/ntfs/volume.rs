//! What every part of the reader needs: the source, the geometry and the map of the MFT.

use std::cell::Cell;
use std::fmt;

use ntt_source::ReadError;

use super::boot::Geometry;
use super::mft::{Mft, NoRecord, read_runs};
use super::record::Record;
use super::runs::Run;
use crate::VolumeSource;

/// Records that the mirror holds at least.
const MIRRORED: u32 = 4;

/// A volume whose boot sector was read and whose MFT was found.
pub(super) struct Volume<'a> {
    pub(super) source: VolumeSource<'a>,
    pub(super) image_offset: u64,
    pub(super) geometry: Geometry,
    pub(super) mft: Mft,
    /// Entries of attribute lists that may still be followed: lists that share their clusters would else cost without end.
    list_budget: Cell<u64>,
}

impl<'a> Volume<'a> {
    pub(super) fn new(source: VolumeSource<'a>, image_offset: u64, geometry: Geometry, mft: Mft) -> Self {
        let volume = Self {
            source,
            image_offset,
            geometry,
            mft,
            list_budget: Cell::new(0),
        };
        volume.refill();
        volume
    }

    /// The same volume with another map of its MFT.
    pub(super) fn with_mft<'v>(&'v self, mft: Mft) -> Volume<'v>
    where
        'a: 'v,
    {
        Volume::new(
            Box::new(&*self.source),
            self.image_offset,
            self.geometry.clone(),
            mft,
        )
    }

    /// Gives a new scan its budget: every record continues at most one other.
    pub(super) fn refill(&self) {
        self.list_budget
            .set(self.mft.records.saturating_mul(4).saturating_add(1 << 16));
    }

    /// Whether another entry of an attribute list may be followed.
    pub(super) fn may_follow(&self) -> bool {
        let left = self.list_budget.get().checked_sub(1);
        self.list_budget.set(left.unwrap_or(0));
        left.is_some()
    }

    /// A byte of the volume as a byte of the image.
    pub(super) const fn in_image(&self, offset: u64) -> u64 {
        self.image_offset.saturating_add(offset)
    }

    /// Where a record starts in the image; the start of the volume if it has no place.
    pub(super) fn record_in_image(&self, number: u32) -> u64 {
        self.in_image(self.mft.place(&self.geometry, number).unwrap_or(0))
    }

    /// Reads a record; the first four from the mirror where the table fails.
    ///
    /// # Errors
    ///
    /// See [`NoRecord`].
    pub(super) fn read_record<'b>(
        &self,
        number: u32,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Record<'b>, NoRecord> {
        if number < MIRRORED && !self.is_whole(number) && self.read_mirror(number, &mut Vec::new()).is_some()
        {
            return self.read_mirror(number, buffer).ok_or(NoRecord::NoPlace);
        }
        self.mft.read(&*self.source, &self.geometry, number, buffer)
    }

    /// Whether the table itself has the record, without a torn sector.
    fn is_whole(&self, number: u32) -> bool {
        let mut buffer = Vec::new();
        let record = self.mft.read(&*self.source, &self.geometry, number, &mut buffer);
        record.is_ok_and(|record| record.fixups.torn_sectors() == 0)
    }

    fn read_mirror<'b>(&self, number: u32, buffer: &'b mut Vec<u8>) -> Option<Record<'b>> {
        let start = self.geometry.offset_of(self.geometry.mirror_cluster);
        let offset = u64::from(number).checked_mul(self.geometry.record_bytes)?;
        buffer.resize(usize::try_from(self.geometry.record_bytes).ok()?, 0);
        self.source
            .read_exact_at(start.checked_add(offset)?, buffer)
            .ok()?;
        Record::new(buffer, number).ok()
    }

    /// Reads bytes of a value through its runs.
    ///
    /// # Errors
    ///
    /// As [`ntt_source::ReadAt::read_exact_at`].
    pub(super) fn read_runs(&self, runs: &[Run], offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        read_runs(&*self.source, &self.geometry, runs, offset, buffer)
    }
}

impl fmt::Display for NoRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPlace => f.write_str("has no place in the MFT"),
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
            Self::Invalid(detail) => write!(f, "is no record: {detail}"),
        }
    }
}
