//! The conformance suite: what every implementation of [`Catalogue`](crate::Catalogue) must do.
//!
//! An implementation's tests call [`run`] with a function that makes an empty catalogue under a given clock.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation ends the test"
)]

mod answers;
mod copying;
mod fixture;
mod lease_script;
mod leases;
mod loading;
mod relabelling;
mod withdrawing;

use std::sync::Arc;

use crate::Catalogue;
pub use fixture::{Fixture, ManualClock, file, named, odd_inodes};
pub use lease_script::run_lease_script;

/// Makes an empty catalogue.
pub type Make<'m> = dyn Fn(Arc<ManualClock>) -> Box<dyn Catalogue> + 'm;

/// One case of the suite.
type Case = (&'static str, fn(&Fixture));

/// Runs the suite, every case on a fresh catalogue. Panics, naming the case, at the first expectation that fails.
pub fn run(make: &Make<'_>) {
    let groups = [
        loading::CASES,
        copying::CASES,
        leases::CASES,
        relabelling::CASES,
        answers::CASES,
        withdrawing::CASES,
    ];
    for (name, case) in groups.into_iter().flatten() {
        let fixture = fixture_of(make);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(&fixture)));
        assert!(result.is_ok(), "conformance case {name}");
    }
}

fn fixture_of(make: &Make<'_>) -> Fixture {
    let clock = Arc::new(ManualClock::default());
    Fixture::new(make(Arc::clone(&clock)), clock)
}
