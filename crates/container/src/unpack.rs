//! Images that are compressed as a whole: gzip, xz, zstd, bzip2.
//!
//! Such a stream has no way in but its start (or few), and a file system is read all over: so it is unpacked once, to a temporary file, and the rest of the
//! program reads that. See `docs/formats/containers.md` for why.

use std::io::{self, BufRead, BufReader, Read};

use ntt_source::{ReadAt, ReadError};
use serde::{Deserialize, Serialize};

/// Memory of an LZMA decoder, in KiB: the largest dictionary of the `xz` presets and what comes with it.
const LZMA_KIB_MAX: u32 = 65 << 10;
/// Largest window of a Zstandard frame, as a power of two: what the `zstd` program takes without being told.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// How much is read, and unpacked, at a time.
const STEP_BYTES: usize = 128 * 1024;
/// Runs of zeros are found in units of this.
const ZERO_BYTES: usize = 4096;

/// How a whole file is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Packing {
    /// One or more gzip members (RFC 1952).
    Gzip,
    /// One or more .xz streams.
    Xz,
    /// One or more Zstandard frames (RFC 8878).
    Zstd,
    /// One or more bzip2 streams.
    Bzip2,
}

impl Packing {
    /// The compression of a file that starts with these bytes.
    pub fn of(head: &[u8]) -> Option<Self> {
        let magics: [(&[u8], Self); 4] = [
            // Deflate is the only method that there is.
            (b"\x1f\x8b\x08", Self::Gzip),
            (b"\xfd7zXZ\0", Self::Xz),
            (b"\x28\xb5\x2f\xfd", Self::Zstd),
            (b"BZh", Self::Bzip2),
        ];
        let found = magics.into_iter().find(|(magic, _)| head.starts_with(magic))?.1;
        // The first block of a bzip2 stream, or the end of an empty one, has a long magic of its own.
        let block = head.get(4..10);
        let is_block = block == Some(b"1AY&SY") || block == Some(b"\x17\x72\x45\x38\x50\x90");
        (found != Self::Bzip2 || is_block).then_some(found)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
        }
    }
}

/// A piece of what was unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes.
    Bytes(&'a [u8]),
    /// So many zeros.
    Zeros(u64),
}

/// Unpacks `source` and hands what is in it to `sink`, in order. Answers with what ended it early, if something did. What came before is then good only up to the last
/// checksum that fitted, and gzip has one for a whole member.
///
/// # Errors
///
/// Only what `sink` returns.
pub fn unpack<E>(
    packing: Packing,
    source: &dyn ReadAt,
    sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
) -> Result<Option<String>, E> {
    let stored = BufReader::with_capacity(STEP_BYTES, Sequential { source, position: 0 });
    let mut reader: Box<dyn Read + '_> = match decoder(packing, stored) {
        Ok(reader) => reader,
        Err(error) => return Ok(Some(error.to_string())),
    };
    let mut buffer = vec![0; STEP_BYTES];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(len) => give(buffer.get(..len).unwrap_or_default(), sink)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Some(error.to_string())),
        }
    }
}

fn decoder<'a>(packing: Packing, stored: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match packing {
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(stored)),
        Packing::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(stored)),
        Packing::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(stored, true, LZMA_KIB_MAX)),
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(stored)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
    })
}

/// Hands bytes over, whole units of zeros apart.
fn give<E>(mut bytes: &[u8], sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>) -> Result<(), E> {
    let is_zero = |unit: &[u8]| unit.len() == ZERO_BYTES && unit.iter().all(|byte| *byte == 0);
    while !bytes.is_empty() {
        let zero = bytes.chunks(ZERO_BYTES).take_while(|unit| is_zero(unit)).count();
        let zeros = zero.saturating_mul(ZERO_BYTES);
        if zeros > 0 {
            sink(Piece::Zeros(u64::try_from(zeros).unwrap_or(0)))?;
        }
        let (_, rest) = bytes.split_at(zeros.min(bytes.len()));
        let data = rest
            .chunks(ZERO_BYTES)
            .take_while(|unit| !is_zero(unit))
            .map(<[u8]>::len)
            .fold(0, usize::saturating_add);
        let (data, rest) = rest.split_at(data.min(rest.len()));
        if !data.is_empty() {
            sink(Piece::Bytes(data))?;
        }
        bytes = rest;
    }
    Ok(())
}

/// A source read from its start on.
struct Sequential<'a> {
    source: &'a dyn ReadAt,
    position: u64,
}

impl Read for Sequential<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.source.len().saturating_sub(self.position);
        let len = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let wanted = buffer.get_mut(..len).unwrap_or_default();
        let read = self.source.read_exact_at(self.position, wanted);
        read.map_err(|error| match error {
            ReadError::Io { source, .. } => source,
            other => io::Error::other(other.to_string()),
        })?;
        self.position = self.position.saturating_add(u64::try_from(len).unwrap_or(0));
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io::Write;

    use super::*;

    fn unpacked(stored: &[u8]) -> (Vec<u8>, Option<String>) {
        let mut bytes = Vec::new();
        let packing = Packing::of(stored).expect("a magic");
        let ended = unpack(packing, &stored.to_vec(), &mut |piece| {
            match piece {
                Piece::Bytes(piece) => bytes.extend_from_slice(piece),
                Piece::Zeros(len) => bytes.resize(bytes.len() + usize::try_from(len).expect("small"), 0),
            }
            Ok::<(), Infallible>(())
        });
        let Ok(ended) = ended;
        (bytes, ended)
    }

    fn content() -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..300_000_u32)
            .map(|at| (at.wrapping_mul(at) >> 7).to_le_bytes()[0])
            .collect();
        bytes[40_000..200_000].fill(0);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("written");
        encoder.finish().expect("finished")
    }

    #[test]
    fn every_packing_gives_its_bytes_and_members_follow_each_other() {
        let bytes = content();
        let zstd = zstd::encode_all(bytes.as_slice(), 1).expect("encoded");
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(&bytes).expect("written");
        let bzip2 = bzip2.finish().expect("finished");
        let xz = ntt_testkit::dmg::xz(&bytes);
        for one in [gzip(&bytes), zstd, bzip2].into_iter().chain(xz) {
            assert_eq!(unpacked(&one), (bytes.clone(), None));
            let two = [one.as_slice(), &one].concat();
            assert_eq!(unpacked(&two), ([bytes.as_slice(), &bytes].concat(), None));
        }
    }

    #[test]
    fn what_comes_before_damage_is_good() {
        let bytes = content();
        let mut stored = gzip(&bytes);
        let cut = stored.len() / 2;
        stored.truncate(cut);
        let (found, ended) = unpacked(&stored);
        assert!(ended.is_some());
        assert!(!found.is_empty() && bytes.starts_with(&found));
    }

    #[test]
    fn the_letters_of_bzip2_alone_are_no_bzip2() {
        assert_eq!(Packing::of(b"BZh9, he said"), None);
        assert_eq!(Packing::of(b"BZh91AY&SY"), Some(Packing::Bzip2));
    }
}
