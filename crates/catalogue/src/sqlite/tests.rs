//! What only the embedded catalogue promises: its file, its schema, its crashes.

use std::path::Path;
use std::sync::Arc;

use ntt_model::ScanEvent;
use ntt_model::entry::{Directory, Inode, ScanCounts};
use ntt_model::{ByteRange, MediumId, Namespace, ScanId};

use proptest::prelude::*;

use super::SqliteCatalogue;
use crate::conformance::{ManualClock, file, named};
use crate::rows::{MediumKind, NewMedium, NewScan, NewVolume};
use crate::{Catalogue, Error, Labels};

mod claims;
mod crash;
mod migration;

fn open(path: &Path) -> SqliteCatalogue {
    SqliteCatalogue::open(path, Arc::new(ManualClock::default())).unwrap()
}

#[test]
fn it_passes_the_conformance_suite() {
    let folder = tempfile::tempdir().unwrap();
    let next = std::cell::Cell::new(0);
    crate::conformance::run(&|clock| {
        next.set(next.get() + 1);
        let path = folder.path().join(format!("{}.db", next.get()));
        Box::new(SqliteCatalogue::open(&path, clock).unwrap())
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn r33_r38_the_queue_does_what_the_model_says(
        script in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..60)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let next = std::cell::Cell::new(0);
        crate::conformance::run_lease_script(
            &|clock| {
                next.set(next.get() + 1);
                let path = folder.path().join(format!("{}.db", next.get()));
                Box::new(SqliteCatalogue::open(&path, clock).unwrap())
            },
            &script,
        );
    }
}

#[test]
fn a_directory_in_place_of_the_file_is_called_so() {
    let folder = tempfile::tempdir().unwrap();
    let told = SqliteCatalogue::open_read_only(folder.path(), Arc::new(ManualClock::default()));
    let Err(Error::Unreachable { source, .. }) = told else {
        panic!("{told:?}");
    };
    assert_eq!(source.to_string(), "it is a directory");
}

fn begin(catalogue: &SqliteCatalogue, id: u8) -> ScanId {
    let medium = NewMedium {
        id: MediumId::from_bytes([id; 16]),
        kind: MediumKind::Directory,
        label: String::new(),
        source_name: String::new(),
    };
    let medium = catalogue.add_medium(&medium, None, &[]).unwrap();
    let volume = NewVolume {
        number: 1,
        range: ByteRange::new(0, 0),
        verdict: "readable".to_owned(),
        type_name: "directory".to_owned(),
        label: String::new(),
        uuid: String::new(),
        digest: None,
        same_as: None,
        layer_json: "{}".to_owned(),
    };
    let scan = NewScan {
        volume: catalogue.put_volume(medium, &volume).unwrap(),
        reader: "directory".to_owned(),
        root: 2,
        previous: None,
    };
    catalogue.begin_scan(&scan).unwrap()
}

fn events() -> Vec<ScanEvent> {
    let root = Directory {
        inode: 2,
        parent: None,
        name: Vec::new(),
        namespace: Namespace::Native,
    };
    vec![
        ScanEvent::Directory(root),
        ScanEvent::Name(named(2, b"a", 10)),
        ScanEvent::Inode(Box::new(file(10, 4, 0))),
    ]
}

const COUNTS: ScanCounts = ScanCounts {
    directories: 1,
    inodes: 1,
    names: 1,
    findings: 0,
};

fn load(catalogue: &SqliteCatalogue, id: u8) -> ScanId {
    let scan = begin(catalogue, id);
    catalogue.append(scan, &events()).unwrap();
    catalogue.seal_scan(scan, &COUNTS, &Labels::NONE).unwrap();
    scan
}

/// A sealed scan of these inodes, each with a name.
fn sealed_scan(catalogue: &SqliteCatalogue, inodes: &[Inode]) -> ScanId {
    let scan = begin(catalogue, 1);
    let mut events = events();
    events.truncate(1);
    for inode in inodes {
        events.push(ScanEvent::Name(named(2, b"a", inode.number)));
        events.push(ScanEvent::Inode(Box::new(inode.clone())));
    }
    let mut counts = ScanCounts::default();
    events.iter().for_each(|event| counts.add(event));
    catalogue.append(scan, &events).unwrap();
    catalogue.seal_scan(scan, &counts, &Labels::NONE).unwrap();
    scan
}

/// R30: a load writes as many pages beside a hundred scans as beside one.
#[test]
fn r30_a_load_writes_nothing_of_other_scans() {
    let log_of_a_load_after = |scans: u8| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.db");
        let catalogue = open(&path);
        for id in 0..scans {
            load(&catalogue, id);
        }
        let raw = rusqlite::Connection::open(&path).unwrap();
        let emptied = "PRAGMA wal_checkpoint(TRUNCATE)";
        let is_busy: i64 = raw.query_row(emptied, [], |row| row.get(0)).unwrap();
        assert_eq!(is_busy, 0);
        load(&catalogue, scans);
        std::fs::metadata(folder.path().join("c.db-wal")).unwrap().len()
    };
    let (few, many) = (log_of_a_load_after(1), log_of_a_load_after(100));
    assert!(few > 0);
    // The list of tables is deeper by some pages when it names a thousand.
    assert!(many <= few + few / 4, "{many} bytes, not {few}");
}

