//! Several workers at once.

use std::thread;

use ntt_testkit::postgres::PostgresServer;

use ntt_model::{BlobHash, Outcome};

use super::work::{assert_drained, copied, load, one_chunk};
use crate::Catalogue;
use crate::postgres::{PostgresCatalogue, init};

const FILES: u64 = 6_000;

#[test]
fn r33_r34_four_workers_record_everything_once_at_any_isolation_level() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    for level in ["read committed", "repeatable read", "serializable"] {
        let name = level.replace(' ', "_");
        let url = server.create_database(&name, None);
        init(&url).unwrap();
        let sql = format!("ALTER DATABASE {name} SET default_transaction_isolation = '{level}'");
        server.psql("postgres", &sql);
        let catalogue = PostgresCatalogue::open(&url, None).unwrap();
        let scan = load(&catalogue, FILES);
        let recorded: Vec<u64> = thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        // Every worker has a catalogue of its own, as on a host of its own.
                        let catalogue = PostgresCatalogue::open(&url, None).unwrap();
                        let worker = catalogue.register_worker("w").unwrap();
                        let mut recorded = Vec::new();
                        while let Some(inodes) = one_chunk(&catalogue, scan, worker).unwrap() {
                            recorded.extend(inodes);
                        }
                        catalogue.retire_worker(worker).unwrap();
                        recorded
                    })
                })
                .collect();
            workers
                .into_iter()
                .flat_map(|worker| worker.join().unwrap())
                .collect()
        });
        let mut distinct = recorded.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!((recorded.len(), distinct.len()), (6_000, 6_000), "{level}");
        assert_drained(&catalogue, scan, FILES);
        let done: u64 = catalogue
            .workers()
            .unwrap()
            .iter()
            .filter_map(|worker| worker.done_streams)
            .sum();
        assert_eq!(done, FILES);
    }
}

/// Whichever worker of a process ends last, the results get their index by content.
#[test]
fn the_last_worker_to_end_gives_the_results_their_index() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let url = server.create_database("a", None);
    init(&url).unwrap();
    let catalogue = PostgresCatalogue::open(&url, None).unwrap();
    let scan = load(&catalogue, 3000);
    let [first, last] = ["first", "last"].map(|name| catalogue.register_worker(name).unwrap());
    for worker in [first, last] {
        one_chunk(&catalogue, scan, worker).unwrap().unwrap();
    }
    let indexes = format!("SELECT count(*) FROM pg_class WHERE relname = 'result_{scan}_blob'");
    catalogue.retire_worker(first).unwrap();
    assert_eq!(server.psql("a", &indexes), "0", "there is work left");
    while one_chunk(&catalogue, scan, last).unwrap().is_some() {}
    catalogue.retire_worker(last).unwrap();
    assert_eq!(server.psql("a", &indexes), "1");
}

#[test]
fn a_person_can_ask_a_worker_to_end() {
    use crate::rows::WorkerWish;
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let url = server.create_database("a", None);
    init(&url).unwrap();
    let (here, there) = (
        PostgresCatalogue::open(&url, None).unwrap(),
        PostgresCatalogue::open(&url, None).unwrap(),
    );
    let worker = here.register_worker("w").unwrap();
    assert_eq!(here.heartbeat(worker).unwrap(), WorkerWish::Work);
    there.ask_worker(worker, WorkerWish::Drain).unwrap();
    assert_eq!(here.heartbeat(worker).unwrap(), WorkerWish::Drain);
    here.retire_worker(worker).unwrap();
    assert!(
        there.ask_worker(worker, WorkerWish::Stop).is_err(),
        "it has ended"
    );
}

/// An old snapshot of another session, as a report or a dump holds it, must not slow claims down or keep them from working.
#[test]
fn r34_an_old_snapshot_does_not_matter() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let url = server.create_database("a", None);
    init(&url).unwrap();
    let catalogue = PostgresCatalogue::open(&url, None).unwrap();
    let scan = load(&catalogue, FILES);
    let mut reporter = postgres::Client::connect(&url, postgres::NoTls).unwrap();
    let mut snapshot = reporter
        .build_transaction()
        .isolation_level(postgres::IsolationLevel::RepeatableRead)
        .start()
        .unwrap();
    snapshot.query_one("SELECT count(*) FROM chunk", &[]).unwrap();
    let worker = catalogue.register_worker("w").unwrap();
    while one_chunk(&catalogue, scan, worker).unwrap().is_some() {}
    assert_drained(&catalogue, scan, FILES);
    let pending: i64 = snapshot
        .query_one("SELECT count(*) FROM chunk WHERE state = 0", &[])
        .unwrap()
        .get(0);
    assert_eq!(pending, 12, "the snapshot is old");
}

