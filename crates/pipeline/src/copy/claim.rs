//! What the map of a stream claims, before any of it is read.
//!
//! A size is a number that an inode says. Of a sparse file nearly all of it may be holes, which is no reason for doubt: a virtual disk of 2 TiB on a
//! medium of 500 GB is a usual find, and so is a `lastlog` of 1.2 TB on one of 8 GB. What has no such reason is refused before it costs hours.

use ntt_model::entry::{Encoding, Stream};
use ntt_model::failure::Failure;
use ntt_model::{ExtentKind, FailureClass};

use super::stream::failure;

/// What a stream may claim on any medium.
const ALWAYS_BELIEVED: u64 = 4 << 40;
/// How many times the bytes of its medium a stream may claim beyond that.
const TIMES_OF_MEDIUM: u64 = 8;
/// What a stream may claim at all: a set of images lies in a space of addresses that is far greater than they are.
const NEVER_BELIEVED: u64 = 256 << 40;
/// What a stream of a live directory may claim, whose file system is not known.
const LIVE_BELIEVED: u64 = 16 << 40;
/// Holes that SHA-256, unlike BLAKE3, must go through byte by byte: so many, and so many for each byte between them, are always worth it.
const HOLES_ALWAYS_HASHED: u64 = 256 << 20;
const HOLES_HASHED_PER_BYTE: u64 = 64;

/// Why a stream is not even tried.
pub(super) fn refusal(stream: &Stream, medium_bytes: Option<u64>) -> Option<Failure> {
    match &stream.encoding {
        Encoding::Encrypted => {
            let detail = "encrypted, and there is no key".to_owned();
            Some(failure(FailureClass::Permission, 1, detail))
        }
        Encoding::Plain | Encoding::Packed(_) => disbelief(stream.size_bytes, medium_bytes),
        _ => {
            let detail = "encoded in a way that this version does not decode".to_owned();
            Some(failure(FailureClass::Corrupt, 2, detail))
        }
    }
}

fn disbelief(size_bytes: u64, medium_bytes: Option<u64>) -> Option<Failure> {
    let (most, medium) = match medium_bytes {
        None => (LIVE_BELIEVED, String::new()),
        Some(bytes) => (
            bytes
                .saturating_mul(TIMES_OF_MEDIUM)
                .clamp(ALWAYS_BELIEVED, NEVER_BELIEVED),
            format!(" on a medium of {bytes}"),
        ),
    };
    let detail = || format!("a size of {size_bytes} bytes{medium} is not believed");
    (size_bytes > most).then(|| failure(FailureClass::Corrupt, 1, detail()))
}

/// Whether the SHA-256 of a stream is worth its holes. Those of a live file are not known beforehand.
pub(super) fn is_worth_sha256(stream: &Stream, medium_bytes: Option<u64>) -> bool {
    if medium_bytes.is_none() {
        return true;
    }
    let mapped = mapped_bytes(stream);
    let holes = stream.size_bytes.saturating_sub(mapped);
    holes
        <= mapped
            .saturating_mul(HOLES_HASHED_PER_BYTE)
            .max(HOLES_ALWAYS_HASHED)
}

/// Bytes of a stream that are no holes.
fn mapped_bytes(stream: &Stream) -> u64 {
    match &stream.encoding {
        Encoding::Packed(units) => sum(units.iter().map(|unit| unit.len)),
        _ => {
            let is_mapped = |kind| matches!(kind, ExtentKind::Data | ExtentKind::Inline);
            let mapped = stream.extents.iter().filter(|extent| is_mapped(extent.kind));
            sum(mapped.map(|extent| extent.len))
        }
    }
}

fn sum(lens: impl Iterator<Item = u64>) -> u64 {
    lens.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use ntt_model::Extent;
    use ntt_model::entry::StreamKind;

    use super::*;

    const GIB: u64 = 1 << 30;
    const TIB: u64 = 1 << 40;

    fn stream(size_bytes: u64, mapped: u64) -> Stream {
        Stream {
            kind: StreamKind::Data,
            size_bytes,
            extents: vec![Extent {
                logical_offset: 0,
                image_offset: 0,
                len: mapped,
                kind: ExtentKind::Data,
            }],
            encoding: Encoding::Plain,
            extents_incomplete: false,
        }
    }

    fn is_believed(size_bytes: u64, medium_bytes: Option<u64>) -> bool {
        refusal(&stream(size_bytes, 4096), medium_bytes).is_none()
    }

    #[test]
    fn sparse_files_that_people_have_are_believed() {
        assert!(is_believed(2 * TIB, Some(500 * GIB)), "a virtual disk");
        assert!(is_believed(1200 * GIB, Some(8 * GIB)), "lastlog");
        assert!(is_believed(17 * TIB, Some(20 * TIB)), "a big file of a big disk");
        assert!(is_believed(16 * TIB, None), "a live file");
    }

    #[test]
    fn claims_without_reason_are_refused_with_the_figures() {
        assert!(!is_believed(16 * TIB, Some(16 << 20)));
        assert!(!is_believed(u64::MAX, None) && !is_believed(u64::MAX, Some(1 << 60)));
        let refused = refusal(&stream(64 * TIB, 0), Some(1000)).expect("a refusal");
        assert_eq!(
            refused.detail,
            "a size of 70368744177664 bytes on a medium of 1000 is not believed"
        );
    }

    #[test]
    fn sha256_is_for_files_that_are_not_nearly_empty() {
        let is_worth = |size, mapped| is_worth_sha256(&stream(size, mapped), Some(GIB));
        assert!(is_worth(100 << 20, 0) && is_worth(40 * GIB, GIB));
        assert!(!is_worth(40 * GIB, 1 << 20));
    }
}