#[test]
fn r31_the_schema_of_a_new_catalogue_is_the_known_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    load(&open(&path), 1);
    let connection = rusqlite::Connection::open(&path).unwrap();
    let mut statement = connection
        .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
        .unwrap();
    let rows: Vec<String> = statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    insta::assert_snapshot!(rows.join(";\n\n"));
}

#[test]
fn r31_a_newer_or_foreign_schema_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    for (name, pragmas) in [("newer", "user_version = 99"), ("foreign", "application_id = 1")] {
        let path = folder.path().join(name);
        drop(open(&path));
        let raw = rusqlite::Connection::open(&path).unwrap();
        raw.execute_batch(&format!("PRAGMA {pragmas}")).unwrap();
        drop(raw);
        let before = std::fs::read(&path).unwrap();
        let clock = || Arc::new(ManualClock::default());
        let is_refused = |opened: Result<SqliteCatalogue, Error>| match opened {
            Err(Error::Version { known: 5, found: 99 }) => name == "newer",
            Err(Error::Unusable(_)) => name == "foreign",
            _ => false,
        };
        assert!(is_refused(SqliteCatalogue::open(&path, clock())));
        assert!(is_refused(SqliteCatalogue::open_read_only(&path, clock())));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}

#[test]
fn r32_the_database_refuses_a_stored_stream_without_a_blob() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    let scan = load(&open(&path), 1);
    let connection = rusqlite::Connection::open(&path).unwrap();
    let insert = |state: i64, blob: Option<i64>, class: Option<&str>| {
        let sql = format!(
            "INSERT INTO result_{scan} (ino, stream, state, blob, class, attempts, strikes) VALUES (10, 0, ?1, ?2, ?3, 0, 0)"
        );
        connection.execute(&sql, rusqlite::params![state, blob, class])
    };
    assert!(insert(1, None, None).is_err(), "stored without a blob");
    assert!(insert(2, Some(1), Some("io")).is_err(), "damaged without ranges");
    assert!(insert(3, None, Some("io")).is_err(), "to be retried at no time");
    assert!(insert(4, None, None).is_err(), "given up without a reason");
    assert!(insert(5, Some(1), None).is_err(), "an unknown state");
    assert!(insert(1, Some(1), None).is_ok());
}

