//! What others encoded comes back byte for byte, however much of it is wanted.

use ntt_codec::{DecodeError, decode};
use ntt_model::Codec;

use crate::sample::{contents, encode, noise, tool};

fn decoded(codec: Codec, stored: &[u8], len_max: usize) -> (Vec<u8>, Result<(), DecodeError>) {
    let mut out = Vec::new();
    let result = decode(codec, stored, &mut out, len_max);
    (out, result)
}

#[test]
fn what_others_encoded_comes_back() {
    let mut checked = 0;
    for content in contents() {
        for codec in Codec::ALL {
            let Some(stored) = encode(codec, &content) else {
                continue;
            };
            let (out, result) = decoded(codec, &stored, usize::MAX >> 1);
            assert_eq!(result, Ok(()), "{} of {} bytes", codec.name(), content.len());
            assert!(out == content, "{} of {} bytes", codec.name(), content.len());
            checked += 1;
        }
    }
    assert!(checked >= 40, "only {checked}");
}

#[test]
fn no_more_than_wanted_is_decoded_and_appended() {
    for content in contents() {
        for codec in Codec::ALL {
            let Some(stored) = encode(codec, &content) else {
                continue;
            };
            for wanted in [0, 1, content.len() / 3, content.len()] {
                let wanted = wanted.min(content.len());
                let mut out = b"before".to_vec();
                decode(codec, &stored, &mut out, wanted).unwrap();
                let expected = [b"before", &content[..wanted]].concat();
                assert!(out == expected, "{} {wanted}", codec.name());
                assert!(out.capacity() <= 2 * (wanted + 6) + 64, "{}", codec.name());
            }
        }
    }
}

/// Only the rest is lost when the stored bytes end too early.
#[test]
fn what_was_decoded_before_the_end_is_kept() {
    let content = noise(600_000);
    for codec in Codec::ALL {
        let Some(stored) = encode(codec, &content) else {
            continue;
        };
        let (out, _) = decoded(codec, &stored[..stored.len() / 2], content.len());
        assert!(content.starts_with(&out), "{}", codec.name());
        assert!(out.len() > content.len() / 4, "{}: {}", codec.name(), out.len());
        assert!(out.len() < content.len(), "{}", codec.name());
    }
}

/// Stored runs end at a sector: what is behind the compressed bytes does not matter.
#[test]
fn padding_is_passed_over() {
    for codec in Codec::ALL {
        // A bare block of LZ4 is as long as what is stored.
        if matches!(codec, Codec::Stored | Codec::Lz4) {
            continue;
        }
        let content = &contents()[3];
        let Some(mut stored) = encode(codec, content) else {
            continue;
        };
        stored.resize(stored.len().next_multiple_of(4096) + 4096, 0);
        let (out, result) = decoded(codec, &stored, content.len());
        assert_eq!(result, Ok(()), "{}", codec.name());
        assert!(out == *content, "{}", codec.name());
    }
}

#[test]
fn a_wrong_checksum_is_told() {
    let content = noise(5000);
    for codec in [Codec::Zlib, Codec::Xz, Codec::Bzip2] {
        let Some(mut stored) = encode(codec, &content) else {
            continue;
        };
        // Noise is kept as literals: one other byte in the middle is one other byte of the content.
        let middle = stored.len() / 2;
        stored[middle] ^= 1;
        let (_, result) = decoded(codec, &stored, content.len());
        assert!(matches!(result, Err(DecodeError::Corrupt(_))), "{}", codec.name());
    }
}

#[test]
fn frames_of_zstandard_follow_each_other() {
    let frames = [
        encode(Codec::Zstd, b"one ").unwrap(),
        encode(Codec::Zstd, b"two").unwrap(),
    ]
    .concat();
    assert_eq!(decoded(Codec::Zstd, &frames, 100), (b"one two".to_vec(), Ok(())));
}

#[test]
fn filters_of_xz_are_undone() {
    let content = noise(50_000);
    let Some(stored) = tool(
        "xz",
        &["-c", "--check=sha256", "--x86", "--lzma2=preset=1"],
        &content,
    ) else {
        return;
    };
    assert_eq!(decoded(Codec::Xz, &stored, content.len()), (content, Ok(())));
}

/// A window that no file system uses is refused before it is allocated.
#[test]
fn giant_windows_are_refused() {
    let Some(mut stored) = encode(Codec::Lzma, b"small") else {
        return;
    };
    stored[1..5].copy_from_slice(&0xc000_0000_u32.to_le_bytes());
    // The decoder needs no more than the length that the header tells; without one, it needs the window.
    stored[5..13].copy_from_slice(&u64::MAX.to_le_bytes());
    let (_, result) = decoded(Codec::Lzma, &stored, 100);
    assert!(matches!(result, Err(DecodeError::Corrupt(_))), "{result:?}");
}
