//! Rows for other programs: flat, the same columns in every format.

use std::borrow::Cow;

use ntt_catalogue::Catalogue;
use ntt_catalogue::query::{FoundRow, SearchedScan};
use ntt_catalogue::rows::{MediumRow, State, StreamState};
use ntt_model::blob::hex;
use ntt_model::entry::Allocation;
use ntt_model::{BlobHash, Kind, MediumId, Namespace, ScanId, Timestamp};
use ntt_search::SearchFolder;
use serde::{Serialize, Serializer};

use crate::Error;
use crate::find::{FindOptions, each_row, medium_of, scan_of, scans_by_id};
use crate::index::Unindexed;
use crate::occurrences::{medium_name, stream_name};

/// One stream of the inode at one path, with what is known of them: a row for the data of each path, whether or not there are any, and one for each fork, alternate stream
/// and large attribute. The order of the fields is that of the columns.
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
    #[serde(serialize_with = "as_digits")]
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
    /// Which stream: empty for the data, else its name as a terminal shows it.
    pub stream: String,
    /// Size of the stream.
    pub size_bytes: u64,
    /// Modification time, RFC 3339 in UTC.
    pub modified: Option<Timestamp>,
    /// The same in nanoseconds since 1970.
    pub modified_ns: Option<i64>,
    /// State of the stream; unknown for the data of what has none, as directories have not.
    pub state: Option<&'static str>,
    /// Its content: the digest, hexadecimal.
    pub blob: Option<String>,
    /// Bytes of it that could not be read.
    pub missing_bytes: Option<u64>,
    /// Class of what failed.
    pub failure: Option<String>,
    /// Rule that excludes the path.
    pub rule: Option<String>,
    /// Key of the scan that lists the path.
    pub scan: ScanId,
    /// When it was sealed, RFC 3339 in UTC.
    pub scanned: Timestamp,
    /// Whether a later scan of the volume by the same reader has taken its place.
    pub superseded: bool,
}

fn as_digits<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(bytes))
}

/// A value of a row in one column.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cell<'r> {
    /// Words.
    Text(Cow<'r, str>),
    /// Bytes that need not be text.
    Bytes(&'r [u8]),
    /// A count, a size, a number.
    Unsigned(u64),
    /// A number that may be negative.
    Signed(i64),
    /// A moment.
    Time(Timestamp),
    /// Yes or no.
    Flag(bool),
}

/// What all cells of a column are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CellType {
    /// [`Cell::Text`].
    Text,
    /// [`Cell::Bytes`].
    Bytes,
    /// [`Cell::Unsigned`].
    Unsigned,
    /// [`Cell::Signed`].
    Signed,
    /// [`Cell::Time`].
    Time,
    /// [`Cell::Flag`].
    Flag,
}

/// A column of the table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name: that of the field of [`ExportRow`].
    pub name: &'static str,
    /// What its cells are.
    pub cells: CellType,
    /// Whether it may be unknown in a row.
    pub optional: bool,
    /// Its cell of a row; `None` if that is unknown.
    pub cell: for<'r> fn(&'r ExportRow) -> Option<Cell<'r>>,
}

const fn column(
    name: &'static str,
    cells: CellType,
    optional: bool,
    cell: for<'r> fn(&'r ExportRow) -> Option<Cell<'r>>,
) -> Column {
    Column {
        name,
        cells,
        optional,
        cell,
    }
}

/// The columns, in order: the same in every format.
pub const COLUMNS: [Column; 24] = [
    column("medium", CellType::Text, false, |row| {
        Some(Cell::Text(row.medium.to_string().into()))
    }),
    column("medium_name", CellType::Text, false, |row| text(&row.medium_name)),
    column("volume", CellType::Unsigned, false, |row| {
        Some(Cell::Unsigned(row.volume.into()))
    }),
    column("reader", CellType::Text, false, |row| text(&row.reader)),
    column("ordinal", CellType::Signed, false, |row| {
        Some(Cell::Signed(row.ordinal))
    }),
    column("path", CellType::Text, false, |row| text(&row.path)),
    column("path_bytes", CellType::Bytes, false, |row| {
        Some(Cell::Bytes(&row.path_bytes))
    }),
    column("inode", CellType::Unsigned, false, |row| {
        Some(Cell::Unsigned(row.inode))
    }),
    column("kind", CellType::Text, true, |row| {
        row.kind.as_ref().and_then(word)
    }),
    column("namespace", CellType::Text, false, |row| word(&row.namespace)),
    column("alternate", CellType::Flag, false, |row| {
        Some(Cell::Flag(row.alternate))
    }),
    column("allocation", CellType::Text, false, |row| word(&row.allocation)),
    column("stream", CellType::Text, false, |row| text(&row.stream)),
    column("size_bytes", CellType::Unsigned, false, |row| {
        Some(Cell::Unsigned(row.size_bytes))
    }),
    column("modified", CellType::Time, true, |row| {
        row.modified.map(Cell::Time)
    }),
    column("modified_ns", CellType::Signed, true, |row| {
        row.modified_ns.map(Cell::Signed)
    }),
    column("state", CellType::Text, true, |row| row.state.and_then(text)),
    column("blob", CellType::Text, true, |row| {
        row.blob.as_deref().and_then(text)
    }),
    column("missing_bytes", CellType::Unsigned, true, |row| {
        row.missing_bytes.map(Cell::Unsigned)
    }),
    column("failure", CellType::Text, true, |row| {
        row.failure.as_deref().and_then(text)
    }),
    column("rule", CellType::Text, true, |row| {
        row.rule.as_deref().and_then(text)
    }),
    column("scan", CellType::Signed, false, |row| {
        Some(Cell::Signed(row.scan.0))
    }),
    column("scanned", CellType::Time, false, |row| {
        Some(Cell::Time(row.scanned))
    }),
    column("superseded", CellType::Flag, false, |row| {
        Some(Cell::Flag(row.superseded))
    }),
];

