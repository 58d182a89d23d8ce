#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use ntt_fuzz::{fixture, patched, read_container};

static FIXTURE: OnceLock<Vec<u8>> = OnceLock::new();

fuzz_target!(|patches: &[u8]| {
    read_container("disk.qcow", patched(fixture(&FIXTURE, "disk.qcow"), patches));
});
