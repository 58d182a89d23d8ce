//! Every decoder over any bytes: the first byte says which one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ntt_model::Codec;

/// More than a short input decodes to by accident, little enough to be quick.
const LEN_MAX: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((first, stored)) = data.split_first() else { return };
    let codec = Codec::ALL[usize::from(*first) % Codec::ALL.len()];
    let mut out = Vec::new();
    let _ = ntt_codec::decode(codec, stored, &mut out, LEN_MAX);
    assert!(out.len() <= LEN_MAX, "more than was wanted");
});
