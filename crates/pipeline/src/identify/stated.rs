//! Digests that containers state of an image, computed anew while it is read.

use md5::Md5;
use ntt_inspect::container::{HashAlgorithm, StoredHash};
use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use sha1::Sha1;
use sha2::Digest;

use super::Source;

/// Checksums of parts of an image that are computed; more in one container are left out.
const CHECKS_MAX: usize = 4096;

/// What the containers of a source state, and what was computed so far.
#[derive(Default)]
pub(crate) struct StatedDigests(Vec<Check>);

/// How one stated digest compares.
pub(crate) enum Outcome {
    /// Equal: the algorithm with its value, and who stated it.
    Equal(String, String),
    /// Not equal, or not to be compared.
    Wrong(Finding),
}

struct Check {
    format: String,
    stated: StoredHash,
    state: State,
    /// Bytes of the range that could not be read.
    lost_bytes: u64,
    /// Whether it covers the whole image.
    is_whole: bool,
}

enum State {
    Md5(Md5),
    Sha1(Sha1),
    Crc32(crc32fast::Hasher),
    DiskCopy(RotatingSum),
}

impl StatedDigests {
    /// Those of the innermost container that states any: the others are of bytes that are not the image.
    pub(crate) fn of(source: &Source) -> Self {
        let layers = source
            .container
            .as_ref()
            .map_or(&[][..], |contained| &contained.layers);
        let innermost = layers.last().filter(|layer| !layer.hashes.is_empty());
        let checks = innermost.into_iter().flat_map(|layer| {
            let of_layer = |stated: &StoredHash| Check {
                format: layer.format.clone(),
                state: State::of(stated.algorithm),
                lost_bytes: 0,
                is_whole: stated.range == ByteRange::new(0, layer.image_bytes),
                stated: stated.clone(),
            };
            layer.hashes.iter().take(CHECKS_MAX).map(of_layer)
        });
        Self(checks.collect())
    }

    /// Whether there is nothing to compute.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a block of the image; blocks come in order.
    pub(super) fn update(&mut self, block: ByteRange, bytes: &[u8]) {
        for check in &mut self.0 {
            let Some(covered) = block.intersection(&check.stated.range) else {
                continue;
            };
            let mut counted = covered;
            let left_out = std::mem::take(&mut check.stated.leaves_out);
            for gap in left_out.iter().filter_map(|gap| gap.intersection(&covered)) {
                let before = ByteRange::new(counted.offset, gap.offset.saturating_sub(counted.offset));
                check.count(block, before, bytes);
                let end = counted.end();
                counted = ByteRange::new(gap.end(), end.saturating_sub(gap.end()));
            }
            check.count(block, counted, bytes);
            check.stated.leaves_out = left_out;
        }
    }

    /// A block cannot be read; it was taken as zeros.
    pub(super) fn spoil(&mut self, block: ByteRange) {
        for check in &mut self.0 {
            let overlap = block.intersection(&check.stated.range);
            check.lost_bytes += overlap.map_or(0, |range| range.len);
        }
    }

    /// How each compares. Checksums of parts that are right are not told one by one.
    pub(crate) fn finish(self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let (mut parts, mut format) = (0_usize, String::new());
        for check in self.0 {
            let is_whole = check.is_whole;
            let (algorithm, of) = (check.stated.algorithm, check.format.clone());
            match check.finish() {
                Outcome::Equal(..) if !is_whole => {
                    parts += 1;
                    format = format!("{algorithm} of {of}");
                }
                outcome => outcomes.push(outcome),
            }
        }
        if parts > 0 {
            outcomes.push(Outcome::Equal(format!("{parts} parts"), format));
        }
        outcomes
    }
}

impl Check {
    /// Takes the bytes of `range`, which lies in the block.
    fn count(&mut self, block: ByteRange, range: ByteRange, bytes: &[u8]) {
        let start = usize::try_from(range.offset.saturating_sub(block.offset)).unwrap_or(usize::MAX);
        let end = usize::try_from(range.end().saturating_sub(block.offset)).unwrap_or(usize::MAX);
        if let Some(bytes) = bytes.get(start..end) {
            self.state.update(bytes);
        }
    }

    fn finish(self) -> Outcome {
        let (algorithm, range) = (self.stated.algorithm, self.stated.range);
        let place = if self.is_whole {
            "of the image".to_owned()
        } else {
            format!("of bytes {range}")
        };
        if self.lost_bytes > 0 {
            let detail = format!(
                "the {algorithm} {place} cannot be compared with what {} states: {} bytes around what is missing were not counted",
                self.format, self.lost_bytes
            );
            return Outcome::Wrong(
                Finding::new(Severity::Warning, Layer::Image, FindingCode::Unread, detail).at(range.offset),
            );
        }
        let computed = self.state.finish();
        if computed == self.stated.hex {
            return Outcome::Equal(format!("{algorithm} {computed}"), self.format);
        }
        let detail = format!(
            "the {algorithm} {place} is {computed}; {} states {}",
            self.format, self.stated.hex
        );
        Outcome::Wrong(
            Finding::new(Severity::Loss, Layer::Image, FindingCode::Corrupt, detail).at(range.offset),
        )
    }
}

