//! The table as Apache Parquet: row group after row group, none of which is larger than a bound, by the column writers of the crate `parquet`.

use std::io::{self, Write};
use std::sync::Arc;

use ntt_report::export::{COLUMNS, Cell, CellType, Column, ExportRow};
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};

use super::Table;

/// A row group ends when it has so many rows, or so many bytes of texts: what a reader takes in at once, and all that is held in memory.
const GROUP_ROWS: usize = 1 << 16;
/// See [`GROUP_ROWS`].
const GROUP_BYTES: usize = 32 << 20;

/// Writes a Parquet file.
pub(super) struct Parquet {
    out: SerializedFileWriter<Box<dyn Write + Send>>,
    group: Vec<Values>,
    rows: usize,
    bytes: usize,
}

/// The values of one column in the open row group.
struct Values {
    values: Typed,
    /// For each row 1 if its value is known, else 0; empty for columns whose values always are.
    levels: Vec<i16>,
    optional: bool,
}

/// Values as Parquet keeps them.
enum Typed {
    Bytes(Vec<ByteArray>),
    Number(Vec<i64>),
    Flag(Vec<bool>),
}

impl Parquet {
    /// Begins a file.
    pub(super) fn begin(out: Box<dyn Write + Send>) -> io::Result<Self> {
        let level = ZstdLevel::try_new(3).map_err(failed)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_created_by(concat!("ntt ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let out = SerializedFileWriter::new(out, schema().map_err(failed)?, Arc::new(properties));
        Ok(Self {
            out: out.map_err(failed)?,
            group: COLUMNS.iter().map(Values::of).collect(),
            rows: 0,
            bytes: 0,
        })
    }

    fn end_group(&mut self) -> Result<(), ParquetError> {
        if self.rows == 0 {
            return Ok(());
        }
        (self.rows, self.bytes) = (0, 0);
        let mut group = self.out.next_row_group()?;
        for values in &mut self.group {
            if let Some(mut column) = group.next_column()? {
                values.write(&mut column)?;
                column.close()?;
            }
        }
        group.close().map(drop)
    }
}

impl Table for Parquet {
    fn put(&mut self, row: &ExportRow) -> io::Result<()> {
        for (column, values) in COLUMNS.iter().zip(&mut self.group) {
            self.bytes += values.push((column.cell)(row));
        }
        self.rows += 1;
        if self.rows >= GROUP_ROWS || self.bytes >= GROUP_BYTES {
            self.end_group().map_err(failed)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.end_group().map_err(failed)?;
        let mut out = self.out.into_inner().map_err(failed)?;
        out.flush()
    }
}

/// What the disk said, where it was the disk.
fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        other => io::Error::other(other),
    }
}

fn schema() -> Result<TypePtr, ParquetError> {
    let fields = COLUMNS.iter().map(|column| field(column).map(Arc::new));
    let schema = Type::group_type_builder("path").with_fields(fields.collect::<Result<_, _>>()?);
    Ok(Arc::new(schema.build()?))
}

fn field(column: &Column) -> Result<Type, ParquetError> {
    let (physical, logical) = match column.cells {
        CellType::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        CellType::Bytes => (Physical::BYTE_ARRAY, None),
        CellType::Unsigned => (Physical::INT64, Some(LogicalType::integer(64, false))),
        CellType::Signed => (Physical::INT64, None),
        CellType::Time => (
            Physical::INT64,
            Some(LogicalType::timestamp(true, TimeUnit::NANOS)),
        ),
        CellType::Flag => (Physical::BOOLEAN, None),
    };
    let repetition = if column.optional {
        Repetition::OPTIONAL
    } else {
        Repetition::REQUIRED
    };
    Type::primitive_type_builder(column.name, physical)
        .with_repetition(repetition)
        .with_logical_type(logical)
        .build()
}

impl Values {
    fn of(column: &Column) -> Self {
        let values = match column.cells {
            CellType::Text | CellType::Bytes => Typed::Bytes(Vec::new()),
            CellType::Unsigned | CellType::Signed | CellType::Time => Typed::Number(Vec::new()),
            CellType::Flag => Typed::Flag(Vec::new()),
        };
        Self {
            values,
            levels: Vec::new(),
            optional: column.optional,
        }
    }

