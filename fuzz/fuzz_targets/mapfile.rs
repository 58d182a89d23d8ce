#![no_main]

use libfuzzer_sys::fuzz_target;
use ntt_mapfile::Mapfile;

fuzz_target!(|text: &[u8]| {
    let Ok(map) = Mapfile::parse(text) else { return };
    let written = map.to_bytes();
    let again = Mapfile::parse(&written).expect("what was written can be read");
    assert_eq!(written, again.to_bytes());
    let _ = map.unread_ranges(1 << 40);
});
