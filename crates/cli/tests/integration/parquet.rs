//! The table as Parquet, read back by the crate that wrote it.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use ntt_model::Timestamp;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::Value;

use crate::environment::Environment;

/// A field as JSON has it.
fn json(name: &str, field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(flag) => Value::from(*flag),
        Field::ULong(number) => Value::from(*number),
        Field::Long(nanos) if matches!(name, "modified" | "scanned") => {
            Value::from(Timestamp::from_nanos(*nanos).to_string())
        }
        Field::Long(number) => Value::from(*number),
        Field::Str(text) => Value::from(text.as_str()),
        Field::Bytes(bytes) => Value::from(ntt_model::blob::hex(bytes.data())),
        other => panic!("{name}: {other:?}"),
    }
}

/// R23: the exact bytes of every path, and every other column as in JSON lines.
#[test]
fn r23_parquet_has_what_json_lines_have() {
    let environment = Environment::new();
    for (name, content) in [
        ("tree/a.txt", "one"),
        ("tree/b/\u{e9} \"x\",y", "two"),
        ("tree/b/empty", ""),
    ] {
        let _ = environment.write(name, content.as_bytes());
    }
    let odd = std::ffi::OsStr::from_bytes(b"tree/b/\xff\n");
    let _ = environment.write(std::path::Path::new(odd), b"one");
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    let _ = environment
        .ntt(["export", "--format", "parquet", "-o", "table"])
        .code(0);
    let file = File::open(environment.work().join("table")).expect("the table");
    let reader = SerializedFileReader::new(file).expect("a Parquet file");
    let rows = reader
        .get_row_iter(None)
        .expect("rows")
        .map(|row| row.expect("a row"));
    let rows: Vec<Vec<(String, Value)>> = rows
        .map(|row| {
            row.get_column_iter()
                .map(|(name, field)| (name.clone(), json(name, field)))
                .collect()
        })
        .collect();
    let lines = environment.ntt(["export", "--format", "jsonl"]).json(0);
    assert_eq!(rows.len(), lines.len());
    for (row, line) in rows.iter().zip(&lines) {
        assert_eq!(row.len(), line.as_object().expect("an object").len());
        for (name, value) in row {
            assert_eq!(value, &line[name], "{name}");
        }
    }
    let _ = environment
        .ntt(["export", "--format", "parquet", "--glob", "nothing", "-o", "none"])
        .code(0);
    let file = File::open(environment.work().join("none")).expect("the table");
    let reader = SerializedFileReader::new(file).expect("a table without rows is whole too");
    assert_eq!(reader.metadata().file_metadata().num_rows(), 0);
}
