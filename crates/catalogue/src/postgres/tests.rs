//! What only the catalogue in a server promises, and the conformance suite.

use std::cell::Cell;
use std::sync::Arc;

use ntt_testkit::postgres::PostgresServer;
use proptest::prelude::*;

use super::{PostgresCatalogue, init};
use crate::conformance::ManualClock;
use crate::rows::{EventRow, State, StreamState};
use crate::{Catalogue, Error};
use work::{load, one_chunk};

mod drain;
mod encrypted;
mod kept;
mod killed;
mod work;

/// Catalogues one after the other, each in a database of its own: copies of one that was created once.
struct Databases {
    server: PostgresServer,
    next: Cell<u32>,
}

const TEMPLATE: &str = "template_of_catalogues";

impl Databases {
    fn new() -> Option<Self> {
        let server = PostgresServer::start()?;
        init(&server.create_database(TEMPLATE, None)).unwrap();
        Some(Self {
            server,
            next: Cell::new(0),
        })
    }

    fn next(&self) -> String {
        self.next.set(self.next.get() + 1);
        let name = format!("catalogue_{}", self.next.get());
        self.server.create_database(&name, Some(TEMPLATE))
    }

    fn open(&self, clock: Arc<ManualClock>) -> PostgresCatalogue {
        PostgresCatalogue::open_with_clock(&self.next(), clock).unwrap()
    }
}

#[test]
fn it_passes_the_conformance_suite() {
    let Some(databases) = Databases::new() else { return };
    crate::conformance::run(&|clock| Box::new(databases.open(clock)));
}

#[test]
fn r33_r38_the_queue_does_what_the_model_says() {
    let Some(databases) = Databases::new() else { return };
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(4));
    let scripts = proptest::collection::vec((any::<u8>(), any::<u8>()), 0..40);
    let played = runner.run(&scripts, |script| {
        crate::conformance::run_lease_script(&|clock| Box::new(databases.open(clock)), &script);
        Ok(())
    });
    played.unwrap();
}

#[test]
fn r31_a_database_of_another_encoding_is_refused_with_what_to_do() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let sql =
            format!("CREATE DATABASE \"{encoding}\" ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0");
        server.psql("postgres", &sql);
        let url = server.url(encoding);
        let opened = PostgresCatalogue::open_read_only(&url).map(drop);
        for result in [init(&url).map(drop), opened] {
            let told = result.unwrap_err().to_string();
            assert!(
                told.contains("`createdb -E UTF8 -T template0 NAME`"),
                "{encoding}: {told}"
            );
        }
    }
}

#[test]
fn times_in_views_are_exact_to_the_microsecond_that_they_lie_in() {
    let Some(databases) = Databases::new() else { return };
    let mut times = vec![0, 1, -1, 999, 1000, -999, -1000, -1001, i64::MIN, i64::MAX];
    let mut random = 1_i64;
    for _ in 0..1500 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        times.extend([random, random / 4 + 1_000_000_000_000_000_000, random / 1_000_000]);
    }
    let list = times.iter().map(i64::to_string).collect::<Vec<_>>().join("),(");
    for zone in ["UTC", "America/New_York"] {
        let sql = format!(
            "SET timezone = '{zone}'; SELECT (extract(epoch FROM ntt_time(nanos::int8)) * 1000000)::int8 FROM (VALUES ({list})) AS one (nanos)"
        );
        let shown = databases.server.psql(TEMPLATE, &sql);
        let shown: Vec<i64> = shown.lines().map(|line| line.parse().unwrap()).collect();
        let wanted: Vec<i64> = times.iter().map(|time| time.div_euclid(1000)).collect();
        assert_eq!(shown, wanted);
    }
}

