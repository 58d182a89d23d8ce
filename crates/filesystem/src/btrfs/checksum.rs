//! The four checksums of btrfs.

use blake2::Blake2b;
use blake2::digest::consts::U32;
use sha2::{Digest, Sha256};
use twox_hash::XxHash64;

use crate::ext::checksum::crc32c;

/// Bytes that the format keeps for a checksum of metadata.
pub(super) const FIELD_LEN: usize = 32;

/// `csum_type` of the superblock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Checksum {
    Crc32c,
    XxHash64,
    Sha256,
    Blake2b,
}

impl Checksum {
    pub(super) const fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            0 => Self::Crc32c,
            1 => Self::XxHash64,
            2 => Self::Sha256,
            3 => Self::Blake2b,
            _ => return None,
        })
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Crc32c => "crc32c",
            Self::XxHash64 => "xxhash64",
            Self::Sha256 => "sha256",
            Self::Blake2b => "blake2b",
        }
    }

    /// Bytes of one checksum.
    pub(super) const fn len(self) -> usize {
        match self {
            Self::Crc32c => 4,
            Self::XxHash64 => 8,
            Self::Sha256 | Self::Blake2b => 32,
        }
    }

    /// Whether `stored`, which may be longer, begins with the checksum of `bytes`.
    pub(super) fn is_of(self, stored: &[u8], bytes: &[u8]) -> bool {
        match self {
            Self::Crc32c => stored.starts_with(&(!crc32c(!0, bytes)).to_le_bytes()),
            Self::XxHash64 => stored.starts_with(&XxHash64::oneshot(0, bytes).to_le_bytes()),
            Self::Sha256 => stored.starts_with(&Sha256::digest(bytes)),
            Self::Blake2b => stored.starts_with(&Blake2b::<U32>::digest(bytes)),
        }
    }

    /// Whether a block that begins with its checksum is right.
    pub(super) fn is_right(self, block: &[u8]) -> bool {
        block
            .split_at_checked(FIELD_LEN)
            .is_some_and(|(stored, bytes)| self.is_of(stored, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        let hex = ntt_model::blob::hex;
        let crc = (!crc32c(!0, b"123456789")).to_le_bytes();
        assert!(Checksum::Crc32c.is_of(&crc, b"123456789"));
        assert!(Checksum::XxHash64.is_of(&0xef46_db37_51d8_e999_u64.to_le_bytes(), b""));
        assert!(hex(&Sha256::digest(b"abc")).starts_with("ba7816bf"));
        assert!(!Checksum::Sha256.is_of(&[0; 32], b"abc"));
        assert!(hex(&Blake2b::<U32>::digest(b"")).starts_with("0e5751c026e543b2"));
    }

    #[test]
    fn a_block_begins_with_its_checksum() {
        let mut block = vec![0; 64];
        let crc = !crc32c(!0, &block[FIELD_LEN..]);
        block[..4].copy_from_slice(&crc.to_le_bytes());
        assert!(Checksum::Crc32c.is_right(&block));
        block[40] ^= 1;
        assert!(!Checksum::Crc32c.is_right(&block));
        assert!(!Checksum::Crc32c.is_right(&block[..8]));
    }
}