#[test]
fn a_second_writer_is_kept_out_and_readers_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    let writer = open(&path);
    let scan = load(&writer, 1);
    let clock = || Arc::new(ManualClock::default());
    assert!(matches!(SqliteCatalogue::open(&path, clock()), Err(Error::Held)));
    let reader = SqliteCatalogue::open_read_only(&path, clock()).unwrap();
    assert_eq!(reader.census(scan).unwrap().pending.count, 1);
    let worker = writer.register_worker("w").unwrap();
    assert!(writer.claim_chunk(scan, worker).unwrap().is_some());
    assert_eq!(
        reader.progress(scan).unwrap().leased_chunks,
        1,
        "readers see the last commit"
    );
    assert!(matches!(reader.register_worker("r"), Err(Error::Conflict(_))));
    drop(writer);
    drop(open(&path));
}

#[test]
fn r38_a_crash_while_loading_leaves_no_scan_and_no_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    let catalogue = open(&path);
    let sealed = load(&catalogue, 1);
    let unsealed = begin(&catalogue, 2);
    catalogue.append(unsealed, &events()).unwrap();
    drop(catalogue);
    let catalogue = open(&path);
    assert!(catalogue.check().unwrap().is_empty());
    assert!(catalogue.census(sealed).is_ok());
    assert!(catalogue.append(unsealed, &events()).is_err());
    let raw = rusqlite::Connection::open(&path).unwrap();
    let sql = format!("SELECT count(*) FROM sqlite_schema WHERE name LIKE '%\\_{unsealed}' ESCAPE '\\'");
    let left: i64 = raw.query_row(&sql, [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

#[test]
fn r38_leases_and_results_survive_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    let clock = Arc::new(ManualClock::default());
    let reopen = || SqliteCatalogue::open(&path, clock.clone()).unwrap();
    let catalogue = reopen();
    let scan = load(&catalogue, 1);
    let worker = catalogue.register_worker("w").unwrap();
    let chunk = catalogue.claim_chunk(scan, worker).unwrap().unwrap();
    drop(catalogue);
    let catalogue = reopen();
    let other = catalogue.register_worker("v").unwrap();
    assert!(catalogue.claim_chunk(scan, other).unwrap().is_none());
    clock.advance(61);
    let again = catalogue.claim_chunk(scan, other).unwrap().unwrap();
    assert_eq!(again.items, chunk.items);
}

#[test]
fn two_catalogues_of_the_same_media_have_equal_dumps() {
    let folder = tempfile::tempdir().unwrap();
    let dump = |name: &str, gap: bool| {
        let catalogue = open(&folder.path().join(name));
        if gap {
            let scan = begin(&catalogue, 1);
            catalogue.abandon_scan(scan).unwrap();
            let volume = catalogue.volumes(catalogue.media().unwrap()[0].key).unwrap()[0].key;
            let new = NewScan {
                volume,
                reader: "directory".to_owned(),
                root: 2,
                previous: None,
            };
            let scan = catalogue.begin_scan(&new).unwrap();
            catalogue.append(scan, &events()).unwrap();
            catalogue.seal_scan(scan, &COUNTS, &Labels::NONE).unwrap();
        } else {
            load(&catalogue, 1);
        }
        let mut text = Vec::new();
        crate::dump(&catalogue, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    };
    let plain = dump("a", false);
    assert_eq!(plain, dump("b", true));
    assert!(plain.contains("inode ") && plain.contains("path ") && plain.contains("medium "));
}

#[test]
fn a_catalogue_on_read_only_media_can_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a %?#.db");
    let scan = load(&open(&path), 1);
    let chmod =
        |mode| std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    let before = std::fs::read(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
    chmod(0o555);
    let reader = SqliteCatalogue::open_read_only(&path, Arc::new(ManualClock::default())).unwrap();
    assert_eq!(reader.census(scan).unwrap().pending.count, 1);
    assert!(matches!(reader.register_worker("w"), Err(Error::Conflict(_))));
    drop(reader);
    // Root may write in spite of the modes: then this shows at least that the file itself stays as it was.
    assert!(std::fs::read(&path).unwrap() == before);
    chmod(0o755);
}