/// R34: what a worker gave back comes last, where claims look first: whoever found it before all others would look past them again.
#[test]
fn r34_what_is_given_back_comes_last() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let url = server.create_database("a", None);
    init(&url).unwrap();
    let catalogue = PostgresCatalogue::open(&url, None).unwrap();
    let scan = load(&catalogue, 2_000);
    let [one, two] = ["one", "two"].map(|name| catalogue.register_worker(name).unwrap());
    let claim = |worker| catalogue.claim_chunk(scan, worker).unwrap();
    let given_back = [claim(one).unwrap().id, claim(one).unwrap().id];
    let mut order = vec![claim(two).unwrap().id];
    catalogue.retire_worker(one).unwrap();
    while let Some(chunk) = claim(two) {
        order.push(chunk.id);
    }
    assert_eq!((order.len(), &order[2..]), (4, &given_back[..]));
}

/// R38: what the store took for new is right whatever the catalogue knows, also of a content whose digest begins as another's.
#[test]
fn r38_a_content_that_is_new_to_the_store_only_is_recorded_once() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let url = server.create_database("a", None);
    init(&url).unwrap();
    let catalogue = PostgresCatalogue::open(&url, None).unwrap();
    let worker = catalogue.register_worker("w").unwrap();
    let alike = |last: u8| {
        let mut bytes = [7; 32];
        bytes[31] = last;
        BlobHash::from_bytes(bytes)
    };
    for _ in 0..2 {
        let scan = load(&catalogue, 40);
        let chunk = catalogue.claim_chunk(scan, worker).unwrap().unwrap();
        let mut result = copied(&chunk);
        for (number, stream) in (0..).zip(&mut result.streams) {
            let blob = alike(number % 4);
            stream.outcome = Outcome::Stored { blob, size: 8 };
            stream.is_new = true;
        }
        assert_eq!(catalogue.complete_chunks(worker, &[result]).unwrap(), []);
        assert_drained(&catalogue, scan, 40);
    }
    let mut blobs = Vec::new();
    catalogue
        .each_blob(None, &mut |row| {
            blobs.push(row.hash);
            Ok(())
        })
        .unwrap();
    assert_eq!(blobs, [0, 1, 2, 3].map(alike));
}

/// R34: a claim looks at a handful of rows, be the queue short or long, full or nearly worked off.
#[test]
fn r34_a_claim_looks_at_as_many_rows_in_any_queue() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let rows_of_five = |name: &str, chunks: u32, done: &str| {
        let url = server.create_database(name, None);
        init(&url).unwrap();
        let scan = load(&PostgresCatalogue::open(&url, None).unwrap(), 600);
        server.psql(
            name,
            &format!(
                "INSERT INTO chunk SELECT (jsonb_populate_record(c, jsonb_build_object('id', 100 + n, 'seq', 100 + n))).* \
                     FROM chunk c, generate_series(1, {chunks}) n WHERE c.seq = (SELECT min(seq) FROM chunk); \
                 INSERT INTO chunk_members SELECT c.id, (SELECT m.members FROM chunk_members m LIMIT 1) FROM chunk c \
                     WHERE NOT EXISTS (SELECT 1 FROM chunk_members m WHERE m.chunk = c.id); \
                 UPDATE chunk SET state = 2 WHERE {done}"
            ),
        );
        server.psql(name, "VACUUM ANALYZE chunk");
        server.psql(name, "SELECT pg_stat_reset()");
        let catalogue = PostgresCatalogue::open(&url, None).unwrap();
        let worker = catalogue.register_worker("w").unwrap();
        for _ in 0..5 {
            assert!(catalogue.claim_chunk(scan, worker).unwrap().is_some());
        }
        // A session tells what it read when it ends.
        drop(catalogue);
        let sql = "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relname = 'chunk'";
        let mut rows = 0_u32;
        for _ in 0..100 {
            rows = server.psql(name, sql).parse().unwrap();
            if rows > 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert!(rows > 0, "nothing was told");
        rows
    };
    let most = 5 * 12;
    assert!(rows_of_five("full", 5_000, "false") <= most);
    assert!(rows_of_five("nearly_empty", 5_000, "seq < 5050") <= most);
}

/// R30: a load touches as many pages beside forty scans as beside one.
#[test]
fn r30_a_load_touches_nothing_of_other_scans() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let pages_of_a_load_after = |name: &str, scans: u32| {
        let url = server.create_database(name, None);
        init(&url).unwrap();
        let catalogue = PostgresCatalogue::open(&url, None).unwrap();
        for _ in 0..scans {
            load(&catalogue, 600);
        }
        drop(catalogue);
        server.psql(name, "VACUUM ANALYZE");
        server.psql(name, "SELECT pg_stat_reset()");
        let catalogue = PostgresCatalogue::open(&url, None).unwrap();
        load(&catalogue, 600);
        // A session tells what it touched when it ends.
        drop(catalogue);
        let sql = "SELECT coalesce(sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0)), 0) \
                   FROM pg_statio_user_tables WHERE relname NOT IN ('medium', 'volume', 'scan', 'ntt_schema')";
        let mut pages = 0_u32;
        for _ in 0..100 {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let now = server.psql(name, sql).parse().unwrap();
            if now > 0 && now == pages {
                break;
            }
            pages = now;
        }
        assert!(pages > 0, "nothing was told");
        pages
    };
    let (few, many) = (pages_of_a_load_after("few", 1), pages_of_a_load_after("many", 40));
    assert!(many <= few + few / 10, "{many} pages, not {few}");
}
