#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use ntt_fuzz::{fixture, patched, read_container};

static FIXTURE: OnceLock<Vec<u8>> = OnceLock::new();

fuzz_target!(|patches: &[u8]| {
    read_container("disk.vhdx", patched(fixture(&FIXTURE, "disk.vhdx"), patches));
});
