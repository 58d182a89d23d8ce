#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use ntt_fuzz::{Fixture, fixture, patched};

static FIXTURE: OnceLock<Fixture> = OnceLock::new();

fuzz_target!(|patches: &[u8]| {
    let image = patched(fixture(&FIXTURE, "disk.img"), patches);
    let found = ntt_volume::table::find(&image, 0);
    assert!(found.tables.len() < 10_000, "the chain does not end");
    let _ = ntt_volume::identify::identify(&image);
    let _ = ntt_volume::fill::detect(&image);
});