    /// Adds the cell of the next row; tells the bytes of its text.
    fn push(&mut self, cell: Option<Cell<'_>>) -> usize {
        if self.optional {
            self.levels.push(i16::from(cell.is_some()));
        }
        match (&mut self.values, cell) {
            (Typed::Bytes(values), Some(Cell::Text(text))) => {
                let text = text.into_owned().into_bytes();
                let bytes = text.len();
                values.push(ByteArray::from(text));
                return bytes;
            }
            (Typed::Bytes(values), Some(Cell::Bytes(bytes))) => {
                values.push(ByteArray::from(bytes.to_vec()));
                return bytes.len();
            }
            (Typed::Number(values), Some(Cell::Unsigned(number))) => values.push(number.cast_signed()),
            (Typed::Number(values), Some(Cell::Signed(number))) => values.push(number),
            (Typed::Number(values), Some(Cell::Time(time))) => values.push(time.as_nanos()),
            (Typed::Flag(values), Some(Cell::Flag(flag))) => values.push(flag),
            // A cell is of its column's type: `the_columns_are_the_fields_of_a_row` and the test below hold it.
            _ => {}
        }
        0
    }

    fn write(&mut self, column: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        let levels = self.optional.then_some(self.levels.as_slice());
        match &mut self.values {
            Typed::Bytes(values) => {
                column
                    .typed::<ByteArrayType>()
                    .write_batch(values, levels, None)?;
                values.clear();
            }
            Typed::Number(values) => {
                column.typed::<Int64Type>().write_batch(values, levels, None)?;
                values.clear();
            }
            Typed::Flag(values) => {
                column.typed::<BoolType>().write_batch(values, levels, None)?;
                values.clear();
            }
        }
        self.levels.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use ntt_model::entry::Allocation;
    use ntt_model::{Kind, MediumId, Namespace, ScanId, Timestamp};
    use parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;

    fn row(number: usize) -> ExportRow {
        ExportRow {
            medium: MediumId::from_bytes([7; 16]),
            medium_name: "disk".to_owned(),
            volume: 1,
            reader: "ext".to_owned(),
            ordinal: i64::try_from(number).expect("small"),
            path: "a".repeat(number % 7),
            path_bytes: number.to_le_bytes().to_vec(),
            inode: u64::MAX,
            kind: number.is_multiple_of(2).then_some(Kind::File),
            namespace: Namespace::Native,
            alternate: number.is_multiple_of(3),
            allocation: Allocation::Allocated,
            stream: String::new(),
            size_bytes: 7,
            modified: number.is_multiple_of(5).then_some(Timestamp::from_nanos(-1)),
            modified_ns: number.is_multiple_of(5).then_some(-1),
            state: None,
            blob: None,
            missing_bytes: None,
            failure: None,
            rule: None,
            scan: ScanId(3),
            scanned: Timestamp::from_nanos(0),
            superseded: false,
        }
    }

    #[test]
    fn groups_are_bounded_and_every_column_has_every_row() {
        let path = tempfile::NamedTempFile::new().expect("a file");
        let file = File::create(path.path()).expect("a file");
        let mut table = Box::new(Parquet::begin(Box::new(file)).expect("a table"));
        let rows = GROUP_ROWS + 10;
        for number in 0..rows {
            table.put(&row(number)).expect("room");
        }
        table.finish().expect("room");
        let reader = SerializedFileReader::new(File::open(path.path()).expect("a file")).expect("whole");
        let groups = reader.metadata().row_groups().iter();
        let counts: Vec<i64> = groups.clone().map(|group| group.num_rows()).collect();
        assert_eq!(counts, [1 << 16, 10]);
        for column in groups.flat_map(|group| group.columns().iter().map(move |column| (group, column))) {
            assert_eq!(
                column.1.num_values(),
                column.0.num_rows(),
                "{}",
                column.1.column_path()
            );
        }
    }
}