#[test]
fn r31_only_a_whole_catalogue_of_this_version_is_opened() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let open = |url: &str| PostgresCatalogue::open(url, None).map(drop);
    let url = server.create_database("plain", None);
    assert!(matches!(open(&url), Err(Error::Missing { .. })));
    let newest = super::schema::newest_version();
    assert_eq!(init(&url).unwrap(), (0, newest));
    assert_eq!(init(&url).unwrap(), (newest, newest), "once is enough");
    open(&url).unwrap();
    server.psql("plain", "UPDATE ntt_schema SET version = 99");
    for result in [open(&url), init(&url).map(drop)] {
        assert!(matches!(result, Err(Error::Version { found: 99, .. })));
    }
    server.psql(
        "plain",
        &format!("UPDATE ntt_schema SET version = {newest}, state = 'filling'"),
    );
    for result in [open(&url), init(&url).map(drop)] {
        assert!(
            matches!(result, Err(Error::Unusable(_))),
            "a copy that did not end"
        );
    }
    let foreign = server.create_database("foreign", None);
    server.psql("foreign", "CREATE TABLE accounts (id int)");
    for result in [open(&foreign), init(&foreign).map(drop)] {
        assert!(matches!(result, Err(Error::Unusable(_))));
    }
    assert_eq!(
        server.psql(
            "foreign",
            "SELECT count(*) FROM pg_class WHERE relname = 'medium'"
        ),
        "0"
    );
}

#[test]
fn r31_results_of_the_version_before_are_read_and_added_to() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let url = server.create_database("old", None);
    init(&url).unwrap();
    let newest = super::schema::newest_version();
    let catalogue = PostgresCatalogue::open(&url, None).unwrap();
    let scan = load(&catalogue, 600);
    let worker = catalogue.register_worker("w").unwrap();
    one_chunk(&catalogue, scan, worker).unwrap().unwrap();
    // As the fourth migration left it; one stream failed.
    server.psql(
        "old",
        "DROP INDEX event_withdrawal; DROP FUNCTION ntt_where; DROP VIEW occurrences; DROP FUNCTION ntt_content; DROP INDEX blob_bad; DROP VIEW paths; \
         CREATE VIEW paths AS SELECT 1 AS one; \
         ALTER TABLE result DROP CONSTRAINT failed_has_a_class, DROP COLUMN failure, \
             ADD COLUMN attempts int4 NOT NULL DEFAULT 0, ADD COLUMN strikes int4 NOT NULL DEFAULT 0, \
             ADD COLUMN code int4, ADD COLUMN class text, ADD COLUMN detail text, \
             ADD CONSTRAINT failed_has_a_class CHECK (state NOT IN (2, 3, 4) OR class IS NOT NULL); \
         DROP TYPE stream_failure; \
         UPDATE result SET state = 4, blob = NULL, attempts = 3, strikes = 2, code = 5, class = 'io', detail = 'gone' WHERE ino = 10; \
         UPDATE inode SET rare = ''; ALTER TABLE inode ALTER COLUMN rare SET NOT NULL; \
         UPDATE result r SET blob = n.old FROM (SELECT id, row_number() OVER (ORDER BY hash DESC) AS old FROM blob) n WHERE r.blob = n.id; \
         UPDATE blob b SET id = n.old FROM (SELECT id, row_number() OVER (ORDER BY hash DESC) AS old FROM blob) n WHERE b.id = n.id; \
         ALTER TABLE blob ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (START 1000), ADD CONSTRAINT blob_hash_key UNIQUE (hash); \
         ALTER TABLE chunk_members DROP COLUMN layout; ALTER TABLE ntt_schema DROP COLUMN archive; UPDATE ntt_schema SET version = 4",
    );
    assert!(matches!(
        PostgresCatalogue::open(&url, None),
        Err(Error::Version { found: 4, .. })
    ));
    // Two operators at once: one of them finds it done.
    let mut brought = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| init(&url).unwrap()));
        both.map(|one| one.join().unwrap())
    });
    brought.sort_unstable();
    assert_eq!(brought, [(4, newest), (newest, newest)]);
    let catalogue = PostgresCatalogue::open(&url, None).unwrap();
    let (first, further) = (scan, load(&catalogue, 600));
    for scan in [scan, further] {
        while one_chunk(&catalogue, scan, worker).unwrap().is_some() {}
    }
    let failed = catalogue.stream_states(scan, 10).unwrap();
    assert!(
        matches!(
            &failed[..],
            [StreamState {
                state: State::Failed { .. },
                ..
            }]
        ),
        "{failed:?}"
    );
    let row = "SELECT (failure).attempts, (failure).strikes, (failure).code, (failure).class, (failure).detail FROM result WHERE ino = 10 \
               AND state = 4";
    assert_eq!(server.psql("old", row), "3|2|5|io|gone");
    for (scan, inode) in (10..610).flat_map(|inode| [(scan, inode), (further, inode)]) {
        if (scan, inode) == (first, 10) {
            continue;
        }
        let states = catalogue.stream_states(scan, inode).unwrap();
        assert!(
            matches!(
                states[..],
                [StreamState {
                    state: State::Stored { .. },
                    ..
                }]
            ),
            "{inode}: {states:?}"
        );
    }
}