fn text(words: &str) -> Option<Cell<'_>> {
    Some(Cell::Text(words.into()))
}

/// The word that stands for a value in JSON.
fn word(value: &impl Serialize) -> Option<Cell<'static>> {
    let word = serde_json::to_value(value).ok()?;
    word.as_str().map(|word| Cell::Text(word.to_owned().into()))
}

/// The word of a state.
pub const fn state_name(state: &State) -> &'static str {
    match state {
        State::Pending => "pending",
        State::Stored { .. } => "stored",
        State::Damaged { .. } => "damaged",
        State::Corrupt { .. } => "corrupt",
        State::Excluded { .. } => "excluded",
        State::Retryable { .. } => "retryable",
        State::Failed { .. } => "failed",
    }
}

impl ExportRow {
    /// The row of a stream; of the data if there is none.
    fn new(medium: &MediumRow, scan: &SearchedScan, row: &FoundRow, stream: Option<&StreamState>) -> Self {
        let state = stream.map(|stream| &stream.state);
        let path = &row.path;
        Self {
            stream: stream.map_or(String::new(), |stream| escaped(&stream_name(&stream.kind))),
            medium: medium.medium.id,
            medium_name: medium_name(medium).to_owned(),
            volume: row.volume_number,
            reader: scan.reader.clone(),
            ordinal: path.id,
            path: escaped(&path.path),
            path_bytes: path.path.clone(),
            inode: path.inode,
            kind: path.kind,
            namespace: path.namespace,
            alternate: path.alternate,
            allocation: path.allocation,
            size_bytes: stream.map_or(path.size_bytes, |stream| stream.size_bytes),
            modified: row.modified,
            modified_ns: row.modified.map(|time| time.as_nanos()),
            state: state.map(state_name),
            blob: state.and_then(State::blob).map(BlobHash::to_hex),
            missing_bytes: state.and_then(missing_of),
            failure: state.and_then(failure_of),
            rule: path.rule.clone(),
            scan: scan.scan,
            scanned: scan.sealed,
            superseded: scan.superseded,
        }
    }
}

fn escaped(name: &[u8]) -> String {
    ntt_model::name::escape(name).into_owned()
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

/// Visits everything that matches, as [`crate::find::find`] does, one row at a time. Where states are asked for, only the streams that are in one of them have rows.
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
    let scans = scans_by_id(catalogue, options.scans)?;
    each_row(catalogue, index, options, &mut |row| {
        let (scan, medium) = (scan_of(&scans, row.scan)?, medium_of(&media, row)?);
        let wants = |state: &State| {
            options.states.is_empty() || options.states.iter().any(|filter| filter.matches(state))
        };
        let data = row.data();
        if options.states.is_empty() || data.is_some_and(|data| wants(&data.state)) {
            each(&ExportRow::new(medium, scan, row, data))?;
        }
        let mut others = row.others().filter(|stream| wants(&stream.state));
        others.try_for_each(|stream| each(&ExportRow::new(medium, scan, row, Some(stream))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_are_the_fields_of_a_row() {
        let row = ExportRow {
            medium: MediumId::from_bytes([7; 16]),
            medium_name: "disk".to_owned(),
            volume: 1,
            reader: "ext".to_owned(),
            ordinal: 1,
            path: "a".to_owned(),
            path_bytes: b"a".to_vec(),
            inode: 12,
            kind: Some(Kind::CharDevice),
            namespace: Namespace::Native,
            alternate: false,
            allocation: Allocation::Allocated,
            stream: String::new(),
            size_bytes: 0,
            modified: None,
            modified_ns: None,
            state: None,
            blob: None,
            missing_bytes: None,
            failure: None,
            rule: None,
            scan: ScanId(3),
            scanned: Timestamp::from_nanos(0),
            superseded: true,
        };
        let fields = serde_json::to_string(&row).expect("JSON");
        let mut at = 0;
        for column in COLUMNS {
            let field = fields[at..].find(&format!("\"{}\":", column.name));
            at += field.unwrap_or_else(|| panic!("{} in its place in {fields}", column.name));
            let cell = (column.cell)(&row);
            assert_eq!(
                cell.is_none(),
                column.optional && column.name != "kind",
                "{}",
                column.name
            );
        }
        assert_eq!((COLUMNS[8].cell)(&row), text("char-device"));
    }
}
