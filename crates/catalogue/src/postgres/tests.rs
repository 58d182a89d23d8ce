//! What only the catalogue in a server promises, and the conformance suite.

use std::cell::Cell;
use std::sync::Arc;

use ntt_testkit::postgres::PostgresServer;
use proptest::prelude::*;

use super::{PostgresCatalogue, init};
use crate::conformance::ManualClock;

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
