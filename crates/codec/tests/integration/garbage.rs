//! Whatever is stored, a decoder ends, keeps to its bound, and does not panic.

use ntt_codec::decode;
use ntt_model::Codec;
use proptest::prelude::*;

use crate::sample::{contents, encode};

fn any_codec() -> impl Strategy<Value = Codec> {
    proptest::sample::select(&Codec::ALL[..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn garbage_is_decoded_or_refused(
        codec in any_codec(),
        stored in proptest::collection::vec(any::<u8>(), 0..600),
        len_max in 0_usize..20_000,
    ) {
        let mut out = Vec::new();
        let _ = decode(codec, &stored, &mut out, len_max);
        prop_assert!(out.len() <= len_max);
    }

    /// Garbage that begins as the format does.
    #[test]
    fn garbage_behind_a_good_beginning_is_decoded_or_refused(
        head in proptest::sample::select(vec![
            (Codec::Zlib, vec![0x78, 0x9c]),
            (Codec::Zstd, vec![0x28, 0xb5, 0x2f, 0xfd]),
            (Codec::Lzfse, b"bvx2".to_vec()),
            (Codec::Lzfse, b"bvxn\x00\x10\x00\x00\x00\x10\x00\x00".to_vec()),
            (Codec::Bzip2, b"BZh11AY&SY".to_vec()),
            (Codec::Xz, b"\xfd7zXZ\0\0\x01\x69\x22\xde\x36".to_vec()),
            (Codec::Lzma, b"\x5d\0\0\x10\0".to_vec()),
            (Codec::LzoBtrfs, b"\0\x02\0\0\0\x01\0\0".to_vec()),
            (Codec::Lznt1, b"\xff\xbf".to_vec()),
        ]),
        rest in proptest::collection::vec(any::<u8>(), 0..600),
        len_max in 0_usize..20_000,
    ) {
        let (codec, mut stored) = head;
        stored.extend(rest);
        let mut out = Vec::new();
        let _ = decode(codec, &stored, &mut out, len_max);
        prop_assert!(out.len() <= len_max);
    }
}

/// Single bytes of what is right are changed, everywhere.
#[test]
fn changed_bytes_are_decoded_or_refused() {
    let content = &contents()[3][..20_000];
    for codec in Codec::ALL {
        let Some(stored) = encode(codec, content) else {
            continue;
        };
        let step = (stored.len() / 80).max(1);
        for place in (0..stored.len()).step_by(step) {
            for change in [0xff, 0x01, 0x80] {
                let mut changed = stored.clone();
                changed[place] ^= change;
                let mut out = Vec::new();
                let _ = decode(codec, &changed, &mut out, content.len());
                assert!(out.len() <= content.len(), "{}", codec.name());
            }
        }
    }
}
