#![no_main]

use libfuzzer_sys::fuzz_target;
use ntt_fuzz::read_container;

// Whatever the bytes are, under names that formats go by.
fuzz_target!(|bytes: &[u8]| {
    for name in ["disk.img", "disc.cue", "disc.toc", "disc.ccd", "disc.mds", "disc.nrg", "x.001", "x.E01"] {
        read_container(name, bytes.to_vec());
    }
});
