//! Rows for other programs: flat, the same columns in every format.

use ntt_catalogue::Catalogue;
use ntt_catalogue::query::FoundRow;
use ntt_catalogue::rows::{MediumRow, State};
use ntt_model::entry::Allocation;
use ntt_model::{Kind, MediumId, Namespace, Timestamp};
use ntt_search::SearchFolder;
use serde::{Serialize, Serializer};

use crate::Error;
use crate::find::{FindOptions, each_row, medium_of, readers};
use crate::index::Unindexed;
use crate::occurrences::medium_name;

/// One path with what is known of its inode and its content. The order of the fields is that of the columns.
#[derive(Clone, Debug, Serialize)]
pub struct ExportRow {
    /// Id of the medium, hexadecimal.
    pub medium: MediumId,
    /// Its label, or the name of its source.
    pub medium_name: String,
    /// Volume number.
    pub volume: u32,
    /// Which reader lists it: several file systems may stand over the same bytes.
    pub reader: String,
    /// Ordinal of the path in the scan by this reader, from 1.
    pub ordinal: i64,
    /// Path in the volume as a terminal shows it: bytes that are no text are escaped.
    pub path: String,
    /// The exact bytes of the path; hexadecimal in text formats.
    #[serde(serialize_with = "hex")]
    pub path_bytes: Vec<u8>,
    /// Inode number.
    pub inode: u64,
    /// Kind of the inode.
    pub kind: Option<Kind>,
    /// Convention of the name.
    pub namespace: Namespace,
    /// Whether it is a second name of the same entry.
    pub alternate: bool,
    /// Whether the entry is in use.
    pub allocation: Allocation,
    /// Size of the data stream.
    pub size_bytes: u64,
    /// Modification time, RFC 3339 in UTC.
    pub modified: Option<Timestamp>,
    /// The same in nanoseconds since 1970.
    pub modified_ns: Option<i64>,
    /// State of the data stream.
    pub state: Option<&'static str>,
    /// Its content: the digest, hexadecimal.
    pub blob: Option<String>,
    /// Bytes of it that could not be read.
    pub missing_bytes: Option<u64>,
    /// Class of what failed.
    pub failure: Option<String>,
    /// Rule that excludes the path.
    pub rule: Option<String>,
}

fn hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hexadecimal(bytes))
}

/// Two lower-case digits for each byte.
pub fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
    text
}

/// The word of a state.
pub const fn state_name(state: &State) -> &'static str {
    match state {
        State::Pending => "pending",
        State::Stored { .. } => "stored",
        State::Damaged { .. } => "damaged",
        State::Excluded { .. } => "excluded",
        State::Retryable { .. } => "retryable",
        State::Failed { .. } => "failed",
    }
}

impl ExportRow {
    fn new(medium: &MediumRow, reader: String, row: &FoundRow) -> Self {
        let state = row.state.as_ref().map(|stream| &stream.state);
        let path = &row.path;
        Self {
            medium: medium.medium.id,
            medium_name: medium_name(medium).to_owned(),
            volume: row.volume_number,
            reader,
            ordinal: path.id,
            path: ntt_model::name::escape(&path.path).into_owned(),
            path_bytes: path.path.clone(),
            inode: path.inode,
            kind: path.kind,
            namespace: path.namespace,
            alternate: path.alternate,
            allocation: path.allocation,
            size_bytes: path.size_bytes,
            modified: row.modified,
            modified_ns: row.modified.map(|time| time.as_nanos()),
            state: state.map(state_name),
            blob: state.and_then(blob_of),
            missing_bytes: state.and_then(missing_of),
            failure: state.and_then(failure_of),
            rule: path.rule.clone(),
        }
    }
}

fn blob_of(state: &State) -> Option<String> {
    match state {
        State::Stored { blob } | State::Damaged { blob, .. } => Some(blob.to_hex()),
        _ => None,
    }
}

fn missing_of(state: &State) -> Option<u64> {
    match state {
        State::Damaged { missing, .. } => {
            Some(missing.iter().map(|range| range.len).fold(0, u64::saturating_add))
        }
        _ => None,
    }
}

fn failure_of(state: &State) -> Option<String> {
    match state {
        State::Damaged { failure, .. } | State::Retryable { failure, .. } | State::Failed { failure, .. } => {
            Some(failure.class.to_string())
        }
        _ => None,
    }
}

/// Visits everything that matches, as [`crate::find::find`] does, one row at a time.
///
/// # Errors
///
/// As [`crate::find::find`].
pub fn export(
    catalogue: &dyn Catalogue,
    index: Option<&SearchFolder>,
    options: &FindOptions,
    each: &mut dyn FnMut(&ExportRow) -> Result<(), Error>,
) -> Result<Vec<Unindexed>, Error> {
    let media = catalogue.media()?;
    let readers = readers(catalogue)?;
    each_row(catalogue, index, options, &mut |row| {
        let reader = readers.get(&row.scan).cloned().unwrap_or_default();
        each(&ExportRow::new(medium_of(&media, row)?, reader, row))
    })
}
