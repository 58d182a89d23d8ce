#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use ntt_filesystem::Family;
use ntt_fuzz::{fixture, patched, walk};

static FIXTURE: OnceLock<Vec<u8>> = OnceLock::new();

fuzz_target!(|patches: &[u8]| {
    walk(Family::ReiserFs, patched(fixture(&FIXTURE, "reiserfs.img"), patches));
});
