#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use ntt_filesystem::Family;
use ntt_fuzz::{Fixture, fixture, patched, walk};

static FIXTURE: OnceLock<Fixture> = OnceLock::new();

fuzz_target!(|patches: &[u8]| {
    walk(Family::Romfs, patched(fixture(&FIXTURE, "romfs.img"), patches));
});
