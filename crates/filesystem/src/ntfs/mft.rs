//! Where the records of the master file table lie, and reading them.

use ntt_source::{ReadAt, ReadError};

use super::attribute::{Attribute, Attributes, Body, kind};
use super::boot::Geometry;
use super::record::{Record, Reference};
use super::runs::{Run, decode};

/// Records are numbered with 32 bits by every known system.
const RECORDS_MAX: u64 = 1 << 32;
/// Runs of the table.
const RUNS_MAX: u64 = 1 << 20;

/// How the table was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// By its first record.
    Primary,
    /// By the copy of its first record in the mirror.
    Mirror,
    /// By the signatures of its records.
    Guessed,
}

/// The map of the table.
#[derive(Clone, Debug)]
pub(super) struct Mft {
    /// Runs in ascending order of the table.
    pub(super) runs: Vec<Run>,
    /// Number of records.
    pub(super) records: u64,
    pub(super) origin: Origin,
    /// Why the map has gaps, if it has.
    pub(super) fault: Option<String>,
}

/// Why there is no record.
#[derive(Debug)]
pub(super) enum NoRecord {
    /// The table ends before it, or its map has a gap there.
    NoPlace,
    /// Its bytes could not be read.
    Unreadable(ReadError),
    /// Its bytes are no record: why.
    Invalid(String),
}

/// Reads bytes of a value through its runs; holes and what no run covers give zeros.
///
/// # Errors
///
/// As [`ReadAt::read_exact_at`].
pub(super) fn read_runs(
    source: &dyn ReadAt,
    geometry: &Geometry,
    runs: &[Run],
    offset: u64,
    buffer: &mut [u8],
) -> Result<(), ReadError> {
    let mut at = offset;
    let mut rest = buffer;
    while !rest.is_empty() {
        let (place, len) = piece(geometry, runs, at, u64::try_from(rest.len()).unwrap_or(0));
        let split = usize::try_from(len).unwrap_or(rest.len()).min(rest.len()).max(1);
        let (head, tail) = std::mem::take(&mut rest).split_at_mut(split);
        match place {
            Some(place) => source.read_exact_at(place, head)?,
            None => head.fill(0),
        }
        rest = tail;
        at = at.saturating_add(len.max(1));
    }
    Ok(())
}

/// Where byte `offset` of a value lies in the volume, and for how many bytes from it, at most `len`, that goes on.
pub(super) fn piece(geometry: &Geometry, runs: &[Run], offset: u64, len: u64) -> (Option<u64>, u64) {
    let cluster = offset.checked_div(geometry.cluster_bytes).unwrap_or(0);
    let index = runs.partition_point(|run| run.end() <= cluster);
    let Some(run) = runs.get(index) else {
        return (None, len);
    };
    let start = geometry.offset_of(run.first);
    if start > offset {
        return (None, len.min(start.saturating_sub(offset)));
    }
    let within = offset.saturating_sub(start);
    let left = geometry.offset_of(run.len).saturating_sub(within);
    let place = run
        .cluster
        .map(|cluster| geometry.offset_of(cluster).saturating_add(within));
    (place, len.min(left))
}

impl Mft {
    /// Finds the table by its first record, or by that record's copy in the mirror.
    pub(super) fn find(source: &dyn ReadAt, geometry: &Geometry) -> Option<Self> {
        [
            (geometry.mft_cluster, Origin::Primary),
            (geometry.mirror_cluster, Origin::Mirror),
        ]
        .into_iter()
        .find_map(|(cluster, origin)| Self::by_first_record(source, geometry, cluster, origin))
    }

    fn by_first_record(
        source: &dyn ReadAt,
        geometry: &Geometry,
        cluster: u64,
        origin: Origin,
    ) -> Option<Self> {
        (cluster < geometry.clusters).then_some(())?;
        let mut buffer = vec![0; usize::try_from(geometry.record_bytes).ok()?];
        source
            .read_exact_at(geometry.offset_of(cluster), &mut buffer)
            .ok()?;
        let record = Record::new(&mut buffer, 0).ok()?;
        // Every sector of the record must be right: it is what all else hangs on.
        if record.fixups.torn_sectors() > 0 || record.base().is_some() || !record.is_in_use() {
            return None;
        }
        let attributes: Vec<Attribute<'_>> = Attributes::of(&record).map_while(Result::ok).collect();
        let first = attributes.iter().find(|attribute| is_content(attribute, 0))?;
        let Body::Mapped(mapping) = first.body else {
            return None;
        };
        let mut mft = Self {
            runs: Vec::new(),
            records: records(mapping.size, geometry, source.len()),
            origin,
            fault: None,
        };
        mft.add(geometry, first);
        mft.continue_from_list(source, geometry, &attributes);
        let covered = mft.runs.last().map_or(0, |run| geometry.offset_of(run.end()));
        if covered < mapping.size && mft.fault.is_none() {
            mft.fault = Some(format!("{covered} bytes of {} are mapped", mapping.size));
        }
        (!mft.runs.is_empty()).then_some(mft)
    }

