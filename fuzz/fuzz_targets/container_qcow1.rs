#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use ntt_fuzz::{Fixture, fixture, patched, read_container};

static FIXTURE: OnceLock<Fixture> = OnceLock::new();

fuzz_target!(|patches: &[u8]| {
    read_container("disk.qcow", patched(fixture(&FIXTURE, "disk.qcow"), patches));
});