#[test]
fn r39_what_is_wrong_with_a_server_is_told() {
    let Some(mut server) = PostgresServer::start() else {
        return;
    };
    let url = server.create_database("a", None);
    server.psql("a", "ALTER DATABASE a SET standard_conforming_strings = off");
    init(&url).unwrap();
    let catalogue = PostgresCatalogue::open(&url, None).unwrap();
    server.psql("a", "ALTER DATABASE a SET default_transaction_read_only = on");
    assert!(matches!(
        PostgresCatalogue::open(&url, None),
        Err(Error::Storage(_))
    ));
    PostgresCatalogue::open_read_only(&url).unwrap();
    server.psql("postgres", "ALTER DATABASE a RESET default_transaction_read_only");
    let reader = PostgresCatalogue::open_read_only(&url).unwrap();
    assert!(matches!(reader.register_worker("w"), Err(Error::Conflict(_))));
    server.kill_9();
    for result in [
        catalogue.media().map(drop),
        catalogue.register_worker("w").map(drop),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    }
    server.restart().unwrap();
    catalogue.register_worker("the same value goes on").unwrap();
}

/// The server ends a short transaction whose client falls silent in its middle, and a client that wakes up runs it again.
#[test]
fn a_client_that_slept_in_a_transaction_runs_it_again() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let url = server.create_database("a", None);
    init(&url).unwrap();
    let catalogue = PostgresCatalogue::open(&url, None).unwrap();
    let runs = Cell::new(0);
    let patience = catalogue.write(super::Durability::Power, |connection| {
        runs.set(runs.get() + 1);
        let patience: String = connection.one("SHOW idle_in_transaction_session_timeout", &[])?;
        if runs.get() == 1 {
            connection.batch("SET LOCAL idle_in_transaction_session_timeout = '50ms'")?;
            while server.psql(
                "a",
                "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'",
            ) != "0"
            {}
        }
        connection.batch("SELECT 1")?;
        Ok(patience)
    });
    assert_eq!((patience.unwrap().as_str(), runs.get()), ("1min", 2));
}

