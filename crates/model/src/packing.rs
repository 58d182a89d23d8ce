//! How a stream that is stored compressed is put together from what is stored.
//!
//! A packed stream has two layers. Its **extents** say where the *stored* bytes lie in the image, counted in the stored stream: the concatenation of
//! all that was stored for it. Its **units** say which run of the stream comes out of which run of the stored stream. So a unit may straddle
//! fragments of the image (an NTFS compression unit, a fragmented resource fork), and an unread sector costs exactly the units that need it (R11).

use serde::{Deserialize, Serialize};

/// How stored bytes become bytes of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Codec {
    /// The stored bytes are the bytes.
    Stored,
    /// zlib (RFC 1950): HFS+ and APFS decmpfs, btrfs, zisofs, squashfs, cramfs.
    Zlib,
    /// NTFS's LZNT1: a sequence of chunks of 4096 bytes each, ended by a zero header or the end of the stored bytes. What a chunk leaves of its
    /// 4096 bytes, and all behind a zero header, is zeros.
    Lznt1,
    /// Apple's LZVN, a bare stream without a block header.
    Lzvn,
    /// Apple's LZFSE, a sequence of blocks with their magic.
    Lzfse,
    /// LZO1X in btrfs's framing: total length, then segments that do not straddle a page.
    LzoBtrfs,
    /// LZO1X, one bare block.
    Lzo,
    /// One or more Zstandard frames.
    Zstd,
    /// An .xz container.
    Xz,
    /// LZMA "alone", with its 13-byte header.
    Lzma,
    /// LZ4, one bare block.
    Lz4,
    /// Apple Data Compression, of disk images (`UDCO`).
    Adc,
    /// One bzip2 stream.
    Bzip2,
}

impl Codec {
    /// All of them, in the order of their codes in the catalogue. New ones are appended.
    pub const ALL: [Self; 13] = [
        Self::Stored,
        Self::Zlib,
        Self::Lznt1,
        Self::Lzvn,
        Self::Lzfse,
        Self::LzoBtrfs,
        Self::Lzo,
        Self::Zstd,
        Self::Xz,
        Self::Lzma,
        Self::Lz4,
        Self::Adc,
        Self::Bzip2,
    ];

    /// Its name, for people and for the catalogue's export.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Zlib => "zlib",
            Self::Lznt1 => "lznt1",
            Self::Lzvn => "lzvn",
            Self::Lzfse => "lzfse",
            Self::LzoBtrfs => "lzo-btrfs",
            Self::Lzo => "lzo",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Lzma => "lzma",
            Self::Lz4 => "lz4",
            Self::Adc => "adc",
            Self::Bzip2 => "bzip2",
        }
    }
}

/// A run of a packed stream, and the run of the stored stream that it comes out of.
///
/// Units of a stream are in ascending `logical_offset` order and do not overlap. Bytes that no unit covers read as zeros, as a hole does. Several
/// units may name the same stored run (btrfs shares the parts of one compressed extent); they stand next to each other where the format
/// allows, so that a reader which remembers the last decoded run decodes it once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct PackedUnit {
    /// First byte of the run, counted from the start of the stream.
    pub logical_offset: u64,
    /// Number of bytes of the stream; if decoding gives fewer after `skip`, the rest is missing (corrupt), never a hole.
    pub len: u64,
    /// First stored byte, counted from the start of the stored stream.
    pub stored_offset: u64,
    /// Number of stored bytes.
    pub stored_len: u64,
    /// Decoded bytes to drop before the first that belongs to this run.
    pub skip: u64,
    /// How to decode the stored bytes.
    pub codec: Codec,
    /// Whether the stored bytes decode to this run and no more: then one byte more is corruption. Not so where streams share a run, or only a part of it is left.
    #[serde(default)]
    pub is_whole: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_has_a_code_and_a_name_of_its_own() {
        for (code, codec) in Codec::ALL.into_iter().enumerate() {
            assert_eq!(codec as usize, code, "{}", codec.name());
            let same = Codec::ALL.iter().filter(|other| other.name() == codec.name());
            assert_eq!(same.count(), 1);
        }
    }
}
