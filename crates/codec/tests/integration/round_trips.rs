//! What others encoded comes back byte for byte, and only what is all there and no more than expected is called good.

use ntt_codec::{DecodeError, decode, decode_deflate};
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

/// R22: a stream that gives more than its block holds is corrupt, however little more it is. What fits is appended, and no more.
#[test]
fn r22_more_than_expected_is_corrupt() {
    for content in contents() {
        for codec in Codec::ALL {
            let Some(stored) = encode(codec, &content) else {
                continue;
            };
            for expected in [
                0,
                1,
                content.len() / 3,
                content.len().saturating_sub(1),
                content.len(),
            ] {
                let expected = expected.min(content.len());
                let mut out = b"before".to_vec();
                let result = decode(codec, &stored, &mut out, expected);
                let is_whole = expected == content.len();
                assert_eq!(
                    result.is_ok(),
                    is_whole,
                    "{} {expected}: {result:?}",
                    codec.name()
                );
                assert!(is_whole || matches!(result, Err(DecodeError::Corrupt(_))));
                let kept = [b"before", &content[..expected]].concat();
                assert!(out == kept, "{} {expected}", codec.name());
                assert!(out.capacity() <= 2 * (expected + 6) + 64, "{}", codec.name());
            }
        }
    }
}

/// R22: bytes may all be there, and the end of their stream not: then nothing has confirmed them.
#[test]
fn r22_a_stream_without_its_end_is_no_good() {
    let content = noise(5000);
    for codec in Codec::ALL {
        // The marker of LZVN confirms nothing. A bare block of LZ4, and what is stored, have no end but that of their bytes.
        if matches!(codec, Codec::Lzvn | Codec::Lz4 | Codec::Stored) {
            continue;
        }
        let Some(stored) = encode(codec, &content) else {
            continue;
        };
        for cut in 1..=3 {
            let (out, result) = decoded(codec, &stored[..stored.len() - cut], content.len());
            assert!(result.is_err(), "{} without its last {cut} bytes", codec.name());
            assert!(content.starts_with(&out), "{}", codec.name());
        }
    }
}

/// R11: what is cut short is told from what is corrupt, wherever the cut is: a sector may be read another time.
#[test]
fn r11_what_ends_too_early_is_not_corrupt() {
    let content = &contents()[6][90_000..110_000];
    for codec in Codec::ALL {
        let Some(stored) = encode(codec, content) else {
            continue;
        };
        for cut in (0..stored.len())
            .step_by(41)
            .chain(stored.len().saturating_sub(20)..stored.len())
        {
            let (out, result) = decoded(codec, &stored[..cut], content.len());
            let told = matches!(result, Ok(()) | Err(DecodeError::Truncated));
            assert!(
                told,
                "{} cut at {cut} of {}: {result:?}",
                codec.name(),
                stored.len()
            );
            assert!(content.starts_with(&out), "{} cut at {cut}", codec.name());
        }
    }
}

/// R22: for every bit of a stream with a checksum: what is called good is right, whether the damage makes it longer or shorter.
#[test]
fn r22_what_a_checksum_covers_is_right_or_refused() {
    let content = &contents()[3][..1000];
    for codec in [Codec::Zlib, Codec::Xz, Codec::Bzip2] {
        let Some(stored) = encode(codec, content) else {
            continue;
        };
        let mut longer = 0;
        for bit in 0..stored.len() * 8 {
            let mut changed = stored.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let (out, result) = decoded(codec, &changed, content.len());
            assert!(result.is_err() || out == content, "{}: bit {bit}", codec.name());
            longer += usize::from(result.is_err() && out.len() == content.len());
        }
        assert!(
            longer > 0,
            "{}: no damage shows only behind the bytes",
            codec.name()
        );
    }
}

/// Raw Deflate, as in clusters of virtual disks: what follows its end is not looked at.
#[test]
fn raw_deflate_ends_where_it_says() {
    use std::io::Write;
    let content = &contents()[3][..60_000];
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    let stored = encoder.finish().unwrap();
    let behind = [&stored[..], &noise(700)].concat();
    let mut out = Vec::new();
    assert_eq!(decode_deflate(&behind, &mut out, content.len()), Ok(()));
    assert!(out == content);
    for (stored, expected) in [
        (&stored[..], content.len() - 1),
        (&stored[..stored.len() - 1], content.len()),
    ] {
        assert!(decode_deflate(stored, &mut Vec::new(), expected).is_err());
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

/// The check value of a frame of Zstandard is looked at, though all that was expected is there.
#[test]
fn r22_a_wrong_check_value_of_zstandard_is_told() {
    let content = noise(5000);
    let Some(mut stored) = tool("zstd", &["-c", "--check"], &content) else {
        return;
    };
    assert_eq!(
        decoded(Codec::Zstd, &stored, content.len()),
        (content.clone(), Ok(()))
    );
    let last = stored.len() - 1;
    stored[last] ^= 1;
    let (_, result) = decoded(Codec::Zstd, &stored, content.len());
    assert!(matches!(result, Err(DecodeError::Corrupt(_))), "{result:?}");
}

/// In a sector of qcow2 the next cluster's frame may begin behind that of this one.
#[test]
fn a_frame_behind_a_full_output_is_another_matter() {
    let frames = [
        encode(Codec::Zstd, b"one ").unwrap(),
        encode(Codec::Zstd, b"two").unwrap(),
    ]
    .concat();
    assert_eq!(decoded(Codec::Zstd, &frames, 4), (b"one ".to_vec(), Ok(())));
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