#[test]
fn r23_the_views_show_every_name_and_hide_none() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let url = server.create_database("a", None);
    init(&url).unwrap();
    let catalogue = PostgresCatalogue::open(&url, None).unwrap();
    let names: [(&[u8], &str); 12] = [
        (b"plain", "plain"),
        ("caf\u{e9}".as_bytes(), "caf\u{e9}"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"a\nb\\c", "a\\nb\\\\c"),
        (b"\x1b[31m", "\\x1b[31m"),
        ("\u{202e}txt".as_bytes(), "\\xe2\\x80\\xaetxt"),
        (
            "\u{7ff}\u{800}\u{d7ff}\u{1f600}".as_bytes(),
            "\u{7ff}\u{800}\u{d7ff}\u{1f600}",
        ),
        (b"\xc1\xbf", "\\xc1\\xbf"),
        (b"\xe0\x9f\xbf", "\\xe0\\x9f\\xbf"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
        (b"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"),
        (b"cut\xe2\x80", "cut\\xe2\\x80"),
    ];
    work::load_names(&catalogue, &names.map(|(name, _)| name));
    let shown = server.psql("a", "SELECT path FROM paths ORDER BY id");
    let shown: Vec<&str> = shown.lines().collect();
    assert_eq!(shown, names.map(|(_, text)| text));
    // A catalogue of some size is looked at by several processes of the server at once.
    let parallel = "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET min_parallel_index_scan_size = 0;";
    let count = "SELECT count(path) FROM paths";
    let plan = server.psql("a", &format!("{parallel} EXPLAIN {count}"));
    assert!(plan.contains("Workers Planned"), "{plan}");
    assert_eq!(
        server.psql("a", &format!("{parallel} {count}")),
        names.len().to_string()
    );
    for (name, text) in names {
        assert_eq!(ntt_model::name::escape(name), text, "as the program shows it");
    }
    for view in ["occurrences", "completeness", "queue", "workers", "current_scans"] {
        server.psql("a", &format!("SELECT * FROM {view}"));
    }
    let scan = load(&catalogue, 600);
    let worker = catalogue.register_worker("w").unwrap();
    one_chunk(&catalogue, scan, worker).unwrap().unwrap();
    let blob = "SELECT encode(hash, 'hex') FROM blob ORDER BY hash LIMIT 1";
    let places = format!("FROM ntt_where(({blob}))");
    let count = server.psql("a", &format!("SELECT count(*) {places}"));
    let all = format!("SELECT count(*) FROM occurrences WHERE blob = ({blob})");
    assert_eq!(count, server.psql("a", &all));
    assert_ne!(count, "0");
    let results = format!("SELECT DISTINCT result FROM paths WHERE blob = ({blob})");
    assert_eq!(server.psql("a", &results), "stored");
    let digest = server.psql("a", blob);
    let hash: ntt_model::BlobHash = digest.parse().unwrap();
    catalogue.record_verified(&[(hash, false)]).unwrap();
    assert_eq!(server.psql("a", &results), "corrupt");
    let plan = format!("SET enable_seqscan = off; EXPLAIN SELECT * FROM ntt_where('{digest}')");
    let plan = server.psql("a", &plan);
    assert!(plan.contains("blob_pkey"), "{plan}");
}

/// R37: psql does not count what the program does not count.
#[test]
fn r37_the_views_leave_withdrawn_media_out() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let url = server.create_database("a", None);
    init(&url).unwrap();
    let catalogue = PostgresCatalogue::open(&url, None).unwrap();
    let scan = load(&catalogue, 600);
    let worker = catalogue.register_worker("w").unwrap();
    one_chunk(&catalogue, scan, worker).unwrap().unwrap();
    let views = ["current_scans", "paths", "occurrences", "completeness", "queue"];
    let is_counted = || {
        let rows = |view| server.psql("a", &format!("SELECT count(*) > 0 FROM {view}")) == "t";
        views.map(rows)
    };
    assert_eq!(is_counted(), [true; 5]);
    let medium = catalogue.media().unwrap()[0].key;
    let withdrawal = EventRow::of_withdrawal(medium, "a test".to_owned());
    catalogue.add_event(&withdrawal).unwrap();
    assert_eq!(is_counted(), [false; 5]);
    let reasons = "SELECT reason FROM withdrawn_media";
    assert_eq!(server.psql("a", reasons), "a test");
    catalogue.add_event(&EventRow::of_reinstatement(medium)).unwrap();
    assert_eq!(is_counted(), [true; 5]);
    assert_eq!(server.psql("a", reasons), "");
}