    fn add(&mut self, geometry: &Geometry, attribute: &Attribute<'_>) {
        if let Body::Mapped(mapping) = attribute.body
            && let Err(fault) = decode(
                mapping.pairs,
                (mapping.first, mapping.end),
                geometry,
                RUNS_MAX,
                &mut self.runs,
            )
        {
            self.fault = Some(fault);
        }
    }

    /// A table with many runs keeps most of them in further records, which lie in the part that the runs before map.
    fn continue_from_list(&mut self, source: &dyn ReadAt, geometry: &Geometry, attributes: &[Attribute<'_>]) {
        let list = attributes
            .iter()
            .find(|attribute| attribute.kind == kind::ATTRIBUTE_LIST);
        let Some(list) = list else { return };
        let Some(bytes) = super::gather::list_bytes(source, geometry, list) else {
            self.fault = Some("the attribute list of the MFT cannot be read".to_owned());
            return;
        };
        let mut seen = vec![0];
        for entry in super::gather::list_entries(&bytes) {
            let covered = self.runs.last().map_or(0, Run::end);
            if entry.kind != kind::DATA || entry.first < covered || seen.contains(&entry.record.record) {
                continue;
            }
            seen.push(entry.record.record);
            self.continue_in(source, geometry, entry.record);
        }
    }

    fn continue_in(&mut self, source: &dyn ReadAt, geometry: &Geometry, reference: Reference) {
        let Ok(number) = u32::try_from(reference.record) else {
            return;
        };
        let mut buffer = Vec::new();
        let record = match self.read(source, geometry, number, &mut buffer) {
            Ok(record) => record,
            Err(_) => {
                self.fault = Some(format!(
                    "record {number}, which maps a part of the MFT, cannot be read"
                ));
                return;
            }
        };
        for attribute in Attributes::of(&record).map_while(Result::ok) {
            let covered = self.runs.last().map_or(0, Run::end);
            if is_content(&attribute, covered) {
                self.add(geometry, &attribute);
            }
        }
    }

    /// Where a record lies in the volume; `None` if its first byte has no place.
    pub(super) fn place(&self, geometry: &Geometry, number: u32) -> Option<u64> {
        let offset = u64::from(number).checked_mul(geometry.record_bytes)?;
        piece(geometry, &self.runs, offset, geometry.record_bytes).0
    }

    /// Reads a record into `buffer` and fixes it up.
    ///
    /// # Errors
    ///
    /// See [`NoRecord`].
    pub(super) fn read<'b>(
        &self,
        source: &dyn ReadAt,
        geometry: &Geometry,
        number: u32,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Record<'b>, NoRecord> {
        if u64::from(number) >= self.records {
            return Err(NoRecord::NoPlace);
        }
        self.place(geometry, number).ok_or(NoRecord::NoPlace)?;
        buffer.resize(usize::try_from(geometry.record_bytes).unwrap_or(0), 0);
        let offset = u64::from(number).saturating_mul(geometry.record_bytes);
        read_runs(source, geometry, &self.runs, offset, buffer).map_err(NoRecord::Unreadable)?;
        Record::new(buffer, number).map_err(NoRecord::Invalid)
    }
}

fn is_content(attribute: &Attribute<'_>, first: u64) -> bool {
    attribute.kind == kind::DATA && attribute.name.is_empty() && attribute.first_cluster() == first
}

/// Records of a table of `size` bytes, no more than a source of `len` bytes can hold.
fn records(size: u64, geometry: &Geometry, len: u64) -> u64 {
    size.min(geometry.size_bytes)
        .min(len)
        .checked_div(geometry.record_bytes)
        .unwrap_or(0)
        .min(RECORDS_MAX)
}

impl Mft {
    /// A table of which only runs are known, on a source of `len` bytes.
    pub(super) fn guessed(geometry: &Geometry, runs: Vec<Run>, len: u64) -> Option<Self> {
        let end = runs.last().map(|run| geometry.offset_of(run.end()))?;
        Some(Self {
            records: records(end, geometry, len),
            runs,
            origin: Origin::Guessed,
            fault: None,
        })
    }
}