impl State {
    fn of(algorithm: HashAlgorithm) -> Self {
        match algorithm {
            HashAlgorithm::Md5 => Self::Md5(Md5::new()),
            HashAlgorithm::Sha1 => Self::Sha1(Sha1::new()),
            HashAlgorithm::Crc32 => Self::Crc32(crc32fast::Hasher::new()),
            HashAlgorithm::DiskCopy => Self::DiskCopy(RotatingSum::default()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(state) => state.update(bytes),
            Self::Sha1(state) => state.update(bytes),
            Self::Crc32(state) => state.update(bytes),
            Self::DiskCopy(state) => state.update(bytes),
        }
    }

    fn finish(self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Self::Md5(state) => hex(&state.finalize()),
            Self::Sha1(state) => hex(&state.finalize()),
            Self::Crc32(state) => format!("{:08x}", state.finalize()),
            Self::DiskCopy(state) => format!("{:08x}", state.sum),
        }
    }
}

/// DiskCopy 4.2: each big-endian word is added, then the sum is rotated right by one bit.
#[derive(Default)]
struct RotatingSum {
    sum: u32,
    /// The first byte of a word whose second has not come yet.
    half: Option<u8>,
}

impl RotatingSum {
    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match self.half.take() {
                None => self.half = Some(*byte),
                Some(high) => {
                    let word = u32::from(u16::from_be_bytes([high, *byte]));
                    self.sum = self.sum.wrapping_add(word).rotate_right(1);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(algorithm: HashAlgorithm, hex: &str, len: u64) -> StatedDigests {
        StatedDigests(vec![Check {
            format: "test".to_owned(),
            state: State::of(algorithm),
            lost_bytes: 0,
            is_whole: true,
            stated: StoredHash {
                algorithm,
                hex: hex.to_owned(),
                range: ByteRange::new(0, len),
                leaves_out: Vec::new(),
            },
        }])
    }

    #[test]
    fn equal_digests_are_told_apart_from_wrong_and_from_unread_ones() {
        let stated = [
            (HashAlgorithm::Md5, "900150983cd24fb0d6963f7d28e17f72"),
            (HashAlgorithm::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (HashAlgorithm::Crc32, "352441c2"),
        ];
        for (algorithm, hex) in stated {
            let outcome = |bytes: &[u8], spoiled: bool| {
                let mut digests = check(algorithm, hex, 3);
                let (first, second) = bytes.split_at(1);
                digests.update(ByteRange::new(0, 1), first);
                digests.update(ByteRange::new(1, 2), second);
                if spoiled {
                    digests.spoil(ByteRange::new(2, 10));
                }
                digests.finish().pop().expect("an outcome")
            };
            assert!(matches!(outcome(b"abc", false), Outcome::Equal(..)), "{hex}");
            assert!(matches!(outcome(b"abd", false), Outcome::Wrong(f) if f.severity == Severity::Loss));
            assert!(matches!(outcome(b"abc", true), Outcome::Wrong(f) if f.code == FindingCode::Unread));
        }
    }

    #[test]
    fn what_is_left_out_is_not_counted_wherever_blocks_end() {
        let mut digests = check(HashAlgorithm::Crc32, "352441c2", 7);
        digests.0[0].stated.leaves_out = vec![ByteRange::new(1, 2), ByteRange::new(5, 2)];
        // a-- bc --, in blocks of two.
        for (at, block) in (0..).step_by(2).zip([&b"a-"[..], b"-b", b"c-", b"-!"]) {
            digests.update(ByteRange::new(at, 2), block);
        }
        assert!(matches!(digests.finish().pop(), Some(Outcome::Equal(..))));
    }

    #[test]
    fn the_rotating_sum_does_not_care_where_blocks_end() {
        let mut one = RotatingSum::default();
        one.update(&[0, 1, 0, 2]);
        // (0 + 1) ror 1 = 0x80000000; + 2 = 0x80000002, ror 1 = 0x40000001.
        assert_eq!(one.sum, 0x4000_0001);
        let mut two = RotatingSum::default();
        two.update(&[0]);
        two.update(&[1, 0]);
        two.update(&[2]);
        assert_eq!(two.sum, one.sum);
    }
}
