#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use ntt_fuzz::{Fixture, fixture, patched};

static FIXTURE: OnceLock<Fixture> = OnceLock::new();

fuzz_target!(|patches: &[u8]| {
    let image = patched(fixture(&FIXTURE, "disk.img"), patches);
    let tree = ntt_inspect::tree::build(&image);
    assert!(tree.volumes.len() < 10_000, "volumes without end");
});
